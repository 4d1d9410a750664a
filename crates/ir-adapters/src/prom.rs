//! Customs of Prometheus that several adapters share.

use ir_core::MetricKind;

/// What a metric's name says by the custom of Prometheus and the rules of OpenMetrics. `has_bound` is whether there is a label
/// `le`.
pub(crate) fn kind_of(metric: &str, has_bound: bool) -> MetricKind {
    let counts = ["_total", "_count", "_sum"].iter().any(|ending| metric.ends_with(ending));
    match metric {
        "up" => MetricKind::Up,
        _ if metric.ends_with("_bucket") && has_bound => MetricKind::Bucket,
        _ if counts => MetricKind::Counter,
        _ => MetricKind::Gauge,
    }
}
