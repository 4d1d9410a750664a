//! The Prometheus text format, version 0.0.4, and OpenMetrics 1.0, read line by line without trusting them.
//!
//! Sources: Prometheus documentation, "Exposition formats", section "Text-based format"; OpenMetrics 1.0 (2022), sections
//! "Text format" and "Metric types". Differences: a sample of a type that was not told is a counter when its name ends in `_total`
//! (the rule of OpenMetrics) and a gauge otherwise; a family that OpenMetrics names without `_total` is understood in both. A line
//! that is wrong costs only itself; the order of families is not looked at. Exemplars, and when a series was created, are
//! left out and counted.

use std::borrow::Cow;
use std::collections::HashMap;

use ir_core::{Labels, MetricKind};

use crate::prom::escaped;

/// The most labels of one sample; beyond that the line is refused.
const MAX_LABELS: usize = 64;
/// The longest line.
const MAX_LINE_BYTES: usize = 16 << 10;
/// The most families whose type is remembered.
const MAX_FAMILIES: usize = 10_000;

/// Which of the two a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Version 0.0.4: times are milliseconds, and it ends where it ends.
    Text,
    /// Times are seconds, there are exemplars, and it ends with `# EOF`.
    OpenMetrics,
}

impl Format {
    /// By the type of the content. What says nothing, or only that it is text, is the older format.
    pub(super) fn of(content_type: Option<&str>) -> Result<Self, String> {
        let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/openmetrics-text" => Ok(Self::OpenMetrics),
            "" | "text/plain" | "application/octet-stream" => Ok(Self::Text),
            other => Err(format!("it answers `{}`, which is no format of metrics", other.escape_debug())),
        }
    }

    /// Whether a text is whole. A value that is cut off would be another value.
    pub(super) fn is_whole(self, body: &[u8]) -> bool {
        let body = body.strip_suffix(b"\n").unwrap_or(body);
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        self == Self::Text || body == b"# EOF" || body.ends_with(b"\n# EOF")
    }
}

/// How much of a text was left out on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) exemplars: u64,
    pub(super) created: u64,
}

/// One sample, as slices of the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample<'a> {
    /// Name and labels as they stand there: the same for every scrape of a well-behaved target.
    pub(super) key: &'a str,
    /// The name, which may have any characters where it stands in quotes.
    pub(super) name: &'a str,
    /// What stands between the braces.
    pub(super) labels: &'a str,
    pub(super) kind: MetricKind,
    /// What `# UNIT` says; empty when it says nothing.
    pub(super) unit: &'a str,
    pub(super) value: f64,
    pub(super) timestamp_ms: Option<i64>,
}

/// What a family's `# TYPE` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Counter,
    Gauge,
    Histogram,
    /// Its buckets go up and down.
    GaugeHistogram,
    Summary,
    Untyped,
}

/// What is known of a family.
#[derive(Debug, Clone, Copy)]
struct Known<'a> {
    family: Family,
    unit: &'a str,
}

