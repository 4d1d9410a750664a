//! Saturation: memory that only rises, well beyond what it ever did.
//!
//! A step after a restart is none: another process holds another amount. A rise must be steady (Kendall's tau), large against
//! the level, faster than usual, and lead out of the learned range. Leaks over hours need hourly minima and are not found
//! here unless `window_secs` is set accordingly.

use std::collections::{BTreeMap, VecDeque};

use ir_core::anomaly::Direction;
use ir_core::{Anomaly, EntityId, Problem, Result, Series, Symptom, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use super::host::{Core, detector};
use super::names::{Bounds, MetricNames};
use crate::check::Check;
use crate::pairs;
use crate::runtime::per_entity::PerEntity;
use crate::runtime::scrape::EntityScrape;
use crate::stats::{Floors, Location, Ring, gaussian_surprise, theil_sen};

/// How a [`SaturationDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SaturationConfig {
    /// A trend is taken over so many seconds, and over six scrapes at least. Default 3.
    #[schemars(range(min = 0.5, max = 864_000.0))]
    pub window_secs: f64,
    /// The rise within the window must be at least this. Bytes, default 12 MiB: allocators take less than that at once.
    #[schemars(range(min = 1.0, max = 1e15))]
    pub min_rise_bytes: f64,
    /// And this share of the usual level. Default 0.25.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub min_rise_ratio: f64,
    /// And so many scales faster than usual, and out of the usual level. Default 6.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub sigmas: f64,
    /// Share of pairs of points that rise minus the share that falls. Default 0.6: four in five rise.
    #[schemars(range(min = 0.1, max = 1.0))]
    pub min_tau: f64,
    /// Nothing is said for so long after a restart, while a process fills its pools. Seconds, default 5.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub settle_secs: f64,
    /// Nothing is said before so many scrapes were learned. Default 10.
    #[schemars(range(min = 3, max = 10_000))]
    pub warm_looks: usize,
    /// So many scrapes are remembered. Default 240.
    #[schemars(range(min = 10, max = 10_000))]
    pub remember_looks: usize,
    /// Names of metrics: `memory` is watched. Anything that should not only rise may stand there, such as connections in use;
    /// the limits are in its own unit then.
    pub names: MetricNames,
    /// How much is kept.
    pub bounds: Bounds,
    /// When episodes begin and end.
    pub episode: EpisodeConfig,
}

impl Default for SaturationConfig {
    fn default() -> Self {
        Self {
            window_secs: 3.0,
            min_rise_bytes: 12.0 * 1024.0 * 1024.0,
            min_rise_ratio: 0.25,
            sigmas: 6.0,
            min_tau: 0.6,
            settle_secs: 5.0,
            warm_looks: 10,
            remember_looks: 240,
            names: MetricNames::default(),
            bounds: Bounds::default(),
            episode: EpisodeConfig::default(),
        }
    }
}

impl SaturationConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.within("window_secs", self.window_secs, 0.5, 864_000.0);
        check.within("min_rise_bytes", self.min_rise_bytes, 1.0, 1e15);
        check.within("min_rise_ratio", self.min_rise_ratio, 0.0, 1000.0);
        check.within("sigmas", self.sigmas, 1.0, 100.0);
        check.within("min_tau", self.min_tau, 0.1, 1.0);
        check.within("settle_secs", self.settle_secs, 0.0, 86_400.0);
        check.count("warm_looks", self.warm_looks, 3, 10_000);
        check.count("remember_looks", self.remember_looks, self.warm_looks.max(10), 10_000);
        check.part("names", self.names.check());
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

detector! {
    /// Finds memory that only rises.
    ///
    /// The slope after Theil (1950) and Sen (1968) over a short window (see [`theil_sen`](crate::stats::theil_sen)) against
    /// median and deviation of such slopes before. Quadratic in the points of a window, of which there are at most 64. About
    /// 8 KB a series.
    SaturationDetector, Saturation, SaturationConfig
}

#[derive(Debug)]
struct Saturation(SaturationConfig);

/// Fewer points than this are no trend.
const MIN_POINTS: usize = 6;
/// More points than this make the trend no better.
const MAX_POINTS: usize = 64;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Learned {
    points: Ring<(Timestamp, f64)>,
    levels: Ring<f64>,
    slopes: Ring<f64>,
    /// The last scrapes, level and slope, not learned yet: a trend is seen only when most of its points rise, and by then its first
    /// scrapes must not have made it usual.
    waiting: VecDeque<(f64, Option<f64>)>,
    started: Option<Timestamp>,
    last: Timestamp,
}

impl Learned {
    fn wait(&mut self, level: f64, slope: Option<f64>, remember: usize) {
        self.waiting.push_back((level, slope));
        while self.waiting.len() > MIN_POINTS {
            let Some((level, slope)) = self.waiting.pop_front() else { break };
            self.levels.push(level, remember);
            if let Some(slope) = slope {
                self.slopes.push(slope, remember);
            }
        }
    }
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

impl Core for Saturation {
    type State = All;
    const NAME: &'static str = "saturation";
    const VERSION: u32 = 2;

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
        series.metric == self.0.names.memory || series.metric == self.0.names.start_time
    }

