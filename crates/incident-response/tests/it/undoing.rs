//! Plans of several steps that fail: what was done is taken back in reverse, one at a time, whenever the process dies.

use incident_response::Builder;
use incident_response::core::journal::{Body, GateFact};
use incident_response::core::*;
use incident_response::plan::plan::Playbooks;

use crate::world::*;

/// Three steps on three services; the last waits for signals that never come back. Listed in the order `ids`.
pub(crate) fn playbook(ids: [&str; 3]) -> Playbooks {
    let step = |id: &str| {
        let (target, after, verification) = match id {
            "a" => {
                ("front", "", "anomalies_end = false, limits = [{ metric = \"sick\", is = \"at_most\", value = 5 }]")
            }
            "b" => (
                "middle",
                "\"a\"",
                "anomalies_end = false, limits = [{ metric = \"sick\", is = \"at_most\", value = 5 }]",
            ),
            _ => ("back", "\"b\"", "anomalies_end = true"),
        };
        format!(
            "[[playbook.step]]\nid = \"{id}\"\naction = \"world.heal\"\ntarget = {{ entity = \"{target}\" }}\n\
             after = [{after}]\nexpected_effect = \"well\"\ntimeout_ms = 2000\n\
             verification = {{ {verification}, hold_ms = 500, within_ms = 3000 }}\n"
        )
    };
    let steps: String = ids.into_iter().map(step).collect();
    Playbooks::parse(&format!("[[playbook]]\nname = \"abc\"\nversion = 1\n{steps}"), "abc.toml").unwrap()
}

fn stage(class: RecoveryClass) -> (World, SimClock, MemoryJournal) {
    let (world, clock, journal) = (World::new(class), SimClock::new(), MemoryJournal::new());
    world.lock().heals.clear();
    world.fall_sick("middle");
    (world, clock, journal)
}

fn build(world: &World, clock: &SimClock, journal: &MemoryJournal) -> Builder {
    responder(world, clock, journal, "act").playbooks(playbook(["a", "b", "c"]))
}

fn calls(world: &World) -> Vec<String> {
    world.effects().iter().map(|e| e.call.to_string()).collect()
}

const WHOLE: [&str; 6] = [
    "world.heal front",
    "world.heal middle",
    "world.heal back",
    "world.unheal back",
    "world.unheal middle",
    "world.unheal front",
];

#[tokio::test(start_paused = true)]
async fn steps_are_taken_back_in_reverse_one_at_a_time_however_they_are_listed() {
    for ids in [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]] {
        let (world, clock, journal) = stage(RecoveryClass::Keyed);
        let builder = responder(&world, &clock, &journal, "act").playbooks(playbook(ids));
        let records = run_until(builder, &clock, handed_over).await;
        assert_eq!(calls(&world), WHOLE, "{ids:?}");
        assert!(steps(&records).values().all(|state| *state == StepState::RolledBack), "{ids:?}");
        assert_safe(&world, &clock, &journal, &format!("{ids:?}")).await;
    }
}

