//! Your own executor: the library heals a platform that it has never heard of, and the program checks that it did.

mod executor;
mod platform;
mod source;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use incident_response::adapters::clock::SystemClock;
use incident_response::adapters::file::{FileJournal, verify};
use incident_response::core::IncidentState;
use incident_response::core::journal::{Body, Fact, GateFact, Record};
use incident_response::prelude::{Ctx, Detectors, EngineSettings, Handle, Playbooks, Policy, Responder, Topology};
use incident_response::replay;

use executor::WorkerExecutor;
use platform::Platform;
use source::WorkerSource;

/// What there is. Workers do not depend on each other.
const TOPOLOGY: &str = r#"
entity = [{ id = "worker-1", kind = "worker" }, { id = "worker-2", kind = "worker" }, { id = "worker-3", kind = "worker" }]
"#;

/// What to do about what: a worker that is not there is started again, and has 10 s to prove that it helped.
const PLAYBOOKS: &str = r#"
[[playbook]]
name = "restart-a-stuck-worker"
version = 1
when = { classes = ["unavailable"], kinds = ["worker"] }

[[playbook.step]]
id = "restart"
action = "worker.restart"
expected_effect = "the worker answers again"
timeout_ms = 2000
verification = { anomalies_end = true, hold_ms = 500, within_ms = 10000 }
"#;

/// What may be done. What no rule permits is not done.
const POLICY: &str = r#"
tier = "act"

[[rule]]
name = "restart workers"
effect = "permit"
when = { actions = ["worker.restart"], kinds = ["worker"], min_confidence = 0.4 }
"#;

/// The worker that gets stuck.
const VICTIM: &str = "worker-2";

/// Rounds of looking before it does: all is well, and the detectors learn who is there.
const HEALTHY_ROUNDS: u64 = 20;

/// Longest wait for any one thing.
const PATIENCE: Duration = Duration::from_secs(30);

fn responder(platform: &Platform, journal: &Path) -> Result<Responder> {
    // Shorter than the defaults: this platform answers at once, and a demonstration should not last long.
    let settings = EngineSettings {
        poll_every_ms: 200,
        settle_ms: 500,
        rediagnose_ms: 500,
        verify_every_ms: 200,
        quiet_ms: 1_000,
        ..EngineSettings::default()
    };
    Ok(Responder::builder()
        .source(WorkerSource(platform.clone()))
        .detectors(Detectors::standard())
        .topology(Topology::parse(TOPOLOGY, "topology.toml")?)
        .playbooks(Playbooks::parse(PLAYBOOKS, "playbooks.toml")?)
        .policy(Policy::parse(POLICY, "policy.toml")?)
        .executor(WorkerExecutor(platform.clone()))
        .journal(FileJournal::open(journal)?)
        .settings(settings)
        .build()?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let journal = folder.path().join("journal");
    let platform = Platform::start(&["worker-1", "worker-2", "worker-3"]);
    let engine = responder(&platform, &journal)?.open().await?;
    let handle = engine.handle();
    let (over, wait) = tokio::sync::oneshot::channel::<()>();
    let running = engine.run_until(async { drop(wait.await) });
    let story = async {
        let told = story(&platform, handle).await;
        // Whatever came of it, the engine ends; if it has ended before, nobody waits any more.
        over.send(()).ok();
        told
    };
    let (ran, told) = tokio::join!(running, story);
    ran.context("the engine failed")?;
    told?;
    check(&platform, &journal).await
}

/// Lets the platform run, breaks it, and waits until the incident is closed.
async fn story(platform: &Platform, mut handle: Handle) -> Result<()> {
    let mut records = handle.records();
    let healthy = async {
        while handle.status().rounds < HEALTHY_ROUNDS {
            handle.changed().await?;
        }
        Ok::<(), anyhow::Error>(())
    };
    tokio::time::timeout(PATIENCE, healthy).await.context("the responder does not look")??;
    println!("{VICTIM} gets stuck");
    platform.jam(VICTIM).await?;
    let healed = async {
        while !tell(&records.recv().await?)? {}
        Ok::<(), anyhow::Error>(())
    };
    tokio::time::timeout(PATIENCE, healed).await.context("the incident was not closed in time")?
}

/// Prints what a reader wants to know; whether the incident is over.
fn tell(record: &Record) -> Result<bool> {
    match &record.body {
        Body::Fact(Fact::HypothesisFormed { suspect: Some(suspect), .. }) => {
            println!("it is thought to be {}", suspect.entity)
        }
        Body::Fact(Fact::Decided(decision)) => println!("decided: {}", decision.verdict),
        Body::Gate(GateFact::Intent(intent)) => println!("intends {}, recorded before it is done", intent.call),
        Body::Fact(Fact::StepMoved { to, because, .. }) => println!("{to}: {because}"),
        Body::Fact(Fact::IncidentMoved { to: IncidentState::Closed, .. }) => return Ok(true),
        Body::Fact(Fact::IncidentMoved { to: IncidentState::HandedOver, because, .. }) => {
            anyhow::bail!("not healed: {because}")
        }
        _ => {}
    }
    Ok(false)
}

/// Judges by the platform's own record, and by the journal.
async fn check(platform: &Platform, journal: &Path) -> Result<()> {
    ensure!(platform.restarts() == [VICTIM], "restarted were {:?}, not {VICTIM} alone and once", platform.restarts());
    for name in platform.names() {
        ensure!(platform.jobs_of(&name, Duration::from_secs(1)).await.is_some(), "{name} does not answer");
    }
    let report = verify(journal)?;
    ensure!(report.fault.is_none(), "the journal does not verify: {:?}", report.fault);
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let replayed = replay(&ctx, &FileJournal::open_read_only(journal)?).await?;
    ensure!(replayed.difference.is_none(), "the replay differs: {:?}", replayed.difference);
    println!("{VICTIM} was healed once; {} records verify, and their replay is identical", report.records);
    Ok(())
}
