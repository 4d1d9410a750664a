//! Faults of the disk: each call of the writer fails once, with less than all bytes written.

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use ir_core::AuditSink;

/// Which call fails, and how the files are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing of it happened: no space, a failing device.
    Refused,
    /// A write went half through.
    Short,
    /// The machine died: what was not synced is gone, and nothing works any more.
    Crash,
}

#[derive(Debug, Clone)]
pub(super) struct FaultyDisk {
    fault: Fault,
    /// Calls until the fault.
    left: Arc<AtomicU32>,
    dead: Arc<AtomicBool>,
    /// Length of each file at its last sync.
    synced: Arc<Mutex<Vec<(File, u64)>>>,
}

impl FaultyDisk {
    /// Fails at the call to which `left` counts down, once it is above 0.
    pub(super) fn new(fault: Fault, left: Arc<AtomicU32>) -> Self {
        Self { fault, left, dead: Arc::default(), synced: Arc::default() }
    }

    /// Whether this call fails.
    fn fails(&mut self) -> bool {
        if self.dead.load(Ordering::SeqCst) {
            return true;
        }
        let fails = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) == Ok(1);
        if fails && self.fault == Fault::Crash {
            self.dead.store(true, Ordering::SeqCst);
            for (file, len) in self.synced.lock().unwrap().iter() {
                file.set_len(*len).unwrap();
            }
        }
        fails
    }

    fn error() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }

    fn note(&self, file: &File, len: u64) {
        self.synced.lock().unwrap().push((file.try_clone().unwrap(), len));
    }
}

