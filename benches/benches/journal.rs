//! The journal: encoding, durable appends beside a bare `fdatasync` of as many bytes, verifying.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::io::Write;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use incident_response::adapters::clock::SystemClock;
use incident_response::adapters::file::{FileJournal, verify};
use incident_response::core::journal::{Batch, Chain, Holder, Journal};
use incident_response::core::{Ctx, PartName};
use ir_bench::{quiet_bodies, start};

fn encode(c: &mut Criterion) {
    let bodies = quiet_bodies(100);
    let mut group = c.benchmark_group("journal/encode");
    group.throughput(Throughput::Elements(100));
    group.bench_function("100 quiet rounds", |b| {
        b.iter_batched(
            || bodies.clone(),
            |bodies| Chain::default().encode(&start(), bodies).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// One record made durable, against the same bytes written and synced by hand: the ratio is the cost of the journal.
fn append(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let journal = FileJournal::open(folder.path().join("journal")).unwrap();
    let holder = Holder { name: PartName::literal("bench"), ttl_ms: 3_600_000 };
    let lease = runtime.block_on(journal.claim(&ctx, &holder)).unwrap();
    let mut chain = Chain::default();
    let mut group = c.benchmark_group("journal/durable");
    group.sample_size(20);
    group.bench_function("append one record", |b| {
        b.iter(|| {
            let expected_seq = chain.next_seq();
            let (_, records, blobs) = chain.encode(&start(), quiet_bodies(1)).unwrap();
            let batch = Batch { expected_seq, epoch: lease.epoch, checkpoint: false, blobs, records };
            runtime.block_on(journal.append(&ctx, &batch)).unwrap()
        });
    });
    let mut file = std::fs::File::create(folder.path().join("bare")).unwrap();
    let (_, records, _) = Chain::default().encode(&start(), quiet_bodies(1)).unwrap();
    group.bench_function("bare write and fdatasync", |b| {
        b.iter(|| {
            file.write_all(&records[0].bytes).unwrap();
            file.sync_data().unwrap();
        });
    });
    group.finish();
}

fn verify_at_rest(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    {
        let journal = FileJournal::open(folder.path()).unwrap();
        let holder = Holder { name: PartName::literal("bench"), ttl_ms: 3_600_000 };
        let epoch = runtime.block_on(journal.claim(&ctx, &holder)).unwrap().epoch;
        let (_, records, blobs) = Chain::default().encode(&start(), quiet_bodies(10_000)).unwrap();
        let batch = Batch { expected_seq: 1, epoch, checkpoint: false, blobs, records };
        runtime.block_on(journal.append(&ctx, &batch)).unwrap();
    }
    let mut group = c.benchmark_group("journal/verify");
    group.throughput(Throughput::Elements(10_000)).sample_size(10);
    group.bench_function("10,000 records at rest", |b| {
        b.iter(|| assert_eq!(verify(folder.path()).unwrap().fault, None))
    });
    group.finish();
}

criterion_group!(benches, encode, append, verify_at_rest);
criterion_main!(benches);
