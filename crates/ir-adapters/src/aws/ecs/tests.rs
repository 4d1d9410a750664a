//! A double of ECS that refuses, breaks off, and says nothing: each error is as sure as it may be, and each effect is
//! sent once.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use ir_core::testkit::executor::done;
use ir_core::testkit::{GateRig, signal as sources};
use ir_core::{ActionName, ChangeKind, Cursor, Polled, SignalSource};
use serde_json::Value;

use super::*;
use crate::SystemClock;
use crate::aws::double::{Asked, CANARY, Double, Reply, TOKEN, sdk};

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn arn(revision: u32) -> String {
    format!("arn:aws:ecs:eu-central-1:123456789012:task-definition/web:{revision}")
}

fn config() -> EcsConfig {
    let service = EcsService {
        entity: EntityId::literal("web"),
        cluster: "main".to_owned(),
        service: "web".to_owned(),
        min_count: 1,
        max_count: 10,
    };
    EcsConfig { service: vec![service], ..EcsConfig::default() }
}

fn call(action: &'static str, params: Value) -> Call {
    let Value::Object(params) = params else { panic!("{params} are no parameters") };
    Call { action: ActionName::literal(action), target: EntityId::literal("web"), params }
}

fn is_update((head, _): &Asked) -> bool {
    head.contains(".updateservice\r\n")
}

/// A service with two tasks of revision 3, as changed by `with`.
fn described(with: Value) -> Reply {
    let mut service = json!({ "status": "ACTIVE", "taskDefinition": arn(3), "desiredCount": 2, "deployments": [] });
    let Value::Object(with) = with else { panic!("{with} is no object") };
    service.as_object_mut().unwrap().extend(with);
    Reply::Says(200, json!({ "services": [service] }).to_string())
}

/// ECS with that service, which gives `update` to every update.
fn answer(asked: &Asked, update: &Reply) -> Reply {
    let (head, body) = asked;
    if is_update(asked) {
        return update.clone();
    }
    if head.contains(".listtaskdefinitions\r\n") {
        // Two pages, the first of which is of no use.
        let page = match body.contains("nextToken") {
            false => json!({ "taskDefinitionArns": [arn(4), arn(3)], "nextToken": "more" }),
            true => json!({ "taskDefinitionArns": [arn(2), arn(1)] }),
        };
        return Reply::Says(200, page.to_string());
    }
    if head.contains(".describetaskdefinition\r\n") {
        let name = serde_json::from_str::<Value>(body).unwrap()["taskDefinition"].clone();
        let found = json!({ "taskDefinition": { "taskDefinitionArn": name, "status": "ACTIVE" } });
        return Reply::Says(200, found.to_string());
    }
    described(json!({}))
}

fn refusal(status: u16, code: &str) -> Reply {
    Reply::Says(status, json!({ "__type": code, "message": format!("signed with {TOKEN}") }).to_string())
}

/// The error of a roll-back whose update gets that reply, and how often it was sent.
async fn failed(reply: Reply, timeout_ms: u64) -> (Error, usize) {
    let double = Double::start(move |asked| answer(asked, &reply)).await;
    let executor = EcsExecutor::new(config(), &double.sdk()).unwrap();
    let ctx = ctx();
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (_, granted) = rig.permit(&executor, &call("ecs.rollback", json!({})), timeout_ms).await.unwrap();
    let error = done(executor.execute(&ctx, granted.permit).await).unwrap_err();
    let sent: Vec<Asked> = double.asked().into_iter().filter(is_update).collect();
    assert!(sent.iter().all(|(_, body)| body.contains(&arn(2))), "{sent:?}");
    (error, sent.len())
}

