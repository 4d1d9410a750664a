//! How a leak is told from what usually rises.

use ir_core::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Check;

/// How a [`LeakModel`](super::LeakModel) decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeakConfig {
    /// How sure it must be that the level rises: `-ln` of the probability that it does not. Nats, default 5, once in 150: the other
    /// conditions are the stricter ones.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub limit_nats: f64,
    /// The level must exceed all that was seen in the week before by this share of the rise. Default 0.1.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub beyond_top: f64,
    /// Nothing is said before so much was seen: mornings and Mondays rise as well. Seconds, default five days, so that a start on
    /// a Saturday sees working days. Sources that backfill bring it along.
    #[schemars(range(min = 0.0, max = 604_800.0))]
    pub warm_secs: f64,
    /// The rise must be at least this share of the level, or of the room up to the limit if that is less. Default 0.05. Where no
    /// limit is known it must be a quarter of the level.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub min_rise: f64,
    /// What is exhausted later than this is not reported. Without a limit, what grows by less than half of its level in that
    /// time. Seconds, default fourteen days.
    #[schemars(range(min = 60.0, max = 31_536_000.0))]
    pub horizon_secs: f64,
    /// So many courses are drawn for a forecast. Default 400: the ends of the interval are then two percentage points off.
    #[schemars(range(min = 20, max = 10_000))]
    pub courses: usize,
}

impl Default for LeakConfig {
    fn default() -> Self {
        Self {
            limit_nats: 5.0,
            beyond_top: 0.1,
            warm_secs: 5.0 * 86_400.0,
            min_rise: 0.05,
            horizon_secs: 14.0 * 86_400.0,
            courses: 400,
        }
    }
}

impl LeakConfig {
    pub(crate) fn check(&self) -> Check {
        let mut check = Check::default();
        check.within("limit_nats", self.limit_nats, 1.0, 100.0);
        check.within("beyond_top", self.beyond_top, 0.0, 10.0);
        check.within("warm_secs", self.warm_secs, 0.0, 604_800.0);
        check.within("min_rise", self.min_rise, 0.0, 10.0);
        check.within("horizon_secs", self.horizon_secs, 60.0, 31_536_000.0);
        check.count("courses", self.courses, 20, 10_000);
        check
    }

    /// All that is wrong with it; empty when nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.check().done()
    }
}
