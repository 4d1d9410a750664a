//! One series of numbers, watched without being told anything of it: the full univariate stack.
//!
//! Each value is seen by eight streams of evidence ([`Stream`]): how far it lies off what the hour and the weekday promise, the
//! same for the last eight values together, the mean of the last eight against the level, the step from the value before, how
//! lively the last twelve were (a flat line counts as well as a storm), how new the shape of the last eight is, and how badly a
//! linear model of the last five foretold it. Every stream knows its own history ([`Tail`](crate::stats::Tail)) and says in nats
//! how rare it is now. The sum of the capped surprises is what counts: several weak signs at once beat one strong sign.
//!
//! The streams depend on each other, so the sum is no log-probability; what it is worth is measured on data
//! (`docs/detection.md`). An [alert budget](SeriesConfig::rest_nats) raises the limit after each alert and lets it fall again in a
//! day: it is worth more than any stream.
//!
//! Memory is bounded: about 18 KB a series. Nothing is allocated once a series has been seen some thousand times.

mod budget;
mod config;
mod evidence;
mod expected;
mod linear;
mod model;
mod novelty;
#[cfg(test)]
mod tests;
mod window;

pub use config::SeriesConfig;
pub use evidence::Stream;
pub use model::{Judged, SeriesModel};
