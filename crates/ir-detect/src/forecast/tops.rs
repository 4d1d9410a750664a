//! How high a series has been, and how far single values stand out of it.

use serde::{Deserialize, Serialize};

use crate::stats::Ring;

const WEEK: i32 = 28;
/// Tops are kept for pieces of six hours, for sixteen days: nine of a leak and the week before it.
const PIECE_SECS: f64 = 21_600.0;
const PIECES: usize = 64;
const HOUR_SECS: f64 = 3_600.0;
/// How fast it is forgotten that a value stood out, an hour.
const FADE: f64 = 0.97;

/// The highest of each six hours of sixteen days, without the hour of the day. 0.5 KB.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tops {
    /// Number of the piece from the epoch, and its top.
    pieces: Ring<(i32, f32)>,
    /// The hour that is being filled: its number, sum, minutes and largest value.
    hour: Option<(i32, f64, f64, f64)>,
    stands_out: f64,
}

impl Tops {
    /// The top of what was seen in the week before a time, and for how many seconds something was seen then.
    pub(crate) fn before(&self, secs: f64) -> Option<(f64, f64)> {
        let piece = (secs / PIECE_SECS).floor() as i32;
        let (mut top, mut pieces) = (f64::NEG_INFINITY, 0_u32);
        for (_, of_piece) in self.pieces.iter().filter(|(number, _)| (piece - WEEK..piece).contains(number)) {
            top = top.max(f64::from(*of_piece));
            pieces += 1;
        }
        (pieces > 0).then_some((top, f64::from(pieces) * PIECE_SECS))
    }

    /// By how much the largest value of an hour has lately exceeded its mean.
    pub(crate) fn stands_out(&self) -> f64 {
        self.stands_out
    }

    /// Takes a minute: its mean without the hour of the day, its mean, and its largest value. `learn` is false while it leaks:
    /// then an hour exceeds its mean because it rises.
    pub(crate) fn minute(&mut self, secs: f64, level: f64, mean: f64, max: f64, learn: bool) {
        let piece = (secs / PIECE_SECS).floor() as i32;
        match self.pieces.pop() {
            Some((number, top)) if number == piece => self.pieces.push((piece, top.max(level as f32)), PIECES),
            last => {
                if let Some(last) = last {
                    self.pieces.push(last, PIECES);
                }
                self.pieces.push((piece, level as f32), PIECES);
            }
        }
        let hour = (secs / HOUR_SECS).floor() as i32;
        match &mut self.hour {
            Some((number, sum, minutes, top)) if *number == hour => {
                (*sum, *minutes, *top) = (*sum + mean, *minutes + 1.0, top.max(max));
            }
            last => {
                if let Some((_, sum, minutes, top)) = last.filter(|_| learn) {
                    self.stands_out = (top - sum / minutes).max(self.stands_out * FADE);
                }
                *last = Some((hour, mean, 1.0, max));
            }
        }
    }

    /// Bytes on the heap.
    pub(crate) fn held(&self) -> usize {
        self.pieces.len() * size_of::<(i32, f32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_week_before_counts_and_what_comes_later_does_not() {
        let mut tops = Tops::default();
        for minute in 0..20 * 1440_u32 {
            let secs = 60.0 * f64::from(minute);
            let value = if minute == 1 { 1e6 } else { f64::from(minute) };
            tops.minute(secs, value, value, value + 5.0, true);
        }
        assert_eq!(tops.before(13.0 * 86_400.0 + 1.0), Some((13.0 * 1440.0 - 1.0, 28.0 * PIECE_SECS)));
        // Sixteen days are kept, so of the week before the ninth only five are left.
        assert_eq!(tops.before(9.0 * 86_400.0).map(|(_, seen)| seen), Some(20.0 * PIECE_SECS));
        assert_eq!(tops.before(3.0 * 86_400.0), None);
        assert!((tops.stands_out() - 34.5).abs() < 1.0, "{}", tops.stands_out());
    }
}
