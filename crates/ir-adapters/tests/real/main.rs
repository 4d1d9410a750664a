//! Tests against real servers, started by the tests on free ports and killed with them.
#![cfg(all(
    feature = "alertmanager",
    feature = "http",
    feature = "otlp",
    feature = "postgres",
    feature = "prometheus",
    feature = "remote-write",
    feature = "scrape",
    feature = "webhook"
))]
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

mod alertmanager;
mod node_exporter;
mod otlp;
mod postgres;
mod prometheus;
mod remote_write;
mod server;
mod webhook;
