//! A real gate on a memory journal, and the way of a step to its permit: for the laws of executors and for tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ctx::Ctx;
use crate::decision::{AutonomyTier, Decision, Person, Verdict, covered};
use crate::entity::EntityId;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::execution::{
    Applied, AttemptResult, Catalogue, Direction, Execution, Executor, Precondition, Preview, RecoveryClass,
    Reversibility,
};
use crate::id::{Digest, HypothesisId, IncidentId, PartName, PlanId, StepId, StepRef};
use crate::journal::{Approved, Body, Content, Event, Fact, Journal, MemoryJournal, Started, StepTerms};
use crate::kernel::{AuthorizeRequest, Authorized, Gate, GateConfig, Limits, Permit, PermitWatch, StepState};
use crate::plan::{Call, Plan, PlanDraft, Provenance, ResponsePhase, Step, Verification};
use crate::score::Probability;
use crate::topology::{Topology, TopologyDocument};

/// Takes calls through plan, preview, decision and intention, as the engine does, with every limit wide open.
#[derive(Debug)]
pub struct GateRig {
    ctx: Ctx,
    gate: Gate,
    n_plans: u32,
}

/// A permit, and what tells whether it was redeemed.
#[derive(Debug)]
pub struct Granted {
    /// The right to have the effect.
    pub permit: Permit,
    /// Tells whether it was redeemed.
    pub watch: PermitWatch,
}

impl GateRig {
    /// A gate on a memory journal. Its clock is that of `ctx`.
    ///
    /// # Errors
    ///
    /// Those of [`Gate::open`].
    pub async fn open(ctx: &Ctx) -> Result<Self> {
        let limits = Limits {
            group_percent: 100,
            per_environment: u32::MAX,
            per_target_day: u32::MAX,
            unhealthy_from: u32::MAX,
            attempts: u32::MAX,
            precondition_age_ms: 3_600_000,
            ..Limits::default()
        };
        Self::open_on(ctx, Arc::new(MemoryJournal::new()), limits).await
    }

    /// A gate on the given journal, under the given limits.
    ///
    /// # Errors
    ///
    /// Those of [`Gate::open`].
    pub async fn open_on(ctx: &Ctx, journal: Arc<dyn Journal>, limits: Limits) -> Result<Self> {
        let config = GateConfig {
            name: PartName::new("rig")?,
            journal,
            required_sinks: Vec::new(),
            clock: ctx.clock().clone(),
            lease_ttl_ms: 3_600_000,
            append_within_ms: crate::kernel::APPEND_WITHIN_MS,
        };
        let gate = Gate::open(ctx, config, |_| Ok(())).await?;
        let started = Started {
            version: "rig".to_owned(),
            epoch: gate.epoch(),
            config: Content::Here(serde_json::Value::Null),
            policy: Digest::ZERO,
            limits,
            parts: Vec::new(),
            forgetful: Vec::new(),
        };
        let mut rig = Self { ctx: ctx.clone(), gate, n_plans: 0 };
        rig.write(vec![Event::Started(started).into()]).await?;
        Ok(rig)
    }

    /// The gate.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The gate, to do with it what the rig has no word for.
    pub const fn gate_mut(&mut self) -> &mut Gate {
        &mut self.gate
    }

    /// Appends facts and events.
    ///
    /// # Errors
    ///
    /// Those of [`Gate::append`].
    pub async fn write(&mut self, bodies: Vec<Body>) -> Result<()> {
        let at = self.ctx.now();
        self.gate.append(&self.ctx, &at, bodies).await.map(|_| ())
    }

    /// Brings one step with `call` to READY: previewed by `executor`, allowed at tier act, approved by two people.
    ///
    /// # Errors
    ///
    /// `InvalidConfig` when catalogue or call are not sound; those of `preview`.
    pub async fn ready(&mut self, executor: &dyn Executor, call: &Call, timeout_ms: u64) -> Result<StepRef> {
        let preview = executor.preview(&self.ctx, call).await?;
        self.ready_with(executor, call, timeout_ms, preview).await
    }