/// The first step heals; the second comes behind it and waits for `first` to be verified.
fn afterwards(first: &str) -> Playbooks {
    let text = format!(
        "[[playbook]]\nname = \"ab\"\nversion = 1\n\
         [[playbook.step]]\nid = \"a\"\naction = \"world.heal\"\ntarget = {{ entity = \"middle\" }}\n\
         expected_effect = \"well\"\ntimeout_ms = 2000\nverification = {{ {first}, within_ms = 9000 }}\n\
         [[playbook.step]]\nid = \"b\"\naction = \"world.heal\"\ntarget = {{ entity = \"front\" }}\nafter = [\"a\"]\n\
         expected_effect = \"as before\"\ntimeout_ms = 2000\nverification = {{ hold_ms = 500, within_ms = 9000 }}\n"
    );
    Playbooks::parse(&text, "ab.toml").unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_signals_to_come_back_is_done_then_and_what_does_not_is_left() {
    // The first step is done when the signals are back: the second is meant for that time, and the plan comes to its end.
    let (world, clock, journal) = stage(RecoveryClass::Keyed);
    world.lock().heals.insert(ActionName::literal("world.heal"));
    let builder =
        responder(&world, &clock, &journal, "act").playbooks(afterwards("anomalies_end = true, hold_ms = 500"));
    let records = run_until(builder, &clock, ended).await;
    assert_eq!(calls(&world), ["world.heal middle", "world.heal front"]);
    assert!(closed(&records) && steps(&records).values().all(|state| *state == StepState::Done));
    assert_safe(&world, &clock, &journal, "afterwards").await;
    // The first step is done when something else holds for long: the signals are back by then, and the second is not needed.
    let (world, clock, journal) = stage(RecoveryClass::Keyed);
    world.lock().heals.insert(ActionName::literal("world.heal"));
    let measured =
        "anomalies_end = false, hold_ms = 5000, limits = [{ metric = \"sick\", is = \"at_most\", value = 5 }]";
    let builder = responder(&world, &clock, &journal, "act").playbooks(afterwards(measured));
    let records = run_until(builder, &clock, ended).await;
    assert!(!calls(&world).contains(&"world.heal front".to_owned()), "{:?}", calls(&world));
    assert_eq!(steps(&records).values().filter(|state| **state == StepState::Cancelled).count(), 1);
    assert_safe(&world, &clock, &journal, "not needed").await;
}

/// What holds of every ending of this plan, however often the process died.
async fn check(world: &World, clock: &SimClock, journal: &MemoryJournal, what: &str) {
    assert_safe(world, clock, journal, what).await;
    let did = calls(world);
    for call in WHOLE {
        assert!(did.iter().filter(|other| *other == call).count() <= 1, "{what}: {did:?}");
    }
    let undone: Vec<&str> = did.iter().filter_map(|call| call.strip_prefix("world.unheal ")).collect();
    let reverse: Vec<&str> = ["back", "middle", "front"].into_iter().filter(|name| undone.contains(name)).collect();
    assert_eq!(undone, reverse, "{what}: {did:?}");
    for name in undone {
        assert!(did.contains(&format!("world.heal {name}")), "{what}: {did:?}");
    }
    let records = all_records(journal, clock).await;
    let last = steps(&records);
    for (step, state) in &last {
        // What is known to be done was taken back, unless a step that was built on it waits for a person.
        let blind = world.lock().recovery == RecoveryClass::Blind;
        let built_on = last.iter().any(|(other, state)| other.step > step.step && state.waits_for_person());
        assert!(*state != StepState::Done || built_on, "{what}: {step} is {state}");
        assert!(blind || !state.waits_for_person(), "{what}: {step} is {state}");
    }
    // One at a time: while an undo is open, no other is sent.
    let mut open: Option<StepRef> = None;
    for record in &records {
        match &record.body {
            Body::Gate(GateFact::Intent(intent)) if intent.direction == Direction::Undo => {
                assert!(open.as_ref().is_none_or(|step| *step == intent.step), "{what}: {open:?} is open");
                open = Some(intent.step.clone());
            }
            Body::Fact(journal::Fact::StepMoved { step, from: StepState::Compensating, .. }) => {
                assert_eq!(open.take().as_ref(), Some(step), "{what}");
            }
            _ => {}
        }
    }
}

const CLASSES: [RecoveryClass; 4] = [
    RecoveryClass::Keyed,
    RecoveryClass::FenceProbe,
    RecoveryClass::Probe { settles_within_ms: 500 },
    RecoveryClass::Blind,
];

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_record_of_a_plan_that_is_taken_back() {
    for class in CLASSES {
        // Every record where the same key is sent again, a sample in the other classes.
        let stride = if class == RecoveryClass::Keyed { 1 } else { 3 };
        for n in (1..).step_by(stride) {
            let (world, clock, journal) = stage(class);
            if !die_after(build(&world, &clock, &journal), n).await {
                break;
            }
            clock.reboot("second");
            run_until(build(&world, &clock, &journal), &clock, ended).await;
            check(&world, &clock, &journal, &format!("{class:?}, after record {n}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_crashes_in_a_row() {
    for class in CLASSES {
        for n in (3..).step_by(17) {
            let mut any = false;
            for m in (1..).step_by(13) {
                let (world, clock, journal) = stage(class);
                if !die_after(build(&world, &clock, &journal), n).await {
                    break;
                }
                clock.reboot("second");
                if !die_after(build(&world, &clock, &journal), m).await {
                    break;
                }
                any = true;
                clock.reboot("third");
                run_until(build(&world, &clock, &journal), &clock, ended).await;
                check(&world, &clock, &journal, &format!("{class:?}, after records {n} and {m}")).await;
            }
            if !any {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_takes_effect_after_its_plan_failed_is_taken_back_as_well() {
    // Two steps beside each other: one is refused by its target while the other is on its way.
    let text = "[[playbook]]\nname = \"beside\"\nversion = 1\n\
        [[playbook.step]]\nid = \"a\"\naction = \"world.heal\"\ntarget = { entity = \"front\" }\nexpected_effect = \"x\"\n\
        timeout_ms = 2000\nverification = { hold_ms = 500, within_ms = 3000 }\n\
        [[playbook.step]]\nid = \"b\"\naction = \"world.heal\"\ntarget = { entity = \"middle\" }\nexpected_effect = \"x\"\n\
        timeout_ms = 2000\nverification = { hold_ms = 500, within_ms = 3000 }\n";
    for replies in [vec![Reply::Refused], vec![Reply::Arrives, Reply::Refused], vec![Reply::Never, Reply::Refused]] {
        let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
        world.fall_sick("middle");
        world.lock().replies = replies.clone();
        let builder =
            responder(&world, &clock, &journal, "act").playbooks(Playbooks::parse(text, "beside.toml").unwrap());
        let records = run_until(builder, &clock, ended).await;
        let what = format!("{replies:?}: {:?}", calls(&world));
        assert_safe(&world, &clock, &journal, &what).await;
        assert!(!steps(&records).values().any(|state| *state == StepState::Done), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_who_takes_over_while_it_is_sent_gets_it_taken_back_if_they_want() {
    for undo in [true, false] {
        let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
        world.fall_sick("middle");
        world.lock().replies = vec![Reply::Never];
        let engine = responder(&world, &clock, &journal, "act").build().unwrap().open().await.unwrap();
        let handle = engine.handle();
        let mut news = handle.records();
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(engine.run_until(async {
            let _ = wait.await;
        }));
        loop {
            let record = news.recv().await.unwrap();
            match &record.body {
                Body::Gate(GateFact::Intent(intent)) if intent.attempt == 1 && intent.direction == Direction::Do => {
                    let incident = handle.status().incidents.first().map(|i| i.id.clone()).unwrap();
                    handle.take_over(incident, Person::named("ann"), "mine", undo).await.unwrap();
                }
                Body::Fact(journal::Fact::OutcomeReached(_)) => break,
                _ => {}
            }
        }
        let _ = done.send(());
        running.await.unwrap().unwrap();
        let did = calls(&world);
        let wanted: &[&str] = if undo { &["world.heal middle", "world.unheal middle"] } else { &["world.heal middle"] };
        assert_eq!(did, wanted);
        assert_safe(&world, &clock, &journal, &format!("undo: {undo}")).await;
    }
}
