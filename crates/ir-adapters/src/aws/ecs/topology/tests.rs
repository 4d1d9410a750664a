//! A double of ECS with services that name each other; what is found is told, and no value of an environment is.

use std::sync::Arc;

use ir_core::{Dependency, ErrorKind, Topology};
use serde_json::{Value, json};

use super::*;
use crate::SystemClock;
use crate::aws::double::{Asked, Double, Reply};

/// What an environment holds, and must be seen nowhere.
const CANARY: &str = "canary-in-an-environment";
const GROUP: &str = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/front/73e2d6bc24d8a067";

fn arn(what: &str, name: &str) -> String {
    format!("arn:aws:ecs:eu-central-1:123456789012:{what}/{name}")
}

fn service(name: &str, with: &Value) -> Value {
    let mut service = json!({
        "serviceArn": arn("service", &format!("main/{name}")), "serviceName": name, "status": "ACTIVE",
        "clusterArn": arn("cluster", "main"), "taskDefinition": arn("task-definition", &format!("{name}:3")),
        "deployments": [],
    });
    service.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    service
}

fn connect(services: &Value) -> Value {
    let configuration = json!({ "enabled": true, "namespace": arn("namespace", "shop"), "services": services });
    json!({ "deployments": [{ "status": "PRIMARY", "serviceConnectConfiguration": configuration }] })
}

/// Three services: the first before a target group, the second reached as `orders`, the third by its full name.
fn services() -> Vec<Value> {
    let orders = json!([{ "portName": "http", "clientAliases": [{ "port": 8080, "dnsName": "orders" }] }]);
    let mut registered = connect(&json!([{ "portName": "grpc", "discoveryName": "mail" }]));
    let registry = "arn:aws:servicediscovery:eu-central-1:123456789012:service/srv-1234";
    registered["serviceRegistries"] = json!([{ "registryArn": registry }]);
    vec![
        service("front", &json!({ "loadBalancers": [{ "targetGroupArn": GROUP }] })),
        service("orders", &connect(&orders)),
        service("mail", &registered),
        service("gone", &json!({ "status": "INACTIVE" })),
    ]
}

fn environment(definition: &str) -> Value {
    let pairs = match definition.rsplit('/').next().unwrap() {
        "front:3" => json!([
            { "name": "ORDERS_URL", "value": format!("http://orders:8080/?token={CANARY}") },
            { "name": "MAIL", "value": "Mail.Shop.:9000" },
            // A word that happens to be a name, and a port that is somebody else's.
            { "name": "MODE", "value": "orders" },
        ]),
        "orders:3" => json!([
            { "name": "DATABASE", "value": format!("postgres://user:{CANARY}@orders.abc.eu-central-1.rds.amazonaws.com/orders") },
            { "name": "SELF_HOST", "value": "orders" },
        ]),
        _ => json!([{ "name": "NOTE", "value": "orders:1, front" }, { "name": "PASSWORD", "value": CANARY }]),
    };
    json!({ "taskDefinition": { "taskDefinitionArn": definition, "containerDefinitions": [{ "name": "app", "environment": pairs }] } })
}

fn answer((head, body): &Asked) -> Reply {
    let asked: Value = serde_json::from_str(body).unwrap();
    let answer = if head.contains(".listservices\r\n") {
        let arns: Vec<Value> = services().iter().map(|service| service["serviceArn"].clone()).collect();
        match asked["nextToken"].as_str() {
            None => json!({ "serviceArns": &arns[..2], "nextToken": "more" }),
            Some(_) => json!({ "serviceArns": &arns[2..] }),
        }
    } else if head.contains(".describeservices\r\n") {
        let wanted = asked["services"].as_array().unwrap();
        json!({ "services": services().into_iter().filter(|s| wanted.contains(&s["serviceArn"])).collect::<Vec<_>>() })
    } else {
        assert!(head.contains(".describetaskdefinition\r\n"), "{head}");
        environment(asked["taskDefinition"].as_str().unwrap())
    };
    Reply::Says(200, answer.to_string())
}

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn config() -> EcsTopologyConfig {
    let id = EntityId::literal;
    EcsTopologyConfig {
        cluster: vec!["main".to_owned()],
        name: [("main/front".to_owned(), id("web"))].into(),
        host: [("orders.abc.eu-central-1.rds.amazonaws.com".to_owned(), id("db"))].into(),
        environment: "production".to_owned(),
        ..EcsTopologyConfig::default()
    }
}

fn lines(dependencies: &[Dependency]) -> Vec<String> {
    let line = |d: &Dependency| format!("{} {} {} {} {}", d.from, d.kind, d.to, d.strength.as_f64(), d.source);
    dependencies.iter().map(line).collect()
}

