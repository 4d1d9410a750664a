//! Where each record stands, shared by the one writer and any number of readers.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ir_core::journal::{Chain, EncodedRecord, Page, ReadFrom};
use ir_core::{Digest, Error, ErrorKind, Result};

use super::archived::{self, Header};
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
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Where each record begins in the file, and its length.
    Here { offsets: Vec<u64>, len: u64 },
    /// The file holds the hashes of `records` records, which were moved to the folder `archive`.
    Archived { records: u64, archive: Arc<str> },
}

impl Segment {
    fn next_seq(&self) -> u64 {
        let records = match &self.place {
            Place::Here { offsets, .. } => offsets.len() as u64,
            Place::Archived { records, .. } => *records,
        };
        self.first_seq + records
    }
}

/// Where each durable record stands.
#[derive(Debug, Default)]
pub(super) struct Index {
    segments: RwLock<Vec<Segment>>,
    /// The number of the newest durable checkpoint; 0 without one.
    checkpoint: AtomicU64,
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
    /// Segments that are archived and still there: a crash interrupted their removal.
    pub(super) pending: Vec<u64>,
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
    let mut found = layout.list_segments().map_err(|error| io_error("cannot list the segments", error))?;
    let mut opened = Opened {
        index: Index::default(),
        end: End::default(),
        last: None,
        torn_bytes: 0,
        marks: Marks::default(),
        made: Vec::new(),
        pending: Vec::new(),
    };
    let archived = opened.add_archived(layout)?;
    found.retain(|(first_seq, _)| !archived.contains(first_seq));
    if found.is_empty() && !archived.is_empty() {
        let what = "is missing: no segment follows the archived records".to_owned();
        return Err(damaged(&Damage { seq: opened.end.next_seq, what }));
    }
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
    if let Some(checkpoint) = opened.marks.checkpoint {
        opened.index.set_checkpoint(checkpoint);
    }
    Ok(opened)
}

impl Opened {
    /// Adds what stays of archived segments, and gives their first records.
    fn add_archived(&mut self, layout: &Layout) -> Result<BTreeSet<u64>> {
        let found = layout.list_archived().map_err(|error| io_error("cannot list the archived segments", error))?;
        for (first_seq, path) in &found {
            let Header { summary, archive, .. } = archived::load_header(path, *first_seq)?;
            if *first_seq != self.end.next_seq || summary.prev != self.end.prev {
                let what = "the hash that was kept does not follow the one before it".to_owned();
                return Err(damaged(&Damage { seq: *first_seq, what }));
            }
            if layout.segment(*first_seq).exists() {
                self.pending.push(*first_seq);
            }
            self.end = summary.end();
            self.marks.add(summary.marks);
            let place = Place::Archived { records: summary.records, archive: archive.into() };
            self.index.write_lock().push(Segment { first_seq: *first_seq, path: Arc::from(&**path), place });
        }
        Ok(found.into_iter().map(|(first_seq, _)| first_seq).collect())
    }

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

pub(super) fn damaged(damage: &Damage) -> Error {
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
        self.write_lock().push(Segment { first_seq, path: Arc::from(path), place: Place::Here { offsets, len } });
    }

    /// Adds durable records to the last segment: `offsets` count from the segment's present end.
    pub(super) fn extend(&self, offsets: impl Iterator<Item = u64>, n_bytes: u64) {
        if let Some(Segment { place: Place::Here { offsets: known, len }, .. }) = self.write_lock().last_mut() {
            let base = *len;
            known.extend(offsets.map(|offset| base + offset));
            *len += n_bytes;
        }
    }

    /// The newest durable checkpoint.
    pub(super) fn checkpoint(&self) -> Option<u64> {
        Some(self.checkpoint.load(Ordering::SeqCst)).filter(|seq| *seq > 0)
    }

    pub(super) fn set_checkpoint(&self, seq: u64) {
        self.checkpoint.store(seq, Ordering::SeqCst);
    }

    /// The finished segments that are not archived and hold only records before `before_seq`, oldest first.
    pub(super) fn finished_before(&self, before_seq: u64) -> Vec<(u64, PathBuf)> {
        let segments = self.read_lock();
        let finished = segments.split_last().map_or(&[][..], |(_, finished)| finished);
        let here = finished.iter().filter(|segment| matches!(segment.place, Place::Here { .. }));
        here.take_while(|segment| segment.next_seq() <= before_seq)
            .map(|segment| (segment.first_seq, segment.path.to_path_buf()))
            .collect()
    }

    /// The first record that is not archived; `None` without segments.
    pub(super) fn first_here(&self) -> Option<u64> {
        let segments = self.read_lock();
        segments.iter().find(|segment| matches!(segment.place, Place::Here { .. })).map(|segment| segment.first_seq)
    }

