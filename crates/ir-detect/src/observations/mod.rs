//! Observations: the recent past of every series, bounded, for diagnosers and verifiers to look at.
//!
//! | metric of a history | value |
//! |---|---|
//! | `<counter>:rate` | per second, since the scrape before; resets and gaps are handled |
//! | `<gauge>`, `up` | as it came |
//! | `error_ratio`, `error_ratio:own` | share of requests that failed, and failed by own fault |
//! | `latency:mean`, `latency:p95`, `latency:exclusive` | seconds |
//! | `downstream_failures`, `downstream_latency` | share of calls that failed, mean seconds of a call; label `peer` |
//! | `traffic` | requests per second |
//!
//! Derived series have kind `gauge`. A scrape without requests adds no point to ratios and latencies: nothing is made up.
//! Histogram buckets are not kept one by one, the percentile is what they are for. Of each target the times of its scrapes are kept
//! as well, so that one can wait for new scrapes instead of for a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ir_core::{
    ConfigError, EntityId, Labels, MetricKind, Observations, Problem, Scrape, Series, SeriesHistory, SignalBatch,
    Target, TargetHistory, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::anomaly::rates::Counts;
use crate::anomaly::{Bounds, MetricNames, subject};
use crate::check::Check;
use crate::runtime::room::Room;
use crate::runtime::scrape::{Assembly, EntityScrape, Rise, ScrapeConfig, by_entity};
use crate::stats::Ring;

/// How much an [`ObservationStore`] keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ObservationStoreConfig {
    /// Older points are evicted. Seconds, default 900.
    #[schemars(range(min = 1, max = 864_000))]
    pub keep_secs: u64,
    /// But so many points of a series, and times of a target, are kept however old they are: at long intervals `keep_secs` holds only
    /// a few. Default 40.
    #[schemars(range(min = 0, max = 10_000))]
    pub keep_scrapes: usize,
    /// Points of a series at most. Default 2,000.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub max_points: usize,
    /// Series at most, all entities together; those beyond are not kept. Default 20,000: about 600 MB when all are full.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_series: usize,
    /// Names of metrics.
    pub names: MetricNames,
    /// How many targets are kept (`max_entities`), and how much of each while a bare batch is assembled.
    pub bounds: Bounds,
}

impl Default for ObservationStoreConfig {
    fn default() -> Self {
        Self {
            keep_secs: 900,
            keep_scrapes: 40,
            max_points: 2_000,
            max_series: 20_000,
            names: MetricNames::default(),
            bounds: Bounds::default(),
        }
    }
}

/// Keeps the recent past of every series.
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use ir_core::{EntityId, Labels, MetricKind, MetricSample, Series, SignalBatch, Timestamp};
/// use ir_detect::ObservationStore;
///
/// let series = |metric: &str, kind| {
///     let (entity, metric) = (EntityId::new("web").unwrap(), metric.to_owned());
///     Arc::new(Series { entity, metric, kind, unit: String::new(), labels: Labels::new() })
/// };
/// let (total, up) = (series("jobs_total", MetricKind::Counter), series("up", MetricKind::Up));
/// let store = ObservationStore::default();
/// for (secs, value) in [(1, 10.0), (3, 14.0), (5, 2.0)] {
///     let at = Timestamp::from_millis(secs * 1000);
///     let sample = |series: &Arc<Series>, value| MetricSample { series: series.clone(), at, value };
///     store.observe(&SignalBatch { metrics: vec![sample(&total, value), sample(&up, 1.0)], ..SignalBatch::default() });
/// }
/// let cut = store.cut(Timestamp::from_millis(5000), Duration::from_secs(60));
/// let rates = cut.series.iter().find(|history| history.series.metric == "jobs_total:rate").unwrap();
/// assert_eq!(rates.values, [2.0, 1.0]); // +4 in 2 s, then a reset and +2 in 2 s
/// ```
#[derive(Debug, Default)]
pub struct ObservationStore {
    config: ObservationStoreConfig,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Of bare batches only: it stays empty where scrapes are assembled for all.
    bare: Assembly,
    entities: HashMap<EntityId, EntityPast>,
    n_series: usize,
    n_targets: usize,
    refused: u64,
    room_for_series: Room,
    room_for_targets: Room,
}

