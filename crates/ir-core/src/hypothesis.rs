//! Hypotheses: possible causes with probability, path and evidence.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ctx::Ctx;
use crate::entity::EntityId;
use crate::error::Result;
use crate::id::{HypothesisId, PartName};
use crate::incident::Incident;
use crate::score::{Measured, Probability};
use crate::signal::{Change, Series, Target};
use crate::time::Timestamp;
use crate::topology::Topology;

/// One piece of evidence for or against a cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The factor: `own_symptoms`, `explains`, `onset_first`, `change_before`, `callee_suspect` ...
    pub factor: String,
    /// Its weight as a log-likelihood ratio in natural units: above 0 speaks for, below 0 against.
    pub weight: Measured,
    /// In words.
    pub because: String,
}

/// One possible cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// Who is thought to be at fault.
    pub entity: EntityId,
    /// How likely, among all candidates and "something else".
    pub probability: Probability,
    /// From the cause to the symptom that users see, the cause first.
    pub path: Vec<EntityId>,
    /// The change that is thought to have done it, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Every factor, numbers included.
    pub evidence: Vec<Evidence>,
}

/// What is thought to have caused an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    /// Its name.
    pub id: HypothesisId,
    /// The diagnoser.
    pub by: PartName,
    /// Possible causes, most likely first.
    pub causes: Vec<Cause>,
    /// Set when the evidence does not carry a decision: which signal is missing, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abstains: Option<String>,
}

impl Hypothesis {
    /// The most likely cause, unless the diagnoser abstains.
    #[must_use]
    pub fn leading(&self) -> Option<&Cause> {
        if self.abstains.is_some() { None } else { self.causes.first() }
    }
}

/// Recent history of one series, as far as the bounded store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesHistory {
    /// What it belongs to.
    pub series: Series,
    /// When, ascending.
    pub times: Vec<Timestamp>,
    /// `values[i]` at `times[i]`: rates for counters, values for gauges.
    pub values: Vec<f64>,
}

/// Plain statistics cut from the bounded observation store: what a diagnoser and a verifier may look at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observations {
    /// The end of what is in here.
    pub until: Timestamp,
    /// One history a series, sorted by series.
    pub series: Vec<SeriesHistory>,
    /// When each target was scraped, sorted by target.
    pub targets: Vec<TargetHistory>,
}

/// When one target was scraped, as far as the bounded store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHistory {
    /// What was scraped.
    pub target: Target,
    /// The usual time between two scrapes; `None` until it is known.
    pub interval: Option<Duration>,
    /// The scrapes that were answered, ascending. A failed one is in the history of `up` only.
    pub scrapes: Vec<Timestamp>,
}

/// Intervals without a scrape after which a target is taken for gone: one may fail, two may be late.
const GONE_AFTER_INTERVALS: u32 = 3;

impl TargetHistory {
    /// Whether the target is still scraped at `until`: not after three intervals of silence, and not without any scrape.
    #[must_use]
    pub fn is_current(&self, until: Timestamp) -> bool {
        let Some(last) = self.scrapes.last() else { return false };
        self.interval.is_none_or(|interval| until.since(*last) <= interval.saturating_mul(GONE_AFTER_INTERVALS))
    }

    /// How many scrapes came later than `since`.
    #[must_use]
    pub fn scrapes_since(&self, since: Timestamp) -> usize {
        self.scrapes.len() - self.scrapes.partition_point(|at| *at <= since)
    }
}

impl Observations {
    /// The targets of `entity` that are still scraped.
    pub fn current_targets(&self, entity: &EntityId) -> impl Iterator<Item = &TargetHistory> {
        let of_entity = self.targets.iter().filter(move |history| history.target.entity == *entity);
        of_entity.filter(|history| history.is_current(self.until))
    }

