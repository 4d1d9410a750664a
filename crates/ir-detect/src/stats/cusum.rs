//! Level shifts: the cumulative sum test.

use serde::{Deserialize, Serialize};

/// Two one-sided cumulative sums of standardised values.
///
/// E. S. Page (1954): "Continuous Inspection Schemes". Biometrika 41(1/2), doi:10.1093/biomet/41.1-2.100. A sum grows by how
/// far a value lies beyond `slack` scales and never falls below 0; it crosses `h` after about `h / (shift - slack)` values
/// of a lasting shift, while single spikes drain away. What differs: one value adds at most `cap`, so that no single value
/// decides, and a sum stops at `ceiling`, so that the end of a long shift is seen soon. Slack 0.5 and threshold 5 are the textbook pair for a shift of one sigma (average run length about 465 in
/// control); callers here use larger ones. 16 bytes a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cusum {
    up: f64,
    down: f64,
}

impl Cusum {
    /// Takes a standardised value; NaN counts as 0.
    pub fn push(&mut self, z: f64, slack: f64, cap: f64, ceiling: f64) {
        let z = if z.is_nan() { 0.0 } else { z.clamp(-cap, cap) };
        self.up = (self.up + z - slack).max(0.0).min(ceiling);
        self.down = (self.down - z - slack).max(0.0).min(ceiling);
    }

    /// The sum upwards.
    #[must_use]
    pub fn up(&self) -> f64 {
        self.up
    }

    /// The sum downwards, positive.
    #[must_use]
    pub fn down(&self) -> f64 {
        self.down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_shift_adds_up_and_a_spike_does_not() {
        let mut shifted = Cusum::default();
        for _ in 0..4 {
            shifted.push(2.0, 0.5, 4.0, 100.0);
        }
        assert!((shifted.up() - 6.0).abs() < 1e-12); // By hand: 4 * (2 - 0.5).
        let mut spiked = Cusum::default();
        spiked.push(1e9, 0.5, 4.0, 100.0);
        for _ in 0..10 {
            spiked.push(0.0, 0.5, 4.0, 100.0);
        }
        assert_eq!(spiked.up(), 0.0);
    }
}
