//! Error rate: more failures than usual, told apart by who made them.
//!
//! A service that answers 500 is to blame itself; one that answers 502 or 504 says that somebody behind it is. The same holds
//! for the codes its calls brought. So each share is watched by itself, under a subject that says whose failures it counts.

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
use crate::stats::binomial_surprise;

/// How an [`ErrorRateDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorRateConfig {
    /// The share is taken over so many seconds. Default 2.5: a hundred requests at fifty per second.
    #[schemars(range(min = 0.1, max = 86_400.0))]
    pub window_secs: f64,
    /// Fewer requests in the window say nothing. Default 10.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_requests: usize,
    /// A usual share below this counts as this: one failure in a hundred is no surprise anywhere. Default 0.01.
    #[schemars(range(min = 1e-6, max = 0.5))]
    pub tolerated_ratio: f64,
    /// The share must be above the usual one by this much, however sure the test is. Default 0.05.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_effect_ratio: f64,
    /// Surprise that counts, in nats. Default 10: by chance once in 22,000 scrapes.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub surprise_nats: f64,
    /// Nothing is said before so many seconds of a series were learned. Default 8.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub warm_secs: f64,
    /// What was learned counts half after so many seconds. Default 600.
    #[schemars(range(min = 1.0, max = 864_000.0))]
    pub half_life_secs: f64,
    /// Names of metrics.
    pub names: MetricNames,
    /// How much is kept.
    pub bounds: Bounds,
    /// When episodes begin and end.
    pub episode: EpisodeConfig,
}

impl Default for ErrorRateConfig {
    fn default() -> Self {
        Self {
            window_secs: 2.5,
            min_requests: 10,
            tolerated_ratio: 0.01,
            min_effect_ratio: 0.05,
            surprise_nats: 10.0,
            warm_secs: 8.0,
            half_life_secs: 600.0,
            names: MetricNames::default(),
            bounds: Bounds::default(),
            episode: EpisodeConfig::default(),
        }
    }
}

impl ErrorRateConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.within("window_secs", self.window_secs, 0.1, 86_400.0);
        check.count("min_requests", self.min_requests, 1, 1_000_000_000);
        check.within("tolerated_ratio", self.tolerated_ratio, 1e-6, 0.5);
        check.within("min_effect_ratio", self.min_effect_ratio, 0.0, 1.0);
        check.within("surprise_nats", self.surprise_nats, 1.0, 1000.0);
        check.within("warm_secs", self.warm_secs, 0.0, 86_400.0);
        check.within("half_life_secs", self.half_life_secs, 1.0, 864_000.0);
        check.part("names", self.names.check());
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

detector! {
    /// Finds shares of failures that are larger than usual.
    ///
    /// The test is Hoeffding's bound on the binomial tail (see [`binomial_surprise`](crate::stats::binomial_surprise)) of the
    /// failures in a short window against the learned share. Assumes that requests fail independently without a fault; a
    /// single burst of failures is no alarm, because the newest scrape alone must be bad as well. About 2 KB an entity.
    ErrorRateDetector, ErrorRate, ErrorRateConfig
}

#[derive(Debug)]
struct ErrorRate(ErrorRateConfig);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Learned {
    recent: Recent,
    first: Option<Timestamp>,
    last: Timestamp,
    #[serde(with = "pairs")]
    usual: BTreeMap<Key, Usual>,
}

/// Failures and trials, fading.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
struct Usual {
    failed: f64,
    total: f64,
    at: Timestamp,
}

/// One share of one scrape or window.
#[derive(Debug, Clone, Copy)]
struct Share {
    failed: f64,
    total: f64,
}

impl Share {
    fn ratio(self) -> f64 {
        self.failed / self.total
    }
}

