//! `ir-sim year`: what a quiet installation leaves in its journal, and how long a start takes then.
//!
//! The engine runs in simulated time with a detector that reports as the real ones do (an episode when it begins, when it has grown,
//! and when it ends): 20 weak anomalies that go on and grow twice a day, and three faults a day, which are healed. A poll cycle every
//! 15 s. The journal is kept in memory, and then written to files as it is, so that its size and the start are those of files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use incident_response::adapters::SystemClock;
use incident_response::adapters::file::{FileJournal, FileJournalConfig};
use incident_response::core::anomaly::{Direction as AnomalyDirection, Symptom};
use incident_response::core::journal::{Batch, Holder, ReadFrom, decode};
use incident_response::core::*;
use incident_response::plan::decision::Policy;
use incident_response::plan::plan::Playbooks;
use incident_response::{Builder, EngineSettings, Responder};

type Fallible<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const POLL_MS: u64 = 15_000;
const WEAK: usize = 20;
const FAULT_EVERY_SECS: u64 = 86_400 / 3;
const GROW_EVERY_SECS: u64 = 86_400 / 2;
const SERVICES: usize = 40;

pub(crate) fn run(_first: u64, days: u64) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let written = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(live(days)));
    written.and_then(|journal| look(&journal, days)).unwrap_or_else(|error| format!("ir-sim year: {error}\n"))
}

/// The paused clock of the runtime.
#[derive(Debug, Clone)]
struct Simulated {
    since: tokio::time::Instant,
    start: Moment,
}

#[async_trait]
impl Clock for Simulated {
    fn now(&self) -> Moment {
        let passed = self.since.elapsed();
        let mono_ns = self.start.mono_ns + u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        Moment { wall: self.start.wall.plus(passed), mono_ns, boot: self.start.boot.clone() }
    }

    async fn sleep_until(&self, mono_ns: u64) {
        while self.now().mono_ns < mono_ns {
            tokio::time::sleep(Duration::from_nanos(mono_ns - self.now().mono_ns)).await;
        }
    }
}

/// What is sick now.
#[derive(Debug, Clone, Default)]
struct House(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    sick: BTreeSet<EntityId>,
    known: BTreeMap<EntityId, Timestamp>,
    /// Seconds since the start at which the next fault begins, and at which the weak ones grow.
    fault_at: u64,
    grow_at: u64,
    grown: u64,
    faults: u64,
    healed: u64,
}

impl House {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn service(n: usize) -> EntityId {
    EntityId::new(format!("svc-{n}")).unwrap_or_else(|_| EntityId::literal("svc"))
}

/// One sample a service, so that something is counted.
#[derive(Debug)]
struct Source(Vec<Arc<Series>>);

#[async_trait]
impl SignalSource for Source {
    fn name(&self) -> &str {
        "scrape"
    }

    async fn poll(&self, ctx: &Ctx, _cursor: &Cursor) -> Result<Polled> {
        let at = ctx.now().wall;
        let metrics = self.0.iter().map(|series| MetricSample { series: series.clone(), at, value: 1.0 }).collect();
        let next = Cursor::new(format!("{{\"all\":{}}}", at.as_nanos() / 1_000_000));
        Ok(Polled { batch: SignalBatch { metrics, ..SignalBatch::default() }, next, ..Polled::default() })
    }
}

#[derive(Debug)]
struct StandIn(House, Simulated);

impl StandIn {
    fn report(&self, n: usize, onset: Timestamp, phase: Phase, score: f64, what: &str) -> Result<Anomaly> {
        let entity = service(n);
        let id = AnomalyId::new(format!("stand_in/{entity}/{what}/{}", onset.as_nanos()))?;
        Ok(Anomaly {
            id,
            detector: PartName::literal("stand_in"),
            version: 1,
            entity,
            peer: None,
            subject: what.to_owned(),
            labels: Labels::new(),
            symptom: Symptom::Errors,
            direction: AnomalyDirection::Up,
            phase,
            onset,
            at: self.1.now().wall,
            score: Score::new(score)?,
            expected: Measured(12.4),
            seen: Measured(17.9),
            threshold: Measured(0.5),
            because: "expected 12.4 requests a second as in 240 scrapes before, seen 17.9 since 10:03".to_owned(),
        })
    }
}

#[async_trait]
impl Detector for StandIn {
    fn name(&self) -> &str {
        "stand_in"
    }

