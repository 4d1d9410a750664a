//! A start at which this version comes to something else than is recorded: the records are the truth, and people get what is doubtful.

use std::collections::BTreeMap;
use std::sync::Arc;

use ir_core::journal::{CarriedOver, Fact};
use ir_core::{Incident, IncidentId, IncidentState, Severity, kernel};

use super::machine::{IncidentRun, Machine};

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
            self.leave_incident(&id);
        }
        let Some(now) = self.now.clone() else { return };
        for (id, state) in open {
            let bare = || {
                IncidentRun::new(
                    Incident {
                        id: id.clone(),
                        state: *state,
                        severity: Severity::Low,
                        onset: now.wall,
                        opened: now.wall,
                        anomalies: Vec::new(),
                        changes: Vec::new(),
                        classification: None,
                    },
                    now.clone(),
                )
            };
            let run = self.incidents.get_or_insert_with(id, bare);
            Arc::make_mut(&mut run.incident).state = *state;
            let accepted = |plan: &ir_core::Plan| {
                let digest = plan.digest().ok();
                digest.is_some() && digest == self.kernel.plan(&plan.id).map(|entry| entry.digest)
            };
            run.run = run.run.take().filter(|plan| accepted(&plan.plan));
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
            let incident = Incident {
                id: id.clone(),
                state: IncidentState::Open,
                severity: Severity::Low,
                onset: open.onset,
                opened: now.wall,
                anomalies: Vec::new(),
                changes: Vec::new(),
                classification: None,
            };
            self.incidents.insert(id.clone(), IncidentRun::new(incident, now.clone()));
            let (anomalies, onset, because) = (Vec::new(), open.onset, because.clone());
            self.fact(Fact::IncidentOpened { incident: id.clone(), anomalies, onset, because: vec![because.clone()] });
            self.move_incident(id, IncidentState::HandedOver, because);
        }
    }

    /// What a start doubts goes to people, and nothing further is begun for it.
    pub(crate) fn settle_doubt(&mut self) {
        let Some(because) = self.doubt.take() else { return };
        self.degraded("the start", because.clone());
        let ids: Vec<IncidentId> = self.incidents.keys().cloned().collect();
        for id in ids {
            self.leave_to_person(&id, &because, false);
        }
    }
}
