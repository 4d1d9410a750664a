//! The last values of a series, and what is said of them in one number.

use serde::{Deserialize, Serialize};

/// How many values are kept.
const KEPT: usize = 16;

/// The last values.
///
/// Each is written twice, so that the newest always lie side by side, whatever their number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct Window {
    values: [f64; KEPT * 2],
    seen: usize,
}

/// What a snapshot has of it: each value once.
#[derive(Serialize, Deserialize)]
struct Saved {
    values: [f64; KEPT],
    seen: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { values: [0.0; KEPT * 2], seen: 0 }
    }
}

impl From<Saved> for Window {
    fn from(saved: Saved) -> Self {
        Self { values: std::array::from_fn(|at| saved.values[at % KEPT]), seen: saved.seen }
    }
}

impl From<Window> for Saved {
    fn from(window: Window) -> Self {
        Self { values: std::array::from_fn(|at| window.values[at]), seen: window.seen }
    }
}

impl Window {
    pub(crate) fn push(&mut self, value: f64) {
        // Before there is a history, it is taken to have been like the first value.
        if self.seen == 0 {
            self.values = [value; KEPT * 2];
        }
        let at = self.seen % KEPT;
        self.values[at] = value;
        self.values[at + KEPT] = value;
        self.seen = self.seen.wrapping_add(1);
    }

    /// The newest `N`, oldest first; `N` up to 16.
    pub(crate) fn last<const N: usize>(&self) -> [f64; N] {
        let after = self.seen.wrapping_sub(1) % KEPT + KEPT + 1;
        self.values[after - N..after].try_into().unwrap_or([0.0; N])
    }
}

/// The mean; exactly the value where all are equal.
pub(crate) fn mean<const N: usize>(values: &[f64; N]) -> f64 {
    let newest = values[N - 1];
    newest + values.iter().map(|value| value - newest).sum::<f64>() / N as f64
}

/// The standard deviation.
pub(crate) fn deviation<const N: usize>(values: &[f64; N]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / N as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lie_side_by_side_whatever_their_number() {
        let mut window = Window::default();
        window.push(5.0);
        assert_eq!(window.last::<3>(), [5.0; 3], "the past was like the first value");
        for n in 1..100 {
            window.push(f64::from(n));
            let expected: [f64; 12] = std::array::from_fn(|at| f64::from(n) - 11.0 + at as f64);
            assert!(n < 12 || window.last::<12>() == expected, "{n} {window:?}");
        }
        let again: Window = serde_json::from_str(&serde_json::to_string(&window).unwrap()).unwrap();
        assert_eq!(again, window);
        assert_eq!((mean(&window.last::<3>()), deviation(&[1.0, 3.0])), (98.0, 1.0));
    }
}
