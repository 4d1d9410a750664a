//! What the kernel knows: a fold over every record, and nothing else.

use std::collections::BTreeMap;

use super::limits::{Ledger, Limits, Locks};
use super::step::StepState;
use crate::decision::{Decision, Person};
use crate::entity::EntityId;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::{Direction, RecoveryClass};
use crate::id::{Digest, IncidentId, PlanId, StepId, StepRef};
use crate::incident::IncidentState;
use crate::journal::{Approved, Body, Event, Fact, GateFact, Halted, Intent, Record, StepTerms, Suspect};
use crate::plan::{Call, PlanDraft, Provenance};
use crate::time::Moment;

/// An attempt whose end is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAttempt {
    /// The intention.
    pub intent: Intent,
    /// When it became durable.
    pub at: Moment,
    /// A probe found that it had no effect, so that it may be sent again.
    pub cleared: bool,
}

/// What the kernel knows of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEntry {
    /// What catalogue and topology said when the plan was accepted.
    pub terms: StepTerms,
    /// What is done.
    pub call: Call,
    /// The steps that must be done before.
    pub after: Vec<StepId>,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// Where it stands.
    pub state: StepState,
    /// The latest decision and when it was made.
    pub decision: Option<(Decision, Moment)>,
    /// The target's state when it was decided.
    pub expected: Option<Digest>,
    /// How it would be taken back, as the latest preview says.
    pub undo: Option<Call>,
    /// Approvals that count, and when they were given.
    pub approvals: Vec<(Approved, Moment)>,
    /// Whether the approvals were used up by an intention.
    pub spent: bool,
    /// The undo that was fixed with the do.
    pub inverse: Option<Call>,
    /// Sends so far.
    pub do_attempts: u32,
    /// Sends of the undo so far.
    pub undo_attempts: u32,
    /// The attempt whose end is not known.
    pub open: Option<OpenAttempt>,
}

/// What the kernel knows of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanEntry {
    /// The incident.
    pub incident: IncidentId,
    /// Its digest.
    pub digest: Digest,
    /// Who made it.
    pub provenance: Provenance,
    /// Its steps.
    pub steps: BTreeMap<StepId, StepEntry>,
    /// Whether its incident is closed, so that it stays only for a step that waits for a person.
    pub closed: bool,
}

impl PlanEntry {
    fn needs_somebody(&self) -> bool {
        self.steps.values().any(|step| !step.state.is_terminal() || step.state.waits_for_person())
    }
}

/// The fold. Equal records, equal states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    halted: Option<Halted>,
    halt_epoch: u64,
    epoch: u64,
    limits: Limits,
    plans: BTreeMap<PlanId, PlanEntry>,
    locks: Locks,
    /// Environment and group of locked targets, for the limit on groups.
    lock_groups: BTreeMap<EntityId, (String, Option<String>)>,
    ledger: Ledger,
    token: u64,
    suspects: BTreeMap<IncidentId, Suspect>,
    /// The step of which a person said in the latest event what became of it.
    word: Option<StepRef>,
}

fn illegal(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, "kernel", message)
}

impl State {
    /// The halt in force, if any.
    #[must_use]
    pub const fn halted(&self) -> Option<&Halted> {
        self.halted.as_ref()
    }

    /// Rises with every halt and resume.
    #[must_use]
    pub const fn halt_epoch(&self) -> u64 {
        self.halt_epoch
    }

    /// The epoch of the latest lease.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The limits in force.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The plan of that name, while its incident is open.
    #[must_use]
    pub fn plan(&self, id: &PlanId) -> Option<&PlanEntry> {
        self.plans.get(id)
    }

    /// All plans of open incidents.
    pub fn plans(&self) -> impl ExactSizeIterator<Item = (&PlanId, &PlanEntry)> {
        self.plans.iter()
    }

    /// The step of that name, while its incident is open.
    #[must_use]
    pub fn step(&self, step: &StepRef) -> Option<&StepEntry> {
        self.plans.get(&step.plan)?.steps.get(&step.step)
    }

