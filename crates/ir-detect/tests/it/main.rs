//! Tests of the public interface: a simulated shop, the contracts, hostile signals.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test itself may")]

mod behaviour;
mod faults;
mod gone;
mod laws;
mod masses;
mod office;
mod responder;
mod series;
mod shop;
mod testkit;
