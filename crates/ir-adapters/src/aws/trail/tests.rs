//! Records in the form that AWS documents, and records that somebody made up.

use ir_core::ChangeKind;
use serde_json::json;

use super::*;

/// A record of that call by a pipeline's role, with these parameters.
fn record(service: &str, name: &str, parameters: Value) -> Value {
    json!({
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": "AROAEXAMPLE:run-7",
            "arn": "arn:aws:sts::123456789012:assumed-role/Deploy/run-7",
            "accountId": "123456789012",
            "sessionContext": { "sessionIssuer": { "type": "Role", "userName": "Deploy" } },
        },
        "eventTime": "2026-11-28T02:00:00Z",
        "eventSource": format!("{service}.amazonaws.com"),
        "eventName": name,
        "awsRegion": "eu-central-1",
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "aws-cli/2",
        "requestParameters": parameters,
        "responseElements": null,
        "eventID": "4a1b7c1e-0000-4000-8000-000000000001",
        "readOnly": false,
        "eventType": "AwsApiCall",
        "managementEvent": true,
        "eventCategory": "Management",
    })
}

fn with(mut record: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("{fields} is no object") };
    record.as_object_mut().unwrap().extend(fields);
    record
}

fn thing(entity: &str, name: &str) -> TrailThing {
    TrailThing { entity: EntityId::new(entity).unwrap(), name: name.to_owned() }
}

