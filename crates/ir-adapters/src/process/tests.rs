//! Tests with real processes: a shell script that notes its start and its end.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ir_core::testkit::GateRig;
use ir_core::testkit::executor::{self as laws, World, done, refused};
use ir_core::{Clock, Direction};

use super::*;
use crate::SystemClock;

/// Ready to be told to end before it says that it started, so that whoever waits for that can end it.
const SCRIPT: &str = "trap 'echo stopped >> \"$NOTES\"; exit 0' TERM; echo started >> \"$NOTES\"; \
                      while :; do sleep 100 & wait $!; done";
const STUBBORN: &str = "trap '' TERM; echo started >> \"$NOTES\"; while :; do sleep 1; done";

fn ctx() -> Ctx {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Ctx::new(clock)
}

fn config(dir: &Path, script: &str) -> ProcessConfig {
    let spec = ProcessSpec {
        entity: EntityId::new("web").unwrap(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        workdir: Some(dir.to_owned()),
        env: [("NOTES".to_owned(), dir.join("notes").display().to_string())].into(),
        log: Some(dir.join("log")),
    };
    ProcessConfig {
        process: vec![spec],
        state_dir: dir.join("state"),
        stop_grace_ms: 2_000,
        stop_with_executor: true,
        ..ProcessConfig::default()
    }
}

fn call(action: &str) -> Call {
    Call {
        action: ActionName::new(action).unwrap(),
        target: EntityId::new("web").unwrap(),
        params: serde_json::Map::new(),
    }
}

fn notes(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("notes")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits until `holds`, for ten seconds at most.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let ctx = ctx().with_timeout(Duration::from_secs(10));
    while !holds() {
        ctx.sleep(what, Duration::from_millis(5)).await.unwrap();
    }
}

/// Executors whose one process runs, or does not.
struct Scripts {
    runs: bool,
    calls: &'static [&'static str],
    wrap: fn(ProcessExecutor) -> Arc<dyn Executor>,
    dir: Mutex<Option<tempfile::TempDir>>,
}

impl Scripts {
    fn path(&self) -> PathBuf {
        self.dir.lock().unwrap().as_ref().unwrap().path().to_owned()
    }
}

#[async_trait]
impl World for Scripts {
    async fn fresh(&self) -> Arc<dyn Executor> {
        *self.dir.lock().unwrap() = Some(tempfile::tempdir().unwrap());
        let path = self.path();
        let executor = ProcessExecutor::new(config(&path, SCRIPT)).unwrap();
        if self.runs {
            executor.start_all().await.unwrap();
            until("the first start", || notes(&path).len() == 1).await;
        }
        (self.wrap)(executor)
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.iter().map(|action| call(action)).collect()
    }

    async fn effects(&self) -> u64 {
        // What was just started may not have noted it yet.
        let path = self.path();
        let running = || {
            let remembered = memory::Memory::load(&path.join("state/web.json")).unwrap();
            remembered.process.is_some_and(|process| process.is_running())
        };
        until("the notes", || notes(&path).last().is_some_and(|last| last == "started") == running()).await;
        notes(&path).len() as u64
    }

    fn timeout_ms(&self) -> u64 {
        3_000
    }
}

