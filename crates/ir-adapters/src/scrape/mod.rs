//! Endpoints in the Prometheus text format or OpenMetrics: each poll scrapes every target once, all at the same time.
//!
//! A target that cannot be scraped is `up` 0 for its entity, and the poll goes on: which of several targets is away is what
//! the engine wants to know. When to poll is the engine's business.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hyper::body::Bytes;
use ir_core::config::Problem;
use ir_core::{
    ConfigError, Ctx, Cursor, EntityId, Error, ErrorKind, Labels, MetricKind, MetricSample, Polled, Result, Series,
    SignalSource, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "tls")]
use crate::http::Tls;
use crate::http::{HttpClient, HttpConfig, HttpUrl};
use crate::prom::unit_of;

mod exposition;
#[cfg(test)]
mod tests;

use exposition::Format;

const COMPONENT: &str = "scrape";
/// How many problems of one poll are told in words; the rest is only counted.
const MAX_PROBLEMS: usize = 5;

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScrapeTarget {
    /// Whose metrics it gives.
    pub entity: EntityId,
    /// Where: `http://127.0.0.1:9100/metrics`.
    pub url: String,
}

/// What is scraped, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScrapeConfig {
    /// The source's name in records. `scrape`.
    pub name: String,
    /// The endpoints.
    pub target: Vec<ScrapeTarget>,
    /// How long one target may take, in milliseconds. 2,000.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
    /// The most bytes of one answer. 8 MiB.
    #[schemars(range(min = 1))]
    pub max_bytes: usize,
    /// The most series of one target; what is beyond is dropped and counted. 20,000.
    #[schemars(range(min = 1))]
    pub max_series: usize,
    /// Labels that are left out, because the entity says it already: `service`, `instance` ...
    pub drop_labels: Vec<String>,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        Self {
            name: "scrape".to_owned(),
            target: Vec::new(),
            timeout_ms: 2_000,
            max_bytes: 8 << 20,
            max_series: 20_000,
            drop_labels: Vec::new(),
        }
    }
}

/// The formats that are read, the better one first: it tells units, and where it ends.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// What was left out of the scrapes on purpose, as nothing reads it yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrapeLeftOut {
    /// Exemplars of OpenMetrics.
    pub exemplars: u64,
    /// Samples that say when a series was created (`.._created` of OpenMetrics).
    pub created: u64,
}

/// Scrapes endpoints in the Prometheus text format, version 0.0.4, or OpenMetrics 1.0.
///
/// Kinds are those that the target tells, and units too; else the name does. A text in OpenMetrics that does not end with `# EOF`
/// is a scrape that failed, for what was cut off may be half of a number; so is an answer that says to be something else, such as
/// a page in HTML. The buckets of a histogram of gauges go up and down, so they are gauges.
///
/// Each target also gives a sample `up` of kind [`MetricKind::Up`]: 1 when its scrape worked, 0 when it did not. A sample
/// that carries its own time and was given before does not come again. The cursor is the time of the last scrape; a scrape
/// has no past, so every cursor of this source goes on from now.
#[derive(Debug)]
pub struct ScrapeSource {
    name: String,
    max_series: usize,
    drop_labels: Vec<String>,
    targets: Vec<Target>,
    exemplars: AtomicU64,
    created: AtomicU64,
}

#[derive(Debug)]
struct Target {
    url: HttpUrl,
    client: HttpClient,
    up: Arc<Series>,
    /// The series of the last scrapes by their text, so that a settled target is read without making any. Taken out while a
    /// scrape of the target is read.
    known: Mutex<HashMap<Box<str>, Known>>,
}

#[derive(Debug)]
struct Known {
    series: Arc<Series>,
    /// The last time that the target itself gave.
    last_ms: Option<i64>,
    /// Whether it was in the scrape that is being read.
    seen: bool,
}

/// What one target brought.
#[derive(Debug, Default)]
struct Scraped {
    samples: Vec<MetricSample>,
    dropped: u64,
    problems: Vec<String>,
}

impl ScrapeSource {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no target, addresses that are none or need TLS, entities named twice, bounds of 0, a name that is
    /// none.
    pub fn new(config: ScrapeConfig) -> Result<Self, ConfigError> {
        Self::build(config, None)
    }

