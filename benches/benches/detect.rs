//! Detection: every standard detector over the looks at a hundred services in health, in samples a second.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use incident_response::core::{Ctx, Detector, ManualClock};
use incident_response::detect::Detectors;
use incident_response::detect::observations::ObservationStore;
use ir_bench::Telemetry;

const SERVICES: usize = 100;
/// Looks before the measurement: thirty seconds of learning at half a second each.
const LEARN: usize = 60;

fn detectors(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let mut group = c.benchmark_group("detect");
    for detector in Detectors::standard() {
        let mut telemetry = Telemetry::new(SERVICES).unwrap();
        let mut n_samples = 0;
        for _ in 0..LEARN {
            let look = telemetry.look();
            n_samples = look.len();
            runtime.block_on(detector.detect(&ctx, &look)).unwrap();
        }
        group.throughput(Throughput::Elements(n_samples as u64));
        group.bench_function(detector.name().to_owned(), |b| {
            b.iter_batched(
                || telemetry.look(),
                |look| runtime.block_on(detector.detect(&ctx, &look)).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn store(c: &mut Criterion) {
    let store = ObservationStore::default();
    let mut telemetry = Telemetry::new(SERVICES).unwrap();
    let n_samples = telemetry.look().len();
    let mut group = c.benchmark_group("detect");
    group.throughput(Throughput::Elements(n_samples as u64));
    group.bench_function("observation store", |b| {
        b.iter_batched(|| telemetry.look(), |look| store.observe(&look), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, detectors, store);
criterion_main!(benches);
