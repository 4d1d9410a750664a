//! Stopping: after a halt nothing starts, after a resume it goes on.

use incident_response::core::journal::{Body, Fact, GateFact};
use incident_response::core::*;

use crate::healing::assert_sound;
use crate::world::*;

#[tokio::test(start_paused = true)]
async fn after_a_halt_no_effect_starts_and_after_a_resume_it_goes_on() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let engine = responder(&world, &clock, &journal, "act").build().unwrap().open().await.unwrap();
    let handle = engine.handle();
    let mut news = handle.records();
    let (done, wait) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(engine.run_until(async {
        let _ = wait.await;
    }));
    handle.halt("ann", "maintenance");
    world.fall_sick("middle");
    let mut refused = false;
    let mut resumed = false;
    loop {
        let record = news.recv().await.unwrap();
        match &record.body {
            Body::Gate(GateFact::Refused { refusals, .. }) => {
                assert!(refusals.iter().any(|r| r.rule == "halted"), "{refusals:?}");
                assert_eq!(world.effects(), []);
                refused = true;
                let nobody = handle.resume(vec![], "nobody says so").await;
                assert_eq!(nobody.unwrap_err().kind(), ErrorKind::Unauthorized);
                handle.resume(vec![Person::named("ann")], "done").await.unwrap();
                resumed = true;
            }
            Body::Gate(GateFact::Intent(_)) => assert!(resumed, "nothing is done under a halt"),
            Body::Fact(Fact::IncidentMoved { to: IncidentState::Closed, .. }) => break,
            _ => {}
        }
    }
    let _ = done.send(());
    running.await.unwrap().unwrap();
    assert!(refused);
    assert_eq!(world.effects().len(), 1);
    assert_sound(&journal, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn a_halt_outlives_the_process() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let engine = responder(&world, &clock, &journal, "act").build().unwrap().open().await.unwrap();
    engine.handle().halt("file", "HALT");
    let mut news = engine.handle().records();
    let running = tokio::spawn(engine.run_until(std::future::pending()));
    while !matches!(news.recv().await.unwrap().body, Body::Gate(GateFact::Halted(_))) {}
    running.abort();
    let _ = running.await;

    world.fall_sick("front");
    let refused = |records: &[Record]| records.iter().any(|r| matches!(r.body, Body::Gate(GateFact::Refused { .. })));
    let records = run_until(responder(&world, &clock, &journal, "act"), &clock, refused).await;
    assert!(refused(&records));
    assert_eq!(world.effects(), []);
}

#[tokio::test(start_paused = true)]
async fn a_person_settles_what_nobody_knows_and_the_target_is_free_again() {
    let (world, clock, journal) = (World::new(RecoveryClass::Blind), SimClock::new(), MemoryJournal::new());
    world.lock().replies = vec![Reply::LostBefore];
    world.fall_sick("middle");
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
            Body::Fact(Fact::IncidentMoved { to: IncidentState::HandedOver, .. }) => {
                let step = handle.status().steps.iter().find(|s| s.state == StepState::Unknown).map(|s| s.step.clone());
                let (ann, step) = (Person::named("ann"), step.unwrap());
                handle.settle(step.clone(), ann.clone(), false, "I looked").await.unwrap();
                assert_eq!(handle.status().steps, [], "nothing waits for a person any more");
                assert_eq!(handle.settle(step, ann, true, "twice").await.unwrap_err().kind(), ErrorKind::Conflict);
            }
            Body::Fact(Fact::OrderRejected { .. }) => break,
            _ => {}
        }
    }
    let _ = done.send(());
    running.await.unwrap().unwrap();
    assert_eq!(world.effects(), []);
    assert_sound(&journal, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_without_the_undo_finds_everything_as_it_was_left() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.lock().heals.clear();
    world.fall_sick("middle");
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
            Body::Fact(Fact::StepMoved { to: StepState::Verifying, .. }) => {
                let incident = handle.status().incidents.first().map(|i| i.id.clone()).unwrap();
                handle.take_over(incident, Person::named("ann"), "leave it", false).await.unwrap();
            }
            Body::Fact(Fact::StepMoved { to, .. }) if to.is_terminal() => break,
            _ => {}
        }
    }
    let _ = done.send(());
    running.await.unwrap().unwrap();
    let did: Vec<String> = world.effects().iter().map(|e| e.call.to_string()).collect();
    assert_eq!(did, ["world.heal middle"], "nothing was taken back");
    assert_sound(&journal, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn a_person_takes_an_incident_over_and_what_was_done_is_taken_back() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.lock().heals.clear();
    world.fall_sick("middle");
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
            Body::Fact(Fact::StepMoved { to: StepState::Verifying, .. }) => {
                let incident = handle.status().incidents.first().map(|i| i.id.clone()).unwrap();
                handle.take_over(incident, Person::named("ann"), "I know this one", true).await.unwrap();
            }
            Body::Fact(Fact::StepMoved { to: StepState::RolledBack, .. }) => break,
            _ => {}
        }
    }
    let _ = done.send(());
    running.await.unwrap().unwrap();
    let did: Vec<String> = world.effects().iter().map(|e| e.call.to_string()).collect();
    assert_eq!(did, ["world.heal middle", "world.unheal middle"]);
    assert_sound(&journal, &clock).await;
}
