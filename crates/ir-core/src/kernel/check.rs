//! Whether a step may be sent now. Pure, and complete: every reason against it is given.

use super::limits;
use super::state::{PlanEntry, State, StepEntry};
use super::step::StepState;
use crate::decision::{AutonomyTier, Verdict, covered};
use crate::execution::{Direction, EffectKey, Precondition, RecoveryClass, Reversibility};
use crate::id::{Digest, StepRef};
use crate::journal::{Intent, Refusal};
use crate::time::Moment;

/// What the gate is asked to authorize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizeRequest {
    /// The step.
    pub step: StepRef,
    /// Do or undo.
    pub direction: Direction,
    /// The target's state, read right before.
    pub precondition: Precondition,
}

#[derive(Default)]
struct Refusals(Vec<Refusal>);

impl Refusals {
    fn add(&mut self, rule: &str, because: impl Into<String>) {
        self.0.push(Refusal { rule: rule.to_owned(), because: because.into() });
    }

    fn unless(&mut self, holds: bool, rule: &str, because: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, because());
        }
    }
}

/// The intention, if nothing speaks against it.
///
/// # Errors
///
/// Every reason against it, never an empty list.
pub fn check(state: &State, request: &AuthorizeRequest, now: &Moment) -> Result<Intent, Vec<Refusal>> {
    let mut refusals = Refusals::default();
    if let Some(halted) = state.halted() {
        refusals.add("halted", format!("halted by {}: {}", halted.by, halted.reason));
    }
    let Some((plan, step)) =
        state.plan(&request.step.plan).and_then(|plan| Some((plan, plan.steps.get(&request.step.step)?)))
    else {
        refusals.add("unknown_step", format!("no step is named `{}`", request.step));
        return Err(refusals.0);
    };
    let intent = match request.direction {
        Direction::Do => check_do(state, plan, step, request, now, &mut refusals),
        Direction::Undo => check_undo(state, plan, step, request, now, &mut refusals),
    };
    match intent {
        Some(intent) if refusals.0.is_empty() => Ok(intent),
        _ => {
            if refusals.0.is_empty() {
                refusals.add("state", "the step is in no state to be sent");
            }
            Err(refusals.0)
        }
    }
}

/// What already speaks against doing `step`, whoever approves it: limits, locks, and the caps on its plan. Asked before people are,
/// so that nobody approves what would be refused. Empty when nothing does, or when the step is not known.
#[must_use]
pub fn prospects(state: &State, step: &StepRef, now: &Moment) -> Vec<Refusal> {
    let mut refusals = Refusals::default();
    let Some(plan) = state.plan(&step.plan) else { return refusals.0 };
    let Some(entry) = plan.steps.get(&step.step) else { return refusals.0 };
    check_cap(plan, entry, &mut refusals);
    check_undoable(entry, &mut refusals);
    refusals.0.extend(limits::check(state, &step.plan, entry, now));
    refusals.0
}

fn check_do(
    state: &State,
    plan: &PlanEntry,
    step: &StepEntry,
    request: &AuthorizeRequest,
    now: &Moment,
    refusals: &mut Refusals,
) -> Option<Intent> {
    let again = match step.state {
        StepState::Ready => false,
        StepState::Intent if may_repeat(step, Direction::Do) => true,
        other => {
            refusals.add("state", format!("the step is {other}"));
            return None;
        }
    };
    for before in &step.after {
        let done = plan.steps.get(before).is_some_and(|entry| entry.state == StepState::Done);
        refusals.unless(done, "order", || format!("step `{before}` is not done"));
    }
    let tier = check_decision(plan, step, now, again, refusals);
    // Behind an attempt that may have had its effect the target may be in the middle of a change; in every other case it must
    // be as it was when this was decided.
    let settled = step.unresolved.is_empty();
    refusals.unless(!settled || step.expected == Some(request.precondition.state), "precondition_changed", || {
        format!("`{}` is no longer as it was when this was decided", step.call.target)
    });
    if !again {
        refusals.0.extend(limits::check(state, &request.step.plan, step, now));
        check_undoable(step, refusals);
    }
    check_age(state, request, now, refusals);
    let attempt = step.do_attempts + 1;
    refusals
        .unless(attempt <= state.limits().attempts, "attempts", || format!("it was sent {} times", step.do_attempts));

    Some(Intent {
        step: request.step.clone(),
        direction: Direction::Do,
        attempt,
        token: state.next_token(),
        key: EffectKey::of(state.journal().unwrap_or(Digest::ZERO), plan.digest, &request.step, Direction::Do),
        call: step.call.clone(),
        deadline_mono_ns: deadline(now, step),
        inverse: if again { step.inverse.clone() } else { step.undo.clone() },
        precondition: request.precondition.clone(),
        tier: tier?,
        spends: if again { Vec::new() } else { names(step, step.covers.as_ref(), now) },
        epoch: state.epoch(),
        halt_epoch: state.halt_epoch(),
    })
}

