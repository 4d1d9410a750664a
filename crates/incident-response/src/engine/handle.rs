//! The handle: how people reach a running engine. Cheap to clone.

use std::sync::Arc;

use ir_core::{
    AnomalyId, ApprovalAnswer, ApprovalRequest, Clock, Error, ErrorKind, Feedback, HaltHandle, IncidentId, Person,
    Record, Result, StepRef,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::heartbeat::Heartbeats;
use super::status::{Heartbeat, Status};

/// Judgements in one request: an incident has as many anomalies at most.
const MAX_FEEDBACK: usize = 1_024;

/// A wish of a person.
#[derive(Debug)]
pub(crate) enum Request {
    Answer(Box<ApprovalAnswer>),
    Override { incident: IncidentId, by: Person, reason: String, undo: bool },
    Judge { feedback: Vec<Feedback>, by: Person, reason: String },
    Settle { step: StepRef, by: Person, applied: bool, reason: String },
    Close { incident: IncidentId, by: Person, reason: String },
    RunPlaybook { incident: IncidentId, playbook: String, by: Person, reason: String },
    ResumeAutomation { incident: IncidentId, by: Person, reason: String },
    Resume { by: Vec<Person>, reason: String },
}

pub(crate) type Envelope = (Request, oneshot::Sender<Result<()>>);

/// Reaches a running engine.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) requests: mpsc::Sender<Envelope>,
    pub(crate) halt: HaltHandle,
    pub(crate) status: watch::Receiver<Arc<Status>>,
    pub(crate) records: broadcast::Sender<Record>,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Handle {
    /// Stops all acting, at once: when this returns no effect can start any more. Takes one person, waits for nothing.
    pub fn halt(&self, by: &str, reason: &str) {
        self.halt.halt(by, reason);
    }

    /// The switch itself, for watchers of files and the like.
    #[must_use]
    pub fn halt_handle(&self) -> HaltHandle {
        self.halt.clone()
    }

    /// Lets it act again.
    ///
    /// # Errors
    ///
    /// `Unauthorized` with fewer people than the policy asks for; `Stopped` when the engine is gone.
    pub async fn resume(&self, by: Vec<Person>, reason: impl Into<String>) -> Result<()> {
        self.request(Request::Resume { by, reason: reason.into() }).await
    }

    /// Answers a request. `Ok` means that the answer counted.
    ///
    /// # Errors
    ///
    /// `Conflict` when it did not count, with the reason: the request is over or shows another state of the target, the answer was
    /// given for another plan or without a reason, the person is not entitled to it, or the plan as modified does not pass the
    /// checks. `InvalidInput` when it cannot be recorded; `Stopped` when the engine is gone.
    pub async fn answer(&self, answer: ApprovalAnswer) -> Result<()> {
        self.request(Request::Answer(Box::new(answer))).await
    }

    /// Takes an incident over: nothing further is begun, and with `undo` what was done is taken back.
    ///
    /// # Errors
    ///
    /// `Conflict` when no incident of that name is open; `Stopped` when the engine is gone.
    pub async fn take_over(
        &self,
        incident: IncidentId,
        by: Person,
        reason: impl Into<String>,
        undo: bool,
    ) -> Result<()> {
        self.request(Request::Override { incident, by, reason: reason.into(), undo }).await
    }

    /// Says what became of a step that waits for a person (`UNKNOWN`, `ROLLBACK_FAILED`), or that no plan is at work on any more:
    /// whether its effect is in place now. The target's lock is released with it.
    ///
    /// # Errors
    ///
    /// `Conflict` when it did not count, with the reason: no such step is open, it is over, its plan is at work on it, an attempt
    /// is under way, or no reason is given. `Stopped` when the engine is gone.
    pub async fn settle(&self, step: StepRef, by: Person, applied: bool, reason: impl Into<String>) -> Result<()> {
        self.request(Request::Settle { step, by, applied, reason: reason.into() }).await
    }

    /// Closes an incident, whatever its anomalies say. Those that go on open no other incident until they have ended. For an
    /// incident that is no problem, [`no_problem`](Self::no_problem) teaches the detectors.
    ///
    /// # Errors
    ///
    /// `Conflict` when it did not count, with the reason: no such incident is open, no reason is given, or a step is under way (take
    /// the incident over first). `Stopped` when the engine is gone.
    pub async fn close(&self, incident: IncidentId, by: Person, reason: impl Into<String>) -> Result<()> {
        self.request(Request::Close { incident, by, reason: reason.into() }).await
    }

    /// Has one playbook planned for an incident, escalated or not, whatever the playbook's conditions say. Its target is the entity
    /// that is blamed, and its plan is decided by the policy like any other.
    ///
    /// # Errors
    ///
    /// `Conflict` when it did not count, with the reason: as for [`close`](Self::close), or no cause is known yet. That the playbook
    /// makes no plan stands in the journal, and the incident is escalated. `Stopped` when the engine is gone.
    pub async fn run_playbook(
        &self,
        incident: IncidentId,
        playbook: impl Into<String>,
        by: Person,
        reason: impl Into<String>,
    ) -> Result<()> {
        self.request(Request::RunPlaybook { incident, playbook: playbook.into(), by, reason: reason.into() }).await
    }

    /// Gives an escalated incident back: the library looks for its cause again, and may act. What was tried is not tried again.
    ///
    /// # Errors
    ///
    /// `Conflict` when it did not count, with the reason: as for [`close`](Self::close), or the incident is not escalated. `Stopped`
    /// when the engine is gone.
    pub async fn resume_automation(&self, incident: IncidentId, by: Person, reason: impl Into<String>) -> Result<()> {
        self.request(Request::ResumeAutomation { incident, by, reason: reason.into() }).await
    }

    /// Says what reports of detectors were worth: that one was no problem, or that there was a problem and no report. Recorded, and
    /// told to every detector before it looks again; those that know what is meant move their limits within bounds, and the
    /// opposite judgement moves them back. It changes no incident: see [`take_over`](Self::take_over).
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it holds no judgement or more than 1,024, or cannot be recorded; `Stopped` when the engine is gone.
    pub async fn judge(&self, feedback: Vec<Feedback>, by: Person, reason: impl Into<String>) -> Result<()> {
        if feedback.is_empty() || feedback.len() > MAX_FEEDBACK {
            let message = format!("between 1 and {MAX_FEEDBACK} judgements at once, not {}", feedback.len());
            return Err(Error::new(ErrorKind::InvalidInput, "engine", message));
        }
        self.request(Request::Judge { feedback, by, reason: reason.into() }).await
    }

    /// Says that an open incident is no problem: every anomaly of it is judged a false alarm.
    ///
    /// # Errors
    ///
    /// `NotFound` when no such incident is open; what its journal tells of it can still be judged one by one. Else as for
    /// [`judge`](Self::judge).
    pub async fn no_problem(&self, incident: &IncidentId, by: Person, reason: impl Into<String>) -> Result<()> {
        let status = self.status();
        let found = status.incidents.iter().find(|open| open.id == *incident);
        let Some(found) = found else {
            return Err(Error::new(ErrorKind::NotFound, "engine", format!("no open incident is `{incident}`")));
        };
        let false_alarm = |id: &AnomalyId| Feedback::FalseAlarm { anomaly: id.clone() };
        let feedback = found.anomalies.iter().map(|anomaly| false_alarm(&anomaly.id)).take(MAX_FEEDBACK).collect();
        self.judge(feedback, by, reason).await
    }

    /// What is going on.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// How long ago each loop of the engine came round, read now: it tells of a loop that hangs also when no status is published any
    /// more. Empty before the engine runs.
    #[must_use]
    pub fn heartbeats(&self) -> Vec<Heartbeat> {
        self.heartbeats.read(&*self.clock)
    }

    /// Returns when the status has changed since it was last looked at by this handle; an error says that the engine is gone.
    ///
    /// # Errors
    ///
    /// `Stopped` when the engine is gone.
    pub async fn changed(&mut self) -> Result<()> {
        self.status.changed().await.map_err(|_| gone())
    }

    /// What people are asked.
    #[must_use]
    pub fn pending_approvals(&self) -> Vec<ApprovalRequest> {
        self.status.borrow().approvals.clone()
    }

    /// Every record from now on, as it becomes durable. A reader that is too slow loses the oldest and is told how many.
    #[must_use]
    pub fn records(&self) -> broadcast::Receiver<Record> {
        self.records.subscribe()
    }

    async fn request(&self, request: Request) -> Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.requests.send((request, sender)).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Stopped, "engine", "the engine is not running")
}
