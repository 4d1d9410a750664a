//! Small nouns for the tests of this crate.

use std::sync::Arc;

use ir_core::anomaly::Symptom;
use ir_core::{
    ActionName, ActionSpec, Anomaly, AnomalyDirection, AnomalyId, Call, Catalogue, Cause, ClassName, Classification,
    Ctx, Entity, EntityId, Hypothesis, HypothesisId, Incident, IncidentId, IncidentState, Labels, ManualClock,
    Measured, PartName, Phase, Probability, RecoveryClass, Reversibility, RiskClass, Score, Severity, Timestamp,
    Topology, TopologyDocument,
};

pub(crate) fn ctx() -> Ctx {
    Ctx::new(Arc::new(ManualClock::new()))
}

pub(crate) fn id(name: &str) -> EntityId {
    EntityId::new(name).unwrap()
}

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1000)
}

pub(crate) fn share(value: f64) -> Probability {
    Probability::new(value).unwrap()
}

pub(crate) fn topology(names: &[&str]) -> Topology {
    let entity = names.iter().map(|name| Entity::service(id(name))).collect();
    Topology::new(TopologyDocument { entity, dependency: Vec::new() }).unwrap()
}

pub(crate) fn spec(action: &str) -> ActionSpec {
    ActionSpec {
        name: ActionName::new(action).unwrap(),
        description: action.to_owned(),
        params: ActionSpec::no_params(),
        risk: RiskClass::Low,
        reversibility: Reversibility::Transient,
        recovery: RecoveryClass::Keyed,
        blast_radius: 1,
        changes_target: true,
    }
}

pub(crate) fn catalogue(actions: &[&str]) -> Catalogue {
    Catalogue::new(actions.iter().map(|action| spec(action))).unwrap()
}

pub(crate) fn call(action: &str, target: &str) -> Call {
    Call { action: ActionName::new(action).unwrap(), target: id(target), params: serde_json::Map::new() }
}

/// Begun at second 100, reported at second 110.
pub(crate) fn anomaly(entity: &str, symptom: Symptom, phase: Phase) -> Anomaly {
    Anomaly {
        id: AnomalyId::new(format!("test/{entity}/{symptom:?}")).unwrap(),
        detector: PartName::literal("test"),
        version: 1,
        entity: id(entity),
        peer: None,
        subject: "test".to_owned(),
        labels: Labels::new(),
        symptom,
        direction: AnomalyDirection::Up,
        phase,
        onset: at(100),
        at: at(110),
        score: Score::ONE,
        expected: Measured(0.0),
        seen: Measured(1.0),
        threshold: Measured(0.5),
        because: "a test wants it so".to_owned(),
    }
}

pub(crate) fn incident(anomalies: Vec<Anomaly>) -> Incident {
    Incident {
        id: IncidentId::numbered(7),
        state: IncidentState::Open,
        severity: Severity::High,
        onset: at(100),
        opened: at(111),
        anomalies,
        changes: Vec::new(),
        classification: None,
    }
}

pub(crate) fn classification(class: &str, confidence: f64) -> Classification {
    Classification {
        class: ClassName::new(class).unwrap(),
        confidence: share(confidence),
        severity: Severity::High,
        because: vec!["a test wants it so".to_owned()],
        similar: Vec::new(),
        by: PartName::literal("test"),
    }
}

pub(crate) fn hypothesis(cause: &str, probability: f64) -> Hypothesis {
    let cause = Cause {
        entity: id(cause),
        probability: share(probability),
        path: vec![id(cause)],
        change: None,
        evidence: Vec::new(),
    };
    let incident = IncidentId::numbered(7);
    Hypothesis {
        id: HypothesisId::of(&incident, 1),
        by: PartName::literal("test"),
        causes: vec![cause],
        abstains: None,
    }
}
