//! Detectors that remember only what was stored: a restart must know how an episode ends, whenever the process died.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use incident_response::core::anomaly::{KEPT_SNAPSHOTS, Symptom};
use incident_response::core::journal::{Body, Fact};
use incident_response::core::*;
use incident_response::{Builder, EngineSettings};

use crate::healing::assert_sound;
use crate::world::*;

/// Keeps snapshots in memory; clones share them, as a folder would over a restart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Vec<Snapshot>>>);

#[async_trait::async_trait]
impl SnapshotStore for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }

    async fn put(&self, _ctx: &Ctx, snapshot: &Snapshot) -> Result<()> {
        let mut kept = self.0.lock().unwrap();
        kept.push(snapshot.clone());
        let of_name = |kept: &Snapshot| kept.name == snapshot.name;
        if kept.iter().filter(|kept| of_name(kept)).count() > KEPT_SNAPSHOTS {
            let oldest = kept.iter().position(of_name);
            oldest.map(|oldest| kept.remove(oldest));
        }
        Ok(())
    }

    async fn get(&self, _ctx: &Ctx, name: &PartName, digest: &Digest) -> Result<Option<Snapshot>> {
        let kept = self.0.lock().unwrap();
        Ok(kept.iter().find(|s| s.name == *name && s.digest() == *digest).cloned())
    }
}

/// Reports the end of an episode only if it knows of its beginning.
#[derive(Debug, Default)]
struct Honest(Mutex<BTreeMap<EntityId, Timestamp>>);

#[async_trait::async_trait]
impl Detector for Honest {
    fn name(&self) -> &str {
        "honest"
    }

    async fn detect(&self, _ctx: &Ctx, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let mut known = self.0.lock().unwrap();
        let mut found = Vec::new();
        for sample in &batch.metrics {
            let entity = &sample.series.entity;
            let (phase, onset) = match (sample.value > 0.0, known.get(entity).copied()) {
                (true, None) => (Phase::Began, sample.at),
                (false, Some(onset)) => (Phase::Ended, onset),
                _ => continue,
            };
            match phase {
                Phase::Ended => known.remove(entity),
                _ => known.insert(entity.clone(), onset),
            };
            found.push(Anomaly {
                id: AnomalyId::new(format!("honest/{entity}/{}", onset.as_nanos())).unwrap(),
                detector: PartName::literal("honest"),
                version: 1,
                entity: entity.clone(),
                peer: None,
                subject: "sick".into(),
                labels: Labels::new(),
                symptom: Symptom::Errors,
                direction: AnomalyDirection::Up,
                phase,
                onset,
                at: sample.at,
                score: Score::ONE,
                expected: Measured(0.0),
                seen: Measured(sample.value),
                threshold: Measured(0.5),
                because: format!("`{entity}` is sick"),
            });
        }
        Ok(found)
    }

    async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
        let bytes = serde_json::to_vec(&*self.0.lock().unwrap()).unwrap();
        Ok(Snapshot { name: PartName::literal("honest"), version: 1, bytes })
    }

    async fn restore(&self, _ctx: &Ctx, from: &Snapshot) -> Result<()> {
        *self.0.lock().unwrap() = serde_json::from_slice(&from.bytes).unwrap();
        Ok(())
    }

    async fn feedback(&self, _ctx: &Ctx, _feedback: &Feedback) -> Result<()> {
        Ok(())
    }
}

fn honest(world: &World, clock: &SimClock, journal: &MemoryJournal, shelf: Option<&Shelf>) -> Builder {
    let settings = EngineSettings {
        settle_ms: 300,
        rediagnose_ms: 300,
        quiet_ms: 1500,
        forget_ms: 5_000,
        ..EngineSettings::default()
    };
    let builder = bare(world, clock, journal, "act")
        .source(Eyes(world.clone()))
        .detector(Honest::default())
        .executor(Hands(world.clone()))
        .settings(settings);
    match shelf {
        Some(shelf) => builder.snapshots(shelf.clone()),
        None => builder,
    }
}

/// Dies after record `n` of the first life; says whether the incident was still open then.
async fn die_after(n: usize, builder: Builder, journal: &MemoryJournal, clock: &SimClock) -> bool {
    let engine = builder.build().unwrap().open().await.unwrap();
    let mut news = engine.handle().records();
    let running = tokio::spawn(engine.run_until(std::future::pending()));
    for _ in 0..n {
        news.recv().await.unwrap();
    }
    running.abort();
    let _ = running.await;
    !closed(&all_records(journal, clock).await)
}

#[tokio::test(start_paused = true)]
async fn a_restart_after_any_record_knows_how_the_episode_ends() {
    for n in 1.. {
        let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
        let shelf = Shelf::default();
        world.fall_sick("middle");
        if !die_after(n, honest(&world, &clock, &journal, Some(&shelf)), &journal, &clock).await {
            break;
        }
        clock.reboot("second");
        let records = run_until(honest(&world, &clock, &journal, Some(&shelf)), &clock, closed).await;
        assert!(closed(&records), "after record {n} the incident was never closed");
        assert_eq!(world.effects().len(), 1, "after record {n}");
        let forgotten =
            |r: &Record| matches!(&r.body, Body::Fact(Fact::Degraded { what, .. }) if what.starts_with("anomalies"));
        assert!(!records.iter().any(forgotten), "after record {n} the detector had forgotten");
        assert_sound(&journal, &clock).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_detector_forgot_counts_as_over_after_a_while() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.fall_sick("middle");
    // The first life ends as soon as something was found, and nothing was stored.
    let engine = honest(&world, &clock, &journal, None).build().unwrap().open().await.unwrap();
    let mut news = engine.handle().records();
    let running = tokio::spawn(engine.run_until(std::future::pending()));
    while !matches!(news.recv().await.unwrap().body, Body::Fact(Fact::IncidentOpened { .. })) {}
    running.abort();
    let _ = running.await;
    world.lock().sick.clear();
    clock.reboot("second");
    let records = run_until(honest(&world, &clock, &journal, None), &clock, closed).await;
    let forgotten =
        |r: &Record| matches!(&r.body, Body::Fact(Fact::Degraded { what, .. }) if what.starts_with("anomalies"));
    assert!(records.iter().any(forgotten));
    assert!(closed(&records));
    assert_sound(&journal, &clock).await;
}
