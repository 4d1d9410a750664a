//! The tail against a double that restarts, leaves out, falls silent, and begins to listen late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ir_core::testkit::signal as laws;
use proptest::prelude::*;
use serde_json::Value;

use super::super::double::{Double, Mood, recorded};
use super::super::tests::Pusher;
use super::*;
use crate::SystemClock;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn config(url: &str) -> LokiTailConfig {
    LokiTailConfig {
        url: url.to_owned(),
        query: "{zone=\"a\"}".into(),
        page: 50,
        lag_ms: 1_000,
        wait_ms: 20,
        timeout_ms: 2_000,
        max_bytes: 1 << 20,
        ..LokiTailConfig::default()
    }
}

/// Before when everything was given.
fn at(cursor: &Cursor) -> i64 {
    serde_json::from_str::<Mark>(cursor.as_str()).unwrap().at
}

fn now() -> i64 {
    ctx().now().wall.as_nanos()
}

/// Polls until it is so of what has come so far.
async fn poll_until(source: &LokiTail, cursor: &mut Cursor, is_so: impl Fn(&[String], &Polled) -> bool) -> Vec<String> {
    let mut got: Vec<String> = Vec::new();
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let polled = source.poll(&ctx(), cursor).await.unwrap();
            *cursor = polled.next.clone();
            got.extend(polled.batch.logs.iter().map(|line| line.message.clone()));
            if is_so(&got, &polled) {
                return;
            }
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {got:?}");
    got
}

#[tokio::test]
async fn no_line_is_lost_or_doubled_while_the_server_is_restarted_three_times() {
    let (double, url) = Double::start().await;
    let source = LokiTail::new(config(&url)).unwrap();
    let (got, kept) = double.soak(&source, Duration::from_millis(1_500)).await;
    assert!(kept.len() >= 100, "{} lines", kept.len());
    assert!(got == kept, "{} lines, and {} were there", got.len(), kept.len());
    assert!(double.tails.n.load(Ordering::SeqCst) >= 4);
}

#[tokio::test]
async fn a_line_that_is_late_comes_and_is_counted() {
    let (double, url) = Double::start().await;
    let source = LokiTail::new(LokiTailConfig { lag_ms: 200, ..config(&url) }).unwrap();
    let mut cursor = Cursor::default();
    // The connection has settled: everything up to now was given.
    let begin = now();
    poll_until(&source, &mut cursor, |_, polled| at(&polled.next) > begin + 500_000_000).await;
    double.add(begin, "web", "late");
    let got = poll_until(&source, &mut cursor, |got, polled| {
        assert_eq!(polled.late, polled.batch.logs.len() as u64);
        !got.is_empty()
    })
    .await;
    assert_eq!(got, ["late"]);
    assert_eq!(double.tails.n.load(Ordering::SeqCst), 1, "one connection is kept");
}

