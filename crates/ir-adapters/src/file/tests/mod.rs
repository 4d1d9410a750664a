//! Tests of the journal in files: laws, damage at rest, torn tails, faults of the disk.

use std::path::Path;
use std::sync::Arc;

use ir_core::journal::{
    Batch, Blob, Body, Chain, Checkpoint, Content, EncodedRecord, Event, GateFact, Holder, MAX_INLINE_BYTES, ReadFrom,
};
use ir_core::testkit::{AutoClock, journal as laws};
use ir_core::{Clock, Ctx, Journal, ManualClock, PartName, Result};

use super::*;

mod archive;
mod damage;
mod epochs;
mod export;
mod faults;
mod halt;
mod limits;
mod opening;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(AutoClock::new()))
}

/// A folder in memory where there is one: these tests sync thousands of times.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn holder() -> Holder {
    Holder { name: PartName::new("writer").unwrap(), ttl_ms: 60_000 }
}

/// Writes batches as the gate does.
struct Pen {
    chain: Chain,
    epoch: u64,
    written: Vec<EncodedRecord>,
}

impl Pen {
    /// `sizes[i]` is the length of the text in record `i`; above 16 KiB it becomes a blob.
    fn batch(&self, sizes: &[usize]) -> Batch {
        let expected_seq = self.chain.next_seq();
        let bodies = sizes.iter().enumerate().map(|(n, size)| {
            let timer = format!("{expected_seq}-{n}-{}", "x".repeat(*size));
            Body::Event(Event::TimerFired { timer })
        });
        self.batch_of(bodies.collect())
    }

    fn keep(&mut self, batch: &Batch) {
        let last = batch.records.last().unwrap();
        self.chain = Chain::after(last.seq, last.hash);
        self.written.extend(batch.records.iter().cloned());
    }

    async fn append(&mut self, journal: &FileJournal, sizes: &[usize]) -> Result<Vec<Blob>> {
        let batch = self.batch(sizes);
        journal.append(&ctx(), &batch).await?;
        self.keep(&batch);
        Ok(batch.blobs)
    }

    fn batch_of(&self, bodies: Vec<Body>) -> Batch {
        let mut chain = self.chain.clone();
        let expected_seq = chain.next_seq();
        let (_, records, blobs) = chain.encode(&ManualClock::new().now(), bodies).unwrap();
        Batch { expected_seq, epoch: self.epoch, checkpoint: false, blobs, records }
    }

    /// Appends a checkpoint with a state of `size` bytes and gives its number.
    async fn checkpoint_of(&mut self, journal: &FileJournal, size: usize) -> u64 {
        let batch = Batch { checkpoint: true, ..self.batch_of(vec![checkpoint_body(size)]) };
        journal.append(&ctx(), &batch).await.unwrap();
        self.keep(&batch);
        batch.expected_seq
    }

    async fn checkpoint(&mut self, journal: &FileJournal) -> u64 {
        self.checkpoint_of(journal, 10).await
    }

    /// Records the claim, as the gate does.
    async fn claimed(&mut self, journal: &FileJournal, name: &str) {
        let journal_name = Digest::of(name.as_bytes());
        let fact = GateFact::Claimed { holder: holder().name, epoch: self.epoch, journal: journal_name };
        let batch = self.batch_of(vec![fact.into()]);
        journal.append(&ctx(), &batch).await.unwrap();
        self.keep(&batch);
    }
}

fn checkpoint_body(size: usize) -> Body {
    let content = |text: String| Content::Here(serde_json::json!({ "state": text }));
    GateFact::Checkpoint(Box::new(Checkpoint {
        version: "0.0.0".to_owned(),
        kernel: content("k".repeat(size)),
        engine: content("e".repeat(size)),
        config: content("c".repeat(size)),
    }))
    .into()
}

async fn pen(journal: &FileJournal) -> Pen {
    let epoch = journal.claim(&ctx(), &holder()).await.unwrap().epoch;
    Pen { chain: Chain::default(), epoch, written: Vec::new() }
}

async fn read_all(journal: &FileJournal) -> Vec<EncodedRecord> {
    let mut all = Vec::new();
    loop {
        let from = ReadFrom { seq: all.len() as u64 + 1, max: 7 };
        let page = journal.read(&ctx(), &from).await.unwrap();
        if page.records.is_empty() {
            return all;
        }
        all.extend(page.records);
    }
}

/// A journal of several segments, appends of several records, and a blob.
async fn sample(dir: &Path) -> Vec<EncodedRecord> {
    let config = FileJournalConfig { segment_bytes: 1500, ..FileJournalConfig::at(dir) };
    let journal = FileJournal::open_with(&config).unwrap();
    let mut pen = pen(&journal).await;
    for sizes in [&[10][..], &[0, 30, 5], &[MAX_INLINE_BYTES + 1, 3], &[200, 1], &[40], &[7, 7]] {
        pen.append(&journal, sizes).await.unwrap();
    }
    pen.written
}