fn shares(entity: &EntityId, counts: &Counts) -> Vec<(Key, Share)> {
    let mut shares = vec![
        (Key::new(entity, subject::OWN_ERRORS), Share { failed: counts.own, total: counts.requests }),
        (Key::new(entity, subject::ERRORS), Share { failed: counts.own + counts.relayed, total: counts.requests }),
    ];
    for (peer, calls) in &counts.calls {
        for (subject, failed) in [
            (subject::CALLS_OWN, calls.own),
            (subject::CALLS_UNREACHABLE, calls.unreachable),
            (subject::CALLS_RELAYED, calls.relayed),
        ] {
            shares.push((Key::to(entity, peer, subject), Share { failed, total: calls.total }));
        }
    }
    shares
}

impl Core for ErrorRate {
    type State = BTreeMap<EntityId, Learned>;
    const NAME: &'static str = "error_rate";
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
        let first = *learned.first.get_or_insert(scrape.at);
        let counts = Counts::of(scrape, &config.names);
        let newest: BTreeMap<Key, Share> = shares(scrape.entity, &counts).into_iter().collect();
        let mut old = Vec::new();
        learned.recent.push(scrape.at, counts, config.window_secs, |scrape| old.push(scrape));
        for (at, counts) in old {
            learned.learn(scrape.entity, at, &counts, tracks, config);
        }
        if scrape.at.since(first).as_secs_f64() < config.warm_secs {
            return Ok(());
        }
        for (key, share) in shares(scrape.entity, &learned.recent.sum()) {
            let usual = learned.usual.get(&key).copied().unwrap_or_default();
            let newest = newest.get(&key).copied();
            self.judge(tracks, judge, &key, share, newest, usual, out)?;
        }
        Ok(())
    }
}

impl Learned {
    fn learn(&mut self, entity: &EntityId, at: Timestamp, counts: &Counts, tracks: &Tracks, config: &ErrorRateConfig) {
        for (key, share) in shares(entity, counts) {
            let room = self.usual.len() < config.bounds.max_series || self.usual.contains_key(&key);
            if !room || !tracks.may_learn(&key, at, &config.episode) {
                continue;
            }
            let usual = self.usual.entry(key).or_default();
            let keep = 0.5_f64.powf(at.since(usual.at).as_secs_f64() / config.half_life_secs);
            *usual = Usual { failed: usual.failed * keep + share.failed, total: usual.total * keep + share.total, at };
        }
    }
}

impl ErrorRate {
    #[expect(clippy::too_many_arguments, reason = "private, one caller")]
    fn judge(
        &self,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        key: &Key,
        share: Share,
        newest: Option<Share>,
        usual: Usual,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let config = &self.0;
        if share.total < config.min_requests as f64 {
            return Ok(());
        }
        // Half a failure and half a success more keep a short history from being sure (Jeffreys' prior).
        let expected = ((usual.failed + 0.5) / (usual.total + 1.0)).clamp(0.0, 0.999);
        let expected = if usual.total > 0.0 { expected } else { 0.0 };
        let expected = expected.max(config.tolerated_ratio);
        let limit = config.surprise_nats * tracks.factor(key);
        let threshold = expected + config.min_effect_ratio;
        let nats = binomial_surprise(share.failed, share.total, expected);
        // A burst stays in the window for seconds: only the newest scrape tells whether it goes on.
        let goes_on = newest.is_some_and(|newest| newest.total > 0.0 && newest.ratio() >= threshold);
        let verdict = Verdict::of(nats >= limit && share.ratio() >= threshold && goes_on, nats, limit);
        let finding = Finding {
            verdict,
            nats,
            symptom: if key.peer.is_some() { Symptom::Downstream } else { Symptom::Errors },
            direction: Direction::Up,
            onset: None,
            expected,
            seen: share.ratio(),
            threshold,
        };
        let because = |onset| {
            let what = match &key.peer {
                Some(peer) => format!("{} of calls to {peer}", key.subject),
                None => key.subject.clone(),
            };
            format!(
                "expected {what} of {expected:.3} at most as in {:.0} before, seen {:.3} of {:.0} in the last {} s since \
                 {onset}",
                usual.total,
                share.ratio(),
                share.total,
                config.window_secs
            )
        };
        tracks.judge(judge, key, &finding, because, out)
    }
}
