//! What a start must not lose, and must not do, whatever version, configuration or half-done work it finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use incident_response::EngineSettings;
use incident_response::core::journal::{Batch, Body, Chain, Content, Event, Fact, GateFact, Holder, Journal};
use incident_response::core::*;
use incident_response::detect::{CorrelatorConfig, StandardCorrelator};

use crate::hostile::{Says, anomaly, part};
use crate::world::*;

/// A version that stores its state in another form decides everything as before, so the checkpoint that it cannot read is no other
/// conclusion.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_of_another_form_alone_is_no_reason_to_give_everything_to_people() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.lock().heals.clear();
    world.fall_sick("middle");
    die_after(responder(&world, &clock, &journal, "act"), 40).await;
    let old = rewritten(&journal, &clock, true, |body| {
        if let Body::Gate(GateFact::Checkpoint(checkpoint)) = body
            && let Content::Here(engine) = &mut checkpoint.engine
        {
            engine["form"] = 0.into();
        }
    })
    .await;
    let records = run_until(responder(&world, &clock, &old, "act"), &clock, handed_over).await;
    let doubts: Vec<usize> = records
        .iter()
        .filter_map(|r| match &r.body {
            Body::Fact(Fact::Degraded { because, .. }) if because.contains("other conclusions") => Some(because.len()),
            Body::Fact(Fact::IncidentMoved { because, .. }) if because.contains("other conclusions") => {
                Some(because.len())
            }
            _ => None,
        })
        .collect();
    assert!(
        doubts.is_empty(),
        "only the form differs, and yet the start doubts; its reasons are {doubts:?} bytes long"
    );
}

/// What is weak waits for an incident; another correlator may open one for it.
#[tokio::test(start_paused = true)]
async fn a_start_with_another_correlator_asks_it_about_what_waits() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let told = Arc::new(AtomicU64::new(0));
    let builder = |strong_score: f64| {
        let told = told.clone();
        // As the standard detectors with restored states: what goes on is not reported again.
        let detector = part(move |batch: &SignalBatch| {
            let at = batch.metrics.first().map(|s| s.at).unwrap_or_default();
            let first = told.fetch_add(1, Ordering::SeqCst) == 0;
            let weak = Anomaly { score: Score::new(0.3).unwrap(), ..anomaly("weak", "middle", Phase::Began, at) };
            Says::This(if first { vec![weak] } else { Vec::new() })
        });
        let correlator =
            StandardCorrelator::new(CorrelatorConfig { strong_score, ..CorrelatorConfig::default() }).unwrap();
        bare(&world, &clock, &journal, "act")
            .correlator(correlator)
            .source(Eyes(world.clone()))
            .detector(detector)
            .executor(Hands(world.clone()))
            .settings(quick_settings())
    };
    live(builder(0.45), 30).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    // Somebody finds the threshold too high, and restarts. The anomaly still goes on.
    live(builder(0.2), 3_600).await;
    let records = all_records(&journal, &clock).await;
    assert!(
        records.iter().any(|r| matches!(r.body, Body::Fact(Fact::IncidentOpened { .. }))),
        "the new correlator would open an incident, and is not asked in an hour"
    );
}

fn is_intent(body: &Body) -> bool {
    matches!(body, Body::Gate(GateFact::Intent(_)))
}

