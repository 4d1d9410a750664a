//! What the targets say of their metrics: kinds and units, instead of guesses by name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ir_core::{MetricKind, Timestamp};
use serde::Deserialize;

use crate::prom::{kind_of, unit_of};

/// The most families that are kept.
pub(super) const MAX_FAMILIES: usize = 20_000;

/// What the server knows of the families of metrics.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    families: BTreeMap<Box<str>, Family>,
    /// When it was asked for, whether in vain or not.
    pub(super) asked: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Family {
    kind: Kind,
    unit: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    /// Untyped, or of two minds: one target says this, another one that.
    Unknown,
}

/// What one target says.
#[derive(Deserialize)]
pub(super) struct Said<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    unit: Cow<'a, str>,
}

impl Metadata {
    /// From the answer of `/api/v1/metadata`.
    pub(super) fn of(said: BTreeMap<Cow<'_, str>, Vec<Said<'_>>>, asked: Timestamp) -> Self {
        let family = |all: &[Said<'_>]| {
            let kind = one(all.iter().map(Said::kind)).unwrap_or(Kind::Unknown);
            let unit = one(all.iter().map(|said| said.unit.as_ref())).unwrap_or_default();
            Family { kind, unit: unit.into() }
        };
        let families = said.iter().take(MAX_FAMILIES).map(|(name, all)| (name.as_ref().into(), family(all))).collect();
        Self { families, asked: Some(asked) }
    }

    /// The same, asked for at another time.
    pub(super) fn with_asked(&self, asked: Timestamp) -> Self {
        Self { families: self.families.clone(), asked: Some(asked) }
    }

    /// How a metric's values behave, and their unit. `has_bound` is whether there is a label `le`.
    pub(super) fn look(&self, metric: &str, has_bound: bool) -> (MetricKind, &str) {
        let of_name = || kind_of(metric, has_bound);
        if metric == "up" {
            return (MetricKind::Up, "");
        }
        let Some((family, part)) = self.find(metric) else { return (of_name(), unit_of(metric)) };
        let kind = match (family.kind, part) {
            (Kind::Counter, "" | "_total") => MetricKind::Counter,
            (Kind::Gauge | Kind::Summary, "") => MetricKind::Gauge,
            (Kind::Histogram, "_bucket") if has_bound => MetricKind::Bucket,
            (Kind::Histogram | Kind::Summary, "_count" | "_sum") => MetricKind::Counter,
            _ => of_name(),
        };
        let counts_observations = matches!(part, "_count" | "_bucket");
        let unit = match family.unit.as_ref() {
            _ if counts_observations => "",
            "" => unit_of(metric),
            unit => unit,
        };
        (kind, unit)
    }

    /// The family of a metric, and which part of it the metric is.
    fn find<'m>(&self, metric: &'m str) -> Option<(&Family, &'m str)> {
        if let Some(family) = self.families.get(metric) {
            return Some((family, ""));
        }
        ["_bucket", "_count", "_sum", "_total"].into_iter().find_map(|part| {
            let base = metric.strip_suffix(part)?;
            Some((self.families.get(base)?, &metric[base.len()..]))
        })
    }
}

impl Said<'_> {
    fn kind(&self) -> Kind {
        match self.kind.as_ref() {
            "counter" => Kind::Counter,
            "gauge" | "info" | "stateset" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            "summary" => Kind::Summary,
            _ => Kind::Unknown,
        }
    }
}

/// The one thing that all say.
fn one<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_targets_say_comes_before_what_names_say() {
        let text = r#"{
            "jobs_done": [{"type": "counter", "help": "", "unit": ""}],
            "tank_total": [{"type": "gauge", "unit": "liters"}],
            "took_seconds": [{"type": "histogram", "unit": "seconds"}],
            "size_bytes": [{"type": "summary"}],
            "sent": [{"type": "counter", "unit": "bytes"}],
            "torn_total": [{"type": "gauge"}, {"type": "counter"}],
            "odd": [{"type": "gaugehistogram"}]
        }"#;
        let metadata = Metadata::of(serde_json::from_str(text).unwrap(), Timestamp::from_millis(1));
        // The metric, whether it has a label `le`; its kind and unit.
        let rows = [
            ("jobs_done", false, MetricKind::Counter, ""),
            ("tank_total", false, MetricKind::Gauge, "liters"),
            ("took_seconds_bucket", true, MetricKind::Bucket, ""),
            ("took_seconds_count", false, MetricKind::Counter, ""),
            ("took_seconds_sum", false, MetricKind::Counter, "seconds"),
            ("size_bytes", false, MetricKind::Gauge, "bytes"),
            ("size_bytes_sum", false, MetricKind::Counter, "bytes"),
            ("sent_total", false, MetricKind::Counter, "bytes"),
            // Of two minds, of no kind of ours, and not known at all: the name decides.
            ("torn_total", false, MetricKind::Counter, ""),
            ("odd", false, MetricKind::Gauge, ""),
            ("other_seconds_total", false, MetricKind::Counter, "seconds"),
            ("up", false, MetricKind::Up, ""),
        ];
        for (metric, has_bound, kind, unit) in rows {
            assert_eq!(metadata.look(metric, has_bound), (kind, unit), "{metric}");
        }
    }
}
