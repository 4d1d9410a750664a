//! The safety kernel: small, pure but for the gate, and read by every newcomer.
//!
//! * [`step`](StepState) is the life of one step.
//! * [`State`] is a fold over every record; [`State::fold`] refuses what is illegal.
//! * [`check`] says whether a step may be sent now. It is pure: the same state, request and moment give the same answer.
//! * [`Gate`] is the journal's only writer and the only mint of [`Permit`]: it runs `check`, makes the intention durable, waits
//!   for the required sinks, and only then hands out the permit.
//!
//! # Honest limit
//!
//! Who builds a gate is the root of trust. Each [`Effect`] names its gate, and an executor may insist on one.

mod check;
mod gate;
mod halt;
mod limits;
mod permit;
mod state;
mod step;

pub use check::{AuthorizeRequest, check, prospects};
pub use gate::{APPEND_WITHIN_MS, Authorized, Gate, GateConfig, RequiredSink};
pub use halt::{HaltHandle, HaltRequest};
pub use limits::{Allowance, Ledger, Limits, allowances};
pub use permit::{Effect, Fence, NotApplied, Permit, PermitWatch, Receipt};
pub use state::{OpenAttempt, PlanEntry, State, StepEntry};
pub use step::StepState;

#[cfg(test)]
mod tests;