/// The version that wrote the journal made a plan that this one does not have. An attempt of that plan is in flight, and finds its end.
#[tokio::test(start_paused = true)]
async fn an_attempt_in_flight_whose_intention_this_version_would_not_make_is_settled_all_the_same() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.lock().replies = vec![Reply::Never];
    world.lock().heals.clear();
    world.fall_sick("middle");
    die_at(responder(&world, &clock, &journal, "act"), is_intent, 1).await;
    // The other version had another timeout for the step than this one makes of the same draft.
    let old = rewritten(&journal, &clock, false, |body| match body {
        Body::Fact(Fact::PlanAccepted { plan, digest, .. }) => {
            plan.steps[0].timeout_ms = 3_000;
            *digest = Digest::of(b"of that timeout");
        }
        Body::Gate(GateFact::Intent(intent)) => intent.deadline_mono_ns += 1_000_000_000,
        _ => {}
    })
    .await;
    let engine = responder(&world, &clock, &old, "act").build().unwrap().open().await.unwrap();
    let handle = engine.handle();
    engine.run_until(tokio::time::sleep(Duration::from_secs(3_600))).await.unwrap();
    let records = all_records(&old, &clock).await;
    assert!(degraded(&records, "other conclusions"));
    for (step, state) in steps(&records) {
        let status = handle.status();
        assert!(state.is_terminal() || state.waits_for_person(), "{step} is {state} after an hour; {:?}", status.steps);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_in_flight_of_a_plan_that_is_not_this_versions_is_settled_all_the_same() {
    for recovery in [RecoveryClass::Keyed, RecoveryClass::FenceProbe, RecoveryClass::Blind] {
        let (world, clock, journal) = (World::new(recovery), SimClock::new(), MemoryJournal::new());
        world.lock().replies = vec![Reply::Never];
        world.lock().heals.clear();
        world.fall_sick("middle");
        die_at(responder(&world, &clock, &journal, "act"), is_intent, 1).await;
        let old = rewritten(&journal, &clock, false, |body| {
            if let Body::Fact(Fact::PlanAccepted { plan, digest, .. }) = body {
                plan.steps[0].expected_effect = "it should be well again".into();
                *digest = Digest::of(b"of those words");
            }
        })
        .await;
        let engine = responder(&world, &clock, &old, "act").build().unwrap().open().await.unwrap();
        let handle = engine.handle();
        engine.run_until(tokio::time::sleep(Duration::from_secs(300))).await.unwrap();
        let records = all_records(&old, &clock).await;
        assert!(degraded(&records, "other conclusions"));
        let status = handle.status();
        for (step, state) in steps(&records) {
            assert!(
                state.is_terminal() || state.waits_for_person(),
                "{recovery:?}: {step} is {state} for good: no deadline, no probe, nobody is told; {:?}",
                status.steps
            );
        }
    }
}

/// The kernel counts a change of an earlier boot as made at the start of the present one, because no wall clock may free a budget; so
/// does carrying over.
#[tokio::test(start_paused = true)]
async fn a_wall_clock_set_forward_frees_no_budget_when_a_journal_is_carried_over() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.fall_sick("middle");
    run_until(responder(&world, &clock, &journal, "act"), &clock, closed).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    clock.reboot("another");
    // The battery of the clock is empty, or somebody sets the wrong day.
    clock.jump_wall(2 * 86_400);
    live(responder(&world, &clock, &journal, "act"), 5).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    let ctx = Ctx::new(Arc::new(clock.clone()));
    let carried = incident_response::core::journal::carried_over(&ctx, &journal).await.unwrap();
    assert_eq!(carried.changes.len(), 1, "the old journal's kernel still counts the change of a minute ago");
}

/// Signals that were lost are counted in the next record of quiet cycles, or at the end.
#[tokio::test(start_paused = true)]
async fn an_orderly_end_records_what_was_lost() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let lossy = part(move |at: &Moment| {
        Says::This(Polled { dropped: 2, next: Cursor::new(at.mono_ns.to_string()), ..Polled::default() })
    });
    let builder = bare(&world, &clock, &journal, "act").executor(Hands(world.clone())).source(lossy);
    let engine = builder.settings(quick_settings()).build().unwrap().open().await.unwrap();
    let handle = engine.handle();
    engine.run_until(tokio::time::sleep(Duration::from_secs(240))).await.unwrap();
    let mut recorded = 0;
    for record in all_records(&journal, &clock).await {
        if let Body::Event(Event::Observed(seen)) = record.body {
            recorded += seen.polls.iter().map(|poll| poll.dropped).sum::<u64>();
        }
    }
    let lost = handle.status().dropped;
    assert_eq!(
        recorded, lost,
        "the journal says {recorded} signals were lost, the engine knew of {lost} when it ended"
    );
}

/// That a detector sees nothing any more is told at once.
#[tokio::test(start_paused = true)]
async fn a_quarantine_is_recorded_at_once() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let broken = part(|_: &SignalBatch| -> Says<Vec<Anomaly>> { Says::Panics });
    let builder = bare(&world, &clock, &journal, "act")
        .executor(Hands(world.clone()))
        .source(Eyes(world.clone()))
        .detector(broken)
        .settings(quick_settings());
    let engine = builder.build().unwrap().open().await.unwrap();
    let (handle, mut news) = (engine.handle(), engine.handle().records());
    let running = tokio::spawn(engine.run_until(tokio::time::sleep(Duration::from_secs(400))));
    let mut watched = engine_status_time(&handle, &clock).await;
    let recorded = loop {
        let record = news.recv().await.unwrap();
        if matches!(&record.body, Body::Fact(Fact::Degraded { what, .. }) if what.contains("detector")) {
            break record.at.mono_ns;
        }
    };
    watched = recorded.saturating_sub(watched) / 1_000_000_000;
    running.abort();
    assert!(watched < 10, "a detector went into quarantine, and the record came {watched} s later");
}

