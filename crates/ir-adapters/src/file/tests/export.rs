//! Tests of the export.

use super::*;
use ir_core::kernel::GateConfig;
use ir_core::testkit::audit_sink;
use ir_core::{AuditSink, Gate};

/// Copies what the export lacks, at most `max` records at once.
async fn copy_all(journal: &dyn Journal, export: &FileExport, max: usize) -> Result<()> {
    loop {
        let seq = export.position(&ctx()).await?;
        let page = journal.read(&ctx(), &ReadFrom { seq, max }).await?;
        if page.records.is_empty() {
            return Ok(());
        }
        export.copy(&ctx(), &page.records).await?;
    }
}

/// A body that is a blob and names three more.
fn nested_body() -> Body {
    let Body::Gate(GateFact::Checkpoint(mut checkpoint)) = checkpoint_body(20_000) else { panic!() };
    checkpoint.version = "v".repeat(MAX_INLINE_BYTES);
    GateFact::Checkpoint(checkpoint).into()
}

/// A journal with blobs of every kind, and one append of three records at the end.
async fn with_blobs(dir: &Path) -> (Arc<FileJournal>, Vec<EncodedRecord>) {
    let config = FileJournalConfig { segment_bytes: 3000, ..FileJournalConfig::at(dir) };
    let journal = FileJournal::open_with(&config).unwrap();
    let mut pen = pen(&journal).await;
    pen.append(&journal, &[900, MAX_INLINE_BYTES + 1, 3]).await.unwrap();
    for body in [nested_body(), checkpoint_body(30_000)] {
        let batch = pen.batch_of(vec![body]);
        journal.append(&ctx(), &batch).await.unwrap();
        pen.keep(&batch);
    }
    for _ in 0..3 {
        pen.append(&journal, &[900, 3, 700]).await.unwrap();
    }
    (Arc::new(journal), pen.written)
}

