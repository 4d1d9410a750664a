//! Static limits, and limits on how much a value may change: what people know of a metric before any history does.

use std::collections::{BTreeMap, BTreeSet};

use ir_core::anomaly::Direction;
use ir_core::{Anomaly, EntityId, Labels, MetricKind, Problem, Result, Series, Symptom, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use super::host::{Core, detector};
use super::names::{Bounds, MetricNames};
use crate::check::Check;
use crate::pairs;
use crate::runtime::per_entity::PerEntity;
use crate::runtime::scrape::EntityScrape;
use crate::stats::Ring;

/// One limit. A gauge is judged as it is, a counter by what it rises a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What people call it: the subject of its anomalies. Each name once.
    pub name: String,
    /// The metric.
    pub metric: String,
    /// Labels that a series must have, with these values. Default: any.
    #[serde(default)]
    pub labels: Labels,
    /// Whom it is for. Default: every entity.
    #[serde(default)]
    pub entities: BTreeSet<EntityId>,
    /// More than this is too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Less than this is too little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// To rise by more than this within `over_secs` is too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rises_by: Option<f64>,
    /// To fall by more than this within `over_secs` is too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub falls_by: Option<f64>,
    /// The time over which a change is measured. Seconds, default 300.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 1.0, max = 864_000.0))]
    pub over_secs: f64,
    /// It must be broken for so long. Seconds, default 0: at once.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub for_secs: f64,
    /// The surprise it is reported with, in nats: 18 and more open an incident alone. Default 30: who sets a limit wants to know.
    #[serde(default = "thirty_nats")]
    #[schemars(range(min = 0.1, max = 1e3))]
    pub nats: f64,
    /// What kind of symptom it is. Default `other`.
    #[serde(default = "other")]
    pub symptom: Symptom,
}

fn five_minutes() -> f64 {
    300.0
}

fn thirty_nats() -> f64 {
    30.0
}

fn other() -> Symptom {
    Symptom::Other
}

impl Limit {
    /// A limit that names a metric and bounds nothing yet.
    #[must_use]
    pub fn new(name: impl Into<String>, metric: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            metric: metric.into(),
            labels: Labels::new(),
            entities: BTreeSet::new(),
            above: None,
            below: None,
            rises_by: None,
            falls_by: None,
            over_secs: five_minutes(),
            for_secs: 0.0,
            nats: thirty_nats(),
            symptom: other(),
        }
    }

    fn check(&self) -> Check {
        let mut check = Check::default();
        check.named("name", &self.name);
        check.named("metric", &self.metric);
        let bounds = [("above", self.above), ("below", self.below)];
        let changes = [("rises_by", self.rises_by), ("falls_by", self.falls_by)];
        for (field, value) in bounds.into_iter().filter_map(|(field, value)| Some((field, value?))) {
            check.within(field, value, f64::MIN, f64::MAX);
        }
        for (field, value) in changes.into_iter().filter_map(|(field, value)| Some((field, value?))) {
            check.within(field, value, f64::MIN_POSITIVE, f64::MAX);
        }
        if bounds.iter().chain(&changes).all(|(_, value)| value.is_none()) {
            check.wrong("above", "the limit bounds nothing: set `above`, `below`, `rises_by` or `falls_by`");
        }
        check.within("over_secs", self.over_secs, 1.0, 864_000.0);
        check.within("for_secs", self.for_secs, 0.0, 86_400.0);
        check.within("nats", self.nats, 0.1, 1e3);
        check
    }

    fn is_for(&self, series: &Series) -> bool {
        series.metric == self.metric
            && (self.entities.is_empty() || self.entities.contains(&series.entity))
            && self.labels.iter().all(|(key, value)| series.labels.get(key) == Some(value))
    }

    /// The bound that is broken: its field, the bound, what is compared with it, and which way.
    fn broken(&self, value: f64, change: &Change) -> Option<(&'static str, f64, f64, Direction)> {
        let over = |bound: Option<f64>, seen: f64| bound.filter(|bound| seen > *bound);
        let under = |bound: Option<f64>, seen: f64| bound.filter(|bound| seen < *bound);
        over(self.above, value)
            .map(|bound| ("above", bound, value, Direction::Up))
            .or_else(|| under(self.below, value).map(|bound| ("below", bound, value, Direction::Down)))
            .or_else(|| over(self.rises_by, change.rise).map(|by| ("rises_by", by, change.rise, Direction::Up)))
            .or_else(|| over(self.falls_by, change.fall).map(|by| ("falls_by", by, change.fall, Direction::Down)))
    }
}

