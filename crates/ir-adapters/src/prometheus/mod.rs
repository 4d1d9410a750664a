//! A Prometheus server: raw samples of selectors, and expressions evaluated at aligned steps.
//!
//! Each poll reads every query from where it stood up to a little before now, in slices. A sample stands in Prometheus once its
//! scrape has ended, under the time at which the scrape began: what takes longer than that little is not seen.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ir_core::config::Problem;
use ir_core::{ConfigError, Ctx, Cursor, Error, ErrorKind, Labels, Polled, Result, Series, SignalSource, Timestamp};

use crate::http::{HttpClient, HttpConfig, HttpUrl};
use crate::shared::{MAX_PROBLEMS, names};

mod answer;
mod client;
mod config;
mod gone;
mod histogram;
mod metadata;
mod runs;
mod state;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;

pub use config::{PrometheusConfig, PrometheusQuery, Samples};
pub use state::{PrometheusState, PrometheusStateConfig};

use answer::{Answer, Matrix};
use client::Client;
use histogram::Parts;
use metadata::Metadata;
use runs::Run;

const COMPONENT: &str = "prometheus";
/// The label with the metric's name.
const NAME: &str = "__name__";
/// The most steps of one slice: the server refuses more than 11,000 points of a series.
const MAX_STEPS: i64 = 1_000;
/// Nanoseconds of a millisecond.
const NANOS: i64 = 1_000_000;

