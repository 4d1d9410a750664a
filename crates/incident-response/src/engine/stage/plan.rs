//! Plans: checked, begun step by step, stopped where a step fails.

use ir_core::journal::{Fact, StepTerms};
use ir_core::{
    IncidentId, IncidentState, Plan, PlanDraft, Planned, RecoveryClass, Reversibility, Step, StepRef, StepState,
};

use crate::engine::command::Command;
use crate::engine::machine::{Machine, PlanRun};
use crate::engine::timer::TimerKey;

impl Machine {
    /// Takes the first plan that passes all checks.
    pub(crate) fn on_planned(&mut self, id: &IncidentId, planned: &Planned) {
        let ordered = self.incidents.get_mut(id).and_then(|run| run.ordered.take());
        if planned.drafts.is_empty() {
            let because = match &ordered {
                Some(name) => {
                    format!("playbook `{name}` makes no plan: it is not known, or lacks an action or a target")
                }
                None => "no planner proposed anything".to_owned(),
            };
            return self.hand_over(id, because);
        }
        for draft in &planned.drafts {
            if self.accept(id, draft.clone()) {
                return;
            }
        }
        self.hand_over(id, "no plan passed the checks");
    }

    /// Checks a draft and, when it passes, begins it. Says whether it did.
    pub(crate) fn accept(&mut self, id: &IncidentId, draft: PlanDraft) -> bool {
        let Some(config) = &self.config else { return false };
        let (name, of) = (draft.id.clone(), draft.incident.clone());
        let mut problems: Vec<String> = Vec::new();
        if of != *id {
            problems.push(format!("it is for incident `{of}`"));
        }
        if self.kernel.plan(&name).is_some() {
            problems.push(format!("a plan is named `{name}` already"));
        }
        let checked = Plan::check(draft, &config.catalogue, &config.topology)
            .map_err(|error| problems.extend(error.problems().iter().map(ToString::to_string)))
            .ok()
            .and_then(|plan| {
                let terms = plan.steps.iter().map(|step| self.terms(step)).collect::<Option<Vec<_>>>()?;
                let digest = plan.digest().map_err(|error| problems.push(error.to_string())).ok()?;
                Some((plan, digest, terms))
            });
        let Some((plan, digest, terms)) = checked.filter(|_| problems.is_empty()) else {
            self.fact(Fact::PlanRejected { plan: name, problems });
            return false;
        };
        self.fact(Fact::PlanAccepted { plan: plan.clone().into_draft(), digest, terms });
        if let Some(run) = self.incidents.get_mut(id) {
            let leader = run.hypothesis.as_ref().and_then(|h| h.leading()).map(|cause| cause.entity.clone());
            let class = run.incident.classification.as_ref().map(|found| found.class.clone());
            run.run = Some(PlanRun { made_for: leader.zip(class), ..PlanRun::new(plan) });
        }
        self.move_incident(id, IncidentState::Responding, format!("plan `{name}` was accepted"));
        self.advance(id);
        true
    }

    pub(crate) fn terms(&self, step: &Step) -> Option<StepTerms> {
        let config = self.config.as_ref()?;
        let spec = config.catalogue.action(&step.call.action)?;
        let entity = config.topology.entity(&step.call.target)?;
        let undo_recovery = match &spec.reversibility {
            Reversibility::Undo { action } => config.catalogue.action(action)?.recovery,
            Reversibility::Transient | Reversibility::Irreversible => RecoveryClass::Blind,
        };
        Some(StepTerms {
            step: step.id.clone(),
            recovery: spec.recovery,
            undo_recovery,
            reversibility: spec.reversibility.clone(),
            risk: spec.risk,
            changes_target: spec.changes_target,
            environment: entity.environment.clone(),
            group: entity.group.clone(),
            group_size: u32::try_from(config.topology.group_size(entity)).unwrap_or(u32::MAX),
            protected: entity.protected,
        })
    }

