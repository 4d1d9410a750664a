//! The answer of a range query, read without building a tree of JSON values.
//!
//! Times are nanoseconds as text. The third element of a value, where there is one, holds structured metadata, and what the query
//! itself extracted (`| json`, `| logfmt`). Loki adds labels of its own, and leaves `data` out where there is nothing. A value or a
//! stream that cannot be read costs itself alone.

use std::borrow::Cow;
use std::fmt;

use ir_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use super::COMPONENT;
use crate::json::{Pairs, Scan, Text, pairs};

/// All entries of an answer, stream by stream.
#[derive(Debug, Default)]
pub(super) struct Answer<'a> {
    pub(super) streams: Vec<Stream<'a>>,
    /// How many values could not be read, a whole stream counted as one.
    pub(super) n_wrong: u64,
    /// The answer is partial, or there is something to say about it.
    pub(super) warnings: Vec<String>,
}

/// Entries that share their labels.
#[derive(Debug, Deserialize)]
pub(super) struct Stream<'a> {
    #[serde(borrow, deserialize_with = "pairs")]
    pub(super) stream: Pairs<'a>,
    #[serde(borrow)]
    pub(super) values: Vec<Entry<'a>>,
}

/// One line.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) nanos: i64,
    pub(super) line: Cow<'a, str>,
    pub(super) metadata: Pairs<'a>,
    /// What the query extracted from the line.
    pub(super) parsed: Pairs<'a>,
}

impl Answer<'_> {
    /// Leaves out entries of other times, and returns their number.
    pub(super) fn keep_within(&mut self, range: &std::ops::Range<i64>) -> u64 {
        let mut n_outside = 0;
        for stream in &mut self.streams {
            let before = stream.values.len();
            stream.values.retain(|entry| range.contains(&entry.nanos));
            n_outside += (before - stream.values.len()) as u64;
        }
        n_outside
    }

    /// How many entries there are, those that cannot be read among them.
    pub(super) fn len(&self) -> usize {
        let n: usize = self.streams.iter().map(|stream| stream.values.len()).sum();
        n.saturating_add(usize::try_from(self.n_wrong).unwrap_or(usize::MAX))
    }
}

/// Reads an answer to a query for lines.
pub(super) fn read(body: &[u8]) -> Result<Answer<'_>> {
    let wrong = |kind: ErrorKind, message: String| Error::new(kind, COMPONENT, message);
    let whole = quick(body).map_or_else(|| plain(body), Ok).map(|envelope| (envelope, 0));
    let whole = whole.or_else(|error| by_parts(body).ok_or(error));
    let (envelope, n_wrong) = whole.map_err(|error| {
        // Samples have another form altogether; only then the type is worth a second look.
        match serde_json::from_slice::<Envelope<'_, IgnoredAny>>(body) {
            Ok(Envelope { data: Some(data), .. }) if data.kind != STREAMS => {
                let message = format!("the answer is of type `{}`: the query must ask for lines", data.kind);
                wrong(ErrorKind::InvalidConfig, message)
            }
            _ => wrong(ErrorKind::Unavailable, format!("the answer cannot be read: {error}")),
        }
    })?;
    let warnings = envelope.warnings.unwrap_or_default();
    match envelope.data {
        _ if envelope.status != "success" => {
            Err(wrong(ErrorKind::Unavailable, format!("the answer has the status `{}`", envelope.status)))
        }
        Some(data) if data.kind != STREAMS && !data.result.is_empty() => {
            Err(wrong(ErrorKind::InvalidConfig, format!("the answer is of type `{}`", data.kind)))
        }
        Some(data) => Ok(Answer { streams: data.result, n_wrong, warnings }),
        None => Ok(Answer { warnings, ..Answer::default() }),
    }
}

