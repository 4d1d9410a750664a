//! What the detector says of small made-up logs, and the contract.

use std::sync::Arc;

use ir_core::anomaly::Direction;
use ir_core::signal::{LogLevel, LogRecord};
use ir_core::testkit::detector as laws;
use ir_core::{EntityId, ErrorKind, Labels, ManualClock, Phase, Symptom, Timestamp};
use proptest::prelude::*;

use super::*;

fn record(entity: &str, secs: f64, level: LogLevel, message: String) -> LogRecord {
    let at = Timestamp::default().plus(Duration::from_secs_f64(1_000_000.0 + secs));
    LogRecord { entity: EntityId::new(entity).unwrap(), at, level: Some(level), message, fields: Labels::new() }
}

/// Usual business: two statements, five and one lines a second, and requests of three lines in one trace.
fn usual(from: u32, to: u32) -> Vec<LogRecord> {
    let mut lines = Vec::new();
    for second in from..to {
        let at = f64::from(second);
        for i in 0..5 {
            let message = format!("served request {} in {} ms", second * 5 + i, 3 + i);
            lines.push(record("shop", at + f64::from(i) / 10.0, LogLevel::Info, message));
        }
        for (n, step) in ["began to pay", "asked the bank", "paid"].into_iter().enumerate() {
            let message = format!("trace_id={:016x} {step}", u64::from(second) << 20 | 0xabcd);
            lines.push(record("shop", at + 0.6 + n as f64 / 20.0, LogLevel::Info, message));
        }
        lines.push(record("shop", at + 0.9, LogLevel::Info, format!("wrote {second} rows to the ledger")));
    }
    lines
}

/// An error every three seconds beside usual business.
fn failing(from: u32, to: u32) -> Vec<LogRecord> {
    let mut lines = usual(from, to);
    for second in (from..to).step_by(3) {
        lines.push(record("shop", f64::from(second) + 0.95, LogLevel::Error, format!("ledger is locked by {second}")));
    }
    lines.sort_by_key(|line| line.at);
    lines
}

fn without(lines: Vec<LogRecord>, part: &str) -> Vec<LogRecord> {
    lines.into_iter().filter(|record| !record.message.contains(part)).collect()
}

async fn detect(detector: &LogTemplates, logs: &[LogRecord]) -> Vec<Anomaly> {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    detector.detect(&ctx, &SignalBatch { logs: logs.to_vec(), ..SignalBatch::default() }).await.unwrap()
}

/// What began: which way, and what changed.
fn began(found: &[Anomaly]) -> Vec<(Direction, String)> {
    let began = found.iter().filter(|anomaly| anomaly.phase == Phase::Began);
    began.map(|anomaly| (anomaly.direction, anomaly.labels.get("change").unwrap().to_owned())).collect()
}

fn detector() -> LogTemplates {
    LogTemplates::new(LogTemplatesConfig::default()).unwrap()
}

#[tokio::test]
async fn usual_business_is_no_anomaly() {
    assert_eq!(detect(&detector(), &usual(0, 1800)).await, []);
}

#[tokio::test]
async fn failures_that_last_are_told_once_and_short_ones_never() {
    let detector = detector();
    detect(&detector, &usual(0, 900)).await;
    let short = detect(&detector, &failing(900, 930)).await;
    assert_eq!(began(&short), []);
    assert_eq!(began(&detect(&detector, &usual(930, 1500)).await), []);
    let found = detect(&detector, &failing(1500, 1740)).await;
    assert_eq!(began(&found)[0], (Direction::New, "failures".to_owned()), "{found:?}");
    let anomaly = &found[0];
    assert_eq!(anomaly.symptom, Symptom::Log);
    let after = anomaly.at.since(failing(1500, 1501)[0].at).as_secs();
    assert!((60..=90).contains(&after), "{after}");
    assert!(anomaly.because.contains("ledger is locked by <*>"), "{}", anomaly.because);
    let later = detect(&detector, &usual(1740, 2400)).await;
    assert!(later.iter().any(|later| (later.phase, &later.id) == (Phase::Ended, &anomaly.id)), "{later:?}");
    assert_eq!(began(&later), []);
}

#[tokio::test]
async fn a_fatal_line_is_told_at_once() {
    let detector = detector();
    detect(&detector, &usual(0, 900)).await;
    let fault = record("shop", 900.5, LogLevel::Fatal, "cannot open the ledger".to_owned());
    let found = detect(&detector, std::slice::from_ref(&fault)).await;
    assert_eq!(began(&found), [(Direction::New, "rate".to_owned())]);
    assert_eq!(found[0].at, fault.at);
}

