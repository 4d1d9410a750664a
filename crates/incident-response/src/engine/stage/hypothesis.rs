//! Hypotheses: when a cause is looked for, and what follows from the answer.

use std::sync::Arc;

use ir_core::journal::{Fact, Suspect};
use ir_core::{
    ClassName, Classification, EntityId, Failure, Hypothesis, HypothesisId, IncidentId, IncidentState, PartName,
    PlanId, Probability, Severity, StepState,
};
use ir_plan::classification::UNKNOWN;

use crate::engine::command::Command;
use crate::engine::machine::{IncidentRun, Machine};
use crate::engine::timer::TimerKey;

impl Machine {
    /// Asks for a diagnosis, unless a person has the incident, something was sent for it, or one is under way.
    pub(crate) fn diagnose(&mut self, id: &IncidentId) {
        if self.waits_for(id, |command| matches!(command, Command::Diagnose { .. })) {
            return;
        }
        if !self.may_change_its_plan(id) {
            return;
        }
        let limit = self.settings().diagnoses;
        let Some(run) = self.incidents.get_mut(id) else { return };
        if run.abstentions >= limit {
            let why = run
                .hypothesis
                .as_ref()
                .and_then(|h| h.abstains.clone())
                .unwrap_or_else(|| "nothing is blamed".to_owned());
            return self.hand_over(id, format!("no cause was found in {limit} diagnoses: {why}"));
        }
        run.diagnoses += 1;
        run.grew = false;
        let hypothesis = HypothesisId::of(id, run.diagnoses);
        self.command(Command::Diagnose { incident: id.clone(), hypothesis });
    }

    /// Whether the incident has no plan, or one of which nothing was sent and about which nobody is asked.
    fn may_change_its_plan(&self, id: &IncidentId) -> bool {
        self.incidents.get(id).is_some_and(|run| {
            run.incident.state != IncidentState::HandedOver
                && run.run.as_ref().is_none_or(|plan| {
                    let steps = self.kernel.plan(&plan.plan.id).map(|entry| &entry.steps);
                    steps.is_some_and(|steps| {
                        steps.values().all(|step| matches!(step.state, StepState::Planned | StepState::Ready))
                    })
                })
        })
    }

    pub(crate) fn diagnose_later(&mut self, id: &IncidentId) {
        // Nothing new is known before the next scrape.
        let later_ms = self.settings().rediagnose_ms.max(self.interval_ms(id));
        self.start_timer(TimerKey::Settle(id.clone()), later_ms);
    }

    /// More anomalies joined. As long as nothing was sent, and nobody is being asked, the cause is looked for again; the plan stays
    /// while that gives the same leader and the same class.
    pub(crate) fn reconsider(&mut self, id: &IncidentId) {
        let known = self.incidents.get(id).is_some_and(|run| run.hypothesis.is_some());
        if !known || !self.may_change_its_plan(id) || self.timers.runs(&TimerKey::Settle(id.clone())) {
            return;
        }
        if self.waits_for(id, |command| matches!(command, Command::Diagnose { .. })) {
            if let Some(run) = self.incidents.get_mut(id) {
                run.grew = true;
            }
            return;
        }
        self.diagnose(id);
    }

    pub(crate) fn on_diagnosed(&mut self, id: &IncidentId, hypothesis: &Hypothesis) {
        let topology = self.config.as_ref().map(|config| &config.topology);
        let leading = hypothesis.leading().map(|cause| &cause.entity);
        // Text acts only as a name resolved against the known topology.
        let entity = leading.and_then(|id| topology?.entity(id)).cloned();
        let unknown = leading.filter(|_| entity.is_none()).cloned();
        let suspect = entity.map(|e| Suspect { entity: e.id, environment: e.environment, group: e.group });
        let changes = self.may_change_its_plan(id);
        let Some(run) = self.incidents.get_mut(id) else { return };
        run.hypothesis = Some(hypothesis.clone());
        run.abstentions = if leading.is_none() { run.abstentions + 1 } else { 0 };
        let grew = std::mem::take(&mut run.grew);
        let blamed = suspect.as_ref().map(|suspect| suspect.entity.clone());
        self.fact(Fact::HypothesisFormed { incident: id.clone(), hypothesis: hypothesis.id.clone(), suspect });
        if !changes {
            return;
        }
        if let Some(name) = unknown {
            return self.hand_over(id, format!("`{name}` is blamed, and the topology does not know it"));
        }
        match blamed {
            Some(entity) => {
                if let Some(other) = self.held_by_person(id, &entity) {
                    return self.merge(id, &other);
                }
                self.forget_commands(id, |c| matches!(c, Command::Classify { .. } | Command::Plan { .. }));
                self.command(Command::Classify { incident: id.clone() });
            }
            None => {
                self.drop_plan(id, "the cause is not clear any more");
                self.diagnose_later(id);
            }
        }
        if grew {
            self.diagnose_later(id);
        }
    }

    /// An escalated incident with the same suspect: automation keeps its hands off what a person is at work on.
    fn held_by_person(&self, id: &IncidentId, entity: &EntityId) -> Option<IncidentId> {
        let suspects = |run: &IncidentRun| {
            run.hypothesis.as_ref().and_then(|h| h.leading()).is_some_and(|cause| cause.entity == *entity)
        };
        self.incidents
            .iter()
            .find(|(other, run)| *other != id && run.incident.state == IncidentState::HandedOver && suspects(run))
            .map(|(other, _)| other.clone())
    }

    /// Gives up a plan of which nothing was sent.
    fn drop_plan(&mut self, id: &IncidentId, because: &str) {
        self.cancel_unsent(id, because);
        if let Some(run) = self.incidents.get_mut(id) {
            run.run = None;
        }
    }

    pub(crate) fn on_classified(&mut self, id: &IncidentId, class: &Classification) {
        let changes = self.may_change_its_plan(id);
        let Some(run) = self.incidents.get_mut(id) else { return };
        let incident = Arc::make_mut(&mut run.incident);
        incident.severity = class.severity;
        incident.classification = Some(class.clone());
        let leader = run.hypothesis.as_ref().and_then(|h| h.leading()).map(|cause| cause.entity.clone());
        let same = run.run.as_ref().is_some_and(|plan| plan.made_for == leader.zip(Some(class.class.clone())));
        if !changes || same {
            return;
        }
        self.drop_plan(id, "another cause or class is known now");
        self.plan(id);
    }

    /// Asks for plans.
    pub(crate) fn plan(&mut self, id: &IncidentId) {
        let Some(run) = self.incidents.get_mut(id) else { return };
        run.plans += 1;
        let (plan, playbook) = (PlanId::of(id, run.plans), run.ordered.clone());
        self.command(Command::Plan { incident: id.clone(), plan, playbook });
    }

    /// The classifier failed: the class is unknown with confidence 0, which narrows and never widens.
    pub(crate) fn on_unclassified(&mut self, id: &IncidentId, failure: &Failure) {
        let class = Classification {
            class: ClassName::literal(UNKNOWN),
            confidence: Probability::ZERO,
            severity: Severity::Low,
            because: vec![failure.to_string()],
            similar: Vec::new(),
            by: PartName::literal("engine"),
        };
        self.on_classified(id, &class);
    }
}
