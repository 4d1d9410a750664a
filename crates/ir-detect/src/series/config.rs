//! What can be chosen of a series model. One configuration is meant for all series.

use ir_core::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Check;

/// How a [`SeriesModel`](super::SeriesModel) decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SeriesConfig {
    /// The summed surprise that is an alert, in nats, for a value every five minutes. Default 30: about one alert in ten days of
    /// a production series.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub limit_nats: f64,
    /// By how much the limit rises when values come e times as often, in nats: more looks find more by chance. Default 5.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub limit_rises_nats: f64,
    /// What one stream may add to the sum, in nats. Default 12.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub cap_nats: f64,
    /// An alert raises the limit by this much, in nats. Default 9.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub rest_nats: f64,
    /// The raised limit falls by half in this time. Seconds, default a day, and never longer than 300 values.
    #[schemars(range(min = 1.0, max = 8_640_000.0))]
    pub rest_secs: f64,
    /// How rare a lasting change of the level must be by the series' own past to be told, in nats, for a value every five minutes;
    /// for values that come more often it rises as [`limit_nats`](Self::limit_nats) does. Default 8.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub shift_nats: f64,
    /// How rare hours off what was promised must be by the series' own past to be told, in nats. Default 7.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub drift_nats: f64,
    /// No second alert comes within so many values, unless it is clearly worse than the first. Default 30.
    #[schemars(range(min = 0, max = 100_000))]
    pub quiet_values: usize,
    /// History counts half after so many values. Default 3,000.
    #[schemars(range(min = 50.0, max = 1e9))]
    pub half_life_values: f64,
    /// Nothing is said before so many values were seen. Default 100.
    #[schemars(range(min = 20, max = 100_000))]
    pub warm_values: usize,
}

impl Default for SeriesConfig {
    fn default() -> Self {
        Self {
            limit_nats: 30.0,
            limit_rises_nats: 5.0,
            cap_nats: 12.0,
            rest_nats: 9.0,
            rest_secs: 86_400.0,
            shift_nats: 8.0,
            drift_nats: 7.0,
            quiet_values: 30,
            half_life_values: 3_000.0,
            warm_values: 100,
        }
    }
}

impl SeriesConfig {
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
        check.within("limit_nats", self.limit_nats, 1.0, 1000.0);
        check.within("limit_rises_nats", self.limit_rises_nats, 0.0, 100.0);
        check.within("cap_nats", self.cap_nats, 1.0, 1000.0);
        check.within("rest_nats", self.rest_nats, 0.0, 1000.0);
        check.within("rest_secs", self.rest_secs, 1.0, 8_640_000.0);
        check.within("shift_nats", self.shift_nats, 1.0, 1000.0);
        check.within("drift_nats", self.drift_nats, 1.0, 1000.0);
        check.count("quiet_values", self.quiet_values, 0, 100_000);
        check.within("half_life_values", self.half_life_values, 50.0, 1e9);
        check.count("warm_values", self.warm_values, 20, 100_000);
        check
    }
}
