//! The laws of [`Journal`].

use std::sync::Arc;
use std::time::Duration;

use super::{Law, Lawful};
use crate::ctx::Ctx;
use crate::error::{ErrorKind, Result};
use crate::id::{Digest, PartName};
use crate::journal::{Batch, Blob, Body, Chain, EncodedRecord, Event, Holder, Journal, Lease, Page, ReadFrom};

const ATOMIC: Law = Law::new(
    "Journal",
    1,
    "`append` returns only when records and blobs are durable, and all of a batch or nothing of it is there.",
);
const CONFLICT: Law =
    Law::new("Journal", 2, "A wrong `expected_seq` or an old `epoch` is `Conflict` and writes nothing.");
const EXACT: Law = Law::new(
    "Journal",
    3,
    "`read` gives back exactly the bytes and hashes that were appended, contiguous, from the number asked for.",
);
const FROM_ONE: Law =
    Law::new("Journal", 4, "Numbers start at 1. Reading beyond the head is an empty page that names the head.");
const BLOBS: Law = Law::new(
    "Journal",
    5,
    "A blob is there once the append that carried it has returned; an unknown digest is `NotFound`.",
);
const LEASE: Law = Law::new(
    "Journal",
    6,
    "`claim` by another name while a lease lasts is `Conflict`; by the same name it renews with the same epoch; a new \
     holder gets a higher epoch, and from then on the old one's appends are `Conflict`.",
);
const REOPEN: Law = Law::new("Journal", 7, "What was durable is there after opening again.");

const CHECKPOINT: Law = Law::new(
    "Journal",
    8,
    "`claim` names the newest checkpoint, an older one or none, and never a record that was not appended as one.",
);

const TTL_MS: u64 = 200;

/// Opens the journal that is kept in one place. Called again only after the value from the call before was dropped.
pub type Open = Box<dyn Fn() -> Result<Arc<dyn Journal>> + Send + Sync>;

/// Runs every law, each in a place of its own that `fresh` makes.
///
/// # Errors
///
/// The first law that does not hold.
pub async fn check_all(ctx: &Ctx, fresh: &(dyn Fn() -> Result<Open> + Sync)) -> Lawful {
    law_1_batches_are_atomic(ctx, &place(&ATOMIC, fresh)?).await?;
    law_2_conflicts_write_nothing(ctx, &place(&CONFLICT, fresh)?).await?;
    law_3_reads_exactly(ctx, &place(&EXACT, fresh)?).await?;
    law_4_numbers_start_at_one(ctx, &place(&FROM_ONE, fresh)?).await?;
    law_5_blobs_are_there(ctx, &place(&BLOBS, fresh)?).await?;
    law_6_one_holder(ctx, &place(&LEASE, fresh)?).await?;
    law_7_survives_opening_again(ctx, &place(&REOPEN, fresh)?).await?;
    law_8_names_only_checkpoints(ctx, &place(&CHECKPOINT, fresh)?).await
}

fn place(law: &Law, fresh: &(dyn Fn() -> Result<Open> + Sync)) -> Lawful<Open> {
    law.works("making a place", fresh())
}

/// Law 1.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_1_batches_are_atomic(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &ATOMIC;
    let mut pen = Pen::claim(law, ctx, open).await?;
    for n in [1, 3, 2] {
        let batch = pen.batch(law, n, false)?;
        let appended = law.works("an append", pen.journal.append(ctx, &batch).await)?;
        law.same("the first number", &appended.first_seq, &batch.expected_seq)?;
        law.same("the last number", &appended.last_seq, &(batch.expected_seq + n - 1))?;
        let found = pen.read_all(law, ctx, batch.expected_seq).await?;
        law.same("what is there right after the append", &found, &batch.records)?;
        pen.keep(batch);
    }
    let mut refused = pen.batch(law, 3, true)?;
    refused.expected_seq += 1;
    law.hold(pen.journal.append(ctx, &refused).await.is_err(), || "a batch with a wrong number was taken".to_owned())?;
    let head = pen.read(law, ctx, 1, 100).await?.head;
    law.same("the head after a batch that was refused", &head, &pen.chain.next_seq())
}

/// Law 2.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_2_conflicts_write_nothing(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &CONFLICT;
    let mut pen = Pen::claim(law, ctx, open).await?;
    pen.append(law, ctx, 2, false).await?;
    let good = pen.batch(law, 1, false)?;
    let wrong = [
        ("an append with a number too high", Batch { expected_seq: good.expected_seq + 1, ..good.clone() }),
        ("an append with a number used before", Batch { expected_seq: good.expected_seq - 1, ..good.clone() }),
        ("an append with an epoch that is over", Batch { epoch: good.epoch - 1, ..good.clone() }),
        ("an append with an epoch to come", Batch { epoch: good.epoch + 1, ..good.clone() }),
    ];
    for (what, batch) in &wrong {
        law.fails(what, ErrorKind::Conflict, pen.journal.append(ctx, batch).await)?;
        let found = pen.read_all(law, ctx, 1).await?;
        law.same(&format!("the journal after {what}"), &found, &pen.written)?;
    }
    law.works("the right append afterwards", pen.journal.append(ctx, &good).await)?;
    law.fails("the same append again", ErrorKind::Conflict, pen.journal.append(ctx, &good).await)
}

