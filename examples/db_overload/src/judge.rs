//! The judge: goes by what customers met with and what the database's catalogue holds, and by no word of the library alone.

use std::time::Duration;

use tokio::time::Instant;

use crate::shop::Visit;

/// A sixth of what customers have patience for: ten quiet seconds before say little of how a machine that does other things as well
/// is ten seconds later.
const UNNOTICED: Duration = Duration::from_millis(250);

/// What customers met with in some time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Times {
    pub(crate) n: usize,
    pub(crate) failed: usize,
    /// The 95th percentile of the time to be served or to go away.
    pub(crate) p95: Duration,
    /// The same of the worst second.
    pub(crate) worst: Duration,
}

impl Times {
    /// Of those who came in `[from, to)`.
    pub(crate) fn of(visits: &[Visit], from: Instant, to: Instant) -> Self {
        let within: Vec<&Visit> = visits.iter().filter(|visit| from <= visit.came && visit.came < to).collect();
        let p95 = |waits: &mut Vec<Duration>| {
            waits.sort_unstable();
            // The smallest that at least 95 in 100 do not exceed.
            waits.get((waits.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
        };
        let second = |n: u64| {
            let begin = from + Duration::from_secs(n);
            let of = within.iter().filter(|v| begin <= v.came && v.came < begin + Duration::from_secs(1));
            p95(&mut of.map(|visit| visit.waited).collect())
        };
        Self {
            n: within.len(),
            failed: within.iter().filter(|visit| !visit.served).count(),
            p95: p95(&mut within.iter().map(|visit| visit.waited).collect()),
            worst: (0..to.duration_since(from).as_secs()).map(second).max().unwrap_or_default(),
        }
    }

    /// Whether a time like this is nothing unusual beside `before`: no more failed than then, and nineteen in twenty were served
    /// within what had been the worst second, or twice what had been usual, or [`UNNOTICED`].
    pub(crate) fn is_like(&self, before: &Self) -> bool {
        self.n > 0
            && self.failed * before.n.max(1) <= before.failed * self.n
            && self.p95 <= before.worst.max(before.p95 * 2).max(UNNOTICED)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |wait: Duration| wait.as_secs_f64() * 1000.0;
        let Self { n, failed, p95, worst } = self;
        write!(f, "{n:4} customers, {failed:3} failed, p95 {:6.1} ms, worst second {:6.1} ms", ms(*p95), ms(*worst))
    }
}

/// What is demanded, one after the other, and whether it holds.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    failed: usize,
}

impl Verdict {
    pub(crate) fn demand(&mut self, what: &str, holds: bool) {
        println!("  {} {what}", if holds { "yes" } else { "NO " });
        self.failed += usize::from(!holds);
    }

    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visits(begun: Instant, waits_ms: &[u64]) -> Vec<Visit> {
        let visit = |(n, wait): (usize, &u64)| Visit {
            came: begun + Duration::from_millis(100 * n as u64),
            waited: Duration::from_millis(*wait),
            served: *wait < 1_000,
        };
        waits_ms.iter().enumerate().map(visit).collect()
    }

    #[test]
    fn times_are_those_of_their_window() {
        let begun = Instant::now();
        // Two seconds: the first of 5 ms, the second with one of 80 ms; then one who failed, and who does not belong to it.
        let mut waits = vec![5; 10];
        waits.extend([7, 7, 7, 80, 7, 7, 7, 7, 7, 7, 2_000]);
        let visits = visits(begun, &waits);
        let of = Times::of(&visits, begun, begun + Duration::from_secs(2));
        let ms = Duration::from_millis;
        assert_eq!(of, Times { n: 20, failed: 0, p95: ms(7), worst: ms(80) });
        let all = Times::of(&visits, begun, begun + Duration::from_secs(3));
        assert_eq!((all.n, all.failed, all.worst), (21, 1, ms(2_000)));
    }

    #[test]
    fn a_time_with_failures_or_slow_ones_is_not_like_one_without() {
        let times = |n, failed, p95, worst| {
            let ms = Duration::from_millis;
            Times { n, failed, p95: ms(p95), worst: ms(worst) }
        };
        let before = times(300, 0, 10, 15);
        // One row for each bound that may be the widest.
        assert!(times(200, 0, 250, 290).is_like(&before) && !times(200, 0, 251, 290).is_like(&before));
        let slow = times(300, 0, 140, 170);
        assert!(times(200, 0, 280, 290).is_like(&slow) && !times(200, 0, 281, 290).is_like(&slow));
        let uneven = times(300, 0, 10, 400);
        assert!(times(200, 0, 400, 500).is_like(&uneven) && !times(200, 0, 401, 500).is_like(&uneven));
        assert!(!times(200, 1, 10, 15).is_like(&before));
        assert!(!times(0, 0, 0, 0).is_like(&before));
        assert!(times(200, 1, 10, 15).is_like(&times(200, 1, 10, 15)));
    }
}
