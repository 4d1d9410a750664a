//! A median that follows a stream in 24 bytes.

use serde::{Deserialize, Serialize};

use super::within;

/// The running median of a stream, by steps towards each value.
///
/// Stochastic approximation of the quantile (H. Robbins, S. Monro 1951, doi:10.1214/aoms/1177729586), the step tied to the mean
/// absolute deviation so that it has the unit of the values; values far out make the steps longer. The first values move it as a
/// mean would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RunningMedian {
    median: f64,
    deviation: f64,
    values: f64,
}

/// How far a step goes, in deviations times the rate: the density of a normal law at its median asks for 1.57.
const STEP: f64 = 1.5;

impl RunningMedian {
    /// Takes a value; `rate` (0..1) is the share of the way that a step goes once there is a history. Values that are not finite
    /// change nothing.
    pub fn push(&mut self, value: f64, rate: f64) {
        if !value.is_finite() {
            return;
        }
        self.values += 1.0;
        if self.values <= 1.0 {
            self.median = value;
            return;
        }
        let rate = rate.max(1.0 / self.values);
        // The halves are taken apart, because the difference of two large values may be infinite.
        let distance = (value / 2.0 - self.median / 2.0).clamp(-f64::MAX / 4.0, f64::MAX / 4.0) * 2.0;
        self.deviation += rate * (distance.abs() - self.deviation);
        let step = self.deviation * rate * STEP;
        self.median += within(distance, step);
    }

    /// The median; `None` before the first value.
    #[must_use]
    pub fn get(&self) -> Option<f64> {
        (self.values > 0.0).then_some(self.median)
    }

    /// The mean absolute distance from the median, in the unit of the values.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.deviation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_median_and_not_the_mean() {
        let mut median = RunningMedian::default();
        for n in 0..5000_u32 {
            median.push(f64::from(n * 7919 % 100), 0.01);
            if n % 50 == 0 {
                median.push(1e4, 0.01);
            }
        }
        let found = median.get().unwrap();
        assert!((found - 50.0).abs() < 12.0, "{found}");
    }

    #[test]
    fn the_largest_numbers_are_survived() {
        let mut median = RunningMedian::default();
        assert_eq!(median.get(), None);
        for value in [f64::MAX, -f64::MAX, f64::NAN, f64::INFINITY, f64::MAX, 0.0] {
            median.push(value, 0.5);
            assert!(median.get().unwrap().is_finite() && median.deviation().is_finite());
        }
    }
}
