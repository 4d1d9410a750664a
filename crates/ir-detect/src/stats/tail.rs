//! How rare a value is by its own history: a histogram that forgets, with a Pareto tail beyond what was seen.

use serde::{Deserialize, Serialize};

/// Bins of a quarter of an octave each: values within 40 octaves below the largest are told apart.
const BINS: usize = 160;
const BINS_PER_OCTAVE: f64 = 4.0;
/// Nats between the edges of a bin.
const NATS_PER_BIN: f64 = std::f64::consts::LN_2 / BINS_PER_OCTAVE;
/// Above a new histogram's first value there is room for ten octaves.
const ROOM: i32 = 40;
/// The share of values that is the tail.
const TAIL: f64 = 0.05;
/// The exponent of the tail before anything is known of it, and how many values that belief is worth. An exponent of 4 is a
/// distribution with three moments: heavier than a normal tail, lighter than what traffic has.
const PRIOR_SHAPE: f64 = 4.0;
const PRIOR_VALUES: f64 = 10.0;
/// The fit of the tail is renewed after so many values.
const REFIT: u32 = 8;
/// Weights grow instead of shrinking the bins, and are brought back to 1 beyond this.
const MAX_WEIGHT: f64 = 1e6;

/// The upper tail of values from 0 on, in 0.7 KB.
///
/// The body is the empirical distribution with an exponential forgetting; above the 95th percentile the exceedances are taken
/// to be Pareto, with the exponent of B. M. Hill (1975): "A Simple General Approach to Inference About the Tail of a
/// Distribution", doi:10.1214/aos/1176343247, over the logarithms of the bins. What differs: the exponent is drawn towards 4
/// as long as the tail holds few values, and one pseudo-count keeps every probability off 0 and 1.
///
/// Peaks over a threshold follow a generalised Pareto law (J. Pickands 1975, doi:10.1214/aos/1176343003); its heavy branch is
/// used for all, which for light tails understates how rare a value is: fewer alarms, never more.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::Tail;
/// let mut tail = Tail::default();
/// for n in 0..1000 {
///     tail.push(f64::from(n % 10), 1.0, 2000.0);
/// }
/// assert!(tail.surprise(5.0) < 1.0);
/// assert!(tail.surprise(100.0) > 8.0);
/// assert_eq!(tail.surprise(f64::NAN), 0.0);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    bins: Vec<f32>,
    /// The index of the uppermost bin, in quarters of an octave from 1.
    top: i32,
    /// The weight of values that lie below all bins, 0 among them.
    below: f64,
    total: f64,
    weight: f64,
    fit: Fit,
    since_fit: u32,
}

/// What the tail looks like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Fit {
    /// Where the tail begins, in bins from 1.
    knee: f64,
    shape: f64,
}

impl Default for Tail {
    fn default() -> Self {
        let fit = Fit { knee: f64::MAX, shape: PRIOR_SHAPE };
        Self { bins: Vec::new(), top: 0, below: 0.0, total: 0.0, weight: 1.0, fit, since_fit: 0 }
    }
}

impl Tail {
    /// Takes a value. `share` (0..=1) is how much it counts, `half_life` after how many values it counts half. Values below 0
    /// count as 0; those that are not finite change nothing.
    pub fn push(&mut self, value: f64, share: f64, half_life: f64) {
        if !value.is_finite() || share.is_nan() || share <= 0.0 {
            return;
        }
        self.weight *= (std::f64::consts::LN_2 / half_life.max(1.0)).exp();
        if self.weight > MAX_WEIGHT {
            self.rescale();
        }
        let weight = self.weight * share.min(1.0);
        self.total += weight;
        match self.place(value) {
            Some(bin) => self.bins[bin] += weight as f32,
            None => self.below += weight,
        }
        self.since_fit += 1;
        if self.since_fit >= REFIT || self.fit.knee == f64::MAX {
            self.refit();
        }
    }

    /// `-ln P` that a value is at least this large, in nats: 0 for what is usual, without a history, and for NaN.
    #[must_use]
    pub fn surprise(&self, value: f64) -> f64 {
        if value.is_nan() || value <= 0.0 || self.total <= 0.0 {
            return 0.0;
        }
        let at = position(value.min(f64::MAX));
        // The fit may be some values old: only the place of the knee and the steepness beyond are taken from it, so that the
        // two pieces always meet.
        let above = self.above(at.min(self.fit.knee));
        let nats = -((above / self.weight + 1.0) / (self.total / self.weight + 2.0)).ln();
        nats + self.fit.shape * (at - self.fit.knee).max(0.0) * NATS_PER_BIN
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bins.capacity() * size_of::<f32>()
    }

    /// The bin of a value, after making room for it above; `None` below all bins.
    fn place(&mut self, value: f64) -> Option<usize> {
        if value < f64::MIN_POSITIVE {
            return None;
        }
        let at = position(value).floor() as i32;
        if self.bins.is_empty() {
            self.bins = vec![0.0; BINS];
            self.top = at + ROOM;
        }
        if at > self.top {
            let shift = (at - self.top) as usize;
            let lost = shift.min(BINS);
            self.below += self.bins[..lost].iter().map(|bin| f64::from(*bin)).sum::<f64>();
            self.bins.rotate_left(lost);
            self.bins[BINS - lost..].fill(0.0);
            self.top = at;
        }
        usize::try_from(BINS as i32 - 1 - (self.top - at)).ok()
    }

