//! Auto Scaling groups in moto: another capacity and back, and an instance that is replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ir_adapters::SystemClock;
use ir_adapters::aws::SdkConfig;
use ir_adapters::aws::autoscaling::{AutoScalingConfig, AutoScalingExecutor, AutoScalingGroup};
use ir_core::execution::{Executor, Probe, Probed};
use ir_core::kernel::StepState;
use ir_core::plan::Call;
use ir_core::testkit::GateRig;
use ir_core::testkit::executor::{self as laws, World, done};
use ir_core::{ActionName, Ctx, Direction, EntityId, ErrorKind, Reversibility};
use serde_json::{Value, json};

use crate::server::{Moto, REGION, shared};

/// No request is on its way longer here.
const SETTLES_MS: u64 = 100;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn ask(moto: &Moto, action: &str, parameters: &str) -> String {
    moto.form("autoscaling", &format!("Action={action}&Version=2011-01-01&{parameters}"))
}

/// Makes a group of that name: 3 instances, at least 1, at most 6.
pub(crate) fn group(moto: &Moto, name: &str) {
    let launch = format!("LaunchConfigurationName={name}&ImageId=ami-12c6146b&InstanceType=t2.micro");
    ask(moto, "CreateLaunchConfiguration", &launch);
    let sizes = "MinSize=1&MaxSize=6&DesiredCapacity=3";
    let zones = format!("AvailabilityZones.member.1={REGION}a");
    let names = format!("AutoScalingGroupName={name}&LaunchConfigurationName={name}");
    ask(moto, "CreateAutoScalingGroup", &format!("{names}&{sizes}&{zones}"));
}

/// What the API says of the group.
pub(crate) fn state(moto: &Moto, name: &str) -> String {
    let answer = ask(moto, "DescribeAutoScalingGroups", &format!("AutoScalingGroupNames.member.1={name}"));
    // Each answer has another request id.
    answer.split("<ResponseMetadata>").next().unwrap().to_owned()
}

/// The values of all elements of that name.
pub(crate) fn values(xml: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let parts = xml.split(&open).skip(1);
    parts.filter_map(|part| part.split_once(&close)).map(|(value, _)| value.to_owned()).collect()
}

/// The sizes and everything else about the group itself, without the instances, of which moto has new ones each time.
fn itself(xml: &str) -> String {
    let (before, rest) = xml.split_once("<Instances>").unwrap_or((xml, ""));
    format!("{before}{}", rest.split_once("</Instances>").map_or("", |(_, after)| after))
}

async fn executor(moto: &Moto, name: &str, disposable: bool) -> AutoScalingExecutor {
    executor_of(&moto.sdk().await, name, disposable)
}

pub(crate) fn executor_of(sdk: &SdkConfig, name: &str, disposable: bool) -> AutoScalingExecutor {
    let group = AutoScalingGroup {
        entity: EntityId::literal("workers"),
        group: name.to_owned(),
        min_capacity: 2,
        max_capacity: 100,
        min_left: 1,
    };
    let group = vec![group];
    let config = AutoScalingConfig { group, disposable, settles_within_ms: SETTLES_MS, ..AutoScalingConfig::default() };
    AutoScalingExecutor::new(config, sdk).unwrap()
}

pub(crate) fn call(action: &'static str, params: Value) -> Call {
    let Value::Object(params) = params else { panic!("{params} are no parameters") };
    Call { action: ActionName::literal(action), target: EntityId::literal("workers"), params }
}

/// Wraps an executor as users may hold it.
type Wrap = fn(AutoScalingExecutor) -> Arc<dyn Executor>;

/// A group of its own for each law.
struct Groups {
    prefix: &'static str,
    n: AtomicU64,
    wrap: Wrap,
}

