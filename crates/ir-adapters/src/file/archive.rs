//! Moves old segments, and the blobs that only they name, to another folder, and keeps their hashes.
//!
//! # Order of writing
//!
//! 1. Copies of the segments and of all blobs that they name are made durable in the archive, beside the running writer.
//! 2. The writer makes the hashes of each archived segment durable, oldest first. From then on the segment counts as archived.
//! 3. The writer removes the blobs and the segments.
//!
//! A crash in 1 leaves copies that the next call replaces. A crash in 2 or 3 leaves segments whose hashes are kept already: the next
//! opening removes them. Only a blob named within a body that is a blob itself may stay behind then, which costs its bytes.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use ir_core::journal::{EncodedRecord, ReadFrom};
use ir_core::{Digest, Error, ErrorKind, Result};

use super::disk::{Disk, replace};
use super::index::{Index, damaged};
use super::layout::{Layout, split_line};
use super::named::{self, Named};
use super::scan::{self, End, How};
use super::segment_index::Summary;
use super::{COMPONENT, Lock, archived, io_error, lock, make_folders};

/// What was moved to an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archived {
    /// The number of the first record moved.
    pub first_seq: u64,
    /// The number of the last record moved.
    pub last_seq: u64,
    /// The number of segments moved.
    pub n_segments: usize,
    /// The number of blobs moved; those that later records name too were copied.
    pub n_blobs: usize,
}

/// Copies that are durable, to be completed by the writer.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Each segment with the file that will stay for it; never empty.
    segments: Vec<(Summary, Vec<u8>)>,
    /// The blobs that they name and no record before `named_up_to` does.
    blobs: BTreeSet<Digest>,
    /// The folder of the archive, for messages.
    archive: String,
    /// Records from here on were not asked for the blobs that they name.
    named_up_to: u64,
    /// No other archiving writes the archive.
    _lock: Lock,
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, COMPONENT, message)
}

/// Makes durable copies of all finished segments before `before_seq` in `into`; `None` where there are none.
pub(super) fn prepare(
    disk: &mut dyn Disk,
    layout: &Layout,
    index: &Index,
    before_seq: u64,
    into: &Path,
) -> Result<Option<Prepared>> {
    match index.checkpoint() {
        Some(checkpoint) if before_seq <= checkpoint => {}
        Some(checkpoint) => {
            let message =
                format!("records from {before_seq} on are needed: the newest checkpoint is record {checkpoint}");
            return Err(invalid(message));
        }
        None => return Err(invalid("without a checkpoint every record is needed".to_owned())),
    }
    let chosen = index.finished_before(before_seq);
    let Some((first_seq, _)) = chosen.first() else { return Ok(None) };
    let archive = Layout::new(&std::path::absolute(into).map_err(|error| io_error("cannot find the archive", error))?);
    make_folders(disk, &archive).map_err(|error| io_error("cannot make the archive", error))?;
    let lock = lock(&archive)?;
    let mut end = index.end_before(*first_seq)?;
    let name = archive.root().display().to_string();
    continues(&archive, &chosen, &end)?;

    let mut copy = Copy { disk, from: layout, to: &archive };
    copy.earlier_hashes(*first_seq)?;
    let (mut segments, mut blobs) = (Vec::new(), BTreeSet::new());
    for (first_seq, path) in &chosen {
        let (summary, hashes) = copy.segment(*first_seq, path, &mut end, &mut blobs)?;
        let stays = archived::to_bytes(summary.clone(), name.clone(), &hashes)?;
        segments.push((summary, stays));
    }
    let synced = copy.disk.sync_dir(&archive.blobs()).and_then(|()| copy.disk.sync_dir(&archive.segments()));
    synced.map_err(|error| io_error("cannot make the archive durable", error))?;
    let named_up_to = keep_named(layout, index, end.next_seq, &mut blobs)?;
    Ok(Some(Prepared { segments, blobs, archive: name, named_up_to, _lock: lock }))
}

