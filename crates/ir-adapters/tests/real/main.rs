//! Tests against real servers, started by the tests on free ports and killed with them.
#![cfg(any(all(feature = "alertmanager", feature = "http", feature = "prometheus"), feature = "postgres"))]
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

#[cfg(all(feature = "alertmanager", feature = "http", feature = "prometheus"))]
mod alertmanager;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(all(feature = "alertmanager", feature = "http", feature = "prometheus"))]
mod prometheus;
mod server;
