//! Up to when CloudTrail was looked at, what was given of the time that is looked at again, and the look that is not
//! finished.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How long a token is used. AWS does not say how long it keeps them.
const TOKEN_SECS: i64 = 600;

/// All times in seconds since the epoch: CloudTrail knows no shorter ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Nothing before is of interest.
    begin: i64,
    /// Up to here it was looked at, as far as it had appeared.
    until: i64,
    /// The marks of what was given and may be met again, with the time of the event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    given: BTreeMap<String, i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) open: Option<Window>,
}

/// A look: both ends within, as AWS takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    pub(super) from: i64,
    pub(super) until: i64,
    /// To go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    /// When it was given.
    #[serde(default)]
    pub(super) token_at: i64,
}

impl Position {
    pub(super) const fn at(begin: i64) -> Self {
        Self { begin, until: begin, given: BTreeMap::new(), open: None }
    }

    /// The look to go on with: the open one, without its token where that is too old, or a new one that covers the time
    /// in which events may still appear again.
    pub(super) fn window(&self, now: i64, settle: i64, slice: i64) -> Window {
        if let Some(open) = &self.open {
            let is_fresh = (0..TOKEN_SECS).contains(&now.saturating_sub(open.token_at));
            return Window { token: open.token.clone().filter(|_| is_fresh), ..open.clone() };
        }
        let from = self.until.saturating_sub(settle).max(self.begin);
        // A clock that went back must not turn the window round.
        Window { from, until: now.min(self.until.saturating_add(slice)).max(from), token: None, token_at: 0 }
    }

    /// The window was read to its end.
    pub(super) fn close(&mut self, window: &Window, settle: i64) {
        self.open = None;
        self.until = self.until.max(window.until);
        let from = self.until.saturating_sub(settle).max(self.begin);
        self.given.retain(|_, at| *at >= from);
    }

    /// Gives up the token of the open look, if there is one.
    pub(super) fn forget_token(&mut self) -> bool {
        self.open.as_mut().and_then(|open| open.token.take()).is_some()
    }

    pub(super) fn knows(&self, mark: &str) -> bool {
        self.given.contains_key(mark)
    }

    pub(super) fn gave(&mut self, mark: String, at: i64) {
        self.given.insert(mark, at);
    }
}
