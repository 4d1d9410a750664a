//! What is usual of one kind of event in one entity's log: how often it comes, and how the last ticks compare.

use serde::{Deserialize, Serialize};

use crate::stats::EventRate;

/// Ticks that are looked at: two horizons. What is older is learned.
pub(super) const TICKS: usize = 24;
/// Ticks of a horizon, and of a block that is learned.
pub(super) const HORIZON: usize = 12;
/// Calm ticks that end a run.
const PAUSE: usize = 8;
/// A tick with less than this share of the largest is calm.
const BESIDE: f64 = 0.15;
/// Blocks after which half of what was learned is forgotten: two hours of minutes.
const HALF_LIFE_BLOCKS: f64 = 120.0;

/// Counts of the last ticks, newest last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recent {
    /// Of the tick that is still open.
    pub(super) open: u32,
    ticks: [u32; TICKS],
}

impl Recent {
    /// One more event.
    pub(super) fn add(&mut self) {
        self.open = self.open.saturating_add(1);
    }

    /// Takes one back: the latest.
    pub(super) fn undo(&mut self) {
        let latest = std::iter::once(&mut self.open).chain(self.ticks.iter_mut().rev()).find(|count| **count > 0);
        if let Some(count) = latest {
            *count -= 1;
        }
    }

    /// The open tick becomes the newest.
    pub(super) fn turn(&mut self) {
        self.ticks.rotate_left(1);
        self.ticks[TICKS - 1] = std::mem::take(&mut self.open);
    }

    /// The last `n` ticks, oldest first.
    pub(super) fn last(&self, n: usize) -> &[u32] {
        &self.ticks[TICKS - n.min(TICKS)..]
    }

    /// Events in the last `n` ticks.
    pub(super) fn sum(&self, n: usize) -> f64 {
        total(self.last(n))
    }

    /// The block that leaves next.
    pub(super) fn oldest(&self) -> [u32; HORIZON] {
        std::array::from_fn(|at| self.ticks[at])
    }

    /// Forgets the ticks, not what is open.
    pub(super) fn clear(&mut self) {
        self.ticks = [0; TICKS];
    }

    /// Adds the counts of another name.
    pub(super) fn join(&mut self, other: &Self) {
        self.open = self.open.saturating_add(other.open);
        for (mine, theirs) in self.ticks.iter_mut().zip(other.ticks) {
            *mine = mine.saturating_add(theirs);
        }
    }
}

fn total(ticks: &[u32]) -> f64 {
    ticks.iter().map(|count| f64::from(*count)).sum()
}

/// The longest run of ticks with at least `a_tick` events, and one: its length, how many ticks of it have, and where it ends. Calm
/// ticks of less than [`PAUSE`] in a row do not end it.
fn run(ticks: &[u32], a_tick: f64) -> (usize, usize, usize) {
    let (mut longest, mut run, mut calm) = ((0, 0, 0), (0, 0, 0), 0);
    for (at, count) in ticks.iter().enumerate() {
        if *count > 0 && f64::from(*count) >= a_tick {
            run = (run.0 + calm + 1, run.1 + 1, at + 1);
            calm = 0;
            longest = longest.max(run);
        } else if run.0 > 0 {
            calm += 1;
            if calm >= PAUSE {
                (run, calm) = ((0, 0, 0), 0);
            }
        }
    }
    longest
}

/// Events with the exposure that explains them: ticks for lines, trials for failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Usual {
    pub(super) recent: Recent,
    /// Events by exposure.
    pub(super) rate: EventRate,
    /// Ticks with at least one event, by ticks: lines of one statement often come several at once.
    pub(super) presence: EventRate,
    /// Blocks learned.
    pub(super) blocks: u32,
}

/// What the last ticks say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Verdict {
    pub(super) nats: f64,
    pub(super) expected: f64,
    pub(super) seen: f64,
    /// Ticks of the horizon.
    pub(super) ticks: usize,
    /// From the first to the last tick with more than is usual, in ticks, and how many of them there are.
    pub(super) span: usize,
    pub(super) raised: usize,
    /// Of trials: the share of those in the span that were hits.
    pub(super) share: f64,
    /// Ticks since the last raised one.
    pub(super) calm: usize,
}

