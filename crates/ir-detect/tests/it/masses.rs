//! Masses of series and limits that somebody set: the laws, the bounds, what counters and clocks do, the size of snapshots.

use std::collections::BTreeSet;
use std::sync::Arc;

use ir_core::anomaly::KEPT_SNAPSHOTS;
use ir_core::testkit::detector;
use ir_core::{Anomaly, Detector, Feedback, Labels, MetricKind, MetricSample, Phase, Series, SignalBatch};
use ir_detect::{
    BasicSeriesConfig, BasicSeriesDetector, Detectors, Limit, LimitConfig, LimitDetector, ScrapeAssembler,
};

use crate::laws::ctx;
use crate::shop::{Rng, at, id};

fn series(entity: &str, metric: &str, kind: MetricKind) -> Arc<Series> {
    Arc::new(Series { entity: id(entity), metric: metric.into(), kind, unit: String::new(), labels: Labels::new() })
}

fn batch(series: &Arc<Series>, secs: f64, value: f64) -> SignalBatch {
    let sample = MetricSample { series: Arc::clone(series), at: at(secs), value };
    SignalBatch { metrics: vec![sample], ..SignalBatch::default() }
}

async fn all(detector: &dyn Detector, signals: impl IntoIterator<Item = SignalBatch>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for batch in signals {
        found.extend(detector.detect(&ctx(), &batch).await.unwrap());
    }
    found
}

/// A value every ten seconds: about ten, and from the 150th on about eighty for a while.
fn queue(kind: MetricKind) -> Vec<SignalBatch> {
    let (mut rng, series, mut sum) = (Rng(7), series("orders", "queue_length", kind), 0.0);
    let mut value = |n: u32| {
        let level = if (150..170).contains(&n) { 80.0 } else { 10.0 };
        let now = level + rng.unit();
        sum += 10.0 * now;
        if kind == MetricKind::Counter { sum } else { now }
    };
    (0..220).map(|n| batch(&series, f64::from(n) * 10.0, value(n))).collect()
}

fn basic() -> Arc<dyn Detector> {
    Arc::new(BasicSeriesDetector::default())
}

#[tokio::test]
async fn the_basic_tier_keeps_the_laws() {
    for kind in [MetricKind::Gauge, MetricKind::Counter] {
        detector::check_all(&ctx(), &basic, &queue(kind)).await.unwrap();
        let found = all(&basic(), queue(kind)).await;
        let phases: Vec<Phase> = found.iter().map(|anomaly| anomaly.phase).collect();
        assert_eq!((phases.first(), phases.last()), (Some(&Phase::Began), Some(&Phase::Ended)), "{found:?}");
        assert_eq!(found[0].at, at(1500.0));
        assert!(found[0].because.contains("expected queue_length near 10."), "{}", found[0].because);
        assert!(found[0].score.as_f64() < 0.4, "nobody said what the series is for: {:?}", found[0].score);
    }
}

#[tokio::test]
async fn a_counter_that_starts_again_and_a_clock_that_is_set_back_are_no_anomaly() {
    let detector = basic();
    let series = series("orders", "jobs_total", MetricKind::Counter);
    let mut rng = Rng(3);
    let mut sum = 0.0;
    let signals: Vec<SignalBatch> = (0..600_u32)
        .map(|n| {
            sum = if n == 300 { 0.0 } else { sum + 50.0 + rng.unit() };
            let secs = f64::from(n) * 10.0 - if n >= 450 { 3_000.0 } else { 0.0 };
            batch(&series, secs, sum)
        })
        .collect();
    assert_eq!(all(&detector, signals).await, []);
}

#[tokio::test]
async fn ten_thousand_new_names_push_out_nothing_and_make_room_when_they_are_old() {
    let config = BasicSeriesConfig { max_series: 1_000, ..BasicSeriesConfig::default() };
    let detector = BasicSeriesDetector::new(config).unwrap();
    let mut first = queue(MetricKind::Gauge);
    let rest = first.split_off(140);
    assert_eq!(all(&detector, first).await, []);
    let flood = |round: u32| {
        let of = |n: u32| series("orders", &format!("made_up_{round}_{n}"), MetricKind::Gauge);
        let sample = |n: u32| MetricSample { series: of(n), at: at(1395.0 + 4_000.0 * f64::from(round)), value: 1.0 };
        SignalBatch { metrics: (0..10_000).map(sample).collect(), ..SignalBatch::default() }
    };
    assert_eq!(all(&detector, [flood(0)]).await, []);
    assert_eq!(detector.watched(), 1_000);
    let found = all(&detector, rest).await;
    assert!(found.iter().any(|anomaly| anomaly.phase == Phase::Began), "the flood must not blind it: {found:?}");
    // An hour later the first flood is forgotten, and the second one takes its place.
    assert_eq!(all(&detector, [flood(1)]).await, []);
    assert_eq!(detector.watched(), 1_000);
    let later = queue(MetricKind::Gauge).into_iter().map(|mut batch| {
        let other = series("orders", "another_queue", MetricKind::Gauge);
        for sample in &mut batch.metrics {
            (sample.at, sample.series) = (sample.at.plus(std::time::Duration::from_secs(10_000)), other.clone());
        }
        batch
    });
    assert!(!all(&detector, later).await.is_empty(), "there is room again");
}

#[tokio::test]
async fn a_source_that_shares_nothing_is_watched_as_well() {
    let alone = queue(MetricKind::Gauge).into_iter().map(|mut batch| {
        batch.metrics.iter_mut().for_each(|sample| sample.series = Arc::new(Series::clone(&sample.series)));
        batch
    });
    let detector = BasicSeriesDetector::default();
    let found = all(&detector, alone).await;
    assert_eq!(detector.watched(), 1);
    assert_eq!(found, all(&basic(), queue(MetricKind::Gauge)).await);
}