impl Disk for FaultyDisk {
    fn open(&mut self, path: &Path) -> io::Result<File> {
        if self.fails() {
            return Err(Self::error());
        }
        let file = RealDisk.open(path)?;
        let len = file.metadata()?.len();
        self.note(&file, len);
        Ok(file)
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if self.fails() {
            if self.fault == Fault::Short {
                RealDisk.write(file, &bytes[..bytes.len() / 2])?;
            }
            return Err(Self::error());
        }
        RealDisk.write(file, bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        if self.fails() {
            return Err(Self::error());
        }
        let len = file.metadata()?.len();
        // Later entries of the same file win, because they are cut last and to more: a file only grows here.
        self.synced.lock().unwrap().retain(|(other, _)| !same(other, file));
        self.note(file, len);
        RealDisk.sync(file)
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        if self.fails() { Err(Self::error()) } else { RealDisk.sync_dir(path) }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.fails() { Err(Self::error()) } else { RealDisk.rename(from, to) }
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        if self.fails() { Err(Self::error()) } else { RealDisk.remove(path) }
    }

    fn another(&self) -> Box<dyn Disk> {
        Box::new(self.clone())
    }

    fn cut(&mut self, file: &File, len: u64) -> io::Result<()> {
        if self.fails() { Err(Self::error()) } else { RealDisk.cut(file, len) }
    }
}

#[cfg(unix)]
fn same(a: &File, b: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |file: &File| file.metadata().map(|m| (m.dev(), m.ino())).ok();
    id(a) == id(b)
}

#[cfg(not(unix))]
fn same(_: &File, _: &File) -> bool {
    false
}

async fn survives(fault: Fault) {
    let mut n_failed = 0;
    for call in 1..200 {
        let dir = folder();
        let config = FileJournalConfig { segment_bytes: 900, ..FileJournalConfig::at(dir.path()) };
        let left = Arc::new(AtomicU32::new(0));
        let disk = FaultyDisk::new(fault, left.clone());
        let journal = FileJournal::open_on(&config, Box::new(disk)).unwrap();
        let mut pen = pen(&journal).await;
        left.store(call, Ordering::SeqCst);

        let mut blobs = Vec::new();
        let mut failed = None;
        let mut tried = Vec::new();
        for sizes in [&[10][..], &[0, 30], &[MAX_INLINE_BYTES + 1, 3], &[300], &[1, 2, 3], &[400]] {
            tried = pen.batch(sizes).records;
            match pen.append(&journal, sizes).await {
                Ok(kept) => blobs.extend(kept),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let Some(error) = failed else { break };
        n_failed += 1;
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
        assert!(error.message().contains("could not be made durable"), "{error}");
        let next = journal.append(&ctx(), &pen.batch(&[1])).await.unwrap_err();
        assert_eq!(next.kind(), ErrorKind::Stopped, "after a failed write nothing is taken: {next}");
        let claim = journal.claim(&ctx(), &holder()).await.unwrap_err();
        assert_eq!(claim.kind(), ErrorKind::Stopped, "nor claimed: {claim}");
        assert_eq!(read_all(&journal).await, pen.written, "what was acknowledged can be read still");
        drop(journal);

        let journal = FileJournal::open(dir.path()).unwrap_or_else(|error| panic!("call {call}: {error}"));
        let found = read_all(&journal).await;
        assert!(found.starts_with(&pen.written), "call {call}: something acknowledged is lost");
        let extra = &found[pen.written.len()..];
        assert!(extra.is_empty() || extra == tried, "call {call}: half an append is there");
        for blob in blobs {
            assert_eq!(journal.blob(&ctx(), &blob.digest).await.unwrap(), blob.bytes);
        }
        drop(journal);
        assert_eq!(verify(dir.path()).unwrap().fault, None, "call {call}");
    }
    assert!(n_failed >= 15, "only {n_failed} calls failed");
}

#[tokio::test]
async fn a_disk_that_refuses_any_one_call_loses_nothing_acknowledged() {
    survives(Fault::Refused).await;
}

#[tokio::test]
async fn a_write_that_goes_half_through_loses_nothing_acknowledged() {
    survives(Fault::Short).await;
}

#[tokio::test]
async fn a_machine_that_dies_at_any_call_loses_nothing_acknowledged() {
    survives(Fault::Crash).await;
}

async fn export_survives(fault: Fault) {
    let from = folder();
    let journal = FileJournal::open(from.path()).unwrap();
    let mut pen = pen(&journal).await;
    for sizes in [&[10][..], &[MAX_INLINE_BYTES + 1, 3], &[300, 2], &[MAX_INLINE_BYTES + 2]] {
        pen.append(&journal, sizes).await.unwrap();
    }
    pen.checkpoint_of(&journal, 20_000).await;
    let journal = Arc::new(journal);
    let mut n_failed = 0;
    for call in 1..200 {
        let dir = folder();
        let left = Arc::new(AtomicU32::new(0));
        let disk = FaultyDisk::new(fault, left.clone());
        let export = FileExport::open_on(dir.path(), 500, Box::new(disk)).unwrap().blobs_of(journal.clone());
        left.store(call, Ordering::SeqCst);
        let mut copied = 0;
        let mut failed = false;
        for records in pen.written.chunks(2) {
            failed = export.copy(&ctx(), records).await.is_err();
            if failed {
                break;
            }
            copied += records.len() as u64;
        }
        drop(export);
        let report = verify_export(dir.path()).unwrap();
        assert!(report.records >= copied, "call {call}: what was acknowledged is lost");
        if !failed {
            break;
        }
        n_failed += 1;
        let export = FileExport::open(dir.path()).unwrap_or_else(|error| panic!("call {call}: {error}"));
        assert!(export.position(&ctx()).await.unwrap() > copied, "call {call}");
        assert_eq!(verify_export(dir.path()).unwrap().fault, None, "call {call}: a record without its blob");
        export.blobs_of(journal.clone()).copy(&ctx(), &pen.written).await.unwrap();
        assert_eq!(verify_export(dir.path()).unwrap(), verify(from.path()).unwrap(), "call {call}");
    }
    assert!(n_failed >= 15, "only {n_failed} calls failed");
}

#[tokio::test]
async fn an_export_has_the_blobs_of_its_records_whichever_call_of_the_disk_fails() {
    export_survives(Fault::Refused).await;
    export_survives(Fault::Short).await;
    export_survives(Fault::Crash).await;
}
