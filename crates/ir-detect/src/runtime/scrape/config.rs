//! How much a [`ScrapeAssembler`](super::ScrapeAssembler) keeps.

use ir_core::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::anomaly::{Bounds, MetricNames};
use crate::check::Check;

/// How much a [`ScrapeAssembler`](super::ScrapeAssembler) keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeConfig {
    /// Gauge of the time a process started: when it changes, counters begin at 0 again. Default `process_start_time_seconds`.
    pub start_time: String,
    /// Targets at most; the samples of those beyond are counted and left out. Default 20,000: some 10 MB.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_targets: usize,
    /// Series of one target at most. Default 10,000: a label with no bound must not take the room of all others.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_series_per_target: usize,
    /// Series at most, all targets together. Default 500,000: some 50 MB beside the names, which the source shares.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_series: usize,
    /// Targets and series silent for this long are evicted when there is no more room. Seconds, default 3,600.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub forget_secs: u64,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self {
            start_time: MetricNames::default().start_time,
            max_targets: 20_000,
            max_series_per_target: 10_000,
            max_series: 500_000,
            forget_secs: 3_600,
        }
    }
}

impl ScrapeConfig {
    /// For a detector that assembles bare batches by itself.
    pub(crate) fn within(bounds: &Bounds, start_time: &str) -> Self {
        Self {
            start_time: start_time.to_owned(),
            max_targets: bounds.max_entities,
            max_series_per_target: bounds.max_series,
            forget_secs: bounds.forget_secs,
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.named("start_time", &self.start_time);
        check.count("max_targets", self.max_targets, 1, 1_000_000);
        check.count("max_series_per_target", self.max_series_per_target, 1, 1_000_000);
        check.count("max_series", self.max_series, 1, 10_000_000);
        check.count("forget_secs", usize::try_from(self.forget_secs).unwrap_or(usize::MAX), 1, 31_536_000);
        check.done()
    }
}
