//! What the engine decides by: recorded whole when it starts, so that replay needs nothing else.

use ir_core::config::{ConfigError, Problem};
use ir_core::{Catalogue, Topology};
use ir_plan::decision::Policy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Times and counts of the engine. All times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    /// How long the sources rest between two looks. 500.
    pub poll_every_ms: u64,
    /// How long a new incident gathers anomalies before its cause is looked for. 1,500.
    pub settle_ms: u64,
    /// How long after a diagnosis that abstained, or a plan that no longer fitted, the next one is made. 1,500.
    pub rediagnose_ms: u64,
    /// Diagnoses in a row that named no cause, before a person gets the incident. 8.
    pub diagnoses: u32,
    /// Plans tried for one incident before a person gets it. 2.
    pub plans: u32,
    /// How often a step's success is measured. 500.
    pub verify_every_ms: u64,
    /// After a restart that lost a detector's state: how long what it reported before may stay unreported before it counts as
    /// over. 60,000.
    pub forget_ms: u64,
    /// How long all anomalies must have ended before an incident closes by itself. 5,000.
    pub quiet_ms: u64,
    /// How long a part may take to answer, executors excepted: their time is in the plan. 10,000.
    pub answer_within_ms: u64,
    /// Tries of a call to a component that failed for good reason: wrong input, a panic. What may pass with time (rate limits, a
    /// component that is away) is tried for `patience_ms` instead. 3.
    pub retries: u32,
    /// Delay before the second try of a call, a delivery or a send; doubled with every further one. 1,000.
    pub retry_first_ms: u64,
    /// The longest delay between two tries. 60,000.
    pub retry_most_ms: u64,
    /// How long a step waits in all for what passes with time (a rate limit, a budget, a lock of another plan) before a person gets
    /// the incident. 300,000.
    pub patience_ms: u64,
    /// How often detectors' states are stored, beside each time an episode begins or ends. Signals that came after the latest stored
    /// state are read again after a crash, from sources that still have them. 300,000.
    pub snapshot_every_ms: u64,
    /// After so many records a checkpoint is written, beside the one at an orderly end: a start reads no more than about these. 5,000.
    pub checkpoint_every: u64,
    /// How far back changes are kept for correlation. 3,600,000.
    pub changes_for_ms: u64,
    /// How long the writer's lease lasts without renewal. 15,000.
    pub lease_ms: u64,
    /// How long an append to the journal, or a claim of it, may take. An append that takes longer has an unknown result: nothing is written or done any
    /// more until the next start. 10,000.
    pub append_within_ms: u64,
    /// How long the engine waits for effects in flight when it ends. Their executors are asked to stop first. What is in flight
    /// after that is recorded, and the next start settles it by its class. 10,000.
    pub shutdown_within_ms: u64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            poll_every_ms: 500,
            settle_ms: 1_500,
            rediagnose_ms: 1_500,
            diagnoses: 8,
            plans: 2,
            verify_every_ms: 500,
            forget_ms: 60_000,
            quiet_ms: 5_000,
            answer_within_ms: 10_000,
            retries: 3,
            retry_first_ms: 1_000,
            retry_most_ms: 60_000,
            patience_ms: 300_000,
            snapshot_every_ms: 300_000,
            checkpoint_every: 5_000,
            changes_for_ms: 3_600_000,
            lease_ms: 15_000,
            append_within_ms: ir_core::kernel::APPEND_WITHIN_MS,
            shutdown_within_ms: 10_000,
        }
    }
}

impl EngineSettings {
    /// What is wrong with them; empty when nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let positive = [
            ("poll_every_ms", self.poll_every_ms),
            ("verify_every_ms", self.verify_every_ms),
            ("answer_within_ms", self.answer_within_ms),
            ("snapshot_every_ms", self.snapshot_every_ms),
            ("checkpoint_every", self.checkpoint_every),
            ("lease_ms", self.lease_ms),
            ("append_within_ms", self.append_within_ms),
            ("shutdown_within_ms", self.shutdown_within_ms),
            ("retry_first_ms", self.retry_first_ms),
            ("retry_most_ms", self.retry_most_ms),
            ("plans", u64::from(self.plans)),
            ("diagnoses", u64::from(self.diagnoses)),
        ];
        positive
            .into_iter()
            .filter(|(_, value)| *value == 0)
            .map(|(field, _)| Problem::at(format!("settings.{field}"), "must be more than 0"))
            .collect()
    }
}

/// Everything that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Who depends on whom.
    pub topology: Topology,
    /// What can be done.
    pub catalogue: Catalogue,
    /// What may be done.
    pub policy: Policy,
    /// Times and counts.
    pub settings: EngineSettings,
}

impl EngineConfig {
    /// The form in which it is recorded.
    ///
    /// # Errors
    ///
    /// When it has no JSON form, which no checked configuration lacks.
    pub fn to_value(&self) -> Result<serde_json::Value, ConfigError> {
        serde_json::to_value(self).map_err(|error| ConfigError::one(Problem::at("", error.to_string())))
    }
}
