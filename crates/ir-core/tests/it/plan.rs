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
        ("`steps[0].after`: `{id}` waits for itself", |d| {
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

#[test]
fn a_cycle_names_its_steps_in_order() {
    // One row a graph: who waits for whom, and the cycles that are reported. `a` stands first, then `b` and so on.
    type Row = (&'static [(&'static str, &'static [&'static str])], &'static [&'static str]);
    let rows: &[Row] = &[
        (&[("a", &[]), ("b", &["a"]), ("c", &["a", "b"])], &[]),
        (&[("a", &["a"])], &["`steps[0].after`: `a` waits for itself"]),
        (&[("a", &["b"]), ("b", &["a"])], &["`steps[0].after`: steps wait for each other: `a` -> `b` -> `a`"]),
        (
            &[("a", &[]), ("b", &["a", "d"]), ("c", &["b"]), ("d", &["c"])],
            &["`steps[1].after`: steps wait for each other: `b` -> `d` -> `c` -> `b`"],
        ),
        // What waits for a cycle is in none, and what a cycle waits for neither.
        (
            &[("a", &["b"]), ("b", &["c", "d"]), ("c", &[]), ("d", &["b", "c"])],
            &["`steps[1].after`: steps wait for each other: `b` -> `d` -> `b`"],
        ),
        (
            &[("a", &["b"]), ("b", &["a"]), ("c", &["c", "a"]), ("d", &["b"])],
            &[
                "`steps[0].after`: steps wait for each other: `a` -> `b` -> `a`",
                "`steps[2].after`: `c` waits for itself",
            ],
        ),
    ];
    for (graph, wanted) in rows {
        let found = problems(|draft| {
            let step = draft.steps[0].clone();
            let named = |(id, after): &(&str, &[&str])| ir_core::Step {
                id: StepId::new(id).unwrap(),
                after: after.iter().map(|id| StepId::new(id).unwrap()).collect(),
                ..step.clone()
            };
            draft.steps = graph.iter().map(named).collect();
        });
        assert_eq!(found, *wanted, "{graph:?}");
    }
}

proptest::proptest! {
    #[test]
    fn every_reported_cycle_is_one_and_without_them_there_is_none(
        edges in proptest::collection::vec((0_usize..8, 0_usize..8), 0..20),
    ) {
        let ids: Vec<StepId> = (0..8).map(|n| StepId::new(format!("s{n}")).unwrap()).collect();
        let after = |n: usize| edges.iter().filter(move |(from, _)| *from == n).map(|(_, to)| ids[*to].clone());
        let after: Vec<Vec<StepId>> = (0..8).map(|n| after(n).collect()).collect();
        let graph = |left: &[usize]| -> Vec<(StepId, Vec<StepId>)> {
            left.iter().map(|n| (ids[*n].clone(), after[*n].clone())).collect()
        };
        let all = graph(&(0..8).collect::<Vec<_>>());
        let found = ir_core::plan::cycles(all.iter().map(|(id, after)| (id, after.as_slice())));
        let index = |id: &StepId| ids.iter().position(|known| known == id).unwrap();
        let mut left: Vec<usize> = (0..8).collect();
        for cycle in &found {
            for (n, step) in cycle.steps.iter().enumerate() {
                let next = cycle.steps[(n + 1) % cycle.steps.len()];
                proptest::prop_assert!(after[index(step)].contains(next), "{cycle}");
                let once = left.iter().position(|known| *known == index(step));
                left.remove(once.expect("no step is in two cycles"));
            }
            proptest::prop_assert_eq!(index(cycle.steps[0]), cycle.first);
        }
        // Kahn's algorithm over what is left ends with nothing.
        while let Some(at) = left.iter().position(|n| after[*n].iter().all(|step| !left.contains(&index(step)))) {
            left.remove(at);
        }
        proptest::prop_assert!(left.is_empty(), "{left:?}");
    }
}
