//! Means of one series over five spans at once.

use serde::{Deserialize, Serialize};

/// Spans, finest first.
pub(crate) const SPANS: usize = 5;
/// Means kept of each.
pub(crate) const KEPT: usize = 64;
/// Each span is so many of the next finer one.
const FOLD: i64 = 4;
/// A minute, 4 minutes, 16 minutes, about an hour, more than four hours.
const FINEST_SECS: f64 = 60.0;

/// Seconds of one mean of a span.
pub(crate) fn secs_of(span: usize) -> f64 {
    FINEST_SECS * (FOLD as f64).powi(span as i32)
}

/// A minute that is over, and the spans whose means ended with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Closed {
    /// Its middle, in seconds since the epoch.
    pub(crate) middle_secs: f64,
    pub(crate) mean: f64,
    /// Its largest value.
    pub(crate) max: f64,
    pub(crate) spans: [bool; SPANS],
}

/// The last 64 means of each span. 1.4 KB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ladder {
    rungs: Vec<Rung>,
    /// Sum, number and maximum of the values of the minute that is being filled.
    sum: f64,
    values: f64,
    max: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Rung {
    /// Number of the mean that is being filled, counted from the epoch.
    open: Option<i64>,
    /// The finer means of it so far.
    parts: Vec<f32>,
    /// Closed ones, the newest last; none where nothing was seen.
    means: std::collections::VecDeque<Option<f32>>,
}

impl Default for Ladder {
    fn default() -> Self {
        Self { rungs: vec![Rung::default(); SPANS], sum: 0.0, values: 0.0, max: 0.0 }
    }
}

impl Ladder {
    /// Takes a value at a time in seconds since the epoch. Values from before the open minute are left out. Tells what was closed,
    /// if anything was.
    pub(crate) fn push(&mut self, secs: f64, value: f64) -> Option<Closed> {
        let minute = (secs / FINEST_SECS).floor() as i64;
        let open = self.rungs.first().and_then(|rung| rung.open);
        let closed = match open {
            Some(open) if minute < open => return None,
            Some(open) if minute > open => Some(self.close(open, minute)),
            Some(_) => None,
            None => {
                self.rungs.iter_mut().enumerate().for_each(|(span, rung)| rung.open = Some(number(minute, span)));
                None
            }
        };
        self.max = if self.values > 0.0 { self.max.max(value) } else { value };
        self.sum += value;
        self.values += 1.0;
        closed
    }

    /// Forgets all means: what comes belongs to another level.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The means of a span, oldest first, each with the middle of its time in seconds since the epoch.
    pub(crate) fn means(
        &self,
        span: usize,
    ) -> impl DoubleEndedIterator<Item = (f64, Option<f64>)> + ExactSizeIterator + Clone {
        let rung = &self.rungs[span.min(SPANS - 1)];
        let first = rung.open.unwrap_or(0) - rung.means.len() as i64;
        let secs = secs_of(span);
        let middle = move |at: usize| ((first + at as i64) as f64 + 0.5) * secs;
        rung.means.iter().enumerate().map(move |(at, mean)| (middle(at), mean.map(f64::from)))
    }

    /// Bytes on the heap.
    pub(crate) fn held(&self) -> usize {
        let rung =
            |rung: &Rung| rung.means.capacity() * size_of::<Option<f32>>() + rung.parts.capacity() * size_of::<f32>();
        self.rungs.capacity() * size_of::<Rung>() + self.rungs.iter().map(rung).sum::<usize>()
    }

    fn close(&mut self, minute: i64, next: i64) -> Closed {
        let mean = self.sum / self.values;
        let middle_secs = (minute as f64 + 0.5) * FINEST_SECS;
        let mut closed = Closed { middle_secs, mean, max: self.max, spans: [false; SPANS] };
        (self.sum, self.values) = (0.0, 0.0);
        let mut up = Some(mean as f32);
        for (span, rung) in self.rungs.iter_mut().enumerate() {
            let now = number(next, span);
            if span == 0 {
                rung.parts.push(mean as f32);
            } else {
                rung.parts.extend(up);
            }
            let open = rung.open.unwrap_or_else(|| number(minute, span));
            if now == open {
                break;
            }
            up = middle(&mut rung.parts);
            rung.parts.clear();
            rung.keep(up);
            closed.spans[span] = true;
            for _ in 0..(now - open - 1).clamp(0, KEPT as i64) {
                rung.keep(None);
            }
            rung.open = Some(now);
        }
        closed
    }
}

impl Rung {
    fn keep(&mut self, mean: Option<f32>) {
        if self.means.len() >= KEPT {
            self.means.pop_front();
        }
        self.means.push_back(mean);
    }
}

/// The number of the mean of a span that a minute belongs to.
fn number(minute: i64, span: usize) -> i64 {
    minute.div_euclid(FOLD.pow(span as u32))
}

/// The mean without the smallest and the largest part, where there are four: one wild minute moves nothing.
fn middle(parts: &mut [f32]) -> Option<f32> {
    parts.sort_by(f32::total_cmp);
    let inner = match parts.len() {
        0 => return None,
        1..4 => &*parts,
        n => &parts[1..n - 1],
    };
    Some(inner.iter().sum::<f32>() / inner.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_all_spans_agree_with_what_was_pushed() {
        let mut ladder = Ladder::default();
        let mut closes = [0; SPANS];
        for step in 0..4 * 24 * 60 * 4_u32 {
            let secs = 15.0 * f64::from(step);
            let Some(closed) = ladder.push(secs, secs) else { continue };
            assert_eq!((closed.mean, closed.max), (closed.middle_secs - 7.5, closed.middle_secs + 15.0));
            closes.iter_mut().zip(closed.spans).for_each(|(count, closed)| *count += u32::from(closed));
        }
        assert_eq!(closes, [5759, 1439, 359, 89, 22]);
        for (span, closes) in closes.into_iter().enumerate() {
            let means: Vec<_> = ladder.means(span).collect();
            assert_eq!(means.len(), KEPT.min(closes as usize));
            for (middle, mean) in means {
                assert!((middle - 7.5 - mean.unwrap()).abs() < secs_of(span) * 0.01, "{span}: {middle} {mean:?}");
            }
        }
    }

    #[test]
    fn gaps_are_kept_as_gaps_and_time_may_jump_either_way() {
        let mut ladder = Ladder::default();
        ladder.push(0.0, 1.0);
        ladder.push(60.0, 2.0);
        ladder.push(30.0, 9.0);
        ladder.push(600.0, 3.0);
        ladder.push(660.0, 3.0);
        let means: Vec<_> = ladder.means(0).map(|(_, mean)| mean).collect();
        let none = std::iter::repeat_n(None, 8);
        assert_eq!(means, [Some(1.0), Some(2.0)].into_iter().chain(none).chain([Some(3.0)]).collect::<Vec<_>>());
        ladder.push(1e12, 4.0);
        ladder.push(1e12 + 60.0, 4.0);
        assert_eq!(ladder.means(0).len(), KEPT);
        assert!(ladder.means(0).rev().skip(1).all(|(_, mean)| mean.is_none()));
    }
}
