//! An exhaustive model of the step machine, seen from the targets: the product's own [`Machine`] and kernel, a small world that
//! may answer every attempt in every way, and all interleavings of both, explored by `stateright`.
//!
//! What is the product's: `Machine::apply` and `absorb`, `kernel::check`, the fold, the timers. What stands in: the targets, the
//! permits that are out, the clock, and a shell without tasks. A mutant of the shell or of a target's promise stands for a fault
//! that the product once had; the properties must notice each.

mod world;

use stateright::{Checker as _, Model, Property};
use world::{Answer, Choice, Mutant, Scene, Sim};

impl Model for Scene {
    type State = Sim;
    type Action = Choice;

    fn init_states(&self) -> Vec<Sim> {
        vec![Sim::new(self.clone())]
    }

    fn actions(&self, state: &Sim, actions: &mut Vec<Choice>) {
        state.choices(actions);
    }

    fn next_state(&self, state: &Sim, choice: Choice) -> Option<Sim> {
        let mut next = state.clone();
        next.choose(choice);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("every effect has an intention", |_, sim: &Sim| sim.effects_are_intended()),
            Property::always("no effect is doubled", |_, sim: &Sim| sim.effects_are_single()),
            Property::always("not applied means not in place, for good", |_, sim: &Sim| sim.not_applied_is_true()),
            Property::always("done and rolled back are true", |_, sim: &Sim| sim.done_is_true()),
            Property::always("what others stand on is not taken back", |_, sim: &Sim| sim.ground_stays()),
            Property::always("no step is without an owner or an end", |_, sim: &Sim| sim.all_comes_to_an_end()),
        ]
    }
}

/// Explores everything and gives the unique states, the transitions, and the properties that do not hold.
fn explore(scene: Scene) -> (usize, usize, Vec<String>) {
    let checker = scene.checker().threads(2).spawn_dfs().join();
    let mut broken: Vec<String> = Vec::new();
    for (name, path) in checker.discoveries() {
        let end = path.last_state().essence();
        let choices = path.into_actions();
        broken.push(format!("{name}: {choices:?} leads to {end}"));
    }
    broken.sort();
    (checker.unique_state_count(), checker.state_count(), broken)
}

/// Prints the table that `docs/safety.md` names: `cargo test -p incident-response --lib model -- --nocapture`. Two
/// disturbances a scene; with `IR_MODEL_WHOLE` set, as `cargo xtask test --deep` sets it, halt, lease end and restart together.
#[test]
fn no_sequence_of_answers_breaks_a_promise_of_the_step_machine() {
    println!("{:<58} {:>9} {:>12} {:>10}", "scene", "states", "transitions", "sequences");
    let mut total = 0;
    let whole = std::env::var_os("IR_MODEL_WHOLE").is_some();
    for scene in Scene::all(whole) {
        let (name, sequences) = (scene.name(), scene.sequences());
        let (unique, transitions, broken) = explore(scene);
        println!("{name:<58} {unique:>9} {transitions:>12} {sequences:>10}");
        assert_eq!(broken, Vec::<String>::new(), "{name}");
        assert!(unique > 20, "{name}: the model gets nowhere");
        total += unique;
    }
    println!("{total} states in all, {} answers an attempt", Answer::ALL.len());
}

#[test]
fn each_fault_of_old_is_noticed() {
    for (mutant, scene, property) in Mutant::all() {
        let (_, _, broken) = explore(scene);
        let noticed = broken.iter().any(|name| name.starts_with(property));
        assert!(noticed, "{mutant:?} is not noticed by `{property}`: {broken:?}");
        println!("{mutant:?}: {}", broken.join("\n    "));
    }
}