/// Reads samples from a Prometheus server.
///
/// Series without an entity label are dropped and counted, and so is a sample or a series that cannot be read, and a sample of a
/// time that was not asked for. An empty label is no label, and white space in the name of an entity becomes `-`; the label stays
/// in that case. Warnings of the server, which say that an answer is partial, are problems of the poll; its hints (`infos`) are not.
/// A query that fails keeps its position and is a problem of the poll, as long as another one answers.
///
/// Where several series of an answer differ in nothing but labels that are left out, they are given as one, which a problem says
/// once for each metric.
///
/// A native histogram `x` becomes `x_count`, `x_sum` and `x_bucket` with the bounds of the configuration, as a classic one would
/// be. With [`Samples::Steps`] it may be a rate, which buckets that count are not: there `x_count` and `x_sum` come, as gauges.
#[derive(Debug)]
pub struct PrometheusSource {
    config: PrometheusConfig,
    client: Client,
    metadata: Mutex<Arc<Metadata>>,
    /// The series of former polls, so that all samples of a series share one.
    known: Mutex<HashSet<Arc<Series>>>,
    /// Metrics of which it was said that several series were given as one.
    merged: Mutex<HashSet<String>>,
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
                ConfigError::check(
                    problems,
                    Self {
                        config,
                        client,
                        metadata: Mutex::default(),
                        known: Mutex::default(),
                        merged: Mutex::default(),
                    },
                )
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
        let mut values: Vec<String> = answer::read_data(&self.client.label_values(ctx, label).await?)?;
        values.truncate(self.config.max_series);
        Ok(values)
    }

    /// The series that any of `selectors` gives between two times, by all their labels, the name as `__name__`: what there is to
    /// watch. At most `max_series` of them.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Unauthorized`; `InvalidConfig` when a selector is none, or there is none at all;
    /// `InvalidInput` when the answer is larger than `max_bytes`.
    pub async fn series(
        &self,
        ctx: &Ctx,
        selectors: &[&str],
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Labels>> {
        let range = (from.as_nanos().div_euclid(NANOS), until.as_nanos().div_euclid(NANOS));
        let reply = self.client.series(ctx, selectors, range, self.config.max_series).await?;
        let mut series: Vec<Labels> = answer::read_data(&reply)?;
        series.truncate(self.config.max_series);
        Ok(series)
    }

    /// Asks what the targets say of their metrics, when it is time to. What was known before stays where there is no answer.
    async fn refresh(&self, ctx: &Ctx, gathered: &mut Polled) {
        let now = ctx.now().wall;
        let known = self.metadata();
        let age = |asked: Timestamp| now.since(asked).as_secs();
        if self.config.metadata_secs == 0 || known.asked.is_some_and(|asked| age(asked) < self.config.metadata_secs) {
            return;
        }
        let asked = async {
            let reply = self.client.metadata(ctx, metadata::MAX_FAMILIES).await?;
            Ok::<_, Error>(Metadata::of(answer::read_data(&reply)?, now))
        };
        let metadata = match asked.await {
            Ok(metadata) => metadata,
            // Servers that only resemble Prometheus may have none: names go on to say it, and that was told once.
            Err(error) if !error.is_retryable() => {
                if known.asked.is_none() {
                    tell(gathered, || format!("kinds and units go by names: {}", error.message()));
                }
                known.with_asked(now)
            }
            Err(_) => return,
        };
        *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(metadata);
    }

    fn metadata(&self) -> Arc<Metadata> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        if answer.n_wrong > 0 {
            gathered.dropped += answer.n_wrong;
            tell(gathered, || format!("query `{}`: {} parts of the answer cannot be read", query.name, answer.n_wrong));
        }
        let metadata = self.metadata();
        let is_new = |millis: i64| after < millis && millis <= until;
        // Some versions of the server give the sample at `after` again.
        let is_outside = |millis: i64| millis < after || until < millis;
        let mut n_outside = 0;
        let mut runs = Vec::with_capacity(answer.series.len());
        for (n, matrix) in answer.series.iter().enumerate() {
            let n_new = matrix.values.iter().filter(|sample| is_new(sample.millis)).count();
            n_outside += matrix.values.iter().filter(|sample| is_outside(sample.millis)).count();
            n_outside += matrix.histograms.iter().filter(|observed| is_outside(observed.millis)).count();
            let histograms = || matrix.histograms.iter().filter(|observed| is_new(observed.millis));
            let n_histograms = histograms().count();
            if n_new + n_histograms == 0 {
                continue;
            }
            let series = match self.series_of(query, matrix, &metadata) {
                _ if n >= self.config.max_series => Err(format!("more than {} series", self.config.max_series)),
                series => series,
            };
            match series {
                Ok(series) => {
                    if n_histograms > 0 {
                        let shared = |series| self.shared(series);
                        let parts = Parts::new(&series, query.samples, &self.config.histogram_bounds, shared);
                        gathered.batch.metrics.extend(histograms().flat_map(|observed| parts.samples(observed)));
                    }
                    let samples = if n_new == matrix.values.len() {
                        Cow::Borrowed(matrix.values.as_slice())
                    } else {
                        matrix.values.iter().copied().filter(|sample| is_new(sample.millis)).collect()
                    };
                    runs.push(Run { series: self.shared(series), samples });
                }
                Err(problem) => {
                    gathered.dropped += (n_new + n_histograms) as u64;
                    tell(gathered, || format!("query `{}`: {problem}", query.name));
                }
            }
        }
        if n_outside > 0 {
            gathered.dropped += n_outside as u64;
            tell(gathered, || {
                format!("query `{}`: {n_outside} samples are of times that were not asked for", query.name)
            });
        }
        self.tell_merged(query, &runs, gathered);
        runs::append(runs, &mut gathered.batch.metrics);
    }

    /// Says which metrics have several series of the answer that became one, if that was not said before.
    fn tell_merged(&self, query: &PrometheusQuery, runs: &[Run<'_>], gathered: &mut Polled) {
        let mut seen = HashSet::with_capacity(runs.len());
        let again = runs.iter().filter(|run| !seen.insert(Arc::as_ptr(&run.series)));
        let metrics: BTreeSet<&str> = again.map(|run| run.series.metric.as_str()).collect();
        if metrics.is_empty() {
            return;
        }
        let mut told = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        for metric in metrics.into_iter().filter(|metric| told.insert((*metric).to_owned())) {
            tell(gathered, || {
                let query = &query.name;
                format!(
                    "query `{query}`: series of `{metric}` differ only in labels that are left out, and are given as one"
                )
            });
        }
    }

    /// The same series as in former polls.
    fn shared(&self, series: Series) -> Arc<Series> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&series) {
            return known.clone();
        }
        // Series come and go. Without a look at which of them went, all begin anew now and then.
        if known.len() >= self.config.max_series.saturating_mul(self.config.query.len()) {
            known.clear();
        }
        let series = Arc::new(series);
        known.insert(series.clone());
        series
    }

    fn series_of(&self, query: &PrometheusQuery, matrix: &Matrix<'_>, metadata: &Metadata) -> Result<Series, String> {
        let label = |name: &str| matrix.metric.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref());
        let named =
            names::entity(&self.config.entity_labels, label).map_err(|problem| format!("a series: {problem}"))?;
        let metric = label(NAME).map(str::to_owned);
        let metric = metric.or_else(|| query.metric.clone()).unwrap_or_else(|| query.name.clone());
        let (kind, unit) = metadata.look(&metric, label("le").is_some());
        let kind = query.kind.unwrap_or(kind);
        let unit = if query.unit.is_empty() { unit.to_owned() } else { query.unit.clone() };
        let kept =
            |key: &str| key != NAME && !named.covers(key) && !self.config.drop_labels.iter().any(|drop| drop == key);
        let labels: Labels = matrix
            .metric
            .iter()
            .filter(|(key, value)| !value.is_empty() && kept(key))
            .map(|(key, value)| (key.as_ref(), value.as_ref()))
            .collect();
        Ok(Series { entity: named.entity, metric, kind, unit, labels })
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
        self.refresh(ctx, &mut gathered).await;
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
