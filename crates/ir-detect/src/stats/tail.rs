//! How rare a value is by its own history: a histogram that forgets, with a Pareto tail beyond what was seen.

use serde::{Deserialize, Serialize};

use super::packed;

/// Edges a quarter of an octave apart.
const EDGES_PER_OCTAVE: i32 = 4;
/// Nats between two edges.
const NATS: f64 = std::f64::consts::LN_2 / EDGES_PER_OCTAVE as f64;
/// The powers of 2 to 0, 1/4, 1/2, 3/4 and 1.
const QUARTERS: [f64; 5] = [1.0, 1.189_207_115_002_721, std::f64::consts::SQRT_2, 1.681_792_830_507_429, 2.0];
/// One over the differences of the powers.
const PER_QUARTER: [f64; 4] = [
    1.0 / (QUARTERS[1] - QUARTERS[0]),
    1.0 / (QUARTERS[2] - QUARTERS[1]),
    1.0 / (QUARTERS[3] - QUARTERS[2]),
    1.0 / (QUARTERS[4] - QUARTERS[3]),
];
/// The share of values that is the tail.
const TAIL: f64 = 0.05;
/// The exponent of the tail before anything is known of it, and how many values that belief is worth. An exponent of 4 is a
/// distribution with three moments: heavier than a normal tail, lighter than what traffic has.
const PRIOR_SHAPE: f64 = 4.0;
const PRIOR_VALUES: f64 = 10.0;
/// The fit of the tail is renewed after so many values.
const REFIT: u32 = 8;
/// Weights grow instead of shrinking the counts, and are brought back to 1 beyond this.
const MAX_WEIGHT: f64 = 1e6;

/// Tails of so many edges and more follow the largest value always.
const WIDE: usize = 100;

/// A tail that tells values within 40 octaves (a factor of 10¹²) apart, in 0.7 KB.
pub type Tail = TailOf<160>;
/// A tail that tells values within 12 octaves (a factor of 4,096) apart, in 0.24 KB: enough where only the rarer half matters.
pub type SmallTail = TailOf<48>;
/// Both sides of [`Tail`].
pub type TwoTails = TwoTailsOf<160>;
/// Both sides of [`SmallTail`].
pub type TwoSmallTails = TwoTailsOf<48>;

/// The upper tail of values from 0 on, by `EDGES` edges a quarter of an octave apart.
///
/// The body is the empirical distribution with an exponential forgetting; above the 95th percentile the exceedances are taken
/// to be Pareto, with the exponent of B. M. Hill (1975): "A Simple General Approach to Inference About the Tail of a
/// Distribution", doi:10.1214/aos/1176343247, over the logarithms of the edges. What differs: the exponent is drawn towards 4
/// as long as the tail holds few values, and one pseudo-count keeps every probability off 0 and 1.
///
/// Peaks over a threshold follow a generalised Pareto law (J. Pickands 1975, doi:10.1214/aos/1176343003); its heavy branch is
/// used for all, which for light tails understates how rare a value is: fewer alarms, never more.
///
/// Kept is, for each edge, the weight of the values *at least* that large, and not the weight between two edges: a question is
/// then answered from two numbers, and taking a value is one pass of additions without a decision.
///
/// The edges follow the values. Those of a narrow tail never rise so far that the larger half of all values above 0 would lie below
/// them, so one absurd value does not hide the others; and when most come to lie below, they fall. Those of a wide one (from
/// 100 edges on) follow the largest always: what lies 40 octaves down is the noise of rounding, however much there is of it.
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
pub struct TailOf<const EDGES: usize> {
    /// INVARIANT (falling): no entry is larger than the one before.
    #[serde(with = "packed::singles")]
    at_least: [f32; EDGES],
    /// The lowest edge, in quarters of an octave from 1; `None` before a value above 0 was seen.
    base: Option<i32>,
    /// The weight of values above 0 that lie below all edges.
    under: f64,
    total: f64,
    weight: f64,
    fit: Fit,
    since_fit: u32,
}