async fn engine_status_time(handle: &incident_response::Handle, clock: &SimClock) -> u64 {
    let mut handle = handle.clone();
    while !handle.status().detectors.iter().any(|detector| detector.quarantined) {
        handle.changed().await.unwrap();
    }
    clock.now().mono_ns
}

/// Kills a life right after the record that `last` wants, rewrites the suspect away, and says what was done before and after the doubt.
async fn doubted_after(
    class: RecoveryClass,
    replies: Vec<Reply>,
    last: impl Fn(&Body) -> bool,
) -> (Vec<String>, Vec<String>) {
    let (world, clock, journal) = (World::new(class), SimClock::new(), MemoryJournal::new());
    world.lock().heals.clear();
    world.lock().replies = replies;
    world.fall_sick("middle");
    die_at(responder(&world, &clock, &journal, "act"), &last, 0).await;
    let calls = |world: &World| world.effects().iter().map(|e| e.call.to_string()).collect::<Vec<_>>();
    let before = calls(&world);
    // The engine may have gone on for a turn: what it wrote behind that record is left out.
    let (whole, cut) = (all_records(&journal, &clock).await, MemoryJournal::new());
    let ctx = Ctx::new(Arc::new(clock.clone()));
    let lease = cut.claim(&ctx, &Holder { name: PartName::literal("writer"), ttl_ms: 1 }).await.unwrap();
    let mut chain = Chain::default();
    for record in whole {
        let ends = last(&record.body);
        let expected_seq = chain.next_seq();
        let (_, records, blobs) = chain.encode(&record.at, vec![record.body]).unwrap();
        let batch = Batch { expected_seq, epoch: lease.epoch, checkpoint: false, blobs, records };
        cut.append(&ctx, &batch).await.unwrap();
        if ends {
            break;
        }
    }
    let old = rewritten(&cut, &clock, false, |body| {
        if let Body::Fact(Fact::HypothesisFormed { suspect, .. }) = body {
            *suspect = None;
        }
    })
    .await;
    live(responder(&world, &clock, &old, "act"), 120).await;
    let records = all_records(&old, &clock).await;
    assert!(degraded(&records, "other conclusions") && handed_over(&records));
    (before, calls(&world))
}

/// What this version believes of a doubtful plan is wrong, so it does not even take back.
#[tokio::test(start_paused = true)]
async fn after_a_doubt_no_undo_is_begun() {
    let (before, after) = doubted_after(RecoveryClass::Keyed, vec![Reply::Arrives, Reply::LostBefore], |body| {
        matches!(body, Body::Fact(Fact::StepMoved { to: StepState::Compensating, .. }))
    })
    .await;
    assert_eq!(before, ["world.heal middle"], "or this test says nothing");
    assert_eq!(before, after);
}

/// The same for an attempt that was lost on its way: sending it again is its first effect.
#[tokio::test(start_paused = true)]
async fn after_a_doubt_nothing_is_sent_again() {
    let replies = vec![Reply::LostBefore];
    let (before, after) =
        doubted_after(RecoveryClass::Keyed, replies, |body| matches!(body, Body::Event(Event::Executed(_)))).await;
    assert_eq!(before, after);
}