/// Reads an answer of which a part cannot be read, and how many parts those are; nothing for what is no answer with lines.
fn by_parts<'a>(body: &[u8]) -> Option<(Lines<'a>, u64)> {
    #[derive(Deserialize)]
    struct Parts {
        stream: Value,
        values: Vec<Value>,
    }
    let Envelope { status, data, warnings }: Envelope<'_, Vec<Value>> = serde_json::from_slice(body).ok()?;
    let data = data.filter(|data| data.kind == STREAMS)?;
    let (mut result, mut n_wrong) = (Vec::new(), 0);
    for stream in data.result {
        let parts = Parts::deserialize(stream).ok().and_then(|parts| Some((pairs(parts.stream).ok()?, parts.values)));
        let Some((stream, values)) = parts else {
            n_wrong += 1;
            continue;
        };
        let n = values.len();
        let values: Vec<Entry<'_>> = values.into_iter().filter_map(|value| Entry::deserialize(value).ok()).collect();
        n_wrong += (n - values.len()) as u64;
        result.push(Stream { stream, values });
    }
    let data = Data { kind: STREAMS.into(), result };
    Some((Envelope { status: status.into_owned().into(), data: Some(data), warnings }, n_wrong))
}

/// Reads the `data` of an answer that is no lines. It is left out where there is nothing.
pub(super) fn read_data<'a, T: Deserialize<'a> + Default>(body: &'a [u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Other<T> {
        data: Option<T>,
    }
    let wrong = |error| Error::new(ErrorKind::Unavailable, COMPONENT, format!("the answer cannot be read: {error}"));
    serde_json::from_slice::<Other<T>>(body).map(|other| other.data.unwrap_or_default()).map_err(wrong)
}

/// What a tail sends at once.
#[cfg(feature = "loki-tail")]
#[derive(Debug, Default, Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow, default)]
    pub(super) streams: Vec<Stream<'a>>,
    /// What it did not send because it was not read fast enough.
    #[serde(default, rename = "dropped_entries")]
    pub(super) dropped: Option<Vec<LeftOut<'a>>>,
}

/// A line that a tail left out.
#[cfg(feature = "loki-tail")]
#[derive(Debug, Deserialize)]
pub(super) struct LeftOut<'a> {
    #[serde(borrow, default)]
    timestamp: Cow<'a, str>,
}

#[cfg(feature = "loki-tail")]
impl LeftOut<'_> {
    /// Its time in nanoseconds.
    pub(super) fn nanos(&self) -> Option<i64> {
        self.timestamp.parse().ok()
    }
}

/// Reads what a tail sent.
#[cfg(feature = "loki-tail")]
pub(super) fn read_frame(text: &str) -> Result<Frame<'_>> {
    let quick = || {
        let mut scan = Scan::new(text.as_bytes())?;
        let mut found = None;
        scan.object(|scan, key| match key.as_ref() {
            "streams" if found.is_none() => set(&mut found, streams(scan)?),
            _ => None,
        })?;
        scan.end()?;
        Some(Frame { streams: found?, dropped: None })
    };
    quick().map_or_else(|| plain_frame(text), Ok)
}

/// What `serde_json` says of it: the last word.
#[cfg(feature = "loki-tail")]
pub(super) fn plain_frame(text: &str) -> Result<Frame<'_>> {
    let wrong = |error| Error::new(ErrorKind::Unavailable, COMPONENT, format!("the tail cannot be read: {error}"));
    serde_json::from_str(text).map_err(wrong)
}

const STREAMS: &str = "streams";

/// What `serde_json` says of the text: the last word.
pub(super) fn plain(body: &[u8]) -> serde_json::Result<Lines<'_>> {
    serde_json::from_slice(body)
}

