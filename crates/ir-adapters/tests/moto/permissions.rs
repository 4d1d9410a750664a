//! The policies of `iam/`, given to users of a moto that checks signatures and permissions.

use std::collections::BTreeSet;
use std::sync::Arc;

use ir_adapters::SystemClock;
use ir_adapters::aws::SdkConfig;
use ir_adapters::aws::cloudtrail::{CloudTrailConfig, CloudTrailSource};
use ir_adapters::aws::trail::TrailThing;
use ir_core::execution::{Executor, Probe};
use ir_core::kernel::StepState;
use ir_core::plan::Call;
use ir_core::testkit::GateRig;
use ir_core::testkit::executor::done;
use ir_core::{Ctx, Cursor, EntityId, ErrorKind, Result, SignalSource as _};
use serde_json::{Value, json};

use crate::server::Moto;
use crate::{autoscaling, ecs, events, logs, ssm, topology};

/// The parts whose policies moto can try.
const FEATURES: &[&str] = &[
    "aws-autoscaling",
    #[cfg(feature = "aws-ec2")]
    "aws-ec2",
    "aws-ecs",
    "aws-events",
    "aws-logs",
    "aws-ssm",
    // Not a feature, but a right of its own: what reads a topology need not act.
    "aws-topology",
];

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn policy(feature: &str) -> Value {
    let path = format!("{}/iam/{feature}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The operations that the policy of that feature allows.
fn actions(feature: &str) -> BTreeSet<String> {
    let mut actions = BTreeSet::new();
    for statement in policy(feature)["Statement"].as_array().unwrap() {
        assert_eq!(statement["Effect"], "Allow");
        let named = match &statement["Action"] {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        actions.extend(named.iter().map(|action| action.as_str().unwrap().split_once(':').unwrap().1.to_owned()));
    }
    actions
}

/// Makes a user who has the policy of that feature and nothing else, and gives a key.
fn user(moto: &Moto, feature: &str) -> (String, String) {
    let mut policy = policy(feature);
    for statement in policy["Statement"].as_array_mut().unwrap() {
        // moto asks for everything by the name of "everything".
        statement["Resource"] = json!("*");
    }
    let document: String = policy.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    let iam = |action: &str, rest: &str| {
        moto.form("iam", &format!("Action={action}&Version=2010-05-08&UserName={feature}{rest}"))
    };
    iam("CreateUser", "");
    iam("PutUserPolicy", &format!("&PolicyName=only&PolicyDocument={document}"));
    let key = iam("CreateAccessKey", "");
    let value = |name: &str| {
        let (_, rest) = key.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    (value("AccessKeyId"), value("SecretAccessKey"))
}

/// Previews, does and probes each of the calls.
async fn act(executor: &dyn Executor, calls: Vec<Call>) -> Result<()> {
    let ctx = ctx();
    let mut rig = GateRig::open(&ctx).await?;
    for call in calls {
        executor.preview(&ctx, &call).await?;
        let (step, granted) = rig.permit(executor, &call, 10_000).await?;
        let key = rig.gate().state().step(&step).unwrap().open.as_ref().unwrap().intent.key;
        done(executor.execute(&ctx, granted.permit).await)?;
        executor.probe(&ctx, &Probe { call, key, fence: None }).await?;
        rig.go(&step, &[StepState::Applied, StepState::Done]).await?;
    }
    Ok(())
}

/// What the parts act on.
struct Things {
    /// An instance of the Auto Scaling group.
    member: String,
    /// The URL of a queue with events that are of no interest, which are deleted at once.
    queue: String,
    #[cfg(feature = "aws-ec2")]
    machine: crate::ec2::Made,
}

impl Things {
    fn make(moto: &Moto) -> Self {
        ecs::service(moto, "least");
        autoscaling::group(moto, "least");
        logs::group(moto, "/least");
        ssm::document(moto, "least");
        topology::make(moto);
        let queue = events::queue(moto, "least");
        (0..10).for_each(|n| events::call(moto, "least", n, false));
        Self {
            queue,
            member: autoscaling::values(&autoscaling::state(moto, "least"), "InstanceId").remove(0),
            #[cfg(feature = "aws-ec2")]
            machine: crate::ec2::make(moto),
        }
    }
}

/// Everything that the part of that feature does.
async fn everything(feature: &str, sdk: &SdkConfig, things: &Things) -> Result<()> {
    match feature {
        "aws-autoscaling" => {
            let calls = vec![
                autoscaling::call("asg.set_desired", json!({ "capacity": 4 })),
                autoscaling::call("asg.terminate_instance", json!({ "instance": things.member })),
            ];
            act(&autoscaling::executor_of(sdk, "least", false), calls).await
        }
        #[cfg(feature = "aws-ec2")]
        "aws-ec2" => act(&crate::ec2::executor_of(sdk, &things.machine), vec![crate::ec2::quarantine()]).await,
        "aws-ssm" => act(&ssm::executor_of(sdk, "least", "mi-least"), vec![ssm::call()]).await,
        "aws-ecs" => {
            let calls = vec![
                ecs::call("ecs.rollback", json!({})),
                ecs::call("ecs.rollback", json!({ "task_definition": "least:3" })),
                ecs::call("ecs.redeploy", json!({})),
                ecs::call("ecs.scale", json!({ "count": 3 })),
            ];
            act(&ecs::executor_of(sdk, "least"), calls).await
        }
        "aws-events" => {
            let source = events::source_of(sdk, &things.queue, "nobody", 1);
            source.poll(&ctx(), &Cursor::default()).await.map(|_| ())
        }
        "aws-topology" => topology::read(sdk, "least-topology").await.map(|_| ()),
        "aws-logs" => {
            let source = logs::source_of(sdk, "/least", None);
            source.poll(&ctx(), &Cursor::default()).await.map(|_| ())
        }
        other => panic!("{other} is not tried"),
    }
}

#[tokio::test]
async fn each_policy_is_enough_for_its_part_and_for_no_other() {
    let moto = Moto::start();
    let things = Things::make(&moto);
    let keys: Vec<(String, String)> = FEATURES.iter().map(|feature| user(&moto, feature)).collect();
    moto.demand_signatures();
    for (user, (id, secret)) in FEATURES.iter().zip(&keys) {
        let sdk = moto.sdk_of(id, secret).await;
        // Its own first, so that what was asked for so far is what its part needs.
        let mut features = FEATURES.to_vec();
        features.sort_by_key(|feature| *feature != *user);
        for feature in features {
            let done = everything(feature, &sdk, &things).await;
            match done {
                Ok(()) => {
                    assert_eq!(feature, *user, "the policy of {user} is enough for {feature}");
                    // What was asked for is all that the policy names: there is no action to spare.
                    assert_eq!(moto.asked_by(id), actions(user), "{user}");
                }
                Err(error) => {
                    assert_ne!(feature, *user, "{error}");
                    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{user} does {feature}: {error}");
                }
            }
        }
        let wrong = moto.sdk_of(id, "another-secret").await;
        let error = everything(user, &wrong, &things).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    }
}

/// moto has neither CloudTrail's look-up nor automations. It looks who asks all the same: who may is answered with its
/// error for what it has not, and who may not is refused.
#[tokio::test]
async fn policies_for_what_moto_has_not_let_through_what_is_asked_for() {
    let moto = Moto::start();
    ssm::automation_document(&moto, "least");
    let users = ["aws-cloudtrail", "aws-ssm-automation"];
    let keys: Vec<(String, String)> = users.iter().map(|feature| user(&moto, feature)).collect();
    moto.demand_signatures();
    for (user, (id, secret)) in users.iter().zip(&keys) {
        let sdk = moto.sdk_of(id, secret).await;
        let may = |feature: &str, then: ErrorKind| if *user == feature { then } else { ErrorKind::Unauthorized };
        let error = looked_up(&sdk).await.unwrap_err();
        assert_eq!(error.kind(), may("aws-cloudtrail", ErrorKind::Unavailable), "{user}: {error}");
        let error = act(&ssm::automation_of(&sdk, "least"), vec![ssm::restart()]).await.unwrap_err();
        assert_eq!(error.kind(), may("aws-ssm-automation", ErrorKind::Unknown), "{user}: {error}");
    }
    assert_eq!(moto.asked_by(&keys[0].0), BTreeSet::from(["DescribeDocument".to_owned(), "LookupEvents".to_owned()]));
    assert_eq!(actions("aws-cloudtrail"), BTreeSet::from(["LookupEvents".to_owned()]));
}

async fn looked_up(sdk: &SdkConfig) -> Result<()> {
    let thing = vec![TrailThing { entity: EntityId::literal("web"), name: "ecs:main/web".to_owned() }];
    let source = CloudTrailSource::new(CloudTrailConfig { thing, ..CloudTrailConfig::default() }, sdk).unwrap();
    source.poll(&ctx(), &Cursor::default()).await.map(|_| ())
}

/// moto does not know CloudWatch's name in policies, so this one is only read.
#[test]
fn the_policy_of_metrics_allows_what_the_source_asks_for() {
    assert_eq!(actions("aws-cloudwatch"), BTreeSet::from(["GetMetricData".to_owned()]));
}