impl Usual {
    /// Learns a block as [`Self::learn`] does, of counts that are at most `most` times what is usual: what is odd becomes usual only
    /// when it goes on for long.
    pub(super) fn learn_clipped(&mut self, counts: &[u32], exposure: f64, most: f64) {
        let (events, expected) = (total(counts), self.rate.expected(exposure));
        let room = (most * expected).max(1.0);
        if events <= room {
            return self.learn(counts, exposure);
        }
        // As many of the ticks keep theirs as there is room for.
        let mut left = room;
        let clipped: Vec<u32> = counts
            .iter()
            .map(|count| {
                let kept = f64::from(*count).min(left.floor());
                left -= kept;
                kept as u32
            })
            .collect();
        self.learn(&clipped, exposure);
    }

    /// Learns a block of ticks with what each was exposed to.
    pub(super) fn learn(&mut self, counts: &[u32], exposure: f64) {
        if counts.is_empty() || exposure <= 0.0 {
            return;
        }
        self.rate.learn(total(counts), exposure, HALF_LIFE_BLOCKS);
        let present = counts.iter().filter(|count| **count > 0).count();
        self.presence.learn(present as f64, counts.len() as f64, HALF_LIFE_BLOCKS);
        self.blocks = self.blocks.saturating_add(1);
    }

    /// Adds what is known of another name of the same.
    pub(super) fn join(&mut self, other: &Self) {
        self.recent.join(&other.recent);
        self.rate.join(&other.rate);
        self.presence.join(&other.presence);
        self.blocks = self.blocks.max(other.blocks);
    }

    /// Whether there are more events than usual, over one horizon or two; `exposure` is that of the last so many ticks, and
    /// `ratio` how many times the usual a tick must have to count as raised. `singly` counts ticks with events as well.
    pub(super) fn more(&self, exposure: impl Fn(usize) -> f64, ratio: f64, singly: bool) -> Verdict {
        let mut worst = Verdict::default();
        for ticks in [HORIZON, TICKS] {
            let counts = self.recent.last(ticks);
            let (seen, exposed) = (total(counts), exposure(ticks));
            let expected = self.rate.expected(exposed);
            let present = counts.iter().filter(|count| **count > 0).count() as f64;
            let by_count = self.rate.more(seen, exposed);
            let by_presence = if singly { self.presence.more_single(present, exposed) } else { 0.0 };
            // Two horizons and two ways to count are four chances.
            let nats = by_count.max(by_presence) - 4.0_f64.ln();
            if nats > worst.nats {
                worst = Verdict { nats, expected, seen, ticks, ..Verdict::default() };
            }
        }
        (worst.span, worst.raised, _) = self.run(&worst, ratio);
        worst
    }

    /// Whether more of the trials than usual are events, over one horizon or two; `ratio` as in [`Self::more`].
    pub(super) fn more_of(&self, trials: &Recent, ratio: f64) -> Verdict {
        let mut worst = Verdict::default();
        for ticks in [HORIZON, TICKS] {
            let seen = self.recent.sum(ticks);
            // An event may be seen before its trial is over.
            let among = trials.sum(ticks).max(seen);
            let nats = self.rate.more_hits(seen as u32, among as u32) - 2.0_f64.ln();
            if nats > worst.nats {
                worst = Verdict { nats, expected: self.rate.expected(among), seen, ticks, ..Verdict::default() };
            }
        }
        if worst.nats <= 0.0 {
            return worst;
        }
        let end;
        (worst.span, worst.raised, end) = self.run(&worst, ratio);
        let among = total(&trials.last(TICKS)[end - worst.span..end]);
        let hits = total(&self.recent.last(TICKS)[end - worst.span..end]);
        worst.calm = TICKS - end;
        worst.share = hits / among.max(hits).max(1.0);
        worst
    }

    /// The longest run of raised ticks. One event beside a burst does not make the burst last.
    fn run(&self, worst: &Verdict, ratio: f64) -> (usize, usize, usize) {
        let peak = self.recent.last(TICKS).iter().copied().max().unwrap_or(0);
        let a_tick = (ratio * worst.expected / worst.ticks.max(1) as f64).max(BESIDE * f64::from(peak));
        run(self.recent.last(TICKS), a_tick)
    }

    /// Whether there are fewer events than usual over both horizons together.
    pub(super) fn fewer(&self, exposure: f64) -> Verdict {
        let seen = self.recent.sum(TICKS);
        let expected = self.rate.expected(exposure);
        let nats = self.rate.fewer(seen, exposure);
        Verdict { nats, expected, seen, ticks: TICKS, span: TICKS, raised: TICKS, ..Verdict::default() }
    }
}