    async fn ready_with(
        &mut self,
        executor: &dyn Executor,
        call: &Call,
        timeout_ms: u64,
        preview: Preview,
    ) -> Result<StepRef> {
        let catalogue = Catalogue::new(executor.catalogue())?;
        let terms = terms(&catalogue, call)?;
        let promised =
            |undo: &Call| matches!(&terms.reversibility, Reversibility::Undo { action } if *action == undo.action);
        let plan = self.plan(&catalogue, call, timeout_ms, preview.undo.clone().filter(promised))?;
        let digest = plan.digest()?;
        let step = StepRef { plan: plan.id.clone(), step: StepId::new("s1")? };
        let decision = Decision {
            step: step.clone(),
            plan_digest: digest,
            verdict: Verdict::Allow,
            tier: AutonomyTier::Act,
            veto_ms: None,
            approval_expires_ms: 3_600_000,
            votes: Vec::new(),
            nearest: None,
            policy: Digest::ZERO,
        };
        let covers = covered(&digest, Direction::Do, call, &preview.state, preview.undo.as_ref())?;
        let approved = |name: &str| {
            let (by, reason) = (Person::named(name), "test".to_owned());
            Fact::ApprovalCounted(Approved { step: step.clone(), plan_digest: digest, covers, by, reason })
        };
        let moved = Fact::StepMoved {
            step: step.clone(),
            from: StepState::Planned,
            to: StepState::Ready,
            because: "test".to_owned(),
        };
        let facts = [
            Fact::PlanAccepted { plan: plan.into_draft(), digest, terms: vec![terms] },
            Fact::StepPreviewed { step: step.clone(), preview },
            Fact::Decided(decision),
            approved("ann"),
            approved("bob"),
            moved,
        ];
        self.write(facts.into_iter().map(Body::from).collect()).await?;
        Ok(step)
    }

    fn plan(&mut self, catalogue: &Catalogue, call: &Call, timeout_ms: u64, undo: Option<Call>) -> Result<Plan> {
        self.n_plans += 1;
        let incident = IncidentId::numbered(1);
        let targets: BTreeSet<&EntityId> = [&call.target].into_iter().chain(undo.as_ref().map(|u| &u.target)).collect();
        let entity = targets.into_iter().cloned().map(crate::entity::Entity::service).collect();
        let topology = Topology::new(TopologyDocument { entity, dependency: Vec::new() })?;
        let spec = catalogue.action(&call.action).ok_or_else(|| unknown(call))?;
        let step = Step {
            id: StepId::new("s1")?,
            call: call.clone(),
            after: Vec::new(),
            phase: ResponsePhase::Recover,
            expected_effect: "test".to_owned(),
            risk: spec.risk,
            undo,
            verification: Verification::default(),
            timeout_ms,
        };
        let draft = PlanDraft {
            id: PlanId::of(&incident, self.n_plans),
            revision: 1,
            provenance: Provenance::Playbook { name: "rig".to_owned(), version: 1 },
            modified_by: None,
            hypothesis: HypothesisId::of(&incident, 1),
            confidence: Probability::ONE,
            because: "test".to_owned(),
            steps: vec![step],
            incident,
        };
        Ok(Plan::check(draft, catalogue, &topology)?)
    }

