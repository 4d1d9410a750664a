//! A double of Systems Manager's automations that keeps to what AWS documents: tokens, tags, versions, filters, pages.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ir_core::execution::{Catalogue, EffectKey};
use ir_core::kernel::StepState;
use ir_core::testkit::GateRig;
use ir_core::testkit::executor::{self as laws, World, done};
use ir_core::{Direction, EntityId, StepRef};

use super::*;
use crate::SystemClock;
use crate::aws::double::{Asked, CANARY, Double, Reply, TOKEN, sdk};

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

#[derive(Debug, Clone)]
struct Started {
    id: String,
    token: String,
    request: Value,
    status: String,
}

/// What the service does with a start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Start {
    #[default]
    Runs,
    /// It starts, and its answer is lost.
    LosesAnswer,
    Refuses(u16, String),
}

/// Automations of one account.
#[derive(Debug, Default)]
struct Ssm {
    started: Mutex<Vec<Started>>,
    start: Mutex<Start>,
    /// What a new execution says of itself, one look after the other, the last for ever.
    course: Mutex<Vec<String>>,
    /// How a token that is known is answered: with the first execution, or with a refusal.
    refuses_tokens: AtomicBool,
    n_stopped: AtomicUsize,
    operations: Mutex<BTreeSet<String>>,
}

impl Ssm {
    async fn start(course: &[&str]) -> (Arc<Self>, Double) {
        let ssm = Arc::new(Self::default());
        *ssm.course.lock().unwrap() = course.iter().map(|status| (*status).to_owned()).collect();
        let shared = ssm.clone();
        (ssm, Double::start(move |asked| shared.answer(asked)).await)
    }

    fn started(&self) -> Vec<Started> {
        self.started.lock().unwrap().clone()
    }

    fn answer(&self, (head, body): &Asked) -> Reply {
        let asked: Value = serde_json::from_str(body).unwrap();
        let target = head.lines().find_map(|line| line.strip_prefix("x-amz-target: amazonssm.")).unwrap();
        self.operations.lock().unwrap().insert(target.to_owned());
        let says = |body: Value| Reply::Says(200, body.to_string());
        let refuses = |code: &str| Reply::Says(400, json!({ "__type": code, "message": "no" }).to_string());
        match target {
            "describedocument" => says(json!({ "Document": {
                "Name": asked["Name"], "Status": "Active", "DocumentType": "Automation", "DocumentVersion": "4",
                "HashType": "Sha256", "Hash": HASH,
            } })),
            "startautomationexecution" => self.starts(asked),
            "getautomationexecution" => {
                let mut started = self.started.lock().unwrap();
                let found = started.iter_mut().find(|one| asked["AutomationExecutionId"] == one.id);
                let Some(found) = found else { return refuses("AutomationExecutionNotFoundException") };
                let mut course = self.course.lock().unwrap();
                if found.status != "Cancelled" {
                    found.status = if course.len() > 1 { course.remove(0) } else { course[0].clone() };
                }
                says(json!({ "AutomationExecution": { "AutomationExecutionStatus": found.status } }))
            }
            "stopautomationexecution" => {
                assert_eq!(asked["Type"], "Cancel");
                self.n_stopped.fetch_add(1, Ordering::SeqCst);
                let mut started = self.started.lock().unwrap();
                started.iter_mut().for_each(|one| one.status = "Cancelled".to_owned());
                says(json!({}))
            }
            "describeautomationexecutions" => {
                assert_eq!(asked["Filters"][0]["Key"], "TagKey");
                let started = self.started.lock().unwrap();
                let is_found = |one: &&Started| one.request["Tags"][0]["Key"] == asked["Filters"][0]["Values"][0];
                let found = started.iter().filter(is_found);
                let list: Vec<Value> = found
                    .map(|one| {
                        json!({
                            "AutomationExecutionId": one.id, "DocumentName": one.request["DocumentName"],
                            "AutomationExecutionStatus": one.status,
                        })
                    })
                    .collect();
                // An empty page with a token says nothing yet.
                match asked["NextToken"].as_str() {
                    None => says(json!({ "AutomationExecutionMetadataList": [], "NextToken": "more" })),
                    Some(_) => says(json!({ "AutomationExecutionMetadataList": list })),
                }
            }
            other => panic!("{other} is not spoken here"),
        }
    }

