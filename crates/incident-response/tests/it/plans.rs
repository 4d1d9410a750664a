//! Parts that think and act wrongly: whatever they say is checked, and what cannot be right ends with a person.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use incident_response::Builder;
use incident_response::core::journal::{Body, Fact};
use incident_response::core::*;
use incident_response::plan::plan::{PlaybookPlanner, Playbooks};
use serde_json::json;

use crate::hostile::{Says, Way, part, silences};
use crate::world::*;

struct Stage {
    world: World,
    clock: SimClock,
    journal: MemoryJournal,
}

impl Stage {
    fn new() -> Self {
        let (world, clock) = (World::new(RecoveryClass::Keyed), SimClock::new());
        world.fall_sick("middle");
        Self { world, clock, journal: MemoryJournal::new() }
    }

    fn responder(&self, tier: &str) -> Builder {
        responder(&self.world, &self.clock, &self.journal, tier)
    }

    /// Runs to the end of the incident, and through a restart after it: what was recorded must be readable.
    async fn run(&self, builder: Builder, what: &str) -> Vec<Record> {
        let records = run_until(builder, &self.clock, ended).await;
        assert_safe(&self.world, &self.clock, &self.journal, what).await;
        let again = self.responder("act").build().unwrap().open().await;
        assert!(again.is_ok(), "{what}: a restart fails: {}", again.unwrap_err());
        records
    }
}

fn draft(input: &PlanInput, steps: Vec<Step>) -> PlanDraft {
    PlanDraft {
        id: input.id.clone(),
        incident: input.incident.id.clone(),
        revision: 1,
        provenance: Provenance::Reasoner,
        modified_by: None,
        hypothesis: input.hypothesis.id.clone(),
        confidence: Probability::ONE,
        because: "so".into(),
        steps,
    }
}

fn step(id: &str, action: &'static str, target: &str) -> Step {
    let call = Call { action: ActionName::literal(action), target: entity(target), params: Default::default() };
    Step {
        id: StepId::new(id).unwrap(),
        call,
        after: vec![],
        phase: ResponsePhase::Recover,
        expected_effect: "well again".into(),
        risk: RiskClass::Low,
        undo: None,
        verification: Verification { hold_ms: 500, within_ms: 3000, ..Verification::default() },
        timeout_ms: 2000,
    }
}

fn rejected(records: &[Record]) -> usize {
    records.iter().filter(|r| matches!(r.body, Body::Fact(Fact::PlanRejected { .. }))).count()
}

#[tokio::test(start_paused = true)]
async fn a_correlator_that_does_not_answer_or_talks_nonsense_loses_grouping_and_nothing_else() {
    for (how, says) in silences::<Vec<Grouping>>() {
        let stage = Stage::new();
        let builder = stage.responder("act").correlator(part(move |_: &CorrelationInput| says()));
        let records = stage.run(builder, how).await;
        assert!(degraded(&records, "correlation") && closed(&records), "{how}");
        assert_eq!(stage.world.effects().len(), 1, "{how}");
    }
    let stage = Stage::new();
    let nonsense = part(|input: &CorrelationInput| {
        let group = |id: &str, into| Grouping { anomaly: AnomalyId::new(id).unwrap(), into, because: "so".into() };
        let closed = Placement::Join { incident: IncidentId::numbered(77) };
        let mut said = vec![group("nobody", Placement::Open { key: "x".into() }), group("nobody", closed.clone())];
        for anomaly in &input.anomalies {
            let id = anomaly.id.as_str();
            said.extend([group(id, closed.clone()), group(id, closed.clone())]);
            said.extend([
                group(id, Placement::Open { key: "a".into() }),
                group(id, Placement::Open { key: "b".into() }),
            ]);
            said.push(group(id, Placement::Ignore));
        }
        Says::This(said)
    });
    let records = stage.run(stage.responder("act").correlator(nonsense), "nonsense").await;
    let opened = records.iter().filter(|r| matches!(r.body, Body::Fact(Fact::IncidentOpened { .. }))).count();
    assert_eq!((opened, stage.world.effects().len()), (1, 1));
    assert!(closed(&records));
}