/// The people whose approval of just that still holds.
fn names(step: &StepEntry, covers: Option<&Digest>, now: &Moment) -> Vec<String> {
    covers.map(|covers| step.approvers(covers, now).map(|p| p.name.clone()).collect()).unwrap_or_default()
}

fn check_cap(plan: &PlanEntry, step: &StepEntry, refusals: &mut Refusals) {
    let Some((decision, _)) = &step.decision else { return };
    let cap = plan.provenance.cap();
    refusals.unless(decision.tier <= cap, "tier_cap", || {
        format!("tier {} is above {cap}, the most that a plan by {} may have", decision.tier, plan.provenance)
    });
}

fn check_undoable(step: &StepEntry, refusals: &mut Refusals) {
    let fits = !matches!(step.terms.reversibility, Reversibility::Undo { .. }) || step.undo.is_some();
    refusals.unless(fits, "no_undo", || "the executor did not say how to take it back".to_owned());
}

fn check_age(state: &State, request: &AuthorizeRequest, now: &Moment, refusals: &mut Refusals) {
    let max_age = state.limits().precondition_age_ms.saturating_mul(1_000_000);
    let fresh = now.mono_since(&request.precondition.read).is_some_and(|age| age <= max_age);
    refusals.unless(fresh, "precondition_age", || "the precondition was not read just before".to_owned());
}

/// The tier under which the step may be sent, if the latest decision allows it.
fn check_decision(
    plan: &PlanEntry,
    step: &StepEntry,
    now: &Moment,
    again: bool,
    refusals: &mut Refusals,
) -> Option<AutonomyTier> {
    let Some((decision, _)) = &step.decision else {
        refusals.add("undecided", "nothing was decided about it");
        return None;
    };
    refusals.unless(decision.plan_digest == plan.digest, "plan_changed", || "another plan was decided".to_owned());
    check_cap(plan, step, refusals);
    let people: Vec<_> = step.covers.iter().flat_map(|covers| step.approvers(covers, now)).collect();
    match &decision.verdict {
        Verdict::Allow => {
            refusals.unless(decision.tier >= AutonomyTier::Veto, "tier", || {
                format!("tier {} does not act without approval", decision.tier)
            });
            if decision.tier == AutonomyTier::Veto && !again {
                let window = decision.veto_ms.unwrap_or(u64::MAX).saturating_mul(1_000_000);
                // It runs from the first proved delivery of just this request. Who was never reached could not object.
                let over = step.delivered.as_ref().and_then(|at| now.mono_since(at)).is_some_and(|age| age >= window);
                refusals.unless(over, "veto_window", || match step.delivered {
                    Some(_) => "people may still object".to_owned(),
                    None => "nobody was reached who could object".to_owned(),
                });
            }
        }
        Verdict::RequireApproval { quorum } => {
            refusals.unless(decision.tier >= AutonomyTier::Approve, "tier", || {
                format!("tier {} does not act at all", decision.tier)
            });
            refusals.unless(again || !step.spent, "approval_spent", || "its approval was used before".to_owned());
            // What was approved and sent once may be settled by sending the same key again.
            let met = again && step.spent || quorum.is_met_by(people.iter().copied());
            refusals.unless(met, "not_approved", || format!("approval by {quorum} is missing"));
        }
        verdict @ (Verdict::Deny | Verdict::Observe | Verdict::Recommend) => {
            refusals.add("denied", format!("the decision is: {verdict}"));
        }
    }
    if !again {
        check_people(step, &people, refusals);
    }
    Some(decision.tier)
}

