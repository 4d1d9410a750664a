//! Executions: sent, answered, or settled by the class of the action.

use std::collections::BTreeMap;

use ir_core::journal::{Fact, Intent, Refusal};
use ir_core::{
    AttemptResult, Direction, Execution, Failure, IncidentId, Probed, Recovery, RecoveryClass, StepId, StepRef,
    StepState, Tried,
};

use crate::engine::command::Command;
use crate::engine::machine::{Machine, VerifyRun};
use crate::engine::timer::TimerKey;

impl Machine {
    pub(crate) fn send_do(&mut self, step: &StepRef) {
        let Some(call) = self.kernel.step(step).map(|entry| entry.call.clone()) else { return };
        self.send(step, Direction::Do, call);
    }

    fn send_undo(&mut self, step: &StepRef) {
        let Some(call) = self.kernel.step(step).and_then(|entry| entry.inverse.clone()) else { return };
        self.send(step, Direction::Undo, call);
    }

    fn send(&mut self, step: &StepRef, direction: Direction, call: ir_core::Call) {
        if !self.waits_for(|c| matches!(c, Command::Send { step: other, .. } if other == step)) {
            self.command(Command::Send { step: step.clone(), direction, call });
        }
    }

    /// The intention is durable and the effect is on its way, unless the permit was withheld.
    pub(crate) fn on_intent(&mut self, intent: &Intent) {
        let step = &intent.step;
        self.forget_commands(|c| matches!(c, Command::Send { step: other, .. } if other == step));
        let Some(timeout_ms) = self.kernel.step(step).map(|entry| entry.timeout_ms) else { return };
        self.start_timer(TimerKey::Deadline(step.clone()), timeout_ms);
        let now = self.now.clone();
        if let Some(run) = self.run_of(step)
            && intent.direction == Direction::Do
        {
            run.first_effect = run.first_effect.take().or(now);
        }
    }