    /// Every step of open incidents.
    pub fn steps(&self) -> impl Iterator<Item = (StepRef, &StepEntry)> {
        self.plans.iter().flat_map(|(plan, entry)| {
            entry.steps.iter().map(|(step, entry)| (StepRef { plan: plan.clone(), step: step.clone() }, entry))
        })
    }

    /// The plan that keeps `target` locked.
    #[must_use]
    pub fn lock_of(&self, target: &EntityId) -> Option<&PlanId> {
        self.locks.get(target)
    }

    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) const fn next_token(&self) -> u64 {
        self.token + 1
    }

    pub(super) fn locked_in_group(&self, environment: &str, group: &str, but: &EntityId) -> usize {
        let of_group = |(env, name): &(String, Option<String>)| env == environment && name.as_deref() == Some(group);
        self.lock_groups.iter().filter(|(target, place)| *target != but && of_group(place)).count()
    }

    pub(super) fn suspects_in_group<'a>(
        &'a self,
        environment: &'a str,
        group: &'a str,
    ) -> impl Iterator<Item = &'a EntityId> {
        self.suspects
            .values()
            .filter(move |s| s.environment == environment && s.group.as_deref() == Some(group))
            .map(|s| &s.entity)
    }

    /// Takes one record.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the record is illegal in this state: an unknown step, a move the table does not have, a token that
    /// does not rise. The state is undefined then; fold a copy when that may happen.
    pub fn fold(&mut self, record: &Record) -> Result<()> {
        self.fold_body(&record.body, &record.at)
    }

    /// Takes the content of one record, written at `at`.
    ///
    /// # Errors
    ///
    /// As for [`fold`](Self::fold).
    pub fn fold_body(&mut self, body: &Body, at: &Moment) -> Result<()> {
        if let Body::Event(event) = body {
            self.word = match event {
                Event::SettledByPerson { step, .. } => Some(step.clone()),
                _ => None,
            };
        }
        match body {
            Body::Event(Event::Started(started)) => {
                self.limits = started.limits.clone();
                self.ledger.enter_boot(at);
            }
            Body::Event(_) | Body::Spilled { .. } => {}
            Body::Fact(fact) => self.fold_fact(fact, at)?,
            Body::Gate(fact) => self.fold_gate(fact, at)?,
        }
        Ok(())
    }

    fn fold_fact(&mut self, fact: &Fact, at: &Moment) -> Result<()> {
        match fact {
            Fact::PlanAccepted { plan, digest, terms } => self.accept(plan, *digest, terms)?,
            Fact::HypothesisFormed { incident, suspect, .. } => {
                match suspect {
                    Some(suspect) => self.suspects.insert(incident.clone(), suspect.clone()),
                    None => self.suspects.remove(incident),
                };
            }
            Fact::IncidentMoved { incident, to: IncidentState::Closed, .. } => self.forget(incident),
            Fact::StepPreviewed { step, preview } => {
                let entry = self.step_mut(step)?;
                entry.expected = Some(preview.state);
                entry.undo.clone_from(&preview.undo);
            }
            Fact::Decided(decision) => {
                self.step_mut(&decision.step)?.decision = Some((decision.clone(), at.clone()));
            }
            Fact::ApprovalCounted(approved) => {
                let entry = self.step_mut(&approved.step)?;
                entry.approvals.push((approved.clone(), at.clone()));
            }
            Fact::StepMoved { step, from, to, .. } => self.move_step(step, *from, *to)?,
            Fact::AttemptCleared { step, .. } => match &mut self.step_mut(step)?.open {
                Some(open) => open.cleared = true,
                None => return Err(illegal(format!("step `{step}` has no open attempt"))),
            },
            Fact::IncidentOpened { .. }
            | Fact::IncidentGrew { .. }
            | Fact::IncidentMoved { .. }
            | Fact::PlanRejected { .. }
            | Fact::ApprovalOpened(_)
            | Fact::AnswerRejected { .. }
            | Fact::AttemptUnknown { .. }
            | Fact::OutcomeReached(_)
            | Fact::LessonDrawn(_)
            | Fact::Degraded { .. } => {}
        }
        Ok(())
    }

    fn accept(&mut self, plan: &PlanDraft, digest: Digest, terms: &[StepTerms]) -> Result<()> {
        if self.plans.contains_key(&plan.id) {
            return Err(illegal(format!("plan `{}` was accepted before", plan.id)));
        }
        let mut steps = BTreeMap::new();
        for (step, terms) in plan.steps.iter().zip(terms) {
            let entry = StepEntry {
                terms: terms.clone(),
                call: step.call.clone(),
                after: step.after.clone(),
                timeout_ms: step.timeout_ms,
                state: StepState::Planned,
                decision: None,
                expected: None,
                undo: None,
                approvals: Vec::new(),
                spent: false,
                inverse: None,
                do_attempts: 0,
                undo_attempts: 0,
                open: None,
            };
            if terms.step != step.id || steps.insert(step.id.clone(), entry).is_some() {
                return Err(illegal(format!("plan `{}` and its terms do not fit", plan.id)));
            }
        }
        if steps.len() != plan.steps.len() || terms.len() != plan.steps.len() {
            return Err(illegal(format!("plan `{}` and its terms do not fit", plan.id)));
        }
        let entry = PlanEntry {
            incident: plan.incident.clone(),
            digest,
            provenance: plan.provenance.clone(),
            steps,
            closed: false,
        };
        self.plans.insert(plan.id.clone(), entry);
        Ok(())
    }

    /// Closed incidents leave the state, but a step that waits for a person stays, and so does its lock.
    fn forget(&mut self, incident: &IncidentId) {
        self.suspects.remove(incident);
        for plan in self.plans.values_mut().filter(|plan| plan.incident == *incident) {
            plan.closed = true;
        }
        self.plans.retain(|_, plan| plan.incident != *incident || plan.needs_somebody());
    }

    fn step_mut(&mut self, step: &StepRef) -> Result<&mut StepEntry> {
        self.plans
            .get_mut(&step.plan)
            .and_then(|plan| plan.steps.get_mut(&step.step))
            .ok_or_else(|| illegal(format!("no step is named `{step}`")))
    }

    fn move_step(&mut self, step: &StepRef, from: StepState, to: StepState) -> Result<()> {
        let entry = self.step_mut(step)?;
        if entry.state != from || !from.may_move_to(to) {
            return Err(illegal(format!("step `{step}` is {}, it cannot go from {from} to {to}", entry.state)));
        }
        if from.waits_for_person() && self.word.take().as_ref() != Some(step) {
            return Err(illegal(format!("step `{step}` waits for a person, and nobody said what became of it")));
        }
        let entry = self.step_mut(step)?;
        entry.state = to;
        if from == StepState::Intent || (from == StepState::Compensating && to.is_terminal()) {
            entry.open = None;
        }
        if to == StepState::Compensating {
            // A step that was done has let its target go; taking it back needs the target again.
            self.lock(step);
        }
        self.release(step);
        if from.waits_for_person() {
            self.plans.retain(|id, plan| *id != step.plan || !plan.closed || plan.needs_somebody());
        }
        Ok(())
    }

    /// Takes the step's target for its plan, unless another plan has it.
    fn lock(&mut self, step: &StepRef) {
        let Some(entry) = self.step(step) else { return };
        let target = entry.call.target.clone();
        if !self.locks.contains_key(&target) {
            let place = (entry.terms.environment.clone(), entry.terms.group.clone());
            self.lock_groups.insert(target.clone(), place);
            self.locks.insert(target, step.plan.clone());
        }
    }

    /// Frees the step's target when no step of its plan needs the lock any more.
    fn release(&mut self, step: &StepRef) {
        let Some(plan) = self.plans.get(&step.plan) else { return };
        let Some(target) = plan.steps.get(&step.step).map(|entry| entry.call.target.clone()) else { return };
        let needed = plan.steps.values().any(|entry| entry.call.target == target && entry.state.holds_lock());
        if !needed && self.locks.get(&target) == Some(&step.plan) {
            self.locks.remove(&target);
            self.lock_groups.remove(&target);
        }
    }

    fn fold_gate(&mut self, fact: &GateFact, at: &Moment) -> Result<()> {
        match fact {
            GateFact::Claimed { epoch, .. } => {
                if *epoch < self.epoch {
                    return Err(illegal(format!("epoch {epoch} comes after epoch {}", self.epoch)));
                }
                self.epoch = *epoch;
                self.ledger.enter_boot(at);
            }
            GateFact::Intent(intent) => self.intend(intent, at)?,
            GateFact::Refused { .. } => {}
            GateFact::Fenced(fenced) => self.raise_token(fenced.token)?,
            GateFact::Halted(halted) => {
                self.halt_epoch = halted.epoch;
                self.halted = Some(halted.clone());
            }
            GateFact::Resumed { epoch, .. } => {
                self.halt_epoch = *epoch;
                self.halted = None;
            }
        }
        Ok(())
    }

    fn raise_token(&mut self, token: u64) -> Result<()> {
        if token <= self.token {
            return Err(illegal(format!("token {token} does not rise above {}", self.token)));
        }
        self.token = token;
        Ok(())
    }

    fn intend(&mut self, intent: &Intent, at: &Moment) -> Result<()> {
        if intent.epoch != self.epoch || intent.halt_epoch != self.halt_epoch || self.halted.is_some() {
            return Err(illegal(format!("an intention of step `{}` outside its lease or under a halt", intent.step)));
        }
        if self.locks.get(&intent.call.target).is_some_and(|holder| *holder != intent.step.plan) {
            return Err(illegal(format!("an intention on `{}`, which another plan changes", intent.call.target)));
        }
        self.raise_token(intent.token)?;
        let entry = self.step_mut(&intent.step)?;
        let (before, fits) = match intent.direction {
            // What cannot be settled is sent at most once, whatever a record says.
            Direction::Do => (
                entry.do_attempts,
                entry.state == StepState::Ready
                    || (entry.state == StepState::Intent && entry.terms.recovery != RecoveryClass::Blind),
            ),
            Direction::Undo => (
                entry.undo_attempts,
                entry.state == StepState::Compensating
                    && (entry.undo_attempts == 0 || entry.terms.undo_recovery != RecoveryClass::Blind),
            ),
        };
        if !fits || Some(intent.attempt) != before.checked_add(1) {
            let message =
                format!("step `{}` is {}, attempt {} cannot follow", intent.step, entry.state, intent.attempt);
            return Err(illegal(message));
        }
        entry.open = Some(OpenAttempt { intent: intent.clone(), at: at.clone(), cleared: false });
        match intent.direction {
            Direction::Undo => entry.undo_attempts = intent.attempt,
            Direction::Do => {
                entry.do_attempts = intent.attempt;
                entry.state = StepState::Intent;
                entry.spent = true;
                entry.inverse.clone_from(&intent.inverse);
                if intent.attempt == 1 && entry.terms.changes_target {
                    let environment = entry.terms.environment.clone();
                    self.ledger.count(&intent.call.target, &environment, at);
                }
            }
        }
        self.lock(&intent.step);
        Ok(())
    }
}

impl StepEntry {
    /// The people whose approval of `plan` still holds at `now`.
    pub fn approvers<'a>(&'a self, plan: &'a Digest, now: &'a Moment) -> impl Iterator<Item = &'a Person> + Clone {
        let expires_ms = self.decision.as_ref().map_or(0, |(decision, _)| decision.approval_expires_ms);
        self.approvals
            .iter()
            .filter(move |(approved, at)| {
                // An end that cannot be proved still ahead has come: another boot, no approval.
                let age = now.mono_since(at);
                approved.plan_digest == *plan && age.is_some_and(|ns| ns < expires_ms.saturating_mul(1_000_000))
            })
            .map(|(approved, _)| &approved.by)
    }
}
