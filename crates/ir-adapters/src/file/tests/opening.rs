//! Tests of opening: what is read, and how long it takes.

use super::*;
use proptest::prelude::*;
use std::time::Duration;

async fn checkpoint_told(dir: &Path) -> Option<u64> {
    let journal = FileJournal::open(dir).unwrap();
    journal.claim(&ctx(), &holder()).await.unwrap().checkpoint
}

fn indexes(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let layout = Layout::new(dir);
    let paths = layout.list_segments().unwrap().into_iter().map(|(first_seq, _)| layout.index(first_seq));
    paths.filter(|path| path.exists()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Segments with a checkpoint in an old one and one in the last, and the numbers of both.
async fn with_checkpoints(dir: &Path) -> (Vec<EncodedRecord>, [u64; 2]) {
    named_with_checkpoints(dir, "one").await
}

async fn named_with_checkpoints(dir: &Path, name: &str) -> (Vec<EncodedRecord>, [u64; 2]) {
    let config = FileJournalConfig { segment_bytes: 1500, ..FileJournalConfig::at(dir) };
    let journal = FileJournal::open_with(&config).unwrap();
    let mut pen = pen(&journal).await;
    pen.claimed(&journal, name).await;
    pen.append(&journal, &[300, 20]).await.unwrap();
    let first = pen.checkpoint(&journal).await;
    for _ in 0..3 {
        pen.append(&journal, &[700, 20, 300]).await.unwrap();
    }
    let second = pen.checkpoint(&journal).await;
    (pen.written, [first, second])
}

#[tokio::test]
async fn the_newest_checkpoint_is_told_after_opening_again() {
    let dir = folder();
    let (written, [first, second]) = with_checkpoints(dir.path()).await;
    assert!(indexes(dir.path()).len() > 2);
    assert_eq!(checkpoint_told(dir.path()).await, Some(second));

    // Torn: the record is gone, and the one before in an older segment is the newest.
    let (_, last) = Layout::new(dir.path()).list_segments().unwrap().pop().unwrap();
    let content = std::fs::read(&last).unwrap();
    std::fs::write(&last, &content[..content.len() - 1]).unwrap();
    assert_eq!(checkpoint_told(dir.path()).await, Some(first));
    for (path, _) in indexes(dir.path()) {
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(checkpoint_told(dir.path()).await, Some(first), "without indexes");
    let journal = FileJournal::open(dir.path()).unwrap();
    assert_eq!(read_all(&journal).await, written[..written.len() - 1]);
}

#[tokio::test]
async fn finished_segments_are_not_read_at_opening_and_what_is_read_is_verified() {
    let dir = folder();
    let (written, [_, checkpoint]) = with_checkpoints(dir.path()).await;
    let (first_seq, path) = Layout::new(dir.path()).list_segments().unwrap().remove(0);
    let mut content = std::fs::read(&path).unwrap();
    content[100] ^= 1;
    std::fs::write(&path, &content).unwrap();
    assert_eq!(verify(dir.path()).unwrap().fault.unwrap().seq, first_seq);

    let journal = FileJournal::open(dir.path()).unwrap();
    let error = journal.read(&ctx(), &ReadFrom { seq: 1, max: 9 }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("record 1 is damaged"), "{error}");
    let page = journal.read(&ctx(), &ReadFrom { seq: checkpoint, max: 9 }).await.unwrap();
    assert_eq!(page.records, written[checkpoint as usize - 1..]);
    drop(journal);

    // Without its index the segment is read, and the damage is told at opening.
    std::fs::remove_file(Layout::new(dir.path()).index(first_seq)).unwrap();
    assert!(FileJournal::open(dir.path()).unwrap_err().message().contains("record 1 is damaged"));
}

#[tokio::test]
async fn an_index_that_is_missing_cut_or_changed_is_made_anew() {
    let dir = folder();
    let (written, [_, checkpoint]) = with_checkpoints(dir.path()).await;
    let all = indexes(dir.path());
    let (path, content) = &all[0];
    let mut wrong: Vec<Vec<u8>> = vec![Vec::new(), all[1].1.clone(), [&**content, &[0; 8]].concat()];
    wrong.extend((0..content.len()).map(|len| content[..len].to_vec()).step_by(9));
    wrong.extend((0..content.len()).map(|at| {
        let mut changed = content.clone();
        changed[at] ^= 1;
        changed
    }));
    for bytes in wrong {
        std::fs::write(path, &bytes).unwrap();
        assert_eq!(
            verify(dir.path()).unwrap().fault.is_some(),
            bytes == all[1].1,
            "an index of another segment is told"
        );
        let reader = FileJournal::open_read_only(dir.path()).unwrap();
        assert_eq!(read_all(&reader).await, written);
        assert_eq!(std::fs::read(path).unwrap(), bytes, "a reader changes nothing");
        assert_eq!(checkpoint_told(dir.path()).await, Some(checkpoint));
        assert_eq!(&std::fs::read(path).unwrap(), content, "it is as it was");
        std::fs::remove_file(path).unwrap();
        assert_eq!(checkpoint_told(dir.path()).await, Some(checkpoint));
        assert_eq!(&std::fs::read(path).unwrap(), content, "it is as it was");
    }
}

#[tokio::test]
async fn an_index_of_another_journal_is_not_taken() {
    let (dir, other) = (folder(), folder());
    let (written, _) = with_checkpoints(dir.path()).await;
    // As long, and with other records.
    named_with_checkpoints(other.path(), "two").await;
    let [ours, theirs] = [dir.path(), other.path()].map(|dir| indexes(dir).remove(0));
    assert_ne!(ours.1, theirs.1);
    let lengths = [dir.path(), other.path()].map(|dir| std::fs::metadata(Layout::new(dir).segment(1)).unwrap().len());
    assert_eq!(lengths[0], lengths[1]);
    std::fs::write(&ours.0, &theirs.1).unwrap();
    assert!(verify(dir.path()).unwrap().fault.unwrap().what.contains("index"));
    let journal = FileJournal::open(dir.path()).unwrap();
    assert_eq!(read_all(&journal).await, written);
    assert_eq!(std::fs::read(&ours.0).unwrap(), ours.1);
}

#[tokio::test]
async fn a_content_that_looks_like_a_checkpoint_is_none() {
    let dir = folder();
    let journal = FileJournal::open(dir.path()).unwrap();
    let mut pen = pen(&journal).await;
    let checkpoint = pen.checkpoint(&journal).await;
    let Body::Gate(GateFact::Checkpoint(mut within)) = checkpoint_body(3) else { panic!() };
    within.config = Content::Here(serde_json::json!({ "type": "checkpoint" }));
    let text = serde_json::to_string(&*within).unwrap();
    // In a text; in a checkpoint that is not the last of its append; and as a body that is a checkpoint by one of its contents only.
    let look_alike = Body::Event(Event::Dropped {
        event: text,
        timer: Some(r#""type":"checkpoint""#.to_owned()),
        command: None,
        because: String::new(),
        plan: None,
        halts: false,
    });
    let batch = pen.batch_of(vec![Body::Gate(GateFact::Checkpoint(within)), look_alike]);
    journal.append(&ctx(), &batch).await.unwrap();
    drop(journal);
    assert_eq!(checkpoint_told(dir.path()).await, Some(checkpoint));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_is_appended_and_lost_of_the_indexes_all_records_and_the_newest_checkpoint_are_there(
        lives in prop::collection::vec(
            (prop::collection::vec((0_usize..900, 0_u8..4), 0..8), 1_u64..3000, any::<u8>()), 1..5)
    ) {
        let dir = folder();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut chain, mut written, mut newest) = (Chain::default(), Vec::new(), None);
        for (appends, segment_bytes, lose) in lives {
            let config = FileJournalConfig { segment_bytes, ..FileJournalConfig::at(dir.path()) };
            runtime.block_on(async {
                let journal = FileJournal::open_with(&config).unwrap();
                let lease = journal.claim(&ctx(), &holder()).await.unwrap();
                assert_eq!((lease.checkpoint, lease.head), (newest, written.len() as u64 + 1));
                let mut pen = Pen { chain: chain.clone(), epoch: lease.epoch, written: std::mem::take(&mut written) };
                for (size, kind) in appends {
                    match kind {
                        0 => newest = Some(pen.checkpoint(&journal).await),
                        kind => drop(pen.append(&journal, &[size, 3, 3][..usize::from(kind)]).await.unwrap()),
                    }
                }
                assert_eq!(read_all(&journal).await, pen.written);
                (chain, written) = (pen.chain, pen.written);
            });
            prop_assert_eq!(verify(dir.path()).unwrap().fault, None);
            for (n, (path, content)) in indexes(dir.path()).into_iter().enumerate() {
                match lose.wrapping_add(n as u8) % 5 {
                    0 => std::fs::remove_file(path).unwrap(),
                    1 => std::fs::write(path, &content[..content.len() / 2]).unwrap(),
                    _ => {}
                }
            }
        }
    }
}

/// Megabytes of the journal below; a journal of a year has 500:
/// `IR_JOURNAL_MB=500 cargo test --release -p ir-adapters --features file --lib file::tests::opening::size -- --nocapture`.
fn megabytes() -> usize {
    std::env::var("IR_JOURNAL_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let clock = crate::SystemClock::new();
    let before = clock.now().mono_ns;
    let done = work();
    let took = Duration::from_nanos(clock.now().mono_ns - before);
    println!("{what}: {took:?}");
    (done, took)
}

#[test]
fn size_does_not_make_opening_slow() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let total = megabytes() << 20;
    // As many segments as 500 MB have by the defaults.
    let config = FileJournalConfig { segment_bytes: total as u64 / 8, ..FileJournalConfig::at(dir.path()) };
    let (n_records, checkpoint) = runtime.block_on(async {
        let journal = FileJournal::open_with(&config).unwrap();
        let mut pen = pen(&journal).await;
        let (mut n_bytes, mut checkpoint, mut n_records) = (0, None, 0);
        while n_bytes < total {
            if checkpoint.is_none() && n_bytes + (total / 100).max(500_000) > total {
                checkpoint = Some(pen.checkpoint(&journal).await);
            }
            pen.append(&journal, &[300; 256]).await.unwrap();
            n_bytes += pen.written.iter().map(|record| record.bytes.len() + 66).sum::<usize>();
            n_records += pen.written.len();
            pen.written.clear();
        }
        (n_records, checkpoint.unwrap())
    });
    println!("{} MB, {n_records} records, checkpoint {checkpoint}", megabytes());
    let (_, took) = timed("open, claim, read from the checkpoint on", || {
        let journal = FileJournal::open_with(&config).unwrap();
        let lease = runtime.block_on(journal.claim(&ctx(), &holder())).unwrap();
        assert_eq!(lease.checkpoint, Some(checkpoint));
        let mut seq = lease.checkpoint.unwrap_or(1);
        loop {
            let page = runtime.block_on(journal.read(&ctx(), &ReadFrom { seq, max: 512 })).unwrap();
            let Some(last) = page.records.last() else { break };
            seq = last.seq + 1;
        }
        assert_eq!(seq, lease.head);
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
}
