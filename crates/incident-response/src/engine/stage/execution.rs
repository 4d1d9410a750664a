//! Executions: sent, answered, or settled by the class of the action.

use std::collections::BTreeMap;

use ir_core::journal::{Fact, Intent, Refusal};
use ir_core::{
    AttemptResult, Digest, Direction, Execution, Failure, IncidentId, Pace, Probed, Recovery, RecoveryClass, StepId,
    StepRef, StepState, Tried, kernel,
};

use super::decision::passes;
use crate::engine::backoff;
use crate::engine::command::Command;
use crate::engine::machine::{Delay, ISOLATED, Machine, VerifyRun, passes_with_time};
use crate::engine::timer::TimerKey;

impl Machine {
    pub(crate) fn send_do(&mut self, step: &StepRef) {
        let Some(call) = self.kernel.step(step).map(|entry| entry.call.clone()) else { return };
        self.send(step, Direction::Do, call);
    }

    pub(crate) fn send_undo(&mut self, step: &StepRef) {
        let Some(call) = self.kernel.step(step).and_then(|entry| entry.inverse.clone()) else { return };
        self.send(step, Direction::Undo, call);
    }

    fn send(&mut self, step: &StepRef, direction: Direction, call: ir_core::Call) {
        if self.is_isolated(&step.plan) {
            return self.give_up_sending(step, ISOLATED);
        }
        if !self.waits_for(step, |c| matches!(c, Command::Send { .. })) {
            self.command(Command::Send { step: step.clone(), direction, call });
        }
    }

    /// The intention is durable and the effect is on its way, unless the permit was withheld.
    pub(crate) fn on_intent(&mut self, intent: &Intent) {
        let step = &intent.step;
        self.end_attempt(step);
        let Some(timeout_ms) = self.kernel.step(step).map(|entry| entry.timeout_ms) else { return };
        self.start_timer(TimerKey::Deadline(step.clone()), timeout_ms);
        let now = self.now.clone();
        if let Some(run) = self.run_of(step) {
            run.delays.remove(&step.step);
            if intent.direction == Direction::Do {
                run.first_effect = run.first_effect.take().or(now);
            }
        }
    }

    /// Nothing that was begun to settle or repeat an attempt goes on: the next attempt, or the step's next state, has its own.
    fn end_attempt(&mut self, step: &StepRef) {
        for key in [TimerKey::Deadline, TimerKey::Probe, TimerKey::Retry] {
            self.timers.stop(&key(step.clone()));
        }
        self.forget_commands(step, |c| matches!(c, Command::Send { .. } | Command::Probe { .. }));
    }

    pub(crate) fn on_refused(&mut self, step: &StepRef, direction: Direction, read: &Digest, refusals: &[Refusal]) {
        self.forget_commands(step, |c| matches!(c, Command::Send { direction: of, .. } if *of == direction));
        let has = |rule: &str| refusals.iter().any(|refusal| refusal.rule == rule);
        if has("halted") {
            // It stays as it is; the resume takes it up again.
            return;
        }
        let because = refusals.iter().map(|r| r.because.as_str()).collect::<Vec<_>>().join("; ");
        let passing = refusals.iter().all(passes);
        match (direction, self.kernel.step(step).map(|entry| entry.state)) {
            (Direction::Do, Some(StepState::Ready)) if has("precondition_changed") => {
                self.move_step(step, StepState::Cancelled, &because);
                self.start_over(step, &because);
            }
            (Direction::Do, Some(StepState::Ready)) => self.hold_back(step, refusals),
            (Direction::Undo, Some(StepState::Compensating)) if has("changed_since") && !has("built_on") => {
                self.ask_undo(step, read, &because);
            }
            (Direction::Do, Some(StepState::Intent)) | (Direction::Undo, Some(StepState::Compensating)) => {
                if passing {
                    self.delay(step, &because)
                } else {
                    self.give_up_sending(step, &because)
                }
            }
            _ => {}
        }
    }

