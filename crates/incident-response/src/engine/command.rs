//! What the machine wants done outside. Every command is answered by exactly one event.

use std::collections::BTreeSet;

use ir_core::journal::CommandId;
use ir_core::{
    AnomalyId, ApprovalRequest, Call, Direction, EffectKey, HypothesisId, IncidentId, Lesson, PartName, PlanId,
    StepRef, Timestamp, Verification,
};
use serde::{Deserialize, Serialize};

/// A command. It names what is needed; the shell takes the rest from the machine's state when it performs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Say where these anomalies belong.
    Correlate {
        /// Which.
        anomalies: BTreeSet<AnomalyId>,
    },
    /// Say what caused an incident.
    Diagnose {
        /// Which.
        incident: IncidentId,
        /// The name of the answer.
        hypothesis: HypothesisId,
    },
    /// Say what an incident is.
    Classify {
        /// Which.
        incident: IncidentId,
    },
    /// Say what could be done.
    Plan {
        /// For which incident.
        incident: IncidentId,
        /// The name of the first plan.
        plan: PlanId,
        /// The playbook that a person ordered, if one did.
        playbook: Option<String>,
    },
    /// Say what a step would change.
    Preview {
        /// Which step.
        step: StepRef,
        /// What would be done.
        call: Call,
    },
    /// Deliver a request to people.
    Ask {
        /// The request.
        request: Box<ApprovalRequest>,
        /// Approvers that have it already.
        delivered: Vec<PartName>,
    },
    /// Read the target once more, then ask the gate, then act.
    Send {
        /// Which step.
        step: StepRef,
        /// Do or undo.
        direction: Direction,
        /// What is done.
        call: Call,
    },
    /// Find out what became of an attempt.
    Probe {
        /// Which step.
        step: StepRef,
        /// What was to be done.
        call: Call,
        /// The key it carried.
        key: EffectKey,
        /// Whether the target must first refuse older tokens.
        fence: bool,
    },
    /// Measure whether a step helped.
    Verify {
        /// Which step.
        step: StepRef,
        /// For which incident.
        incident: IncidentId,
        /// What was done.
        call: Call,
        /// What must hold.
        verification: Verification,
        /// When the effect took place.
        applied: Timestamp,
    },
    /// Keep a lesson.
    Keep {
        /// The lesson.
        lesson: Box<Lesson>,
    },
}

/// A command with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The number its answer carries.
    pub id: CommandId,
    /// The command.
    pub command: Command,
}
