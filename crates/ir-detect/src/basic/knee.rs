//! How rare a distance is, in two numbers: where the tail begins, and how long it is.

use serde::{Deserialize, Serialize};

/// The share of values beyond the knee: one of fifty is often enough to learn from and rare enough to be a tail.
const TAIL: f32 = 0.02;
/// `-ln` of it: what a value right at the knee is worth.
const AT_KNEE_NATS: f32 = 3.912_023;
/// The mean excess in nats before anything is known: the inverse of the exponent 4, as in [`Tail`](crate::stats::Tail).
const PRIOR_EXCESS: f32 = 0.25;
/// How many exceedances that belief is worth, and over how many the mean is kept.
const PRIOR_VALUES: f32 = 10.0;
const KEPT_VALUES: f32 = 60.0;
/// One excess counts for no more than this, so that one event does not make the next one usual.
const MOST_EXCESS: f32 = 3.0;
/// Shorter tails are not believed: they would call everything beyond what was seen impossible.
const LEAST_EXCESS: f32 = 0.05;

/// The upper tail of distances from 0 on.
///
/// The knee is the running 98th percentile, by stochastic approximation (H. Robbins, S. Monro 1951,
/// doi:10.1214/aoms/1177729586) on the logarithm, so that its unit does not matter: it rises by a large step when a value lies
/// beyond it and falls by a small one when not. Beyond it distances are taken to be Pareto, with the exponent of B. M. Hill (1975,
/// doi:10.1214/aos/1176343247): the inverse of the mean logarithmic excess. Two numbers cannot tell a second mode from a tail;
/// [`Tail`](crate::stats::Tail) can.
///
/// # Examples
///
/// ```
/// # use ir_detect::basic::Knee;
/// let mut knee = Knee::default();
/// for n in 0..5000_u32 {
///     knee.learn((n % 50) as f32, 0.002, 1.0);
/// }
/// assert_eq!(knee.surprise(20.0), 0.0);
/// assert!(knee.surprise(500.0) > 10.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    at: f32,
    excess: f32,
    beyond: f32,
}

impl Default for Knee {
    fn default() -> Self {
        Self { at: 0.0, excess: PRIOR_EXCESS, beyond: 0.0 }
    }
}

impl Knee {
    /// Takes a distance, at least 0 and finite. `rate` (0..1) is how fast the knee follows, `share` (0..=1) how much this value
    /// counts.
    pub fn learn(&mut self, distance: f32, rate: f32, share: f32) {
        if self.at < f32::MIN_POSITIVE {
            // The first distance that is one.
            self.at = distance;
            return;
        }
        if distance <= self.at {
            self.at -= self.at * rate * share;
            return;
        }
        let excess = (distance / self.at).ln().min(MOST_EXCESS);
        self.beyond = (self.beyond + share).min(KEPT_VALUES);
        self.excess += share * (excess - self.excess) / (self.beyond + PRIOR_VALUES);
        // Fifty small steps down are one step up. It never goes beyond the value that caused it.
        self.at = (self.at + self.at * rate * share * (1.0 - TAIL) / TAIL).min(distance);
    }

    /// `-ln P` that a distance is at least this large, in nats; 0 within the knee, where nothing is known but that it is usual.
    #[must_use]
    pub fn surprise(&self, distance: f32) -> f32 {
        if distance <= self.at || self.at < f32::MIN_POSITIVE {
            return 0.0;
        }
        AT_KNEE_NATS + (distance / self.at).ln() / self.excess.max(LEAST_EXCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Random;

    fn learned(draw: impl Fn(f64) -> f64, values: u32) -> Knee {
        let (mut random, mut knee) = (Random::new(7), Knee::default());
        for seen in 0..values {
            knee.learn(draw(random.unit()) as f32, 0.002_f32.max(1.0 / (seen + 1) as f32).min(0.2), 1.0);
        }
        knee
    }

    #[test]
    fn a_pareto_sample_gives_back_its_own_tail() {
        // P(X >= x) = x^-2, so 100 is 9.2 nats out and 1000 is 13.8.
        let knee = learned(|unit| (1.0 - unit).powf(-0.5), 50_000);
        for (value, nats) in [(20.0, 6.0_f32), (100.0, 9.2), (1000.0, 13.8)] {
            let found = knee.surprise(value);
            assert!((found - nats).abs() < 0.25 * nats, "{value}: {found} and not {nats}");
        }
    }

    #[test]
    fn what_fills_its_range_evenly_ends_steeply() {
        let knee = learned(|unit| unit, 50_000);
        assert_eq!(knee.surprise(0.9), 0.0);
        assert!(knee.surprise(2.0) > 12.0, "{}", knee.surprise(2.0));
    }

    #[test]
    fn nothing_but_zeros_is_no_tail() {
        let mut knee = Knee::default();
        (0..100).for_each(|_| knee.learn(0.0, 0.01, 1.0));
        assert_eq!(knee.surprise(5.0), 0.0);
        (0..100).for_each(|_| knee.learn(1.0, 0.01, 1.0));
        assert!(knee.surprise(50.0) > 10.0);
    }
}
