//! The Prometheus text format, version 0.0.4, read line by line without trusting it.
//!
//! Source: Prometheus documentation, "Exposition formats", section "Text-based format". Differences: a sample of a type that
//! was not told is a counter when its name ends in `_total` (the rule of OpenMetrics) and a gauge otherwise; a family that
//! OpenMetrics names without `_total` is understood as well. A line that is wrong costs only itself.

use std::collections::HashMap;

use ir_core::{Labels, MetricKind};

/// The most labels of one sample; beyond that the line is refused.
const MAX_LABELS: usize = 64;
/// The longest line.
const MAX_LINE_BYTES: usize = 16 << 10;
/// The most families whose type is remembered.
const MAX_FAMILIES: usize = 10_000;

/// One sample, as slices of the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample<'a> {
    /// Name and labels as they stand there: the same for every scrape of a well-behaved target.
    pub(super) key: &'a str,
    pub(super) name: &'a str,
    /// What stands between the braces.
    pub(super) labels: &'a str,
    pub(super) kind: MetricKind,
    pub(super) value: f64,
    pub(super) timestamp_ms: Option<i64>,
}

/// What a family's `# TYPE` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Untyped,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadLine {
    /// From 1.
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// Reads all of `body`; each line gives a sample, nothing, or what is wrong with it.
pub(super) fn parse<'a>(body: &'a [u8], mut seen: impl FnMut(Result<Sample<'a>, BadLine>)) {
    let mut families = HashMap::new();
    for (n, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let read = if line.len() > MAX_LINE_BYTES {
            Err("the line is too long")
        } else {
            std::str::from_utf8(line)
                .map_err(|_| "the line is not UTF-8")
                .and_then(|text| parse_line(text, &mut families))
        };
        match read {
            Ok(None) => {}
            Ok(Some(sample)) => seen(Ok(sample)),
            Err(what) => seen(Err(BadLine { line: n + 1, what })),
        }
    }
}

fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

fn parse_line<'a>(line: &'a str, families: &mut HashMap<&'a str, Family>) -> Result<Option<Sample<'a>>, &'static str> {
    let line = line.trim_matches(blank);
    if let Some(comment) = line.strip_prefix('#') {
        note_type(comment, families)?;
        return Ok(None);
    }
    if line.is_empty() {
        return Ok(None);
    }
    let name_end = line.find(|c: char| c == '{' || blank(c)).ok_or("the sample has no value")?;
    let name = &line[..name_end];
    if !is_name(name, true) {
        return Err("the name has characters that no name may have");
    }
    let mut rest = line[name_end..].trim_start_matches(blank);
    let (mut key, mut labels) = (name, "");
    if let Some(inside) = rest.strip_prefix('{') {
        let end = end_of_labels(inside).ok_or("the labels do not end")?;
        labels = &inside[..end];
        rest = &inside[end + 1..];
        key = &line[..line.len() - rest.len()];
    }
    let mut words = rest.split(blank).filter(|word| !word.is_empty());
    let value = words.next().ok_or("the sample has no value")?;
    let value = value.parse::<f64>().map_err(|_| "the value is not a number")?;
    let timestamp_ms = match words.next() {
        None => None,
        Some(word) => Some(word.parse::<i64>().map_err(|_| "the time is not in whole milliseconds")?),
    };
    if words.next().is_some() {
        return Err("there is text behind the sample");
    }
    Ok(Some(Sample { key, name, labels, kind: kind_of(name, families), value, timestamp_ms }))
}

fn note_type<'a>(comment: &'a str, families: &mut HashMap<&'a str, Family>) -> Result<(), &'static str> {
    let mut words = comment.split(blank).filter(|word| !word.is_empty());
    if words.next() != Some("TYPE") {
        return Ok(());
    }
    let (Some(name), Some(kind), None) = (words.next(), words.next(), words.next()) else {
        return Err("a `# TYPE` names one family and one type");
    };
    let family = match kind {
        "counter" => Family::Counter,
        "gauge" => Family::Gauge,
        "histogram" => Family::Histogram,
        "summary" => Family::Summary,
        "untyped" | "unknown" | "info" | "stateset" => Family::Untyped,
        _ => return Err("the type is none of the format's"),
    };
    if families.len() < MAX_FAMILIES || families.contains_key(name) {
        families.insert(name, family);
    }
    Ok(())
}

