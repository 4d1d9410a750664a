//! Counts that scatter more than Poisson's: how surprising, and how much they scatter.

use serde::{Deserialize, Serialize};

/// `-ln P` bound for a count at least as far from `mean` as `count`, on the same side, of a negative binomial law with that mean
/// and `size` (variance `mean + mean²/size`): Chernoff's, `k ln(k/m) - (k + r) ln((k + r)/(m + r))`, exact for a count of 0. An
/// infinite size is Poisson's law. 0 at the mean, and for arguments that make no sense.
///
/// H. Chernoff (1952): "A Measure of Asymptotic Efficiency for Tests of a Hypothesis Based on the Sum of Observations",
/// doi:10.1214/aoms/1177729330, theorem 1, with the moment generating function of the law. A bound, so the true surprise is
/// larger: never more alarms than promised.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::count_surprise;
/// // No event where two are usual: e^-2 by Poisson's law.
/// assert!((count_surprise(0.0, 2.0, f64::INFINITY) - 2.0).abs() < 1e-12);
/// // Scatter takes surprise away.
/// assert!(count_surprise(20.0, 2.0, 1.0) < count_surprise(20.0, 2.0, f64::INFINITY) / 3.0);
/// assert_eq!(count_surprise(2.0, 2.0, 1.0), 0.0);
/// ```
#[must_use]
pub fn count_surprise(count: f64, mean: f64, size: f64) -> f64 {
    if !(count.is_finite() && mean.is_finite() && count >= 0.0 && mean > 0.0 && size > 0.0) {
        return 0.0;
    }
    let events = if count > 0.0 { count * (count / mean).ln() } else { 0.0 };
    // For sizes far beyond the counts the difference of the two terms would be lost in rounding.
    let rest = if size > 1e9 * (count + mean + 1.0) {
        count - mean
    } else {
        (count + size) * ((count - mean) / (mean + size)).ln_1p()
    };
    (events - rest).max(0.0)
}

/// `-ln P` of at least `hits` among `trials` of a beta-binomial law with the parameters `a` and `b`: what is known of a share after
/// `a` hits and `b` misses, in half events by Jeffreys' prior. The tail is added term by term, so it is exact; unlike a rate, a share
/// cannot exceed one, and therefore five hits of five say much more than five events. 0 at or below the mean, for more than
/// [`MOST_TRIALS`] trials, and for arguments that make no sense. Linear in `trials`.
///
/// A. Gelman et al., "Bayesian Data Analysis", 3rd edition, section 2.4 and appendix A.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::share_surprise;
/// // Nothing known but that both can be: a hit in one trial has a half.
/// assert!((share_surprise(1, 1, 1.0, 1.0) - 2.0_f64.ln()).abs() < 1e-12);
/// // Five of five after none of twenty.
/// assert!(share_surprise(5, 5, 0.5, 20.5) > 11.0);
/// ```
#[must_use]
pub fn share_surprise(hits: u32, trials: u32, a: f64, b: f64) -> f64 {
    let sane = a.is_finite() && b.is_finite() && a > 0.0 && b > 0.0 && hits <= trials && trials <= MOST_TRIALS;
    if !sane || f64::from(hits) <= f64::from(trials) * a / (a + b) {
        return 0.0;
    }
    let (k, n) = (f64::from(hits), f64::from(trials));
    let up_to = |last: u32, term: &dyn Fn(f64) -> f64| (0..last).map(|i| term(f64::from(i)).ln()).sum::<f64>();
    // The probability of exactly `hits`, as products of neighbouring terms of the three beta functions.
    let exactly = up_to(hits, &|i| (a + i) / (i + 1.0)) + up_to(trials - hits, &|i| (b + i) / (i + 1.0))
        - up_to(trials, &|i| (a + b + i) / (i + 1.0));
    let (mut term, mut tail, mut j) = (1.0, 1.0, k);
    while j < n && term > 1e-9 {
        term *= (n - j) / (j + 1.0) * (a + j) / (n - j - 1.0 + b);
        tail += term;
        j += 1.0;
    }
    (-exactly - f64::ln(tail)).max(0.0)
}

