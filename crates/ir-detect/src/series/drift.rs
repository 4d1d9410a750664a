//! What goes wrong slowly: hours that are off what was promised, farther than ever before.
//!
//! A slow trend hides from a history that learns each value as it comes: every step is only a little farther than the last, which
//! has just been learned. So here the mean distances of two hours wait for a day before they are learned, and what happens now is
//! judged by what was known yesterday.

use serde::{Deserialize, Serialize};

use super::SeriesConfig;
use crate::stats::TailOf;

/// A block takes so long, and at least so many values.
const BLOCK_SECS: f64 = 7200.0;
const BLOCK_VALUES: u32 = 4;
/// Blocks wait for a day.
const PENDING: usize = 12;
/// So many of the newest blocks are judged together.
const NEWEST: usize = 2;
/// Nothing is said before so many blocks, and nothing more within so many after something was.
const SPOKEN: u32 = 48;
const QUIET: u32 = 12;
/// Blocks count half after so many: three weeks.
const HALF_LIFE: f64 = 250.0;

/// For hours the values have been off what their hours promised, farther than at any time before yesterday: a slow trend, a new
/// level that came too softly for a [`Shift`](super::Shift), or a day that is not like the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// By how much on average, in the unit of the values.
    pub by: f64,
    /// How rare hours so far off are by the series' own past, in nats. On another scale than the surprise of a value.
    pub nats: f64,
}

/// Watches the mean distance of blocks from what was promised.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Drifts {
    filling: Filling,
    /// By the number of the block.
    pending: [f32; PENDING],
    blocks: u32,
    quiet: u32,
    history: TailOf<32>,
}

/// A block that is not full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Filling {
    began_secs: f64,
    sum: f64,
    n: u32,
}

impl Filling {
    /// The mean, when it is full.
    fn push(&mut self, secs: f64, off: f64, interval_secs: f64) -> Option<f64> {
        // Time that runs back begins a block anew.
        if self.n == 0 || secs < self.began_secs {
            *self = Self { began_secs: secs, sum: 0.0, n: 0 };
        }
        self.sum += off;
        self.n = self.n.saturating_add(1);
        // To within half an interval: collectors are not punctual.
        let full = self.n >= BLOCK_VALUES && secs + 1.5 * interval_secs - self.began_secs >= BLOCK_SECS;
        full.then(|| self.sum / f64::from(std::mem::take(&mut self.n)))
    }
}

impl Drifts {
    /// Takes how far a value at a time is off what was promised, and the seconds between values.
    pub(crate) fn push(&mut self, secs: f64, off: f64, interval_secs: f64, config: &SeriesConfig) -> Option<Drift> {
        let mean = self.filling.push(secs, off, interval_secs)?;
        let mean = mean.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        let ripe = std::mem::replace(&mut self.pending[self.blocks as usize % PENDING], mean);
        if self.blocks as usize >= PENDING {
            self.history.push(f64::from(ripe.abs()), 1.0, HALF_LIFE);
        }
        self.blocks = self.blocks.wrapping_add(1).max(1);
        self.quiet = self.quiet.saturating_sub(1);
        let drift = self.newest();
        let told = self.blocks >= SPOKEN && self.quiet == 0 && drift.nats >= config.drift_nats;
        told.then(|| {
            self.quiet = QUIET;
            drift
        })
    }

    /// What the newest blocks say together: as much as the one that says least, and nothing if they lie on both sides.
    fn newest(&self) -> Drift {
        let back = |n: usize| f64::from(self.pending[(self.blocks as usize + PENDING - 1 - n) % PENDING]);
        let by = (0..NEWEST).map(back).sum::<f64>() / NEWEST as f64;
        let least = (0..NEWEST).map(|n| back(n) * by.signum()).fold(f64::INFINITY, f64::min);
        Drift { by, nats: if least > 0.0 { self.history.surprise(least) } else { 0.0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    /// What is told of 30 days, a value every five minutes with a normal noise of 1 around `off`: the day and by how much.
    fn told(off: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let (config, mut drifts, mut random) = (SeriesConfig::default(), Drifts::default(), Random::new(3));
        let push = |step: u32| {
            let days = f64::from(step) / 288.0;
            drifts.push(days * 86_400.0, off(days) + random.normal(), 300.0, &config).map(|drift| (days, drift.by))
        };
        (0..30 * 288).filter_map(push).collect()
    }

    #[test]
    fn a_trend_is_told_on_its_way_and_noise_is_not() {
        assert_eq!(told(|_| 0.0), []);
        let found = told(|days| (days - 20.0).clamp(0.0, 1.0) * 3.0);
        assert!(found.len() <= 3 && (20.0..20.7).contains(&found[0].0) && found[0].1 > 0.2, "{found:?}");
    }

    #[test]
    fn an_hour_out_of_line_is_none_and_what_stays_is_learned() {
        assert_eq!(told(|days| if (20.0..20.04).contains(&days) { 50.0 } else { 0.0 }), []);
        let found = told(|days| if days > 20.0 { -2.0 } else { 0.0 });
        assert!((1..=3).contains(&found.len()) && found.iter().all(|(_, by)| *by < -1.0), "{found:?}");
    }

    #[test]
    fn hours_of_values_that_come_rarely_are_seen() {
        let (config, mut drifts, mut random) = (SeriesConfig::default(), Drifts::default(), Random::new(4));
        let push = |hour: u32| {
            let off = if hour > 1000 { 4.0 } else { 0.0 };
            drifts.push(f64::from(hour) * 3600.0, off + random.normal(), 3600.0, &config).map(|_| hour)
        };
        let found: Vec<u32> = (0..1100).filter_map(push).collect();
        assert!((1..=2).contains(&found.len()) && found[0] > 1000, "{found:?}");
    }

    #[test]
    fn time_that_jumps_and_numbers_at_the_edge_are_survived() {
        let (config, mut drifts) = (SeriesConfig::default(), Drifts::default());
        for step in 0..10_000_u32 {
            let secs = if step % 7 == 0 { -1e12 } else { f64::from(step) * 1e9 };
            let off = [f64::MAX, f64::MIN, 0.0, 1e-300][step as usize % 4] / 1e10;
            drifts.push(secs, off, 300.0, &config);
        }
        assert!(drifts.newest().nats.is_finite());
    }
}
