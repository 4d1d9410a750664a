//! A disk and a process that fill, and their neighbours that do not.

use std::sync::Arc;

use ir_core::{EntityId, Labels, MetricSample, Phase, SignalBatch};

use super::super::host::Host;
use super::*;
use crate::stats::Random;

const DAY_MINUTES: i64 = 1440;

fn series(metric: &str, label: Option<(&str, &str)>) -> Arc<Series> {
    Arc::new(Series {
        entity: EntityId::new("web").unwrap(),
        metric: metric.to_owned(),
        kind: MetricKind::Gauge,
        unit: String::new(),
        labels: label.into_iter().collect::<Labels>(),
    })
}

/// What the detector says of values that `at` gives for every fifth minute of so many days.
fn watch(days: i64, at: impl Fn(i64, &mut Random) -> Vec<(Arc<Series>, f64)>) -> Vec<Anomaly> {
    let host = Host::new(Exhaustion(ExhaustionConfig::default()));
    let (mut random, mut found) = (Random::new(7), Vec::new());
    for minute in (0..days * DAY_MINUTES).step_by(5) {
        let time = Timestamp::from_millis(minute * 60_000);
        let sample = |(series, value): (Arc<Series>, f64)| MetricSample { series, at: time, value };
        let metrics = at(minute, &mut random).into_iter().map(sample).collect();
        found.extend(host.detect(&SignalBatch { metrics, ..SignalBatch::default() }).unwrap());
    }
    found
}

#[test]
fn a_disk_that_fills_is_told_days_before_with_the_time_that_is_left() {
    let (root, data) = (
        series("node_filesystem_avail_bytes", Some(("mountpoint", "/"))),
        series("node_filesystem_avail_bytes", Some(("mountpoint", "/data"))),
    );
    // From the seventh day on, a disk of 400 GB loses 2 GB an hour: it lasts 200 hours.
    let found = watch(10, |minute, random| {
        let lost = 2e9 / 60.0 * (minute - 7 * DAY_MINUTES).max(0) as f64;
        vec![
            (Arc::clone(&root), 4e11 - lost + 3e8 * random.normal()),
            (Arc::clone(&data), 4e11 + 3e8 * random.normal()),
        ]
    });
    let began = found.first().unwrap();
    assert_eq!((began.phase, began.direction, began.symptom), (Phase::Began, Direction::Down, Symptom::Saturation));
    assert_eq!(began.labels.get("mountpoint"), Some("/"));
    assert_eq!(began.threshold, ir_core::Measured(0.0));
    let hours = |at: Timestamp| at.as_nanos() as f64 / 3.6e12 - 7.0 * 24.0;
    assert!(hours(began.at) < 24.0 && hours(began.onset).abs() < 12.0, "{began:?}");
    assert!(began.because.contains("exhausted in ") && began.because.contains("GiB"), "{}", began.because);
    assert!(found.iter().all(|anomaly| anomaly.id == began.id), "{found:#?}");
}

#[test]
fn a_leak_of_files_ends_with_its_process_and_the_limit_comes_from_the_other_metric() {
    let (open, max) = (series("process_open_fds", None), series("process_max_fds", None));
    let start = series(&MetricNames::default().start_time, None);
    let (leaks, healed) = (6 * DAY_MINUTES, 6 * DAY_MINUTES + 700);
    let found = watch(7, |minute, random| {
        let leaked = if minute < healed { (minute - leaks).max(0) } else { 0 };
        let started = if minute < healed { 1.0 } else { 2.0 };
        vec![
            (Arc::clone(&start), started),
            (Arc::clone(&open), (200.0 + 5.0 * random.normal() + 5.0 * leaked as f64).round()),
            (Arc::clone(&max), 4096.0),
        ]
    });
    let phases: Vec<Phase> = found.iter().map(|anomaly| anomaly.phase).filter(|phase| *phase != Phase::Grew).collect();
    assert_eq!(phases, [Phase::Began, Phase::Ended], "{found:#?}");
    assert_eq!(found[0].threshold, ir_core::Measured(4096.0));
    assert!(found.iter().any(|anomaly| anomaly.score > found[0].score), "{found:#?}");
    assert!(found[0].because.contains("exhausted in "), "{}", found[0].because);
}

#[test]
fn what_nobody_knows_the_end_of_is_told_when_it_grows_without_end_and_not_for_a_full_cache() {
    let memory = series("process_resident_memory_bytes", None);
    let value = |minute: i64, random: &mut Random, rise: f64| 1e9 + rise + 1e7 * random.normal() + minute as f64;
    let leaks = watch(8, |minute, random| {
        let rise = 3e5 * (minute - 6 * DAY_MINUTES).max(0) as f64;
        vec![(Arc::clone(&memory), value(minute, random, rise))]
    });
    assert!(leaks.first().unwrap().because.ends_with("where it ends is not known"));
    let fills = watch(8, |minute, random| {
        let since = (minute - 6 * DAY_MINUTES).max(0) as f64;
        vec![(Arc::clone(&memory), value(minute, random, 2e8 * (1.0 - (-since / 120.0).exp())))]
    });
    assert_eq!(fills, []);
}

#[test]
fn all_that_is_wrong_is_said() {
    let config = ExhaustionConfig {
        resources: vec![Resource::lasting("", ResourceEnd::At(f64::NAN))],
        max_series: 0,
        urgent_secs: 0.0,
        ..ExhaustionConfig::default()
    };
    assert_eq!(config.check().len(), 4);
    assert!(ExhaustionDetector::new(config).is_err());
}
