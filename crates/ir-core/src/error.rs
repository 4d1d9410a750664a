//! The one error type at trait boundaries, and what a caller can do about it.

use std::error::Error as StdError;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The result of everything that can fail across a trait boundary.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Answers one question: what can the caller do now?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's data is wrong; calling again with the same data fails again.
    InvalidInput,
    /// The configuration is wrong; a person must change it.
    InvalidConfig,
    /// What was asked for does not exist.
    NotFound,
    /// Credentials are missing, wrong, or not enough.
    Unauthorized,
    /// The other side asks to be called less often.
    RateLimited,
    /// The other side is away or failing; later may work.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// The work was stopped on purpose: halt, shutdown, lost lease.
    Stopped,
    /// This part cannot do that at all.
    Unsupported,
    /// Somebody else changed what the call relied on.
    Conflict,
    /// Nobody knows. From an executor: *the effect is unknown*. Never retried by a caller; the kernel settles it.
    Unknown,
}

impl ErrorKind {
    /// The kind in lower-case words, as it stands in records and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid input",
            Self::InvalidConfig => "invalid configuration",
            Self::NotFound => "not found",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate limited",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Stopped => "stopped",
            Self::Unsupported => "unsupported",
            Self::Conflict => "conflict",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong, where, and what can be done about it.
///
/// # Examples
///
/// ```
/// use ir_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Unavailable, "scrape", "`http://127.0.0.1:9100` refused the connection");
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "scrape: unavailable: `http://127.0.0.1:9100` refused the connection");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{component}: {kind}: {message}")]
pub struct Error {
    kind: ErrorKind,
    component: String,
    message: String,
    retryable: bool,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`, made by `component` (the name of a part), with a message for people.
    ///
    /// Retryable from the start are [`ErrorKind::RateLimited`], [`ErrorKind::Unavailable`] and [`ErrorKind::Timeout`].
    #[must_use]
    pub fn new(kind: ErrorKind, component: impl Into<String>, message: impl Into<String>) -> Self {
        let retryable = matches!(kind, ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Timeout);
        Self { kind, component: component.into(), message: message.into(), retryable, source: None }
    }

    /// Adds the foreign error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says that trying again is pointless, for instance because this layer has retried already.
    #[must_use]
    pub fn not_retryable(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// What the caller can do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The part that failed.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// The message, without kind and component.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the same call may succeed later. Decided where the error is made.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The part of this error that goes into the journal: no source, no back trace.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        Failure { kind: self.kind, component: self.component.clone(), message: self.message.clone() }
    }
}

/// An error as it stands in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What the caller could do.
    pub kind: ErrorKind,
    /// The part that failed.
    pub component: String,
    /// For people.
    pub message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.component, self.kind, self.message)
    }
}
