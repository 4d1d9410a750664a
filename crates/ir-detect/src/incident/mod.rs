//! Incidents: anomalies that belong together by time, topology and shared change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use ir_core::{
    Anomaly, Change, ConfigError, CorrelationInput, Correlator, Ctx, EntityId, Grouping, Incident, IncidentState,
    Phase, Placement, Problem, Result, Symptom, Timestamp,
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
/// Quadratic in the entities that have anomalies, with one bit for each pair.
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
        let shared = seen.changes.iter().find(|change| {
            self.is_shortly_after(change, onset) && seen.related(a, &change.entity) && seen.related(b, &change.entity)
        })?;
        Some(format!("{a} and {b} both hang on {}, which was changed at {}", shared.entity, shared.at))
    }

    /// Whether what began at `onset` may come of the change. A change may be recorded a little after its first effect.
    fn is_shortly_after(&self, change: &Change, onset: Timestamp) -> bool {
        let recent = Duration::try_from_secs_f64(self.config.change_secs).unwrap_or_default();
        change.at.since(onset) <= Duration::from_secs(2) && onset.since(change.at) <= recent
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
        let open = OpenIncidents::of(input, &seen);
        let mut placed: Vec<Option<(Placement, String)>> = input
            .anomalies
            .iter()
            .map(|anomaly| {
                let found = open.near(&anomaly.entity, &seen).find_map(|incident| {
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
    ///
    /// Relations are between entities, and nearness is in time: of two related entities the anomalies in the order of their onsets
    /// belong together as far as each is near the one before it. So pairs of entities are looked at, and not pairs of anomalies.
    fn groups(&self, free: &[usize], anomalies: &[Anomaly], seen: &Seen<'_>) -> Vec<Vec<usize>> {
        let mut by_entity: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &n in free {
            by_entity.entry(seen.place(&anomalies[n].entity)).or_default().push(n);
        }
        let by_onset = |members: &mut Vec<usize>| members.sort_by_key(|n| (anomalies[*n].onset, *n));
        by_entity.values_mut().for_each(by_onset);
        let mut sets = Sets::new(anomalies.len());
        let chain = |sets: &mut Sets, members: &[usize], may_begin: &dyn Fn(Timestamp) -> bool| {
            let mut last: Option<usize> = None;
            for &n in members {
                if let Some(last) = last.filter(|last| self.near(anomalies[*last].onset, anomalies[n].onset)) {
                    sets.join(last, n);
                }
                if may_begin(anomalies[n].onset) {
                    last = Some(n);
                }
            }
        };
        let always = |_: Timestamp| true;
        for (place, members) in &by_entity {
            chain(&mut sets, members, &always);
            for below in seen.below(*place).filter_map(|below| by_entity.get(&below)) {
                let mut both = [members.as_slice(), below.as_slice()].concat();
                by_onset(&mut both);
                chain(&mut sets, &both, &always);
            }
        }
        for change in &seen.changes {
            let hangs = seen.place(&change.entity);
            let mut members: Vec<usize> = by_entity
                .iter()
                .filter(|(place, _)| seen.are_related(**place, hangs))
                .flat_map(|(_, m)| m)
                .copied()
                .collect();
            by_onset(&mut members);
            chain(&mut sets, &members, &|onset| self.is_shortly_after(change, onset));
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &n in free {
            groups.entry(sets.first(n)).or_default().push(n);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.sort_unstable();
        groups
    }
}

/// Disjoint sets of numbers, joined by union and find with path halving.
#[derive(Debug)]
struct Sets(Vec<usize>);

impl Sets {
    fn new(n: usize) -> Self {
        Self((0..n).collect())
    }

    fn first(&mut self, mut n: usize) -> usize {
        while self.0[n] != n {
            self.0[n] = self.0[self.0[n]];
            n = self.0[n];
        }
        n
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.first(a), self.first(b));
        self.0[a.max(b)] = a.min(b);
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

/// What is asked of the topology many times over: the entities that matter, and which of them depends on which, as a matrix of bits.
struct Seen<'a> {
    places: BTreeMap<&'a EntityId, usize>,
    below: Vec<Vec<u64>>,
    changes: Vec<&'a Change>,
}

impl<'a> Seen<'a> {
    fn of(input: &'a CorrelationInput) -> Self {
        let mut changes: Vec<&Change> = input.changes.iter().collect();
        changes.sort_by(|a, b| (a.at, &a.entity, a.kind).cmp(&(b.at, &b.entity, b.kind)));
        let of_incidents = input.open.iter().flat_map(|incident| &incident.anomalies);
        let named = input.anomalies.iter().chain(of_incidents).map(|anomaly| &anomaly.entity);
        let named: BTreeSet<&EntityId> = named.chain(input.changes.iter().map(|change| &change.entity)).collect();
        let places: BTreeMap<&EntityId, usize> = named.into_iter().zip(0..).collect();
        let row = |entity: &&EntityId| {
            let mut row = vec![0_u64; places.len().div_ceil(64)];
            for place in input.topology.below(entity).into_iter().filter_map(|below| places.get(below)) {
                row[place / 64] |= 1 << (place % 64);
            }
            row
        };
        let below = places.keys().map(row).collect();
        Self { places, below, changes }
    }

    /// The number of an entity of the input.
    fn place(&self, entity: &EntityId) -> usize {
        self.places.get(entity).copied().unwrap_or(usize::MAX)
    }

    /// The numbers of those that it depends on.
    fn below(&self, place: usize) -> impl Iterator<Item = usize> + '_ {
        let row = self.below.get(place).map(Vec::as_slice).unwrap_or_default();
        row.iter().enumerate().flat_map(|(word, bits)| {
            let mut bits = *bits;
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros() as usize;
                // The lowest bit is taken out.
                (bits != 0).then(|| {
                    bits &= bits - 1;
                    word * 64 + bit
                })
            })
        })
    }

    fn are_related(&self, a: usize, b: usize) -> bool {
        let below = |a: usize, b: usize| {
            self.below.get(a).and_then(|row| row.get(b / 64)).is_some_and(|bits| bits >> (b % 64) & 1 == 1)
        };
        a == b || below(a, b) || below(b, a)
    }

    /// Whether one depends on the other, directly or not.
    fn related(&self, a: &EntityId, b: &EntityId) -> bool {
        self.are_related(self.place(a), self.place(b))
    }
}

/// The open incidents, oldest first, and where their anomalies are.
struct OpenIncidents<'a> {
    incidents: Vec<&'a Incident>,
    by_entity: BTreeMap<usize, BTreeSet<usize>>,
}

impl<'a> OpenIncidents<'a> {
    fn of(input: &'a CorrelationInput, seen: &Seen<'_>) -> Self {
        let open = input.open.iter().map(|incident| &**incident).filter(|i| i.state != IncidentState::Closed);
        let mut incidents: Vec<&Incident> = open.collect();
        incidents.sort_by(|a, b| (a.onset, &a.id).cmp(&(b.onset, &b.id)));
        let mut by_entity: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (n, incident) in incidents.iter().enumerate() {
            for anomaly in &incident.anomalies {
                by_entity.entry(seen.place(&anomaly.entity)).or_default().insert(n);
            }
        }
        Self { incidents, by_entity }
    }

    /// Those that an anomaly of `entity` may belong to, oldest first.
    fn near(&self, entity: &EntityId, seen: &Seen<'_>) -> impl Iterator<Item = &'a Incident> + '_ {
        let own = seen.place(entity);
        let changed: BTreeSet<usize> = seen
            .changes
            .iter()
            .map(|change| seen.place(&change.entity))
            .filter(|at| seen.are_related(own, *at))
            .collect();
        let may = |place: usize| {
            seen.are_related(own, place) || changed.iter().any(|changed| seen.are_related(place, *changed))
        };
        let found: BTreeSet<usize> =
            self.by_entity.iter().filter(|(place, _)| may(**place)).flat_map(|(_, n)| n).copied().collect();
        found.into_iter().filter_map(|n| self.incidents.get(n).copied())
    }
}

#[cfg(test)]
mod tests;