    /// Waits with a growing delay for what passes with time, and says so. After `patience_ms` in all a person gets it.
    pub(crate) fn delay(&mut self, step: &StepRef, because: &str) {
        let settings = self.settings();
        let seed = TimerKey::Retry(step.clone()).text();
        let Some(run) = self.run_of(step) else { return };
        let before = run.delays.get(&step.step);
        let (times, waited_ms) = before.map_or((1, 0), |delay| (delay.times + 1, delay.total_ms));
        if waited_ms >= settings.patience_ms {
            return self.give_up_sending(step, &format!("{because}; it was waited for {} s", waited_ms / 1_000));
        }
        let retry_ms = backoff::delay_ms(&settings, &seed, times);
        let delay = Delay { because: because.to_owned(), times, total_ms: waited_ms.saturating_add(retry_ms) };
        run.delays.insert(step.step.clone(), delay);
        self.fact(Fact::StepDelayed { step: step.clone(), because: because.to_owned(), retry_ms });
        self.start_timer(TimerKey::Retry(step.clone()), retry_ms);
    }

    /// A delay is over.
    pub(crate) fn retry(&mut self, step: &StepRef) {
        match self.kernel.step(step).map(|entry| entry.state) {
            Some(state) if state.is_unsent() => self.decide_anew(step),
            // A send in recovery is a send: it is decided anew before.
            Some(StepState::Intent) if self.decide(step).is_some() => self.send_do(step),
            Some(StepState::Intent) => self.give_up_sending(step, "its action or its target is not known any more"),
            Some(StepState::Compensating) => self.send_undo(step),
            _ => {}
        }
    }

    /// A step is not sent any more. What that means depends on what was sent before: nothing, something that is known to have had
    /// no effect, or something that may have had one.
    pub(crate) fn give_up_sending(&mut self, step: &StepRef, because: &str) {
        let Some(entry) = self.kernel.step(step) else { return };
        let state = match entry.state {
            state if state.is_unsent() => {
                self.forget_step(step);
                self.move_step(step, StepState::Cancelled, because);
                return self.fail_plan(step, because);
            }
            StepState::Intent if entry.unresolved.is_empty() => StepState::NotApplied,
            StepState::Intent => StepState::Unknown,
            StepState::Compensating => StepState::RollbackFailed,
            _ => return,
        };
        let direction = if state == StepState::RollbackFailed { Direction::Undo } else { Direction::Do };
        self.give_up(step, direction, state, because);
    }

    /// What was decided on no longer holds: the plan is dropped and the cause looked for again.
    fn start_over(&mut self, step: &StepRef, because: &str) {
        let Some(id) = self.incident_of(step) else { return };
        self.cancel_unsent(&id, because);
        let done = self.steps_of(&id).iter().any(|(_, state)| *state == StepState::Done || !state.is_terminal());
        if done {
            return self.fail_plan(step, because);
        }
        if let Some(run) = self.incidents.get_mut(&id) {
            run.run = None;
        }
        self.diagnose_later(&id);
    }

    /// An attempt that was unresolved is answered.
    pub(crate) fn on_executed(&mut self, execution: &Execution) {
        let step = &execution.step;
        let open = self.kernel.step(step).and_then(|entry| entry.open.as_ref());
        let latest = open.is_some_and(|open| open.intent.attempt == execution.attempt);
        if latest {
            self.timers.stop(&TimerKey::Deadline(step.clone()));
        }
        match &execution.result {
            AttemptResult::Applied { applied } => self.applied(step, execution.direction, &applied.summary),
            // What an earlier attempt did is known now; what is under way goes on.
            _ if !latest => {}
            AttemptResult::NotApplied { failure } => self.not_applied(step, execution.direction, failure),
            AttemptResult::Unknown { failure } => self.settle(step, &failure.to_string()),
        }
    }

    fn applied(&mut self, step: &StepRef, direction: Direction, because: &str) {
        self.end_attempt(step);
        match direction {
            Direction::Do => {
                self.move_step(step, StepState::Applied, because);
                self.note_tried(step, Recovery::Unknown);
                self.after_applied(step);
            }
            Direction::Undo => {
                self.move_step(step, StepState::RolledBack, because);
                self.after_undo(step);
            }
        }
    }

    /// The latest attempt is proved to have had no effect. That says nothing of earlier ones.
    fn not_applied(&mut self, step: &StepRef, direction: Direction, failure: &Failure) {
        self.end_attempt(step);
        let Some(entry) = self.kernel.step(step) else { return };
        let in_doubt = !entry.unresolved.is_empty();
        if direction == Direction::Do && !in_doubt && !passes_with_time(failure.kind) {
            return self.give_up_sending(step, &failure.to_string());
        }
        self.again(step, &failure.to_string());
    }

