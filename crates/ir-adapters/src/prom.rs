//! Customs of Prometheus that several adapters share.

#[cfg(any(feature = "prometheus", feature = "remote-write"))]
use ir_core::MetricKind;

/// What a metric's name says by the custom of Prometheus and the rules of OpenMetrics. `has_bound` is whether there is a label
/// `le`.
#[cfg(any(feature = "prometheus", feature = "remote-write"))]
pub(crate) fn kind_of(metric: &str, has_bound: bool) -> MetricKind {
    let counts = ["_total", "_count", "_sum"].iter().any(|ending| metric.ends_with(ending));
    match metric {
        "up" => MetricKind::Up,
        _ if metric.ends_with("_bucket") && has_bound => MetricKind::Bucket,
        _ if counts => MetricKind::Counter,
        _ => MetricKind::Gauge,
    }
}

/// The unit that the name tells, as Prometheus asks names to do. Counts have none.
#[cfg(any(feature = "prometheus", feature = "scrape"))]
pub(crate) fn unit_of(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").or_else(|| name.strip_suffix("_sum")).unwrap_or(name);
    ["seconds", "bytes", "ratio", "celsius", "meters", "volts", "amperes", "joules", "grams"]
        .into_iter()
        .find(|unit| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')))
        .unwrap_or_default()
}

/// A name of any characters as it was before Prometheus 3 allowed all of them: what no name could have is `_` (the escaping
/// `underscores` of its content negotiation).
#[cfg(feature = "scrape")]
pub(crate) fn escaped(name: &str, colons: bool) -> String {
    let fits = |n: usize, c: char| {
        c.is_ascii_alphabetic() || c == '_' || (colons && c == ':') || (n > 0 && c.is_ascii_digit())
    };
    name.chars().enumerate().map(|(n, c)| if fits(n, c) { c } else { '_' }).collect()
}
