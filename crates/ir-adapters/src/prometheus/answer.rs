//! The answer to a query for samples, read without building a tree of JSON values.
//!
//! Times are seconds with a fraction, values are text. Native histograms stand apart in `histograms`. A sample or a series that cannot
//! be read costs itself alone. `warnings` say that an answer is partial; `infos` are hints on how a query is written, which hold for
//! every answer and may be wrong: they are left out.

use std::borrow::Cow;
use std::fmt;

use ir_core::{Error, ErrorKind, Result, Timestamp};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;

use super::COMPONENT;
use super::histogram::Observed;
use crate::http::HttpReply;
use crate::json::{Pairs, Scan, Text, number, pairs};
use crate::shared::excerpt;

/// So much of the server's words is told.
const MAX_WORDS: usize = 200;

/// What a query gave.
#[derive(Debug, Default)]
pub(super) struct Answer<'a> {
    pub(super) series: Vec<Matrix<'a>>,
    /// The answer is partial, or there is something to say about it.
    pub(super) warnings: Vec<String>,
    /// How many samples could not be read, a whole series counted as one.
    pub(super) n_wrong: u64,
}

/// One series with its samples.
#[derive(Debug, Deserialize)]
pub(super) struct Matrix<'a> {
    #[serde(borrow, deserialize_with = "pairs")]
    pub(super) metric: Pairs<'a>,
    #[serde(default)]
    pub(super) values: Vec<Sample>,
    /// Native histograms.
    #[serde(default)]
    pub(super) histograms: Vec<Observed>,
}

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Milliseconds since 1970: Prometheus knows no finer ones.
    pub(super) millis: i64,
    pub(super) value: f64,
}

impl Sample {
    pub(super) const fn at(self) -> Timestamp {
        Timestamp::from_millis(self.millis)
    }
}

/// The whole text.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Data<'a> {
    #[serde(borrow)]
    result: Vec<Matrix<'a>>,
}

/// What the server says instead of an answer.
#[derive(Default, Deserialize)]
struct Failure<'a> {
    #[serde(borrow, default, rename = "errorType")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    error: Cow<'a, str>,
}

/// Reads an answer of type `matrix`.
pub(super) fn read(reply: &HttpReply) -> Result<Answer<'_>> {
    if !reply.is_success() {
        return Err(meaning(reply));
    }
    read_body(&reply.body)
}

/// Reads the content of an answer of type `matrix`.
pub(super) fn read_body(body: &[u8]) -> Result<Answer<'_>> {
    let (envelope, n_wrong) = match quick(body) {
        Some(envelope) => (envelope, 0),
        None => match plain(body) {
            Ok(envelope) => (envelope, 0),
            Err(error) => by_parts(body).ok_or(error)?,
        },
    };
    let warnings = envelope.warnings.unwrap_or_default().iter().map(|text| cut(text)).collect();
    Ok(Answer { series: envelope.data.map(|data| data.result).unwrap_or_default(), warnings, n_wrong })
}

/// Reads an answer of which a part cannot be read, and how many parts those are; nothing for what is no answer with samples.
fn by_parts<'a>(body: &[u8]) -> Option<(Envelope<'a>, u64)> {
    #[derive(Deserialize)]
    struct Whole {
        data: Parts,
        #[serde(default)]
        warnings: Option<Vec<String>>,
    }
    #[derive(Deserialize)]
    struct Parts {
        result: Vec<Value>,
    }
    #[derive(Deserialize)]
    struct Series {
        metric: Value,
        #[serde(default)]
        values: Option<Vec<Value>>,
        #[serde(default)]
        histograms: Option<Vec<Value>>,
    }
    let Whole { data, warnings } = serde_json::from_slice(body).ok()?;
    let (mut result, mut n_wrong) = (Vec::new(), 0);
    for series in data.result {
        let parts = Series::deserialize(series).ok();
        let parts = parts.and_then(|of| Some((pairs(of.metric).ok()?, of.values, of.histograms)));
        let Some((metric, values, histograms)) = parts else {
            n_wrong += 1;
            continue;
        };
        let (values, histograms) = (readable(values, &mut n_wrong), readable(histograms, &mut n_wrong));
        result.push(Matrix { metric, values, histograms });
    }
    Some((Envelope { data: Some(Data { result }), warnings }, n_wrong))
}

/// Those of the elements that can be read; the others are counted.
fn readable<T: DeserializeOwned>(elements: Option<Vec<Value>>, n_wrong: &mut u64) -> Vec<T> {
    let read = |element| T::deserialize::<Value>(element).inspect_err(|_| *n_wrong += 1).ok();
    elements.unwrap_or_default().into_iter().filter_map(read).collect()
}

/// What `serde_json` says of the content: the last word.
pub(super) fn plain(body: &[u8]) -> Result<Envelope<'_>> {
    let wrong = |error| Error::new(ErrorKind::Unavailable, COMPONENT, format!("the answer cannot be read: {error}"));
    serde_json::from_slice(body).map_err(wrong)
}