    /// The end of the chain in front of the record `seq`, which is there.
    pub(super) fn end_before(&self, seq: u64) -> Result<End> {
        let page = self.read(ReadFrom { seq, max: 1 })?;
        let prev = page.records.first().and_then(|record| link(&record.bytes)).map(|link| link.prev);
        let prev = prev.ok_or_else(|| damaged(&Damage { seq, what: "it is missing".to_owned() }))?;
        Ok(End { next_seq: seq, prev, left: 0 })
    }

    /// The chain up to the last archived record.
    pub(super) fn archived_chain(&self) -> Result<Chain> {
        let last = {
            let segments = self.read_lock();
            let archived = segments.iter().rfind(|segment| matches!(segment.place, Place::Archived { .. }));
            archived.map(|segment| (segment.first_seq, segment.path.clone()))
        };
        let Some((first_seq, path)) = last else { return Ok(Chain::default()) };
        let end = archived::load_header(&path, first_seq)?.summary.end();
        Ok(Chain::after(end.next_seq - 1, end.prev))
    }

    /// Notes that the segment of record `first_seq` was moved to the folder `archive`, and its hashes to the file `path`.
    pub(super) fn archive(&self, first_seq: u64, path: &Path, archive: &str) {
        let mut segments = self.write_lock();
        if let Some(segment) = segments.iter_mut().find(|segment| segment.first_seq == first_seq) {
            let records = segment.next_seq() - first_seq;
            segment.path = Arc::from(path);
            segment.place = Place::Archived { records, archive: archive.into() };
        }
    }

    /// The index file of the last segment, which is finished: `prev` is the hash before its first record, `last` that of its last one.
    pub(super) fn finish(&self, prev: Digest, last: Digest, marks: Marks) -> Result<Option<(u64, Vec<u8>)>> {
        let segments = self.read_lock();
        let Some(segment) = segments.last().filter(|segment| segment.next_seq() > segment.first_seq) else {
            return Ok(None);
        };
        let Place::Here { offsets, len } = &segment.place else { return Ok(None) };
        let end = End { next_seq: segment.next_seq(), prev: last, left: 0 };
        let summary = Summary::new(segment.first_seq, prev, *len, &end, marks);
        let index = SegmentIndex { summary, offsets: offsets.clone() };
        Ok(Some((segment.first_seq, index.to_bytes()?)))
    }

    /// The number of the next record.
    pub(super) fn head(&self) -> u64 {
        self.read_lock().last().map_or(1, Segment::next_seq)
    }

    /// Where the records from `from` on stand, as far as one page goes.
    ///
    /// # Errors
    ///
    /// `NotFound` for an archived record.
    fn span(&self, from: ReadFrom) -> Result<Option<Span>> {
        let segments = self.read_lock();
        let seq = from.seq.max(1);
        let after = segments.partition_point(|segment| segment.first_seq <= seq);
        let Some(segment) = after.checked_sub(1).and_then(|n| segments.get(n)) else { return Ok(None) };
        let (offsets, len) = match &segment.place {
            Place::Here { offsets, len } => (offsets, *len),
            Place::Archived { archive, .. } => {
                let message = format!("record {seq} was archived in `{archive}`");
                return Err(Error::new(ErrorKind::NotFound, COMPONENT, message));
            }
        };
        let first = usize::try_from(seq - segment.first_seq).unwrap_or(usize::MAX);
        let offsets = offsets.get(first..).unwrap_or_default();
        let Some(start) = offsets.first().copied().filter(|_| from.max > 0) else { return Ok(None) };
        // At least one record, then as many as fit.
        let fitting = offsets.partition_point(|offset| *offset <= start + MAX_PAGE_BYTES).max(1);
        let count = fitting.min(from.max);
        let end = offsets.get(count).copied().unwrap_or(len);
        Ok(Some(Span { path: segment.path.clone(), start, end, first_seq: seq }))
    }

    /// Reads one page and verifies the hash of each record. Blocks on the disk, and on no writer.
    pub(super) fn read(&self, from: ReadFrom) -> Result<Page> {
        let Some(span) = self.span(from)? else { return Ok(Page { records: Vec::new(), head: self.head() }) };
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

impl Index {
    /// The hashes of the records from `from` on, archived or not, as far as one page goes.
    pub(super) fn hashes(&self, from: ReadFrom) -> Result<Vec<Digest>> {
        let archived = {
            let segments = self.read_lock();
            let found = segments.iter().find(|segment| (segment.first_seq..segment.next_seq()).contains(&from.seq));
            found
                .filter(|segment| matches!(segment.place, Place::Archived { .. }))
                .map(|s| (s.first_seq, s.path.clone()))
        };
        let Some((first_seq, path)) = archived else {
            return Ok(self.read(from)?.records.into_iter().map(|record| record.hash).collect());
        };
        let (_, hashes) = archived::load(&path, first_seq)?;
        let skip = usize::try_from(from.seq - first_seq).unwrap_or(usize::MAX);
        Ok(hashes.into_iter().skip(skip).take(from.max).collect())
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
