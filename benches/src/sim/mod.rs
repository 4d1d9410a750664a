//! Worlds with a seed: series and services that behave as real ones do, with faults planted in them.
//!
//! For figures that no data set gives, because nobody labelled what was normal: false alarms on clean series, leaks and forecasts,
//! incidents. The same seed gives the same world on every machine.

pub mod noise;
pub mod series;
pub mod telling;
pub mod world;
