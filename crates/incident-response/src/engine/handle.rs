//! The handle: how people reach a running engine. Cheap to clone.

use std::sync::Arc;

use ir_core::{
    ApprovalAnswer, ApprovalRequest, Error, ErrorKind, HaltHandle, IncidentId, Person, Record, Result, StepRef,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::status::Status;

/// A wish of a person.
#[derive(Debug)]
pub(crate) enum Request {
    Answer(Box<ApprovalAnswer>),
    Override { incident: IncidentId, by: Person, reason: String, undo: bool },
    Settle { step: StepRef, by: Person, applied: bool, reason: String },
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

    /// Answers a request. Whether it counted stands in the journal.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it cannot be recorded; `Stopped` when the engine is gone.
    pub async fn answer(&self, answer: ApprovalAnswer) -> Result<()> {
        self.request(Request::Answer(Box::new(answer))).await
    }

    /// Takes an incident over: nothing further is begun, and with `undo` what was done is taken back.
    ///
    /// # Errors
    ///
    /// `Stopped` when the engine is gone.
    pub async fn take_over(
        &self,
        incident: IncidentId,
        by: Person,
        reason: impl Into<String>,
        undo: bool,
    ) -> Result<()> {
        self.request(Request::Override { incident, by, reason: reason.into(), undo }).await
    }

    /// Says what became of a step that waits for a person (`UNKNOWN`, `ROLLBACK_FAILED`): whether its effect is in place now.
    /// The target's lock is released with it.
    ///
    /// # Errors
    ///
    /// `Stopped` when the engine is gone. A step that waits for nobody is left as it is, and the record says so.
    pub async fn settle(&self, step: StepRef, by: Person, applied: bool, reason: impl Into<String>) -> Result<()> {
        self.request(Request::Settle { step, by, applied, reason: reason.into() }).await
    }

    /// What is going on.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
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
