//! The series detector with samples as bad as they come, cut anywhere, stopped and read back.

use std::sync::Arc;

use ir_core::{Anomaly, Detector, Labels, MetricKind, MetricSample, Series, SignalBatch, Timestamp};
use ir_detect::series::SeriesConfig;
use ir_detect::{SeriesDetector, SeriesDetectorConfig};
use proptest::prelude::*;

use crate::laws::ctx;
use crate::shop::id;

/// One that speaks early and often, so that little is needed to see a difference.
fn detector() -> SeriesDetector {
    let model =
        SeriesConfig { warm_values: 20, limit_nats: 8.0, rest_nats: 0.5, quiet_values: 2, ..SeriesConfig::default() };
    SeriesDetector::new(SeriesDetectorConfig { model, ..SeriesDetectorConfig::default() }).unwrap()
}

fn series() -> [Arc<Series>; 4] {
    let make = |metric: &str, kind| {
        Arc::new(Series {
            entity: id("orders"),
            metric: metric.to_owned(),
            kind,
            unit: String::new(),
            labels: Labels::new(),
        })
    };
    [
        make("queue_length", MetricKind::Gauge),
        make("requests_total", MetricKind::Counter),
        make("build_info", MetricKind::Gauge),
        make("up", MetricKind::Up),
    ]
}

/// What may happen to one sample: its value, and the time since the one before in milliseconds.
fn step() -> impl Strategy<Value = (usize, i64, f64)> {
    let ten_years = 10 * 365 * 86_400_000_i64;
    let value = prop_oneof![
        4 => 0.0..100.0,
        1 => any::<f64>(),
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(f64::INFINITY), Just(0.0), Just(1e300), Just(-1e300)],
    ];
    let later = prop_oneof![6 => Just(10_000_i64), 1 => Just(0), 1 => -60_000..60_000_i64, 1 => prop_oneof![Just(ten_years), Just(-ten_years), any::<i64>()]];
    (0..4_usize, later, value)
}

fn samples(steps: &[(usize, i64, f64)]) -> Vec<MetricSample> {
    let (series, mut at, mut count) = (series(), Timestamp::from_millis(1_790_000_000_000), 0.0);
    let tame = (0..200_u32).flat_map(|n| [0, 1].map(|of| (of, 5_000, f64::from(n * 7 % 13))));
    tame.chain(steps.iter().copied())
        .map(|(of, later, value)| {
            at = Timestamp::from_nanos(at.as_nanos().saturating_add(later.saturating_mul(1_000_000)));
            // The counter counts; now and then it is reset, or is no number at all.
            count = if of == 1 && value > 90.0 { 0.0 } else { count + 1.0 };
            let value = if of == 1 && value.is_finite() { count } else { value };
            MetricSample { series: series[of].clone(), at, value }
        })
        .collect()
}

async fn detect(detector: &SeriesDetector, metrics: &[MetricSample]) -> Vec<Anomaly> {
    let batch = SignalBatch { metrics: metrics.to_vec(), ..SignalBatch::default() };
    detector.detect(&ctx(), &batch).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn samples_are_survived_cut_anywhere_and_read_back(
        steps in proptest::collection::vec(step(), 1..300), cut in any::<prop::sample::Index>(),
    ) {
        let metrics = samples(&steps);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (whole, parts, at) = (detector(), detector(), cut.index(metrics.len()));
            let expected = detect(&whole, &metrics).await;
            let mut found = detect(&parts, &metrics[..at]).await;
            let (again, snapshot) = (detector(), parts.snapshot(&ctx()).await.unwrap());
            again.restore(&ctx(), &snapshot).await.unwrap();
            found.extend(detect(&again, &metrics[at..]).await);
            assert_eq!(found, expected);
        });
    }
}

#[tokio::test]
async fn something_is_told_at_all() {
    let steps: Vec<(usize, i64, f64)> = (0..20).map(|n| (0, 10_000, if n > 10 { 5_000.0 } else { 5.0 })).collect();
    assert!(!detect(&detector(), &samples(&steps)).await.is_empty());
}