/// Checks that the archive is empty, or that the chosen segments follow what it holds. Copies of the chosen ones may be there already.
fn continues(archive: &Layout, chosen: &[(u64, PathBuf)], end: &End) -> Result<()> {
    let held = archive.list_segments().map_err(|error| io_error("cannot list the archive", error))?;
    let (before, copies): (Vec<_>, Vec<_>) = held.into_iter().partition(|(first_seq, _)| *first_seq < end.next_seq);
    let refuse = || {
        let message = format!("`{}` holds other records, choose another folder", archive.root().display());
        Err(Error::new(ErrorKind::Conflict, COMPONENT, message))
    };
    if copies.iter().any(|(first_seq, _)| chosen.iter().all(|(chosen, _)| chosen != first_seq)) {
        return refuse();
    }
    let Some((_, path)) = before.last() else { return Ok(()) };
    let content = std::fs::read(path).map_err(|error| io_error("cannot read the archive", error))?;
    let last = content.strip_suffix(b"\n").and_then(|content| content.rsplit(|byte| *byte == b'\n').next());
    match last.and_then(split_line) {
        Some((hash, _)) if hash == end.prev => Ok(()),
        _ => refuse(),
    }
}

struct Copy<'a> {
    disk: &'a mut dyn Disk,
    from: &'a Layout,
    to: &'a Layout,
}

impl Copy<'_> {
    /// An archive that does not begin with record 1 gets the hashes of what stands in other archives, so that it can be verified alone.
    fn earlier_hashes(&mut self, first_seq: u64) -> Result<()> {
        let failed = |error| io_error("cannot copy the hashes of earlier archives", error);
        for (earlier, path) in self.from.list_archived().map_err(failed)? {
            let target = self.to.archived(earlier);
            if earlier < first_seq && !self.to.segment(earlier).exists() && !target.exists() {
                std::fs::read(path).and_then(|bytes| replace(self.disk, &target, &bytes)).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Copies one segment and the blobs that it names, all verified, and adds those to `blobs`.
    fn segment(
        &mut self,
        first_seq: u64,
        path: &Path,
        end: &mut End,
        blobs: &mut BTreeSet<Digest>,
    ) -> Result<(Summary, Vec<Digest>)> {
        let failed = |error| io_error(&format!("cannot copy the segment of record {first_seq}"), error);
        let content = std::fs::read(path).map_err(failed)?;
        let prev = end.prev;
        let how = How { last: false, whole_batches: true };
        let scanned = scan::scan(&content, end, how).map_err(|damage| damaged(&damage))?;
        for digest in self.from.named_in(first_seq, &content, false)? {
            if blobs.insert(digest) {
                self.blob(&digest)?;
            }
        }
        // A blob stands in the archive before the records that name it.
        self.disk.sync_dir(&self.to.blobs()).map_err(failed)?;
        if let Ok(bytes) = std::fs::read(self.from.index(first_seq)) {
            replace(self.disk, &self.to.index(first_seq), &bytes).map_err(failed)?;
        }
        replace(self.disk, &self.to.segment(first_seq), &content).map_err(failed)?;
        let hashes = content.split(|byte| *byte == b'\n').filter_map(split_line).map(|(hash, _)| hash).collect();
        Ok((Summary::new(first_seq, prev, scanned.len, end, scanned.marks), hashes))
    }

    fn blob(&mut self, digest: &Digest) -> Result<()> {
        let failed = |error| io_error(&format!("cannot copy blob `{digest}`"), error);
        let bytes = std::fs::read(self.from.blob(digest)).map_err(failed)?;
        if Digest::of(&bytes) != *digest {
            return Err(invalid(format!("blob `{digest}` has another content, so nothing was archived")));
        }
        let target = self.to.blob(digest);
        if std::fs::read(&target).is_ok_and(|kept| kept == bytes) {
            return Ok(());
        }
        replace(self.disk, &target, &bytes).map_err(failed)
    }
}

impl Layout {
    /// The blobs that the records of a segment name. With `partly`, blobs that are not there name nothing.
    fn named_in(&self, first_seq: u64, content: &[u8], partly: bool) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for (seq, line) in (first_seq..).zip(content.split(|byte| *byte == b'\n')) {
            let Some((hash, bytes)) = split_line(line) else { continue };
            self.add_named(&EncodedRecord { seq, hash, bytes: bytes.into() }, partly, &mut found)?;
        }
        Ok(found)
    }

    fn add_named(&self, record: &EncodedRecord, partly: bool, found: &mut Vec<Digest>) -> Result<()> {
        for name in named::in_record(record)? {
            found.push(*name.digest());
            let Named::Body(digest) = name else { continue };
            match std::fs::read(self.blob(&digest)) {
                Ok(bytes) => found.extend(named::in_body(record.seq, &bytes)?),
                Err(error) if partly && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error(&format!("cannot read blob `{digest}`"), error)),
            }
        }
        Ok(())
    }
}