/// What is known while a text is read.
#[derive(Debug)]
struct Reader<'a> {
    format: Format,
    families: HashMap<&'a str, Known<'a>>,
    /// Nothing may follow.
    ended: bool,
    left_out: LeftOut,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadLine {
    /// From 1.
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// Reads all of `body`; each line gives a sample, nothing, or what is wrong with it.
pub(super) fn parse<'a>(body: &'a [u8], format: Format, mut seen: impl FnMut(Result<Sample<'a>, BadLine>)) -> LeftOut {
    let mut reader = Reader { format, families: HashMap::new(), ended: false, left_out: LeftOut::default() };
    for (n, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let read = if line.len() > MAX_LINE_BYTES {
            Err("the line is too long")
        } else {
            std::str::from_utf8(line).map_err(|_| "the line is not UTF-8").and_then(|text| reader.line(text))
        };
        match read {
            Ok(None) => {}
            Ok(Some(sample)) => seen(Ok(sample)),
            Err(what) => seen(Err(BadLine { line: n + 1, what })),
        }
    }
    reader.left_out
}

fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str) -> Result<Option<Sample<'a>>, &'static str> {
        let line = line.trim_matches(blank);
        if line.is_empty() {
            return Ok(None);
        }
        if self.ended {
            return Err("there is text behind the end");
        }
        if let Some(comment) = line.strip_prefix('#') {
            return self.note(comment).map(|()| None);
        }
        let (mut key, mut labels) = ("", "");
        let mut rest = line;
        let mut name = "";
        if !line.starts_with('{') {
            let name_end = line.find(|c: char| c == '{' || blank(c)).ok_or("the sample has no value")?;
            name = &line[..name_end];
            if !is_name(name, true) {
                return Err("the name has characters that no name may have");
            }
            key = name;
            rest = line[name_end..].trim_start_matches(blank);
        }
        if let Some(inside) = rest.strip_prefix('{') {
            let end = end_of_labels(inside).ok_or("the labels do not end")?;
            labels = &inside[..end];
            rest = &inside[end + 1..];
            key = &line[..line.len() - rest.len()];
        }
        if name.is_empty() {
            (name, labels) = quoted_name(labels)?;
            labels = labels.strip_prefix(',').unwrap_or(labels);
        }
        // An exemplar is left out, whatever it looks like.
        let has_exemplar = match rest.split_once('#') {
            Some((sample, _)) => {
                rest = sample;
                true
            }
            None => false,
        };
        let mut words = rest.split(blank).filter(|word| !word.is_empty());
        let value = number(words.next().ok_or("the sample has no value")?)?;
        let mut timestamp_ms = None;
        for word in words {
            // When the series was created.
            if word.starts_with("st@") {
                self.left_out.created += 1;
            } else if timestamp_ms.is_none() {
                timestamp_ms = Some(self.time(word)?);
            } else {
                return Err("there is text behind the sample");
            }
        }
        self.left_out.exemplars += u64::from(has_exemplar);
        let Some((kind, unit)) = self.look(name) else {
            self.left_out.created += 1;
            return Ok(None);
        };
        Ok(Some(Sample { key, name, labels, kind, unit, value, timestamp_ms }))
    }

    fn time(&self, word: &str) -> Result<i64, &'static str> {
        if self.format == Format::Text {
            return word.parse().map_err(|_| "the time is not in whole milliseconds");
        }
        let millis = (number(word)? * 1000.0).round();
        #[expect(clippy::cast_possible_truncation, reason = "the range was looked at")]
        let whole = (-9e15..9e15).contains(&millis).then_some(millis as i64);
        whole.ok_or("the time is out of range")
    }

    /// Takes note of a type, a unit or the end.
    fn note(&mut self, comment: &'a str) -> Result<(), &'static str> {
        let comment = comment.trim_start_matches(blank);
        let (what, rest) = comment.split_once(blank).unwrap_or((comment, ""));
        if what == "EOF" && self.format == Format::OpenMetrics {
            self.ended = true;
            return Ok(());
        }
        if !matches!(what, "TYPE" | "UNIT") {
            return Ok(());
        }
        let rest = rest.trim_start_matches(blank);
        let (name, rest) = match quoted_name(rest) {
            Ok((name, rest)) => (Some(name), rest),
            Err(_) => match rest.split_once(blank) {
                Some((name, rest)) => (Some(name), rest),
                None => (Some(rest).filter(|name| !name.is_empty()), ""),
            },
        };
        let mut words = rest.split(blank).filter(|word| !word.is_empty());
        let (word, more) = (words.next(), words.next());
        let known =
            |name: &str| self.families.get(name).copied().unwrap_or(Known { family: Family::Untyped, unit: "" });
        let (name, known) = match (what, name, word, more) {
            ("TYPE", Some(name), Some(word), None) => {
                let family = match word {
                    "counter" => Family::Counter,
                    "gauge" => Family::Gauge,
                    "histogram" => Family::Histogram,
                    "gaugehistogram" => Family::GaugeHistogram,
                    "summary" => Family::Summary,
                    "untyped" | "unknown" | "info" | "stateset" => Family::Untyped,
                    _ => return Err("the type is none of the format's"),
                };
                (name, Known { family, ..known(name) })
            }
            ("TYPE", ..) => return Err("a `# TYPE` names one family and one type"),
            // An empty unit is allowed and says nothing.
            (_, Some(name), unit, None) => (name, Known { unit: unit.unwrap_or_default(), ..known(name) }),
            _ => return Err("a `# UNIT` names one family and one unit"),
        };
        if self.families.len() >= MAX_FAMILIES && !self.families.contains_key(name) {
            return Err("there are more families than are remembered");
        }
        self.families.insert(name, known);
        Ok(())
    }

    /// How the values behave, and their unit; nothing for what only says when a series was created.
    fn look(&self, name: &str) -> Option<(MetricKind, &'a str)> {
        let family = self.families.get(name);
        match family {
            Some(Known { family: Family::Counter, unit }) => return Some((MetricKind::Counter, unit)),
            Some(Known { family: Family::Untyped, .. }) | None => {}
            Some(Known { unit, .. }) => return Some((MetricKind::Gauge, unit)),
        }
        // The parts of a family carry its name and one of these.
        for part in ["_bucket", "_sum", "_count", "_total", "_created", "_gsum", "_gcount"] {
            let Some(Known { family, unit }) = name.strip_suffix(part).and_then(|name| self.families.get(name)) else {
                continue;
            };
            match (family, part) {
                (Family::Histogram, "_bucket") => return Some((MetricKind::Bucket, "")),
                (Family::Histogram | Family::Summary, "_sum") => return Some((MetricKind::Counter, unit)),
                (Family::Histogram | Family::Summary, "_count") => return Some((MetricKind::Counter, "")),
                (Family::Counter, "_total") => return Some((MetricKind::Counter, unit)),
                (Family::GaugeHistogram, "_bucket" | "_gcount" | "_count") => return Some((MetricKind::Gauge, "")),
                (Family::GaugeHistogram, "_gsum" | "_sum") => return Some((MetricKind::Gauge, unit)),
                (Family::Counter | Family::Histogram | Family::Summary, "_created")
                    if self.format == Format::OpenMetrics =>
                {
                    return None;
                }
                _ => {}
            }
        }
        let kind = if name.ends_with("_total") { MetricKind::Counter } else { MetricKind::Gauge };
        Some((kind, family.map_or("", |known| known.unit)))
    }
}

