//! The library at work: sources, detectors, playbooks, policy, one executor of our own, a file journal.

mod changes;
mod executor;
mod people;
mod summary;
mod telling;

use std::sync::Arc;

use anyhow::{Context, Result};
use incident_response::adapters::clock::SystemClock;
use incident_response::adapters::file::{FileJournal, FileSnapshots, HaltFile};
use incident_response::adapters::scrape::{ScrapeConfig, ScrapeSource, ScrapeTarget};
use incident_response::adapters::tail::{TailConfig, TailFile, TailSource};
use incident_response::core::journal::{Body, Fact, Record};
use incident_response::core::{AutonomyTier, Ctx, EntityId, IncidentState};
use incident_response::prelude::{Detectors, Load, Playbooks, Policy, Responder, Topology};
use tokio::sync::broadcast;

use crate::cli::{ResponderOptions, Tier};
use crate::clock;
use crate::http;
use crate::parent;
use crate::records::{self, Alert, RunDir, ShopFile};

use changes::ChangeSource;
use executor::ShopExecutor;
use people::TerminalApprover;

pub(crate) async fn run(options: ResponderOptions) -> Result<()> {
    let typed = parent::lines();
    let run = options.run.clone();
    let shop: ShopFile = records::read_json(&run.shop())?;
    let control = http::address_of(&shop.control)?;
    let (approver, requests) = TerminalApprover::new();

    let responder = Responder::builder()
        .source(scrape(&shop)?)
        .source(tail(&shop)?)
        .source(ChangeSource::new(control))
        .detectors(Detectors::standard())
        .topology(Topology::from_file(run.topology())?)
        .playbooks(Playbooks::parse(include_str!("playbooks.toml"), "playbooks.toml")?)
        .policy(Policy::parse(include_str!("policy.toml"), "policy.toml")?.with_tier(tier(options.tier))?)
        .executor(ShopExecutor::new(control))
        .approver(approver)
        .snapshots(FileSnapshots::open(options.journal.join("snapshots"))?)
        .journal(FileJournal::open(&options.journal)?)
        .build()?;

    let engine = responder.open().await?;
    let handle = engine.handle();
    let mut helpers = tokio::task::JoinSet::new();
    helpers.spawn(tell(handle.records(), run.clone()));
    helpers.spawn(people::answer_requests(requests, typed, options.answer, handle.clone()));
    // Anybody who can make a file can stop the responder.
    let (halt_file, halt) = (HaltFile::new(run.0.join("HALT")), handle.halt_handle());
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let watching = ctx.clone();
    helpers.spawn(async move { drop(halt_file.watch(&watching, &halt).await) });

    engine
        .run_until(async {
            // Without the signal we can only be killed, which the journal survives as well.
            if parent::asked_to_stop().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
    helpers.shutdown().await;
    summary::write(&ctx, &options.journal, &run).await
}

/// Metrics of every service, through the same port that its clients use.
fn scrape(shop: &ShopFile) -> Result<ScrapeSource> {
    let target = shop
        .services
        .iter()
        .map(|service| Ok(ScrapeTarget { entity: EntityId::new(&service.name)?, url: service.metrics_url.clone() }))
        .collect::<Result<Vec<_>>>()?;
    Ok(ScrapeSource::new(ScrapeConfig {
        target,
        timeout_ms: 900,
        drop_labels: vec!["service".to_owned()],
        ..ScrapeConfig::default()
    })?)
}

fn tail(shop: &ShopFile) -> Result<TailSource> {
    let file = shop
        .services
        .iter()
        .map(|service| Ok(TailFile { entity: EntityId::new(&service.name)?, path: service.log.clone() }))
        .collect::<Result<Vec<_>>>()?;
    Ok(TailSource::new(TailConfig { file, ..TailConfig::default() })?)
}

const fn tier(tier: Tier) -> AutonomyTier {
    match tier {
        Tier::Observe => AutonomyTier::Observe,
        Tier::Recommend => AutonomyTier::Recommend,
        Tier::Approve => AutonomyTier::Approve,
        Tier::Veto => AutonomyTier::Veto,
        Tier::Act => AutonomyTier::Act,
    }
}

/// Tells what happens as it happens, and leaves the marks that the director waits for.
async fn tell(mut records: broadcast::Receiver<Record>, run: RunDir) {
    loop {
        match records.recv().await {
            Ok(record) => {
                if let Some(line) = telling::line(&record) {
                    println!("{line}");
                }
                if let Err(error) = mark(&record, &run) {
                    eprintln!("{error:#}");
                }
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => println!("({missed} records went by too fast to tell)"),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn mark(record: &Record, run: &RunDir) -> Result<()> {
    match &record.body {
        Body::Fact(Fact::IncidentOpened { incident, .. }) => {
            records::append_line(&run.alerts(), &Alert { at: clock::now(), text: format!("{incident} was opened") })
        }
        Body::Fact(Fact::IncidentMoved { to: IncidentState::Closed, .. }) => {
            std::fs::write(run.settled(), "").context("cannot mark that it is settled")
        }
        _ => Ok(()),
    }
}
