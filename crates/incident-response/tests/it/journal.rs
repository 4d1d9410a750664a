//! The journal over years: where a start begins, what it believes, and what is recorded at all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use incident_response::core::journal::{
    Appended, Batch, Body, EncodedRecord, Event, Fact, Holder, Journal, Lease, Page, ReadFrom,
};
use incident_response::core::*;
use incident_response::detect::{CorrelatorConfig, StandardCorrelator};

use crate::hostile::{Says, anomaly, part};
use crate::world::*;

/// Counts what is read, and may change what is told.
#[derive(Debug, Clone)]
struct Watched {
    inner: MemoryJournal,
    read: Arc<AtomicU64>,
    /// The bytes of this record come back changed.
    damaged: Option<u64>,
}

impl Watched {
    fn new(inner: &MemoryJournal) -> Self {
        Self { inner: inner.clone(), read: Arc::default(), damaged: None }
    }
}

#[async_trait]
impl Journal for Watched {
    fn name(&self) -> &str {
        "watched"
    }

    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        self.inner.append(ctx, batch).await
    }

    async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        let mut page = self.inner.read(ctx, from).await?;
        self.read.fetch_add(page.records.len() as u64, Ordering::SeqCst);
        for record in page.records.iter_mut().filter(|record| Some(record.seq) == self.damaged) {
            record.bytes = String::from_utf8_lossy(&record.bytes).replace("\"seq\"", "\"Seq\"").into_bytes().into();
        }
        Ok(page)
    }

    async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        self.inner.blob(ctx, digest).await
    }

    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        self.inner.claim(ctx, holder).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_reads_from_the_newest_checkpoint_on() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    for _ in 0..3 {
        world.fall_sick("middle");
        run_until(responder(&world, &clock, &journal, "act"), &clock, closed).await;
    }
    let all = all_records(&journal, &clock).await;
    assert!(all.last().is_some_and(|record| is_checkpoint(&record.body)), "an orderly end leaves a checkpoint");
    let watched = Watched::new(&journal);
    let engine = responder(&world, &clock, &watched, "act").build().unwrap().open().await.unwrap();
    assert_eq!(watched.read.load(Ordering::SeqCst), 1, "only the checkpoint, {} records are there", all.len());
    drop(engine);
    // What is older is verified while it runs.
    let watched = Watched::new(&journal);
    live(responder(&world, &clock, &watched, "act"), 2).await;
    assert!(watched.read.load(Ordering::SeqCst) >= all.len() as u64);
    let ctx = Ctx::new(Arc::new(clock.clone()));
    assert_eq!(incident_response::replay(&ctx, &journal).await.unwrap().difference, None);
}

#[tokio::test(start_paused = true)]
async fn damage_before_the_checkpoint_halts_all_effects() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    live(responder(&world, &clock, &journal, "act"), 5).await;
    let watched = Watched { damaged: Some(2), ..Watched::new(&journal) };
    let engine = responder(&world, &clock, &watched, "act").build().unwrap().open().await.unwrap();
    let mut handle = engine.handle();
    let running = tokio::spawn(engine.run_until(tokio::time::sleep(Duration::from_secs(30))));
    while handle.status().damage.is_none() {
        handle.changed().await.unwrap();
    }
    let status = handle.status();
    assert!(status.damage.as_ref().unwrap().contains("record 2"), "{:?}", status.damage);
    assert!(status.halted.is_some());
    world.fall_sick("middle");
    running.await.unwrap().unwrap();
    assert_eq!(world.effects(), []);
}

#[tokio::test(start_paused = true)]
async fn other_words_for_the_same_are_no_reason_to_refuse_a_journal() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.lock().heals.clear();
    world.fall_sick("middle");
    die_after(responder(&world, &clock, &journal, "act"), 40).await;
    let mut changed = 0;
    let old = rewritten(&journal, &clock, false, |body| {
        if let Body::Fact(Fact::StepMoved { because, .. } | Fact::IncidentMoved { because, .. }) = body {
            *because = format!("because {because}");
            changed += 1;
        }
    })
    .await;
    assert!(changed > 2);
    let ctx = Ctx::new(Arc::new(clock.clone()));
    assert!(incident_response::replay(&ctx, &old).await.unwrap().difference.is_some());
    // It goes on as if nothing was: the effect that does not help is undone, once.
    let records = run_until(responder(&world, &clock, &old, "act"), &clock, handed_over).await;
    assert!(handed_over(&records) && !degraded(&records, "other conclusions"));
    assert!(world.effects().len() <= 4, "{:?}", world.effects());
}

