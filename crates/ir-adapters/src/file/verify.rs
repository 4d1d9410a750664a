//! Verifying a journal at rest: without its lock, without opening it, without changing anything.

use std::path::Path;

use ir_core::journal::{ChainReport, ChainVerifier};
use ir_core::{Digest, Result};

use super::io_error;
use super::layout::{Layout, link, split_line};
use super::marks::Marks;
use super::scan::End;
use super::segment_index::{SegmentIndex, Summary};

/// Verifies the journal in `dir`: every byte of every record, the chain, whole appends, every blob, and that no index says
/// anything else than its segment. Opening a journal does less: see the [module](super).
///
/// The report names the record that holds the first thing that is wrong; a torn tail is said to be damaged after the last
/// complete record. Opening the journal for writing repairs a torn tail and nothing else.
///
/// # Errors
///
/// When files cannot be read. Damage is not an error, it is in the report.
///
/// # Examples
///
/// ```
/// let dir = tempfile::tempdir()?;
/// drop(ir_adapters::file::FileJournal::open(dir.path())?);
/// let report = ir_adapters::file::verify(dir.path())?;
/// assert_eq!((report.records, report.fault), (0, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify(dir: impl AsRef<Path>) -> Result<ChainReport> {
    let layout = Layout::new(dir.as_ref());
    let mut reader = Reader::new(layout, true);
    if !reader.read_all()? {
        return Ok(reader.verifier.finish());
    }
    if reader.end.left > 0 {
        let (seq, left) = (reader.verifier.next_seq(), reader.end.left);
        let what = format!("damaged after record {}: {left} more records of its append were written", seq - 1);
        reader.verifier.fail(seq, what);
    }
    Ok(reader.verifier.finish())
}

/// Verifies the records in the folder of a [`FileExport`](super::FileExport). It holds no blobs, and its end may lie within an
/// append whose rest is still to come.
///
/// # Errors
///
/// When files cannot be read. Damage is not an error, it is in the report.
pub fn verify_export(dir: impl AsRef<Path>) -> Result<ChainReport> {
    let layout = Layout::new(dir.as_ref());
    let mut reader = Reader::new(layout, false);
    let sound = reader.read_all()?;
    let records = reader.verifier.next_seq() - 1;
    let mut report = reader.verifier.finish();
    if sound {
        report = ChainReport { records, fault: None, ..report };
    }
    Ok(report)
}

struct Reader {
    layout: Layout,
    verifier: ChainVerifier,
    /// The end of the chain as read from the lines.
    end: End,
    blobs: bool,
    /// Where each record of the segment begins, and what its records hold that opening needs.
    offsets: Vec<u64>,
    marks: Marks,
}

impl Reader {
    fn new(layout: Layout, blobs: bool) -> Self {
        let (verifier, end) = (ChainVerifier::new(), End::default());
        Self { layout, verifier, end, blobs, offsets: Vec::new(), marks: Marks::default() }
    }

    /// Reads every segment; false at the first fault, which the verifier keeps.
    fn read_all(&mut self) -> Result<bool> {
        let segments = self.layout.list_segments().map_err(|error| io_error("cannot list the segments", error))?;
        let count = segments.len();
        for (n, (first_seq, path)) in segments.into_iter().enumerate() {
            let seq = self.verifier.next_seq();
            if first_seq != seq {
                self.verifier.fail(seq.min(first_seq), format!("a segment begins with record {first_seq}, not {seq}"));
                return Ok(false);
            }
            let content = std::fs::read(&path)
                .map_err(|error| io_error(&format!("cannot read the segment of record {first_seq}"), error))?;
            // The index of the last segment is never used: a crash may leave one there that is too old.
            if !self.segment(first_seq, &content, n + 1 < count)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn segment(&mut self, first_seq: u64, content: &[u8], finished: bool) -> Result<bool> {
        self.offsets.clear();
        self.marks = Marks::default();
        let (prev, mut at) = (self.end.prev, 0);
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            self.offsets.push(at);
            at += line.len() as u64;
            if !self.line(line)? {
                return Ok(false);
            }
        }
        // An index that is damaged is no fault, it is made anew; one that is whole and says something else would mislead the opening.
        let stored =
            std::fs::read(self.layout.index(first_seq)).ok().and_then(|bytes| SegmentIndex::from_bytes(&bytes));
        let misleads = |index: SegmentIndex| {
            index.summary != Summary::new(first_seq, prev, at, &self.end, self.marks) || index.offsets != self.offsets
        };
        if finished && stored.is_some_and(misleads) {
            // No record holds the index, so this is told at the place of the next one.
            let what =
                format!("the index of the segment of record {first_seq} is of another segment: remove the index");
            self.verifier.fail(self.verifier.next_seq(), what);
            return Ok(false);
        }
        Ok(true)
    }

    fn line(&mut self, line: &[u8]) -> Result<bool> {
        let seq = self.verifier.next_seq();
        let Some(line) = line.strip_suffix(b"\n") else {
            self.verifier.fail(seq, format!("damaged after record {}: its line has no end", seq - 1));
            return Ok(false);
        };
        let Some((hash, bytes)) = split_line(line) else {
            self.verifier.fail(seq, "its line is not a hash and a record");
            return Ok(false);
        };
        match self.verifier.push(&hash, bytes) {
            Err(_) => return Ok(false),
            Ok(blobs) if self.blobs => {
                for digest in blobs {
                    if let Some(what) = self.blob_fault(&digest)? {
                        self.verifier.fail(seq, what);
                        return Ok(false);
                    }
                }
            }
            Ok(_) => {}
        }
        self.end = End { next_seq: seq + 1, prev: hash, left: link(bytes).map_or(0, |link| link.left) };
        self.marks.add(Marks::of(seq, bytes));
        Ok(true)
    }

    fn blob_fault(&self, digest: &Digest) -> Result<Option<String>> {
        match std::fs::read(self.layout.blob(digest)) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(None),
            Ok(_) => Ok(Some(format!("blob `{digest}` has another content"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Some(format!("blob `{digest}` is missing")))
            }
            Err(error) => Err(io_error(&format!("cannot read blob `{digest}`"), error)),
        }
    }
}
