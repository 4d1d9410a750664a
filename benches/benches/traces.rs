//! Traces: spans a second through the join, the looks and the comparison, for requests of eight spans among forty services.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use incident_response::core::signal::Span;
use incident_response::core::{Ctx, Detector, EntityId, ManualClock, SignalBatch, Timestamp};
use incident_response::detect::traces::{TraceConfig, TraceDetector};

const SERVICES: u64 = 40;
/// Requests of a batch, which is a second of them.
const REQUESTS: u64 = 500;
const DEPTH: u64 = 4;

/// One second of requests: each goes through four services, with the caller's and the callee's span of each call.
fn second(n: u64) -> SignalBatch {
    let mut spans = Vec::new();
    for request in 0..REQUESTS {
        let trace = n * REQUESTS + request + 1;
        for hop in 0..DEPTH {
            let entity = EntityId::new(format!("s{}", (request + hop * 7) % SERVICES)).unwrap();
            let at =
                Timestamp::from_nanos(((n + 1_000_000) * 1_000_000_000 + request * 1_900_000 + hop * 2_000_000) as i64);
            let duration_ns = 20_000_000 - hop * 4_000_000 + trace * 7919 % 1_000_000;
            let server = Span {
                entity,
                trace_id: format!("{trace:032x}"),
                span_id: format!("{:016x}", hop * 2 + 1),
                parent_id: (hop > 0).then(|| format!("{:016x}", hop * 2)),
                operation: format!("GET /{}", request % 5),
                at,
                duration_ns,
                error: false,
            };
            let client = Span {
                span_id: format!("{:016x}", hop * 2 + 2),
                parent_id: Some(server.span_id.clone()),
                at: at.plus(Duration::from_millis(1)),
                duration_ns: duration_ns - 2_000_000,
                ..server.clone()
            };
            spans.extend([server, client]);
        }
    }
    SignalBatch { spans, ..SignalBatch::default() }
}

fn settled(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let detector = TraceDetector::new(TraceConfig::default()).unwrap();
    let mut n = 0;
    let mut next = || {
        n += 1;
        second(n)
    };
    for _ in 0..60 {
        runtime.block_on(detector.detect(&ctx, &next())).unwrap();
    }
    let mut group = c.benchmark_group("traces");
    group.throughput(Throughput::Elements(REQUESTS * DEPTH * 2));
    group.bench_function("settled", |b| {
        b.iter_batched(
            &mut next,
            |batch| runtime.block_on(detector.detect(&ctx, &batch)).unwrap(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, settled);
criterion_main!(benches);
