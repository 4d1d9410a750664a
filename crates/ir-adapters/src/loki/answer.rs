//! The answer of a range query, read without building a tree of JSON values.
//!
//! Times are nanoseconds as text. The third element of a value, where there is one, holds structured metadata. Loki adds labels
//! of its own, and leaves `data` out where there is nothing.

use std::borrow::Cow;
use std::fmt;

use ir_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};

use super::COMPONENT;
use crate::json::{Pairs, Scan, Text, pairs};

/// All entries of an answer, stream by stream.
#[derive(Debug, Default)]
pub(super) struct Answer<'a> {
    pub(super) streams: Vec<Stream<'a>>,
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
}

impl Answer<'_> {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.streams.iter().map(|stream| stream.values.len()).sum()
    }
}

/// Reads an answer to a query for lines.
pub(super) fn read(body: &[u8]) -> Result<Answer<'_>> {
    let wrong = |kind: ErrorKind, message: String| Error::new(kind, COMPONENT, message);
    let envelope = quick(body).map_or_else(|| plain(body), Ok).map_err(|error| {
        // Samples have another form altogether; only then the type is worth a second look.
        match serde_json::from_slice::<Envelope<'_, IgnoredAny>>(body) {
            Ok(Envelope { data: Some(data), .. }) if data.kind != STREAMS => {
                let message = format!("the answer is of type `{}`: the query must ask for lines", data.kind);
                wrong(ErrorKind::InvalidConfig, message)
            }
            _ => wrong(ErrorKind::Unavailable, format!("the answer cannot be read: {error}")),
        }
    })?;
    match envelope.data {
        _ if envelope.status != "success" => {
            Err(wrong(ErrorKind::Unavailable, format!("the answer has the status `{}`", envelope.status)))
        }
        Some(data) if data.kind != STREAMS && !data.result.is_empty() => {
            Err(wrong(ErrorKind::InvalidConfig, format!("the answer is of type `{}`", data.kind)))
        }
        Some(data) => Ok(Answer { streams: data.result }),
        None => Ok(Answer::default()),
    }
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
    pub(super) dropped: Option<Vec<IgnoredAny>>,
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
    let (mut status, mut data) = (None, None);
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
        "status" | "data" => None,
        _ => scan.skip(),
    })?;
    scan.end()?;
    Some(Envelope { status: status?, data })
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
    let mut metadata = None;
    if scan.has(b',') {
        scan.object(|scan, key| match key.as_ref() {
            "structuredMetadata" if metadata.is_none() => set(&mut metadata, scan.pairs()?),
            "structuredMetadata" => None,
            _ => scan.skip(),
        })?;
    }
    scan.take(b']')?;
    Some(Entry { nanos, line, metadata: metadata.unwrap_or_default() })
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
}

impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;
        impl<'de> Visitor<'de> for Value {
            type Value = Entry<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time, a line, and maybe metadata")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let missing = |what| A::Error::custom(format_args!("a value has no {what}"));
                let Text(time) = seq.next_element()?.ok_or_else(|| missing("time"))?;
                let nanos = time.parse().map_err(|_| A::Error::custom("a time is no number of nanoseconds"))?;
                let Text(line) = seq.next_element()?.ok_or_else(|| missing("line"))?;
                let beside: Option<Beside<'de>> = seq.next_element()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Entry { nanos, line, metadata: beside.unwrap_or_default().metadata })
            }
        }
        deserializer.deserialize_seq(Value)
    }
}
