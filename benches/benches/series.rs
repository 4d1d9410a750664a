//! Series: values a second that one core watches, with a model each, rows of metrics that belong together, and slow rises.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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

criterion_group!(benches, one, many, leak);
criterion_main!(benches);
