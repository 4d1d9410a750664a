//! What a scrape says of a service: requests, errors by who is to blame, time spent, calls by peer.

use std::collections::BTreeMap;
use std::time::Duration;

use ir_core::{EntityId, MetricKind, Series, Timestamp};
use serde::{Deserialize, Serialize};

use super::names::MetricNames;
use crate::runtime::scrape::{EntityScrape, Rise};
use crate::stats::{Ring, bucket_quantile};

/// The part of a histogram that a name is.
fn part<'a>(metric: &'a str, base: &str) -> Option<&'a str> {
    metric.strip_prefix(base)
}

/// Whether a series is one of those counted here.
pub(crate) fn is_counted(series: &Series, names: &MetricNames, with_buckets: bool) -> bool {
    match series.kind {
        MetricKind::Bucket => with_buckets && part(&series.metric, &names.request_seconds) == Some("_bucket"),
        MetricKind::Counter => {
            series.metric == names.requests
                || series.metric == names.calls
                || [&names.request_seconds, &names.call_seconds]
                    .iter()
                    .any(|base| matches!(part(&series.metric, base), Some("_sum" | "_count")))
        }
        _ => series.metric == names.start_time,
    }
}

/// What a code says about who failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Nobody,
    /// Who answered.
    Own,
    /// Somebody behind the one who answered: 502 and 504 say that the next one failed or was late (RFC 9110, 15.6.3, 15.6.5).
    Relayed,
    /// There was no answer.
    Unreachable,
}

fn blame(code: &str) -> Blame {
    match code.parse::<u16>() {
        Ok(502 | 504) => Blame::Relayed,
        Ok(500..) => Blame::Own,
        Ok(_) => Blame::Nobody,
        Err(_) => Blame::Unreachable,
    }
}

/// Calls to one peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calls {
    pub(crate) total: f64,
    pub(crate) unreachable: f64,
    pub(crate) own: f64,
    pub(crate) relayed: f64,
    pub(crate) seconds: f64,
    pub(crate) timed: f64,
}

impl Calls {
    fn add(&mut self, other: &Self) {
        self.total += other.total;
        self.unreachable += other.unreachable;
        self.own += other.own;
        self.relayed += other.relayed;
        self.seconds += other.seconds;
        self.timed += other.timed;
    }

    /// Mean seconds of a call.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.timed > 0.0).then(|| self.seconds / self.timed)
    }
}

/// What a service did in some time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) requests: f64,
    /// Errors the service made itself.
    pub(crate) own: f64,
    /// Errors it passed on.
    pub(crate) relayed: f64,
    pub(crate) seconds: f64,
    pub(crate) timed: f64,
    /// Ascending by bound in nanoseconds; `i64::MAX` stands for infinity. Whole numbers, because bounds are keys.
    pub(crate) buckets: Vec<(i64, f64)>,
    pub(crate) calls: BTreeMap<EntityId, Calls>,
}

impl Counts {
    pub(crate) fn of(scrape: &EntityScrape<'_>, names: &MetricNames) -> Self {
        let mut counts = Self::default();
        let mut buckets: BTreeMap<i64, f64> = BTreeMap::new();
        for Rise { series, by: increase, .. } in &scrape.increases {
            let metric = series.metric.as_str();
            if metric == names.requests {
                counts.requests += increase;
                match series.labels.get(&names.code).map_or(Blame::Nobody, blame) {
                    Blame::Nobody => {}
                    Blame::Relayed => counts.relayed += increase,
                    Blame::Own | Blame::Unreachable => counts.own += increase,
                }
            } else if let Some(part) = part(metric, &names.request_seconds) {
                match part {
                    "_sum" => counts.seconds += increase,
                    "_count" => counts.timed += increase,
                    "_bucket" => {
                        if let Some(bound) = series.labels.get("le").and_then(bound_nanos) {
                            *buckets.entry(bound).or_default() += increase;
                        }
                    }
                    _ => {}
                }
            } else {
                counts.call(series, metric, *increase, names);
            }
        }
        counts.buckets = buckets.into_iter().collect();
        counts
    }

    fn call(&mut self, series: &Series, metric: &str, increase: f64, names: &MetricNames) {
        let timed = part(metric, &names.call_seconds);
        if metric != names.calls && !matches!(timed, Some("_sum" | "_count")) {
            return;
        }
        // A peer whose name cannot be one of an entity cannot be found in any topology either.
        let Some(peer) = series.labels.get(&names.peer).and_then(|peer| EntityId::new(peer).ok()) else { return };
        let calls = self.calls.entry(peer).or_default();
        match timed {
            Some("_sum") => calls.seconds += increase,
            Some(_) => calls.timed += increase,
            None => {
                calls.total += increase;
                match series.labels.get(&names.code).map_or(Blame::Nobody, blame) {
                    Blame::Nobody => {}
                    Blame::Own => calls.own += increase,
                    Blame::Relayed => calls.relayed += increase,
                    Blame::Unreachable => calls.unreachable += increase,
                }
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.own += other.own;
        self.relayed += other.relayed;
        self.seconds += other.seconds;
        self.timed += other.timed;
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            let mut buckets: BTreeMap<i64, f64> = self.buckets.iter().copied().collect();
            for (bound, count) in &other.buckets {
                *buckets.entry(*bound).or_default() += count;
            }
            self.buckets = buckets.into_iter().collect();
        }
        for (peer, calls) in &other.calls {
            self.calls.entry(peer.clone()).or_default().add(calls);
        }
    }

    /// Mean seconds to answer.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.timed > 0.0).then(|| self.seconds / self.timed)
    }

    /// Mean seconds to answer without those spent waiting for others: own mean minus calls per request times their mean.
    pub(crate) fn exclusive(&self) -> Option<f64> {
        let elsewhere: f64 = self.calls.values().map(|calls| calls.seconds).sum();
        (self.timed > 0.0).then(|| ((self.seconds - elsewhere) / self.timed).max(0.0))
    }

    /// The `q`-quantile of the time to answer, in seconds.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let buckets: Vec<(f64, f64)> = self
            .buckets
            .iter()
            .map(|(bound, count)| (if *bound == i64::MAX { f64::INFINITY } else { *bound as f64 / 1e9 }, *count))
            .collect();
        bucket_quantile(q, &buckets)
    }
}

fn bound_nanos(le: &str) -> Option<i64> {
    let bound: f64 = le.parse().ok()?;
    match bound {
        _ if bound.is_nan() => None,
        f64::INFINITY => Some(i64::MAX),
        // Bounds beyond three centuries are no times.
        _ if bound.abs() < 9e9 => Some((bound * 1e9).round() as i64),
        _ => None,
    }
}

/// The counts of the last seconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Recent(Ring<(Timestamp, Counts)>);

/// More scrapes than this in a window add nothing but memory.
const MAX_LOOKS: usize = 120;

impl Recent {
    /// Adds the counts of a scrape; those that leave the window go to `old`.
    pub(crate) fn push(
        &mut self,
        at: Timestamp,
        counts: Counts,
        window_secs: f64,
        old: impl FnMut((Timestamp, Counts)),
    ) {
        let start = at.minus(Duration::try_from_secs_f64(window_secs).unwrap_or_default());
        self.0.push((at, counts), MAX_LOOKS);
        // Times ahead of this scrape were stamped by a clock that was set back since.
        self.0.drain_while(|(then, _)| *then <= start || *then > at, old);
    }

    /// All of the window.
    pub(crate) fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        for (_, counts) in self.0.iter() {
            sum.add(counts);
        }
        sum
    }
}
