//! Integration tests of the contract: they see only what users see. They need the feature `testkit`.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod kernel;
mod plan;
mod testkit_executor;
mod testkit_journal;
mod testkit_signal;
mod testkit_stages;
mod testkit_stores;
mod ui;
mod verify;
mod wire;