/// Reads what servers usually write, in a fraction of the time that `serde_json` takes; nothing where that has to judge.
pub(super) fn quick(body: &[u8]) -> Option<Lines<'_>> {
    let mut scan = Scan::new(body)?;
    let (mut status, mut data, mut warnings) = (None, None, None);
    scan.object(|scan, key| match key.as_ref() {
        "status" if status.is_none() => set(&mut status, scan.text()?),
        "data" if data.is_none() => {
            let (mut kind, mut result) = (None, None);
            scan.object(|scan, key| match key.as_ref() {
                "resultType" if kind.is_none() => set(&mut kind, scan.text()?),
                "result" if result.is_none() => set(&mut result, streams(scan)?),
                // A name that comes twice is for others to judge.
                "resultType" | "result" => None,
                _ => scan.skip(),
            })?;
            set(&mut data, Data { kind: kind?, result: result? })
        }
        "warnings" if warnings.is_none() => {
            let mut all = Vec::new();
            scan.list(|scan| {
                all.push(scan.text()?.into_owned());
                Some(())
            })?;
            set(&mut warnings, all)
        }
        "status" | "data" | "warnings" => None,
        _ => scan.skip(),
    })?;
    scan.end()?;
    Some(Envelope { status: status?, data, warnings })
}

fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    *place = Some(value);
    Some(())
}

fn streams<'a>(scan: &mut Scan<'a>) -> Option<Vec<Stream<'a>>> {
    let mut all = Vec::new();
    scan.list(|scan| {
        let (mut stream, mut values) = (None, None);
        scan.object(|scan, key| match key.as_ref() {
            "stream" if stream.is_none() => set(&mut stream, scan.pairs()?),
            "values" if values.is_none() => {
                let mut entries = Vec::new();
                scan.list(|scan| {
                    entries.push(entry(scan)?);
                    Some(())
                })?;
                set(&mut values, entries)
            }
            "stream" | "values" => None,
            _ => scan.skip(),
        })?;
        all.push(Stream { stream: stream?, values: values? });
        Some(())
    })?;
    Some(all)
}

fn entry<'a>(scan: &mut Scan<'a>) -> Option<Entry<'a>> {
    scan.take(b'[')?;
    let nanos = scan.text()?.parse().ok()?;
    scan.take(b',')?;
    let line = scan.text()?;
    let (mut metadata, mut parsed) = (None, None);
    if scan.has(b',') {
        scan.object(|scan, key| match key.as_ref() {
            "structuredMetadata" if metadata.is_none() => set(&mut metadata, scan.pairs()?),
            "parsed" if parsed.is_none() => set(&mut parsed, scan.pairs()?),
            "structuredMetadata" | "parsed" => None,
            _ => scan.skip(),
        })?;
    }
    scan.take(b']')?;
    Some(Entry { nanos, line, metadata: metadata.unwrap_or_default(), parsed: parsed.unwrap_or_default() })
}

/// The whole text of an answer with lines.
pub(super) type Lines<'a> = Envelope<'a, Vec<Stream<'a>>>;

/// The whole text.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<'a, R> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, bound(deserialize = "R: Deserialize<'de>"))]
    data: Option<Data<'a, R>>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Data<'a, R> {
    #[serde(borrow, rename = "resultType")]
    kind: Cow<'a, str>,
    #[serde(bound(deserialize = "R: Deserialize<'de>"))]
    result: R,
}

/// What stands beside a line.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Beside<'a> {
    #[serde(borrow, rename = "structuredMetadata", deserialize_with = "pairs")]
    metadata: Pairs<'a>,
    #[serde(borrow, deserialize_with = "pairs")]
    parsed: Pairs<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Entry<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time, a line, and maybe metadata")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let missing = |what| A::Error::custom(format_args!("a value has no {what}"));
                let Text(time) = seq.next_element()?.ok_or_else(|| missing("time"))?;
                let nanos = time.parse().map_err(|_| A::Error::custom("a time is no number of nanoseconds"))?;
                let Text(line) = seq.next_element()?.ok_or_else(|| missing("line"))?;
                let beside: Option<Option<Beside<'de>>> = seq.next_element()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                let Beside { metadata, parsed } = beside.flatten().unwrap_or_default();
                Ok(Entry { nanos, line, metadata, parsed })
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}
