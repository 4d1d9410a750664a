//! The journal in files: pure Rust, one writer, group commit; and what goes with it (export, verification, halt file).
//!
//! # Layout
//!
//! ```text
//! lock                                     held by the one process that writes
//! segments/00000000000000000001.jsonl      records, one a line: <64 hex of the leaf hash> <canonical JSON>
//! segments/00000000000000000001.index      of a finished segment: offsets, end of the chain, newest checkpoint, highest epoch
//! segments/00000000000000000001.archived   of an archived segment: the hashes of its records
//! blobs/<64 hex>                           what was too large for a record
//! ```
//!
//! # Guarantees
//!
//! An append returns after one `fdatasync` that covers it and everything else that was waiting. Blobs are synced and named
//! before the record that names them. After any failed write the journal refuses everything until it is opened again. At
//! open an incomplete end is cut, and the next lease reports it; any other damage that is found is an error that names the record.
//!
//! # What opening verifies, and what it does not
//!
//! Opening reads the last segment whole and, of every older one, its index, its length and its last record. So it finds a damaged
//! record in the last segment; an older segment that is missing, has another length, or ends with another record; and segments that
//! do not follow each other. **It does not read the other records of older segments, and no blobs.** Their hashes are verified when
//! they are read: a damaged record is an error of `read` that names it. A blob is verified when the record that names it is resolved.
//! [`verify`] verifies every byte at rest, and [`ir_core::journal::verify`] does so through an open journal.
//!
//! An index is written when its segment is finished. It checks itself; one that is missing, damaged or not of its segment is made anew,
//! for which that segment is read and verified whole. The time to open thus grows with the size of one segment, and hardly with the
//! journal.
//!
//! # Archived records
//!
//! [`FileJournal::archive`] moves old segments to another folder and keeps the hash of each record in them. What that proves:
//!
//! - The first record that is here names the hash of the last archived one, which names the hash of the one before, and so on. So the
//!   last kept hash is that of the record that stood there, and an archive that [`verify`] finds sound and that ends with this hash holds
//!   exactly the records that stood there. [`verify_archive`] compares every hash.
//! - The other kept hashes are bound to the journal only by such an archive, or by a tree head over them that was signed and kept
//!   elsewhere. Without either, anyone who can write the folder could have changed them; [`verify`] finds a damaged file by its digest.
//! - Nothing is proved about the content of archived records without the archive.
//!
//! # Checkpoints
//!
//! A lease names the newest checkpoint: the last append marked as one, and after opening again the newest record that is a
//! [`GateFact::Checkpoint`](ir_core::journal::GateFact::Checkpoint) and the last of its append. A mark on any other record is forgotten
//! when the journal is closed.
//!
//! # Epochs
//!
//! A first claim gets an epoch one above the highest that a record carries
//! ([`GateFact::Claimed`](ir_core::journal::GateFact::Claimed), which the gate writes before anything else). So segments and blobs are all that
//! a backup must hold. An epoch that was claimed and never recorded authorized nothing, and may be given again once the journal was
//! closed. A file `lease.json`, left by earlier versions, is not read.
//!
//! # Assumptions
//!
//! The file system keeps its promise about `fsync` and renames within a folder atomically: any local Linux file system does.
//! Network file systems may not, and their locks may not either.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{Either, select};
use ir_core::journal::{Appended, Batch, Chain, Holder, Lease, Page, ReadFrom, TailRepair, leaf_hash};
use ir_core::{Ctx, Digest, Error, ErrorKind, Journal, Result};
use tokio::sync::{mpsc, oneshot};

use crate::blocking;

mod archive;
mod archived;
mod disk;
mod export;
mod folder;
mod halt;
mod index;
mod layout;
mod marks;
mod named;
mod scan;
mod segment_index;
mod snapshots;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use archive::Archived;
pub use export::FileExport;
pub use halt::HaltFile;
pub use snapshots::FileSnapshots;
pub use verify::{verify, verify_archive, verify_export};

/// Replaces a small file as a whole, durably.
#[cfg(feature = "webhook")]
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    disk::replace(&mut RealDisk, path, bytes)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    RealDisk.sync_dir(folder.unwrap_or(Path::new(".")))
}

