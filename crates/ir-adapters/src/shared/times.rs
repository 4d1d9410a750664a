//! Which times of signals can be, by the clock of this process.
//!
//! A producer whose clock or unit is wrong (seconds for milliseconds are of 1970, nanoseconds for milliseconds of 2262) must not
//! place its signals where nothing compares with them, and must not make what comes after them look old.

use std::time::Duration;

use ir_core::Timestamp;

/// How far ahead of the clock a time may be by default, in milliseconds: clocks that are set by NTP differ by far less.
pub(crate) const MAX_AHEAD_MS: u64 = 600_000;
/// How old a time may be by default, in milliseconds: ten years, so that what was kept can be given again, and no wrong unit passes.
pub(crate) const MAX_AGE_MS: u64 = 3_650 * 86_400_000;

/// The times that can be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plausible {
    earliest: Timestamp,
    latest: Timestamp,
}

impl Plausible {
    pub(crate) fn at(now: Timestamp, max_ahead_ms: u64, max_age_ms: u64) -> Self {
        let ms = Duration::from_millis;
        Self { earliest: now.minus(ms(max_age_ms)), latest: now.plus(ms(max_ahead_ms)) }
    }

    /// The time, or what is wrong with it.
    pub(crate) fn check(&self, at: Timestamp) -> Result<Timestamp, &'static str> {
        match at {
            at if at > self.latest => Err("has a time too far in the future"),
            at if at < self.earliest => Err("has a time too far in the past"),
            at => Ok(at),
        }
    }
}
