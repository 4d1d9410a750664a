//! Endpoints in the Prometheus text format or OpenMetrics: each poll scrapes every target once, all at the same time.
//!
//! A target that cannot be scraped is `up` 0 for its entity, and the poll goes on: which of several targets is away is what
//! the engine wants to know. When to poll is the engine's business.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hyper::body::Bytes;
use ir_core::config::Problem;
use ir_core::text::Encoding;
use ir_core::{
    ConfigError, Ctx, Cursor, EntityId, Error, ErrorKind, Labels, MetricKind, MetricSample, Polled, Result, Series,
    SignalSource, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(feature = "tls")]
use crate::http::Tls;
use crate::http::{HttpClient, HttpConfig, HttpUrl};
use crate::prom::{escaped, unit_of};
use crate::shared::MAX_PROBLEMS;
use crate::shared::recent::{Came, Recent};
use crate::shared::times::{self, Plausible};

mod exposition;
#[cfg(test)]
mod tests;

use exposition::Format;

const COMPONENT: &str = "scrape";

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
    /// Labels that are left out, because the entity says it already: `service`, `instance` ... Where samples of one answer differ in
    /// nothing else, they are given as one series, which a problem of the poll says once for each metric.
    pub drop_labels: Vec<String>,
    /// How far ahead of our clock a time of a target may be, in milliseconds; what is beyond is dropped and counted. 600,000.
    pub max_ahead_ms: u64,
    /// How old a time of a target may be, in milliseconds; what is beyond is dropped and counted. 315,360,000,000: ten years.
    pub max_age_ms: u64,
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
            max_ahead_ms: times::MAX_AHEAD_MS,
            max_age_ms: times::MAX_AGE_MS,
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
/// Each target also gives a sample `up` of kind [`MetricKind::Up`]: 1 when its scrape worked, 0 when it did not. It did not work
/// either where no line of its answer could be read as a sample or as what is left out on purpose, and where the answer is packed
/// (`gzip`, `deflate`, `br`, `zstd` ...), which is not asked for. The cursor is the time of the last scrape; a scrape has no past, so
/// every cursor of this source goes on from now.
///
/// A sample that carries its own time and was given before does not come again; one whose time is earlier than that of the last
/// one comes and counts as late. A time that cannot be by our clock (seconds for milliseconds, milliseconds for seconds) costs its
/// sample alone. A series is known by its set of labels, in whatever order they stand. A byte order mark is no content, and an answer
/// in UTF-16 is read.
#[derive(Debug)]
pub struct ScrapeSource {
    name: String,
    max_series: usize,
    drop_labels: Vec<String>,
    max_ahead_ms: u64,
    max_age_ms: u64,
    targets: Vec<Target>,
    exemplars: AtomicU64,
    created: AtomicU64,
}

#[derive(Debug)]
struct Target {
    url: HttpUrl,
    client: HttpClient,
    up: Arc<Series>,
    /// The series of the last scrapes. Taken out while a scrape of the target is read.
    known: Mutex<Known>,
}

/// The series of one target.
#[derive(Debug, Default)]
struct Known {
    /// By their text, so that a settled target is read without making any.
    by_text: HashMap<Box<str>, usize>,
    /// By what the text means, the labels that were left out apart.
    by_series: HashMap<(Arc<Series>, Labels), usize>,
    entries: Vec<Entry>,
    /// Metrics of which it was said that several series were given as one.
    told: HashSet<String>,
}

#[derive(Debug)]
struct Entry {
    series: Arc<Series>,
    /// The last times that the target itself gave.
    recent: Option<Box<Recent>>,
    /// Whether it was in the scrape that is being read.
    seen: bool,
}

/// What one target brought.
#[derive(Debug, Default)]
struct Scraped {
    samples: Vec<MetricSample>,
    late: u64,
    dropped: u64,
    problems: Vec<String>,
}

impl Scraped {
    fn tell(&mut self, problem: impl FnOnce() -> String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem());
        }
    }
}

