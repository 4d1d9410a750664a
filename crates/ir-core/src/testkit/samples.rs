//! Small valid values of every noun, and a record of every kind.

use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, json};

use crate::anomaly::{Anomaly, Direction as Way, Feedback, Phase, Symptom};
use crate::decision::{
    Answer, ApprovalAnswer, ApprovalRequest, AutonomyTier, Decision, Person, Quorum, StepChange, Verdict, Vote,
};
use crate::entity::{Entity, EntityId, Labels};
use crate::error::{ErrorKind, Failure};
use crate::execution::{
    ActionSpec, Applied, AttemptResult, Catalogue, Direction, EffectKey, Execution, Precondition, Preview, Probed,
    RecoveryClass, Reversibility, RiskClass,
};
use crate::hypothesis::{Case, Cause, Evidence, Hypothesis, Observations, SeriesHistory, TargetHistory};
use crate::id::{ApprovalId, Digest, HypothesisId, IncidentId, LessonId, PlanId, StepId, StepRef};
use crate::incident::{Classification, CorrelationInput, Grouping, Incident, IncidentState, Placement, Severity};
use crate::journal::{
    Approved, Body, CarriedChange, CarriedIncident, CarriedOver, CarriedStep, Checkpoint, CommandId, Content, Event,
    Fact, Fenced, GateFact, Halted, Intent, Observed, PartRecord, Record, Refusal, Report, Started, StepTerms, Suspect,
    TailRepair, Unseen,
};
use crate::kernel::{Allowance, Limits, StepState};
use crate::lesson::{Lesson, Tried};
use crate::outcome::{Check, Holds, Outcome, Pace, Reading, Recovery, Verified};
use crate::plan::{
    Call, Comparison, Limit, PlanDraft, PlanInput, Planned, Provenance, ResponsePhase, Step, Verification,
};
use crate::score::{Measured, Probability, Score};
use crate::signal::{Change, ChangeKind, Cursor, MetricKind, PollRecord, Series, Target};
use crate::time::{Clock, ManualClock, Moment, Timestamp};
use crate::topology::{Dependency, Topology, TopologyDocument};

/// A name of any kind.
#[expect(clippy::expect_used, reason = "the names below are constants, and a wrong one shows in every test")]
fn name<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a sample's name is valid")
}

/// When everything here happens.
#[must_use]
pub fn now() -> Moment {
    ManualClock::new().now()
}

fn at(secs: u64) -> Timestamp {
    now().wall.plus(Duration::from_secs(secs))
}

/// `gateway`, which depends on `orders`, which depends on `ledger`; and `audit`, which nobody needs.
#[must_use]
#[expect(clippy::expect_used, reason = "the document below is a constant")]
pub fn topology() -> Topology {
    let entity = ["gateway", "orders", "ledger", "audit"].map(|id| Entity::service(name(id))).to_vec();
    let dependency = [("gateway", "orders"), ("orders", "ledger")].map(|(from, to)| Dependency {
        from: name(from),
        to: name(to),
        kind: "calls".to_owned(),
        strength: Probability::ONE,
        source: "configured".to_owned(),
    });
    Topology::new(TopologyDocument { entity, dependency: dependency.to_vec() }).expect("the topology is sound")
}

/// `service.restart`, `service.rollback` to a version, and its undo `service.deploy`.
#[must_use]
#[expect(clippy::expect_used, reason = "the actions below are constants")]
pub fn catalogue() -> Catalogue {
    let version = json!({
        "type": "object",
        "properties": { "version": { "type": "string", "minLength": 1 } },
        "required": ["version"]
    });
    let action = |action: &str, params: serde_json::Value, reversibility: Reversibility| ActionSpec {
        name: name(action),
        description: format!("Performs {action}."),
        params,
        risk: RiskClass::Medium,
        reversibility,
        recovery: RecoveryClass::Keyed,
        blast_radius: 1,
        changes_target: true,
    };
    let undone_by = |by: &str| Reversibility::Undo { action: name(by) };
    Catalogue::new([
        action("service.restart", ActionSpec::no_params(), Reversibility::Transient),
        action("service.rollback", version.clone(), undone_by("service.deploy")),
        action("service.deploy", version, undone_by("service.rollback")),
    ])
    .expect("the catalogue is sound")
}

