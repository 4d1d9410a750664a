//! What clients saw, second by second, and the range they saw before the fault.

use std::ops;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::LEARN_BINS;
use crate::records::ClientRecord;

/// More errors than this is outside the range.
const MAX_ERROR_RATIO: f64 = 0.01;
/// A p95 above so many times the usual one is outside the range.
const MAX_P95_FACTOR: f64 = 2.0;

/// The requests that were due within one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bin {
    pub(crate) n: usize,
    pub(crate) n_errors: usize,
    /// Over all requests, failed ones too; 0 when there were none.
    pub(crate) p95_ms: f64,
}

impl Bin {
    pub(crate) fn of<'a>(records: impl IntoIterator<Item = &'a ClientRecord>) -> Self {
        let mut n_errors = 0;
        let mut latencies: Vec<f64> = Vec::new();
        for record in records {
            n_errors += usize::from(record.is_error());
            latencies.push(record.latency_ms);
        }
        latencies.sort_by(f64::total_cmp);
        // Nearest rank: the smallest value that 95 % of the requests do not exceed.
        let rank = (latencies.len() * 95).div_ceil(100);
        let p95_ms = rank.checked_sub(1).and_then(|index| latencies.get(index)).copied().unwrap_or(0.0);
        Self { n: latencies.len(), n_errors, p95_ms }
    }

    pub(crate) fn error_ratio(&self) -> f64 {
        if self.n == 0 { 0.0 } else { self.n_errors as f64 / self.n as f64 }
    }
}

/// In which second from `origin` on a time lies; negative before.
pub(crate) fn index_of(at: Timestamp, origin: Timestamp) -> i64 {
    at.duration_since(origin).as_nanos().div_euclid(SignedDuration::from_secs(1).as_nanos()) as i64
}

/// The bins numbered `range`, counted in seconds from `origin`; empty ones included.
pub(crate) fn cut(records: &[ClientRecord], origin: Timestamp, range: ops::Range<i64>) -> Vec<Bin> {
    let mut members: Vec<Vec<&ClientRecord>> = range.clone().map(|_| Vec::new()).collect();
    for record in records {
        let index = index_of(record.at, origin);
        if range.contains(&index) {
            members[(index - range.start) as usize].push(record);
        }
    }
    members.into_iter().map(Bin::of).collect()
}

/// How many bins from `origin` on are whole. The last one that has a record may have been cut short by the end: it
/// counts only with as many requests as the bins `before`.
pub(crate) fn n_whole(records: &[ClientRecord], origin: Timestamp, before: &[Bin]) -> i64 {
    let Some(last) = records.iter().map(|record| index_of(record.at, origin)).max() else { return 0 };
    let usual = before.iter().map(|bin| bin.n).min().unwrap_or(0);
    let n_last = records.iter().filter(|record| index_of(record.at, origin) == last).count();
    (last + i64::from(n_last >= usual.max(1))).max(0)
}

/// What clients are used to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Range {
    /// The median of the p95 of the bins before the fault.
    pub(crate) usual_p95_ms: f64,
    pub(crate) max_p95_ms: f64,
    pub(crate) max_error_ratio: f64,
}

impl Range {
    /// From the last bins before the fault, none of them empty.
    pub(crate) fn learn(before: &[Bin]) -> Result<Self, String> {
        let n = before.iter().filter(|bin| bin.n > 0).count();
        if n < LEARN_BINS {
            return Err(format!("only {n} of the {LEARN_BINS} s before the fault have records of clients"));
        }
        let mut p95s: Vec<f64> = before.iter().map(|bin| bin.p95_ms).collect();
        p95s.sort_by(f64::total_cmp);
        let (low, high) = (p95s[(p95s.len() - 1) / 2], p95s[p95s.len() / 2]);
        let usual_p95_ms = (low + high) / 2.0;
        Ok(Self { usual_p95_ms, max_p95_ms: MAX_P95_FACTOR * usual_p95_ms, max_error_ratio: MAX_ERROR_RATIO })
    }

    /// Whether a bin is inside. An empty one is not: clients always ask, so something took their records.
    pub(crate) fn holds(&self, bin: &Bin) -> bool {
        bin.n > 0 && bin.error_ratio() <= self.max_error_ratio && bin.p95_ms <= self.max_p95_ms
    }
}