/// Found by hash, because each scrape asks for each series, and sorted only when a cut is taken.
#[derive(Debug, Default)]
struct EntityPast {
    histories: HashMap<Arc<Series>, Ring<(Timestamp, f64)>>,
    targets: BTreeMap<Arc<Target>, Scraped>,
}

/// When a target was scraped.
#[derive(Debug, Default)]
struct Scraped {
    interval: Option<Duration>,
    times: Ring<Timestamp>,
}

impl Kept {
    /// Forgets what has become old, to make room.
    fn forget(&mut self, old_series: impl Fn(&Ring<(Timestamp, f64)>) -> bool, old_target: impl Fn(&Scraped) -> bool) {
        for past in self.entities.values_mut() {
            past.histories.retain(|_, history| !old_series(history));
            past.targets.retain(|_, scraped| !old_target(scraped));
        }
        self.entities.retain(|_, past| !past.histories.is_empty() || !past.targets.is_empty());
        self.n_series = self.entities.values().map(|past| past.histories.len()).sum();
        self.n_targets = self.entities.values().map(|past| past.targets.len()).sum();
    }
}

/// What was measured and scraped in `until - window < t <= until`, sorted.
fn cut<'a>(entities: impl Iterator<Item = &'a EntityPast>, until: Timestamp, window: Duration) -> Observations {
    let after = until.minus(window);
    let mut cut = Observations { until, ..Observations::default() };
    for past in entities {
        for (series, history) in &past.histories {
            let points = history.iter().filter(|(at, _)| *at > after && *at <= until);
            let (times, values): (Vec<_>, Vec<_>) = points.copied().unzip();
            if !times.is_empty() {
                cut.series.push(SeriesHistory { series: Series::clone(series), times, values });
            }
        }
        for (target, scraped) in &past.targets {
            let times = scraped.times.iter().copied().filter(|at| *at > after && *at <= until);
            let (target, scrapes) = (Target::clone(target), times.collect::<Vec<_>>());
            if !scrapes.is_empty() {
                cut.targets.push(TargetHistory { target, interval: scraped.interval, scrapes });
            }
        }
    }
    cut.series.sort_unstable_by(|a, b| a.series.cmp(&b.series));
    cut.targets.sort_unstable_by(|a, b| a.target.cmp(&b.target));
    cut
}

impl ObservationStore {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn new(config: ObservationStoreConfig) -> Result<Self, ConfigError> {
        ConfigError::check(config.check(), Self { config, kept: Mutex::default() })
    }

    /// Keeps the scrapes of a batch. One that brings samples only is assembled here; bad samples (NaN, late, repeated) are left out.
    /// Of an entity that is gone the targets are dropped, so that nobody waits for new scrapes; its series stay until they are old,
    /// because they may explain what happened to others.
    pub fn observe(&self, batch: &SignalBatch) {
        let mut guard = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut *guard;
        let bare = ScrapeConfig::within(&self.config.bounds, &self.config.names.start_time);
        let scrapes = kept.bare.scrapes_of(batch, &bare);
        for scrapes in by_entity(&scrapes) {
            for scrape in scrapes.iter().filter(|scrape| scrape.up != Some(false)) {
                self.keep_time(kept, scrape);
            }
            if let Some(scrape) = EntityScrape::new(scrapes, |_| true) {
                self.keep(kept, &scrape);
            }
        }
        for gone in &batch.gone {
            if let Some(past) = kept.entities.get_mut(&gone.entity) {
                kept.n_targets -= std::mem::take(&mut past.targets).len();
            }
        }
    }

