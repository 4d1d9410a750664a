//! Entities that are gone: their episodes end when the source says so, and never by silence.

use std::sync::Arc;

use ir_core::{
    Anomaly, Detector, EventKind, EventRecord, Gone, GoneReason, Labels, MetricKind, MetricSample, Phase, Series,
    SignalBatch, Timestamp,
};
use ir_detect::{AbsenceDetector, BasicSeriesDetector, Detectors, ObservationStore, ScrapeAssembler};

use crate::laws::ctx;
use crate::shop::{at, id};

/// One scrape of `entities`, every 15 s. The second counter counts failures.
fn scrape(entities: &[&str], number: u32, failures: f64) -> SignalBatch {
    let at = at(f64::from(number) * 15.0);
    let mut metrics = Vec::new();
    for entity in entities {
        let mut add = |metric: &str, kind, code: &str, value: f64| {
            let labels: Labels = Some(("code", code)).filter(|(_, code)| !code.is_empty()).into_iter().collect();
            let series = Series { entity: id(entity), metric: metric.into(), kind, unit: String::new(), labels };
            metrics.push(MetricSample { series: Arc::new(series), at, value });
        };
        add("http_requests_total", MetricKind::Counter, "200", 10_500.0 * f64::from(number));
        add("http_requests_total", MetricKind::Counter, "500", 15.0 * f64::from(number) + failures);
        add("up", MetricKind::Up, "", 1.0);
    }
    SignalBatch { metrics, ..SignalBatch::default() }
}

fn gone(entity: &str, at: Timestamp) -> Gone {
    Gone { entity: id(entity), at, reason: GoneReason::ScaledIn }
}

const ALL: [&str; 5] = ["svc-0", "svc-1", "svc-2", "svc-3", "svc-4"];
const REST: [&str; 4] = ["svc-0", "svc-1", "svc-2", "svc-4"];

/// `svc-3` is taken away after an hour, and fails for five minutes before if `fails`. Who knows of it says so `says` scrapes later.
async fn taken_away(fails: bool, says: Option<u32>) -> Vec<Anomaly> {
    let (mut assembler, detectors) = (ScrapeAssembler::default(), Detectors::standard());
    let (mut found, mut failures) = (Vec::new(), 0.0);
    for number in 0..400 {
        if fails && (220..240).contains(&number) {
            failures += 4_000.0;
        }
        let entities: &[&str] = if number < 240 { &ALL } else { &REST };
        let mut batch = scrape(entities, number, 0.0);
        for sample in batch.metrics.iter_mut().filter(|sample| sample.series.entity == id("svc-3")) {
            sample.value += if sample.series.labels.get("code") == Some("500") { failures } else { 0.0 };
        }
        batch
            .gone
            .extend(says.filter(|says| 240 + says == number).map(|_| gone("svc-3", at(f64::from(number) * 15.0))));
        assembler.assemble(&mut batch);
        for detector in &detectors {
            found.extend(detector.detect(&ctx(), &batch).await.unwrap());
        }
    }
    assert!(found.iter().all(|anomaly| anomaly.entity == id("svc-3")), "{found:?}");
    found
}

/// What has begun and not ended: detector and id.
fn open(found: &[Anomaly]) -> Vec<&Anomaly> {
    let has_ended = |of: &Anomaly| found.iter().any(|other| other.id == of.id && other.phase == Phase::Ended);
    found.iter().filter(|anomaly| anomaly.phase == Phase::Began && !has_ended(anomaly)).collect()
}

#[tokio::test]
async fn what_is_silent_stays_absent_until_the_source_says_that_it_is_gone() {
    let silent = taken_away(false, None).await;
    let [absence] = open(&silent)[..] else { panic!("{silent:?}") };
    assert_eq!((absence.detector.as_str(), absence.onset), ("absence", at(239.0 * 15.0)));
    let told = taken_away(false, Some(60)).await;
    assert_eq!(open(&told), Vec::<&Anomaly>::new());
    let ended = told.iter().find(|anomaly| anomaly.phase == Phase::Ended).unwrap();
    assert_eq!((&ended.id, ended.at), (&absence.id, at(300.0 * 15.0)));
    let since = at(300.0 * 15.0);
    let because = format!("gone: scaled in since {since}; the episode was open since {}", absence.onset);
    assert_eq!(ended.because, because);
}

#[tokio::test]
async fn every_episode_of_what_is_gone_ends_at_once_and_none_begins() {
    let silent = taken_away(true, None).await;
    let still_open = open(&silent);
    let detectors: Vec<&str> = still_open.iter().map(|anomaly| anomaly.detector.as_str()).collect();
    assert!(detectors.contains(&"absence") && detectors.contains(&"error_rate"), "{detectors:?}");
    let told = taken_away(true, Some(0)).await;
    assert_eq!(open(&told), Vec::<&Anomaly>::new());
    let is_late = |anomaly: &&Anomaly| anomaly.at >= at(240.0 * 15.0);
    assert!(told.iter().filter(is_late).all(|anomaly| anomaly.because.starts_with("gone: ")), "{told:?}");
    assert!(told.iter().any(|anomaly| anomaly.detector.as_str() == "error_rate" && anomaly.phase == Phase::Ended));
}

