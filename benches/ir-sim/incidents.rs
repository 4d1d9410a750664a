//! `ir-sim incidents`: planted faults that become an incident, and harmless disturbances that do not, with the engine as it is
//! delivered in a world of simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use incident_response::core::journal::{Body, Event, Fact, Record};
use incident_response::core::{
    AnomalyId, BootId, Clock, Ctx, Cursor, Detector, EntityId, MemoryJournal, Moment, Polled, Result, SignalSource,
    Timestamp,
};
use incident_response::detect::logs::{LogTemplates, LogTemplatesConfig};
use incident_response::detect::traces::{TraceConfig, TraceDetector};
use incident_response::prelude::{Detectors, EngineSettings, Responder, Topology};
use ir_bench::sim::world::{Event as Planted, World};

/// A scrape every five seconds.
const INTERVAL: Duration = Duration::from_secs(5);
/// Quiet before the event, and watched after it.
const QUIET_SECS: f64 = 600.0;
const WATCHED_SECS: f64 = 300.0;

/// Time as tokio simulates it.
#[derive(Debug, Clone)]
struct SimClock {
    began: tokio::time::Instant,
    start: Timestamp,
}

#[async_trait::async_trait]
impl Clock for SimClock {
    fn now(&self) -> Moment {
        let passed = self.began.elapsed();
        let mono_ns = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        Moment { wall: self.start.plus(passed), mono_ns, boot: BootId::new("sim") }
    }

    async fn sleep_until(&self, mono_ns: u64) {
        tokio::time::sleep_until(self.began + Duration::from_nanos(mono_ns)).await;
    }
}

/// A world that is scraped when it is polled.
#[derive(Debug)]
struct Scraped {
    world: Mutex<World>,
    clock: SimClock,
}

#[async_trait::async_trait]
impl SignalSource for Scraped {
    fn name(&self) -> &str {
        "world"
    }

    async fn poll(&self, _ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let secs = self.clock.began.elapsed().as_secs_f64();
        let batch = self.world.lock().unwrap_or_else(PoisonError::into_inner).scrape(secs);
        Ok(Polled { batch, next: cursor.clone(), ..Polled::default() })
    }
}

/// An incident that was opened.
#[derive(Debug)]
struct Opened {
    after_secs: f64,
    entities: BTreeSet<EntityId>,
    because: String,
}

/// What was counted for one kind of event.
#[derive(Debug, Default)]
struct Counted {
    cases: u32,
    /// Cases with an incident that is about the event.
    found: u32,
    after_secs: Vec<f64>,
    incidents: u32,
    /// Incidents before the event, about something else, or about something harmless.
    wrong: u32,
}

/// What judges the worlds.
type Judges = fn() -> Vec<Arc<dyn Detector>>;

/// The standard detectors in worlds that show metrics only.
pub(crate) fn run(first: u64, seeds: u64) -> String {
    worlds(first, seeds, false, Detectors::standard)
}

/// Several sets of detectors in the same worlds, whose services also write lines and trace requests.
pub(crate) fn run_telling(first: u64, seeds: u64) -> String {
    let sets: [(&str, Judges); 3] = [
        ("standard", Detectors::standard),
        ("standard and log templates", || with(LogTemplates::new(LogTemplatesConfig::default()))),
        ("standard and traces", || with(TraceDetector::new(TraceConfig::default()))),
    ];
    let told = sets.map(|(name, judges)| format!("{name}:\n{}", worlds(first, seeds, true, judges)));
    told.join("\n")
}

/// The standard detectors and one more.
fn with<D: Detector, E>(more: std::result::Result<D, E>) -> Vec<Arc<dyn Detector>> {
    let more = more.ok().map(|more| Arc::new(more) as Arc<dyn Detector>);
    Detectors::standard().into_iter().chain(more).collect()
}

fn worlds(first: u64, seeds: u64, telling: bool, judges: Judges) -> String {
    let mut counted: Vec<(Planted, bool, Counted)> = Vec::new();
    for (events, is_fault) in [(&Planted::FAULTS[..], true), (&Planted::HARMLESS[..], false)] {
        for event in events {
            let mut of_event = Counted::default();
            // `seeds` in all, shared out among the kinds.
            let n = seeds.div_ceil(events.len() as u64);
            for seed in first..first + n {
                one((*event, is_fault), seed, telling, judges, &mut of_event);
            }
            counted.push((*event, is_fault, of_event));
        }
    }
    report(&counted)
}

