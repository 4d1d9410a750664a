//! The contracts of `Detector`, `Correlator` and `Diagnoser`, on the signals of the simulated shop and on hostile ones.

use std::sync::Arc;

use ir_core::{
    Anomaly, Case, CorrelationInput, Correlator, Ctx, Dependency, Detector, Diagnoser, Entity, ErrorKind, Feedback,
    Labels, ManualClock, MetricKind, MetricSample, Phase, Probability, Series, SignalBatch, Snapshot, Timestamp,
    Topology, TopologyDocument,
};
use ir_detect::{Detectors, GraphDiagnoser, ObservationStore, StandardCorrelator};
use proptest::prelude::*;

use crate::responder::Responder;
use crate::shop::{FAULTS, Fault, Rng, Shop, id, scene, topology};

pub(crate) fn ctx() -> Ctx {
    Ctx::new(Arc::new(ManualClock::new()))
}

pub(crate) fn batches(fault: Fault, seed: u64, up_first: bool, secs: f64) -> Vec<SignalBatch> {
    let mut shop = Shop::open(scene(fault, (seed % 4) as usize, seed, true, 0.5));
    shop.up_first = up_first;
    (0..(secs / 0.5) as usize).map(|n| shop.scrape(0.25 + 0.5 * n as f64)).collect()
}

fn samples(batches: &[SignalBatch]) -> Vec<MetricSample> {
    batches.iter().flat_map(|batch| batch.metrics.iter().cloned()).collect()
}

fn batch(metrics: &[MetricSample]) -> SignalBatch {
    SignalBatch { metrics: metrics.to_vec(), ..SignalBatch::default() }
}

async fn detect(detector: &dyn Detector, metrics: &[MetricSample]) -> Vec<Anomaly> {
    detector.detect(&ctx(), &batch(metrics)).await.unwrap()
}

fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for n in (1..items.len()).rev() {
        items.swap(n, (rng.unit() * (n + 1) as f64) as usize);
    }
}

#[tokio::test]
async fn cutting_batches_anywhere_changes_nothing() {
    for (seed, fault) in FAULTS.into_iter().enumerate() {
        for up_first in [false, true] {
            let all = samples(&batches(fault, seed as u64, up_first, 30.0));
            let mut rng = Rng(seed as u64);
            for (whole, cut) in Detectors::standard().into_iter().zip(Detectors::standard()) {
                let expected = detect(&whole, &all).await;
                let (mut found, mut rest) = (Vec::new(), all.as_slice());
                while !rest.is_empty() {
                    let (head, tail) = rest.split_at((1 + (rng.unit() * 40.0) as usize).min(rest.len()));
                    found.extend(detect(&cut, head).await);
                    rest = tail;
                }
                assert_eq!(found, expected, "{} on {fault:?}", whole.name());
            }
        }
    }
}

#[tokio::test]
async fn repeated_samples_change_nothing() {
    let rounds = batches(Fault::Errors, 1, false, 30.0);
    for (plain, repeated) in Detectors::standard().into_iter().zip(Detectors::standard()) {
        for round in &rounds {
            let expected = plain.detect(&ctx(), round).await.unwrap();
            assert_eq!(repeated.detect(&ctx(), round).await.unwrap(), expected, "{}", plain.name());
            assert_eq!(repeated.detect(&ctx(), round).await.unwrap(), [], "{}", plain.name());
        }
    }
}

#[tokio::test]
async fn a_restored_detector_goes_on_as_the_original_would_have() {
    for (seed, fault) in FAULTS.into_iter().enumerate() {
        let all = samples(&batches(fault, seed as u64, false, 30.0));
        // In the middle of a scrape, before and after the fault.
        for at in [all.len() / 2 + 7, all.len() * 4 / 5 + 3] {
            for (original, restored) in Detectors::standard().into_iter().zip(Detectors::standard()) {
                detect(&original, &all[..at]).await;
                let snapshot = original.snapshot(&ctx()).await.unwrap();
                restored.restore(&ctx(), &snapshot).await.unwrap();
                assert_eq!(restored.snapshot(&ctx()).await.unwrap(), snapshot);
                let expected = detect(&original, &all[at..]).await;
                assert_eq!(detect(&restored, &all[at..]).await, expected, "{} on {fault:?}", original.name());
            }
        }
    }
}

