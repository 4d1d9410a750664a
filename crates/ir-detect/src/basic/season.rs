//! What the hour of the day promises, in a hundred bytes.

use serde::{Deserialize, Serialize};

const HOURS: i64 = 24;
/// How fast an hour follows.
const HOUR_RATE: f32 = 0.03;
/// The profile must be better than none by this factor, and have been compared so often.
const BETTER: f32 = 0.9;
const COMPARED: u16 = 200;
/// How fast the errors are followed, and beyond how many spreads an error counts no more.
const ERROR_RATE: f32 = 0.005;
const ERROR_CAP: f32 = 6.0;

/// Mean distances from the level by hour of the day (UTC), in spreads of the series at that time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Season {
    hours: [f32; HOURS as usize],
    without: f32,
    with: f32,
    compared: u16,
    /// How many of the hours were ever seen, as bits.
    seen: u32,
}

impl Default for Season {
    fn default() -> Self {
        Self { hours: [0.0; HOURS as usize], without: 0.0, with: 0.0, compared: 0, seen: 0 }
    }
}

/// The hour of the day of a time, in seconds since the epoch.
pub(super) fn hour(secs: f64) -> usize {
    let hours = (secs * (1.0 / 3600.0)).floor() as i64;
    usize::try_from(hours.rem_euclid(HOURS)).unwrap_or(0)
}

impl Season {
    /// How far off the level a value of this hour is expected, in the unit of `learn`; 0 unless that is clearly better than 0.
    pub(super) fn promise(&self, hour: usize) -> f32 {
        let better = self.compared >= COMPARED && self.with < self.without * BETTER;
        if better { self.hours.get(hour).copied().unwrap_or(0.0) } else { 0.0 }
    }

    /// Learns how far off the level a value was; `spread` is what is usual.
    pub(super) fn learn(&mut self, hour: usize, off: f32, spread: f32) {
        let Some(slot) = self.hours.get_mut(hour) else { return };
        let cap = (ERROR_CAP * spread).abs();
        let off = off.max(-cap).min(cap);
        if self.seen & (1 << hour) == 0 {
            self.seen |= 1 << hour;
            *slot = off;
            return;
        }
        self.without += ERROR_RATE * (off.abs() - self.without);
        self.with += ERROR_RATE * ((off - *slot).abs() - self.with);
        self.compared = self.compared.saturating_add(1);
        *slot += HOUR_RATE * (off - *slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_of_the_day_before_and_after_1970() {
        assert_eq!((hour(0.0), hour(3_599.0), hour(3_600.0), hour(86_400.0 * 400.0 + 7_200.0)), (0, 0, 1, 2));
        assert_eq!((hour(-1.0), hour(f64::MAX), hour(-f64::MAX)), (23, hour(f64::MAX), hour(-f64::MAX)));
    }

    #[test]
    fn a_day_that_repeats_is_promised_and_a_level_is_not() {
        let (mut daily, mut flat) = (Season::default(), Season::default());
        for step in 0..2_000_u32 {
            let hour = (step as usize / 4) % 24;
            daily.learn(hour, if hour < 12 { 3.0 } else { -3.0 }, 3.0);
            flat.learn(hour, if step % 2 == 0 { 1.0 } else { -1.0 }, 1.0);
        }
        assert!((daily.promise(3) - 3.0).abs() < 0.1 && (daily.promise(20) + 3.0).abs() < 0.1);
        assert_eq!(flat.promise(3), 0.0);
    }
}
