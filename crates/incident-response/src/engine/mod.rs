//! The engine: a pure machine over the journal, and a tokio shell that does what it says.
//!
//! [`Machine`](machine::Machine) knows no clock, no task and no trait object: events go in, facts and commands come out. The
//! shell makes event and facts durable in one append, and only then performs the commands. What a command brings back is an
//! event again. Replay is the same machine fed with recorded events.

pub(crate) mod builder;
pub(crate) mod carry;
pub mod command;
pub(crate) mod config;
pub(crate) mod handle;
pub mod machine;
pub(crate) mod replay;
pub(crate) mod status;

mod backoff;
mod believe;
mod checkpoint;
mod detectors;
mod guard;
mod heartbeat;
#[cfg(test)]
mod model;
mod observe;
mod outstanding;
mod perform;
mod polls;
mod shell;
mod stage;
#[cfg(test)]
mod tests;
mod timer;
#[cfg(test)]
#[expect(dead_code, reason = "the integration tests use more of it")]
#[path = "../../tests/it/world.rs"]
mod world;
