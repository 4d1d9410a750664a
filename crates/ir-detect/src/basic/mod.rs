//! Masses of series: a model of 248 bytes for each, some tens of nanoseconds a value, nothing on the heap.
//!
//! The full stack ([`series`](crate::series)) sees more and costs thirty times as much. This tier is for the other million series,
//! of which nobody knows yet which will matter. Each value is seen by three streams of evidence: how far it lies off its level, or
//! off what the hour of the day promises where that is clearly better; the same for the last eight values together; and the step
//! from the value before. Every stream knows its own rarity by a [`Knee`]: a running quantile and the mean excess beyond it, two
//! numbers instead of a histogram. The capped surprises are summed, and an alert budget raises the limit after each alert, as in the
//! full stack.
//!
//! [`BasicModel`] is one series, [`BasicSeriesDetector`](crate::BasicSeriesDetector) watches many of them under a bound. How well
//! they are watched, and what it costs from a thousand to a million series, is told in `docs/detection.md` (bench `basic`).

mod config;
mod knee;
mod model;
mod season;
#[cfg(test)]
mod tests;

pub use config::BasicConfig;
pub use knee::Knee;
pub use model::{BasicModel, Judged};
