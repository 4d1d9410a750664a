//! The process dies after any record, in any class, with any reply lost: the effect happens at most once, never without an
//! intention, and every step comes to an end.

use incident_response::core::journal::{Body, GateFact};
use incident_response::core::*;

use crate::healing::assert_sound;
use crate::world::*;

const CLASSES: [RecoveryClass; 4] = [
    RecoveryClass::Keyed,
    RecoveryClass::FenceProbe,
    RecoveryClass::Probe { settles_within_ms: 500 },
    RecoveryClass::Blind,
];

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_record_ends_where_a_run_without_could() {
    for class in CLASSES {
        for reply in [Reply::Arrives, Reply::LostAfter, Reply::LostBefore] {
            for n in 1.. {
                let (world, clock, journal) = (World::new(class), SimClock::new(), MemoryJournal::new());
                world.lock().replies = vec![reply];
                world.fall_sick("middle");
                if !die_after(responder(&world, &clock, &journal, "act"), n).await {
                    break;
                }
                clock.reboot("second");
                let over = |records: &[Record]| closed(records) || handed_over(records);
                run_until(responder(&world, &clock, &journal, "act"), &clock, over).await;
                check(&world, &clock, &journal, &format!("{class:?}, {reply:?}, after record {n}")).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replies_that_never_come_and_panics_are_settled_by_the_class() {
    for class in CLASSES {
        for reply in [Reply::Never, Reply::Panics, Reply::LostAfter, Reply::LostBefore] {
            let (world, clock, journal) = (World::new(class), SimClock::new(), MemoryJournal::new());
            world.lock().replies = vec![reply];
            world.fall_sick("back");
            let over = |records: &[Record]| closed(records) || handed_over(records);
            run_until(responder(&world, &clock, &journal, "act"), &clock, over).await;
            check(&world, &clock, &journal, &format!("{class:?}, {reply:?}")).await;
            let healed = world.lock().sick.is_empty();
            let blind = class == RecoveryClass::Blind;
            assert_eq!(healed, !(blind && reply == Reply::LostBefore), "{class:?}, {reply:?}");
        }
    }
}

async fn check(world: &World, clock: &SimClock, journal: &MemoryJournal, what: &str) {
    let records = all_records(journal, clock).await;
    let effects = world.effects();
    assert!(effects.len() <= 1, "{what}: {effects:?}");
    let intents: Vec<&journal::Intent> = records
        .iter()
        .filter_map(|r| match &r.body {
            Body::Gate(GateFact::Intent(intent)) => Some(intent),
            _ => None,
        })
        .collect();
    for effect in &effects {
        assert!(
            intents.iter().any(|i| i.key.to_string() == effect.key && i.token == effect.token),
            "{what}: no intention"
        );
    }
    let sends = intents.iter().filter(|i| i.direction == Direction::Do).count();
    if world.lock().recovery == RecoveryClass::Blind {
        assert!(sends <= 1, "{what}: a blind step was sent {sends} times");
    }
    assert!(intents.windows(2).all(|pair| pair[0].token < pair[1].token), "{what}: tokens must rise");
    for (step, state) in steps(&records) {
        assert!(state.is_terminal(), "{what}: {step} is {state}");
        if state == StepState::Done {
            assert_eq!(effects.len(), 1, "{what}: done without an effect");
        }
    }
    assert_sound(journal, clock).await;
}
