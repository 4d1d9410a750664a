//! A double of Systems Manager: what is sent, what is waited for, and what each end means.

use std::sync::{Arc, Mutex};

use ir_core::Applied;
use ir_core::testkit::GateRig;
use ir_core::testkit::executor::done;
use serde_json::Value;

use super::*;
use crate::SystemClock;
use crate::aws::double::{Asked, Double, Reply, sdk};

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn command(name: &str) -> SsmCommand {
    SsmCommand {
        name: name.to_owned(),
        document: "Restart".to_owned(),
        version: Some("3".to_owned()),
        sha256: None,
        parameters: [("service".to_owned(), vec!["nginx".to_owned()])].into(),
    }
}

fn config() -> SsmConfig {
    let instance = vec![SsmInstance { entity: EntityId::literal("web"), instance: "i-1".to_owned() }];
    SsmConfig { command: vec![command("restart")], instance, poll_ms: 10, ..SsmConfig::default() }
}

fn call(command: &str) -> Call {
    let params = [(COMMAND.to_owned(), json!(command))].into_iter().collect();
    Call { action: ActionName::literal(RUN), target: EntityId::literal("web"), params }
}

fn is_send((head, _): &Asked) -> bool {
    head.contains(".sendcommand\r\n")
}

/// Answers the question for the command with each of `ends`, the last one for ever.
fn answer(asked: &Asked, ends: &Mutex<Vec<Reply>>) -> Reply {
    let says = |body: Value| Reply::Says(200, body.to_string());
    if is_send(asked) {
        return says(json!({ "Command": { "CommandId": "c-1" } }));
    }
    if asked.0.contains(".describedocument\r\n") {
        return says(json!({ "Document": { "Status": "Active", "HashType": "Sha256", "Hash": HASH } }));
    }
    let mut ends = ends.lock().unwrap();
    if ends.len() > 1 { ends.remove(0) } else { ends[0].clone() }
}

fn status(status: &str) -> Reply {
    Reply::Says(200, json!({ "Status": status, "StatusDetails": status, "ResponseCode": 7 }).to_string())
}

/// What became of the command, and what was sent for it.
async fn run(ends: Vec<Reply>, timeout_ms: u64) -> (Result<Applied>, Vec<Value>) {
    let ends = Mutex::new(ends);
    let double = Double::start(move |asked| answer(asked, &ends)).await;
    let executor = SsmExecutor::new(config(), &double.sdk()).unwrap();
    let ctx = ctx();
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (_, granted) = rig.permit(&executor, &call("restart"), timeout_ms).await.unwrap();
    let done = done(executor.execute(&ctx, granted.permit).await);
    let sent = double.asked().into_iter().filter(is_send).map(|(_, body)| serde_json::from_str(&body).unwrap());
    (done, sent.collect())
}

#[tokio::test]
async fn a_command_is_sent_once_as_configured_and_waited_for() {
    let missing = json!({ "__type": "InvocationDoesNotExist", "message": "not yet" }).to_string();
    let ends = vec![
        Reply::Says(400, missing),
        status("Pending"),
        Reply::Says(500, "<html>".to_owned()),
        status("InProgress"),
        status("Success"),
    ];
    let (done, sent) = run(ends, 10_000).await;
    assert!(done.unwrap().summary.contains("`c-1`"));
    let expected = json!({
        "DocumentName": "Restart", "DocumentVersion": "3", "DocumentHash": HASH, "DocumentHashType": "Sha256",
        "InstanceIds": ["i-1"], "Parameters": { "service": ["nginx"] }, "TimeoutSeconds": 30,
    });
    assert_eq!(sent, [expected]);
}

#[tokio::test]
async fn whatever_is_not_a_success_leaves_the_effect_unknown() {
    let refused = json!({ "__type": "AccessDeniedException", "message": "no" }).to_string();
    // One row an end that is no success.
    let rows =
        [status("Failed"), status("TimedOut"), status("Cancelled"), status("NewWord"), Reply::Says(400, refused)];
    for end in rows {
        let (done, sent) = run(vec![end.clone()], 10_000).await;
        let error = done.unwrap_err();
        assert_eq!((error.kind(), sent.len()), (ErrorKind::Unknown, 1), "{end:?}: {error}");
    }
    // And so does one that does not end before the deadline.
    for end in [status("InProgress"), Reply::Hangs] {
        let (done, sent) = run(vec![end.clone()], 400).await;
        let error = done.unwrap_err();
        assert_eq!((error.kind(), sent.len()), (ErrorKind::Unknown, 1), "{end:?}: {error}");
    }
}

#[tokio::test]
async fn only_what_is_configured_is_run() {
    let ends = Mutex::new(vec![status("Success")]);
    let double = Double::start(move |asked| answer(asked, &ends)).await;
    let mut config = config();
    config.command.push(SsmCommand { sha256: Some("f".repeat(64)), ..command("changed") });
    config.command.push(SsmCommand { sha256: Some(HASH.to_uppercase()), ..command("pinned") });
    let executor = SsmExecutor::new(config, &double.sdk()).unwrap();
    let kind = async |name: &str| executor.preview(&ctx(), &call(name)).await.map_err(|error| error.kind());
    assert_eq!(kind("rm -rf /").await.unwrap_err(), ErrorKind::InvalidInput);
    assert_eq!(kind("changed").await.unwrap_err(), ErrorKind::Conflict);
    assert!(kind("pinned").await.is_ok());
    let names = &executor.catalogue()[0].params["properties"][COMMAND]["enum"];
    assert_eq!(*names, json!(["changed", "pinned", "restart"]));
}

#[tokio::test]
async fn a_document_that_is_none_is_refused() {
    // One row a document that may not be run.
    let rows = [
        json!(null),
        json!({ "Status": "Deleting", "HashType": "Sha256", "Hash": HASH }),
        json!({ "Status": "Active", "HashType": "Sha1", "Hash": HASH }),
        json!({ "Status": "Active", "HashType": "Sha256" }),
    ];
    for document in rows {
        let told = json!({ "Document": document });
        let double = Double::start(move |_| Reply::Says(200, told.to_string())).await;
        let executor = SsmExecutor::new(config(), &double.sdk()).unwrap();
        let error = executor.preview(&ctx(), &call("restart")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{document}: {error}");
    }
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let mut config = config();
    config.command.push(SsmCommand { document: " ".to_owned(), sha256: Some("12".to_owned()), ..command("restart") });
    config.instance.push(SsmInstance { entity: EntityId::literal("web"), instance: String::new() });
    (config.name, config.poll_ms) = (String::new(), 0);
    let error = SsmExecutor::new(config, &SdkConfig::builder().build()).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    let expected = [
        "name",
        "command[1].name",
        "command[1].document",
        "command[1].sha256",
        "instance[1].entity",
        "instance[1].instance",
        "poll_ms",
        "sdk",
    ];
    assert_eq!(fields, expected);
    let none = SsmExecutor::new(SsmConfig::default(), &sdk("http://127.0.0.1:1")).unwrap_err();
    let fields: Vec<&str> = none.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["command", "instance"]);
}
