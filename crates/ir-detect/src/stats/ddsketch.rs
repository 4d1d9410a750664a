//! Quantiles of a stream with a relative error that is promised, in a sketch that can be merged.

use serde::{Deserialize, Serialize};

/// A quantile is off by at most this share of its value.
pub const RELATIVE_ERROR: f64 = 0.01;
/// Buckets at most: as many as values need of which the largest is 8 · 10⁸ times the smallest.
const MAX_BUCKETS: usize = 1024;
/// What is smaller is counted as 0.
const SMALLEST: f64 = 1e-9;

/// A sketch of values from 0 on.
///
/// C. Masson, J. Rim, H. Lee (2019): "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", PVLDB
/// 12(12), arXiv:1908.10693, algorithms 1 to 4. Bucket `i` counts values in `(γ^(i-1), γ^i]` with `γ = (1 + α)/(1 - α)`; a quantile
/// is answered by the middle of its bucket, `2γ^i/(γ + 1)`, which is within [`RELATIVE_ERROR`] of every value in it. Beyond
/// 1,024 buckets (values 8 · 10⁸ times smaller than the largest) the lowest are joined, so that only low quantiles lose the promise.
/// What differs: buckets are a sorted list, because latencies of one operation fall into some tens of them. Merging gives the same
/// sketch as adding all values to one, in any order, as long as no buckets were joined. 12 bytes a bucket.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::DdSketch;
/// let mut sketch = DdSketch::default();
/// for n in 1..=1000 {
///     sketch.push(f64::from(n));
/// }
/// let p95 = sketch.quantile(0.95).unwrap();
/// assert!((p95 - 950.0).abs() <= 0.01 * 950.0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DdSketch {
    /// Ascending by bucket.
    buckets: Vec<(i32, u64)>,
    zeros: u64,
    count: u64,
}

impl DdSketch {
    /// Takes a value. What is not finite changes nothing; what is below 0 counts as 0. O(log buckets), and O(buckets) for the first
    /// value of a bucket.
    pub fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.count += 1;
        if value < SMALLEST {
            self.zeros += 1;
        } else {
            self.add(bucket_of(value), 1);
        }
    }

    fn add(&mut self, bucket: i32, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(at, _)| *at) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => {
                self.buckets.insert(at, (bucket, count));
                self.collapse();
            }
        }
    }

    /// Joins the lowest buckets while there are too many.
    fn collapse(&mut self) {
        while self.buckets.len() > MAX_BUCKETS {
            let (_, count) = self.buckets.remove(0);
            self.buckets[0].1 += count;
        }
    }

    /// Adds all that another sketch has seen.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            self.add(*bucket, *count);
        }
        self.zeros += other.zeros;
        self.count += other.count;
    }

    /// The `q`-quantile (0..=1): the value of rank `floor(q (n - 1))` from 0, within [`RELATIVE_ERROR`]. `None` without values or for
    /// a `q` that is no share. O(buckets).
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = (q * (self.count - 1) as f64) as u64;
        let mut below = self.zeros;
        if rank < below {
            return Some(0.0);
        }
        for (bucket, count) in &self.buckets {
            below += count;
            if rank < below {
                return Some(middle(*bucket));
            }
        }
        self.buckets.last().map(|(bucket, _)| middle(*bucket))
    }

    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes held beside the struct itself.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buckets.capacity() * size_of::<(i32, u64)>()
    }
}

fn gamma() -> f64 {
    (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)
}

fn bucket_of(value: f64) -> i32 {
    (value.ln() / gamma().ln()).ceil() as i32
}

fn middle(bucket: i32) -> f64 {
    (2.0 * (f64::from(bucket) * gamma().ln()).exp() / (gamma() + 1.0)).min(f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sketch(values: &[f64]) -> DdSketch {
        let mut sketch = DdSketch::default();
        values.iter().for_each(|value| sketch.push(*value));
        sketch
    }

    proptest! {
        #[test]
        fn every_quantile_is_within_its_error(
            mut values in proptest::collection::vec(prop_oneof![1e-6..1e6f64, 0.01..0.02f64], 1..300), q in 0.0..=1.0f64,
        ) {
            let found = sketch(&values).quantile(q).unwrap();
            values.sort_by(f64::total_cmp);
            let exact = values[(q * (values.len() - 1) as f64) as usize];
            prop_assert!((found - exact).abs() <= (RELATIVE_ERROR + 1e-9) * exact, "{found} for {exact}");
        }

        #[test]
        fn merging_is_adding_in_any_order(values in proptest::collection::vec(0.0..1e3f64, 0..200), cut in 0..200_usize) {
            let (one, two) = values.split_at(cut.min(values.len()));
            let (mut left, mut right) = (sketch(one), sketch(two));
            let part = left.clone();
            left.merge(&right);
            right.merge(&part);
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(&left, &sketch(&values));
        }

        #[test]
        fn any_values_are_survived_in_bounded_memory(values in proptest::collection::vec(any::<f64>(), 0..3000)) {
            let sketch = sketch(&values);
            prop_assert!(sketch.buckets.len() <= MAX_BUCKETS);
            for q in [0.0, 0.5, 1.0] {
                prop_assert!(sketch.quantile(q).is_none_or(f64::is_finite));
            }
        }
    }
}