/// What a [`LimitDetector`] watches.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitConfig {
    /// The limits. Default: none.
    pub limit: Vec<Limit>,
    /// Names of metrics: `start_time` tells a new process from an old one.
    pub names: MetricNames,
    /// How much is kept.
    pub bounds: Bounds,
    /// When episodes end. They begin after `for_secs` of their limit.
    pub episode: EpisodeConfig,
}

impl LimitConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.count("limit", self.limit.len(), 1, 10_000);
        let mut names = BTreeSet::new();
        for (at, limit) in self.limit.iter().enumerate() {
            check.part(&format!("limit[{at}]"), limit.check());
            if !names.insert(&limit.name) {
                check.wrong(&format!("limit[{at}].name"), format!("`{}` is the name of another limit", limit.name));
            }
        }
        check.part("names", self.names.check());
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

detector! {
    /// Finds values beyond limits that somebody set, and values that change more than somebody allows.
    ///
    /// A value right on its limit is within it. What changes is compared with the lowest and the highest value of the time
    /// `over_secs`, kept in sixty slots, so the time is met within a sixtieth. A restart begins the time anew. About 2 KB a series
    /// that a limit on changes is for, nothing for the others.
    LimitDetector, Limits, LimitConfig
}

#[derive(Debug)]
struct Limits(LimitConfig);

/// The time of a change is cut into so many slots.
const SLOTS: usize = 60;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Change {
    rise: f64,
    fall: f64,
}

/// Lowest and highest value by slot of time.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Past {
    slots: Ring<(i64, f64, f64)>,
    last: Timestamp,
}

impl Past {
    /// How much `value` lies above the lowest and below the highest of the time before it.
    fn change(&mut self, at: Timestamp, value: f64, over_secs: f64) -> Change {
        let slot_nanos = (over_secs / SLOTS as f64 * 1e9).max(1.0) as i64;
        let slot = at.as_nanos().div_euclid(slot_nanos);
        // A clock that was set back leaves slots ahead of now, which would never leave.
        self.slots.drain_while(|(then, ..)| *then < slot - SLOTS as i64 || *then > slot, |_| ());
        let (low, high) =
            self.slots.iter().fold((value, value), |(low, high), (_, least, most)| (low.min(*least), high.max(*most)));
        let own = match self.slots.last().copied() {
            Some((then, least, most)) if then == slot => {
                self.slots.pop();
                (slot, least.min(value), most.max(value))
            }
            _ => (slot, value, value),
        };
        self.slots.push(own, SLOTS + 1);
        self.last = at;
        Change { rise: value - low, fall: high - value }
    }
}

/// `Past` by limit and series.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct All(#[serde(with = "pairs")] BTreeMap<Key, Past>);

impl PerEntity for All {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.0.drop_entity(entity);
    }
}

/// Series that limits on changes are for, all together: about 200 MB.
const MAX_WATCHED: usize = 100_000;

impl Core for Limits {
    type State = All;
    const NAME: &'static str = "limit";
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
        let values = matches!(series.kind, MetricKind::Gauge | MetricKind::Counter);
        let start = series.metric == self.0.names.start_time;
        values && (start || self.0.limit.iter().any(|limit| limit.is_for(series)))
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
            for limit in self.0.limit.iter().filter(|limit| limit.is_for(series)) {
                let key = Key { labels: series.labels.clone(), ..Key::new(scrape.entity, limit.name.as_str()) };
                let change = self.change((&mut state.0, tracks), &key, limit, scrape, value);
                judge_one(tracks, judge, &key, limit, value, change, out)?;
            }
        }
        Ok(())
    }
}