#[tokio::test]
async fn a_snapshot_of_another_name_or_version_is_refused_and_changes_nothing() {
    for detector in Detectors::standard() {
        detect(&detector, &samples(&batches(Fault::None, 3, false, 5.0))).await;
        let own = detector.snapshot(&ctx()).await.unwrap();
        let other_name = Snapshot { name: ir_core::PartName::new("other").unwrap(), ..own.clone() };
        let other_version = Snapshot { version: own.version + 1, ..own.clone() };
        let torn = Snapshot { bytes: own.bytes[..own.bytes.len() / 2].to_vec(), ..own.clone() };
        for wrong in [other_name, other_version, torn] {
            let error = detector.restore(&ctx(), &wrong).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(detector.snapshot(&ctx()).await.unwrap(), own);
    }
}

#[tokio::test]
async fn every_anomaly_says_who_found_what_where_and_why() {
    for (seed, fault) in FAULTS.into_iter().enumerate() {
        let all = samples(&batches(fault, seed as u64, false, 34.0));
        let mut n = 0;
        for detector in Detectors::standard() {
            for anomaly in detect(&detector, &all).await {
                n += 1;
                assert_eq!(anomaly.detector.as_str(), detector.name());
                assert!(anomaly.score.millionths() > 0 && anomaly.because.len() > 20, "{anomaly:?}");
                assert!(anomaly.onset <= anomaly.at, "{anomaly:?}");
            }
        }
        assert!(n > 0, "{fault:?}");
    }
}

#[tokio::test]
async fn false_alarms_make_a_detector_less_sensitive_within_bounds() {
    let all = samples(&batches(Fault::Errors, 2, false, 34.0));
    let detector = ir_detect::ErrorRateDetector::default();
    let first = detect(&detector, &all).await;
    for anomaly in &first {
        for _ in 0..100 {
            detector.feedback(&ctx(), &Feedback::FalseAlarm { anomaly: anomaly.id.clone() }).await.unwrap();
        }
    }
    let later = Timestamp::from_nanos(all.last().unwrap().at.as_nanos() - all[0].at.as_nanos() + 60_000_000_000);
    let again: Vec<MetricSample> = all
        .iter()
        .map(|s| MetricSample { at: Timestamp::from_nanos(s.at.as_nanos() + later.as_nanos()), ..s.clone() })
        .collect();
    // A fault as plain as this one is found even so: complaints never blind a detector.
    assert!(detect(&detector, &again).await.iter().any(|a| a.phase == Phase::Began));
}

/// The case of an incident some seconds into a fault.
pub(crate) async fn case(fault: Fault, seed: u64) -> Case {
    let mut responder = Responder::new(topology());
    for batch in batches(fault, seed, false, 28.0) {
        responder.take(&batch).await;
    }
    responder.case(&responder.incidents[0])
}

#[tokio::test]
async fn the_order_of_a_case_does_not_matter() {
    for (seed, fault) in FAULTS.into_iter().enumerate() {
        let case = case(fault, seed as u64).await;
        let diagnoser = GraphDiagnoser::default();
        let expected = diagnoser.diagnose(&ctx(), &case).await.unwrap();
        for round in 0..8 {
            let (mut rng, mut shuffled) = (Rng(round), case.clone());
            shuffle(&mut shuffled.incident.anomalies, &mut rng);
            shuffle(&mut shuffled.incident.changes, &mut rng);
            shuffle(&mut shuffled.observations.series, &mut rng);
            assert_eq!(diagnoser.diagnose(&ctx(), &shuffled).await.unwrap(), expected);
        }
        let total: u32 = expected.causes.iter().map(|cause| cause.probability.millionths()).sum();
        assert!(total <= 1_000_000);
        assert!(expected.causes.windows(2).all(|pair| pair[0].probability >= pair[1].probability));
        assert!(expected.causes.iter().all(|cause| cause.path.first() == Some(&cause.entity)));
    }
}

#[tokio::test]
async fn a_healthy_entity_never_changes_who_leads() {
    for (seed, fault) in FAULTS.into_iter().enumerate() {
        let case = case(fault, seed as u64).await;
        let diagnoser = GraphDiagnoser::default();
        let leader = diagnoser.diagnose(&ctx(), &case).await.unwrap().leading().unwrap().entity.clone();
        // One row a place: apart, below the chain, above it, below its middle.
        for edge in [None, Some(("ledger", "aaa")), Some(("aaa", "gateway")), Some(("orders", "aaa"))] {
            let mut document = TopologyDocument::from(case.topology.clone());
            document.entity.push(Entity::service(id("aaa")));
            document.dependency.extend(edge.map(|(from, to)| Dependency {
                from: id(from),
                to: id(to),
                kind: "calls".to_owned(),
                strength: Probability::ONE,
                source: "configured".to_owned(),
            }));
            let with = Case { topology: Topology::new(document).unwrap(), ..case.clone() };
            let causes = diagnoser.diagnose(&ctx(), &with).await.unwrap().causes;
            assert_eq!(causes[0].entity, leader, "{fault:?} {edge:?}");
        }
    }
}

#[tokio::test]
async fn without_anomalies_the_diagnoser_abstains() {
    let mut case = case(Fault::Crash, 0).await;
    case.incident.anomalies.clear();
    let hypothesis = GraphDiagnoser::default().diagnose(&ctx(), &case).await.unwrap();
    assert!(hypothesis.abstains.is_some() && hypothesis.causes.is_empty());
}

#[tokio::test]
async fn the_order_of_incidents_and_changes_does_not_matter_to_the_correlator() {
    let case = case(Fault::BadDeploy, 1).await;
    let anomalies = case.incident.anomalies.clone();
    let second = ir_core::Incident { id: ir_core::IncidentId::numbered(9), ..case.incident.clone() };
    let changes = case.incident.changes.clone();
    let mut input = CorrelationInput {
        anomalies,
        open: vec![case.incident.into(), second.into()],
        changes,
        topology: case.topology,
    };
    let correlator = StandardCorrelator::default();
    let expected = correlator.correlate(&ctx(), &input).await.unwrap();
    input.open.reverse();
    input.changes.reverse();
    assert_eq!(correlator.correlate(&ctx(), &input).await.unwrap(), expected);
}

#[derive(Debug, Clone)]
struct Hostile {
    series: usize,
    step_ms: i64,
    value: f64,
}

fn hostile() -> impl Strategy<Value = Vec<Hostile>> {
    let value = prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), 0.0..1e6, Just(0.0), Just(1.0)];
    let step = prop_oneof![Just(0_i64), Just(500), -20_000..20_000_i64, any::<i64>()];
    let one = (0..14_usize, step, value).prop_map(|(series, step_ms, value)| Hostile { series, step_ms, value });
    proptest::collection::vec(one, 1..400)
}