/// `service.rollback` of `ledger` to version 1.
#[must_use]
pub fn call() -> Call {
    let mut params = Map::new();
    params.insert("version".to_owned(), json!("1"));
    Call { action: name("service.rollback"), target: name("ledger"), params }
}

fn undo() -> Call {
    let mut params = Map::new();
    params.insert("version".to_owned(), json!("2"));
    Call { action: name("service.deploy"), target: name("ledger"), params }
}

/// Latency of `entity`, begun `onset` seconds after [`now`].
#[must_use]
pub fn anomaly(entity: &str, onset: u64) -> Anomaly {
    Anomaly {
        id: name(&format!("baseline/{entity}/latency/{onset}")),
        detector: name("baseline"),
        version: 1,
        entity: name(entity),
        peer: None,
        subject: "request_seconds".to_owned(),
        labels: [("quantile", "0.95")].into_iter().collect(),
        symptom: Symptom::Latency,
        direction: Way::Up,
        phase: Phase::Began,
        onset: at(onset),
        at: at(onset + 2),
        score: Score::saturating(0.9),
        expected: Measured(0.02),
        seen: Measured(1.5),
        threshold: Measured(0.1),
        because: "1.5 s instead of 0.02 s since two seconds, against the last ten minutes".to_owned(),
    }
}

/// Version 2 of `ledger`, deployed eight seconds after [`now`].
#[must_use]
pub fn change() -> Change {
    Change {
        entity: name("ledger"),
        at: at(8),
        kind: ChangeKind::Deploy,
        from: Some("1".to_owned()),
        to: Some("2".to_owned()),
        by: Some("ann".to_owned()),
    }
}

/// Latency at all three services of the chain, after a deploy of the last.
#[must_use]
pub fn incident() -> Incident {
    Incident {
        id: IncidentId::numbered(7),
        state: IncidentState::Open,
        severity: Severity::High,
        onset: at(10),
        opened: at(14),
        anomalies: vec![anomaly("ledger", 10), anomaly("orders", 11), anomaly("gateway", 12)],
        changes: vec![change()],
        classification: Some(classification()),
    }
}

/// A bad deploy.
#[must_use]
pub fn classification() -> Classification {
    Classification {
        class: name("bad_deploy"),
        confidence: Probability::saturating(0.8),
        severity: Severity::High,
        because: vec!["a deploy of the suspect came right before".to_owned()],
        similar: vec![IncidentId::numbered(3)],
        by: name("rules"),
    }
}

/// Twenty seconds of one series for each service of the chain; latency rises with the anomalies and is back after 20 s.
#[must_use]
pub fn observations() -> Observations {
    let series = ["gateway", "ledger", "orders"].map(|entity| SeriesHistory {
        series: Series {
            entity: name(entity),
            metric: "request_seconds".to_owned(),
            kind: MetricKind::Gauge,
            unit: "seconds".to_owned(),
            labels: Labels::new(),
        },
        times: (0..40).map(at).collect(),
        values: (0..40).map(|n| if (12..20).contains(&n) { 1.5 } else { 0.02 }).collect(),
    });
    let targets = series.iter().map(|history| TargetHistory {
        target: Target::of(&history.series),
        interval: Some(Duration::from_secs(1)),
        scrapes: history.times.clone(),
    });
    Observations { until: at(40), targets: targets.collect(), series: series.to_vec() }
}

/// Everything that a diagnoser may use for [`incident`].
#[must_use]
pub fn case() -> Case {
    let incident = incident();
    Case { id: HypothesisId::of(&incident.id, 1), incident, topology: topology(), observations: observations() }
}

/// `ledger` did it, by its deploy.
#[must_use]
pub fn hypothesis() -> Hypothesis {
    let path: Vec<EntityId> = ["ledger", "orders", "gateway"].map(name).to_vec();
    Hypothesis {
        id: HypothesisId::of(&IncidentId::numbered(7), 1),
        by: name("causal"),
        causes: vec![Cause {
            entity: name("ledger"),
            probability: Probability::saturating(0.85),
            path,
            change: Some(change()),
            evidence: vec![Evidence {
                factor: "change_before".to_owned(),
                weight: Measured(2.5),
                because: "version 2 was deployed two seconds before".to_owned(),
            }],
        }],
        abstains: None,
    }
}