use disk::{Disk, RealDisk};
use folder::{Lock, lock, make_folders};
use index::{Index, LastSegment};
use layout::Layout;
use marks::Marks;
use writer::{Append, Job, Segment, Writer};

const COMPONENT: &str = "file journal";

/// How many appends may wait; beyond that the callers wait.
const QUEUE: usize = 256;

/// How a journal in files is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileJournalConfig {
    /// The folder. It is made when it is not there.
    pub dir: PathBuf,
    /// A new segment is begun when the present one would grow beyond so many bytes. 64 MiB.
    pub segment_bytes: u64,
}

impl FileJournalConfig {
    /// The defaults, in `dir`.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), segment_bytes: 64 << 20 }
    }
}

/// A journal in files. One value writes; any number may read the same folder by [`open_read_only`](Self::open_read_only).
#[derive(Debug)]
pub struct FileJournal {
    layout: Layout,
    index: Arc<Index>,
    /// `None` when opened for reading only.
    jobs: Option<mpsc::Sender<Job>>,
    /// The disk for copies to an archive; locked by the one archiving that runs.
    archiving: tokio::sync::Mutex<Box<dyn Disk>>,
    /// Joined at the end, so that the lock is free once the value is gone.
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FileJournal {
    /// Opens the journal in `dir` for writing, or begins one.
    ///
    /// # Errors
    ///
    /// `Conflict` while another process (or value) has it open for writing; `InvalidInput` when a record that may have been
    /// acknowledged is damaged, naming the record; `Unavailable` when the folder cannot be used.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(&FileJournalConfig::at(dir.as_ref()))
    }

