#![doc = include_str!("../README.md")]

pub mod stats;

pub mod anomaly;
pub mod basic;
pub mod behaviour;
pub mod forecast;
pub mod hypothesis;
pub mod incident;
pub mod logs;
pub mod multi;
pub mod observations;
pub mod runtime;
pub mod series;
pub mod traces;

mod check;
mod pairs;
mod stored;

pub use anomaly::{
    AbsenceConfig, AbsenceDetector, BaselineConfig, BaselineDetector, BasicSeriesConfig, BasicSeriesDetector, Bounds,
    BurnRateConfig, BurnRateDetector, BurnWindow, Detectors, EpisodeConfig, ErrorRateConfig, ErrorRateDetector,
    ExhaustionConfig, ExhaustionDetector, LatencyConfig, LatencyDetector, Limit, LimitConfig, LimitDetector,
    MetricNames, Refused, Resource, ResourceEnd, SaturationConfig, SaturationDetector, SeriesDetector,
    SeriesDetectorConfig, ShiftConfig, ShiftDetector,
};
pub use hypothesis::{GraphDiagnoser, GraphDiagnoserConfig};
pub use incident::{CorrelatorConfig, StandardCorrelator};
pub use observations::{ObservationStore, ObservationStoreConfig};
pub use runtime::scrape::{ScrapeAssembler, ScrapeConfig, ScrapeCounts};
