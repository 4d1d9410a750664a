//! What the anomalies of a case say of each entity, without any judgement yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ir_core::{Anomaly, Case, EntityId, Observations, Phase, Symptom, Timestamp};

use crate::anomaly::subject;

/// What was seen of one entity by itself.
#[derive(Debug, Default)]
pub(crate) struct Symptoms {
    /// The strongest of each kind, by how far it is evidence against the entity itself.
    pub(crate) own: BTreeMap<OwnKind, Seen>,
    /// Symptoms that a callee's fault explains as well.
    pub(crate) passed_on: Option<Seen>,
    /// More or less work than usual: what others do to it.
    pub(crate) traffic: Option<Seen>,
}

/// Symptoms that speak against the entity that shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OwnKind {
    Errors,
    Absence,
    Latency,
    Saturation,
    /// Logs, behaviour and gauges of unknown meaning.
    Other,
}

/// The strongest anomaly of a kind.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) score: f64,
    pub(crate) onset: Timestamp,
    pub(crate) because: String,
}

/// What callers measured of one entity.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    pub(crate) unreachable: Option<Seen>,
    pub(crate) own: Option<Seen>,
    pub(crate) relayed: Option<Seen>,
    pub(crate) late: Option<Seen>,
}

impl Blame {
    /// Blamed for what only itself can have done.
    pub(crate) fn is_direct(&self) -> bool {
        self.unreachable.is_some() || self.own.is_some()
    }

    pub(crate) fn is_any(&self) -> bool {
        self.is_direct() || self.relayed.is_some() || self.late.is_some()
    }
}

impl Symptoms {
    pub(crate) fn is_suspect(&self) -> bool {
        self.own.keys().any(|kind| *kind != OwnKind::Other)
    }

    pub(crate) fn is_symptomatic(&self) -> bool {
        !self.own.is_empty() || self.passed_on.is_some()
    }

    /// When its own trouble began, else when it first showed any.
    pub(crate) fn onset(&self) -> Option<Timestamp> {
        let own = self.own.values().map(|seen| seen.onset).min();
        own.or_else(|| self.passed_on.as_ref().map(|seen| seen.onset))
    }
}

/// All of a case.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub(crate) symptoms: BTreeMap<EntityId, Symptoms>,
    pub(crate) blame: BTreeMap<EntityId, Blame>,
    /// Who blames whom: callers of each blamed entity.
    pub(crate) blamed_by: BTreeMap<EntityId, BTreeSet<EntityId>>,
    pub(crate) n_anomalies: usize,
}

impl Picture {
    /// Of the anomalies that go on; of all, when none does any more.
    pub(crate) fn of(case: &Case) -> Self {
        let mut chosen: Vec<&Anomaly> =
            case.incident.anomalies.iter().filter(|anomaly| anomaly.phase != Phase::Ended).collect();
        if chosen.is_empty() {
            chosen = case.incident.anomalies.iter().collect();
        }
        // Of two equal scores the earlier onset is kept, whichever order they came in.
        chosen.sort_by(|a, b| (a.onset, &a.id, a.at).cmp(&(b.onset, &b.id, b.at)));
        let mut picture = Self { n_anomalies: chosen.len(), ..Self::default() };
        for anomaly in chosen {
            picture.add(anomaly);
        }
        picture
    }

    fn add(&mut self, anomaly: &Anomaly) {
        let seen = Seen { score: anomaly.score.as_f64(), onset: anomaly.onset, because: anomaly.because.clone() };
        let symptoms = self.symptoms.entry(anomaly.entity.clone()).or_default();
        let subject = anomaly.subject.as_str();
        let own = |symptoms: &mut Symptoms, kind| {
            let slot = symptoms.own.entry(kind).or_insert_with(|| seen.clone());
            keep(slot, &seen);
        };
        match anomaly.symptom {
            Symptom::Errors if subject == subject::OWN_ERRORS => own(symptoms, OwnKind::Errors),
            Symptom::Latency if subject == subject::EXCLUSIVE => own(symptoms, OwnKind::Latency),
            Symptom::Absence => own(symptoms, OwnKind::Absence),
            Symptom::Saturation => own(symptoms, OwnKind::Saturation),
            Symptom::Errors | Symptom::Latency => keep_in(&mut symptoms.passed_on, &seen),
            Symptom::Traffic => keep_in(&mut symptoms.traffic, &seen),
            Symptom::Downstream => {
                keep_in(&mut symptoms.passed_on, &seen);
                if let Some(peer) = &anomaly.peer {
                    self.blame(anomaly, peer, &seen);
                }
            }
            _ => own(symptoms, OwnKind::Other),
        }
    }

    fn blame(&mut self, anomaly: &Anomaly, peer: &EntityId, seen: &Seen) {
        let blame = self.blame.entry(peer.clone()).or_default();
        keep_in(
            match anomaly.subject.as_str() {
                subject::CALLS_UNREACHABLE => &mut blame.unreachable,
                subject::CALLS_OWN => &mut blame.own,
                subject::CALLS_RELAYED => &mut blame.relayed,
                _ => &mut blame.late,
            },
            seen,
        );
        self.blamed_by.entry(peer.clone()).or_default().insert(anomaly.entity.clone());
    }

    /// Entities with symptoms that need a cause: changes of load alone do not.
    pub(crate) fn symptomatic(&self) -> BTreeSet<EntityId> {
        self.symptoms.iter().filter(|(_, s)| s.is_symptomatic()).map(|(entity, _)| entity.clone()).collect()
    }
}

fn keep(slot: &mut Seen, seen: &Seen) {
    let onset = slot.onset.min(seen.onset);
    if seen.score > slot.score {
        *slot = seen.clone();
    }
    slot.onset = onset;
}

fn keep_in(slot: &mut Option<Seen>, seen: &Seen) {
    match slot {
        Some(slot) => keep(slot, seen),
        None => *slot = Some(seen.clone()),
    }
}

/// A point of a ratio covers the time since the look before: the first ones after a moment tell of calls before it.
const LOOK: Duration = Duration::from_millis(700);

/// What the observations say beside the anomalies.
#[derive(Debug)]
pub(crate) struct Telemetry<'a>(pub(crate) &'a Observations);

impl Telemetry<'_> {
    /// Whether anything at all was measured of `entity`.
    pub(crate) fn knows(&self, entity: &EntityId) -> bool {
        self.0.series.iter().any(|history| history.series.entity == *entity)
    }

    /// Whether callers of `peer` went on getting good answers after `since`: `None` when no call came to an end.
    pub(crate) fn answers_well(&self, peer: &EntityId, since: Timestamp) -> Option<bool> {
        let since = since.plus(LOOK);
        let mut failed: Vec<f64> = Vec::new();
        for history in &self.0.series {
            let series = &history.series;
            let of_peer =
                series.metric == subject::CALLS_FAILED && series.labels.iter().any(|(_, value)| value == peer.as_str());
            if of_peer {
                let after = history.times.iter().zip(&history.values).filter(|(at, _)| **at > since);
                failed.extend(after.map(|(_, value)| *value));
            }
        }
        if failed.is_empty() {
            return None;
        }
        Some(failed.iter().all(|ratio| *ratio < 0.05))
    }
}
