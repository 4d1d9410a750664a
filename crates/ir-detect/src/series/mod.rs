//! One series of numbers, watched without being told anything of it: the full univariate stack.
//!
//! Each value is seen by seven streams of evidence ([`Stream`]): how far it lies off what the hour and the weekday promise, the
//! same for the last eight values together, the mean of the last eight against the level, the step from the value before, how
//! lively the last twelve were (a flat line counts as well as a storm), how new the shape of the last eight is, and how badly a
//! linear model of the last five foretold it. Every stream knows its own history ([`Tail`](crate::stats::Tail)) and says in nats
//! how rare it is now. The sum of the capped surprises is what counts: several weak signs at once beat one strong sign.
//!
//! The streams depend on each other, so the sum is no log-probability; what it is worth is measured on data
//! (`docs/detection.md`). An [alert budget](SeriesConfig::rest_nats) raises the limit after each alert and lets it fall again in a
//! day: it is worth more than any stream.
//!
//! What lasts is another question than what is rare: [`Shift`] tells of a new level, with a history and a budget of its own, and
//! is no part of the sum. [`Drift`] tells of hours that are off what was promised, farther than ever before yesterday: slow trends.
//!
//! What a series does again and again is its nature: what was as large at the same hour on two of the last three days, or four times
//! in them, is not told.
//!
//! Memory: less than 8 KB a series, all in place; nothing is ever allocated. A snapshot takes 14 KB of JSON.

mod budget;
mod config;
mod drift;
mod evidence;
mod expected;
mod habits;
mod linear;
mod model;
mod novelty;
mod shift;
#[cfg(test)]
mod tests;
mod window;

pub use config::SeriesConfig;
pub use drift::Drift;
pub use evidence::Stream;
pub use model::{Judged, SeriesModel};
pub use shift::Shift;
