//! The engine seen from outside: public API only, a small world in memory, a clock that moves by itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod approval;
mod building;
mod corners;
mod crash;
#[cfg(feature = "file")]
mod disk;
mod flood;
mod healing;
mod hostile;
mod incidents;
mod isolation;
mod journal;
mod judging;
mod pace;
mod plans;
mod restarts;
mod sinks;
mod snapshots;
mod soundness;
mod stopping;
mod storms;
mod undoing;
mod world;
