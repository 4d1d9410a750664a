//! Detection: the scrape assembler, every standard detector and the observation store over the scrapes of services in health.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use incident_response::core::{Ctx, Detector, ManualClock, SignalBatch};
use incident_response::detect::observations::{ObservationStore, ObservationStoreConfig};
use incident_response::detect::{Detectors, ScrapeAssembler};
use ir_bench::Telemetry;

const SERVICES: usize = 100;
/// Scrapes before the measurement: thirty seconds of learning at half a second each.
const LEARN: usize = 60;
/// Services of a whole cycle, of fifteen series each: some 10,000 and 100,000 series.
const CYCLES: [(&str, usize); 2] = [("cycle of 10,000 series", 667), ("cycle of 100,000 series", 6_667)];

/// Telemetry that an assembler stands before, as in the engine.
struct Assembled {
    telemetry: Telemetry,
    assembler: ScrapeAssembler,
}

impl Assembled {
    fn new(services: usize) -> Self {
        Self { telemetry: Telemetry::new(services).unwrap(), assembler: ScrapeAssembler::default() }
    }

    fn next(&mut self) -> SignalBatch {
        let mut batch = self.telemetry.look();
        self.assembler.assemble(&mut batch);
        batch
    }
}

fn assembler(c: &mut Criterion) {
    let Assembled { mut telemetry, mut assembler } = Assembled::new(SERVICES);
    let n_samples = telemetry.look().len();
    let mut group = c.benchmark_group("detect");
    group.throughput(Throughput::Elements(n_samples as u64));
    group.bench_function("scrape assembler", |b| {
        b.iter_batched(|| telemetry.look(), |mut batch| assembler.assemble(&mut batch), BatchSize::SmallInput);
    });
    group.finish();
}

fn detectors(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let mut group = c.benchmark_group("detect");
    for detector in Detectors::standard() {
        let mut assembled = Assembled::new(SERVICES);
        let mut n_samples = 0;
        for _ in 0..LEARN {
            let batch = assembled.next();
            n_samples = batch.len();
            runtime.block_on(detector.detect(&ctx, &batch)).unwrap();
        }
        group.throughput(Throughput::Elements(n_samples as u64));
        group.bench_function(detector.name().to_owned(), |b| {
            b.iter_batched(
                || assembled.next(),
                |batch| runtime.block_on(detector.detect(&ctx, &batch)).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn store(c: &mut Criterion) {
    let store = ObservationStore::default();
    let mut assembled = Assembled::new(SERVICES);
    let n_samples = assembled.next().len();
    let mut group = c.benchmark_group("detect");
    group.throughput(Throughput::Elements(n_samples as u64));
    group.bench_function("observation store", |b| {
        b.iter_batched(|| assembled.next(), |batch| store.observe(&batch), BatchSize::SmallInput);
    });
    group.finish();
}

/// What the engine does with the samples of one poll cycle: assemble, store, all standard detectors.
fn cycle(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let mut group = c.benchmark_group("detect");
    group.sample_size(10);
    for (name, services) in CYCLES {
        let config = ObservationStoreConfig { max_series: 200_000, ..ObservationStoreConfig::default() };
        let (store, detectors) = (ObservationStore::new(config).unwrap(), Detectors::standard());
        let Assembled { mut telemetry, mut assembler } = Assembled::new(services);
        let mut cycle = |mut batch: SignalBatch| {
            assembler.assemble(&mut batch);
            store.observe(&batch);
            for detector in &detectors {
                runtime.block_on(detector.detect(&ctx, &batch)).unwrap();
            }
        };
        for _ in 0..LEARN {
            cycle(telemetry.look());
        }
        group.throughput(Throughput::Elements(telemetry.look().len() as u64));
        group.bench_function(name, |b| b.iter_batched(|| telemetry.look(), &mut cycle, BatchSize::LargeInput));
    }
    group.finish();
}

criterion_group!(benches, assembler, detectors, store, cycle);
criterion_main!(benches);