/// Law 3.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_3_reads_exactly(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &EXACT;
    let mut pen = Pen::claim(law, ctx, open).await?;
    for n in [1, 4, 2, 1, 5] {
        pen.append(law, ctx, n, n == 2).await?;
    }
    for seq in 1..=pen.written.len() as u64 {
        for max in [1, 2, 100] {
            let page = pen.read(law, ctx, seq, max).await?;
            let start = seq as usize - 1;
            law.hold(!page.records.is_empty() && page.records.len() <= max, || {
                format!("a page of at most {max} from {seq} on has {} records", page.records.len())
            })?;
            let wanted = pen.written.get(start..start + page.records.len()).unwrap_or_default();
            law.hold(page.records == wanted, || format!("the page from {seq} on is not what was appended"))?;
        }
    }
    let all = pen.read_all(law, ctx, 1).await?;
    law.hold(all == pen.written, || format!("page by page {} of {} records come", all.len(), pen.written.len()))
}

/// Law 4.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_4_numbers_start_at_one(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &FROM_ONE;
    let mut pen = Pen::claim(law, ctx, open).await?;
    law.same("an empty journal's page", &pen.read(law, ctx, 1, 10).await?, &Page { records: Vec::new(), head: 1 })?;
    pen.append(law, ctx, 3, false).await?;
    let first = pen.read(law, ctx, 1, 1).await?.records.first().map(|record| record.seq);
    law.same("the first number", &first, &Some(1))?;
    for seq in [4, 5, 1000] {
        let page = pen.read(law, ctx, seq, 10).await?;
        law.same(&format!("the page from {seq} on"), &page, &Page { records: Vec::new(), head: 4 })?;
    }
    Ok(())
}

/// Law 5.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_5_blobs_are_there(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &BLOBS;
    let mut pen = Pen::claim(law, ctx, open).await?;
    let unknown = Digest::of(b"nobody wrote this");
    law.fails("asking for an unknown blob", ErrorKind::NotFound, pen.journal.blob(ctx, &unknown).await)?;
    let blobs = pen.append(law, ctx, 2, true).await?;
    law.hold(!blobs.is_empty(), || "the law wrote no blob".to_owned())?;
    for blob in &blobs {
        let bytes = law.works("reading a blob", pen.journal.blob(ctx, &blob.digest).await)?;
        law.hold(bytes == blob.bytes, || "a blob came back with another content".to_owned())?;
    }
    Ok(())
}

/// Law 6. Waits for a lease of a fifth of a second to end.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_6_one_holder(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &LEASE;
    let mut pen = Pen::claim(law, ctx, open).await?;
    let other = Holder { name: name(law, "other")?, ttl_ms: TTL_MS };
    law.fails("a claim by another name", ErrorKind::Conflict, pen.journal.claim(ctx, &other).await)?;
    let renewed = law.works("renewing", pen.journal.claim(ctx, &pen.holder).await)?;
    law.same("the epoch of a renewed lease", &renewed.epoch, &pen.lease.epoch)?;
    pen.append(law, ctx, 1, false).await?;

    law.works("waiting", ctx.sleep("law", Duration::from_millis(TTL_MS + 50)).await)?;
    let taken = law.works("a claim after the lease ended", pen.journal.claim(ctx, &other).await)?;
    law.hold(taken.epoch > pen.lease.epoch, || {
        format!("the new holder's epoch is {}, the old one's was {}", taken.epoch, pen.lease.epoch)
    })?;
    law.same("the head told to the new holder", &taken.head, &pen.chain.next_seq())?;
    let late = pen.batch(law, 1, false)?;
    law.fails("an append by the old holder", ErrorKind::Conflict, pen.journal.append(ctx, &late).await)?;
    law.fails("a claim by the old holder", ErrorKind::Conflict, pen.journal.claim(ctx, &pen.holder).await)?;
    let batch = Batch { epoch: taken.epoch, ..late };
    law.works("an append by the new holder", pen.journal.append(ctx, &batch).await).map(|_| ())
}

