//! Corners of the step machine, each by the shortest sequence that leads there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use incident_response::core::journal::{Body, Event, Fact, GateFact, Report};
use incident_response::core::*;
use incident_response::plan::plan::Playbooks;
use incident_response::{Builder, Handle};

use crate::healing::assert_sound;
use crate::world::*;

const EASY: &str = "anomalies_end = false, limits = [{ metric = \"sick\", is = \"at_most\", value = 5 }], hold_ms = 500, within_ms = 3000";
const BACK: &str = "anomalies_end = true, hold_ms = 500, within_ms = 3000";

fn step(id: &str, target: &str, verification: &str, more: &str) -> String {
    format!(
        "[[playbook.step]]\nid = \"{id}\"\naction = \"world.heal\"\ntarget = {{ entity = \"{target}\" }}\n\
         expected_effect = \"x\"\nverification = {{ {verification} }}\n{more}\n"
    )
}

/// A sick service, and a responder for these steps. The entity named `guarded` needs a person.
struct Corner {
    world: World,
    clock: SimClock,
    journal: MemoryJournal,
    playbooks: Playbooks,
    guarded: &'static str,
}

impl Corner {
    fn new(steps: &[String]) -> Self {
        let text = format!("[[playbook]]\nname = \"p\"\nversion = 1\n{}", steps.concat());
        let playbooks = Playbooks::parse(&text, "p.toml").unwrap();
        let (world, clock) = (World::new(RecoveryClass::Keyed), SimClock::new());
        world.fall_sick("middle");
        Self { world, clock, journal: MemoryJournal::new(), playbooks, guarded: "none" }
    }

    /// The same, where nothing heals.
    fn hopeless(steps: &[String]) -> Self {
        let corner = Self::new(steps);
        corner.world.lock().heals.clear();
        corner
    }

    fn builder(&self, tier: &str) -> Builder {
        self.with(tier, Hands(self.world.clone()))
    }

    fn with(&self, tier: &str, executor: impl Executor) -> Builder {
        let entity = |name| format!("[[entity]]\nid = \"{name}\"\nprotected = {}\n", name == self.guarded);
        let entities: String = SERVICES.into_iter().map(entity).collect();
        bare(&self.world, &self.clock, &self.journal, tier)
            .topology(Topology::parse(&entities, "t.toml").unwrap())
            .playbooks(self.playbooks.clone())
            .source(Eyes(self.world.clone()))
            .detector(Doctor::default())
            .executor(executor)
    }

    /// Runs until `on` says that it is enough, or nothing happens for long.
    async fn run(&self, builder: Builder, mut on: impl AsyncFnMut(&Handle, &Record) -> bool) -> Vec<Record> {
        let engine = builder.build().unwrap().open().await.unwrap();
        let handle = engine.handle();
        let mut news = handle.records();
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(engine.run_until(async {
            let _ = wait.await;
        }));
        let mut seen = Vec::new();
        while seen.len() < 400 && !running.is_finished() {
            let next = tokio::time::timeout(Duration::from_secs(100), news.recv()).await;
            let Ok(Ok(record)) = next else { break };
            let enough = on(&handle, &record).await;
            seen.push(record);
            if enough {
                break;
            }
        }
        let _ = done.send(());
        running.await.unwrap().unwrap();
        assert_sound(&self.journal, &self.clock).await;
        seen
    }

    fn did(&self) -> Vec<String> {
        self.world.effects().iter().map(|effect| effect.call.to_string()).collect()
    }
}

fn answer(request: &ApprovalRequest, answer: Answer) -> ApprovalAnswer {
    ApprovalAnswer {
        request: request.id.clone(),
        plan_digest: request.plan_digest,
        by: Person::named("ann"),
        answer,
        reason: "looked at it".into(),
    }
}

fn without(step: &str) -> Answer {
    let step = StepId::new(step).unwrap();
    Answer::Modify { changes: vec![StepChange { step, action: None, params: None, drop: true }] }
}

fn asked(record: &Record) -> Option<&ApprovalRequest> {
    match &record.body {
        Body::Fact(Fact::ApprovalOpened(request)) => Some(request),
        _ => None,
    }
}

fn moved_to(record: &Record, wanted: StepState) -> Option<&StepRef> {
    match &record.body {
        Body::Fact(Fact::StepMoved { step, to, .. }) if *to == wanted => Some(step),
        _ => None,
    }
}

fn concluded(record: &Record) -> bool {
    matches!(record.body, Body::Fact(Fact::OutcomeReached(_)))
}