fn hostile_series() -> Vec<Arc<Series>> {
    let names = [
        ("up", MetricKind::Up, "", ""),
        ("http_requests_total", MetricKind::Counter, "code", "200"),
        ("http_requests_total", MetricKind::Counter, "code", "500"),
        ("http_request_duration_seconds_bucket", MetricKind::Bucket, "le", "NaN"),
        ("http_request_duration_seconds_count", MetricKind::Counter, "", ""),
        ("downstream_requests_total", MetricKind::Counter, "peer", "not a name *"),
        ("process_resident_memory_bytes", MetricKind::Gauge, "", ""),
    ];
    let make = |entity: &str, (metric, kind, key, value): (&str, MetricKind, &str, &str)| {
        let labels: Labels = [(key, value)].into_iter().filter(|(key, _)| !key.is_empty()).collect();
        Arc::new(Series { entity: id(entity), metric: metric.to_owned(), kind, unit: String::new(), labels })
    };
    ["a", "b"].into_iter().flat_map(|entity| names.map(|name| make(entity, name))).collect()
}

proptest! {
    #[test]
    fn hostile_samples_are_survived_cut_anywhere_and_snapshots_stay_readable(steps in hostile(), cut in any::<prop::sample::Index>()) {
        let series = hostile_series();
        let mut at = Timestamp::from_millis(1_790_000_000_000);
        let metrics: Vec<MetricSample> = steps
            .iter()
            .map(|step| {
                at = Timestamp::from_nanos(at.as_nanos().saturating_add(step.step_ms.saturating_mul(1_000_000)));
                MetricSample { series: series[step.series].clone(), at, value: step.value }
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let at = cut.index(metrics.len());
            for (whole, parts) in Detectors::standard().into_iter().zip(Detectors::standard()) {
                let expected = detect(&whole, &metrics).await;
                let mut found = detect(&parts, &metrics[..at]).await;
                let snapshot = parts.snapshot(&ctx()).await.unwrap();
                parts.restore(&ctx(), &snapshot).await.unwrap();
                found.extend(detect(&parts, &metrics[at..]).await);
                assert_eq!(found, expected);
            }
        });
        let store = ObservationStore::default();
        store.observe(&batch(&metrics));
        let cut = store.cut(at, std::time::Duration::from_secs(3600));
        for history in &cut.series {
            prop_assert!(history.times.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(history.values.iter().all(|value| value.is_finite()));
        }
    }
}
