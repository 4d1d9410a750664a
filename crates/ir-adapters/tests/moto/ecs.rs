//! ECS services in moto: rolled back, scaled, redeployed, and brought back exactly as they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ir_adapters::SystemClock;
use ir_adapters::aws::SdkConfig;
use ir_adapters::aws::ecs::{EcsConfig, EcsExecutor, EcsService};
use ir_core::execution::{Executor, Probe, Probed};
use ir_core::kernel::StepState;
use ir_core::plan::Call;
use ir_core::testkit::GateRig;
use ir_core::testkit::executor::{self as laws, World, done};
use ir_core::{ActionName, Ctx, Direction, EntityId, ErrorKind};
use serde_json::{Map, Value, json};

use crate::server::{Moto, shared};

const TARGET: &str = "AmazonEC2ContainerServiceV20141113";
/// No request is on its way longer here.
const SETTLES_MS: u64 = 100;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn ecs(moto: &Moto, operation: &str, body: &Value) -> Value {
    moto.json("ecs", &format!("{TARGET}.{operation}"), body)
}

/// Registers a revision of a family, and gives its ARN.
fn revision(moto: &Moto, family: &str, image: &str) -> String {
    let container = json!({ "name": "app", "image": image, "memory": 128, "essential": true });
    let body = json!({ "family": family, "containerDefinitions": [container] });
    let answer = ecs(moto, "RegisterTaskDefinition", &body);
    answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
}

/// Makes a cluster and a service of that name, which runs two tasks of the last of three revisions; gives their ARNs.
pub(crate) fn service(moto: &Moto, name: &str) -> Vec<String> {
    ecs(moto, "CreateCluster", &json!({ "clusterName": name }));
    let revisions: Vec<String> = ["app:1", "app:2", "app:3"].map(|image| revision(moto, name, image)).into();
    let body = json!({ "cluster": name, "serviceName": name, "taskDefinition": revisions[2], "desiredCount": 2 });
    ecs(moto, "CreateService", &body);
    revisions
}

/// What the API says of the service, without what is about the deployment in between.
fn state(moto: &Moto, name: &str) -> Value {
    let answer = ecs(moto, "DescribeServices", &json!({ "cluster": name, "services": [name] }));
    let mut service = answer["services"][0].clone();
    let fields = service.as_object_mut().unwrap();
    for volatile in ["deployments", "events", "runningCount", "pendingCount"] {
        fields.remove(volatile);
    }
    service
}

async fn executor(moto: &Moto, name: &str) -> EcsExecutor {
    executor_of(&moto.sdk().await, name)
}

pub(crate) fn executor_of(sdk: &SdkConfig, name: &str) -> EcsExecutor {
    let service = EcsService {
        entity: EntityId::new("web").unwrap(),
        cluster: name.to_owned(),
        service: name.to_owned(),
        min_count: 1,
        max_count: 5,
    };
    let config = EcsConfig { service: vec![service], settles_within_ms: SETTLES_MS, ..EcsConfig::default() };
    EcsExecutor::new(config, sdk).unwrap()
}

pub(crate) fn call(action: &'static str, params: Value) -> Call {
    let Value::Object(params) = params else { panic!("{params} are no parameters") };
    Call { action: ActionName::literal(action), target: EntityId::literal("web"), params }
}

/// A service of its own for each law.
struct Services {
    calls: Vec<Call>,
    wrap: fn(EcsExecutor) -> Arc<dyn Executor>,
    prefix: &'static str,
    n: AtomicU64,
}

