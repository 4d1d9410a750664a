//! Where a group stands: a millisecond, the events of it that were given already, and AWS's token to go on with.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// How long a token is used. AWS keeps them for a day; then it may give an empty page, which looks like an end.
const TOKEN_MS: i64 = 3_600_000;

/// Everything before `from` was given, and of `from` itself the events that were `seen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Milliseconds since the epoch.
    pub(super) from: i64,
    /// Ids.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) seen: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resume: Option<Resume>,
}

/// A question that was not answered to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resume {
    /// Its beginning and its end, which must be the same for every page.
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) token: String,
    /// When the token was given.
    pub(super) at_ms: i64,
}

impl Position {
    pub(super) fn at(from: i64) -> Self {
        Self { from, seen: BTreeSet::new(), resume: None }
    }

    /// Whether an event is new; if so, the position is behind it from now on.
    pub(super) fn admits(&mut self, at: i64, id: &str) -> bool {
        match at.cmp(&self.from) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => self.seen.insert(id.to_owned()),
            std::cmp::Ordering::Greater => {
                self.from = at;
                self.seen = BTreeSet::from([id.to_owned()]);
                true
            }
        }
    }

    /// The token, unless it is too old: then the rest is asked for by time.
    pub(super) fn fresh_resume(&self, now_ms: i64) -> Option<Resume> {
        self.resume.clone().filter(|resume| (0..TOKEN_MS).contains(&now_ms.saturating_sub(resume.at_ms)))
    }
}
