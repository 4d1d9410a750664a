//! Decisions: the policy about every step, people where it wants them.

use ir_core::journal::{Approved, Fact};
use ir_core::{
    Answer, ApprovalAnswer, ApprovalId, ApprovalRequest, AutonomyTier, Call, Decision, Failure, IncidentId, PlanId,
    Preview, Quorum, Reversibility, StepChange, StepRef, StepState, Verdict,
};
use ir_plan::decision::DecisionInput;

use crate::engine::command::Command;
use crate::engine::machine::Machine;
use crate::engine::timer::TimerKey;

impl Machine {
    /// The target was looked at: the step can be decided.
    pub(crate) fn on_previewed(&mut self, step: &StepRef, preview: &Preview) {
        let mut preview = preview.clone();
        if preview.undo.is_none() {
            preview.undo = self.planned_step(step).and_then(|planned| planned.undo.clone());
        }
        preview.undo = match self.checked_undo(step, preview.undo) {
            Ok(undo) => undo,
            Err(because) => {
                self.move_step(step, StepState::Cancelled, &because);
                return self.fail_plan(step, because);
            }
        };
        if let Some(run) = self.run_of(step) {
            run.previews.insert(step.step.clone(), preview.clone());
        }
        self.fact(Fact::StepPreviewed { step: step.clone(), preview });
        if let Some(decision) = self.decide(step) {
            self.follow(step, &decision);
        } else {
            // After a restart with another topology or other executors.
            let because = "its action or its target is not known any more";
            self.move_step(step, StepState::Cancelled, because);
            self.fail_plan(step, because);
        }
    }

    /// No policy looks at an undo, so it may only be what the catalogue promised of its action, on the same target.
    fn checked_undo(&self, step: &StepRef, undo: Option<Call>) -> Result<Option<Call>, String> {
        let Some((undo, entry)) = undo.zip(self.kernel.step(step)) else { return Ok(None) };
        let Reversibility::Undo { action } = &entry.terms.reversibility else { return Ok(None) };
        let spec = self.config.as_ref().and_then(|config| config.catalogue.action(&undo.action));
        let fits = undo.action == *action && undo.target == entry.call.target;
        match spec.filter(|_| fits).map(|spec| spec.check_params(&undo.params)) {
            Some(problems) if problems.is_empty() => Ok(Some(undo)),
            _ => Err(format!("it would be taken back by `{undo}`, which is not `{action}` of the same target")),
        }
    }

    /// The target could not be looked at: nothing is done on missing facts.
    pub(crate) fn on_unreadable(&mut self, step: &StepRef, failure: &Failure) {
        let because = format!("its target could not be looked at: {failure}");
        self.move_step(step, StepState::Cancelled, &because);
        self.fail_plan(step, because);
    }

    /// Decides a step by the policy, and records it.
    pub(crate) fn decide(&mut self, step: &StepRef) -> Option<Decision> {
        let config = self.config.as_ref()?;
        let planned = self.planned_step(step)?;
        let entry = self.kernel.plan(&step.plan)?;
        let run = self.incidents.get(&entry.incident)?;
        let plan = run.run.as_ref()?;
        let input = DecisionInput {
            step,
            plan_digest: entry.digest,
            call: &planned.call,
            spec: config.catalogue.action(&planned.call.action)?,
            entity: config.topology.entity(&planned.call.target)?,
            classification: run.incident.classification.as_ref(),
            confidence: plan.plan.confidence,
            provenance: &plan.plan.provenance,
            now: self.wall(),
        };
        let decision = config.policy.decide(&input);
        let now = self.now.clone();
        if let Some(run) = self.run_of(step) {
            run.decided = run.decided.take().or(now);
        }
        self.fact(Fact::Decided(decision.clone()));
        Some(decision)
    }

    fn follow(&mut self, step: &StepRef, decision: &Decision) {
        let why = || {
            decision
                .votes
                .iter()
                .filter(|v| v.verdict == decision.verdict)
                .map(|v| v.because.as_str())
                .collect::<Vec<_>>()
                .join("; ")
        };
        match &decision.verdict {
            Verdict::Deny => {
                let because = format!("denied: {}", why());
                self.move_step(step, StepState::Denied, &because);
                self.fail_plan(step, because);
            }
            Verdict::Observe | Verdict::Recommend => {
                let because = format!("{}: {}", decision.verdict, why());
                self.move_step(step, StepState::Cancelled, &because);
                self.fail_plan(step, because);
            }
            Verdict::RequireApproval { quorum } => self.ask(step, decision, quorum.clone(), None),
            Verdict::Allow if decision.tier == AutonomyTier::Veto => {
                self.ask(step, decision, Quorum::default(), decision.veto_ms);
            }
            Verdict::Allow => self.ready(step, "the policy allows it"),
        }
    }

