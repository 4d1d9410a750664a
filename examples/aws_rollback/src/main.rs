//! Watches an ECS service, blames a deployment when it goes wrong right after one, rolls it back, and measures that it
//! helped.

mod options;
mod simulate;
mod story;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use incident_response::adapters::aws::ecs::{EcsChanges, EcsConfig, EcsExecutor, EcsService};
use incident_response::adapters::aws::{AwsConfig, SdkConfig, sdk_config};
use incident_response::adapters::file::FileJournal;
use incident_response::adapters::scrape::{ScrapeConfig, ScrapeSource, ScrapeTarget};
use incident_response::core::topology::TopologyDocument;
use incident_response::core::{AutonomyTier, Entity, EntityId};
use incident_response::prelude::{Detectors, EngineSettings, Playbooks, Policy, Responder, Topology};

use options::{Command, Options};

/// What is done about what.
const PLAYBOOKS: &str = r#"
[[playbook]]
name = "roll-back-a-bad-deployment"
version = 1
description = "It went wrong right after a deployment: put the former task definition back."
when = { classes = ["bad_deploy"], kinds = ["service"] }

[[playbook.step]]
id = "roll-back"
action = "ecs.rollback"
expected_effect = "tasks of the former definition serve, and the signals come back"
timeout_ms = 20000
verification = { anomalies_end = true, hold_ms = 2000, within_ms = 600000 }
"#;

/// What may be done. Without `--act` nothing is: the tier is that of recommendations then.
const POLICY: &str = r#"
tier = "act"

[[rule]]
name = "roll back a bad deployment"
effect = "permit"
when = { actions = ["ecs.rollback"], kinds = ["service"], classes = ["bad_deploy"], min_confidence = 0.4 }
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ran = match options::from_command_line() {
        Ok(Command::Help) => {
            print!("{}", options::HELP);
            Ok(())
        }
        Ok(Command::Watch(options)) => watch(options).await,
        Ok(Command::Simulate(options)) => simulate::run(options).await,
        Err(error) => {
            eprintln!("{error:#}; `--help` says more");
            return ExitCode::from(2);
        }
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn watch(options: Options) -> Result<()> {
    let entity = EntityId::new(options.service.as_str())?;
    let sdk = sdk(options.region.clone(), options.endpoint.clone()).await?;
    let service = EcsService {
        entity: entity.clone(),
        cluster: options.cluster.clone(),
        service: options.service.clone(),
        min_count: 1,
        max_count: 10,
    };
    let ecs = EcsConfig { service: vec![service], ..EcsConfig::default() };
    let target = vec![ScrapeTarget { entity: entity.clone(), url: options.metrics.clone() }];
    // Yours has more than one service, and dependencies between them: `Topology::from_file`.
    let topology = Topology::new(TopologyDocument { entity: vec![Entity::service(entity)], ..Default::default() })?;
    let tier = if options.act { AutonomyTier::Act } else { AutonomyTier::Recommend };
    let folder = tempfile::tempdir()?;
    let journal = options.journal.clone().unwrap_or_else(|| folder.path().join("journal"));
    let responder = Responder::builder()
        .source(ScrapeSource::new(ScrapeConfig { target, ..ScrapeConfig::default() })?)
        .source(EcsChanges::new(&ecs, &sdk)?)
        .detectors(Detectors::standard())
        .topology(topology)
        .playbooks(Playbooks::parse(PLAYBOOKS, "playbooks.toml")?)
        .policy(Policy::parse(POLICY, "policy.toml")?.with_tier(tier)?)
        .executor(EcsExecutor::new(ecs, &sdk)?)
        .journal(FileJournal::open(&journal)?)
        .settings(EngineSettings { poll_every_ms: options.every_ms, ..EngineSettings::default() })
        .build()?;
    let engine = responder.open().await?;
    println!(
        "watching {} in {}; {}",
        options.service,
        options.cluster,
        if options.act { "acting" } else { "only looking" }
    );
    let telling = tokio::spawn(story::tell(engine.handle().records(), options.once));
    let over = async {
        let told = async {
            match telling.await {
                Ok(()) => {}
                // What is no longer told is no reason to end.
                Err(_) => std::future::pending().await,
            }
        };
        let late = async {
            match options.seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        // Without a signal handler the program ends by the signal itself.
        tokio::select! {
            () = told => {}
            () = late => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    engine.run_until(over).await?;
    Ok(())
}

/// Region and credentials come from the environment, as for all AWS tools. A host that has an `SdkConfig` uses that one.
async fn sdk(region: Option<String>, endpoint_url: Option<String>) -> Result<SdkConfig> {
    Ok(sdk_config(&AwsConfig { region, endpoint_url, ..AwsConfig::default() }).await?)
}
