//! What can be chosen of the basic tier. One configuration is meant for all series.

use ir_core::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Check;

/// How a [`BasicModel`](super::BasicModel) decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicConfig {
    /// The summed surprise that is an alert, in nats, for a value every five minutes. Default 21: about one
    /// alert in a hundred days of a clean series.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub limit_nats: f32,
    /// By how much the limit rises when values come e times as often, in nats: more looks find more by chance. Default 2.5.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub limit_rises_nats: f32,
    /// What one stream may add to the sum, in nats. Default 14.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub cap_nats: f32,
    /// An alert raises the limit by this much, in nats. Default 8.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub rest_nats: f32,
    /// The raised limit falls by half in so many values. Default 300.
    #[schemars(range(min = 1.0, max = 1e6))]
    pub rest_values: f32,
    /// No second alert comes within so many values, unless it is clearly worse than the first. Default 30.
    #[schemars(range(min = 0, max = 65_535))]
    pub quiet_values: u16,
    /// History counts half after about so many values. Default 2,000.
    #[schemars(range(min = 50.0, max = 1e6))]
    pub half_life_values: f32,
    /// Nothing is said before so many values were seen. Default 100.
    #[schemars(range(min = 20, max = 100_000))]
    pub warm_values: u32,
}

impl Default for BasicConfig {
    fn default() -> Self {
        Self {
            limit_nats: 21.0,
            limit_rises_nats: 2.5,
            cap_nats: 14.0,
            rest_nats: 8.0,
            rest_values: 300.0,
            quiet_values: 30,
            half_life_values: 2_000.0,
            warm_values: 100,
        }
    }
}

impl BasicConfig {
    /// Whether all fields are within their ranges.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::check(self.problems().done(), ())
    }

    pub(crate) fn problems(&self) -> Check {
        let mut check = Check::default();
        check.within("limit_nats", self.limit_nats.into(), 1.0, 1000.0);
        check.within("limit_rises_nats", self.limit_rises_nats.into(), 0.0, 100.0);
        check.within("cap_nats", self.cap_nats.into(), 1.0, 1000.0);
        check.within("rest_nats", self.rest_nats.into(), 0.0, 1000.0);
        check.within("rest_values", self.rest_values.into(), 1.0, 1e6);
        check.within("half_life_values", self.half_life_values.into(), 50.0, 1e6);
        check.count("warm_values", self.warm_values as usize, 20, 100_000);
        check
    }
}