    /// Measures whether it helped; takes it back when its plan failed while it was in flight.
    fn after_applied(&mut self, step: &StepRef) {
        if !self.run_of(step).is_some_and(|run| run.taking_back) {
            return self.begin_verifying(step);
        }
        let Some(id) = self.incident_of(step) else { return };
        self.undo_all(&id, "its plan failed while it was in flight");
        self.advance(&id);
    }

    fn begin_verifying(&mut self, step: &StepRef) {
        let began_mono_ns = self.mono_ns();
        let within_ms = self.planned_step(step).map_or(0, |planned| planned.verification.within_ms);
        self.move_step(step, StepState::Verifying, "whether it helped is being measured");
        if let Some(run) = self.run_of(step) {
            run.verifying.insert(
                step.step.clone(),
                VerifyRun { held_since: None, pace: Pace::default(), began_mono_ns, over: false },
            );
        }
        self.start_timer(TimerKey::VerifyEnd(step.clone()), within_ms);
        self.verify(step);
    }

    /// An attempt outlived its deadline.
    pub(crate) fn on_deadline(&mut self, step: &StepRef) {
        if self.kernel.step(step).is_some_and(|entry| entry.open.is_some()) {
            self.settle(step, "no answer before the deadline");
        }
    }

    /// What the attempts of a step did is not known: its class says how to find out.
    fn settle(&mut self, step: &StepRef, because: &str) {
        let Some(entry) = self.kernel.step(step) else { return };
        let Some(direction) = entry.open.as_ref().map(|open| open.intent.direction) else { return };
        if entry.unresolved.is_empty() {
            return self.again(step, because);
        }
        let (class, timeout_ms) = (entry.recovery(direction), entry.timeout_ms);
        self.fact(Fact::AttemptUnknown { step: step.clone(), because: because.to_owned() });
        match class {
            RecoveryClass::Keyed => self.again(step, because),
            RecoveryClass::FenceProbe => self.probe(step),
            RecoveryClass::Probe { settles_within_ms } => {
                // From the deadline on, which is at most one timeout ahead; after a restart the whole wait begins anew. At its very
                // end an effect may still land, so the probe comes after it.
                let wait_ms = timeout_ms.saturating_add(settles_within_ms).saturating_add(1);
                self.start_timer(TimerKey::Probe(step.clone()), wait_ms);
            }
            RecoveryClass::Blind => self.give_up_sending(step, because),
        }
    }

    pub(crate) fn probe(&mut self, step: &StepRef) {
        let Some(entry) = self.kernel.step(step) else { return };
        let Some(open) = &entry.open else { return };
        let class = entry.recovery(open.intent.direction);
        let command = Command::Probe {
            step: step.clone(),
            call: open.intent.call.clone(),
            key: open.intent.key,
            fence: class == RecoveryClass::FenceProbe,
        };
        if !self.waits_for(step, |c| matches!(c, Command::Probe { .. })) {
            self.command(command);
        }
    }

    pub(crate) fn on_probed(&mut self, step: &StepRef, probed: Probed, after: Option<Digest>) {
        let Some(entry) = self.kernel.step(step) else { return };
        let Some(direction) = entry.open.as_ref().map(|open| open.intent.direction) else { return };
        if entry.unresolved.is_empty() {
            return;
        }
        match probed {
            Probed::Applied => {
                let because = "a probe found the effect";
                self.fact(Fact::AttemptFound { step: step.clone(), after, because: because.to_owned() });
                self.applied(step, direction, because);
            }
            Probed::NotApplied => {
                let because = "a probe found that it had no effect";
                self.fact(Fact::AttemptCleared { step: step.clone(), because: because.to_owned() });
                self.again(step, because);
            }
            Probed::Unknown => self.give_up_sending(step, "a probe could not tell what happened"),
        }
    }

    /// Sends again after a delay, while attempts are left.
    fn again(&mut self, step: &StepRef, because: &str) {
        let Some(entry) = self.kernel.step(step) else { return };
        let sent = match entry.state {
            StepState::Intent => entry.do_attempts,
            StepState::Compensating => entry.undo_attempts,
            _ => return,
        };
        if sent >= self.kernel.limits().attempts {
            return self.give_up_sending(step, because);
        }
        let retry_ms = backoff::delay_ms(&self.settings(), &TimerKey::Retry(step.clone()).text(), sent);
        self.fact(Fact::StepDelayed { step: step.clone(), because: because.to_owned(), retry_ms });
        self.start_timer(TimerKey::Retry(step.clone()), retry_ms);
    }

