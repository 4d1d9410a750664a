//! The machine: one quiet round, and replaying a journal of them.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use incident_response::core::journal::{Batch, Body, Chain, Holder, Journal};
use incident_response::core::{Ctx, ManualClock, MemoryJournal, PartName};
use incident_response::machine::Machine;
use incident_response::replay;
use ir_bench::{later, quiet_round, start, started};

fn apply(c: &mut Criterion) {
    let start = start();
    let mut group = c.benchmark_group("engine/apply");
    group.throughput(Throughput::Elements(1));
    for n_entities in [4, 1000] {
        let mut machine = Machine::new();
        machine.apply(&start, &started(n_entities).unwrap()).unwrap();
        let mut n = 0;
        group.bench_function(format!("quiet round, {n_entities} entities"), |b| {
            b.iter(|| {
                n += 1;
                machine.apply(&later(&start, n * 500), &quiet_round(n)).unwrap()
            });
        });
    }
    group.finish();
}

fn replay_quiet(c: &mut Criterion) {
    const ROUNDS: u64 = 2_000;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let journal = MemoryJournal::new();
    let holder = Holder { name: PartName::literal("bench"), ttl_ms: 3_600_000 };
    let epoch = runtime.block_on(journal.claim(&ctx, &holder)).unwrap().epoch;
    let mut chain = Chain::default();
    let first = start();
    for n in 0..ROUNDS {
        let event = if n == 0 { started(4).unwrap() } else { quiet_round(n) };
        let expected_seq = chain.next_seq();
        let (_, records, blobs) = chain.encode(&later(&first, n * 500), vec![Body::Event(event)]).unwrap();
        runtime
            .block_on(journal.append(&ctx, &Batch { expected_seq, epoch, checkpoint: false, blobs, records }))
            .unwrap();
    }
    let mut group = c.benchmark_group("engine/replay");
    group.throughput(Throughput::Elements(ROUNDS)).sample_size(10);
    group.bench_function("2,000 quiet rounds", |b| {
        b.iter(|| {
            let report = runtime.block_on(replay(&ctx, &journal)).unwrap();
            assert_eq!((report.records, report.difference), (ROUNDS, None));
        });
    });
    group.finish();
}

criterion_group!(benches, apply, replay_quiet);
criterion_main!(benches);
