//! Outcomes: whether a step helped, how a plan ended, and what it teaches.

use ir_core::journal::Fact;
use ir_core::{Holds, IncidentId, IncidentState, Moment, Outcome, Pace, Recovery, StepRef, StepState, Verified};

use crate::engine::command::Command;
use crate::engine::machine::{HeldSince, Machine};
use crate::engine::timer::TimerKey;

impl Machine {
    /// Asks the verifier, unless it is being asked.
    pub(crate) fn verify(&mut self, step: &StepRef) {
        let verifying = self.kernel.step(step).is_some_and(|entry| entry.state == StepState::Verifying);
        if !verifying || self.waits_for(step, |c| matches!(c, Command::Verify { .. })) {
            return;
        }
        let Some(incident) = self.incident_of(step) else { return };
        let Some((call, verification)) = self.planned_step(step).map(|s| (s.call.clone(), s.verification.clone()))
        else {
            return;
        };
        let Some(began) = self.run_of(step).and_then(|run| run.verifying.get(&step.step)).map(|run| run.began_mono_ns)
        else {
            return;
        };
        // On the wall clock as it is set now: one that was set back since must not make all later samples look older.
        let passed = std::time::Duration::from_nanos(self.mono_ns().saturating_sub(began));
        let applied = self.wall().minus(passed);
        self.command(Command::Verify { step: step.clone(), incident, call, verification, applied });
    }

    pub(crate) fn on_verified(&mut self, step: &StepRef, verified: &Verified, pace: Pace) {
        let now = self.mono_ns();
        let (hold_ms, hold_scrapes) =
            self.planned_step(step).map_or((u64::MAX, 0), |s| (s.verification.hold_ms, s.verification.hold_scrapes));
        let Some(verify) = self.run_of(step).and_then(|run| run.verifying.get_mut(&step.step)) else { return };
        verify.pace = pace;
        if verified.holds != Holds::Yes {
            verify.held_since = None;
            return self.verify_later(step);
        }
        // Time alone proves nothing at long intervals: every reading since might be of one and the same scrape.
        let begins = HeldSince { mono_ns: now, scrapes: pace.scrapes.unwrap_or(0) };
        let since = *verify.held_since.get_or_insert(begins);
        let new = pace.scrapes.map(|n| n.saturating_sub(since.scrapes));
        if now.saturating_sub(since.mono_ns) < hold_ms.saturating_mul(1_000_000)
            || new.is_some_and(|n| n < hold_scrapes)
        {
            return self.verify_later(step);
        }
        verify.over = true;
        self.forget_step(step);
        let scrapes = new.map(|n| format!(" and {n} scrapes")).unwrap_or_default();
        self.move_step(step, StepState::Done, format!("{}, for {hold_ms} ms{scrapes}", verified.because));
        if let Some(id) = self.incident_of(step) {
            self.advance(&id);
        }
    }

    /// The verifier failed: counts as unknown, never as yes.
    pub(crate) fn on_unverified(&mut self, step: &StepRef) {
        if let Some(verify) = self.run_of(step).and_then(|run| run.verifying.get_mut(&step.step)) {
            verify.held_since = None;
        }
        self.verify_later(step);
    }

    fn verify_later(&mut self, step: &StepRef) {
        // Some ten times an interval: more often nothing new can be known.
        let interval_ms =
            self.run_of(step).and_then(|run| run.verifying.get(&step.step)).and_then(|v| v.pace.interval_ms);
        let every_ms = self.settings().verify_every_ms.max(interval_ms.unwrap_or(0) / 10);
        self.start_timer(TimerKey::Verify(step.clone()), every_ms);
    }

    /// The time to succeed is over. It goes on while the entities concerned were scraped too rarely to know, up to `at_most_ms`.
    pub(crate) fn on_verify_over(&mut self, step: &StepRef) {
        if self.kernel.step(step).is_none_or(|entry| entry.state != StepState::Verifying) {
            return;
        }
        let now = self.mono_ns();
        let Some(verification) = self.planned_step(step).map(|planned| planned.verification.clone()) else { return };
        let run = self.run_of(step).and_then(|run| run.verifying.get(&step.step));
        let (pace, began) = run.map_or((Pace::default(), 0), |run| (run.pace, run.began_mono_ns));
        let passed_ms = now.saturating_sub(began) / 1_000_000;
        let too_few = pace.scrapes.is_some_and(|scrapes| scrapes < verification.within_scrapes);
        if too_few && passed_ms < verification.at_most_ms {
            // At most at the end, and not more often than something new can be known.
            let next_ms = pace.interval_ms.unwrap_or(0).max(self.settings().verify_every_ms);
            return self
                .start_timer(TimerKey::VerifyEnd(step.clone()), next_ms.min(verification.at_most_ms - passed_ms));
        }
        let scrapes = pace.scrapes.map(|n| format!(" ({n} scrapes)")).unwrap_or_default();
        self.fail_plan(step, format!("the signals did not come back within {} s{scrapes}", passed_ms / 1_000));
    }