/// Takes out of `blobs` what records from `seq` on name, and gives the number behind the last record that was asked.
fn keep_named(layout: &Layout, index: &Index, mut seq: u64, blobs: &mut BTreeSet<Digest>) -> Result<u64> {
    while !blobs.is_empty() {
        let page = index.read(ReadFrom { seq, max: usize::MAX })?;
        let Some(last) = page.records.last() else { return Ok(seq) };
        let mut named = Vec::new();
        for record in &page.records {
            layout.add_named(record, false, &mut named)?;
        }
        blobs.retain(|digest| !named.contains(digest));
        seq = last.seq + 1;
    }
    Ok(index.head())
}

/// Completes what was prepared. Called by the writer, between two appends.
pub(super) fn complete(disk: &mut dyn Disk, layout: &Layout, index: &Index, prepared: Prepared) -> Result<Archived> {
    let Prepared { segments, mut blobs, archive, named_up_to, _lock } = prepared;
    let (Some((first, _)), Some((last, _))) = (segments.first(), segments.last()) else {
        return Err(invalid("there is nothing to archive".to_owned()));
    };
    let archived = (first.first_seq, last.end().next_seq - 1);
    if index.finished_before(archived.1 + 1).first().map(|(first_seq, _)| *first_seq) != Some(archived.0) {
        return Err(Error::new(ErrorKind::Conflict, COMPONENT, "the same records were archived meanwhile"));
    }
    // What was appended meanwhile may name a blob that is about to go.
    keep_named(layout, index, named_up_to, &mut blobs)?;
    let failed = |error| io_error("the hashes of archived records could not be kept", error);
    for (summary, bytes) in &segments {
        // INVARIANT (hashes before removal): a segment is removed only behind its durable hashes, and hashes are kept oldest first.
        let kept = replace(disk, &layout.archived(summary.first_seq), bytes);
        kept.and_then(|()| disk.sync_dir(&layout.segments())).map_err(failed)?;
    }
    for (summary, _) in &segments {
        index.archive(summary.first_seq, &layout.archived(summary.first_seq), &archive);
    }
    let first_seqs: Vec<u64> = segments.iter().map(|(summary, _)| summary.first_seq).collect();
    remove(disk, layout, &blobs, &first_seqs)?;
    Ok(Archived { first_seq: archived.0, last_seq: archived.1, n_segments: segments.len(), n_blobs: blobs.len() })
}

/// Removes what a crash left of segments whose hashes are kept.
pub(super) fn repair(disk: &mut dyn Disk, layout: &Layout, index: &Index, first_seqs: &[u64]) -> Result<()> {
    let Some(kept_from) = index.first_here() else { return Ok(()) };
    let mut blobs = BTreeSet::new();
    for first_seq in first_seqs {
        let failed = |error| io_error(&format!("cannot read the segment of record {first_seq}"), error);
        let content = std::fs::read(layout.segment(*first_seq)).map_err(failed)?;
        blobs.extend(layout.named_in(*first_seq, &content, true)?);
    }
    keep_named(layout, index, kept_from, &mut blobs)?;
    tracing::info!(segments = first_seqs.len(), "an archiving that was interrupted is completed");
    remove(disk, layout, &blobs, first_seqs)
}

fn remove(disk: &mut dyn Disk, layout: &Layout, blobs: &BTreeSet<Digest>, first_seqs: &[u64]) -> Result<()> {
    let mut removed = || {
        blobs.iter().try_for_each(|digest| disk.remove(&layout.blob(digest)))?;
        disk.sync_dir(&layout.blobs())?;
        for first_seq in first_seqs {
            disk.remove(&layout.index(*first_seq))?;
            disk.remove(&layout.segment(*first_seq))?;
        }
        disk.sync_dir(&layout.segments())
    };
    removed().map_err(|error| io_error("archived records could not be removed, the next opening does it", error))
}
