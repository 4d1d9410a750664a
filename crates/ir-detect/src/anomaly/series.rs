//! The full univariate stack on every gauge, and on the rate of every counter.

use std::collections::BTreeMap;
use std::sync::Arc;

use ir_core::anomaly::Direction;
use ir_core::{Anomaly, EntityId, MetricKind, Problem, Result, Series, Symptom, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use super::host::{Core, detector};
use super::names::{Bounds, MetricNames};
use crate::check::Check;
use crate::pairs;
use crate::runtime::per_entity::PerEntity;
use crate::runtime::scrape::EntityScrape;
use crate::series::{Judged, SeriesConfig, SeriesModel};

/// How a [`SeriesDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SeriesDetectorConfig {
    /// How each series is judged.
    pub model: SeriesConfig,
    /// Series at most; those beyond are not watched. Default 5,000: some 40 MB.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_series: usize,
    /// Surprise is capped here, in nats, because nobody said what a series is for. Default 15, a score of 0.39: it supports other
    /// symptoms and opens no incident alone. With 30 it does.
    #[schemars(range(min = 1.0, max = 1e6))]
    pub max_nats: f64,
    /// Metrics that are not watched. Default `build_info`, and always the start time of the process.
    pub ignore: Vec<String>,
    /// Names of metrics: `start_time` is left out.
    pub names: MetricNames,
    /// How much is kept of scrapes.
    pub bounds: Bounds,
    /// When episodes end; they begin when the model says so, which has waited already.
    pub episode: EpisodeConfig,
}

impl Default for SeriesDetectorConfig {
    fn default() -> Self {
        Self {
            model: SeriesConfig::default(),
            max_series: 5_000,
            max_nats: 15.0,
            ignore: vec!["build_info".to_owned()],
            names: MetricNames::default(),
            bounds: Bounds::default(),
            episode: EpisodeConfig { begin_looks: 1, ..EpisodeConfig::default() },
        }
    }
}

impl SeriesDetectorConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.part("model", self.model.problems());
        check.count("max_series", self.max_series, 1, 1_000_000);
        check.within("max_nats", self.max_nats, 1.0, 1e6);
        check.part("names", self.names.check());
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

detector! {
    /// Finds what is unlike a series' own past: spikes, levels, flat lines, the wrong hour, shapes never seen.
    ///
    /// A [`SeriesModel`] a series: 8 KB and less than a microsecond a value. Nothing is said before a hundred values, so it is for
    /// metrics that come every ten seconds or more rarely, or for sources that backfill; [`BaselineDetector`](super::BaselineDetector)
    /// is the cheap one for masses of series and for the first minutes. Not in [`Detectors::standard`](super::Detectors::standard).
    SeriesDetector, AnySeries, SeriesDetectorConfig
}

#[derive(Debug)]
struct AnySeries(SeriesDetectorConfig);

/// The model lies apart, because a node of the map moves its entries.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Learned {
    model: Box<SeriesModel>,
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

impl Core for AnySeries {
    type State = All;
    const NAME: &'static str = "series";
    const VERSION: u32 = 3;

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
        matches!(series.kind, MetricKind::Gauge | MetricKind::Counter) && !self.0.ignore.contains(&series.metric)
    }

    fn scrape(
        &self,
        state: &mut All,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        scrape: &EntityScrape<'_>,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        for (series, value) in scrape.gauges_and_rates() {
            if series.metric != self.0.names.start_time {
                self.value(state, tracks, judge, scrape, (series, value), out)?;
            }
        }
        Ok(())
    }
}

impl AnySeries {
    fn value(
        &self,
        state: &mut All,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        scrape: &EntityScrape<'_>,
        (series, value): (&Arc<Series>, f64),
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
        let judged = learned.model.push(secs, value, &config.model);
        self.judge(tracks, judge, &key, value, judged, out)
    }

    fn judge(
        &self,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        key: &Key,
        value: f64,
        judged: Judged,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let goes_on = judged.hot && tracks.is_open(key);
        // People who called it a false alarm want more before they hear of it again.
        let factor = tracks.factor(key);
        let shift = judged.shift.filter(|shift| shift.nats >= self.0.model.shift_nats * factor);
        let drift = judged.drift.filter(|drift| drift.nats >= self.0.model.drift_nats * factor);
        let shift = shift.map(|shift| (shift.by, shift.nats, "to go on as before, its level changed by"));
        let drift = drift.map(|drift| (drift.by, drift.nats, "near what its hours promise, for hours it was off by"));
        let lasting = shift.or(drift);
        let alert = judged.alert && judged.nats >= self.0.model.limit_nats * factor;
        let begins = alert || lasting.is_some();
        let off = lasting.filter(|_| !alert).map_or(value - judged.expected, |(by, _, _)| by);
        let finding = Finding {
            verdict: if begins || goes_on { Verdict::Bad } else { Verdict::Good },
            nats: judged.nats.max(lasting.map_or(0.0, |(_, nats, _)| nats)).min(self.0.max_nats),
            symptom: Symptom::Other,
            direction: if off >= 0.0 { Direction::Up } else { Direction::Down },
            onset: None,
            expected: judged.expected,
            seen: value,
            // There is no one limit in the unit of the series.
            threshold: f64::NAN,
        };
        let because = |onset| {
            let subject = &key.subject;
            if let Some((by, _, words)) = lasting.filter(|_| !alert) {
                return format!("expected {subject} {words} {by:.4}, seen {value}; since {onset}");
            }
            let (expected, most) = (judged.expected, judged.most.words());
            format!(
                "expected {subject} near {expected} by its own past, seen {value}; most unusual: {most}; since {onset}"
            )
        };
        tracks.judge(judge, key, &finding, because, out)
    }
}
