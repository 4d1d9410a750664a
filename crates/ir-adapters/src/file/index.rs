//! Where each record stands, shared by the one writer and any number of readers.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ir_core::journal::{EncodedRecord, Page, ReadFrom};
use ir_core::{Digest, Error, ErrorKind, Result};

use super::disk::{Disk, replace};
use super::layout::{Layout, link, split_line};
use super::marks::Marks;
use super::scan::{self, Damage, End, How};
use super::segment_index::{SegmentIndex, Summary};
use super::{COMPONENT, io_error};

/// The most bytes of one page, so that a reader never holds a whole segment.
const MAX_PAGE_BYTES: u64 = 8 << 20;

/// One segment as readers need it.
#[derive(Debug)]
struct Segment {
    first_seq: u64,
    path: Arc<Path>,
    /// Where each record begins.
    offsets: Vec<u64>,
    len: u64,
}

/// Where each durable record stands.
#[derive(Debug, Default)]
pub(super) struct Index {
    segments: RwLock<Vec<Segment>>,
}

/// What was found when a journal was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) index: Index,
    pub(super) end: End,
    pub(super) last: Option<LastSegment>,
    /// How many bytes behind the last complete record were torn off by a crash.
    pub(super) torn_bytes: u64,
    /// What all records hold that opening needs.
    pub(super) marks: Marks,
    /// The indexes of finished segments that had none that fits.
    pub(super) made: Vec<(PathBuf, Vec<u8>)>,
}

/// The segment that is still being written.
#[derive(Debug)]
pub(super) struct LastSegment {
    pub(super) path: PathBuf,
    /// How many of its bytes are complete.
    pub(super) len: u64,
    /// The hash of the record before its first.
    pub(super) prev: Digest,
    pub(super) marks: Marks,
}

/// Reads the last segment of `layout` and the indexes of the others; a segment whose index is missing, damaged or not of it is read too.
pub(super) fn open(layout: &Layout, whole_batches: bool) -> Result<Opened> {
    let found = layout.list_segments().map_err(|error| io_error("cannot list the segments", error))?;
    let mut opened = Opened {
        index: Index::default(),
        end: End::default(),
        last: None,
        torn_bytes: 0,
        marks: Marks::default(),
        made: Vec::new(),
    };
    let count = found.len();
    for (n, (first_seq, path)) in found.into_iter().enumerate() {
        if first_seq != opened.end.next_seq {
            return Err(damaged(&Damage {
                seq: opened.end.next_seq.min(first_seq),
                what: format!("a segment begins with record {first_seq}, the next is {}", opened.end.next_seq),
            }));
        }
        let last = n + 1 == count;
        match SegmentIndex::load(layout, first_seq, &opened.end).filter(|_| !last) {
            Some(index) => opened.add_indexed(&path, index),
            None => opened.add_scanned(layout, first_seq, path, How { last, whole_batches })?,
        }
    }
    Ok(opened)
}

impl Opened {
    fn add_indexed(&mut self, path: &Path, SegmentIndex { summary, offsets }: SegmentIndex) {
        self.end = summary.end();
        self.marks.add(summary.marks);
        self.index.add_segment(summary.first_seq, path, offsets, summary.bytes);
    }

    fn add_scanned(&mut self, layout: &Layout, first_seq: u64, path: PathBuf, how: How) -> Result<()> {
        let content = std::fs::read(&path)
            .map_err(|error| io_error(&format!("cannot read the segment of record {first_seq}"), error))?;
        let prev = self.end.prev;
        let scanned = scan::scan(&content, &mut self.end, how).map_err(|damage| damaged(&damage))?;
        self.torn_bytes = content.len() as u64 - scanned.len;
        debug_assert_eq!(scanned.torn, self.torn_bytes > 0, "what is cut is what was torn");
        let (len, marks) = (scanned.len, scanned.marks);
        self.marks.add(marks);
        if !how.last && self.end.next_seq > first_seq {
            let summary = Summary::new(first_seq, prev, len, &self.end, marks);
            let index = SegmentIndex { summary, offsets: scanned.offsets };
            self.made.push((layout.index(first_seq), index.to_bytes()?));
            self.index.add_segment(first_seq, &path, index.offsets, len);
        } else {
            self.index.add_segment(first_seq, &path, scanned.offsets, len);
        }
        self.last = Some(LastSegment { path, len, prev, marks });
        Ok(())
    }

    /// Stores the indexes that were made. They are a cache, so a failure costs time at the next opening and nothing else.
    pub(super) fn store_indexes(&mut self, disk: &mut dyn Disk) {
        for (path, bytes) in std::mem::take(&mut self.made) {
            if let Err(error) = replace(disk, &path, &bytes) {
                tracing::warn!(%error, path = %path.display(), "cannot store the index of a segment");
            }
        }
    }
}

