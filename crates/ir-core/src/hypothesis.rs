//! Hypotheses: possible causes with probability, path and evidence.

use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ctx::Ctx;
use crate::entity::EntityId;
use crate::error::Result;
use crate::id::{HypothesisId, PartName};
use crate::incident::Incident;
use crate::score::{Measured, Probability};
use crate::signal::{Change, Series};
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
