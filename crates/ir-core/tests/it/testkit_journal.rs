//! The laws of journals hold for the memory journal, and each one notices the fake that breaks it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ir_core::journal::{Appended, Batch, Holder, Lease, Page, ReadFrom};
use ir_core::testkit::{AutoClock, Lawful, clock, journal as laws};
use ir_core::{BootId, Clock, Ctx, Digest, ErrorKind, Journal, ManualClock, MemoryJournal, Moment, Result, Timestamp};

fn ctx() -> Ctx {
    Ctx::new(Arc::new(AutoClock::new()))
}

async fn keeps_every_law(wrap: fn(MemoryJournal) -> Arc<dyn Journal>) {
    let fresh = || {
        let place = MemoryJournal::new();
        Ok(Box::new(move || Ok(wrap(place.clone()))) as laws::Open)
    };
    laws::check_all(&ctx(), &fresh).await.unwrap();
}

#[tokio::test]
async fn the_memory_journal_keeps_every_law_as_itself_in_a_box_and_in_an_arc() {
    keeps_every_law(|journal| Arc::new(journal)).await;
    keeps_every_law(|journal| Arc::new(Box::new(journal))).await;
    keeps_every_law(|journal| Arc::new(Arc::new(journal))).await;
}

/// What the fake does wrong; numbered by the law it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    LosesTheEndOfABatch,
    TakesAnyNumber,
    TakesAnyEpoch,
    ChangesBytes,
    GivesMoreThanIsThere,
    ForgetsBlobs,
    LetsAnybodyClaim,
    NeverRaisesTheEpoch,
    ForgetsWhenOpenedAgain,
}

#[derive(Debug)]
struct Flawed {
    inner: MemoryJournal,
    flaw: Flaw,
    epoch: AtomicU64,
}

#[async_trait]
impl Journal for Flawed {
    fn name(&self) -> &str {
        "flawed"
    }

    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        let mut batch = batch.clone();
        let whole =
            Appended { first_seq: batch.expected_seq, last_seq: batch.expected_seq + batch.records.len() as u64 - 1 };
        match self.flaw {
            Flaw::LosesTheEndOfABatch if batch.records.len() > 1 => {
                batch.records.pop();
            }
            Flaw::TakesAnyNumber => {
                let head = self.inner.read(ctx, &ReadFrom { seq: 1, max: 1 }).await?.head;
                if batch.expected_seq != head {
                    return Ok(whole);
                }
            }
            Flaw::TakesAnyEpoch | Flaw::NeverRaisesTheEpoch => batch.epoch = self.epoch.load(Ordering::SeqCst),
            Flaw::ForgetsBlobs => batch.blobs.clear(),
            _ => {}
        }
        self.inner.append(ctx, &batch).await.map(|_| whole)
    }

    async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        let mut page = self.inner.read(ctx, from).await?;
        if self.flaw == Flaw::ChangesBytes {
            for record in &mut page.records {
                record.bytes = record.bytes.iter().map(|b| b.to_ascii_uppercase()).collect();
            }
        }
        if self.flaw == Flaw::GivesMoreThanIsThere && page.records.is_empty() && page.head > 1 {
            return self.inner.read(ctx, &ReadFrom { seq: page.head - 1, max: 1 }).await;
        }
        Ok(page)
    }

    async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        self.inner.blob(ctx, digest).await
    }

    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        let mut holder = holder.clone();
        if self.flaw == Flaw::LetsAnybodyClaim {
            holder.name = ir_core::PartName::new("anybody")?;
        }
        let mut lease = self.inner.claim(ctx, &holder).await?;
        self.epoch.store(lease.epoch, Ordering::SeqCst);
        if self.flaw == Flaw::NeverRaisesTheEpoch {
            lease.epoch = 1;
        }
        Ok(lease)
    }
}

fn flawed(flaw: Flaw) -> laws::Open {
    let place = MemoryJournal::new();
    Box::new(move || {
        let inner = if flaw == Flaw::ForgetsWhenOpenedAgain { MemoryJournal::new() } else { place.clone() };
        Ok(Arc::new(Flawed { inner, flaw, epoch: AtomicU64::new(0) }))
    })
}

fn noticed(result: Lawful, law: u32) {
    let violation = result.expect_err("the law did not notice");
    assert_eq!(violation.law.number, law, "{violation}");
}

#[tokio::test]
async fn each_law_notices_the_journal_that_breaks_it() {
    let ctx = ctx();
    noticed(laws::law_1_batches_are_atomic(&ctx, &flawed(Flaw::LosesTheEndOfABatch)).await, 1);
    noticed(laws::law_2_conflicts_write_nothing(&ctx, &flawed(Flaw::TakesAnyNumber)).await, 2);
    noticed(laws::law_2_conflicts_write_nothing(&ctx, &flawed(Flaw::TakesAnyEpoch)).await, 2);
    noticed(laws::law_3_reads_exactly(&ctx, &flawed(Flaw::ChangesBytes)).await, 3);
    noticed(laws::law_4_numbers_start_at_one(&ctx, &flawed(Flaw::GivesMoreThanIsThere)).await, 4);
    noticed(laws::law_5_blobs_are_there(&ctx, &flawed(Flaw::ForgetsBlobs)).await, 5);
    noticed(laws::law_6_one_holder(&ctx, &flawed(Flaw::LetsAnybodyClaim)).await, 6);
    noticed(laws::law_6_one_holder(&ctx, &flawed(Flaw::NeverRaisesTheEpoch)).await, 6);
    noticed(laws::law_7_survives_opening_again(&ctx, &flawed(Flaw::ForgetsWhenOpenedAgain)).await, 7);
}

#[tokio::test]
async fn a_journal_that_cannot_be_opened_is_told_as_such() {
    let error = || ir_core::Error::new(ErrorKind::Unavailable, "test", "no disk");
    let fresh = || Ok(Box::new(move || Err(error())) as laws::Open);
    let violation = laws::check_all(&ctx(), &fresh).await.unwrap_err();
    assert!(violation.to_string().contains("opening failed: test: unavailable: no disk"), "{violation}");
}

/// Goes back, or returns too early.
#[derive(Debug)]
struct FlawedClock {
    goes_back: bool,
    mono_ns: Mutex<u64>,
}

#[async_trait]
impl Clock for FlawedClock {
    fn now(&self) -> Moment {
        let mut mono_ns = self.mono_ns.lock().unwrap();
        *mono_ns += 1;
        let shown = if self.goes_back { 1_000_000 - *mono_ns } else { *mono_ns };
        Moment { wall: Timestamp::default(), mono_ns: shown, boot: BootId::new("b") }
    }

    async fn sleep_until(&self, _mono_ns: u64) {}
}

#[tokio::test]
async fn each_law_of_clocks_notices_the_clock_that_breaks_it() {
    let back = FlawedClock { goes_back: true, mono_ns: Mutex::new(0) };
    noticed(clock::law_1_never_goes_back(&back), 1);
    let early = FlawedClock { goes_back: false, mono_ns: Mutex::new(0) };
    noticed(clock::law_2_sleeps_until(&early).await, 2);
    clock::check_all(&AutoClock::new()).await.unwrap();
    clock::law_1_never_goes_back(&ManualClock::new()).unwrap();
}
