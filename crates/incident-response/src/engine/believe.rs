//! A start at which this version comes to something else than is recorded: the records are the truth, and people get what is doubtful.

use std::collections::BTreeMap;
use std::sync::Arc;

use ir_core::journal::{CarriedOver, Fact};
use ir_core::{Incident, IncidentId, IncidentState, Moment, PlanId, Severity, StepRef, StepState, Timestamp, kernel};

use super::machine::{IncidentRun, Machine};

/// The highest number in the names of an incident's plans that the kernel still has: names go on behind it.
fn plans_so_far(kernel: &kernel::State, id: &IncidentId) -> u32 {
    let number = |plan: &PlanId| plan.as_str().rsplit_once("/p")?.1.parse().ok();
    kernel.plans_of(id).filter_map(|(plan, _)| number(plan)).max().unwrap_or(0)
}

/// An incident of which nothing is known but its name.
fn bare(id: &IncidentId, state: IncidentState, onset: Timestamp, now: &Moment) -> IncidentRun {
    let incident = Incident {
        id: id.clone(),
        state,
        severity: Severity::Low,
        onset,
        opened: now.wall,
        anomalies: Vec::new(),
        changes: Vec::new(),
        classification: None,
    };
    IncidentRun::new(incident, now.clone())
}

impl Machine {
    /// Takes the kernel's state and the open incidents as they are recorded. What is known of an incident beside that (its anomalies,
    /// its cause) stays; its plan stays only if the kernel has just that plan. The next start event gives every one to a person.
    pub(crate) fn believe(
        &mut self,
        kernel: &kernel::State,
        open: &BTreeMap<IncidentId, IncidentState>,
        because: &str,
    ) {
        self.kernel = kernel.clone();
        self.out = super::machine::Output::default();
        self.illegal = None;
        let unknown: Vec<IncidentId> = self.incidents.keys().filter(|id| !open.contains_key(*id)).cloned().collect();
        for id in unknown {
            let members = self.leave_incident(&id);
            self.await_ongoing(members);
        }
        let Some(now) = self.now.clone() else { return };
        for (id, state) in open {
            let run = self.incidents.get_or_insert_with(id, || bare(id, *state, now.wall, &now));
            Arc::make_mut(&mut run.incident).state = *state;
            let accepted = |plan: &ir_core::Plan| {
                let digest = plan.digest().ok();
                digest.is_some() && digest == self.kernel.plan(&plan.id).map(|entry| entry.digest)
            };
            run.run = run.run.take().filter(|plan| accepted(&plan.plan));
            run.plans = run.plans.max(plans_so_far(&self.kernel, id));
            self.n_incidents = self.n_incidents.max(id.number().unwrap_or(0));
        }
        self.doubt = Some(because.to_owned());
    }

    /// People have what was open in another journal, and only they close it: nothing is known here of its signals.
    pub(crate) fn on_carried_over(&mut self, carried: &CarriedOver) {
        let Some(now) = self.now.clone() else { return };
        self.n_incidents = carried.last_incident;
        let because = format!("carried over from a journal of {} records", carried.records);
        for open in &carried.incidents {
            let id = &open.incident;
            let plans = plans_so_far(&self.kernel, id);
            let run = IncidentRun { plans, ..bare(id, IncidentState::Open, open.onset, &now) };
            self.incidents.insert(id.clone(), run);
            let (anomalies, onset, because) = (Vec::new(), open.onset, because.clone());
            self.fact(Fact::IncidentOpened { incident: id.clone(), anomalies, onset, because: vec![because.clone()] });
            self.move_incident(id, IncidentState::HandedOver, because);
        }
    }

    /// What a start doubts goes to people, and nothing further is begun for it.
    pub(crate) fn settle_doubt(&mut self) {
        let Some(because) = self.doubt.take() else { return };
        self.degraded("the start", because.clone());
        // No undo that was not sent, and no repetition: what this version believes of these plans is wrong.
        let plans: Vec<PlanId> = self.kernel.plans().map(|(id, _)| id.clone()).collect();
        self.isolated.extend(plans);
        let ids: Vec<IncidentId> = self.incidents.keys().cloned().collect();
        for id in ids {
            self.leave_to_person(&id, &because, false);
        }
        // Of a plan that this version does not have nobody would end a step: what was not sent is given up, and of what is in flight a
        // person says what became of it.
        let open = self.kernel.steps().filter(|(_, entry)| !entry.state.is_terminal());
        let open: Vec<(StepRef, StepState)> = open.map(|(step, entry)| (step, entry.state)).collect();
        for (step, state) in open {
            let to = match state {
                _ if self.run_of(&step).is_some() => continue,
                StepState::Compensating => StepState::RollbackFailed,
                StepState::Intent => StepState::Unknown,
                _ if state.is_unsent() => StepState::Cancelled,
                // It is in place, and `settle` ends it.
                _ => continue,
            };
            self.move_step(&step, to, because.clone());
        }
    }
}
