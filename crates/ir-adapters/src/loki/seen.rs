//! Which lines were given already, where the same line may come by two ways: by the tail and by a query.

use std::collections::{BTreeMap, BTreeSet};

use ir_core::Digest;
use serde::{Deserialize, Serialize};

use super::answer::Entry;
use crate::json::Pairs;

/// A label that Loki makes up when it stores a line, so that a line that was not stored yet has none.
const MADE_UP: &str = "detected_level";

/// Short digests of lines, by their time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Seen(BTreeMap<i64, BTreeSet<String>>);

impl Seen {
    /// Takes note of an entry; whether it is new. Entries of equal labels, time and content are one, as for Loki itself.
    pub(super) fn insert(&mut self, stream: &Pairs<'_>, entry: &Entry<'_>) -> bool {
        let mut labels: Vec<_> = stream.iter().filter(|(key, _)| key != MADE_UP).collect();
        labels.sort_unstable();
        let parts = labels.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]);
        let name = Digest::of_parts(parts.chain([entry.line.as_bytes()])).short();
        self.0.entry(entry.nanos).or_default().insert(name)
    }

    /// Forgets all but what came from one time on, or within one of the ranges.
    pub(super) fn keep(&mut self, from: i64, ranges: &[(i64, i64)]) {
        if ranges.is_empty() {
            self.0 = self.0.split_off(&from);
            return;
        }
        let within = |nanos: i64| ranges.iter().any(|(from, until)| (*from..=*until).contains(&nanos));
        self.0.retain(|nanos, _| *nanos >= from || within(*nanos));
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// The earliest time from which on there are at most `most` entries, or those of one nanosecond.
    pub(super) fn latest(&self, most: usize) -> Option<i64> {
        let mut n = 0;
        let mut from = None;
        for (nanos, names) in self.0.iter().rev() {
            n += names.len();
            if n > most && from.is_some() {
                return from;
            }
            from = Some(*nanos);
        }
        None
    }
}
