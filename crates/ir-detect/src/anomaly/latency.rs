//! Latency: later answers than usual, with and without the time spent waiting for others.
//!
//! When a callee is slow, all its callers are. What tells the culprit is *exclusive* latency: own mean minus what calls took.

use std::collections::BTreeMap;

use ir_core::anomaly::Direction;
use ir_core::{Anomaly, EntityId, Problem, Result, Series, Symptom, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use super::host::{Core, detector};
use super::names::{Bounds, MetricNames};
use super::rates::{Counts, Recent, is_counted};
use super::subject;
use crate::check::Check;
use crate::pairs;
use crate::runtime::scrape::EntityScrape;
use crate::stats::{Floors, Location, Ring, gaussian_surprise, median};

/// How a [`LatencyDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LatencyConfig {
    /// Means and percentiles are taken over so many seconds. Default 2.
    #[schemars(range(min = 0.1, max = 86_400.0))]
    pub window_secs: f64,
    /// Fewer requests in the window say nothing. Default 10.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_requests: usize,
    /// How many scales out counts. Default 6.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub sigmas: f64,
    /// A mean must be later by this much, however sure the test is. Seconds, default 0.1: what people just do not notice
    /// (J. Nielsen 1993, "Usability Engineering", ch. 5), and more than a busy machine adds by itself.
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub min_effect_secs: f64,
    /// The same for the 95th percentile, which jumps from bucket to bucket. Seconds, default 0.25.
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub p95_min_effect_secs: f64,
    /// And by this share of the usual value. Default 0.5.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub min_effect_ratio: f64,
    /// The smallest scale that is believed, as a share of the usual value. Default 0.1.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub floor_ratio: f64,
    /// And in seconds. Default 0.005: what schedulers do.
    #[schemars(range(min = 1e-6, max = 3600.0))]
    pub floor_secs: f64,
    /// While fewer than half of the requests are late, it must go on for so long. Seconds, default 3: a stall of the machine
    /// makes some requests very late, a fault most of them or for long.
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub partial_secs: f64,
    /// Nothing is said before so many seconds of a series were learned. Default 8.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub warm_secs: f64,
    /// Nothing is said before so many scrapes were learned. Default 10.
    #[schemars(range(min = 3, max = 10_000))]
    pub warm_looks: usize,
    /// So many scrapes are remembered. Default 240: two to four minutes at usual intervals.
    #[schemars(range(min = 10, max = 10_000))]
    pub remember_looks: usize,
    /// Times that include those of callees wait longer than `episode.begin_secs`: a machine short of processors makes all of
    /// them late at once for a second or two, and whoever is slow by itself shows it in its exclusive time. Seconds, default
    /// 1.9.
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub shared_begin_secs: f64,
    /// Names of metrics.
    pub names: MetricNames,
    /// How much is kept.
    pub bounds: Bounds,
    /// When episodes begin and end. Default: a second after the first bad scrape at the earliest, so that a machine that stands
    /// still for half a second is no alarm; a little less than a second, because scrapes jitter.
    pub episode: EpisodeConfig,
}

impl Default for LatencyConfig {
    fn default() -> Self {
        Self {
            window_secs: 2.0,
            min_requests: 10,
            sigmas: 6.0,
            min_effect_secs: 0.1,
            p95_min_effect_secs: 0.25,
            min_effect_ratio: 0.5,
            floor_ratio: 0.1,
            floor_secs: 0.005,
            partial_secs: 3.0,
            warm_secs: 8.0,
            warm_looks: 10,
            remember_looks: 240,
            shared_begin_secs: 1.9,
            names: MetricNames::default(),
            bounds: Bounds::default(),
            episode: EpisodeConfig { begin_secs: 0.9, ..EpisodeConfig::default() },
        }
    }
}

