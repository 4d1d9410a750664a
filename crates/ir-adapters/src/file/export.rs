//! A copy of every record in another folder, for auditors and for backups.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ir_core::journal::{AuditSink, EncodedRecord, leaf_hash};
use ir_core::{Ctx, Digest, Error, ErrorKind, Journal, Result};

use super::disk::{Disk, RealDisk, replace};
use super::index::LastSegment;
use super::layout::{Layout, link, write_line};
use super::named::{self, Named};
use super::scan::End;
use super::{Lock, index, lock};
use crate::blocking;

const COMPONENT: &str = "file export";
const SEGMENT_BYTES: u64 = 64 << 20;

/// Copies records into a folder, durable before `copy` returns. The records themselves tell how far it got, so that position
/// and content cannot differ. [`verify_export`](super::verify_export) checks the copy.
///
/// A sink gets records and not the blobs that they name. With [`blobs_of`](Self::blobs_of) the export fetches those from the journal,
/// and each blob is durable before the record that names it; without, the export holds records only.
///
/// # Restoring
///
/// The folder of an export with blobs has the layout of a journal. To restore it, close the export, copy the folder, and open the copy
/// with [`FileJournal::open`](super::FileJournal::open). An export may end within an append whose rest never came: opening it as a
/// journal cuts that append as a whole, and the first lease reports it. The first claim gets an epoch above every recorded one. Records
/// that the journal acknowledged and the export never got are not in the copy: the copy does not know the effects that they were about.
///
/// # Examples
///
/// ```
/// # use std::sync::Arc;
/// # use ir_adapters::file::{FileExport, FileJournal};
/// # let folder = tempfile::tempdir()?;
/// let journal = Arc::new(FileJournal::open(folder.path().join("journal"))?);
/// let export = FileExport::open(folder.path().join("export"))?.blobs_of(journal);
/// # drop(export);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileExport {
    state: Arc<Mutex<State>>,
    /// Where blobs are fetched from.
    journal: Option<Arc<dyn Journal>>,
}

#[derive(Debug)]
struct State {
    disk: Box<dyn Disk>,
    layout: Layout,
    segment: Option<(File, u64)>,
    segment_bytes: u64,
    next_seq: u64,
    prev: Digest,
    /// How many records the append of the last one still lacks.
    left: u32,
    /// Set when names in the folder of blobs may not be durable yet.
    unsettled: bool,
    /// Set when the end of the copy is no longer known; opening it again tells.
    broken: bool,
    _lock: Lock,
}

impl FileExport {
    /// Opens the copy in `dir`, or begins one. A torn end is cut: those records come again.
    ///
    /// # Errors
    ///
    /// `Conflict` while another process writes it; `InvalidInput` when a record of it is damaged; `Unavailable` when the
    /// folder cannot be used.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        Self::open_on(&dir.into(), SEGMENT_BYTES, Box::new(RealDisk))
    }

    /// Fetches blobs from `journal`, the one whose records are copied: each blob that a record names, also within a body that is a blob
    /// itself, is durable before that record. While a blob cannot be fetched, its record is not copied.
    ///
    /// Blobs of records that were copied before without a journal stay missing: [`verify_export`](super::verify_export) names the first
    /// such record.
    #[must_use]
    pub fn blobs_of(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    pub(super) fn open_on(dir: &Path, segment_bytes: u64, mut disk: Box<dyn Disk>) -> Result<Self> {
        let layout = Layout::new(dir);
        std::fs::create_dir_all(layout.segments()).map_err(|error| failed("cannot make the folder", error))?;
        disk.sync_dir(layout.root()).map_err(|error| failed("cannot make the folder", error))?;
        let lock = lock(&layout)?;
        let mut opened = index::open(&layout, false)?;
        opened.store_indexes(&mut *disk);
        let mut segment = None;
        if let Some(LastSegment { path, len, .. }) = opened.last {
            let file = disk.open(&path).map_err(|error| failed("cannot open the last segment", error))?;
            disk.cut(&file, len).map_err(|error| failed("cannot settle the last segment", error))?;
            segment = Some((file, len));
        }
        let End { next_seq, prev, left } = opened.end;
        let (unsettled, broken) = (false, false);
        let state =
            State { disk, layout, segment, segment_bytes, next_seq, prev, left, unsettled, broken, _lock: lock };
        Ok(Self { state: Arc::new(Mutex::new(state)), journal: None })
    }

    async fn with_state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let state = self.state.clone();
        blocking::run(COMPONENT, move || work(&mut state.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    /// Keeps every blob that `records` name and the export does not have yet, one after the other: blobs may be large.
    async fn copy_blobs(&self, ctx: &Ctx, journal: &dyn Journal, records: &[EncodedRecord]) -> Result<()> {
        let position = self.position(ctx).await?;
        for record in records.iter().filter(|record| record.seq >= position) {
            for name in named::in_record(record)? {
                let bytes = self.copy_blob(ctx, journal, record.seq, *name.digest()).await?;
                let Named::Body(_) = name else { continue };
                for digest in named::in_body(record.seq, &bytes)? {
                    self.copy_blob(ctx, journal, record.seq, digest).await?;
                }
            }
        }
        Ok(())
    }

    async fn copy_blob(&self, ctx: &Ctx, journal: &dyn Journal, seq: u64, digest: Digest) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.with_state(move |state| Ok(state.kept_blob(&digest))).await? {
            return Ok(bytes);
        }
        let bytes = journal.blob(ctx, &digest).await.map_err(|error| {
            let message = format!("record {seq} is not copied, its blob cannot be fetched: {}", error.message());
            Error::new(error.kind(), COMPONENT, message).with_source(error)
        })?;
        if Digest::of(&bytes) != digest {
            let message = format!("record {seq} is not copied: blob `{digest}` of the journal has another content");
            return Err(Error::new(ErrorKind::InvalidInput, COMPONENT, message));
        }
        let kept = bytes.clone();
        let put = move |state: &mut State| {
            state
                .put_blob(&digest, &kept)
                .map_err(|error| failed(&format!("blob `{digest}` could not be copied"), error))
        };
        self.with_state(put).await?;
        Ok(bytes)
    }
}

fn failed(what: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, COMPONENT, format!("{what}: {error}")).with_source(error)
}

