//! What most programs need.

pub use crate::load::{Load, LoadDir};
pub use crate::{Builder, Engine, EngineSettings, Handle, Responder};
pub use ir_core::{
    ActionName, ActionSpec, Answer, ApprovalAnswer, ApprovalRequest, Approver, Attempt, AuditSink, AutonomyTier, Call,
    Classifier, Clock, ConfigError, Correlator, Ctx, Detector, Diagnoser, EntityId, Error, ErrorKind, Executor,
    Journal, Permit, Person, Planner, Preview, Probe, Probed, RecoveryClass, Result, Reversibility, RiskClass,
    SignalSource, Topology, Verifier,
};
pub use ir_detect::Detectors;
pub use ir_plan::decision::Policy;
pub use ir_plan::plan::Playbooks;
