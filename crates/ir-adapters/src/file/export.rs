//! A copy of every record in another folder, for auditors and for backups.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ir_core::journal::{AuditSink, EncodedRecord, leaf_hash};
use ir_core::{Ctx, Digest, Error, ErrorKind, Result};

use super::disk::{Disk, RealDisk};
use super::index::LastSegment;
use super::layout::{Layout, link, write_line};
use super::{Lock, index, lock};
use crate::blocking;

const COMPONENT: &str = "file export";
const SEGMENT_BYTES: u64 = 64 << 20;

/// Copies records into a folder, durable before `copy` returns. The records themselves tell how far it got, so that position
/// and content cannot differ. [`verify_export`](super::verify_export) checks the copy.
///
/// What was too large for a record (blobs) is not copied: records name it by its digest.
#[derive(Debug)]
pub struct FileExport {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    disk: Box<dyn Disk>,
    layout: Layout,
    segment: Option<(File, u64)>,
    next_seq: u64,
    prev: Digest,
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
        Self::open_on(&dir.into(), Box::new(RealDisk))
    }

    fn open_on(dir: &Path, mut disk: Box<dyn Disk>) -> Result<Self> {
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
        let (next_seq, prev) = (opened.end.next_seq, opened.end.prev);
        let state = State { disk, layout, segment, next_seq, prev, broken: false, _lock: lock };
        Ok(Self { state: Arc::new(Mutex::new(state)) })
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
        let (mut lines, mut next_seq, mut prev) = (Vec::new(), self.next_seq, self.prev);
        for record in records.iter().filter(|record| record.seq >= self.next_seq) {
            let follows = link(&record.bytes).is_some_and(|link| link.seq == next_seq && link.prev == prev);
            if record.seq != next_seq || !follows || leaf_hash(&record.bytes) != record.hash {
                let message = format!("record {} does not follow record {} of the copy", record.seq, next_seq - 1);
                return Err(Error::new(ErrorKind::Conflict, COMPONENT, message));
            }
            write_line(&mut lines, record);
            (next_seq, prev) = (next_seq + 1, record.hash);
        }
        if lines.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.write(&lines) {
            let cut = self.segment.as_ref().is_none_or(|(file, len)| self.disk.cut(file, *len).is_ok());
            self.broken = !cut;
            return Err(failed(&format!("record {} could not be copied", self.next_seq), error));
        }
        (self.next_seq, self.prev) = (next_seq, prev);
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if self.segment.as_ref().is_none_or(|(_, len)| *len >= SEGMENT_BYTES) {
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

    async fn copy(&self, _ctx: &Ctx, records: &[EncodedRecord]) -> Result<()> {
        let (state, records) = (self.state.clone(), records.to_vec());
        blocking::run(COMPONENT, move || state.lock().unwrap_or_else(PoisonError::into_inner).copy(&records)).await
    }

    async fn position(&self, _ctx: &Ctx) -> Result<u64> {
        let state = self.state.clone();
        blocking::run(COMPONENT, move || Ok(state.lock().unwrap_or_else(PoisonError::into_inner).next_seq)).await
    }
}
