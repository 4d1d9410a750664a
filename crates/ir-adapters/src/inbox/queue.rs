//! What was taken and not yet asked for: in order, bounded, kept until a later cursor says that it arrived.

use std::collections::VecDeque;

use ir_core::{Cursor, Polled, SignalBatch, Timestamp};

use crate::shared::MAX_PROBLEMS;

/// No further request is given out by a poll that has so many signals.
const MAX_POLL: usize = 50_000;
/// What an entry takes without its signals.
const ENTRY_BYTES: usize = 512;

/// What came of one request.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) batch: SignalBatch,
    pub(crate) late: u64,
    pub(crate) dropped: u64,
    pub(crate) problems: Vec<String>,
    /// About how many bytes the signals hold.
    pub(crate) n_bytes: usize,
}

impl Taken {
    /// Says what is wrong with something that was taken all the same.
    pub(crate) fn tell(&mut self, problem: impl IntoIterator<Item = String>) {
        let room = MAX_PROBLEMS.saturating_sub(self.problems.len());
        self.problems.extend(problem.into_iter().take(room));
    }

    fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.dropped == 0 && self.problems.is_empty()
    }

    /// Counts what could not be taken, and says why of the first few.
    pub(crate) fn drop_some(&mut self, n: u64, problem: impl FnOnce() -> String) {
        self.dropped = self.dropped.saturating_add(n);
        if n > 0 && self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem());
        }
    }
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) max_signals: usize,
    pub(crate) max_bytes: usize,
}

/// Numbered entries; a cursor is the number of the last one that was taken.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Which process counts: numbers of another one mean nothing here.
    epoch: i64,
    entries: VecDeque<(u64, Taken)>,
    n_signals: usize,
    n_bytes: usize,
    last: u64,
    /// The last number that any poll has given out.
    given: u64,
    bounds: Bounds,
}

impl Queue {
    pub(crate) const fn new(now: Timestamp, bounds: Bounds) -> Self {
        let epoch = now.as_nanos();
        Self { epoch, entries: VecDeque::new(), n_signals: 0, n_bytes: 0, last: 0, given: 0, bounds }
    }

    /// Whether a request of so many signals and bytes still fits.
    pub(crate) const fn has_room(&self, n_signals: usize, n_bytes: usize) -> bool {
        self.n_signals.saturating_add(n_signals) <= self.bounds.max_signals
            && self.n_bytes.saturating_add(n_bytes) <= self.bounds.max_bytes
    }

    /// Takes what came of a request. What was dropped joins what was dropped right before, so that a flood of nonsense takes no
    /// room.
    pub(crate) fn push(&mut self, taken: Taken) {
        if taken.is_empty() {
            return;
        }
        let given = self.given;
        if let Some((seq, before)) = self.entries.back_mut()
            && taken.batch.is_empty()
            // What a poll has given out must not change any more, or it would be counted again.
            && *seq > given
        {
            before.dropped = before.dropped.saturating_add(taken.dropped);
            let room = MAX_PROBLEMS.saturating_sub(before.problems.len());
            before.problems.extend(taken.problems.into_iter().take(room));
            return;
        }
        self.last += 1;
        self.n_signals += taken.batch.len();
        self.n_bytes += taken.n_bytes + ENTRY_BYTES;
        self.entries.push_back((self.last, taken));
    }

    /// What came after `cursor`. What came before it has arrived and is forgotten.
    pub(crate) fn poll(&mut self, cursor: &Cursor) -> Polled {
        let reached = cursor.as_str().split_once('/').filter(|(epoch, _)| *epoch == self.epoch.to_string());
        let reached: u64 = reached.and_then(|(_, seq)| seq.parse().ok()).unwrap_or_default();
        while self.entries.front().is_some_and(|(seq, _)| *seq <= reached) {
            if let Some((_, taken)) = self.entries.pop_front() {
                self.n_signals = self.n_signals.saturating_sub(taken.batch.len());
                self.n_bytes = self.n_bytes.saturating_sub(taken.n_bytes + ENTRY_BYTES);
            }
        }
        let mut polled = Polled::default();
        let mut next = reached;
        for (seq, taken) in &self.entries {
            let n = polled.batch.len();
            if n > 0 && n + taken.batch.len() > MAX_POLL {
                break;
            }
            next = *seq;
            polled.batch.metrics.extend_from_slice(&taken.batch.metrics);
            polled.batch.logs.extend_from_slice(&taken.batch.logs);
            polled.batch.spans.extend_from_slice(&taken.batch.spans);
            polled.batch.events.extend_from_slice(&taken.batch.events);
            polled.late += taken.late;
            polled.dropped = polled.dropped.saturating_add(taken.dropped);
            let room = MAX_PROBLEMS.saturating_sub(polled.problems.len());
            polled.problems.extend(taken.problems.iter().take(room).cloned());
        }
        self.given = self.given.max(next);
        polled.next = Cursor::new(format!("{}/{next}", self.epoch));
        polled
    }
}