#[tokio::test(start_paused = true)]
async fn who_answers_for_a_step_that_was_given_up_at_a_restart_ends_nothing() {
    for words in [Answer::Approve, Answer::Refuse] {
        let mut corner = Corner::hopeless(&[step("a", "front", EASY, ""), step("b", "back", EASY, "")]);
        corner.guarded = "back";
        let engine = corner.builder("act").build().unwrap().open().await.unwrap();
        let mut news = engine.handle().records();
        let life = tokio::spawn(engine.run_until(std::future::pending()));
        let mut request = None;
        loop {
            let record = news.recv().await.unwrap();
            request = request.or_else(|| asked(&record).cloned());
            if request.is_some() && moved_to(&record, StepState::Verifying).is_some() {
                break;
            }
        }
        life.abort();
        let _ = life.await;
        // Somebody else touches the targets, so that the undo of the first step waits for a person.
        corner.world.lock().generation += 1;
        let request = request.unwrap();
        corner
            .run(corner.builder("recommend"), async |handle: &Handle, record: &Record| {
                if asked(record).is_some_and(|undo| undo.direction == Direction::Undo) {
                    let late = handle.answer(answer(&request, words.clone())).await.unwrap_err();
                    assert_eq!(late.kind(), ErrorKind::Conflict, "{words:?}: {late}");
                    return true;
                }
                false
            })
            .await;
    }
}

/// Hands whose first answer comes late and whose look at the target before the repetition takes long.
#[derive(Debug)]
struct Tardy(Hands, AtomicUsize, AtomicUsize);

