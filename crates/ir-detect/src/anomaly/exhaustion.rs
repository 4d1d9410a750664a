//! Exhaustion: what fills slowly, told while there is time, with the hour at which it will be full.

use std::collections::BTreeMap;

use ir_core::anomaly::Direction;
use ir_core::{Anomaly, EntityId, MetricKind, Problem, Result, Series, Symptom, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use super::host::{Core, detector};
use super::names::{Bounds, MetricNames};
use crate::check::Check;
use crate::forecast::{Forecast, Leak, LeakConfig, LeakModel};
use crate::pairs;
use crate::runtime::per_entity::PerEntity;
use crate::runtime::scrape::EntityScrape;

/// Where a resource ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResourceEnd {
    /// Nobody knows: told when it grows as if it never ended.
    Unknown,
    /// At this value, in the unit of the metric.
    At(f64),
    /// At the value of another metric of the same entity with the same labels, such as `process_max_fds`. As long as that is 0 or
    /// absent, nobody knows.
    Metric(String),
    /// At 0: the metric is what is left.
    Empty,
}

/// A metric of something that is used up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// The metric's name, a gauge.
    pub metric: String,
    /// Where it ends.
    pub end: ResourceEnd,
    /// Whether a new process begins with none of it: true of memory and open files, false of a disk or of a database, whose
    /// exporter may be restarted without changing anything.
    pub of_process: bool,
}

impl Resource {
    fn of_process(metric: &str, end: ResourceEnd) -> Self {
        Self { metric: metric.to_owned(), end, of_process: true }
    }

    fn lasting(metric: &str, end: ResourceEnd) -> Self {
        Self { of_process: false, ..Self::of_process(metric, end) }
    }
}

/// How an [`ExhaustionDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExhaustionConfig {
    /// What is watched. Default: memory, open files and goroutines of processes, memory of containers, disks and inodes of the
    /// node exporter, volumes of Kubernetes, connections of PostgreSQL.
    pub resources: Vec<Resource>,
    /// How a leak is told from what usually rises.
    pub model: LeakConfig,
    /// Series at most; those beyond are not watched. Default 20,000: some 80 MB.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_series: usize,
    /// What is full sooner than this has the score of a surprise of 60 nats (0.86); later ones less, by the root of the time.
    /// Seconds, default four hours.
    #[schemars(range(min = 1.0, max = 31_536_000.0))]
    pub urgent_secs: f64,
    /// Names of metrics: only `start_time` is used.
    pub names: MetricNames,
    /// How much is kept of scrapes.
    pub bounds: Bounds,
    /// When episodes end; they begin when the model says so, which has waited already.
    pub episode: EpisodeConfig,
}

impl Default for ExhaustionConfig {
    fn default() -> Self {
        let metric = |name: &str| ResourceEnd::Metric(name.to_owned());
        Self {
            resources: vec![
                Resource::of_process("process_resident_memory_bytes", ResourceEnd::Unknown),
                Resource::of_process("process_open_fds", metric("process_max_fds")),
                Resource::of_process("go_goroutines", ResourceEnd::Unknown),
                Resource::of_process("container_memory_working_set_bytes", metric("container_spec_memory_limit_bytes")),
                Resource::lasting("node_filesystem_avail_bytes", ResourceEnd::Empty),
                Resource::lasting("node_filesystem_files_free", ResourceEnd::Empty),
                Resource::lasting("kubelet_volume_stats_available_bytes", ResourceEnd::Empty),
                Resource::lasting("pg_stat_activity_count", metric("pg_settings_max_connections")),
            ],
            model: LeakConfig::default(),
            max_series: 20_000,
            urgent_secs: 14_400.0,
            names: MetricNames::default(),
            bounds: Bounds::default(),
            episode: EpisodeConfig { begin_looks: 1, end_looks: 1, ..EpisodeConfig::default() },
        }
    }
}

