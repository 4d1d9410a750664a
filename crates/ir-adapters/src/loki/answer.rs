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
use crate::json::{Pairs, Text, pairs};

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
    let envelope: Envelope<'_, Vec<Stream<'_>>> = serde_json::from_slice(body).map_err(|error| {
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

const STREAMS: &str = "streams";

#[derive(Deserialize)]
struct Envelope<'a, R> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, bound(deserialize = "R: Deserialize<'de>"))]
    data: Option<Data<'a, R>>,
}

#[derive(Deserialize)]
struct Data<'a, R> {
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
