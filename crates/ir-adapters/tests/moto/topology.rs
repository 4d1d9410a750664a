//! The topology of what stands in moto. It keeps no Service Connect, which only the double of the unit tests has.

use std::sync::Arc;

use ir_adapters::SystemClock;
use ir_adapters::aws::SdkConfig;
use ir_adapters::aws::autoscaling::{AutoScalingTopology, AutoScalingTopologyConfig};
use ir_adapters::aws::ecs::{EcsTopology, EcsTopologyConfig};
use ir_adapters::aws::topology::FoundTopology;
use ir_core::{Ctx, EntityId, ErrorKind, Result, Topology};
use serde_json::json;

use crate::server::{Moto, shared};
use crate::{autoscaling, ecs};

const TARGET: &str = "AmazonEC2ContainerServiceV20141113";

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

/// Makes a cluster with a service behind a target group, which names a database.
fn shop(moto: &Moto, name: &str) {
    let ask = |operation: &str, body: &serde_json::Value| moto.json("ecs", &format!("{TARGET}.{operation}"), body);
    ask("CreateCluster", &json!({ "clusterName": name }));
    let environment =
        json!([{ "name": "DATABASE_URL", "value": "postgres://user:secret@orders.example.internal/orders" }]);
    let container = json!({ "name": "app", "image": "app:1", "memory": 128, "environment": environment });
    ask("RegisterTaskDefinition", &json!({ "family": name, "containerDefinitions": [container] }));
    let group = format!("arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/{name}/73e2d6bc24d8a067");
    let balancer = json!({ "targetGroupArn": group, "containerName": "app", "containerPort": 80 });
    for service in ["front", "back"] {
        let balancers = if service == "front" { json!([balancer]) } else { json!([]) };
        let body = json!({
            "cluster": name, "serviceName": service, "taskDefinition": name, "desiredCount": 1, "loadBalancers": balancers,
        });
        ask("CreateService", &body);
    }
}

/// Everything that can be read of the cluster and the group of that name.
pub(crate) async fn read(sdk: &SdkConfig, name: &str) -> Result<FoundTopology> {
    let host = [("orders.example.internal".to_owned(), EntityId::literal("db"))].into();
    let config = EcsTopologyConfig { cluster: vec![name.to_owned()], host, ..EcsTopologyConfig::default() };
    let ecs = EcsTopology::new(config, sdk).unwrap().read(&ctx()).await?;
    let config = AutoScalingTopologyConfig { group: vec![name.to_owned()], ..AutoScalingTopologyConfig::default() };
    Ok(ecs.and(AutoScalingTopology::new(config, sdk).unwrap().read(&ctx()).await?))
}

#[tokio::test]
async fn services_groups_and_instances_are_found_and_joined_with_what_people_wrote() {
    let moto = shared();
    shop(moto, "topology");
    autoscaling::group(moto, "topology");
    let found = read(&moto.sdk().await, "topology").await.unwrap();
    assert!(!format!("{found:?}").contains("secret"));
    let written = "[[entity]]\nid = \"db\"\nkind = \"database\"\nprotected = true\n\
                   [[entity]]\nid = \"topology/back\"\nenvironment = \"staging\"\n";
    let topology = found.within(&Topology::parse(written, "topology.toml").unwrap()).unwrap();
    let instances = autoscaling::values(&autoscaling::state(moto, "topology"), "InstanceId");
    assert_eq!((instances.len(), topology.entities().len()), (3, 8));
    for instance in instances {
        let entity = topology.entity(&EntityId::new(&instance).unwrap()).unwrap();
        assert_eq!((entity.group.as_deref(), topology.group_size(entity)), (Some("topology"), 3));
    }
    assert_eq!(topology.entity(&EntityId::literal("topology/back")).unwrap().environment, "staging");
    let edges: Vec<String> =
        topology.dependencies().iter().map(|d| format!("{} {} {}", d.from, d.kind, d.to)).collect();
    for edge in ["targetgroup/topology routes_to topology/front", "topology/front calls db", "topology/back calls db"] {
        assert!(edges.iter().any(|known| known == edge), "{edge}: {edges:?}");
    }
    assert_eq!(edges.len(), 6, "{edges:?}");
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_told() {
    let error = read(&shared().sdk().await, "nobody-made-it").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput), "{error}");
}

/// A cluster and a group to read with few rights.
pub(crate) fn make(moto: &Moto) {
    ecs::service(moto, "least-topology");
    autoscaling::group(moto, "least-topology");
}
