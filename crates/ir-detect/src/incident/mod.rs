//! Incidents: anomalies that belong together by time, topology and shared change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use ir_core::{
    Anomaly, Change, ConfigError, CorrelationInput, Correlator, Ctx, EntityId, Grouping, Incident, IncidentState,
    Phase, Placement, Problem, Result, Symptom, Timestamp, Topology,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Check;

/// How a [`StandardCorrelator`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CorrelatorConfig {
    /// Anomalies whose onsets lie further apart do not belong together. Seconds, default 60: faults spread within seconds,
    /// and slow collectors add tens of them.
    #[schemars(range(min = 0.1, max = 86_400.0))]
    pub window_secs: f64,
    /// An anomaly with this score opens an incident alone; weaker ones wait for company. Default 0.45: six sigma, or three
    /// failed scrapes.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub strong_score: f64,
    /// Anomalies of unrelated entities belong together when a change of something both depend on is at most this old at their
    /// onset. Seconds, default 300.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub change_secs: f64,
    /// Whether changes of load alone, however many, open an incident. Default no: more or fewer users are no fault.
    pub open_on_traffic: bool,
}

impl Default for CorrelatorConfig {
    fn default() -> Self {
        Self { window_secs: 60.0, strong_score: 0.45, change_secs: 300.0, open_on_traffic: false }
    }
}

impl CorrelatorConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.within("window_secs", self.window_secs, 0.1, 86_400.0);
        check.within("strong_score", self.strong_score, 0.0, 1.0);
        check.within("change_secs", self.change_secs, 0.0, 86_400.0);
        check.done()
    }
}

/// Groups by time, topology and shared change.
///
/// An anomaly joins an open incident when it is a further episode of a series there (so flapping never opens a second
/// incident), or when it began near it and concerns a related entity. The others are grouped among themselves by the same
/// relation, transitively; a group opens an incident when one of them is strong, or when at least two of different symptom or
/// entity support each other. Changes of load support, but neither open nor suffice, and neither do other readings of a load that
/// has changed. What is left is ignored *for now*: the
/// caller asks again, with the newer reports, as long as the anomaly goes on.
///
/// Quadratic in the anomalies without an incident, of which there are few at a time.
#[derive(Debug, Default)]
pub struct StandardCorrelator {
    config: CorrelatorConfig,
}

impl StandardCorrelator {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn new(config: CorrelatorConfig) -> Result<Self, ConfigError> {
        ConfigError::check(config.check(), Self { config })
    }

    fn window(&self) -> Duration {
        Duration::try_from_secs_f64(self.config.window_secs).unwrap_or_default()
    }

    fn near(&self, a: Timestamp, b: Timestamp) -> bool {
        a.since(b).max(b.since(a)) <= self.window()
    }

    /// Why two entities whose anomalies began at `onset` belong together, if they do.
    fn relation(&self, a: &EntityId, b: &EntityId, onset: Timestamp, seen: &Seen<'_>) -> Option<String> {
        if a == b {
            return Some(format!("both concern {a}"));
        }
        if seen.related(a, b) {
            return Some(format!("{a} and {b} depend on one another"));
        }
        let recent = Duration::try_from_secs_f64(self.config.change_secs).unwrap_or_default();
        let shared = seen.changes.iter().find(|change| {
            // A change may be recorded a little after its first effect.
            let near = change.at.since(onset) <= Duration::from_secs(2) && onset.since(change.at) <= recent;
            near && seen.related(a, &change.entity) && seen.related(b, &change.entity)
        })?;
        Some(format!("{a} and {b} both hang on {}, which was changed at {}", shared.entity, shared.at))
    }

    fn joins(&self, anomaly: &Anomaly, incident: &Incident, seen: &Seen<'_>) -> Option<String> {
        let earlier = incident.anomalies.iter().find(|other| same_series(anomaly, other));
        if let Some(earlier) = earlier {
            return Some(format!("a further episode of {}, which is part of it", earlier.id));
        }
        incident.anomalies.iter().find_map(|other| {
            let near = self.near(anomaly.onset, other.onset) || self.near(anomaly.onset, other.at);
            if !near {
                return None;
            }
            let relation = self.relation(&anomaly.entity, &other.entity, anomaly.onset.min(other.onset), seen)?;
            Some(format!("began within {} s of {}; {relation}", self.config.window_secs, other.id))
        })
    }

    /// Whether a group is worth an incident, and why.
    fn opens(&self, group: &[&Anomaly]) -> Option<String> {
        let counts = |anomaly: &Anomaly| self.config.open_on_traffic || anomaly.symptom != Symptom::Traffic;
        if let Some(strong) = group.iter().find(|a| counts(a) && a.score.as_f64() >= self.config.strong_score) {
            return Some(format!(
                "{} has a score of {}, {} or more stands alone",
                strong.id, strong.score, self.config.strong_score
            ));
        }
        // More or less work explains other readings of processors, queues and pools: those support nothing then.
        let load = !self.config.open_on_traffic && group.iter().any(|a| a.symptom == Symptom::Traffic);
        let counts = |a: &Anomaly| counts(a) && !(load && a.symptom == Symptom::Other);
        // Several series of one symptom on one entity are one observation seen twice.
        let kinds: BTreeSet<(&EntityId, Symptom)> = group.iter().map(|a| (&a.entity, a.symptom)).collect();
        if kinds.len() >= 2 && group.iter().any(|a| counts(a)) {
            let names: Vec<String> =
                kinds.iter().map(|(entity, symptom)| format!("{symptom:?} at {entity}").to_lowercase()).collect();
            return Some(format!("weak ones support each other: {}", names.join(", ")));
        }
        None
    }
}

