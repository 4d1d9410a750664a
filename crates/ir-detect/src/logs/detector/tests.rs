//! What the detector says of small made-up logs, and the contract.

use std::sync::Arc;

use ir_core::{Labels, ManualClock, Phase};

use super::*;

fn line(secs: f64, level: LogLevel, message: String) -> LogRecord {
    let at = Timestamp::default().plus(Duration::from_secs_f64(1_000_000.0 + secs));
    LogRecord { entity: EntityId::new("shop").unwrap(), at, level: Some(level), message, fields: Labels::new() }
}

/// Half an hour of usual business: two statements, five and one lines a second.
fn usual(from: u32, to: u32) -> Vec<LogRecord> {
    let mut lines = Vec::new();
    for second in from..to {
        for i in 0..5 {
            let message = format!("served request {} in {} ms", second * 5 + i, 3 + i);
            lines.push(line(f64::from(second) + f64::from(i) / 10.0, LogLevel::Info, message));
        }
        lines.push(line(f64::from(second) + 0.9, LogLevel::Info, format!("wrote {second} rows to the ledger")));
    }
    lines
}

async fn detect(detector: &LogTemplates, logs: &[LogRecord]) -> Vec<Anomaly> {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    detector.detect(&ctx, &SignalBatch { logs: logs.to_vec(), ..SignalBatch::default() }).await.unwrap()
}

/// Which way the episodes went that began.
fn began(found: &[Anomaly]) -> Vec<Direction> {
    found.iter().filter(|anomaly| anomaly.phase == Phase::Began).map(|anomaly| anomaly.direction).collect()
}

fn detector() -> LogTemplates {
    LogTemplates::new(LogTemplatesConfig::default()).unwrap()
}

#[tokio::test]
async fn usual_business_is_no_anomaly() {
    assert_eq!(detect(&detector(), &usual(0, 1800)).await, []);
}

#[tokio::test]
async fn a_new_error_is_told_at_once_and_only_once() {
    let detector = detector();
    detect(&detector, &usual(0, 900)).await;
    let fault: Vec<LogRecord> =
        (0..5).map(|i| line(900.0 + f64::from(i), LogLevel::Error, format!("ledger is locked by {i}"))).collect();
    let found = detect(&detector, &fault).await;
    assert_eq!(found.len(), 1);
    let anomaly = &found[0];
    assert_eq!((anomaly.direction, anomaly.phase, anomaly.symptom), (Direction::New, Phase::Began, Symptom::Log));
    assert_eq!(anomaly.onset, fault[0].at);
    assert!(anomaly.because.contains("ledger is locked by <*>"), "{}", anomaly.because);
    let later = detect(&detector, &usual(905, 1200)).await;
    assert_eq!(later.iter().map(|a| (a.phase, &a.id)).collect::<Vec<_>>(), [(Phase::Ended, &anomaly.id)]);
}

#[tokio::test]
async fn a_burst_and_a_vanished_template_are_told() {
    let detector = detector();
    detect(&detector, &usual(0, 1200)).await;
    let burst: Vec<LogRecord> = usual(1200, 1320)
        .into_iter()
        .flat_map(|record| if record.message.starts_with("wrote") { vec![record; 8] } else { vec![record] })
        .collect();
    let found = detect(&detector, &burst).await;
    assert_eq!(began(&found), [Direction::Up], "{found:?}");
    detect(&detector, &usual(1320, 1800)).await;
    let without: Vec<LogRecord> =
        usual(1800, 2200).into_iter().filter(|record| !record.message.starts_with("wrote")).collect();
    let found = detect(&detector, &without).await;
    assert_eq!(began(&found), [Direction::Gone], "{found:?}");
    assert_eq!(found[0].subject.len(), 16);
}

#[tokio::test]
async fn cutting_batches_and_restarting_change_nothing() {
    let mut logs = usual(0, 900);
    logs.push(line(900.0, LogLevel::Error, "ledger is locked by nobody".to_owned()));
    logs.extend(usual(901, 1300).into_iter().filter(|record| !record.message.starts_with("wrote")));
    let expected = detect(&detector(), &logs).await;
    assert_eq!(began(&expected), [Direction::New, Direction::Gone]);
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let mut part = detector();
    let mut found = Vec::new();
    for piece in logs.chunks(997) {
        found.extend(detect(&part, piece).await);
        let next = detector();
        next.restore(&ctx, &part.snapshot(&ctx).await.unwrap()).await.unwrap();
        part = next;
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn time_going_backwards_and_foreign_snapshots_do_no_harm() {
    let detector = detector();
    let mut logs = usual(0, 300);
    logs.reverse();
    detect(&detector, &logs).await;
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let mut other = detector.snapshot(&ctx).await.unwrap();
    other.version = 99;
    assert_eq!(detector.restore(&ctx, &other).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let config = LogTemplatesConfig { window_secs: 0, new_nats: f64::NAN, ..LogTemplatesConfig::default() };
    assert_eq!(LogTemplates::new(config).unwrap_err().problems().len(), 2);
}
