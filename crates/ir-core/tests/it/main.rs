//! Integration tests of the contract: they see only what users see. They need the feature `testkit`.
#![cfg(feature = "testkit")]

mod kernel;
mod testkit_executor;
mod testkit_journal;
mod testkit_signal;
mod ui;
mod verify;
