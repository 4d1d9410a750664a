//! Tests of the export.

use super::*;
use ir_core::AuditSink;
use ir_core::testkit::audit_sink;

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
