//! Watches what Prometheus and Loki already know, says what it sees and what it would do, and can touch nothing.

mod advice;
mod options;
mod story;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use incident_response::adapters::clock::SystemClock;
use incident_response::adapters::file::FileJournal;
use incident_response::adapters::http::{HttpClient, HttpConfig, Tls};
use incident_response::adapters::loki::{LokiConfig, LokiQuery, LokiSource};
use incident_response::adapters::prometheus::{PrometheusConfig, PrometheusQuery, PrometheusSource, Samples};
use incident_response::core::topology::TopologyDocument;
use incident_response::core::{Entity, EntityId};
use incident_response::prelude::{Ctx, Detectors, EngineSettings, Load as _, Playbooks, Policy, Responder, Topology};

use options::Options;

/// What would be done about what. Nothing of it is ever done here.
const PLAYBOOKS: &str = r#"
[[playbook]]
name = "roll-back"
version = 1
when = { classes = ["bad_deploy"] }

[[playbook.step]]
id = "roll-back"
action = "service.roll_back"
expected_effect = "the former version serves, and the signals come back"
verification = { anomalies_end = true, hold_ms = 60000, within_ms = 600000 }

[[playbook]]
name = "restart"
version = 1
when = { classes = ["unavailable", "resource_exhaustion", "errors", "latency"] }

[[playbook.step]]
id = "restart"
action = "service.restart"
expected_effect = "a fresh process serves, and the signals come back"
verification = { anomalies_end = true, hold_ms = 60000, within_ms = 600000 }
"#;

/// The tier says that nothing is done; the rule says what might be.
const POLICY: &str = r#"
tier = "recommend"

[[rule]]
name = "say what would help"
effect = "permit"
when = { actions = ["service.restart", "service.roll_back"] }
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Options::from_command_line() {
        Ok(None) => {
            print!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Some(options)) => match run(options).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("{error:#}; `--help` says more");
            ExitCode::from(2)
        }
    }
}

async fn run(options: Options) -> Result<()> {
    let ctx = Ctx::new(std::sync::Arc::new(SystemClock::new()));
    let metrics = metrics(&options)?;
    let topology = match &options.topology {
        Some(path) => Topology::from_file(path)?,
        None => found(&ctx, &metrics).await?,
    };
    println!("watching {} entities; nothing will be touched", topology.entities().len());
    let folder = tempfile::tempdir()?;
    let journal = options.journal.clone().unwrap_or_else(|| folder.path().join("journal"));
    let mut builder = Responder::builder()
        .source(metrics)
        .detectors(Detectors::standard())
        .topology(topology)
        .playbooks(Playbooks::parse(PLAYBOOKS, "playbooks.toml")?)
        .policy(Policy::parse(POLICY, "policy.toml")?)
        .executor(advice::Advice)
        .journal(FileJournal::open(&journal)?)
        .settings(EngineSettings { poll_every_ms: options.every_ms, ..EngineSettings::default() });
    if options.loki.is_some() {
        builder = builder.source(logs(&options)?);
    }
    let engine = builder.build()?.open().await?;
    let telling = tokio::spawn(story::tell(engine.handle().records()));
    let over = async {
        match options.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            // Without a signal handler the program ends by the signal itself.
            None => drop(tokio::signal::ctrl_c().await),
        }
    };
    engine.run_until(over).await?;
    telling.abort();
    Ok(())
}

fn client(name: &str, url: &str) -> Result<HttpClient> {
    let config = HttpConfig { timeout_ms: 10_000, max_bytes: 64 << 20, ..HttpConfig::default() };
    let client = HttpClient::new(name, config);
    Ok(if url.starts_with("https://") { client.with_tls(Tls::system()?) } else { client })
}

fn metrics(options: &Options) -> Result<PrometheusSource> {
    let query = PrometheusQuery {
        name: "metrics".to_owned(),
        query: options.selector.clone(),
        samples: Samples::Raw,
        metric: None,
        kind: None,
        unit: String::new(),
    };
    let config = PrometheusConfig {
        url: options.prometheus.clone(),
        query: vec![query],
        drop_labels: ["instance", "pod", "container"].map(str::to_owned).to_vec(),
        backfill_ms: options.backfill_secs * 1000,
        entity_labels: options.entity_labels.clone(),
        ..PrometheusConfig::default()
    };
    Ok(PrometheusSource::with_client(config, client("prometheus", &options.prometheus)?)?)
}

fn logs(options: &Options) -> Result<LokiSource> {
    let url = options.loki.clone().unwrap_or_default();
    let client = client("loki", &url)?;
    let query = vec![LokiQuery { name: "logs".to_owned(), query: options.logql.clone() }];
    Ok(LokiSource::with_client(LokiConfig { url, query, ..LokiConfig::default() }, client)?)
}

/// Everything that the labels name, without dependencies: nobody has told us any.
async fn found(ctx: &Ctx, metrics: &PrometheusSource) -> Result<Topology> {
    let mut entity: Vec<Entity> = Vec::new();
    for label in ["service", "job"] {
        let values = metrics.label_values(ctx, label).await.context("what there is cannot be asked for")?;
        for id in values.iter().filter_map(|value| EntityId::new(value.as_str()).ok()) {
            if !entity.iter().any(|known| known.id == id) {
                entity.push(Entity::service(id));
            }
        }
    }
    ensure!(!entity.is_empty(), "no series has a label `service` or `job`; give a `--topology`");
    Ok(Topology::new(TopologyDocument { entity, ..TopologyDocument::default() })?)
}
