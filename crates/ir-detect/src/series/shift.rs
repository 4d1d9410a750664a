//! Lasting changes of the level: told apart from spikes, with a history and a budget of their own.
//!
//! The series is seen by the means of blocks of five values. What the last twelve blocks foretell of the next three is learned by
//! recursive least squares, so a level, a slope and a wave all foretell themselves. Once the three have come, the error is a
//! matched filter for a step: all that is not foretold and lasts for fifteen values adds up, and noise does not.
//!
//! # Why not the tail of the errors, as for the other streams
//!
//! Shifts come in shoals. By an empirical tail the fourth is taken for the nature of the series. The *body* of the errors does not
//! know shifts, whatever their number: the law of Weibull through its median and its 85th percentile says how rare an error
//! would be without them. Series whose errors have a heavy body, which real ones often do, get fewer alarms by it.

use serde::{Deserialize, Serialize};

use super::SeriesConfig;
use super::habits::Habits;
use super::linear::{INPUTS, Linear};
use crate::stats::{RunningMedian, SmallTail};

/// Values of a block.
const BLOCK: usize = 5;
/// The newest blocks are compared with what those before foretell.
const NEW: usize = 3;
const OLD: usize = 12;
const KEPT: usize = OLD + NEW;
/// Where groups of old blocks begin, newest first: the farther back, the more blocks a group has. The mean of all stands for the
/// oldest three.
const GROUPS: [usize; 6] = [0, 1, 2, 4, 6, 9];
/// Blocks before errors are learned, and before anything is said.
const LEARNED: u32 = 40;
const SPOKEN: u32 = 80;
/// How fast usual sizes are followed, in blocks. An error beyond so many usual ones teaches nothing: shifts are rare, but large,
/// and least squares would make the newest block foretell all.
const SIZE_RATE: f64 = 0.01;
const ERROR_CAP: f64 = 3.0;
/// Errors wait for so many blocks before they are learned, because they may be the beginning of a shift.
const PENDING: usize = 3;
/// A shift itself counts so much for the history.
const SHIFT_SHARE: f64 = 0.05;
/// Each of the newest blocks lies off by at least this share of their mean error.
const AGREE: f64 = 0.3;
/// After a shift, so many blocks only make its size more certain.
const SETTLING: u32 = 4;
/// A second shift in the same direction within so many blocks is a slope: what foretells must learn it, and people know.
const SLOPE: u32 = 16;
/// A shift back within so many blocks, and to within this share of its size, is the end of an excursion and not told.
const EXCURSION: u32 = 40;
const BACK: f64 = 0.3;
/// The share of errors that lies beyond the second point of the body, and the exponents that are believed. That of half of a normal
/// law is about 1.35 there; what falls faster has a bound, which a shift does not know.
const BEYOND: f64 = 0.15;
const SHAPES: (f64, f64) = (0.3, 1.35);
/// However far a shift leads, it is no rarer than this: else no budget could silence a series that is flat between its jumps.
const MOST_NATS: f64 = 14.0;
/// A told shift raises the limit by a nat and by half of what it is raised by, to this at most. It falls by half in a day, or in so
/// many blocks. Thus a shift a day is told for ever, three a day for some days, and one every hour is not.
const GROWS: f64 = 1.5;
const RAISED_MOST: f64 = 30.0;
const FALLS_BLOCKS: f64 = 60.0;
const DAY_SECS: f64 = 86_400.0;
/// The interval for which limits are stated, and what more frequent values cost at most: the largest shifts are told at any interval.
const STATED_SECS: f64 = 300.0;
const DEARER_MOST: f64 = 6.0;

/// A lasting change of the level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// By how much, in the unit of the values.
    pub by: f64,
    /// How rare such a step is by the body of the series' own errors, in nats over what more frequent values cost; at most 14. On
    /// another scale than the surprise of a value.
    pub nats: f64,
}

/// Watches the means of blocks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shifts {
    filling: Filling,
    /// Newest first. INVARIANT (continuous): what lies before a shift has been moved to the new level.
    means: [f64; KEPT],
    promises: [f64; KEPT],
    blocks: u32,
    linear: Linear,
    /// The usual size of moves, which are foretold, and of errors.
    moves: RunningMedian,
    errors: RunningMedian,
    pending: [f64; PENDING],
    history: SmallTail,
    /// The last shift, and how long ago it was.
    last: Option<Last>,
    raised: f64,
    habits: Habits,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Last {
    by: f64,
    told: bool,
    /// Blocks since.
    since: u32,
}

/// A block that is not full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Filling {
    n: usize,
    sum: f64,
    low: f64,
    high: f64,
    promised: f64,
}

