//! Time in scrapes: at every scrape interval that people have a right remedy is verified and kept, and a useless one is undone, with
//! all defaults.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use incident_response::core::journal::{Body, Fact};
use incident_response::core::*;
use incident_response::plan::plan::Playbooks;

use crate::healing::assert_sound;
use crate::world::*;

/// When it was scraped last, and the requests without and with an error by service.
type Counted = (Option<u64>, BTreeMap<&'static str, [u64; 2]>);

/// Scrapes every service at an interval: requests with and without errors, and whether it answers.
#[derive(Debug)]
struct Scraper {
    world: World,
    every_secs: u64,
    state: Mutex<Counted>,
}

#[async_trait]
impl SignalSource for Scraper {
    fn name(&self) -> &str {
        "scraper"
    }

    async fn poll(&self, ctx: &Ctx, _cursor: &Cursor) -> Result<Polled> {
        let now = ctx.now();
        let mut state = self.state.lock().unwrap();
        let next = Cursor::new(now.wall.to_string());
        let since_ms = state.0.map(|last| (now.mono_ns - last) / 1_000_000);
        if since_ms.is_some_and(|ms| ms + 50 < self.every_secs * 1_000) {
            return Ok(Polled { next, ..Polled::default() });
        }
        state.0 = Some(now.mono_ns);
        let mut metrics = Vec::new();
        for (n, name) in SERVICES.into_iter().enumerate() {
            let sick = self.world.lock().sick.contains(&entity(name));
            // Some 50 requests a second, a little up and down, always the same.
            let wobble = (now.mono_ns / 1_000_000_000 * 7 + n as u64 * 13) % 11;
            let served = since_ms.unwrap_or(0) * (500 + wobble) / 10_000;
            let failed = if sick { served * 6 / 10 } else { 0 };
            let counts = state.1.entry(name).or_default();
            counts[0] += served - failed;
            counts[1] += failed;
            let rows = [
                ("http_requests_total", MetricKind::Counter, "200", counts[0]),
                ("http_requests_total", MetricKind::Counter, "500", counts[1]),
                ("up", MetricKind::Up, "", 1),
            ];
            for (metric, kind, code, value) in rows {
                let labels = if code.is_empty() { Labels::new() } else { [("code", code)].into_iter().collect() };
                let series = Series { entity: entity(name), metric: metric.into(), kind, unit: String::new(), labels };
                metrics.push(MetricSample { series: Arc::new(series), at: now.wall, value: value as f64 });
            }
        }
        Ok(Polled { batch: SignalBatch { metrics, ..SignalBatch::default() }, next, ..Polled::default() })
    }
}

/// The steps of a run in which `middle` falls sick after long enough a time to learn, and how long until the first effect and until
/// the end of the plan, in scrapes.
async fn life(every_secs: u64, helps: bool) -> (Vec<String>, Vec<StepState>, u64, u64) {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    if !helps {
        world.lock().heals.clear();
    }
    let text = "[[playbook]]\nname = \"heal\"\nversion = 1\n[[playbook.step]]\nid = \"heal\"\naction = \"world.heal\"\n\
                expected_effect = \"well\"\n";
    let engine = incident_response::Responder::builder()
        .clock(clock.clone())
        .journal(journal.clone())
        .topology(topology())
        .playbooks(Playbooks::parse(text, "p.toml").unwrap())
        .policy(policy("act"))
        .detectors(incident_response::detect::Detectors::standard())
        .source(Scraper { world: world.clone(), every_secs, state: Mutex::default() })
        .executor(Hands(world.clone()))
        .build()
        .unwrap()
        .open()
        .await
        .unwrap();
    let (done, wait) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(engine.run_until(async {
        let _ = wait.await;
    }));
    tokio::time::sleep(Duration::from_secs(1_800.max(every_secs * 120))).await;
    world.fall_sick("middle");
    let sick_at = clock.now().mono_ns;
    tokio::time::sleep(Duration::from_secs(1_200.max(every_secs * 60))).await;
    let _ = done.send(());
    running.await.unwrap().unwrap();
    assert_sound(&journal, &clock).await;
    let records = all_records(&journal, &clock).await;
    let scrapes = |record: &Record| record.at.mono_ns.saturating_sub(sick_at) / 1_000_000_000 / every_secs;
    let at = |wanted: fn(&Body) -> bool| records.iter().find(|r| wanted(&r.body)).map_or(u64::MAX, scrapes);
    let acted = at(|body| matches!(body, Body::Fact(Fact::StepMoved { to: StepState::Applied, .. })));
    let over = at(|body| matches!(body, Body::Fact(Fact::OutcomeReached(_))));
    let did = world.effects().iter().map(|effect| effect.call.to_string()).collect();
    (did, steps(&records).into_values().collect(), acted, over)
}

#[tokio::test(start_paused = true)]
async fn at_every_interval_a_right_remedy_is_kept_and_a_useless_one_is_undone() {
    println!("{:>8}  {:<8} {:>14} {:>12}  what was done", "interval", "remedy", "acted, scrapes", "over, scrapes");
    for every_secs in [1, 5, 15, 30, 60, 300] {
        for helps in [true, false] {
            let (did, states, acted, over) = life(every_secs, helps).await;
            let remedy = if helps { "right" } else { "useless" };
            println!("{every_secs:>6} s  {remedy:<8} {acted:>14} {over:>12}  {did:?} {states:?}");
            let end = if helps { StepState::Done } else { StepState::RolledBack };
            assert_eq!(states.first(), Some(&end), "{remedy} at {every_secs} s: {did:?}");
            let wanted: &[&str] =
                if helps { &["world.heal middle"] } else { &["world.heal middle", "world.unheal middle"] };
            assert_eq!(did, wanted, "{remedy} at {every_secs} s");
        }
    }
}
