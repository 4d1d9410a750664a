//! Tests of archiving: what is moved, what stays, and crashes in between.

use super::faults::{Fault, FaultyDisk};
use super::*;
use ir_core::Gate;
use ir_core::kernel::GateConfig;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

/// A body that is a blob, the same for the same size.
fn large_body(size: usize) -> Body {
    Body::Event(Event::TimerFired { timer: "t".repeat(size) })
}

/// A checkpoint before the newest one, so that contents are blobs too.
fn checkpoint_or_small(n: usize, size: usize) -> Body {
    if n < 3 { checkpoint_body(size) } else { Body::Event(Event::Stopping) }
}

/// A journal to be archived.
struct Old {
    pen: Pen,
    /// The blobs of each record.
    blobs: Vec<BTreeSet<Digest>>,
    checkpoint: u64,
}

/// Segments with a claim in the first, blobs in most, of which one is named at both ends, and a checkpoint in front of the last ones.
async fn old(journal: &FileJournal) -> Old {
    let mut pen = pen(journal).await;
    pen.claimed(journal, "journal").await;
    let mut blobs = vec![BTreeSet::new()];
    let mut checkpoint = 0;
    for (n, size) in [20_000, 21_000, 22_000, 23_000, 20_000].into_iter().enumerate() {
        let mut bodies = vec![large_body(size), checkpoint_or_small(n, size)];
        if n == 1 {
            // A body that is a blob, and names further ones.
            let Body::Gate(GateFact::Checkpoint(mut within)) = checkpoint_body(24_000) else { panic!() };
            within.version = "v".repeat(MAX_INLINE_BYTES);
            bodies.push(GateFact::Checkpoint(within).into());
        }
        for body in bodies {
            let batch = pen.batch_of(vec![body]);
            journal.append(&ctx(), &batch).await.unwrap();
            pen.keep(&batch);
            blobs.push(batch.blobs.iter().map(|blob| blob.digest).collect());
        }
        pen.append(journal, &[500, 3, 500]).await.unwrap();
        blobs.resize(pen.written.len(), BTreeSet::new());
        if n == 3 {
            checkpoint = pen.checkpoint(journal).await;
            blobs.push(BTreeSet::new());
        }
    }
    Old { pen, blobs, checkpoint }
}

impl Old {
    fn blobs(&self, seqs: std::ops::RangeInclusive<u64>) -> BTreeSet<Digest> {
        seqs.flat_map(|seq| self.blobs[seq as usize - 1].clone()).collect()
    }

    fn last_seq(&self) -> u64 {
        self.pen.written.len() as u64
    }
}

fn config(dir: &Path) -> FileJournalConfig {
    FileJournalConfig { segment_bytes: 1200, ..FileJournalConfig::at(dir) }
}

fn blobs_in(dir: &Path) -> BTreeSet<Digest> {
    let names = std::fs::read_dir(dir.join("blobs")).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_str().unwrap().parse().unwrap()).collect()
}

async fn read_from(journal: &FileJournal, mut seq: u64) -> Vec<EncodedRecord> {
    let mut all = Vec::new();
    loop {
        let page = journal.read(&ctx(), &ReadFrom { seq, max: 4 }).await.unwrap();
        let Some(last) = page.records.last() else { return all };
        seq = last.seq + 1;
        all.extend(page.records);
    }
}

