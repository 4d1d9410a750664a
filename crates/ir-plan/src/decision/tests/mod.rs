//! Tests of the policy.

mod decide;
mod documents;
mod explain;
mod names;
mod properties;

use ir_core::{
    ActionSpec, Call, Classification, Decision, Digest, Entity, PlanId, Probability, Provenance, StepId, StepRef,
    Timestamp, Verdict,
};

use super::{DecisionInput, Policy};
use crate::samples;

/// Everything a decision rests on, owned, to be changed one by one.
#[derive(Debug, Clone)]
struct Facts {
    step: StepRef,
    call: Call,
    spec: ActionSpec,
    entity: Entity,
    classification: Option<Classification>,
    confidence: Probability,
    provenance: Provenance,
    now: Timestamp,
}

impl Facts {
    /// A playbook would restart `web`, which is thought to be `unavailable`, with confidence 0.8, at second 1000.
    fn new() -> Self {
        Self {
            step: StepRef { plan: PlanId::new("inc-7/p1").unwrap(), step: StepId::new("s1").unwrap() },
            call: samples::call("restart", "web"),
            spec: samples::spec("restart"),
            entity: Entity::service(samples::id("web")),
            classification: Some(samples::classification("unavailable", 0.8)),
            confidence: samples::share(0.8),
            provenance: Provenance::Playbook { name: "restart".to_owned(), version: 1 },
            now: samples::at(1000),
        }
    }

    fn input(&self) -> DecisionInput<'_> {
        DecisionInput {
            step: &self.step,
            plan_digest: Digest::ZERO,
            call: &self.call,
            spec: &self.spec,
            entity: &self.entity,
            classification: self.classification.as_ref(),
            confidence: self.confidence,
            provenance: &self.provenance,
            now: self.now,
        }
    }

    fn decide(&self, policy: &Policy) -> Decision {
        policy.decide(&self.input())
    }

    fn verdict(&self, policy: &Policy) -> Verdict {
        self.decide(policy).verdict
    }
}

fn policy(text: &str) -> Policy {
    Policy::parse(text, "policy.toml").unwrap()
}

/// One line a rule: `NAME EFFECT FIELDS`, at tier act.
fn rules(lines: &[&str]) -> Policy {
    policy(&text(lines))
}

fn text(lines: &[&str]) -> String {
    let rule = |line: &&str| {
        let mut words = line.splitn(3, ' ');
        let (name, effect) = (words.next().unwrap(), words.next().unwrap());
        format!("[[rule]]\nname = \"{name}\"\neffect = \"{effect}\"\n{}\n", words.next().unwrap_or(""))
    };
    let rules: String = lines.iter().map(rule).collect();
    format!("tier = \"act\"\n{rules}")
}
