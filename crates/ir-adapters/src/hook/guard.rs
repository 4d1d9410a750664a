//! Who may send: a bearer token, or a signature that is fresh and was not seen before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use ir_core::{ErrorKind, Timestamp};

use super::secret::{SigningKey, Token};

/// Longer ids are refused: they are kept.
const MAX_ID_BYTES: usize = 128;

/// How a sender proves who it is. There is no way to leave it out.
#[derive(Debug, Clone)]
pub enum HookAuth {
    /// `Authorization: Bearer ..`. What is all that Alertmanager can do: whoever reads the request can send it again.
    Bearer(Token),
    /// The headers `webhook-id`, `webhook-timestamp` and `webhook-signature` of Standard Webhooks, signed by one of the keys:
    /// two while keys are being changed.
    Signed(Vec<SigningKey>),
}

/// Who may push telemetry. Its senders can show a token and nothing else.
#[derive(Debug, Clone)]
pub enum PushAuth {
    /// `Authorization: Bearer ..`.
    Bearer(Token),
    /// Whoever reaches the port: for loopback, or behind something that asks for proof itself.
    Anybody,
}

impl PushAuth {
    /// Whether a request with this content of the header `authorization` may be taken.
    #[must_use]
    pub fn admits(&self, authorization: Option<&str>) -> bool {
        match self {
            Self::Bearer(token) => shows(token, authorization),
            Self::Anybody => true,
        }
    }
}

fn shows(token: &Token, authorization: Option<&str>) -> bool {
    let given = authorization.and_then(|text| text.split_once(' '));
    given.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("bearer") && token.is(given.as_bytes()))
}

/// Bounds of what is remembered against repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayWindow {
    /// How far the sender's clock may be off, either way, in seconds. A signed request is refused after that, so ids need not be
    /// kept longer. 300.
    pub tolerance_secs: u32,
    /// The most ids kept. When all of them are still in the window nothing further is admitted. 65,536.
    pub max_ids: usize,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { tolerance_secs: 300, max_ids: 65_536 }
    }
}

/// Why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No proof, or a wrong one.
    Unauthorized,
    /// Its time is too far from ours.
    Stale,
    /// Its id was admitted before.
    Repeated,
    /// Too many ids are in the window to tell repetitions apart.
    Full,
}

impl Refusal {
    /// The HTTP status that says so. What was seen before was taken, so its sender may rest.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Unauthorized | Self::Stale => 401,
            Self::Repeated => 409,
            Self::Full => 503,
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Unauthorized | Self::Stale => ErrorKind::Unauthorized,
            Self::Repeated => ErrorKind::Conflict,
            Self::Full => ErrorKind::Unavailable,
        }
    }
}

/// Decides who may send.
#[derive(Debug)]
pub struct HookGuard {
    auth: HookAuth,
    window: ReplayWindow,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    ids: BTreeMap<Box<str>, i64>,
    by_time: BTreeSet<(i64, Box<str>)>,
}

/// A request that may be taken. Unless it is [kept](Self::keep), its id may come again: it was not taken after all.
#[derive(Debug)]
#[must_use = "dropped, the request counts as not taken"]
pub struct Admission<'a> {
    guard: &'a HookGuard,
    id: Option<Box<str>>,
}

impl HookGuard {
    /// A guard that has seen nothing yet.
    #[must_use]
    pub fn new(auth: HookAuth, window: ReplayWindow) -> Self {
        Self { auth, window, seen: Mutex::default() }
    }

    /// Whether a request that came at `now` may be taken. `header` gives the content of a header by its lower-case name.
    ///
    /// # Errors
    ///
    /// The first reason against it. The signature is looked at before the time, and the time before the id, so that nobody
    /// without a key learns or fills anything.
    pub fn admit<'h>(
        &self,
        now: Timestamp,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
    ) -> Result<Admission<'_>, Refusal> {
        match &self.auth {
            HookAuth::Bearer(token) => {
                if !shows(token, header("authorization")) {
                    return Err(Refusal::Unauthorized);
                }
                Ok(Admission { guard: self, id: None })
            }
            HookAuth::Signed(keys) => {
                let id = header("webhook-id").filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
                let time = header("webhook-timestamp").filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                let signature = header("webhook-signature").ok_or(Refusal::Unauthorized)?;
                let (Some(id), Some(time)) = (id, time) else { return Err(Refusal::Unauthorized) };
                let unix_secs: i64 = time.parse().map_err(|_| Refusal::Unauthorized)?;
                if !keys.iter().any(|key| key.signed(signature, id, unix_secs, body)) {
                    return Err(Refusal::Unauthorized);
                }
                self.remember(now, unix_secs, id)
            }
        }
    }

    fn remember(&self, now: Timestamp, unix_secs: i64, id: &str) -> Result<Admission<'_>, Refusal> {
        let now_secs = now.as_nanos().div_euclid(1_000_000_000);
        let tolerance = i64::from(self.window.tolerance_secs);
        if now_secs.abs_diff(unix_secs) > tolerance.unsigned_abs() {
            return Err(Refusal::Stale);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget_before(now_secs.saturating_sub(tolerance));
        if seen.ids.contains_key(id) {
            return Err(Refusal::Repeated);
        }
        if seen.ids.len() >= self.window.max_ids {
            return Err(Refusal::Full);
        }
        seen.ids.insert(id.into(), unix_secs);
        seen.by_time.insert((unix_secs, id.into()));
        Ok(Admission { guard: self, id: Some(id.into()) })
    }
}

impl Seen {
    fn forget_before(&mut self, oldest: i64) {
        while self.by_time.first().is_some_and(|(secs, _)| *secs < oldest) {
            if let Some((_, id)) = self.by_time.pop_first() {
                self.ids.remove(&id);
            }
        }
    }
}

impl Admission<'_> {
    /// The request was taken: its id is not admitted again.
    pub fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let mut seen = self.guard.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(secs) = seen.ids.remove(&id) {
                seen.by_time.remove(&(secs, id));
            }
        }
    }
}
