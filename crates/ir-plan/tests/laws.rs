//! The laws of the testkit, on every part of this crate as it is delivered.

use std::sync::Arc;

use futures::executor::block_on;
use ir_core::testkit::{incident, planner, samples, verifier};
use ir_core::{Ctx, ManualClock};
use ir_plan::classification::{RuleClassifier, RuleClassifierConfig};
use ir_plan::outcome::SignalVerifier;
use ir_plan::plan::{PlaybookPlanner, Playbooks};

/// Two that fit the samples: the second is left when the first was tried.
const PLAYBOOKS: &str = r#"
[[playbook]]
name = "roll-back"
version = 1
when = { classes = ["bad_deploy"] }

[[playbook.step]]
id = "back"
action = "service.rollback"
params = { version = "1" }
expected_effect = "the former version serves"
verification = { anomalies_end = true, hold_ms = 3000, within_ms = 60000 }

[[playbook]]
name = "restart"
version = 1
when = { classes = ["bad_deploy"] }

[[playbook.step]]
id = "restart"
action = "service.restart"
expected_effect = "a fresh process serves"
verification = { anomalies_end = true, hold_ms = 3000, within_ms = 60000 }
"#;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(ManualClock::new()))
}

#[test]
fn the_playbook_planner_keeps_the_laws() {
    let part = PlaybookPlanner::new(Playbooks::parse(PLAYBOOKS, "playbooks.toml").unwrap());
    block_on(planner::check_all(&ctx(), &part, &samples::plan_input())).unwrap();
}

#[test]
fn the_verifier_keeps_the_laws() {
    block_on(verifier::check_all(&ctx(), &SignalVerifier::new(), &samples::check())).unwrap();
}

#[test]
fn the_classifier_keeps_the_laws() {
    let part = RuleClassifier::new(RuleClassifierConfig::default()).unwrap();
    block_on(incident::check_classifier(&ctx(), &part, &samples::incident(), &samples::hypothesis())).unwrap();
}