async fn all_hashes(journal: &FileJournal) -> Vec<Digest> {
    let mut all = Vec::new();
    loop {
        let page = journal.leaf_hashes(&ReadFrom { seq: all.len() as u64 + 1, max: 5 }).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// All that must hold once the records up to `last` are archived.
async fn assert_archived(old: &Old, dir: &Path, archive: &Path, journal: &FileJournal, last: u64) {
    for seq in [1, last / 2, last] {
        let error = journal.read(&ctx(), &ReadFrom { seq, max: 9 }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "law 9: an archived record is no empty page");
        assert!(error.message().contains(archive.to_str().unwrap()), "{error}");
    }
    assert_eq!(read_from(journal, last + 1).await, old.pen.written[last as usize..]);
    assert_eq!(read_from(journal, old.checkpoint).await, old.pen.written[old.checkpoint as usize - 1..]);
    let hashes: Vec<Digest> = old.pen.written.iter().map(|record| record.hash).collect();
    assert_eq!(all_hashes(journal).await, hashes);

    let report = verify(dir).unwrap();
    assert_eq!((report.records, report.archived, &report.fault), (old.last_seq(), last, &None));
    assert_eq!(Some(&report.head), hashes.last());
    assert_eq!(ir_core::journal::verify(&ctx(), journal).await.unwrap_err().kind(), ErrorKind::NotFound);
    let chain = journal.archived().await.unwrap();
    assert_eq!(chain, Chain::after(last, hashes[last as usize - 1]));
    assert_eq!(ir_core::journal::verify_after(&ctx(), journal, chain).await.unwrap(), report);
    let other = Chain::after(last, Digest::ZERO);
    let fault = ir_core::journal::verify_after(&ctx(), journal, other).await.unwrap().fault;
    assert_eq!(fault.unwrap().seq, last + 1, "the first record that is here names another hash");
    let moved = verify_archive(dir, archive).unwrap();
    assert_eq!((moved.records, moved.archived, moved.fault), (last, 0, None));
    assert_eq!(moved.head, hashes[last as usize - 1]);
    assert_eq!(read_all(&FileJournal::open_read_only(archive).unwrap()).await, old.pen.written[..last as usize]);
    assert_eq!(blobs_in(archive), old.blobs(1..=last));
}

#[tokio::test]
async fn archived_records_are_in_the_archive_and_their_hashes_stay() {
    let (dir, to) = (folder(), folder());
    let archive = to.path().join("a/b");
    let journal = FileJournal::open_with(&config(dir.path())).unwrap();
    let old = old(&journal).await;
    let moved = journal.archive(&ctx(), old.checkpoint, &archive).await.unwrap().unwrap();
    let last = moved.last_seq;
    assert!(moved.first_seq == 1 && moved.n_segments > 3 && last < old.checkpoint, "{moved:?}");
    assert_archived(&old, dir.path(), &archive, &journal, last).await;
    let (gone, kept) = (old.blobs(1..=last), old.blobs(last + 1..=old.last_seq()));
    assert!(gone.intersection(&kept).count() > 0, "the sample has blobs that both name");
    assert_eq!(blobs_in(dir.path()), kept);
    assert_eq!(moved.n_blobs, gone.difference(&kept).count());
    assert_eq!(journal.archive(&ctx(), old.checkpoint, &archive).await.unwrap(), None, "there is nothing more");
    drop(journal);

    let journal = FileJournal::open_with(&config(dir.path())).unwrap();
    let lease = journal.claim(&ctx(), &holder()).await.unwrap();
    assert_eq!((lease.checkpoint, lease.epoch, lease.head), (Some(old.checkpoint), 2, old.last_seq() + 1));
    assert_archived(&old, dir.path(), &archive, &journal, last).await;
    let reader = FileJournal::open_read_only(dir.path()).unwrap();
    assert_eq!(read_from(&reader, last + 1).await, old.pen.written[last as usize..]);
    let mut pen = Pen { epoch: lease.epoch, ..old.pen };
    for _ in 0..4 {
        pen.append(&journal, &[700]).await.unwrap();
    }
    assert_eq!(verify(dir.path()).unwrap().fault, None);
}

#[tokio::test]
async fn archives_go_on_in_one_folder_or_begin_another() {
    let (dir, to) = (folder(), folder());
    let (first, second) = (to.path().join("first"), to.path().join("second"));
    let journal = FileJournal::open_with(&config(dir.path())).unwrap();
    let old = old(&journal).await;
    let archive = async |before, into: &Path| journal.archive(&ctx(), before, into).await;
    let one = archive(7, &first).await.unwrap().unwrap();
    let two = archive(12, &first).await.unwrap().unwrap();
    assert_eq!(two.first_seq, one.last_seq + 1);
    assert_archived(&old, dir.path(), &first, &journal, two.last_seq).await;
    let three = archive(old.checkpoint, &second).await.unwrap().unwrap();
    assert_eq!(three.first_seq, two.last_seq + 1);

    let report = verify_archive(dir.path(), &second).unwrap();
    assert_eq!((report.records, report.archived, report.fault), (three.last_seq, two.last_seq, None));
    assert_eq!(verify_archive(dir.path(), &first).unwrap().records, two.last_seq);
    assert_eq!(verify(dir.path()).unwrap().archived, three.last_seq);
    let moved = FileJournal::open_read_only(&second).unwrap();
    let range = three.first_seq as usize - 1..three.last_seq as usize;
    assert_eq!(read_from(&moved, three.first_seq).await, old.pen.written[range]);

    // The first folder lacks what the second got, and another journal has other records.
    let mut pen = old.pen;
    for _ in 0..3 {
        pen.append(&journal, &[900]).await.unwrap();
    }
    let checkpoint = pen.checkpoint(&journal).await;
    assert_eq!(archive(checkpoint, &first).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(archive(checkpoint, dir.path()).await.unwrap_err().kind(), ErrorKind::Conflict);
    archive(checkpoint, &second).await.unwrap().unwrap();
    assert_eq!(verify_archive(dir.path(), &second).unwrap().fault, None);
}

#[tokio::test]
async fn what_a_start_reads_is_never_archived() {
    let (dir, to) = (folder(), folder());
    let journal = FileJournal::open_with(&config(dir.path())).unwrap();
    let mut pen = pen(&journal).await;
    for _ in 0..4 {
        pen.append(&journal, &[900]).await.unwrap();
    }
    let refused =
        async |journal: &FileJournal, before| journal.archive(&ctx(), before, to.path()).await.unwrap_err().kind();
    assert_eq!(refused(&journal, 3).await, ErrorKind::InvalidInput, "there is no checkpoint");
    let checkpoint = pen.checkpoint(&journal).await;
    pen.append(&journal, &[900]).await.unwrap();
    pen.append(&journal, &[900]).await.unwrap();
    assert_eq!(refused(&journal, checkpoint + 1).await, ErrorKind::InvalidInput);
    assert_eq!(refused(&FileJournal::open_read_only(dir.path()).unwrap(), 3).await, ErrorKind::Unsupported);
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0, "nothing was made");
    let moved = journal.archive(&ctx(), checkpoint, to.path()).await.unwrap().unwrap();
    assert_eq!(moved.last_seq, checkpoint - 1);
    assert_eq!(read_from(&journal, checkpoint).await, pen.written[checkpoint as usize - 1..]);
}

#[tokio::test]
async fn a_gate_opens_after_archiving_from_the_checkpoint_on() {
    let (dir, to) = (folder(), folder());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
    let open = async |seen: &mut Vec<u64>| {
        let journal = Arc::new(FileJournal::open_with(&config(dir.path())).unwrap());
        let config = GateConfig {
            name: holder().name,
            journal: journal.clone(),
            required_sinks: Vec::new(),
            clock: clock.clone(),
            lease_ttl_ms: 60_000,
            append_within_ms: ir_core::kernel::APPEND_WITHIN_MS,
        };
        let note = |record: &ir_core::Record| {
            seen.push(record.seq);
            Ok(())
        };
        (Gate::open(&ctx(), config, note).await.unwrap(), journal)
    };
    let (mut gate, journal) = open(&mut Vec::new()).await;
    for n in 0..4 {
        gate.checkpoint(&ctx(), "e".repeat(20_000 + n).into(), "c".into()).await.unwrap();
    }
    let checkpoint = gate.checkpoint(&ctx(), "e".into(), "c".repeat(20_000).into()).await.unwrap();
    assert!(journal.archive(&ctx(), checkpoint.seq, to.path()).await.unwrap().is_some());
    drop((gate, journal));
    let mut seen = Vec::new();
    let (gate, _) = open(&mut seen).await;
    assert_eq!((seen[0], gate.epoch()), (checkpoint.seq, 2));
}

#[tokio::test]
async fn a_blob_that_is_named_again_while_it_is_archived_stays() {
    let (dir, to) = (folder(), folder());
    let journal = FileJournal::open_with(&config(dir.path())).unwrap();
    let mut old = old(&journal).await;
    let prepared =
        super::super::archive::prepare(&mut RealDisk, &journal.layout, &journal.index, old.checkpoint, to.path());
    let prepared = prepared.unwrap().unwrap();
    // A content of an archived record, which nothing later names so far.
    let batch = old.pen.batch_of(vec![large_body(21_000)]);
    journal.append(&ctx(), &batch).await.unwrap();
    old.pen.keep(&batch);
    journal.ask(&ctx(), |reply| Job::Archive(prepared, reply)).await.unwrap();
    for blob in &batch.blobs {
        assert_eq!(journal.blob(&ctx(), &blob.digest).await.unwrap(), blob.bytes);
    }
    assert_eq!(verify(dir.path()).unwrap().fault, None);
}

#[tokio::test]
async fn changed_hashes_and_changed_archives_are_found() {
    let (dir, to) = (folder(), folder());
    let journal = FileJournal::open_with(&config(dir.path())).unwrap();
    let old = old(&journal).await;
    journal.archive(&ctx(), old.checkpoint, to.path()).await.unwrap().unwrap();
    drop(journal);
    let layout = Layout::new(dir.path());
    let kept = layout.list_archived().unwrap();
    for (first_seq, path) in &kept {
        let content = std::fs::read(path).unwrap();
        for at in (0..content.len()).step_by(5) {
            let mut changed = content.clone();
            changed[at] ^= 1;
            std::fs::write(path, &changed).unwrap();
            assert_eq!(verify(dir.path()).unwrap().fault.unwrap().seq, *first_seq, "byte {at}");
            std::fs::write(path, &content[..at]).unwrap();
            assert_eq!(verify(dir.path()).unwrap().fault.unwrap().seq, *first_seq, "cut at {at}");
            let error = FileJournal::open(dir.path()).unwrap_err();
            assert!(error.message().contains(&format!("record {first_seq} is archived")), "{error}");
        }
        std::fs::remove_file(path).unwrap();
        assert!(verify(dir.path()).unwrap().fault.is_some());
        assert!(FileJournal::open(dir.path()).is_err());
        std::fs::write(path, &content).unwrap();
    }
    let here: Vec<_> = layout.list_segments().unwrap().into_iter().map(|(_, path)| path).collect();
    let contents: Vec<_> = here.iter().map(|path| std::fs::read(path).unwrap()).collect();
    here.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    assert!(verify(dir.path()).unwrap().fault.unwrap().what.contains("no segment follows"));
    assert!(FileJournal::open(dir.path()).is_err());
    here.iter().zip(contents).for_each(|(path, content)| std::fs::write(path, content).unwrap());
    assert_eq!(verify_archive(dir.path(), to.path()).unwrap().fault, None);

    // A byte of the archive, and an archive that is sound in itself and of another journal.
    let (_, segment) = Layout::new(to.path()).list_segments().unwrap().remove(0);
    let content = std::fs::read(&segment).unwrap();
    let mut changed = content.clone();
    changed[100] ^= 1;
    std::fs::write(&segment, changed).unwrap();
    assert_eq!(verify_archive(dir.path(), to.path()).unwrap().fault.unwrap().seq, 1);
    let other = folder();
    sample(other.path()).await;
    let report = verify_archive(dir.path(), other.path()).unwrap();
    assert_eq!(report.fault.unwrap().seq, 1);
}

/// Archives with a disk that fails at each call in turn, and gives how many calls failed.
async fn archiving_survives(fault: Fault) -> u32 {
    let mut n_failed = 0;
    for call in 1..400 {
        let (dir, to) = (folder(), folder());
        let left = Arc::new(AtomicU32::new(0));
        let disk = FaultyDisk::new(fault, left.clone());
        let journal = FileJournal::open_on(&config(dir.path()), Box::new(disk)).unwrap();
        let mut old = old(&journal).await;
        left.store(call, Ordering::SeqCst);
        let result = journal.archive(&ctx(), old.checkpoint, to.path()).await;
        let failed = result.is_err();
        left.store(0, Ordering::SeqCst);
        assert_eq!(verify(dir.path()).unwrap().fault, None, "call {call}: the journal as it is left");
        if failed && fault != Fault::Crash {
            let batch = old.pen.batch_of(vec![large_body(21_000)]);
            journal.append(&ctx(), &batch).await.unwrap_or_else(|error| panic!("call {call}: {error}"));
            old.pen.keep(&batch);
            old.blobs.push(batch.blobs.iter().map(|blob| blob.digest).collect());
        }
        drop(journal);

        let journal =
            FileJournal::open_with(&config(dir.path())).unwrap_or_else(|error| panic!("call {call}: {error}"));
        let report = verify(dir.path()).unwrap();
        assert_eq!((report.records, report.fault), (old.last_seq(), None), "call {call}");
        assert_eq!(read_from(&journal, report.archived + 1).await, old.pen.written[report.archived as usize..]);
        assert!(
            Layout::new(dir.path()).list_segments().unwrap()[0].0 > report.archived,
            "call {call}: it is completed"
        );
        let needed = old.blobs(report.archived + 1..=old.last_seq());
        assert!(blobs_in(dir.path()).is_superset(&needed), "call {call}");
        let again = journal.archive(&ctx(), old.checkpoint, to.path()).await.unwrap();
        let last = again.map_or(report.archived, |archived| archived.last_seq);
        assert_archived(&old, dir.path(), to.path(), &journal, last).await;
        if !failed {
            break;
        }
        n_failed += 1;
    }
    n_failed
}

#[tokio::test]
async fn archiving_loses_nothing_whichever_call_of_the_disk_is_refused() {
    assert!(archiving_survives(Fault::Refused).await > 60);
}

#[tokio::test]
async fn archiving_loses_nothing_whichever_write_goes_half_through() {
    assert!(archiving_survives(Fault::Short).await > 60);
}

#[tokio::test]
async fn archiving_loses_nothing_whenever_the_machine_dies() {
    assert!(archiving_survives(Fault::Crash).await > 60);
}
