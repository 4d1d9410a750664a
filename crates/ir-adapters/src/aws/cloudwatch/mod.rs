//! Amazon CloudWatch metrics, by `GetMetricData`: each period of each metric once.
//!
//! Each poll reads every metric from the period where it stood up to the last one that ended a little before now.
//! CloudWatch takes values minutes after their time, and a period that was read is not read again: what comes later
//! than [`CloudWatchConfig::lag_ms`] is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use aws_config::SdkConfig;
use ir_core::config::Problem;
use ir_core::{
    ConfigError, Ctx, Cursor, EntityId, Error, Labels, MetricKind, MetricSample, PartName, Polled, Result, Series,
    SignalSource, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::poll::{self, tell};
use super::prepare;

mod client;
#[cfg(test)]
mod tests;

use client::Client;

const COMPONENT: &str = "cloudwatch";
/// AWS takes so many metrics in one request.
const MAX_QUERIES: usize = 500;
/// AWS gives so many values in one page.
const MAX_VALUES: usize = 100_800;

/// One metric of CloudWatch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudWatchMetric {
    /// Its name among signals: `http_requests`. Where it was read up to is kept under entity and name.
    pub name: String,
    /// Whom it is about.
    pub entity: EntityId,
    /// The namespace: `AWS/ApplicationELB`.
    pub namespace: String,
    /// The metric's name in CloudWatch: `RequestCount`.
    pub metric: String,
    /// All its dimensions: CloudWatch finds a metric by exactly these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
    /// What is made of the values of one period: `Sum`, `Average`, `Minimum`, `Maximum`, `SampleCount`, `p99`, `tm90` ...
    pub stat: String,
    /// The length of a period in seconds: 1, 5, 10, 20, 30, or whole minutes. 60.
    #[serde(default = "minute")]
    pub period_secs: u32,
    /// How the values behave. `gauge`: also a `Sum` is that of one period and does not grow from one to the next.
    #[serde(default = "gauge")]
    pub kind: MetricKind,
    /// The unit; empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
}

const fn minute() -> u32 {
    60
}

const fn gauge() -> MetricKind {
    MetricKind::Gauge
}

/// What is read, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CloudWatchConfig {
    /// The source's name in records. `cloudwatch`.
    pub name: String,
    /// The metrics.
    pub metric: Vec<CloudWatchMetric>,
    /// How long a period must have been over before it is read, in milliseconds. 120,000: most services of AWS are that
    /// late.
    pub lag_ms: u64,
    /// How far back the first poll begins, in milliseconds, so that baselines are warm at once. 0.
    pub backfill_ms: u64,
    /// The most periods of one metric in one poll; the next poll goes on from there. 500.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_periods: u32,
    /// The most pages of one request. 20.
    #[schemars(range(min = 1))]
    pub max_pages: usize,
}

impl Default for CloudWatchConfig {
    fn default() -> Self {
        Self {
            name: "cloudwatch".to_owned(),
            metric: Vec::new(),
            lag_ms: 120_000,
            backfill_ms: 0,
            max_periods: 500,
            max_pages: 20,
        }
    }
}

/// Reads metrics from CloudWatch.
///
/// The time of a sample is the beginning of its period, as CloudWatch gives it. A period without values gives no
/// sample. A metric that AWS cannot give, or not whole, keeps its position and is a problem of the poll, as long as
/// another one answers.
#[derive(Debug)]
pub struct CloudWatchSource {
    config: CloudWatchConfig,
    series: Vec<Arc<Series>>,
    client: Client,
}

/// Periods from `from` (within) to `until` (not within), in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    period_secs: u32,
    from: i64,
    until: i64,
}

impl CloudWatchSource {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no metric, names used twice for an entity, a period that AWS does not have, bounds of 0,
    /// an `sdk` without a region.
    pub fn new(config: CloudWatchConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let mut problems = config.problems();
        let client = Client::new(&prepare::prepared(sdk, &mut problems));
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        let series = config.metric.iter().map(|metric| Arc::new(metric.series())).collect();
        Ok(Self { config, series, client })
    }

    /// What is to be read of a metric that stands at `position`; nothing when no further period is over.
    fn span(&self, metric: &CloudWatchMetric, position: i64, end: i64) -> Option<Span> {
        let period = metric.period_ms();
        // A cursor of another period length may lie within one; the next whole one counts.
        let from = position.div_euclid(period).saturating_add(i64::from(position.rem_euclid(period) > 0)) * period;
        let most = period.saturating_mul(i64::from(self.config.max_periods));
        let until = (end.div_euclid(period) * period).min(from.saturating_add(most));
        (from < until).then_some(Span { period_secs: metric.period_secs, from, until })
    }

