//! A Prometheus server: raw samples of selectors, and expressions evaluated at aligned steps.
//!
//! Each poll reads every query from where it stood up to a little before now, in slices. A sample stands in Prometheus once its
//! scrape has ended, under the time at which the scrape began: what takes longer than that little is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use ir_core::config::Problem;
use ir_core::{
    ConfigError, Ctx, Cursor, EntityId, Error, ErrorKind, Labels, MetricKind, MetricSample, PartName, Polled, Result,
    Series, SignalSource,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::{HttpClient, HttpConfig, HttpUrl};
use crate::prom::kind_of;

mod answer;
mod client;
#[cfg(test)]
mod tests;

use answer::{Answer, Matrix, Sample};
use client::Client;

const COMPONENT: &str = "prometheus";
/// How many problems of one poll are told in words; the rest is only counted.
const MAX_PROBLEMS: usize = 5;
/// The label with the metric's name.
const NAME: &str = "__name__";
/// The most steps of one slice: the server refuses more than 11,000 points of a series.
const MAX_STEPS: i64 = 1_000;

/// Which samples a query gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Samples {
    /// Every sample as it was scraped, once. The query must be a plain selector: `http_requests_total{env="prod"}`.
    #[default]
    Raw,
    /// The value of an expression at every step. Steps are aligned to the epoch, so that they are the same after a restart.
    Steps,
}

/// One query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusQuery {
    /// Its name: where it was read up to is kept under it.
    pub name: String,
    /// A selector, or an expression in PromQL.
    pub query: String,
    /// Which samples it gives. `raw`.
    #[serde(default)]
    pub samples: Samples,
    /// The metric's name where the result has none, as that of most expressions. The query's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// How the values behave. By default the metric's name says it: `up`, `.._total`, `.._count` and `.._sum` are counters,
    /// `.._bucket` with a label `le` is a bucket, everything else is a gauge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<MetricKind>,
    /// The unit; empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
}

/// What is read, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrometheusConfig {
    /// The source's name in records. `prometheus`.
    pub name: String,
    /// Where the server is: `http://prometheus:9090`, with a path before `/api` if there is one.
    pub url: String,
    /// The queries.
    pub query: Vec<PrometheusQuery>,
    /// The labels that name the entity, the first that a series has counts. `service`, `job`.
    pub entity_labels: Vec<String>,
    /// Labels that are left out, because they change without meaning: `pod`, `instance` ...
    pub drop_labels: Vec<String>,
    /// The distance between steps, in milliseconds. 15,000.
    #[schemars(range(min = 1))]
    pub step_ms: u64,
    /// How far behind now is read, in milliseconds: longer than a scrape takes. 2,000.
    pub lag_ms: u64,
    /// How far back the first poll begins, in milliseconds, so that baselines are warm at once. 0.
    pub backfill_ms: u64,
    /// The length of one slice of raw samples, in milliseconds. 300,000.
    #[schemars(range(min = 1))]
    pub slice_ms: u64,
    /// The most slices of one query in one poll. 12.
    #[schemars(range(min = 1))]
    pub max_slices: usize,
    /// The most series of one query; what is beyond is dropped and counted. 20,000.
    #[schemars(range(min = 1))]
    pub max_series: usize,
    /// How long one slice may take, in milliseconds. The server's own limit does not bound a heavy query. 10,000.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
    /// The most bytes of one slice. 64 MiB.
    #[schemars(range(min = 1))]
    pub max_bytes: usize,
}

impl Default for PrometheusConfig {
    fn default() -> Self {
        Self {
            name: "prometheus".to_owned(),
            url: String::new(),
            query: Vec::new(),
            entity_labels: ["service", "job"].map(str::to_owned).to_vec(),
            drop_labels: Vec::new(),
            step_ms: 15_000,
            lag_ms: 2_000,
            backfill_ms: 0,
            slice_ms: 300_000,
            max_slices: 12,
            max_series: 20_000,
            timeout_ms: 10_000,
            max_bytes: 64 << 20,
        }
    }
}

/// Reads samples from a Prometheus server.
///
/// Series of nobody (none of the entity labels) are dropped and counted, and so are native histograms. Warnings of the server,
/// which say that an answer is partial, are problems of the poll. A query that fails keeps its position and is a problem of the
/// poll, as long as another one answers.
#[derive(Debug)]
pub struct PrometheusSource {
    config: PrometheusConfig,
    client: Client,
}

