//! Verifying a journal at rest: without its lock, without opening it, without changing anything.

use std::collections::BTreeMap;
use std::path::Path;

use ir_core::journal::{Chain, ChainReport, ChainVerifier, EncodedRecord, Fault, ReadFrom};
use ir_core::{Digest, ErrorKind, Result};

use super::index;
use super::layout::{Layout, link, split_line};
use super::marks::Marks;
use super::named::{self, Named};
use super::scan::End;
use super::segment_index::{SegmentIndex, Summary};
use super::{archived, io_error};

/// Verifies the journal in `dir`: every byte of every record, the chain, whole appends, every blob, and that no index says
/// anything else than its segment. Opening a journal does less: see the [module](super).
///
/// Of archived records only the hashes are here. They are counted by `archived` in the report, and of them only this is verified: that the
/// files with the hashes are whole and follow each other, and that the first record here names the last hash as its predecessor's.
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

/// Verifies the folder of a [`FileExport`](super::FileExport): every byte of every record and the chain, and every blob if the export
/// holds blobs. Its end may lie within an append whose rest is still to come.
///
/// # Errors
///
/// When files cannot be read. Damage is not an error, it is in the report.
pub fn verify_export(dir: impl AsRef<Path>) -> Result<ChainReport> {
    let layout = Layout::new(dir.as_ref());
    let blobs = layout.blobs().is_dir();
    let mut reader = Reader::new(layout, blobs);
    let sound = reader.read_all()?;
    let records = reader.verifier.next_seq() - 1;
    let mut report = reader.verifier.finish();
    if sound {
        report = ChainReport { records, fault: None, ..report };
    }
    Ok(report)
}

/// Verifies an archive, and that its records are those whose hashes stayed in the journal in `dir` when they were archived: the report
/// is that of [`verify`] of the folder `archive`, with a fault at the first record that is another one. What this proves is said at the
/// [module](super).
///
/// # Errors
///
/// When files cannot be read, and `InvalidInput` when the file with the hashes is damaged. Damage of the archive is not an error, it is in
/// the report.
pub fn verify_archive(dir: impl AsRef<Path>, archive: impl AsRef<Path>) -> Result<ChainReport> {
    let mut report = verify(archive.as_ref())?;
    if report.fault.is_some() {
        return Ok(report);
    }
    let listed = Layout::new(dir.as_ref()).list_archived();
    let mut kept = BTreeMap::new();
    for (first_seq, path) in listed.map_err(|error| io_error("cannot list the archived segments", error))? {
        kept.extend((first_seq..).zip(archived::load(&path, first_seq)?.1));
    }
    let held = index::open(&Layout::new(archive.as_ref()), true)?.index;
    let mut seq = 1;
    while seq <= report.records {
        for hash in held.hashes(ReadFrom { seq, max: usize::MAX })? {
            if kept.get(&seq) != Some(&hash) {
                let what = "it is not the record whose hash was kept".to_owned();
                report.fault = Some(Fault { seq, what });
                return Ok(report);
            }
            seq += 1;
        }
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
        let mut segments = self.layout.list_segments().map_err(|error| io_error("cannot list the segments", error))?;
        let archived = self.layout.list_archived().map_err(|error| io_error("cannot list the archived", error))?;
        for (first_seq, path) in &archived {
            // A segment that is still there was archived already, and only its removal was interrupted.
            segments.retain(|(seq, _)| seq != first_seq);
            if !self.archived(*first_seq, path)? {
                return Ok(false);
            }
        }
        if segments.is_empty() && !archived.is_empty() {
            self.verifier.fail(self.verifier.next_seq(), "is missing: no segment follows the archived records");
            return Ok(false);
        }
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

    /// Passes over archived records. Whether the last kept hash is the right one, the first record that is here says.
    fn archived(&mut self, first_seq: u64, path: &Path) -> Result<bool> {
        let seq = self.verifier.next_seq();
        let summary = match archived::load(path, first_seq) {
            Ok((header, _)) => header.summary,
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                self.verifier.fail(first_seq, "it is archived, and the file with its hash is damaged");
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if first_seq != seq || summary.prev != self.end.prev {
            self.verifier.fail(seq.min(first_seq), "the hash that was kept does not follow the one before it");
            return Ok(false);
        }
        self.end = summary.end();
        self.verifier = ChainVerifier::after(Chain::after(self.end.next_seq - 1, self.end.prev));
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
        if self.verifier.push(&hash, bytes).is_err() {
            return Ok(false);
        }
        if self.blobs
            && let Some(what) = self.blobs_fault(&EncodedRecord { seq, hash, bytes: bytes.into() })?
        {
            self.verifier.fail(seq, what);
            return Ok(false);
        }
        self.end = End { next_seq: seq + 1, prev: hash, left: link(bytes).map_or(0, |link| link.left) };
        self.marks.add(Marks::of(seq, bytes));
        Ok(true)
    }

    /// What is wrong with the blobs that `record` names, also within a body that is a blob itself.
    fn blobs_fault(&self, record: &EncodedRecord) -> Result<Option<String>> {
        for name in named::in_record(record)? {
            let bytes = match self.blob(name.digest())? {
                Ok(bytes) => bytes,
                Err(what) => return Ok(Some(what)),
            };
            let Named::Body(_) = name else { continue };
            let within = match named::in_body(record.seq, &bytes) {
                Ok(within) => within,
                Err(error) => return Ok(Some(error.message().to_owned())),
            };
            for digest in within {
                if let Err(what) = self.blob(&digest)? {
                    return Ok(Some(what));
                }
            }
        }
        Ok(None)
    }

    /// The content of a blob, or what is wrong with it.
    fn blob(&self, digest: &Digest) -> Result<Result<Vec<u8>, String>> {
        match std::fs::read(self.layout.blob(digest)) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Ok(bytes)),
            Ok(_) => Ok(Err(format!("blob `{digest}` has another content"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Err(format!("blob `{digest}` is missing")))
            }
            Err(error) => Err(io_error(&format!("cannot read blob `{digest}`"), error)),
        }
    }
}