#[tokio::test]
async fn work_that_ends_too_early_is_told() {
    let detector = detector();
    detect(&detector, &usual(0, 900)).await;
    let found = detect(&detector, &without(usual(900, 1080), " paid")).await;
    assert!(began(&found).contains(&(Direction::Gone, "work".to_owned())), "{found:?}");
    assert!(found[0].because.contains("paid"), "{}", found[0].because);
}

/// Requests whose lines name a place in the code: two statements with the same words.
fn placed(from: u32, to: u32) -> Vec<LogRecord> {
    let lines = usual(from, to).into_iter();
    lines
        .map(|mut record| {
            let at = if record.message.contains("began") { 10 } else { 20 };
            let pays = record.message.contains("began to pay") || record.message.ends_with(" paid");
            if pays {
                let trace = record.message.split(' ').next().unwrap().to_owned();
                record.message = format!("INFO Pay#{at} {trace} wrote the entry");
            }
            record
        })
        .collect()
}

#[tokio::test]
async fn statements_with_the_same_words_are_told_apart_by_their_place() {
    let detector = detector();
    assert_eq!(detect(&detector, &placed(0, 1200)).await, []);
    let found = detect(&detector, &without(placed(1200, 1290), "Pay#20")).await;
    assert_eq!(began(&found), [(Direction::Gone, "work".to_owned())], "{found:?}");
    assert!(found[0].because.contains("wrote the entry"), "{}", found[0].because);
    let after = found[0].at.since(placed(1200, 1201)[0].at).as_secs();
    assert!((35..=55).contains(&after), "{after}");
}

/// Usual business in which each request also writes the line.
fn each_request(from: u32, to: u32, level: LogLevel, text: &str) -> Vec<LogRecord> {
    let mut lines = usual(from, to);
    let more: Vec<LogRecord> = lines
        .iter()
        .filter(|record| record.message.ends_with("asked the bank"))
        .map(|asked| {
            let trace = asked.message.split(' ').next().unwrap();
            LogRecord { level: Some(level), message: format!("{trace} {text}"), ..asked.clone() }
        })
        .collect();
    lines.extend(more);
    lines.sort_by_key(|line| line.at);
    lines
}

#[tokio::test]
async fn a_failure_in_most_requests_is_told_sooner_and_in_few_not() {
    let detector = detector();
    detect(&detector, &usual(0, 900)).await;
    let found = detect(&detector, &each_request(900, 940, LogLevel::Error, "made no sense of the answer")).await;
    assert_eq!(began(&found), [(Direction::New, "failing".to_owned())], "{found:?}");
    let after = found[0].at.since(usual(900, 901)[0].at).as_secs();
    assert!((20..=35).contains(&after), "{after}");
    assert!(found[0].because.contains("made no sense of the answer"), "{}", found[0].because);

    let detector = self::detector();
    detect(&detector, &usual(0, 900)).await;
    let mut few = each_request(900, 945, LogLevel::Error, "made no sense of the answer");
    let mut n = 0;
    few.retain(|record| {
        let fails = record.message.contains("made no sense");
        n += u32::from(fails);
        !fails || n.is_multiple_of(4)
    });
    assert_eq!(began(&detect(&detector, &few).await), []);
}

#[tokio::test]
async fn what_breaks_off_because_another_is_away_is_no_missing_line() {
    let detector = detector();
    detect(&detector, &usual(0, 900)).await;
    let away = without(each_request(900, 955, LogLevel::Error, "call failed: connection refused"), " paid");
    assert_eq!(began(&detect(&detector, &away).await), []);
}

#[tokio::test]
async fn what_goes_on_right_after_a_short_gap_is_told_once() {
    let detector = detector();
    let broken = |from, to| each_request(from, to, LogLevel::Error, "made no sense of the answer");
    detect(&detector, &usual(0, 900)).await;
    assert_eq!(began(&detect(&detector, &broken(900, 950)).await).len(), 1);
    assert_eq!(began(&detect(&detector, &broken(1300, 1350)).await), []);
    // A minute without it ends it.
    let after = detect(&detector, &usual(1350, 1700)).await;
    assert!(after.iter().any(|anomaly| anomaly.phase == Phase::Ended), "{after:?}");
    // After a gap that is longer than what people live with, it is told again.
    let detector = self::detector();
    detect(&detector, &usual(0, 900)).await;
    assert_eq!(began(&detect(&detector, &broken(900, 950)).await).len(), 1);
    let again = began(&detect(&detector, &broken(2600, 2660)).await);
    assert!(again.contains(&(Direction::New, "failing".to_owned())), "{again:?}");
}