    async fn detect(&self, _ctx: &Ctx, _batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let now = self.1.now();
        let passed = (now.mono_ns - self.1.start.mono_ns) / 1_000_000_000;
        let mut house = self.0.lock();
        let mut found = Vec::new();
        if passed >= house.grow_at {
            house.grow_at += GROW_EVERY_SECS;
            house.grown += 1;
            let (began, phase) = (house.grown == 1, if house.grown == 1 { Phase::Began } else { Phase::Grew });
            for n in 0..WEAK {
                let score = if began { 0.3 } else { 0.3 + (house.grown % 10) as f64 / 100.0 };
                found.push(self.report(n, self.1.start.wall, phase, score, "weak")?);
            }
        }
        if passed >= house.fault_at {
            house.fault_at += FAULT_EVERY_SECS;
            house.faults += 1;
            // Each day other ones, so that no budget of a target ends it.
            let target = service(WEAK + usize::try_from(house.faults).unwrap_or(0) % (SERVICES - WEAK));
            house.sick.insert(target);
        }
        for n in WEAK..SERVICES {
            let entity = service(n);
            match (house.sick.contains(&entity), house.known.get(&entity).copied()) {
                (true, None) => {
                    house.known.insert(entity, now.wall);
                    found.push(self.report(n, now.wall, Phase::Began, 0.9, "fault")?);
                }
                (false, Some(onset)) => {
                    house.known.remove(&entity);
                    found.push(self.report(n, onset, Phase::Ended, 0.9, "fault")?);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
        Ok(Snapshot { name: PartName::literal("stand_in"), version: 1, bytes: vec![0; 64] })
    }

    async fn restore(&self, _ctx: &Ctx, _from: &Snapshot) -> Result<()> {
        Ok(())
    }

    async fn feedback(&self, _ctx: &Ctx, _feedback: &Feedback) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Healer(House);

#[async_trait]
impl Executor for Healer {
    fn name(&self) -> &str {
        "healer"
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        vec![ActionSpec {
            name: ActionName::literal("house.heal"),
            description: "heals a service".to_owned(),
            params: ActionSpec::no_params(),
            risk: RiskClass::Low,
            reversibility: Reversibility::Transient,
            recovery: RecoveryClass::Keyed,
            blast_radius: 1,
            changes_target: true,
        }]
    }

    async fn preview(&self, _ctx: &Ctx, call: &Call) -> Result<Preview> {
        let sick = self.0.lock().sick.contains(&call.target);
        let state = Digest::of(format!("{} {sick}", call.target).as_bytes());
        Ok(Preview { state, summary: format!("heals {}", call.target), undo: None })
    }

    async fn execute(&self, _ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let effect = permit.redeem()?;
        let mut house = self.0.lock();
        house.healed += u64::from(house.sick.remove(&effect.call().target));
        Ok(Attempt::applied("healed"))
    }

    async fn probe(&self, _ctx: &Ctx, _probe: &Probe) -> Result<Probed> {
        Ok(Probed::Unknown)
    }
}

/// Keeps nothing but the latest few, as files would.
#[derive(Debug, Default)]
struct Shelf(Mutex<BTreeMap<PartName, Snapshot>>);

#[async_trait]
impl SnapshotStore for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }

    async fn put(&self, _ctx: &Ctx, snapshot: &Snapshot) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(snapshot.name.clone(), snapshot.clone());
        Ok(())
    }

    async fn get(&self, _ctx: &Ctx, name: &PartName, _digest: &Digest) -> Result<Option<Snapshot>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }
}

fn house() -> Fallible<(Builder, House)> {
    let house = House::default();
    let topology: String = (0..SERVICES).map(|n| format!("[[entity]]\nid = \"svc-{n}\"\n")).collect();
    let policy =
        "tier = \"act\"\n[[rule]]\nname = \"heal\"\neffect = \"permit\"\nwhen = { actions = [\"house.heal\"] }\n";
    let playbook = "[[playbook]]\nname = \"heal\"\nversion = 1\n[[playbook.step]]\nid = \"heal\"\naction = \"house.heal\"\n\
                    expected_effect = \"well\"\ntimeout_ms = 2000\n";
    let series = (0..SERVICES).map(|n| {
        let (metric, unit, labels) = ("up".to_owned(), String::new(), Labels::new());
        Arc::new(Series { entity: service(n), metric, kind: MetricKind::Up, unit, labels })
    });
    let builder = Responder::builder()
        .topology(Topology::parse(&topology, "topology.toml")?)
        .policy(Policy::parse(policy, "policy.toml")?)
        .playbooks(Playbooks::parse(playbook, "playbooks.toml")?)
        .source(Source(series.collect()))
        .executor(Healer(house.clone()))
        .settings(EngineSettings { poll_every_ms: POLL_MS, ..EngineSettings::default() });
    Ok((builder, house))
}

/// So many days, in simulated time.
async fn live(days: u64) -> Fallible<MemoryJournal> {
    let clock = Simulated { since: tokio::time::Instant::now(), start: ManualClock::new().now() };
    let (builder, house) = house()?;
    let journal = MemoryJournal::new();
    let engine = builder
        .clock(clock.clone())
        .journal(journal.clone())
        .snapshots(Shelf::default())
        .detector(StandIn(house.clone(), clock))
        .build()?
        .open()
        .await?;
    engine.run_until(tokio::time::sleep(Duration::from_secs(days * 86_400))).await?;
    let house = house.lock();
    if house.healed + 1 < house.faults {
        return Err(format!("{} of {} faults were healed", house.healed, house.faults).into());
    }
    Ok(journal)
}

/// Writes the journal to files, and starts from them.
fn look(journal: &MemoryJournal, days: u64) -> Fallible<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = std::env::temp_dir().join(format!("ir-sim-year-{}", std::process::id()));
        let looked = look_in(&folder, journal, days).await;
        let _ = std::fs::remove_dir_all(&folder);
        looked
    })
}