impl Groups {
    fn name(&self) -> String {
        format!("{}-{}", self.prefix, self.n.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl World for Groups {
    async fn fresh(&self) -> Arc<dyn Executor> {
        self.n.fetch_add(1, Ordering::SeqCst);
        group(shared(), &self.name());
        (self.wrap)(executor(shared(), &self.name(), false).await)
    }

    fn calls(&self) -> Vec<Call> {
        vec![call("asg.set_desired", json!({ "capacity": 5 }))]
    }

    async fn effects(&self) -> u64 {
        let groups = format!("AutoScalingGroupName={}&", self.name());
        shared().n_asked("SetDesiredCapacity", &groups)
    }

    fn timeout_ms(&self) -> u64 {
        2_000
    }
}

#[tokio::test]
async fn a_change_of_the_capacity_keeps_every_law() {
    let wraps: [(&str, Wrap); 3] = [
        ("law-value", |executor| Arc::new(executor)),
        ("law-box", |executor| Arc::new(Box::new(executor))),
        ("law-arc", |executor| Arc::new(Arc::new(executor))),
    ];
    for (prefix, wrap) in wraps {
        laws::check_all(&ctx(), &Groups { prefix, n: AtomicU64::new(0), wrap }).await.unwrap();
    }
}

/// One group with an instance that is to go. Each law ends it once at most, and gets a group of its own.
struct Instance {
    group: String,
    id: String,
}

impl Instance {
    fn of(name: &str) -> Self {
        group(shared(), name);
        Self { group: name.to_owned(), id: values(&state(shared(), name), "InstanceId").remove(0) }
    }
}

#[async_trait]
impl World for Instance {
    async fn fresh(&self) -> Arc<dyn Executor> {
        Arc::new(executor(shared(), &self.group, false).await)
    }

    fn calls(&self) -> Vec<Call> {
        vec![call("asg.terminate_instance", json!({ "instance": self.id }))]
    }

    async fn effects(&self) -> u64 {
        shared().n_asked("TerminateInstanceInAutoScalingGroup", &self.id)
    }

    fn timeout_ms(&self) -> u64 {
        2_000
    }
}

#[tokio::test]
async fn a_termination_keeps_every_law() {
    let ctx = ctx();
    for law in 1..=11 {
        let world = Instance::of(&format!("law-terminate-{law}"));
        let call = &world.calls()[0];
        let kept = match law {
            1 => laws::law_1_catalogue_is_sound(&world).await,
            2 => laws::law_2_preview_changes_nothing(&ctx, &world, call).await,
            3 => laws::law_3_nothing_without_redeeming(&ctx, &world, call).await,
            4 => laws::law_4_nothing_after_the_deadline(&ctx, &world, call).await,
            5 => laws::law_5_not_applied_is_true(&ctx, &world, call).await,
            6 => laws::law_6_undo_brings_back(&ctx, &world, call).await,
            7 => laws::law_7_a_key_has_one_effect(&ctx, &world, call).await,
            8 => laws::law_8_a_fence_holds(&ctx, &world, call).await,
            9 => laws::law_9_probe_tells_the_truth(&ctx, &world, call).await,
            10 => laws::law_10_the_state_after_an_effect_stays(&ctx, &world, call).await,
            _ => laws::law_11_strangers_are_refused(&ctx, &world, call).await,
        };
        kept.unwrap();
    }
}

#[tokio::test]
async fn undo_restores_exactly_what_the_api_said_before() {
    let (moto, ctx) = (shared(), ctx());
    group(moto, "back");
    let executor = executor(moto, "back", false).await;
    let before = itself(&state(moto, "back"));
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let call = call("asg.set_desired", json!({ "capacity": 5 }));
    let (step, granted) = rig.permit(&executor, &call, 10_000).await.unwrap();
    done(executor.execute(&ctx, granted.permit).await).unwrap();
    assert_eq!(values(&state(moto, "back"), "DesiredCapacity"), ["5"]);
    assert_eq!(values(&state(moto, "back"), "InstanceId").len(), 5);
    rig.applied(&executor, &step).await.unwrap();
    rig.go(&step, &[StepState::Compensating]).await.unwrap();
    let granted = rig.authorize(&executor, &step, Direction::Undo).await.unwrap();
    done(executor.execute(&ctx, granted.permit).await).unwrap();
    assert_eq!(itself(&state(moto, "back")), before);
    assert_eq!(values(&state(moto, "back"), "InstanceId").len(), 3);
}

#[tokio::test]
async fn a_terminated_instance_is_replaced_and_a_probe_needs_no_memory() {
    let (moto, ctx) = (shared(), ctx());
    group(moto, "replaced");
    let first = executor(moto, "replaced", true).await;
    let ids = values(&state(moto, "replaced"), "InstanceId");
    let call = call("asg.terminate_instance", json!({ "instance": ids[0] }));
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (step, granted) = rig.permit(&first, &call, 10_000).await.unwrap();
    let key = rig.gate().state().step(&step).unwrap().open.as_ref().unwrap().intent.key;
    let second = executor(moto, "replaced", true).await;
    let probe = Probe { call, key, fence: None };
    assert_eq!(second.probe(&ctx, &probe).await.unwrap(), Probed::NotApplied);
    done(first.execute(&ctx, granted.permit).await).unwrap();
    assert_eq!(second.probe(&ctx, &probe).await.unwrap(), Probed::Applied);
    let now = values(&state(moto, "replaced"), "InstanceId");
    assert!(now.len() == 3 && !now.contains(&ids[0]), "{now:?}");
    assert_eq!(values(&state(moto, "replaced"), "DesiredCapacity"), ["3"]);
    // It is gone: the same again finds nothing to end.
    assert_eq!(second.preview(&ctx, &probe.call).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_must_not_be_done_is_refused_before_anything_is_sent() {
    let (moto, ctx) = (shared(), ctx());
    group(moto, "bounds");
    group(moto, "neighbour");
    let executor = executor(moto, "bounds", false).await;
    let foreign = values(&state(moto, "neighbour"), "InstanceId").remove(0);
    // One row a call that is refused, with the kind of its error. moto itself would take all capacities.
    let rows = [
        ("asg.set_desired", json!({ "capacity": 7 }), ErrorKind::InvalidInput),
        ("asg.set_desired", json!({ "capacity": 1 }), ErrorKind::InvalidInput),
        ("asg.set_desired", json!({ "capacity": "5" }), ErrorKind::InvalidInput),
        ("asg.terminate_instance", json!({ "instance": foreign }), ErrorKind::NotFound),
        ("asg.terminate_instance", json!({}), ErrorKind::NotFound),
    ];
    for (action, params, kind) in rows {
        let error = executor.preview(&ctx, &call(action, params.clone())).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{action} {params}: {error}");
    }
    // The last one in service stays.
    ask(moto, "SetDesiredCapacity", "AutoScalingGroupName=bounds&DesiredCapacity=1");
    let last = values(&state(moto, "bounds"), "InstanceId").remove(0);
    let error = executor.preview(&ctx, &call("asg.terminate_instance", json!({ "instance": last }))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}

#[tokio::test]
async fn only_a_host_that_says_so_may_lose_an_instance_without_two_people() {
    let kind = async |disposable: bool| {
        let actions = executor(shared(), "unread", disposable).await.catalogue();
        actions.into_iter().find(|action| action.name.as_str() == "asg.terminate_instance").unwrap().reversibility
    };
    assert_eq!(kind(false).await, Reversibility::Irreversible);
    assert_eq!(kind(true).await, Reversibility::Transient);
}
