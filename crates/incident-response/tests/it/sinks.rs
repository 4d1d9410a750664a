//! Audit sinks that fail for a while: a required one stops effects, none of them ever misses a record.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use incident_response::core::journal::{AuditSink, Body, EncodedRecord, Fact, GateFact};
use incident_response::core::*;

use crate::healing::assert_sound;
use crate::world::*;

/// How a sink treats what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Works,
    Errs,
    Panics,
    Hangs,
    /// Keeps the records and says that it failed.
    Lies,
}

#[derive(Debug, Clone)]
struct Copies(Arc<Mutex<(Mood, Vec<EncodedRecord>)>>);

impl Copies {
    fn new(mood: Mood) -> Self {
        Self(Arc::new(Mutex::new((mood, Vec::new()))))
    }

    fn turn(&self, mood: Mood) {
        self.0.lock().unwrap().0 = mood;
    }

    fn n(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }
}

#[async_trait]
impl AuditSink for Copies {
    fn name(&self) -> &str {
        "copies"
    }

    async fn copy(&self, _ctx: &Ctx, records: &[EncodedRecord]) -> Result<()> {
        let mood = self.0.lock().unwrap().0;
        match mood {
            Mood::Works | Mood::Lies => {}
            Mood::Errs => return Err(Error::new(ErrorKind::Unavailable, "copies", "full")),
            Mood::Panics => panic!("this sink is broken"),
            Mood::Hangs => std::future::pending().await,
        }
        {
            let copies = &mut self.0.lock().unwrap().1;
            for record in records {
                let next = copies.len() as u64 + 1;
                assert!(record.seq <= next, "record {} came, {next} was to come", record.seq);
                if record.seq == next {
                    copies.push(record.clone());
                }
            }
        }
        if mood == Mood::Lies { Err(Error::new(ErrorKind::Timeout, "copies", "too late")) } else { Ok(()) }
    }

    async fn position(&self, _ctx: &Ctx) -> Result<u64> {
        Ok(self.n() as u64 + 1)
    }
}

/// What was copied is what stands in the journal.
async fn assert_same(copies: &Copies, journal: &MemoryJournal, clock: &SimClock) {
    let ctx = Ctx::new(Arc::new(clock.clone()));
    let page = journal.read(&ctx, &journal::ReadFrom { seq: 1, max: usize::MAX }).await.unwrap();
    let copied = copies.0.lock().unwrap().1.clone();
    assert_eq!(copied, page.records[..copied.len()]);
}

#[tokio::test(start_paused = true)]
async fn a_required_sink_that_fails_stops_effects_and_later_has_every_record() {
    for mood in [Mood::Errs, Mood::Panics, Mood::Hangs, Mood::Lies] {
        let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
        world.fall_sick("middle");
        let copies = Copies::new(mood);
        let builder = responder(&world, &clock, &journal, "act").required_audit_sink(copies.clone());
        let (sick, sink, stage) = (world.clone(), copies.clone(), AtomicUsize::new(0));
        let records = run_until(builder, &clock, move |records| {
            match stage.load(Ordering::SeqCst) {
                0 if handed_over(records) => {
                    assert_eq!(sick.effects(), [], "{mood:?}");
                    sink.turn(Mood::Works);
                    // Somebody heals it, and another falls sick once that incident is closed.
                    sick.lock().sick.clear();
                    stage.store(1, Ordering::SeqCst);
                }
                1 if closed(records) => {
                    sick.fall_sick("back");
                    stage.store(2, Ordering::SeqCst);
                }
                2 => {
                    let second = records.iter().filter(|r| closed(std::slice::from_ref(r))).nth(1);
                    return second.is_some_and(|r| sink.n() as u64 >= r.seq);
                }
                _ => {}
            }
            false
        })
        .await;
        let did: Vec<String> = world.effects().iter().map(|e| e.call.to_string()).collect();
        assert_eq!(did, ["world.heal back"], "{mood:?}");
        let states: Vec<StepState> = steps(&records).into_values().collect();
        assert_eq!(states, [StepState::NotApplied, StepState::Done], "{mood:?}");
        let intents = records.iter().filter(|r| matches!(r.body, Body::Gate(GateFact::Intent(_)))).count();
        // What may pass with time is tried as often as a step may be sent; a panic is not.
        let tries = if mood == Mood::Panics { 1 } else { 3 };
        assert_eq!(intents, tries + 1, "{mood:?}: an intention is durable even where no permit follows");
        let done = records.iter().rposition(|r| matches!(r.body, Body::Fact(Fact::OutcomeReached(_)))).unwrap();
        assert!(copies.n() as u64 >= records[done].seq, "{mood:?}: the sink has {} records", copies.n());
        assert_same(&copies, &journal, &clock).await;
        assert_sound(&journal, &clock).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_optional_sink_that_fails_stops_nothing_and_gets_everything_later() {
    for mood in [Mood::Errs, Mood::Panics, Mood::Hangs, Mood::Lies] {
        let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
        world.fall_sick("middle");
        let copies = Copies::new(mood);
        let builder = responder(&world, &clock, &journal, "act").audit_sink(copies.clone());
        let sink = copies.clone();
        run_until(builder, &clock, move |records| {
            if !closed(records) {
                return false;
            }
            sink.turn(Mood::Works);
            let closing = records.iter().find(|r| closed(std::slice::from_ref(r))).map_or(0, |r| r.seq);
            sink.n() as u64 >= closing
        })
        .await;
        assert_eq!(world.effects().len(), 1, "{mood:?}");
        let records = all_records(&journal, &clock).await;
        let closing = records.iter().find(|r| closed(std::slice::from_ref(r))).unwrap().seq;
        assert!(copies.n() as u64 >= closing, "{mood:?}: it has {} of {} records", copies.n(), records.len());
        assert_same(&copies, &journal, &clock).await;
        assert_sound(&journal, &clock).await;
    }
}