    /// Begins every step that may begin now; ends the plan when nothing is left to do.
    pub(crate) fn advance(&mut self, id: &IncidentId) {
        let Some(run) = self.incidents.get(id).and_then(|run| run.run.as_ref()) else { return };
        let plan = run.plan.id.clone();
        let failing = run.failing.is_some();
        let Some(entry) = self.kernel.plan(&plan) else { return };
        let state_of = |step| entry.steps.get(step).map(|s| s.state);
        let begin: Vec<(StepRef, ir_core::Call)> = run
            .plan
            .steps
            .iter()
            .filter(|step| !failing && state_of(&step.id) == Some(StepState::Planned))
            .filter(|step| run.plan.prerequisites(step).all(|before| state_of(before) == Some(StepState::Done)))
            .map(|step| (StepRef { plan: plan.clone(), step: step.id.clone() }, step.call.clone()))
            .filter(|(step, _)| !self.timers.runs(&TimerKey::Retry(step.clone())))
            .collect();
        let all_over = entry.steps.values().all(|step| step.state.is_terminal());
        for (step, call) in begin {
            if !self.waits_for(&step, |c| matches!(c, Command::Preview { .. })) {
                self.command(Command::Preview { step, call });
            }
        }
        if all_over {
            self.finish_plan(id);
        }
    }

    /// A step ended in a way that the plan cannot go on from: nothing further begins, what was done is taken back in reverse.
    pub(crate) fn fail_plan(&mut self, step: &StepRef, because: impl Into<String>) {
        let Some(id) = self.incident_of(step) else { return };
        let because = because.into();
        let mut left_to_a_person = false;
        if let Some(run) = self.run_of(step) {
            run.failing.get_or_insert_with(|| because.clone());
            // Who took it over without asking for the undo wants it left as it is.
            left_to_a_person = run.overridden && !run.taking_back;
            run.taking_back |= !left_to_a_person;
        }
        self.cancel_unsent(&id, &because);
        if left_to_a_person {
            self.leave_as_it_is(&id, &because);
        } else {
            self.undo_all(&id, &because);
        }
        self.advance(&id);
    }

    pub(crate) fn leave_as_it_is(&mut self, id: &IncidentId, because: &str) {
        for (step, state) in self.steps_of(id) {
            if matches!(state, StepState::Applied | StepState::Verifying) {
                self.forget_step(&step);
                self.move_step(
                    &step,
                    StepState::Done,
                    format!("{because}; a person has it and wanted nothing taken back"),
                );
            }
        }
    }

    /// Cancels every step that was not sent.
    pub(crate) fn cancel_unsent(&mut self, id: &IncidentId, because: &str) {
        for (step, state) in self.steps_of(id) {
            if matches!(state, StepState::Planned | StepState::AwaitingApproval | StepState::Ready) {
                self.move_step(&step, StepState::Cancelled, because);
                self.forget_step(&step);
            }
        }
    }

    /// The steps of the incident's plan and where they stand, in the order of the plan.
    pub(crate) fn steps_of(&self, id: &IncidentId) -> Vec<(StepRef, StepState)> {
        let Some(run) = self.incidents.get(id).and_then(|run| run.run.as_ref()) else { return Vec::new() };
        let plan = run.plan.id.clone();
        run.plan
            .steps
            .iter()
            .filter_map(|step| {
                let step = StepRef { plan: plan.clone(), step: step.id.clone() };
                let state = self.kernel.step(&step)?.state;
                Some((step, state))
            })
            .collect()
    }

    pub(crate) fn move_step(&mut self, step: &StepRef, to: StepState, because: impl Into<String>) {
        let Some(from) = self.kernel.step(step).map(|entry| entry.state) else { return };
        self.fact(Fact::StepMoved { step: step.clone(), from, to, because: because.into() });
        // INVARIANT (nothing is left of what is over): no request, timer or answer of it can be met later.
        if to.is_terminal() {
            self.forget_step(step);
        }
    }

    /// Timers and questions of a step that is over.
    pub(crate) fn forget_step(&mut self, step: &StepRef) {
        use TimerKey as Key;
        for key in [Key::Approval, Key::Ask, Key::Retry, Key::Deadline, Key::Probe, Key::Verify, Key::VerifyEnd] {
            self.timers.stop(&key(step.clone()));
        }
        if let Some(run) = self.run_of(step) {
            run.asks.remove(&step.step);
            run.delays.remove(&step.step);
        }
        self.forget_commands(step, |_| true);
    }
}