/// What the tail looks like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Fit {
    /// Where the tail begins: the edge below, in quarters of an octave from 1, and how far it is to the next.
    knee: i32,
    within: f32,
    /// The same as a value.
    value: f64,
    shape: f64,
}

/// Where a value above 0 lies: the edge at or below it, in quarters of an octave from 1, and how far it is to the next (0..1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    edge: i32,
    within: f32,
}

impl Place {
    /// `None` for what counts as 0: values below the smallest normal number, and NaN.
    #[inline]
    pub(crate) fn of(value: f64) -> Option<Self> {
        if value.is_nan() || value < f64::MIN_POSITIVE {
            return None;
        }
        // The exponent and the mantissa are taken from the bits: a logarithm is only needed far out.
        let bits = value.min(f64::MAX).to_bits();
        let exponent = (bits >> 52) as i32 - 1023;
        let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
        let quarter = QUARTERS[1..4].iter().filter(|edge| mantissa >= **edge).count();
        let within = (mantissa - QUARTERS[quarter]) * PER_QUARTER[quarter];
        Some(Self { edge: exponent * EDGES_PER_OCTAVE + quarter as i32, within: within as f32 })
    }
}

/// The value at a place.
fn value_at(edge: i32, within: f64) -> f64 {
    let quarter = edge.rem_euclid(EDGES_PER_OCTAVE) as usize;
    let octave = edge.div_euclid(EDGES_PER_OCTAVE).clamp(-1022, 1023);
    let size = QUARTERS[quarter] + within * (QUARTERS[quarter + 1] - QUARTERS[quarter]);
    // Powers of 2 are made from their bits.
    f64::from_bits(((octave + 1023) as u64) << 52) * size
}

/// By how much weights grow a value, so that values count half after `half_life` of them.
pub(crate) fn growth(half_life: f64) -> f64 {
    (std::f64::consts::LN_2 / half_life.max(1.0)).exp()
}

impl<const EDGES: usize> Default for TailOf<EDGES> {
    fn default() -> Self {
        let fit = Fit { knee: i32::MAX, within: 0.0, value: f64::MAX, shape: PRIOR_SHAPE };
        Self { at_least: [0.0; EDGES], base: None, under: 0.0, total: 0.0, weight: 1.0, fit, since_fit: 0 }
    }
}

impl<const EDGES: usize> TailOf<EDGES> {
    /// So many edges lie below the first value. A wide tail needs little room above it, since it follows what is larger.
    const BELOW: i32 = if EDGES < WIDE { EDGES as i32 / 2 } else { EDGES as i32 * 3 / 4 };

    /// Takes a value. `share` (0..=1) is how much it counts, `half_life` after how many values it counts half. Values below 0
    /// count as 0; those that are not finite change nothing.
    pub fn push(&mut self, value: f64, share: f64, half_life: f64) {
        if value.is_finite() && share > 0.0 {
            self.take(Place::of(value), share.min(1.0), growth(half_life));
        }
    }

    /// [`TailOf::push`], with what several tails have in common worked out: `share` above 0 and at most 1.
    #[inline]
    pub(crate) fn take(&mut self, place: Option<Place>, share: f64, growth: f64) {
        self.weight *= growth;
        if self.weight > MAX_WEIGHT {
            self.rescale();
        }
        let weight = self.weight * share;
        self.total += weight;
        if let Some(place) = place {
            let above = self.row(place.edge, weight);
            let by = weight as f32;
            self.at_least.iter_mut().take(above).for_each(|at_least| *at_least += by);
        }
        self.since_fit += 1;
        if self.since_fit >= REFIT || (self.fit.knee == i32::MAX && place.is_some()) {
            self.refit();
        }
    }

    /// `-ln P` that a value is at least this large, in nats: 0 for what is usual, without a history, and for NaN.
    #[must_use]
    pub fn surprise(&self, value: f64) -> f64 {
        match Place::of(value) {
            Some(place) if self.total > 0.0 => {
                let (above, beyond) = self.beyond(value, place);
                ((self.total + 2.0 * self.weight) / (above + self.weight)).ln() + beyond
            }
            _ => 0.0,
        }
    }

