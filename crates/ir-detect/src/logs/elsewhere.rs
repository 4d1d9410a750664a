//! Traces in which somebody could not reach another: work that waited for it breaks off without a fault of its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ir_core::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Traces that are remembered, and for how long: work that waits for an answer goes on for less.
const MAX_TRACES: usize = 65_536;
const REMEMBERED: Duration = Duration::from_secs(60);
/// Entities of one trace that are remembered.
const MAX_SAID: usize = 8;

/// An entity that said so, and when its part of the trace began.
type Said = (u64, Timestamp);

/// The traces of the last minute in which a line said so.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Elsewhere {
    #[serde(with = "crate::pairs")]
    traces: BTreeMap<u64, SmallVec<[Said; 1]>>,
    /// Traces by when they were first remembered.
    queue: VecDeque<(u64, Timestamp)>,
}

impl Elsewhere {
    /// A line of `entity` in `trace` says so.
    pub(super) fn add(&mut self, trace: u64, entity: u64, begun: Timestamp, at: Timestamp) {
        if !self.traces.contains_key(&trace) {
            let full = self.traces.len() >= MAX_TRACES;
            let mut room = usize::from(full);
            while let Some((oldest, then)) = self.queue.front().copied()
                && (room > 0 || at.since(then) > REMEMBERED)
            {
                room = room.saturating_sub(1);
                self.traces.remove(&oldest);
                self.queue.pop_front();
            }
            self.queue.push_back((trace, at));
        }
        let said = self.traces.entry(trace).or_default();
        if said.len() < MAX_SAID && !said.iter().any(|(who, _)| *who == entity) {
            said.push((entity, begun));
        }
    }

    /// Whether a piece of work that `entity` began then broke off for that reason: because it said so itself, or one that began later
    /// in the same trace did, and so worked for it.
    pub(super) fn explains(&self, trace: u64, entity: u64, begun: Timestamp) -> bool {
        let mut said = self.traces.get(&trace).into_iter().flatten();
        said.any(|(who, then)| *who == entity || *then >= begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::default().plus(Duration::from_secs(secs))
    }

    #[test]
    fn work_for_others_is_explained_and_what_others_asked_for_is_not() {
        let mut elsewhere = Elsewhere::default();
        elsewhere.add(7, 1, at(10), at(12));
        assert!(elsewhere.explains(7, 1, at(11)), "it said so itself");
        assert!(elsewhere.explains(7, 2, at(9)), "it waited for the one who said so");
        assert!(!elsewhere.explains(7, 2, at(11)), "it worked for the one who said so");
        assert!(!elsewhere.explains(8, 1, at(10)));
    }

    #[test]
    fn traces_are_remembered_for_a_minute_and_no_flood_is() {
        let mut elsewhere = Elsewhere::default();
        elsewhere.add(1, 1, at(0), at(0));
        elsewhere.add(2, 1, at(70), at(70));
        assert!(!elsewhere.explains(1, 1, at(0)) && elsewhere.explains(2, 1, at(70)));
        for trace in 0..200_000 {
            elsewhere.add(trace, 1, at(100), at(100));
        }
        assert!(elsewhere.traces.len() <= MAX_TRACES && elsewhere.queue.len() <= MAX_TRACES);
        assert!(elsewhere.explains(199_999, 1, at(100)));
    }
}
