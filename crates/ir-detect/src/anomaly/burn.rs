//! Burn rate: how fast the errors that a service level objective allows are being spent.

use std::collections::BTreeMap;

use ir_core::anomaly::Direction;
use ir_core::{Anomaly, EntityId, Problem, Result, Series, Symptom, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use super::host::{Core, detector};
use super::names::{Bounds, MetricNames};
use super::rates::{Counts, is_counted};
use super::subject;
use crate::check::Check;
use crate::runtime::scrape::EntityScrape;
use crate::stats::Ring;

/// Two windows that must both burn: the long one says that it matters, the short one that it goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BurnWindow {
    /// Seconds.
    #[schemars(range(min = 10.0, max = 2_592_000.0))]
    pub long_secs: f64,
    /// Seconds, less than the long one.
    #[schemars(range(min = 1.0, max = 2_592_000.0))]
    pub short_secs: f64,
    /// How many times as fast as allowed errors must come, in both. 1 spends the budget of a period in just that period.
    #[schemars(range(min = 0.1, max = 1e6))]
    pub burn_rate: f64,
    /// The surprise it is reported with, in nats: 18 and more open an incident alone.
    #[schemars(range(min = 0.1, max = 1e3))]
    pub nats: f64,
}

/// How a [`BurnRateDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BurnRateConfig {
    /// The share of requests that must be answered well. Default 0.999.
    #[schemars(range(min = 0.0, max = 0.999_999_9))]
    pub objective: f64,
    /// The pairs of windows. Default those of the workbook for a period of 30 days: 1 h and 5 min at 14.4, 6 h and 30 min at 6,
    /// 3 d and 6 h at 1.
    pub windows: Vec<BurnWindow>,
    /// The long window must hold so many failures: two of ten requests in the night are no burn. Default 10.
    #[schemars(range(min = 1.0, max = 1e9))]
    pub min_failures: f64,
    /// Names of metrics: `requests` by `code` are counted.
    pub names: MetricNames,
    /// How much is kept.
    pub bounds: Bounds,
    /// When episodes begin and end. Default: at once, since the windows have waited already.
    pub episode: EpisodeConfig,
}

impl Default for BurnRateConfig {
    fn default() -> Self {
        let window = |long_secs: f64, short_secs: f64, burn_rate: f64, nats: f64| BurnWindow {
            long_secs,
            short_secs,
            burn_rate,
            nats,
        };
        Self {
            objective: 0.999,
            windows: vec![
                window(3_600.0, 300.0, 14.4, 48.0),
                window(21_600.0, 1_800.0, 6.0, 36.0),
                window(259_200.0, 21_600.0, 1.0, 20.0),
            ],
            min_failures: 10.0,
            names: MetricNames::default(),
            bounds: Bounds { forget_secs: 259_200, ..Bounds::default() },
            episode: EpisodeConfig { begin_looks: 1, most_a_day: 0, ..EpisodeConfig::default() },
        }
    }
}

impl BurnRateConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.within("objective", self.objective, 0.0, 0.999_999_9);
        check.count("windows", self.windows.len(), 1, 16);
        for (at, window) in self.windows.iter().enumerate() {
            let field = |name: &str| format!("windows[{at}].{name}");
            check.within(&field("long_secs"), window.long_secs, 10.0, 2_592_000.0);
            check.within(&field("short_secs"), window.short_secs, 1.0, window.long_secs);
            check.within(&field("burn_rate"), window.burn_rate, 0.1, 1e6);
            check.within(&field("nats"), window.nats, 0.1, 1e3);
        }
        check.within("min_failures", self.min_failures, 1.0, 1e9);
        check.part("names", self.names.check());
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

detector! {
    /// Alerts on service level objectives by several windows and burn rates.
    ///
    /// "The Site Reliability Workbook" (B. Beyer and others, 2018), chapter 5, sixth way: "Multiwindow, Multi-Burn-Rate Alerts".
    /// What differs: a window that was not yet watched to its end is judged by what there is of it, and too few failures say
    /// nothing. Each pair of windows keeps 100 sums: about 10 KB an entity. An objective is somebody's choice, so it is not in
    /// [`Detectors::standard`](super::Detectors::standard).
    BurnRateDetector, BurnRate, BurnRateConfig
}

#[derive(Debug)]
struct BurnRate(BurnRateConfig);

/// A window is cut into so many slots; what is counted is off by at most one.
const SLOTS: f64 = 100.0;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Learned {
    /// Short and long, in the order of the configuration.
    windows: Vec<[Slots; 2]>,
    last: Timestamp,
}

