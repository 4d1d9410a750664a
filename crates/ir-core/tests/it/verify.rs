//! Verifying a journal through its trait.

use std::sync::Arc;

use async_trait::async_trait;
use ir_core::journal::{Appended, Batch, Body, Chain, Event, Holder, Lease, MAX_INLINE_BYTES, Page, ReadFrom, verify};
use ir_core::testkit::AutoClock;
use ir_core::{Ctx, Digest, Journal, MemoryJournal, PartName, Result};

/// Gives every blob another content.
#[derive(Debug)]
struct ChangesBlobs(MemoryJournal);

#[async_trait]
impl Journal for ChangesBlobs {
    fn name(&self) -> &str {
        "changes blobs"
    }
    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        self.0.append(ctx, batch).await
    }
    async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        self.0.read(ctx, from).await
    }
    async fn blob(&self, _ctx: &Ctx, _digest: &Digest) -> Result<Arc<[u8]>> {
        Ok(Arc::from(b"something else".as_slice()))
    }
    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        self.0.claim(ctx, holder).await
    }
}

#[tokio::test]
async fn with_a_damaged_blob_the_head_is_that_of_the_last_sound_record() {
    let ctx = Ctx::new(Arc::new(AutoClock::new()));
    let journal = MemoryJournal::new();
    let holder = Holder { name: PartName::new("writer").unwrap(), ttl_ms: 1_000 };
    let epoch = journal.claim(&ctx, &holder).await.unwrap().epoch;
    let mut chain = Chain::default();
    let timer = |n: usize| Body::Event(Event::TimerFired { timer: "x".repeat(n) });
    let bodies = vec![timer(1), timer(MAX_INLINE_BYTES + 1), timer(2)];
    let (_, records, blobs) = chain.encode(&ctx.now(), bodies).unwrap();
    let first = records[0].hash;
    journal.append(&ctx, &Batch { expected_seq: 1, epoch, checkpoint: false, blobs, records }).await.unwrap();
    assert_eq!(verify(&ctx, &journal).await.unwrap().head, chain.prev());

    let report = verify(&ctx, &ChangesBlobs(journal)).await.unwrap();
    assert_eq!(report.fault.as_ref().map(|fault| fault.seq), Some(2));
    assert_eq!((report.records, report.head), (1, first));
}
