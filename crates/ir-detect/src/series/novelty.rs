//! How unlike the shape of the last values is to the shapes seen before.

use serde::{Deserialize, Serialize};

use crate::stats::{octets, singles};

/// Values of a shape.
pub(crate) const SHAPE: usize = 8;
/// Shapes that are remembered; every eighth is taken, so they reach back five hundred values.
const REMEMBERED: usize = 64;
const EVERY: usize = 8;
/// Steps from the middle of a shape to its highest and lowest value: a byte of either sign.
const STEPS: f32 = 127.0;
/// Values are clipped here, so that no difference of two is infinite.
const LARGEST: f64 = f32::MAX as f64 / 8.0;

/// Shapes of the past, in 1 KB. Distance to the nearest is the discord of a subsequence (E. Keogh, J. Lin, A. Fu 2005: "HOT SAX",
/// doi:10.1109/ICDM.2005.79), here against a sample of the past instead of all of it.
///
/// A shape is kept as its middle, and eight bytes in steps of its own: an error of at most 1/508 of the distance between its
/// highest and its lowest value. Values lie by place and then by shape, so that one pass compares four shapes at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Novelty {
    #[serde(with = "singles")]
    middles: [f32; REMEMBERED],
    #[serde(with = "singles")]
    steps: [f32; REMEMBERED],
    #[serde(with = "places")]
    places: [[i8; REMEMBERED]; SHAPE],
    seen: usize,
}

impl Default for Novelty {
    fn default() -> Self {
        Self { middles: [0.0; REMEMBERED], steps: [0.0; REMEMBERED], places: [[0; REMEMBERED]; SHAPE], seen: 0 }
    }
}

impl Novelty {
    /// The Euclidean distance from the nearest shape; 0 without a past.
    pub(crate) fn distance(&self, shape: &[f64; SHAPE]) -> f64 {
        let mut squares = [0.0_f32; REMEMBERED];
        for (place, value) in self.places.iter().zip(single(shape)) {
            for (at, square) in squares.iter_mut().enumerate() {
                let off = self.middles[at] + self.steps[at] * f32::from(place[at]) - value;
                *square += off * off;
            }
        }
        let remembered = (self.seen / EVERY).min(REMEMBERED);
        let nearest = squares[..remembered].iter().copied().fold(f32::INFINITY, f32::min);
        if nearest.is_finite() { f64::from(nearest).sqrt() } else { 0.0 }
    }

    pub(crate) fn learn(&mut self, shape: &[f64; SHAPE]) {
        self.seen = self.seen.wrapping_add(1);
        if !self.seen.is_multiple_of(EVERY) {
            return;
        }
        let shape = single(shape);
        let (low, high) =
            shape.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
        let middle = low + (high - low) / 2.0;
        let step = (high - low) / 2.0 / STEPS;
        let at = (self.seen / EVERY - 1) % REMEMBERED;
        (self.middles[at], self.steps[at]) = (middle, step);
        for (place, value) in self.places.iter_mut().zip(shape) {
            // Of a flat shape the step is 0, and the bytes say nothing.
            place[at] = if step > 0.0 { ((value - middle) / step).round() as i8 } else { 0 };
        }
    }
}

fn single(shape: &[f64; SHAPE]) -> [f32; SHAPE] {
    shape.map(|value| value.clamp(-LARGEST, LARGEST) as f32)
}

/// Bytes of either sign in snapshots.
mod places {
    use super::{REMEMBERED, SHAPE, octets};
    use serde::{Deserializer, Serializer};

    const ALL: usize = REMEMBERED * SHAPE;

    pub(super) fn serialize<S: Serializer>(places: &[[i8; REMEMBERED]; SHAPE], to: S) -> Result<S::Ok, S::Error> {
        let bytes: [u8; ALL] = std::array::from_fn(|at| places[at / REMEMBERED][at % REMEMBERED].cast_unsigned());
        octets::serialize(&bytes, to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[[i8; REMEMBERED]; SHAPE], D::Error> {
        let bytes: [u8; ALL] = octets::deserialize(from)?;
        Ok(std::array::from_fn(|place| std::array::from_fn(|at| bytes[place * REMEMBERED + at].cast_signed())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_seen_is_near_and_another_is_far() {
        let mut novelty = Novelty::default();
        let shape = |step: usize| -> [f64; SHAPE] { std::array::from_fn(|at| 1e6 + ((step + at) % 16) as f64) };
        assert_eq!(novelty.distance(&shape(0)), 0.0);
        // Each eighth is kept, so there are two of them.
        (1..=16 * 50).for_each(|step| novelty.learn(&shape(step)));
        assert!(novelty.distance(&shape(16)) < 0.1, "{}", novelty.distance(&shape(16)));
        assert!(novelty.distance(&shape(4)) > 10.0);
        let flat = [3.0; SHAPE];
        (0..16).for_each(|_| novelty.learn(&flat));
        assert_eq!(novelty.distance(&flat), 0.0);
        let far = [f64::MAX, f64::MIN, 0.0, 1e300, -1e300, 0.0, 1.0, 2.0];
        (0..16).for_each(|_| novelty.learn(&far));
        assert!(novelty.distance(&far).is_finite() && novelty.distance(&flat) == 0.0);
    }
}
