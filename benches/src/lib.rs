//! What the benches share: made-up signals, records and configurations of the size that real ones have, and worlds with a seed.

pub mod sim;

use std::sync::Arc;

use incident_response::EngineConfig;
use incident_response::core::Clock as _;
use incident_response::core::journal::{Body, Content, Event, Observed, Started};
use incident_response::core::signal::PollRecord;
use incident_response::core::{
    Catalogue, ConfigError, Cursor, EntityId, Error, Labels, ManualClock, MetricKind, MetricSample, Moment, PartName,
    Result, Series, SignalBatch, Timestamp, Topology,
};
use incident_response::plan::decision::Policy;

/// The moment at which every bench starts.
#[must_use]
pub fn start() -> Moment {
    ManualClock::new().now()
}

/// `start` moved on.
#[must_use]
pub fn later(start: &Moment, ms: u64) -> Moment {
    let by = std::time::Duration::from_millis(ms);
    Moment { wall: start.wall.plus(by), mono_ns: start.mono_ns + ms * 1_000_000, boot: start.boot.clone() }
}

/// A round of three sources that found nothing: the commonest record.
#[must_use]
pub fn quiet_round(n: u64) -> Event {
    let poll = |source: &'static str| PollRecord {
        source: PartName::literal(source),
        cursor: Cursor::new(n.to_string()),
        count: 240,
        late: 0,
        dropped: 0,
        problems: Vec::new(),
    };
    Event::Observed(Observed { polls: vec![poll("scrape"), poll("tail"), poll("changes")], ..Observed::default() })
}

/// A start with a topology of `n_entities` in a chain.
///
/// # Errors
///
/// Never for a sensible count.
pub fn started(n_entities: usize) -> Result<Event, ConfigError> {
    let mut text = String::new();
    for n in 0..n_entities {
        text.push_str(&format!("[[entity]]\nid = \"s{n}\"\n"));
    }
    for n in 1..n_entities {
        text.push_str(&format!("[[dependency]]\nfrom = \"s{}\"\nto = \"s{n}\"\n", n - 1));
    }
    let config = EngineConfig {
        topology: Topology::parse(&text, "bench")?,
        catalogue: Catalogue::default(),
        policy: Policy::parse("", "bench")?,
        settings: Default::default(),
    };
    Ok(Event::Started(Started {
        version: "bench".to_owned(),
        epoch: 1,
        config: Content::Here(config.to_value()?),
        policy: config.policy.digest(),
        limits: config.policy.limits().clone(),
        parts: Vec::new(),
        forgetful: Vec::new(),
    }))
}

/// Bodies of `n` quiet rounds.
#[must_use]
pub fn quiet_bodies(n: u64) -> Vec<Body> {
    (0..n).map(|n| Body::Event(quiet_round(n))).collect()
}

/// What services of a chain say of themselves, look after look, as a scrape would bring it.
#[derive(Debug)]
pub struct Telemetry {
    requests: Vec<Arc<Series>>,
    buckets: Vec<Arc<Series>>,
    memory: Vec<Arc<Series>>,
    up: Vec<Arc<Series>>,
    looks: u64,
}

const BOUNDS: [&str; 10] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];

impl Telemetry {
    /// `n_services` services with one route each.
    ///
    /// # Errors
    ///
    /// Never for a sensible count.
    pub fn new(n_services: usize) -> Result<Self, Error> {
        let mut telemetry =
            Self { requests: Vec::new(), buckets: Vec::new(), memory: Vec::new(), up: Vec::new(), looks: 0 };
        for n in 0..n_services {
            let entity = EntityId::new(format!("s{n}"))?;
            let series = |metric: &str, kind, labels: &[(&str, &str)]| {
                Arc::new(Series {
                    entity: entity.clone(),
                    metric: metric.to_owned(),
                    kind,
                    unit: String::new(),
                    labels: labels.iter().copied().collect::<Labels>(),
                })
            };
            for code in ["200", "500", "502"] {
                telemetry.requests.push(series(
                    "http_requests_total",
                    MetricKind::Counter,
                    &[("route", "/"), ("code", code)],
                ));
            }
            for le in BOUNDS {
                let labels = [("route", "/"), ("le", le)];
                telemetry.buckets.push(series("http_request_duration_seconds_bucket", MetricKind::Bucket, &labels));
            }
            telemetry.memory.push(series("process_resident_memory_bytes", MetricKind::Gauge, &[]));
            telemetry.up.push(series("up", MetricKind::Up, &[]));
        }
        Ok(telemetry)
    }

    /// The next look, half a second after the last.
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^53")]
    pub fn look(&mut self) -> SignalBatch {
        self.looks += 1;
        let at = Timestamp::from_millis(1_767_225_600_000 + i64::try_from(self.looks).unwrap_or(0) * 500);
        let looks = self.looks as f64;
        let mut metrics = Vec::new();
        let mut push = |series: &Arc<Series>, value| metrics.push(MetricSample { series: series.clone(), at, value });
        for (n, series) in self.requests.iter().enumerate() {
            push(series, if n % 3 == 0 { looks * 25.0 } else { 0.0 });
        }
        for (n, series) in self.buckets.iter().enumerate() {
            let share = (n % BOUNDS.len()) as f64 / (BOUNDS.len() - 1) as f64;
            push(series, (looks * 25.0 * share).floor());
        }
        for series in &self.memory {
            push(series, 5e7 + (looks * 7.0) % 1000.0);
        }
        for series in &self.up {
            push(series, 1.0);
        }
        SignalBatch { metrics, ..SignalBatch::default() }
    }
}