/// The same for answers as servers write them, in a fraction of the time; nothing for all others.
pub(super) fn quick(body: &[u8]) -> Option<Envelope<'_>> {
    let mut scan = Scan::new(body)?;
    let mut envelope = Envelope::default();
    let mut seen = [false; 2];
    scan.object(|scan, key| match key.as_ref() {
        "data" => {
            once(&mut seen[0])?;
            let mut result = None;
            scan.object(|scan, key| match key.as_ref() {
                "result" if result.is_none() => {
                    result = Some(series(scan)?);
                    Some(())
                }
                "result" => None,
                _ => scan.skip(),
            })?;
            envelope.data = Some(Data { result: result? });
            Some(())
        }
        "warnings" => {
            once(&mut seen[1])?;
            let mut warnings = Vec::new();
            scan.list(|scan| {
                warnings.push(scan.text()?.into_owned());
                Some(())
            })?;
            envelope.warnings = Some(warnings);
            Some(())
        }
        _ => scan.skip(),
    })?;
    scan.end()?;
    Some(envelope)
}

/// A name that comes twice is for others to judge.
fn once(seen: &mut bool) -> Option<()> {
    (!std::mem::replace(seen, true)).then_some(())
}

fn series<'a>(scan: &mut Scan<'a>) -> Option<Vec<Matrix<'a>>> {
    let mut all: Vec<Matrix<'a>> = Vec::new();
    scan.list(|scan| {
        let mut metric = None;
        // Series of one answer are mostly of one length.
        let mut values = Vec::with_capacity(all.last().map_or(0, |last| last.values.len()));
        let mut seen = false;
        scan.object(|scan, key| match key.as_ref() {
            "metric" if metric.is_none() => {
                metric = Some(scan.pairs()?);
                Some(())
            }
            "values" => {
                once(&mut seen)?;
                scan.list(|scan| {
                    scan.take(b'[')?;
                    let millis = scan.millis()?;
                    scan.take(b',')?;
                    let value = scan.quoted_number()?;
                    values.push(Sample { millis, value });
                    scan.take(b']')
                })
            }
            // Native histograms are rare.
            "metric" | "histograms" => None,
            _ => scan.skip(),
        })?;
        all.push(Matrix { metric: metric?, values, histograms: Vec::new() });
        Some(())
    })?;
    Some(all)
}

/// Reads the `data` of an answer that is no samples.
pub(super) fn read_data<'a, T: Deserialize<'a> + Default>(reply: &'a HttpReply) -> Result<T> {
    #[derive(Deserialize)]
    struct Other<T> {
        data: Option<T>,
    }
    if !reply.is_success() {
        return Err(meaning(reply));
    }
    let wrong = |error| Error::new(ErrorKind::Unavailable, COMPONENT, format!("the answer cannot be read: {error}"));
    serde_json::from_slice::<Other<T>>(&reply.body).map(|other| other.data.unwrap_or_default()).map_err(wrong)
}

/// 400 is a query that is wrong, 422 one that cannot be executed, 503 one that took too long; 404 and 405 are plain text.
fn meaning(reply: &HttpReply) -> Error {
    let failure: Failure<'_> = serde_json::from_slice(&reply.body).unwrap_or_default();
    let plain = String::from_utf8_lossy(&reply.body);
    let words = if failure.error.is_empty() { plain.as_ref() } else { failure.error.as_ref() };
    let kind = match (reply.status, failure.kind.as_ref()) {
        (_, "timeout") | (504, _) => ErrorKind::Timeout,
        (_, "bad_data" | "execution") => ErrorKind::InvalidConfig,
        (401 | 403, _) => ErrorKind::Unauthorized,
        (429, _) => ErrorKind::RateLimited,
        (400..=499, _) => ErrorKind::InvalidConfig,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, COMPONENT, format!("status {}: {}", reply.status, cut(words.trim())))
}

pub(super) fn cut(text: &str) -> String {
    excerpt(text, MAX_WORDS)
}

/// Seconds as milliseconds, which is as fine as Prometheus knows time.
pub(super) fn millis(secs: f64) -> Option<i64> {
    let millis = (secs * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "the range was looked at")]
    (-9e15..9e15).contains(&millis).then_some(millis as i64)
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Sample;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time and a value")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sample, A::Error> {
                let secs: f64 = seq.next_element()?.ok_or_else(|| A::Error::custom("a sample has no time"))?;
                let Text(value) = seq.next_element()?.ok_or_else(|| A::Error::custom("a sample has no value"))?;
                let value = number(&value).ok_or_else(|| A::Error::custom("a value is no number"))?;
                let millis = millis(secs).ok_or_else(|| A::Error::custom("a time is out of range"))?;
                Ok(Sample { millis, value })
            }
        }
        deserializer.deserialize_seq(Pair)
    }
}
