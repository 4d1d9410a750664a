//! Names of metrics, units and labels as Prometheus would have them, so that a series has one name whichever way it comes.
//!
//! Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", sections "Metric Metadata" and "Metric
//! Attributes", as Prometheus itself does it (`prometheus/otlptranslator`): characters that no name may have become `_`, the unit in
//! words is appended, counters end in `_total` and gauges of unit 1 in `_ratio`.

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
    let [main, per] = unit_words(unit);
    let mut named: Vec<&str> = parts(name).collect();
    for words in [&main, &per] {
        if !words.is_empty() && !named.contains(&words.as_str()) {
            named.push(words);
        }
    }
    // These end the name, and stand nowhere else in it.
    let ending = match form {
        Form::Counter => Some("total"),
        Form::Gauge if unit == "1" => Some("ratio"),
        Form::Gauge | Form::Family => None,
    };
    if let Some(ending) = ending {
        named.retain(|part| *part != ending);
        named.push(ending);
    }
    let mut name = named.join("_");
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    let words = [main, per].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("_");
    (name, words)
}

/// The unit in words, and what it is per: `By/s` is `bytes` and `per_second`. Notes in braces say nothing.
fn unit_words(unit: &str) -> [String; 2] {
    if unit.len() > MAX_UNIT_BYTES {
        return Default::default();
    }
    let of = |table: &[(&str, &'static str)], unit: &str| -> String {
        let unit = unit.trim();
        if unit.contains(['{', '}']) {
            return String::new();
        }
        let known = table.iter().find(|(short, _)| *short == unit);
        known
            .map_or_else(|| parts(unit).collect::<Vec<_>>().join("_").replace(':', "_"), |(_, word)| (*word).to_owned())
    };
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let per = of(&PER, per);
    [of(&UNITS, main), if per.is_empty() { per } else { format!("per_{per}") }]
}

/// The label's name: what no name may have becomes `_`, one for each character, and a name may begin neither with a digit nor with
/// a single `_`, which Prometheus keeps for itself.
pub(super) fn label(name: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let clean: Cow<'_, str> = match name.chars().all(fits) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(name.chars().map(|c| if fits(c) { c } else { '_' }).collect()),
    };
    match clean.as_bytes() {
        [b'0'..=b'9', ..] => Cow::Owned(format!("key_{clean}")),
        [b'_', second, ..] if *second != b'_' => Cow::Owned(format!("key{clean}")),
        _ => clean,
    }
}

/// The parts of a name between runs of characters that a name may not have, and of `_`.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':')).filter(|part| !part.is_empty())
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
            // Endings stand once and last, whatever the name has of them; runs of `_` are one, and none is at either end.
            ("total.requests", "1", Form::Counter, "requests_total", ""),
            ("ratio.of.hits", "1", Form::Gauge, "of_hits_ratio", ""),
            ("_a__b_", "", Form::Gauge, "a_b", ""),
            ("requests.per_second", "{request}/s", Form::Gauge, "requests_per_second_per_second", "per_second"),
            ("io", "By/{op}", Form::Gauge, "io_bytes", "bytes"),
            ("4.seconds", "s", Form::Family, "_4_seconds", "seconds"),
            ("job:rate", "", Form::Gauge, "job:rate", ""),
        ];
        for (name, unit, form, named, words) in rows {
            assert_eq!(metric(name, unit, form), (named.to_owned(), words.to_owned()), "{name} in {unit}");
        }
        for (name, named) in [
            ("http.route", "http_route"),
            ("ok", "ok"),
            ("a:b", "a_b"),
            ("9", "key_9"),
            ("a..b", "a__b"),
            ("_own", "key_own"),
            (".own", "key_own"),
            ("__reserved__", "__reserved__"),
        ] {
            assert_eq!(label(name), named, "{name}");
        }
    }
}