async fn keeps_every_law(wrap: fn(FileJournal) -> Arc<dyn Journal>, segment_bytes: u64) {
    let dirs = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicU32::new(0);
    let fresh = || {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let dir = dirs.path().join(n.to_string());
        let config = FileJournalConfig { segment_bytes, ..FileJournalConfig::at(dir) };
        Ok(Box::new(move || FileJournal::open_with(&config).map(wrap)) as laws::Open)
    };
    laws::check_all(&ctx(), &fresh).await.unwrap();
    for dir in std::fs::read_dir(dirs.path()).unwrap() {
        assert_eq!(verify(dir.unwrap().path()).unwrap().fault, None);
    }
}

#[tokio::test]
async fn it_keeps_every_law_as_itself() {
    keeps_every_law(|journal| Arc::new(journal), 64 << 20).await;
}

#[tokio::test]
async fn it_keeps_every_law_in_a_box_and_with_tiny_segments() {
    keeps_every_law(|journal| Arc::new(Box::new(journal)), 1).await;
}

#[tokio::test]
async fn it_keeps_every_law_in_an_arc() {
    keeps_every_law(|journal| Arc::new(Arc::new(journal)), 1000).await;
}

#[tokio::test]
async fn only_one_value_writes_and_others_may_read() {
    let dir = tempfile::tempdir().unwrap();
    let written = sample(dir.path()).await;
    let writer = FileJournal::open(dir.path()).unwrap();
    let second = FileJournal::open(dir.path()).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Conflict, "{second}");

    let reader = FileJournal::open_read_only(dir.path()).unwrap();
    assert_eq!(read_all(&reader).await, written);
    let claim = reader.claim(&ctx(), &holder()).await.unwrap_err();
    assert_eq!(claim.kind(), ErrorKind::Unsupported);

    drop(writer);
    FileJournal::open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_new_opening_raises_the_epoch_even_for_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = Chain::default();
    for epoch in 1..=3 {
        let journal = FileJournal::open(dir.path()).unwrap();
        for _ in 0..2 {
            assert_eq!(journal.claim(&ctx(), &holder()).await.unwrap().epoch, epoch);
        }
        let mut pen = Pen { chain, epoch, written: Vec::new() };
        pen.claimed(&journal, "journal").await;
        chain = pen.chain;
    }
}

#[tokio::test]
async fn appends_waiting_together_are_all_kept_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(FileJournal::open(dir.path()).unwrap());
    let mut pen = pen(&journal).await;
    let ctx = ctx();
    for _ in 0..5 {
        // Batches chained ahead of time and sent without waiting for one another; some by a writer that lost its count.
        let mut batches = Vec::new();
        for n in 0..40_usize {
            let batch = pen.batch(&[n % 50, n % 7][..1 + n % 2]);
            pen.keep(&batch);
            batches.push(batch);
            if n % 8 == 7 {
                batches.push(batches[0].clone());
            }
        }
        let answers = futures::future::join_all(batches.iter().map(|batch| journal.append(&ctx, batch))).await;
        let refused = answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(refused, 5);
        for (batch, answer) in batches.iter().zip(answers) {
            match answer {
                Ok(appended) => assert_eq!(appended.first_seq, batch.expected_seq),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
    }
    assert_eq!(read_all(&journal).await, pen.written);
    drop(journal);
    assert_eq!(verify(dir.path()).unwrap().records, pen.written.len() as u64);
}

#[tokio::test]
async fn what_could_not_be_read_back_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let journal = FileJournal::open(dir.path()).unwrap();
    let pen = pen(&journal).await;
    let good = pen.batch(&[3, 4]);
    let mut wrong_hash = good.clone();
    wrong_hash.records[1].hash = Digest::ZERO;
    let mut gap = good.clone();
    gap.records.remove(0);
    let mut other_content = pen.batch(&[MAX_INLINE_BYTES + 1]);
    other_content.blobs[0].bytes = Arc::from(b"x".as_slice());
    let mut no_record = good.clone();
    no_record.records[1] = EncodedRecord::new(2, b"{}".as_slice());
    let empty = Batch { records: Vec::new(), ..good.clone() };
    for batch in [&wrong_hash, &gap, &other_content, &no_record, &empty] {
        let error = journal.append(&ctx(), batch).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    journal.append(&ctx(), &good).await.unwrap();
    assert_eq!(read_all(&journal).await, good.records);
}

#[tokio::test]
async fn an_append_whose_deadline_passes_is_a_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let journal = FileJournal::open(dir.path()).unwrap();
    let pen = pen(&journal).await;
    let late = ctx().with_timeout(std::time::Duration::ZERO);
    let answer = journal.append(&late, &pen.batch(&[3])).await;
    // The writer may be quicker than the deadline; an error can be nothing but the timeout.
    assert!(answer.is_ok() || answer.is_err_and(|error| error.kind() == ErrorKind::Timeout));
}
