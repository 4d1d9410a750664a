//! Reads and writes the index of a finished segment: what opening needs of it, so that the segment itself is not read.
//!
//! The file `segments/<first record>.index` has one line of canonical JSON and, behind it, the offset of each record (64 bits, little
//! endian). It checks itself and is a cache: one that is missing, damaged or not of its segment is made anew from the segment.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use ir_core::Digest;
use ir_core::journal::{canonical, leaf_hash};
use serde::{Deserialize, Serialize};

use super::layout::{Layout, link, split_line};
use super::marks::Marks;
use super::scan::End;

const VERSION: u32 = 1;

/// A run of records, without the records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Summary {
    pub(super) v: u32,
    /// The number of the first record.
    pub(super) first_seq: u64,
    /// The number of records, at least one.
    pub(super) records: u64,
    /// The length of the segment.
    pub(super) bytes: u64,
    /// The hash that the first record names as its predecessor's.
    pub(super) prev: Digest,
    /// The hash of the last record.
    pub(super) last: Digest,
    /// How many records the append of the last one still lacks: more than 0 only in exports.
    pub(super) left: u32,
    pub(super) marks: Marks,
}

impl Summary {
    /// The records from `first_seq`, behind `prev`, up to `end`.
    pub(super) fn new(first_seq: u64, prev: Digest, bytes: u64, end: &End, marks: Marks) -> Self {
        let records = end.next_seq - first_seq;
        Self { v: VERSION, first_seq, records, bytes, prev, last: end.prev, left: end.left, marks }
    }

    /// Whether it is of a form that is written here.
    pub(super) fn is_known(&self) -> bool {
        self.v == VERSION && self.records > 0 && self.first_seq.checked_add(self.records).is_some()
    }

    /// The end of the chain behind these records.
    pub(super) fn end(&self) -> End {
        End { next_seq: self.first_seq + self.records, prev: self.last, left: self.left }
    }
}

/// What stands in an index file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentIndex {
    pub(super) summary: Summary,
    /// Where each record begins.
    pub(super) offsets: Vec<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// Digest of the canonical summary and of all that follows the line.
    check: Digest,
    summary: Summary,
}

/// A summary and what goes with it, as the bytes of a file that checks itself.
pub(super) fn seal(summary: &Summary, rest: &[u8]) -> ir_core::Result<Vec<u8>> {
    let check = Digest::of_parts([&*canonical::to_bytes(summary)?, rest]);
    let mut bytes = canonical::to_bytes(&Document { check, summary: summary.clone() })?;
    bytes.push(b'\n');
    bytes.extend_from_slice(rest);
    Ok(bytes)
}

/// The reverse of [`seal`]; `None` for anything that it did not make.
pub(super) fn unseal(bytes: &[u8]) -> Option<(Summary, &[u8])> {
    let (line, rest) = bytes.split_at_checked(memchr::memchr(b'\n', bytes)?)?;
    let rest = rest.strip_prefix(b"\n")?;
    let Document { check, summary } = serde_json::from_slice(line).ok()?;
    let sound = Digest::of_parts([&*canonical::to_bytes(&summary).ok()?, rest]) == check;
    (sound && summary.is_known()).then_some((summary, rest))
}

impl SegmentIndex {
    pub(super) fn to_bytes(&self) -> ir_core::Result<Vec<u8>> {
        let offsets: Vec<u8> = self.offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        seal(&self.summary, &offsets)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (summary, rest) = unseal(bytes)?;
        let (offsets, []) = rest.as_chunks::<8>() else { return None };
        let offsets: Vec<u64> = offsets.iter().map(|offset| u64::from_le_bytes(*offset)).collect();
        let ascending = offsets.first() == Some(&0) && offsets.is_sorted_by(|a, b| a < b);
        let within = offsets.last().is_some_and(|offset| *offset < summary.bytes);
        (ascending && within && offsets.len() as u64 == summary.records).then_some(Self { summary, offsets })
    }

    /// The index of the segment that begins with `first_seq`, if there is one that is whole and of the segment that stands there: it
    /// goes on from `end`, has the segment's length, and ends with the segment's last record.
    pub(super) fn load(layout: &Layout, first_seq: u64, end: &End) -> Option<Self> {
        let index = Self::from_bytes(&std::fs::read(layout.index(first_seq)).ok()?)?;
        let fits = index.summary.first_seq == first_seq && index.summary.prev == end.prev;
        (fits && index.fits(&layout.segment(first_seq)).unwrap_or(false)).then_some(index)
    }

    fn fits(&self, segment: &Path) -> io::Result<bool> {
        let mut file = File::open(segment)?;
        if file.metadata()?.len() != self.summary.bytes {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(self.offsets.last().copied().unwrap_or_default()))?;
        let mut line = Vec::new();
        file.read_to_end(&mut line)?;
        let end = self.summary.end();
        Ok(line.strip_suffix(b"\n").and_then(split_line).is_some_and(|(hash, bytes)| {
            let placed = link(bytes).is_some_and(|link| link.seq + 1 == end.next_seq && link.left == end.left);
            placed && hash == end.prev && leaf_hash(bytes) == hash
        }))
    }
}
