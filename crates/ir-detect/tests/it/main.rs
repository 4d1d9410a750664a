//! Tests of the public interface: a simulated shop, the contracts, hostile signals.

mod faults;
mod laws;
mod responder;
mod shop;
