//! The contract of `incident-response`: nouns, traits, the safety kernel and the journal's form. No I/O, no task, no clock.
//!
//! ```text
//! Signal -> Anomaly -> Incident -> Hypothesis -> Plan -> Decision -> Execution -> Outcome -> Lesson
//!    \________\__________\____________\__________\_________\___________\___________\________\__ journal
//! ```
//!
//! Each noun is a module; each step from one to the next is a trait of the same shape. Read [`signal`] first, then along the
//! way; [`kernel`] is what makes it safe; [`journal`] is what makes it provable.
#![doc = include_str!("../README.md")]

mod forward;
pub(crate) use forward::forward;
pub mod wire;

pub mod anomaly;
pub mod decision;
pub mod execution;
pub mod hypothesis;
pub mod incident;
pub mod lesson;
pub mod outcome;
pub mod plan;
pub mod signal;

pub mod journal;
pub mod kernel;

pub mod config;
pub mod ctx;
pub mod document;
pub mod entity;
pub mod error;
pub mod id;
pub mod persistent;
pub mod score;
pub mod text;
pub mod time;
pub mod topology;
pub mod vocabulary;

#[cfg(feature = "testkit")]
pub mod testkit;

pub use anomaly::{
    Anomaly, Detector, Direction as AnomalyDirection, Feedback, Phase, Snapshot, SnapshotStore, Symptom,
};
pub use config::{ConfigError, Findings, Problem, Secret};
pub use ctx::{Ctx, Stop};
pub use decision::{
    Answer, ApprovalAnswer, ApprovalRequest, Approver, AutonomyTier, Decision, Person, Quorum, StepChange, Verdict,
    Vote,
};
pub use entity::{Entity, EntityId, Labels};
pub use error::{Error, ErrorKind, Failure, Result};
pub use execution::{
    ActionSpec, Applied, Attempt, AttemptResult, Catalogue, Direction, EffectKey, Execution, Executor, Precondition,
    Preview, Probe, Probed, RecoveryClass, Reversibility, RiskClass,
};
pub use hypothesis::{Case, Cause, Diagnoser, Evidence, Hypothesis, Observations, SeriesHistory, TargetHistory};
pub use id::{
    ActionName, AnomalyId, ApprovalId, ClassName, Digest, HypothesisId, IncidentId, LessonId, PartName, PlanId, StepId,
    StepRef,
};
pub use incident::{
    Classification, Classifier, CorrelationInput, Correlator, Grouping, Incident, IncidentState, Placement, Severity,
    UNKNOWN_CLASS,
};
pub use journal::{AuditSink, Journal, MemoryJournal, Record};
pub use kernel::{Effect, Fence, Gate, HaltHandle, Permit, StepState};
pub use lesson::{Lesson, LessonQuery, LessonStore, Tried};
pub use outcome::{Check, Holds, Outcome, Pace, Reading, Recovery, Verified, Verifier};
pub use plan::{
    Call, Comparison, Limit, Plan, PlanDraft, PlanInput, Planned, Planner, Provenance, ResponsePhase, Step, StepCycle,
    Verification,
};
pub use score::{Measured, Probability, Score};
pub use signal::{
    Act, Activity, AlertState, Change, ChangeKind, Cursor, EventKind, EventRecord, Gone, GoneReason, LogLevel,
    LogRecord, MetricKind, MetricSample, Polled, Scrape, ScrapedSample, Series, SignalBatch, SignalSource, Span,
    Target,
};
pub use time::{BootId, Clock, ManualClock, Moment, Timestamp, Window};
pub use topology::{Dependency, Topology, TopologyDocument};
pub use vocabulary::{NameKind, Vocabulary};