    fn starts(&self, asked: Value) -> Reply {
        let start = self.start.lock().unwrap().clone();
        if let Start::Refuses(status, code) = &start {
            let body = json!({ "__type": code, "message": format!("signed with {TOKEN}") });
            return Reply::Says(*status, body.to_string());
        }
        let token = asked["ClientToken"].as_str().unwrap().to_lowercase();
        assert!(is_uuid(&token), "{token}");
        let mut started = self.started.lock().unwrap();
        let id = match started.iter().find(|one| one.token == token) {
            Some(known) if self.refuses_tokens.load(Ordering::SeqCst) || known.request != asked => {
                let body = json!({ "__type": "IdempotentParameterMismatch", "message": "the token is known" });
                return Reply::Says(400, body.to_string());
            }
            Some(known) => known.id.clone(),
            None => {
                let id = format!("execution-{}", started.len());
                started.push(Started { id: id.clone(), token, request: asked, status: "Pending".to_owned() });
                id
            }
        };
        match start {
            Start::LosesAnswer => Reply::HangsUp,
            _ => Reply::Says(200, json!({ "AutomationExecutionId": id }).to_string()),
        }
    }
}

/// The pattern of AWS: eight, four, four, four and twelve hexadecimal digits; and RFC 9562's marks of a version 8.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
        && parts[2].starts_with('8')
        && parts[3].starts_with('8')
}

fn automation(name: &str, document: &str, effect: AutomationEffect) -> Automation {
    Automation {
        name: name.to_owned(),
        description: String::new(),
        document: document.to_owned(),
        version: None,
        sha256: None,
        target_parameter: "InstanceId".to_owned(),
        target: vec![AutomationTarget { entity: EntityId::literal("web"), value: "i-1".to_owned() }],
        parameters: [("AutomationAssumeRole".to_owned(), vec!["arn:aws:iam::1:role/Restart".to_owned()])].into(),
        choice: BTreeMap::new(),
        effect,
    }
}

fn undone(by: &str) -> AutomationEffect {
    AutomationEffect::Undone { by: by.to_owned() }
}

/// A restart, and a pair of which each takes the other back.
fn config() -> AutomationConfig {
    let grace = AutomationChoice::Number { minimum: 0, maximum: 60 };
    let mode = AutomationChoice::OneOf { values: vec!["soft".to_owned(), "hard".to_owned()] };
    let mut stop = automation("stop", "AWS-StopEC2Instance", undone("start"));
    stop.choice = [("Grace".to_owned(), grace), ("Mode".to_owned(), mode.clone())].into();
    let mut start = automation("start", "AWS-StartEC2Instance", AutomationEffect::Irreversible);
    start.choice = [("Mode".to_owned(), mode)].into();
    let restart = automation("restart", "AWS-RestartEC2Instance", AutomationEffect::Transient);
    AutomationConfig {
        automation: vec![restart, stop, start],
        poll_ms: 5,
        settles_within_ms: 50,
        ..AutomationConfig::default()
    }
}

fn call(action: &'static str, params: Value) -> Call {
    let Value::Object(params) = params else { panic!("{params} are no parameters") };
    Call { action: ActionName::literal(action), target: EntityId::literal("web"), params }
}

fn restart() -> Call {
    call("ssm.automation.restart", json!({}))
}

fn stop() -> Call {
    call("ssm.automation.stop", json!({ "Mode": "soft", "Grace": 5 }))
}

fn executor(double: &Double, config: AutomationConfig) -> AutomationExecutor {
    AutomationExecutor::new(config, &double.sdk()).unwrap()
}

