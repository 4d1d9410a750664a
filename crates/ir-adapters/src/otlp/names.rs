//! Names of metrics, units and labels as Prometheus would have them, so that a series has one name whichever way it comes.
//!
//! Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", sections "Metric Metadata" and "Metric
//! Attributes": characters that no name may have become `_`, the unit in words is appended, counters end in `_total` and gauges
//! of unit 1 in `_ratio`.

use std::borrow::Cow;

/// A longer unit is no unit.
const MAX_UNIT_BYTES: usize = 32;

const UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tebibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
    ("1", ""),
];

const PER: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

/// What a name ends in beside its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Gauge,
    Counter,
    /// A histogram or summary: the endings are those of its parts.
    Family,
}

/// The metric's name, and its unit in words.
pub(super) fn metric(name: &str, unit: &str, form: Form) -> (String, String) {
    let words = unit_words(unit);
    let mut named = cleaned(name, true).into_owned();
    let total = named.strip_suffix("_total").map(str::to_owned);
    if form == Form::Counter {
        named = total.unwrap_or(named);
    }
    for word in words.split('_').filter(|word| !word.is_empty()) {
        if !named.split('_').any(|part| part == word) {
            named.push('_');
            named.push_str(word);
        }
    }
    match form {
        Form::Counter => named.push_str("_total"),
        Form::Gauge if unit == "1" && !named.ends_with("_ratio") => named.push_str("_ratio"),
        Form::Gauge | Form::Family => {}
    }
    (named, words)
}

/// The unit in words, joined by `_`: `By/s` is `bytes_per_second`. Notes in braces say nothing.
fn unit_words(unit: &str) -> String {
    if unit.len() > MAX_UNIT_BYTES || unit.contains('{') {
        return String::new();
    }
    let of = |table: &[(&str, &'static str)], unit: &str| -> String {
        let known = table.iter().find(|(short, _)| *short == unit);
        known.map_or_else(|| cleaned(unit, false).trim_matches('_').to_owned(), |(_, word)| (*word).to_owned())
    };
    match unit.split_once('/') {
        None => of(&UNITS, unit),
        Some((main, per)) => {
            let (main, per) = (of(&UNITS, main), of(&PER, per));
            let joined = if per.is_empty() { main } else { format!("{main}_per_{per}") };
            joined.trim_matches('_').to_owned()
        }
    }
}

/// The label's name.
pub(super) fn label(name: &str) -> Cow<'_, str> {
    cleaned(name, false)
}

/// Each run of characters that a name may not have as one `_`, and a `_` before a digit that it may not begin with.
fn cleaned(name: &str, colons: bool) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    if !digit && name.chars().all(fits) {
        return Cow::Borrowed(name);
    }
    let mut clean = String::with_capacity(name.len() + 1);
    if digit {
        clean.push('_');
    }
    for c in name.chars() {
        if fits(c) {
            clean.push(c);
        } else if !clean.ends_with('_') {
            clean.push('_');
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_prometheus() {
        // Name, unit, form, name and unit there.
        let rows = [
            ("http.server.request.duration", "s", Form::Family, "http_server_request_duration_seconds", "seconds"),
            ("http_request_duration_seconds", "s", Form::Family, "http_request_duration_seconds", "seconds"),
            ("http.requests", "{request}", Form::Counter, "http_requests_total", ""),
            ("http_requests_total", "", Form::Counter, "http_requests_total", ""),
            ("io.total", "By", Form::Counter, "io_bytes_total", "bytes"),
            ("system.cpu.utilization", "1", Form::Gauge, "system_cpu_utilization_ratio", ""),
            ("disk.speed", "By/s", Form::Gauge, "disk_speed_bytes_per_second", "bytes_per_second"),
            ("odd  name--here", "furlongs", Form::Gauge, "odd_name_here_furlongs", "furlongs"),
            ("4xx", "", Form::Gauge, "_4xx", ""),
            ("job:rate", "", Form::Gauge, "job:rate", ""),
        ];
        for (name, unit, form, named, words) in rows {
            assert_eq!(metric(name, unit, form), (named.to_owned(), words.to_owned()), "{name} in {unit}");
        }
        for (name, named) in [("http.route", "http_route"), ("ok", "ok"), ("a:b", "a_b"), ("9", "_9"), ("ä..b", "_b")]
        {
            assert_eq!(label(name), named, "{name}");
        }
    }
}
