//! Series: values a second that one core watches, with a model each, rows of metrics that belong together, and slow rises; and
//! what other crates need for the same values.

use std::hint::black_box;

use augurs_outlier::{DbscanDetector, OutlierDetector};
use changepoint::{BocpdLike, BocpdTruncated};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use incident_response::detect::basic::{BasicConfig, BasicModel};
use incident_response::detect::forecast::{LeakConfig, LeakModel};
use incident_response::detect::multi::{MultiConfig, MultiModel};
use incident_response::detect::series::{SeriesConfig, SeriesModel};

/// Values before the measurement: all histories are full.
const LEARN: u32 = 20_000;

/// A day's wave with noise, a value every five minutes.
fn value(step: u32, of: u32) -> f64 {
    let mixed = u64::from(step).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(of);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let noise = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    100.0 + 30.0 * (f64::from(step) / 288.0 * std::f64::consts::TAU).sin() + 10.0 * noise
}

/// The full stack. Values are made beforehand: the sine would be a tenth of what is measured.
fn one(c: &mut Criterion) {
    let (config, mut model, mut step) = (SeriesConfig::default(), SeriesModel::default(), 0_usize);
    let values: Vec<f64> = (0..60 * 288).map(|step| value(step, 0)).collect();
    let mut next = || {
        step += 1;
        model.push(step as f64 * 300.0, values[step % values.len()], &config)
    };
    (0..LEARN).for_each(|_| {
        black_box(next());
    });
    let mut group = c.benchmark_group("series");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one model, a value", |b| b.iter(&mut next));
    group.finish();
}

fn many(c: &mut Criterion) {
    let mut group = c.benchmark_group("series");
    for metrics in [8_u32, 38] {
        let (config, mut model, mut step) = (MultiConfig::default(), MultiModel::new(metrics as usize), 0_u32);
        let mut next = || {
            step += 1;
            let row: Vec<f64> = (0..metrics).map(|of| value(step, of)).collect();
            model.push(&row, &config)
        };
        (0..LEARN / 10).for_each(|_| {
            black_box(next());
        });
        group.throughput(Throughput::Elements(u64::from(metrics)));
        group.bench_function(format!("{metrics} metrics together, a row"), |b| b.iter(&mut next));
    }
    group.finish();
}

/// A value a minute is the dearest: every one of them is judged.
fn leak(c: &mut Criterion) {
    let (config, mut model, mut step) = (LeakConfig::default(), LeakModel::default(), 0_u32);
    let mut next = || {
        step += 1;
        model.push(f64::from(step) * 60.0, value(step / 5, step), false, Some(1000.0), &config)
    };
    (0..LEARN).for_each(|_| {
        black_box(next());
    });
    let mut group = c.benchmark_group("series");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one leak model, a value a minute", |b| b.iter(&mut next));
    group.finish();
}

/// Others on the same values, in the same run. The forest and the change points see one series, as `one model` does; the outliers
/// are found among 38 series over the last hour, as `38 metrics together` looks at them, and from the beginning for each row,
/// because they have no state to go on from.
fn rivals(c: &mut Criterion) {
    let mut group = c.benchmark_group("series");
    group.throughput(Throughput::Elements(1));
    let (config, mut model, mut step) = (BasicConfig::default(), BasicModel::default(), 0_u32);
    let mut next = || {
        step += 1;
        model.push(f64::from(step) * 300.0, value(step, 0), &config)
    };
    (0..LEARN).for_each(|_| {
        black_box(next());
    });
    group.bench_function("one basic model, a value", |b| b.iter(&mut next));

    let forest = rcf3::Forest::builder(1).shingle_size(8).num_trees(50).capacity(256).seed(1).build();
    let (mut forest, mut step) = (forest.unwrap_or_else(|why| panic!("{why}")), 0_u32);
    let mut next = || {
        step += 1;
        forest.update_and_score(&[value(step, 0) as f32]).unwrap_or_else(|why| panic!("{why}"))
    };
    (0..LEARN / 10).for_each(|_| {
        black_box(next());
    });
    group.bench_function("rcf3, 50 trees of 256, a value", |b| b.iter(&mut next));

    let prior = rv::prelude::NormalGamma::new_unchecked(100.0, 1.0, 1.0, 1.0);
    let (mut changes, mut step) = (BocpdTruncated::new(250.0, prior), 0_u32);
    let mut next = || {
        step += 1;
        changes.step(&value(step, 0)).len()
    };
    (0..LEARN / 10).for_each(|_| {
        black_box(next());
    });
    group.bench_function("changepoint, BocpdTruncated, a value", |b| b.iter(&mut next));

    let (metrics, rows) = (38_u32, 12_u32);
    let detector = DbscanDetector::with_sensitivity(0.5).unwrap_or_else(|why| panic!("{why}"));
    let mut step = 0_u32;
    let mut next = || {
        step += 1;
        let series: Vec<Vec<f64>> =
            (0..metrics).map(|of| (step..step + rows).map(|at| value(at, of)).collect()).collect();
        let series: Vec<&[f64]> = series.iter().map(Vec::as_slice).collect();
        let ready = detector.preprocess(&series).unwrap_or_else(|why| panic!("{why}"));
        detector.detect(&ready).unwrap_or_else(|why| panic!("{why}")).outlying_series.len()
    };
    group.throughput(Throughput::Elements(u64::from(metrics)));
    group.bench_function("augurs DBSCAN, 38 series over an hour, a row", |b| b.iter(&mut next));
    group.finish();
}

criterion_group!(benches, one, many, leak, rivals);
criterion_main!(benches);