fn damaged(damage: &Damage) -> Error {
    Error::new(ErrorKind::InvalidInput, COMPONENT, format!("record {} is damaged: {}", damage.seq, damage.what))
}

/// A run of records within one file.
#[derive(Debug)]
struct Span {
    path: Arc<Path>,
    start: u64,
    end: u64,
    first_seq: u64,
}

impl Index {
    fn read_lock(&self) -> std::sync::RwLockReadGuard<'_, Vec<Segment>> {
        // Every change is complete before its lock is released, so a panic elsewhere leaves a sound index.
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Segment>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a segment behind all others.
    pub(super) fn add_segment(&self, first_seq: u64, path: &Path, offsets: Vec<u64>, len: u64) {
        self.write_lock().push(Segment { first_seq, path: Arc::from(path), offsets, len });
    }

    /// Adds durable records to the last segment: `offsets` count from the segment's present end.
    pub(super) fn extend(&self, offsets: impl Iterator<Item = u64>, n_bytes: u64) {
        if let Some(last) = self.write_lock().last_mut() {
            let base = last.len;
            last.offsets.extend(offsets.map(|offset| base + offset));
            last.len += n_bytes;
        }
    }

    /// The index file of the last segment, which is finished: `prev` is the hash before its first record, `last` that of its last one.
    pub(super) fn finish(&self, prev: Digest, last: Digest, marks: Marks) -> Result<Option<(u64, Vec<u8>)>> {
        let segments = self.read_lock();
        let Some(segment) = segments.last().filter(|segment| !segment.offsets.is_empty()) else { return Ok(None) };
        let end = End { next_seq: segment.first_seq + segment.offsets.len() as u64, prev: last, left: 0 };
        let summary = Summary::new(segment.first_seq, prev, segment.len, &end, marks);
        let index = SegmentIndex { summary, offsets: segment.offsets.clone() };
        Ok(Some((segment.first_seq, index.to_bytes()?)))
    }

    /// The number of the next record.
    pub(super) fn head(&self) -> u64 {
        self.read_lock().last().map_or(1, |last| last.first_seq + last.offsets.len() as u64)
    }

    /// Where the records from `from` on stand, as far as one page goes.
    fn span(&self, from: ReadFrom) -> Option<Span> {
        let segments = self.read_lock();
        let seq = from.seq.max(1);
        let n = segments.partition_point(|segment| segment.first_seq <= seq).checked_sub(1)?;
        let segment = segments.get(n)?;
        let first = usize::try_from(seq - segment.first_seq).ok()?;
        let offsets = segment.offsets.get(first..).filter(|offsets| !offsets.is_empty() && from.max > 0)?;
        let start = *offsets.first()?;
        // At least one record, then as many as fit.
        let fitting = offsets.partition_point(|offset| *offset <= start + MAX_PAGE_BYTES).max(1);
        let count = fitting.min(from.max);
        let end = offsets.get(count).copied().unwrap_or(segment.len);
        Some(Span { path: segment.path.clone(), start, end, first_seq: seq })
    }

    /// Reads one page and verifies the hash of each record. Blocks on the disk, and on no writer.
    pub(super) fn read(&self, from: ReadFrom) -> Result<Page> {
        let Some(span) = self.span(from) else { return Ok(Page { records: Vec::new(), head: self.head() }) };
        let content = read_span(&span)
            .map_err(|error| io_error(&format!("cannot read from record {} on", span.first_seq), error))?;
        let mut records = Vec::new();
        for (seq, line) in (span.first_seq..).zip(content.split_inclusive(|byte| *byte == b'\n')) {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            records.push(sound_record(seq, line).map_err(|what| damaged(&Damage { seq, what: what.to_owned() }))?);
        }
        Ok(Page { records, head: self.head() })
    }
}

/// The record of a line. Opening hashed only the last segment, so whatever is read is hashed now.
fn sound_record(seq: u64, line: &[u8]) -> Result<EncodedRecord, &'static str> {
    let (hash, bytes) = split_line(line).ok_or("its line is not a hash and a record")?;
    let record = EncodedRecord::new(seq, bytes);
    if record.hash != hash {
        return Err("its bytes do not have its hash");
    }
    if link(bytes).is_none_or(|link| link.seq != seq) {
        return Err("another record stands in its place");
    }
    Ok(record)
}

fn read_span(span: &Span) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(&span.path)?;
    file.seek(SeekFrom::Start(span.start))?;
    let length = usize::try_from(span.end - span.start).map_err(io::Error::other)?;
    let mut content = vec![0; length];
    file.read_exact(&mut content)?;
    Ok(content)
}