/// One rollback of `ledger`.
#[must_use]
pub fn plan_draft() -> PlanDraft {
    let incident = IncidentId::numbered(7);
    PlanDraft {
        id: PlanId::of(&incident, 1),
        revision: 1,
        provenance: Provenance::Playbook { name: "bad-deploy".to_owned(), version: 3 },
        modified_by: None,
        hypothesis: HypothesisId::of(&incident, 1),
        confidence: Probability::saturating(0.68),
        because: "the deploy came right before".to_owned(),
        steps: vec![Step {
            id: name("rollback"),
            call: call(),
            after: Vec::new(),
            phase: ResponsePhase::Recover,
            expected_effect: "latency comes back".to_owned(),
            risk: RiskClass::Medium,
            undo: Some(undo()),
            verification: verification(),
            timeout_ms: 10_000,
        }],
        incident,
    }
}

fn verification() -> Verification {
    let limit =
        Limit { entity: None, metric: "request_seconds".to_owned(), is: Comparison::AtMost, value: Measured(0.1) };
    Verification { limits: vec![limit], ..Verification::default() }
}

/// What a planner may use for [`incident`].
#[must_use]
pub fn plan_input() -> PlanInput {
    PlanInput {
        playbook: None,
        id: PlanId::of(&IncidentId::numbered(7), 1),
        incident: incident(),
        hypothesis: hypothesis(),
        classification: classification(),
        topology: topology(),
        catalogue: catalogue(),
        tried: Vec::new(),
    }
}

/// Two new anomalies beside [`incident`] and another one.
#[must_use]
pub fn correlation_input() -> CorrelationInput {
    let other = Incident {
        id: IncidentId::numbered(9),
        anomalies: vec![anomaly("audit", 13)],
        changes: Vec::new(),
        ..incident()
    };
    let rollback = Change { kind: ChangeKind::Rollback, at: at(9), ..change() };
    CorrelationInput {
        anomalies: vec![anomaly("orders", 15), anomaly("gateway", 16)],
        open: vec![incident().into(), other.into()],
        changes: vec![change(), rollback],
        topology: topology(),
    }
}

fn step() -> StepRef {
    StepRef { plan: PlanId::of(&IncidentId::numbered(7), 1), step: name("rollback") }
}

/// Two people of operations must approve.
#[must_use]
pub fn decision() -> Decision {
    Decision {
        step: step(),
        plan_digest: Digest::of(b"plan"),
        verdict: Verdict::RequireApproval { quorum: Quorum::of("operations", 2) },
        tier: AutonomyTier::Approve,
        veto_ms: Some(30_000),
        approval_expires_ms: 600_000,
        votes: vec![Vote {
            by: "rule rollbacks".to_owned(),
            verdict: Verdict::RequireApproval { quorum: Quorum::of("operations", 2) },
            because: "a rollback in production".to_owned(),
        }],
        nearest: Some("0.12 more confidence and one person would do".to_owned()),
        policy: Digest::of(b"policy"),
    }
}

fn covers() -> Digest {
    Digest::of(b"plan, call, state and undo")
}

/// The question that follows from [`decision`].
#[must_use]
pub fn approval_request() -> ApprovalRequest {
    ApprovalRequest {
        id: ApprovalId::of(&step(), &covers()),
        step: step(),
        direction: Direction::Do,
        plan_digest: Digest::of(b"plan"),
        covers: covers(),
        call: call(),
        why: "`ledger` is slow since its deploy".to_owned(),
        expected_effect: "latency comes back".to_owned(),
        risk: RiskClass::Medium,
        preview: "version 2 is replaced by version 1".to_owned(),
        undo: "version 2 is deployed again".to_owned(),
        allowances: vec![Allowance {
            rule: "budget_target".to_owned(),
            of: "changes of `ledger` within a day".to_owned(),
            left: 2,
            limit: 3,
        }],
        alternatives: vec!["restart it".to_owned()],
        quorum: Quorum::of("operations", 2),
        veto_ms: None,
        expires_ms: 600_000,
    }
}

/// A check that holds: latency of `ledger` is back since 20 s after [`now`].
#[must_use]
pub fn check() -> Check {
    let ended = |anomaly: &Anomaly| Anomaly { phase: Phase::Ended, at: at(24), ..anomaly.clone() };
    let mut incident = incident();
    incident.anomalies = incident.anomalies.iter().map(ended).collect();
    Check {
        step: step(),
        call: call(),
        verification: verification(),
        applied: at(20),
        incident,
        observations: observations(),
    }
}

