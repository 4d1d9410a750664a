//! What a value is expected to be: the level, or what the hour or the hour of the week promises, if that is clearly better.

use serde::{Deserialize, Serialize};

use crate::stats::RunningMedian;

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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Expected {
    level: RunningMedian,
    level_error: Follow,
    day: Profile,
    week: Profile,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            level: RunningMedian::default(),
            level_error: Follow::default(),
            day: Profile::new(HALF_HOURS, DAY_SECS, DAY_RATE),
            week: Profile::new(HOURS_OF_WEEK, WEEK_SECS, WEEK_RATE),
        }
    }
}

/// What was expected before a value was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Promise {
    /// The running median.
    pub(crate) level: f64,
    /// The best of level and profiles.
    pub(crate) value: f64,
    /// The mean absolute distance from the level.
    pub(crate) scale: f64,
}

impl Expected {
    /// What is expected at a time, in seconds since the epoch. `first` is the answer before anything was seen.
    pub(crate) fn at(&self, secs: f64, first: f64) -> Promise {
        let level = self.level.get().unwrap_or(first);
        let mut best = (self.level_error.mean * BETTER, level);
        for profile in [&self.day, &self.week] {
            if let Some(value) = profile.at(secs).filter(|_| profile.error.values > COMPARED)
                && profile.error.mean < best.0
            {
                best = (profile.error.mean, value);
            }
        }
        Promise { level, value: best.1, scale: self.level.deviation() }
    }

    /// Bytes on the heap.
    pub(crate) fn held(&self) -> usize {
        (self.day.slots.capacity() + self.week.slots.capacity()) * size_of::<Slot>()
    }

    /// Learns a value, given what had been expected.
    pub(crate) fn learn(&mut self, secs: f64, value: f64, promise: Promise, rate: f64) {
        let cap = ERROR_CAP * promise.scale;
        let error = |of: f64| (value - of).abs().min(cap);
        self.level_error.push(error(promise.level));
        for profile in [&mut self.day, &mut self.week] {
            if let Some(of) = profile.at(secs) {
                profile.error.push(error(of));
            }
            profile.push(secs, value);
        }
        self.level.push(value, rate);
    }
}

/// Means by slot of a period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Profile {
    slots: Vec<Slot>,
    period_secs: f64,
    rate: f64,
    error: Follow,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Slot {
    mean: f32,
    values: f32,
}

impl Profile {
    fn new(slots: usize, period_secs: f64, rate: f64) -> Self {
        Self { slots: vec![Slot::default(); slots], period_secs, rate, error: Follow::default() }
    }

    fn slot(&self, secs: f64) -> usize {
        let within = (secs / self.period_secs).rem_euclid(1.0);
        ((within * self.slots.len() as f64) as usize).min(self.slots.len().saturating_sub(1))
    }

    fn at(&self, secs: f64) -> Option<f64> {
        let slot = self.slots.get(self.slot(secs))?;
        (slot.values > 0.0).then_some(f64::from(slot.mean))
    }

    fn push(&mut self, secs: f64, value: f64) {
        let (at, rate) = (self.slot(secs), self.rate);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.values += 1.0;
            let rate = rate.max(1.0 / f64::from(slot.values));
            let mean = f64::from(slot.mean);
            // Single precision is 24 bits of a value, and its range bounds what a slot can hold.
            slot.mean = (mean + rate * (value - mean)).clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        }
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
        self.mean += (value - self.mean) * ERROR_RATE.max(1.0 / (self.values + 1.0));
        self.values += 1.0;
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
                expected.learn(secs, value, promise, 0.002);
            }
        }
        let (noon, night) = (4000.0 * 300.0 + 21_600.0, 4000.0 * 300.0 + 64_800.0);
        assert!((daily.at(noon, 0.0).value - daily.at(night, 0.0).value).abs() > 5.0);
        assert_eq!(noise.at(noon, 0.0).value, noise.at(noon, 0.0).level);
    }
}
