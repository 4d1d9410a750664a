//! Isolation: a component that hangs, panics or ends affects only itself, and everybody sees it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use incident_response::core::journal::{
    Appended, Batch, Body, EncodedRecord, Event, Fact, GateFact, Holder, Lease, Observed, Page, ReadFrom,
};
use incident_response::core::*;
use incident_response::plan::plan::Playbooks;
use incident_response::{Builder, EngineSettings, Handle, Status};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;

use crate::healing::assert_sound;
use crate::hostile::anomaly;
use crate::world::*;

/// An engine that runs beside the test.
struct Running {
    handle: Handle,
    news: broadcast::Receiver<Record>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Running {
    async fn start(builder: Builder) -> Self {
        let engine = builder.build().unwrap().open().await.unwrap();
        let handle = engine.handle();
        let news = handle.records();
        let (stop, wait) = oneshot::channel::<()>();
        let task = tokio::spawn(engine.run_until(async {
            let _ = wait.await;
        }));
        Self { handle, news, stop, task }
    }

    /// Waits for a record.
    async fn until(&mut self, wanted: impl Fn(&Body) -> bool) -> Record {
        let wait = async {
            loop {
                match self.news.recv().await {
                    Ok(record) if wanted(&record.body) => return record,
                    Err(broadcast::error::RecvError::Closed) => panic!("the engine ended"),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(600), wait).await.unwrap()
    }

    /// Waits for a state of the engine.
    async fn sees(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Arc<Status> {
        let mut handle = self.handle.clone();
        let wait = async {
            while !wanted(&handle.status()) {
                handle.changed().await.unwrap();
            }
            handle.status()
        };
        let seen = tokio::time::timeout(Duration::from_secs(600), wait).await;
        seen.unwrap_or_else(|_| panic!("{what}: {:?}", self.handle.status()))
    }

    async fn stop(self) -> Result<()> {
        let _ = self.stop.send(());
        self.task.await.unwrap()
    }
}

fn fresh() -> (World, SimClock, MemoryJournal) {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.fall_sick("middle");
    (world, clock, journal)
}

fn observed(records: &[Record]) -> impl Iterator<Item = (&Moment, &Observed)> {
    records.iter().filter_map(|record| match &record.body {
        Body::Event(Event::Observed(observed)) => Some((&record.at, observed)),
        _ => None,
    })
}

/// What an odd detector does when it is called.
#[derive(Debug, Clone, Copy)]
enum Does {
    Finds(&'static str),
    FindsAfterMs(&'static str, u64),
    Hangs,
    Panics,
}

/// A detector whose calls go as `does` says by their number, and that counts them.
struct Odd<F> {
    name: &'static str,
    does: F,
    calls: Arc<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    all: AtomicUsize,
    running: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// One call, which ends when it is dropped.
struct OneCall(Arc<Calls>);

impl OneCall {
    fn begin(calls: &Arc<Calls>) -> (Self, usize) {
        let running = calls.running.fetch_add(1, Ordering::SeqCst) + 1;
        calls.most_at_once.fetch_max(running, Ordering::SeqCst);
        (Self(calls.clone()), calls.all.fetch_add(1, Ordering::SeqCst))
    }
}

impl Drop for OneCall {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<F> std::fmt::Debug for Odd<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl<F: Fn(usize) -> Does + Send + Sync + 'static> Odd<F> {
    fn new(name: &'static str, does: F) -> (Self, Arc<Calls>) {
        let calls = Arc::new(Calls::default());
        (Self { name, does, calls: calls.clone() }, calls)
    }
}

#[async_trait]
impl<F: Fn(usize) -> Does + Send + Sync + 'static> Detector for Odd<F> {
    fn name(&self) -> &str {
        self.name
    }
    async fn detect(&self, ctx: &Ctx, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let (_call, n) = OneCall::begin(&self.calls);
        let at = batch.metrics.first().map(|s| s.at).unwrap_or_default();
        let found = |of: &str| {
            let name = PartName::new(self.name).unwrap();
            vec![Anomaly { detector: name, ..anomaly(&format!("{}/{n}", self.name), of, Phase::Began, at) }]
        };
        match (self.does)(n) {
            Does::Finds("") => Ok(Vec::new()),
            Does::Finds(of) => Ok(found(of)),
            Does::FindsAfterMs(of, ms) => {
                ctx.clock().sleep_until(ctx.now().mono_ns + ms * 1_000_000).await;
                Ok(if of.is_empty() { Vec::new() } else { found(of) })
            }
            Does::Hangs => std::future::pending().await,
            Does::Panics => panic!("this detector is broken"),
        }
    }
    async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
        std::future::pending().await
    }
    async fn restore(&self, _ctx: &Ctx, _from: &Snapshot) -> Result<()> {
        std::future::pending().await
    }
    async fn feedback(&self, _ctx: &Ctx, _feedback: &Feedback) -> Result<()> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_detector_that_hangs_hides_nothing_from_the_others_wherever_it_stands() {
    for hanging_first in [true, false] {
        let (world, clock, journal) = fresh();
        let begun = clock.now().mono_ns;
        let (odd, _) = Odd::new("odd", |_| Does::Hangs);
        let builder = bare(&world, &clock, &journal, "act").source(Eyes(world.clone())).executor(Hands(world.clone()));
        let builder = if hanging_first {
            builder.detector(odd).detector(Doctor::default())
        } else {
            builder.detector(Doctor::default()).detector(odd)
        };
        let records = run_until(builder, &clock, ended).await;
        let opened = records.iter().find(|r| matches!(r.body, Body::Fact(Fact::IncidentOpened { .. }))).unwrap();
        let after_ms = (opened.at.mono_ns - begun) / 1_000_000;
        assert!(after_ms <= 600, "hanging first {hanging_first}: seen after {after_ms} ms");
        assert!(closed(&records), "hanging first {hanging_first}: not healed");
        assert_eq!(world.effects().len(), 1);
        assert_safe(&world, &clock, &journal, "a hanging detector").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_detector_is_called_ever_less_never_twice_at_once_and_what_it_misses_is_counted() {
    let (world, clock, journal) = fresh();
    let (odd, calls) = Odd::new("odd", |_| Does::Hangs);
    let mut run = Running::start(responder(&world, &clock, &journal, "act").detector(odd)).await;
    let status = run.sees("in quarantine", |s| s.detectors.iter().any(|d| d.quarantined)).await;
    assert_eq!(
        status.detectors.iter().map(|d| (d.name.as_str(), d.quarantined)).collect::<Vec<_>>(),
        [("doctor", false), ("odd", true)]
    );
    assert!(status.failing.iter().any(|f| f.component == "odd"), "{:?}", status.failing);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let status = run.handle.status();
    run.stop().await.unwrap();
    // Hangs of 10 s with 10, 20, 40, 80, 160 s between them.
    let n = calls.all.load(Ordering::SeqCst);
    assert!((4..=6).contains(&n), "{n} calls");
    assert_eq!(calls.most_at_once.load(Ordering::SeqCst), 1);
    let records = all_records(&journal, &clock).await;
    let began: Vec<&str> = observed(&records).flat_map(|(_, o)| &o.quarantined).map(PartName::as_str).collect();
    assert_eq!(began, ["odd"], "its absence begins once");
    assert!(degraded(&records, "detector odd"));
    let counted: u64 = observed(&records).flat_map(|(_, o)| &o.unseen).map(|lost| lost.batches).sum();
    assert!(status.detectors[1].unseen > 500 && status.detectors[0].unseen == 0, "{:?}", status.detectors);
    assert!(status.detectors[1].unseen.abs_diff(counted) <= 12, "{counted} on record, {:?}", status.detectors);
    assert!(status.rounds >= 590, "{} poll cycles in 300 s", status.rounds);
    let mut failures: Vec<_> = observed(&records).map(|(_, o)| &o.failures).collect();
    failures.dedup();
    assert!(failures.len() <= 4, "a quarantine is one failure, not one for each cycle: {failures:?}");
    assert_sound(&journal, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn a_detector_that_comes_back_is_heard_again_and_no_longer_failing() {
    for (how, bad) in [("hangs", Does::Hangs), ("panics", Does::Panics)] {
        let (world, clock, journal) = fresh();
        world.lock().sick.clear();
        let (odd, _) = Odd::new("odd", move |n| match n {
            0..=3 => bad,
            4 => Does::Finds("middle"),
            _ => Does::Finds(""),
        });
        let mut run = Running::start(responder(&world, &clock, &journal, "act").detector(odd)).await;
        run.sees(how, |s| s.detectors.iter().any(|d| d.quarantined)).await;
        run.until(|body| matches!(body, Body::Fact(Fact::IncidentOpened { .. }))).await;
        let status = run.sees(how, |s| s.failing.is_empty()).await;
        assert!(status.detectors.iter().all(|d| !d.quarantined), "{how}");
        assert!(status.detectors[1].unseen >= 4, "{how}: {:?}", status.detectors);
        run.stop().await.unwrap();
        let report = incident_response::replay(&Ctx::new(Arc::new(clock.clone())), &journal).await.unwrap();
        assert_eq!(report.difference, None, "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_detectors_find_at_one_time_is_recorded_in_their_order_whoever_answers_first() {
    let (world, clock, journal) = fresh();
    world.lock().sick.clear();
    let once = |ms: u64| move |n: usize| if n == 0 { Does::FindsAfterMs("middle", ms) } else { Does::Finds("") };
    let builder = bare(&world, &clock, &journal, "act")
        .source(Eyes(world.clone()))
        .executor(Hands(world.clone()))
        .detector(Odd::new("slowest", once(300)).0)
        .detector(Odd::new("slow", once(200)).0)
        .detector(Odd::new("fast", once(0)).0);
    let mut run = Running::start(builder).await;
    let first = run.until(|body| matches!(body, Body::Event(Event::Observed(o)) if !o.anomalies.is_empty())).await;
    let Body::Event(Event::Observed(first)) = &first.body else { unreachable!() };
    let by: Vec<&str> = first.anomalies.iter().map(|a| a.detector.as_str()).collect();
    assert_eq!(by, ["slowest", "slow", "fast"]);
    run.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_detector_catches_up_stalls_nobody_and_its_late_findings_count() {
    let (world, clock, journal) = fresh();
    world.lock().sick.clear();
    // Five calls of 1.2 s each, then it is fast: the batches of that time waited and none was lost.
    let does = |n: usize| match n {
        0..=3 => Does::FindsAfterMs("", 1_200),
        4 => Does::FindsAfterMs("middle", 1_200),
        _ => Does::Finds(""),
    };
    let (odd, calls) = Odd::new("odd", does);
    let mut run = Running::start(responder(&world, &clock, &journal, "act").detector(odd)).await;
    run.until(|body| matches!(body, Body::Fact(Fact::IncidentOpened { .. }))).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let status = run.handle.status();
    assert_eq!(calls.most_at_once.load(Ordering::SeqCst), 1);
    assert_eq!(status.detectors[1].unseen, 0, "{:?}", status.detectors);
    assert!(status.rounds.abs_diff(calls.all.load(Ordering::SeqCst) as u64) <= 1);
    assert!(status.rounds >= 45, "{} poll cycles", status.rounds);
    run.stop().await.unwrap();
}

/// Keeps snapshots in memory; only the doctor gives any here.
#[derive(Debug, Default)]
struct Shelf(Mutex<Vec<Snapshot>>);

#[async_trait]
impl SnapshotStore for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }
    async fn put(&self, _ctx: &Ctx, snapshot: &Snapshot) -> Result<()> {
        self.0.lock().unwrap().push(snapshot.clone());
        Ok(())
    }
    async fn get(&self, _ctx: &Ctx, name: &PartName, digest: &Digest) -> Result<Option<Snapshot>> {
        let found = self.0.lock().unwrap().iter().find(|s| s.name == *name && s.digest() == *digest).cloned();
        Ok(found)
    }
}

#[tokio::test(start_paused = true)]
async fn a_detector_that_hangs_when_its_state_is_read_does_not_keep_the_others_from_seeing() {
    let (world, clock, journal) = fresh();
    let (odd, _) = Odd::new("odd", |_| Does::Finds(""));
    let builder = responder(&world, &clock, &journal, "act").detector(odd).snapshots(Shelf::default());
    let mut run = Running::start(builder).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let status = run.handle.status();
    // One wait of 2.5 s each time it is asked for its state: after 10, 20, 40, 80 s.
    assert!(status.rounds >= 200, "{} poll cycles in 120 s", status.rounds);
    run.until(|body| matches!(body, Body::Event(Event::Observed(o)) if o.snapshots.iter().any(|(n, _)| n.as_str() == "doctor")))
        .await;
    run.stop().await.unwrap();
    assert_sound(&journal, &clock).await;
}

/// A journal whose appends hang once it is told so; the records are there all the same.
#[derive(Debug, Clone, Default)]
struct Stuck {
    inner: MemoryJournal,
    now: Arc<AtomicBool>,
}

#[async_trait]
impl Journal for Stuck {
    fn name(&self) -> &str {
        "stuck"
    }
    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        let appended = self.inner.append(ctx, batch).await;
        if self.now.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        appended
    }
    async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        self.inner.read(ctx, from).await
    }
    async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        self.inner.blob(ctx, digest).await
    }
    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        self.inner.claim(ctx, holder).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_hangs_ends_the_engine_the_heartbeat_shows_it_and_the_next_start_goes_on() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), Stuck::default());
    let run = Running::start(responder(&world, &clock, &journal, "act")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    journal.now.store(true, Ordering::SeqCst);
    world.fall_sick("middle");
    tokio::time::sleep(Duration::from_secs(9)).await;
    let main = run.handle.heartbeats().into_iter().find(|beat| beat.of == "main").unwrap();
    assert!(main.age_ms > 8_000, "{main:?}");
    let over = tokio::time::timeout(Duration::from_secs(5), run.task).await.unwrap();
    assert_eq!(over.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    assert!(run.handle.status().writer_failed);
    assert_eq!(world.effects(), []);
    journal.now.store(false, Ordering::SeqCst);
    let records = run_until(responder(&world, &clock, &journal, "act"), &clock, ended).await;
    assert!(closed(&records));
    assert_eq!(world.effects().len(), 1);
    assert_sound(&journal, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn every_loop_has_a_heartbeat_that_goes_on_while_nothing_happens() {
    #[derive(Debug)]
    struct Nowhere;
    #[async_trait]
    impl AuditSink for Nowhere {
        fn name(&self) -> &str {
            "nowhere"
        }
        async fn copy(&self, _ctx: &Ctx, _records: &[EncodedRecord]) -> Result<()> {
            Ok(())
        }
        async fn position(&self, _ctx: &Ctx) -> Result<u64> {
            Ok(u64::MAX >> 12)
        }
    }
    let (world, clock, journal) = fresh();
    world.lock().sick.clear();
    let run = Running::start(responder(&world, &clock, &journal, "act").audit_sink(Nowhere)).await;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(7_300)).await;
        let beats = run.handle.heartbeats();
        assert_eq!(beats.iter().map(|b| b.of.as_str()).collect::<Vec<_>>(), ["main", "observer", "audit nowhere"]);
        assert!(beats.iter().all(|beat| beat.age_ms <= 5_100), "{beats:?}");
        assert_eq!(run.handle.status().heartbeats.len(), 3);
    }
    run.stop().await.unwrap();
}

/// Hands that do as they like with their time.
#[derive(Debug)]
struct Stubborn {
    hands: Hands,
    /// Waits before the effect, and after it, whatever its context says.
    before_ms: u64,
    after_ms: u64,
}

#[async_trait]
impl Executor for Stubborn {
    fn name(&self) -> &str {
        "hands"
    }
    fn catalogue(&self) -> Vec<ActionSpec> {
        self.hands.catalogue()
    }
    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        self.hands.preview(ctx, call).await
    }
    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        ctx.clock().sleep_until(ctx.now().mono_ns + self.before_ms * 1_000_000).await;
        let answer = self.hands.execute(ctx, permit).await;
        ctx.clock().sleep_until(ctx.now().mono_ns + self.after_ms * 1_000_000).await;
        answer
    }
    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        self.hands.probe(ctx, probe).await
    }
}

const QUARTER_MS: u64 = 900_000;

/// One step that may take a quarter of an hour.
fn patient() -> Playbooks {
    let text = format!(
        "[[playbook]]\nname = \"heal\"\nversion = 1\n[[playbook.step]]\nid = \"heal\"\naction = \"world.heal\"\n\
         expected_effect = \"well\"\ntimeout_ms = {QUARTER_MS}\nverification = {{ hold_ms = 1000, within_ms = 10000 }}\n"
    );
    Playbooks::parse(&text, "p").unwrap()
}

/// Stops the engine a second after the intention, and gives how long that took.
async fn stop_in_flight(mut run: Running, clock: &SimClock) -> u64 {
    run.until(|body| matches!(body, Body::Gate(GateFact::Intent(_)))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = clock.now().mono_ns;
    run.stop().await.unwrap();
    (clock.now().mono_ns - asked) / 1_000_000
}

fn left(records: &[Record]) -> Vec<String> {
    let of = |record: &Record| match &record.body {
        Body::Event(Event::LeftInFlight { steps }) => steps.iter().map(|step| step.step.to_string()).collect(),
        _ => Vec::new(),
    };
    records.iter().flat_map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn a_polite_executor_hears_of_the_stop_and_ends_at_once() {
    let (world, clock, journal) = fresh();
    world.lock().replies = vec![Reply::Never];
    let run = Running::start(responder(&world, &clock, &journal, "act").playbooks(patient())).await;
    let took_ms = stop_in_flight(run, &clock).await;
    assert!(took_ms < 100, "the stop took {took_ms} ms");
    let records = all_records(&journal, &clock).await;
    assert_eq!(left(&records), Vec::<String>::new());
    let answered = |r: &Record| matches!(&r.body, Body::Event(Event::Executed(e)) if matches!(e.result, AttemptResult::Unknown { .. }));
    assert!(records.iter().any(answered), "its answer is on record");
    // The next start settles it by its class: the same key again, and no second effect.
    let records = run_until(responder(&world, &clock, &journal, "act").playbooks(patient()), &clock, ended).await;
    assert!(closed(&records));
    assert_eq!(world.effects().len(), 1);
    assert_sound(&journal, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn a_hung_executor_keeps_the_engine_no_longer_than_the_setting_and_what_is_left_is_settled_later() {
    for (within_ms, class) in [
        (10_000, RecoveryClass::Keyed),
        (2_000, RecoveryClass::Probe { settles_within_ms: 500 }),
        (2_000, RecoveryClass::Blind),
    ] {
        let (world, clock, journal) = (World::new(class), SimClock::new(), MemoryJournal::new());
        world.fall_sick("middle");
        let settings = EngineSettings {
            shutdown_within_ms: within_ms,
            settle_ms: 300,
            quiet_ms: 1_500,
            ..EngineSettings::default()
        };
        let stubborn = Stubborn { hands: Hands(world.clone()), before_ms: 0, after_ms: QUARTER_MS };
        let builder = bare(&world, &clock, &journal, "act").source(Eyes(world.clone())).detector(Doctor::default());
        let run = Running::start(builder.executor(stubborn).playbooks(patient()).settings(settings)).await;
        let mut handle = run.handle.clone();
        let watched = tokio::spawn(async move {
            while handle.status().waits_for.is_empty() {
                handle.changed().await.unwrap();
            }
            handle.status()
        });
        let took_ms = stop_in_flight(run, &clock).await;
        assert!((within_ms..within_ms + 100).contains(&took_ms), "{class:?}: the stop took {took_ms} ms");
        let status = watched.await.unwrap();
        assert!(status.stopping && status.waits_for[0].step.as_str() == "heal", "{class:?}: {status:?}");
        assert_eq!(left(&all_records(&journal, &clock).await), ["heal"], "{class:?}");
        let records = run_until(responder(&world, &clock, &journal, "act").playbooks(patient()), &clock, ended).await;
        assert!(!ended(&records) || closed(&records) == (class == RecoveryClass::Keyed), "{class:?}");
        assert_eq!(world.effects().len(), 1, "{class:?}");
        assert_sound(&journal, &clock).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_not_redeemed_when_the_engine_ends_never_is() {
    let (world, clock, journal) = fresh();
    let stubborn = Stubborn { hands: Hands(world.clone()), before_ms: 60_000, after_ms: 0 };
    let builder = bare(&world, &clock, &journal, "act").source(Eyes(world.clone())).detector(Doctor::default());
    let run = Running::start(builder.executor(stubborn).playbooks(patient())).await;
    stop_in_flight(run, &clock).await;
    let records = all_records(&journal, &clock).await;
    assert_eq!(left(&records), Vec::<String>::new(), "that nothing was sent is known");
    let proved = |r: &Record| matches!(&r.body, Body::Event(Event::Executed(e)) if matches!(e.result, AttemptResult::NotApplied { .. }));
    assert!(records.iter().any(proved));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.effects(), [], "the executor went on after the engine had ended");
    assert_sound(&journal, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn a_halt_while_the_engine_waits_for_its_end_is_recorded() {
    let (world, clock, journal) = fresh();
    let stubborn = Stubborn { hands: Hands(world.clone()), before_ms: 0, after_ms: QUARTER_MS };
    let builder = bare(&world, &clock, &journal, "act").source(Eyes(world.clone())).detector(Doctor::default());
    let mut run = Running::start(builder.executor(stubborn).playbooks(patient())).await;
    run.until(|body| matches!(body, Body::Gate(GateFact::Intent(_)))).await;
    let handle = run.handle.clone();
    let stopping = tokio::spawn(run.stop());
    tokio::time::sleep(Duration::from_secs(2)).await;
    handle.halt("ann", "stop everything");
    stopping.await.unwrap().unwrap();
    let late = handle.resume(vec![Person::named("ann")], "too late").await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Stopped);
    let records = all_records(&journal, &clock).await;
    assert!(records.iter().any(|r| matches!(&r.body, Body::Gate(GateFact::Halted(h)) if h.by == "ann")));
}

/// A source whose name panics once it was asked for signals, which takes the observer's own task down.
#[derive(Debug, Default)]
struct Poison(AtomicBool);

#[async_trait]
impl SignalSource for Poison {
    fn name(&self) -> &str {
        assert!(!self.0.load(Ordering::SeqCst), "this source has no name any more");
        "poison"
    }
    async fn poll(&self, _ctx: &Ctx, _cursor: &Cursor) -> Result<Polled> {
        self.0.store(true, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_ends_is_seen_by_everybody_and_what_is_in_flight_is_settled_first() {
    let (world, clock, journal) = fresh();
    let stubborn = Stubborn { hands: Hands(world.clone()), before_ms: 0, after_ms: 6_000 };
    let builder = bare(&world, &clock, &journal, "act").source(Eyes(world.clone())).detector(Doctor::default());
    let mut run = Running::start(builder.source(Poison::default()).executor(stubborn).playbooks(patient())).await;
    run.until(|body| matches!(body, Body::Gate(GateFact::Intent(_)))).await;
    let status = run.sees("the observer", |s| s.observer_failed).await;
    assert!(status.failing.iter().any(|f| f.component == "observer"), "{:?}", status.failing);
    world.fall_sick("front");
    let ended = tokio::time::timeout(Duration::from_secs(60), run.task).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().component(), "observer");
    let records = all_records(&journal, &clock).await;
    let blind = observed(&records).any(|(_, o)| o.failures.iter().any(|f| f.component == "observer"));
    assert!(blind, "it is on record");
    let answered = |r: &Record| matches!(&r.body, Body::Event(Event::Executed(e)) if matches!(e.result, AttemptResult::Applied { .. }));
    assert!(records.iter().any(answered), "what was in flight is settled");
    assert_eq!(world.effects().len(), 1, "nothing is begun without eyes");
    assert_sound(&journal, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_whose_observer_ended_waits_for_a_hung_executor_no_longer_than_for_a_stop() {
    let (world, clock, journal) = fresh();
    let stubborn = Stubborn { hands: Hands(world.clone()), before_ms: 0, after_ms: QUARTER_MS };
    let builder = bare(&world, &clock, &journal, "act").source(Eyes(world.clone())).detector(Doctor::default());
    let begun = clock.now().mono_ns;
    let run = Running::start(builder.source(Poison::default()).executor(stubborn).playbooks(patient())).await;
    let ended = tokio::time::timeout(Duration::from_secs(60), run.task).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().component(), "observer");
    // At most 2.5 s until the observer ends, 10 s to settle, 10 s for the executor to stop.
    let took_s = (clock.now().mono_ns - begun) / 1_000_000_000;
    assert!(took_s <= 25, "{took_s} s");
    assert_eq!(left(&all_records(&journal, &clock).await), ["heal"]);
}