/// Law 7.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_7_survives_opening_again(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &REOPEN;
    let mut blobs = Vec::new();
    let mut pen = Pen::claim(law, ctx, open).await?;
    for round in 1..=3 {
        blobs.extend(pen.append(law, ctx, round, round == 2).await?);
        let epoch = pen.lease.epoch;
        pen = pen.reopen(law, ctx, open).await?;
        law.hold(pen.lease.epoch >= epoch, || format!("epoch {} came after epoch {epoch}", pen.lease.epoch))?;
        law.same("the head told after opening again", &pen.lease.head, &pen.chain.next_seq())?;
        let found = pen.read_all(law, ctx, 1).await?;
        law.hold(found == pen.written, || format!("{} of {} records are there", found.len(), pen.written.len()))?;
        for blob in &blobs {
            let bytes = law.works("reading a blob", pen.journal.blob(ctx, &blob.digest).await)?;
            law.hold(bytes == blob.bytes, || "a blob came back with another content".to_owned())?;
        }
    }
    Ok(())
}

/// Law 8.
///
/// # Errors
///
/// When it does not hold.
pub async fn law_8_names_only_checkpoints(ctx: &Ctx, open: &Open) -> Lawful {
    let law = &CHECKPOINT;
    let mut pen = Pen::claim(law, ctx, open).await?;
    law.same("the checkpoint of an empty journal", &pen.lease.checkpoint, &None)?;
    let mut marked = Vec::new();
    for n in [2, 1, 3, 1] {
        pen.append(law, ctx, n, false).await?;
        if n != 2 {
            let batch = Batch { checkpoint: true, ..pen.batch(law, n, n == 3)? };
            law.works("an append with a checkpoint", pen.journal.append(ctx, &batch).await)?;
            marked.extend(batch.records.last().map(|record| record.seq));
            pen.keep(batch);
        }
        pen = pen.reopen(law, ctx, open).await?;
        let told = pen.lease.checkpoint;
        law.hold(told.is_none_or(|seq| marked.contains(&seq)), || {
            format!("{told:?} is told as a checkpoint, {marked:?} were appended as such")
        })?;
    }
    Ok(())
}

fn name(law: &Law, text: &str) -> Lawful<PartName> {
    law.works("naming a holder", PartName::new(text))
}

/// Writes records as the gate does.
struct Pen {
    journal: Arc<dyn Journal>,
    holder: Holder,
    lease: Lease,
    chain: Chain,
    written: Vec<EncodedRecord>,
}

impl Pen {
    async fn claim(law: &Law, ctx: &Ctx, open: &Open) -> Lawful<Self> {
        let journal = law.works("opening", open())?;
        let holder = Holder { name: name(law, "writer")?, ttl_ms: TTL_MS };
        let lease = law.works("the first claim", journal.claim(ctx, &holder).await)?;
        Ok(Self { journal, holder, lease, chain: Chain::default(), written: Vec::new() })
    }

    async fn reopen(self, law: &Law, ctx: &Ctx, open: &Open) -> Lawful<Self> {
        let Self { journal, chain, written, .. } = self;
        drop(journal);
        Ok(Self { chain, written, ..Self::claim(law, ctx, open).await? })
    }

    /// A batch of `n` records that would come next; with `large`, the first of them is kept in a blob.
    fn batch(&self, law: &Law, n: u64, large: bool) -> Lawful<Batch> {
        let mut chain = self.chain.clone();
        let seq = chain.next_seq();
        let body = |i: u64| {
            let fill = if large && i == 0 { crate::journal::MAX_INLINE_BYTES } else { 7 };
            Body::Event(Event::TimerFired { timer: format!("{seq}-{i}-{}", "\u{e4}\u{1F600}\"\\".repeat(fill / 7)) })
        };
        let at = crate::time::ManualClock::new();
        let encoded = chain.encode(&crate::time::Clock::now(&at), (0..n).map(body).collect());
        let (_, records, blobs) = law.works("encoding records", encoded)?;
        Ok(Batch { expected_seq: seq, epoch: self.lease.epoch, checkpoint: false, blobs, records })
    }

    fn keep(&mut self, batch: Batch) {
        if let Some(last) = batch.records.last() {
            self.chain = Chain::after(last.seq, last.hash);
        }
        self.written.extend(batch.records);
    }

    async fn append(&mut self, law: &Law, ctx: &Ctx, n: u64, large: bool) -> Lawful<Vec<Blob>> {
        let batch = self.batch(law, n, large)?;
        law.works("an append", self.journal.append(ctx, &batch).await)?;
        let blobs = batch.blobs.clone();
        self.keep(batch);
        Ok(blobs)
    }

    async fn read(&self, law: &Law, ctx: &Ctx, seq: u64, max: usize) -> Lawful<Page> {
        law.works("reading", self.journal.read(ctx, &ReadFrom { seq, max }).await)
    }

    /// Everything from `seq` on, page by page: a journal may give less than is asked for, but never nothing before the head.
    async fn read_all(&self, law: &Law, ctx: &Ctx, seq: u64) -> Lawful<Vec<EncodedRecord>> {
        let mut all = Vec::new();
        loop {
            let page = self.read(law, ctx, seq + all.len() as u64, 3).await?;
            if page.records.is_empty() {
                return Ok(all);
            }
            all.extend(page.records);
        }
    }
}