#[tokio::test]
async fn a_burst_and_a_vanished_template_are_told() {
    let detector = detector();
    detect(&detector, &usual(0, 1200)).await;
    let rows = |record: &LogRecord| record.message.starts_with("wrote");
    let burst: Vec<LogRecord> = usual(1200, 1380)
        .into_iter()
        .flat_map(|record| vec![record.clone(); if rows(&record) { 20 } else { 1 }])
        .collect();
    let found = detect(&detector, &burst).await;
    assert!(began(&found).contains(&(Direction::Up, "rate".to_owned())), "{found:?}");
    detect(&detector, &usual(1380, 2400)).await;
    let found = detect(&detector, &without(usual(2400, 2800), "wrote")).await;
    assert!(began(&found).contains(&(Direction::Gone, "rate".to_owned())), "{found:?}");
}

#[tokio::test]
async fn new_statements_in_the_place_of_old_ones_are_a_deploy() {
    let detector = detector();
    detect(&detector, &usual(0, 1200)).await;
    let mut changed = usual(1200, 4000);
    for line in &mut changed {
        line.message = line.message.replace("paid", "money moved").replace("wrote", "stored as many as");
    }
    assert_eq!(began(&detect(&detector, &changed).await), []);
}

#[tokio::test]
async fn gaps_of_the_whole_collection_are_no_silence() {
    let detector = detector();
    detect(&detector, &usual(0, 1200)).await;
    for start in [1260, 2000, 2090, 6000] {
        assert_eq!(detect(&detector, &usual(start, start + 45)).await, []);
    }
}

#[tokio::test]
async fn the_laws_hold() {
    let lines = failing(600, 720);
    let logs: Vec<LogRecord> = usual(400, 600).into_iter().chain(lines).collect();
    let batches: Vec<SignalBatch> =
        logs.chunks(400).map(|part| SignalBatch { logs: part.to_vec(), ..SignalBatch::default() }).collect();
    let config = LogTemplatesConfig { warm_secs: 60, lasting_secs: 20, ..LogTemplatesConfig::default() };
    let make = || Arc::new(LogTemplates::new(config.clone()).unwrap()) as Arc<dyn Detector>;
    laws::check_all(&Ctx::new(Arc::new(ManualClock::new())), &make, &batches).await.unwrap();
}

#[tokio::test]
async fn foreign_snapshots_and_senseless_limits_are_refused() {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let detector = detector();
    let mut other = detector.snapshot(&ctx).await.unwrap();
    other.version = 99;
    assert_eq!(detector.restore(&ctx, &other).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let config = LogTemplatesConfig { window_secs: 0, plain_ratio: f64::NAN, ..LogTemplatesConfig::default() };
    assert_eq!(LogTemplates::new(config).unwrap_err().problems().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any lines at any times, cut and restored anywhere, give the same anomalies.
    #[test]
    fn time_and_text_may_be_anything(
        lines in prop::collection::vec((0..3_u8, any::<i64>(), 0..200_000_i64, "[a-z =:]{0,30}"), 0..120), cut in 0..120_usize,
    ) {
        let mut now = 0_i64;
        let logs: Vec<LogRecord> = lines.into_iter().map(|(way, wild, step, message)| {
            now = now.saturating_add(step * 1_000_000);
            let at = Timestamp::from_nanos(if way == 0 { wild } else { now });
            LogRecord { entity: EntityId::new("any").unwrap(), at, level: None, message, fields: Labels::new() }
        }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let whole = detect(&detector(), &logs).await;
            let cut = cut.min(logs.len());
            let before = detector();
            let mut found = detect(&before, &logs[..cut]).await;
            let ctx = Ctx::new(Arc::new(ManualClock::new()));
            let after = detector();
            after.restore(&ctx, &before.snapshot(&ctx).await.unwrap()).await.unwrap();
            found.extend(detect(&after, &logs[cut..]).await);
            assert_eq!(found, whole);
        });
    }
}

#[tokio::test]
async fn colours_change_nothing_in_what_is_reported() {
    // Levels stand in the text alone, as in the output of a container.
    let in_text = |lines: Vec<LogRecord>, coloured: bool| -> Vec<LogRecord> {
        let text = |mut line: LogRecord| {
            let (name, colour) = if line.level == Some(LogLevel::Error) { ("ERROR", 31) } else { (" INFO", 32) };
            let name = if coloured { format!("\u{1b}[{colour}m{name}\u{1b}[0m") } else { name.to_owned() };
            line.message = format!("{name} {}", line.message);
            line.level = None;
            line
        };
        lines.into_iter().map(text).collect()
    };
    let mut lines = usual(0, 3600);
    lines.extend(failing(3600, 3900));
    let mut told = Vec::new();
    for coloured in [false, true] {
        let detector = LogTemplates::new(LogTemplatesConfig::default()).unwrap();
        told.push(began(&detect(&detector, &in_text(lines.clone(), coloured)).await));
    }
    assert!(!told[0].is_empty());
    assert_eq!(told[0], told[1]);
}