    /// Every step of the plan is over: what came of it, and what follows.
    pub(crate) fn finish_plan(&mut self, id: &IncidentId) {
        let states = self.steps_of(id);
        let Some(run) = self.incidents.get_mut(id) else { return };
        let Some(plan) = run.run.take() else { return };
        let any = |wanted: &[StepState]| states.iter().any(|(_, state)| wanted.contains(state));
        // What was not needed any more was cancelled before it was sent.
        let over = any(&[StepState::Done])
            && states.iter().all(|(_, state)| matches!(state, StepState::Done | StepState::Cancelled));
        let recovery = if any(&[StepState::Unknown, StepState::RollbackFailed]) {
            Recovery::Unknown
        } else if over && plan.failing.is_none() {
            Recovery::Recovered
        } else {
            Recovery::NotRecovered
        };
        let sent = plan.first_effect.is_some();
        for tried in run.tried.iter_mut().filter(|tried| plan.plan.steps.iter().any(|step| step.call == tried.call)) {
            tried.recovery = recovery;
        }
        let because = plan.failing.clone().unwrap_or_else(|| "every step is done and measured".to_owned());
        let (opened, onset) = (run.opened.clone(), run.incident.onset);
        let outcome = Outcome {
            incident: id.clone(),
            plan: plan.plan.id.clone(),
            recovery,
            detect_ms: u64::try_from(opened.wall.since(onset).as_millis()).unwrap_or(u64::MAX),
            decide_ms: between(Some(&opened), plan.decided.as_ref()).unwrap_or_default(),
            act_ms: between(plan.decided.as_ref(), plan.first_effect.as_ref()),
            recover_ms: if recovery == Recovery::Recovered {
                between(plan.first_effect.as_ref(), self.now.as_ref())
            } else {
                None
            },
            because: because.clone(),
        };
        self.fact(Fact::OutcomeReached(outcome));
        match recovery {
            Recovery::Recovered => {
                let goes_on = self.incidents.get(id).is_some_and(|run| run.incident.ongoing().next().is_some());
                let because = if goes_on {
                    "its plan is done and measured; what goes on is looked at anew"
                } else {
                    "the signals came back"
                };
                self.close(id, because);
            }
            Recovery::Unknown => self.hand_over(id, format!("{because}; a person must look")),
            Recovery::NotRecovered => self.try_another(id, plan.overridden, sent, &because),
        }
    }

    /// Another plan, if there may be one; else a person.
    fn try_another(&mut self, id: &IncidentId, overridden: bool, sent: bool, because: &str) {
        let limit = self.settings().plans;
        let more = self.incidents.get(id).is_some_and(|run| {
            run.plans.saturating_sub(run.plans_before) < limit
                && run.incident.state != IncidentState::HandedOver
                && run.incident.ongoing().next().is_some()
        });
        if more && sent && !overridden {
            self.move_incident(id, IncidentState::Open, format!("{because}; another plan is looked for"));
            self.diagnose_later(id);
        } else {
            self.hand_over(id, because);
        }
    }

    pub(crate) fn draw_lesson(&mut self, id: &IncidentId) {
        let at = self.wall();
        let Some(run) = self.incidents.get(id) else { return };
        let cause = run.hypothesis.as_ref().and_then(|h| h.leading()).map(|cause| cause.entity.clone());
        let lesson = ir_plan::lesson::draw(&run.incident, cause, run.tried.clone(), at);
        self.fact(Fact::LessonDrawn(lesson.clone()));
        self.command(Command::Keep { lesson: Box::new(lesson) });
        self.timers.stop(&TimerKey::Quiet(id.clone()));
    }
}

fn between(from: Option<&Moment>, to: Option<&Moment>) -> Option<u64> {
    let ns = to?.mono_since(from?)?;
    Some(ns / 1_000_000)
}
