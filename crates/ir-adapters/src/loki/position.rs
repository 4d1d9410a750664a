//! How far a query has been read.
//!
//! Many lines may carry the same nanosecond, and a page may end among them. So a position is a time, and which of the entries
//! at that very time were given already.

use std::collections::{BTreeMap, BTreeSet};

use ir_core::{Cursor, Digest, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::COMPONENT;
use super::answer::Entry;
use crate::json::Pairs;

/// Everything before `nanos` was given, and at `nanos` what `seen` names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// Nanoseconds since 1970, as text: no reader of JSON may round it.
    #[serde(with = "text")]
    pub(super) nanos: i64,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) seen: BTreeSet<String>,
}

impl Position {
    /// Nothing at or after `nanos` was given.
    pub(super) fn at(nanos: i64) -> Self {
        Self { nanos, seen: BTreeSet::new() }
    }

    /// Whether this entry was given.
    pub(super) fn has(&self, stream: &Pairs<'_>, entry: &Entry<'_>) -> bool {
        entry.nanos < self.nanos || (entry.nanos == self.nanos && self.seen.contains(&name(stream, entry)))
    }
}

/// Entries of equal labels, time and content are one: Loki itself keeps only one of them.
pub(super) fn name(stream: &Pairs<'_>, entry: &Entry<'_>) -> String {
    let mut parts: Vec<&[u8]> = Vec::new();
    for (key, value) in stream.iter().chain(&entry.metadata) {
        parts.extend([key.as_bytes(), value.as_bytes()]);
    }
    parts.push(entry.line.as_bytes());
    Digest::of_parts(parts).short().to_string()
}

/// The positions of all queries by their names.
pub(super) fn read(cursor: &Cursor) -> Result<BTreeMap<String, Position>> {
    if cursor.as_str().is_empty() {
        return Ok(BTreeMap::new());
    }
    serde_json::from_str(cursor.as_str()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, COMPONENT, format!("the cursor is not one of it: {error}"))
    })
}

/// The cursor that [`read`] reads.
pub(super) fn write(positions: &BTreeMap<String, Position>) -> Result<Cursor> {
    let text = serde_json::to_string(positions).map_err(|error| {
        Error::new(ErrorKind::Unknown, COMPONENT, "the cursor cannot be written").with_source(error)
    })?;
    Ok(Cursor::new(text))
}

pub(super) mod text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in crate::loki) fn serialize<S: Serializer>(nanos: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(nanos)
    }

    pub(in crate::loki) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