    fn ask(&mut self, step: &StepRef, decision: &Decision, quorum: Quorum, veto_ms: Option<u64>) {
        let Some(request) = self.request(step, decision, quorum, veto_ms) else { return };
        self.fact(Fact::ApprovalOpened(request.clone()));
        // Approvals that were given before a restart and still hold count on.
        if self.kernel.step(step).is_some_and(|entry| entry.state != StepState::AwaitingApproval) {
            self.move_step(step, StepState::AwaitingApproval, "people are asked");
        }
        self.start_timer(TimerKey::Approval(step.clone()), veto_ms.unwrap_or(request.expires_ms));
        self.command(Command::Ask { request: Box::new(request) });
        self.count_approvals(step);
    }

    fn request(
        &self,
        step: &StepRef,
        decision: &Decision,
        quorum: Quorum,
        veto_ms: Option<u64>,
    ) -> Option<ApprovalRequest> {
        let entry = self.kernel.step(step)?;
        let planned = self.planned_step(step)?;
        let run = self.incidents.get(&self.incident_of(step)?)?;
        let plan = run.run.as_ref()?;
        let undo = match (&entry.undo, &entry.terms.reversibility) {
            (Some(undo), _) => Self::describe(undo),
            (None, ir_core::Reversibility::Transient) => "nothing to take back".to_owned(),
            (None, _) => "cannot be taken back".to_owned(),
        };
        let others = run.hypothesis.iter().flat_map(|h| h.causes.iter().skip(1).take(2));
        let mut alternatives: Vec<String> =
            others.map(|c| format!("`{}` may be the cause instead ({})", c.entity, c.probability)).collect();
        alternatives.push("do nothing, and watch".to_owned());
        let evidence = run.hypothesis.iter().filter_map(|h| h.leading()).flat_map(|c| c.evidence.iter());
        let facts: Vec<&str> = evidence.map(|e| e.because.as_str()).take(6).collect();
        Some(ApprovalRequest {
            id: ApprovalId::of(step),
            step: step.clone(),
            plan_digest: decision.plan_digest,
            call: planned.call.clone(),
            why: format!("{}; {}", plan.plan.because, facts.join("; ")),
            expected_effect: planned.expected_effect.clone(),
            risk: entry.terms.risk,
            preview: plan.previews.get(&step.step).map(|p| p.summary.clone()).unwrap_or_default(),
            undo,
            alternatives,
            quorum,
            veto_ms,
            expires_ms: decision.approval_expires_ms,
        })
    }

    /// The step may be sent, unless there is nothing left to heal.
    fn ready(&mut self, step: &StepRef, because: &str) {
        let ongoing = self
            .incident_of(step)
            .and_then(|id| self.incidents.get(&id))
            .is_some_and(|run| run.incident.ongoing().next().is_some());
        if !ongoing && !self.is_for_afterwards(step) {
            let because = "the signals came back before it was sent";
            self.move_step(step, StepState::Cancelled, because);
            return self.fail_plan(step, because);
        }
        if self.kernel.step(step).is_some_and(|entry| entry.state != StepState::Ready) {
            self.move_step(step, StepState::Ready, because);
        }
        self.send_do(step);
    }

    /// Whether it waits for a step whose success was that the signals came back, as what lifts a limit does: then that they did is
    /// no reason against it.
    fn is_for_afterwards(&self, step: &StepRef) -> bool {
        let plan = self.incident_of(step).and_then(|id| self.incidents.get(&id)).and_then(|run| run.run.as_ref());
        let (Some(plan), Some(planned)) = (plan, self.planned_step(step)) else { return false };
        let mut before = planned.after.iter().filter_map(|before| plan.plan.step(before));
        before.any(|before| before.verification.anomalies_end)
    }

    /// Decides anew a step that was ready, or waited for people, before a restart or a halt.
    pub(crate) fn decide_anew(&mut self, step: &StepRef) {
        let Some(call) = self.planned_step(step).map(|planned| planned.call.clone()) else { return };
        if !self.waits_for(|c| matches!(c, Command::Preview { step: other, .. } if other == step)) {
            self.command(Command::Preview { step: step.clone(), call });
        }
    }