#[tokio::test]
async fn complaints_make_the_basic_tier_less_sensitive() {
    let (plain, told) = (basic(), basic());
    let mut signals = queue(MetricKind::Gauge);
    let rest = signals.split_off(200);
    let found = all(&told, signals.clone()).await;
    all(&plain, signals).await;
    for _ in 0..20 {
        let anomaly = found[0].id.clone();
        told.feedback(&ctx(), &Feedback::FalseAlarm { anomaly }).await.unwrap();
    }
    // What comes after a long while is told by the one and not by the other.
    let (mut rng, series) = (Rng(9), series("orders", "queue_length", MetricKind::Gauge));
    let value = |n: u32, noise: f64| if n < 3_000 { 10.0 + noise } else { 500.0 };
    let again = (0..3_005).map(|n| batch(&series, 2_200.0 + f64::from(n) * 10.0, value(n, rng.unit())));
    let tail: Vec<SignalBatch> = rest.into_iter().chain(again).collect();
    let begun = |found: Vec<Anomaly>| found.into_iter().filter(|anomaly| anomaly.phase == Phase::Began).count();
    assert_eq!((begun(all(&plain, tail.clone()).await), begun(all(&told, tail).await)), (1, 0));
}

fn limits() -> Arc<dyn Detector> {
    let above = Limit { above: Some(50.0), for_secs: 30.0, ..Limit::new("queue-too-long", "queue_length") };
    let rises = Limit { rises_by: Some(40.0), over_secs: 60.0, ..Limit::new("queue-jumps", "queue_length") };
    let other = Limit { above: Some(0.0), entities: BTreeSet::from([id("ledger")]), ..rises.clone() };
    let other = Limit { name: "elsewhere".into(), ..other };
    Arc::new(LimitDetector::new(LimitConfig { limit: vec![above, rises, other], ..LimitConfig::default() }).unwrap())
}

#[tokio::test]
async fn limits_keep_the_laws_and_say_which_was_broken() {
    for kind in [MetricKind::Gauge, MetricKind::Counter] {
        detector::check_all(&ctx(), &limits, &queue(kind)).await.unwrap();
        let found = all(&limits(), queue(kind)).await;
        let told: Vec<(&str, Phase, f64)> = found
            .iter()
            .map(|anomaly| (anomaly.subject.as_str(), anomaly.phase, anomaly.at.as_secs_f64() - at(0.0).as_secs_f64()))
            .collect();
        let want = [
            ("queue-jumps", Phase::Began, 1500.0),
            ("queue-too-long", Phase::Began, 1530.0),
            // A minute after the jump the minute before it holds no low value any more, and four looks end an episode.
            ("queue-jumps", Phase::Ended, 1590.0),
            ("queue-too-long", Phase::Ended, 1730.0),
        ];
        assert_eq!(told, want, "{found:?}");
        assert!(found[1].because.starts_with("queue_length is 80."), "{}", found[1].because);
        assert!(found[1].because.contains("above the limit of 50 that was set"), "{}", found[1].because);
        assert!(found[0].because.contains("within 60 s, and by no more than 40 is allowed"), "{}", found[0].because);
        assert!(found[1].score.as_f64() > 0.6);
    }
}

/// One scrape of entities with five series each, with noise in every digit of the gauges, which therefore do not compress.
fn telemetry(entities: u32, number: u32, rng: &mut Rng) -> SignalBatch {
    let at = at(f64::from(number) * 15.0);
    let mut metrics = Vec::new();
    for n in 0..entities {
        let entity = format!("svc-{n}");
        let mut add = |metric: &str, kind, labels: &[(&str, &str)], value: f64| {
            let labels = labels.iter().copied().collect();
            let series = Series { labels, ..Series::clone(&series(&entity, metric, kind)) };
            metrics.push(MetricSample { series: Arc::new(series), at, value });
        };
        let mut total = |code, per_secs: f64| {
            let value = (per_secs * (15.0 * f64::from(number) + 10.0 * rng.unit())).floor();
            add("http_requests_total", MetricKind::Counter, &[("code", code), ("route", "/")], value);
        };
        total("200", 700.0);
        total("500", 1.0);
        add("process_resident_memory_bytes", MetricKind::Gauge, &[], 1e8 + 1e6 * rng.unit());
        add("process_start_time_seconds", MetricKind::Gauge, &[], 1.6e9);
        add("up", MetricKind::Up, &[], 1.0);
    }
    SignalBatch { metrics, ..SignalBatch::default() }
}

#[tokio::test]
async fn the_snapshots_of_ten_thousand_series_take_no_more_than_50_mb() {
    const ENTITIES: u32 = 40;
    let (mut assembler, detectors, mut rng) = (ScrapeAssembler::default(), Detectors::standard(), Rng(11));
    // Enough to fill every window that a standard detector remembers.
    for number in 0..300 {
        let mut batch = telemetry(ENTITIES, number, &mut rng);
        assembler.assemble(&mut batch);
        for detector in &detectors {
            detector.detect(&ctx(), &batch).await.unwrap();
        }
    }
    let mut bytes = assembler.snapshot().unwrap().bytes.len();
    for detector in &detectors {
        bytes += detector.snapshot(&ctx()).await.unwrap().bytes.len();
    }
    // Each entity and each series adds the same.
    let of_ten_thousand = bytes * KEPT_SNAPSHOTS * 2_000 / ENTITIES as usize;
    println!("{of_ten_thousand} bytes for 2,000 entities with five series each");
    assert!(of_ten_thousand <= 50_000_000, "{of_ten_thousand}");
}