/// People who have an incident see a change that is reported late.
#[tokio::test(start_paused = true)]
async fn a_change_that_is_reported_late_stands_in_the_incident() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.fall_sick("middle");
    world.lock().heals.clear();
    let (start, told, time) = (clock.now().mono_ns, AtomicU64::new(0), clock.clone());
    let late = part(move |at: &Moment| {
        let due = time.now().mono_ns > start + 40_000_000_000 && told.fetch_add(1, Ordering::SeqCst) == 0;
        let change = Change {
            entity: entity("middle"),
            at: at.wall.minus(Duration::from_secs(4)),
            kind: ChangeKind::Deploy,
            from: None,
            to: None,
            by: None,
        };
        let batch = SignalBatch { changes: if due { vec![change] } else { Vec::new() }, ..SignalBatch::default() };
        Says::This(Polled { batch, next: Cursor::new(at.mono_ns.to_string()), ..Polled::default() })
    });
    let builder = responder(&world, &clock, &journal, "act")
        .source(late)
        .settings(EngineSettings { quiet_ms: 60_000, ..quick_settings() });
    let engine = builder.build().unwrap().open().await.unwrap();
    let handle = engine.handle();
    engine.run_until(tokio::time::sleep(Duration::from_secs(80))).await.unwrap();
    assert!(handed_over(&all_records(&journal, &clock).await));
    let status = handle.status();
    let incident = status.incidents.first().unwrap();
    assert_eq!(incident.changes.len(), 1, "the change is not in {incident:?}");
}

/// The difference is told in a few words, in a record for each open incident.
#[tokio::test(start_paused = true)]
async fn a_doubt_writes_no_more_than_there_was() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let many = || {
        let told = AtomicU64::new(0);
        let detector = part(move |batch: &SignalBatch| {
            let at = batch.metrics.first().map(|s| s.at).unwrap_or_default();
            let first = told.fetch_add(1, Ordering::SeqCst) == 0;
            let one = |n: usize| anomaly(&format!("errors/{n}"), &format!("svc-{n}"), Phase::Began, at);
            Says::This(if first { (0..150).map(one).collect() } else { Vec::new() })
        });
        bare(&world, &clock, &journal, "act")
            .correlator(StandardCorrelator::new(CorrelatorConfig::default()).unwrap())
            .source(Eyes(world.clone()))
            .detector(detector)
            .executor(Hands(world.clone()))
            .settings(EngineSettings { settle_ms: 600_000, ..quick_settings() })
    };
    live(many(), 5).await;
    let old = rewritten(&journal, &clock, true, |body| {
        if let Body::Gate(GateFact::Checkpoint(checkpoint)) = body
            && let Content::Here(engine) = &mut checkpoint.engine
        {
            engine["form"] = 0.into();
        }
    })
    .await;
    let size = |records: &[Record]| records.iter().map(|r| serde_json::to_vec(r).unwrap().len()).sum::<usize>();
    let before = size(&all_records(&old, &clock).await);
    let builder = bare(&world, &clock, &old, "act").source(Eyes(world.clone())).executor(Hands(world.clone()));
    live(builder.settings(quick_settings()), 2).await;
    let after = size(&all_records(&old, &clock).await);
    assert!(after < 4 * before, "a journal of {before} bytes has {after} after one start");
}

/// What a failing plan was about to take back is in place, and somebody must know.
#[tokio::test(start_paused = true)]
async fn a_step_whose_undo_was_still_to_come_is_carried_over() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    world.lock().heals.clear();
    world.fall_sick("middle");
    let builder = responder(&world, &clock, &journal, "act").playbooks(crate::undoing::playbook(["a", "b", "c"]));
    let engine = builder.build().unwrap().open().await.unwrap();
    let mut news = engine.handle().records();
    let running = tokio::spawn(engine.run_until(std::future::pending()));
    // The plan has failed, and its last step is being taken back; the two before it come next.
    loop {
        if let Body::Gate(GateFact::Intent(intent)) = news.recv().await.unwrap().body
            && intent.direction == Direction::Undo
        {
            break;
        }
    }
    running.abort();
    let _ = running.await;
    let ctx = Ctx::new(Arc::new(clock.clone()));
    let carried = incident_response::core::journal::carried_over(&ctx, &journal).await.unwrap();
    let steps: Vec<String> = carried.steps.iter().map(|step| step.step.to_string()).collect();
    assert_eq!(steps.len(), 3, "of three effects in place only {steps:?} are carried over");
}

/// Refuses the `n`-th append.
#[derive(Debug, Clone)]
struct Full(MemoryJournal, Arc<AtomicU64>);

#[async_trait::async_trait]
impl Journal for Full {
    fn name(&self) -> &str {
        "full"
    }
    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<incident_response::core::journal::Appended> {
        if self.1.fetch_sub(1, Ordering::SeqCst) == 1 {
            return Err(Error::new(ErrorKind::Unavailable, "full", "no space left on the device"));
        }
        self.0.append(ctx, batch).await
    }
    async fn read(
        &self,
        ctx: &Ctx,
        from: &incident_response::core::journal::ReadFrom,
    ) -> Result<incident_response::core::journal::Page> {
        self.0.read(ctx, from).await
    }
    async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        self.0.blob(ctx, digest).await
    }
    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<incident_response::core::journal::Lease> {
        self.0.claim(ctx, holder).await
    }
}