    fn give_up(&mut self, step: &StepRef, direction: Direction, state: StepState, because: &str) {
        self.forget_step(step);
        self.move_step(step, state, because);
        match direction {
            Direction::Do => {
                self.note_tried(step, Recovery::Unknown);
                self.fail_plan(step, because);
            }
            Direction::Undo => self.after_undo(step),
        }
    }

    /// Takes back everything that can be, in reverse: one at a time, each after the one before is settled, and none while anything
    /// that was built on it is in place or in flight.
    pub(crate) fn undo_all(&mut self, id: &IncidentId, because: &str) {
        let undoing =
            |(step, state): &(StepRef, StepState)| *state == StepState::Compensating || self.is_isolated(&step.plan);
        if self.steps_of(id).iter().any(undoing) {
            return;
        }
        for (step, state) in self.undo_order(id) {
            let (built_on, may_go) = self.built_on(&step);
            let done = matches!(state, StepState::Applied | StepState::Verifying | StepState::Done);
            let inverse = self.kernel.step(&step).is_some_and(|entry| entry.inverse.is_some());
            let measured = matches!(state, StepState::Applied | StepState::Verifying);
            match built_on {
                // What was built on it is settled or taken back first; then this comes round again.
                Some(_) if may_go => {}
                Some(other) if measured => {
                    self.forget_step(&step);
                    self.move_step(
                        &step,
                        StepState::Done,
                        format!("{because}; it stays, because `{other}` was built on it"),
                    );
                }
                Some(_) => {}
                None if done && inverse => {
                    self.forget_step(&step);
                    self.move_step(&step, StepState::Compensating, because);
                    return self.send_undo(&step);
                }
                None if measured => {
                    self.forget_step(&step);
                    self.move_step(&step, StepState::Done, format!("{because}; there is nothing to take back"));
                }
                None => {}
            }
        }
    }

    /// A step that was built on this one and is in place or in flight, and whether all such steps may still go away by themselves.
    fn built_on(&self, step: &StepRef) -> (Option<StepId>, bool) {
        let Some(plan) = self.kernel.plan(&step.plan) else { return (None, true) };
        let others = plan.built_on(&step.step);
        let may_go = others.iter().filter_map(|other| plan.steps.get(*other)).all(|entry| match entry.state {
            StepState::Unknown | StepState::RollbackFailed => false,
            StepState::Applied | StepState::Verifying | StepState::Done => entry.inverse.is_some(),
            _ => true,
        });
        (others.first().map(|other| (*other).clone()), may_go)
    }

    /// Who waited for another comes first, whatever order the planner listed them in.
    fn undo_order(&self, id: &IncidentId) -> Vec<(StepRef, StepState)> {
        let Some(run) = self.incidents.get(id).and_then(|run| run.run.as_ref()) else { return Vec::new() };
        let mut depths: BTreeMap<&StepId, usize> = BTreeMap::new();
        // A chain of waiting steps is no longer than the plan, so after so many rounds every depth is final.
        for _ in &run.plan.steps {
            for step in &run.plan.steps {
                let depth = step.after.iter().filter_map(|before| depths.get(before)).max().map_or(0, |n| n + 1);
                depths.insert(&step.id, depth);
            }
        }
        let mut steps = self.steps_of(id);
        steps.reverse();
        steps.sort_by_key(|(step, _)| std::cmp::Reverse(depths.get(&step.step).copied()));
        steps
    }

    fn after_undo(&mut self, step: &StepRef) {
        self.forget_step(step);
        let Some(id) = self.incident_of(step) else { return };
        let because = "an earlier step of the plan is taken back as well";
        // Who took the incident over without asking for the undo wants nothing further begun.
        if self.run_of(step).is_some_and(|run| run.taking_back) {
            self.undo_all(&id, because);
        } else {
            self.leave_as_it_is(&id, because);
        }
        self.advance(&id);
    }