fn blob_names(dir: &Path) -> std::collections::BTreeSet<std::ffi::OsString> {
    std::fs::read_dir(dir.join("blobs")).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[tokio::test]
async fn an_export_with_blobs_is_a_journal_with_the_same_records_and_blobs() {
    let (from, to) = (folder(), folder());
    let (journal, written) = with_blobs(from.path()).await;
    for max in [1, 2, 100] {
        let dir = to.path().join(max.to_string());
        let export = FileExport::open_on(&dir, 1500, Box::new(RealDisk)).unwrap().blobs_of(journal.clone());
        copy_all(&*journal, &export, max).await.unwrap();
        drop(export);
        let report = verify_export(&dir).unwrap();
        assert_eq!(report, verify(from.path()).unwrap());
        assert_eq!(blob_names(&dir), blob_names(from.path()));

        let restored = FileJournal::open(&dir).unwrap();
        assert_eq!(read_all(&restored).await, written);
        assert_eq!(verify(&dir).unwrap(), report);
        assert_eq!(ir_core::journal::verify(&ctx(), &restored).await.unwrap(), report);
    }
}

#[tokio::test]
async fn a_gate_opens_on_a_restored_export_and_begins_at_the_checkpoint() {
    let (from, to) = (folder(), folder());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
    let config = |journal: Arc<dyn Journal>| GateConfig {
        name: holder().name,
        journal,
        required_sinks: Vec::new(),
        clock: clock.clone(),
        lease_ttl_ms: 60_000,
        append_within_ms: ir_core::kernel::APPEND_WITHIN_MS,
    };
    let journal = Arc::new(FileJournal::open(from.path()).unwrap());
    let mut gate = Gate::open(&ctx(), config(journal.clone()), |_| Ok(())).await.unwrap();
    let checkpoint = gate.checkpoint(&ctx(), "e".repeat(30_000).into(), "c".into()).await.unwrap();
    let export = FileExport::open(to.path()).unwrap().blobs_of(journal.clone());
    copy_all(&*journal, &export, 10).await.unwrap();
    drop(export);

    let restored = Arc::new(FileJournal::open(to.path()).unwrap());
    let mut seen = Vec::new();
    let note = |record: &ir_core::Record| {
        seen.push(record.clone());
        Ok(())
    };
    let again = Gate::open(&ctx(), config(restored), note).await.unwrap();
    assert_eq!(again.epoch(), gate.epoch() + 1);
    assert_eq!(seen[0], checkpoint, "with its contents fetched from the blobs");
    assert_eq!(seen.len(), 2, "and behind it only the new claim");
}

#[tokio::test]
async fn an_export_that_ends_within_an_append_is_cut_when_it_is_opened_as_a_journal() {
    let (from, to) = (folder(), folder());
    let (journal, written) = with_blobs(from.path()).await;
    for lacks in [1, 2] {
        let dir = to.path().join(lacks.to_string());
        let export = FileExport::open(&dir).unwrap().blobs_of(journal.clone());
        export.copy(&ctx(), &written[..written.len() - lacks]).await.unwrap();
        drop(export);
        assert_eq!(verify_export(&dir).unwrap().fault, None);
        assert!(verify(&dir).unwrap().fault.unwrap().what.contains("more records of its append"));

        let restored = FileJournal::open(&dir).unwrap();
        let whole = written.len() - 3;
        assert_eq!(read_all(&restored).await, written[..whole]);
        let bytes = written[whole..written.len() - lacks].iter().map(|record| record.bytes.len() as u64 + 66).sum();
        let repaired = restored.claim(&ctx(), &holder()).await.unwrap().repaired;
        assert_eq!(repaired, Some(TailRepair { seq: whole as u64 + 1, bytes }));
    }
}

#[tokio::test]
async fn a_record_whose_blob_cannot_be_fetched_is_not_copied() {
    let (from, to) = (folder(), folder());
    let (journal, written) = with_blobs(from.path()).await;
    let export = FileExport::open(to.path()).unwrap().blobs_of(journal.clone());
    for name in blob_names(from.path()) {
        let path = from.path().join("blobs").join(&name);
        let content = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _ = std::fs::remove_file(to.path().join("blobs").join(&name));
        let error = export.copy(&ctx(), &written).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        std::fs::write(&path, &content[1..]).unwrap();
        let error = export.copy(&ctx(), &written).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert_eq!(export.position(&ctx()).await.unwrap(), 1);
        std::fs::write(&path, &content).unwrap();
    }
    export.copy(&ctx(), &written).await.unwrap();
    for name in blob_names(to.path()) {
        let path = to.path().join("blobs").join(&name);
        let content = std::fs::read(&path).unwrap();
        std::fs::write(&path, &content[1..]).unwrap();
        assert!(verify_export(to.path()).unwrap().fault.unwrap().what.contains("another content"));
        std::fs::remove_file(&path).unwrap();
        assert!(verify_export(to.path()).unwrap().fault.unwrap().what.contains("is missing"));
        std::fs::write(&path, &content).unwrap();
    }
    assert_eq!(verify_export(to.path()).unwrap().fault, None);
}

#[tokio::test]
async fn an_export_takes_records_again_goes_on_after_opening_and_refuses_gaps() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let written = sample(from.path()).await;
    let export = FileExport::open(to.path()).unwrap();
    assert_eq!(export.position(&ctx()).await.unwrap(), 1);
    export.copy(&ctx(), &written[..3]).await.unwrap();
    export.copy(&ctx(), &written[1..5]).await.unwrap();
    assert_eq!(export.copy(&ctx(), &written[7..]).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(FileExport::open(to.path()).unwrap_err().kind(), ErrorKind::Conflict);
    drop(export);

    let segment = Layout::new(to.path()).segment(1);
    let content = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &content[..content.len() - 1]).unwrap();
    let export = FileExport::open(to.path()).unwrap();
    assert_eq!(export.position(&ctx()).await.unwrap(), 5, "a torn record comes again");
    assert_eq!(verify_export(to.path()).unwrap().fault, None);
    export.copy(&ctx(), &written[4..]).await.unwrap();
    drop(export);
    let report = verify_export(to.path()).unwrap();
    assert_eq!(report, verify(from.path()).unwrap(), "the copy has the head of the original");

    let mut content = std::fs::read(&segment).unwrap();
    content[100] ^= 1;
    std::fs::write(&segment, content).unwrap();
    assert_eq!(verify_export(to.path()).unwrap().fault.unwrap().seq, 1);
    assert_eq!(FileExport::open(to.path()).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn an_export_keeps_every_law_as_itself_in_a_box_and_in_an_arc() {
    let wraps: [fn(FileExport) -> Arc<dyn AuditSink>; 3] =
        [|export| Arc::new(export), |export| Arc::new(Box::new(export)), |export| Arc::new(Arc::new(export))];
    for wrap in wraps {
        let dirs = folder();
        let count = std::sync::atomic::AtomicU32::new(0);
        let fresh = || {
            let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let dir = dirs.path().join(n.to_string());
            Ok(Box::new(move || FileExport::open(&dir).map(wrap)) as audit_sink::Open)
        };
        audit_sink::check_all(&ctx(), &fresh).await.unwrap();
    }
}