    pub(crate) fn on_answered(&mut self, answer: &ApprovalAnswer) {
        let step = self.kernel.steps().map(|(step, _)| step).find(|step| ApprovalId::of(step) == answer.request);
        let because = match &step {
            None => Some("nothing is asked under that name".to_owned()),
            Some(step) => self.objection(step, answer),
        };
        let (Some(step), None) = (step, because.clone()) else {
            let because = because.unwrap_or_default();
            return self.fact(Fact::AnswerRejected { request: answer.request.clone(), because });
        };
        let said = format!("{}: {}", answer.by.name, answer.reason);
        match &answer.answer {
            Answer::Approve => {
                let (by, reason) = (answer.by.clone(), answer.reason.clone());
                let approved = Approved { step: step.clone(), plan_digest: answer.plan_digest, by, reason };
                self.fact(Fact::ApprovalCounted(approved));
                self.count_approvals(&step);
            }
            Answer::Refuse => {
                self.forget_step(&step);
                self.move_step(&step, StepState::Denied, format!("refused by {said}"));
                self.fail_plan(&step, format!("refused by {said}"));
            }
            Answer::Modify { changes } => self.modify(&step, changes, &answer.by.name, &said),
        }
    }

    /// Why an answer does not count.
    fn objection(&self, step: &StepRef, answer: &ApprovalAnswer) -> Option<String> {
        let plan = self.kernel.plan(&step.plan)?;
        let entry = self.kernel.step(step)?;
        let asked = entry.state == StepState::AwaitingApproval;
        let (decision, _) = entry.decision.as_ref()?;
        let entitled = match &decision.verdict {
            Verdict::RequireApproval { quorum } => quorum.counts(&answer.by),
            // Anybody may object.
            _ => !matches!(answer.answer, Answer::Approve),
        };
        if !asked {
            Some(format!("the step is {}", entry.state))
        } else if plan.digest != answer.plan_digest {
            Some("it was given for another plan".to_owned())
        } else if answer.reason.trim().is_empty() {
            Some("it gives no reason".to_owned())
        } else if answer.by.name.trim().is_empty() {
            Some("it names nobody".to_owned())
        } else if !entitled {
            Some(format!("{} is not entitled to it", answer.by.name))
        } else {
            None
        }
    }

    /// Goes on when the people who approved are enough.
    fn count_approvals(&mut self, step: &StepRef) {
        let Some(now) = self.now.clone() else { return };
        let Some((plan, entry)) = self.kernel.plan(&step.plan).zip(self.kernel.step(step)) else { return };
        let Some((Decision { verdict: Verdict::RequireApproval { quorum }, .. }, _)) = &entry.decision else { return };
        if quorum.is_met_by(entry.approvers(&plan.digest, &now)) {
            let names: Vec<&str> = entry.approvers(&plan.digest, &now).map(|p| p.name.as_str()).collect();
            let because = format!("approved by {}", names.join(", "));
            self.timers.stop(&TimerKey::Approval(step.clone()));
            self.ready(step, &because);
        }
    }

    /// A veto window passed without objection, or nobody approved in time.
    pub(crate) fn on_approval_over(&mut self, step: &StepRef) {
        let Some(entry) = self.kernel.step(step) else { return };
        if entry.state != StepState::AwaitingApproval {
            return;
        }
        let veto = entry.decision.as_ref().is_some_and(|(d, _)| d.verdict == Verdict::Allow);
        if veto {
            self.ready(step, "nobody objected");
        } else {
            let because = "nobody approved it in time";
            self.forget_step(step);
            self.move_step(step, StepState::Expired, because);
            self.fail_plan(step, because);
        }
    }

    /// A person wants something else: a new plan, checked and decided anew.
    fn modify(&mut self, step: &StepRef, changes: &[StepChange], by: &str, said: &str) {
        let Some(id) = self.incident_of(step) else { return };
        let Some(run) = self.incidents.get_mut(&id) else { return };
        let Some(plan) = run.run.as_ref().map(|run| run.plan.clone()) else { return };
        let mut draft = plan.into_draft();
        draft.revision += 1;
        draft.modified_by = Some(by.to_owned());
        run.plans += 1;
        draft.id = PlanId::of(&id, run.plans);
        for change in changes {
            if change.drop {
                draft.steps.retain(|step| step.id != change.step);
                for step in &mut draft.steps {
                    step.after.retain(|before| *before != change.step);
                }
            } else if let Some(step) = draft.steps.iter_mut().find(|step| step.id == change.step) {
                if let Some(action) = &change.action {
                    step.call.action = action.clone();
                }
                if let Some(params) = &change.params {
                    step.call.params = params.clone();
                }
                step.undo = None;
            }
        }
        self.cancel_unsent(&id, &format!("modified by {said}"));
        if !self.accept(&id, draft) {
            self.hand_over(&id, format!("the plan as modified by {by} did not pass the checks"));
        }
    }

    /// Every incident whose steps may still be sent, for a resume or a restart.
    pub(crate) fn waiting_steps(&self) -> Vec<(IncidentId, StepRef, StepState)> {
        self.incidents
            .keys()
            .flat_map(|id| self.steps_of(id).into_iter().map(move |(step, state)| (id.clone(), step, state)))
            .collect()
    }
}