fn kind_of(name: &str, families: &HashMap<&str, Family>) -> MetricKind {
    match families.get(name) {
        Some(Family::Counter) => return MetricKind::Counter,
        Some(Family::Gauge | Family::Summary | Family::Histogram) => return MetricKind::Gauge,
        Some(Family::Untyped) | None => {}
    }
    // The parts of a family carry its name and one of these.
    for (suffix, of) in
        [("_bucket", MetricKind::Bucket), ("_sum", MetricKind::Counter), ("_count", MetricKind::Counter)]
    {
        let family = name.strip_suffix(suffix).and_then(|family| families.get(family));
        match (family, of) {
            (Some(Family::Histogram), kind) => return kind,
            (Some(Family::Summary), MetricKind::Counter) => return MetricKind::Counter,
            _ => {}
        }
    }
    if name.ends_with("_total") { MetricKind::Counter } else { MetricKind::Gauge }
}

/// Where the closing brace stands, quoted text left aside.
fn end_of_labels(inside: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn is_name(name: &str, colons: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    let mut chars = name.chars();
    chars.next().is_some_and(fits) && chars.all(|c| fits(c) || c.is_ascii_digit())
}

/// Reads what stands between the braces.
pub(super) fn parse_labels(text: &str) -> Result<Labels, &'static str> {
    let mut labels = Labels::new();
    let mut rest = text.trim_matches(blank);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("a label has no value")?;
        let name = name.trim_matches(blank);
        if !is_name(name, false) {
            return Err("a label's name has characters that no name may have");
        }
        let quoted = after.trim_start_matches(blank).strip_prefix('"').ok_or("a label's value is not quoted")?;
        let (value, after) = unquote(quoted)?;
        if labels.get(name).is_some() {
            return Err("a label is named twice");
        }
        if labels.len() == MAX_LABELS {
            return Err("there are too many labels");
        }
        labels.insert(name, value);
        rest = after.trim_start_matches(blank);
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').ok_or("labels are not parted by a comma")?.trim_start_matches(blank);
        }
    }
    Ok(labels)
}

