//! What can be told without a server, and with one that breaks off.

use std::sync::Arc;

use ir_core::testkit::GateRig;
use ir_core::testkit::executor::done;

use super::*;
use crate::SystemClock;
use crate::aws::double::{Asked, Double, Reply, sdk};

fn group(entity: &'static str, group: &str, min_capacity: u32, max_capacity: u32) -> AutoScalingGroup {
    let group = group.to_owned();
    AutoScalingGroup { entity: EntityId::literal(entity), group, min_capacity, max_capacity, min_left: 1 }
}

/// A group of three: one that is well, one that is ill, one that is going.
fn described() -> String {
    let instance = |id: &str, state: &str, health: &str| {
        format!(
            "<member><InstanceId>{id}</InstanceId><LifecycleState>{state}</LifecycleState>\
             <HealthStatus>{health}</HealthStatus><AvailabilityZone>a</AvailabilityZone>\
             <ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>"
        )
    };
    let instances = [
        instance("i-well", "InService", "Healthy"),
        instance("i-ill", "InService", "Unhealthy"),
        instance("i-going", "Terminating:Wait", "Healthy"),
    ];
    format!(
        "<DescribeAutoScalingGroupsResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
         <DescribeAutoScalingGroupsResult><AutoScalingGroups><member><AutoScalingGroupName>workers</AutoScalingGroupName>\
         <MinSize>1</MinSize><MaxSize>6</MaxSize><DesiredCapacity>3</DesiredCapacity><DefaultCooldown>300</DefaultCooldown>\
         <HealthCheckType>EC2</HealthCheckType><CreatedTime>2026-01-01T00:00:00Z</CreatedTime>\
         <Instances>{}</Instances></member></AutoScalingGroups></DescribeAutoScalingGroupsResult>\
         </DescribeAutoScalingGroupsResponse>",
        instances.concat()
    )
}

fn terminate(id: &str) -> Call {
    Call {
        action: ActionName::literal("asg.terminate_instance"),
        target: EntityId::literal("workers"),
        params: Map::from_iter([(INSTANCE.to_owned(), json!(id))]),
    }
}

fn config() -> AutoScalingConfig {
    AutoScalingConfig { group: vec![group("workers", "workers", 0, 10)], ..AutoScalingConfig::default() }
}

fn is_effect((_, body): &Asked) -> bool {
    body.starts_with("Action=TerminateInstanceInAutoScalingGroup&")
}

#[tokio::test]
async fn who_may_go_depends_on_who_is_left() {
    let double = Double::start(|_| Reply::Says(200, described())).await;
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let executor = AutoScalingExecutor::new(config(), &double.sdk()).unwrap();
    // The ill one is not in service, so without it one is left; without the one that is well, none.
    executor.preview(&ctx, &terminate("i-ill")).await.unwrap();
    for id in ["i-well", "i-going"] {
        let error = executor.preview(&ctx, &terminate(id)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{id}: {error}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_send_leaves_the_effect_unknown_and_it_is_sent_once() {
    let answer = |asked: &Asked| if is_effect(asked) { Reply::HangsUp } else { Reply::Says(200, described()) };
    let double = Double::start(answer).await;
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let executor = AutoScalingExecutor::new(config(), &double.sdk()).unwrap();
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (step, granted) = rig.permit(&executor, &terminate("i-ill"), 5_000).await.unwrap();
    let key = rig.gate().state().step(&step).unwrap().open.as_ref().unwrap().intent.key;
    let error = done(executor.execute(&ctx, granted.permit).await).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    let sent: Vec<Asked> = double.asked().into_iter().filter(is_effect).collect();
    assert!(sent.len() == 1 && sent[0].1.contains("ShouldDecrementDesiredCapacity=false"), "{sent:?}");
    // It is there, or going, or gone.
    let probe = |id: &str| Probe { call: terminate(id), key, fence: None };
    let rows = [("i-ill", Probed::NotApplied), ("i-going", Probed::Applied), ("i-gone", Probed::Applied)];
    for (id, expected) in rows {
        assert_eq!(executor.probe(&ctx, &probe(id)).await.unwrap(), expected, "{id}");
    }
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let groups = vec![group("a", "a", 1, 2), group("a", " ", 3, 2), group("b", "b", 0, u32::MAX)];
    let config = AutoScalingConfig { name: String::new(), group: groups, ..AutoScalingConfig::default() };
    let error = AutoScalingExecutor::new(config, &SdkConfig::builder().build()).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    let expected =
        ["name", "group[1].entity", "group[1].group", "group[1].min_capacity", "group[2].max_capacity", "sdk"];
    assert_eq!(fields, expected);
    let none = AutoScalingExecutor::new(AutoScalingConfig::default(), &sdk("http://127.0.0.1:1")).unwrap_err();
    assert_eq!(none.problems()[0].field, "group");
}