    /// Opens a journal for writing, not by the defaults.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_with(config: &FileJournalConfig) -> Result<Self> {
        Self::open_on(config, Box::new(RealDisk))
    }

    fn open_on(config: &FileJournalConfig, mut disk: Box<dyn Disk>) -> Result<Self> {
        let layout = Layout::new(&config.dir);
        make_folders(&mut *disk, &layout).map_err(|error| io_error("cannot make the folder", error))?;
        let lock = lock(&layout)?;
        let mut opened = index::open(&layout, true)?;
        opened.store_indexes(&mut *disk);
        if !opened.pending.is_empty() {
            archive::repair(&mut *disk, &layout, &opened.index, &opened.pending)?;
        }

        let mut repaired = None;
        let mut segment = None;
        if let Some(LastSegment { path, len, prev, marks }) = opened.last {
            let file = disk.open(&path).map_err(|error| io_error("cannot open the last segment", error))?;
            // What stands in the file may never have been synced; from now on it counts as durable, so it has to be.
            let settled = if opened.torn_bytes > 0 { disk.cut(&file, len) } else { disk.sync(&file) };
            settled
                .and_then(|()| disk.sync_dir(&layout.segments()))
                .map_err(|error| io_error("cannot settle the end of the last segment", error))?;
            segment = Some(Segment { file, len, prev, marks });
        }
        if opened.torn_bytes > 0 {
            tracing::warn!(
                seq = opened.end.next_seq,
                bytes = opened.torn_bytes,
                "cut an incomplete end of the journal"
            );
            repaired = Some(TailRepair { seq: opened.end.next_seq, bytes: opened.torn_bytes });
        }

        let index = Arc::new(opened.index);
        let archiving = tokio::sync::Mutex::new(disk.another());
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let writer = Writer {
            disk,
            layout: layout.clone(),
            segment_bytes: config.segment_bytes,
            index: index.clone(),
            segment,
            next_seq: opened.end.next_seq,
            prev: opened.end.prev,
            epoch: opened.marks.epoch,
            holder: None,
            repaired,
            broken: None,
            _lock: lock,
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(receiver))
            .map_err(|error| io_error("cannot start the writer", error))?;
        Ok(Self { layout, index, jobs: Some(jobs), archiving, thread: Some(thread) })
    }

    /// Opens the journal in `dir` to read what is complete in it now, without its lock: beside a writer, or for a replay. An
    /// incomplete end is left out and left alone; appends and claims are `Unsupported`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` naming a damaged record; `Unavailable` when the folder cannot be read.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Self> {
        let layout = Layout::new(dir.as_ref());
        let mut opened = index::open(&layout, true);
        for _ in 0..3 {
            // A segment may be archived between finding and reading it; its hashes are there then.
            if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                opened = index::open(&layout, true);
            }
        }
        let archiving = tokio::sync::Mutex::new(Box::new(RealDisk) as Box<dyn Disk>);
        Ok(Self { layout, index: Arc::new(opened?.index), jobs: None, archiving, thread: None })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.layout.root()
    }

    /// Moves finished segments that hold only records before `before_seq` to the folder `into`, with the blobs that no later record
    /// names; `None` where there are none. Blobs that later records name too are copied. The hashes of the moved records stay, 32 bytes
    /// for each. Reading a moved record is `NotFound` from then on, and its message names the archive.
    ///
    /// `before_seq` is at most the number of the newest checkpoint, so that a start has what it reads. Choose it so that every sink has
    /// the records before it too: a sink that lags behind cannot be fed from an archive.
    ///
    /// The archive is a folder of the same layout: open it with [`open_read_only`](Self::open_read_only), verify it with [`verify`], and
    /// with [`verify_archive`] against the hashes that stayed. Later calls may go on in the same folder, or begin another one on the same
    /// or another file system. Copying runs beside the writer; only the removal at the end waits for it and holds it up.
    ///
    /// To put an archive back, close the journal, copy the folders `segments` and `blobs` back, and remove the `.archived` files of those
    /// segments **first**: a segment that stands beside its `.archived` file is taken for one whose removal was interrupted.
    ///
    /// # Cancellation
    ///
    /// Dropping the future may or may not have archived the records. Nothing is lost, and the call may be made again.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `before_seq` is behind the newest checkpoint or there is none, and when a record or a blob that would be moved
    /// is damaged; `Conflict` when another process writes `into`, or it holds records that these do not follow; `Unsupported` when opened
    /// for reading only; `Unavailable` when the disk fails, after which the journal goes on and the next opening completes what was begun.
    pub async fn archive(&self, ctx: &Ctx, before_seq: u64, into: impl AsRef<Path>) -> Result<Option<Archived>> {
        let archiving = self.archiving.lock().await;
        let (mut disk, layout, index) = (archiving.another(), self.layout.clone(), self.index.clone());
        let into = into.as_ref().to_owned();
        if self.jobs.is_none() {
            return Err(read_only());
        }
        let prepare = move || archive::prepare(&mut *disk, &layout, &index, before_seq, &into);
        let Some(prepared) = blocking::run(COMPONENT, prepare).await? else { return Ok(None) };
        self.ask(ctx, |reply| Job::Archive(prepared, reply)).await.map(Some)
    }

    /// The end of the chain of archived records: where [`verify_after`](ir_core::journal::verify_after) begins. The chain before the first
    /// record where nothing was archived.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the file with the hashes is damaged; `Unavailable` when the folder cannot be read.
    pub async fn archived(&self) -> Result<Chain> {
        let index = self.index.clone();
        blocking::run(COMPONENT, move || index.archived_chain()).await
    }

    /// The leaf hashes of the records from `from.seq` on, archived or not, at most `from.max` and possibly fewer; none behind the head.
    /// With them a tree over all records can be built after records were archived. The hashes of records that are here are computed from
    /// the records; those of archived ones are as they were kept.
    ///
    /// # Errors
    ///
    /// `InvalidInput` naming a damaged record; `Unavailable` when the folder cannot be read.
    pub async fn leaf_hashes(&self, from: &ReadFrom) -> Result<Vec<Digest>> {
        let (index, from) = (self.index.clone(), ReadFrom { seq: from.seq.max(1), ..*from });
        blocking::run(COMPONENT, move || index.hashes(from)).await
    }

    async fn ask<T>(&self, ctx: &Ctx, job: impl FnOnce(oneshot::Sender<Result<T>>) -> Job) -> Result<T> {
        let Some(jobs) = &self.jobs else {
            return Err(read_only());
        };
        let (reply, answer) = oneshot::channel();
        let gone = || Error::new(ErrorKind::Unknown, COMPONENT, "the writer is gone");
        let answered = async {
            jobs.send(job(reply)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        // A wish to stop does not end a write: the last records of an orderly stop are written under it.
        let Some(remaining) = ctx.remaining() else { return answered.await };
        let nanos = u64::try_from(remaining.as_nanos()).unwrap_or(u64::MAX);
        let out_of_time = ctx.clock().sleep_until(ctx.now().mono_ns.saturating_add(nanos));
        match select(std::pin::pin!(answered), out_of_time).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => {
                Err(Error::new(ErrorKind::Timeout, COMPONENT, "the disk did not answer before the deadline"))
            }
        }
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The thread panics nowhere; if it did, its writes were never acknowledged and there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn read_only() -> Error {
    Error::new(ErrorKind::Unsupported, COMPONENT, "was opened for reading only")
}

fn io_error(what: &str, error: io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Unavailable };
    Error::new(kind, COMPONENT, format!("{what}: {error}")).with_source(error)
}

/// Turns a batch into lines. What could not be read back is a flaw, told after the journal's own look at number and epoch.
fn prepare(batch: &Batch) -> Append {
    let mut lines = Vec::with_capacity(batch.records.iter().map(|record| record.bytes.len() + 66).sum());
    let mut offsets = Vec::with_capacity(batch.records.len());
    let mut flaw = batch
        .blobs
        .iter()
        .find(|blob| Digest::of(&blob.bytes) != blob.digest)
        .map(|blob| format!("blob `{}` has another content", blob.digest));
    if batch.records.is_empty() {
        flaw = Some("a batch holds at least one record".to_owned());
    }
    let (mut prev, mut last) = (Digest::ZERO, Digest::ZERO);
    let (mut left, mut marks) = (batch.records.len(), Marks::default());
    for (n, (seq, record)) in (batch.expected_seq..).zip(&batch.records).enumerate() {
        left -= 1;
        let link = layout::link(&record.bytes);
        let fits = link.is_some_and(|link| {
            link.seq == seq && record.seq == seq && link.left as usize == left && (n == 0 || link.prev == last)
        });
        if !fits || leaf_hash(&record.bytes) != record.hash || memchr::memchr(b'\n', &record.bytes).is_some() {
            let message = || format!("record {seq} of the batch is not numbered, chained or hashed as it should be");
            flaw = flaw.or_else(|| Some(message()));
        }
        if n == 0 {
            prev = link.map_or(Digest::ZERO, |link| link.prev);
        }
        last = record.hash;
        marks.add(Marks::of(seq, &record.bytes));
        offsets.push(lines.len() as u64);
        layout::write_line(&mut lines, record);
    }
    let (expected_seq, epoch, blobs) = (batch.expected_seq, batch.epoch, batch.blobs.clone());
    let checkpoint = batch.records.last().filter(|_| batch.checkpoint).map(|record| record.seq);
    Append { expected_seq, epoch, checkpoint, blobs, lines, offsets, prev, last, marks, flaw }
}

#[async_trait]
impl Journal for FileJournal {
    fn name(&self) -> &str {
        "file"
    }

    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        let append = prepare(batch);
        self.ask(ctx, |reply| Job::Append(append, reply)).await
    }

    async fn read(&self, _ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        let (index, from) = (self.index.clone(), *from);
        blocking::run(COMPONENT, move || index.read(from)).await
    }

    async fn blob(&self, _ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        let (path, digest) = (self.layout.blob(digest), *digest);
        blocking::run(COMPONENT, move || match std::fs::read(path) {
            Ok(bytes) => Ok(Arc::from(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::NotFound, COMPONENT, format!("no blob is named `{digest}`")))
            }
            Err(error) => Err(io_error(&format!("cannot read blob `{digest}`"), error)),
        })
        .await
    }

    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        let (holder, now_mono_ns) = (holder.clone(), ctx.now().mono_ns);
        self.ask(ctx, |reply| Job::Claim { holder, now_mono_ns, reply }).await
    }
}
