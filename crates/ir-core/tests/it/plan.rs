//! What the check of a plan finds: each mistake by its field, all of them at once.

use ir_core::testkit::samples;
use ir_core::{ActionName, EntityId, Plan, PlanDraft, StepId};

fn problems(spoil: impl FnOnce(&mut PlanDraft)) -> Vec<String> {
    let mut draft = samples::plan_draft();
    spoil(&mut draft);
    match Plan::check(draft, &samples::catalogue(), &samples::topology()) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_sound_plan_has_none() {
    assert!(problems(|_| {}).is_empty());
}

#[test]
fn each_mistake_is_named_by_its_field() {
    type Row = (&'static str, fn(&mut PlanDraft));
    let rows: &[Row] = &[
        ("`steps`: a plan has 1 to 32 steps, this one has 0", |d| d.steps.clear()),
        ("`steps[0].call.target`: no entity is named `nobody`", |d| {
            d.steps[0].call.target = EntityId::literal("nobody");
            d.steps[0].undo = None;
        }),
        ("`steps[0].call.action`: no action is named `service.paint`", |d| {
            d.steps[0].call.action = ActionName::literal("service.paint");
            d.steps[0].undo = None;
        }),
        ("`steps[0].undo.target`: an undo acts on the target of its step", |d| {
            d.steps[0].undo.as_mut().unwrap().target = EntityId::literal("gateway");
        }),
        ("`steps[0].undo.action`: `service.rollback` is not the undo of `service.rollback`", |d| {
            d.steps[0].undo.as_mut().unwrap().action = ActionName::literal("service.rollback");
        }),
        ("`steps[0].timeout_ms`: must be more than 0", |d| d.steps[0].timeout_ms = 0),
        ("`steps[0].verification`: `within_ms` must be at least `hold_ms`", |d| {
            d.steps[0].verification.hold_ms = d.steps[0].verification.within_ms + 1;
        }),
        ("`steps[0].after`: no step is named `nowhere`", |d| d.steps[0].after.push(StepId::literal("nowhere"))),
        ("`steps`: `{id}` waits for itself", |d| {
            let own = d.steps[0].id.clone();
            d.steps[0].after.push(own);
        }),
        ("`steps[1].id`: `{id}` is named twice", |d| {
            let again = d.steps[0].clone();
            d.steps.push(again);
        }),
    ];
    let id = samples::plan_draft().steps[0].id.to_string();
    for (message, spoil) in rows {
        assert_eq!(problems(spoil), [message.replace("{id}", &id)]);
    }
}

#[test]
fn all_are_told_at_once() {
    let found = problems(|d| {
        d.steps[0].timeout_ms = 0;
        d.steps[0].call.target = EntityId::literal("nobody");
        d.steps[0].after.push(StepId::literal("nowhere"));
    });
    // The undo is now on another target than its step, too.
    assert_eq!(found.len(), 4, "{found:?}");
}
