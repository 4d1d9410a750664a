//! A linear model that foretells the next value, by recursive least squares.

use serde::{Deserialize, Serialize};

/// Five lags, what the profile promises, and a constant.
pub(crate) const INPUTS: usize = 7;
/// The model forgets: about the last thousand values count.
const FORGET: f64 = 0.999;
const REMEMBER: f64 = 1.0 / FORGET;
/// Inputs and answers are clipped at so many times their usual size.
const CLIP: f64 = 20.0;
/// The variance of a weight before anything is known, and beyond which it is taken back to that.
const PRIOR: f64 = 10.0;
const LOST: f64 = 1e4;

/// Recursive least squares with exponential forgetting (S. Haykin, "Adaptive Filter Theory", chapter 10). What differs: inputs
/// are scaled and clipped, errors are clipped, and a covariance that grows without bound (inputs that carry no information) is
/// set back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Linear {
    weights: [f64; INPUTS],
    covariance: [[f64; INPUTS]; INPUTS],
}

impl Default for Linear {
    fn default() -> Self {
        Self { weights: [0.0; INPUTS], covariance: prior() }
    }
}

fn prior() -> [[f64; INPUTS]; INPUTS] {
    std::array::from_fn(|row| std::array::from_fn(|column| if row == column { PRIOR } else { 0.0 }))
}

fn dot(a: &[f64; INPUTS], b: &[f64; INPUTS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Linear {
    /// What is foretold from these inputs, in their unit.
    pub(crate) fn predict(&self, inputs: &[f64; INPUTS]) -> f64 {
        dot(&self.weights, inputs)
    }

    /// Learns that `answer` came with these inputs. `scale` is the usual size of either; errors count as no more than `error_cap`.
    pub(crate) fn learn(&mut self, inputs: &[f64; INPUTS], answer: f64, scale: f64, error_cap: f64) {
        let per_scale = scale.max(f64::MIN_POSITIVE).recip();
        let inputs = inputs.map(|input| (input * per_scale).clamp(-CLIP, CLIP));
        let answer = (answer * per_scale).clamp(-CLIP, CLIP);
        let error_cap = (error_cap * per_scale).max(0.0);
        let gain: [f64; INPUTS] = std::array::from_fn(|row| dot(&self.covariance[row], &inputs));
        let per_total = (FORGET + dot(&inputs, &gain)).recip();
        let error = crate::stats::within(answer - dot(&self.weights, &inputs), error_cap);
        for (row, by) in gain.iter().enumerate() {
            let step = by * per_total;
            self.weights[row] += step * error;
            for (column, other) in gain.iter().enumerate() {
                self.covariance[row][column] = (self.covariance[row][column] - step * other) * REMEMBER;
            }
        }
        let sound = |row: usize| (0.0..=LOST).contains(&self.covariance[row][row]);
        if !(0..INPUTS).all(sound) {
            self.covariance = prior();
        }
        if self.weights.iter().any(|weight| !weight.is_finite()) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_autoregression_is_learned() {
        let (mut model, mut lags, mut state) = (Linear::default(), [0.0; INPUTS], 7_u64);
        let (mut late, mut errors) = (0.0, 0.0);
        for step in 0..5000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5;
            let answer = 0.6 * lags[0] + 0.3 * lags[1] + noise;
            if step > 4000 {
                late += 1.0;
                errors += (answer - model.predict(&lags)).abs();
            }
            model.learn(&lags, answer, 1.0, 5.0);
            lags[1] = lags[0];
            lags[0] = answer;
        }
        // The noise alone has a mean size of 0.25.
        assert!(errors / late < 0.27, "{}", errors / late);
    }
}
