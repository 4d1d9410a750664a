//! Autonomous incident response as a library.
#![cfg_attr(all(feature = "file", feature = "scrape"), doc = include_str!("../README.md"))]

// The world of the integration tests, which some unit tests share, names this crate as they do.
#[cfg(test)]
extern crate self as incident_response;

mod defaults;
mod engine;
mod load;
pub mod prelude;

pub use engine::builder::{Builder, Engine, Responder, STOP_VARIABLE};
pub use engine::carry::carry_over;
pub use engine::command;
pub use engine::config::{EngineConfig, EngineSettings};
pub use engine::handle::Handle;
pub use engine::machine;
pub use engine::replay::{Difference, ReplayReport, replay};
pub use engine::status::{DetectorStatus, Heartbeat, Incidents, Status, StepStatus};
pub use load::{Load, LoadDir};

pub use ir_adapters as adapters;
pub use ir_core as core;
pub use ir_detect as detect;
pub use ir_plan as plan;

/// Compiles and runs the code of the guide for writing adapters.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/adapters.md")]
struct AdaptersGuide;