fn key(rig: &GateRig, step: &StepRef) -> EffectKey {
    rig.gate().state().step(step).unwrap().open.as_ref().unwrap().intent.key
}

#[tokio::test]
async fn an_automation_is_started_once_as_configured_and_waited_for() {
    let (ssm, double) = Ssm::start(&["Pending", "InProgress", "Waiting", "Success"]).await;
    let (executor, ctx) = (executor(&double, config()), ctx());
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (step, granted) = rig.permit(&executor, &stop(), 10_000).await.unwrap();
    let key = key(&rig, &step);
    let applied = done(executor.execute(&ctx, granted.permit).await).unwrap();
    assert!(applied.summary.contains("`execution-0`"), "{}", applied.summary);
    let [started] = &ssm.started()[..] else { panic!("{:?}", ssm.started()) };
    let expected = json!({
        "DocumentName": "AWS-StopEC2Instance", "DocumentVersion": "4", "ClientToken": client::token(&key),
        "Parameters": {
            "InstanceId": ["i-1"], "Mode": ["soft"], "Grace": ["5"],
            "AutomationAssumeRole": ["arn:aws:iam::1:role/Restart"],
        },
        "Tags": [{ "Key": format!("incident-response/{key}"), "Value": "1" }],
    });
    assert_eq!(started.request, expected);
}

#[tokio::test]
async fn the_undo_is_the_other_one_of_the_pair_under_another_token() {
    let (ssm, double) = Ssm::start(&["Success"]).await;
    let (executor, ctx) = (executor(&double, config()), ctx());
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (step, granted) = rig.permit(&executor, &stop(), 10_000).await.unwrap();
    done(executor.execute(&ctx, granted.permit).await).unwrap();
    rig.applied(&executor, &step).await.unwrap();
    rig.go(&step, &[StepState::Compensating]).await.unwrap();
    let granted = rig.authorize(&executor, &step, Direction::Undo).await.unwrap();
    done(executor.execute(&ctx, granted.permit).await).unwrap();
    let started = ssm.started();
    let documents: Vec<&Value> = started.iter().map(|one| &one.request["DocumentName"]).collect();
    assert_eq!(documents, ["AWS-StopEC2Instance", "AWS-StartEC2Instance"]);
    assert_eq!(started[1].request["Parameters"]["Mode"], json!(["soft"]));
    assert!(started[1].request["Parameters"]["Grace"].is_null());
    assert_ne!(started[0].token, started[1].token);
}

#[tokio::test]
async fn whatever_is_not_a_success_leaves_the_effect_unknown() {
    for end in ["Failed", "TimedOut", "Cancelled", "Rejected", "CompletedWithFailure", "Exited", "NewWord"] {
        let (ssm, double) = Ssm::start(&["InProgress", end]).await;
        let (executor, ctx) = (executor(&double, config()), ctx());
        let mut rig = GateRig::open(&ctx).await.unwrap();
        let (step, granted) = rig.permit(&executor, &restart(), 10_000).await.unwrap();
        let probe = Probe { call: restart(), key: key(&rig, &step), fence: None };
        let error = done(executor.execute(&ctx, granted.permit).await).unwrap_err();
        assert_eq!((error.kind(), ssm.started().len()), (ErrorKind::Unknown, 1), "{end}: {error}");
        assert_eq!(executor.probe(&ctx, &probe).await.unwrap(), Probed::Unknown, "{end}");
    }
}

