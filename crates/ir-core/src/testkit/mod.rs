//! The laws of every trait, ready to be run against an implementation, and what tests need around them.
//!
//! A trait's contract is a numbered list; each number is one function in the module of the trait, and `check_all` runs them
//! in order. A law gives a [`Violation`] that says which sentence does not hold and what was seen instead:
//!
//! ```
//! use std::sync::Arc;
//! use ir_core::testkit::{AutoClock, journal};
//! use ir_core::{Ctx, Journal, MemoryJournal};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let ctx = Ctx::new(Arc::new(AutoClock::new()));
//! // Each law gets a place of its own, and opens the journal that is kept there as often as it wants.
//! journal::check_all(&ctx, &|| {
//!     let place = MemoryJournal::new();
//!     Ok(Box::new(move || Ok(Arc::new(place.clone()) as Arc<dyn Journal>)))
//! })
//! .await
//! .unwrap();
//! # }
//! ```
//!
//! There is no back door in here: an executor's permits come from a real [`Gate`](crate::Gate) on a memory journal.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{ErrorKind, Result};
use crate::time::{Clock, ManualClock, Moment};

pub mod approver;
pub mod audit_sink;
pub mod clock;
pub mod detector;
pub mod diagnoser;
pub mod executor;
pub mod gate;
mod golden;
pub mod incident;
pub mod journal;
pub mod lesson;
pub mod planner;
pub mod samples;
pub mod signal;
pub mod strategies;
pub mod verifier;

pub use gate::{GateRig, Granted};
pub use golden::{UPDATE, golden};

/// A sentence of a contract that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The law.
    pub law: Law,
    /// What was seen instead.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Law { of, number, sentence } = self.law;
        let module = of.chars().fold(String::new(), |text, c| match (c.is_uppercase(), text.is_empty()) {
            (true, false) => format!("{text}_{}", c.to_lowercase()),
            _ => format!("{text}{}", c.to_lowercase()),
        });
        write!(
            f,
            "law {number} of `{of}` does not hold: {sentence} But {} (to run it alone, call the function of `testkit::{module}` \
             whose name begins `law_{number}_`)",
            self.found
        )
    }
}

impl std::error::Error for Violation {}

/// What a law gives.
pub type Lawful<T = ()> = Result<T, Violation>;

/// One sentence of a trait's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Law {
    /// The trait.
    pub of: &'static str,
    /// Its number in the contract.
    pub number: u32,
    /// The sentence.
    pub sentence: &'static str,
}

impl Law {
    const fn new(of: &'static str, number: u32, sentence: &'static str) -> Self {
        Self { of, number, sentence }
    }

    /// The violation of this law that was seen as `found`.
    #[must_use]
    pub fn broken(&self, found: impl Into<String>) -> Violation {
        Violation { law: *self, found: found.into() }
    }

    fn hold(&self, holds: bool, found: impl FnOnce() -> String) -> Lawful {
        if holds { Ok(()) } else { Err(self.broken(found())) }
    }

    /// Both must be equal.
    fn same<T: fmt::Debug + PartialEq>(&self, what: &str, seen: &T, wanted: &T) -> Lawful {
        self.hold(seen == wanted, || format!("{what} is {seen:?}, not {wanted:?}"))
    }

    /// A call that must work.
    fn works<T>(&self, what: &str, result: Result<T>) -> Lawful<T> {
        result.map_err(|error| self.broken(format!("{what} failed: {error}")))
    }

    /// A call that must fail with `kind`.
    fn fails<T: fmt::Debug>(&self, what: &str, kind: ErrorKind, result: Result<T>) -> Lawful {
        match result {
            Err(error) if error.kind() == kind => Ok(()),
            Err(error) => Err(self.broken(format!("{what} failed as `{}`, not as `{kind}`: {error}", error.kind()))),
            Ok(answer) => Err(self.broken(format!("{what} worked: {answer:?}"))),
        }
    }
}

/// A clock for tests that never wait: whoever sleeps moves it to the moment waited for.
#[derive(Debug, Default)]
pub struct AutoClock(ManualClock);

impl AutoClock {
    /// Starts where [`ManualClock::new`] does.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The clock inside, to be moved by hand.
    #[must_use]
    pub const fn manual(&self) -> &ManualClock {
        &self.0
    }
}

#[async_trait]
impl Clock for AutoClock {
    fn now(&self) -> Moment {
        self.0.now()
    }

    async fn sleep_until(&self, mono_ns: u64) {
        let left = mono_ns.saturating_sub(self.0.now().mono_ns);
        self.0.advance(Duration::from_nanos(left));
    }
}
