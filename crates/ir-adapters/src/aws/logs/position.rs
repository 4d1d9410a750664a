//! Where a group stands: a millisecond, the events of it that were given already, and AWS's token to go on with.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// How long a token is used. AWS keeps them for a day; then it may give an empty page, which looks like an end.
const TOKEN_MS: i64 = 3_600_000;

/// No event after `from` was given, and of `from` itself the events that were `seen`. Everything before `from` was given,
/// unless a query is unfinished.
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

/// One time range, read page by page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Query {
    /// Its beginning and its end (not within), which must be the same for every page.
    pub(super) from: i64,
    pub(super) until: i64,
    /// Ids of events at its beginning that were given before it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) before: BTreeSet<String>,
    /// Whether its events came out of order so far.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_unordered: bool,
}

/// A query that was not answered to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resume {
    #[serde(flatten)]
    pub(super) query: Query,
    pub(super) token: String,
    /// When the token was given.
    pub(super) at_ms: i64,
}

/// How an event relates to those that were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// It is not earlier than any of them.
    New,
    /// It is new, and this number of milliseconds earlier than the latest of them.
    Earlier(i64),
    /// It was given already.
    Again,
    /// The query did not ask for it: believed, it would move the position.
    Outside,
}

impl Position {
    pub(super) fn at(from: i64) -> Self {
        Self { from, seen: BTreeSet::new(), resume: None }
    }

    /// The query for everything from here to `until`.
    pub(super) fn query(&self, until: i64) -> Query {
        Query { from: self.from, until, before: self.seen.clone(), is_unordered: false }
    }

    /// How an event of a page of `query` relates to those that were given; it is one of them from now on.
    ///
    /// AWS gives each event of a query once, but promises no order over its pages. So within a query only what was given
    /// before its beginning is known again, and what has the very time of the latest event. Without an id nothing is known again.
    pub(super) fn note(&mut self, at: i64, id: &str, query: &mut Query) -> Came {
        if !(query.from..query.until).contains(&at) {
            return Came::Outside;
        }
        if at == query.from && query.before.contains(id) && !id.is_empty() {
            return Came::Again;
        }
        match at.cmp(&self.from) {
            Ordering::Greater => {
                self.from = at;
                self.seen = BTreeSet::from([id.to_owned()]);
                Came::New
            }
            Ordering::Equal if self.seen.insert(id.to_owned()) || id.is_empty() => Came::New,
            Ordering::Equal => Came::Again,
            Ordering::Less => {
                query.is_unordered = true;
                Came::Earlier(self.from.saturating_sub(at))
            }
        }
    }

    /// The token, unless it is too old: then the rest is asked for by time.
    pub(super) fn fresh_resume(&self, now_ms: i64) -> Option<Resume> {
        self.resume.clone().filter(|resume| (0..TOKEN_MS).contains(&now_ms.saturating_sub(resume.at_ms)))
    }
}
