//! Trends that a few wild points cannot fake.

use super::robust::median;

/// Slope and agreement of a series of points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// The median slope over all pairs, in values per unit of time.
    pub slope: f64,
    /// Kendall's tau: the share of pairs that rise minus the share that falls, -1 to 1.
    pub tau: f64,
}

/// The slope after Theil and Sen with Kendall's tau.
///
/// H. Theil (1950): "A rank-invariant method of linear and polynomial regression analysis", Proc. KNAW 53; P. K. Sen (1968):
/// "Estimates of the Regression Coefficient Based on Kendall's Tau", doi:10.1080/01621459.1968.10480934. Points `(time,
/// value)` in any order; pairs of equal time and values that are not finite are left out; `None` without a pair. O(n² log n):
/// for short windows only.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::theil_sen;
/// let trend = theil_sen(&[(0.0, 1.0), (1.0, 3.0), (2.0, 900.0), (3.0, 7.0), (4.0, 9.0)]).unwrap();
/// assert_eq!(trend.slope, 2.0);
/// ```
#[must_use]
pub fn theil_sen(points: &[(f64, f64)]) -> Option<Trend> {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (i, a) in points.iter().enumerate() {
        for b in &points[i + 1..] {
            let slope = (b.1 - a.1) / (b.0 - a.0);
            if slope.is_finite() {
                slopes.push(slope);
            }
        }
    }
    let n = slopes.len() as f64;
    let sign = |slope: &f64| {
        if *slope > 0.0 {
            1.0
        } else if *slope < 0.0 {
            -1.0
        } else {
            0.0
        }
    };
    let agreement: f64 = slopes.iter().map(sign).sum();
    Some(Trend { slope: median(slopes)?, tau: agreement / n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_without_two_different_times() {
        assert_eq!(theil_sen(&[]), None);
        assert_eq!(theil_sen(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(theil_sen(&[(0.0, f64::NAN), (1.0, 3.0)]), None);
        assert_eq!(theil_sen(&[(0.0, 3.0), (1.0, 3.0)]), Some(Trend { slope: 0.0, tau: 0.0 }));
    }
}
