//! Level shift: more or less work than usual, and it stays so.

use std::collections::BTreeMap;

use ir_core::anomaly::Direction;
use ir_core::{Anomaly, EntityId, Problem, Result, Series, Symptom, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use super::host::{Core, detector};
use super::names::{Bounds, MetricNames};
use super::subject;
use crate::check::Check;
use crate::runtime::scrape::{EntityScrape, Rise};
use crate::stats::{Cusum, Floors, Location, Ring};

/// How a [`ShiftDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShiftConfig {
    /// What a scrape may lie off without counting, in scales. Default 1.5: half of the smallest shift worth finding.
    #[schemars(range(min = 0.1, max = 100.0))]
    pub slack: f64,
    /// What one scrape adds at most, in scales. Default 6: a single scrape never reaches the limit.
    #[schemars(range(min = 0.5, max = 100.0))]
    pub cap: f64,
    /// The sum that counts. Default 8: two scrapes without any work, or more that are nearer.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub limit: f64,
    /// The rate must be off by this share of the usual one. Default 0.5.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub min_effect_ratio: f64,
    /// Rates below this say nothing. Requests per second, default 1.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub min_rate: f64,
    /// Nothing is said before so many scrapes were learned. Default 12.
    #[schemars(range(min = 3, max = 10_000))]
    pub warm_looks: usize,
    /// So many scrapes are remembered. Default 240.
    #[schemars(range(min = 10, max = 10_000))]
    pub remember_looks: usize,
    /// Names of metrics: the rate of `requests` is watched.
    pub names: MetricNames,
    /// How much is kept.
    pub bounds: Bounds,
    /// When episodes begin and end. Default: they begin at once, since the sum has waited already.
    pub episode: EpisodeConfig,
}

impl Default for ShiftConfig {
    fn default() -> Self {
        Self {
            slack: 1.5,
            cap: 6.0,
            limit: 8.0,
            min_effect_ratio: 0.5,
            min_rate: 1.0,
            warm_looks: 12,
            remember_looks: 240,
            names: MetricNames::default(),
            bounds: Bounds::default(),
            episode: EpisodeConfig { begin_looks: 1, ..EpisodeConfig::default() },
        }
    }
}

impl ShiftConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.within("slack", self.slack, 0.1, 100.0);
        check.within("cap", self.cap, self.slack.max(0.5), 100.0);
        check.within("limit", self.limit, 1.0, 1000.0);
        check.within("min_effect_ratio", self.min_effect_ratio, 0.0, 100.0);
        check.within("min_rate", self.min_rate, 0.0, 1e9);
        check.count("warm_looks", self.warm_looks, 3, 10_000);
        check.count("remember_looks", self.remember_looks, self.warm_looks.max(10), 10_000);
        check.part("names", self.names.check());
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

detector! {
    /// Finds lasting changes of the rate of requests.
    ///
    /// Page's cumulative sums (1954, see [`Cusum`]) of the rate of each scrape, standardised by median and deviation of the
    /// rates before. A change of load is rarely a fault, so its surprise is the sum itself, which stays small: it supports
    /// other symptoms and opens no incident alone. About 3 KB an entity.
    ShiftDetector, Shift, ShiftConfig
}

#[derive(Debug)]
struct Shift(ShiftConfig);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Learned {
    sums: Cusum,
    rates: Ring<f64>,
    last: Timestamp,
}

impl Core for Shift {
    type State = BTreeMap<EntityId, Learned>;
    const NAME: &'static str = "shift";
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
        series.metric == self.0.names.requests || series.metric == self.0.names.start_time
    }

    fn scrape(
        &self,
        state: &mut Self::State,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        scrape: &EntityScrape<'_>,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let config = &self.0;
        let is_request = |rise: &&Rise<'_>| rise.series.metric == config.names.requests;
        let mut requests = scrape.increases.iter().filter(is_request).map(Rise::per_sec).peekable();
        // What the old process counted after its last scrape is lost, so the scrape after a restart is not comparable.
        if scrape.restarted || scrape.up == Some(false) || requests.peek().is_none() {
            return Ok(());
        }
        let rate = requests.sum::<f64>();
        if !state.contains_key(scrape.entity) && state.len() >= config.bounds.max_entities {
            state.retain(|_, learned| scrape.at.since(learned.last).as_secs() <= config.bounds.forget_secs);
        }
        let learned = state.entry(scrape.entity.clone()).or_default();
        learned.last = scrape.at;
        let key = Key::new(scrape.entity, subject::TRAFFIC);
        let floors = Floors { of_level: 0.15, of_range: 0.2, absolute: config.min_rate };
        let usual = Location::of(learned.rates.iter().copied(), floors);
        if let Some(usual) = usual.filter(|usual| usual.n >= config.warm_looks && usual.center >= config.min_rate) {
            self.judge(tracks, judge, &key, rate, usual, &mut learned.sums, out)?;
        }
        if tracks.may_learn(&key, scrape.at, &config.episode) {
            learned.rates.push(rate, config.remember_looks);
        }
        Ok(())
    }
}

impl Shift {
    #[expect(clippy::too_many_arguments, reason = "private, one caller")]
    fn judge(
        &self,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        key: &Key,
        rate: f64,
        usual: Location,
        sums: &mut Cusum,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let config = &self.0;
        let limit = config.limit * tracks.factor(key);
        sums.push(usual.z(rate), config.slack, config.cap, 1.5 * limit);
        let (sum, direction) = match sums.up() > sums.down() {
            true => (sums.up(), Direction::Up),
            false => (sums.down(), Direction::Down),
        };
        let off = (rate - usual.center).abs() >= config.min_effect_ratio * usual.center;
        let finding = Finding {
            verdict: Verdict::of(sum >= limit && off, if off { sum } else { 0.0 }, limit),
            nats: sum,
            symptom: Symptom::Traffic,
            direction,
            onset: None,
            expected: usual.center,
            seen: rate,
            threshold: limit,
        };
        let because = |onset| {
            format!(
                "expected {:.1} requests per second as in {} scrapes before, seen {rate:.1} since {onset}",
                usual.center, usual.n
            )
        };
        tracks.judge(judge, key, &finding, because, out)
    }
}