impl PrometheusSource {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: an address that is none, no query, names used twice, bounds of 0.
    pub fn new(config: PrometheusConfig) -> Result<Self, ConfigError> {
        let http = HttpConfig {
            timeout_ms: config.timeout_ms,
            connect_timeout_ms: config.timeout_ms,
            max_bytes: config.max_bytes,
        };
        Self::with_client(config, HttpClient::new(COMPONENT, http))
    }

    /// The same with a client of the host's own: with credentials, with TLS, with other bounds.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_client(config: PrometheusConfig, client: HttpClient) -> Result<Self, ConfigError> {
        let mut problems = config.problems();
        match HttpUrl::parse(&config.url) {
            Ok(url) if !url.path().contains('?') => {
                let client = Client { http: client, url };
                ConfigError::check(problems, Self { config, client })
            }
            Ok(_) => {
                problems.push(Problem::at("url", "parameters do not belong into it"));
                Err(ConfigError::of(problems))
            }
            Err(error) => {
                problems.push(Problem::at("url", error.message()));
                Err(ConfigError::of(problems))
            }
        }
    }

    /// The values that a label has now, sorted: what there is to watch. At most `max_series` of them.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Unauthorized`; `InvalidConfig` when the label's name is none.
    pub async fn label_values(&self, ctx: &Ctx, label: &str) -> Result<Vec<String>> {
        let mut values = answer::read_list(&self.client.label_values(ctx, label).await?)?;
        values.truncate(self.config.max_series);
        Ok(values)
    }

    /// Reads a recorded answer of the server to the query of that name, as a poll would: the content of a reply of `query` or
    /// `query_range` with status 200. All of its samples count, whatever their times, sorted by time. Nothing is asked.
    ///
    /// # Errors
    ///
    /// `NotFound` when no query has that name; `Unavailable` when the answer cannot be read.
    pub fn read_recorded(&self, query: &str, body: &[u8]) -> Result<Polled> {
        let named = self.config.query.iter().find(|known| known.name == query);
        let query = named.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, COMPONENT, format!("no query of this source is named `{query}`"))
        })?;
        let mut gathered = Polled::default();
        self.take(query, &answer::read_body(body)?, i64::MIN, i64::MAX, &mut gathered);
        gathered.batch.metrics.sort_by_key(|sample| sample.at);
        Ok(gathered)
    }

    /// Reads a query behind `position` up to `end`. It moves slice by slice; an error leaves it behind the last whole one.
    async fn read(
        &self,
        ctx: &Ctx,
        query: &PrometheusQuery,
        position: &mut i64,
        end: i64,
        gathered: &mut Polled,
    ) -> Result<()> {
        let step = millis(self.config.step_ms);
        for _ in 0..self.config.max_slices {
            let (until, reply) = match query.samples {
                Samples::Raw => {
                    let until = end.min(position.saturating_add(millis(self.config.slice_ms)));
                    if until <= *position {
                        return Ok(());
                    }
                    (until, self.client.raw(ctx, &query.query, *position, until).await?)
                }
                Samples::Steps => {
                    let from = (position.div_euclid(step) + 1) * step;
                    let until = (end.div_euclid(step) * step).min(from.saturating_add((MAX_STEPS - 1) * step));
                    if until < from {
                        return Ok(());
                    }
                    (until, self.client.steps(ctx, &query.query, from, until, step).await?)
                }
            };
            let answer = answer::read(&reply)?;
            self.take(query, &answer, *position, until, gathered);
            *position = until;
        }
        Ok(())
    }

    /// Takes the samples behind `after`, up to `until`.
    fn take(&self, query: &PrometheusQuery, answer: &Answer<'_>, after: i64, until: i64, gathered: &mut Polled) {
        for warning in &answer.warnings {
            tell(gathered, || format!("query `{}`: the server says: {warning}", query.name));
        }
        let is_new = |sample: &&Sample| after < sample.millis && sample.millis <= until;
        for (n, matrix) in answer.series.iter().enumerate() {
            let mut samples = matrix.values.iter().filter(is_new).peekable();
            if matrix.histograms > 0 {
                gathered.dropped += matrix.histograms as u64;
                tell(gathered, || format!("query `{}` gives native histograms, which are not read", query.name));
            }
            if samples.peek().is_none() {
                continue;
            }
            let series = match self.series(query, matrix) {
                _ if n >= self.config.max_series => Err(format!("more than {} series", self.config.max_series)),
                series => series,
            };
            match series {
                Ok(series) => {
                    let series = Arc::new(series);
                    gathered.batch.metrics.reserve(matrix.values.len());
                    let metric = |s: &Sample| MetricSample { series: series.clone(), at: s.at(), value: s.value };
                    gathered.batch.metrics.extend(samples.map(metric));
                }
                Err(problem) => {
                    gathered.dropped += samples.count() as u64;
                    tell(gathered, || format!("query `{}`: {problem}", query.name));
                }
            }
        }
    }

    fn series(&self, query: &PrometheusQuery, matrix: &Matrix<'_>) -> Result<Series, String> {
        let label = |name: &str| matrix.metric.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref());
        let named = self.config.entity_labels.iter().find_map(|name| Some((name, label(name)?)));
        let (by, entity) = named.ok_or("a series has none of the labels that name an entity")?;
        let entity = EntityId::new(entity).map_err(|error| error.message().to_owned())?;
        let metric = label(NAME).map(str::to_owned);
        let metric = metric.or_else(|| query.metric.clone()).unwrap_or_else(|| query.name.clone());
        let kind = query.kind.unwrap_or_else(|| kind_of(&metric, label("le").is_some()));
        let kept = |key: &str| key != NAME && key != by && !self.config.drop_labels.iter().any(|drop| drop == key);
        let labels: Labels = matrix
            .metric
            .iter()
            .filter(|(key, _)| kept(key))
            .map(|(key, value)| (key.as_ref(), value.as_ref()))
            .collect();
        Ok(Series { entity, metric, kind, unit: query.unit.clone(), labels })
    }
}

