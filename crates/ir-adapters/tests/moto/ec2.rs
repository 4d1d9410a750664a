//! Instances in moto: put into quarantine, and let out with exactly the groups that they had.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ir_adapters::SystemClock;
use ir_adapters::aws::SdkConfig;
use ir_adapters::aws::ec2::{Ec2Config, Ec2Executor, Ec2Instance};
use ir_core::execution::Executor;
use ir_core::kernel::StepState;
use ir_core::plan::Call;
use ir_core::testkit::GateRig;
use ir_core::testkit::executor::{self as laws, World, done};
use ir_core::{ActionName, Ctx, Direction, EntityId, ErrorKind};
use serde_json::json;

use crate::autoscaling::values;
use crate::server::{Moto, shared};

/// No request is on its way longer here.
const SETTLES_MS: u64 = 100;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn ask(moto: &Moto, action: &str, parameters: &str) -> String {
    moto.form("ec2", &format!("Action={action}&Version=2016-11-15&{parameters}"))
}

/// An instance, the two groups that it has, and the group of the quarantine.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    instance: String,
    groups: BTreeSet<String>,
    quarantine: String,
}

/// Makes them in a network of their own.
pub(crate) fn make(moto: &Moto) -> Made {
    let network = values(&ask(moto, "CreateVpc", "CidrBlock=10.0.0.0/16"), "vpcId").remove(0);
    let subnet = ask(moto, "CreateSubnet", &format!("VpcId={network}&CidrBlock=10.0.1.0/24"));
    let subnet = values(&subnet, "subnetId").remove(0);
    let group = |name: &str| {
        let answer = ask(moto, "CreateSecurityGroup", &format!("GroupName={name}&GroupDescription=x&VpcId={network}"));
        values(&answer, "groupId").remove(0)
    };
    let (one, two, quarantine) = (group("one"), group("two"), group("quarantine"));
    let run = format!(
        "ImageId=ami-12c6146b&MinCount=1&MaxCount=1&SubnetId={subnet}&SecurityGroupId.1={one}&SecurityGroupId.2={two}"
    );
    let instance = values(&ask(moto, "RunInstances", &run), "instanceId").remove(0);
    Made { instance, groups: BTreeSet::from([one, two]), quarantine }
}

/// The groups that the API says the instance has, and everything else that it says.
fn state(moto: &Moto, instance: &str) -> (BTreeSet<String>, String) {
    let answer = ask(moto, "DescribeInstanceAttribute", &format!("InstanceId={instance}&Attribute=groupSet"));
    let groups = values(&answer, "groupId").into_iter().collect();
    let all = ask(moto, "DescribeInstances", &format!("InstanceId.1={instance}"));
    // Each answer has another request id.
    (groups, all.split("<reservationSet>").nth(1).unwrap().to_owned())
}

pub(crate) fn executor_of(sdk: &SdkConfig, made: &Made) -> Ec2Executor {
    let instance = Ec2Instance { entity: EntityId::literal("web"), instance: made.instance.clone() };
    let config = Ec2Config {
        instance: vec![instance],
        quarantine_group: made.quarantine.clone(),
        settles_within_ms: SETTLES_MS,
        ..Ec2Config::default()
    };
    Ec2Executor::new(config, sdk).unwrap()
}

fn call(action: &'static str, groups: Option<String>) -> Call {
    let params = groups.map(|groups| ("groups".to_owned(), json!(groups))).into_iter().collect();
    Call { action: ActionName::literal(action), target: EntityId::literal("web"), params }
}

pub(crate) fn quarantine() -> Call {
    call("ec2.quarantine", None)
}

/// An instance of its own for each law.
struct Instances {
    made: std::sync::Mutex<Option<Made>>,
    n: AtomicU64,
}

#[async_trait]
impl World for Instances {
    async fn fresh(&self) -> Arc<dyn Executor> {
        let made = make(shared());
        *self.made.lock().unwrap() = Some(made.clone());
        let executor = executor_of(&shared().sdk().await, &made);
        match self.n.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => Arc::new(executor),
            1 => Arc::new(Box::new(executor)),
            _ => Arc::new(Arc::new(executor)),
        }
    }

    fn calls(&self) -> Vec<Call> {
        vec![quarantine()]
    }

    async fn effects(&self) -> u64 {
        let instance = self.made.lock().unwrap().as_ref().unwrap().instance.clone();
        shared().n_asked("ModifyInstanceAttribute", &instance)
    }

    fn timeout_ms(&self) -> u64 {
        2_000
    }
}

#[tokio::test]
async fn a_quarantine_keeps_every_law() {
    laws::check_all(&ctx(), &Instances { made: Default::default(), n: AtomicU64::new(0) }).await.unwrap();
}

#[tokio::test]
async fn undo_restores_exactly_what_the_api_said_before() {
    let (moto, ctx) = (shared(), ctx());
    let made = make(moto);
    let executor = executor_of(&moto.sdk().await, &made);
    let before = state(moto, &made.instance);
    assert_eq!(before.0, made.groups);
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (step, granted) = rig.permit(&executor, &quarantine(), 10_000).await.unwrap();
    done(executor.execute(&ctx, granted.permit).await).unwrap();
    assert_eq!(state(moto, &made.instance).0, BTreeSet::from([made.quarantine.clone()]));
    rig.applied(&executor, &step).await.unwrap();
    rig.go(&step, &[StepState::Compensating]).await.unwrap();
    let granted = rig.authorize(&executor, &step, Direction::Undo).await.unwrap();
    done(executor.execute(&ctx, granted.permit).await).unwrap();
    assert_eq!(state(moto, &made.instance), before);
}

#[tokio::test]
async fn groups_that_are_not_there_or_elsewhere_are_refused_though_moto_would_take_them() {
    let (moto, ctx) = (shared(), ctx());
    let (made, other) = (make(moto), make(moto));
    let far = Made { quarantine: other.quarantine, ..made.clone() };
    let error = executor_of(&moto.sdk().await, &far).preview(&ctx, &quarantine()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let gone = Made { quarantine: "sg-0123456789abcdef0".to_owned(), ..made.clone() };
    let error = executor_of(&moto.sdk().await, &gone).preview(&ctx, &quarantine()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    // No groups for an instance that is not in quarantine.
    let release = call("ec2.release", made.groups.first().cloned());
    let error = executor_of(&moto.sdk().await, &made).preview(&ctx, &release).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let nobody = Made { instance: "i-0123456789abcdef0".to_owned(), ..made };
    let error = executor_of(&moto.sdk().await, &nobody).preview(&ctx, &quarantine()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