/// Sums of failures and requests by slot of time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Slots(Ring<(i64, Sum)>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    failed: f64,
    total: f64,
}

impl Slots {
    /// Adds to the slot of `at`, forgets what left the window, and gives the sum of the window.
    fn add(&mut self, at: Timestamp, window_secs: f64, new: Sum) -> Sum {
        let slot_nanos = (window_secs / SLOTS * 1e9).max(1.0) as i64;
        let slot = at.as_nanos() / slot_nanos;
        let from = slot - SLOTS as i64;
        // A clock that was set back leaves slots ahead of now, which would never leave.
        self.0.drain_while(|(then, _)| *then <= from || *then > slot, |_| ());
        let sum = match self.0.last().copied() {
            Some((then, sum)) if then == slot => {
                self.0.pop();
                Sum { failed: sum.failed + new.failed, total: sum.total + new.total }
            }
            _ => new,
        };
        self.0.push((slot, sum), SLOTS as usize + 1);
        let all = self.0.iter().filter(|(then, _)| (from + 1..=slot).contains(then));
        all.fold(Sum::default(), |a, (_, b)| Sum { failed: a.failed + b.failed, total: a.total + b.total })
    }
}

impl Core for BurnRate {
    type State = BTreeMap<EntityId, Learned>;
    const NAME: &'static str = "burn_rate";
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
        is_counted(series, &self.0.names, false)
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
        learned.windows.resize_with(config.windows.len(), Default::default);
        let counts = Counts::of(scrape, &config.names);
        let new = Sum { failed: counts.own + counts.relayed, total: counts.requests };
        let mut worst = None;
        for (window, [short, long]) in config.windows.iter().zip(&mut learned.windows) {
            let now = short.add(scrape.at, window.short_secs, new);
            let all = long.add(scrape.at, window.long_secs, new);
            let burn = self.burn(all);
            let burns =
                burn >= window.burn_rate && self.burn(now) >= window.burn_rate && all.failed >= config.min_failures;
            if burns && worst.is_none_or(|(other, _): (&BurnWindow, f64)| window.nats > other.nats) {
                worst = Some((window, burn));
            }
        }
        self.judge(tracks, judge, &Key::new(scrape.entity, subject::BURN_RATE), worst, out)
    }
}

impl BurnRate {
    /// How many times as fast as allowed; 0 without requests.
    fn burn(&self, sum: Sum) -> f64 {
        if sum.total > 0.0 { sum.failed / sum.total / (1.0 - self.0.objective) } else { 0.0 }
    }

    fn judge(
        &self,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        key: &Key,
        worst: Option<(&BurnWindow, f64)>,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let finding = Finding {
            verdict: if worst.is_some() { Verdict::Bad } else { Verdict::Good },
            nats: worst.map_or(0.0, |(window, _)| window.nats),
            symptom: Symptom::Errors,
            direction: Direction::Up,
            onset: None,
            expected: 1.0,
            seen: worst.map_or(0.0, |(_, burn)| burn),
            threshold: worst.map_or(f64::NAN, |(window, _)| window.burn_rate),
        };
        let objective = self.0.objective * 100.0;
        let because = |onset| match worst {
            Some((window, burn)) => format!(
                "expected errors within the objective of {objective} %, seen {burn:.1} times as many as it allows over the last {} s \
                 and no fewer than {} times in the last {} s, since {onset}",
                window.long_secs, window.burn_rate, window.short_secs
            ),
            None => format!("errors are within the objective of {objective} % again, or about to be, since {onset}"),
        };
        tracks.judge(judge, key, &finding, because, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_what_came_in_it() {
        let mut slots = Slots::default();
        let at = |secs: i64| Timestamp::from_nanos(secs * 1_000_000_000);
        let one = Sum { failed: 1.0, total: 10.0 };
        for secs in 1..=250 {
            let sum = slots.add(at(secs), 100.0, one);
            assert_eq!(sum.total, 10.0 * secs.min(100) as f64);
        }
        assert_eq!(slots.add(at(1000), 100.0, one), one);
        // A clock set back begins anew, and stays bounded.
        assert_eq!(slots.add(at(500), 100.0, one), one);
        assert_eq!(slots.0.len(), 1);
    }

    #[test]
    fn windows_in_the_wrong_order_are_refused() {
        let window = BurnWindow { long_secs: 60.0, short_secs: 600.0, burn_rate: 1.0, nats: 20.0 };
        let config = BurnRateConfig { windows: vec![window], objective: 1.0, ..BurnRateConfig::default() };
        let text = BurnRateDetector::new(config).unwrap_err().to_string();
        assert!(text.contains("windows[0].short_secs") && text.contains("objective"), "{text}");
    }
}