#[async_trait]
impl Executor for Tardy {
    fn name(&self) -> &str {
        "hands"
    }
    fn catalogue(&self) -> Vec<ActionSpec> {
        self.0.catalogue()
    }
    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        // The first is for the plan, the second before the first send.
        if self.1.fetch_add(1, Ordering::SeqCst) == 2 {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        self.0.preview(ctx, call).await
    }
    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let done = self.0.execute(ctx, permit).await;
        if self.2.fetch_add(1, Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(4_500)).await;
        }
        done
    }
    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        self.0.probe(ctx, probe).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_repetition_that_comes_too_late_does_not_end_the_undo() {
    let corner = Corner::hopeless(&[step("a", "middle", BACK, "timeout_ms = 2000")]);
    let hands = Tardy(Hands(corner.world.clone()), 0.into(), 0.into());
    let mut taken = false;
    corner
        .run(corner.with("act", hands), async |handle: &Handle, record: &Record| {
            match &record.body {
                Body::Fact(Fact::AttemptUnknown { .. }) if !taken => {
                    taken = true;
                    let incident = handle.status().incidents.first().unwrap().id.clone();
                    handle.take_over(incident, Person::named("ann"), "mine", true).await.unwrap();
                }
                Body::Gate(GateFact::Refused { direction, .. }) => {
                    assert_eq!(*direction, Direction::Undo, "a send that nobody wants any more was put to the gate");
                }
                _ => {}
            }
            concluded(record)
        })
        .await;
    assert!(taken);
    assert_eq!(corner.did(), ["world.heal middle", "world.unheal middle"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_left_in_place_is_not_taken_back_after_all() {
    let steps = [step("a", "front", BACK, ""), step("b", "back", EASY, "")];
    let corner = Corner::hopeless(&steps);
    // One answer is lost, so that its step is still under way when the other has its time over.
    corner.world.lock().replies = vec![Reply::Arrives, Reply::Never];
    let mut settled: Option<StepRef> = None;
    corner
        .run(corner.builder("act"), async |handle: &Handle, record: &Record| {
            if let Some(step) = moved_to(record, StepState::Verifying)
                && step.step.as_str() == "a"
            {
                corner.world.lock().generation += 1;
            }
            if let Some(request) = asked(record).filter(|_| settled.is_none()) {
                let refused = answer(request, Answer::Refuse);
                handle.answer(refused).await.unwrap();
            }
            if let Some(step) = moved_to(record, StepState::RollbackFailed).filter(|_| settled.is_none()) {
                handle.settle(step.clone(), Person::named("ann"), true, "it stays").await.unwrap();
                settled = Some(step.clone());
            } else if let Some(step) = moved_to(record, StepState::Compensating) {
                assert_ne!(settled.as_ref(), Some(step), "it was settled");
            }
            concluded(record)
        })
        .await;
    assert!(settled.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_step_of_a_later_phase_is_done_after_the_signals_came_back() {
    let steps = [step("a", "middle", BACK, "phase = \"eradicate\""), step("b", "front", EASY, "phase = \"recover\"")];
    let corner = Corner::new(&steps);
    corner.run(corner.builder("act"), async |_: &Handle, record: &Record| concluded(record)).await;
    assert_eq!(corner.did(), ["world.heal middle", "world.heal front"]);
}

#[tokio::test(start_paused = true)]
async fn what_healed_is_not_taken_back_because_a_later_step_is_not_needed() {
    let long = EASY.replace("hold_ms = 500, within_ms = 3000", "hold_ms = 5000, within_ms = 9000");
    let corner = Corner::new(&[step("a", "middle", &long, ""), step("b", "front", EASY, "after = [\"a\"]")]);
    corner.run(corner.builder("act"), async |_: &Handle, record: &Record| concluded(record)).await;
    assert_eq!(corner.did(), ["world.heal middle"]);
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_after_a_plan_is_looked_at_anew() {
    let mut opened = 0;
    let mut corner = Corner::hopeless(&[step("a", "front", EASY, ""), step("b", "back", BACK, "after = [\"a\"]")]);
    corner.guarded = "back";
    let records = corner
        .run(corner.builder("act"), async |handle: &Handle, record: &Record| {
            if let Some(request) = asked(record) {
                handle.answer(answer(request, without("b"))).await.unwrap();
            }
            opened += u32::from(matches!(record.body, Body::Fact(Fact::IncidentOpened { .. })));
            opened == 2
        })
        .await;
    assert!(closed(&records) && opened == 2, "`middle` is still sick");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_out_of_the_middle_leaves_the_order_of_the_others() {
    let steps = [
        step("a", "front", EASY, ""),
        step("b", "back", EASY, "after = [\"a\"]"),
        step("c", "middle", EASY, "after = [\"b\"]"),
    ];
    let mut corner = Corner::hopeless(&steps);
    corner.guarded = "front";
    let mut n = 0;
    corner
        .run(corner.builder("act"), async |handle: &Handle, record: &Record| {
            if let Some(request) = asked(record) {
                n += 1;
                if n == 1 {
                    handle.answer(answer(request, without("b"))).await.unwrap();
                }
            }
            concluded(record)
        })
        .await;
    assert_eq!(corner.did(), Vec::<String>::new(), "the third is done and the first is not");
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_without_the_undo_stops_an_undo_that_is_under_way() {
    let corner = Corner::hopeless(&[step("a", "front", EASY, ""), step("b", "middle", BACK, "")]);
    let mut taken = false;
    corner
        .run(corner.builder("act"), async |handle: &Handle, record: &Record| {
            if moved_to(record, StepState::Verifying).is_some_and(|step| step.step.as_str() == "b") {
                corner.world.lock().generation += 1;
            }
            if let Some(request) = asked(record) {
                assert!(!taken, "people are asked for {} although ann wants it left", request.step);
                taken = true;
                let incident = handle.status().incidents.first().unwrap().id.clone();
                handle.take_over(incident, Person::named("ann"), "leave it", false).await.unwrap();
                let _ = handle.answer(answer(request, Answer::Refuse)).await;
            }
            let begun = moved_to(record, StepState::Compensating).is_some_and(|step| step.step.as_str() == "a");
            assert!(!(taken && begun), "another undo is begun");
            concluded(record)
        })
        .await;
    assert!(taken);
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_taken_over_before_anything_was_sent_has_an_outcome() {
    for undo in [true, false] {
        let corner = Corner::new(&[step("a", "middle", BACK, "")]);
        let records = corner
            .run(corner.builder("approve"), async |handle: &Handle, record: &Record| {
                if asked(record).is_some() {
                    let incident = handle.status().incidents.first().unwrap().id.clone();
                    handle.take_over(incident, Person::named("ann"), "mine", undo).await.unwrap();
                }
                concluded(record)
            })
            .await;
        assert!(records.iter().any(concluded), "undo: {undo}");
    }
}

/// Says at once that all is well.
#[derive(Debug)]
struct Content;

#[async_trait]
impl Verifier for Content {
    fn name(&self) -> &str {
        "content"
    }
    async fn verify(&self, _ctx: &Ctx, _check: &Check) -> Result<Verified> {
        let by = PartName::literal("content");
        Ok(Verified { by, holds: Holds::Yes, readings: Vec::new(), because: "it is well".into() })
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_success_is_measured_anew_in_full() {
    for reboots in [true, false] {
        let corner = Corner::hopeless(&[step("a", "middle", "hold_ms = 6000, within_ms = 20000", "")]);
        let build = || corner.builder("act").verifier(Content);
        // On a clock that is ahead of the next boot's, the time it has held lies in the future there.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let engine = build().build().unwrap().open().await.unwrap();
        let mut news = engine.handle().records();
        let life = tokio::spawn(engine.run_until(std::future::pending()));
        let held = |record: &Record| {
            matches!(record.body, Body::Event(Event::Reported { report: Report::Verified { .. }, .. }))
        };
        while !held(&news.recv().await.unwrap()) {}
        life.abort();
        let _ = life.await;
        if reboots {
            corner.clock.reboot("second");
        } else {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let start = corner.clock.now().mono_ns;
        let records = corner.run(build(), async |_: &Handle, record: &Record| concluded(record)).await;
        let done = records.iter().find(|r| moved_to(r, StepState::Done).is_some()).map(|r| r.at.mono_ns - start);
        let what = format!("another boot: {reboots}, done after {done:?} ns; {:?}", corner.did());
        assert!(done.is_some_and(|ns| (6_000_000_000..8_000_000_000).contains(&ns)), "{what}");
    }
}