#[tokio::test(start_paused = true)]
async fn a_diagnoser_that_says_nothing_useful_leads_to_no_action() {
    for (how, says) in silences::<Hypothesis>() {
        let stage = Stage::new();
        let builder = stage.responder("act").diagnoser(part(move |_: &Case| says()));
        let records = stage.run(builder, how).await;
        assert!(handed_over(&records) && stage.world.effects().is_empty(), "{how}");
    }
    let rows: [(&str, &[&str], Option<&str>); 3] = [
        // A name that stands in no topology.
        ("unknown", &["kube-system"], None),
        // No cause, and no word that it abstains.
        ("empty", &[], None),
        // A cause beside an abstention.
        ("abstains", &["middle"], Some("not sure")),
    ];
    for (how, causes, abstains) in rows {
        let stage = Stage::new();
        let builder = stage.responder("act").diagnoser(part(move |case: &Case| {
            let cause = |name: &&str| Cause {
                entity: entity(name),
                probability: Probability::ONE,
                path: vec![],
                change: None,
                evidence: vec![],
            };
            Says::This(Hypothesis {
                id: case.id.clone(),
                by: PartName::literal("hostile"),
                causes: causes.iter().map(cause).collect(),
                abstains: abstains.map(str::to_owned),
            })
        }));
        let records = stage.run(builder, how).await;
        assert!(handed_over(&records) && stage.world.effects().is_empty(), "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn causes_of_no_probability_make_plans_of_no_confidence() {
    let stage = Stage::new();
    let policy = "tier = \"act\"\n[[rule]]\nname = \"heal\"\neffect = \"permit\"\n\
                  when = { actions = [\"world.heal\"], min_confidence = 0.1 }\n";
    let policy = incident_response::plan::decision::Policy::parse(policy, "policy.toml").unwrap();
    let builder = stage.responder("act").policy(policy).diagnoser(part(|case: &Case| {
        let cause = |name: &str| Cause {
            entity: entity(name),
            probability: Probability::ZERO,
            path: vec![],
            change: None,
            evidence: vec![],
        };
        let causes = SERVICES.iter().map(|name| cause(name)).collect();
        Says::This(Hypothesis { id: case.id.clone(), by: PartName::literal("hostile"), causes, abstains: None })
    }));
    let records = stage.run(builder, "no probability").await;
    assert!(handed_over(&records));
    assert_eq!(stage.world.effects(), []);
}

#[tokio::test(start_paused = true)]
async fn a_classifier_that_does_not_answer_leaves_the_class_unknown() {
    for (how, says) in silences::<Classification>() {
        let stage = Stage::new();
        let builder = stage.responder("act").classifier(part(move |_: &Incident| says()));
        let records = stage.run(builder, how).await;
        assert!(degraded(&records, "classification"), "{how}");
        let confident = records.iter().any(|r| match &r.body {
            Body::Fact(Fact::PlanAccepted { plan, .. }) => plan.confidence != Probability::ZERO,
            _ => false,
        });
        assert!(!confident, "{how}: a class nobody knows gives no confidence");
    }
}

#[tokio::test(start_paused = true)]
async fn a_class_that_the_classifier_does_not_name_is_unknown_to_the_rules() {
    // It names `intrusion` alone. A rule that forbids by that class must hold for any class beside it as well.
    let policy = "tier = \"act\"\n[[rule]]\nname = \"heal\"\neffect = \"permit\"\nwhen = { actions = [\"world.heal\"] }\n\
                  [[rule]]\nname = \"never\"\neffect = \"deny\"\nwhen = { classes = [\"intrusion\"] }\n";
    for class in ["intrusion", "intrusions", "unknown"] {
        let stage = Stage::new();
        let classify = move |incident: &Incident| {
            Says::This(Classification {
                class: ClassName::new(class).unwrap(),
                confidence: Probability::ONE,
                severity: incident.severity,
                because: vec!["a test wants it so".to_owned()],
                similar: Vec::new(),
                by: PartName::literal("hostile"),
            })
        };
        let policy = incident_response::plan::decision::Policy::parse(policy, "policy.toml").unwrap();
        let records = stage.run(stage.responder("act").policy(policy).classifier(part(classify)), class).await;
        assert_eq!(degraded(&records, "classification"), class == "intrusions", "{class}");
        assert_eq!(stage.world.effects(), [], "{class}");
    }
}

#[tokio::test(start_paused = true)]
async fn plans_that_cannot_be_right_are_refused() {
    type Make = fn(&PlanInput) -> PlanDraft;
    let rows: [(&str, Make); 12] = [
        ("no step", |i| draft(i, vec![])),
        ("unknown action", |i| draft(i, vec![step("a", "world.destroy", "middle")])),
        ("unknown target", |i| draft(i, vec![step("a", "world.heal", "elsewhere")])),
        ("unknown parameter", |i| {
            let mut step = step("a", "world.heal", "middle");
            step.call.params.insert("force".into(), json!(true));
            draft(i, vec![step])
        }),
        ("cycle", |i| {
            let (mut a, mut b) = (step("a", "world.heal", "middle"), step("b", "world.heal", "back"));
            (a.after, b.after) = (vec![b.id.clone()], vec![a.id.clone()]);
            draft(i, vec![a, b])
        }),
        ("waits for nobody", |i| {
            let mut a = step("a", "world.heal", "middle");
            a.after = vec![StepId::new("z").unwrap()];
            draft(i, vec![a])
        }),
        ("40 steps", |i| draft(i, (0..40).map(|n| step(&format!("s{n}"), "world.heal", "middle")).collect())),
        ("a name twice", |i| draft(i, vec![step("a", "world.heal", "middle"), step("a", "world.heal", "back")])),
        ("another incident", |i| PlanDraft {
            incident: IncidentId::numbered(99),
            ..draft(i, vec![step("a", "world.heal", "middle")])
        }),
        ("undo of another target", |i| {
            let mut a = step("a", "world.heal", "middle");
            a.undo = Some(step("u", "world.unheal", "back").call);
            draft(i, vec![a])
        }),
        ("no time", |i| {
            let mut a = step("a", "world.heal", "middle");
            a.timeout_ms = 0;
            draft(i, vec![a])
        }),
        // Deeper than any reader of the journal would follow: recorded as it is, it could never be read again.
        ("bottomless parameters", |i| {
            let mut a = step("a", "world.heal", "middle");
            let deep = (0..400).fold(json!(1), |inner, _| json!([inner]));
            a.call.params.insert("deep".into(), deep);
            draft(i, vec![a])
        }),
    ];
    for (how, make) in rows {
        let stage = Stage::new();
        let builder = stage
            .responder("act")
            .playbooks(Playbooks::default())
            .planner(part(move |input: &PlanInput| Says::This(vec![make(input)])));
        let records = stage.run(builder, how).await;
        assert!(handed_over(&records), "{how}");
        assert_eq!(stage.world.effects(), [], "{how}");
        assert!(rejected(&records) == 1 || degraded(&records, "planning"), "{how}: nothing is said");
    }
    for (how, says) in silences::<Vec<PlanDraft>>() {
        let stage = Stage::new();
        let builder = stage.responder("act").playbooks(Playbooks::default()).planner(part(move |_: &PlanInput| says()));
        let records = stage.run(builder, how).await;
        assert!(handed_over(&records) && stage.world.effects().is_empty(), "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_planner_that_does_not_answer_leaves_the_incident_to_the_next() {
    for (how, says) in silences::<Vec<PlanDraft>>() {
        let stage = Stage::new();
        let builder = stage.responder("act").playbooks(Playbooks::default());
        let builder = builder.planner(part(move |_: &PlanInput| says())).planner(PlaybookPlanner::new(playbooks()));
        let records = stage.run(builder, how).await;
        assert!(closed(&records), "{how}: not healed");
        assert_eq!(stage.world.effects().len(), 1, "{how}");
    }
}

/// An executor whose action takes a whole number, and whose answers can be bent.
#[derive(Debug)]
struct Tricky {
    hands: Hands,
    /// What it says of its undo.
    undo: Option<Call>,
    /// What its second action promises.
    other: RecoveryClass,
}

impl Tricky {
    fn of(world: &World, undo: Option<Call>) -> Self {
        Self { hands: Hands(world.clone()), undo, other: RecoveryClass::Keyed }
    }
}

#[async_trait]
impl Executor for Tricky {
    fn name(&self) -> &str {
        "tricky"
    }
    fn catalogue(&self) -> Vec<ActionSpec> {
        let mut actions = self.hands.catalogue();
        for action in &mut actions {
            action.params = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": []});
        }
        let transient = ActionSpec {
            name: ActionName::literal("world.look"),
            reversibility: Reversibility::Transient,
            changes_target: false,
            ..actions[0].clone()
        };
        let drop = ActionSpec {
            name: ActionName::literal("world.drop"),
            reversibility: Reversibility::Irreversible,
            recovery: self.other,
            ..actions[0].clone()
        };
        actions.extend([transient, drop]);
        actions
    }
    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        Ok(Preview { undo: self.undo.clone(), ..self.hands.preview(ctx, call).await? })
    }
    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        self.hands.execute(ctx, permit).await
    }
    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        self.hands.probe(ctx, probe).await
    }
}

fn tricky(stage: &Stage, tier: &str, undo: Option<Call>) -> Builder {
    bare(&stage.world, &stage.clock, &stage.journal, tier)
        .source(Eyes(stage.world.clone()))
        .detector(Doctor::default())
        .playbooks(Playbooks::default())
        .policy(look_and_heal(tier))
        .executor(Tricky::of(&stage.world, undo))
}

fn look_and_heal(tier: &str) -> incident_response::plan::decision::Policy {
    let text = format!(
        "tier = \"{tier}\"\n[[rule]]\nname = \"heal\"\neffect = \"permit\"\n\
         when = {{ actions = [\"world.heal\", \"world.look\"] }}\n"
    );
    incident_response::plan::decision::Policy::parse(&text, "policy.toml").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_number_that_reads_back_as_another_kind_of_number_does_not_break_replay() {
    for number in [json!(1.0), json!(-0.0), json!(9_007_199_254_740_993_u64), json!(1e300), json!(u64::MAX)] {
        let stage = Stage::new();
        let what = number.to_string();
        let builder = tricky(&stage, "act", None).planner(part(move |input: &PlanInput| {
            let mut a = step("a", "world.heal", "middle");
            a.call.params.insert("n".into(), number.clone());
            a.undo = Some(Call { action: ActionName::literal("world.unheal"), ..a.call.clone() });
            Says::This(vec![draft(input, vec![a])])
        }));
        run_until(builder, &stage.clock, ended).await;
        assert_safe(&stage.world, &stage.clock, &stage.journal, &what).await;
        let again = tricky(&stage, "act", None).build().unwrap().open().await;
        assert!(again.is_ok(), "{what}: a restart fails: {}", again.unwrap_err());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_plan_calls_an_undo_is_never_sent_unless_the_action_is_undone_so() {
    // A planner hides what no policy permits behind a harmless step that cannot succeed.
    let rows = [("world.look", "world.drop"), ("world.look", "world.heal"), ("world.heal", "world.drop")];
    for (action, undo) in rows {
        let stage = Stage::new();
        stage.world.lock().heals.clear();
        let what = format!("{action}, {undo}");
        let builder = tricky(&stage, "act", None).planner(part(move |input: &PlanInput| {
            let mut a = step("a", action, "middle");
            a.undo = Some(Call { action: ActionName::literal(undo), ..a.call.clone() });
            Says::This(vec![draft(input, vec![a])])
        }));
        let records = run_until(builder, &stage.clock, ended).await;
        assert!(handed_over(&records), "{what}");
        let did: Vec<String> = stage.world.effects().iter().map(|e| e.call.to_string()).collect();
        assert!(did.iter().all(|call| call == "world.look middle"), "{what}: {did:?}");
        assert_safe(&stage.world, &stage.clock, &stage.journal, &what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_names_another_undo_than_its_catalogue_is_not_used() {
    let call = |action: &'static str, target: &str| step("u", action, target).call;
    let mut wrong = call("world.unheal", "middle");
    wrong.params.insert("n".into(), json!("many"));
    let rows = [call("world.drop", "middle"), call("world.unheal", "back"), call("world.unknown", "middle"), wrong];
    for undo in rows {
        let stage = Stage::new();
        stage.world.lock().heals.clear();
        let what = undo.to_string();
        let builder = tricky(&stage, "act", Some(undo))
            .planner(part(|input: &PlanInput| Says::This(vec![draft(input, vec![step("a", "world.heal", "middle")])])));
        let records = run_until(builder, &stage.clock, ended).await;
        assert!(handed_over(&records), "{what}");
        assert_eq!(stage.world.effects(), [], "{what}");
        assert_safe(&stage.world, &stage.clock, &stage.journal, &what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_never_says_yes_lets_the_step_be_taken_back() {
    let mut ways: Vec<Way<Verified>> = silences::<Verified>().into();
    ways.push(("unknown", || {
        let by = PartName::literal("hostile");
        Says::This(Verified { by, holds: Holds::Unknown, readings: vec![], because: "who knows".into() })
    }));
    for (how, says) in ways {
        let stage = Stage::new();
        // As long as something is wrong still, so that the incident does not end by itself.
        stage.world.lock().heals.clear();
        let builder = stage.responder("act").verifier(part(move |_: &Check| says()));
        let records = stage.run(builder, how).await;
        assert!(handed_over(&records), "{how}");
        let did: Vec<String> = stage.world.effects().iter().map(|e| e.call.to_string()).collect();
        assert_eq!(did, ["world.heal middle", "world.unheal middle"], "{how}");
    }
}

/// Hands of which the `from`th preview and all after it fail, or which forgets its actions.
#[derive(Debug)]
struct Blind {
    hands: Hands,
    from: usize,
    looked: AtomicUsize,
    forgets: bool,
}

#[async_trait]
impl Executor for Blind {
    fn name(&self) -> &str {
        "blind"
    }
    fn catalogue(&self) -> Vec<ActionSpec> {
        let forgotten = self.forgets && self.looked.fetch_add(1, Ordering::SeqCst) > 0;
        if forgotten { vec![] } else { self.hands.catalogue() }
    }
    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        if !self.forgets && self.looked.fetch_add(1, Ordering::SeqCst) >= self.from {
            return Err(Error::new(ErrorKind::Unavailable, "blind", "cannot see it"));
        }
        self.hands.preview(ctx, call).await
    }
    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        self.hands.execute(ctx, permit).await
    }
    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        self.hands.probe(ctx, probe).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_at_is_not_touched_and_a_catalogue_counts_as_it_was_at_the_start() {
    for (from, forgets) in [(0, false), (1, false), (2, false), (0, true)] {
        let stage = Stage::new();
        let what = format!("{from}, {forgets}");
        let hands = Hands(stage.world.clone());
        let builder = bare(&stage.world, &stage.clock, &stage.journal, "act")
            .source(Eyes(stage.world.clone()))
            .detector(Doctor::default())
            .executor(Blind { hands, from, looked: AtomicUsize::new(0), forgets });
        let records = stage.run(builder, &what).await;
        let sees = from == 2 || forgets;
        assert_eq!(stage.world.effects().len(), usize::from(sees), "{what}");
        assert_eq!(closed(&records), sees, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_approver_that_fails_does_not_keep_the_request_from_the_next() {
    for (how, says) in silences::<()>() {
        let stage = Stage::new();
        let settings = incident_response::EngineSettings::default();
        let desk = stage.world.clone();
        // The part that fails is asked first.
        let builder = bare(&stage.world, &stage.clock, &stage.journal, "approve");
        let builder = builder
            .source(Eyes(stage.world.clone()))
            .detector(Doctor::default())
            .executor(Hands(stage.world.clone()))
            .settings(settings)
            .approver(part(move |_: &ApprovalRequest| says()))
            .approver(Late(Arc::new(desk)));
        let records = stage.run(builder, how).await;
        assert!(degraded(&records, "asking people"), "{how}");
        assert!(
            stage.world.lock().asked.iter().any(|r| r.why.contains("late desk")),
            "{how}: the last was never asked"
        );
        assert_eq!(stage.world.effects(), [], "{how}");
        assert!(steps(&records).values().all(|state| *state == StepState::Expired), "{how}");
    }
}

/// A second desk, which notes that it was the second.
#[derive(Debug)]
struct Late(Arc<World>);

#[async_trait]
impl Approver for Late {
    fn name(&self) -> &str {
        "late"
    }
    async fn ask(&self, _ctx: &Ctx, request: &ApprovalRequest) -> Result<()> {
        self.0.lock().asked.push(ApprovalRequest { why: "late desk".into(), ..request.clone() });
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_the_next_start_does_not_know_is_left_alone() {
    for n in 1.. {
        let stage = Stage::new();
        if !die_after(stage.responder("veto"), n).await {
            break;
        }
        stage.clock.reboot("second");
        let text = "[[entity]]\nid = \"front\"\n[[entity]]\nid = \"back\"\n";
        let before = stage.world.effects().len();
        let builder = stage.responder("veto").topology(Topology::parse(text, "smaller.toml").unwrap());
        run_until(builder, &stage.clock, ended).await;
        let did = stage.world.effects().len();
        assert!(did <= 2 && (before > 0 || did == 0), "after record {n}: {:?}", stage.world.effects());
        assert_safe(&stage.world, &stage.clock, &stage.journal, &format!("after record {n}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn answers_to_what_nobody_asked_are_noted_and_change_nothing() {
    let stage = Stage::new();
    let engine = stage.responder("approve").build().unwrap().open().await.unwrap();
    let handle = engine.handle();
    let mut news = handle.records();
    let (done, wait) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(engine.run_until(async {
        let _ = wait.await;
    }));
    let (mut seen, ann) = (Vec::new(), Person::named("ann"));
    while !ended(&seen) {
        let record = news.recv().await.unwrap();
        if let Body::Fact(Fact::ApprovalOpened(request)) = &record.body {
            let nowhere = StepRef { plan: PlanId::new("nowhere").unwrap(), step: request.step.step.clone() };
            let deep = (0..400).fold(json!(1), |inner, _| json!([inner]));
            let params = Some([("deep".to_owned(), deep)].into_iter().collect());
            let change = StepChange { step: request.step.step.clone(), action: None, params, drop: false };
            let answer = |request: ApprovalId, digest: Digest, answer: Answer| ApprovalAnswer {
                request,
                plan_digest: digest,
                by: Person::named("ann"),
                answer,
                reason: "because".into(),
            };
            let digest = request.plan_digest;
            let unknown = ApprovalId::of(&nowhere, &Digest::ZERO);
            let refused = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Conflict);
            refused(handle.answer(answer(unknown, digest, Answer::Approve)).await);
            refused(handle.answer(answer(request.id.clone(), Digest::ZERO, Answer::Refuse)).await);
            let bottomless = answer(request.id.clone(), digest, Answer::Modify { changes: vec![change] });
            assert_eq!(handle.answer(bottomless).await.unwrap_err().kind(), ErrorKind::InvalidInput);
            refused(handle.settle(nowhere, ann.clone(), true, "because").await);
            refused(handle.take_over(IncidentId::numbered(42), ann.clone(), "because", true).await);
        }
        seen.push(record);
    }
    let _ = done.send(());
    running.await.unwrap().unwrap();
    assert_eq!(stage.world.effects(), []);
    assert!(steps(&seen).values().all(|state| *state == StepState::Expired));
    let rejected = seen.iter().filter(|r| matches!(r.body, Body::Fact(Fact::AnswerRejected { .. }))).count();
    assert_eq!(rejected, 2);
    assert_safe(&stage.world, &stage.clock, &stage.journal, "answers").await;
}
