//! What all detectors of metrics have in common: configurations, bounds, snapshots, silence.

use ir_core::{
    Anomaly, ConfigError, Ctx, EntityId, ErrorKind, Labels, ManualClock, MetricKind, MetricSample, Phase, Series,
    SignalBatch, Snapshot, Timestamp,
};

use proptest::prelude::*;

use super::*;
use crate::runtime::scrape::ScrapeAssembler;
use crate::stored::spoiled;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(ManualClock::new()))
}

/// `up` of these entities at one time.
fn up(entities: &[&str], secs: i64) -> SignalBatch {
    let sample = |entity: &&str| {
        let (entity, metric) = (EntityId::new(entity).unwrap(), "up".to_owned());
        let series = Series { entity, metric, kind: MetricKind::Up, unit: String::new(), labels: Labels::new() };
        MetricSample { series: Arc::new(series), at: Timestamp::from_millis(secs * 1_000), value: 1.0 }
    };
    SignalBatch { metrics: entities.iter().map(sample).collect(), ..SignalBatch::default() }
}

#[test]
fn all_defaults_are_right() {
    let checked: [Result<(), ConfigError>; 6] = [
        AbsenceDetector::new(AbsenceConfig::default()).map(drop),
        BaselineDetector::new(BaselineConfig::default()).map(drop),
        ErrorRateDetector::new(ErrorRateConfig::default()).map(drop),
        LatencyDetector::new(LatencyConfig::default()).map(drop),
        SaturationDetector::new(SaturationConfig::default()).map(drop),
        ShiftDetector::new(ShiftConfig::default()).map(drop),
    ];
    assert!(checked.into_iter().all(|result| result.is_ok()));
}

#[test]
fn all_problems_are_told_at_once_with_their_fields() {
    let config = ErrorRateConfig {
        window_secs: f64::NAN,
        tolerated_ratio: 0.9,
        names: MetricNames { requests: String::new(), ..MetricNames::default() },
        episode: EpisodeConfig { begin_looks: 0, ..EpisodeConfig::default() },
        ..ErrorRateConfig::default()
    };
    let error = ErrorRateDetector::new(config).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["window_secs", "tolerated_ratio", "names.requests", "episode.begin_looks"]);
}

