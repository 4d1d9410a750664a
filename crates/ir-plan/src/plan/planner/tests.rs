//! Tests of the planner: the four sentences of its contract, and the order of what it proposes.

use futures::executor::block_on;
use ir_core::{Plan, Topology, TopologyDocument};

use super::*;
use crate::samples;

const BOOKS: &str = r#"
[[playbook]]
name = "any"
version = 3
[[playbook.step]]
id = "restart"
action = "restart"
expected_effect = "it is well"

[[playbook]]
name = "errors"
version = 1
when = { classes = ["errors"] }
[[playbook.step]]
id = "drain"
action = "drain"
phase = "contain"
target = { entity = "lb" }
expected_effect = "no more requests"
[[playbook.step]]
id = "clear"
action = "clear"
params = { keep = 3 }
after = ["drain"]
expected_effect = "it is well"
timeout_ms = 5

[[playbook]]
name = "errors-again"
version = 1
when = { classes = ["errors"] }
[[playbook.step]]
id = "scale"
action = "scale"
expected_effect = "it is well"

[[playbook]]
name = "latency"
version = 1
when = { classes = ["latency"] }
[[playbook.step]]
id = "scale"
action = "scale"
expected_effect = "it is well"
"#;

fn planner() -> PlaybookPlanner {
    PlaybookPlanner::new(Playbooks::parse(BOOKS, "books.toml").unwrap())
}

/// `web` shows errors and is blamed with probability 0.7; the class is sure with 0.9.
fn input() -> PlanInput {
    let schema = serde_json::json!({
        "type": "object", "properties": { "keep": { "type": "integer" } }, "required": []
    });
    let clear = ir_core::ActionSpec { params: schema, risk: ir_core::RiskClass::High, ..samples::spec("clear") };
    let others = ["restart", "drain", "scale"].map(samples::spec);
    PlanInput {
        playbook: None,
        id: PlanId::of(&samples::incident(vec![]).id, 2),
        incident: samples::incident(vec![]),
        hypothesis: samples::hypothesis("web", 0.7),
        classification: samples::classification("errors", 0.9),
        topology: samples::topology(&["web", "lb"]),
        catalogue: ir_core::Catalogue::new(others.into_iter().chain([clear])).unwrap(),
        tried: Vec::new(),
    }
}

fn plan(input: &PlanInput) -> Vec<PlanDraft> {
    block_on(planner().plan(&samples::ctx(), input)).unwrap()
}

fn names(drafts: &[PlanDraft]) -> Vec<String> {
    drafts.iter().map(|draft| draft.provenance.to_string()).collect()
}

#[test]
fn the_closest_playbook_comes_first_and_equals_keep_the_order_of_the_document() {
    let drafts = plan(&input());
    assert_eq!(names(&drafts), ["playbook errors v1", "playbook errors-again v1", "playbook any v3"]);
    let ids: Vec<&str> = drafts.iter().map(|draft| draft.id.as_str()).collect();
    assert_eq!(ids, ["inc-7/p2", "inc-7/p2.1", "inc-7/p2.2"]);
}

#[test]
fn a_plan_is_the_playbook_filled_in_and_passes_the_check() {
    let input = input();
    let draft = plan(&input).remove(0);
    assert_eq!(draft.because, "playbook `errors` is for `errors`, and `web` is the likely cause");
    assert_eq!((&draft.incident, &draft.hypothesis, draft.revision), (&input.incident.id, &input.hypothesis.id, 1));
    let [drain, clear] = draft.steps.as_slice() else { panic!("{draft:?}") };
    assert_eq!(drain.call, samples::call("drain", "lb"));
    assert_eq!(clear.call.to_string(), "clear web keep=3");
    assert_eq!((clear.timeout_ms, clear.risk), (5, ir_core::RiskClass::High));
    assert_eq!(clear.after, std::slice::from_ref(&drain.id));
    for draft in plan(&input) {
        Plan::check(draft, &input.catalogue, &input.topology).unwrap();
    }
}

#[test]
fn the_confidence_is_the_lower_of_cause_and_class() {
    let mut input = input();
    assert_eq!(plan(&input)[0].confidence, samples::share(0.7));
    input.classification.confidence = samples::share(0.2);
    assert_eq!(plan(&input)[0].confidence, samples::share(0.2));
}

#[test]
fn the_same_input_gives_the_same_answer() {
    assert_eq!(plan(&input()), plan(&input()));
}

#[test]
fn actions_and_targets_that_nothing_has_are_not_proposed() {
    let mut input = input();
    input.topology = samples::topology(&["web"]);
    assert_eq!(names(&plan(&input)), ["playbook errors-again v1", "playbook any v3"], "there is no `lb`");
    input.catalogue = samples::catalogue(&["restart"]);
    assert_eq!(names(&plan(&input)), ["playbook any v3"], "there is no `scale`");
    input.topology = Topology::new(TopologyDocument::default()).unwrap();
    assert_eq!(names(&plan(&input)), [""; 0], "the cause itself is not known");
}

#[test]
fn a_call_that_was_tried_is_not_proposed_again() {
    let mut input = input();
    input.tried = vec![samples::call("drain", "lb")];
    let drafts = plan(&input);
    assert_eq!(names(&drafts), ["playbook errors-again v1", "playbook any v3"], "one tried step of two is enough");
    assert_eq!(drafts[0].id, input.id, "the first has the name that was asked for");
    // The same action elsewhere, or with other parameters, is another call.
    input.tried = vec![samples::call("scale", "lb"), samples::call("clear", "web")];
    assert_eq!(plan(&input).len(), 3);
    input.tried = ["scale", "restart"].map(|action| samples::call(action, "web")).to_vec();
    input.tried.push(samples::call("drain", "lb"));
    assert_eq!(plan(&input), []);
}

#[test]
fn no_cause_no_plan() {
    let mut input = input();
    input.hypothesis.abstains = Some("no traces".to_owned());
    assert_eq!(plan(&input), []);
    input.hypothesis.abstains = None;
    input.hypothesis.causes.clear();
    assert_eq!(plan(&input), []);
}

#[test]
fn no_playbook_no_plan() {
    let mut input = input();
    input.classification = samples::classification("unknown", 0.0);
    assert_eq!(names(&plan(&input)), ["playbook any v3"]);
    assert_eq!(plan(&input)[0].confidence, Probability::ZERO);
    let none = PlaybookPlanner::new(Playbooks::default());
    assert_eq!(block_on(none.plan(&samples::ctx(), &input)).unwrap(), []);
}
