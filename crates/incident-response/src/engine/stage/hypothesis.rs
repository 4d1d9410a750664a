//! Hypotheses: when a cause is looked for, and what follows from the answer.

use ir_core::journal::{Fact, Suspect};
use ir_core::{
    ClassName, Classification, Failure, Hypothesis, HypothesisId, IncidentId, IncidentState, PartName, PlanId,
    Probability, Severity, StepState,
};
use ir_plan::classification::UNKNOWN;

use crate::engine::command::Command;
use crate::engine::machine::Machine;
use crate::engine::timer::TimerKey;

impl Machine {
    /// Asks for a diagnosis, unless a person has the incident or one is under way.
    pub(crate) fn diagnose(&mut self, id: &IncidentId) {
        let limit = self.settings().diagnoses;
        let Some(run) = self.incidents.get_mut(id) else { return };
        if run.incident.state == IncidentState::HandedOver || run.run.is_some() {
            return;
        }
        if run.diagnoses >= limit {
            let because = format!("no cause was found in {limit} diagnoses");
            return self.hand_over(id, because);
        }
        run.diagnoses += 1;
        let hypothesis = HypothesisId::of(id, run.diagnoses);
        self.forget_commands(|command| matches!(command, Command::Diagnose { incident, .. } if incident == id));
        self.command(Command::Diagnose { incident: id.clone(), hypothesis });
    }

    pub(crate) fn diagnose_later(&mut self, id: &IncidentId) {
        let later_ms = self.settings().rediagnose_ms;
        self.start_timer(TimerKey::Settle(id.clone()), later_ms);
    }

    /// More anomalies joined. As long as nothing was sent, and nobody is being asked, the cause is looked for again.
    pub(crate) fn reconsider(&mut self, id: &IncidentId) {
        let Some(run) = self.incidents.get(id) else { return };
        let undisturbed = run.hypothesis.is_some()
            && run.incident.state != IncidentState::HandedOver
            && run.run.as_ref().is_none_or(|plan| {
                self.kernel.plan(&plan.plan.id).is_some_and(|entry| {
                    entry.steps.values().all(|step| matches!(step.state, StepState::Planned | StepState::Ready))
                })
            });
        if !undisturbed || self.timers.runs(&TimerKey::Settle(id.clone())) {
            return;
        }
        self.cancel_unsent(id, "more is known now, so the cause is looked for again");
        if let Some(run) = self.incidents.get_mut(id) {
            run.run = None;
        }
        self.forget_commands(|command| match command {
            Command::Classify { incident } | Command::Plan { incident, .. } => incident == id,
            _ => false,
        });
        self.diagnose(id);
    }

    pub(crate) fn on_diagnosed(&mut self, id: &IncidentId, hypothesis: &Hypothesis) {
        let topology = self.config.as_ref().map(|config| &config.topology);
        let leading = hypothesis.leading().map(|cause| &cause.entity);
        // Text acts only as a name resolved against the known topology.
        let entity = leading.and_then(|id| topology?.entity(id)).cloned();
        let unknown = leading.filter(|_| entity.is_none()).cloned();
        let suspect = entity.map(|e| Suspect { entity: e.id, environment: e.environment, group: e.group });
        let Some(run) = self.incidents.get_mut(id) else { return };
        run.hypothesis = Some(hypothesis.clone());
        let known = suspect.is_some();
        self.fact(Fact::HypothesisFormed { incident: id.clone(), hypothesis: hypothesis.id.clone(), suspect });
        if let Some(name) = unknown {
            return self.hand_over(id, format!("`{name}` is blamed, and the topology does not know it"));
        }
        if known {
            self.command(Command::Classify { incident: id.clone() });
        } else {
            self.diagnose_later(id);
        }
    }

    pub(crate) fn on_classified(&mut self, id: &IncidentId, class: &Classification) {
        let Some(run) = self.incidents.get_mut(id) else { return };
        run.incident.severity = class.severity;
        run.incident.classification = Some(class.clone());
        run.plans += 1;
        let plan = PlanId::of(id, run.plans);
        self.command(Command::Plan { incident: id.clone(), plan });
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
