//! The basic tier: values a second on one core from a thousand to a million series, and through the detector.
//!
//! Series come in rounds, each once, as scrapes bring them: every model is touched, and none is in the cache when there are many.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use incident_response::core::{
    Ctx, Detector, EntityId, Labels, ManualClock, MetricKind, MetricSample, Series, SignalBatch, Timestamp,
};
use incident_response::detect::basic::{BasicConfig, BasicModel};
use incident_response::detect::{BasicSeriesConfig, BasicSeriesDetector};

/// Rounds before the measurement: the models speak.
const LEARN: u32 = 128;

/// Noise around a level: cheap, since it is measured as well.
fn value(round: u32, of: u32) -> f64 {
    let mixed =
        u64::from(round).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(of).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    100.0 + ((mixed ^ (mixed >> 29)) >> 40) as f64 / f64::from(1_u32 << 24)
}

/// How many series there are: the large numbers are for measuring, since filling the histories of a million takes a while.
fn sizes(of: &[u32]) -> &[u32] {
    let measures = std::env::args().any(|argument| argument == "--bench");
    if measures { of } else { of.get(..1).unwrap_or(of) }
}

/// Kilobytes of this process that are in memory.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

fn models(c: &mut Criterion) {
    let config = BasicConfig::default();
    let mut group = c.benchmark_group("basic");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    println!("basic: {} bytes a model", size_of::<BasicModel>());
    for &series in sizes(&[1_000, 10_000, 100_000, 1_000_000]) {
        let mut all = vec![BasicModel::default(); series as usize];
        let mut round = 0_u32;
        let mut next = || {
            round += 1;
            let secs = f64::from(round) * 15.0;
            let judge = |(of, model): (u32, &mut BasicModel)| model.push(secs, value(round, of), &config).alert;
            (0..).zip(&mut all).map(judge).filter(|alert| *alert).count()
        };
        (0..LEARN).for_each(|_| {
            black_box(next());
        });
        group.throughput(Throughput::Elements(u64::from(series)));
        group.bench_function(format!("{series} series, a round"), |b| b.iter(&mut next));
    }
    group.finish();
}

fn detector(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap_or_else(|why| panic!("{why}"));
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let mut group = c.benchmark_group("basic");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for &series in sizes(&[1_000, 1_000_000]) {
        let before = resident_kb();
        let known: Vec<Arc<Series>> = (0..series).map(series_of).collect();
        let names = resident_kb();
        let config = BasicSeriesConfig { max_series: series as usize, ..BasicSeriesConfig::default() };
        let detector = BasicSeriesDetector::new(config).unwrap_or_else(|why| panic!("{why}"));
        let mut round = 0_u32;
        let mut batch = SignalBatch::default();
        let mut next = || {
            round += 1;
            let at = Timestamp::from_millis(i64::from(round) * 15_000);
            batch.metrics.clear();
            let sample = |(of, series): (u32, &Arc<Series>)| MetricSample {
                series: Arc::clone(series),
                at,
                value: value(round, of),
            };
            batch.metrics.extend((0..).zip(&known).map(sample));
            runtime.block_on(detector.detect(&ctx, &batch)).map_or(0, |found| found.len())
        };
        black_box(next());
        println!(
            "basic: {series} series watched by the detector: {} MB for their names, {} MB for the detector and a batch of all",
            (names - before) / 1024,
            (resident_kb() - names) / 1024
        );
        (1..LEARN).for_each(|_| {
            black_box(next());
        });
        group.throughput(Throughput::Elements(u64::from(series)));
        group.bench_function(format!("detector, {series} series, a batch"), |b| b.iter(&mut next));
    }
    group.finish();
}

fn series_of(of: u32) -> Arc<Series> {
    let entity = EntityId::new(format!("host-{:04}", of / 250)).unwrap_or_else(|why| panic!("{why}"));
    let labels: Labels = [("device", format!("disk{}", of % 250))].into_iter().collect();
    let (metric, unit) = ("node_disk_io_time".to_owned(), "seconds".to_owned());
    Arc::new(Series { entity, metric, kind: MetricKind::Gauge, unit, labels })
}

criterion_group!(benches, models, detector);
criterion_main!(benches);
