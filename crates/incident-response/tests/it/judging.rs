//! What people say of reports reaches every detector once, over any restart, and is on record first.

use std::sync::{Arc, Mutex};

use incident_response::core::journal::{Body, Event};
use incident_response::core::*;
use incident_response::{Builder, EngineSettings};

use crate::snapshots::Shelf;
use crate::world::*;

/// Counts what it is told, and keeps the count as its state.
#[derive(Debug, Clone, Default)]
struct Listener(Arc<Mutex<Vec<Feedback>>>);

#[async_trait::async_trait]
impl Detector for Listener {
    fn name(&self) -> &str {
        "listener"
    }

    async fn detect(&self, _ctx: &Ctx, _batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        Ok(Vec::new())
    }

    async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
        let bytes = serde_json::to_vec(&*self.0.lock().unwrap()).unwrap();
        Ok(Snapshot { name: PartName::literal("listener"), version: 1, bytes })
    }

    async fn restore(&self, _ctx: &Ctx, from: &Snapshot) -> Result<()> {
        *self.0.lock().unwrap() = serde_json::from_slice(&from.bytes).unwrap();
        Ok(())
    }

    async fn feedback(&self, _ctx: &Ctx, feedback: &Feedback) -> Result<()> {
        self.0.lock().unwrap().push(feedback.clone());
        Ok(())
    }
}

fn listening(clock: &SimClock, journal: &MemoryJournal, shelf: &Shelf, listener: &Listener) -> Builder {
    let world = World::new(RecoveryClass::Keyed);
    let settings = EngineSettings { snapshot_every_ms: 3_600_000, ..EngineSettings::default() };
    bare(&world, clock, journal, "observe")
        .source(Eyes(world.clone()))
        .detector(listener.clone())
        .executor(Hands(world.clone()))
        .snapshots(shelf.clone())
        .settings(settings)
}

fn missed(n: usize) -> Vec<Feedback> {
    vec![Feedback::Missed { entity: entity("middle"), at: Timestamp::from_millis(n as i64) }]
}

fn person() -> Person {
    Person { name: "ada".into(), roles: vec!["sre".into()] }
}

/// Runs until `n` records came after the judgement, then dies.
async fn judge_and_die(n: usize, judgement: usize, builder: Builder) {
    let engine = builder.build().unwrap().open().await.unwrap();
    let (handle, mut news) = (engine.handle(), engine.handle().records());
    let running = tokio::spawn(engine.run_until(std::future::pending()));
    handle.judge(missed(judgement), person(), "the till was empty").await.unwrap();
    for _ in 0..n {
        news.recv().await.unwrap();
    }
    running.abort();
    let _ = running.await;
}

#[tokio::test(start_paused = true)]
async fn every_judgement_is_heard_once_whenever_the_process_dies() {
    for n in 0..8 {
        let (clock, journal, shelf) = (SimClock::new(), MemoryJournal::new(), Shelf::default());
        for life in 0..4 {
            judge_and_die(n, life, listening(&clock, &journal, &shelf, &Listener::default())).await;
            clock.reboot(&format!("boot-{life}"));
        }
        let listener = Listener::default();
        let heard = |records: &[Record]| {
            let counts = records.iter().filter_map(|record| match &record.body {
                Body::Event(Event::Observed(observed)) => Some(observed.heard),
                _ => None,
            });
            counts.max() == Some(4)
        };
        run_until(listening(&clock, &journal, &shelf, &listener), &clock, heard).await;
        let wanted: Vec<Feedback> = (0..4).flat_map(missed).collect();
        assert_eq!(*listener.0.lock().unwrap(), wanted, "{n} records after each judgement");
        let records = all_records(&journal, &clock).await;
        let judged = records.iter().filter(|record| matches!(&record.body, Body::Event(Event::Judged { .. }))).count();
        assert_eq!(judged, 4);
        // A watcher decides nothing, and even so a replay comes to the same records.
        let ctx = Ctx::new(Arc::new(clock.clone()));
        assert_eq!(incident_response::replay(&ctx, &journal).await.unwrap().difference, None);
    }
}

#[tokio::test(start_paused = true)]
async fn judgements_about_nothing_and_about_unknown_incidents_are_refused() {
    let (clock, journal) = (SimClock::new(), MemoryJournal::new());
    let engine = listening(&clock, &journal, &Shelf::default(), &Listener::default()).build().unwrap();
    let engine = engine.open().await.unwrap();
    let handle = engine.handle();
    let running = tokio::spawn(engine.run_until(std::future::pending()));
    let refused = handle.judge(Vec::new(), person(), "nothing").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let flood = (0..1_025).flat_map(missed).collect();
    assert_eq!(handle.judge(flood, person(), "everything").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let unknown = handle.no_problem(&IncidentId::numbered(77), person(), "it was a test").await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    running.abort();
    let _ = running.await;
}

#[tokio::test(start_paused = true)]
async fn an_incident_that_is_no_problem_is_told_by_its_anomalies() {
    let (clock, journal, listener) = (SimClock::new(), MemoryJournal::new(), Listener::default());
    let world = World::new(RecoveryClass::Keyed);
    world.fall_sick("middle");
    let engine = responder(&world, &clock, &journal, "observe").detector(listener.clone()).build().unwrap();
    let engine = engine.open().await.unwrap();
    let mut handle = engine.handle();
    let running = tokio::spawn(engine.run_until(std::future::pending()));
    while handle.status().incidents.is_empty() {
        handle.changed().await.unwrap();
    }
    let open = handle.status().incidents.first().unwrap().clone();
    handle.no_problem(&open.id, person(), "a drill").await.unwrap();
    let mut news = handle.records();
    while listener.0.lock().unwrap().is_empty() {
        news.recv().await.unwrap();
    }
    let told = listener.0.lock().unwrap().clone();
    let wanted: Vec<Feedback> =
        open.anomalies.iter().map(|anomaly| Feedback::FalseAlarm { anomaly: anomaly.id.clone() }).collect();
    assert_eq!(told, wanted);
    running.abort();
    let _ = running.await;
}