async fn look_in(folder: &Path, journal: &MemoryJournal, days: u64) -> Fallible<String> {
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let mut records = 0;
    {
        let files = FileJournal::open_with(&FileJournalConfig::at(folder))?;
        let lease = files.claim(&ctx, &Holder { name: PartName::literal("copy"), ttl_ms: 1 }).await?;
        loop {
            let page = journal.read(&ctx, &ReadFrom { seq: records + 1, max: 4_096 }).await?;
            if page.records.is_empty() {
                break;
            }
            // Only whole appends: the rest of the last one comes with the next page.
            let whole = page.records.iter().rposition(|record| decode(record).is_ok_and(|record| record.left == 0));
            let page = page.records.get(..=whole.ok_or("an append of thousands")?).ok_or("a page")?.to_vec();
            let mut blobs = Vec::new();
            for digest in page.iter().filter_map(|record| decode(record).ok()).flat_map(|record| record.body.blobs()) {
                blobs
                    .push(incident_response::core::journal::Blob { digest, bytes: journal.blob(&ctx, &digest).await? });
            }
            for batch in appends(page) {
                records = batch.last().map_or(records, |record| record.seq);
                let expected_seq = batch.first().map_or(0, |record| record.seq);
                let wanted: BTreeSet<Digest> = batch
                    .iter()
                    .filter_map(|record| decode(record).ok())
                    .flat_map(|record| record.body.blobs())
                    .collect();
                let of_batch = blobs.iter().filter(|blob| wanted.contains(&blob.digest)).cloned().collect();
                let epoch = lease.epoch;
                files
                    .append(&ctx, &Batch { expected_seq, epoch, checkpoint: false, blobs: of_batch, records: batch })
                    .await?;
            }
        }
    }
    let bytes = size(folder)?;
    let (builder, _) = house()?;
    let begun = tokio::time::Instant::now();
    let engine = builder.journal(FileJournal::open(folder)?).build()?.open().await?;
    let start = begun.elapsed();
    drop(engine);
    let (mb, a_year) = (bytes as f64 / 1e6, bytes as f64 / 1e6 / days.max(1) as f64 * 365.0);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{days} days with {WEAK} weak anomalies that go on and 3 incidents a day: {records} records, {mb:.1} MB on disk \
         ({a_year:.0} MB a year; asked: at most 500); a start takes {:.3} s (asked: at most 5)",
        start.as_secs_f64()
    );
    Ok(text)
}

/// Cut where an append ends.
fn appends(
    records: Vec<incident_response::core::journal::EncodedRecord>,
) -> Vec<Vec<incident_response::core::journal::EncodedRecord>> {
    let (mut all, mut open) = (Vec::new(), Vec::new());
    for record in records {
        let ends = decode(&record).is_ok_and(|record| record.left == 0);
        open.push(record);
        if ends {
            all.push(std::mem::take(&mut open));
        }
    }
    all
}

fn size(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