impl ExhaustionConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        for resource in &self.resources {
            check.named("resources", &resource.metric);
            match &resource.end {
                ResourceEnd::Metric(name) => {
                    check.named("resources", name);
                }
                ResourceEnd::At(end) => {
                    check.within("resources", *end, f64::MIN, f64::MAX);
                }
                ResourceEnd::Unknown | ResourceEnd::Empty => {}
            }
        }
        check.part("model", self.model.check());
        check.count("max_series", self.max_series, 1, 1_000_000);
        check.within("urgent_secs", self.urgent_secs, 1.0, 31_536_000.0);
        check.part("names", self.names.check());
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }

    /// What a metric is, if it is watched.
    fn resource(&self, metric: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.metric == metric)
    }
}

detector! {
    /// Finds what fills slowly, and says when it will be full: memory, files, connections, disks.
    ///
    /// A [`LeakModel`] a series, about 4 KB and once a minute some 10 µs; nothing is said in the first five days of a series. For
    /// leaks of seconds and minutes see [`SaturationDetector`](super::SaturationDetector). The score says how urgent it is.
    ExhaustionDetector, Exhaustion, ExhaustionConfig
}

#[derive(Debug)]
struct Exhaustion(ExhaustionConfig);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Learned {
    model: LeakModel,
    last: Timestamp,
}

/// `Learned` by series.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct All(#[serde(with = "pairs")] BTreeMap<Key, Learned>);

impl PerEntity for All {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.0.drop_entity(entity);
    }
}

impl Core for Exhaustion {
    type State = All;
    const NAME: &'static str = "exhaustion";
    const VERSION: u32 = 1;

    fn bounds(&self) -> &Bounds {
        &self.0.bounds
    }

    fn start_time(&self) -> &str {
        &self.0.names.start_time
    }

    fn episode(&self) -> &EpisodeConfig {
        &self.0.episode
    }

    fn wants(&self, series: &Series) -> bool {
        let is_end = |resource: &Resource| matches!(&resource.end, ResourceEnd::Metric(name) if *name == series.metric);
        series.kind == MetricKind::Gauge
            && (series.metric == self.0.names.start_time
                || self.0.resource(&series.metric).is_some()
                || self.0.resources.iter().any(is_end))
    }

    fn scrape(
        &self,
        state: &mut All,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        scrape: &EntityScrape<'_>,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        for (series, value) in &scrape.gauges {
            if let Some(resource) = self.0.resource(&series.metric) {
                let end = end_of(resource, series, scrape);
                let restarted = scrape.restarted && resource.of_process;
                self.value(state, tracks, judge, (scrape, series, *value, end, restarted), out)?;
            }
        }
        Ok(())
    }
}

/// A value on its way up to a limit: what is left is turned round.
#[derive(Debug, Clone, Copy)]
struct End {
    limit: Option<f64>,
    sign: f64,
}

fn end_of(resource: &Resource, series: &Series, scrape: &EntityScrape<'_>) -> End {
    match &resource.end {
        ResourceEnd::Unknown => End { limit: None, sign: 1.0 },
        ResourceEnd::At(limit) => End { limit: Some(*limit), sign: 1.0 },
        ResourceEnd::Empty => End { limit: Some(0.0), sign: -1.0 },
        ResourceEnd::Metric(name) => {
            let same = |other: &Series| other.metric == *name && other.labels == series.labels;
            // One limit for all states or databases has fewer labels than what it limits.
            let wider = |other: &Series| {
                other.metric == *name && other.labels.iter().all(|(key, value)| series.labels.get(key) == Some(value))
            };
            let found = scrape.gauges.iter().find(|(other, _)| same(other));
            let found = found.or_else(|| scrape.gauges.iter().find(|(other, _)| wider(other)));
            End { limit: found.map(|(_, limit)| *limit).filter(|limit| *limit > 0.0), sign: 1.0 }
        }
    }
}

