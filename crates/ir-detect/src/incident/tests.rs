//! What joins, what opens, what waits.

use std::sync::Arc;

use ir_core::anomaly::Direction;
use ir_core::{
    AnomalyId, ChangeKind, Dependency, Entity, IncidentId, Labels, ManualClock, Measured, PartName, Probability, Score,
    Severity, Topology, TopologyDocument,
};

use super::*;

fn id(name: &str) -> EntityId {
    EntityId::new(name).unwrap()
}

fn anomaly(entity: &str, symptom: Symptom, second: i64, score: f64) -> Anomaly {
    let onset = Timestamp::from_millis(second * 1_000);
    Anomaly {
        id: AnomalyId::new(format!("{entity}/{symptom:?}/{second}")).unwrap(),
        detector: PartName::new("test").unwrap(),
        version: 1,
        entity: id(entity),
        peer: None,
        subject: format!("{symptom:?}"),
        labels: Labels::new(),
        symptom,
        direction: Direction::Up,
        phase: Phase::Began,
        onset,
        at: onset,
        score: Score::new(score).unwrap(),
        expected: Measured(0.0),
        seen: Measured(1.0),
        threshold: Measured(0.5),
        because: "expected less".to_owned(),
    }
}

/// `web` and `app` use `db`; `mail` stands apart.
fn topology() -> Topology {
    let dependency = |from: &str| Dependency {
        from: id(from),
        to: id("db"),
        kind: "calls".to_owned(),
        strength: Probability::ONE,
        source: "configured".to_owned(),
    };
    let entity = ["app", "db", "mail", "web"].map(|name| Entity::service(id(name))).to_vec();
    Topology::new(TopologyDocument { entity, dependency: vec![dependency("web"), dependency("app")] }).unwrap()
}

fn incident(number: u64, anomalies: Vec<Anomaly>) -> Incident {
    Incident {
        id: IncidentId::numbered(number),
        state: IncidentState::Open,
        severity: Severity::Low,
        onset: anomalies[0].onset,
        opened: anomalies[0].at,
        anomalies,
        changes: Vec::new(),
        classification: None,
    }
}

async fn place(anomalies: Vec<Anomaly>, open: Vec<Incident>, changes: Vec<Change>) -> Vec<Placement> {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let input =
        CorrelationInput { anomalies, open: open.into_iter().map(Into::into).collect(), changes, topology: topology() };
    let answer = StandardCorrelator::default().correlate(&ctx, &input).await.unwrap();
    assert!(answer.iter().zip(&input.anomalies).all(|(grouping, anomaly)| grouping.anomaly == anomaly.id));
    assert!(answer.iter().all(|grouping| !grouping.because.is_empty()));
    answer.into_iter().map(|grouping| grouping.into).collect()
}

fn n_opened(placements: &[Placement]) -> usize {
    let keys: BTreeSet<&String> = placements
        .iter()
        .filter_map(|placement| match placement {
            Placement::Open { key } => Some(key),
            _ => None,
        })
        .collect();
    keys.len()
}

#[tokio::test]
async fn a_strong_one_opens_and_related_weak_ones_come_along() {
    let strong = anomaly("web", Symptom::Errors, 10, 0.9);
    let weak = anomaly("db", Symptom::Absence, 12, 0.3);
    let apart = anomaly("mail", Symptom::Latency, 11, 0.3);
    let placed = place(vec![weak, apart, strong], vec![], vec![]).await;
    assert_eq!((&placed[0], &placed[1]), (&placed[2], &Placement::Ignore));
    assert_eq!(n_opened(&placed), 1);
}

#[tokio::test]
async fn what_alone_is_too_weak() {
    // One row a reason: weak alone; one observation seen twice; load alone; over already; strong load alone.
    for anomalies in [
        vec![anomaly("web", Symptom::Errors, 10, 0.3)],
        vec![anomaly("web", Symptom::Errors, 10, 0.3), anomaly("web", Symptom::Errors, 11, 0.3)],
        vec![anomaly("web", Symptom::Traffic, 10, 0.3), anomaly("db", Symptom::Traffic, 10, 0.3)],
        vec![Anomaly { phase: Phase::Ended, ..anomaly("web", Symptom::Errors, 10, 0.9) }],
        vec![anomaly("web", Symptom::Traffic, 10, 0.9)],
    ] {
        let n = anomalies.len();
        assert_eq!(place(anomalies, vec![], vec![]).await, vec![Placement::Ignore; n]);
    }
}

#[tokio::test]
async fn weak_ones_of_different_kinds_support_each_other() {
    let gone = anomaly("web", Symptom::Absence, 10, 0.3);
    let quiet = anomaly("db", Symptom::Traffic, 11, 0.3);
    assert_eq!(n_opened(&place(vec![gone.clone(), quiet.clone()], vec![], vec![]).await), 1);
    // Too far apart in time they do not.
    let later = Anomaly { onset: Timestamp::from_millis(200_000), ..quiet };
    assert_eq!(n_opened(&place(vec![gone, later], vec![], vec![]).await), 0);
}

#[tokio::test]
async fn unrelated_trouble_makes_two_incidents_unless_a_change_is_shared() {
    let both = vec![anomaly("web", Symptom::Errors, 10, 0.9), anomaly("app", Symptom::Errors, 11, 0.9)];
    assert_eq!(n_opened(&place(both.clone(), vec![], vec![]).await), 2);
    let change = Change {
        entity: id("db"),
        at: Timestamp::from_millis(5_000),
        kind: ChangeKind::Config,
        from: None,
        to: None,
        by: None,
    };
    assert_eq!(n_opened(&place(both, vec![], vec![change]).await), 1);
}

#[tokio::test]
async fn a_flapping_series_never_opens_a_second_incident() {
    let ended = Anomaly { phase: Phase::Ended, ..anomaly("web", Symptom::Errors, 10, 0.9) };
    let first = incident(1, vec![ended]);
    let again = anomaly("web", Symptom::Errors, 400, 0.9);
    let expected = vec![Placement::Join { incident: IncidentId::numbered(1) }];
    assert_eq!(place(vec![again.clone()], vec![first.clone()], vec![]).await, expected);
    // Once people closed it, a new episode is a new incident.
    let closed = Incident { state: IncidentState::Closed, ..first };
    assert_eq!(n_opened(&place(vec![again], vec![closed], vec![]).await), 1);
}

#[test]
fn all_problems_of_a_configuration_are_told_at_once() {
    let config = CorrelatorConfig { window_secs: 0.0, strong_score: 2.0, ..CorrelatorConfig::default() };
    assert_eq!(StandardCorrelator::new(config).unwrap_err().problems().len(), 2);
}