#[tokio::test]
async fn services_target_groups_and_whom_they_name_are_found() {
    let double = Double::start(answer).await;
    let topology = EcsTopology::new(config(), &double.sdk()).unwrap();
    let found = topology.read(&ctx()).await.unwrap();
    let entities: Vec<String> =
        found.document.entity.iter().map(|e| format!("{} {} {}", e.id, e.kind, e.environment)).collect();
    let expected = [
        "web service production",
        "targetgroup/front target_group production",
        "main/mail service production",
        "main/orders service production",
    ];
    assert_eq!(entities, expected);
    assert_eq!(found.document.entity[0].labels.get("task_definition"), Some("front"));
    let expected = [
        "targetgroup/front routes_to web 1 ecs",
        "web calls main/mail 0.5 ecs-environment",
        "web calls main/orders 0.5 ecs-environment",
        "main/orders calls db 0.5 ecs-environment",
    ];
    assert_eq!(lines(&found.document.dependency), expected);
    assert_eq!(found.unknown, ["`main/mail` is in Cloud Map as `srv-1234`"]);
    for text in [format!("{found:?}"), format!("{topology:?}")] {
        assert!(!text.contains(CANARY), "{text}");
    }
    // What people wrote counts, and only they know the database.
    let written = "[[entity]]\nid = \"web\"\nprotected = true\n[[entity]]\nid = \"db\"\nkind = \"database\"\n\
                   [[dependency]]\nfrom = \"web\"\nto = \"main/orders\"\nstrength = 900000\n\
                   [[entity]]\nid = \"main/orders\"\n";
    let written = Topology::parse(written, "topology.toml").unwrap();
    let both = found.clone().within(&written).unwrap();
    assert!(both.entity(&EntityId::literal("web")).unwrap().protected);
    let calls: Vec<String> = lines(both.dependencies()).into_iter().filter(|line| line.contains("calls")).collect();
    let expected = [
        "main/orders calls db 0.5 ecs-environment",
        "web calls main/mail 0.5 ecs-environment",
        "web calls main/orders 0.9 configured",
    ];
    assert_eq!(calls, expected);
    // Without their word the database is nobody.
    let alone = found.within(&Topology::default()).unwrap();
    assert!(alone.entity(&EntityId::literal("db")).is_none() && alone.dependencies().len() == 3);
}

#[tokio::test]
async fn half_a_topology_is_none() {
    let double = Double::start(|asked| match asked.0.contains(".describetaskdefinition\r\n") {
        true => Reply::Says(500, format!("<html>{CANARY}")),
        false => answer(asked),
    })
    .await;
    let error = EcsTopology::new(config(), &double.sdk()).unwrap().read(&ctx()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && !format!("{error:?}").contains(CANARY), "{error}");
    let double = Double::start(answer).await;
    let few = EcsTopologyConfig { max_services: 3, ..config() };
    let error = EcsTopology::new(few, &double.sdk()).unwrap().read(&ctx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}

#[test]
fn hosts_are_found_where_hosts_stand() {
    let owner = EntityId::literal("orders");
    let mut hosts = Hosts::default();
    hosts.add(&owner, &[("orders".to_owned(), Some(8080)), ("Orders.shop".to_owned(), None)]);
    // One row a name and a value of an environment, and whether it names the host.
    let rows = [
        ("X", "http://orders/path", true),
        ("X", "orders:8080", true),
        ("X", "a,orders:8080,b", true),
        ("X", "amqp://user:pw@orders", true),
        ("ORDERS_HOST", "orders", true),
        ("X", "orders.shop", true),
        ("X", "x=ORDERS.SHOP.;y", true),
        ("X", "orders", false),
        ("X", "orders:9090", false),
        ("X", "my-orders:8080", false),
        ("X", "orders.shop.example", false),
        ("X", "http://not-orders", false),
        ("ORDERS_HOST", "all orders", false),
        ("X", "", false),
        ("X", "ä://orders:99999999999", true),
    ];
    for (key, value, is_named) in rows {
        assert_eq!(hosts.named(key, value).contains(&owner), is_named, "{key}={value}");
    }
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let wrong = EcsTopologyConfig { cluster: vec![" ".to_owned()], max_services: 0, ..EcsTopologyConfig::default() };
    let error = EcsTopology::new(wrong, &SdkConfig::builder().build()).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["cluster[0]", "max_services", "sdk"]);
    let none = EcsTopology::new(EcsTopologyConfig::default(), &SdkConfig::builder().build()).unwrap_err();
    assert_eq!(none.problems()[0].field, "cluster");
}
