//! What the kernel knows: a fold over every record, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::limits::{Ledger, Limits, Locks};
use super::step::StepState;
use crate::decision::{Decision, Person, covered};
use crate::entity::EntityId;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::{AttemptResult, Direction, Execution, RecoveryClass, Reversibility};
use crate::id::{Digest, IncidentId, PlanId, StepId, StepRef};
use crate::incident::IncidentState;
use crate::journal::{
    Approved, Body, CarriedOver, CarriedStep, Event, Fact, GateFact, Halted, Intent, Record, StepTerms, Suspect,
};
use crate::persistent::PersistentMap;
use crate::plan::{Call, Plan, PlanDraft, Provenance, Step};
use crate::time::Moment;

/// The latest attempt of a step that is in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAttempt {
    /// The intention.
    pub intent: Intent,
    /// When it became durable.
    pub at: Moment,
}

/// What the kernel knows of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEntry {
    /// What catalogue and topology said when the plan was accepted.
    pub terms: StepTerms,
    /// What is done.
    pub call: Call,
    /// The steps that must be done before: those it names, and all of earlier phases.
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
    /// What an approval of the do must cover, as the latest preview has it.
    pub covers: Option<Digest>,
    /// When people were reached with a request that covers just that.
    pub delivered: Option<Moment>,
    /// Approvals that were given, and when.
    pub approvals: Vec<(Approved, Moment)>,
    /// Whether the approvals were used up by an intention.
    pub spent: bool,
    /// The undo that was fixed with the do.
    pub inverse: Option<Call>,
    /// Sends so far.
    pub do_attempts: u32,
    /// Sends of the undo so far.
    pub undo_attempts: u32,
    /// The latest attempt, while the step is in INTENT or COMPENSATING.
    pub open: Option<OpenAttempt>,
    /// Attempts in that direction that may have had their effect: not answered, or answered with "unknown", and not cleared by a
    /// probe. While one is left, nobody may claim that nothing was done.
    pub unresolved: BTreeSet<u32>,
    /// The highest fence that was minted for the step.
    #[serde(with = "crate::wire::int53")]
    pub fence: u64,
    /// The state that the undo would find, read right after the do.
    pub after_state: Option<Digest>,
}

/// What the kernel knows of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

    /// The steps that were built on `step`, directly or over others, and are in place or in flight: while there is one, `step` may
    /// not be taken back. In the order of their names.
    #[must_use]
    pub fn built_on<'a>(&'a self, step: &'a StepId) -> Vec<&'a StepId> {
        let mut found: BTreeSet<&StepId> = BTreeSet::from([step]);
        // A chain of dependents is no longer than the plan, so after so many turns nothing new is found.
        for _ in 0..self.steps.len() {
            let more = self.steps.iter().filter(|(_, entry)| entry.after.iter().any(|before| found.contains(before)));
            let more: Vec<&StepId> = more.map(|(id, _)| id).collect();
            found.extend(more);
        }
        found.into_iter().filter(|id| *id != step && self.steps.get(*id).is_some_and(StepEntry::is_in_place)).collect()
    }
}

