//! How well alerts agree with labelled faults: the same rules as `fault_score.py`.

use std::collections::BTreeMap;

use super::data::Fault;

const SECOND: i64 = 1_000_000_000;
/// An alert this soon after a fault's start flags it.
const FLAG: i64 = 180 * SECOND;
/// Alerts this long after that are neither right nor false.
const TAIL: i64 = 120 * SECOND;
/// False alarms of one service within this count once.
const DEDUP: i64 = 300 * SECOND;
/// Lines further apart than this belong to different captures.
const GAP: i64 = 60 * SECOND;

/// One alert.
#[derive(Debug, Clone)]
pub(super) struct Alert {
    pub(super) ns: i64,
    pub(super) service: String,
    pub(super) reason: String,
}

/// What was found of one fault: nanoseconds to the first alert on any service, and on the faulted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) any: Option<i64>,
    pub(super) same: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Score {
    pub(super) hits: Vec<Hit>,
    /// Which alerts are false.
    pub(super) false_alarms: Vec<Alert>,
    /// Published time outside every fault's window.
    pub(super) hours: f64,
}

impl Score {
    pub(super) fn flagged(&self, of: fn(&Hit) -> Option<i64>) -> usize {
        self.hits.iter().filter(|hit| of(hit).is_some()).count()
    }

    /// The median delay of what was flagged, in seconds.
    pub(super) fn delay_secs(&self, of: fn(&Hit) -> Option<i64>) -> Option<f64> {
        let mut delays: Vec<i64> = self.hits.iter().filter_map(of).collect();
        delays.sort_unstable();
        let (low, high) = (delays.get(delays.len().checked_sub(1)? / 2)?, delays.get(delays.len() / 2)?);
        Some((low + high) as f64 / 2.0 / SECOND as f64)
    }
}

/// Alerts in any order; `times` of all lines, ascending.
pub(super) fn score(alerts: &[Alert], faults: &[Fault], times: &[i64]) -> Score {
    let mut alerts = alerts.to_vec();
    alerts.sort_by(|a, b| (a.ns, &a.service).cmp(&(b.ns, &b.service)));
    let first = |fault: &Fault, same: bool| {
        let near = |alert: &&Alert| (fault.start_ns..=fault.start_ns + FLAG).contains(&alert.ns);
        alerts.iter().filter(near).find(|alert| !same || alert.service == fault.service).map(|a| a.ns - fault.start_ns)
    };
    let hits = faults.iter().map(|fault| Hit { any: first(fault, false), same: first(fault, true) }).collect();
    let windows = union(faults.iter().map(|fault| (fault.start_ns, fault.start_ns + FLAG + TAIL)), 0);
    let runs = union(times.iter().map(|ns| (*ns, *ns)), GAP);
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut false_alarms = Vec::new();
    for alert in alerts {
        let inside = windows.iter().any(|(from, to)| (*from..=*to).contains(&alert.ns));
        if inside || last.get(&alert.service).is_some_and(|before| alert.ns - before < DEDUP) {
            continue;
        }
        last.insert(alert.service.clone(), alert.ns);
        false_alarms.push(alert);
    }
    let all: i64 = runs.iter().map(|(from, to)| to - from).sum();
    let covered: i64 =
        runs.iter().flat_map(|run| windows.iter().map(|w| (run.1.min(w.1) - run.0.max(w.0)).max(0))).sum();
    Score { hits, false_alarms, hours: (all - covered) as f64 / (3600 * SECOND) as f64 }
}

/// Disjoint spans; those at most `gap` apart become one.
fn union(spans: impl Iterator<Item = (i64, i64)>, gap: i64) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = spans.collect();
    spans.sort_unstable();
    let mut out: Vec<(i64, i64)> = Vec::new();
    for (from, to) in spans {
        match out.last_mut() {
            Some(last) if from - last.1 <= gap => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_right_late_or_false() {
        let fault = |at: i64| Fault { start_ns: at * SECOND, service: "a".to_owned(), kind: "return".to_owned() };
        let alert =
            |at: i64, service: &str| Alert { ns: at * SECOND, service: service.to_owned(), reason: String::new() };
        let faults = [fault(1000), fault(2000)];
        let times: Vec<i64> = (0..2400).map(|s| s * SECOND).collect();
        // Before all, right on another service, in the tail, false once although twice, flagging the second.
        let alerts =
            [alert(10, "a"), alert(1100, "b"), alert(1290, "a"), alert(1500, "c"), alert(1600, "c"), alert(2060, "a")];
        let score = score(&alerts, &faults, &times);
        assert_eq!(score.hits[0], Hit { any: Some(100 * SECOND), same: None });
        assert_eq!((score.flagged(|h| h.any), score.flagged(|h| h.same)), (2, 1));
        assert_eq!(score.delay_secs(|h| h.any), Some(80.0));
        assert_eq!(score.false_alarms.len(), 2);
        assert!((score.hours - (2399.0 - 600.0) / 3600.0).abs() < 1e-9);
    }
}