    fn scrape(
        &self,
        state: &mut All,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        scrape: &EntityScrape<'_>,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let config = &self.0;
        for (series, bytes) in scrape.gauges.iter().filter(|(series, _)| series.metric == config.names.memory) {
            let key = Key { labels: series.labels.clone(), ..Key::new(scrape.entity, series.metric.as_str()) };
            if !state.0.contains_key(&key) && state.0.len() >= config.bounds.max_entities {
                if tracks.may_make_room(scrape.at) {
                    state.0.retain(|_, learned| scrape.at.since(learned.last).as_secs() <= config.bounds.forget_secs);
                }
                if state.0.len() >= config.bounds.max_entities {
                    tracks.refuse_series();
                    continue;
                }
            }
            let learned = state.0.entry(key.clone()).or_default();
            learned.last = scrape.at;
            if scrape.restarted {
                learned.points.clear();
                learned.levels.clear();
                learned.waiting.clear();
                learned.started = Some(scrape.at);
            }
            let start = scrape.at.minus(std::time::Duration::try_from_secs_f64(config.window_secs).unwrap_or_default());
            learned.points.push((scrape.at, *bytes), MAX_POINTS);
            let least = learned.points.iter().rev().nth(MIN_POINTS - 1).or(learned.points.first());
            let start = least.map_or(start, |(at, _)| start.min(*at));
            learned.points.drain_while(|(at, _)| *at < start || *at > scrape.at, |_| {});
            self.judge(tracks, judge, &key, *bytes, scrape.restarted, learned, out)?;
            if tracks.may_learn(&key, scrape.at, &config.episode) {
                let slope = slope(&learned.points).map(|(slope, _, _)| slope);
                learned.wait(*bytes, slope, config.remember_looks);
            } else {
                learned.waiting.clear();
            }
        }
        Ok(())
    }
}

/// Bytes per second, tau, and how many seconds the points span.
fn slope(points: &Ring<(Timestamp, f64)>) -> Option<(f64, f64, f64)> {
    let first = points.first()?.0;
    let points: Vec<(f64, f64)> = points.iter().map(|(at, bytes)| (at.since(first).as_secs_f64(), *bytes)).collect();
    let trend = theil_sen(&points)?;
    Some((trend.slope, trend.tau, points.last()?.0))
}

impl Saturation {
    #[expect(clippy::too_many_arguments, reason = "private, one caller")]
    fn judge(
        &self,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        key: &Key,
        bytes: f64,
        restarted: bool,
        learned: &Learned,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let config = &self.0;
        let settled = learned.started.is_none_or(|at| judge.at.since(at).as_secs_f64() >= config.settle_secs);
        let Some((slope, tau, span_secs)) = slope(&learned.points) else {
            return if restarted { self.end(tracks, judge, key, bytes, out) } else { Ok(()) };
        };
        if !tracks.is_open(key) && (!settled || learned.slopes.len() < config.warm_looks) {
            return Ok(());
        }
        let level_floors = Floors { of_level: 0.02, of_range: 0.2, absolute: 1.0 };
        let Some(level) = Location::of(learned.levels.iter().copied(), level_floors) else {
            return self.end(tracks, judge, key, bytes, out);
        };
        let min_rise = config.min_rise_bytes.max(config.min_rise_ratio * level.center);
        // The slope that makes the least rise in a full window lies exactly at the limit.
        let sigmas = config.sigmas * tracks.factor(key);
        let floors = Floors {
            of_level: 0.0,
            of_range: 0.2,
            absolute: min_rise / span_secs.max(config.window_secs) / config.sigmas,
        };
        let Some(usual) = Location::of(learned.slopes.iter().copied(), floors) else { return Ok(()) };
        let z = usual.z(slope).max(0.0);
        let threshold = level.center + (sigmas * level.scale).max(min_rise);
        let rises = learned.points.len() >= 3 && tau >= config.min_tau && slope * span_secs >= min_rise;
        let verdict = match rises && z >= sigmas && bytes >= level.center + sigmas * level.scale {
            true => Verdict::Bad,
            false if bytes < level.center + (threshold - level.center) / 2.0 => Verdict::Good,
            false => Verdict::Unsure,
        };
        let finding = Finding {
            verdict,
            nats: gaussian_surprise(z),
            symptom: Symptom::Saturation,
            direction: Direction::Up,
            onset: None,
            expected: level.center,
            seen: bytes,
            threshold,
        };
        let because = |onset| {
            let shown = |amount| shown(&key.subject, amount);
            format!(
                "expected {} near {} and steady as in {} scrapes before, seen {} and rising by {}/s since {onset}",
                key.subject,
                shown(level.center),
                level.n,
                shown(bytes),
                shown(slope)
            )
        };
        tracks.judge(judge, key, &finding, because, out)
    }

    /// A new process has none of the old one's memory.
    fn end(&self, tracks: &mut Tracks, judge: Judge<'_>, key: &Key, bytes: f64, out: &mut Vec<Anomaly>) -> Result<()> {
        let finding = Finding {
            verdict: Verdict::Good,
            nats: 0.0,
            symptom: Symptom::Saturation,
            direction: Direction::Up,
            onset: None,
            expected: bytes,
            seen: bytes,
            threshold: bytes + self.0.min_rise_bytes,
        };
        let because = |onset| format!("the process whose memory rose since {onset} was replaced by another one");
        tracks.judge(judge, key, &finding, because, out)
    }
}

/// Memory in MiB. Of a metric that is not in bytes, such as connections in use, the plain number.
fn shown(metric: &str, amount: f64) -> String {
    if metric.ends_with("_bytes") { format!("{:.1} MiB", amount / (1024.0 * 1024.0)) } else { format!("{amount:.1}") }
}
