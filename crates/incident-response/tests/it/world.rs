//! A world of services in memory that fall sick and can be healed, and that keeps its own account of every effect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use incident_response::core::anomaly::Symptom;
use incident_response::core::journal::{
    Batch, Body, Chain, Fact, GateFact, Holder, Journal, ReadFrom, Record, Resolved,
};
use incident_response::core::*;
use incident_response::plan::decision::Policy;
use incident_response::plan::plan::Playbooks;
use incident_response::{Builder, EngineSettings, Responder};

/// Simulated time: tokio's paused clock, which jumps to the next wait whenever nothing else is left to do.
#[derive(Debug, Clone)]
pub(crate) struct SimClock(Arc<Mutex<(tokio::time::Instant, Moment)>>);

impl SimClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new((tokio::time::Instant::now(), ManualClock::new().now()))))
    }

    /// Somebody sets the wall clock; monotonic time goes on.
    pub(crate) fn jump_wall(&self, secs: i64) {
        let mut state = self.0.lock().unwrap();
        let wall = state.1.wall.as_nanos() + secs * 1_000_000_000;
        state.1.wall = Timestamp::from_nanos(wall);
    }

    /// Another boot: monotonic time begins again.
    pub(crate) fn reboot(&self, boot: &str) {
        let wall = self.now().wall;
        let start = Moment { wall, mono_ns: 5_000_000_000, boot: BootId::new(boot) };
        *self.0.lock().unwrap() = (tokio::time::Instant::now(), start);
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Moment {
        let (since, start) = self.0.lock().unwrap().clone();
        let passed = since.elapsed();
        let mono_ns = start.mono_ns + u64::try_from(passed.as_nanos()).unwrap();
        Moment { wall: start.wall.plus(passed), mono_ns, boot: start.boot }
    }

    async fn sleep_until(&self, mono_ns: u64) {
        while self.now().mono_ns < mono_ns {
            let left = mono_ns - self.now().mono_ns;
            tokio::time::sleep(std::time::Duration::from_nanos(left)).await;
        }
    }
}