/// The fold. Equal records, equal states. Its text form stands in checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    journal: Option<Digest>,
    halted: Option<Halted>,
    #[serde(with = "crate::wire::int53")]
    halt_epoch: u64,
    #[serde(with = "crate::wire::int53")]
    epoch: u64,
    limits: Limits,
    /// The engine has started with this journal.
    limits_are_set: bool,
    plans: PersistentMap<PlanId, PlanEntry>,
    /// The plans of each incident.
    plans_of: PersistentMap<IncidentId, BTreeSet<PlanId>>,
    locks: Locks,
    /// Environment and group of locked targets, for the limit on groups.
    lock_groups: PersistentMap<EntityId, (String, Option<String>)>,
    ledger: Ledger,
    #[serde(with = "crate::wire::int53")]
    token: u64,
    suspects: PersistentMap<IncidentId, Suspect>,
    /// The first moment of the present boot.
    boot: Option<Moment>,
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

    /// The journal's own name, from its first claim on.
    #[must_use]
    pub const fn journal(&self) -> Option<Digest> {
        self.journal
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

    /// The plan in `draft`, if it is exactly one that was accepted, or revised, and not forgotten since: how a plan that was checked is
    /// found again in a checkpoint.
    ///
    /// # Errors
    ///
    /// `NotFound` otherwise.
    pub fn accepted(&self, draft: PlanDraft) -> Result<Plan> {
        let plan = Plan::found_again(draft);
        let digest = plan.digest()?;
        if self.plans.get(&plan.id).is_some_and(|entry| entry.digest == digest) {
            return Ok(plan);
        }
        let message = format!("no plan `{}` of digest {digest} was accepted", plan.id);
        Err(Error::new(ErrorKind::NotFound, "kernel", message))
    }

    /// All plans of open incidents.
    pub fn plans(&self) -> impl ExactSizeIterator<Item = (&PlanId, &PlanEntry)> {
        self.plans.iter()
    }

    /// The plans of an incident, in the order of their names.
    pub fn plans_of<'a>(&'a self, incident: &IncidentId) -> impl Iterator<Item = (&'a PlanId, &'a PlanEntry)> {
        let plans = self.plans_of.get(incident).into_iter().flatten();
        plans.filter_map(|id| Some((id, self.plans.get(id)?)))
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
        self.ledger.pass(at);
        if let Body::Event(event) = body {
            self.word = match event {
                Event::SettledByPerson { step, .. } => Some(step.clone()),
                _ => None,
            };
        }
        match body {
            Body::Event(Event::Started(started)) => {
                self.limits = started.limits.clone();
                self.limits_are_set = true;
                self.enter_boot(at);
            }
            Body::Event(Event::Executed(execution)) => self.answered(execution),
            Body::Event(Event::CarriedOver(carried)) => self.carry(carried, at)?,
            Body::Event(_) | Body::Spilled { .. } => {}
            Body::Fact(fact) => self.fold_fact(fact, at)?,
            Body::Gate(fact) => self.fold_gate(fact, at)?,
        }
        Ok(())
    }

    fn fold_fact(&mut self, fact: &Fact, at: &Moment) -> Result<()> {
        match fact {
            Fact::PlanAccepted { plan, digest, terms } => self.accept(plan, *digest, terms)?,
            Fact::HypothesisFormed { incident, suspect, .. } => match suspect {
                Some(suspect) => self.suspects.insert(incident.clone(), suspect.clone()),
                None => drop(self.suspects.remove(incident)),
            },
            Fact::IncidentMoved { incident, to: IncidentState::Closed, .. } => self.forget(incident),
            Fact::PlanRevised { plan, digest, terms } => self.revise(plan, *digest, terms)?,
            Fact::StepPreviewed { step, preview } => {
                let plan = self.plans.get(&step.plan).map(|plan| plan.digest).unwrap_or(Digest::ZERO);
                let entry = self.step_mut(step)?;
                entry.expected = Some(preview.state);
                entry.undo.clone_from(&preview.undo);
                let covers = covered(&plan, Direction::Do, &entry.call, &preview.state, preview.undo.as_ref())?;
                if entry.covers != Some(covers) {
                    entry.delivered = None;
                }
                entry.covers = Some(covers);
            }
            Fact::ApprovalDelivered { step, covers, .. } => {
                let entry = self.step_mut(step)?;
                if entry.covers == Some(*covers) {
                    entry.delivered = Some(at.clone());
                }
            }
            Fact::Decided(decision) => {
                self.step_mut(&decision.step)?.decision = Some((decision.clone(), at.clone()));
            }
            Fact::ApprovalCounted(approved) => {
                let entry = self.step_mut(&approved.step)?;
                entry.approvals.push((approved.clone(), at.clone()));
            }
            Fact::StepMoved { step, from, to, .. } => self.move_step(step, *from, *to, at)?,
            Fact::AttemptCleared { step, .. } => self.clear(step, at)?,
            Fact::AttemptFound { step, after, .. } => {
                let entry = self.step_mut(step)?;
                if entry.unresolved.is_empty() {
                    return Err(illegal(format!("step `{step}` has no attempt that may have had an effect")));
                }
                if entry.state == StepState::Intent {
                    entry.after_state = *after;
                }
            }
            Fact::IncidentOpened { .. }
            | Fact::IncidentGrew { .. }
            | Fact::IncidentMoved { .. }
            | Fact::PlanRejected { .. }
            | Fact::ApprovalOpened(_)
            | Fact::AnswerRejected { .. }
            | Fact::OrderRejected { .. }
            | Fact::StepDelayed { .. }
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
        let entry = PlanEntry {
            incident: plan.incident.clone(),
            digest,
            provenance: plan.provenance.clone(),
            steps: steps_of(plan, terms)?,
            closed: false,
        };
        self.plans.insert(plan.id.clone(), entry);
        self.plans_of.get_or_insert_with(&plan.incident, BTreeSet::new).insert(plan.id.clone());
        Ok(())
    }

    /// Takes over what binds from another journal. Its steps wait for people, who alone can say what became of them.
    fn carry(&mut self, carried: &CarriedOver, at: &Moment) -> Result<()> {
        if self.token > 0 || !self.plans.is_empty() || self.limits_are_set {
            return Err(illegal("a journal is carried over into one that is in use".to_owned()));
        }
        self.token = carried.token;
        if let Some(halted) = &carried.halted {
            self.halt_epoch += 1;
            self.halted = Some(Halted { epoch: self.halt_epoch, ..halted.clone() });
        }
        for change in &carried.changes {
            self.ledger.carry(&change.target, &change.environment, &change.at, at);
        }
        for step in &carried.steps {
            let id = &step.step.plan;
            let entry = StepEntry::carried(step);
            let plan = || PlanEntry {
                incident: step.incident.clone(),
                digest: carried.head,
                provenance: Provenance::Reasoner,
                steps: BTreeMap::new(),
                closed: true,
            };
            self.plans.get_or_insert_with(id, plan).steps.insert(step.step.step.clone(), entry);
            self.plans_of.get_or_insert_with(&step.incident, BTreeSet::new).insert(id.clone());
            if step.terms.changes_target {
                self.lock(&step.step);
            }
        }
        Ok(())
    }

    /// A person changed the plan. INVARIANT (what was sent stays): a step that was sent keeps its call, its state and its inverse,
    /// and nothing is revised while an attempt is in flight. All others are planned anew, without decision and approvals.
    fn revise(&mut self, plan: &PlanDraft, digest: Digest, terms: &[StepTerms]) -> Result<()> {
        let refused = |because: String| Err(illegal(format!("plan `{}` cannot be revised: {because}", plan.id)));
        let Some(entry) = self.plans.get_mut(&plan.id) else { return refused("it is not known".to_owned()) };
        if entry.incident != plan.incident || entry.closed {
            return refused("it belongs to another incident or to a closed one".to_owned());
        }
        if let Some((id, _)) = entry.steps.iter().find(|(_, step)| step.state.is_in_flight()) {
            return refused(format!("step `{id}` is in flight"));
        }
        let mut steps = steps_of(plan, terms)?;
        for (id, old) in entry.steps.iter().filter(|(_, old)| !old.state.is_unsent()) {
            match steps.get_mut(id) {
                Some(new) if new.call == old.call && new.timeout_ms == old.timeout_ms => {
                    *new = StepEntry { after: std::mem::take(&mut new.after), ..old.clone() };
                }
                // What was given up before it was sent may be left out.
                None if old.state == StepState::Cancelled => {}
                Some(_) | None => return refused(format!("step `{id}` is {} and would change", old.state)),
            }
        }
        entry.digest = digest;
        entry.provenance = plan.provenance.clone();
        entry.steps = steps;
        Ok(())
    }

    fn enter_boot(&mut self, at: &Moment) {
        self.ledger.enter_boot(at);
        if self.boot.as_ref().is_none_or(|start| start.boot != at.boot) {
            self.boot = Some(at.clone());
        }
    }

    /// Whether an attempt may have had its effect and nothing is known of it.
    #[must_use]
    pub fn is_unresolved(&self, step: &StepRef, direction: Direction, attempt: u32) -> bool {
        self.step(step).is_some_and(|entry| {
            entry.open.as_ref().is_some_and(|open| open.intent.direction == direction)
                && entry.unresolved.contains(&attempt)
        })
    }

    /// An executor answered. Only an attempt that is unresolved can be resolved; every other answer is an observation.
    fn answered(&mut self, execution: &Execution) {
        if !self.is_unresolved(&execution.step, execution.direction, execution.attempt) {
            return;
        }
        let Ok(entry) = self.step_mut(&execution.step) else { return };
        match &execution.result {
            AttemptResult::NotApplied { .. } => {
                entry.unresolved.remove(&execution.attempt);
            }
            AttemptResult::Applied { .. } if execution.direction == Direction::Do => {
                entry.after_state = execution.after;
            }
            AttemptResult::Applied { .. } | AttemptResult::Unknown { .. } => {}
        }
    }

    /// A probe found no effect. INVARIANT (a probe proves only what its class promises): with a fence raised above every token
    /// that was sent, or after the time within which an effect may still land.
    fn clear(&mut self, step: &StepRef, at: &Moment) -> Result<()> {
        let boot = self.boot.clone();
        let entry = self.step_mut(step)?;
        let Some(open) = &entry.open else { return Err(illegal(format!("step `{step}` has no open attempt"))) };
        let proved = match entry.recovery(open.intent.direction) {
            RecoveryClass::FenceProbe => entry.fence > open.intent.token,
            RecoveryClass::Probe { settles_within_ms } => {
                let from = if open.at.boot == at.boot {
                    Some(open.intent.deadline_mono_ns)
                } else {
                    // The deadline was on another clock: the whole wait begins anew with the boot.
                    let start = boot.filter(|start| start.boot == at.boot).map(|start| start.mono_ns);
                    start.map(|ns| ns.saturating_add(entry.timeout_ms.saturating_mul(1_000_000)))
                };
                let settled = |ns: u64| ns.saturating_add(settles_within_ms.saturating_mul(1_000_000));
                from.map(settled).is_some_and(|settled| at.mono_ns > settled)
            }
            RecoveryClass::Keyed | RecoveryClass::Blind => false,
        };
        if !proved {
            return Err(illegal(format!("step `{step}`: nothing proves that its attempts had no effect")));
        }
        entry.unresolved.clear();
        Ok(())
    }

    /// Closed incidents leave the state, but a step that waits for a person stays, and so does its lock.
    fn forget(&mut self, incident: &IncidentId) {
        self.suspects.remove(incident);
        for id in self.plans_of.get(incident).cloned().unwrap_or_default() {
            if let Some(plan) = self.plans.get_mut(&id) {
                plan.closed = true;
            }
            self.forget_plan(&id);
        }
    }

    /// A plan leaves with its incident, as soon as none of its steps waits for a person.
    fn forget_plan(&mut self, id: &PlanId) {
        let Some(plan) = self.plans.get(id).filter(|plan| plan.closed && !plan.needs_somebody()) else { return };
        let incident = plan.incident.clone();
        self.plans.remove(id);
        if let Some(plans) = self.plans_of.get_mut(&incident) {
            plans.remove(id);
            if plans.is_empty() {
                self.plans_of.remove(&incident);
            }
        }
    }

    fn step_mut(&mut self, step: &StepRef) -> Result<&mut StepEntry> {
        self.plans
            .get_mut(&step.plan)
            .and_then(|plan| plan.steps.get_mut(&step.step))
            .ok_or_else(|| illegal(format!("no step is named `{step}`")))
    }

    fn move_step(&mut self, step: &StepRef, from: StepState, to: StepState, at: &Moment) -> Result<()> {
        let by_word = self.word.take_if(|word| word == step).is_some() && from.may_move_by_word(to);
        let Some(plan) = self.plans.get_mut(&step.plan) else {
            return Err(illegal(format!("no step is named `{step}`")));
        };
        let built_on = plan.built_on(&step.step).first().map(|other| (*other).clone());
        let Some(entry) = plan.steps.get_mut(&step.step) else {
            return Err(illegal(format!("no step is named `{step}`")));
        };
        if entry.state != from || !(by_word || from.may_move_to(to)) {
            return Err(illegal(format!("step `{step}` is {}, it cannot go from {from} to {to}", entry.state)));
        }
        if by_word {
            entry.attempt_is_over(step, at)?;
        } else {
            entry.claim_is_proved(step, to)?;
        }
        if let Some(other) = built_on.filter(|_| to == StepState::Compensating) {
            return Err(illegal(format!("step `{step}` cannot be taken back: `{other}` was built on it")));
        }
        entry.state = to;
        if by_word && to == StepState::Done {
            // INVARIANT (a person's word is the last): what they left in place is not taken back by itself.
            entry.inverse = None;
        }
        if from.is_in_flight() {
            entry.open = None;
            entry.unresolved.clear();
        }
        if to == StepState::Compensating {
            // A step that was done has let its target go; taking it back needs the target again.
            self.lock(step);
        }
        self.release(step);
        if by_word {
            self.forget_plan(&step.plan);
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
            GateFact::Claimed { epoch, journal, .. } => {
                self.word = None;
                if *self.journal.get_or_insert(*journal) != *journal {
                    return Err(illegal(format!("the records of journal {journal} stand in another")));
                }
                if *epoch < self.epoch {
                    return Err(illegal(format!("epoch {epoch} comes after epoch {}", self.epoch)));
                }
                self.epoch = *epoch;
                self.enter_boot(at);
            }
            GateFact::Intent(intent) => self.intend(intent, at)?,
            GateFact::Refused { .. } | GateFact::Checkpoint(_) => {}
            GateFact::Fenced(fenced) => {
                self.raise_token(fenced.token)?;
                if let Ok(entry) = self.step_mut(&fenced.step) {
                    entry.fence = fenced.token;
                }
            }
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
        // INVARIANT (no attempt on an unresolved one): only a key makes a repetition harmless; every other class, and a blind step
        // above all, is sent again only when every attempt before is known to have had no effect.
        let repeats = entry.unresolved.is_empty() || entry.recovery(intent.direction) == RecoveryClass::Keyed;
        let (before, fits) = match intent.direction {
            Direction::Do => {
                (entry.do_attempts, entry.state == StepState::Ready || (entry.state == StepState::Intent && repeats))
            }
            Direction::Undo => (entry.undo_attempts, entry.state == StepState::Compensating && repeats),
        };
        if !fits || Some(intent.attempt) != before.checked_add(1) {
            let message =
                format!("step `{}` is {}, attempt {} cannot follow", intent.step, entry.state, intent.attempt);
            return Err(illegal(message));
        }
        entry.open = Some(OpenAttempt { intent: intent.clone(), at: at.clone() });
        entry.unresolved.insert(intent.attempt);
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
    fn carried(step: &CarriedStep) -> Self {
        Self { state: StepState::Unknown, ..Self::before(step.call.clone(), step.terms.clone(), Vec::new(), 0) }
    }

    fn new(plan: &PlanDraft, step: &Step, terms: &StepTerms) -> Self {
        let after = plan.prerequisites(step).cloned().collect();
        Self::before(step.call.clone(), terms.clone(), after, step.timeout_ms)
    }

    fn before(call: Call, terms: StepTerms, after: Vec<StepId>, timeout_ms: u64) -> Self {
        Self {
            terms,
            call,
            after,
            timeout_ms,
            state: StepState::Planned,
            decision: None,
            expected: None,
            undo: None,
            covers: None,
            delivered: None,
            approvals: Vec::new(),
            spent: false,
            inverse: None,
            do_attempts: 0,
            undo_attempts: 0,
            open: None,
            unresolved: BTreeSet::new(),
            fence: 0,
            after_state: None,
        }
    }

    /// What can be known of a lost attempt in that direction.
    #[must_use]
    pub const fn recovery(&self, direction: Direction) -> RecoveryClass {
        match direction {
            Direction::Do => self.terms.recovery,
            Direction::Undo => self.terms.undo_recovery,
        }
    }

    /// Whether its effect is in place, may be, or is under way. What only gathers evidence, and what passes by itself once it is
    /// done, is not.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        match self.state {
            StepState::Intent
            | StepState::Applied
            | StepState::Verifying
            | StepState::Compensating
            | StepState::Unknown
            | StepState::RollbackFailed => true,
            StepState::Done => self.terms.changes_target && self.terms.reversibility != Reversibility::Transient,
            StepState::Planned
            | StepState::AwaitingApproval
            | StepState::Ready
            | StepState::Denied
            | StepState::Expired
            | StepState::Cancelled
            | StepState::NotApplied
            | StepState::RolledBack => false,
        }
    }

    /// INVARIANT (no claim without proof): "not applied" needs every attempt resolved; "applied" and "rolled back" need one that may
    /// have had its effect.
    fn claim_is_proved(&self, step: &StepRef, to: StepState) -> Result<()> {
        let proved = match (self.state, to) {
            (StepState::Intent, StepState::NotApplied) => self.unresolved.is_empty(),
            (StepState::Intent, StepState::Applied) | (StepState::Compensating, StepState::RolledBack) => {
                !self.unresolved.is_empty()
            }
            _ => true,
        };
        if proved {
            return Ok(());
        }
        let n = self.unresolved.len();
        Err(illegal(format!("step `{step}` cannot be {to}: {n} of its attempts may have had an effect")))
    }

    /// A person's word counts once no byte of an attempt can go out any more.
    fn attempt_is_over(&self, step: &StepRef, now: &Moment) -> Result<()> {
        let under_way = self.open.as_ref().is_some_and(|open| {
            !self.unresolved.is_empty() && open.at.boot == now.boot && now.mono_ns < open.intent.deadline_mono_ns
        });
        if under_way { Err(illegal(format!("an attempt of step `{step}` is under way"))) } else { Ok(()) }
    }

    /// The people whose approval of just what `covers` stands for still holds at `now`.
    pub fn approvers<'a>(&'a self, covers: &'a Digest, now: &'a Moment) -> impl Iterator<Item = &'a Person> + Clone {
        let expires_ms = self.decision.as_ref().map_or(0, |(decision, _)| decision.approval_expires_ms);
        self.approvals
            .iter()
            .filter(move |(approved, at)| {
                // An end that cannot be proved still ahead has come: another boot, no approval.
                let age = now.mono_since(at);
                approved.covers == *covers && age.is_some_and(|ns| ns < expires_ms.saturating_mul(1_000_000))
            })
            .map(|(approved, _)| &approved.by)
    }
}

/// The steps of a plan before anything happened to them.
fn steps_of(plan: &PlanDraft, terms: &[StepTerms]) -> Result<BTreeMap<StepId, StepEntry>> {
    let mut steps = BTreeMap::new();
    for (step, terms) in plan.steps.iter().zip(terms) {
        let fits = terms.step == step.id;
        if !fits || steps.insert(step.id.clone(), StepEntry::new(plan, step, terms)).is_some() {
            return Err(illegal(format!("plan `{}` and its terms do not fit", plan.id)));
        }
    }
    if steps.len() != plan.steps.len() || terms.len() != plan.steps.len() {
        return Err(illegal(format!("plan `{}` and its terms do not fit", plan.id)));
    }
    Ok(steps)
}
