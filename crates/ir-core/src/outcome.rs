//! Outcomes: whether it helped, measured by somebody other than the executor.

use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ctx::Ctx;
use crate::entity::EntityId;
use crate::error::Result;
use crate::hypothesis::Observations;
use crate::id::{IncidentId, PartName, PlanId, StepRef};
use crate::incident::Incident;
use crate::plan::{Call, Verification};
use crate::score::Measured;
use crate::time::Timestamp;

/// What is to be checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The step that was done.
    pub step: StepRef,
    /// What was done.
    pub call: Call,
    /// When it must count as a success.
    pub verification: Verification,
    /// When the effect took place.
    pub applied: Timestamp,
    /// The incident as it stands now, with the latest report of each anomaly.
    pub incident: Incident,
    /// What was measured lately.
    pub observations: Observations,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// All that is demanded holds now.
    Yes,
    /// Something does not hold.
    No,
    /// A signal is missing, so that it cannot be told. Never counts as yes.
    Unknown,
}

/// One measured value beside its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// What was measured, in words.
    pub what: String,
    /// The value.
    pub value: Measured,
    /// The limit.
    pub limit: Measured,
    /// Whether it holds.
    pub holds: Holds,
}

/// The answer of a verifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    /// The verifier.
    pub by: PartName,
    /// All together.
    pub holds: Holds,
    /// Each by itself.
    pub readings: Vec<Reading>,
    /// In a sentence.
    pub because: String,
}

/// How often the entities that a step concerns are scraped. Both are `None` where none of them is scraped at all, as when their
/// signals are events alone: then times decide by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Scrapes since the effect: of the entity that had the fewest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrapes: Option<u32>,
    /// The longest usual time between two scrapes. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
}

impl Pace {
    /// The pace of `entities` since `applied`, as far as `observations` know it.
    #[must_use]
    pub fn of<'a>(
        observations: &Observations,
        entities: impl IntoIterator<Item = &'a EntityId>,
        applied: Timestamp,
    ) -> Self {
        let mut pace = Self::default();
        for entity in entities {
            if observations.current_targets(entity).next().is_none() {
                continue;
            }
            let scrapes = u32::try_from(observations.scrapes_since(entity, applied)).unwrap_or(u32::MAX);
            pace.scrapes = Some(pace.scrapes.map_or(scrapes, |fewest| fewest.min(scrapes)));
            let interval = observations.interval_of(entity);
            let interval_ms = interval.map(|usual| u64::try_from(usual.as_millis()).unwrap_or(u64::MAX));
            pace.interval_ms = pace.interval_ms.max(interval_ms);
        }
        pace
    }
}

/// Checks whether a step helped.
///
/// # Contract
///
/// 1. The same check gives the same answer.
/// 2. A missing signal is `Unknown`, never `Yes`.
/// 3. What was measured before the effect does not count.
///
/// # Cancellation
///
/// Dropping the future is safe.
///
/// # Errors
///
/// Any; counts as `Unknown` and is asked again until the time is over.
#[async_trait]
pub trait Verifier: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// Whether what `check` demands holds now.
    async fn verify(&self, ctx: &Ctx, check: &Check) -> Result<Verified>;
}

crate::forward! {
    Verifier {
        fn name(&self) -> &str;
        async fn verify(&self, ctx: &Ctx, check: &Check) -> Result<Verified>;
    }
}

/// How an incident's plan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// The signals came back.
    Recovered,
    /// They did not.
    NotRecovered,
    /// It cannot be told.
    Unknown,
}

/// What came of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The incident.
    pub incident: IncidentId,
    /// The plan.
    pub plan: PlanId,
    /// How it ended.
    pub recovery: Recovery,
    /// From the onset to the incident. Milliseconds.
    pub detect_ms: u64,
    /// From the incident to the decision. Milliseconds.
    pub decide_ms: u64,
    /// From the decision to the first effect, if there was one. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act_ms: Option<u64>,
    /// From the first effect to the proof that it helped, if it did. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover_ms: Option<u64>,
    /// In a sentence.
    pub because: String,
}