impl State {
    fn copy(&mut self, records: &[EncodedRecord]) -> Result<()> {
        if self.broken {
            return Err(Error::new(ErrorKind::Stopped, COMPONENT, "a write failed before, open the copy again"));
        }
        let (mut lines, mut next_seq, mut prev, mut left) = (Vec::new(), self.next_seq, self.prev, self.left);
        for record in records.iter().filter(|record| record.seq >= self.next_seq) {
            let link = link(&record.bytes);
            let follows = link.is_some_and(|link| link.seq == next_seq && link.prev == prev);
            if record.seq != next_seq || !follows || leaf_hash(&record.bytes) != record.hash {
                let message = format!("record {} does not follow record {} of the copy", record.seq, next_seq - 1);
                return Err(Error::new(ErrorKind::Conflict, COMPONENT, message));
            }
            write_line(&mut lines, record);
            (next_seq, prev, left) = (next_seq + 1, record.hash, link.map_or(0, |link| link.left));
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.settle_blobs().map_err(|error| failed("cannot make blobs durable", error))?;
        if let Err(error) = self.write(&lines) {
            let cut = self.segment.as_ref().is_none_or(|(file, len)| self.disk.cut(file, *len).is_ok());
            self.broken = !cut;
            return Err(failed(&format!("record {} could not be copied", self.next_seq), error));
        }
        (self.next_seq, self.prev, self.left) = (next_seq, prev, left);
        Ok(())
    }

    /// A blob that is there already. One that is damaged is not: it is fetched and written again.
    fn kept_blob(&mut self, digest: &Digest) -> Option<Arc<[u8]>> {
        let bytes = std::fs::read(self.layout.blob(digest)).ok().filter(|bytes| Digest::of(bytes) == *digest)?;
        // A process before may have ended between naming and syncing it.
        self.unsettled = true;
        Some(Arc::from(bytes))
    }

    fn put_blob(&mut self, digest: &Digest, bytes: &[u8]) -> std::io::Result<()> {
        let folder = self.layout.blobs();
        if !folder.is_dir() {
            std::fs::create_dir_all(&folder)?;
            self.disk.sync_dir(self.layout.root())?;
        }
        self.unsettled = true;
        replace(&mut *self.disk, &self.layout.blob(digest), bytes)
    }

    // INVARIANT (a blob before its record): called before every write of records.
    fn settle_blobs(&mut self) -> std::io::Result<()> {
        if self.unsettled {
            self.disk.sync_dir(&self.layout.blobs())?;
            self.unsettled = false;
        }
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        // An append stands in one segment, as in a journal, so that the folder can be opened as one.
        if self.segment.as_ref().is_none_or(|(_, len)| *len >= self.segment_bytes && self.left == 0) {
            let file = self.disk.open(&self.layout.segment(self.next_seq))?;
            self.disk.sync_dir(&self.layout.segments())?;
            self.segment = Some((file, 0));
        }
        let Some((file, len)) = &mut self.segment else { return Err(std::io::Error::other("there is no segment")) };
        self.disk.write(file, lines)?;
        self.disk.sync(file)?;
        *len += lines.len() as u64;
        Ok(())
    }
}

#[async_trait]
impl AuditSink for FileExport {
    fn name(&self) -> &str {
        "file export"
    }

    async fn copy(&self, ctx: &Ctx, records: &[EncodedRecord]) -> Result<()> {
        if let Some(journal) = &self.journal {
            self.copy_blobs(ctx, &**journal, records).await?;
        }
        let records = records.to_vec();
        self.with_state(move |state| state.copy(&records)).await
    }

    async fn position(&self, _ctx: &Ctx) -> Result<u64> {
        self.with_state(|state| Ok(state.next_seq)).await
    }
}
