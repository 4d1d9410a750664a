//! The laws of the testkit, on every part of this crate as it is delivered.

use std::sync::Arc;

use ir_core::testkit::{detector, diagnoser, incident, samples};
use ir_core::{Detector, Labels, MetricKind, MetricSample, Phase, Series, SignalBatch};
use ir_detect::{
    BurnRateConfig, BurnRateDetector, BurnWindow, Detectors, ExhaustionDetector, GraphDiagnoser, SeriesDetector,
    StandardCorrelator,
};

use crate::laws::{batches, case, ctx};
use crate::shop::{FAULTS, Fault, Rng, at, id};

/// A queue that holds about ten and suddenly eighty, which no fault of the shop makes.
fn queue() -> Vec<SignalBatch> {
    let mut rng = Rng(7);
    let series = Arc::new(Series {
        entity: id("orders"),
        metric: "queue_length".to_owned(),
        kind: MetricKind::Gauge,
        unit: "items".to_owned(),
        labels: Labels::new(),
    });
    let level = |n: u32| if n < 120 { 10.0 } else { 80.0 };
    let sample =
        |n: u32| MetricSample { series: series.clone(), at: at(f64::from(n) * 0.5), value: level(n) + rng.unit() };
    (0..160).map(sample).map(|s| SignalBatch { metrics: vec![s], ..SignalBatch::default() }).collect()
}

/// The first signals in which the `n`th standard detector sees something.
async fn found_by(n: usize) -> Option<Vec<SignalBatch>> {
    let faults = FAULTS.into_iter().enumerate().map(|(seed, fault)| batches(fault, seed as u64, false, 30.0));
    for signals in faults.chain([queue()]) {
        let detector = standard(n);
        for batch in &signals {
            if !detector.detect(&ctx(), batch).await.unwrap().is_empty() {
                return Some(signals);
            }
        }
    }
    None
}

fn standard(n: usize) -> Arc<dyn Detector> {
    Detectors::standard().swap_remove(n)
}

#[tokio::test]
async fn every_standard_detector_keeps_the_laws() {
    let mut silent = Vec::new();
    for n in 0..Detectors::standard().len() {
        let name = standard(n).name().to_owned();
        match found_by(n).await {
            Some(signals) => detector::check_all(&ctx(), &|| standard(n), &signals).await.unwrap(),
            None => silent.push(name),
        }
    }
    // The shop sends no alerts; the laws run beside that detector, on alerts.
    assert_eq!(silent, ["alerts"]);
}

#[tokio::test]
async fn the_detector_of_any_series_keeps_the_laws() {
    let make = || Arc::new(SeriesDetector::default()) as Arc<dyn Detector>;
    detector::check_all(&ctx(), &make, &queue()).await.unwrap();
    let mut found = Vec::new();
    let detector = make();
    for batch in queue() {
        found.extend(detector.detect(&ctx(), &batch).await.unwrap());
    }
    let [began, ..] = &found[..] else { panic!("nothing was found") };
    assert_eq!((began.subject.as_str(), began.phase), ("queue_length", Phase::Began));
    assert_eq!(began.at, at(60.0));
    assert!(began.because.contains("by its own past, seen 80."), "{}", began.because);
}

#[tokio::test]
async fn the_detector_of_burn_rates_keeps_the_laws() {
    let window = BurnWindow { long_secs: 10.0, short_secs: 2.0, burn_rate: 14.4, nats: 48.0 };
    let config = BurnRateConfig { windows: vec![window], ..BurnRateConfig::default() };
    let make = || Arc::new(BurnRateDetector::new(config.clone()).unwrap()) as Arc<dyn Detector>;
    let signals = batches(Fault::Errors, 1, false, 30.0);
    detector::check_all(&ctx(), &make, &signals).await.unwrap();
    let mut found = Vec::new();
    let detector = make();
    for batch in &signals {
        found.extend(detector.detect(&ctx(), batch).await.unwrap());
    }
    assert!(found.iter().any(|anomaly| anomaly.phase == Phase::Began && anomaly.seen.0 >= 14.4), "{found:?}");
    let quiet = make();
    for batch in batches(Fault::None, 1, false, 30.0) {
        assert_eq!(quiet.detect(&ctx(), &batch).await.unwrap(), []);
    }
}

#[tokio::test]
async fn the_diagnoser_keeps_the_laws() {
    for (seed, fault) in FAULTS.into_iter().enumerate() {
        let case = case(fault, seed as u64).await;
        diagnoser::check_all(&ctx(), &GraphDiagnoser::default(), &case).await.unwrap();
    }
    diagnoser::check_all(&ctx(), &GraphDiagnoser::default(), &samples::case()).await.unwrap();
}

#[tokio::test]
async fn the_correlator_keeps_the_laws() {
    incident::check_correlator(&ctx(), &StandardCorrelator::default(), &samples::correlation_input()).await.unwrap();
}

/// A disk that is steady for six days and then loses a gigabyte an hour, a look every half hour.
fn disk() -> Vec<SignalBatch> {
    let mut rng = Rng(3);
    let series = Arc::new(Series {
        entity: id("orders"),
        metric: "node_filesystem_avail_bytes".to_owned(),
        kind: MetricKind::Gauge,
        unit: "bytes".to_owned(),
        labels: Labels::new(),
    });
    let left = |n: u32| 1e11 - 5e8 * f64::from(n.saturating_sub(288));
    let sample = |n: u32| MetricSample {
        series: series.clone(),
        at: at(f64::from(n) * 1800.0),
        value: left(n) + 1e7 * rng.unit(),
    };
    let samples: Vec<MetricSample> = (0..400).map(sample).collect();
    // One batch for the quiet days: the laws are run on every batch.
    let (quiet, falling) = samples.split_at(286);
    let batch = |metrics: &[MetricSample]| SignalBatch { metrics: metrics.to_vec(), ..SignalBatch::default() };
    std::iter::once(batch(quiet)).chain(falling.chunks(10).map(batch)).collect()
}

#[tokio::test]
async fn the_detector_of_what_fills_keeps_the_laws() {
    let make = || Arc::new(ExhaustionDetector::default()) as Arc<dyn Detector>;
    detector::check_all(&ctx(), &make, &disk()).await.unwrap();
}

#[tokio::test]
async fn memory_that_rises_is_found_at_any_interval() {
    let series = Arc::new(Series {
        entity: id("orders"),
        metric: "process_resident_memory_bytes".to_owned(),
        kind: MetricKind::Gauge,
        unit: "bytes".to_owned(),
        labels: Labels::new(),
    });
    for interval in [0.5, 5.0, 30.0] {
        let (mut rng, mut found) = (Rng(5), None);
        let detector = ir_detect::SaturationDetector::default();
        // Every look has a twelfth more than what is usual.
        let per_look = 2e8 / 12.0;
        for n in 0..160_u32 {
            let value = 2e8 + 2e6 * rng.unit() + per_look * f64::from(n.saturating_sub(120));
            let sample = MetricSample { series: series.clone(), at: at(f64::from(n) * interval), value };
            let batch = SignalBatch { metrics: vec![sample], ..SignalBatch::default() };
            found = found.or(detector.detect(&ctx(), &batch).await.unwrap().pop().map(|_| n));
        }
        let looks = found.map(|n| n.saturating_sub(120));
        assert!(looks.is_some_and(|looks| (3..12).contains(&looks)), "every {interval} s: after {looks:?} looks");
    }
}
