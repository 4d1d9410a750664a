//! The library at work: what it looks at, what it may do, and what it tells.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use incident_response::adapters::clock::SystemClock;
use incident_response::adapters::file::{FileJournal, verify};
use incident_response::adapters::postgres::{PostgresActions, PostgresActionsConfig};
use incident_response::adapters::prometheus::{PrometheusConfig, PrometheusQuery, PrometheusSource, Samples};
use incident_response::core::journal::{Body, Event, Fact, Record, Report};
use incident_response::core::{Detector, IncidentState, Phase, Secret, StepState};
use incident_response::detect::anomaly::{MetricNames, SaturationConfig, SaturationDetector};
use incident_response::prelude::{Ctx, Detectors, EngineSettings, EntityId, Playbooks, Policy, Responder, Topology};
use incident_response::replay;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

/// The series of the database that is watched for running full.
const CONNECTIONS: &str = "pg_connections";

/// What a reader and the judge want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    Opened,
    Suspects(String),
    Classified(String),
    Step(String, StepState),
    Closed,
    HandedOver,
}

/// All news, with their moments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story(Arc<Mutex<Vec<(Instant, News)>>>);

impl Story {
    pub(crate) fn news(&self) -> Vec<(Instant, News)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When something happened first.
    pub(crate) fn when(&self, is_it: impl Fn(&News) -> bool) -> Option<Instant> {
        self.news().into_iter().find(|(_, news)| is_it(news)).map(|(at, _)| at)
    }

    fn tell(&self, news: News) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), news));
    }
}

/// What there is to be seen: the shop's own metrics, and how many connections the database has.
fn source(prometheus: SocketAddr) -> Result<PrometheusSource> {
    let query = |name: &str, query: &str, samples| PrometheusQuery {
        name: name.to_owned(),
        query: query.to_owned(),
        samples,
        metric: None,
        kind: None,
        unit: String::new(),
    };
    Ok(PrometheusSource::new(PrometheusConfig {
        url: format!("http://{prometheus}"),
        query: vec![
            query("shop", "{service=\"shop\",__name__=~\"up|http_.+|downstream_.+\"}", Samples::Raw),
            // Customers come and go, so a single count says little: the mean of two seconds.
            query(CONNECTIONS, "sum by (service) (avg_over_time(pg_stat_activity_count[2s]))", Samples::Steps),
            query("pg_up", "min by (service) (pg_up)", Samples::Steps),
        ],
        drop_labels: ["instance", "job"].map(str::to_owned).to_vec(),
        step_ms: 500,
        lag_ms: 600,
        ..PrometheusConfig::default()
    })?)
}

/// Those that everybody has, and one that sees connections pile up: they rise steadily, and leave their usual range.
fn detectors() -> Result<Vec<Arc<dyn Detector>>> {
    let connections = SaturationConfig {
        names: MetricNames { memory: CONNECTIONS.to_owned(), ..MetricNames::default() },
        window_secs: 4.0,
        min_rise_bytes: 5.0,
        ..SaturationConfig::default()
    };
    let mut detectors = Detectors::standard();
    detectors.retain(|detector| detector.name() != "saturation");
    detectors.push(Arc::new(SaturationDetector::new(connections)?));
    Ok(detectors)
}

/// What may be touched: sessions and limits of one role.
fn executor(postgres: SocketAddr) -> Result<PostgresActions> {
    let config = PostgresActionsConfig {
        entity: EntityId::literal("orders-db"),
        roles: vec!["reports".to_owned()],
        max_sessions: 80,
        ..PostgresActionsConfig::default()
    };
    // A real one has a password, and comes from a place for secrets.
    let url = Secret::new(format!("postgresql://incident_response@{postgres}/postgres"));
    Ok(PostgresActions::new(config, &url)?)
}

/// All parts together, checked against each other. Nothing is connected yet.
fn responder(prometheus: SocketAddr, executor: PostgresActions, journal: &Path) -> Result<Responder> {
    let settings = EngineSettings {
        poll_every_ms: 250,
        settle_ms: 500,
        rediagnose_ms: 500,
        verify_every_ms: 250,
        ..EngineSettings::default()
    };
    Ok(Responder::builder()
        .source(source(prometheus)?)
        .detectors(detectors()?)
        .topology(Topology::parse(include_str!("topology.toml"), "topology.toml")?)
        .playbooks(Playbooks::parse(include_str!("playbooks.toml"), "playbooks.toml")?)
        .policy(Policy::parse(include_str!("policy.toml"), "policy.toml")?)
        .executor(executor)
        .journal(FileJournal::open(journal)?)
        .settings(settings)
        .build()?)
}

