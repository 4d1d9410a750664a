//! Which reports of alerts say again what the last one said.
//!
//! A report is a repetition when the last report of the same alert had the same state, and was given less than a while ago. What
//! was passed over does not prolong that while, and a state in between makes the next report news.

use std::collections::BTreeMap;
use std::time::Duration;

use ir_core::Timestamp;

/// The last state of each alert.
#[derive(Debug)]
pub(super) struct Repeats {
    last: BTreeMap<String, Last>,
    within: Duration,
    max: usize,
}

#[derive(Debug)]
struct Last {
    firing: bool,
    since: Timestamp,
    given: Timestamp,
}

impl Repeats {
    pub(super) const fn new(within: Duration, max: usize) -> Self {
        Self { last: BTreeMap::new(), within, max }
    }

    /// Whether a report says what the last one said a moment ago. If it does not, it is the last one from now on.
    pub(super) fn is_again(&mut self, key: &str, firing: bool, since: Timestamp, now: Timestamp) -> bool {
        let within = self.within;
        let same = |last: &Last| last.firing == firing && last.since == since && now.since(last.given) < within;
        if self.last.get(key).is_some_and(same) {
            return true;
        }
        self.last.insert(key.to_owned(), Last { firing, since, given: now });
        if self.last.len() > self.max {
            self.last.retain(|_, last| now.since(last.given) < within);
            // A flood of alerts that are all new: a repetition that is not noticed does no harm, unbounded memory does.
            if self.last.len() > self.max {
                self.last.clear();
            }
        }
        false
    }
}
