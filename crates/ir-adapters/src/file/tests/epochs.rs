//! Tests of epochs: found in the records alone, and never lower than one that was recorded.

use super::*;
use ir_core::kernel::GateConfig;
use ir_core::{Gate, Journal};
use proptest::prelude::*;

async fn next_epoch(dir: &Path) -> u64 {
    FileJournal::open(dir).unwrap().claim(&ctx(), &holder()).await.unwrap().epoch
}

/// Copies the segments and blobs alone, as a backup may hold them.
fn restore(from: &Path, indexes: bool) -> tempfile::TempDir {
    let to = folder();
    for part in ["segments", "blobs"] {
        std::fs::create_dir(to.path().join(part)).unwrap();
        for entry in std::fs::read_dir(from.join(part)).unwrap() {
            let path = entry.unwrap().path();
            if indexes || path.extension().is_none_or(|extension| extension != "index") {
                std::fs::copy(&path, to.path().join(part).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    to
}

#[tokio::test]
async fn a_restored_journal_has_a_higher_epoch_wherever_the_last_claim_stands() {
    let dir = folder();
    let config = FileJournalConfig { segment_bytes: 900, ..FileJournalConfig::at(dir.path()) };
    let mut chain = Chain::default();
    for epoch in 1..=4 {
        let journal = FileJournal::open_with(&config).unwrap();
        assert_eq!(journal.claim(&ctx(), &holder()).await.unwrap().epoch, epoch);
        let mut pen = Pen { chain, epoch, written: Vec::new() };
        pen.claimed(&journal, "journal").await;
        chain = pen.chain;
    }
    for n_appends in 0..4 {
        for indexes in [false, true] {
            let to = restore(dir.path(), indexes);
            assert_eq!(next_epoch(to.path()).await, 5, "{n_appends} appends behind the claim");
            assert_eq!(verify(to.path()).unwrap().fault, None);
        }
        let journal = FileJournal::open_with(&config).unwrap();
        journal.claim(&ctx(), &holder()).await.unwrap();
        let mut pen = Pen { chain, epoch: 5, written: Vec::new() };
        pen.append(&journal, &[700]).await.unwrap();
        chain = pen.chain;
    }
}

#[tokio::test]
async fn what_an_earlier_version_left_as_a_lease_is_not_read() {
    let dir = folder();
    let journal = FileJournal::open(dir.path()).unwrap();
    let mut pen = pen(&journal).await;
    pen.claimed(&journal, "journal").await;
    drop(journal);
    let stale = r#"{"check":"0000000000000000000000000000000000000000000000000000000000000000","lease":{"epoch":0}}"#;
    for text in ["", "garbage", stale] {
        std::fs::write(dir.path().join("lease.json"), text).unwrap();
        assert_eq!(verify(dir.path()).unwrap().fault, None);
        assert_eq!(next_epoch(dir.path()).await, 2);
    }
}

#[tokio::test]
async fn a_gate_opens_on_a_restored_journal_with_the_next_epoch() {
    let dir = folder();
    let open = async |dir: &Path| {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
        let config = GateConfig {
            name: holder().name,
            journal: Arc::new(FileJournal::open(dir).unwrap()),
            required_sinks: Vec::new(),
            clock,
            lease_ttl_ms: 60_000,
            append_within_ms: ir_core::kernel::APPEND_WITHIN_MS,
        };
        let mut seen = Vec::new();
        let note = |record: &ir_core::Record| {
            seen.push(record.seq);
            Ok(())
        };
        let gate = Gate::open(&ctx(), config, note).await.unwrap();
        (gate, seen)
    };
    assert_eq!(open(dir.path()).await.0.epoch(), 1);
    let (mut gate, _) = open(dir.path()).await;
    assert_eq!(gate.epoch(), 2);
    let checkpoint = gate.checkpoint(&ctx(), "e".into(), "x".repeat(20_000).into()).await.unwrap();
    gate.append(&ctx(), &ManualClock::new().now(), vec![Event::Stopping.into()]).await.unwrap();
    drop(gate);
    let to = restore(dir.path(), false);
    let (gate, seen) = open(to.path()).await;
    assert_eq!(gate.epoch(), 3);
    assert_eq!(seen[0], checkpoint.seq, "it reads from the checkpoint on");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_epoch_that_a_record_carries_is_given_again(
        lives in prop::collection::vec((any::<bool>(), 0_usize..4, 0_u32..5), 1..12), segment_bytes in 1_u64..2000,
    ) {
        let dir = folder();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let config = FileJournalConfig { segment_bytes, ..FileJournalConfig::at(dir.path()) };
        let (mut chain, mut recorded) = (Chain::default(), 0);
        for (records_it, n_appends, lost) in lives {
            runtime.block_on(async {
                let journal = FileJournal::open_with(&config).unwrap();
                let epoch = journal.claim(&ctx(), &holder()).await.unwrap().epoch;
                assert_eq!(epoch, recorded + 1);
                let mut pen = Pen { chain: chain.clone(), epoch, written: Vec::new() };
                if records_it {
                    pen.claimed(&journal, "journal").await;
                    recorded = epoch;
                }
                for n in 0..n_appends {
                    pen.append(&journal, &[300 * n]).await.unwrap();
                }
                chain = pen.chain;
            });
            if let Some((seq, _)) = Layout::new(dir.path()).list_segments().unwrap().get(lost as usize) {
                // There may be none.
                let _ = std::fs::remove_file(Layout::new(dir.path()).index(*seq));
            }
        }
    }
}
