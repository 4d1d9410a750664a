//! The engine seen from outside: public API only, a small world in memory, a clock that moves by itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::unwrap_used, reason = "a test may panic where it fails")]

mod approval;
mod building;
mod crash;
mod disk;
mod healing;
mod hostile;
mod plans;
mod sinks;
mod snapshots;
mod stopping;
mod undoing;
mod world;
