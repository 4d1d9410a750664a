//! Detectors of metrics and alerts: each says when something does not fit, how surprising that is, and why.
//!
//! | detector | finds | subjects |
//! |---|---|---|
//! | [`AbsenceDetector`] | nobody there: failed scrapes, silence | `up` |
//! | [`ErrorRateDetector`] | more failures than usual, by who made them | `error_ratio:own`, `error_ratio`, `downstream_failures:own`, `:unreachable`, `:relayed` |
//! | [`BurnRateDetector`] | errors faster than an objective allows | `burn_rate` |
//! | [`LatencyDetector`] | later answers, with and without the callees' share | `latency:exclusive`, `latency:mean`, `latency:p95`, `downstream_latency` |
//! | [`SaturationDetector`] | memory that only rises | the metric's name |
//! | [`ExhaustionDetector`] | what fills over hours and days, and when it will be full | the metric's name |
//! | [`ShiftDetector`] | more or less work than usual, for good | `traffic` |
//! | [`BaselineDetector`] | any other gauge out of its usual range | the metric's name |
//! | [`SeriesDetector`] | whatever is unlike a series' own past | the metric's name |
//! | [`BasicSeriesDetector`] | the same in masses of series, less well | the metric's name |
//! | [`LimitDetector`] | values and changes beyond limits that somebody set | the limit's name |
//! | [`AlertDetector`] | alerts that another system sends | the alert's name |

use std::sync::Arc;

use ir_core::Detector;

use crate::behaviour::{BeaconDetector, ExfiltrationDetector, FanOutDetector, RareActivityDetector, SequenceDetector};

mod budget;
pub(crate) mod episode;
pub(crate) mod host;
pub(crate) mod names;
pub(crate) mod rates;

mod absence;
mod alerts;
mod baseline;
mod basic;
mod burn;
mod error_rate;
mod exhaustion;
mod latency;
mod leak;
mod limit;
mod series;
mod shift;

pub use absence::{AbsenceConfig, AbsenceDetector};
pub use alerts::{AlertConfig, AlertDetector};
pub use baseline::{BaselineConfig, BaselineDetector};
pub use basic::{BasicSeriesConfig, BasicSeriesDetector};
pub use burn::{BurnRateConfig, BurnRateDetector, BurnWindow};
pub use episode::EpisodeConfig;
pub use error_rate::{ErrorRateConfig, ErrorRateDetector};
pub use exhaustion::{ExhaustionConfig, ExhaustionDetector, Resource, ResourceEnd};
pub use host::Refused;
pub use latency::{LatencyConfig, LatencyDetector};
pub use leak::{SaturationConfig, SaturationDetector};
pub use limit::{Limit, LimitConfig, LimitDetector};
pub use names::{Bounds, MetricNames};
pub use series::{SeriesDetector, SeriesDetectorConfig};
pub use shift::{ShiftConfig, ShiftDetector};

/// Subjects that other stages go by. They are part of the interface: change them only with their readers.
pub mod subject {
    /// Share of requests that a service failed by itself: 5xx other than 502 and 504.
    pub const OWN_ERRORS: &str = "error_ratio:own";
    /// Share of requests that failed, whoever was to blame.
    pub const ERRORS: &str = "error_ratio";
    /// How many times as fast as an objective allows errors come.
    pub const BURN_RATE: &str = "burn_rate";
    /// Share of calls that the peer failed by itself.
    pub const CALLS_OWN: &str = "downstream_failures:own";
    /// Share of calls that had no answer.
    pub const CALLS_UNREACHABLE: &str = "downstream_failures:unreachable";
    /// Share of calls that the peer failed because of somebody behind it.
    pub const CALLS_RELAYED: &str = "downstream_failures:relayed";
    /// Share of calls that failed in any of these ways (a derived metric, not the subject of an anomaly).
    pub const CALLS_FAILED: &str = "downstream_failures";
    /// Seconds to answer without those spent in calls.
    pub const EXCLUSIVE: &str = "latency:exclusive";
    /// Mean seconds to answer.
    pub const MEAN: &str = "latency:mean";
    /// 95th percentile of the seconds to answer.
    pub const P95: &str = "latency:p95";
    /// Mean seconds of a call.
    pub const CALLS_LATENCY: &str = "downstream_latency";
    /// Mean seconds that a call took beyond the work of the peer: network and queues.
    pub const CALLS_GAP: &str = "downstream_gap";
    /// Requests per second.
    pub const TRAFFIC: &str = "traffic";
    /// Whether the entity answers scrapes.
    pub const UP: &str = "up";
}

/// Detectors that go together.
#[derive(Debug)]
pub struct Detectors;

impl Detectors {
    /// One of each kind, with the defaults: what a responder starts with.
    #[must_use]
    pub fn standard() -> Vec<Arc<dyn Detector>> {
        vec![
            Arc::new(AbsenceDetector::default()),
            Arc::new(ErrorRateDetector::default()),
            Arc::new(LatencyDetector::default()),
            Arc::new(SaturationDetector::default()),
            Arc::new(ShiftDetector::default()),
            Arc::new(BaselineDetector::default()),
            Arc::new(AlertDetector::default()),
        ]
    }

    /// One of each kind that judges behaviour, for sources that bring activities. How often they are wrong is told in
    /// `docs/detection.md`; they are not among the standard ones.
    #[must_use]
    pub fn behaviour() -> Vec<Arc<dyn Detector>> {
        vec![
            Arc::new(RareActivityDetector::default()),
            Arc::new(BeaconDetector::default()),
            Arc::new(FanOutDetector::default()),
            Arc::new(ExfiltrationDetector::default()),
            Arc::new(SequenceDetector::default()),
        ]
    }
}

#[cfg(test)]
mod tests;
