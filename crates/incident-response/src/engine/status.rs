//! What is going on, as plain data for people and consoles.

use ir_core::{ApprovalRequest, Direction, Failure, Incident, Problem, StepRef, StepState};
use serde::Serialize;

/// A snapshot of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether acting is stopped, and why.
    pub halted: Option<String>,
    /// Whether the journal's writer failed: nothing acts until a restart.
    pub writer_failed: bool,
    /// Records written so far.
    pub records: u64,
    /// Incidents that are not closed.
    pub incidents: Vec<Incident>,
    /// Steps that are not over, and those that wait for a person.
    pub steps: Vec<StepStatus>,
    /// What people are asked.
    pub approvals: Vec<ApprovalRequest>,
    /// Signals lost so far, exactly.
    pub dropped: u64,
    /// Rounds of looking at the sources so far.
    pub rounds: u64,
    /// Sources and detectors that failed in the last round: what they would have told is not known.
    pub failing: Vec<Failure>,
    /// What is doubtful in the configuration, as [`Responder::warnings`](crate::Responder::warnings) has it.
    pub warnings: Vec<Problem>,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepStatus {
    /// Which step.
    pub step: StepRef,
    /// Where it stands.
    pub state: StepState,
    /// What would be, is, or was done, in words.
    pub call: String,
    /// The attempt that is not settled, if any.
    pub in_flight: Option<Direction>,
    /// What that passes with time keeps it from being sent, if anything.
    pub delayed_by: Option<String>,
}