/// The text up to the closing quote, its escapes undone, and what follows.
fn unquote(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some(c @ ('\\' | '"')) => value.push(c),
                // The format names three escapes; others are kept as they stand, as Prometheus does.
                Some(c) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("a label's value does not end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (Vec<Sample<'_>>, Vec<BadLine>) {
        let (mut samples, mut bad) = (Vec::new(), Vec::new());
        parse(text.as_bytes(), |line| match line {
            Ok(sample) => samples.push(sample),
            Err(line) => bad.push(line),
        });
        (samples, bad)
    }

    /// The example of the format's documentation, whole.
    const DOCUMENTED: &str = r##"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# A histogram, which has a pretty complex representation in the text format:
# HELP http_request_duration_seconds A histogram of the request duration.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="0.1"} 33444
http_request_duration_seconds_bucket{le="0.2"} 100392
http_request_duration_seconds_bucket{le="0.5"} 129389
http_request_duration_seconds_bucket{le="1"} 133988
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320

# Finally a summary, which has a complex representation, too:
# HELP rpc_duration_seconds A summary of the RPC duration in seconds.
# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.01"} 3102
rpc_duration_seconds{quantile="0.05"} 3272
rpc_duration_seconds{quantile="0.5"} 4773
rpc_duration_seconds{quantile="0.9"} 9001
rpc_duration_seconds{quantile="0.99"} 76656
rpc_duration_seconds_sum 1.7560473e+07
rpc_duration_seconds_count 2693
"##;

    #[test]
    fn the_documented_example_is_read_whole() {
        let (samples, bad) = read(DOCUMENTED);
        assert_eq!((samples.len(), bad.len()), (20, 0), "{bad:?}");
        let of = |name: &str| samples.iter().filter(|sample| sample.name == name).collect::<Vec<_>>();
        let requests = of("http_requests_total");
        assert_eq!(requests[0].kind, MetricKind::Counter);
        assert_eq!((requests[0].value, requests[0].timestamp_ms), (1027.0, Some(1_395_066_363_000)));
        let labels = parse_labels(of("msdos_file_access_time_seconds")[0].labels).unwrap();
        assert_eq!(labels.get("path"), Some("C:\\DIR\\FILE.TXT"));
        assert_eq!(labels.get("error"), Some("Cannot find file:\n\"FILE.TXT\""));
        assert_eq!(of("something_weird")[0].value, f64::INFINITY);
        assert_eq!(of("something_weird")[0].timestamp_ms, Some(-3_982_045));
        let buckets = of("http_request_duration_seconds_bucket");
        assert_eq!((buckets.len(), buckets[0].kind), (6, MetricKind::Bucket));
        assert_eq!(of("http_request_duration_seconds_sum")[0].kind, MetricKind::Counter);
        assert_eq!(of("rpc_duration_seconds")[0].kind, MetricKind::Gauge);
        assert_eq!(of("rpc_duration_seconds_count")[0].kind, MetricKind::Counter);
    }

    #[test]
    fn a_wrong_line_costs_itself_alone() {
        // One row a way of being wrong.
        let wrong = [
            "no_value",
            "no_number x",
            "9name 1",
            "open{a=\"b\" 1",
            "too many words 1 2 3",
            "late 1 1.5",
            "# TYPE a counter gauge",
            "# TYPE a wheel",
            "{} 1",
        ];
        for line in wrong {
            let text = format!("before 1\n{line}\nafter 2");
            let (samples, bad) = read(&text);
            assert_eq!(samples.len(), 2, "{line}");
            assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2], "{line}");
        }
        for labels in ["a", "a=", "a=b", "a=\"b", "a=\"b\"c=\"d\"", "9=\"b\"", "a=\"\",a=\"\"", ",", "a=\"b\\"] {
            assert!(parse_labels(labels).is_err(), "{labels}");
        }
        assert_eq!(parse_labels(" a = \"}\" , ").unwrap().to_string(), "{a=\"}\"}");
    }

    #[test]
    fn blanks_and_braces_do_not_lead_it_astray() {
        let (samples, bad) = read("\t a {x=\"}\\\"{\" } \t1\r\n  \nb{} NaN\nc_total 5\n");
        assert_eq!(bad, []);
        assert_eq!((samples[0].name, samples[0].value), ("a", 1.0));
        assert_eq!(parse_labels(samples[0].labels).unwrap().get("x"), Some("}\"{"));
        assert!(samples[1].value.is_nan());
        assert_eq!(samples[2].kind, MetricKind::Counter, "by its name, for want of a type");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..600)) {
            parse(&body, |line| {
                if let Ok(sample) = line {
                    let _ = parse_labels(sample.labels);
                }
            });
        }

        #[test]
        fn text_like_the_format_is_read_without_a_panic(text in "([a-z]{1,3}|[{}\"\\\\=, \n#]|TYPE|[0-9.]{1,3}){0,60}") {
            read(&text);
        }

        #[test]
        fn what_was_written_is_read_back(
            name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,12}",
            labels in prop::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,6}", "\\PC{0,8}|[\\\\\"\n]{0,4}", 0..5),
            value in any::<f64>(),
            at in prop::option::of(any::<i64>()),
        ) {
            let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let inside: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
            let time = at.map_or(String::new(), |at| format!(" {at}"));
            let text = format!("{name}{{{}}} {value}{time}\n", inside.join(","));
            let (samples, bad) = read(&text);
            prop_assert_eq!(bad, []);
            prop_assert_eq!((samples.len(), samples[0].name, samples[0].timestamp_ms), (1, name.as_str(), at));
            prop_assert!(samples[0].value == value || value.is_nan() && samples[0].value.is_nan());
            prop_assert_eq!(parse_labels(samples[0].labels).unwrap(), labels.into_iter().collect::<Labels>());
        }
    }
}