fn book() -> Book {
    let things = [
        thing("web", "arn:aws:ecs:eu-central-1:123456789012:service/main/web"),
        thing("web", "ec2:sg-0123456789abcdef0"),
        thing("api", "ec2:sg-0123456789abcdef0"),
        thing("workers", "autoscaling:workers"),
        thing("worker-1", "ec2:i-0123456789abcdef0"),
        thing("mail", "lambda:mail"),
        thing("db", "rds:orders"),
        thing("shop", "cloudformation:shop"),
        thing("lb", "elasticloadbalancing:targetgroup/web"),
        thing("flags", "appconfig:abc1234"),
        thing("queue", "arn:aws:sqs:eu-central-1:123456789012:orders"),
        thing("key", "secretsmanager:orders/db"),
    ];
    let mut problems = Vec::new();
    let book = Book::new(&things, None, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    book
}

/// What is told: entity, kind, from and to.
fn told(record: &Value) -> Vec<(String, ChangeKind, Option<String>, Option<String>)> {
    let told = book().tell(record).unwrap();
    assert!(told.events.is_empty());
    told.changes.into_iter().map(|c| (c.entity.to_string(), c.kind, c.from, c.to)).collect()
}

#[test]
fn each_call_is_the_change_that_it_is_of_the_things_that_it_names() {
    let definition = "arn:aws:ecs:eu-central-1:123456789012:task-definition/web:7";
    let cluster = "arn:aws:ecs:eu-central-1:123456789012:cluster/main";
    let item = json!({ "instancesSet": { "items": [{ "instanceId": "i-0123456789abcdef0" }] } });
    let group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/web/73e2d6bc24d8a067";
    // One row a call: its service, name and parameters, and what is told of it.
    let rows: [(&str, &str, Value, &str, ChangeKind, &str); 22] = [
        (
            "ecs",
            "UpdateService",
            json!({ "cluster": cluster, "service": "web", "taskDefinition": definition }),
            "web",
            ChangeKind::Deploy,
            "web:7",
        ),
        (
            "ecs",
            "UpdateService",
            json!({ "cluster": "main", "service": "web", "desiredCount": 5 }),
            "web",
            ChangeKind::Scale,
            "5",
        ),
        (
            "ecs",
            "UpdateService",
            json!({ "cluster": "main", "service": "web", "forceNewDeployment": true }),
            "web",
            ChangeKind::Restart,
            "forceNewDeployment",
        ),
        (
            "ecs",
            "UpdateService",
            json!({ "cluster": "main", "service": "web", "enableExecuteCommand": true }),
            "web",
            ChangeKind::Config,
            "UpdateService",
        ),
        (
            "ecs",
            "CreateService",
            json!({ "cluster": "main", "serviceName": "web", "taskDefinition": "web:1" }),
            "web",
            ChangeKind::Deploy,
            "web:1",
        ),
        (
            "ecs",
            "DeleteService",
            json!({ "cluster": "main", "service": "web" }),
            "web",
            ChangeKind::Config,
            "DeleteService",
        ),
        (
            "application-autoscaling",
            "PutScalingPolicy",
            json!({ "resourceId": "service/main/web" }),
            "web",
            ChangeKind::Config,
            "PutScalingPolicy",
        ),
        (
            "autoscaling",
            "SetDesiredCapacity",
            json!({ "autoScalingGroupName": "workers", "desiredCapacity": 9 }),
            "workers",
            ChangeKind::Scale,
            "9",
        ),
        (
            "autoscaling",
            "UpdateAutoScalingGroup",
            json!({ "autoScalingGroupName": "workers", "launchTemplate": { "version": "3" } }),
            "workers",
            ChangeKind::Deploy,
            "UpdateAutoScalingGroup",
        ),
        (
            "autoscaling",
            "UpdateAutoScalingGroup",
            json!({ "autoScalingGroupName": "workers", "maxSize": 3 }),
            "workers",
            ChangeKind::Scale,
            "UpdateAutoScalingGroup",
        ),
        (
            "autoscaling",
            "TerminateInstanceInAutoScalingGroup",
            json!({ "instanceId": "i-0123456789abcdef0" }),
            "worker-1",
            ChangeKind::Restart,
            "TerminateInstanceInAutoScalingGroup",
        ),
        ("ec2", "RebootInstances", item, "worker-1", ChangeKind::Restart, "RebootInstances"),
        (
            "lambda",
            "UpdateFunctionCode20150331v2",
            json!({ "functionName": "arn:aws:lambda:eu-central-1:123456789012:function:mail" }),
            "mail",
            ChangeKind::Deploy,
            "UpdateFunctionCode",
        ),
        (
            "lambda",
            "UpdateAlias20150331",
            json!({ "functionName": "mail", "functionVersion": "12" }),
            "mail",
            ChangeKind::Deploy,
            "12",
        ),
        (
            "lambda",
            "PutFunctionConcurrency20171031",
            json!({ "functionName": "123456789012:function:mail", "reservedConcurrentExecutions": 0 }),
            "mail",
            ChangeKind::Scale,
            "0",
        ),
        (
            "rds",
            "ModifyDBInstance",
            json!({ "dBInstanceIdentifier": "orders", "dBInstanceClass": "db.t3.small" }),
            "db",
            ChangeKind::Scale,
            "db.t3.small",
        ),
        (
            "rds",
            "RebootDBInstance",
            json!({ "dBInstanceIdentifier": "orders" }),
            "db",
            ChangeKind::Restart,
            "RebootDBInstance",
        ),
        (
            "cloudformation",
            "ExecuteChangeSet",
            json!({ "stackName": "arn:aws:cloudformation:eu-central-1:123456789012:stack/shop/ab-12" }),
            "shop",
            ChangeKind::Deploy,
            "ExecuteChangeSet",
        ),
        (
            "elasticloadbalancing",
            "ModifyTargetGroup",
            json!({ "targetGroupArn": group }),
            "lb",
            ChangeKind::Config,
            "ModifyTargetGroup",
        ),
        (
            "appconfig",
            "StartDeployment",
            json!({ "applicationId": "abc1234" }),
            "flags",
            ChangeKind::Flag,
            "StartDeployment",
        ),
        (
            "secretsmanager",
            "RotateSecret",
            json!({ "secretId": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:orders/db-AbCdEf" }),
            "key",
            ChangeKind::Config,
            "RotateSecret",
        ),
        (
            "ssm",
            "SendCommand",
            json!({ "documentName": "AWS-RunShellScript", "instanceIds": ["i-0123456789abcdef0"] }),
            "worker-1",
            ChangeKind::Config,
            "SendCommand",
        ),
    ];
    for (service, name, parameters, entity, kind, to) in rows {
        let record = record(service, name, parameters);
        assert_eq!(told(&record), [(entity.to_owned(), kind, None, Some(to.to_owned()))], "{record}");
    }
}

#[test]
fn a_security_group_is_everybodys_who_has_it_and_who_did_it_is_told() {
    let permissions = json!({ "items": [{ "groups": { "items": [{ "groupId": "sg-0fffffffffffffff0" }] } }] });
    let parameters = json!({ "groupId": "sg-0123456789abcdef0", "ipPermissions": permissions });
    let told = book().tell(&record("ec2", "AuthorizeSecurityGroupIngress", parameters)).unwrap();
    let entities: Vec<&str> = told.changes.iter().map(|change| change.entity.as_str()).collect();
    assert_eq!(entities, ["api", "web"]);
    let change = &told.changes[0];
    assert_eq!((change.kind, change.by.as_deref()), (ChangeKind::Config, Some("Deploy/run-7")));
    assert_eq!(change.at, "2026-11-28T02:00:00Z".parse().unwrap());
    // A group that is only named as a source of traffic is not what was changed.
    let other = json!({ "groupId": "sg-0fffffffffffffff0", "ipPermissions": { "items": [{ "groups": { "items": [{ "groupId": "sg-0123456789abcdef0" }] } }] } });
    assert_eq!(self::told(&record("ec2", "AuthorizeSecurityGroupIngress", other)), []);
}

#[test]
fn a_deployment_of_a_former_revision_is_a_roll_back() {
    let definition = |n: u32| format!("arn:aws:ecs:eu-central-1:123456789012:task-definition/web:{n}");
    let update =
        record("ecs", "UpdateService", json!({ "cluster": "main", "service": "web", "taskDefinition": "web:6" }));
    let deployments = json!([
        { "status": "PRIMARY", "taskDefinition": definition(6) },
        { "status": "ACTIVE", "taskDefinition": definition(7) },
    ]);
    let update = with(update, json!({ "responseElements": { "service": { "deployments": deployments } } }));
    let expected = ("web".to_owned(), ChangeKind::Rollback, Some("web:7".to_owned()), Some("web:6".to_owned()));
    assert_eq!(told(&update), [expected]);
}

#[test]
fn what_changes_nothing_of_what_runs_is_no_change() {
    let service = json!({ "cluster": "main", "service": "web" });
    let instance = json!({ "instanceIds": ["i-0123456789abcdef0"], "resourcesSet": {} });
    let update = || record("ecs", "UpdateService", json!({ "cluster": "main", "service": "web", "desiredCount": 1 }));
    let unsaid = |mut record: Value| {
        record.as_object_mut().unwrap().remove("readOnly");
        record
    };
    let records = [
        with(record("ecs", "DescribeServices", service.clone()), json!({ "readOnly": true })),
        with(record("ecs", "DescribeServices", service.clone()), json!({ "readOnly": "true" })),
        unsaid(record("ecs", "DescribeServices", service.clone())),
        record("ecs", "ExecuteCommand", service.clone()),
        record(
            "ecs",
            "TagResource",
            json!({ "resourceArn": "arn:aws:ecs:eu-central-1:123456789012:service/main/web" }),
        ),
        record("ssm", "UpdateInstanceInformation", json!({ "instanceId": "i-0123456789abcdef0" })),
        record("ec2", "CreateTags", instance),
        // Refused, so nothing was changed.
        with(update(), json!({ "errorCode": "AccessDenied", "errorMessage": "no" })),
        with(update(), json!({ "managementEvent": false })),
        with(update(), json!({ "eventCategory": "Data" })),
        // Somebody else's.
        record("ecs", "UpdateService", json!({ "cluster": "other", "service": "web", "desiredCount": 1 })),
        record("ecs", "UpdateService", json!({ "service": "web", "desiredCount": 1 })),
        record("lambda", "UpdateFunctionCode20150331v2", json!({ "functionName": "web" })),
        // A name as such says nothing.
        record("ecs", "UpdateService", json!({ "cluster": "main", "service": "x", "note": "web", "desiredCount": 1 })),
        record("sqs", "SetQueueAttributes", Value::Null),
    ];
    for record in records {
        assert_eq!(told(&record), [], "{record}");
    }
    assert_eq!(told(&update()).len(), 1);
}

#[test]
fn an_account_is_told_of_everything_that_writes() {
    let account = EntityId::literal("account");
    let mut problems = Vec::new();
    let book = Book::new(&[thing("web", "ecs:main/web")], Some(&account), &mut problems);
    let activity = |record: &Value| {
        let told = book.tell(record).unwrap();
        let [event] = told.events.as_slice() else { panic!("{:?}", told.events) };
        assert_eq!(event.entity, account);
        let EventKind::Activity(activity) = event.kind.clone() else { panic!("{event:?}") };
        (told.changes.len(), activity, event.fields.clone())
    };
    let refused = json!({ "errorCode": "AccessDenied" });
    let (n_changes, did, fields) =
        activity(&with(record("iam", "AttachRolePolicy", json!({ "roleName": "x" })), refused));
    let act = Act::Did { action: "iam:AttachRolePolicy".to_owned(), target: None, succeeded: false };
    assert_eq!((n_changes, did), (0, Activity { user: Some("Deploy/run-7".to_owned()), program: None, act }));
    assert_eq!(fields.get("error"), Some("AccessDenied"));
    let (n_changes, did, _) = activity(&record("ecs", "UpdateService", json!({ "cluster": "main", "service": "web" })));
    let target = Some("ecs:main/web".to_owned());
    assert_eq!((n_changes, did.act), (1, Act::Did { action: "ecs:UpdateService".to_owned(), target, succeeded: true }));
    let login = with(
        record("signin", "ConsoleLogin", Value::Null),
        json!({
            "responseElements": { "ConsoleLogin": "Failure" },
            "userIdentity": { "type": "Root", "arn": "arn:aws:iam::123456789012:root" },
        }),
    );
    let (_, did, _) = activity(&login);
    assert_eq!(did.user.as_deref(), Some("root"));
    assert_eq!(did.act, Act::LoggedIn { from: Some("203.0.113.7".to_owned()), succeeded: false });
}

#[test]
fn who_did_it_is_named_as_aws_names_them() {
    // One row an identity, and who that is.
    let rows = [
        (
            json!({ "type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/alice", "userName": "alice" }),
            Some("alice"),
        ),
        (json!({ "type": "AWSService", "invokedBy": "autoscaling.amazonaws.com" }), Some("autoscaling.amazonaws.com")),
        (json!({ "type": "WebIdentityUser", "userName": "ci" }), Some("ci")),
        (json!({ "type": "Unknown" }), None),
        (Value::Null, None),
        // A session may call itself anything.
        (
            json!({ "type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/Deploy/\u{1b}[31mroot" }),
            Some("Deploy/ [31mroot"),
        ),
    ];
    for (identity, by) in rows {
        let record = record("ecs", "UpdateService", json!({ "cluster": "main", "service": "web" }));
        let told = book().tell(&with(record, json!({ "userIdentity": identity }))).unwrap();
        assert_eq!(told.changes[0].by.as_deref(), by, "{identity}");
    }
}

#[test]
fn nonsense_is_refused_and_never_repeated() {
    let canary = "canary-in-a-record";
    let good = || record("ecs", "UpdateService", json!({ "cluster": "main", "service": "web" }));
    let rows = [
        json!(null),
        json!([canary]),
        json!({ "eventTime": canary }),
        with(good(), json!({ "eventTime": canary })),
        with(good(), json!({ "eventName": [canary] })),
        with(good(), json!({ "userIdentity": canary })),
    ];
    for record in rows {
        let problem = book().tell(&record).unwrap_err();
        assert!(!problem.contains(canary), "{problem}");
    }
    // What is only odd is read as far as it goes.
    let odd = with(good(), json!({ "requestParameters": [[1], {}], "resources": null, "responseElements": 7 }));
    assert!(book().tell(&odd).unwrap().is_empty());
    let deep = (0..500).fold(json!("i-0123456789abcdef0"), |deep, _| json!([deep]));
    assert!(book().tell(&record("ec2", "StopInstances", json!({ "instanceIds": deep }))).unwrap().is_empty());
}

#[test]
fn names_that_are_none_are_told() {
    let things = [
        thing("a", "web"),
        thing("b", "ecs:web"),
        thing("c", "ec2:"),
        thing("d", "lambda:a b"),
        thing("e", "lambda:mail"),
        thing("e", "arn:aws:lambda:eu-central-1:123456789012:function:mail"),
    ];
    let mut problems = Vec::new();
    Book::new(&things, None, &mut problems);
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["thing[0].name", "thing[1].name", "thing[2].name", "thing[3].name", "thing[5].name"]);
    let mut problems = Vec::new();
    Book::new(&[], None, &mut problems);
    assert_eq!(problems.len(), 1);
}
