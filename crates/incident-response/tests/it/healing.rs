//! The whole way in a small world.

use incident_response::core::journal::{Body, Event, Fact, verify};
use incident_response::core::*;
use incident_response::replay;

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn a_sick_service_is_healed_once_and_a_lesson_is_written() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.fall_sick("middle");
    let records = run_until(responder(&world, &clock, &journal, "act"), &clock, closed).await;
    assert_eq!(world.effects().len(), 1);
    assert_eq!(steps(&records).into_values().collect::<Vec<_>>(), [StepState::Done]);
    let outcome = records.iter().find_map(|r| match &r.body {
        Body::Fact(Fact::OutcomeReached(outcome)) => Some(outcome),
        _ => None,
    });
    assert_eq!(outcome.map(|o| o.recovery), Some(Recovery::Recovered));
    let lesson = records.iter().find_map(|r| match &r.body {
        Body::Fact(Fact::LessonDrawn(lesson)) => Some(lesson),
        _ => None,
    });
    assert_eq!(lesson.unwrap().tried[0].recovery, Recovery::Recovered);
    assert_sound(&journal, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_help_is_taken_back_and_a_person_gets_it() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.lock().heals.clear();
    world.fall_sick("back");
    let records = run_until(responder(&world, &clock, &journal, "act"), &clock, handed_over).await;
    let did: Vec<String> = world.effects().iter().map(|e| e.call.to_string()).collect();
    assert_eq!(did, ["world.heal back", "world.unheal back"]);
    assert_eq!(steps(&records).into_values().collect::<Vec<_>>(), [StepState::RolledBack]);
    assert_sound(&journal, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn lower_tiers_do_nothing_and_say_what_they_would_do() {
    for tier in ["observe", "recommend"] {
        let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
        world.fall_sick("front");
        let records = run_until(responder(&world, &clock, &journal, tier), &clock, handed_over).await;
        assert_eq!(world.effects(), [], "{tier}");
        assert_eq!(steps(&records).into_values().collect::<Vec<_>>(), [StepState::Cancelled], "{tier}");
        assert_sound(&journal, &clock).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_in_health() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let quiet =
        |records: &[Record]| records.iter().filter(|r| matches!(r.body, Body::Event(Event::Observed(_)))).count() > 20;
    let records = run_until(responder(&world, &clock, &journal, "act"), &clock, quiet).await;
    assert_eq!(world.effects(), []);
    assert!(!records.iter().any(|r| matches!(r.body, Body::Fact(_))));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_somebody_else_touched_is_diagnosed_anew() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.fall_sick("middle");
    let meddler = world.clone();
    let records = run_until(responder(&world, &clock, &journal, "veto"), &clock, move |records| {
        // While people may object, somebody else changes the target.
        if matches!(records.last().map(|r| &r.body), Some(Body::Fact(Fact::ApprovalOpened(_))))
            && meddler.lock().generation == 0
        {
            meddler.lock().generation = 1;
        }
        closed(records)
    })
    .await;
    let states: Vec<StepState> = steps(&records).into_values().collect();
    assert_eq!(states, [StepState::Cancelled, StepState::Done]);
    assert_eq!(world.effects().len(), 1);
    assert_sound(&journal, &clock).await;
}

/// A correlator that panics: the engine groups by entity, alone.
#[derive(Debug)]
struct Panics;

#[async_trait::async_trait]
impl Correlator for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    async fn correlate(&self, _ctx: &Ctx, _input: &CorrelationInput) -> Result<Vec<Grouping>> {
        panic!("this part is broken");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_panics_is_noted_and_the_incident_is_healed_all_the_same() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.fall_sick("middle");
    let builder = responder(&world, &clock, &journal, "act").correlator(Panics);
    let records = run_until(builder, &clock, closed).await;
    assert!(
        records.iter().any(|r| matches!(&r.body, Body::Fact(Fact::Degraded { what, .. }) if what == "correlation"))
    );
    assert_eq!(world.effects().len(), 1);
    assert_sound(&journal, &clock).await;
}

/// Chain, batches and replay hold.
pub(crate) async fn assert_sound(journal: &dyn Journal, clock: &SimClock) {
    let ctx = Ctx::new(std::sync::Arc::new(clock.clone()));
    assert_eq!(verify(&ctx, journal).await.unwrap().fault, None);
    let report = replay(&ctx, journal).await.unwrap();
    assert_eq!(report.difference, None, "{}", report.difference.as_ref().unwrap());
    assert!(report.decided > 0);
    assert_nothing_dropped(&all_records(journal, clock).await);
}