    /// The metrics of one span, asked for together, and how far they came.
    async fn read(&self, ctx: &Ctx, span: Span, metrics: &[usize], gathered: &mut Polled) -> Result<BTreeSet<usize>> {
        let wanted: Vec<&CloudWatchMetric> = metrics.iter().filter_map(|n| self.config.metric.get(*n)).collect();
        let answer = self.client.read(ctx, span, &wanted, self.config.max_pages).await?;
        for message in &answer.messages {
            tell(gathered, || format!("CloudWatch says: {message}"));
        }
        let mut whole = BTreeSet::new();
        for (n, found) in metrics.iter().zip(&answer.metrics) {
            let (Some(metric), Some(series)) = (self.config.metric.get(*n), self.series.get(*n)) else { continue };
            if let Some(why) = &found.missing {
                tell(gathered, || format!("metric `{}` of `{}`: {why}", metric.name, metric.entity));
                continue;
            }
            whole.insert(*n);
            let sample = |(at, value): (&i64, &f64)| MetricSample {
                series: series.clone(),
                at: Timestamp::from_millis(*at),
                value: *value,
            };
            gathered.batch.metrics.extend(found.values.range(span.from..span.until).map(sample));
        }
        Ok(whole)
    }
}

impl CloudWatchMetric {
    fn period_ms(&self) -> i64 {
        i64::from(self.period_secs.max(1)).saturating_mul(1_000)
    }

    /// What its position is kept under. Entities have no line breaks.
    fn key(&self) -> String {
        format!("{}\n{}", self.entity, self.name)
    }

    fn series(&self) -> Series {
        let mut labels: Labels = self.dimensions.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        labels.insert("stat", self.stat.as_str());
        let (entity, metric, unit) = (self.entity.clone(), self.name.clone(), self.unit.clone());
        Series { entity, metric, kind: self.kind, unit, labels }
    }
}

impl CloudWatchConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if self.metric.is_empty() {
            problems.push(Problem::at("metric", "at least one metric is needed"));
        }
        let mut keys = BTreeSet::new();
        for (n, metric) in self.metric.iter().enumerate() {
            let at = |field: &str| format!("metric[{n}].{field}");
            if !keys.insert(metric.key()) {
                let message = format!("`{}` of `{}` is named twice", metric.name, metric.entity);
                problems.push(Problem::at(at("name"), message));
            }
            let texts = [
                ("name", &metric.name),
                ("namespace", &metric.namespace),
                ("metric", &metric.metric),
                ("stat", &metric.stat),
            ];
            let empty = texts.into_iter().filter(|(_, text)| text.trim().is_empty());
            problems.extend(empty.map(|(field, _)| Problem::at(at(field), "is empty")));
            if metric.dimensions.len() > 30 {
                problems.push(Problem::at(at("dimensions"), "a metric has at most 30"));
            }
            let is_short = matches!(metric.period_secs, 1 | 5 | 10 | 20 | 30);
            if !is_short && (metric.period_secs == 0 || !metric.period_secs.is_multiple_of(60)) {
                problems.push(Problem::at(at("period_secs"), "must be 1, 5, 10, 20, 30, or whole minutes"));
            }
        }
        if !(1..=10_000).contains(&self.max_periods) {
            problems.push(Problem::at("max_periods", "must be from 1 to 10,000"));
        }
        if self.max_pages == 0 {
            problems.push(Problem::at("max_pages", "must be more than 0"));
        }
        problems
    }
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[async_trait]
impl SignalSource for CloudWatchSource {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        // Where the metrics stand, in milliseconds.
        let known: Option<BTreeMap<String, i64>> = poll::position(COMPONENT, cursor)?;
        let known = known.unwrap_or_default();
        let now = ctx.now().wall.as_nanos().div_euclid(1_000_000);
        let end = now.saturating_sub(millis(self.config.lag_ms));
        let begin = end.saturating_sub(millis(self.config.backfill_ms));
        let mut reached = BTreeMap::new();
        let mut spans: BTreeMap<Span, Vec<usize>> = BTreeMap::new();
        for (n, metric) in self.config.metric.iter().enumerate() {
            // The period in which the first poll begins has begun before it and counts whole.
            let first = begin.div_euclid(metric.period_ms()) * metric.period_ms();
            let position = known.get(&metric.key()).copied().unwrap_or(first);
            reached.insert(metric.key(), position);
            if let Some(span) = self.span(metric, position, end) {
                spans.entry(span).or_default().push(n);
            }
        }
        let mut gathered = Polled::default();
        let mut failed: Option<Error> = None;
        let mut is_answered = spans.is_empty();
        for (span, metrics) in spans {
            let n_periods = usize::try_from((span.until - span.from) / 1_000 / i64::from(span.period_secs.max(1)));
            let together = (MAX_VALUES / n_periods.unwrap_or(1).max(1)).clamp(1, MAX_QUERIES);
            for metrics in metrics.chunks(together) {
                match self.read(ctx, span, metrics, &mut gathered).await {
                    Ok(whole) => {
                        is_answered = true;
                        let keys = whole.iter().filter_map(|n| self.config.metric.get(*n)).map(CloudWatchMetric::key);
                        reached.extend(keys.map(|key| (key, span.until)));
                    }
                    Err(error) => {
                        tell(&mut gathered, || error.message().to_owned());
                        failed = failed.or(Some(error));
                    }
                }
            }
        }
        if let Some(error) = failed.filter(|_| !is_answered) {
            return Err(error);
        }
        gathered.batch.metrics.sort_by_key(|sample| sample.at);
        gathered.next = poll::cursor(COMPONENT, &reached)?;
        Ok(gathered)
    }
}