#[async_trait]
impl Correlator for StandardCorrelator {
    fn name(&self) -> &str {
        "standard_correlator"
    }

    async fn correlate(&self, _ctx: &Ctx, input: &CorrelationInput) -> Result<Vec<Grouping>> {
        let seen = Seen::of(input);
        let mut open: Vec<&Incident> = input.open.iter().filter(|i| i.state != IncidentState::Closed).collect();
        open.sort_by(|a, b| (a.onset, &a.id).cmp(&(b.onset, &b.id)));
        let mut placed: Vec<Option<(Placement, String)>> = input
            .anomalies
            .iter()
            .map(|anomaly| {
                let found = open.iter().find_map(|incident| {
                    let because = self.joins(anomaly, incident, &seen)?;
                    Some((Placement::Join { incident: incident.id.clone() }, because))
                });
                let over = (anomaly.phase == Phase::Ended)
                    .then(|| (Placement::Ignore, "it was over before it belonged anywhere".to_owned()));
                found.or(over)
            })
            .collect();
        let free: Vec<usize> = (0..placed.len()).filter(|n| placed[*n].is_none()).collect();
        for group in self.groups(&free, &input.anomalies, &seen) {
            let mut members: Vec<&Anomaly> = group.iter().map(|n| &input.anomalies[*n]).collect();
            members.sort_by(|a, b| (a.onset, &a.id).cmp(&(b.onset, &b.id)));
            let key = members.first().map(|first| first.id.to_string()).unwrap_or_default();
            let verdict = self.opens(&members);
            for n in group {
                placed[n] = Some(match &verdict {
                    Some(because) => (Placement::Open { key: key.clone() }, because.clone()),
                    None => (Placement::Ignore, self.too_weak(&input.anomalies[n])),
                });
            }
        }
        let answers = input.anomalies.iter().zip(placed).map(|(anomaly, placed)| {
            let (into, because) = placed.unwrap_or_else(|| (Placement::Ignore, self.too_weak(anomaly)));
            Grouping { anomaly: anomaly.id.clone(), into, because }
        });
        Ok(answers.collect())
    }
}

impl StandardCorrelator {
    fn too_weak(&self, anomaly: &Anomaly) -> String {
        match anomaly.symptom {
            Symptom::Traffic if !self.config.open_on_traffic => {
                "only the load changed, and nothing else is wrong".to_owned()
            }
            _ => format!("a score of {} is below {} and nothing supports it", anomaly.score, self.config.strong_score),
        }
    }

    /// Groups of those that belong together, transitively, each ascending, in the order of their first member.
    fn groups(&self, free: &[usize], anomalies: &[Anomaly], seen: &Seen<'_>) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for &n in free {
            let one = &anomalies[n];
            let (mut joined, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| {
                group.iter().map(|m| &anomalies[*m]).any(|other| {
                    self.near(one.onset, other.onset)
                        && self.relation(&one.entity, &other.entity, one.onset.min(other.onset), seen).is_some()
                })
            });
            joined.push(vec![n]);
            let mut merged: Vec<usize> = joined.into_iter().flatten().collect();
            merged.sort_unstable();
            groups = apart;
            groups.push(merged);
        }
        groups.sort_unstable();
        groups
    }
}

/// Whether both are episodes of the same series.
fn same_series(a: &Anomaly, b: &Anomaly) -> bool {
    a.detector == b.detector
        && a.entity == b.entity
        && a.peer == b.peer
        && a.subject == b.subject
        && a.labels == b.labels
}

/// What is asked of the topology many times over.
struct Seen<'a> {
    below: BTreeMap<&'a EntityId, BTreeSet<EntityId>>,
    changes: Vec<&'a Change>,
}

impl<'a> Seen<'a> {
    fn of(input: &'a CorrelationInput) -> Self {
        let mut changes: Vec<&Change> = input.changes.iter().collect();
        changes.sort_by(|a, b| (a.at, &a.entity, a.kind).cmp(&(b.at, &b.entity, b.kind)));
        let mut seen = Self { below: BTreeMap::new(), changes };
        let of_incidents = input.open.iter().flat_map(|incident| &incident.anomalies);
        for anomaly in input.anomalies.iter().chain(of_incidents) {
            seen.add(&anomaly.entity, &input.topology);
        }
        for change in &input.changes {
            seen.add(&change.entity, &input.topology);
        }
        seen
    }

    fn add(&mut self, entity: &'a EntityId, topology: &Topology) {
        self.below.entry(entity).or_insert_with(|| topology.reachable_from(entity));
    }

    /// Whether one depends on the other, directly or not.
    fn related(&self, a: &EntityId, b: &EntityId) -> bool {
        let below = |a: &EntityId, b: &EntityId| self.below.get(a).is_some_and(|below| below.contains(b));
        a == b || below(a, b) || below(b, a)
    }
}

#[cfg(test)]
mod tests;