/// What [`incident`] taught.
#[must_use]
pub fn lesson() -> Lesson {
    let incident = IncidentId::numbered(7);
    Lesson {
        id: LessonId::of(&incident),
        incident,
        at: at(60),
        class: Some(name("bad_deploy")),
        cause: Some(name("ledger")),
        symptoms: ["gateway", "ledger", "orders"].map(|entity| (name(entity), Symptom::Latency)).to_vec(),
        tried: vec![Tried { call: call(), provenance: plan_draft().provenance, recovery: Recovery::Recovered }],
        lasted_ms: 50_000,
    }
}

fn failure() -> Failure {
    Failure { kind: ErrorKind::Timeout, component: "toy".to_owned(), message: "no answer".to_owned() }
}

fn person() -> Person {
    Person { name: "ann".to_owned(), roles: vec!["operations".to_owned()] }
}

fn precondition() -> Precondition {
    Precondition { state: Digest::of(b"state"), read: now() }
}

fn preview() -> Preview {
    Preview { state: Digest::of(b"state"), summary: "version 2 runs".to_owned(), undo: Some(undo()) }
}

fn verified() -> Verified {
    let reading = Reading {
        what: "request_seconds of ledger".to_owned(),
        value: Measured(f64::NAN),
        limit: Measured(0.1),
        holds: Holds::Unknown,
    };
    Verified { by: name("recovery"), holds: Holds::Unknown, readings: vec![reading], because: "no data".to_owned() }
}

/// A record of every kind of content, one after the other. They need not follow from each other.
#[must_use]
pub fn records() -> Vec<Record> {
    let bodies = events().into_iter().map(Body::from).chain(facts().into_iter().map(Body::from));
    let bodies = bodies.chain(gate_facts().into_iter().map(Body::from));
    let bodies = bodies.chain([Body::Spilled { digest: Digest::of(b"body") }]);
    (1..)
        .zip(bodies)
        .map(|(seq, body)| Record { v: Record::VERSION, seq, left: 0, prev: Digest::ZERO, at: now(), body })
        .collect()
}

fn terms() -> StepTerms {
    StepTerms {
        step: name::<StepId>("rollback"),
        recovery: RecoveryClass::Probe { settles_within_ms: 500 },
        undo_recovery: RecoveryClass::Blind,
        reversibility: Reversibility::Undo { action: name("service.deploy") },
        risk: RiskClass::Medium,
        changes_target: true,
        environment: "production".to_owned(),
        group: Some("ledgers".to_owned()),
        group_size: 3,
        protected: false,
    }
}

fn carried_over() -> CarriedOver {
    let call = call();
    CarriedOver {
        format: 1,
        records: 812,
        head: Digest::of(b"head"),
        token: 17,
        halted: Some(Halted { epoch: 3, by: "ann".to_owned(), reason: "it is wrong".to_owned() }),
        changes: vec![CarriedChange { target: call.target.clone(), environment: "production".to_owned(), at: now() }],
        steps: vec![CarriedStep {
            step: step(),
            incident: IncidentId::numbered(4),
            call,
            terms: terms(),
            was: StepState::Intent,
        }],
        last_incident: 9,
        incidents: vec![CarriedIncident {
            incident: IncidentId::numbered(4),
            was: IncidentState::Open,
            onset: now().wall,
        }],
    }
}

