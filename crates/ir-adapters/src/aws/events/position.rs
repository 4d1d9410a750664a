//! What was given already: by the marks of events.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// So many marks of deleted messages are kept, for so long. EventBridge seldom sends an event twice, and then soon.
const MAX_DELETED: usize = 1_000;
const DELETED_SECS: i64 = 3_600;
/// SQS keeps no message longer than fourteen days, so a mark that is older can meet none any more.
const GIVEN_SECS: i64 = 15 * 86_400;

/// The marks, each with the second in which it came here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Position {
    /// Given, and not known to be deleted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    given: BTreeMap<String, i64>,
    /// Given and deleted, the oldest first.
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    deleted: VecDeque<(String, i64)>,
}

impl Position {
    pub(super) fn knows(&self, mark: &str) -> bool {
        self.given.contains_key(mark) || self.deleted.iter().any(|(known, _)| known == mark)
    }

    pub(super) fn gave(&mut self, mark: &str, now: i64) {
        self.given.insert(mark.to_owned(), now);
    }

    /// A message with that mark is gone from the queue. Only here marks are forgotten: after a pause of days the first
    /// poll still knows what was given before it.
    pub(super) fn deleted(&mut self, mark: &str, now: i64) {
        self.given.remove(mark);
        self.given.retain(|_, at| now.saturating_sub(*at) < GIVEN_SECS);
        self.deleted.retain(|(known, at)| known != mark && now.saturating_sub(*at) < DELETED_SECS);
        self.deleted.push_back((mark.to_owned(), now));
        while self.deleted.len() > MAX_DELETED {
            self.deleted.pop_front();
        }
    }
}