    /// What was measured in `until - window < t <= until`, sorted by series and target. The newest scrape of a source that does not
    /// put `up` last is in it only once the next one has begun. O(points).
    #[must_use]
    pub fn cut(&self, until: Timestamp, window: Duration) -> Observations {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        cut(kept.entities.values(), until, window)
    }

    /// The same of these entities alone. O(their points).
    #[must_use]
    pub fn cut_of(&self, entities: &BTreeSet<EntityId>, until: Timestamp, window: Duration) -> Observations {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        cut(entities.iter().filter_map(|entity| kept.entities.get(entity)), until, window)
    }

    /// The usual time between two scrapes of `target`; `None` until it is known.
    #[must_use]
    pub fn interval_of(&self, target: &Target) -> Option<Duration> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entities.get(&target.entity)?.targets.get(target)?.interval
    }

    /// The usual time between two scrapes of `entity`: the longest of its targets. `None` without one or until it is known.
    #[must_use]
    pub fn interval_of_entity(&self, entity: &EntityId) -> Option<Duration> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entities.get(entity)?.targets.values().filter_map(|scraped| scraped.interval).max()
    }

    /// Values and scrapes that were left out because their series or target is beyond a bound. Counted since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).refused
    }

    /// Keeps the time of a scrape if there is room for its target.
    fn keep_time(&self, kept: &mut Kept, scrape: &Scrape) {
        let max_targets = self.config.bounds.max_entities;
        let known =
            kept.entities.get(&scrape.target.entity).is_some_and(|past| past.targets.contains_key(&scrape.target));
        if !known && kept.n_targets >= max_targets {
            if kept.room_for_targets.is_due(scrape.at) {
                let is_old = |scraped: &Scraped| scraped.times.last().is_none_or(|at| self.is_old(*at, scrape.at));
                kept.forget(|_| false, is_old);
            }
            if kept.n_targets >= max_targets {
                kept.refused += 1;
                return;
            }
        }
        kept.n_targets += usize::from(!known);
        let past = kept.entities.entry(scrape.target.entity.clone()).or_default();
        let scraped = past.targets.entry(scrape.target.clone()).or_default();
        if scraped.times.last().is_some_and(|at| *at > scrape.at) {
            scraped.times.clear();
        }
        scraped.interval = scrape.interval;
        scraped.times.push(scrape.at, self.config.max_points);
        let mut spare = scraped.times.len().saturating_sub(self.config.keep_scrapes);
        scraped.times.drain_while(|at| self.is_spare(&mut spare, *at, scrape.at), |_| {});
    }

    fn keep(&self, kept: &mut Kept, scrape: &EntityScrape<'_>) {
        let mut keep = |series: Arc<Series>, value: f64| {
            if !value.is_finite() {
                return;
            }
            let known = kept.entities.get(&series.entity).is_some_and(|past| past.histories.contains_key(&series));
            if !known && kept.n_series >= self.config.max_series {
                if kept.room_for_series.is_due(scrape.at) {
                    let is_old =
                        |past: &Ring<(Timestamp, f64)>| past.last().is_none_or(|(at, _)| self.is_old(*at, scrape.at));
                    kept.forget(is_old, |_| false);
                }
                if kept.n_series >= self.config.max_series {
                    kept.refused += 1;
                    return;
                }
            }
            kept.n_series += usize::from(!known);
            // Asked for by a borrowed name first: a scrape of a known entity allocates none.
            if !kept.entities.contains_key(&series.entity) {
                kept.entities.insert(series.entity.clone(), EntityPast::default());
            }
            let Some(past) = kept.entities.get_mut(&series.entity) else { return };
            let history = past.histories.entry(series).or_default();
            // A clock that was set back makes times that must not stand after later ones.
            if history.last().is_some_and(|(at, _)| *at > scrape.at) {
                history.clear();
            }
            history.push((scrape.at, value), self.config.max_points);
            let mut spare = history.len().saturating_sub(self.config.keep_scrapes);
            history.drain_while(|(at, _)| self.is_spare(&mut spare, *at, scrape.at), |_| {});
        };
        let derived = |metric: &str, unit: &str, peer: Option<&EntityId>| {
            let labels = peer.map(|peer| (self.config.names.peer.as_str(), peer.as_str())).into_iter().collect();
            derived(scrape.entity, metric, unit, labels)
        };
        if let Some(up) = scrape.up {
            let series = Series { kind: MetricKind::Up, ..Series::clone(&derived(subject::UP, "", None)) };
            keep(Arc::new(series), f64::from(u8::from(up)));
        }
        for (series, value) in &scrape.gauges {
            keep(Arc::clone(series), *value);
        }
        if scrape.span_secs().is_none() {
            return;
        }
        for rise in scrape.increases.iter().filter(|rise| rise.series.kind == MetricKind::Counter) {
            let rate = Series { metric: format!("{}:rate", rise.series.metric), ..Series::clone(rise.series) };
            keep(Arc::new(Series { kind: MetricKind::Gauge, ..rate }), rise.per_sec());
        }
        let counts = Counts::of(scrape, &self.config.names);
        let requests = scrape.increases.iter().filter(|rise| rise.series.metric == self.config.names.requests);
        let per_sec = requests.map(Rise::per_sec).reduce(|sum, rate| sum + rate);
        if let Some(per_sec) = per_sec {
            keep(derived(subject::TRAFFIC, "1/s", None), per_sec);
        }
        if counts.requests > 0.0 {
            keep(derived(subject::OWN_ERRORS, "1", None), counts.own / counts.requests);
            keep(derived(subject::ERRORS, "1", None), (counts.own + counts.relayed) / counts.requests);
        }
        for (metric, secs) in [
            (subject::MEAN, counts.mean()),
            (subject::EXCLUSIVE, counts.exclusive()),
            (subject::P95, counts.quantile(0.95)),
        ] {
            if let Some(secs) = secs {
                keep(derived(metric, "s", None), secs);
            }
        }
        for (peer, calls) in counts.calls.iter().filter(|(_, calls)| calls.total > 0.0) {
            let failed = (calls.own + calls.unreachable + calls.relayed) / calls.total;
            keep(derived(subject::CALLS_FAILED, "1", Some(peer)), failed);
            if let Some(secs) = calls.mean() {
                keep(derived(subject::CALLS_LATENCY, "s", Some(peer)), secs);
            }
        }
    }

    /// Whether the oldest of `spare` points that need not be kept is too old.
    fn is_spare(&self, spare: &mut usize, at: Timestamp, now: Timestamp) -> bool {
        let is_spare = *spare > 0 && self.is_old(at, now);
        *spare = spare.saturating_sub(1);
        is_spare
    }

    fn is_old(&self, at: Timestamp, now: Timestamp) -> bool {
        now.since(at).as_secs() > self.config.keep_secs
    }
}

fn derived(entity: &EntityId, metric: &str, unit: &str, labels: Labels) -> Arc<Series> {
    Arc::new(Series {
        entity: entity.clone(),
        metric: metric.to_owned(),
        kind: MetricKind::Gauge,
        unit: unit.to_owned(),
        labels,
    })
}

impl ObservationStoreConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.count("keep_secs", usize::try_from(self.keep_secs).unwrap_or(usize::MAX), 1, 864_000);
        check.count("keep_scrapes", self.keep_scrapes, 0, 10_000);
        check.count("max_points", self.max_points, 2, 1_000_000);
        check.count("max_series", self.max_series, 1, 10_000_000);
        check.part("names", self.names.check());
        check.part("bounds", self.bounds.check());
        check.done()
    }
}

#[cfg(test)]
mod tests;