/// Trials beyond which [`share_surprise`] says nothing.
pub const MOST_TRIALS: u32 = 4096;

/// The rate of events by something they are exposed to (seconds, lines, trials), learned block by block, with a half-life in blocks.
///
/// The rate has a Gamma posterior with Jeffreys' half event; counts of a block to come are then negative binomial, and scatter more
/// the less is known (A. Gelman et al., "Bayesian Data Analysis", 3rd edition, section 2.6). On top of it comes what the blocks
/// themselves scatter beyond Poisson's law: the mean of Pearson's `(k - m)²/m`, drawn to [`PRIOR_SCATTER`] while blocks are few (P.
/// McCullagh, J. Nelder 1989, "Generalized Linear Models", section 6.2). 32 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct EventRate {
    events: f64,
    exposure: f64,
    misfit: f64,
    blocks: f64,
}

/// How much counts are taken to scatter, in variances of Poisson's law, before anything is known, and how many blocks that is worth.
pub const PRIOR_SCATTER: f64 = 2.0;
const PRIOR_BLOCKS: f64 = 5.0;
/// One event where hardly any is expected says little about scatter.
const LEAST_MEAN: f64 = 1.0;

impl EventRate {
    /// What is known after `events` over `exposure` of which nobody knows how they came.
    #[must_use]
    pub fn known(events: f64, exposure: f64) -> Self {
        Self { events, exposure, ..Self::default() }
    }

    /// Takes a block: `events` over `exposure`. What makes no sense, or has no exposure, changes nothing.
    pub fn learn(&mut self, events: f64, exposure: f64, half_life_blocks: f64) {
        if !(events.is_finite() && exposure.is_finite() && events >= 0.0 && exposure > 0.0) {
            return;
        }
        if self.exposure > 0.0 {
            let mean = self.expected(exposure);
            let misfit = (events - mean).powi(2) / mean.max(LEAST_MEAN);
            self.misfit += misfit.min(1e12);
            self.blocks += 1.0;
        }
        self.events += events;
        self.exposure += exposure;
        let keep = (-std::f64::consts::LN_2 / half_life_blocks.max(1.0)).exp();
        for part in [&mut self.events, &mut self.exposure, &mut self.misfit, &mut self.blocks] {
            *part *= keep;
        }
    }

    /// Adds what was learned of the same events under another name.
    pub fn join(&mut self, other: &Self) {
        self.events += other.events;
        self.exposure = self.exposure.max(other.exposure);
        self.misfit = self.misfit.max(other.misfit);
        self.blocks = self.blocks.max(other.blocks);
    }

    /// Events to expect over `exposure`; infinite when nothing is known.
    #[must_use]
    pub fn expected(&self, exposure: f64) -> f64 {
        if self.exposure > 0.0 { (self.events + 0.5) / self.exposure * exposure } else { f64::INFINITY }
    }

    /// The size of the negative binomial law of a count with this `mean`.
    fn size(&self, mean: f64) -> f64 {
        let scatter = (PRIOR_SCATTER * PRIOR_BLOCKS + self.misfit) / (PRIOR_BLOCKS + self.blocks);
        mean / ((scatter - 1.0).max(0.0) + mean / (self.events + 0.5))
    }

    /// How surprising `events` over `exposure` are, in nats, as at least so many (0 when fewer than expected).
    #[must_use]
    pub fn more(&self, events: f64, exposure: f64) -> f64 {
        let mean = self.expected(exposure);
        if events > mean { count_surprise(events, mean, self.size(mean)) } else { 0.0 }
    }

    /// How surprising `events` over `exposure` are, in nats, as at most so many (0 when more than expected).
    #[must_use]
    pub fn fewer(&self, events: f64, exposure: f64) -> f64 {
        let mean = self.expected(exposure);
        if events < mean { count_surprise(events, mean, self.size(mean)) } else { 0.0 }
    }