    fn note_tried(&mut self, step: &StepRef, recovery: Recovery) {
        let Some(id) = self.incident_of(step) else { return };
        let Some(run) = self.incidents.get_mut(&id) else { return };
        let Some(plan) = &run.run else { return };
        let Some(planned) = plan.plan.step(&step.step) else { return };
        match run.tried.iter_mut().find(|tried| tried.call == planned.call) {
            Some(tried) => tried.recovery = recovery,
            None => {
                run.tried.push(Tried { call: planned.call.clone(), provenance: plan.plan.provenance.clone(), recovery })
            }
        }
    }

    /// A person looked and says what became of a step: one that waits for them, or one that no plan is at work on any more.
    pub(crate) fn on_settled(&mut self, step: &StepRef, by: &str, applied: bool, reason: &str) {
        let entry = self.kernel.step(step).map(|entry| (entry.state, entry.open.clone()));
        // What the engine believes of an isolated plan is wrong, so a person's word counts whatever it believes.
        let owned = self.run_of(step).is_some() && !self.is_isolated(&step.plan);
        let done = |applied: bool, otherwise: StepState| if applied { StepState::Done } else { otherwise };
        let under_way = |open: &kernel::OpenAttempt| {
            self.now.as_ref().is_some_and(|now| open.at.boot == now.boot && now.mono_ns < open.intent.deadline_mono_ns)
        };
        let to = match entry {
            _ if reason.trim().is_empty() => Err("it gives no reason".to_owned()),
            None => Err("no such step is open".to_owned()),
            Some((StepState::Unknown, _)) => Ok(done(applied, StepState::NotApplied)),
            Some((StepState::RollbackFailed, _)) => Ok(done(applied, StepState::RolledBack)),
            Some((state, _)) if state.is_terminal() => Err(format!("it is {state}, which needs nobody")),
            Some((state, _)) if owned => Err(format!("it is {state} and its plan is at work on it")),
            Some((state, _)) if state.is_unsent() => Ok(StepState::Cancelled),
            Some((_, Some(open))) if under_way(&open) => Err("an attempt is under way".to_owned()),
            Some((StepState::Intent, _)) => Ok(done(applied, StepState::NotApplied)),
            Some(_) => Ok(done(applied, StepState::RolledBack)),
        };
        match to {
            Ok(to) => self.move_step(step, to, format!("{by} says so: {reason}")),
            Err(because) => self.fact(Fact::OrderRejected { order: format!("settle {step}"), because }),
        }
    }

    /// After a resume: whatever a halt kept back is decided and sent anew.
    pub(crate) fn on_resumed(&mut self) {
        for (_, step, state) in self.waiting_steps() {
            let sent = self.waits_for(&step, |c| matches!(c, Command::Send { .. }));
            match state {
                StepState::Ready if !sent => self.decide_anew(&step),
                StepState::Compensating if !sent && !self.is_settling(&step) => self.recover_undo(&step),
                StepState::Intent if !sent && !self.is_settling(&step) => {
                    self.settle(&step, "it was kept back by a halt")
                }
                _ => {}
            }
        }
    }

    /// After a start: READY steps are decided anew, an INTENT is settled by its class, an undo is taken up again.
    pub(crate) fn recover_steps(&mut self) {
        for (_, step, state) in self.waiting_steps() {
            match state {
                StepState::Ready | StepState::AwaitingApproval => {
                    // A veto window begins anew with the next delivery; an answer to what was asked before still counts.
                    self.timers.stop(&TimerKey::Approval(step.clone()));
                    self.decide_anew(&step);
                }
                StepState::Intent => self.settle(&step, "the process ended before the answer was recorded"),
                StepState::Compensating => self.recover_undo(&step),
                StepState::Applied => self.after_applied(&step),
                _ => {}
            }
        }
    }

    /// Whether an attempt of the step is in flight, or what became of it is being found out.
    pub(crate) fn is_settling(&self, step: &StepRef) -> bool {
        let timers = [TimerKey::Deadline, TimerKey::Probe, TimerKey::Retry, TimerKey::Approval];
        timers.iter().any(|of| self.timers.runs(&of(step.clone())))
            || self.waits_for(step, |c| matches!(c, Command::Probe { .. }))
    }

    fn recover_undo(&mut self, step: &StepRef) {
        let open = self.kernel.step(step).and_then(|entry| entry.open.as_ref());
        match open {
            Some(open) if open.intent.direction == Direction::Undo => {
                self.settle(step, "the process ended before the answer was recorded");
            }
            _ => self.send_undo(step),
        }
    }
}