#[tokio::test]
async fn only_a_refusal_by_aws_itself_says_that_nothing_was_started() {
    // One row a reply, with the kind of its error.
    let rows = [
        (Start::Refuses(400, "AutomationDefinitionNotFoundException".to_owned()), ErrorKind::NotFound),
        (Start::Refuses(400, "InvalidAutomationExecutionParametersException".to_owned()), ErrorKind::InvalidInput),
        (Start::Refuses(400, "ThrottlingException".to_owned()), ErrorKind::RateLimited),
        (Start::Refuses(400, "AccessDeniedException".to_owned()), ErrorKind::Unauthorized),
        (Start::Refuses(500, "InternalServerError".to_owned()), ErrorKind::Unknown),
        // An earlier request with this token came through.
        (Start::Refuses(400, "IdempotentParameterMismatch".to_owned()), ErrorKind::Unknown),
        (Start::LosesAnswer, ErrorKind::Unknown),
    ];
    for (start, kind) in rows {
        let (ssm, double) = Ssm::start(&["Success"]).await;
        *ssm.start.lock().unwrap() = start.clone();
        let (executor, ctx) = (executor(&double, config()), ctx());
        let mut rig = GateRig::open(&ctx).await.unwrap();
        let (_, granted) = rig.permit(&executor, &restart(), 5_000).await.unwrap();
        let error = done(executor.execute(&ctx, granted.permit).await).unwrap_err();
        assert_eq!(error.kind(), kind, "{start:?}: {error}");
        for text in [format!("{executor:?}"), format!("{error:?}"), format!("{error:#}")] {
            assert!(!text.contains(CANARY) && (kind != ErrorKind::Unauthorized || !text.contains(TOKEN)), "{text}");
        }
        let n_sent = double.asked().iter().filter(|(head, _)| head.contains(".startautomationexecution")).count();
        assert_eq!(n_sent, 1, "{start:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_the_tag_and_a_second_attempt_starts_nothing_new() {
    for refuses in [false, true] {
        let (ssm, double) = Ssm::start(&["Success"]).await;
        ssm.refuses_tokens.store(refuses, Ordering::SeqCst);
        *ssm.start.lock().unwrap() = Start::LosesAnswer;
        let (first, ctx) = (executor(&double, config()), ctx());
        let mut rig = GateRig::open(&ctx).await.unwrap();
        let (step, granted) = rig.permit(&first, &restart(), 5_000).await.unwrap();
        let probe = Probe { call: restart(), key: key(&rig, &step), fence: None };
        assert_eq!(first.probe(&ctx, &probe).await.unwrap(), Probed::NotApplied);
        assert_eq!(first.execute(&ctx, granted.permit).await.unwrap_err().kind(), ErrorKind::Unknown);
        // Another process asks: the execution still runs, then it has ended.
        let second = executor(&double, config());
        assert_eq!(second.probe(&ctx, &probe).await.unwrap(), Probed::Unknown);
        ssm.started.lock().unwrap()[0].status = "Success".to_owned();
        assert_eq!(second.probe(&ctx, &probe).await.unwrap(), Probed::Applied);
        // And were it sent again all the same, whichever way AWS takes a token that it knows, there is one execution.
        *ssm.start.lock().unwrap() = Start::Runs;
        let granted = rig.authorize(&second, &step, Direction::Do).await;
        if let Ok(granted) = granted {
            let again = done(second.execute(&ctx, granted.permit).await);
            assert_eq!(again.as_ref().err().map(Error::kind), refuses.then_some(ErrorKind::Unknown), "{again:?}");
        }
        assert_eq!(ssm.started().len(), 1, "{refuses}");
    }
}

#[tokio::test]
async fn one_that_does_not_end_is_told_to_stop_in_time_where_that_is_wanted() {
    for (cancel_before_ms, n_stopped) in [(0, 0), (600, 1)] {
        let (ssm, double) = Ssm::start(&["InProgress"]).await;
        let (executor, ctx) = (executor(&double, AutomationConfig { cancel_before_ms, ..config() }), ctx());
        let mut rig = GateRig::open(&ctx).await.unwrap();
        let (_, granted) = rig.permit(&executor, &restart(), 900).await.unwrap();
        let before = ctx.now();
        let error = done(executor.execute(&ctx, granted.permit).await).unwrap_err();
        let took = Duration::from_nanos(ctx.now().mono_since(&before).unwrap());
        assert_eq!((error.kind(), ssm.n_stopped.load(Ordering::SeqCst)), (ErrorKind::Unknown, n_stopped), "{error}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test]
async fn only_what_is_configured_is_started() {
    let (ssm, double) = Ssm::start(&["Success"]).await;
    let mut config = config();
    config
        .automation
        .push(Automation { sha256: Some("f".repeat(64)), ..automation("changed", "Own", AutomationEffect::Transient) });
    config.automation.push(Automation {
        sha256: Some(HASH.to_uppercase()),
        ..automation("pinned", "Own", AutomationEffect::Transient)
    });
    let executor = executor(&double, config);
    // One row a call that is refused, with the kind of its error.
    let rows = [
        (call("ssm.automation.changed", json!({})), ErrorKind::Conflict),
        (
            call("ssm.automation.restart", json!({ "AutomationAssumeRole": "arn:aws:iam::1:role/Admin" })),
            ErrorKind::InvalidInput,
        ),
        (call("ssm.automation.restart", json!({ "InstanceId": "i-2" })), ErrorKind::InvalidInput),
        (call("ssm.automation.stop", json!({ "Mode": "soft" })), ErrorKind::InvalidInput),
        (call("ssm.automation.stop", json!({ "Mode": "rm -rf /", "Grace": 5 })), ErrorKind::InvalidInput),
        (call("ssm.automation.stop", json!({ "Mode": "soft", "Grace": 61 })), ErrorKind::InvalidInput),
        (call("ssm.automation.stop", json!({ "Mode": "soft", "Grace": 1.5 })), ErrorKind::InvalidInput),
        (call("ssm.automation.stop", json!({ "Mode": "soft", "Grace": "5" })), ErrorKind::InvalidInput),
        (call("ssm.automation.other", json!({})), ErrorKind::Unsupported),
        (Call { target: EntityId::literal("db"), ..restart() }, ErrorKind::Unsupported),
    ];
    for (call, kind) in rows {
        let error = executor.preview(&ctx(), &call).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{call}: {error}");
    }
    assert!(executor.preview(&ctx(), &call("ssm.automation.pinned", json!({}))).await.is_ok());
    assert!(ssm.started().is_empty());
    let catalogue = Catalogue::new(executor.catalogue()).unwrap();
    assert_eq!(catalogue.actions().len(), 5);
    let stop = catalogue.action(&ActionName::literal("ssm.automation.stop")).unwrap();
    assert_eq!(stop.params["properties"]["Grace"], json!({ "type": "integer", "minimum": 0, "maximum": 60 }));
    assert!(stop.check_params(&self::stop().params).is_empty());
}

#[tokio::test]
async fn a_document_that_is_none_is_refused_before_anything_is_started() {
    let rows = [
        json!({ "Status": "Active", "DocumentType": "Command", "DocumentVersion": "1", "HashType": "Sha256", "Hash": HASH }),
        json!({ "Status": "Deleting", "DocumentType": "Automation", "DocumentVersion": "1", "HashType": "Sha256", "Hash": HASH }),
        json!({ "Status": "Active", "DocumentType": "Automation", "DocumentVersion": "1", "HashType": "Sha1", "Hash": HASH }),
        json!({ "Status": "Active", "DocumentType": "Automation", "HashType": "Sha256", "Hash": HASH }),
    ];
    for document in rows {
        let told = json!({ "Document": document });
        let double = Double::start(move |_| Reply::Says(200, told.to_string())).await;
        let error = executor(&double, config()).preview(&ctx(), &restart()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{document}: {error}");
    }
}

/// A fresh account for each law.
struct Accounts {
    calls: Vec<Call>,
    wrap: fn(AutomationExecutor) -> Arc<dyn Executor>,
    ssm: Mutex<Arc<Ssm>>,
}

#[async_trait]
impl World for Accounts {
    async fn fresh(&self) -> Arc<dyn Executor> {
        let (ssm, double) = Ssm::start(&["InProgress", "Success"]).await;
        *self.ssm.lock().unwrap() = ssm;
        (self.wrap)(executor(&double, config()))
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.clone()
    }

    async fn effects(&self) -> u64 {
        self.ssm.lock().unwrap().started().len() as u64
    }

    fn timeout_ms(&self) -> u64 {
        2_000
    }
}

#[tokio::test]
async fn it_keeps_every_law() {
    let wraps: [fn(AutomationExecutor) -> Arc<dyn Executor>; 3] = [
        |executor| Arc::new(executor),
        |executor| Arc::new(Box::new(executor)),
        |executor| Arc::new(Arc::new(executor)),
    ];
    for wrap in wraps {
        let world = Accounts { calls: vec![restart(), stop()], wrap, ssm: Mutex::default() };
        laws::check_all(&ctx(), &world).await.unwrap();
    }
}

#[tokio::test]
async fn the_policy_names_what_is_asked_for_and_nothing_else() {
    let (ssm, double) = Ssm::start(&["InProgress"]).await;
    let (executor, ctx) = (executor(&double, AutomationConfig { cancel_before_ms: 300, ..config() }), ctx());
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (step, granted) = rig.permit(&executor, &restart(), 500).await.unwrap();
    let probe = Probe { call: restart(), key: key(&rig, &step), fence: None };
    assert!(executor.execute(&ctx, granted.permit).await.is_err());
    assert_eq!(executor.probe(&ctx, &probe).await.unwrap(), Probed::Unknown);
    let policy: Value = serde_json::from_str(include_str!("../../../../iam/aws-ssm-automation.json")).unwrap();
    let mut allowed = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        let actions = statement["Action"].as_array().cloned().unwrap_or_else(|| vec![statement["Action"].clone()]);
        allowed.extend(actions.iter().map(|action| action.as_str().unwrap().to_lowercase()));
    }
    let mut needed: BTreeSet<String> =
        ssm.operations.lock().unwrap().iter().map(|name| format!("ssm:{name}")).collect();
    // To start with a tag, and with a role.
    needed.extend(["ssm:addtagstoresource".to_owned(), "iam:passrole".to_owned()]);
    assert_eq!(allowed, needed);
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let choice = |minimum, maximum| AutomationChoice::Number { minimum, maximum };
    let mut first = automation("a b", " ", undone("nobody"));
    first.sha256 = Some("12".to_owned());
    first.target.clear();
    first.choice = [
        ("InstanceId".to_owned(), choice(2, 1)),
        ("AutomationAssumeRole".to_owned(), AutomationChoice::OneOf { values: Vec::new() }),
    ]
    .into();
    let mut second = automation("stop", "Own", undone("start"));
    second.target.push(AutomationTarget { entity: EntityId::literal("web"), value: String::new() });
    let mut third = automation("stop", "Own", undone("start"));
    third.target[0].value = "i-2".to_owned();
    let fourth = automation("start", "Own", undone("stop"));
    let config = AutomationConfig {
        name: String::new(),
        automation: vec![first, second, third, fourth],
        poll_ms: 0,
        ..AutomationConfig::default()
    };
    let error = AutomationExecutor::new(config, &SdkConfig::builder().build()).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    let expected = [
        "name",
        "automation[0].name",
        "automation[0].document",
        "automation[0].sha256",
        "automation[0].target",
        "automation[0].parameters.InstanceId",
        "automation[0].choice.AutomationAssumeRole",
        "automation[0].choice.AutomationAssumeRole",
        "automation[0].choice.InstanceId",
        "automation[0].effect.by",
        "automation[1].target[1].entity",
        "automation[1].target[1].value",
        "automation[1].effect.by",
        "automation[2].name",
        "automation[2].effect.by",
        "poll_ms",
        "sdk",
    ];
    assert_eq!(fields, expected);
    let none = AutomationExecutor::new(AutomationConfig::default(), &sdk("http://127.0.0.1:1")).unwrap_err();
    assert_eq!(none.problems()[0].field, "automation");
}