/// What happens to the reply of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Reply {
    #[default]
    Arrives,
    /// The effect takes place and the reply is lost.
    LostAfter,
    /// The request is lost on its way.
    LostBefore,
    /// The effect takes place and no answer ever comes.
    Never,
    /// The executor says clearly that nothing was changed.
    Refused,
    /// It panics after the effect.
    Panics,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) call: Call,
    pub(crate) key: String,
    pub(crate) token: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Inner {
    pub(crate) sick: BTreeSet<EntityId>,
    /// Actions that heal; others have an effect and help nothing.
    pub(crate) heals: BTreeSet<ActionName>,
    pub(crate) effects: Vec<Effect>,
    done: BTreeMap<String, ()>,
    fence: u64,
    /// Replies to come, then all arrive.
    pub(crate) replies: Vec<Reply>,
    pub(crate) asked: Vec<ApprovalRequest>,
    pub(crate) recovery: RecoveryClass,
    /// Changes whenever somebody else touches the services.
    pub(crate) generation: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct World(Arc<Mutex<Inner>>);

impl World {
    pub(crate) fn new(recovery: RecoveryClass) -> Self {
        let world = Self::default();
        let mut inner = world.lock();
        inner.recovery = recovery;
        inner.heals.insert(ActionName::literal("world.heal"));
        drop(inner);
        world
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(crate) fn fall_sick(&self, name: &str) {
        self.lock().sick.insert(entity(name));
    }

    /// Becomes as `other` is now; from then on each goes its own way.
    #[cfg(feature = "file")]
    pub(crate) fn take_over(&self, other: &Self) {
        let copy = other.lock().clone();
        *self.lock() = copy;
    }

    pub(crate) fn effects(&self) -> Vec<Effect> {
        self.lock().effects.clone()
    }
}

pub(crate) fn entity(name: &str) -> EntityId {
    EntityId::new(name).unwrap()
}

pub(crate) const SERVICES: [&str; 3] = ["front", "middle", "back"];

pub(crate) fn topology() -> Topology {
    let entities: String = SERVICES.iter().map(|name| format!("[[entity]]\nid = \"{name}\"\n")).collect();
    let edges = "[[dependency]]\nfrom = \"front\"\nto = \"middle\"\n[[dependency]]\nfrom = \"middle\"\nto = \"back\"\n";
    Topology::parse(&format!("{entities}{edges}"), "topology.toml").unwrap()
}

const PLAYBOOKS: &str = r#"
[[playbook]]
name = "heal"
version = 1
[[playbook.step]]
id = "heal"
action = "world.heal"
expected_effect = "it is well again"
timeout_ms = 2000
verification = { hold_ms = 1000, within_ms = 10000 }
"#;

pub(crate) fn policy(tier: &str) -> Policy {
    let text = format!(
        "tier = \"{tier}\"\nveto_window_secs = 5\napproval_expires_secs = 60\n\
         [[rule]]\nname = \"heal\"\neffect = \"permit\"\nwhen = {{ actions = [\"world.heal\"] }}\n"
    );
    Policy::parse(&text, "policy.toml").unwrap()
}

/// A responder of this world; the journal is shared by all that are made with it.
pub(crate) fn responder(world: &World, clock: &SimClock, journal: &(impl Journal + Clone), tier: &str) -> Builder {
    bare(world, clock, journal, tier)
        .source(Eyes(world.clone()))
        .detector(Doctor::default())
        .executor(Hands(world.clone()))
}

/// The same without what sees and what acts.
pub(crate) fn bare(world: &World, clock: &SimClock, journal: &(impl Journal + Clone), tier: &str) -> Builder {
    let settings = EngineSettings {
        settle_ms: 300,
        rediagnose_ms: 300,
        quiet_ms: 1500,
        patience_ms: 30_000,
        // So that every start begins with one, and every replay compares many.
        checkpoint_every: 5,
        ..EngineSettings::default()
    };
    Responder::builder()
        .clock(clock.clone())
        .journal(journal.clone())
        .topology(topology())
        .correlator(OneAtATime)
        .diagnoser(Blames)
        .playbooks(playbooks())
        .policy(policy(tier))
        .approver(Desk(world.clone()))
        .settings(settings)
}

/// Runs until `enough` says so of the records so far, or simulated time is up.
pub(crate) async fn run_until(
    builder: Builder,
    clock: &SimClock,
    enough: impl Fn(&[Record]) -> bool + Send,
) -> Vec<Record> {
    let engine = builder.build().unwrap().open().await.unwrap();
    let mut news = engine.handle().records();
    let deadline = clock.now().mono_ns + 300_000_000_000;
    let (done, wait) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(engine.run_until(async {
        let _ = wait.await;
    }));
    let mut seen = Vec::new();
    let watching = async {
        loop {
            match news.recv().await {
                Ok(record) => {
                    let over = record.at.mono_ns > deadline;
                    seen.push(record);
                    if over || enough(&seen) {
                        return;
                    }
                }
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    };
    // Where nothing is recorded at all, simulated time still ends.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(400), watching).await;
    let _ = done.send(());
    running.await.unwrap().unwrap();
    seen
}

pub(crate) async fn all_records(journal: &dyn Journal, clock: &SimClock) -> Vec<Record> {
    let ctx = Ctx::new(Arc::new(clock.clone()));
    let page = journal.read(&ctx, &ReadFrom { seq: 1, max: usize::MAX }).await.unwrap();
    let mut records = Vec::new();
    for stored in &page.records {
        records.push(Resolved(journal).decode(&ctx, stored).await.unwrap());
    }
    records
}

/// Runs a life that ends right after its record `n`; says whether it got that far before the incident ended.
pub(crate) async fn die_after(builder: Builder, n: usize) -> bool {
    let engine = builder.build().unwrap().open().await.unwrap();
    let mut news = engine.handle().records();
    let running = tokio::spawn(engine.run_until(std::future::pending()));
    let mut got_there = true;
    let mut first = None;
    for _ in 0..n {
        let record = news.recv().await.unwrap();
        // Where the life before saw the end already and did not live to tell, only quiet poll cycles follow.
        let over = record.at.mono_ns - *first.get_or_insert(record.at.mono_ns) > 250_000_000_000;
        if over || closed(std::slice::from_ref(&record)) || handed_over(std::slice::from_ref(&record)) {
            got_there = false;
            break;
        }
    }
    running.abort();
    let _ = running.await;
    got_there
}

/// Quick, with everything else as it is by default.
pub(crate) fn quick_settings() -> EngineSettings {
    EngineSettings { settle_ms: 300, rediagnose_ms: 300, quiet_ms: 1_500, ..EngineSettings::default() }
}

/// Lets an engine run for so long.
pub(crate) async fn live(builder: Builder, secs: u64) {
    let engine = builder.build().unwrap().open().await.unwrap();
    engine.run_until(tokio::time::sleep(std::time::Duration::from_secs(secs))).await.unwrap();
}

/// Runs a life that is killed after the record for which `last` says so, and so many turns of the runtime.
pub(crate) async fn die_at(builder: Builder, last: impl Fn(&Body) -> bool, turns: usize) {
    let engine = builder.build().unwrap().open().await.unwrap();
    let mut news = engine.handle().records();
    let running = tokio::spawn(engine.run_until(std::future::pending()));
    while !last(&news.recv().await.unwrap().body) {}
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
    running.abort();
    let _ = running.await;
}

pub(crate) fn is_checkpoint(body: &Body) -> bool {
    matches!(body, Body::Gate(GateFact::Checkpoint(_)))
}

/// Writes a journal anew with some of its bodies changed, as another version of the library would have written it; with its
/// checkpoints or without them.
pub(crate) async fn rewritten(
    journal: &MemoryJournal,
    clock: &SimClock,
    checkpoints: bool,
    mut change: impl FnMut(&mut Body),
) -> MemoryJournal {
    let ctx = Ctx::new(Arc::new(clock.clone()));
    let (copy, mut chain) = (MemoryJournal::new(), Chain::default());
    let lease = copy.claim(&ctx, &Holder { name: PartName::literal("writer"), ttl_ms: 1 }).await.unwrap();
    for record in all_records(journal, clock).await {
        let mut body = record.body;
        let checkpoint = is_checkpoint(&body);
        if checkpoint && !checkpoints {
            continue;
        }
        change(&mut body);
        let expected_seq = chain.next_seq();
        let (_, records, blobs) = chain.encode(&record.at, vec![body]).unwrap();
        let batch = Batch { expected_seq, epoch: lease.epoch, checkpoint, blobs, records };
        copy.append(&ctx, &batch).await.unwrap();
    }
    tokio::time::advance(std::time::Duration::from_secs(20)).await;
    copy
}

/// Whether the incident found its end: healed, or in the hands of a person.
pub(crate) fn ended(records: &[Record]) -> bool {
    closed(records) || handed_over(records)
}

/// What holds however hostile the parts were: no effect without an earlier intention of its key and token, every step at its
/// end, no key with two effects, chain and replay sound.
pub(crate) async fn assert_safe(world: &World, clock: &SimClock, journal: &dyn Journal, what: &str) {
    let records = all_records(journal, clock).await;
    assert_nothing_dropped(&records);
    let mut keys = BTreeSet::new();
    for effect in world.effects() {
        let intended = records.iter().any(|r| {
            matches!(&r.body, Body::Gate(GateFact::Intent(intent))
                if intent.key.to_string() == effect.key && intent.token == effect.token && intent.call == effect.call)
        });
        assert!(intended, "{what}: {effect:?} without an intention");
        assert!(keys.insert(effect.key.clone()), "{what}: {effect:?} twice");
    }
    for (step, state) in steps(&records) {
        assert!(state.is_terminal(), "{what}: {step} is {state}");
    }
    assert!(ended(&records), "{what}: the incident has no end");
    let ctx = Ctx::new(Arc::new(clock.clone()));
    let report = incident_response::core::journal::verify(&ctx, journal).await.unwrap();
    assert_eq!(report.fault, None, "{what}");
    let report = incident_response::replay(&ctx, journal).await.unwrap();
    assert_eq!(report.difference, None, "{what}: {}", report.difference.as_ref().unwrap());
}

/// The engine never came to an illegal fact.
pub(crate) fn assert_nothing_dropped(records: &[Record]) {
    use incident_response::core::journal::Event;
    for record in records {
        assert!(!matches!(record.body, Body::Event(Event::Dropped { .. })), "{:?}", record.body);
    }
}

/// Whether something is said to have failed, in these words.
pub(crate) fn degraded(records: &[Record], words: &str) -> bool {
    records.iter().any(|r| match &r.body {
        Body::Fact(Fact::Degraded { what, because }) => what.contains(words) || because.contains(words),
        _ => false,
    })
}

/// What heals the world.
pub(crate) fn playbooks() -> Playbooks {
    Playbooks::parse(PLAYBOOKS, "playbooks.toml").unwrap()
}

/// A folder that is gone with the value.
#[derive(Debug)]
pub(crate) struct Folder(std::path::PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static N: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = N.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("incident-response-it-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The last state of every step.
pub(crate) fn steps(records: &[Record]) -> BTreeMap<StepRef, StepState> {
    let mut steps = BTreeMap::new();
    for record in records {
        match &record.body {
            Body::Fact(Fact::StepMoved { step, to, .. }) => {
                steps.insert(step.clone(), *to);
            }
            Body::Gate(GateFact::Intent(intent)) if intent.direction == Direction::Do => {
                steps.insert(intent.step.clone(), StepState::Intent);
            }
            _ => {}
        }
    }
    steps
}

pub(crate) fn closed(records: &[Record]) -> bool {
    moved(records, IncidentState::Closed)
}

pub(crate) fn handed_over(records: &[Record]) -> bool {
    moved(records, IncidentState::HandedOver)
}

fn moved(records: &[Record], wanted: IncidentState) -> bool {
    records.iter().any(|r| matches!(&r.body, Body::Fact(Fact::IncidentMoved { to, .. }) if *to == wanted))
}

/// Sees who is sick.
#[derive(Debug)]
pub(crate) struct Eyes(pub(crate) World);

#[async_trait]
impl SignalSource for Eyes {
    fn name(&self) -> &str {
        "eyes"
    }

    async fn poll(&self, ctx: &Ctx, _cursor: &Cursor) -> Result<Polled> {
        let at = ctx.now().wall;
        let inner = self.0.lock();
        let sample = |name: &&str| MetricSample {
            series: Arc::new(Series {
                entity: entity(name),
                metric: "sick".into(),
                kind: MetricKind::Gauge,
                unit: String::new(),
                labels: Labels::new(),
            }),
            at,
            value: f64::from(u8::from(inner.sick.contains(&entity(name)))),
        };
        let metrics = SERVICES.iter().map(sample).collect();
        let batch = SignalBatch { metrics, ..SignalBatch::default() };
        Ok(Polled { batch, next: Cursor::new(at.to_string()), ..Polled::default() })
    }
}

/// Reports who fell sick and who is well again.
#[derive(Debug, Default)]
pub(crate) struct Doctor(Mutex<BTreeMap<EntityId, Timestamp>>);

#[async_trait]
impl Detector for Doctor {
    fn name(&self) -> &str {
        "doctor"
    }

    async fn detect(&self, _ctx: &Ctx, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let mut known = self.0.lock().unwrap();
        let mut found = Vec::new();
        for sample in &batch.metrics {
            let entity = &sample.series.entity;
            let sick = sample.value > 0.0;
            let phase = match (sick, known.contains_key(entity)) {
                (true, false) => Phase::Began,
                // After a restart it knows nothing, so what is well is reported as over, which costs nothing.
                (false, _) => Phase::Ended,
                (true, true) => continue,
            };
            let onset = *known.entry(entity.clone()).or_insert(sample.at);
            if !sick {
                known.remove(entity);
            }
            found.push(Anomaly {
                id: AnomalyId::new(format!("sick/{entity}")).unwrap(),
                detector: PartName::literal("doctor"),
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
        Ok(Snapshot { name: PartName::literal("doctor"), version: 1, bytes: Vec::new() })
    }

    async fn restore(&self, _ctx: &Ctx, _from: &Snapshot) -> Result<()> {
        Ok(())
    }

    async fn feedback(&self, _ctx: &Ctx, _feedback: &Feedback) -> Result<()> {
        Ok(())
    }
}

/// All in one incident.
#[derive(Debug)]
pub(crate) struct OneAtATime;

#[async_trait]
impl Correlator for OneAtATime {
    fn name(&self) -> &str {
        "one"
    }

    async fn correlate(&self, _ctx: &Ctx, input: &CorrelationInput) -> Result<Vec<Grouping>> {
        let place = |anomaly: &Anomaly| Grouping {
            anomaly: anomaly.id.clone(),
            into: match input.open.first() {
                Some(open) => Placement::Join { incident: open.id.clone() },
                None => Placement::Open { key: "all".into() },
            },
            because: "there is one incident at a time".into(),
        };
        Ok(input.anomalies.iter().map(place).collect())
    }
}

/// Blames the first that is sick.
#[derive(Debug)]
pub(crate) struct Blames;

#[async_trait]
impl Diagnoser for Blames {
    fn name(&self) -> &str {
        "blames"
    }

    async fn diagnose(&self, _ctx: &Ctx, case: &Case) -> Result<Hypothesis> {
        let causes: Vec<Cause> = case
            .incident
            .ongoing()
            .take(1)
            .map(|a| Cause {
                entity: a.entity.clone(),
                probability: Probability::new(0.9).unwrap(),
                path: vec![a.entity.clone()],
                change: None,
                evidence: vec![],
            })
            .collect();
        let abstains = causes.is_empty().then(|| "nobody is sick".to_owned());
        Ok(Hypothesis { id: case.id.clone(), by: PartName::literal("blames"), causes, abstains })
    }
}

/// Where people are asked.
#[derive(Debug)]
struct Desk(World);

#[async_trait]
impl Approver for Desk {
    fn name(&self) -> &str {
        "desk"
    }

    async fn ask(&self, _ctx: &Ctx, request: &ApprovalRequest) -> Result<()> {
        self.0.lock().asked.push(request.clone());
        Ok(())
    }
}

/// Heals, in the class that the world is told.
#[derive(Debug)]
pub(crate) struct Hands(pub(crate) World);

#[async_trait]
impl Executor for Hands {
    fn name(&self) -> &str {
        "hands"
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        let recovery = self.0.lock().recovery;
        let spec = |name: &'static str, undo: &'static str| ActionSpec {
            name: ActionName::literal(name),
            description: name.to_owned(),
            params: ActionSpec::no_params(),
            risk: RiskClass::Low,
            reversibility: Reversibility::Undo { action: ActionName::literal(undo) },
            recovery,
            blast_radius: 1,
            changes_target: true,
        };
        vec![spec("world.heal", "world.unheal"), spec("world.unheal", "world.heal")]
    }

    async fn preview(&self, _ctx: &Ctx, call: &Call) -> Result<Preview> {
        let undo = Call { action: ActionName::literal("world.unheal"), ..call.clone() };
        let state = format!("{} {}", call.target, self.0.lock().generation);
        Ok(Preview { state: Digest::of(state.as_bytes()), summary: format!("heals {}", call.target), undo: Some(undo) })
    }

    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        // As over a real network, time passes between being asked and having the effect.
        tokio::task::yield_now().await;
        let effect = permit.redeem()?;
        let unknown = || Error::new(ErrorKind::Unknown, "hands", "the reply was lost");
        let reply = {
            let mut inner = self.0.lock();
            let reply = if inner.replies.is_empty() { Reply::Arrives } else { inner.replies.remove(0) };
            if reply == Reply::LostBefore {
                return Err(unknown());
            }
            if reply == Reply::Refused {
                return Ok(effect.not_applied(Error::new(ErrorKind::Conflict, "hands", "not now")).into());
            }
            let known = inner.done.contains_key(&effect.key().to_string());
            let too_old = inner.recovery == RecoveryClass::FenceProbe && effect.token() < inner.fence;
            // A keyed target gives the first result; one with a fence refuses what is too old; the others just do it.
            let repeated = known && inner.recovery == RecoveryClass::Keyed;
            if too_old {
                return Ok(effect.not_applied(Error::new(ErrorKind::Conflict, "hands", "behind the fence")).into());
            }
            if !repeated {
                inner.done.insert(effect.key().to_string(), ());
                inner.effects.push(Effect {
                    call: effect.call().clone(),
                    key: effect.key().to_string(),
                    token: effect.token(),
                });
                if inner.heals.contains(&effect.call().action) {
                    inner.sick.remove(&effect.call().target);
                }
            }
            reply
        };
        match reply {
            Reply::LostAfter => Err(unknown()),
            Reply::Panics => panic!("the executor is broken"),
            Reply::Never => {
                ctx.stopped().await;
                Err(unknown())
            }
            _ => Ok(Attempt::applied("done")),
        }
    }

    async fn probe(&self, _ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        let mut inner = self.0.lock();
        if let Some(fence) = &probe.fence {
            inner.fence = inner.fence.max(fence.token());
        }
        let there = inner.done.contains_key(&probe.key.to_string());
        Ok(if there { Probed::Applied } else { Probed::NotApplied })
    }
}