/// The disk is full while a journal is carried over: it can be done again, and until then nothing acts.
#[tokio::test(start_paused = true)]
async fn a_carrying_over_that_failed_half_way_can_be_done_again_and_until_then_nothing_acts() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let engine = responder(&world, &clock, &journal, "act").build().unwrap().open().await.unwrap();
    engine.handle().halt("ann", "it is wrong");
    engine.run_until(tokio::time::sleep(Duration::from_secs(2))).await.unwrap();
    let ctx = Ctx::new(Arc::new(clock.clone()));
    let (new, name) = (MemoryJournal::new(), PartName::literal("responder"));
    let full = Full(new.clone(), Arc::new(AtomicU64::new(1)));
    incident_response::carry_over(&ctx, &journal, Arc::new(full), name.clone()).await.unwrap_err();
    tokio::time::advance(Duration::from_secs(20)).await;
    let again = incident_response::carry_over(&ctx, &journal, Arc::new(new.clone()), name).await.map(|_| ());
    world.fall_sick("middle");
    tokio::time::advance(Duration::from_secs(20)).await;
    live(responder(&world, &clock, &new, "act"), 60).await;
    assert!(
        again.is_ok() && world.effects().is_empty(),
        "again: {again:?}; and a responder did {:?} although the old journal is halted",
        world.effects().iter().map(|e| e.call.to_string()).collect::<Vec<_>>()
    );
}

/// Takes its time.
#[derive(Debug)]
struct Slow;

#[async_trait::async_trait]
impl Diagnoser for Slow {
    fn name(&self) -> &str {
        "slow"
    }
    async fn diagnose(&self, ctx: &Ctx, case: &Case) -> Result<Hypothesis> {
        ctx.sleep("slow", Duration::from_secs(8)).await?;
        Ok(Hypothesis {
            id: case.id.clone(),
            by: PartName::literal("slow"),
            causes: Vec::new(),
            abstains: Some("it takes long".to_owned()),
        })
    }
}

/// Where a new anomaly belongs is asked although a mass of incidents waits for its diagnosis.
#[tokio::test(start_paused = true)]
async fn a_new_fault_opens_its_incident_although_a_mass_waits_for_its_diagnosis() {
    let (world, clock, journal) = (World::new(RecoveryClass::Keyed), SimClock::new(), MemoryJournal::new());
    let start = clock.now().mono_ns;
    let (told, late) = (AtomicU64::new(0), AtomicU64::new(0));
    let time = clock.clone();
    let detector = part(move |batch: &SignalBatch| {
        let at = batch.metrics.first().map(|s| s.at).unwrap_or_default();
        let one = |n: usize| anomaly(&format!("errors/{n}"), &format!("svc-{n}"), Phase::Began, at);
        if told.fetch_add(1, Ordering::SeqCst) == 0 {
            return Says::This((0..400).map(one).collect());
        }
        let is_late = time.now().mono_ns > start + 5_000_000_000 && late.fetch_add(1, Ordering::SeqCst) == 0;
        Says::This(if is_late { vec![anomaly("late", "middle", Phase::Began, at)] } else { Vec::new() })
    });
    let builder = bare(&world, &clock, &journal, "act")
        .correlator(StandardCorrelator::new(CorrelatorConfig::default()).unwrap())
        .diagnoser(Slow)
        .source(Eyes(world.clone()))
        .detector(detector)
        .executor(Hands(world.clone()))
        .settings(EngineSettings { checkpoint_every: 5_000, ..quick_settings() });
    live(builder, 600).await;
    let opened = all_records(&journal, &clock).await.into_iter().find_map(|r| match &r.body {
        Body::Fact(Fact::IncidentOpened { anomalies, .. }) if anomalies.iter().any(|a| a.as_str() == "late") => {
            Some((r.at.mono_ns - start) / 1_000_000_000)
        }
        _ => None,
    });
    assert!(opened.is_some_and(|secs| secs < 30), "seen after 5 s, its incident opened after {opened:?} s");
}