async fn keeps_every_law(wrap: fn(ProcessExecutor) -> Arc<dyn Executor>, runs: bool, calls: &'static [&'static str]) {
    let world = Scripts { runs, calls, wrap, dir: Mutex::default() };
    laws::check_all(&ctx(), &world).await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_every_law() {
    keeps_every_law(|executor| Arc::new(executor), true, &["process.restart"]).await;
}

#[tokio::test]
async fn a_stop_keeps_every_law_in_a_box() {
    keeps_every_law(|executor| Arc::new(Box::new(executor)), true, &["process.stop"]).await;
}

#[tokio::test]
async fn a_start_keeps_every_law_in_an_arc() {
    keeps_every_law(|executor| Arc::new(Arc::new(executor)), false, &["process.start"]).await;
}

#[tokio::test]
async fn a_restart_of_a_stubborn_process_kills_it_and_another_one_runs() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = ctx();
    let executor = ProcessExecutor::new(ProcessConfig { stop_grace_ms: 50, ..config(dir.path(), STUBBORN) }).unwrap();
    executor.start_all().await.unwrap();
    until("the start", || notes(dir.path()).len() == 1).await;
    let entity = EntityId::new("web").unwrap();
    let before = executor.running(&entity).await.unwrap().unwrap();
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (_, granted) = rig.permit(&executor, &call("process.restart"), 5_000).await.unwrap();
    let applied = done(executor.execute(&ctx, granted.permit).await).unwrap();
    let after = executor.running(&entity).await.unwrap().unwrap();
    assert_eq!(applied.summary, format!("stopped {before}, started {after}"));
    assert!(!before.is_running() && after.is_running() && before != after);
}

#[tokio::test]
async fn a_process_outlives_its_executor_and_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let entity = EntityId::new("web").unwrap();
    let lasting = ProcessConfig { stop_with_executor: false, ..config(dir.path(), SCRIPT) };
    let executor = ProcessExecutor::new(lasting).unwrap();
    executor.start_all().await.unwrap();
    let before = executor.running(&entity).await.unwrap().unwrap();
    drop(executor);
    assert!(before.is_running());
    let executor = ProcessExecutor::new(config(dir.path(), SCRIPT)).unwrap();
    executor.start_all().await.unwrap();
    assert_eq!(executor.running(&entity).await.unwrap(), Some(before.clone()), "it is not started a second time");
    drop(executor);
    until("the end", || !before.is_running()).await;
}

#[tokio::test]
async fn a_probe_of_what_was_begun_and_never_ended_does_not_guess() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = ctx();
    let executor = ProcessExecutor::new(config(dir.path(), SCRIPT)).unwrap();
    executor.start_all().await.unwrap();
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let step = rig.ready(&executor, &call("process.restart"), 1_000).await.unwrap();
    let _granted = rig.authorize(&executor, &step, Direction::Do).await.unwrap();
    let key = rig.gate().state().step(&step).unwrap().open.as_ref().unwrap().intent.key;
    let path = dir.path().join("state/web.json");
    let mut remembered = memory::Memory::load(&path).unwrap();
    remembered.begun = Some(key.to_string());
    remembered.store(&path).unwrap();
    let probe = |action: &str| Probe { call: call(action), key, fence: None };
    assert_eq!(executor.probe(&ctx, &probe("process.restart")).await.unwrap(), Probed::Unknown);
    assert_eq!(executor.probe(&ctx, &probe("process.stop")).await.unwrap(), Probed::Unknown);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = ctx();
    let mut config = config(dir.path(), SCRIPT);
    config.process[0].command = vec![dir.path().join("missing").display().to_string()];
    let executor = ProcessExecutor::new(config).unwrap();
    assert_eq!(executor.start_all().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let mut rig = GateRig::open(&ctx).await.unwrap();
    let (step, granted) = rig.permit(&executor, &call("process.start"), 1_000).await.unwrap();
    let key = rig.gate().state().step(&step).unwrap().open.as_ref().unwrap().intent.key;
    let failure = refused(executor.execute(&ctx, granted.permit).await).unwrap();
    assert_eq!(failure.kind, ErrorKind::Unavailable, "{failure}");
    let probe = Probe { call: call("process.start"), key, fence: None };
    assert_eq!(executor.probe(&ctx, &probe).await.unwrap(), Probed::NotApplied);
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let spec = |entity: &str, command: &[&str]| ProcessSpec {
        entity: EntityId::new(entity).unwrap(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        workdir: None,
        env: BTreeMap::new(),
        log: None,
    };
    let process = vec![spec("web", &["x"]), spec("web", &[]), spec("../etc", &["x"])];
    let error =
        ProcessExecutor::new(ProcessConfig { name: String::new(), process, ..ProcessConfig::default() }).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["name", "process[1].entity", "process[1].command", "process[2].entity"]);
}
