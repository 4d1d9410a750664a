use std::sync::Arc;

use ir_core::testkit::detector as laws;
use ir_core::{EntityId, ManualClock};

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + secs * 1000)
}

fn event(key: &str, firing: bool, since: i64, heard: i64) -> EventRecord {
    EventRecord {
        entity: EntityId::literal("web"),
        at: at(heard),
        name: "HighErrorRate".to_owned(),
        kind: EventKind::Alert(AlertState { key: key.to_owned(), firing, since: at(since) }),
        fields: [("summary", "one of ten requests fails"), ("zone", "a")].into_iter().collect(),
    }
}

fn batch(events: &[EventRecord]) -> SignalBatch {
    SignalBatch { events: events.to_vec(), ..SignalBatch::default() }
}

async fn detect(detector: &AlertDetector, events: &[EventRecord]) -> Vec<(Phase, i64)> {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let found = detector.detect(&ctx, &batch(events)).await.unwrap();
    found.iter().map(|a| (a.phase, (a.onset.as_nanos() - at(0).as_nanos()) / 1_000_000_000)).collect()
}

#[tokio::test]
async fn an_alert_begins_once_and_ends_once() {
    let detector = AlertDetector::default();
    assert_eq!(detect(&detector, &[event("a", true, 0, 10)]).await, [(Phase::Began, 0)]);
    assert_eq!(detect(&detector, &[event("a", true, 0, 70), event("a", true, 0, 80)]).await, []);
    assert_eq!(detect(&detector, &[event("a", false, 0, 90)]).await, [(Phase::Ended, 0)]);
    assert_eq!(detect(&detector, &[event("a", false, 0, 95)]).await, [], "it was over already");
    assert_eq!(detect(&detector, &[event("b", false, 0, 95)]).await, [], "it never began here");
}

#[tokio::test]
async fn an_alert_that_fires_again_is_another_episode_and_late_news_of_the_first_changes_nothing() {
    let detector = AlertDetector::default();
    let news = [event("a", true, 0, 10), event("a", true, 60, 70), event("a", false, 0, 71), event("a", true, 0, 72)];
    assert_eq!(detect(&detector, &news).await, [(Phase::Began, 0), (Phase::Ended, 0), (Phase::Began, 60)]);
}

#[tokio::test]
async fn nothing_begins_after_it_was_heard_of() {
    let detector = AlertDetector::default();
    let news = [event("a", true, 60, 10), event("a", true, 60, 70), event("a", false, 60, 80)];
    assert_eq!(detect(&detector, &news).await, [(Phase::Began, 10), (Phase::Ended, 10)]);
}

#[tokio::test]
async fn silence_ends_an_alert_by_the_time_of_the_others() {
    let config = AlertConfig { forget_after_secs: 100, ..AlertConfig::default() };
    let detector = AlertDetector::new(config).unwrap();
    detect(&detector, &[event("a", true, 0, 0), event("b", true, 1, 1)]).await;
    assert_eq!(detect(&detector, &[event("b", true, 1, 100)]).await, [], "not yet longer than that");
    assert_eq!(detect(&detector, &[event("b", true, 1, 101)]).await, [(Phase::Ended, 0)]);
}

#[tokio::test]
async fn names_decide_the_symptom_and_no_more_are_followed_than_allowed() {
    let symptoms = [("HighErrorRate".to_owned(), Symptom::Errors)].into();
    let config = AlertConfig { symptoms, labels: vec!["zone".to_owned()], max_alerts: 3, ..AlertConfig::default() };
    let detector = AlertDetector::new(config).unwrap();
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let flood: Vec<EventRecord> = (0..1000).map(|n| event(&n.to_string(), true, 0, n)).collect();
    let found = detector.detect(&ctx, &batch(&flood)).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!((found[0].symptom, found[0].labels.get("zone")), (Symptom::Errors, Some("a")));
    assert!(found[0].because.contains("one of ten requests fails"), "{}", found[0].because);
}

#[tokio::test]
async fn an_endless_summary_is_cut() {
    let mut long = event("a", true, 0, 0);
    long.fields.insert("summary", "\u{10FFFF}".repeat(1 << 20));
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let found = AlertDetector::default().detect(&ctx, &batch(&[long])).await.unwrap();
    assert!(found[0].because.chars().count() < 400);
}

#[tokio::test]
async fn it_keeps_the_laws_of_detectors() {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let signals: Vec<SignalBatch> = (0..8)
        .map(|n| {
            let key = if n % 2 == 0 { "a" } else { "b" };
            batch(&[event(key, n < 5, i64::from(n) / 4, i64::from(n)), event("c", n % 3 != 0, n.into(), n.into())])
        })
        .collect();
    let make = || Arc::new(AlertDetector::default()) as Arc<dyn Detector>;
    laws::check_all(&ctx, &make, &signals).await.unwrap();
}

#[test]
fn all_mistakes_are_told() {
    let config = AlertConfig { summary: String::new(), forget_after_secs: 0, max_alerts: 0, ..AlertConfig::default() };
    let found: Vec<String> =
        AlertDetector::new(config).unwrap_err().problems().iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:?}");
}
