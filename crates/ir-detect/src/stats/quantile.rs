//! Quantiles from the buckets of a histogram.

/// The `q`-quantile (0..=1) of cumulative buckets `(upper bound, count of values up to it)`, ascending by bound, the last
/// with an infinite bound. Linear within a bucket, as Prometheus does (`histogram_quantile`: "Histograms and summaries",
/// prometheus.io); in the last bucket the largest finite bound is the answer. `None` without values, for NaN, or when the
/// last bound is finite. Counts that fall (a torn scrape) are taken as the largest so far. O(n).
#[must_use]
pub fn bucket_quantile(q: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let total = buckets.iter().map(|b| b.1).fold(0.0, f64::max);
    let (last, _) = buckets.last()?;
    if *last != f64::INFINITY || !(total > 0.0 && total.is_finite()) || !(0.0..=1.0).contains(&q) {
        return None;
    }
    let rank = q * total;
    let (mut below, mut lower) = (0.0_f64, 0.0_f64);
    for &(bound, count) in buckets {
        let count = if count.is_nan() { below } else { count.max(below) };
        if count >= rank && count > below {
            if bound == f64::INFINITY {
                return Some(lower);
            }
            return Some(lower + (bound - lower) * ((rank - below) / (count - below)).clamp(0.0, 1.0));
        }
        below = count;
        lower = if bound.is_finite() { bound } else { lower };
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_linear_within_a_bucket() {
        // 10 values up to 1, 10 more up to 2: the 75th percentile lies in the middle of the second bucket.
        let buckets = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)];
        assert_eq!(bucket_quantile(0.75, &buckets), Some(1.5));
        assert_eq!(bucket_quantile(0.5, &buckets), Some(1.0));
        // One row a reason: nothing seen, no last bucket, beyond the last finite bound.
        assert_eq!(bucket_quantile(0.5, &[(1.0, 0.0), (f64::INFINITY, 0.0)]), None);
        assert_eq!(bucket_quantile(0.5, &[(1.0, 10.0)]), None);
        assert_eq!(bucket_quantile(0.9, &[(1.0, 1.0), (f64::INFINITY, 10.0)]), Some(1.0));
    }
}
