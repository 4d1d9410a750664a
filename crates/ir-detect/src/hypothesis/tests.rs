//! The careful cases of ranking, by hand.

use std::sync::Arc;

use ir_core::anomaly::Direction;
use ir_core::{
    Anomaly, AnomalyId, Change, ChangeKind, Dependency, Entity, EntityId, HypothesisId, Incident, IncidentId,
    IncidentState, Labels, ManualClock, Measured, MetricKind, Observations, Phase, Score, Series, SeriesHistory,
    Severity, Symptom, Timestamp, Topology, TopologyDocument,
};

use super::*;
use crate::anomaly::subject;

const CHAIN: [&str; 4] = ["gateway", "orders", "inventory", "ledger"];

fn id(name: &str) -> EntityId {
    EntityId::new(name).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1_000)
}

fn seen(entity: &str, peer: Option<&str>, subject: &str, symptom: Symptom, second: i64) -> Anomaly {
    Anomaly {
        id: AnomalyId::new(format!("{entity}/{subject}/{}", peer.unwrap_or("-"))).unwrap(),
        detector: PartName::new("test").unwrap(),
        version: 1,
        entity: id(entity),
        peer: peer.map(id),
        subject: subject.to_owned(),
        labels: Labels::new(),
        symptom,
        direction: Direction::Up,
        phase: Phase::Began,
        onset: at(second),
        at: at(second),
        score: Score::new(0.8).unwrap(),
        expected: Measured(0.0),
        seen: Measured(1.0),
        threshold: Measured(0.5),
        because: format!("{subject} at {entity}"),
    }
}

fn own_errors(entity: &str, second: i64) -> Anomaly {
    seen(entity, None, subject::OWN_ERRORS, Symptom::Errors, second)
}

fn passed_on(entity: &str) -> Anomaly {
    seen(entity, None, subject::ERRORS, Symptom::Errors, 10)
}

fn calls(entity: &str, peer: &str, subject: &str) -> Anomaly {
    seen(entity, Some(peer), subject, Symptom::Downstream, 10)
}

fn gone(entity: &str) -> Anomaly {
    seen(entity, None, subject::UP, Symptom::Absence, 10)
}

fn history(entity: &str, metric: &str, peer: Option<&str>, values: &[f64]) -> SeriesHistory {
    SeriesHistory {
        series: Series {
            entity: id(entity),
            metric: metric.to_owned(),
            kind: MetricKind::Gauge,
            unit: String::new(),
            labels: peer.map(|peer| ("peer", peer)).into_iter().collect(),
        },
        times: (0..values.len()).map(|n| at(9 + n as i64)).collect(),
        values: values.to_vec(),
    }
}

fn case(anomalies: Vec<Anomaly>, changes: Vec<Change>, mut series: Vec<SeriesHistory>) -> Case {
    let entity = CHAIN.map(|name| Entity::service(id(name))).to_vec();
    let dependency = CHAIN
        .windows(2)
        .map(|pair| Dependency {
            from: id(pair[0]),
            to: id(pair[1]),
            kind: "calls".to_owned(),
            strength: Probability::ONE,
            source: "configured".to_owned(),
        })
        .collect();
    // All four report something.
    series.extend(CHAIN.map(|name| history(name, subject::TRAFFIC, None, &[50.0])));
    Case {
        id: HypothesisId::new("inc-1/h1").unwrap(),
        incident: Incident {
            id: IncidentId::numbered(1),
            state: IncidentState::Open,
            severity: Severity::High,
            onset: at(10),
            opened: at(11),
            anomalies,
            changes,
            classification: None,
        },
        topology: Topology::new(TopologyDocument { entity, dependency }).unwrap(),
        observations: Observations { until: at(15), series, ..Observations::default() },
    }
}

async fn diagnose(case: &Case) -> Hypothesis {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    GraphDiagnoser::default().diagnose(&ctx, case).await.unwrap()
}

async fn leader(anomalies: Vec<Anomaly>) -> Option<String> {
    let hypothesis = diagnose(&case(anomalies, vec![], vec![])).await;
    hypothesis.leading().map(|cause| cause.entity.to_string())
}

fn deploy(entity: &str, second: i64) -> Change {
    let (from, to) = (Some("1.0".to_owned()), Some("1.1".to_owned()));
    Change { entity: id(entity), at: at(second), kind: ChangeKind::Deploy, from, to, by: None }
}