#[tokio::test]
async fn what_the_server_leaves_out_is_filled_up() {
    let (double, url) = Double::start().await;
    let source = LokiTail::new(config(&url)).unwrap();
    let mut cursor = Cursor::default();
    poll_until(&source, &mut cursor, |_, _| true).await;
    double.add(now(), "web", "first");
    poll_until(&source, &mut cursor, |got, _| got == ["first"]).await;
    // It has settled: from now on lines come by the tail alone.
    let begin = now();
    poll_until(&source, &mut cursor, |_, polled| at(&polled.next) > begin).await;
    double.tails.leave_out.store(3, Ordering::SeqCst);
    for n in 0..5 {
        double.lines.lock().unwrap().push(super::super::double::Line {
            nanos: now(),
            stream: "db",
            text: n.to_string(),
        });
    }
    let mut got = poll_until(&source, &mut cursor, |got, _| got.len() >= 5).await;
    got.sort();
    assert_eq!(got, ["0", "1", "2", "3", "4"]);
    assert_eq!(double.tails.leave_out.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_cursor_from_before_goes_on_from_there() {
    let (double, url) = Double::start().await;
    let source = LokiTail::new(config(&url)).unwrap();
    let mut cursor = Cursor::default();
    poll_until(&source, &mut cursor, |_, _| true).await;
    let before = cursor.clone();
    for n in 0..120 {
        double.add(now(), "web", format!("{n:03}"));
    }
    let first = poll_until(&source, &mut cursor, |got, _| got.len() >= 120).await;
    assert_eq!(poll_until(&source, &mut cursor, |_, _| true).await, [""; 0]);
    // As after a crash: another process, and an older cursor.
    for source in [LokiTail::new(config(&url)).unwrap(), source] {
        let mut cursor = before.clone();
        let mut again = poll_until(&source, &mut cursor, |got, _| got.len() >= 120).await;
        again.sort();
        let mut first = first.clone();
        first.sort();
        assert_eq!(again, first);
    }
}

#[tokio::test]
async fn lines_of_a_break_that_arrive_long_after_it_come_once_and_count_as_late() {
    let (double, url) = Double::start().await;
    let source = LokiTail::new(LokiTailConfig { lag_ms: 100, catch_up_ms: 3_000, ..config(&url) }).unwrap();
    let mut cursor = Cursor::default();
    let begin = now();
    poll_until(&source, &mut cursor, |_, polled| at(&polled.next) > begin).await;
    double.stop().await;
    let away = now();
    assert!(source.poll(&ctx(), &cursor).await.is_err() || source.poll(&ctx(), &cursor).await.is_err());
    double.restart().await;
    // The new connection has settled, and everything up to now was given, when an agent repeats what was refused in the break.
    poll_until(&source, &mut cursor, |_, polled| at(&polled.next) > away + 500_000_000).await;
    double.tails.miss.store(2, Ordering::SeqCst);
    double.add(away, "web", "late one");
    double.add(away + 1, "web", "late two");
    let late = AtomicUsize::new(0);
    let got = poll_until(&source, &mut cursor, |got, polled| {
        late.fetch_add(usize::try_from(polled.late).unwrap(), Ordering::SeqCst);
        !got.is_empty()
    })
    .await;
    assert_eq!(got, ["late one", "late two"]);
    assert_eq!(late.into_inner(), 2);
    // Until the break is read for the last time nothing comes again, and then it leaves the cursor.
    let gaps = |polled: &Polled| serde_json::from_str::<Mark>(polled.next.as_str()).unwrap().gaps;
    let got = poll_until(&source, &mut cursor, |_, polled| gaps(polled).is_empty()).await;
    assert_eq!(got, [""; 0]);
}

#[test]
fn a_line_whose_time_cannot_be_is_taken_as_of_now() {
    let source = LokiTail::new(config("http://loki")).unwrap();
    let now = ctx().now().wall;
    let line = |at: i64| answer::Entry { nanos: at, line: "x".into(), metadata: Vec::new(), parsed: Vec::new() };
    let (at, hour) = (now.as_nanos(), 3_600_000_000_000);
    let values = vec![line(i64::MAX - 5), line(at), line(at + hour), line(at / 1_000)];
    let streams = vec![answer::Stream { stream: vec![("app".into(), "a".into())], values }];
    let mut gathered = Gathered::default();
    source.range.take(Answer { streams, ..Answer::default() }, &Position::at(i64::MIN), &mut gathered);
    bound(&mut gathered, 0, now);
    assert!(gathered.lines.iter().all(|line| line.at == now));
    assert_eq!((gathered.lines.len(), gathered.problems.len()), (4, 1));
}

#[tokio::test]
async fn a_silent_connection_is_made_anew() {
    let (double, url) = Double::start().await;
    let source = LokiTail::new(LokiTailConfig { silence_ms: 1, wait_ms: 5, ..config(&url) }).unwrap();
    let mut cursor = Cursor::default();
    let problem = |polled: &Polled| polled.problems.iter().any(|problem| problem.contains("it has been silent"));
    poll_until(&source, &mut cursor, |_, polled| problem(polled)).await;
    poll_until(&source, &mut cursor, |_, polled| problem(polled)).await;
    assert!(double.tails.n.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn a_server_that_says_no_is_an_error_of_its_kind() {
    let (double, url) = Double::start().await;
    let source = LokiTail::new(config(&url)).unwrap();
    for (status, kind) in [
        (400, ErrorKind::InvalidConfig),
        (401, ErrorKind::Unauthorized),
        (429, ErrorKind::RateLimited),
        (503, ErrorKind::Unavailable),
    ] {
        double.mood(Mood::Says(status, b"no".to_vec()));
        let error = source.poll(&ctx(), &Cursor::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
    }
    for text in ["12", "{\"at\":5}", "{"] {
        let error = source.poll(&ctx(), &Cursor::new(text)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
    }
}

#[test]
fn recorded_frames_are_read() {
    for (name, lines) in [("tail_stream", 4), ("tail_history", 3), ("tail_metric_query", 0)] {
        let path = format!("{}/tests/fixtures/loki/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let session: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let texts: Vec<String> = session["frames"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|frame| frame.get("json").map(Value::to_string))
            .collect();
        let frames: Vec<_> = texts.iter().map(|text| answer::read_frame(text).unwrap()).collect();
        let n: usize = frames.iter().flat_map(|frame| &frame.streams).map(|stream| stream.values.len()).sum();
        assert_eq!(n, lines, "{name}");
    }
    let text = r#"{"streams":null}"#;
    assert!(answer::read_frame(text).is_err() && answer::read_frame("{").is_err());
    let text = r#"{"streams":[],"dropped_entries":[{"timestamp":"1","labels":{}}]}"#;
    assert_eq!(answer::read_frame(text).unwrap().dropped.map(|dropped| dropped.len()), Some(1));
    assert!(answer::read_frame(r#"{"streams":[],"dropped_entries":null}"#).unwrap().dropped.is_none());
    assert_eq!(recorded("series").0, 200);
}

const RICH: &str = r#"{"streams": [{"stream":{"app":"a","zone":"\u00e9"},"values":[["1795211364109914515","a \"line\"\n",
 {"structuredMetadata":{"k":"v"}}],["5","plain"]]},{"stream":{},"values":[]}]}"#;

proptest! {
    #[test]
    fn damaged_frames_are_read_as_the_plain_reader_reads_them(damage in crate::json::damage()) {
        let garbled = crate::json::garbled(RICH.as_bytes(), &damage);
        let text = String::from_utf8_lossy(&garbled);
        let told = |frame: Result<answer::Frame<'_>>| frame.ok().map(|frame| format!("{frame:?}"));
        prop_assert_eq!(told(answer::read_frame(&text)), told(answer::plain_frame(&text)));
    }
}

#[test]
fn all_mistakes_of_a_configuration_are_told() {
    let config = LokiTailConfig {
        name: "no name".into(),
        url: "loki".into(),
        query: " ".into(),
        max_lines: 0,
        page: 0,
        ..LokiTailConfig::default()
    };
    let error = LokiTail::new(config).unwrap_err();
    assert_eq!(error.problems().len(), 5, "{error}");
}

#[tokio::test]
async fn it_keeps_the_laws_of_sources() {
    laws::check_all(&ctx(), async || {
        let (double, url) = Double::start().await;
        // A poll lasts long enough for lines to arrive that were written right before.
        let source = LokiTail::new(LokiTailConfig { wait_ms: 300, ..config(&url) }).unwrap();
        let supply: Box<dyn laws::Supply> = Box::new(Pusher(double, AtomicUsize::new(0)));
        (Arc::new(source) as Arc<dyn SignalSource>, supply)
    })
    .await
    .unwrap();
}