#[tokio::test(start_paused = true)]
async fn where_a_version_decides_otherwise_the_records_are_true_and_people_get_what_is_open() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.lock().heals.clear();
    world.fall_sick("middle");
    die_after(responder(&world, &clock, &journal, "act"), 40).await;
    let before = world.effects().len();
    // The other version named no suspect, and closed nothing for it.
    let old = rewritten(&journal, &clock, false, |body| {
        if let Body::Fact(Fact::HypothesisFormed { suspect, .. }) = body {
            *suspect = None;
        }
    })
    .await;
    let records = run_until(responder(&world, &clock, &old, "act"), &clock, handed_over).await;
    assert!(degraded(&records, "other conclusions"));
    assert!(handed_over(&records));
    // Nothing further is begun, and what is in flight is settled.
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(world.effects().len(), before);
    // The doubt is settled: the next start begins behind it.
    let records = run_until(responder(&world, &clock, &old, "act"), &clock, |records| records.len() > 3).await;
    assert!(!degraded(&records, "other conclusions"));
}

#[tokio::test(start_paused = true)]
async fn weak_anomalies_that_go_on_are_asked_about_once() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let told = AtomicU64::new(0);
    let detector = part(move |batch: &SignalBatch| {
        let at = batch.metrics.first().map(|s| s.at).unwrap_or_default();
        let first = told.fetch_add(1, Ordering::SeqCst) == 0;
        let weak = |n: usize| Anomaly {
            score: Score::new(0.3).unwrap(),
            ..anomaly(&format!("weak/{n}"), &format!("svc-{n}"), Phase::Began, at)
        };
        Says::This(if first { (0..50).map(weak).collect() } else { Vec::new() })
    });
    let builder = bare(&world, &clock, &journal, "act")
        .correlator(StandardCorrelator::new(CorrelatorConfig::default()).unwrap())
        .source(Eyes(world.clone()))
        .detector(detector)
        .executor(Hands(world.clone()))
        .settings(quick_settings());
    live(builder, 3_600).await;
    let records = all_records(&journal, &clock).await;
    let n = |wanted: &dyn Fn(&Body) -> bool| records.iter().filter(|record| wanted(&record.body)).count();
    assert_eq!(n(&|body| matches!(body, Body::Event(Event::Reported { .. }))), 1);
    // An hour of 7,200 poll cycles: one record in five minutes.
    let observed = n(&|body| matches!(body, Body::Event(Event::Observed(_))));
    assert!((11..=14).contains(&observed), "{observed} records of poll cycles");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_comes_and_goes_is_not_recorded_each_time() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let turns = Arc::new(AtomicU64::new(0));
    let turn = turns.clone();
    let flapping = part(move |at: &Moment| {
        let n = turn.fetch_add(1, Ordering::SeqCst);
        match n % 3 {
            0 => Says::Errs,
            // Two of three lose something, which counts.
            _ => Says::This(Polled { dropped: 2, next: Cursor::new(at.mono_ns.to_string()), ..Polled::default() }),
        }
    });
    let builder = bare(&world, &clock, &journal, "act").executor(Hands(world.clone()));
    live(builder.source(flapping).settings(quick_settings()), 3_600).await;
    let (mut observed, mut dropped) = (0, 0);
    for record in all_records(&journal, &clock).await {
        if let Body::Event(Event::Observed(seen)) = record.body {
            observed += 1;
            dropped += seen.polls.iter().map(|poll| poll.dropped).sum::<u64>();
        }
    }
    assert!(observed <= 28, "{observed} records of poll cycles");
    // Everything is counted, also what came after the last five minutes were full.
    let n = turns.load(Ordering::SeqCst);
    assert!(dropped >= 2 * (n - n / 3 - 2), "{dropped} were lost in {n} polls");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_stays_the_same_is_stored_once() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let text: String = (0..2_000).map(|n| format!("[[entity]]\nid = \"svc-{n}\"\n")).collect();
    let large = Topology::parse(&text, "topology.toml").unwrap();
    let blobs = Arc::new(Mutex::new(std::collections::BTreeMap::<Digest, usize>::new()));
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let builder = bare(&world, &clock, &journal, "act").executor(Hands(world.clone()));
        let builder = builder.source(Eyes(world.clone())).topology(large.clone()).settings(quick_settings());
        live(builder, 20).await;
        let ctx = Ctx::new(Arc::new(clock.clone()));
        let page = journal.read(&ctx, &ReadFrom { seq: 1, max: usize::MAX }).await.unwrap();
        let mut size = 0;
        for stored in &page.records {
            size += stored.bytes.len();
            for digest in incident_response::core::journal::decode(stored).unwrap().body.blobs() {
                let length = journal.blob(&ctx, &digest).await.unwrap().len();
                blobs.lock().unwrap().insert(digest, length);
            }
        }
        sizes.push(size + blobs.lock().unwrap().values().sum::<usize>());
    }
    assert!(sizes[0] > 100_000, "the configuration is {} bytes", sizes[0]);
    assert!(sizes[3] - sizes[0] < 3 * 20_000, "{sizes:?} bytes after each start");
}

