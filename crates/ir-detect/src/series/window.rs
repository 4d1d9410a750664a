//! The last values of a series, and what is said of them in one number.

use serde::{Deserialize, Serialize};

/// How many values are kept.
const KEPT: usize = 32;

/// The last values, newest first by [`Window::back`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    values: [f64; KEPT],
    seen: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { values: [0.0; KEPT], seen: 0 }
    }
}

impl Window {
    pub(crate) fn push(&mut self, value: f64) {
        // Before there is a history, it is taken to have been like the first value.
        if self.seen == 0 {
            self.values = [value; KEPT];
        }
        self.values[self.seen % KEPT] = value;
        self.seen += 1;
    }

    /// The value `back` places before the newest; `back` below 32.
    pub(crate) fn back(&self, back: usize) -> f64 {
        self.values[(self.seen + KEPT * 2 - 1 - back) % KEPT]
    }

    /// The newest `N`, newest first.
    pub(crate) fn last<const N: usize>(&self) -> [f64; N] {
        std::array::from_fn(|back| self.back(back))
    }

    /// The mean of the newest `n`; exactly the value where all are equal.
    pub(crate) fn mean(&self, n: usize) -> f64 {
        let newest = self.back(0);
        newest + (1..n).map(|back| (self.back(back) - newest) / n as f64).sum::<f64>()
    }

    /// The standard deviation of the newest `n`.
    pub(crate) fn deviation(&self, n: usize) -> f64 {
        let mean = self.mean(n);
        ((0..n).map(|back| (self.back(back) - mean).powi(2)).sum::<f64>() / n as f64).sqrt()
    }
}