fn events() -> Vec<Event> {
    let observed = Observed {
        polls: vec![PollRecord {
            source: name("scrape"),
            cursor: Cursor::new("17"),
            count: 120,
            late: 1,
            dropped: 2,
            problems: vec!["line 3 is no sample".to_owned()],
        }],
        anomalies: vec![anomaly("ledger", 10)],
        changes: vec![change()],
        failures: vec![failure()],
        snapshots: vec![(name("error_rate"), Digest::of(b"state"))],
        heard: 3,
        quarantined: vec![name("latency")],
        unseen: vec![Unseen { detector: name("latency"), batches: 12 }],
    };
    let started = Started {
        version: "0.1.0".to_owned(),
        epoch: 1,
        config: Content::Here(serde_json::json!({ "settings": { "poll_every_ms": 500 } })),
        policy: Digest::of(b"policy"),
        limits: Limits::default(),
        parts: vec![PartRecord { role: "source".to_owned(), name: name("scrape") }],
        forgetful: vec![name("latency")],
    };
    let execution = |result: AttemptResult| {
        let after = matches!(result, AttemptResult::Applied { .. }).then(|| Digest::of(b"after"));
        Event::Executed(Execution {
            step: step(),
            direction: Direction::Do,
            attempt: 1,
            by: name("shop"),
            result,
            after,
        })
    };
    let answer = |answer: Answer| {
        Event::Answered(ApprovalAnswer {
            request: ApprovalId::of(&step(), &covers()),
            plan_digest: Digest::of(b"plan"),
            by: person(),
            answer,
            reason: "looked at it".to_owned(),
        })
    };
    let change = StepChange { step: name("rollback"), action: None, params: Some(call().params), drop: false };
    let mut events = vec![
        Event::Started(started),
        Event::CarriedOver(Box::new(carried_over())),
        Event::TailRepaired(TailRepair { seq: 9, bytes: 120 }),
        Event::Observed(observed),
        execution(AttemptResult::Applied { applied: Applied { summary: "version 1 runs".to_owned() } }),
        execution(AttemptResult::NotApplied { failure: failure() }),
        execution(AttemptResult::Unknown { failure: failure() }),
        answer(Answer::Approve),
        answer(Answer::Refuse),
        answer(Answer::Modify { changes: vec![change] }),
        Event::Overridden { incident: IncidentId::numbered(7), by: person(), reason: "mine".to_owned(), undo: true },
        Event::ClosedByPerson { incident: IncidentId::numbered(7), by: person(), reason: "scaled in".to_owned() },
        Event::PlaybookOrdered {
            incident: IncidentId::numbered(7),
            playbook: "roll-back".to_owned(),
            by: person(),
            reason: "it is the deploy".to_owned(),
        },
        Event::AutomationResumed { incident: IncidentId::numbered(7), by: person(), reason: "go on".to_owned() },
        Event::SettledByPerson { step: step(), by: person(), applied: false, reason: "looked at it".to_owned() },
        Event::Judged {
            feedback: vec![
                Feedback::FalseAlarm { anomaly: anomaly("ledger", 10).id },
                Feedback::Missed { entity: name("ledger"), at: now().wall },
            ],
            by: person(),
            reason: "the backup ran".to_owned(),
        },
        Event::TimerFired { timer: "hold".to_owned() },
        Event::Stopping,
        Event::LeftInFlight { steps: vec![step()] },
        Event::Dropped {
            event: "the timer `hold`".to_owned(),
            timer: Some("hold".to_owned()),
            command: Some(CommandId(3)),
            because: "step `p/1` is DONE".to_owned(),
            plan: Some(step().plan),
            halts: false,
        },
    ];
    let reports = reports().into_iter().zip(1..);
    events.extend(reports.map(|(report, n)| Event::Reported { command: CommandId(n), report }));
    events
}

fn reports() -> Vec<Report> {
    let grouping = |into: Placement| Grouping { anomaly: anomaly("ledger", 10).id, into, because: "near".to_owned() };
    vec![
        Report::Correlated {
            groupings: vec![
                grouping(Placement::Join { incident: IncidentId::numbered(7) }),
                grouping(Placement::Open { key: "ledger".to_owned() }),
                grouping(Placement::Ignore),
            ],
            intervals: vec![(name("ledger"), 15_000)],
        },
        Report::Diagnosed(hypothesis()),
        Report::Classified(classification()),
        Report::Planned(Planned { by: name("playbooks"), drafts: vec![plan_draft()] }),
        Report::Previewed { preview: preview(), read: now() },
        Report::Asked { delivered: vec![name("chat")], failed: vec![failure()] },
        Report::Probed { probed: Probed::NotApplied, after: None },
        Report::Probed { probed: Probed::Applied, after: Some(Digest::of(b"after")) },
        Report::Verified { verified: verified(), pace: Pace { scrapes: Some(3), interval_ms: Some(15_000) } },
        Report::Kept,
        Report::Failed(failure()),
    ]
}