    /// What [`TailOf::surprise`] is over one nat, the mean of what chance brings. Most values are not that rare, and are told so
    /// without a logarithm.
    #[inline]
    pub(crate) fn over_usual(&self, value: f64, place: Option<Place>) -> f64 {
        let Some(place) = place else { return 0.0 };
        let (above, beyond) = self.beyond(value, place);
        let (all, above) = (self.total + 2.0 * self.weight, above + self.weight);
        let usual = beyond == 0.0 && above * std::f64::consts::E >= all;
        if usual { 0.0 } else { ((all / above).ln() + beyond - 1.0).max(0.0) }
    }

    /// The value that a share (0..1) of all values exceeds; 0 where fewer are above 0, and without a history.
    #[must_use]
    pub fn exceeded_by(&self, share: f64) -> f64 {
        match self.place_of(share * self.total) {
            Some((base, row, within)) => value_at(base + row as i32, within),
            None => 0.0,
        }
    }

    /// The lowest edge, the row, and how far it is to the next where just so much weight is above; `None` where less is above 0.
    fn place_of(&self, wanted: f64) -> Option<(i32, usize, f64)> {
        let at_least = |row: usize| f64::from(self.at_least.get(row).copied().unwrap_or(0.0));
        let above = self.at_least.partition_point(|at_least| f64::from(*at_least) > wanted);
        let row = above.checked_sub(1)?;
        Some((self.base?, row, (at_least(row) - wanted) / (at_least(row) - at_least(above))))
    }

    /// Bytes on the heap: none.
    #[must_use]
    pub fn held(&self) -> usize {
        0
    }

    /// The weight above a value, but no farther out than the knee, and the nats from there on by the fitted tail. The fit may be
    /// some values old: only the place of the knee and the steepness beyond are taken from it, so that the two pieces always meet.
    #[inline]
    fn beyond(&self, value: f64, place: Place) -> (f64, f64) {
        let at_least = |row: i32| {
            f64::from(usize::try_from(row).ok().and_then(|row| self.at_least.get(row)).copied().unwrap_or(0.0))
        };
        let base = self.base.unwrap_or(place.edge);
        let fit = &self.fit;
        let in_tail = place.edge > fit.knee || (place.edge == fit.knee && place.within >= fit.within);
        let (edge, within) = if in_tail { (fit.knee, fit.within) } else { (place.edge, place.within) };
        let row = edge - base;
        let (here, next) = (at_least(row.max(0)), at_least((row + 1).max(0)));
        let above = here + (next - here) * f64::from(within);
        if !in_tail {
            return (above, 0.0);
        }
        (above, fit.shape * (value.min(f64::MAX).ln() - fit.value.ln()).max(0.0))
    }

    /// How many edges are at or below a place, after moving them if that must be.
    #[inline]
    fn row(&mut self, edge: i32, weight: f64) -> usize {
        let base = *self.base.get_or_insert(edge - Self::BELOW);
        let row = edge - base;
        if (0..EDGES as i32).contains(&row) { row as usize + 1 } else { self.moved(edge, base, weight) }
    }

    /// Moves the edges for a value above or below all of them.
    #[cold]
    fn moved(&mut self, edge: i32, base: i32, weight: f64) -> usize {
        let all = self.at_least[0];
        if edge >= base {
            let wanted = (edge - base) as usize - (EDGES - 1);
            let half = 0.5 * (f64::from(all) + self.under);
            let allowed = self.at_least.partition_point(|at_least| f64::from(*at_least) >= half).saturating_sub(1);
            // With nothing but zeros so far, the edges may go anywhere.
            let by = if all > 0.0 && EDGES < WIDE { wanted.min(allowed) } else { wanted };
            let dropped = by.min(EDGES);
            self.under += f64::from(all - self.at_least.get(dropped).copied().unwrap_or(0.0));
            self.at_least.copy_within(dropped.., 0);
            self.at_least[EDGES - dropped..].fill(0.0);
            self.base = Some(base + by as i32);
            self.fit.knee = i32::MAX;
            return EDGES;
        }
        self.under += weight;
        if EDGES >= WIDE || self.under <= f64::from(all) {
            return 0;
        }
        // How the values under the edges lie among each other is not known; what comes will tell.
        let by = ((base - edge) as usize + EDGES / 2).min(EDGES);
        self.at_least.copy_within(..EDGES - by, by);
        self.at_least[..by].fill(all);
        self.under = 0.0;
        self.base = Some(edge - EDGES as i32 / 2);
        self.fit.knee = i32::MAX;
        EDGES / 2 + 1
    }

