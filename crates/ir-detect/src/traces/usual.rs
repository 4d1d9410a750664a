//! What is usual of requests and calls, and how a look compares.

use std::collections::BTreeMap;

use ir_core::anomaly::Direction;
use ir_core::{Anomaly, EntityId, Result, Symptom, Timestamp};
use serde::{Deserialize, Serialize};

use super::detector::TraceConfig;
use super::graph::{Counts, Look};
use crate::anomaly::episode::{Finding, Judge, Key, Tracks, Verdict};
use crate::anomaly::subject;
use crate::runtime::per_entity::PerEntity;
use crate::stats::{Floors, Location, Ring, binomial_surprise, gaussian_surprise};

/// All that is learned. By key, so that it is bounded in one place.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Learned(#[serde(with = "crate::pairs")] BTreeMap<Key, Usual>);

/// What is usual of one share or one time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Usual {
    last: Timestamp,
    looks: u32,
    /// Of a share: failures and trials, fading.
    failed: f64,
    total: f64,
    /// Of a time: seconds by look.
    secs: Ring<f64>,
}

/// What a look says of one key.
#[derive(Debug, Clone, Copy)]
enum Measure {
    Share { failed: f64, total: f64 },
    Time { secs: f64, total: f64, min_effect_secs: f64 },
}

impl PerEntity for Learned {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.0.drop_entity(entity);
    }
}

impl Learned {
    /// Judges the look and learns from it.
    pub(super) fn look(
        &mut self,
        look: &Look,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        config: &TraceConfig,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        for (entity, requests) in &look.requests {
            measure_requests(entity, None, &requests.all, config, &mut |key, m| {
                self.one(key, m, tracks, judge, config, out)
            })?;
            // One operation is the entity itself.
            if requests.by_operation.len() > 1 {
                for (operation, counts) in &requests.by_operation {
                    let mut one = |key, m| self.one(key, m, tracks, judge, config, out);
                    measure_requests(entity, Some(operation), counts, config, &mut one)?;
                }
            }
        }
        for ((from, to), counts) in &look.calls {
            let total = counts.total();
            let mut one = |subject: &str, m| self.one(Key::to(from, to, subject), m, tracks, judge, config, out);
            for (subject, failed) in [
                (subject::CALLS_OWN, counts.own),
                (subject::CALLS_RELAYED, counts.relayed),
                (subject::CALLS_UNREACHABLE, counts.unreachable),
            ] {
                one(subject, Measure::Share { failed: failed as f64, total })?;
            }
            let min_effect_secs = config.min_effect_secs;
            one(subject::CALLS_LATENCY, Measure::Time { secs: counts.secs / total, total, min_effect_secs })?;
            if counts.gaps > 0 {
                let total = counts.gaps as f64;
                one(subject::CALLS_GAP, Measure::Time { secs: counts.gap_secs / total, total, min_effect_secs })?;
            }
        }
        Ok(())
    }

    /// Forgets what was silent for long.
    pub(super) fn forget(&mut self, now: Timestamp, secs: u64) {
        self.0.retain(|_, usual| now.since(usual.last).as_secs() <= secs);
    }

    fn one(
        &mut self,
        key: Key,
        measure: Measure,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        config: &TraceConfig,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        if !self.0.contains_key(&key) {
            if self.0.len() >= config.max_keys {
                self.forget(judge.at, config.bounds.forget_secs);
            }
            if self.0.len() >= config.max_keys {
                return Ok(());
            }
        }
        let usual = self.0.entry(key.clone()).or_default();
        usual.last = judge.at;
        let found = match measure {
            Measure::Share { failed, total } => usual.share(failed, total, config, tracks.factor(&key)),
            Measure::Time { secs, total, min_effect_secs } => {
                usual.time(secs, total, min_effect_secs, config, tracks.factor(&key))
            }
        };
        if let Some(found) = found {
            let finding = Finding { symptom: symptom(&key), direction: Direction::Up, onset: None, ..found };
            let looks = usual.looks;
            tracks.judge(judge, &key, &finding, |onset| because(&key, &finding, looks, config, onset), out)?;
        }
        if tracks.may_learn(&key, judge.at, &config.episode) {
            usual.learn(measure, config);
        }
        Ok(())
    }
}

