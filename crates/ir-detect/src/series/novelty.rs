//! How unlike the shape of the last values is to every shape seen before.

use serde::{Deserialize, Serialize};

/// Values of a shape.
pub(crate) const SHAPE: usize = 8;
/// Shapes that are remembered; every fourth is taken, so they reach back a thousand values.
const REMEMBERED: usize = 256;
const EVERY: usize = 4;

/// Shapes of the past, in 8 KB. Distance to the nearest is the discord of a subsequence (E. Keogh, J. Lin, A. Fu 2005: "HOT SAX",
/// doi:10.1109/ICDM.2005.79), here against a sample of the past instead of all of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Novelty {
    shapes: Vec<[f32; SHAPE]>,
    seen: usize,
}

impl Novelty {
    /// The Euclidean distance from the nearest shape; 0 without a past.
    pub(crate) fn distance(&self, shape: &[f64; SHAPE]) -> f64 {
        let shape = single(shape);
        let square = |other: &[f32; SHAPE]| other.iter().zip(&shape).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        let nearest = self.shapes.iter().map(square).fold(f32::INFINITY, f32::min);
        if nearest.is_finite() { f64::from(nearest).sqrt() } else { 0.0 }
    }

    /// Bytes on the heap.
    pub(crate) fn held(&self) -> usize {
        self.shapes.capacity() * size_of::<[f32; SHAPE]>()
    }

    pub(crate) fn learn(&mut self, shape: &[f64; SHAPE]) {
        self.seen += 1;
        if !self.seen.is_multiple_of(EVERY) {
            return;
        }
        let shape = single(shape);
        if self.shapes.len() < REMEMBERED {
            self.shapes.push(shape);
        } else {
            self.shapes[self.seen / EVERY % REMEMBERED] = shape;
        }
    }
}

fn single(shape: &[f64; SHAPE]) -> [f32; SHAPE] {
    shape.map(|value| value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32)
}