fn one((event, is_fault): (Planted, bool), seed: u64, telling: bool, judges: Judges, counted: &mut Counted) {
    let start = Timestamp::from_millis(1_790_000_000_000);
    let world = World::new(seed, event, QUIET_SECS + 0.1 * (seed % 50) as f64, start);
    let world = if telling { world.telling(seed) } else { world };
    let (topology, target) = (world.topology(), world.target().clone());
    counted.cases += 1;
    let opened = match watch(world, topology.clone(), start, judges) {
        Ok(opened) => opened,
        Err(why) => {
            eprintln!("ir-sim: {event:?} {seed}: {why}");
            return;
        }
    };
    let mut found = None;
    for incident in opened {
        counted.incidents += 1;
        let about = |entity: &EntityId| *entity == target || topology.reachable_from(entity).contains(&target);
        let right = is_fault && incident.after_secs >= 0.0 && incident.entities.iter().any(about);
        if right {
            found.get_or_insert(incident.after_secs);
        } else {
            counted.wrong += 1;
            eprintln!("{event:?} seed {seed} at {target}: {:.0} s: {}", incident.after_secs, incident.because);
        }
    }
    if is_fault && found.is_none() {
        eprintln!("{event:?} seed {seed} at {target}: no incident");
    }
    counted.found += u32::from(found.is_some());
    counted.after_secs.extend(found);
}

/// Runs the engine over a world and tells which incidents it opened.
fn watch(world: World, topology: Topology, start: Timestamp, judges: Judges) -> Result<Vec<Opened>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let clock = SimClock { began: tokio::time::Instant::now(), start };
        let source = Scraped { world: Mutex::new(world), clock: clock.clone() };
        let every = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
        let builder = Responder::builder()
            .clock(clock)
            .journal(MemoryJournal::new())
            .topology(topology)
            .source(source)
            .detectors(judges())
            .settings(EngineSettings {
                poll_every_ms: every,
                snapshot_every_ms: 3_600_000,
                ..EngineSettings::default()
            });
        let engine = builder.build().map_err(|error| error.to_string())?;
        let engine = engine.open().await.map_err(|error| error.to_string())?;
        let mut records = engine.handle().records();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let telling = Arc::clone(&seen);
        let listening = tokio::spawn(async move {
            while let Ok(record) = records.recv().await {
                telling.lock().unwrap_or_else(PoisonError::into_inner).take(&record, start);
            }
        });
        let over = tokio::time::sleep(Duration::from_secs_f64(QUIET_SECS + WATCHED_SECS));
        engine.run_until(over).await.map_err(|error| error.to_string())?;
        listening.await.map_err(|error| error.to_string())?;
        let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(seen.opened)
    })
}

/// What the records told.
#[derive(Debug, Default)]
struct Seen {
    anomalies: BTreeMap<AnomalyId, (EntityId, String)>,
    opened: Vec<Opened>,
}

impl Seen {
    fn take(&mut self, record: &Record, start: Timestamp) {
        match &record.body {
            Body::Event(Event::Observed(observed)) => {
                let found = observed.anomalies.iter();
                self.anomalies.extend(found.map(|a| (a.id.clone(), (a.entity.clone(), a.because.clone()))));
            }
            Body::Fact(Fact::IncidentOpened { anomalies, .. }) => {
                let known: Vec<_> = anomalies.iter().filter_map(|id| self.anomalies.get(id)).collect();
                let because: Vec<String> = known.iter().map(|(entity, why)| format!("{entity}: {why}")).collect();
                self.opened.push(Opened {
                    after_secs: record.at.wall.since(start).as_secs_f64() - QUIET_SECS,
                    entities: known.iter().map(|(entity, _)| entity.clone()).collect(),
                    because: because.join("; "),
                });
            }
            _ => {}
        }
    }
}

fn report(counted: &[(Planted, bool, Counted)]) -> String {
    let mut text = String::new();
    for (event, is_fault, counted) in counted {
        let mut after = counted.after_secs.clone();
        after.sort_by(f64::total_cmp);
        let _ = write!(text, "{:<10} {:>4} cases", format!("{event:?}"), counted.cases);
        if *is_fault {
            let median = after.get(after.len() / 2).copied().unwrap_or(f64::NAN);
            let _ = write!(text, ", {:>4} became an incident, after {median:.0} s in the median", counted.found);
        }
        let _ = writeln!(text, ", {} incidents in all, {} of them wrong", counted.incidents, counted.wrong);
    }
    let sum = |of: fn(&Counted) -> u32| counted.iter().map(|(_, _, counted)| of(counted)).sum::<u32>();
    let faults: u32 = counted.iter().filter(|(_, is_fault, _)| *is_fault).map(|(_, _, counted)| counted.cases).sum();
    let (found, incidents, wrong) = (sum(|c| c.found), sum(|c| c.incidents), sum(|c| c.wrong));
    let percent = |part: u32, all: u32| 100.0 * f64::from(part) / f64::from(all.max(1));
    let _ = writeln!(
        text,
        "{found} of {faults} faults became an incident ({:.1} %); {wrong} of {incidents} incidents are wrong ({:.1} %)",
        percent(found, faults),
        percent(wrong, incidents)
    );
    text
}