    /// The same, with targets that may need TLS.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    #[cfg(feature = "tls")]
    pub fn with_tls(config: ScrapeConfig, tls: &Tls) -> Result<Self, ConfigError> {
        Self::build(config, Some(&|client| client.with_tls(tls.clone())))
    }

    fn build(config: ScrapeConfig, tls: Option<&dyn Fn(HttpClient) -> HttpClient>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if let Err(error) = ir_core::PartName::new(&config.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if config.target.is_empty() {
            problems.push(Problem::at("target", "at least one target is needed"));
        }
        let bounds = [
            ("timeout_ms", config.timeout_ms == 0),
            ("max_bytes", config.max_bytes == 0),
            ("max_series", config.max_series == 0),
        ];
        for (field, is_zero) in bounds {
            if is_zero {
                problems.push(Problem::at(field, "must be more than 0"));
            }
        }
        let http = HttpConfig {
            timeout_ms: config.timeout_ms,
            connect_timeout_ms: config.timeout_ms,
            max_bytes: config.max_bytes,
        };
        let mut targets: Vec<Target> = Vec::new();
        for (n, target) in config.target.iter().enumerate() {
            if targets.iter().any(|other| other.up.entity == target.entity) {
                problems
                    .push(Problem::at(format!("target[{n}].entity"), format!("`{}` is named twice", target.entity)));
            }
            match HttpUrl::parse(&target.url) {
                Err(error) => problems.push(Problem::at(format!("target[{n}].url"), error.message())),
                Ok(url) if url.is_tls() && tls.is_none() => {
                    problems
                        .push(Problem::at(format!("target[{n}].url"), "it needs TLS, and this source was given none"));
                }
                Ok(url) => {
                    let plain = HttpClient::new(COMPONENT, http.clone());
                    let client = if let Some(tls) = tls { tls(plain) } else { plain };
                    targets.push(Target::new(target.entity.clone(), url, client));
                }
            }
        }
        let ScrapeConfig { name, max_series, drop_labels, .. } = config;
        let (exemplars, created) = Default::default();
        ConfigError::check(problems, Self { name, max_series, drop_labels, targets, exemplars, created })
    }

    /// What was left out so far.
    #[must_use]
    pub fn left_out(&self) -> ScrapeLeftOut {
        ScrapeLeftOut {
            exemplars: self.exemplars.load(Ordering::Relaxed),
            created: self.created.load(Ordering::Relaxed),
        }
    }
}

impl Target {
    fn new(entity: EntityId, url: HttpUrl, client: HttpClient) -> Self {
        let up = Series {
            entity,
            metric: "up".to_owned(),
            kind: MetricKind::Up,
            unit: String::new(),
            labels: Labels::new(),
        };
        Self { url, client, up: Arc::new(up), known: Mutex::default() }
    }

    async fn scrape(&self, ctx: &Ctx, at: Timestamp, source: &ScrapeSource) -> Scraped {
        let up = |value: f64| MetricSample { series: self.up.clone(), at, value };
        match self.ask(ctx).await {
            Ok((format, body)) => {
                let mut scraped = self.read(&body, format, at, source);
                scraped.samples.push(up(1.0));
                scraped
            }
            Err(error) => {
                let problem = format!("`{}` is not up: {}", self.up.entity, error.message());
                Scraped { samples: vec![up(0.0)], dropped: 0, problems: vec![problem] }
            }
        }
    }

    /// The whole text, and what it is in.
    async fn ask(&self, ctx: &Ctx) -> Result<(Format, Bytes)> {
        let wrong = |message: String| Error::new(ErrorKind::Unavailable, COMPONENT, message);
        let reply = self.client.get_with(ctx, &self.url, &[("accept", ACCEPT)]).await?;
        let content_type = reply.content_type.clone();
        let body = reply.into_body(COMPONENT)?;
        let format = Format::of(content_type.as_deref()).map_err(wrong)?;
        if !format.is_whole(&body) {
            return Err(wrong("its text does not end with `# EOF`".to_owned()));
        }
        Ok((format, body))
    }

