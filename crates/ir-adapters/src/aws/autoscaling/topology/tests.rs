//! A double of Auto Scaling with a group of three, of which one is leaving.

use std::sync::Arc;

use ir_core::{ErrorKind, Topology};

use super::*;
use crate::SystemClock;
use crate::aws::double::{Double, Reply};

fn described() -> String {
    let instance = |id: &str, state: &str| {
        format!(
            "<member><InstanceId>{id}</InstanceId><LifecycleState>{state}</LifecycleState>\
             <HealthStatus>Healthy</HealthStatus><AvailabilityZone>eu-central-1a</AvailabilityZone>\
             <ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>"
        )
    };
    let instances = [instance("i-1", "InService"), instance("i-2", "Pending"), instance("i-3", "Terminating:Wait")];
    let group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/workers/73e2d6bc24d8a067";
    format!(
        "<DescribeAutoScalingGroupsResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
         <DescribeAutoScalingGroupsResult><AutoScalingGroups><member><AutoScalingGroupName>workers</AutoScalingGroupName>\
         <MinSize>1</MinSize><MaxSize>6</MaxSize><DesiredCapacity>3</DesiredCapacity><DefaultCooldown>300</DefaultCooldown>\
         <HealthCheckType>EC2</HealthCheckType><CreatedTime>2026-01-01T00:00:00Z</CreatedTime>\
         <TargetGroupARNs><member>{group}</member></TargetGroupARNs>\
         <Instances>{}</Instances></member></AutoScalingGroups></DescribeAutoScalingGroupsResult>\
         </DescribeAutoScalingGroupsResponse>",
        instances.concat()
    )
}

fn config(group: &str) -> AutoScalingTopologyConfig {
    let name = [("i-1".to_owned(), EntityId::literal("worker-1"))].into();
    AutoScalingTopologyConfig { group: vec![group.to_owned()], name, ..AutoScalingTopologyConfig::default() }
}

#[tokio::test]
async fn a_group_has_its_instances_as_replicas() {
    let double = Double::start(|_| Reply::Says(200, described())).await;
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let found = AutoScalingTopology::new(config("workers"), &double.sdk()).unwrap().read(&ctx).await.unwrap();
    let topology = found.within(&Topology::default()).unwrap();
    let id = EntityId::literal;
    let member = topology.entity(&id("worker-1")).unwrap();
    assert_eq!((member.kind.as_str(), member.group.as_deref()), ("host", Some("workers")));
    assert_eq!((topology.group_size(member), member.labels.get("zone")), (2, Some("eu-central-1a")));
    let lines: Vec<String> = topology
        .dependencies()
        .iter()
        .map(|d| format!("{} {} {} {}", d.from, d.kind, d.to, d.strength.as_f64()))
        .collect();
    let expected =
        ["targetgroup/workers routes_to workers 1", "workers runs_on i-2 0.5", "workers runs_on worker-1 0.5"];
    assert_eq!(lines, expected);
    assert!(topology.entity(&id("i-3")).is_none());
    let error = AutoScalingTopology::new(config("other"), &double.sdk()).unwrap().read(&ctx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let error = AutoScalingTopology::new(config(" "), &SdkConfig::builder().build()).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["group[0]", "sdk"]);
}
