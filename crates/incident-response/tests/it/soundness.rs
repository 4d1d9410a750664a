//! Two things go wrong at once: an answer is lost and its repetition refused, a person changes a plan that is under way, people
//! cannot be reached, a target is changed by somebody else between do and undo.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use incident_response::Builder;
use incident_response::core::journal::{Body, Event, Fact, GateFact};
use incident_response::core::*;
use incident_response::plan::plan::Playbooks;

use crate::healing::assert_sound;
use crate::world::*;

struct Stage {
    world: World,
    clock: SimClock,
    journal: MemoryJournal,
}

impl Stage {
    /// A sick service that nothing heals, so that what was done is taken back.
    fn hopeless(class: RecoveryClass) -> Self {
        let stage = Self::new(class);
        stage.world.lock().heals.clear();
        stage
    }

    fn new(class: RecoveryClass) -> Self {
        let stage = Self { world: World::new(class), clock: SimClock::new(), journal: MemoryJournal::new() };
        stage.world.fall_sick("middle");
        stage
    }

    fn responder(&self, tier: &str) -> Builder {
        responder(&self.world, &self.clock, &self.journal, tier)
    }

    fn with(&self, tier: &str, executor: impl Executor) -> Builder {
        bare(&self.world, &self.clock, &self.journal, tier)
            .source(Eyes(self.world.clone()))
            .detector(Doctor::default())
            .executor(executor)
    }

    /// Runs until the incident has its end; `on` is shown every record.
    async fn run(&self, builder: Builder, on: impl AsyncFnMut(&incident_response::Handle, &Record)) -> Vec<Record> {
        self.run_until(builder, on, ended).await
    }

