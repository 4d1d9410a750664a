//! What can be chosen of a model of several metrics.

use ir_core::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Check;

/// How a [`MultiModel`](super::MultiModel) decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MultiConfig {
    /// The share of the variance that the components explain. Default 0.9.
    #[schemars(range(min = 0.1, max = 0.999))]
    pub explained: f64,
    /// What one metric may add to the sum, in nats. Default 12.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub cap_nats: f64,
    /// The sum is smoothed over so many rows. Default 6.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub smooth_rows: f64,
    /// A row is an alert when the smoothed sum is so rare by its own history, in nats. Default 7: the tail
    /// understates how rare sums are, so 7 are seen far less than once in 1,100 rows.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub limit_nats: f64,
    /// From this on, in nats, a row hardly counts for the history. Default 6.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub hot_nats: f64,
    /// History counts half after so many rows. Default 20,000.
    #[schemars(range(min = 100.0, max = 1e9))]
    pub half_life_rows: f64,
    /// Nothing is said before so many rows were seen. Default 500.
    #[schemars(range(min = 50, max = 1_000_000))]
    pub warm_rows: usize,
}

impl Default for MultiConfig {
    fn default() -> Self {
        Self {
            explained: 0.9,
            cap_nats: 12.0,
            smooth_rows: 6.0,
            limit_nats: 7.0,
            hot_nats: 6.0,
            half_life_rows: 20_000.0,
            warm_rows: 500,
        }
    }
}

impl MultiConfig {
    /// Whether all fields are within their ranges.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut check = Check::default();
        check.within("explained", self.explained, 0.1, 0.999);
        check.within("cap_nats", self.cap_nats, 1.0, 1000.0);
        check.within("smooth_rows", self.smooth_rows, 1.0, 1000.0);
        check.within("limit_nats", self.limit_nats, 1.0, 1000.0);
        check.within("hot_nats", self.hot_nats, 1.0, 1000.0);
        check.within("half_life_rows", self.half_life_rows, 100.0, 1e9);
        check.count("warm_rows", self.warm_rows, 50, 1_000_000);
        ConfigError::check(check.done(), ())
    }
}