fn number(word: &str) -> Result<f64, &'static str> {
    word.parse().map_err(|_| "the value is not a number")
}

/// A name in quotes at the beginning, and what follows it.
fn quoted_name(text: &str) -> Result<(&str, &str), &'static str> {
    let inside = text.trim_start_matches(blank).strip_prefix('"').ok_or("the sample has no name")?;
    let (name, rest) = inside.split_once('"').ok_or("the name in quotes does not end")?;
    if name.is_empty() || name.contains('\\') {
        return Err("the name in quotes is empty, or has escapes");
    }
    Ok((name, rest.trim_start_matches(blank)))
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
    let (mut n_labels, mut has_empty) = (0, false);
    let mut rest = text.trim_matches(blank);
    while !rest.is_empty() {
        let name: Cow<'_, str>;
        let after;
        if rest.starts_with('"') {
            let (quoted, behind) = quoted_name(rest)?;
            name = escaped(quoted, false).into();
            after = behind.strip_prefix('=').ok_or("a label has no value")?;
        } else {
            let (plain, behind) = rest.split_once('=').ok_or("a label has no value")?;
            let plain = plain.trim_matches(blank);
            if !is_name(plain, false) {
                return Err("a label's name has characters that no name may have");
            }
            (name, after) = (plain.into(), behind);
        }
        let quoted = after.trim_start_matches(blank).strip_prefix('"').ok_or("a label's value is not quoted")?;
        let (value, after) = unquote(quoted)?;
        n_labels += 1;
        if n_labels > MAX_LABELS {
            return Err("there are too many labels");
        }
        if labels.get(&name).is_some() {
            return Err("a label is named twice");
        }
        has_empty |= value.is_empty();
        labels.insert(&*name, value);
        rest = after.trim_start_matches(blank);
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').ok_or("labels are not parted by a comma")?.trim_start_matches(blank);
        }
    }
    if has_empty {
        labels = labels.iter().filter(|(_, value)| !value.is_empty()).collect();
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
mod tests;