impl LatencyConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.within("window_secs", self.window_secs, 0.1, 86_400.0);
        check.count("min_requests", self.min_requests, 1, 1_000_000_000);
        check.within("sigmas", self.sigmas, 1.0, 100.0);
        check.within("min_effect_secs", self.min_effect_secs, 0.0, 3600.0);
        check.within("p95_min_effect_secs", self.p95_min_effect_secs, 0.0, 3600.0);
        check.within("min_effect_ratio", self.min_effect_ratio, 0.0, 100.0);
        check.within("floor_ratio", self.floor_ratio, 0.0, 10.0);
        check.within("floor_secs", self.floor_secs, 1e-6, 3600.0);
        check.within("partial_secs", self.partial_secs, 0.0, 3600.0);
        check.within("warm_secs", self.warm_secs, 0.0, 86_400.0);
        check.count("warm_looks", self.warm_looks, 3, 10_000);
        check.count("remember_looks", self.remember_looks, self.warm_looks.max(10), 10_000);
        check.within("shared_begin_secs", self.shared_begin_secs, 0.0, 3600.0);
        check.part("names", self.names.check());
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

detector! {
    /// Finds answers that come later than usual.
    ///
    /// The mean over a short window against median and scaled median absolute deviation (Leys et al. 2013, see
    /// [`Location`](crate::stats::Location)) of such means before. Assumes that the mean of a window is roughly normal
    /// without a fault; the minimum effect covers where it is not. About 10 KB an entity.
    LatencyDetector, Latency, LatencyConfig
}

#[derive(Debug)]
struct Latency(LatencyConfig);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Learned {
    recent: Recent,
    last: Timestamp,
    #[serde(with = "pairs")]
    usual: BTreeMap<Key, Usual>,
    /// Medians of the time to answer.
    medians: Ring<f64>,
}

/// What is usual of one time.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Usual {
    windows: Ring<(Timestamp, f64)>,
    /// Since when every scrape is late.
    late_since: Option<Timestamp>,
}

/// A time of the window, and of its newest scrape alone.
struct Time {
    key: Key,
    secs: f64,
    newest_secs: Option<f64>,
    trials: f64,
    min_effect_secs: f64,
}

impl Core for Latency {
    type State = BTreeMap<EntityId, Learned>;
    const NAME: &'static str = "latency";
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
        is_counted(series, &self.0.names, true)
    }

    fn scrape(
        &self,
        state: &mut Self::State,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        scrape: &EntityScrape<'_>,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        if scrape.span_secs().is_none() || scrape.up == Some(false) {
            return Ok(());
        }
        let config = &self.0;
        if !state.contains_key(scrape.entity) && state.len() >= config.bounds.max_entities {
            state.retain(|_, learned| scrape.at.since(learned.last).as_secs() <= config.bounds.forget_secs);
        }
        let learned = state.entry(scrape.entity.clone()).or_default();
        learned.last = scrape.at;
        let newest = Counts::of(scrape, &config.names);
        learned.recent.push(scrape.at, newest.clone(), config.window_secs, |_| {});
        // Without buckets nobody knows the median; then most requests are taken for late.
        let (median, usual_median) = (newest.quantile(0.5), median(learned.medians.iter().copied()));
        let most_by_secs = median.zip(usual_median).map_or(f64::INFINITY, |(now, usual)| now - usual);
        let mut calm = true;
        for time in self.times(scrape.entity, &learned.recent.sum(), &newest) {
            if time.trials < config.min_requests as f64 {
                continue;
            }
            let room = learned.usual.len() < config.bounds.max_series;
            let usual = match learned.usual.get_mut(&time.key) {
                Some(usual) => usual,
                None if room => learned.usual.entry(time.key.clone()).or_default(),
                None => continue,
            };
            self.judge(tracks, judge, &time, most_by_secs, usual, out)?;
            if tracks.may_learn(&time.key, scrape.at, &config.episode) {
                usual.windows.push((scrape.at, time.secs), config.remember_looks);
            } else {
                calm = false;
            }
        }
        if let Some(median) = median.filter(|_| calm) {
            learned.medians.push(median, config.remember_looks);
        }
        Ok(())
    }
}