    fn refit(&mut self) {
        self.since_fit = 0;
        let Some(base) = self.base else { return };
        let wanted = TAIL * self.total;
        let at_least = |row: usize| f64::from(self.at_least.get(row).copied().unwrap_or(0.0));
        let above = self.at_least.partition_point(|at_least| f64::from(*at_least) > wanted);
        // Where fewer than the share are above 0 at all, the tail is all of them.
        let (row, within) = match above.checked_sub(1) {
            Some(row) => (row, (at_least(row) - wanted) / (at_least(row) - at_least(above))),
            None => (0, 0.0),
        };
        let inside = at_least(row) + (at_least(row + 1) - at_least(row)) * within;
        // The sum over values of their distance from the knee, each taken to be in the middle between its edges.
        let further: f32 = self.at_least.iter().skip(row + 2).take_while(|at_least| **at_least > 0.0).sum();
        let next = at_least(row + 1);
        let excess = (1.0 - within) * 0.5 * (inside + next) + 0.5 * next + f64::from(further);
        let shape = (inside / self.weight + PRIOR_VALUES) / (excess / self.weight * NATS + PRIOR_VALUES / PRIOR_SHAPE);
        let knee = base + row as i32;
        self.fit = Fit { knee, within: within as f32, value: value_at(knee, within), shape };
    }

    #[cold]
    fn rescale(&mut self) {
        let by = self.weight.recip();
        self.at_least.iter_mut().for_each(|at_least| *at_least *= by as f32);
        self.under *= by;
        self.total *= by;
        self.weight = 1.0;
    }
}

/// Two tails: what is above 0 and what is below, told apart because most metrics are lopsided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TwoTailsOf<const EDGES: usize> {
    up: TailOf<EDGES>,
    down: TailOf<EDGES>,
}

/// A value of either sign with its place by size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sided {
    size: f64,
    place: Option<Place>,
    up: bool,
}

impl Sided {
    #[inline]
    pub(crate) fn of(value: f64) -> Self {
        Self { size: value.abs(), place: Place::of(value.abs()), up: value >= 0.0 }
    }

    /// By size alone.
    #[inline]
    pub(crate) fn place(self) -> Option<Place> {
        self.place
    }
}

impl<const EDGES: usize> TwoTailsOf<EDGES> {
    /// See [`TailOf::push`]; either sign.
    pub fn push(&mut self, value: f64, share: f64, half_life: f64) {
        if value.is_finite() && share > 0.0 {
            self.take(Sided::of(value), share.min(1.0), growth(half_life));
        }
    }

    /// See [`TailOf::take`].
    #[inline]
    pub(crate) fn take(&mut self, value: Sided, share: f64, growth: f64) {
        let (hit, other) = if value.up { (&mut self.up, &mut self.down) } else { (&mut self.down, &mut self.up) };
        hit.take(value.place, share, growth);
        other.take(None, share, growth);
    }

    /// See [`TailOf::over_usual`].
    #[inline]
    pub(crate) fn over_usual(&self, value: Sided) -> f64 {
        let tail = if value.up { &self.up } else { &self.down };
        tail.over_usual(value.size, value.place)
    }

    /// Bytes on the heap: none.
    #[must_use]
    pub fn held(&self) -> usize {
        0
    }

    /// See [`TailOf::surprise`]: of a value at least as far out on the same side.
    #[must_use]
    pub fn surprise(&self, value: f64) -> f64 {
        if value >= 0.0 { self.up.surprise(value) } else { self.down.surprise(-value) }
    }
}

#[cfg(test)]
mod tests;