    pub(crate) fn on_refused(&mut self, step: &StepRef, direction: Direction, refusals: &[Refusal]) {
        self.forget_commands(|c| matches!(c, Command::Send { step: other, .. } if other == step));
        if refusals.iter().any(|refusal| refusal.rule == "halted") {
            // It stays as it is; the resume takes it up again.
            return;
        }
        let because = refusals.iter().map(|r| r.because.as_str()).collect::<Vec<_>>().join("; ");
        match (direction, self.kernel.step(step).map(|entry| entry.state)) {
            (Direction::Do, Some(StepState::Ready)) => {
                let changed = refusals.iter().any(|refusal| refusal.rule == "precondition_changed");
                self.move_step(step, StepState::Cancelled, &because);
                if changed {
                    self.start_over(step, &because);
                } else {
                    self.fail_plan(step, because);
                }
            }
            (Direction::Do, Some(StepState::Intent)) => self.unknown(step, &because),
            (Direction::Undo, Some(StepState::Compensating)) => {
                self.move_step(step, StepState::RollbackFailed, because);
                self.after_undo(step);
            }
            _ => {}
        }
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

    /// Reading the target right before failed: nothing was sent.
    pub(crate) fn on_unsent(&mut self, step: &StepRef, direction: Direction, failure: &Failure) {
        let because = format!("its target could not be read right before: {failure}");
        match (direction, self.kernel.step(step).map(|entry| entry.state)) {
            (Direction::Do, Some(StepState::Ready)) => {
                self.move_step(step, StepState::Cancelled, &because);
                self.fail_plan(step, because);
            }
            (Direction::Do, Some(StepState::Intent)) => self.unknown(step, &because),
            (Direction::Undo, Some(StepState::Compensating)) => {
                self.move_step(step, StepState::RollbackFailed, because);
                self.after_undo(step);
            }
            _ => {}
        }
    }

    /// An attempt ended. A late answer, or one of another attempt, is an observation and changes nothing.
    pub(crate) fn on_executed(&mut self, execution: &Execution) {
        let step = &execution.step;
        let open = self.kernel.step(step).and_then(|entry| entry.open.as_ref());
        let current = open.is_some_and(|open| {
            open.intent.direction == execution.direction && open.intent.attempt == execution.attempt && !open.cleared
        });
        if !current {
            return;
        }
        self.timers.stop(&TimerKey::Deadline(step.clone()));
        match (&execution.result, execution.direction) {
            (AttemptResult::Applied { applied }, direction) => self.applied(step, direction, &applied.summary),
            (AttemptResult::NotApplied { failure }, direction) => {
                self.not_applied(step, direction, &failure.to_string())
            }
            (AttemptResult::Unknown { failure }, _) => self.settle(step, &failure.to_string()),
        }
    }

    fn applied(&mut self, step: &StepRef, direction: Direction, because: &str) {
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

    fn not_applied(&mut self, step: &StepRef, direction: Direction, because: &str) {
        match direction {
            Direction::Do => {
                self.note_tried(step, Recovery::NotRecovered);
                self.move_step(step, StepState::NotApplied, because);
                self.fail_plan(step, because);
            }
            Direction::Undo => self.again_or(step, Direction::Undo, because, StepState::RollbackFailed),
        }
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
        let applied = self.wall();
        let within_ms = self.planned_step(step).map_or(0, |planned| planned.verification.within_ms);
        self.move_step(step, StepState::Verifying, "whether it helped is being measured");
        if let Some(run) = self.run_of(step) {
            run.verifying.insert(step.step.clone(), VerifyRun { applied, held_since_mono_ns: None, over: false });
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

    /// Nobody knows what an attempt did: its class says how to find out.
    fn settle(&mut self, step: &StepRef, because: &str) {
        let Some(entry) = self.kernel.step(step) else { return };
        let Some(direction) = entry.open.as_ref().map(|open| open.intent.direction) else { return };
        let class = match direction {
            Direction::Do => entry.terms.recovery,
            Direction::Undo => entry.terms.undo_recovery,
        };
        let timeout_ms = entry.timeout_ms;
        self.fact(Fact::AttemptUnknown { step: step.clone(), because: because.to_owned() });
        match class {
            RecoveryClass::Keyed => self.again_or(step, direction, because, unknown_state(direction)),
            RecoveryClass::FenceProbe => self.probe(step),
            RecoveryClass::Probe { settles_within_ms } => {
                // From the deadline on, which is at most one timeout ahead; after a restart the whole wait begins anew.
                self.start_timer(TimerKey::Probe(step.clone()), timeout_ms.saturating_add(settles_within_ms));
            }
            RecoveryClass::Blind => self.unknown(step, because),
        }
    }

    pub(crate) fn probe(&mut self, step: &StepRef) {
        let Some(entry) = self.kernel.step(step) else { return };
        let Some(open) = &entry.open else { return };
        let class = match open.intent.direction {
            Direction::Do => entry.terms.recovery,
            Direction::Undo => entry.terms.undo_recovery,
        };
        let command = Command::Probe {
            step: step.clone(),
            call: open.intent.call.clone(),
            key: open.intent.key,
            fence: class == RecoveryClass::FenceProbe,
        };
        if !self.waits_for(|c| matches!(c, Command::Probe { step: other, .. } if other == step)) {
            self.command(command);
        }
    }

    pub(crate) fn on_probed(&mut self, step: &StepRef, probed: Probed) {
        let open = self.kernel.step(step).and_then(|entry| entry.open.as_ref());
        let Some(direction) = open.map(|open| open.intent.direction) else { return };
        match probed {
            Probed::Applied => self.applied(step, direction, "a probe found the effect"),
            Probed::NotApplied => {
                let because = "a probe found that it had no effect";
                self.fact(Fact::AttemptCleared { step: step.clone(), because: because.to_owned() });
                let otherwise = match direction {
                    Direction::Do => StepState::NotApplied,
                    Direction::Undo => StepState::RollbackFailed,
                };
                self.again_or(step, direction, because, otherwise);
            }
            Probed::Unknown => self.unknown(step, "a probe could not tell what happened"),
        }
    }

    /// Sends again while attempts are left. A send in recovery is a send: it is decided anew before.
    fn again_or(&mut self, step: &StepRef, direction: Direction, because: &str, otherwise: StepState) {
        let Some(entry) = self.kernel.step(step) else { return };
        let sent = match direction {
            Direction::Do => entry.do_attempts,
            Direction::Undo => entry.undo_attempts,
        };
        if sent < self.kernel.limits().attempts {
            return match direction {
                Direction::Do if self.decide(step).is_some() => self.send_do(step),
                Direction::Do => self.unknown(step, "its action or its target is not known any more"),
                Direction::Undo => {
                    if self.kernel.step(step).is_some_and(|entry| entry.open.as_ref().is_some_and(|open| !open.cleared))
                    {
                        let because = because.to_owned();
                        self.fact(Fact::AttemptCleared { step: step.clone(), because });
                    }
                    self.send_undo(step);
                }
            };
        }
        self.give_up(step, direction, otherwise, because);
    }

    fn unknown(&mut self, step: &StepRef, because: &str) {
        let open = self.kernel.step(step).and_then(|entry| entry.open.as_ref());
        let direction = open.map_or(Direction::Do, |open| open.intent.direction);
        self.give_up(step, direction, unknown_state(direction), because);
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

    /// Takes back everything that can be, in reverse: one at a time, each after the one before is settled.
    pub(crate) fn undo_all(&mut self, id: &IncidentId, because: &str) {
        if self.steps_of(id).iter().any(|(_, state)| *state == StepState::Compensating) {
            return;
        }
        for (step, state) in self.undo_order(id) {
            let done = matches!(state, StepState::Applied | StepState::Verifying | StepState::Done);
            let inverse = self.kernel.step(&step).is_some_and(|entry| entry.inverse.is_some());
            if done && inverse {
                self.forget_step(&step);
                self.move_step(&step, StepState::Compensating, because);
                return self.send_undo(&step);
            }
            if matches!(state, StepState::Applied | StepState::Verifying) {
                self.forget_step(&step);
                self.move_step(&step, StepState::Done, format!("{because}; there is nothing to take back"));
            }
        }
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
        self.undo_all(&id, "an earlier step of the plan is taken back as well");
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

    /// A person looked and says what became of a step that waited for one.
    pub(crate) fn on_settled(&mut self, step: &StepRef, by: &str, applied: bool, reason: &str) {
        let state = self.kernel.step(step).map(|entry| entry.state);
        let to = match (state, applied) {
            (Some(StepState::Unknown | StepState::RollbackFailed), true) => StepState::Done,
            (Some(StepState::Unknown), false) => StepState::NotApplied,
            (Some(StepState::RollbackFailed), false) => StepState::RolledBack,
            _ => return self.degraded("settling a step", format!("`{step}` waits for nobody")),
        };
        self.move_step(step, to, format!("{by} says so: {reason}"));
    }

    /// After a resume: whatever a halt kept back is decided and sent anew.
    pub(crate) fn on_resumed(&mut self) {
        for (_, step, state) in self.waiting_steps() {
            let sent = self.waits_for(|c| matches!(c, Command::Send { step: other, .. } if *other == step));
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
                StepState::Ready | StepState::AwaitingApproval => self.decide_anew(&step),
                StepState::Intent => self.settle(&step, "the process ended before the answer was recorded"),
                StepState::Compensating => self.recover_undo(&step),
                StepState::Applied => self.after_applied(&step),
                _ => {}
            }
        }
    }

    /// Whether an attempt of the step is in flight, or what became of it is being found out.
    fn is_settling(&self, step: &StepRef) -> bool {
        self.timers.runs(&TimerKey::Deadline(step.clone()))
            || self.timers.runs(&TimerKey::Probe(step.clone()))
            || self.waits_for(|c| matches!(c, Command::Probe { step: other, .. } if other == step))
    }

    fn recover_undo(&mut self, step: &StepRef) {
        let open = self.kernel.step(step).and_then(|entry| entry.open.as_ref());
        match open {
            Some(open) if open.intent.direction == Direction::Undo && !open.cleared => {
                self.settle(step, "the process ended before the answer was recorded");
            }
            _ => self.send_undo(step),
        }
    }
}

const fn unknown_state(direction: Direction) -> StepState {
    match direction {
        Direction::Do => StepState::Unknown,
        Direction::Undo => StepState::RollbackFailed,
    }
}
