//! What kind of change a call is.

use ir_core::ChangeKind;
use serde_json::Value;

use super::cut;
use super::record::Record;

/// What was changed, as far as the record says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) kind: ChangeKind,
    pub(super) from: Option<String>,
    /// The version or the size where the call names one, else the call itself.
    pub(super) to: Option<String>,
}

/// Calls that write, and change nothing of what runs: tags, sessions, reports of agents, what a deployment does by itself.
const HARMLESS: [(&str, &[&str]); 6] = [
    (
        "*",
        &[
            "AddTags",
            "AddTagsToResource",
            "ConsoleLogin",
            "CreateTags",
            "CreateOrUpdateTags",
            "DeleteTags",
            "RemoveTags",
            "RemoveTagsFromResource",
            "TagResource",
            "UntagResource",
        ],
    ),
    ("autoscaling", &["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"]),
    ("ec2", &["CreateSnapshot", "CreateSnapshots", "SendSSHPublicKey", "CreateImage"]),
    (
        "ecs",
        &[
            "DiscoverPollEndpoint",
            "ExecuteCommand",
            "Poll",
            "RegisterContainerInstance",
            "RegisterTaskDefinition",
            "StartTelemetrySession",
            "SubmitContainerStateChange",
            "SubmitTaskStateChange",
            "SubmitAttachmentStateChanges",
        ],
    ),
    ("elasticloadbalancing", &["RegisterTargets", "DeregisterTargets"]),
    (
        "ssm",
        &[
            "OpenDataChannel",
            "PutComplianceItems",
            "PutInventory",
            "ResumeSession",
            "StartSession",
            "TerminateSession",
            "UpdateInstanceInformation",
            "UpdateInstanceAssociationStatus",
        ],
    ),
];

/// Calls that are no change of configuration, and what they are instead.
const KINDS: [(&str, ChangeKind, &[&str]); 22] = [
    ("appconfig", ChangeKind::Flag, &["StartDeployment", "StopDeployment"]),
    ("autoscaling", ChangeKind::Deploy, &["StartInstanceRefresh"]),
    ("autoscaling", ChangeKind::Rollback, &["RollbackInstanceRefresh"]),
    ("autoscaling", ChangeKind::Scale, &["ExecutePolicy", "SetDesiredCapacity", "AttachInstances", "DetachInstances"]),
    ("autoscaling", ChangeKind::Restart, &["TerminateInstanceInAutoScalingGroup"]),
    ("cloudformation", ChangeKind::Deploy, &["CreateStack", "ExecuteChangeSet", "UpdateStack"]),
    ("cloudformation", ChangeKind::Rollback, &["CancelUpdateStack", "ContinueUpdateRollback", "RollbackStack"]),
    ("codedeploy", ChangeKind::Deploy, &["CreateDeployment", "ContinueDeployment"]),
    ("codepipeline", ChangeKind::Deploy, &["StartPipelineExecution", "RetryStageExecution"]),
    ("codepipeline", ChangeKind::Rollback, &["RollbackStage"]),
    ("ec2", ChangeKind::Restart, &["RebootInstances", "StartInstances", "StopInstances"]),
    ("ec2", ChangeKind::Scale, &["RunInstances", "TerminateInstances"]),
    ("ecs", ChangeKind::Deploy, &["CreateService", "CreateTaskSet", "UpdateServicePrimaryTaskSet", "UpdateTaskSet"]),
    ("ecs", ChangeKind::Restart, &["StopTask"]),
    ("elasticache", ChangeKind::Restart, &["RebootCacheCluster", "TestFailover"]),
    ("elasticache", ChangeKind::Scale, &["IncreaseReplicaCount", "DecreaseReplicaCount"]),
    ("lambda", ChangeKind::Deploy, &["CreateFunction", "UpdateAlias", "UpdateFunctionCode", "PublishVersion"]),
    (
        "lambda",
        ChangeKind::Scale,
        &["PutFunctionConcurrency", "DeleteFunctionConcurrency", "PutProvisionedConcurrencyConfig"],
    ),
    ("rds", ChangeKind::Restart, &["FailoverDBCluster", "RebootDBCluster", "RebootDBInstance"]),
    ("rds", ChangeKind::Restart, &["StartDBCluster", "StartDBInstance", "StopDBCluster", "StopDBInstance"]),
    ("rds", ChangeKind::Deploy, &["ApplyPendingMaintenanceAction"]),
    ("kinesis", ChangeKind::Scale, &["UpdateShardCount"]),
];