    /// The permit for `step`, its precondition read by `executor` right now.
    ///
    /// # Errors
    ///
    /// `Conflict` with every reason when the kernel refuses; those of `preview` and of the journal.
    pub async fn authorize(
        &mut self,
        executor: &dyn Executor,
        step: &StepRef,
        direction: Direction,
    ) -> Result<Granted> {
        let entry = self
            .gate
            .state()
            .step(step)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "rig", format!("no step is named `{step}`")))?;
        let call = match direction {
            Direction::Do => Some(entry.call.clone()),
            Direction::Undo => entry.inverse.clone(),
        };
        // Behind an attempt that may have had its effect nothing is compared, and the target may be in the middle of a change.
        let state = match call.filter(|_| entry.unresolved.is_empty()) {
            Some(call) => executor.preview(&self.ctx, &call).await?.state,
            None => Digest::ZERO,
        };
        let precondition = Precondition { state, read: self.ctx.now() };
        let request = AuthorizeRequest { step: step.clone(), direction, precondition };
        match self.gate.authorize(&self.ctx, &request).await? {
            Authorized::Granted { permit, watch, .. } => Ok(Granted { permit: *permit, watch }),
            other => Err(Error::new(ErrorKind::Conflict, "rig", format!("no permit: {other:?}"))),
        }
    }

    /// [`ready`](Self::ready) and [`authorize`](Self::authorize) in one: the permit to do `call`.
    ///
    /// # Errors
    ///
    /// Those of both.
    pub async fn permit(
        &mut self,
        executor: &dyn Executor,
        call: &Call,
        timeout_ms: u64,
    ) -> Result<(StepRef, Granted)> {
        let step = self.ready(executor, call, timeout_ms).await?;
        let granted = self.authorize(executor, &step, Direction::Do).await?;
        Ok((step, granted))
    }

    /// Like [`permit`](Self::permit), for calls that the executor itself does not know: it is not asked for a preview.
    ///
    /// # Errors
    ///
    /// As for [`permit`](Self::permit).
    pub async fn permit_unseen(
        &mut self,
        catalogue_of: &dyn Executor,
        call: &Call,
        timeout_ms: u64,
    ) -> Result<(StepRef, Granted)> {
        let preview = Preview { state: Digest::ZERO, summary: "unseen".to_owned(), undo: Some(call.clone()) };
        let state = preview.state;
        let step = self.ready_with(catalogue_of, call, timeout_ms, preview).await?;
        let precondition = Precondition { state, read: self.ctx.now() };
        let request = AuthorizeRequest { step: step.clone(), direction: Direction::Do, precondition };
        match self.gate.authorize(&self.ctx, &request).await? {
            Authorized::Granted { permit, watch, .. } => Ok((step, Granted { permit: *permit, watch })),
            other => Err(Error::new(ErrorKind::Conflict, "rig", format!("no permit: {other:?}"))),
        }
    }

    /// Records that the present do of `step` was applied, with the state that its undo finds now.
    ///
    /// # Errors
    ///
    /// Those of `preview`; `InvalidInput` when the step is not in flight.
    pub async fn applied(&mut self, executor: &dyn Executor, step: &StepRef) -> Result<()> {
        let entry = self.gate.state().step(step);
        let attempt = entry.map_or(0, |entry| entry.do_attempts);
        let inverse = entry.and_then(|entry| entry.inverse.clone());
        let after = match inverse {
            Some(inverse) => Some(executor.preview(&self.ctx, &inverse).await?.state),
            None => None,
        };
        let execution = Execution {
            step: step.clone(),
            direction: Direction::Do,
            attempt,
            by: PartName::new("rig")?,
            result: AttemptResult::Applied { applied: Applied { summary: "test".to_owned() } },
            after,
        };
        self.write(vec![Event::Executed(execution).into()]).await?;
        self.go(step, &[StepState::Applied]).await
    }

    /// Records that the present do of `step` had no effect, and that the step ended so.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the step is not in flight, or an earlier attempt may have had an effect.
    pub async fn not_applied(&mut self, step: &StepRef) -> Result<()> {
        let attempt = self.gate.state().step(step).map_or(0, |entry| entry.do_attempts);
        self.write(vec![not_applied(step, attempt).into()]).await?;
        self.go(step, &[StepState::NotApplied]).await
    }

    /// Records that `step` went through `states`, one after the other, from where it stands.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the table has no such way.
    pub async fn go(&mut self, step: &StepRef, states: &[StepState]) -> Result<()> {
        for to in states {
            let from = self.gate.state().step(step).map_or(StepState::Planned, |entry| entry.state);
            let fact = Fact::StepMoved { step: step.clone(), from, to: *to, because: "test".to_owned() };
            self.write(vec![fact.into()]).await?;
        }
        Ok(())
    }
}

/// The event that attempt `attempt` to do `step` is proved to have had no effect.
#[must_use]
pub fn not_applied(step: &StepRef, attempt: u32) -> Event {
    let failure = Failure { kind: ErrorKind::Stopped, component: "rig".to_owned(), message: "test".to_owned() };
    let (step, by) = (step.clone(), PartName::literal("rig"));
    let result = AttemptResult::NotApplied { failure };
    Event::Executed(Execution { step, direction: Direction::Do, attempt, by, result, after: None })
}

fn unknown(call: &Call) -> Error {
    Error::new(ErrorKind::NotFound, "rig", format!("no action is named `{}`", call.action))
}

fn terms(catalogue: &Catalogue, call: &Call) -> Result<StepTerms> {
    let spec = catalogue.action(&call.action).ok_or_else(|| unknown(call))?;
    let undo_recovery = match &spec.reversibility {
        Reversibility::Undo { action } => catalogue.action(action).map(|undo| undo.recovery),
        Reversibility::Transient | Reversibility::Irreversible => None,
    };
    Ok(StepTerms {
        step: StepId::new("s1")?,
        recovery: spec.recovery,
        undo_recovery: undo_recovery.unwrap_or(RecoveryClass::Blind),
        reversibility: spec.reversibility.clone(),
        risk: spec.risk,
        changes_target: spec.changes_target,
        environment: "default".to_owned(),
        group: None,
        group_size: 1,
        protected: false,
    })
}