    async fn run_until(
        &self,
        builder: Builder,
        mut on: impl AsyncFnMut(&incident_response::Handle, &Record),
        enough: impl Fn(&[Record]) -> bool,
    ) -> Vec<Record> {
        let engine = builder.build().unwrap().open().await.unwrap();
        let handle = engine.handle();
        let mut news = handle.records();
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(engine.run_until(async {
            let _ = wait.await;
        }));
        let mut seen = Vec::new();
        while !enough(&seen) {
            let next = tokio::time::timeout(Duration::from_secs(400), news.recv()).await;
            let Ok(record) = next else { break };
            let record = record.unwrap();
            on(&handle, &record).await;
            seen.push(record);
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

fn nothing() -> impl AsyncFnMut(&incident_response::Handle, &Record) {
    async |_: &incident_response::Handle, _: &Record| {}
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

fn change(request: &ApprovalRequest) -> Answer {
    let step = request.step.step.clone();
    Answer::Modify { changes: vec![StepChange { step, action: None, params: None, drop: false }] }
}

fn states(records: &[Record]) -> Vec<StepState> {
    steps(records).into_values().collect()
}

const EASY: &str = "anomalies_end = false, limits = [{ metric = \"sick\", is = \"at_most\", value = 5 }], hold_ms = 500, within_ms = 3000";

fn step(id: &str, target: &str, more: &str) -> String {
    format!(
        "[[playbook.step]]\nid = \"{id}\"\naction = \"world.heal\"\ntarget = {{ entity = \"{target}\" }}\nexpected_effect = \"x\"\n{more}\n"
    )
}

fn playbook(steps: &[String]) -> Playbooks {
    Playbooks::parse(&format!("[[playbook]]\nname = \"p\"\nversion = 1\n{}", steps.concat()), "p.toml").unwrap()
}

/// `back` needs a person, the others do not.
fn guarded() -> Topology {
    let text = "[[entity]]\nid = \"front\"\n[[entity]]\nid = \"middle\"\n[[entity]]\nid = \"back\"\nprotected = true\n";
    Topology::parse(text, "t.toml").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_refused_repetition_does_not_deny_the_first_effect() {
    // Whatever follows a lost answer: the effect is in place, so it is verified, does not help, and is taken back.
    let tails =
        [vec![Reply::Refused], vec![Reply::Refused, Reply::Refused], vec![Reply::LostBefore, Reply::Refused], vec![]];
    for tail in tails {
        let stage = Stage::hopeless(RecoveryClass::Keyed);
        stage.world.lock().replies = [vec![Reply::LostAfter], tail.clone()].concat();
        let records = stage.run(stage.responder("act"), nothing()).await;
        let exhausted = tail.len() == 2;
        let wanted: &[&str] =
            if exhausted { &["world.heal middle"] } else { &["world.heal middle", "world.unheal middle"] };
        assert_eq!(stage.did(), wanted, "{tail:?}");
        let end = if exhausted { StepState::Unknown } else { StepState::RolledBack };
        assert_eq!(states(&records), [end], "{tail:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_halt_during_a_repetition_leaves_the_step_open_until_the_resume() {
    let stage = Stage::hopeless(RecoveryClass::Keyed);
    stage.world.lock().replies = vec![Reply::LostAfter];
    let mut halted = false;
    let records = stage
        .run(stage.responder("act"), async |handle: &incident_response::Handle, record: &Record| match &record.body {
            Body::Gate(GateFact::Intent(intent)) if intent.attempt == 2 && !halted => {
                halted = true;
                handle.halt("ann", "stop");
            }
            // The repetition could not be redeemed; the first attempt is still in doubt.
            Body::Gate(GateFact::Refused { .. }) => {
                let status = handle.status();
                assert_eq!(status.steps[0].state, StepState::Intent);
                let step = status.steps[0].step.clone();
                let early = handle.settle(step, Person::named("ann"), false, "I think").await.unwrap_err();
                assert!(early.message().contains("at work on it"), "{early}");
                handle.resume(vec![Person::named("ann")], "go on").await.unwrap();
            }
            _ => {}
        })
        .await;
    assert!(halted);
    assert_eq!(stage.did(), ["world.heal middle", "world.unheal middle"]);
    assert_eq!(states(&records), [StepState::RolledBack]);
}

/// Hands that end with an error of some kind after the effect, or before they redeem.
#[derive(Debug)]
struct Erring {
    hands: Hands,
    kind: ErrorKind,
    first: bool,
}

#[async_trait]
impl Executor for Erring {
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
        if !self.first {
            self.hands.execute(ctx, permit).await?;
        }
        Err(Error::new(self.kind, "hands", "something went wrong"))
    }
    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        self.hands.probe(ctx, probe).await
    }
}

#[tokio::test(start_paused = true)]
async fn after_redeeming_every_error_is_unknown_and_before_it_none_is() {
    let kinds = [
        ErrorKind::InvalidInput,
        ErrorKind::NotFound,
        ErrorKind::Unauthorized,
        ErrorKind::Timeout,
        ErrorKind::Stopped,
        ErrorKind::Conflict,
        ErrorKind::Unknown,
    ];
    for kind in kinds {
        for first in [true, false] {
            let stage = Stage::hopeless(RecoveryClass::Blind);
            let hands = Hands(stage.world.clone());
            let records = stage.run(stage.with("act", Erring { hands, kind, first }), nothing()).await;
            let end = if first { StepState::NotApplied } else { StepState::Unknown };
            assert_eq!(states(&records)[0], end, "{kind}, before redeeming: {first}");
            assert_eq!(stage.world.effects().len(), usize::from(!first));
        }
    }
}

/// Hands that hand their permit on and say something at once.
#[derive(Debug)]
struct HandsOn {
    hands: Hands,
    claims: bool,
    after_ms: u64,
}

#[async_trait]
impl Executor for HandsOn {
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
        let (hands, ctx, after_ms) = (Hands(self.hands.0.clone()), ctx.clone(), self.after_ms);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            let _ = hands.execute(&ctx, permit).await;
        });
        if self.claims {
            Ok(Attempt::applied("queued"))
        } else {
            Err(Error::new(ErrorKind::Unavailable, "hands", "busy"))
        }
    }
    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        self.hands.probe(ctx, probe).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_does_not_outlive_the_settlement_of_its_attempt() {
    for class in [RecoveryClass::Keyed, RecoveryClass::Blind] {
        for claims in [true, false] {
            let stage = Stage::new(class);
            let hands = HandsOn { hands: Hands(stage.world.clone()), claims, after_ms: 1_500 };
            let records = stage.run(stage.with("act", hands), nothing()).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(stage.did(), Vec::<String>::new(), "{class:?}, claims to be done: {claims}");
            // Who says that it is done without having redeemed broke the contract, and its word proves nothing.
            let end = if claims { StepState::Unknown } else { StepState::NotApplied };
            assert_eq!(states(&records), [end], "{class:?}, claims to be done: {claims}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_reads_for_longer_than_the_lease_has_a_lease_afterwards() {
    /// A journal that is read slowly.
    #[derive(Debug, Clone)]
    struct Slow(MemoryJournal);
    #[async_trait]
    impl journal::Journal for Slow {
        fn name(&self) -> &str {
            "slow"
        }
        async fn append(&self, ctx: &Ctx, batch: &journal::Batch) -> Result<journal::Appended> {
            self.0.append(ctx, batch).await
        }
        async fn read(&self, ctx: &Ctx, from: &journal::ReadFrom) -> Result<journal::Page> {
            tokio::time::sleep(Duration::from_secs(20)).await;
            self.0.read(ctx, from).await
        }
        async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
            self.0.blob(ctx, digest).await
        }
        async fn claim(&self, ctx: &Ctx, holder: &journal::Holder) -> Result<journal::Lease> {
            self.0.claim(ctx, holder).await
        }
    }
    let stage = Stage::new(RecoveryClass::Keyed);
    stage.world.lock().replies = vec![Reply::Never];
    let engine = stage.responder("act").build().unwrap().open().await.unwrap();
    let mut news = engine.handle().records();
    let life = tokio::spawn(engine.run_until(std::future::pending()));
    while !matches!(news.recv().await.unwrap().body, Body::Gate(GateFact::Intent(_))) {}
    while stage.world.effects().is_empty() {
        tokio::task::yield_now().await;
    }
    life.abort();
    let _ = life.await;
    let builder = responder(&stage.world, &stage.clock, &Slow(stage.journal.clone()), "act");
    let records = run_until(builder, &stage.clock, ended).await;
    assert_eq!(states(&records), [StepState::Done]);
    assert_eq!(stage.world.effects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_modification_leaves_what_is_done_as_it_is() {
    let stage = Stage::hopeless(RecoveryClass::Keyed);
    let steps = [
        step("a", "front", &format!("verification = {{ {EASY} }}")),
        step("b", "back", &format!("after = [\"a\"]\nverification = {{ {EASY} }}")),
    ];
    let builder = stage.responder("act").playbooks(playbook(&steps)).topology(guarded());
    let mut asked = Vec::new();
    stage
        .run(builder, async |handle: &incident_response::Handle, record: &Record| {
            let Body::Fact(Fact::ApprovalOpened(request)) = &record.body else { return };
            asked.push(request.clone());
            match asked.len() {
                1 => {
                    let sent = StepChange { step: StepId::new("a").unwrap(), action: None, params: None, drop: true };
                    let error =
                        handle.answer(answer(request, Answer::Modify { changes: vec![sent] })).await.unwrap_err();
                    assert!(error.message().contains("what was sent cannot be changed"), "{error}");
                    handle.answer(answer(request, change(request))).await.unwrap();
                }
                _ => {
                    // An approval of the plan as it was does not count for the plan as it is.
                    let late = handle.answer(answer(&asked[0], Answer::Approve)).await.unwrap_err();
                    assert_eq!(late.kind(), ErrorKind::Conflict);
                    handle.answer(answer(request, Answer::Approve)).await.unwrap();
                }
            }
        })
        .await;
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0].plan_digest, asked[1].plan_digest);
    assert_eq!(stage.did(), ["world.heal front", "world.heal back"]);
}

#[tokio::test(start_paused = true)]
async fn a_modification_beside_a_step_that_is_measured_orphans_nothing() {
    let long = EASY.replace("hold_ms = 500, within_ms = 3000", "hold_ms = 30000, within_ms = 60000");
    let stage = Stage::hopeless(RecoveryClass::Keyed);
    let steps = [
        step("a", "front", &format!("verification = {{ {long} }}")),
        step("b", "back", &format!("verification = {{ {EASY} }}")),
    ];
    let builder = stage.responder("act").playbooks(playbook(&steps)).topology(guarded());
    let (mut modified, mut verifying) = (false, false);
    let records = stage
        .run(builder, async |handle: &incident_response::Handle, record: &Record| {
            verifying |= matches!(&record.body, Body::Fact(Fact::StepMoved { to: StepState::Verifying, .. }));
            let request = handle.pending_approvals().first().cloned();
            if let Some(request) = request.filter(|_| verifying) {
                let words = if modified { Answer::Approve } else { change(&request) };
                modified |= handle.answer(answer(&request, words)).await.is_ok();
            }
        })
        .await;
    assert!(modified);
    assert_eq!(states(&records), [StepState::Done, StepState::Done]);
    let left = records.iter().rev().find_map(|r| match &r.body {
        Body::Fact(Fact::OutcomeReached(outcome)) => Some(outcome.recovery),
        _ => None,
    });
    assert_eq!(left, Some(Recovery::Recovered));
}

#[tokio::test(start_paused = true)]
async fn a_modification_is_refused_while_a_step_is_in_flight() {
    let stage = Stage::hopeless(RecoveryClass::Keyed);
    stage.world.lock().replies = vec![Reply::Never];
    let steps = [step("a", "front", "timeout_ms = 20000"), step("b", "back", "")];
    let builder = stage.responder("act").playbooks(playbook(&steps)).topology(guarded());
    let mut refused = 0;
    stage
        .run_until(
            builder,
            async |handle: &incident_response::Handle, _: &Record| {
                let status = handle.status();
                let in_flight = status.steps.iter().any(|step| step.state == StepState::Intent);
                let request = status.approvals.first().filter(|_| in_flight && refused == 0);
                if let Some(request) = request {
                    let error = handle.answer(answer(request, change(request))).await.unwrap_err();
                    assert!(error.message().contains("answer again when that is settled"), "{error}");
                    refused += 1;
                }
            },
            |records| records.iter().any(|r| matches!(r.body, Body::Fact(Fact::AnswerRejected { .. }))),
        )
        .await;
    assert_eq!(refused, 1);
}

#[tokio::test(start_paused = true)]
async fn an_approval_covers_the_state_that_was_shown_and_no_other() {
    let stage = Stage::new(RecoveryClass::Keyed);
    let mut asked: Vec<ApprovalRequest> = Vec::new();
    let mut changed = false;
    stage
        .run(stage.responder("approve"), async |handle: &incident_response::Handle, record: &Record| {
            match &record.body {
                Body::Fact(Fact::ApprovalOpened(request)) => {
                    asked.push(request.clone());
                    if asked.len() == 1 {
                        handle.halt("bob", "wait");
                        handle.answer(answer(request, Answer::Approve)).await.unwrap();
                    } else {
                        assert_eq!(stage.world.effects(), [], "the old approval was used for another state");
                        let old = handle.answer(answer(&asked[0], Answer::Approve)).await.unwrap_err();
                        assert!(old.message().contains("shows another state"), "{old}");
                        handle.answer(answer(request, Answer::Approve)).await.unwrap();
                    }
                }
                Body::Gate(GateFact::Refused { .. }) if !changed => {
                    changed = true;
                    stage.world.lock().generation += 1;
                    handle.resume(vec![Person::named("bob")], "go on").await.unwrap();
                }
                _ => {}
            }
        })
        .await;
    assert_eq!(asked.len(), 2);
    assert!(asked[0].covers != asked[1].covers && asked[0].plan_digest == asked[1].plan_digest);
    assert_eq!(stage.world.effects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_approval_that_comes_before_the_preview_after_a_restart_ends_nothing() {
    /// Hands whose first preview takes a while.
    #[derive(Debug)]
    struct SlowFirst(Hands, AtomicUsize);
    #[async_trait]
    impl Executor for SlowFirst {
        fn name(&self) -> &str {
            "hands"
        }
        fn catalogue(&self) -> Vec<ActionSpec> {
            self.0.catalogue()
        }
        async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
            if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
                ctx.sleep("slow", Duration::from_millis(900)).await?;
            }
            self.0.preview(ctx, call).await
        }
        async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
            self.0.execute(ctx, permit).await
        }
        async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
            self.0.probe(ctx, probe).await
        }
    }
    let stage = Stage::new(RecoveryClass::Keyed);
    let engine = stage.responder("approve").build().unwrap().open().await.unwrap();
    let mut news = engine.handle().records();
    let life = tokio::spawn(engine.run_until(std::future::pending()));
    let request = loop {
        if let Body::Fact(Fact::ApprovalOpened(request)) = news.recv().await.unwrap().body {
            break request;
        }
    };
    life.abort();
    let _ = life.await;
    let mut answered = false;
    let slow = SlowFirst(Hands(stage.world.clone()), AtomicUsize::new(0));
    let records = stage
        .run(stage.with("approve", slow), async |handle: &incident_response::Handle, record: &Record| {
            if matches!(record.body, Body::Event(Event::Started(_))) && !answered {
                answered = true;
                handle.answer(answer(&request, Answer::Approve)).await.unwrap();
            }
        })
        .await;
    assert!(answered && closed(&records));
    assert_eq!(stage.world.effects().len(), 1);
}

/// An approver that cannot be reached until some time.
#[derive(Debug)]
struct Away(World, SimClock, u64);

#[async_trait]
impl Approver for Away {
    fn name(&self) -> &str {
        "away"
    }
    async fn ask(&self, _ctx: &Ctx, request: &ApprovalRequest) -> Result<()> {
        if self.1.now().mono_ns < self.2 {
            return Err(Error::new(ErrorKind::Unavailable, "away", "502"));
        }
        self.0.lock().asked.push(request.clone());
        Ok(())
    }
}

impl Stage {
    fn asks(&self, tier: &str, away_secs: u64) -> Builder {
        let until = self.clock.now().mono_ns.saturating_add(away_secs.saturating_mul(1_000_000_000));
        let settings = incident_response::EngineSettings { settle_ms: 300, ..Default::default() };
        incident_response::Responder::builder()
            .clock(self.clock.clone())
            .journal(self.journal.clone())
            .topology(topology())
            .correlator(OneAtATime)
            .diagnoser(Blames)
            .playbooks(playbooks())
            .policy(policy(tier))
            .settings(settings)
            .source(Eyes(self.world.clone()))
            .detector(Doctor::default())
            .executor(Hands(self.world.clone()))
            .approver(Away(self.world.clone(), self.clock.clone(), until))
    }
}

#[tokio::test(start_paused = true)]
async fn approvers_are_asked_again_until_the_request_ends() {
    for (away_secs, reached) in [(0, true), (5, true), (40, true), (1_000, false)] {
        let stage = Stage::new(RecoveryClass::Keyed);
        let records = stage.run(stage.asks("approve", away_secs), nothing()).await;
        assert_eq!(stage.world.lock().asked.len(), usize::from(reached), "away for {away_secs} s");
        assert_eq!(states(&records), [StepState::Expired]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_veto_window_begins_with_the_first_proved_delivery() {
    for (away_secs, acts) in [(0, true), (20, true), (1_000, false)] {
        let stage = Stage::new(RecoveryClass::Keyed);
        let records = stage.run(stage.asks("veto", away_secs), nothing()).await;
        assert_eq!(stage.world.effects().len(), usize::from(acts), "away for {away_secs} s");
        let at = |wanted: fn(&Body) -> bool| records.iter().find(|r| wanted(&r.body)).map(|r| r.at.mono_ns);
        let delivered = at(|body| matches!(body, Body::Fact(Fact::ApprovalDelivered { .. })));
        let sent = at(|body| matches!(body, Body::Gate(GateFact::Intent(_))));
        match (delivered, sent) {
            (Some(delivered), Some(sent)) => assert!(sent - delivered >= 5_000_000_000, "the window is 5 s"),
            other => assert!(!acts, "{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn limits_are_looked_at_before_people_are_asked() {
    let stage = Stage::hopeless(RecoveryClass::Keyed);
    let text = "tier = \"approve\"\napproval_expires_secs = 60\n[limits]\nper_target_day = 1\n\
                [[rule]]\nname = \"heal\"\neffect = \"permit\"\nwhen = { actions = [\"world.heal\"] }\n";
    let policy = || incident_response::plan::decision::Policy::parse(text, "policy.toml").unwrap();
    let (mut left, mut incidents) = (Vec::new(), 0);
    let records = stage
        .run_until(
            stage.responder("approve").policy(policy()),
            async |handle: &incident_response::Handle, record: &Record| match &record.body {
                Body::Fact(Fact::ApprovalOpened(request)) => {
                    let of_target = request.allowances.iter().find(|a| a.rule == "budget_target").unwrap();
                    left.push((of_target.left, of_target.limit));
                    handle.answer(answer(request, Answer::Approve)).await.unwrap();
                }
                // The first does not help; the signals come back by themselves, and the service falls sick once more.
                Body::Fact(Fact::IncidentMoved { to: IncidentState::HandedOver, .. }) if incidents == 0 => {
                    stage.world.lock().sick.clear();
                }
                Body::Fact(Fact::IncidentMoved { to: IncidentState::Closed, .. }) => {
                    incidents += 1;
                    stage.world.fall_sick("middle");
                }
                _ => {}
            },
            |records| {
                let closing = records.iter().position(|r| closed(std::slice::from_ref(r)));
                closing.is_some_and(|n| handed_over(&records[n..]))
            },
        )
        .await;
    assert_eq!(left, [(1, 1)], "nobody was asked for what would be refused");
    let because = |record: &Record| match &record.body {
        Body::Fact(Fact::StepDelayed { because, .. }) => because.contains("1 are allowed"),
        _ => false,
    };
    assert!(records.iter().filter(|record| because(record)).count() > 2, "it waits before a person gets it");
    assert_eq!(stage.did(), ["world.heal middle", "world.unheal middle"]);
}

#[tokio::test(start_paused = true)]
async fn an_undo_asks_a_person_where_somebody_else_changed_the_target() {
    for (words, end, did) in [
        (Some(Answer::Approve), StepState::RolledBack, vec!["world.heal middle", "world.unheal middle"]),
        (Some(Answer::Refuse), StepState::RollbackFailed, vec!["world.heal middle"]),
        (None, StepState::RollbackFailed, vec!["world.heal middle"]),
    ] {
        let stage = Stage::hopeless(RecoveryClass::Keyed);
        let records = stage
            .run_until(
                stage.responder("act"),
                async |handle: &incident_response::Handle, record: &Record| match &record.body {
                    Body::Fact(Fact::StepMoved { to: StepState::Verifying, .. }) => stage.world.lock().generation += 1,
                    Body::Fact(Fact::ApprovalOpened(request)) => {
                        assert_eq!(request.direction, Direction::Undo);
                        assert!(request.why.contains("changed by somebody else"), "{}", request.why);
                        let modify = handle.answer(answer(request, change(request))).await.unwrap_err();
                        assert_eq!(modify.kind(), ErrorKind::Conflict);
                        if let Some(words) = &words {
                            handle.answer(answer(request, words.clone())).await.unwrap();
                        }
                    }
                    _ => {}
                },
                |records| records.iter().any(|r| matches!(r.body, Body::Fact(Fact::OutcomeReached(_)))),
            )
            .await;
        assert_eq!(stage.did(), did, "{words:?}");
        assert_eq!(states(&records), [end], "{words:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_prerequisite_is_not_taken_back_while_what_was_built_on_it_is_in_flight() {
    let stage = Stage::hopeless(RecoveryClass::Keyed);
    let steps = [
        step("ground", "front", &format!("timeout_ms = 2000\nverification = {{ {EASY} }}")),
        step("c", "back", &format!("after = [\"ground\"]\ntimeout_ms = 9000\nverification = {{ {EASY} }}")),
        step("b", "middle", &format!("after = [\"ground\"]\ntimeout_ms = 9000\nverification = {{ {EASY} }}")),
    ];
    stage.world.lock().replies = vec![Reply::Arrives, Reply::Never, Reply::Refused];
    let records = stage.run(stage.responder("act").playbooks(playbook(&steps)), nothing()).await;
    let undone: Vec<String> = stage.did().into_iter().filter(|call| call.starts_with("world.unheal")).collect();
    assert_eq!(undone.last().map(String::as_str), Some("world.unheal front"), "{undone:?}");
    assert_eq!(undone.len(), 2);
    assert!(!states(&records).contains(&StepState::Done));
}

#[tokio::test(start_paused = true)]
async fn a_prerequisite_stays_under_what_nobody_knows() {
    let stage = Stage::hopeless(RecoveryClass::Blind);
    let steps = [
        step("ground", "front", &format!("verification = {{ {EASY} }}")),
        step("top", "middle", &format!("after = [\"ground\"]\nverification = {{ {EASY} }}")),
    ];
    stage.world.lock().replies = vec![Reply::Arrives, Reply::LostAfter];
    let records = stage.run(stage.responder("act").playbooks(playbook(&steps)), nothing()).await;
    assert_eq!(states(&records), [StepState::Done, StepState::Unknown]);
    assert_eq!(stage.did(), ["world.heal front", "world.heal middle"], "the ground is not taken away");
    assert!(handed_over(&records));
}

#[tokio::test(start_paused = true)]
async fn phases_order_steps_and_their_undos() {
    let stage = Stage::hopeless(RecoveryClass::Keyed);
    let phased = |id: &str, target: &str, phase: &str, verification: &str| {
        step(id, target, &format!("phase = \"{phase}\"\nverification = {{ {verification} }}"))
    };
    let never = "anomalies_end = true, hold_ms = 500, within_ms = 3000";
    let steps = [
        phased("restart", "middle", "recover", never),
        phased("limit", "back", "contain", EASY),
        phased("dump", "front", "evidence", EASY),
    ];
    stage.run(stage.responder("act").playbooks(playbook(&steps)), nothing()).await;
    let order = ["heal front", "heal back", "heal middle", "unheal middle", "unheal back", "unheal front"];
    assert_eq!(stage.did(), order.map(|call| format!("world.{call}")));
}

/// Hands that are busy for a number of previews or sends.
#[derive(Debug)]
struct Busy {
    hands: Hands,
    previews: AtomicUsize,
    sends: AtomicUsize,
}

#[async_trait]
impl Executor for Busy {
    fn name(&self) -> &str {
        "hands"
    }
    fn catalogue(&self) -> Vec<ActionSpec> {
        self.hands.catalogue()
    }
    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        let left = |n: usize| n.checked_sub(1);
        if self.previews.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Err(Error::new(ErrorKind::RateLimited, "hands", "429"));
        }
        self.hands.preview(ctx, call).await
    }
    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let left = |n: usize| n.checked_sub(1);
        if self.sends.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            let effect = permit.redeem()?;
            return Ok(effect.not_applied(Error::new(ErrorKind::RateLimited, "hands", "429")).into());
        }
        self.hands.execute(ctx, permit).await
    }
    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        self.hands.probe(ctx, probe).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_with_time_is_waited_for_with_a_growing_delay() {
    for (previews, sends) in [(1, 0), (4, 0), (0, 1), (0, 2), (2, 2)] {
        for class in [RecoveryClass::Keyed, RecoveryClass::Blind] {
            let stage = Stage::new(class);
            let hands = Hands(stage.world.clone());
            let busy = Busy { hands, previews: previews.into(), sends: sends.into() };
            let records = stage.run(stage.with("act", busy), nothing()).await;
            let what = format!("{previews} previews and {sends} sends are too many, {class:?}");
            assert!(closed(&records), "{what}");
            assert_eq!(stage.did(), ["world.heal middle"], "{what}");
            let sent: Vec<u64> = records
                .iter()
                .filter(|r| matches!(r.body, Body::Gate(GateFact::Intent(_))))
                .map(|r| r.at.mono_ns)
                .collect();
            assert_eq!(sent.len(), sends + 1, "{what}");
            let gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.windows(2).all(|pair| pair[1] > pair[0]), "{what}: {gaps:?}");
        }
    }
}
