//! What a value is expected to be: the level, or what the hour or the hour of the week promises, if that is clearly better.

use serde::{Deserialize, Serialize};

use crate::stats::{RunningMedian, octets, singles};

const DAY_SECS: f64 = 86_400.0;
const WEEK_SECS: f64 = 604_800.0;
const HALF_HOURS: usize = 48;
const HOURS_OF_WEEK: usize = 168;
/// How fast a slot follows, once it was filled a few times.
const DAY_RATE: f64 = 0.03;
const WEEK_RATE: f64 = 0.1;
/// A profile must be better than the level by this factor, and have been compared so often.
const BETTER: f64 = 0.9;
const COMPARED: f64 = 50.0;
/// How fast the errors are followed, and beyond how many deviations an error counts no more.
const ERROR_RATE: f64 = 0.005;
const ERROR_CAP: f64 = 6.0;

/// Level and profiles of one series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Expected {
    level: RunningMedian,
    level_error: Follow,
    day: Profile<HALF_HOURS>,
    week: Profile<HOURS_OF_WEEK>,
}

/// What was expected before a value was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Promise {
    /// The running median.
    pub(crate) level: f64,
    /// The best of level and profiles.
    pub(crate) value: f64,
    /// The same, as it was before the hour began: what came within the hour does not count.
    pub(crate) foreseen: f64,
    /// The mean absolute distance from the level.
    pub(crate) scale: f64,
    /// Which slots the time falls into, and what they promise.
    day: (usize, Option<f64>),
    week: (usize, Option<f64>),
}

impl Expected {
    /// What is expected at a time, in seconds since the epoch. `first` is the answer before anything was seen.
    pub(crate) fn at(&self, secs: f64, first: f64) -> Promise {
        let level = self.level.get().unwrap_or(first);
        let (day, week) = (self.day.at(secs, DAY_SECS), self.week.at(secs, WEEK_SECS));
        let mut best = (self.level_error.mean * BETTER, level, level);
        let profiles = [(self.day.error, day, self.day.visited), (self.week.error, week, self.week.visited)];
        for (error, (slot, promised), visited) in profiles {
            if let Some(value) = promised.filter(|_| error.values > COMPARED && error.mean < best.0) {
                let before = if visited.0 == slot as u8 { f64::from(visited.1) } else { value };
                best = (error.mean, value, before);
            }
        }
        Promise { level, value: best.1, foreseen: best.2, scale: self.level.deviation(), day, week }
    }

    /// Learns a value, given what had been expected.
    pub(crate) fn learn(&mut self, value: f64, promise: &Promise, rate: f64) {
        let cap = ERROR_CAP * promise.scale;
        let error = |of: f64| (value - of).abs().min(cap);
        self.level_error.push(error(promise.level));
        self.day.learn(promise.day, DAY_RATE, value, error);
        self.week.learn(promise.week, WEEK_RATE, value, error);
        self.level.push(value, rate);
    }
}

/// Means by slot of a period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Profile<const SLOTS: usize> {
    /// Single precision is 24 bits of a value, and its range bounds what a slot can hold.
    #[serde(with = "singles")]
    means: [f32; SLOTS],
    /// How many values each slot has seen; beyond 255 it makes no difference.
    #[serde(with = "octets")]
    values: [u8; SLOTS],
    error: Follow,
    /// The slot of the last value, and what it promised when the time came into it.
    visited: (u8, f32),
}

impl<const SLOTS: usize> Default for Profile<SLOTS> {
    fn default() -> Self {
        Self { means: [0.0; SLOTS], values: [0; SLOTS], error: Follow::default(), visited: (u8::MAX, 0.0) }
    }
}

impl<const SLOTS: usize> Profile<SLOTS> {
    /// The slot of a time, and its mean.
    fn at(&self, secs: f64, period_secs: f64) -> (usize, Option<f64>) {
        let periods = secs / period_secs;
        // Casts saturate: times beyond all calendars fall into the last slot.
        let within = periods - (periods as i64) as f64;
        let within = if within < 0.0 { within + 1.0 } else { within };
        let slot = ((within * SLOTS as f64) as usize).min(SLOTS - 1);
        (slot, (self.values[slot] > 0).then_some(f64::from(self.means[slot])))
    }

    fn learn(&mut self, (slot, promised): (usize, Option<f64>), rate: f64, value: f64, error: impl Fn(f64) -> f64) {
        if self.visited.0 != slot as u8 {
            self.visited = (slot as u8, self.means[slot]);
        }
        if let Some(of) = promised {
            self.error.push(error(of));
        }
        let values = self.values[slot].saturating_add(1);
        self.values[slot] = values;
        let mean = f64::from(self.means[slot]);
        let mean = mean + rate.max(1.0 / f64::from(values)) * (value - mean);
        self.means[slot] = mean.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
    }
}

/// A mean that follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Follow {
    mean: f64,
    values: f64,
}

impl Follow {
    fn push(&mut self, value: f64) {
        self.values += 1.0;
        self.mean += (value - self.mean) * ERROR_RATE.max(1.0 / self.values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_repeats_is_foretold_and_noise_is_not() {
        let (mut daily, mut noise) = (Expected::default(), Expected::default());
        let mut state = 1_u64;
        for step in 0..4000_u32 {
            let secs = f64::from(step) * 300.0;
            let wave = (secs / DAY_SECS * std::f64::consts::TAU).sin() * 10.0;
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let random = (state >> 33) as f64 / f64::from(1_u32 << 31);
            for (expected, value) in [(&mut daily, wave), (&mut noise, random)] {
                let promise = expected.at(secs, value);
                expected.learn(value, &promise, 0.002);
            }
        }
        let (noon, night) = (4000.0 * 300.0 + 21_600.0, 4000.0 * 300.0 + 64_800.0);
        assert!((daily.at(noon, 0.0).value - daily.at(night, 0.0).value).abs() > 5.0);
        assert_eq!(noise.at(noon, 0.0).value, noise.at(noon, 0.0).level);
    }
}
