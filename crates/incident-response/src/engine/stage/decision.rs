//! Decisions: the policy about every step, people where it wants them.

use ir_core::decision::{ANYONE, covered};
use ir_core::journal::{Approved, Fact, Refusal};
use ir_core::{
    Answer, ApprovalAnswer, ApprovalId, ApprovalRequest, AutonomyTier, Call, Decision, Digest, Direction, Failure,
    IncidentId, PartName, Plan, PlanDraft, Preview, Quorum, Reversibility, StepChange, StepId, StepRef, StepState,
    Verdict, kernel,
};
use ir_plan::decision::DecisionInput;

use crate::engine::backoff;
use crate::engine::command::Command;
use crate::engine::machine::{Ask, Machine};
use crate::engine::timer::TimerKey;

impl Machine {
    /// The target was looked at: the step can be decided.
    pub(crate) fn on_previewed(&mut self, step: &StepRef, preview: &Preview) {
        // It may come late: the step may have been approved and sent meanwhile, or given up.
        if !self.kernel.step(step).is_some_and(|entry| entry.state.is_unsent()) {
            return;
        }
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
            // What the limits would refuse is not worth a person's time.
            Verdict::RequireApproval { .. } | Verdict::Allow if self.is_held_back(step, decision) => {}
            Verdict::RequireApproval { quorum } => self.ask(step, decision, quorum.clone(), None),
            Verdict::Allow if decision.tier == AutonomyTier::Veto => {
                self.ask(step, decision, Quorum::default(), decision.veto_ms);
            }
            Verdict::Allow => self.ready(step, "the policy allows it"),
        }
    }

    /// Looks at limits, locks and caps before people are asked: the step waits for what passes, and is given up for what does not.
    fn is_held_back(&mut self, step: &StepRef, decision: &Decision) -> bool {
        let asks = decision.verdict != Verdict::Allow || decision.tier == AutonomyTier::Veto;
        let Some(now) = self.now.clone().filter(|_| asks) else { return false };
        let refusals = kernel::prospects(&self.kernel, step, &now);
        if refusals.is_empty() {
            return false;
        }
        self.hold_back(step, &refusals);
        true
    }

    /// What speaks against sending a step that was not sent: it waits where all of it passes with time, else its plan fails.
    pub(crate) fn hold_back(&mut self, step: &StepRef, refusals: &[Refusal]) {
        let because = refusals.iter().map(|r| r.because.as_str()).collect::<Vec<_>>().join("; ");
        if refusals.iter().all(passes) {
            return self.delay(step, &because);
        }
        self.give_up_sending(step, &because);
    }

    fn ask(&mut self, step: &StepRef, decision: &Decision, quorum: Quorum, veto_ms: Option<u64>) {
        let Some(request) = self.request(step, decision, quorum, veto_ms) else { return };
        // Approvals that were given before a restart and still hold count on.
        if self.kernel.step(step).is_some_and(|entry| entry.state != StepState::AwaitingApproval) {
            self.open_request(step, request);
            self.move_step(step, StepState::AwaitingApproval, "people are asked");
        } else {
            self.open_request(step, request);
        }
        self.count_approvals(step);
    }

    /// Puts a request to people. It has its time to expire from now on, whether it can be delivered or not.
    pub(crate) fn open_request(&mut self, step: &StepRef, request: ApprovalRequest) {
        self.fact(Fact::ApprovalOpened(request.clone()));
        self.start_timer(TimerKey::Approval(step.clone()), request.expires_ms);
        if let Some(run) = self.run_of(step) {
            run.asks.insert(step.step.clone(), Ask { request, delivered: Vec::new(), failures: 0 });
        }
        self.deliver(step);
    }

    /// Brings a request to every approver that does not have it.
    pub(crate) fn deliver(&mut self, step: &StepRef) {
        self.timers.stop(&TimerKey::Ask(step.clone()));
        self.forget_commands(step, |c| matches!(c, Command::Ask { .. }));
        let Some(ask) = self.run_of(step).and_then(|run| run.asks.get(&step.step)).cloned() else { return };
        self.command(Command::Ask { request: Box::new(ask.request), delivered: ask.delivered });
    }

    /// A veto window begins with the first proved delivery. Who was not reached is tried again until the request ends.
    pub(crate) fn on_asked(&mut self, request: &ApprovalRequest, delivered: &[PartName], failed: &[Failure]) {
        let step = &request.step;
        let ask = self.run_of(step).and_then(|run| run.asks.get_mut(&step.step));
        let Some(ask) = ask.filter(|ask| ask.request.id == request.id) else { return };
        let first = ask.delivered.is_empty() && !delivered.is_empty();
        ask.delivered.extend(delivered.iter().cloned());
        ask.failures += u32::from(!failed.is_empty());
        let failures = ask.failures;
        if first {
            let (covers, by) = (request.covers, delivered.to_vec());
            self.fact(Fact::ApprovalDelivered { step: step.clone(), covers, by });
            if let Some(veto_ms) = request.veto_ms {
                self.start_timer(TimerKey::Approval(step.clone()), veto_ms);
            }
        }
        if !failed.is_empty() {
            let because = failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            self.degraded("asking people", because);
            let delay_ms = backoff::delay_ms(&self.settings(), &TimerKey::Ask(step.clone()).text(), failures);
            self.start_timer(TimerKey::Ask(step.clone()), delay_ms);
        }
    }

    /// Asks whether an undo may go out although somebody else changed the target since the do, or although it is not known how the
    /// do left it. The approval covers just the state that was read.
    pub(crate) fn ask_undo(&mut self, step: &StepRef, state: &Digest, because: &str) {
        let entry = self.kernel.plan(&step.plan).zip(self.kernel.step(step));
        let Some((plan, entry)) = entry else { return };
        let Some(inverse) = entry.inverse.clone() else { return };
        let (plan_digest, risk) = (plan.digest, entry.terms.risk);
        let expires_ms = entry.decision.as_ref().map_or(0, |(decision, _)| decision.approval_expires_ms);
        let done = Self::describe(&entry.call);
        let Ok(covers) = covered(&plan_digest, Direction::Undo, &inverse, state, None) else { return };
        let request = ApprovalRequest {
            id: ApprovalId::of(step, &covers),
            step: step.clone(),
            direction: Direction::Undo,
            plan_digest,
            covers,
            call: inverse,
            why: format!("{done} did not help and is to be undone; {because}"),
            expected_effect: format!("the target is as it was before {done}; what was changed since may be lost"),
            risk,
            preview: because.to_owned(),
            undo: "cannot be taken back".to_owned(),
            allowances: Vec::new(),
            alternatives: vec!["leave it as it is: refuse, and settle the step after looking at the target".to_owned()],
            quorum: Quorum::of(ANYONE, 1),
            veto_ms: None,
            expires_ms,
        };
        self.open_request(step, request);
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
        let covers = entry.covers?;
        Some(ApprovalRequest {
            id: ApprovalId::of(step, &covers),
            step: step.clone(),
            direction: Direction::Do,
            plan_digest: decision.plan_digest,
            covers,
            call: planned.call.clone(),
            why: format!("{}; {}", plan.plan.because, facts.join("; ")),
            expected_effect: planned.expected_effect.clone(),
            risk: entry.terms.risk,
            preview: plan.previews.get(&step.step).map(|p| p.summary.clone()).unwrap_or_default(),
            undo,
            allowances: kernel::allowances(&self.kernel, entry, self.now.as_ref()?),
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
            return self.end_early(step);
        }
        if self.kernel.step(step).is_some_and(|entry| entry.state != StepState::Ready) {
            self.move_step(step, StepState::Ready, because);
        }
        self.end_request(step);
        // The target is read once more right before it is sent.
        self.forget_commands(step, |c| matches!(c, Command::Preview { .. }));
        self.send_do(step);
    }

    /// Nobody is asked about the step any more.
    pub(crate) fn end_request(&mut self, step: &StepRef) {
        self.timers.stop(&TimerKey::Approval(step.clone()));
        self.timers.stop(&TimerKey::Ask(step.clone()));
        self.forget_commands(step, |c| matches!(c, Command::Ask { .. }));
        if let Some(run) = self.run_of(step) {
            run.asks.remove(&step.step);
        }
    }

    /// The signals came back before the step was sent: what was done stays, and the rest is not needed.
    fn end_early(&mut self, step: &StepRef) {
        let because = "the signals came back before it was sent";
        let Some(id) = self.incident_of(step) else { return };
        self.cancel_unsent(&id, because);
        if self.run_of(step).is_some_and(|run| run.first_effect.is_some()) {
            self.advance(&id);
        } else {
            self.fail_plan(step, because);
        }
    }

    /// Whether it waits for a step whose success was that the signals came back, as what lifts a limit does: then that they did is
    /// no reason against it.
    fn is_for_afterwards(&self, step: &StepRef) -> bool {
        let plan = self.incident_of(step).and_then(|id| self.incidents.get(&id)).and_then(|run| run.run.as_ref());
        let (Some(plan), Some(planned)) = (plan, self.planned_step(step)) else { return false };
        let mut before = plan.plan.prerequisites(planned).filter_map(|before| plan.plan.step(before));
        before.any(|before| before.verification.anomalies_end)
    }

    /// Decides anew a step that was ready, or waited for people, before a restart or a halt.
    pub(crate) fn decide_anew(&mut self, step: &StepRef) {
        let Some(call) = self.planned_step(step).map(|planned| planned.call.clone()) else { return };
        if !self.waits_for(step, |c| matches!(c, Command::Preview { .. })) {
            self.command(Command::Preview { step: step.clone(), call });
        }
    }

    pub(crate) fn on_answered(&mut self, answer: &ApprovalAnswer) {
        let request = self.requests().find(|request| request.id == answer.request).cloned();
        let is_open = |request: &ApprovalRequest| {
            self.kernel.step(&request.step).is_some_and(|entry| match request.direction {
                Direction::Do => entry.state == StepState::AwaitingApproval,
                Direction::Undo => entry.state == StepState::Compensating,
            })
        };
        let request = request.filter(is_open);
        let because = match &request {
            None => Some(
                "nothing is asked under that name: it was answered, has ended, or shows another state of the target"
                    .to_owned(),
            ),
            Some(request) => self.objection(request, answer),
        };
        let (Some(request), None) = (request, because.clone()) else {
            return self.reject_answer(answer, because.unwrap_or_default());
        };
        let step = &request.step;
        let said = format!("{}: {}", answer.by.name, answer.reason);
        match &answer.answer {
            Answer::Approve => {
                let (by, reason) = (answer.by.clone(), answer.reason.clone());
                let (plan_digest, covers) = (answer.plan_digest, request.covers);
                self.fact(Fact::ApprovalCounted(Approved { step: step.clone(), plan_digest, covers, by, reason }));
                self.count_approvals(step);
            }
            Answer::Refuse => self.end_unapproved(step, StepState::Denied, &format!("refused by {said}")),
            Answer::Modify { changes } => {
                if let Err(because) = self.modify(step, changes, &answer.by.name, &said) {
                    self.reject_answer(answer, because);
                }
            }
        }
    }

    fn reject_answer(&mut self, answer: &ApprovalAnswer, because: String) {
        self.fact(Fact::AnswerRejected { request: answer.request.clone(), because });
    }

    /// Why an answer does not count.
    fn objection(&self, request: &ApprovalRequest, answer: &ApprovalAnswer) -> Option<String> {
        // Anybody may object to what is done unless somebody objects.
        let entitled = match request.veto_ms {
            None => request.quorum.counts(&answer.by),
            Some(_) => answer.answer != Answer::Approve,
        };
        if request.plan_digest != answer.plan_digest {
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
        let request = self.run_of(step).and_then(|run| run.asks.get(&step.step)).map(|ask| ask.request.clone());
        let Some((request, entry)) = request.zip(self.kernel.step(step)) else { return };
        if request.veto_ms.is_some() || !request.quorum.is_met_by(entry.approvers(&request.covers, &now)) {
            return;
        }
        let names: Vec<&str> = entry.approvers(&request.covers, &now).map(|p| p.name.as_str()).collect();
        let because = format!("approved by {}", names.join(", "));
        match request.direction {
            Direction::Do => self.ready(step, &because),
            Direction::Undo => {
                self.end_request(step);
                self.send_undo(step);
            }
        }
    }

    /// A veto window passed without objection, or nobody approved in time.
    pub(crate) fn on_approval_over(&mut self, step: &StepRef) {
        let Some(ask) = self.run_of(step).and_then(|run| run.asks.get(&step.step)).cloned() else { return };
        match (ask.request.veto_ms, ask.delivered.is_empty()) {
            (Some(_), false) => self.ready(step, "nobody objected"),
            (Some(_), true) => {
                self.end_unapproved(step, StepState::Expired, "nobody could be reached who might have objected");
            }
            (None, true) => {
                self.end_unapproved(step, StepState::Expired, "nobody could be reached in time to approve it")
            }
            (None, false) => self.end_unapproved(step, StepState::Expired, "nobody approved it in time"),
        }
    }

    /// What people did not approve is not done; an undo that they did not approve leaves its target to them.
    fn end_unapproved(&mut self, step: &StepRef, to: StepState, because: &str) {
        let undo = self.kernel.step(step).is_some_and(|entry| entry.state == StepState::Compensating);
        if undo {
            return self.give_up_sending(step, because);
        }
        self.forget_step(step);
        self.move_step(step, to, because);
        self.fail_plan(step, because);
    }

    /// A person wants something else: the plan is revised where nothing was sent, and all that is left is decided anew.
    ///
    /// INVARIANT (what was sent stays): a step that was sent keeps its call, its state and its inverse; nothing is revised while
    /// an attempt is in flight or while the plan is being taken back.
    fn modify(&mut self, step: &StepRef, changes: &[StepChange], by: &str, said: &str) -> Result<(), String> {
        let (id, run) = self
            .incident_of(step)
            .and_then(|id| Some((id.clone(), self.incidents.get(&id)?)))
            .ok_or("its incident is closed")?;
        let run = run.run.as_ref().filter(|run| run.plan.id == step.plan).ok_or("its plan has ended")?;
        let config = self.config.as_ref().ok_or("the engine has not started")?;
        let steps = self.steps_of(&id);
        if let Some(because) = &run.failing {
            return Err(format!("its plan has failed: {because}"));
        }
        if let Some((other, state)) = steps.iter().find(|(_, state)| state.is_in_flight()) {
            return Err(format!("step `{}` is {state}; answer again when that is settled", other.step));
        }
        let mut draft = run.plan.clone().into_draft();
        for change in changes {
            let state = steps.iter().find(|(other, _)| other.step == change.step).map(|(_, state)| *state);
            match state {
                None => return Err(format!("the plan has no step `{}`", change.step)),
                Some(state) if !state.is_unsent() => {
                    return Err(format!("step `{}` is {state}: what was sent cannot be changed", change.step));
                }
                Some(_) => apply_change(&mut draft, change),
            }
        }
        draft.revision += 1;
        draft.modified_by = Some(by.to_owned());
        let plan = Plan::check(draft, &config.catalogue, &config.topology).map_err(|error| {
            let problems: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
            format!("the plan as modified does not pass the checks: {}", problems.join("; "))
        })?;
        let terms = plan.steps.iter().map(|step| self.terms(step)).collect::<Option<Vec<_>>>();
        let terms = terms.ok_or("an action or a target is not known any more")?;
        let digest = plan.digest().map_err(|error| error.to_string())?;

        for (other, _) in steps.iter().filter(|(_, state)| state.is_unsent()) {
            self.end_request(other);
            self.forget_step(other);
            if plan.step(&other.step).is_none() {
                self.move_step(other, StepState::Cancelled, format!("left out by {said}"));
            }
        }
        self.fact(Fact::PlanRevised { plan: plan.clone().into_draft(), digest, terms });
        if let Some(run) = self.run_of(step) {
            run.previews.retain(|id, _| steps.iter().any(|(other, state)| other.step == *id && !state.is_unsent()));
            run.delays.clear();
            run.plan = plan;
        }
        self.advance(&id);
        Ok(())
    }

    /// Every incident whose steps may still be sent, for a resume or a restart.
    pub(crate) fn waiting_steps(&self) -> Vec<(IncidentId, StepRef, StepState)> {
        self.incidents
            .keys()
            .flat_map(|id| self.steps_of(id).into_iter().map(move |(step, state)| (id.clone(), step, state)))
            .collect()
    }
}

/// Changes one step of a draft, or leaves it out.
fn apply_change(draft: &mut PlanDraft, change: &StepChange) {
    if change.drop {
        // What waited for it waits for what it waited for: the order of the others stays.
        let dropped = draft.steps.iter().find(|step| step.id == change.step).map(|step| step.after.clone());
        draft.steps.retain(|step| step.id != change.step);
        for step in draft.steps.iter_mut().filter(|step| step.after.contains(&change.step)) {
            step.after.retain(|before| *before != change.step);
            let inherited = dropped.iter().flatten().filter(|before| !step.after.contains(before)).cloned();
            let inherited: Vec<StepId> = inherited.collect();
            step.after.extend(inherited);
        }
        return;
    }
    let Some(step) = draft.steps.iter_mut().find(|step| step.id == change.step) else { return };
    if let Some(action) = &change.action {
        step.call.action = action.clone();
    }
    if let Some(params) = &change.params {
        step.call.params = params.clone();
    }
    // The executor names it anew.
    step.undo = None;
}

/// Whether what the kernel refused may be granted later without anybody doing anything for it.
pub(crate) fn passes(refusal: &Refusal) -> bool {
    ["locked", "budget_target", "budget_environment", "budget_group", "precondition_age"]
        .contains(&refusal.rule.as_str())
}
