//! Tests of the export.

use super::*;
use ir_core::AuditSink;

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