impl Filling {
    fn push(&mut self, value: f64, promised: f64) {
        if self.n == 0 {
            *self = Self { n: 0, sum: 0.0, low: value, high: value, promised: 0.0 };
        }
        self.n += 1;
        self.sum += value;
        self.promised += promised;
        self.low = self.low.min(value);
        self.high = self.high.max(value);
    }

    /// When full: the mean without the largest and the smallest, which takes a spike out, and that of the promises.
    fn done(&mut self) -> Option<(f64, f64)> {
        (self.n >= BLOCK).then(|| {
            self.n = 0;
            ((self.sum - self.low - self.high) / (BLOCK - 2) as f64, self.promised / BLOCK as f64)
        })
    }
}

impl Shifts {
    /// Takes a time and a value, what its hour promised before it began, and the seconds between values.
    pub(crate) fn push(
        &mut self,
        secs: f64,
        value: f64,
        promised: f64,
        interval_secs: f64,
        config: &SeriesConfig,
    ) -> Option<Shift> {
        self.filling.push(value, promised);
        let (mean, promise) = self.filling.done()?;
        self.means.copy_within(..KEPT - 1, 1);
        self.promises.copy_within(..KEPT - 1, 1);
        (self.means[0], self.promises[0]) = (mean, promise);
        self.blocks = self.blocks.saturating_add(1);
        if (self.blocks as usize) < KEPT { None } else { self.judge(secs, interval_secs.max(1.0), config) }
    }

    fn judge(&mut self, secs: f64, interval_secs: f64, config: &SeriesConfig) -> Option<Shift> {
        let (new, old) = (&self.means[..NEW], &self.means[NEW..]);
        let (seen, usual) = (mean(new), mean(old));
        let promised = mean(&self.promises[..NEW]) - mean(&self.promises[NEW..]);
        let group = |at: usize| mean(&old[GROUPS[at]..GROUPS[at + 1]]) - usual;
        self.moves.push((seen - usual).abs(), SIZE_RATE);
        let size = self.moves.get().unwrap_or(0.0);
        let inputs: [f64; INPUTS] = [group(0), group(1), group(2), group(3), group(4), promised, size];
        let foretold = usual + self.linear.predict(&inputs);
        let error = seen - foretold;
        if !error.is_finite() {
            return None;
        }
        let day_blocks = DAY_SECS / (interval_secs * BLOCK as f64);
        self.raised *= (-std::f64::consts::LN_2 / day_blocks.max(FALLS_BLOCKS)).exp();
        if let Some(last) = &mut self.last {
            last.since = last.since.saturating_add(1);
            if last.since <= SETTLING {
                self.settle(self.means[0] - foretold);
                return None;
            }
        }
        let dearer = config.limit_rises_nats * (STATED_SECS / interval_secs).ln();
        let nats = self.nats(error.abs()) - dearer.clamp(0.0, DEARER_MOST);
        let agree = new.iter().all(|mean| (mean - foretold) / error > AGREE);
        let slope = self.last.is_some_and(|last| last.since < SLOPE && error * last.by > 0.0);
        if self.blocks <= SPOKEN || !agree || nats < config.shift_nats || slope {
            self.learn(&inputs, seen - usual, error.abs(), size, config);
            return None;
        }
        self.history.push(error.abs(), SHIFT_SHARE, config.half_life_values / BLOCK as f64);
        self.pending = [0.0; PENDING];
        // The oldest of the new blocks may lie on both sides of the step.
        let by = mean(&self.means[..NEW - 1]) - foretold;
        let is_back = |last: Last| last.told && last.since < EXCURSION && (by + last.by).abs() < BACK * last.by.abs();
        let known = self.last.is_some_and(is_back) || self.habits.is_one(secs, by, interval_secs);
        let told = !known && nats >= config.shift_nats + self.raised;
        if told {
            self.raised = (self.raised * GROWS + 1.0).min(RAISED_MOST);
        }
        self.follow(by, foretold);
        self.last = Some(Last { by, told, since: 0 });
        told.then_some(Shift { by, nats })
    }

    /// How rare an error is: the law of Weibull through two points of the body.
    fn nats(&self, error: f64) -> f64 {
        let (median, far) = (self.history.exceeded_by(0.5), self.history.exceeded_by(BEYOND));
        if median <= 0.0 {
            return 0.0;
        }
        // P(X >= x) = exp(-ln 2 * (x / median)^shape).
        let shape = (-BEYOND.ln() / std::f64::consts::LN_2).ln() / (far / median).ln();
        let nats = std::f64::consts::LN_2 * (error / median).powf(shape.clamp(SHAPES.0, SHAPES.1));
        if nats.is_nan() { 0.0 } else { nats.min(MOST_NATS) }
    }