fn facts() -> Vec<Fact> {
    let incident = IncidentId::numbered(7);
    let because = || "it follows".to_owned();
    let suspect =
        Suspect { entity: name("ledger"), environment: "production".to_owned(), group: Some("ledgers".to_owned()) };
    let terms = terms();
    let approved = Approved {
        step: step(),
        plan_digest: Digest::of(b"plan"),
        covers: covers(),
        by: person(),
        reason: "looked at it".to_owned(),
    };
    let outcome = Outcome {
        incident: incident.clone(),
        plan: PlanId::of(&incident, 1),
        recovery: Recovery::Recovered,
        detect_ms: 4_000,
        decide_ms: 300,
        act_ms: Some(20),
        recover_ms: Some(5_000),
        because: because(),
    };
    vec![
        Fact::IncidentOpened {
            incident: incident.clone(),
            anomalies: vec![anomaly("ledger", 10).id],
            onset: at(10),
            because: vec![because()],
        },
        Fact::IncidentGrew {
            incident: incident.clone(),
            anomalies: vec![anomaly("orders", 11).id],
            because: vec![because()],
        },
        Fact::IncidentMoved { incident: incident.clone(), to: IncidentState::Closed, because: because() },
        Fact::HypothesisFormed {
            incident: incident.clone(),
            hypothesis: HypothesisId::of(&incident, 1),
            suspect: Some(suspect),
        },
        Fact::PlanAccepted { plan: plan_draft(), digest: Digest::of(b"plan"), terms: vec![terms.clone()] },
        Fact::PlanRevised { plan: plan_draft(), digest: Digest::of(b"revised"), terms: vec![terms] },
        Fact::PlanRejected { plan: PlanId::of(&incident, 2), problems: vec!["no such action".to_owned()] },
        Fact::StepPreviewed { step: step(), preview: preview() },
        Fact::Decided(decision()),
        Fact::ApprovalOpened(approval_request()),
        Fact::ApprovalDelivered { step: step(), covers: covers(), by: vec![name("chat")] },
        Fact::ApprovalCounted(approved),
        Fact::OrderRejected { order: "settle inc-7/p1/rollback".to_owned(), because: because() },
        Fact::StepDelayed { step: step(), because: because(), retry_ms: 1_000 },
        Fact::AnswerRejected { request: ApprovalId::of(&step(), &covers()), because: because() },
        Fact::StepMoved { step: step(), from: StepState::Planned, to: StepState::Ready, because: because() },
        Fact::AttemptCleared { step: step(), because: because() },
        Fact::AttemptFound { step: step(), after: Some(Digest::of(b"after")), because: because() },
        Fact::AttemptUnknown { step: step(), because: because() },
        Fact::OutcomeReached(outcome),
        Fact::LessonDrawn(lesson()),
        Fact::Degraded { what: "detector".to_owned(), because: because() },
    ]
}

fn gate_facts() -> Vec<GateFact> {
    let intent = Intent {
        step: step(),
        direction: Direction::Do,
        attempt: 1,
        token: 1 << 53,
        key: EffectKey::of(Digest::of(b"journal"), Digest::of(b"plan"), &step(), Direction::Do),
        call: call(),
        deadline_mono_ns: u64::MAX,
        inverse: Some(undo()),
        precondition: precondition(),
        tier: AutonomyTier::Approve,
        spends: vec!["ann".to_owned(), "bob".to_owned()],
        epoch: 1,
        halt_epoch: 0,
    };
    vec![
        GateFact::Checkpoint(Box::new(Checkpoint {
            version: "0.1.0".to_owned(),
            kernel: Content::Here(serde_json::json!({ "token": 7 })),
            engine: Content::Here(serde_json::json!({ "incidents": {} })),
            config: Content::Here(serde_json::json!({})),
        })),
        GateFact::Claimed { holder: name("node-1"), epoch: 1, journal: Digest::of(b"journal") },
        GateFact::Intent(intent),
        GateFact::Refused {
            step: step(),
            direction: Direction::Undo,
            precondition: precondition(),
            refusals: vec![Refusal { rule: "halted".to_owned(), because: "somebody said so".to_owned() }],
        },
        GateFact::Fenced(Fenced { step: step(), token: 2 }),
        GateFact::Halted(Halted { epoch: 1, by: "file".to_owned(), reason: "maintenance".to_owned() }),
        GateFact::Resumed { epoch: 2, by: vec![person()], reason: "over".to_owned() },
    ]
}