fn measure_requests(
    entity: &EntityId,
    operation: Option<&str>,
    counts: &Counts,
    config: &TraceConfig,
    one: &mut impl FnMut(Key, Measure) -> Result<()>,
) -> Result<()> {
    let total = counts.total();
    let key = |subject: &str| {
        let mut key = Key::new(entity, subject);
        if let Some(operation) = operation {
            key.labels.insert("operation", operation);
        }
        key
    };
    one(key(subject::OWN_ERRORS), Measure::Share { failed: counts.own as f64, total })?;
    one(key(subject::ERRORS), Measure::Share { failed: counts.failed(), total })?;
    let (secs, min_effect_secs) = (counts.exclusive_secs / total, config.min_effect_secs);
    one(key(subject::EXCLUSIVE), Measure::Time { secs, total, min_effect_secs })?;
    let secs = counts.times.quantile(0.95).unwrap_or(0.0);
    one(key(subject::P95), Measure::Time { secs, total, min_effect_secs: config.p95_min_effect_secs })
}

fn symptom(key: &Key) -> Symptom {
    match key.subject.as_str() {
        _ if key.peer.is_some() => Symptom::Downstream,
        subject::OWN_ERRORS | subject::ERRORS => Symptom::Errors,
        _ => Symptom::Latency,
    }
}

fn because(key: &Key, finding: &Finding, looks: u32, config: &TraceConfig, onset: Timestamp) -> String {
    let of = match (&key.peer, key.labels.get("operation")) {
        (Some(peer), _) => format!("{} of calls to {peer}", key.subject),
        // An operation is untrusted text.
        (None, Some(operation)) => {
            let shown: String =
                operation.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).take(80).collect();
            format!("{} of `{shown}`", key.subject)
        }
        (None, None) => key.subject.clone(),
    };
    let is_time = key.subject.contains("latency") || key.subject == subject::CALLS_GAP;
    let shown = |value: f64| if is_time { format!("{:.1} ms", value * 1e3) } else { format!("{value:.3}") };
    format!(
        "expected {of} of {} as in {looks} looks before, seen {} (limit {}) in {} s since {onset}",
        shown(finding.expected),
        shown(finding.seen),
        shown(finding.threshold),
        config.look_secs
    )
}

impl Usual {
    fn learn(&mut self, measure: Measure, config: &TraceConfig) {
        self.looks = self.looks.saturating_add(1);
        match measure {
            Measure::Share { failed, total } => {
                let keep = 0.5_f64.powf(config.look_secs as f64 / config.half_life_secs);
                self.failed = self.failed * keep + failed;
                self.total = self.total * keep + total;
            }
            Measure::Time { secs, total, .. } => {
                if secs.is_finite() && total >= config.min_requests as f64 {
                    self.secs.push(secs, config.remember_looks);
                }
            }
        }
    }

    /// As [`ErrorRateDetector`](crate::ErrorRateDetector) judges a share.
    fn share(&self, failed: f64, total: f64, config: &TraceConfig, factor: f64) -> Option<Finding> {
        if total < config.min_requests as f64 || (self.looks as usize) < config.warm_looks {
            return None;
        }
        let expected = ((self.failed + 0.5) / (self.total + 1.0)).clamp(config.tolerated_ratio, 0.999);
        let seen = failed / total;
        let (limit, threshold) = (config.surprise_nats * factor, expected + config.min_effect_ratio);
        let nats = binomial_surprise(failed, total, expected);
        let verdict = Verdict::of(nats >= limit && seen >= threshold, nats, limit);
        Some(found(verdict, nats, expected, seen, threshold))
    }

    /// As [`LatencyDetector`](crate::LatencyDetector) judges a time.
    fn time(&self, secs: f64, total: f64, min_effect: f64, config: &TraceConfig, factor: f64) -> Option<Finding> {
        if total < config.min_requests as f64 || self.secs.len() < config.warm_looks {
            return None;
        }
        let floors = Floors { of_level: 0.1, of_range: 0.2, absolute: config.floor_secs };
        let usual = Location::of(self.secs.iter().copied(), floors)?;
        let sigmas = config.sigmas * factor;
        let effect = min_effect.max(config.min_effect_share * usual.center);
        let threshold = usual.center + effect.max(sigmas * usual.scale);
        let (nats, limit) = (gaussian_surprise(usual.z(secs).max(0.0)), gaussian_surprise(sigmas));
        let verdict = match secs {
            _ if secs >= threshold => Verdict::Bad,
            _ if secs < usual.center + effect / 2.0 => Verdict::Good,
            _ => Verdict::of(false, nats, limit),
        };
        Some(found(verdict, nats, usual.center, secs, threshold))
    }
}

/// What a look says; the key says the rest.
fn found(verdict: Verdict, nats: f64, expected: f64, seen: f64, threshold: f64) -> Finding {
    let (symptom, direction, onset) = (Symptom::Other, Direction::Up, None);
    Finding { verdict, nats, symptom, direction, onset, expected, seen, threshold }
}