impl Services {
    fn name(&self) -> String {
        format!("{}-{}", self.prefix, self.n.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl World for Services {
    async fn fresh(&self) -> Arc<dyn Executor> {
        self.n.fetch_add(1, Ordering::SeqCst);
        service(shared(), &self.name());
        (self.wrap)(executor(shared(), &self.name()).await)
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.clone()
    }

    async fn effects(&self) -> u64 {
        shared().n_asked("UpdateService", &format!("\"{}\"", self.name()))
    }

    fn timeout_ms(&self) -> u64 {
        2_000
    }
}

async fn keeps_every_law(prefix: &'static str, calls: Vec<Call>, wrap: fn(EcsExecutor) -> Arc<dyn Executor>) {
    let world = Services { calls, wrap, prefix, n: AtomicU64::new(0) };
    laws::check_all(&ctx(), &world).await.unwrap();
}

#[tokio::test]
async fn a_rollback_keeps_every_law() {
    keeps_every_law("law-rollback", vec![call("ecs.rollback", json!({}))], |executor| Arc::new(executor)).await;
}

#[tokio::test]
async fn a_change_of_the_count_keeps_every_law_in_a_box() {
    let calls = vec![call("ecs.scale", json!({ "count": 4 }))];
    keeps_every_law("law-scale", calls, |executor| Arc::new(Box::new(executor))).await;
}

#[tokio::test]
async fn a_redeployment_keeps_every_law_in_an_arc() {
    keeps_every_law("law-redeploy", vec![call("ecs.redeploy", json!({}))], |executor| Arc::new(Arc::new(executor)))
        .await;
}

/// Does the call, looks, undoes it, and looks again.
async fn there_and_back(name: &str, call: Call, there: impl Fn(&Value) -> bool) {
    let (moto, ctx) = (shared(), ctx());
    let executor = executor(moto, name).await;
    let before = state(moto, name);
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (step, granted) = rig.permit(&executor, &call, 10_000).await.unwrap();
    done(executor.execute(&ctx, granted.permit).await).unwrap();
    assert!(there(&state(moto, name)), "{call} led to {}", state(moto, name));
    assert_ne!(state(moto, name), before);
    rig.applied(&executor, &step).await.unwrap();
    rig.go(&step, &[StepState::Compensating]).await.unwrap();
    let granted = rig.authorize(&executor, &step, Direction::Undo).await.unwrap();
    done(executor.execute(&ctx, granted.permit).await).unwrap();
    assert_eq!(state(moto, name), before);
    assert_eq!(moto.n_asked("UpdateService", &format!("\"{name}\"")), 2);
}

#[tokio::test]
async fn undo_restores_exactly_what_the_api_said_before() {
    let moto = shared();
    let revisions = service(moto, "back-latest");
    let is = |arn: &String| {
        let arn = arn.clone();
        move |state: &Value| state["taskDefinition"] == arn.as_str()
    };
    there_and_back("back-latest", call("ecs.rollback", json!({})), is(&revisions[1])).await;
    let revisions = service(moto, "back-named");
    let named = json!({ "task_definition": "back-named:1" });
    there_and_back("back-named", call("ecs.rollback", named), is(&revisions[0])).await;
    service(moto, "back-count");
    let call = call("ecs.scale", json!({ "count": 5 }));
    there_and_back("back-count", call, |state| state["desiredCount"] == 5).await;
}

#[tokio::test]
async fn a_rollback_leaves_out_what_was_deregistered() {
    let (moto, ctx) = (shared(), ctx());
    let revisions = service(moto, "gap");
    ecs(moto, "DeregisterTaskDefinition", &json!({ "taskDefinition": revisions[1] }));
    let executor = executor(moto, "gap").await;
    let preview = executor.preview(&ctx, &call("ecs.rollback", json!({}))).await.unwrap();
    assert!(preview.summary.ends_with(&format!("it gets `{}`", revisions[0])), "{}", preview.summary);
    let named = call("ecs.rollback", json!({ "task_definition": revisions[1] }));
    assert_eq!(executor.preview(&ctx, &named).await.unwrap_err().kind(), ErrorKind::Conflict);
    // Without the one that runs now there is no way back, so there is no way there either.
    ecs(moto, "DeregisterTaskDefinition", &json!({ "taskDefinition": revisions[2] }));
    let error = executor.preview(&ctx, &call("ecs.rollback", json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}

#[tokio::test]
async fn what_must_not_be_done_is_refused_before_anything_is_sent() {
    let (moto, ctx) = (shared(), ctx());
    service(moto, "refused");
    service(moto, "other-family");
    let executor = executor(moto, "refused").await;
    // One row a call that is refused, with the kind of its error.
    let rows = [
        ("ecs.rollback", json!({ "task_definition": "other-family:1" }), ErrorKind::InvalidInput),
        ("ecs.rollback", json!({ "task_definition": "refused:99" }), ErrorKind::InvalidInput),
        ("ecs.scale", json!({ "count": 0 }), ErrorKind::InvalidInput),
        ("ecs.scale", json!({ "count": 6 }), ErrorKind::InvalidInput),
        ("ecs.scale", json!({}), ErrorKind::InvalidInput),
    ];
    for (action, params, kind) in rows {
        let error = executor.preview(&ctx, &call(action, params.clone())).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{action} {params}: {error}");
    }
    // A count outside of the bounds could not be brought back, so it is not left either.
    let update = |count: u32| json!({ "cluster": "refused", "service": "refused", "desiredCount": count });
    ecs(moto, "UpdateService", &update(9));
    let error = executor.preview(&ctx, &call("ecs.scale", json!({ "count": 3 }))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}

#[tokio::test]
async fn a_service_that_moved_on_after_the_preview_is_not_rolled_back() {
    let (moto, ctx) = (shared(), ctx());
    let revisions = service(moto, "moved");
    let executor = executor(moto, "moved").await;
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (_, granted) = rig.permit(&executor, &call("ecs.rollback", json!({})), 10_000).await.unwrap();
    // Somebody else was quicker: the revision before the present one is another now.
    ecs(moto, "UpdateService", &json!({ "cluster": "moved", "service": "moved", "taskDefinition": revisions[1] }));
    let error = done(executor.execute(&ctx, granted.permit).await).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(!granted.watch.was_redeemed());
    assert_eq!(state(moto, "moved")["taskDefinition"], revisions[1].as_str());
}

#[tokio::test]
async fn a_probe_after_a_restart_says_only_what_the_service_tells() {
    let (moto, ctx) = (shared(), ctx());
    service(moto, "forgot");
    let first = executor(moto, "forgot").await;
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let mut probes = Vec::new();
    let unnamed = (call("ecs.rollback", json!({})), Probed::Unknown);
    let named = (call("ecs.rollback", json!({ "task_definition": "forgot:1" })), Probed::Applied);
    let fresh = (call("ecs.redeploy", json!({})), Probed::Unknown);
    let count = (call("ecs.scale", json!({ "count": 3 })), Probed::Applied);
    for (call, after_restart) in [unnamed, named, fresh, count] {
        let (step, granted) = rig.permit(&first, &call, 10_000).await.unwrap();
        let key = rig.gate().state().step(&step).unwrap().open.as_ref().unwrap().intent.key;
        done(first.execute(&ctx, granted.permit).await).unwrap();
        let probe = Probe { call, key, fence: None };
        assert_eq!(first.probe(&ctx, &probe).await.unwrap(), Probed::Applied, "{}", probe.call);
        probes.push((probe, after_restart));
        rig.go(&step, &[StepState::Applied, StepState::Done]).await.unwrap();
    }
    let second = executor(moto, "forgot").await;
    for (probe, expected) in probes {
        assert_eq!(second.probe(&ctx, &probe).await.unwrap(), expected, "{}", probe.call);
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_told() {
    let (moto, ctx) = (shared(), ctx());
    let executor = executor(moto, "nobody-made-it").await;
    let redeploy = Call { params: Map::new(), ..call("ecs.redeploy", json!({})) };
    let error = executor.preview(&ctx, &redeploy).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