    fn read(&self, body: &[u8], format: Format, at: Timestamp, source: &ScrapeSource) -> Scraped {
        let mut known = std::mem::take(&mut *self.known.lock().unwrap_or_else(PoisonError::into_inner));
        let mut scraped = Scraped { samples: Vec::with_capacity(known.len() + 1), ..Scraped::default() };
        let mut n_seen = 0;
        let left_out = exposition::parse(body, format, |line| {
            let taken = match line {
                Err(bad) => Err((bad.line, bad.what)),
                Ok(_) if n_seen >= source.max_series => Err((0, "there are more series than allowed")),
                Ok(sample) => self.take(&mut known, &sample, at, source).map_err(|what| (0, what)),
            };
            match taken {
                Ok(sample) => {
                    n_seen += 1;
                    scraped.samples.extend(sample);
                }
                Err((line, what)) => {
                    scraped.dropped += 1;
                    if scraped.problems.len() < MAX_PROBLEMS {
                        let place = if line > 0 { format!(" line {line}") } else { String::new() };
                        scraped.problems.push(format!("`{}`{place}: {what}", self.up.entity));
                    }
                }
            }
        });
        source.exemplars.fetch_add(left_out.exemplars, Ordering::Relaxed);
        source.created.fetch_add(left_out.created, Ordering::Relaxed);
        // What a target no longer gives is forgotten at once, so that the memory is bounded by one scrape.
        known.retain(|_, series| std::mem::take(&mut series.seen));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        scraped
    }

    /// The sample, or nothing when it was given before.
    fn take(
        &self,
        known: &mut HashMap<Box<str>, Known>,
        sample: &exposition::Sample<'_>,
        at: Timestamp,
        source: &ScrapeSource,
    ) -> Result<Option<MetricSample>, &'static str> {
        let unit = if sample.unit.is_empty() { unit_of(sample.name) } else { sample.unit };
        if known.get(sample.key).is_none_or(|known| known.series.kind != sample.kind || known.series.unit != unit) {
            let series = Arc::new(self.series(sample, unit, source)?);
            known.insert(sample.key.into(), Known { series, last_ms: None, seen: false });
        }
        let Some(series) = known.get_mut(sample.key) else { return Ok(None) };
        if std::mem::replace(&mut series.seen, true) {
            return Err("the series comes twice");
        }
        let at = match sample.timestamp_ms {
            None => at,
            Some(own) if series.last_ms.is_some_and(|last| own <= last) => return Ok(None),
            Some(own) => {
                series.last_ms = Some(own);
                Timestamp::from_millis(own)
            }
        };
        Ok(Some(MetricSample { series: series.series.clone(), at, value: sample.value }))
    }

    fn series(
        &self,
        sample: &exposition::Sample<'_>,
        unit: &str,
        source: &ScrapeSource,
    ) -> Result<Series, &'static str> {
        let mut labels = exposition::parse_labels(sample.labels)?;
        for name in &source.drop_labels {
            labels.remove(name);
        }
        Ok(Series {
            entity: self.up.entity.clone(),
            metric: sample.name.to_owned(),
            kind: sample.kind,
            unit: unit.to_owned(),
            labels,
        })
    }
}

#[async_trait]
impl SignalSource for ScrapeSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        if !cursor.as_str().is_empty() && cursor.as_str().parse::<Timestamp>().is_err() {
            let message = format!("`{}` is no cursor of a scrape", cursor.as_str());
            return Err(Error::new(ErrorKind::InvalidInput, COMPONENT, message));
        }
        ctx.check(COMPONENT)?;
        let at = ctx.now().wall;
        let scraped = futures::future::join_all(self.targets.iter().map(|target| target.scrape(ctx, at, self))).await;
        if ctx.is_stopped() {
            // Scrapes that were broken off by us say nothing about their targets.
            return Err(Error::new(ErrorKind::Stopped, COMPONENT, "asked to stop"));
        }
        let mut polled = Polled { next: Cursor::new(at.to_string()), ..Polled::default() };
        for mut target in scraped {
            polled.batch.metrics.append(&mut target.samples);
            polled.dropped += target.dropped;
            let room = MAX_PROBLEMS.saturating_sub(polled.problems.len());
            polled.problems.extend(target.problems.into_iter().take(room));
        }
        Ok(polled)
    }
}