    /// The usual time between two scrapes of `entity`: the longest of its current targets, so that each of them is scraped
    /// within it. `None` without targets or until one is known.
    #[must_use]
    pub fn interval_of(&self, entity: &EntityId) -> Option<Duration> {
        self.current_targets(entity).filter_map(|history| history.interval).max()
    }

    /// How often `entity` was scraped later than `since`: as often as each of its current targets at least. 0 without targets.
    #[must_use]
    pub fn scrapes_since(&self, entity: &EntityId, since: Timestamp) -> usize {
        self.current_targets(entity).map(|history| history.scrapes_since(since)).min().unwrap_or(0)
    }
}

/// Everything about an incident that a diagnoser may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The name the answer must have.
    pub id: HypothesisId,
    /// The incident, with its anomalies and the changes near it.
    pub incident: Incident,
    /// Who depends on whom.
    pub topology: Topology,
    /// What was measured around the onset and before.
    pub observations: Observations,
}

/// Ranks causes.
///
/// # Contract
///
/// 1. The same case gives the same answer.
/// 2. Probabilities do not rise along the list and sum up to 1 at most.
/// 3. Every cause is an entity of the topology, once, with a path that begins with it.
/// 4. The order of anomalies, changes, series and entities in the case does not matter.
/// 5. A healthy entity without symptoms or changes does not change who leads.
/// 6. No anomalies: it abstains.
///
/// # Cancellation
///
/// Dropping the future is safe.
///
/// # Errors
///
/// Any; the incident then has no hypothesis, nothing is planned, and a person is asked.
#[async_trait]
pub trait Diagnoser: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// What may have caused the incident of `case`.
    async fn diagnose(&self, ctx: &Ctx, case: &Case) -> Result<Hypothesis>;
}

crate::forward! {
    Diagnoser {
        fn name(&self) -> &str;
        async fn diagnose(&self, ctx: &Ctx, case: &Case) -> Result<Hypothesis>;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::Labels;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn scraped(entity: &'static str, pod: &str, interval: Option<u64>, secs: &[i64]) -> TargetHistory {
        let labels: Labels = [("pod", pod)].into_iter().filter(|(_, pod)| !pod.is_empty()).collect();
        TargetHistory {
            target: Target { entity: EntityId::literal(entity), labels },
            interval: interval.map(Duration::from_secs),
            scrapes: secs.iter().copied().map(at).collect(),
        }
    }

    #[test]
    fn an_entity_was_scraped_as_often_as_the_least_of_its_current_targets() {
        let targets = vec![
            scraped("api", "a", Some(10), &[0, 10, 20, 30, 40]),
            scraped("api", "b", Some(15), &[5, 20, 35]),
            // It was replaced at 12 s and answered once after the moment that counts.
            scraped("api", "gone", Some(10), &[0, 10]),
            scraped("db", "", None, &[41]),
            scraped("idle", "", Some(10), &[]),
        ];
        let observations = Observations { until: at(41), targets, ..Observations::default() };
        // One row a question: entity, since, scrapes, interval.
        for (entity, since, scrapes, interval) in [
            ("api", 8, 2, Some(15)),
            ("api", -1, 3, Some(15)),
            ("api", 20, 1, Some(15)), // A scrape at the moment itself is not later.
            ("api", 41, 0, Some(15)),
            ("db", 0, 1, None), // Without an interval nobody can call it gone.
            ("idle", 0, 0, None),
            ("unknown", 0, 0, None),
        ] {
            let entity = EntityId::literal(entity);
            assert_eq!(observations.scrapes_since(&entity, at(since)), scrapes, "{entity} since {since}");
            assert_eq!(observations.interval_of(&entity), interval.map(Duration::from_secs), "{entity}");
        }
    }

    #[test]
    fn three_silent_intervals_are_not_yet_gone() {
        let history = scraped("api", "", Some(10), &[0, 10]);
        assert!(history.is_current(at(40)));
        assert!(!history.is_current(at(41)));
    }
}