impl Limits {
    fn change(
        &self,
        (past, tracks): (&mut BTreeMap<Key, Past>, &mut Tracks),
        key: &Key,
        limit: &Limit,
        scrape: &EntityScrape<'_>,
        value: f64,
    ) -> Change {
        if limit.rises_by.is_none() && limit.falls_by.is_none() {
            return Change::default();
        }
        if !past.contains_key(key) && past.len() >= MAX_WATCHED {
            if tracks.may_make_room(scrape.at) {
                past.retain(|_, past| scrape.at.since(past.last).as_secs() <= self.0.bounds.forget_secs);
            }
            if past.len() >= MAX_WATCHED {
                tracks.refuse_series();
                return Change::default();
            }
        }
        let past = past.entry(key.clone()).or_default();
        if scrape.restarted {
            *past = Past::default();
        }
        past.change(scrape.at, value, limit.over_secs)
    }
}

fn judge_one(
    tracks: &mut Tracks,
    judge: Judge<'_>,
    key: &Key,
    limit: &Limit,
    value: f64,
    change: Change,
    out: &mut Vec<Anomaly>,
) -> Result<()> {
    let broken = limit.broken(value, &change);
    let (_, bound, seen, direction) = broken.unwrap_or(("", f64::NAN, value, Direction::Up));
    let finding = Finding {
        verdict: if broken.is_some() { Verdict::Bad } else { Verdict::Good },
        nats: limit.nats,
        symptom: limit.symptom,
        direction,
        onset: None,
        expected: bound,
        seen,
        threshold: bound,
    };
    let because = |onset| match broken {
        Some((field @ ("above" | "below"), bound, seen, _)) => {
            format!("{} is {seen}, {field} the limit of {bound} that was set, since {onset}", limit.metric)
        }
        Some((field, bound, seen, _)) => {
            let way = if field == "rises_by" { "rose" } else { "fell" };
            let (metric, over) = (&limit.metric, limit.over_secs);
            format!("{metric} {way} by {seen} within {over} s, and by no more than {bound} is allowed, since {onset}")
        }
        None => format!("{} is within its limits again, at {value}, out of them since {onset}", limit.metric),
    };
    // The limit says how long to wait, and whoever set it wants to know each time; the rest is common to all.
    let episode = EpisodeConfig { begin_looks: 1, begin_secs: limit.for_secs, most_a_day: 0, ..judge.config.clone() };
    tracks.judge(Judge { config: &episode, ..judge }, key, &finding, because, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_measured_against_the_time_before_it() {
        let mut past = Past::default();
        let at = |secs: i64| Timestamp::from_nanos(secs * 1_000_000_000);
        assert_eq!(past.change(at(0), 10.0, 60.0), Change { rise: 0.0, fall: 0.0 });
        assert_eq!(past.change(at(30), 15.0, 60.0), Change { rise: 5.0, fall: 0.0 });
        assert_eq!(past.change(at(50), 12.0, 60.0), Change { rise: 2.0, fall: 3.0 });
        // The first value is older than a minute, the second is not.
        assert_eq!(past.change(at(80), 20.0, 60.0), Change { rise: 8.0, fall: 0.0 });
        // A clock set back begins anew.
        assert_eq!(past.change(at(-500), 1.0, 60.0), Change { rise: 0.0, fall: 0.0 });
        assert!(past.slots.len() <= SLOTS + 1);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let nothing = Limit::new("a", "m");
        let wrong = Limit { rises_by: Some(-1.0), over_secs: 0.0, above: Some(f64::NAN), ..Limit::new("a", "") };
        let config = LimitConfig { limit: vec![nothing, wrong], ..LimitConfig::default() };
        let text = LimitDetector::new(config).unwrap_err().to_string();
        for part in [
            "limit[0].above",
            "bounds nothing",
            "limit[1].rises_by",
            "limit[1].over_secs",
            "limit[1].above",
            "limit[1].metric",
            "another limit",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