    /// How surprising `hits` among `trials` are, in nats, as at least so many, when the events are hits and the exposure trials: by
    /// [`share_surprise`], what was learned discounted by how much blocks scatter. Beyond [`MOST_TRIALS`] trials by [`Self::more`].
    #[must_use]
    pub fn more_hits(&self, hits: u32, trials: u32) -> f64 {
        if self.exposure <= 0.0 {
            return 0.0;
        }
        if trials > MOST_TRIALS {
            return self.more(f64::from(hits), f64::from(trials));
        }
        let scatter = ((PRIOR_SCATTER * PRIOR_BLOCKS + self.misfit) / (PRIOR_BLOCKS + self.blocks)).max(1.0);
        let missed = (self.exposure - self.events).max(0.0);
        share_surprise(hits, trials, self.events / scatter + 0.5, missed / scatter + 0.5)
    }

    /// How surprising `events` over `exposure` are when events come one by one: no scatter but that of not knowing the rate.
    #[must_use]
    pub fn more_single(&self, events: f64, exposure: f64) -> f64 {
        let mean = self.expected(exposure);
        if events > mean { count_surprise(events, mean, self.events + 0.5) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bound_holds_against_exact_tails() {
        // P(X >= k) of the negative binomial law, by adding its terms.
        for (mean, size, count) in [(2.0, 1.0, 9.0), (0.1, 0.5, 3.0), (30.0, 4.0, 70.0), (5.0, 100.0, 14.0)] {
            let p: f64 = mean / (mean + size);
            let (mut term, mut below) = ((1.0 - p).powf(size), 0.0);
            let mut k = 0.0;
            while k < count {
                below += term;
                term *= p * (k + size) / (k + 1.0);
                k += 1.0;
            }
            let exact = -(1.0_f64 - below).ln();
            let bound = count_surprise(count, mean, size);
            assert!(bound <= exact && bound > exact - 4.0, "{mean} {size} {count}: {bound} of {exact}");
        }
    }

    #[test]
    fn shares_agree_with_hand_worked_tails() {
        // Uniform prior: each count of hits of n has 1/(n + 1). At least 9 of 9: a tenth; at least 8 of 9: a fifth.
        assert!((share_surprise(9, 9, 1.0, 1.0) - 10.0_f64.ln()).abs() < 1e-12);
        assert!((share_surprise(8, 9, 1.0, 1.0) - 5.0_f64.ln()).abs() < 1e-12);
        // Jeffreys after none of 20, five of five: the product of (i + 1/2)/(i + 21).
        let product: f64 = (0..5).map(|i| (f64::from(i) + 0.5) / (f64::from(i) + 21.0)).product();
        assert!((share_surprise(5, 5, 0.5, 20.5) + product.ln()).abs() < 1e-12);
        for (hits, trials, a, b) in [(0, 0, 0.5, 0.5), (3, 2, 0.5, 0.5), (1, 9, 1.0, 1.0), (2, 2, f64::NAN, 1.0)] {
            assert_eq!(share_surprise(hits, trials, a, b), 0.0);
        }
    }

    #[test]
    fn what_scatters_surprises_less() {
        let (mut even, mut wild) = (EventRate::default(), EventRate::default());
        for n in 0..40 {
            even.learn(20.0, 60.0, 100.0);
            wild.learn(if n % 4 == 0 { 80.0 } else { 0.0 }, 60.0, 100.0);
        }
        assert!((even.expected(60.0) - wild.expected(60.0)).abs() < 3.0);
        assert!(even.more(80.0, 60.0) > 20.0 && wild.more(80.0, 60.0) < 3.0);
        assert!(even.fewer(0.0, 60.0) > 10.0 && wild.fewer(0.0, 60.0) < 2.0);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_leave_the_numbers(
            blocks in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..20), events in any::<f64>(), exposure in any::<f64>(),
        ) {
            let mut rate = EventRate::default();
            for (events, exposure) in blocks {
                rate.learn(events, exposure, 10.0);
            }
            for nats in [rate.more(events, exposure), rate.fewer(events, exposure), rate.more_single(events, exposure)] {
                prop_assert!(nats >= 0.0, "{nats}");
            }
        }

        #[test]
        fn more_events_surprise_more(mean in 0.01..100.0f64, size in 0.1..1e12f64, count in 0.0..500.0f64) {
            let at = |count: f64| count_surprise(count.max(mean), mean, size);
            prop_assert!(at(count + 1.0) >= at(count) - 1e-9);
        }
    }
}