#[tokio::test]
async fn only_a_refusal_by_aws_itself_says_that_nothing_was_changed() {
    let html = Reply::Says(500, "<html><h1>Internal Server Error</h1></html>".to_owned());
    // One row a reply, with the kind of its error.
    let rows = [
        (refusal(400, "InvalidParameterException"), ErrorKind::InvalidInput),
        (refusal(400, "ServiceNotFoundException"), ErrorKind::NotFound),
        (refusal(400, "ServiceNotActiveException"), ErrorKind::Conflict),
        (refusal(400, "ThrottlingException"), ErrorKind::RateLimited),
        (refusal(400, "AccessDeniedException"), ErrorKind::Unauthorized),
        (refusal(403, "InvalidSignatureException"), ErrorKind::Unauthorized),
        // What happened before it said so, nobody knows.
        (refusal(500, "ServerException"), ErrorKind::Unknown),
        (refusal(503, "ServiceUnavailable"), ErrorKind::Unknown),
        (refusal(408, "RequestTimeout"), ErrorKind::Unknown),
        (html, ErrorKind::Unknown),
        (Reply::Says(200, "{\"service\": 7".to_owned()), ErrorKind::Unknown),
        (Reply::HangsUp, ErrorKind::Unknown),
        (Reply::Endless, ErrorKind::Unknown),
    ];
    for (reply, kind) in rows {
        let (error, n_sent) = failed(reply.clone(), 10_000).await;
        assert_eq!((error.kind(), n_sent), (kind, 1), "{reply:?}: {error}");
        if kind == ErrorKind::Unauthorized {
            assert!(!error.to_string().contains(TOKEN), "{error}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_waited_for_until_the_deadline_and_not_longer() {
    let ctx = ctx();
    let before = ctx.now();
    let (error, n_sent) = failed(Reply::Hangs, 700).await;
    let took = Duration::from_nanos(ctx.now().mono_since(&before).unwrap());
    assert_eq!((error.kind(), n_sent), (ErrorKind::Unknown, 1), "{error}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn nobody_who_listens_means_that_nothing_was_sent() {
    // The address is free again once the listener is gone.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let executor = EcsExecutor::new(config(), &sdk(&format!("http://{address}"))).unwrap();
    let request = executor.client.update(&config().service[0]).force_new_deployment(true);
    let failure = request.send().await.unwrap_err();
    let error = error::of_effect(COMPONENT, "a test", &failure);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = executor.preview(&ctx(), &call("ecs.redeploy", json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let double = Double::start(|_| Reply::Endless).await;
    let executor = EcsExecutor::new(config(), &double.sdk()).unwrap();
    let error = executor.preview(&ctx(), &call("ecs.redeploy", json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("limit"), "{error}");
}

/// Has no credentials.
#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("there are none")))
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let double = Double::start(|_| Reply::HangsUp).await;
    let provider = SharedCredentialsProvider::new(Nobody);
    let sdk = double.sdk().into_builder().credentials_provider(provider).build();
    let executor = EcsExecutor::new(config(), &sdk).unwrap();
    let error = executor.preview(&ctx(), &call("ecs.redeploy", json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(double.asked().is_empty());
}

#[tokio::test]
async fn no_secret_is_shown() {
    let double = Double::start(|_| refusal(403, "SignatureDoesNotMatch")).await;
    let executor = EcsExecutor::new(config(), &double.sdk()).unwrap();
    let error = executor.preview(&ctx(), &call("ecs.redeploy", json!({}))).await.unwrap_err();
    for text in [format!("{executor:?}"), format!("{error:?}"), format!("{error:#}"), format!("{:?}", double.sdk())] {
        assert!(!text.contains(CANARY) && !text.contains(TOKEN), "{text}");
    }
    // The token goes to AWS and nowhere else.
    assert!(double.asked().iter().all(|(head, _)| head.contains(TOKEN)));
}

#[tokio::test]
async fn a_service_that_cannot_be_changed_so_is_told() {
    // One row a service, and the action that it does not take.
    let rows = [
        (json!({ "status": "DRAINING" }), call("ecs.redeploy", json!({}))),
        (json!({ "deploymentController": { "type": "CODE_DEPLOY" } }), call("ecs.rollback", json!({}))),
        (json!({ "deploymentController": { "type": "EXTERNAL" } }), call("ecs.redeploy", json!({}))),
        (json!({ "schedulingStrategy": "DAEMON" }), call("ecs.scale", json!({ "count": 3 }))),
        (json!({ "taskDefinition": null }), call("ecs.rollback", json!({}))),
    ];
    for (with, call) in rows {
        let service = with.clone();
        let double = Double::start(move |_| described(service.clone())).await;
        let executor = EcsExecutor::new(config(), &double.sdk()).unwrap();
        let error = executor.preview(&ctx(), &call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{with}: {error}");
    }
}

#[tokio::test]
async fn a_redeployment_is_told_from_none_by_the_deployment() {
    let deployment = Arc::new(Mutex::new(("one", 3)));
    let shared = deployment.clone();
    let double = Double::start(move |asked| {
        let (id, revision) = *shared.lock().unwrap();
        let deployments = json!([{ "id": id, "status": "PRIMARY" }, { "id": "old", "status": "ACTIVE" }]);
        match is_update(asked) {
            true => Reply::HangsUp,
            false => described(json!({ "taskDefinition": arn(revision), "deployments": deployments })),
        }
    })
    .await;
    let executor = EcsExecutor::new(config(), &double.sdk()).unwrap();
    let ctx = ctx();
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (step, granted) = rig.permit(&executor, &call("ecs.redeploy", json!({})), 5_000).await.unwrap();
    let key = rig.gate().state().step(&step).unwrap().open.as_ref().unwrap().intent.key;
    assert_eq!(executor.execute(&ctx, granted.permit).await.unwrap_err().kind(), ErrorKind::Unknown);
    let probe = Probe { call: call("ecs.redeploy", json!({})), key, fence: None };
    // One row a state of the service afterwards.
    let rows = [("one", 3, Probed::NotApplied), ("two", 3, Probed::Applied), ("two", 4, Probed::Unknown)];
    for (id, revision, expected) in rows {
        *deployment.lock().unwrap() = (id, revision);
        assert_eq!(executor.probe(&ctx, &probe).await.unwrap(), expected, "{id} {revision}");
    }
}

/// Services by their names, with the revision that each runs; nothing is answered when `hangs`.
#[derive(Debug, Default)]
struct Cluster {
    revisions: Mutex<BTreeMap<String, u32>>,
    next: AtomicUsize,
    hangs: AtomicBool,
}

impl Cluster {
    /// Five services, each at its first revision.
    async fn start() -> (Arc<Self>, Double) {
        let cluster = Arc::new(Self::default());
        let names = (0..5).map(|n| (format!("service-{n}"), 1));
        cluster.revisions.lock().unwrap().extend(names);
        let shared = cluster.clone();
        let double = Double::start(move |(_, body)| {
            if shared.hangs.load(Ordering::SeqCst) {
                return Reply::Hangs;
            }
            let asked: Value = serde_json::from_str(body).unwrap();
            let revision = shared.revisions.lock().unwrap().get(asked["services"][0].as_str().unwrap()).copied();
            match revision {
                Some(revision) => described(json!({ "taskDefinition": arn(revision) })),
                None => Reply::Says(200, json!({ "services": [], "failures": [] }).to_string()),
            }
        })
        .await;
        (cluster, double)
    }

    fn config() -> EcsConfig {
        let service = |n: usize| {
            let name = format!("service-{n}");
            EcsService { entity: EntityId::new(&*name).unwrap(), service: name, ..config().service.remove(0) }
        };
        EcsConfig { service: (0..5).map(service).collect(), ..EcsConfig::default() }
    }

    fn deploy(&self, name: &str, revision: u32) {
        self.revisions.lock().unwrap().insert(name.to_owned(), revision);
    }
}

#[tokio::test]
async fn a_change_of_the_definition_is_told_once_with_its_direction() {
    let (cluster, double) = Cluster::start().await;
    let ctx = ctx();
    let source = EcsChanges::new(&Cluster::config(), &double.sdk()).unwrap();
    let first = source.poll(&ctx, &Cursor::default()).await.unwrap();
    assert!(first.batch.is_empty(), "what is there at first is no change");
    cluster.deploy("service-1", 3);
    let second = source.poll(&ctx, &first.next).await.unwrap();
    cluster.deploy("service-1", 2);
    // What is gone is a problem, and no change; the others are looked at all the same.
    cluster.revisions.lock().unwrap().remove("service-4");
    let third = source.poll(&ctx, &second.next).await.unwrap();
    assert_eq!(third.problems.len(), 1, "{:?}", third.problems);
    let told = |polled: &Polled| {
        let change = &polled.batch.changes[0];
        assert_eq!((polled.batch.len(), change.entity.as_str()), (1, "service-1"));
        (change.kind, change.from.clone().unwrap(), change.to.clone().unwrap())
    };
    assert_eq!(told(&second), (ChangeKind::Deploy, "web:1".to_owned(), "web:3".to_owned()));
    assert_eq!(told(&third), (ChangeKind::Rollback, "web:3".to_owned(), "web:2".to_owned()));
    assert!(source.poll(&ctx, &third.next).await.unwrap().batch.is_empty());
    cluster.revisions.lock().unwrap().clear();
    assert_eq!(source.poll(&ctx, &third.next).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(source.poll(&ctx, &Cursor::new("nonsense")).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// Deploys to one service after another.
struct Deployments(Arc<Cluster>);

#[async_trait]
impl sources::Supply for Deployments {
    async fn add(&self, n: usize) {
        for _ in 0..n {
            let next = self.0.next.fetch_add(1, Ordering::SeqCst);
            self.0.deploy(&format!("service-{}", next % 5), u32::try_from(next).unwrap() + 2);
        }
    }

    async fn spoil(&self, _n: usize) -> u64 {
        // ECS keeps nothing that cannot be read.
        0
    }

    async fn hang(&self) -> bool {
        self.0.hangs.store(true, Ordering::SeqCst);
        true
    }
}

struct Changes(EcsChanges);

impl Deref for Changes {
    type Target = dyn SignalSource;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[tokio::test]
async fn the_source_of_changes_keeps_the_laws_of_sources() {
    sources::check_all(&ctx(), async || {
        let (cluster, double) = Cluster::start().await;
        let source = EcsChanges::new(&Cluster::config(), &double.sdk()).unwrap();
        let supply: Box<dyn sources::Supply> = Box::new(Deployments(cluster));
        (Changes(source), supply)
    })
    .await
    .unwrap();
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let service = |entity: &'static str, cluster: &str, service: &str, min_count, max_count| EcsService {
        entity: EntityId::literal(entity),
        cluster: cluster.to_owned(),
        service: service.to_owned(),
        min_count,
        max_count,
    };
    let services =
        vec![service("web", "main", "web", 1, 2), service("web", "", " ", 3, 2), service("api", "m", "a", 0, u32::MAX)];
    let config = EcsConfig { name: "a b".to_owned(), service: services, ..EcsConfig::default() };
    let error = EcsExecutor::new(config, &SdkConfig::builder().build()).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    let expected = [
        "name",
        "service[1].entity",
        "service[1].cluster",
        "service[1].service",
        "service[1].min_count",
        "service[2].max_count",
        "sdk",
    ];
    assert_eq!(fields, expected);
    let none = EcsExecutor::new(EcsConfig::default(), &sdk("http://127.0.0.1:1")).unwrap_err();
    assert_eq!(none.problems()[0].field, "service");
}

#[test]
fn a_revision_is_read_from_a_name_and_from_an_arn() {
    assert_eq!(client::revision(&arn(7)), Some(("web", 7)));
    assert_eq!(client::revision("web:7"), Some(("web", 7)));
    assert_eq!(client::revision("web"), None);
    assert!(client::same_definition("web:7", &arn(7)));
    assert!(!client::same_definition("web:6", &arn(7)));
    assert!(!client::same_definition(&arn(6), &arn(7)));
    assert!(!client::same_definition("web", &arn(7)));
}