impl Known {
    /// Forgets what a target no longer gives, so that the memory is bounded by one scrape.
    fn forget_unseen(&mut self) {
        if self.entries.iter().any(|entry| !entry.seen) {
            let mut places = Vec::with_capacity(self.entries.len());
            let mut n = 0;
            for entry in &self.entries {
                places.push(entry.seen.then_some(n));
                n += usize::from(entry.seen);
            }
            let moved = |at: &mut usize| places.get(*at).copied().flatten().inspect(|to| *at = *to).is_some();
            self.by_text.retain(|_, at| moved(at));
            self.by_series.retain(|_, at| moved(at));
            self.entries.retain(|entry| entry.seen);
        }
        // A target may write the labels of a series in another order each time.
        if self.by_text.len() > 2 * self.entries.len() + 16 {
            self.by_text.clear();
        }
        self.entries.iter_mut().for_each(|entry| entry.seen = false);
    }

    /// Metrics of which several series are given as one, and of how many that is so, unless it was said before.
    fn merged(&mut self) -> Vec<(String, usize)> {
        let mut n_sources: HashMap<&Arc<Series>, usize> = HashMap::new();
        for (series, _) in self.by_series.keys() {
            *n_sources.entry(series).or_default() += 1;
        }
        let mut merged = std::collections::BTreeMap::new();
        for (series, n) in n_sources.into_iter().filter(|(_, n)| *n > 1) {
            *merged.entry(series.metric.clone()).or_default() += n;
        }
        merged.into_iter().filter(|(metric, _)| self.told.insert(metric.clone())).collect()
    }
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
        let ScrapeConfig { name, max_series, drop_labels, max_ahead_ms, max_age_ms, .. } = config;
        let (exemplars, created) = Default::default();
        let source = Self { name, max_series, drop_labels, max_ahead_ms, max_age_ms, targets, exemplars, created };
        ConfigError::check(problems, source)
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
                let (mut scraped, is_readable) = self.read(&body, format, at, source);
                if !is_readable {
                    scraped
                        .problems
                        .insert(0, format!("`{}` is not up: no line of its answer can be read", self.up.entity));
                }
                scraped.samples.push(up(f64::from(u8::from(is_readable))));
                scraped
            }
            Err(error) => {
                let problem = format!("`{}` is not up: {}", self.up.entity, error.message());
                Scraped { samples: vec![up(0.0)], problems: vec![problem], ..Scraped::default() }
            }
        }
    }

    /// The whole text, and what it is in.
    async fn ask(&self, ctx: &Ctx) -> Result<(Format, Bytes)> {
        let wrong = |message: String| Error::new(ErrorKind::Unavailable, COMPONENT, message);
        let reply = self.client.get_with(ctx, &self.url, &[("accept", ACCEPT)]).await?;
        let content_type = reply.content_type.clone();
        let body =
            without_mark(if reply.is_success() { reply.unpacked(COMPONENT)? } else { reply }.into_body(COMPONENT)?);
        let format = Format::of(content_type.as_deref()).map_err(wrong)?;
        if !format.is_whole(&body) {
            return Err(wrong("its text does not end with `# EOF`".to_owned()));
        }
        Ok((format, body))
    }

    /// What the text says, and whether any of it could be read.
    fn read(&self, body: &[u8], format: Format, at: Timestamp, source: &ScrapeSource) -> (Scraped, bool) {
        let mut known = std::mem::take(&mut *self.known.lock().unwrap_or_else(PoisonError::into_inner));
        let n_before = known.entries.len();
        let mut scraped = Scraped { samples: Vec::with_capacity(n_before + 1), ..Scraped::default() };
        let plausible = Plausible::at(at, source.max_ahead_ms, source.max_age_ms);
        let (mut n_seen, mut n_read) = (0, 0_u64);
        let left_out = exposition::parse(body, format, |line| {
            n_read += u64::from(line.is_ok());
            let taken = match line {
                Err(bad) => Err((bad.line, bad.what)),
                Ok(_) if n_seen >= source.max_series => Err((0, "there are more series than allowed")),
                Ok(sample) => self.take(&mut known, &sample, (at, plausible), source).map_err(|what| (0, what)),
            };
            match taken {
                Ok((sample, is_late)) => {
                    n_seen += 1;
                    scraped.late += u64::from(is_late);
                    scraped.samples.extend(sample);
                }
                Err((line, what)) => {
                    scraped.dropped += 1;
                    scraped.tell(|| {
                        let place = if line > 0 { format!(" line {line}") } else { String::new() };
                        format!("`{}`{place}: {what}", self.up.entity)
                    });
                }
            }
        });
        source.exemplars.fetch_add(left_out.exemplars, Ordering::Relaxed);
        source.created.fetch_add(left_out.created, Ordering::Relaxed);
        if !source.drop_labels.is_empty() && known.entries.len() > n_before {
            for (metric, n) in known.merged() {
                scraped.tell(|| {
                    let entity = &self.up.entity;
                    format!("`{entity}`: {n} series of `{metric}` differ only in labels that are left out, and are given as one")
                });
            }
        }
        known.forget_unseen();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        let is_readable = n_read > 0 || left_out.created > 0 || scraped.dropped == 0;
        (scraped, is_readable)
    }

    /// The sample, or nothing when it was given before; and whether it is late.
    fn take(
        &self,
        known: &mut Known,
        sample: &exposition::Sample<'_>,
        (at, plausible): (Timestamp, Plausible),
        source: &ScrapeSource,
    ) -> Result<(Option<MetricSample>, bool), &'static str> {
        let unit = if sample.unit.is_empty() { unit_of(sample.name) } else { sample.unit };
        let same = |entry: &Entry| entry.series.kind == sample.kind && entry.series.unit == unit;
        let place = match known.by_text.get(sample.key) {
            Some(place) if known.entries.get(*place).is_some_and(same) => *place,
            _ => {
                let (series, left_out) = self.series(sample, unit, source)?;
                let n = known.entries.len();
                let place = *known.by_series.entry((series.clone(), left_out)).or_insert(n);
                if place == n {
                    known.entries.push(Entry { series, recent: None, seen: false });
                }
                known.by_text.insert(sample.key.into(), place);
                place
            }
        };
        let entry = known.entries.get_mut(place).ok_or("the series is not known")?;
        if std::mem::replace(&mut entry.seen, true) {
            return Err("the series comes twice");
        }
        let Some(own) = sample.timestamp_ms else {
            return Ok((Some(MetricSample { series: entry.series.clone(), at, value: sample.value }), false));
        };
        let at = plausible.check(Timestamp::from_millis(own))?;
        let came = entry.recent.get_or_insert_default().note(own);
        match came {
            Came::Again => Ok((None, false)),
            Came::TooOld => Err("has a time older than what is remembered"),
            Came::New | Came::Late => {
                let series = entry.series.clone();
                Ok((Some(MetricSample { series, at, value: sample.value }), came == Came::Late))
            }
        }
    }

    /// The series, and the labels that are left out of it.
    fn series(
        &self,
        sample: &exposition::Sample<'_>,
        unit: &str,
        source: &ScrapeSource,
    ) -> Result<(Arc<Series>, Labels), &'static str> {
        let mut labels = exposition::parse_labels(sample.labels)?;
        let left_out =
            source.drop_labels.iter().filter_map(|name| Some((name.as_str(), labels.remove(name)?))).collect();
        let series = Series {
            entity: self.up.entity.clone(),
            metric: escaped(sample.name, true),
            kind: sample.kind,
            unit: unit.to_owned(),
            labels,
        };
        Ok((Arc::new(series), left_out))
    }
}

/// A text without its byte order mark, in UTF-8.
fn without_mark(body: Bytes) -> Bytes {
    match Encoding::of(&body) {
        Encoding::Utf8 if body.starts_with("\u{feff}".as_bytes()) => body.slice("\u{feff}".len()..),
        Encoding::Utf8 => body,
        encoding => without_mark(Bytes::from(encoding.decode(&body))),
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
            polled.late += target.late;
            polled.dropped += target.dropped;
            let room = MAX_PROBLEMS.saturating_sub(polled.problems.len());
            polled.problems.extend(target.problems.into_iter().take(room));
        }
        Ok(polled)
    }
}
