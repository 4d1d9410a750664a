//! Location and scale that a few wild values cannot move: median and median absolute deviation, with floors.
//!
//! C. Leys, C. Ley, O. Klein, P. Bernard, L. Licata (2013): "Detecting outliers: Do not use standard deviation around the
//! mean, use absolute deviation around the median". Journal of Experimental Social Psychology 49(4),
//! doi:10.1016/j.jesp.2013.03.013. Implemented as there, eq. 1 with b = 1.4826. What differs: the floors, because a series
//! that did not move while it was learned has a spread of 0, and everything would be infinitely far from it.

use serde::{Deserialize, Serialize};

/// Makes the median absolute deviation of a normal sample an estimate of its standard deviation: 1 / Φ⁻¹(3/4).
pub const MAD_TO_SIGMA: f64 = 1.482_602_218_505_602;

/// The middle value; the mean of the two middle ones for an even number. Values that are not finite are left out; `None`
/// when nothing is left. O(n log n).
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut finite: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
    finite.sort_by(f64::total_cmp);
    middle(&finite)
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let n = sorted.len();
    if n == 0 {
        return None;
    }
    let (low, high) = (sorted[(n - 1) / 2], sorted[n / 2]);
    // The halves are added, not the values, because the sum of two large values may be infinite.
    Some(low / 2.0 + high / 2.0)
}

/// The median distance from `center`, times 1.4826. Same treatment of values as [`median`].
#[must_use]
pub fn mad(values: impl IntoIterator<Item = f64>, center: f64) -> Option<f64> {
    median(values.into_iter().map(|v| (v - center).abs())).map(|m| m * MAD_TO_SIGMA)
}

/// The smallest scale that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Floors {
    /// As a share of the level's size. Keeps the method free of units.
    pub of_level: f64,
    /// As a share of the range (largest minus smallest value learned).
    pub of_range: f64,
    /// In the unit of the values: differences below it are noise whatever was learned.
    pub absolute: f64,
}

/// Where values usually are, and how far they usually stray.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::{Floors, Location};
/// let floors = Floors { of_level: 0.05, of_range: 0.1, absolute: 0.0 };
/// let usual = Location::of([9.0, 10.0, 11.0, 10.0, 500.0], floors).unwrap();
/// assert_eq!(usual.center, 10.0); // one wild value of five moves nothing
/// assert!(Location::of([], floors).is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// The median.
    pub center: f64,
    /// The scaled median absolute deviation, not below the floors, never 0 unless all floors are.
    pub scale: f64,
    /// How many values it comes from.
    pub n: usize,
}

impl Location {
    /// From values in any order; `None` without a finite one. The range of the floor is taken between the 5th and the
    /// 95th percentile, so that one wild value does not blind the detector. O(n log n).
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>, floors: Floors) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let center = middle(&sorted)?;
        let n = sorted.len();
        let last = n - 1;
        let range = sorted[last - last / 20] - sorted[last / 20];
        let spread = mad(sorted.iter().copied(), center).unwrap_or(0.0);
        let scale =
            spread.max(floors.of_level * center.abs()).max(floors.of_range * range.min(f64::MAX)).max(floors.absolute);
        Some(Self { center, scale, n })
    }

    /// How many scales `value` lies above (below: negative) the center; 0 for NaN, and at most 10⁶ either way.
    #[must_use]
    pub fn z(&self, value: f64) -> f64 {
        let distance = value - self.center;
        if distance.is_nan() || distance == 0.0 {
            return 0.0;
        }
        (distance / self.scale.max(f64::MIN_POSITIVE)).clamp(-1e6, 1e6)
    }
}

/// `value`, at most `most` away from 0. Unlike `f64::clamp` it stands whatever a restored state says: the sign of `most` does not
/// matter, and where it is NaN the value stays.
pub(crate) fn within(value: f64, most: f64) -> f64 {
    value.max(-most.abs()).min(most.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: Floors = Floors { of_level: 0.0, of_range: 0.0, absolute: 0.0 };

    #[test]
    fn the_example_of_the_paper_is_reproduced() {
        // Leys et al. 2013, section 2: for 1, 3, 3, 6, 8, 10, 10, 1000 the median is 7 and the deviation 5.1891.
        let values = [1.0, 3.0, 3.0, 6.0, 8.0, 10.0, 10.0, 1000.0];
        assert_eq!(median(values), Some(7.0));
        let deviation = mad(values, 7.0).unwrap();
        assert!((deviation - 5.1891).abs() < 1e-3, "{deviation}");
    }

    proptest! {
        #[test]
        fn any_values_are_survived(values in proptest::collection::vec(any::<f64>(), 0..40), probe in any::<f64>()) {
            if let Some(usual) = Location::of(values.iter().copied(), NONE) {
                prop_assert!(!usual.center.is_nan() && !usual.scale.is_nan());
                prop_assert!(!usual.z(probe).is_nan());
            }
        }

        #[test]
        fn distance_is_unchanged_by_shift_and_scale(
            values in proptest::collection::vec(-1e3..1e3f64, 5..40), probe in -1e4..1e4f64,
            shift in -1e3..1e3f64, factor in 0.1..10.0f64,
        ) {
            let plain = Location::of(values.iter().copied(), Floors { of_range: 0.05, ..NONE }).unwrap();
            prop_assume!(plain.scale > 1e-3);
            let moved = Location::of(values.iter().map(|v| v * factor + shift), Floors { of_range: 0.05, ..NONE }).unwrap();
            let (a, b) = (plain.z(probe), moved.z(probe * factor + shift));
            prop_assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{a} {b}");
        }
    }
}
