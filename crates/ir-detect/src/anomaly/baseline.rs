//! Baseline: any gauge that leaves its usual range, whatever it means.
//!
//! Nobody said what the gauge is for, so its score is capped below what opens an incident alone.

use std::collections::BTreeMap;

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
use crate::stats::{Floors, Location, Ring, gaussian_surprise};

/// How a [`BaselineDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BaselineConfig {
    /// How many scales out counts, either way. Default 8: gauges are rarely normal.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub sigmas: f64,
    /// The smallest scale that is believed, as a share of the usual value. Default 0.05.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub floor_of_level: f64,
    /// And as a share of the usual range. Default 0.25: four ranges beyond the middle are far out.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub floor_of_range: f64,
    /// Nothing is said before so many scrapes were learned. Default 20.
    #[schemars(range(min = 5, max = 10_000))]
    pub warm_looks: usize,
    /// So many scrapes are remembered. Default 240.
    #[schemars(range(min = 10, max = 10_000))]
    pub remember_looks: usize,
    /// Nothing is said for so long after a restart. Seconds, default 10.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub settle_secs: f64,
    /// Surprise is capped here, in nats. Default 15, a score of 0.39.
    #[schemars(range(min = 1.0, max = 1e6))]
    pub max_nats: f64,
    /// Gauges that are not watched. Default `build_info`, and always those that another detector watches by name.
    pub ignore: Vec<String>,
    /// Names of metrics: `memory` and `start_time` are left to others.
    pub names: MetricNames,
    /// How much is kept.
    pub bounds: Bounds,
    /// When episodes begin and end. Default: 3 scrapes begin one.
    pub episode: EpisodeConfig,
}

impl Default for BaselineConfig {
    fn default() -> Self {
        Self {
            sigmas: 8.0,
            floor_of_level: 0.05,
            floor_of_range: 0.25,
            warm_looks: 20,
            remember_looks: 240,
            settle_secs: 10.0,
            max_nats: 15.0,
            ignore: vec!["build_info".to_owned()],
            names: MetricNames::default(),
            bounds: Bounds::default(),
            episode: EpisodeConfig { begin_looks: 3, ..EpisodeConfig::default() },
        }
    }
}

impl BaselineConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.within("sigmas", self.sigmas, 1.0, 100.0);
        check.within("floor_of_level", self.floor_of_level, 0.0, 10.0);
        check.within("floor_of_range", self.floor_of_range, 0.0, 10.0);
        check.count("warm_looks", self.warm_looks, 5, 10_000);
        check.count("remember_looks", self.remember_looks, self.warm_looks.max(10), 10_000);
        check.within("settle_secs", self.settle_secs, 0.0, 86_400.0);
        check.within("max_nats", self.max_nats, 1.0, 1e6);
        check.part("names", self.names.check());
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

detector! {
    /// Finds gauges out of their usual range.
    ///
    /// Median and scaled median absolute deviation (Leys et al. 2013, see [`Location`]) of the last scrapes, with floors.
    /// Unchanged when the gauge is scaled; floors are shares, so a shift of the level changes what is believed on purpose.
    /// About 2 KB a series.
    BaselineDetector, Baseline, BaselineConfig
}

#[derive(Debug)]
struct Baseline(BaselineConfig);

/// Gauges of all entities together: about 200 MB.
const MAX_WATCHED: usize = 100_000;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Learned {
    values: Ring<f64>,
    last: Timestamp,
    settled_from: Timestamp,
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

impl Core for Baseline {
    type State = All;
    const NAME: &'static str = "baseline";
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
        series.kind == MetricKind::Gauge
            && series.metric != self.0.names.memory
            && !self.0.ignore.contains(&series.metric)
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
        let settle = std::time::Duration::try_from_secs_f64(config.settle_secs).unwrap_or_default();
        for (series, value) in scrape.gauges.iter().filter(|(series, _)| series.metric != config.names.start_time) {
            let key = Key { labels: series.labels.clone(), ..Key::new(scrape.entity, series.metric.as_str()) };
            if !state.0.contains_key(&key) {
                if state.0.len() >= MAX_WATCHED && tracks.may_make_room(scrape.at) {
                    state.0.retain(|_, learned| scrape.at.since(learned.last).as_secs() <= config.bounds.forget_secs);
                }
                if state.0.len() >= MAX_WATCHED {
                    tracks.refuse_series();
                    continue;
                }
            }
            let learned = state.0.entry(key.clone()).or_default();
            learned.last = scrape.at;
            if scrape.restarted {
                learned.settled_from = scrape.at.plus(settle);
            }
            let floors = Floors {
                of_level: config.floor_of_level,
                of_range: config.floor_of_range,
                absolute: f64::MIN_POSITIVE,
            };
            let usual = Location::of(learned.values.iter().copied(), floors);
            if let Some(usual) = usual.filter(|usual| usual.n >= config.warm_looks && scrape.at >= learned.settled_from)
            {
                self.judge(tracks, judge, &key, *value, usual, out)?;
            }
            if tracks.may_learn(&key, scrape.at, &config.episode) {
                learned.values.push(*value, config.remember_looks);
            }
        }
        Ok(())
    }
}

impl Baseline {
    fn judge(
        &self,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        key: &Key,
        value: f64,
        usual: Location,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let sigmas = self.0.sigmas * tracks.factor(key);
        let z = usual.z(value);
        let direction = if z >= 0.0 { Direction::Up } else { Direction::Down };
        let (nats, limit) = (gaussian_surprise(z), gaussian_surprise(sigmas));
        let finding = Finding {
            verdict: Verdict::of(z.abs() >= sigmas, nats, limit),
            nats: nats.min(self.0.max_nats),
            symptom: Symptom::Other,
            direction,
            onset: None,
            expected: usual.center,
            seen: value,
            threshold: usual.center + sigmas.copysign(z) * usual.scale,
        };
        let because = |onset| {
            format!(
                "expected {} near {} as in {} scrapes before, seen {value}, {:.0} times its usual spread off, since {onset}",
                key.subject,
                usual.center,
                usual.n,
                z.abs()
            )
        };
        tracks.judge(judge, key, &finding, because, out)
    }
}
