//! Scans a segment: which records are there, and whether their end was torn off. Opening scans the last segment, and each older one
//! that has no index.
//!
//! # What is cut, and what never is
//!
//! A crash while writing leaves the end of the last segment incomplete: a last line without its line break, whole sectors of
//! NUL bytes, or an append of several records of which only the first are there. None of this was acknowledged, so
//! it is cut. Everything else that is wrong (a complete line that does not have its hash, damage with sound records behind
//! it, a missing segment) may have been acknowledged: it is an error that names the record, and a person decides.

use ir_core::Digest;
use ir_core::journal::leaf_hash;

use super::layout::{is_sound, link, split_line};
use super::marks::Marks;

/// Disks write whole sectors; a run of NUL bytes counts as unwritten only if it fills one.
const SECTOR: usize = 512;

/// The end of the chain as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) next_seq: u64,
    pub(super) prev: Digest,
    /// How many records the append of the last one still lacks.
    pub(super) left: u32,
}

impl Default for End {
    fn default() -> Self {
        Self { next_seq: 1, prev: Digest::ZERO, left: 0 }
    }
}

/// Something that may have been acknowledged and is no longer right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) seq: u64,
    pub(super) what: String,
}

/// One segment, read.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Where each record begins.
    pub(super) offsets: Vec<u64>,
    /// How many bytes are sound and complete.
    pub(super) len: u64,
    /// Set when what follows `len` was torn off by a crash.
    pub(super) torn: bool,
    /// What the complete records hold that opening needs.
    pub(super) marks: Marks,
}

/// How a segment is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    /// It is the last one: only its end may be torn.
    pub(super) last: bool,
    /// An append of several records is there whole or not at all.
    pub(super) whole_batches: bool,
}

/// Reads one segment and moves `end` behind its last complete record.
pub(super) fn scan(content: &[u8], end: &mut End, how: How) -> Result<Scanned, Damage> {
    let mut scanned = Scanned::default();
    let mut complete = (end.clone(), 0, Marks::default());
    let (mut at, mut marks) = (0, Marks::default());
    while at < content.len() {
        let rest = &content[at..];
        let Some(length) = memchr::memchr(b'\n', rest) else {
            let stray_end = rest.split_last().is_some_and(|(_, line)| is_sound(line));
            if !how.last || stray_end {
                return Err(Damage { seq: end.next_seq, what: "its line has no end".to_owned() });
            }
            scanned.torn = true;
            break;
        };
        match end.push(&rest[..length], how) {
            Ok(found) => {
                marks.add(found);
                scanned.offsets.push(at as u64);
                at += length + 1;
                if end.left == 0 || !how.whole_batches {
                    complete = (end.clone(), at, marks);
                }
            }
            Err(what) => {
                if how.last && has_unwritten_sector(content, at, length) && !has_sound_line(&rest[length + 1..]) {
                    scanned.torn = true;
                    break;
                }
                return Err(Damage { seq: end.next_seq, what });
            }
        }
    }
    let (complete_end, len, marks) = complete;
    if len < at {
        if !how.last {
            return Err(Damage { seq: end.next_seq, what: "is missing: its append is incomplete".to_owned() });
        }
        scanned.torn = true;
    }
    *end = complete_end;
    scanned.len = len as u64;
    scanned.marks = marks;
    let n_complete = scanned.offsets.partition_point(|offset| *offset < scanned.len);
    scanned.offsets.truncate(n_complete);
    Ok(scanned)
}

impl End {
    fn push(&mut self, line: &[u8], how: How) -> Result<Marks, String> {
        let (hash, bytes) = split_line(line).ok_or("its line is not a hash and a record")?;
        if leaf_hash(bytes) != hash {
            return Err("its bytes do not have its hash".to_owned());
        }
        let link = link(bytes).ok_or("it is not a record of a known form")?;
        if link.seq != self.next_seq {
            return Err(format!("record {} stands in its place", link.seq));
        }
        if link.prev != self.prev {
            return Err("it does not follow the record before it".to_owned());
        }
        if how.whole_batches && self.left > 0 && link.left != self.left - 1 {
            return Err("it is not the next of its append".to_owned());
        }
        *self = Self { next_seq: link.seq + 1, prev: hash, left: link.left };
        Ok(Marks::of(link.seq, bytes))
    }
}

/// Whether the line at `at` holds a sector that was never written.
fn has_unwritten_sector(content: &[u8], at: usize, length: usize) -> bool {
    let first = at.next_multiple_of(SECTOR);
    let sectors = content.get(first..at + length).unwrap_or_default().as_chunks::<SECTOR>().0;
    sectors.contains(&[0; SECTOR])
}

fn has_sound_line(rest: &[u8]) -> bool {
    rest.split(|byte| *byte == b'\n').any(is_sound)
}
