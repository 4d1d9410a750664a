//! A mean that forgets, over samples at uneven times.

use serde::{Deserialize, Serialize};

/// Exponentially weighted mean and variance with a half-life in seconds.
///
/// S. W. Roberts (1959): "Control Chart Tests Based on Geometric Moving Averages", doi:10.1080/00401706.1959.10489860. What
/// differs: the weight follows from the time passed, so that gaps and uneven intervals do not change the half-life; the
/// variance is T. Finch's incremental form (2009). 24 bytes a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ewma {
    mean: f64,
    variance: f64,
    started: bool,
}

impl Ewma {
    /// Takes a value that came `elapsed_secs` after the one before. Values that are not finite change nothing.
    pub fn push(&mut self, value: f64, elapsed_secs: f64, half_life_secs: f64) {
        if !value.is_finite() {
            return;
        }
        if !self.started {
            *self = Self { mean: value, variance: 0.0, started: true };
            return;
        }
        let keep = (-std::f64::consts::LN_2 * elapsed_secs.max(0.0) / half_life_secs.max(1e-9)).exp();
        let step = (value - self.mean) * (1.0 - keep);
        let variance = keep * (self.variance + step * (value - self.mean));
        self.mean += step;
        // An overflow of the square must not poison the state; the mean stays right.
        self.variance = if variance.is_finite() { variance } else { self.variance };
    }

    /// The mean; `None` before the first value.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        self.started.then_some(self.mean)
    }

    /// The standard deviation; `None` before the first value.
    #[must_use]
    pub fn deviation(&self) -> Option<f64> {
        self.started.then(|| self.variance.max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_step_is_taken_in_one_half_life() {
        let mut mean = Ewma::default();
        mean.push(0.0, 0.0, 10.0);
        mean.push(1.0, 10.0, 10.0);
        assert!((mean.mean().unwrap() - 0.5).abs() < 1e-12);
        mean.push(f64::NAN, 10.0, 10.0);
        assert!((mean.mean().unwrap() - 0.5).abs() < 1e-12);
    }
}
