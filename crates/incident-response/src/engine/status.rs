//! What is going on, as plain data for people and consoles.

use std::fmt;

use ir_core::persistent::PersistentMap;
use ir_core::{
    ApprovalRequest, Direction, Failure, Incident, IncidentId, PartName, PlanId, Problem, StepRef, StepState,
};
use serde::{Serialize, Serializer};

use super::machine::IncidentRun;

/// A snapshot of the engine, published after each turn of its main loop; with more than 64 open incidents after a rest of 50 µs for each
/// further one, and in any case before a person's request is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether acting is stopped, and why.
    pub halted: Option<String>,
    /// Whether the journal's writer failed: nothing acts until a restart.
    pub writer_failed: bool,
    /// Records written so far.
    pub records: u64,
    /// Incidents that are not closed.
    pub incidents: Incidents,
    /// Steps that are not over, and those that wait for a person.
    pub steps: Vec<StepStatus>,
    /// What people are asked.
    pub approvals: Vec<ApprovalRequest>,
    /// Signals lost so far, exactly.
    pub dropped: u64,
    /// Samples that were left out before any detector saw them, because the assembler of scrapes had no room for their target or series,
    /// and values for which the store of observations had none.
    pub beyond_bounds: u64,
    /// Rounds of looking at the sources so far.
    pub rounds: u64,
    /// Sources and detectors that failed in the last round: what they would have told is not known.
    pub failing: Vec<Failure>,
    /// The detectors: which are in quarantine, and how many batches each did not see.
    pub detectors: Vec<DetectorStatus>,
    /// Whether the task that polls the sources has ended. Nothing is seen any more: `run_until` settles what is in flight and ends
    /// with an error.
    pub observer_failed: bool,
    /// Plans that send nothing more, because an illegal fact was about them. People have their incidents.
    pub isolated: Vec<PlanId>,
    /// Whether the engine is ending.
    pub stopping: bool,
    /// The effects in flight that an ending engine waits for, at most `shutdown_within_ms` long.
    pub waits_for: Vec<StepRef>,
    /// When each loop came round last, as of this snapshot: the loop `main` publishes it at the end of each of its turns.
    /// [`Handle::heartbeats`](crate::Handle::heartbeats) has the ages of this very moment, also when the main loop hangs.
    pub heartbeats: Vec<Heartbeat>,
    /// What is wrong with the part of the journal that is older than the checkpoint with which the start began: it is verified beside
    /// the running engine, and damage halts all effects.
    pub damage: Option<String>,
    /// What is doubtful in the configuration, as [`Responder::warnings`](crate::Responder::warnings) has it.
    pub warnings: Vec<Problem>,
}

/// The incidents that are not closed, by name. Shared with the engine, so that publishing thousands costs nothing.
///
/// # Examples
///
/// ```
/// let status = incident_response::Status::default();
/// assert!(status.incidents.is_empty());
/// assert_eq!(status.incidents.iter().map(|incident| incident.anomalies.len()).sum::<usize>(), 0);
/// ```
#[derive(Clone, Default)]
pub struct Incidents(pub(crate) PersistentMap<IncidentId, IncidentRun>);

impl Incidents {
    /// All of them, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Incident> {
        self.0.values().map(|run| &*run.incident)
    }

    /// The one of that name.
    #[must_use]
    pub fn get(&self, id: &IncidentId) -> Option<&Incident> {
        self.0.get(id).map(|run| &*run.incident)
    }

    /// The first by name.
    #[must_use]
    pub fn first(&self) -> Option<&Incident> {
        self.iter().next()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Incidents {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Incidents {}

impl fmt::Debug for Incidents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A list of incidents.
impl Serialize for Incidents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
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

/// How a detector is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DetectorStatus {
    /// Which.
    pub name: PartName,
    /// Whether it is in quarantine: it missed its deadline, or panicked three times in a row. It is called again after 10 s, after
    /// each further failure twice as long, and after 10 minutes at most.
    pub quarantined: bool,
    /// Batches of signals since the start that it did not see, or whose call failed.
    pub unseen: u64,
    /// Scrapes, values and findings that it has left out because a bound of its own was reached.
    pub beyond_bounds: u64,
}

/// When a loop of the engine came round last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heartbeat {
    /// The loop: `main`, `observer`, or `audit` and the name of a sink.
    pub of: String,
    /// On the monotonic clock of this boot, in nanoseconds.
    pub at_mono_ns: u64,
    /// How long ago that was, in milliseconds. Every loop comes round at least every 5 s unless a call of it takes longer: `main` is
    /// held up by the journal and by required sinks, `audit` by its sink and the journal, `observer` by `poll_every_ms`, and by the
    /// snapshot store.
    pub age_ms: u64,
}