#[test]
fn configurations_are_documents() {
    let text = r#"{ "window_secs": 5.0, "names": { "requests": "rpc_total" } }"#;
    let config: ErrorRateConfig = serde_json::from_str(text).unwrap();
    assert_eq!((config.window_secs, config.names.requests.as_str()), (5.0, "rpc_total"));
    assert!(serde_json::from_str::<ErrorRateConfig>(r#"{ "windw_secs": 5.0 }"#).is_err());
}

#[tokio::test]
async fn silence_counts_once_for_each_scrape_that_did_not_come() {
    let (mut detector, mut found) = (AbsenceDetector::default(), Vec::<Anomaly>::new());
    for n in 0..40 {
        // `b` and `c` come every ten seconds; `a` is silent from 100 s to 300 s.
        let silent = (11..30).contains(&n);
        let entities: &[&str] = if silent { &["b", "c"] } else { &["a", "b", "c"] };
        found.extend(detector.detect(&ctx(), &up(entities, n * 10)).await.unwrap());
        if n == 22 {
            let snapshot = detector.snapshot(&ctx()).await.unwrap();
            detector = AbsenceDetector::default();
            detector.restore(&ctx(), &snapshot).await.unwrap();
        }
    }
    assert!(found.iter().all(|anomaly| anomaly.entity.as_str() == "a"), "{found:?}");
    let (began, rest) = found.split_first().unwrap();
    // More than ninety seconds after the last scrape.
    let (onset, at) = (Timestamp::from_millis(100_000), Timestamp::from_millis(200_000));
    assert_eq!((began.phase, began.onset, began.at), (Phase::Began, onset, at));
    assert!(began.because.contains("10 scrapes that never came"), "{}", began.because);
    let ended = rest.last().unwrap();
    assert_eq!((ended.phase, ended.at), (Phase::Ended, Timestamp::from_millis(310_000)));
    assert!(rest[..rest.len() - 1].iter().all(|anomaly| anomaly.phase == Phase::Grew));
}

#[tokio::test]
async fn entities_beyond_the_bound_are_counted() {
    let bounds = Bounds { max_entities: 2, forget_secs: 100, ..Bounds::default() };
    let detector = AbsenceDetector::new(AbsenceConfig { bounds, ..AbsenceConfig::default() }).unwrap();
    let mut assembler = ScrapeAssembler::default();
    let mut assembled = |entities: &[&str], secs: i64| {
        let mut batch = up(entities, secs);
        assembler.assemble(&mut batch);
        batch
    };
    for n in 0..6 {
        detector.detect(&ctx(), &assembled(&["a", "b", "c"], n * 10)).await.unwrap();
    }
    // Each scrape of `c` that was complete by then.
    assert_eq!(detector.refused(), Refused { scrapes: 6, ..Refused::default() });
    for n in 20..24 {
        detector.detect(&ctx(), &assembled(&["b", "c"], n * 10)).await.unwrap();
    }
    assert_eq!(detector.refused(), Refused { scrapes: 6, ..Refused::default() }, "`a` made room");
}

#[tokio::test]
async fn a_scrape_that_was_assembled_before_is_taken_as_it_is() {
    let (bare, fed) = (AbsenceDetector::default(), AbsenceDetector::default());
    let mut assembler = ScrapeAssembler::default();
    let (mut of_bare, mut of_fed) = (Vec::new(), Vec::new());
    for n in 0..30 {
        let entities: &[&str] = if n < 10 { &["a", "b"] } else { &["b"] };
        let mut batch = up(entities, n * 10);
        of_bare.extend(bare.detect(&ctx(), &batch).await.unwrap());
        assembler.assemble(&mut batch);
        // What it was assembled from no longer matters.
        batch.metrics.clear();
        of_fed.extend(fed.detect(&ctx(), &batch).await.unwrap());
    }
    assert!(!of_bare.is_empty());
    assert_eq!(of_fed, of_bare);
}

#[tokio::test]
async fn a_snapshot_in_json_as_it_was_before_is_refused_and_changes_nothing() {
    for detector in Detectors::standard() {
        detector.detect(&ctx(), &up(&["a"], 10)).await.unwrap();
        let snapshot = detector.snapshot(&ctx()).await.unwrap();
        let json = br#"{"bare":{},"watched":{},"tracks":{},"learned":{}}"#.to_vec();
        let error = detector.restore(&ctx(), &Snapshot { bytes: json, ..snapshot.clone() }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(detector.snapshot(&ctx()).await.unwrap(), snapshot);
    }
}

proptest! {
    #[test]
    fn a_snapshot_of_nonsense_is_refused_or_survived(
        at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..12), cuts in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let signals = |from: i64| (from..from + 6).map(scrape);
        for detector in detectors() {
            runtime.block_on(async {
                for batch in signals(0) {
                    detector.detect(&ctx(), &batch).await.unwrap();
                }
                let own = detector.snapshot(&ctx()).await.unwrap();
                let wrong = spoiled(&own, |state| {
                    let at = at.index(state.len() + 1);
                    let end = if cuts { state.len() } else { (at + bytes.len()).min(state.len()) };
                    state.splice(at..end, bytes.iter().copied());
                });
                match detector.restore(&ctx(), &wrong).await {
                    Ok(()) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
                }
                for batch in signals(6) {
                    detector.detect(&ctx(), &batch).await.unwrap();
                }
                detector.snapshot(&ctx()).await.unwrap();
            });
        }
    }
}

/// The `n`th scrape of two entities, with a counter and a gauge beside `up`.
fn scrape(n: i64) -> SignalBatch {
    let mut batch = up(&["a", "b"], n * 10);
    for sample in batch.metrics.clone() {
        let mut add = |metric: &str, kind, value| {
            let series = Series { metric: metric.to_owned(), kind, ..Series::clone(&sample.series) };
            batch.metrics.insert(0, MetricSample { series: Arc::new(series), value, ..sample.clone() });
        };
        add("http_requests_total", MetricKind::Counter, (n * n * 700) as f64);
        add("process_resident_memory_bytes", MetricKind::Gauge, 1e8 + (n * 7919 % 13) as f64);
        add("queue_length", MetricKind::Gauge, (n * 31 % 7) as f64);
    }
    batch
}

/// The standard detectors, and those of any series.
fn detectors() -> Vec<Arc<dyn Detector>> {
    let mut all = Detectors::standard();
    all.push(Arc::new(SeriesDetector::default()));
    all.push(Arc::new(BasicSeriesDetector::default()));
    all.push(Arc::new(ExhaustionDetector::default()));
    all.push(Arc::new(BurnRateDetector::default()));
    all
}