/// Protected targets need a person, always. Irreversible actions need two.
fn check_people(step: &StepEntry, people: &[&crate::decision::Person], refusals: &mut Refusals) {
    let distinct: std::collections::BTreeSet<&str> = people.iter().map(|p| p.name.as_str()).collect();
    let protected = step.terms.protected && step.terms.changes_target;
    refusals.unless(!protected || !distinct.is_empty(), "protected", || {
        format!("`{}` is protected: a person must approve", step.call.target)
    });
    let irreversible = step.terms.reversibility == Reversibility::Irreversible && step.terms.changes_target;
    refusals.unless(!irreversible || distinct.len() >= 2, "irreversible", || {
        "it cannot be taken back: two people must approve".to_owned()
    });
}

fn check_undo(
    state: &State,
    plan: &PlanEntry,
    step: &StepEntry,
    request: &AuthorizeRequest,
    now: &Moment,
    refusals: &mut Refusals,
) -> Option<Intent> {
    if step.state != StepState::Compensating {
        refusals.add("state", format!("the step is {}", step.state));
        return None;
    }
    refusals.unless(may_repeat(step, Direction::Undo), "state", || {
        "an attempt to take it back is not settled yet".to_owned()
    });
    for other in plan.built_on(&request.step.step) {
        refusals.add("built_on", format!("step `{other}`, which was built on it, is in place or in flight"));
    }
    let Some(inverse) = step.inverse.clone() else {
        refusals.add("no_undo", "there is no way to take it back");
        return None;
    };
    // A target that is free is taken by the same record.
    let holder = state.lock_of(&step.call.target);
    refusals.unless(holder.is_none_or(|plan| *plan == request.step.plan), "locked", || {
        format!("`{}` is locked by another plan", step.call.target)
    });
    let spends = check_unchanged(plan, step, &inverse, request, now, refusals);
    check_age(state, request, now, refusals);
    let attempt = step.undo_attempts + 1;
    refusals
        .unless(attempt <= state.limits().attempts, "attempts", || format!("it was sent {} times", step.undo_attempts));
    let tier = step.decision.as_ref().map_or(AutonomyTier::Observe, |(decision, _)| decision.tier);
    Some(Intent {
        step: request.step.clone(),
        direction: Direction::Undo,
        attempt,
        token: state.next_token(),
        key: EffectKey::of(state.journal().unwrap_or(Digest::ZERO), plan.digest, &request.step, Direction::Undo),
        call: inverse,
        deadline_mono_ns: deadline(now, step),
        inverse: None,
        precondition: request.precondition.clone(),
        tier,
        spends,
        epoch: state.epoch(),
        halt_epoch: state.halt_epoch(),
    })
}

/// An undo goes out where the target is as the do left it. Where somebody else changed it, or where it is not known how the do left
/// it, a person must approve the undo of just the present state. Gives the people who did.
fn check_unchanged(
    plan: &PlanEntry,
    step: &StepEntry,
    inverse: &crate::plan::Call,
    request: &AuthorizeRequest,
    now: &Moment,
    refusals: &mut Refusals,
) -> Vec<String> {
    let state = request.precondition.state;
    // Behind an undo that may have had its effect the target may be in the middle of a change.
    if !step.unresolved.is_empty() || step.after_state == Some(state) {
        return Vec::new();
    }
    let covers = covered(&plan.digest, Direction::Undo, inverse, &state, None).ok();
    let people = names(step, covers.as_ref(), now);
    refusals.unless(!people.is_empty(), "changed_since", || match step.after_state {
        Some(_) => format!("`{}` was changed by somebody else since", step.call.target),
        None => format!("it is not known how the step left `{}`", step.call.target),
    });
    people
}

/// Whether another attempt may follow: a keyed one always, others once every attempt before is known to have had no effect.
fn may_repeat(step: &StepEntry, direction: Direction) -> bool {
    step.unresolved.is_empty() || step.recovery(direction) == RecoveryClass::Keyed
}

fn deadline(now: &Moment, step: &StepEntry) -> u64 {
    now.mono_ns.saturating_add(step.timeout_ms.saturating_mul(1_000_000))
}
