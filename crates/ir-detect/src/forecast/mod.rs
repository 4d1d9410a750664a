//! What fills slowly: whether a series rises for good, and when it will reach its limit.
//!
//! [`LeakModel`] takes one series that should not only rise: memory, open files, connections, the used share of a disk. It keeps
//! means over five spans, from a minute to four hours each, so that a leak of hours and one of weeks are seen with the same 64
//! numbers. What the hour of the day explains is taken off first. On each span a local level with drift
//! ([`Drift`](crate::stats::Drift)) says how sure it is that the level rises. Much rises and falls back by itself: caches after a
//! start, garbage between two collections, mornings, Mondays. So the level must also leave what a week has seen, and must not be
//! slowing down towards an end short of the limit.
//!
//! The time to exhaustion comes from courses drawn from what is believed of level, drift, wandering and noise ([`Forecast`]): the
//! first time each of them reaches the limit, hour of the day included.
//!
//! How often it is wrong, and how often the interval holds the truth, is measured on generated series: `docs/detection.md`.

mod config;
mod crossing;
mod ladder;
mod model;
mod season;
#[cfg(test)]
mod tests;
mod tops;

pub use config::LeakConfig;
pub use crossing::Forecast;
pub use model::{Leak, LeakModel};
