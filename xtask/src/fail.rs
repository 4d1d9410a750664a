//! The one error of these commands: a sentence for the person at the terminal.

use std::fmt;

/// Why a command cannot go on. The text is what the person reads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure(String);

/// What every fallible function here returns.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with this text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Puts what was being done in front of a foreign error.
pub(crate) trait Context<T> {
    /// Turns the error into `what: error`.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Failure(format!("{}: {e}", what())))
    }
}
