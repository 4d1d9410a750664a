//! Systems Manager in moto, which takes commands and runs nothing: each ends as a success at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ir_adapters::SystemClock;
use ir_adapters::aws::SdkConfig;
use ir_adapters::aws::ssm::automation::{
    Automation, AutomationConfig, AutomationEffect, AutomationExecutor, AutomationTarget,
};
use ir_adapters::aws::ssm::{SsmCommand, SsmConfig, SsmExecutor, SsmInstance};
use ir_core::execution::Executor;
use ir_core::plan::Call;
use ir_core::testkit::GateRig;
use ir_core::testkit::executor::{self as laws, World};
use ir_core::{ActionName, Ctx, EntityId, ErrorKind, RecoveryClass};
use serde_json::{Map, Value, json};

use crate::server::{Moto, shared};

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn ssm(moto: &Moto, operation: &str, body: &Value) -> Value {
    moto.json("ssm", &format!("AmazonSSM.{operation}"), body)
}

/// Makes a document of that name.
pub(crate) fn document(moto: &Moto, name: &str) {
    let step = json!({ "action": "aws:runShellScript", "name": "run", "inputs": { "runCommand": ["true"] } });
    let content = json!({ "schemaVersion": "2.2", "description": "a test", "mainSteps": [step] }).to_string();
    ssm(moto, "CreateDocument", &json!({ "Name": name, "DocumentType": "Command", "Content": content }));
}

/// Makes an automation of that name.
pub(crate) fn automation_document(moto: &Moto, name: &str) {
    let step = json!({ "action": "aws:sleep", "name": "wait", "inputs": { "Duration": "PT1S" } });
    let content = json!({ "schemaVersion": "0.3", "description": "a test", "mainSteps": [step] }).to_string();
    ssm(moto, "CreateDocument", &json!({ "Name": name, "DocumentType": "Automation", "Content": content }));
}

pub(crate) fn automation_of(sdk: &SdkConfig, document: &str) -> AutomationExecutor {
    let target = AutomationTarget { entity: EntityId::literal("web"), value: "i-0123456789abcdef0".to_owned() };
    let automation = Automation {
        name: "restart".to_owned(),
        description: String::new(),
        document: document.to_owned(),
        version: None,
        sha256: None,
        target_parameter: "InstanceId".to_owned(),
        target: vec![target],
        parameters: BTreeMap::new(),
        choice: BTreeMap::new(),
        effect: AutomationEffect::Transient,
    };
    AutomationExecutor::new(AutomationConfig { automation: vec![automation], ..AutomationConfig::default() }, sdk)
        .unwrap()
}

pub(crate) fn restart() -> Call {
    let action = ActionName::literal("ssm.automation.restart");
    Call { action, target: EntityId::literal("web"), params: Map::new() }
}

pub(crate) fn executor_of(sdk: &SdkConfig, document: &str, instance: &str) -> SsmExecutor {
    let command = SsmCommand {
        name: "restart".to_owned(),
        document: document.to_owned(),
        version: None,
        sha256: None,
        parameters: [("commands".to_owned(), vec!["systemctl restart nginx".to_owned()])].into(),
    };
    let instance = SsmInstance { entity: EntityId::literal("web"), instance: instance.to_owned() };
    let config = SsmConfig { command: vec![command], instance: vec![instance], poll_ms: 20, ..SsmConfig::default() };
    SsmExecutor::new(config, sdk).unwrap()
}

pub(crate) fn call() -> Call {
    let params = [("command".to_owned(), json!("restart"))].into_iter().collect();
    Call { action: ActionName::literal("ssm.run_command"), target: EntityId::literal("web"), params }
}

/// Wraps an executor as users may hold it.
type Wrap = fn(SsmExecutor) -> Arc<dyn Executor>;

/// An instance of its own for each law. SSM takes ids of machines that EC2 does not know.
struct Machines {
    wrap: Wrap,
    n: AtomicU64,
    prefix: &'static str,
}

impl Machines {
    fn instance(&self) -> String {
        format!("mi-{}{:04}", self.prefix, self.n.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl World for Machines {
    async fn fresh(&self) -> Arc<dyn Executor> {
        self.n.fetch_add(1, Ordering::SeqCst);
        (self.wrap)(executor_of(&shared().sdk().await, "law", &self.instance()))
    }

    fn calls(&self) -> Vec<Call> {
        vec![call()]
    }

    async fn effects(&self) -> u64 {
        shared().n_asked("SendCommand", &format!("\"{}\"", self.instance()))
    }

    fn timeout_ms(&self) -> u64 {
        2_000
    }
}

#[tokio::test]
async fn a_command_keeps_every_law() {
    document(shared(), "law");
    let wraps: [(&str, Wrap); 3] = [
        ("a", |executor| Arc::new(executor)),
        ("b", |executor| Arc::new(Box::new(executor))),
        ("c", |executor| Arc::new(Arc::new(executor))),
    ];
    for (prefix, wrap) in wraps {
        laws::check_all(&ctx(), &Machines { wrap, n: AtomicU64::new(0), prefix }).await.unwrap();
    }
    let executor = executor_of(&shared().sdk().await, "law", "mi-0");
    assert_eq!(executor.catalogue()[0].recovery, RecoveryClass::Blind);
}

#[tokio::test]
async fn a_document_that_changed_after_the_decision_has_another_digest() {
    let (moto, ctx) = (shared(), ctx());
    document(moto, "changing");
    let executor = executor_of(&moto.sdk().await, "changing", "mi-1");
    let before = executor.preview(&ctx, &call()).await.unwrap();
    let step = json!({ "action": "aws:runShellScript", "name": "run", "inputs": { "runCommand": ["false"] } });
    let content = json!({ "schemaVersion": "2.2", "description": "another", "mainSteps": [step] }).to_string();
    ssm(moto, "UpdateDocument", &json!({ "Name": "changing", "Content": content, "DocumentVersion": "$LATEST" }));
    ssm(moto, "UpdateDocumentDefaultVersion", &json!({ "Name": "changing", "DocumentVersion": "2" }));
    assert_ne!(executor.preview(&ctx, &call()).await.unwrap().state, before.state);
    let error = executor_of(&moto.sdk().await, "nobody-made-it", "mi-1").preview(&ctx, &call()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput), "{error}");
}

#[tokio::test]
async fn an_automation_is_previewed_and_one_that_moto_cannot_start_is_unknown() {
    let (moto, ctx) = (shared(), ctx());
    automation_document(moto, "automation");
    let executor = automation_of(&moto.sdk().await, "automation");
    let preview = executor.preview(&ctx, &restart()).await.unwrap();
    assert!(preview.summary.contains("version 1,"), "{}", preview.summary);
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (_, granted) = rig.permit(&executor, &restart(), 10_000).await.unwrap();
    // An error page is no refusal.
    assert_eq!(executor.execute(&ctx, granted.permit).await.unwrap_err().kind(), ErrorKind::Unknown);
    document(moto, "a-command");
    let command = automation_of(&moto.sdk().await, "a-command");
    assert_eq!(command.preview(&ctx, &restart()).await.unwrap_err().kind(), ErrorKind::Conflict);
}