/// Watches and acts until `over`.
pub(crate) async fn run(
    prometheus: SocketAddr,
    postgres: SocketAddr,
    journal: &Path,
    begun: Instant,
    story: Story,
    over: impl Future<Output = ()> + Send,
) -> Result<()> {
    let executor = executor(postgres)?;
    // When the database has no connection left it is too late to ask for one.
    executor.connect(&ctx()).await?;
    let engine = responder(prometheus, executor, journal)?.open().await?;
    let telling = tokio::spawn(tell(engine.handle().records(), begun, story));
    engine.run_until(over).await?;
    telling.abort();
    Ok(())
}

/// Whether the journal is whole, and its records give the same facts again. How many there are.
pub(crate) async fn check(journal: &Path) -> Result<u64> {
    let report = verify(journal)?;
    ensure!(report.fault.is_none(), "the journal does not verify: {:?}", report.fault);
    let replayed = replay(&ctx(), &FileJournal::open_read_only(journal)?).await?;
    ensure!(replayed.difference.is_none(), "the replay differs: {:?}", replayed.difference);
    Ok(report.records)
}

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

async fn tell(mut records: Receiver<Record>, begun: Instant, story: Story) {
    loop {
        match records.recv().await {
            Ok(record) => {
                for (line, news) in lines(&record) {
                    println!("{:5.1} s  {line}", begun.elapsed().as_secs_f64());
                    if let Some(news) = news {
                        story.tell(news);
                    }
                }
            }
            Err(RecvError::Lagged(n)) => println!("({n} records went by too fast to be told)"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn lines(record: &Record) -> Vec<(String, Option<News>)> {
    match &record.body {
        Body::Event(Event::Observed(seen)) => {
            let began = seen.anomalies.iter().filter(|anomaly| anomaly.phase != Phase::Grew);
            let line = |anomaly: &incident_response::core::Anomaly| match anomaly.phase {
                Phase::Ended => format!("  over: {} of {}", anomaly.subject, anomaly.entity),
                _ => format!("  sees: {}", anomaly.because),
            };
            let failures = seen.failures.iter().map(|failure| (format!("  cannot see: {failure}"), None));
            began.map(|anomaly| (line(anomaly), None)).chain(failures).collect()
        }
        Body::Event(Event::Reported { report: Report::Classified(class), .. }) => {
            let class = class.class.to_string();
            vec![(format!("  of class {class}"), Some(News::Classified(class)))]
        }
        Body::Fact(fact) => told(fact).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn told(fact: &Fact) -> Option<(String, Option<News>)> {
    Some(match fact {
        Fact::IncidentOpened { incident, because, .. } => {
            (format!("{incident} opens: {}", because.join("; ")), Some(News::Opened))
        }
        Fact::HypothesisFormed { suspect, .. } => {
            let suspect = suspect.as_ref().map_or_else(|| "nobody".to_owned(), |suspect| suspect.entity.to_string());
            (format!("  suspects {suspect}"), Some(News::Suspects(suspect)))
        }
        Fact::StepPreviewed { step, preview } => (format!("  {} would hit: {}", step.step, preview.summary), None),
        Fact::Decided(decision) => (format!("  {}: {}", decision.step.step, decision.verdict), None),
        Fact::StepMoved { step, to, because, .. } => {
            (format!("  {} is {to}: {because}", step.step), Some(News::Step(step.step.to_string(), *to)))
        }
        Fact::IncidentMoved { incident, to: IncidentState::Closed, because } => {
            (format!("{incident} closes: {because}"), Some(News::Closed))
        }
        Fact::IncidentMoved { incident, to: IncidentState::HandedOver, because } => {
            (format!("{incident} needs a person: {because}"), Some(News::HandedOver))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_fit_the_executor_and_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        responder(nowhere, executor(nowhere).unwrap(), &folder.path().join("journal")).unwrap();
    }
}