impl PrometheusConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if self.query.is_empty() {
            problems.push(Problem::at("query", "at least one query is needed"));
        }
        let mut names = BTreeSet::new();
        for (n, query) in self.query.iter().enumerate() {
            if !names.insert(&query.name) {
                problems.push(Problem::at(format!("query[{n}].name"), format!("`{}` is named twice", query.name)));
            }
            if query.query.trim().is_empty() {
                problems.push(Problem::at(format!("query[{n}].query"), "is empty"));
            }
        }
        if self.entity_labels.is_empty() {
            problems.push(Problem::at("entity_labels", "name at least one label"));
        }
        let bounds = [
            ("step_ms", self.step_ms == 0),
            ("slice_ms", self.slice_ms == 0),
            ("max_slices", self.max_slices == 0),
            ("max_series", self.max_series == 0),
            ("timeout_ms", self.timeout_ms == 0),
            ("max_bytes", self.max_bytes == 0),
        ];
        let zero = bounds.into_iter().filter(|(_, is_zero)| *is_zero);
        problems.extend(zero.map(|(field, _)| Problem::at(field, "must be more than 0")));
        problems
    }
}

fn tell(gathered: &mut Polled, problem: impl FnOnce() -> String) {
    if gathered.problems.len() < MAX_PROBLEMS {
        gathered.problems.push(problem());
    }
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Where all queries stand, by their names, in milliseconds.
fn positions(cursor: &Cursor) -> Result<BTreeMap<String, i64>> {
    if cursor.as_str().is_empty() {
        return Ok(BTreeMap::new());
    }
    serde_json::from_str(cursor.as_str()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, COMPONENT, format!("the cursor is not one of it: {error}"))
    })
}

#[async_trait]
impl SignalSource for PrometheusSource {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let mut known = positions(cursor)?;
        let now = ctx.now().wall.as_nanos().div_euclid(1_000_000);
        let end = now.saturating_sub(millis(self.config.lag_ms));
        let begin = end.saturating_sub(millis(self.config.backfill_ms));
        let mut gathered = Polled::default();
        let mut reached = BTreeMap::new();
        let mut failed: Option<Error> = None;
        let mut n_failed = 0;
        for query in &self.config.query {
            let before = known.remove(&query.name).unwrap_or(begin);
            let mut position = before;
            if let Err(error) = self.read(ctx, query, &mut position, end, &mut gathered).await {
                // Slices that came before it failed are good.
                n_failed += usize::from(position == before);
                tell(&mut gathered, || format!("query `{}`: {}", query.name, error.message()));
                failed = failed.or(Some(error));
            }
            reached.insert(&query.name, position);
        }
        if let Some(error) = failed.filter(|_| n_failed == self.config.query.len()) {
            return Err(error);
        }
        gathered.batch.metrics.sort_by_key(|sample| sample.at);
        let text = serde_json::to_string(&reached).map_err(|error| {
            Error::new(ErrorKind::Unknown, COMPONENT, "the cursor cannot be written").with_source(error)
        })?;
        gathered.next = Cursor::new(text);
        Ok(gathered)
    }
}