#[tokio::test]
async fn who_leads_in_the_plain_cases() {
    // One row a case: what is seen, who leads.
    for (anomalies, expected) in [
        (vec![own_errors("ledger", 10)], Some("ledger")),
        (vec![gone("gateway")], Some("gateway")),
        // The callee is gone and its callers fail.
        (
            vec![
                gone("ledger"),
                passed_on("inventory"),
                calls("inventory", "ledger", subject::CALLS_UNREACHABLE),
                passed_on("orders"),
                calls("orders", "inventory", subject::CALLS_RELAYED),
            ],
            Some("ledger"),
        ),
        // Nobody has noticed yet that it is gone, but nobody reaches it.
        (vec![passed_on("inventory"), calls("inventory", "ledger", subject::CALLS_UNREACHABLE)], Some("ledger")),
        // It is somebody behind the gateway, and nothing says who.
        (vec![passed_on("gateway")], None),
        (vec![passed_on("gateway"), calls("gateway", "orders", subject::CALLS_RELAYED)], None),
        // A machine that stands still makes everybody late and nobody guilty.
        (CHAIN.map(|name| seen(name, None, subject::P95, Symptom::Latency, 10)).to_vec(), None),
        // Only the load changed.
        (vec![seen("orders", None, subject::TRAFFIC, Symptom::Traffic, 10)], None),
        // Of two with own symptoms that do not explain each other the nearer to the trouble explains more.
        (
            vec![own_errors("ledger", 10), passed_on("inventory"), passed_on("orders"), passed_on("gateway")],
            Some("ledger"),
        ),
    ] {
        let told: Vec<String> = anomalies.iter().map(|a| a.id.to_string()).collect();
        assert_eq!(leader(anomalies).await.as_deref(), expected, "{told:?}");
    }
}

#[tokio::test]
async fn lost_telemetry_of_a_service_that_serves_is_no_cause() {
    let well = history("orders", subject::CALLS_FAILED, Some("inventory"), &[0.0; 6]);
    let served = diagnose(&case(vec![gone("inventory")], vec![], vec![well])).await;
    assert!(served.leading().is_none(), "{served:#?}");
    let badly = history("orders", subject::CALLS_FAILED, Some("inventory"), &[0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    let failing = diagnose(&case(vec![gone("inventory")], vec![], vec![badly])).await;
    assert_eq!(failing.leading().map(|cause| cause.entity.as_str()), Some("inventory"));
}

#[tokio::test]
async fn a_change_counts_only_on_who_shows_own_symptoms_since() {
    let symptoms = || vec![own_errors("inventory", 10), passed_on("orders"), passed_on("gateway")];
    // One row a case: changes, the change that the leader is given.
    for (changes, expected) in [
        (vec![deploy("inventory", 9)], Some(9)),
        (vec![deploy("inventory", 3), deploy("inventory", 8)], Some(8)),
        (vec![deploy("gateway", 9)], None),      // A decoy elsewhere.
        (vec![deploy("inventory", 14)], None),   // After its own onset.
        (vec![deploy("inventory", -400)], None), // Too long ago.
        (vec![Change { kind: ChangeKind::Restart, ..deploy("inventory", 9) }], None), // Puts things back.
    ] {
        let hypothesis = diagnose(&case(symptoms(), changes, vec![])).await;
        let leader = hypothesis.leading().unwrap();
        assert_eq!(leader.entity.as_str(), "inventory");
        assert_eq!(leader.change.as_ref().map(|change| change.at), expected.map(at));
        let bit = leader.evidence.iter().any(|evidence| evidence.factor == "change_before");
        assert_eq!(bit, expected.is_some());
    }
}

#[tokio::test]
async fn the_path_leads_from_the_cause_to_the_symptom_users_see() {
    let anomalies = vec![own_errors("ledger", 10), passed_on("orders"), passed_on("gateway")];
    let hypothesis = diagnose(&case(anomalies, vec![], vec![])).await;
    let path: Vec<&str> = hypothesis.causes[0].path.iter().map(EntityId::as_str).collect();
    assert_eq!(path, ["ledger", "inventory", "orders", "gateway"]);
}

#[tokio::test]
async fn the_weights_of_the_evidence_add_up_to_the_odds() {
    let anomalies = vec![own_errors("ledger", 10), passed_on("inventory")];
    let hypothesis = diagnose(&case(anomalies, vec![], vec![])).await;
    let sum = |n: usize| hypothesis.causes[n].evidence.iter().map(|evidence| evidence.weight.0).sum::<f64>();
    let odds = hypothesis.causes[0].probability.as_f64() / hypothesis.causes[1].probability.as_f64();
    assert!((odds.ln() - (sum(0) - sum(1))).abs() < 0.01, "{hypothesis:#?}");
}

#[test]
fn all_problems_of_a_configuration_are_told_at_once() {
    let config =
        GraphDiagnoserConfig { own_nats: f64::NAN, min_margin: 2.0, max_causes: 0, ..GraphDiagnoserConfig::default() };
    assert_eq!(GraphDiagnoser::new(config).unwrap_err().problems().len(), 3);
    assert!(GraphDiagnoser::new(GraphDiagnoserConfig::default()).is_ok());
}