impl Latency {
    fn times(&self, entity: &EntityId, window: &Counts, newest: &Counts) -> Vec<Time> {
        let config = &self.0;
        let mut times = Vec::new();
        let mut add = |key, secs: Option<f64>, newest_secs, trials, min_effect_secs| {
            if let Some(secs) = secs {
                times.push(Time { key, secs, newest_secs, trials, min_effect_secs });
            }
        };
        let (trials, effect) = (window.timed, config.min_effect_secs);
        add(Key::new(entity, subject::EXCLUSIVE), window.exclusive(), newest.exclusive(), trials, effect);
        add(Key::new(entity, subject::MEAN), window.mean(), newest.mean(), trials, effect);
        let (p95, newest_p95) = (window.quantile(0.95), newest.quantile(0.95));
        add(Key::new(entity, subject::P95), p95, newest_p95, trials, config.p95_min_effect_secs);
        for (peer, calls) in &window.calls {
            let newest = newest.calls.get(peer).and_then(|calls| calls.mean());
            let key = Key::to(entity, peer, subject::CALLS_LATENCY);
            add(key, calls.mean(), newest, calls.timed, effect);
        }
        times
    }

    fn judge(
        &self,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        time: &Time,
        most_by_secs: f64,
        usual: &mut Usual,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let config = &self.0;
        let Some((first, _)) = usual.windows.first() else { return Ok(()) };
        let learned_secs = judge.at.since(*first).as_secs_f64();
        if usual.windows.len() < config.warm_looks || learned_secs < config.warm_secs {
            return Ok(());
        }
        let floors = Floors { of_level: config.floor_ratio, of_range: 0.2, absolute: config.floor_secs };
        let Some(location) = Location::of(usual.windows.iter().map(|(_, secs)| *secs), floors) else { return Ok(()) };
        let z = location.z(time.secs).max(0.0);
        let sigmas = config.sigmas * tracks.factor(&time.key);
        let effect = time.min_effect_secs.max(config.min_effect_ratio * location.center);
        let threshold = location.center + effect.max(sigmas * location.scale);
        // The window still holds what is over; the newest scrape tells whether it goes on.
        let goes_on = time.newest_secs.is_some_and(|secs| secs >= threshold);
        let (nats, limit) = (gaussian_surprise(z), gaussian_surprise(sigmas));
        let late = time.secs >= threshold && goes_on;
        usual.late_since = if late { usual.late_since.or(Some(judge.at)) } else { None };
        let late_secs = usual.late_since.map_or(0.0, |since| judge.at.since(since).as_secs_f64());
        let verdict = match late {
            true if most_by_secs >= effect / 2.0 || late_secs >= config.partial_secs => Verdict::Bad,
            true => Verdict::Unsure,
            // Surprise alone would keep an episode open forever where the scale is small; half of the effect is fine.
            false if time.secs < location.center + effect / 2.0 => Verdict::Good,
            false => Verdict::of(false, nats, limit),
        };
        let finding = Finding {
            verdict,
            nats,
            symptom: if time.key.peer.is_some() { Symptom::Downstream } else { Symptom::Latency },
            direction: Direction::Up,
            onset: None,
            expected: location.center,
            seen: time.secs,
            threshold,
        };
        let because = |onset| {
            let what = match &time.key.peer {
                Some(peer) => format!("calls to {peer}"),
                None => time.key.subject.clone(),
            };
            format!(
                "expected {what} to take {:.0} ms as in {} scrapes of {learned_secs:.0} s before, seen {:.0} ms (limit {:.0} \
                 ms) in the last {} s since {onset}",
                location.center * 1e3,
                location.n,
                time.secs * 1e3,
                threshold * 1e3,
                config.window_secs
            )
        };
        let mut episode = judge.config.clone();
        if time.key.subject != subject::EXCLUSIVE {
            episode.begin_secs = episode.begin_secs.max(config.shared_begin_secs);
        }
        tracks.judge(Judge { config: &episode, ..judge }, &time.key, &finding, because, out)
    }
}
