//! Requests of the last while, so that one that comes again, as after a lost answer, is not taken twice.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::Duration;

use ir_core::Timestamp;

/// The most requests that are remembered.
const MAX_HEARD: usize = 1024;

/// Requests by two hashes, with keys that no sender knows.
#[derive(Debug)]
pub(crate) struct Heard {
    requests: VecDeque<(Timestamp, [u64; 2])>,
    hashers: [RandomState; 2],
    within: Duration,
}

impl Heard {
    /// Remembers requests for so long.
    pub(crate) fn new(within: Duration) -> Self {
        Self { requests: VecDeque::new(), hashers: [RandomState::new(), RandomState::new()], within }
    }

    /// Whether the very same request came a moment ago. From now on it did.
    pub(crate) fn is_again(&mut self, now: Timestamp, request: impl Hash) -> bool {
        let hash = [self.hashers[0].hash_one(&request), self.hashers[1].hash_one(&request)];
        let within = self.within;
        while self.requests.front().is_some_and(|(at, _)| now.since(*at) >= within) {
            self.requests.pop_front();
        }
        if self.requests.iter().any(|(_, heard)| *heard == hash) {
            return true;
        }
        if self.requests.len() >= MAX_HEARD {
            self.requests.pop_front();
        }
        self.requests.push_back((now, hash));
        false
    }

    /// Forgets the last one: it was not taken, and may be mended and come again.
    pub(crate) fn forget_last(&mut self) {
        self.requests.pop_back();
    }
}