#[tokio::test]
async fn late_samples_of_what_is_gone_are_ignored_and_its_return_begins_anew() {
    for is_assembled in [false, true] {
        let (mut assembler, detector) = (ScrapeAssembler::default(), AbsenceDetector::default());
        let mut found = Vec::new();
        for number in 0..100 {
            // Gone after scrape 20; its last scrapes come two minutes late; it is back for a while from scrape 50 on.
            let mut batch = scrape(&REST, number, 0.0);
            let mut bring = |number| batch.metrics.extend(scrape(&["svc-3"], number, 0.0).metrics);
            match number {
                0..=14 | 50..=60 => bring(number),
                23..=28 => bring(number - 8),
                _ => {}
            }
            batch.gone.extend((number == 20).then(|| gone("svc-3", at(20.0 * 15.0))));
            if is_assembled {
                assembler.assemble(&mut batch);
            }
            found.extend(detector.detect(&ctx(), &batch).await.unwrap());
        }
        let told: Vec<(Phase, Timestamp)> = found.iter().map(|anomaly| (anomaly.phase, anomaly.onset)).collect();
        let [(Phase::Began, onset), rest @ ..] = &told[..] else { panic!("{found:?}") };
        assert_eq!(*onset, at(60.0 * 15.0), "only the second silence is one: {found:?}");
        assert!(rest.iter().all(|(phase, onset)| *phase == Phase::Grew && *onset == at(60.0 * 15.0)), "{found:?}");
    }
}

#[tokio::test]
async fn a_snapshot_knows_what_is_gone() {
    let detector = AbsenceDetector::default();
    for number in 0..10 {
        detector.detect(&ctx(), &scrape(&ALL, number, 0.0)).await.unwrap();
    }
    let batch = SignalBatch { gone: vec![gone("svc-3", at(150.0))], ..scrape(&REST, 10, 0.0) };
    detector.detect(&ctx(), &batch).await.unwrap();
    let restored = AbsenceDetector::default();
    restored.restore(&ctx(), &detector.snapshot(&ctx()).await.unwrap()).await.unwrap();
    for number in 11..60 {
        let mut batch = scrape(&REST, number, 0.0);
        if number < 16 {
            batch.metrics.extend(scrape(&["svc-3"], number - 6, 0.0).metrics);
        }
        assert_eq!(restored.detect(&ctx(), &batch).await.unwrap(), []);
    }
}

#[test]
fn nobody_waits_for_scrapes_of_what_is_gone_and_its_past_stays() {
    let (store, mut assembler) = (ObservationStore::default(), ScrapeAssembler::default());
    for number in 0..10 {
        let mut batch = scrape(&ALL, number, 0.0);
        if number == 9 {
            batch.gone = ["svc-3", "svc-4", "stranger"].map(|entity| gone(entity, at(135.0))).to_vec();
        }
        assembler.assemble(&mut batch);
        store.observe(&batch);
    }
    let interval = |entity: &str| store.interval_of_entity(&id(entity));
    assert!(interval("svc-0").is_some() && interval("svc-3").is_none());
    let counts = assembler.counts();
    assert_eq!((counts.targets, counts.series, counts.evicted_targets), (3, 9, 0));
    let cut = store.cut(at(135.0), std::time::Duration::from_secs(600));
    assert!(cut.series.iter().any(|history| history.series.entity == id("svc-3")));
    assert!(cut.targets.iter().all(|history| history.target.entity != id("svc-3")));
    // What was scraped in part when it was gone never becomes a scrape.
    let mut batch = scrape(&ALL, 10, 0.0);
    assembler.assemble(&mut batch);
    assert_eq!(assembler.counts().targets, 5, "it is back");
}

#[tokio::test]
async fn an_alert_that_goes_on_for_what_is_gone_does_not_begin_again() {
    let detector = Detectors::standard().pop().unwrap();
    let alert = |secs: f64, since: f64, firing: bool| {
        let state = ir_core::AlertState { key: "k".into(), firing, since: at(since) };
        let event = EventRecord {
            entity: id("web"),
            at: at(secs),
            name: "InstanceDown".into(),
            kind: EventKind::Alert(state),
            fields: Labels::new(),
        };
        SignalBatch { events: vec![event], ..SignalBatch::default() }
    };
    let away = SignalBatch { gone: vec![gone("web", at(20.0))], ..SignalBatch::default() };
    let signals =
        [alert(10.0, 5.0, true), away, alert(30.0, 5.0, true), alert(40.0, 5.0, false), alert(50.0, 45.0, true)];
    let mut told = Vec::new();
    for batch in &signals {
        told.push(
            detector.detect(&ctx(), batch).await.unwrap().iter().map(|anomaly| anomaly.phase).collect::<Vec<_>>(),
        );
    }
    assert_eq!(told, [vec![Phase::Began], vec![Phase::Ended], vec![], vec![], vec![Phase::Began]]);
}

#[tokio::test]
async fn series_of_what_is_gone_make_room() {
    let detector = BasicSeriesDetector::default();
    detector.detect(&ctx(), &scrape(&ALL, 0, 0.0)).await.unwrap();
    let before = detector.watched();
    let away = SignalBatch { gone: vec![gone("svc-3", at(0.0))], ..SignalBatch::default() };
    detector.detect(&ctx(), &away).await.unwrap();
    assert_eq!((before, detector.watched()), (10, 8));
}