impl Exhaustion {
    fn value(
        &self,
        state: &mut All,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        (scrape, series, value, end, restarted): (&EntityScrape<'_>, &Series, f64, End, bool),
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let config = &self.0;
        let key = Key { labels: series.labels.clone(), ..Key::new(scrape.entity, series.metric.as_str()) };
        if !state.0.contains_key(&key) && state.0.len() >= config.max_series {
            if tracks.may_make_room(scrape.at) {
                state.0.retain(|_, learned| scrape.at.since(learned.last).as_secs() <= config.bounds.forget_secs);
            }
            if state.0.len() >= config.max_series {
                tracks.refuse_series();
                return Ok(());
            }
        }
        let learned = state.0.entry(key.clone()).or_default();
        learned.last = scrape.at;
        let secs = scrape.at.as_nanos() as f64 / 1e9;
        let was_open = tracks.is_open(&key);
        // Feedback moves how sure the model must be.
        let model = LeakConfig {
            limit_nats: (config.model.limit_nats * tracks.factor(&key)).min(100.0),
            ..config.model.clone()
        };
        let judged = learned.model.push(secs, end.sign * value, restarted, end.limit, &model);
        match learned.model.leak() {
            Some(leak) if judged => {
                let forecast = || end.limit.map(|limit| learned.model.forecast(secs, limit, &model));
                self.goes_on(tracks, judge, &key, (value, end), leak, forecast, out)
            }
            None if was_open => ended(tracks, judge, &key, value, out),
            _ => Ok(()),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "private, one caller")]
    fn goes_on(
        &self,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        key: &Key,
        (value, end): (f64, End),
        leak: &Leak,
        forecast: impl FnOnce() -> Option<Forecast>,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let config = &self.0;
        // A straight line is enough for the score; the courses are drawn for people, when something is said to them.
        let left = end.limit.map(|limit| 3600.0 * (limit - leak.level).max(0.0) / leak.per_hour);
        let urgency = left.map_or(0.25, |secs| (config.urgent_secs / secs.max(config.urgent_secs)).sqrt());
        let onset = Timestamp::from_nanos((leak.onset_secs * 1e9) as i64);
        let finding = Finding {
            verdict: Verdict::Bad,
            nats: 60.0 * urgency,
            symptom: Symptom::Saturation,
            direction: if end.sign > 0.0 { Direction::Up } else { Direction::Down },
            onset: Some(onset),
            expected: end.sign * leak.from,
            seen: value,
            threshold: end.limit.map_or(f64::NAN, |limit| end.sign * limit + 0.0),
        };
        let because = |onset| {
            let (verb, subject) = (if end.sign > 0.0 { "rises" } else { "falls" }, &key.subject);
            format!(
                "{subject} {verb} by {} an hour since {onset}, from {} to {}, as at no time of the week before; {}",
                amount(subject, leak.per_hour),
                amount(subject, end.sign * leak.from),
                amount(subject, value),
                until(forecast().as_ref()),
            )
        };
        tracks.judge(judge, key, &finding, because, out)
    }
}

fn ended(tracks: &mut Tracks, judge: Judge<'_>, key: &Key, value: f64, out: &mut Vec<Anomaly>) -> Result<()> {
    let finding = Finding {
        verdict: Verdict::Good,
        nats: 0.0,
        symptom: Symptom::Saturation,
        direction: Direction::Up,
        onset: None,
        expected: value,
        seen: value,
        threshold: f64::NAN,
    };
    let because = |onset| format!("{} no longer moves towards its end as it did since {onset}", key.subject);
    tracks.judge(judge, key, &finding, because, out)
}

/// When it ends, for people.
fn until(forecast: Option<&Forecast>) -> String {
    let Some(forecast) = forecast else { return "where it ends is not known".to_owned() };
    let shown = |secs: Option<f64>| secs.map_or_else(|| "later".to_owned(), hours);
    format!(
        "exhausted in {} (90 %: {} to {})",
        shown(forecast.median_secs),
        shown(forecast.early_secs),
        shown(forecast.late_secs)
    )
}

fn hours(secs: f64) -> String {
    match secs / 3600.0 {
        hours if hours < 1.0 => format!("{:.0} minutes", secs / 60.0),
        hours if hours < 72.0 => format!("{hours:.1} hours"),
        hours => format!("{:.1} days", hours / 24.0),
    }
}

/// Bytes in MiB or GiB, anything else as it is.
fn amount(metric: &str, value: f64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    match (metric.ends_with("_bytes"), value.abs() / MIB) {
        (false, _) => format!("{value:.1}"),
        (true, mib) if mib < 1024.0 => format!("{:.1} MiB", value / MIB),
        (true, _) => format!("{:.1} GiB", value / MIB / 1024.0),
    }
}

#[cfg(test)]
mod tests;