/// The journal as the release before wrote it: its format was 1, its claims had no name, its starts their whole configuration, and
/// there were no checkpoints.
async fn of_format_1(journal: &MemoryJournal, clock: &SimClock) -> MemoryJournal {
    let ctx = Ctx::new(Arc::new(clock.clone()));
    let old = MemoryJournal::new();
    let lease = old.claim(&ctx, &Holder { name: PartName::literal("old"), ttl_ms: 1 }).await.unwrap();
    let mut prev = Digest::ZERO;
    for (seq, record) in
        (1..).zip(all_records(journal, clock).await.into_iter().filter(|record| !is_checkpoint(&record.body)))
    {
        let mut text = serde_json::to_value(&record).unwrap();
        text["v"] = 1.into();
        text["seq"] = seq.into();
        text["left"] = 0.into();
        text["prev"] = serde_json::to_value(prev).unwrap();
        if let Some(claimed) = text["body"]["gate"].as_object_mut().filter(|gate| gate["type"] == "claimed") {
            claimed.remove("journal");
        }
        if let Some(started) = text["body"]["event"].as_object_mut().filter(|event| event["type"] == "started") {
            let config = started["config"]["here"].take();
            started.insert("config".to_owned(), config);
        }
        let bytes = incident_response::core::journal::canonical::to_bytes(&text).unwrap();
        let stored = EncodedRecord::new(seq, bytes);
        prev = stored.hash;
        let batch = Batch {
            expected_seq: seq,
            epoch: lease.epoch,
            checkpoint: false,
            blobs: Vec::new(),
            records: vec![stored],
        };
        old.append(&ctx, &batch).await.unwrap();
    }
    old
}

#[tokio::test(start_paused = true)]
async fn a_journal_of_the_format_before_is_refused_with_the_command_that_carries_it_over() {
    // A blind step whose answer is lost, a halt, a change that counts, an open incident.
    let (world, clock, journal) = (World::new(RecoveryClass::Blind), SimClock::new(), MemoryJournal::new());
    world.lock().replies = vec![Reply::LostAfter];
    world.lock().heals.clear();
    world.fall_sick("middle");
    run_until(responder(&world, &clock, &journal, "act"), &clock, handed_over).await;
    let engine = responder(&world, &clock, &journal, "act").build().unwrap().open().await.unwrap();
    engine.handle().halt("ann", "it is wrong");
    engine.run_until(tokio::time::sleep(Duration::from_secs(2))).await.unwrap();
    let (key, token) = (world.effects()[0].key.clone(), world.effects()[0].token);

    for format in [1, 2] {
        let old = if format == 1 { of_format_1(&journal, &clock).await } else { journal.clone() };
        tokio::time::advance(Duration::from_secs(20)).await;
        if format == 1 {
            let refused = responder(&world, &clock, &old, "act").build().unwrap().open().await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
            assert!(refused.to_string().contains("--example carry_over"), "{refused}");
        }
        let ctx = Ctx::new(Arc::new(clock.clone()));
        let (new, name) = (MemoryJournal::new(), PartName::literal("responder"));
        let carried = incident_response::carry_over(&ctx, &old, Arc::new(new.clone()), name.clone()).await.unwrap();
        assert_eq!((carried.format, carried.steps.len(), carried.changes.len()), (format, 1, 1));
        let again = incident_response::carry_over(&ctx, &old, Arc::new(new.clone()), name).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Conflict);

        // It is halted; the target is locked and its step waits for a person; the incident is theirs.
        let engine = responder(&world, &clock, &new, "act").build().unwrap().open().await.unwrap();
        let (handle, before) = (engine.handle(), world.effects().len());
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(engine.run_until(async {
            let _ = wait.await;
        }));
        world.fall_sick("middle");
        tokio::time::sleep(Duration::from_secs(20)).await;
        let status = handle.status();
        assert!(status.halted.as_ref().is_some_and(|why| why.contains("it is wrong")));
        assert_eq!(status.incidents.first().map(|incident| incident.state), Some(IncidentState::HandedOver));
        let step = status.steps.iter().find(|step| step.state == StepState::Unknown).unwrap().step.clone();
        assert_eq!(world.effects().len(), before);
        // The halt ends, and still nothing is done to what is locked.
        let people = vec![Person::named("ann"), Person::named("bob")];
        handle.resume(people, "it is right now").await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(world.effects().len(), before, "the target is locked");
        // A person has looked. What follows has a higher token, and a key that the target has not seen.
        handle.settle(step, Person::named("ann"), false, "I looked").await.unwrap();
        let first = handle.status().incidents.first().unwrap().id.clone();
        handle.close(first, Person::named("ann"), "I looked").await.unwrap();
        let second = handle.status().incidents.first().unwrap().id.clone();
        assert_ne!(second.number(), Some(1), "names go on");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let effects = world.effects();
        let next = effects.get(before).expect("the target is free again");
        assert!(next.token > token && next.key != key, "{effects:?}");
        let _ = done.send(());
        running.await.unwrap().unwrap();
        assert_eq!(incident_response::replay(&ctx, &new).await.unwrap().difference, None);
        world.lock().sick.clear();
        world.lock().replies.clear();
    }
}