/// What the call changed; nothing where it is known to change nothing of what runs.
pub(super) fn of(record: &Record) -> Option<Meaning> {
    let (service, action) = (record.service(), record.action());
    let is_harmless = |(of, actions): &(&str, &[&str])| (*of == "*" || *of == service) && actions.contains(&action);
    if HARMLESS.iter().any(is_harmless) {
        return None;
    }
    Some(match (service, action) {
        ("ecs", "UpdateService") => of_service(record),
        ("autoscaling", "UpdateAutoScalingGroup") => of_group(record),
        ("rds", "ModifyDBInstance" | "ModifyDBCluster") => of_database(record),
        _ => {
            let known = |(of, _, actions): &&(&str, ChangeKind, &[&str])| *of == service && actions.contains(&action);
            let kind = KINDS.iter().find(known).map_or(ChangeKind::Config, |(_, kind, _)| *kind);
            let size = || ["desiredCapacity", "desiredCount", "reservedConcurrentExecutions", "targetShardCount"];
            let size = size().iter().find_map(|name| number(record, name));
            let version =
                || record.text("taskDefinition").map(short).or_else(|| record.text("functionVersion").map(cut));
            let to = match kind {
                ChangeKind::Scale => size,
                ChangeKind::Deploy => version(),
                _ => None,
            };
            Meaning { kind, from: None, to: Some(to.unwrap_or_else(|| cut(action))) }
        }
    })
}

/// An update of a service of ECS may be everything.
fn of_service(record: &Record) -> Meaning {
    if let Some(new) = record.text("taskDefinition").map(short) {
        // The answer holds the deployment that goes, beside the one that comes.
        let deployments = record.answered("/service/deployments").and_then(Value::as_array);
        let definition = |deployment: &Value| deployment.get("taskDefinition").and_then(Value::as_str).map(short);
        let is_former = |deployment: &&Value| deployment.get("status").and_then(Value::as_str) == Some("ACTIVE");
        let old = deployments.into_iter().flatten().filter(is_former).find_map(definition).filter(|old| *old != new);
        let is_back = match (old.as_deref().and_then(revision), revision(&new)) {
            (Some((old_family, old)), Some((family, new))) => old_family == family && new < old,
            _ => false,
        };
        let kind = if is_back { ChangeKind::Rollback } else { ChangeKind::Deploy };
        return Meaning { kind, from: old, to: Some(new) };
    }
    let simple = |kind, to| Meaning { kind, from: None, to: Some(to) };
    if record.parameter("forceNewDeployment") == Some(&Value::Bool(true)) {
        return simple(ChangeKind::Restart, "forceNewDeployment".to_owned());
    }
    match number(record, "desiredCount") {
        Some(count) => simple(ChangeKind::Scale, count),
        None => simple(ChangeKind::Config, "UpdateService".to_owned()),
    }
}

/// Another template for new instances is a version; other sizes are sizes.
fn of_group(record: &Record) -> Meaning {
    let has = |names: &[&str]| names.iter().any(|name| record.parameter(name).is_some());
    let kind = if has(&["launchTemplate", "launchConfigurationName", "mixedInstancesPolicy"]) {
        ChangeKind::Deploy
    } else if has(&["desiredCapacity", "minSize", "maxSize"]) {
        ChangeKind::Scale
    } else {
        ChangeKind::Config
    };
    let size = number(record, "desiredCapacity").filter(|_| kind == ChangeKind::Scale);
    Meaning { kind, from: None, to: Some(size.unwrap_or_else(|| "UpdateAutoScalingGroup".to_owned())) }
}

/// Another engine is a version; another class of machine is a size.
fn of_database(record: &Record) -> Meaning {
    let version = record.text("engineVersion").map(|version| (ChangeKind::Deploy, version));
    let class = || record.text("dBInstanceClass").map(|class| (ChangeKind::Scale, class));
    match version.or_else(class) {
        Some((kind, to)) => Meaning { kind, from: None, to: Some(cut(to)) },
        None => Meaning { kind: ChangeKind::Config, from: None, to: Some(cut(record.action())) },
    }
}

fn number(record: &Record, parameter: &str) -> Option<String> {
    record.parameter(parameter).and_then(Value::as_i64).map(|number| number.to_string())
}

/// `web:7` of the ARN of a task definition.
fn short(definition: &str) -> String {
    cut(definition.rsplit('/').next().unwrap_or(definition))
}

fn revision(definition: &str) -> Option<(&str, u64)> {
    let (family, number) = definition.rsplit_once(':')?;
    Some((family, number.parse().ok()?))
}
