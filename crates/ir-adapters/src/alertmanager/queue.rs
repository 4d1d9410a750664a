//! What was received and not yet asked for: in order, bounded, kept until a later cursor says that it arrived.

use std::collections::{BTreeMap, VecDeque};

use ir_core::{Cursor, EventKind, EventRecord, Polled, Timestamp};

/// How many problems are told in words; the rest is only counted.
const MAX_PROBLEMS: usize = 5;
/// The most events of one poll.
const MAX_POLL: usize = 4096;

/// Numbered entries; a cursor is the number of the last one that was taken.
#[derive(Debug)]
pub(super) struct Queue {
    /// Which process counts: numbers of another one mean nothing here.
    epoch: i64,
    entries: VecDeque<(u64, Entry)>,
    /// About how many bytes the entries hold.
    n_bytes: usize,
    last: u64,
    /// The last number that any poll has given out.
    given: u64,
    /// When the same was heard last, by key, status and beginning.
    heard: BTreeMap<(String, bool, Timestamp), Timestamp>,
    bounds: Bounds,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_waiting: usize,
    pub(super) max_waiting_bytes: usize,
    pub(super) repeat_nanos: u64,
}

#[derive(Debug)]
enum Entry {
    Event(Box<EventRecord>),
    Dropped { n: u64, problems: Vec<String> },
}

impl Entry {
    /// About how many bytes it holds. It must not change while the entry waits, so problems of the dropped are left out.
    fn n_bytes(&self) -> usize {
        let Self::Event(event) = self else { return 64 };
        let fields: usize = event.fields.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
        256 + event.entity.as_str().len() + event.name.len() + fields
    }
}

impl Queue {
    pub(super) fn new(now: Timestamp, bounds: Bounds) -> Self {
        Self {
            epoch: now.as_nanos(),
            entries: VecDeque::new(),
            n_bytes: 0,
            last: 0,
            given: 0,
            heard: BTreeMap::new(),
            bounds,
        }
    }

    /// Whether `n` more entries of `n_bytes` together fit.
    pub(super) fn has_room(&self, n: usize, n_bytes: usize) -> bool {
        self.entries.len().saturating_add(n) <= self.bounds.max_waiting
            && self.n_bytes.saturating_add(n_bytes) <= self.bounds.max_waiting_bytes
    }

    /// Takes an event, unless the very same was heard a moment ago.
    pub(super) fn push(&mut self, event: EventRecord) {
        if let EventKind::Alert(alert) = &event.kind {
            let same = (alert.key.clone(), alert.firing, alert.since);
            let before = self.heard.insert(same, event.at);
            if before.is_some_and(|before| self.is_recent(before, event.at)) {
                return;
            }
            if self.heard.len() > self.bounds.max_waiting {
                let at = event.at;
                let repeat = self.bounds.repeat_nanos;
                self.heard.retain(|_, heard| at.since(*heard).as_nanos() < u128::from(repeat));
                // A flood of alerts that are all new: a repetition that is not noticed does no harm, unbounded memory does.
                if self.heard.len() > self.bounds.max_waiting {
                    self.heard.clear();
                }
            }
        }
        self.add(Entry::Event(Box::new(event)));
    }

    fn is_recent(&self, before: Timestamp, now: Timestamp) -> bool {
        now.since(before).as_nanos() < u128::from(self.bounds.repeat_nanos)
    }

    /// Counts what could not be taken. Neighbours share an entry, so that a flood of nonsense takes no room.
    pub(super) fn drop_some(&mut self, n: u64, problem: String) {
        let given = self.given;
        match self.entries.back_mut() {
            // What a poll has given out must not change any more, or it would be counted again.
            Some((seq, Entry::Dropped { n: known, problems })) if *seq > given => {
                *known += n;
                if problems.len() < MAX_PROBLEMS {
                    problems.push(problem);
                }
            }
            _ => self.add(Entry::Dropped { n, problems: vec![problem] }),
        }
    }

    fn add(&mut self, entry: Entry) {
        self.last += 1;
        self.n_bytes += entry.n_bytes();
        self.entries.push_back((self.last, entry));
    }

    /// What came after `cursor`. What came before it has arrived and is forgotten.
    pub(super) fn poll(&mut self, cursor: &Cursor) -> Polled {
        let taken = cursor.as_str().split_once('/').filter(|(epoch, _)| *epoch == self.epoch.to_string());
        let taken: u64 = taken.and_then(|(_, seq)| seq.parse().ok()).unwrap_or_default();
        while self.entries.front().is_some_and(|(seq, _)| *seq <= taken) {
            if let Some((_, entry)) = self.entries.pop_front() {
                self.n_bytes = self.n_bytes.saturating_sub(entry.n_bytes());
            }
        }
        let mut polled = Polled::default();
        let mut next = taken;
        for (seq, entry) in self.entries.iter().take(MAX_POLL) {
            next = *seq;
            match entry {
                Entry::Event(event) => polled.batch.events.push(event.as_ref().clone()),
                Entry::Dropped { n, problems } => {
                    polled.dropped += n;
                    let room = MAX_PROBLEMS.saturating_sub(polled.problems.len());
                    polled.problems.extend(problems.iter().take(room).cloned());
                }
            }
        }
        self.given = self.given.max(next);
        polled.next = Cursor::new(format!("{}/{next}", self.epoch));
        polled
    }
}
