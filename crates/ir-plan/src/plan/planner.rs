//! The planner that fills in playbooks.

use async_trait::async_trait;
use ir_core::{
    Call, Ctx, Entity, PartName, PlanDraft, PlanId, PlanInput, Planner, Probability, Provenance, Result, Step,
};

use super::playbook::{Playbook, PlaybookStep, Playbooks};

/// Proposes every playbook that fits, the closest first; those named first in the document where they fit equally.
///
/// A playbook of which any call was tried for this incident is not proposed again.
#[derive(Debug, Clone)]
pub struct PlaybookPlanner {
    playbooks: Playbooks,
    name: PartName,
}

impl PlaybookPlanner {
    /// Plans with these playbooks.
    #[must_use]
    pub fn new(playbooks: Playbooks) -> Self {
        Self { playbooks, name: PartName::literal("playbooks") }
    }

    /// The playbooks.
    #[must_use]
    pub const fn playbooks(&self) -> &Playbooks {
        &self.playbooks
    }
}

#[async_trait]
impl Planner for PlaybookPlanner {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    async fn plan(&self, _ctx: &Ctx, input: &PlanInput) -> Result<Vec<PlanDraft>> {
        let Some(cause) = input.hypothesis.leading() else { return Ok(Vec::new()) };
        let Some(entity) = input.topology.entity(&cause.entity) else { return Ok(Vec::new()) };
        let mut fitting: Vec<_> = self
            .playbooks
            .iter()
            .filter_map(|playbook| match &input.playbook {
                // A person chose it: its conditions are theirs to judge. The policy decides all the same.
                Some(ordered) => (playbook.name == *ordered).then_some((Default::default(), playbook)),
                None => Some((playbook.matches(&input.classification, entity)?, playbook)),
            })
            .collect();
        // A stable sort: equal matches keep the order of the document.
        fitting.sort_by_key(|(closeness, _)| std::cmp::Reverse(*closeness));

        let confidence = confidence(input, cause.probability);
        let drafts = fitting.into_iter().filter_map(|(_, playbook)| draft(playbook, entity, confidence, input)).filter(
            |draft| input.playbook.is_some() || !draft.steps.iter().any(|step| input.tried.contains(&step.call)),
        );
        Ok(drafts.enumerate().map(|(n, draft)| PlanDraft { id: nth_id(&input.id, n), ..draft }).collect())
    }
}

/// The cause and the class must both be right for the plan to be right.
fn confidence(input: &PlanInput, cause: Probability) -> Probability {
    Probability::saturating(cause.as_f64().min(input.classification.confidence.as_f64()))
}

fn nth_id(first: &PlanId, n: usize) -> PlanId {
    if n == 0 {
        return first.clone();
    }
    PlanId::new(format!("{first}.{n}")).unwrap_or_else(|_| first.clone())
}

/// `None` when the catalogue lacks an action of the playbook, or the topology a target.
fn draft(playbook: &Playbook, cause: &Entity, confidence: Probability, input: &PlanInput) -> Option<PlanDraft> {
    let steps = playbook.step.iter().map(|step| fill(step, cause, input)).collect::<Option<Vec<_>>>()?;
    let class = &input.classification.class;
    Some(PlanDraft {
        id: input.id.clone(),
        incident: input.incident.id.clone(),
        revision: 1,
        provenance: Provenance::Playbook { name: playbook.name.clone(), version: playbook.version },
        modified_by: None,
        hypothesis: input.hypothesis.id.clone(),
        confidence,
        because: format!("playbook `{}` is for `{class}`, and `{}` is the likely cause", playbook.name, cause.id),
        steps,
    })
}

fn fill(step: &PlaybookStep, cause: &Entity, input: &PlanInput) -> Option<Step> {
    let spec = input.catalogue.action(&step.action)?;
    let target = step.target.as_ref().map_or(&cause.id, |named| &named.entity).clone();
    input.topology.entity(&target)?;
    Some(Step {
        id: step.id.clone(),
        call: Call { action: step.action.clone(), target, params: step.params.clone() },
        after: step.after.clone(),
        phase: step.phase,
        expected_effect: step.expected_effect.clone(),
        risk: spec.risk,
        undo: None,
        verification: step.verification.clone(),
        timeout_ms: step.timeout_ms,
    })
}

#[cfg(test)]
mod tests;