    fn learn(&mut self, inputs: &[f64; INPUTS], moved: f64, error: f64, size: f64, config: &SeriesConfig) {
        let cap = ERROR_CAP * self.errors.get().unwrap_or(error);
        if error <= cap || self.blocks < LEARNED {
            self.linear.learn(inputs, moved, size, cap);
        }
        self.errors.push(error, SIZE_RATE);
        self.pending.rotate_right(1);
        let ripe = std::mem::replace(&mut self.pending[0], error);
        if self.blocks > LEARNED {
            self.history.push(ripe, 1.0, config.half_life_values / BLOCK as f64);
        }
    }

    /// Moves what was before the shift to the new level, so that it goes on foretelling; of a block on both sides, what is missing.
    fn follow(&mut self, by: f64, foretold: f64) {
        let missing = |mean: f64| 1.0 - ((mean - foretold) / by).clamp(0.0, 1.0);
        self.means[..NEW].iter_mut().for_each(|mean| *mean += by * missing(*mean));
        self.means[NEW..].iter_mut().for_each(|mean| *mean += by);
    }

    /// Corrects the size of the shift: it is the mean of what was seen of it.
    fn settle(&mut self, error: f64) {
        let Some(last) = &mut self.last else { return };
        let n = last.since as usize;
        let by = error / (n + 1) as f64;
        last.by += by;
        self.means[(n + NEW).min(KEPT)..].iter_mut().for_each(|mean| *mean += by);
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    /// The shifts told of 6,000 values, one every five minutes, with a normal noise of 1 around what `level` says.
    fn told(level: impl Fn(u32) -> f64) -> Vec<(u32, f64)> {
        let (config, mut shifts, mut random) = (SeriesConfig::default(), Shifts::default(), Random::new(5));
        let mut push =
            |step: u32| shifts.push(f64::from(step) * 300.0, level(step) + random.normal(), 0.0, 300.0, &config);
        (0..6000).filter_map(|step| push(step).map(|shift| (step, shift.by))).collect()
    }

    /// Whether all is told, and nothing else, within 25 values of each step, and with its size to within 1.
    fn assert_told(found: &[(u32, f64)], steps: &[(u32, f64)]) {
        let near = |(at, by): &(u32, f64), (step, size): &(u32, f64)| {
            (*step..step + 25).contains(at) && (by - size).abs() < 1.0
        };
        assert!(found.len() == steps.len() && found.iter().zip(steps).all(|(a, b)| near(a, b)), "{found:?} {steps:?}");
    }

    #[test]
    fn a_step_is_told_once_on_a_level_a_slope_and_a_wave() {
        let wave = |step: u32| 2.0 * (f64::from(step) / 10.0).sin();
        let step_at = |step: u32| if step >= 4000 { 5.0 } else { 0.0 };
        assert_told(&told(step_at), &[(4000, 5.0)]);
        assert_told(&told(|step| 0.3 * f64::from(step) + step_at(step)), &[(4000, 5.0)]);
        assert_told(&told(|step| wave(step) + step_at(step)), &[(4000, 5.0)]);
        let none: [(u32, f64); 0] = [];
        assert_eq!(told(|_| 0.0), none);
        assert_eq!(told(|step| wave(step) + 0.3 * f64::from(step)), none);
    }

    #[test]
    fn a_spike_is_no_shift_and_the_end_of_an_excursion_is_not_told() {
        let none: [(u32, f64); 0] = [];
        assert_eq!(told(|step| if step == 4000 { 1e6 } else { 0.0 }), none);
        assert_told(&told(|step| if (4000..4100).contains(&step) { 8.0 } else { 0.0 }), &[(4000, 8.0)]);
    }

    #[test]
    fn many_shifts_a_week_are_told_and_many_an_hour_are_not() {
        let some: Vec<(u32, f64)> = (0..6).map(|n| (1500 + n * 700, if n % 2 == 0 { 6.0 } else { -6.0 })).collect();
        assert_told(&told(|step| some.iter().filter(|(at, _)| step >= *at).map(|(_, by)| by).sum()), &some);
        let often = told(|step| if step > 1500 && step / 37 % 2 == 0 { 9.0 } else { 0.0 });
        // Of 121.
        assert!(often.len() <= 15, "{often:?}");
    }

    #[test]
    fn what_comes_every_night_is_told_once() {
        let found = told(|step| if step % 288 < 60 { 7.0 } else { 0.0 });
        assert!(found.len() <= 4, "{found:?}");
    }

    #[test]
    fn a_series_that_wanders_has_no_shifts() {
        let (config, mut shifts, mut random, mut level) =
            (SeriesConfig::default(), Shifts::default(), Random::new(9), 0.0);
        let mut push = |step: u32| {
            level += random.normal();
            shifts.push(f64::from(step) * 300.0, level, 0.0, 300.0, &config).is_some()
        };
        let found = (0..20_000).filter(|step| push(*step)).count();
        assert!(found <= 3, "{found}");
    }
}