    /// Where the lowest bin begins.
    fn base(&self) -> f64 {
        f64::from(self.top - (BINS as i32 - 1))
    }

    /// The weight above a position, linear within its bin.
    fn above(&self, at: f64) -> f64 {
        let base = self.base();
        let inside = ((at - base).max(0.0) as usize).min(self.bins.len());
        let whole: f64 = self.bins.iter().skip(inside + 1).map(|bin| f64::from(*bin)).sum();
        let part =
            self.bins.get(inside).map_or(0.0, |bin| f64::from(*bin) * (base + inside as f64 + 1.0 - at).min(1.0));
        whole + part
    }

    fn refit(&mut self) {
        self.since_fit = 0;
        let (base, wanted) = (self.base(), TAIL * self.total);
        let (mut inside, mut excess, mut knee) = (0.0, 0.0, base);
        for (bin, weight) in self.bins.iter().enumerate().rev().map(|(bin, weight)| (bin as f64, f64::from(*weight))) {
            if weight > 0.0 && inside + weight >= wanted {
                knee = base + bin + 1.0;
                break;
            }
            inside += weight;
            excess += weight * (base + bin + 0.5);
        }
        let values = inside / self.weight;
        let excess = ((excess - inside * knee) / self.weight).max(0.0) * NATS_PER_BIN;
        self.fit = Fit { knee, shape: (values + PRIOR_VALUES) / (excess + PRIOR_VALUES / PRIOR_SHAPE) };
    }

    fn rescale(&mut self) {
        let by = self.weight.recip();
        for bin in &mut self.bins {
            *bin *= by as f32;
        }
        self.below *= by;
        self.total *= by;
        self.weight = 1.0;
    }
}

/// Where a value above 0 lies, in bins from 1.
fn position(value: f64) -> f64 {
    BINS_PER_OCTAVE * value.log2()
}

/// Two tails: what is above 0 and what is below, told apart because most metrics are lopsided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TwoTails {
    up: Tail,
    down: Tail,
}

impl TwoTails {
    /// See [`Tail::push`]; either sign.
    pub fn push(&mut self, value: f64, share: f64, half_life: f64) {
        self.up.push(value.max(0.0), share, half_life);
        self.down.push((-value).max(0.0), share, half_life);
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn held(&self) -> usize {
        self.up.held() + self.down.held()
    }

    /// See [`Tail::surprise`]: of a value at least as far out on the same side.
    #[must_use]
    pub fn surprise(&self, value: f64) -> f64 {
        if value >= 0.0 { self.up.surprise(value) } else { self.down.surprise(-value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn learned(values: impl IntoIterator<Item = f64>) -> Tail {
        let mut tail = Tail::default();
        values.into_iter().for_each(|value| tail.push(value, 1.0, 1e9));
        tail
    }

    #[test]
    fn a_pareto_sample_gives_back_its_own_tail() {
        // Quantiles of a Pareto law with exponent 2: P(X >= x) = x^-2, so 100 is 9.21 nats out.
        let n = 20_000;
        let tail = learned((0..n).map(|k| ((f64::from(k) + 0.5) / f64::from(n)).powf(-0.5)));
        for (value, nats) in [(2.0_f64, 2.0 * 2.0_f64.ln()), (10.0, 4.605), (100.0, 9.21), (1000.0, 13.8)] {
            let found = tail.surprise(value);
            assert!((found - nats).abs() < 0.05 * nats + 0.1, "{value}: {found} and not {nats}");
        }
    }

    #[test]
    fn old_values_count_less_and_a_share_counts_less() {
        let mut tail = learned([]);
        (0..100).for_each(|_| tail.push(100.0, 1.0, 10.0));
        (0..100).for_each(|_| tail.push(1.0, 1.0, 10.0));
        assert!(tail.surprise(50.0) > 3.0);
        let (mut whole, mut part) = (learned((0..500).map(f64::from)), learned((0..500).map(f64::from)));
        (0..20).for_each(|_| whole.push(1e6, 1.0, 1e9));
        (0..20).for_each(|_| part.push(1e6, 0.1, 1e9));
        assert!(part.surprise(1e6) > whole.surprise(1e6) + 1.0);
    }

    proptest! {
        #[test]
        fn any_history_is_survived_and_more_is_never_less_surprising(
            values in proptest::collection::vec(any::<f64>(), 0..200), a in any::<f64>(), b in any::<f64>(),
        ) {
            let tail = learned(values);
            let (a, b) = (tail.surprise(a.abs().min(b.abs())), tail.surprise(a.abs().max(b.abs())));
            prop_assert!(a.is_finite() && b.is_finite() && a >= 0.0);
            prop_assert!(a <= b + 1e-9, "{} {}", a, b);
        }

        #[test]
        fn the_unit_of_the_values_does_not_matter(
            values in proptest::collection::vec(0.0..1e3f64, 30..200), probe in 0.0..1e5f64, octaves in -20..20i32,
        ) {
            let unit = f64::from(octaves).exp2();
            let (plain, scaled) = (learned(values.iter().copied()), learned(values.iter().map(|v| v * unit)));
            let (a, b) = (plain.surprise(probe), scaled.surprise(probe * unit));
            prop_assert!((a - b).abs() < 1e-3, "{} {}", a, b);
        }
    }
}
