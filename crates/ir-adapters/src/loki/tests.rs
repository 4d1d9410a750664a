//! Range queries: recorded answers of a real Loki, and a double that pages as it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ir_core::testkit::signal as laws;
use ir_core::{Clock as _, ErrorKind, ManualClock};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::double::{Double, Mood, recorded};
use super::*;

const SECOND: i64 = 1_000_000_000;

pub(super) fn config(url: &str) -> LokiConfig {
    let query = vec![LokiQuery { name: "all".into(), query: "{zone=\"a\"} |= \"x & y\"".into() }];
    LokiConfig {
        url: url.to_owned(),
        query,
        page: 10,
        max_pages: 100,
        lag_ms: 0,
        timeout_ms: 500,
        max_bytes: 64 << 10,
        ..LokiConfig::default()
    }
}

struct Stage {
    double: Arc<Double>,
    source: LokiSource,
    clock: Arc<ManualClock>,
    ctx: Ctx,
    /// When the clock stood at the beginning.
    start: i64,
}

impl Stage {
    async fn new(change: impl FnOnce(&mut LokiConfig)) -> Self {
        let (double, url) = Double::start().await;
        let mut config = config(&url);
        change(&mut config);
        let clock = Arc::new(ManualClock::new());
        let (ctx, start) = (Ctx::new(clock.clone()), clock.now().wall.as_nanos());
        Self { double, source: LokiSource::new(config).unwrap(), clock, ctx, start }
    }

    async fn poll(&self, cursor: &Cursor) -> Polled {
        self.source.poll(&self.ctx, cursor).await.unwrap()
    }

    async fn begin(&self) -> Cursor {
        self.poll(&Cursor::default()).await.next
    }

    fn texts(polled: &Polled) -> Vec<&str> {
        polled.batch.logs.iter().map(|line| line.message.as_str()).collect()
    }
}

#[tokio::test]
async fn pages_that_end_among_equal_nanoseconds_lose_and_repeat_nothing() {
    let stage = Stage::new(|_| {}).await;
    let mut cursor = stage.begin().await;
    // Runs of every length up to nearly two pages share a nanosecond, over two streams.
    let mut n = 0;
    for run in 1..19 {
        for _ in 0..run {
            n += 1;
            let stream = if n % 3 == 0 { "web" } else { "db" };
            stage.double.add(stage.start + i64::from(run) * 1000, stream, format!("line {n:04}"));
        }
    }
    stage.clock.advance(Duration::from_secs(1));
    let polled = stage.poll(&cursor).await;
    let mut texts = Stage::texts(&polled);
    assert!(polled.batch.logs.is_sorted_by_key(|line| line.at));
    texts.sort_unstable();
    let expected: Vec<String> = (1..=n).map(|n| format!("line {n:04}")).collect();
    assert_eq!(texts, expected, "each line once");
    assert_eq!((polled.dropped, polled.problems.as_slice()), (0, &[][..]));
    cursor = polled.next;
    assert!(stage.poll(&cursor).await.batch.is_empty());
}

#[tokio::test]
async fn a_poll_reads_only_so_many_pages_and_the_next_goes_on_within_a_nanosecond() {
    let stage = Stage::new(|config| (config.page, config.max_pages) = (4, 1)).await;
    let mut cursor = stage.begin().await;
    for n in 0..40 {
        stage.double.add(stage.start + (n / 6) * SECOND / 100, "web", format!("{n:02}"));
    }
    stage.clock.advance(Duration::from_secs(1));
    let mut all = Vec::new();
    for _ in 0..40 {
        let polled = stage.poll(&cursor).await;
        assert!(polled.batch.len() <= 8, "{} lines in one poll", polled.batch.len());
        all.extend(Stage::texts(&polled).into_iter().map(str::to_owned));
        cursor = polled.next;
    }
    all.sort();
    assert_eq!(all, (0..40).map(|n| format!("{n:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn more_lines_of_one_nanosecond_than_can_be_asked_for_are_told_and_the_rest_goes_on() {
    let stage = Stage::new(|_| {}).await;
    let cursor = stage.begin().await;
    for n in 0..35 {
        stage.double.add(stage.start + 5, "web", format!("{n:02}"));
    }
    stage.double.add(stage.start + 6, "web", "after");
    stage.clock.advance(Duration::from_secs(1));
    let polled = stage.poll(&cursor).await;
    assert_eq!((polled.batch.len(), polled.dropped), (21, 1));
    assert!(Stage::texts(&polled).contains(&"after"));
    assert!(polled.problems[0].contains("one nanosecond"), "{:?}", polled.problems);
}

#[tokio::test]
async fn nothing_is_lost_or_repeated_while_the_server_fails_now_and_then() {
    let stage = Stage::new(|_| {}).await;
    let mut cursor = stage.begin().await;
    let (mut n, mut all) = (0, Vec::new());
    let as_500 = recorded("query_too_many_outstanding_as_500");
    let moods = [
        Mood::Answers,
        Mood::Says(as_500.0, as_500.1),
        Mood::Answers,
        Mood::Truncates,
        Mood::Says(429, b"slow down".to_vec()),
        Mood::Endless,
        Mood::Says(200, b"{\"status\":\"success\",\"da".to_vec()),
        Mood::Answers,
    ];
    for round in 0..40 {
        for _ in 0..round % 23 {
            n += 1;
            stage.double.add(stage.start + round * SECOND + i64::from(n % 3), "web", format!("{n:04}"));
        }
        stage.clock.advance(Duration::from_secs(1));
        let mood = &moods[usize::try_from(round).unwrap() % moods.len()];
        stage.double.mood(mood.clone());
        match stage.source.poll(&stage.ctx, &cursor).await {
            Ok(polled) => {
                all.extend(Stage::texts(&polled).into_iter().map(str::to_owned));
                cursor = polled.next;
            }
            Err(error) => assert!(!matches!(mood, Mood::Answers), "{error}"),
        }
    }
    all.sort();
    assert_eq!(all, (1..=n).map(|n| format!("{n:04}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_query_that_fails_does_not_keep_another_from_being_read() {
    let stage = Stage::new(|config| {
        config.query.push(LokiQuery { name: "second".into(), query: "{a=\"b\"}".into() });
        config.entity_labels = vec!["service_name".into()];
    })
    .await;
    let cursor = stage.begin().await;
    stage.double.add(stage.start + 1, "web", "one");
    stage.double.add(stage.start + 2, "", "of nobody");
    stage.clock.advance(Duration::from_secs(1));
    let polled = stage.poll(&cursor).await;
    // Both queries are answered alike by this server.
    assert_eq!((Stage::texts(&polled), polled.dropped), (vec!["one", "one"], 2));
    stage.double.mood(Mood::Says(429, Vec::new()));
    let error = stage.source.poll(&stage.ctx, &cursor).await.unwrap_err();
    assert!(error.kind() == ErrorKind::RateLimited && error.is_retryable(), "{error}");
}

#[test]
fn recorded_answers_are_read() {
    let (_, body) = recorded("query_range_two_streams");
    let answer = answer::read(&body).unwrap();
    assert_eq!((answer.streams.len(), answer.len()), (2, 8));
    assert_eq!(answer.streams[1].values[0].line, "line with unicode \u{2603} and \"quotes\" and \\ and \t tab");
    let (_, body) = recorded("query_range_categorized_labels");
    let answer = answer::read(&body).unwrap();
    let stream = &answer.streams[0];
    assert_eq!(stream.values[0].metadata[0], ("detected_level".into(), "info".into()));
    assert_eq!(stream.values[0].nanos, 1_795_211_364_109_914_515);
    let entry = answer::read(&body).unwrap().streams.remove(0).values.remove(0);
    let labels = stream.stream.first().map(|(key, _)| vec![key.to_string()]).unwrap();
    let line = Common::new(&labels, &stream.stream).record(entry).unwrap();
    assert_eq!((line.level, line.fields.get("trace_id")), (Some(LogLevel::Info), Some("t16")));
    assert_eq!((line.at.as_nanos(), line.fields.get("status")), (1_795_211_364_109_914_515, Some("502")));
    for (name, entries) in [("query_range_empty", 0), ("query_range_structured_metadata", 2)] {
        assert_eq!(answer::read(&recorded(name).1).unwrap().len(), entries, "{name}");
    }
    // No `data` at all.
    assert_eq!(answer::read(br#"{"status":"success"}"#).unwrap().len(), 0);
    let error = answer::read(&recorded("query_range_matrix").1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
}

/// What the quick reader gives must be what the plain one gives; it may always give up.
fn readers_agree(body: &[u8]) -> bool {
    let quick = answer::quick(body).map(|envelope| format!("{envelope:?}"));
    let plain = answer::plain(body).map(|envelope| format!("{envelope:?}"));
    if let Some(quick) = &quick {
        assert_eq!(Some(quick), plain.as_ref().ok(), "{}", String::from_utf8_lossy(body));
    }
    quick.is_some()
}

#[test]
fn recorded_answers_are_read_quickly_and_as_plainly() {
    for name in [
        "query_range_two_streams",
        "query_range_categorized_labels",
        "query_range_structured_metadata",
        "query_range_pipeline_error_label",
        "query_range_streams_forward",
        "query_range_mixed_kept",
        "query_range_empty",
    ] {
        let (_, body) = recorded(name);
        assert!(readers_agree(&body), "{name}");
        for cut in (0..body.len()).step_by(7) {
            assert!(!readers_agree(&body[..cut]), "{name} cut at {cut}");
            assert!(answer::read(&body[..cut]).is_err(), "{name} cut at {cut}");
        }
    }
    assert!(!readers_agree(&recorded("query_range_matrix").1));
}

const RICH: &str = r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[
 {"stream":{"app":"a\\b","zone":"\u00e9"},"values":[["1795211364109914515","a \"line\"\n",{"structuredMetadata":{"k":"v"}}],
 ["-1","",{"parsed":{"a":"b"}}],["5","plain"]]},{"values":[],"stream":{},"more":null}],"stats":{"n":[1e3,true]}}}"#;

proptest! {
    #[test]
    fn damaged_answers_are_read_as_the_plain_reader_reads_them(damage in crate::json::damage()) {
        readers_agree(&crate::json::garbled(RICH.as_bytes(), &damage));
    }

    #[test]
    fn lines_are_read_as_they_were_written(lines in prop::collection::vec((any::<i64>(), "\\PC{0,30}|[\\\\\"\n\t]{0,9}"), 0..9)) {
        let values: Vec<Value> = lines.iter().map(|(nanos, line)| json!([nanos.to_string(), line])).collect();
        let result = json!([{ "stream": { "app": "a" }, "values": values }]);
        let body = json!({ "status": "success", "data": { "resultType": "streams", "result": result } }).to_string();
        prop_assert!(readers_agree(body.as_bytes()));
        let answer = answer::read(body.as_bytes()).unwrap();
        let read: Vec<(i64, String)> =
            answer.streams[0].values.iter().map(|entry| (entry.nanos, entry.line.to_string())).collect();
        prop_assert_eq!(read, lines);
    }
}

#[test]
fn a_recorded_answer_gives_what_a_poll_gives() {
    assert!(answer::quick(RICH.as_bytes()).is_some(), "the tests above are about something");
    let source = LokiSource::new(config("http://h")).unwrap();
    let polled = source.read_recorded(&recorded("query_range_categorized_labels").1).unwrap();
    assert!(polled.batch.logs.len() == 2 && polled.batch.logs.is_sorted_by_key(|line| line.at));
    let line = &polled.batch.logs[1];
    assert_eq!((line.fields.get("pod"), line.fields.get("env"), polled.dropped), (Some("pay-0"), Some("prod"), 0));
    assert_eq!(source.read_recorded(b"{").unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(source.read_recorded(&recorded("query_range_matrix").1).unwrap_err().kind(), ErrorKind::InvalidConfig);
}

/// What a source makes of one stream with these labels and values.
fn taken(stream: Value, values: Value) -> Polled {
    let body = json!({ "status": "success", "data": { "resultType": "streams", "result": [{ "stream": stream, "values": values }] } });
    LokiSource::new(config("http://loki")).unwrap().read_recorded(body.to_string().as_bytes()).unwrap()
}

#[test]
fn what_a_query_extracts_counts_as_labels() {
    let polled = taken(
        json!({ "cluster": "c" }),
        json!([
            ["1", "{}", { "parsed": { "service_name": "pay", "level": "error", "status": "502" } }],
            ["2", "x", { "structuredMetadata": { "app": "meta" }, "parsed": { "job": "j" } }],
            ["3", "y", { "structuredMetadata": {}, "parsed": {} }],
        ]),
    );
    let lines: Vec<_> = polled.batch.logs.iter().map(|line| (line.entity.as_str(), line.level)).collect();
    assert_eq!(lines, [("pay", Some(LogLevel::Error)), ("meta", None)]);
    assert_eq!(polled.batch.logs[0].fields.get("status"), Some("502"));
    assert_eq!((polled.dropped, polled.problems.len()), (1, 1));
    // A better label of the line comes before that of its stream, and a worse one does not.
    let polled = taken(
        json!({ "app": "shop" }),
        json!([["1", "x", { "parsed": { "job": "j" } }], ["2", "x", { "parsed": { "service_name": "pay" } }]]),
    );
    let entities: Vec<_> = polled.batch.logs.iter().map(|line| line.entity.as_str()).collect();
    assert_eq!(entities, ["shop", "pay"]);
}

#[test]
fn an_empty_label_is_none_and_blanks_are_no_part_of_a_name() {
    let polled = taken(json!({ "service_name": "", "app": "shop", "zone": "" }), json!([["1", "x"]]));
    assert_eq!(polled.batch.logs[0].entity.as_str(), "shop");
    assert_eq!(polled.batch.logs[0].fields.len(), 1);
    let polled = taken(json!({ "app": "Order Service" }), json!([["1", "x"]]));
    assert_eq!(polled.batch.logs[0].entity.as_str(), "Order-Service");
    assert_eq!(taken(json!({ "app": "" }), json!([["1", "x"], ["2", "y"]])).dropped, 2);
}

#[test]
fn what_the_writer_said_comes_before_what_was_guessed() {
    for (stream, beside, level) in [
        (
            json!({ "level": "INFO" }),
            json!({ "structuredMetadata": { "detected_level": "error" } }),
            Some(LogLevel::Info),
        ),
        (json!({ "detected_level": "error" }), json!({ "parsed": { "severity": "NOTICE" } }), Some(LogLevel::Info)),
        (
            json!({}),
            json!({ "structuredMetadata": { "detected_level": "unknown", "level": "Information" } }),
            Some(LogLevel::Info),
        ),
        (
            json!({ "level": "unknown" }),
            json!({ "structuredMetadata": { "detected_level": "warn" } }),
            Some(LogLevel::Warn),
        ),
        (json!({}), json!({ "structuredMetadata": { "level": "dpanic" } }), Some(LogLevel::Fatal)),
        (json!({ "Severity": "50" }), json!({}), Some(LogLevel::Error)),
        (json!({}), json!({ "structuredMetadata": { "severity_number": "9" } }), Some(LogLevel::Info)),
        (json!({}), json!({ "parsed": { "lvl": "\u{1b}[31mERROR\u{1b}[0m" } }), Some(LogLevel::Error)),
        (json!({}), json!({ "structuredMetadata": { "detected_level": "" } }), None),
    ] {
        let mut labels = stream.clone();
        labels["app"] = json!("shop");
        let polled = taken(labels, json!([["1", "GET /errors 200", beside.clone()]]));
        assert_eq!(polled.batch.logs[0].level, level, "{stream} {beside}");
    }
}

#[test]
fn colours_are_no_part_of_a_line() {
    let polled =
        taken(json!({ "app": "a" }), json!([["1", "\u{1b}[31mERROR\u{1b}[0m disk"], ["2", "\u{feff}#033[1mx#033[0m"]]));
    assert_eq!(Stage::texts(&polled), ["ERROR disk", "x"]);
}

#[test]
fn a_part_that_cannot_be_read_costs_itself_alone() {
    let polled = taken(
        json!({ "app": "a" }),
        json!([["1", "first"], ["x", "no time"], ["2"], null, ["3", 7], ["4", "last", null], ["5", "beside", { "parsed": [] }]]),
    );
    assert_eq!(Stage::texts(&polled), ["first", "last"]);
    assert_eq!(polled.dropped, 5);
    let read = |result: Value| {
        let body = json!({ "status": "success", "data": { "resultType": "streams", "result": result } });
        LokiSource::new(config("http://loki")).unwrap().read_recorded(body.to_string().as_bytes())
    };
    let good = json!({ "stream": { "app": "a" }, "values": [["1", "x"]] });
    let polled =
        read(json!([{ "stream": null, "values": [] }, good, 7, { "stream": { "app": 1 }, "values": [["1", "y"]] }]))
            .unwrap();
    assert_eq!((Stage::texts(&polled), polled.dropped), (vec!["x"], 3));
    // All of them, and no list at all.
    assert_eq!(read(json!([1, 2])).unwrap().dropped, 2);
    assert!(read(json!({})).is_err());
}

#[test]
fn warnings_of_the_server_are_problems() {
    let body = json!({ "status": "success", "warnings": ["two ingesters are away"],
        "data": { "resultType": "streams", "result": [] } });
    let polled = LokiSource::new(config("http://loki")).unwrap().read_recorded(body.to_string().as_bytes()).unwrap();
    assert!(polled.problems[0].contains("ingesters are away"), "{:?}", polled.problems);
}

#[tokio::test]
async fn recorded_errors_have_their_kind_and_their_words() {
    let stage = Stage::new(|_| {}).await;
    let cursor = stage.begin().await;
    stage.clock.advance(Duration::from_secs(1));
    let rows = [
        ("query_too_many_outstanding", ErrorKind::RateLimited, "too many outstanding"),
        ("query_too_many_outstanding_as_500", ErrorKind::RateLimited, "Code(429)"),
        ("query_range_limit_too_big", ErrorKind::InvalidConfig, "max entries limit"),
        ("query_max_bytes_read", ErrorKind::InvalidConfig, "too many bytes"),
        ("query_range_bad_parse", ErrorKind::InvalidConfig, "parse error"),
        ("query_no_tenant", ErrorKind::Unauthorized, "no org id"),
        ("query_timeout", ErrorKind::Timeout, "timed out"),
    ];
    for (name, kind, words) in rows {
        let (status, body) = recorded(name);
        stage.double.mood(Mood::Says(status, body));
        let error = stage.source.poll(&stage.ctx, &cursor).await.unwrap_err();
        assert!(error.kind() == kind && error.message().contains(words), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_silent_server_costs_the_time_allowed_and_tenant_and_credentials_are_sent_and_never_told() {
    let (double, url) = Double::start().await;
    let canary = "canary-in-the-mine";
    let auth = crate::http::HttpAuth::bearer(&ir_core::Secret::new(canary)).unwrap();
    let http = HttpConfig { timeout_ms: 200, ..HttpConfig::default() };
    let client = HttpClient::new(COMPONENT, http).with_auth(auth);
    let config = LokiConfig { tenant: Some("team-a".into()), backfill_ms: 1_000, ..config(&url) };
    let source = LokiSource::with_client(config, client).unwrap();
    // Time passes here, because it is waited for.
    let ctx = Ctx::new(Arc::new(crate::SystemClock::new()));
    source.poll(&ctx, &Cursor::default()).await.unwrap();
    let head = double.heads.lock().unwrap().pop().unwrap();
    assert!(head.contains("x-scope-orgid: team-a") && head.contains(&format!("authorization: bearer {canary}")));
    assert!(head.contains("query=%7bzone%3d%22a%22%7d%20%7c%3d%20%22x%20%26%20y%22&"), "{head}");
    double.mood(Mood::Hangs);
    let error = source.poll(&ctx, &Cursor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(!format!("{error:?} {source:?}").contains("canary"));
}

pub(super) struct Pusher(pub(super) Arc<Double>, pub(super) AtomicUsize);

#[async_trait]
impl laws::Supply for Pusher {
    async fn add(&self, n: usize) {
        self.0.mood(Mood::Answers);
        for _ in 0..n {
            let now = crate::SystemClock::new().now().wall.as_nanos();
            let n = self.1.fetch_add(1, Ordering::SeqCst);
            self.0.add(now, "web", format!("line {n}"));
        }
    }

    async fn spoil(&self, n: usize) -> u64 {
        for _ in 0..n {
            let now = crate::SystemClock::new().now().wall.as_nanos();
            let n = self.1.fetch_add(1, Ordering::SeqCst);
            self.0.add(now, "", format!("of nobody {n}"));
        }
        n as u64
    }

    async fn hang(&self) -> bool {
        self.0.mood(Mood::Hangs);
        true
    }
}

#[async_trait]
impl laws::Hostile for Pusher {
    async fn feed(&self, what: laws::Hostility) -> Option<laws::Fed> {
        let now = crate::SystemClock::new().now().wall.as_nanos();
        let web = json!({ "service_name": "web" });
        let at = |nanos: i64, line: &str| json!([nanos.to_string(), line]);
        let (stream, values, given, dropped) = match what {
            laws::Hostility::BadParts => {
                let values = json!([at(now, "a"), ["yesterday", "b"], 7, null, [], at(now, "c")]);
                (web, values, 2, 4)
            }
            laws::Hostility::WrongTimes => (web, json!([at(i64::MAX, "ahead"), at(now / 1_000, "old")]), 0, 2),
            laws::Hostility::EmptyLabel => (json!({ "service_name": "", "job": "node" }), json!([at(now, "a")]), 1, 0),
            laws::Hostility::Level(text) => {
                (json!({ "service_name": "web", "level": text }), json!([at(now, "a")]), 1, 0)
            }
            _ => return None,
        };
        let result = json!([{ "stream": stream, "values": values }]);
        let answer = json!({ "status": "success", "data": { "resultType": "streams", "result": result } });
        self.0.mood(Mood::Says(200, answer.to_string().into_bytes()));
        Some(laws::Fed { given, dropped })
    }
}

#[tokio::test]
async fn it_keeps_the_laws_on_hostile_input() {
    // Where a page is full, the next one begins at the time of its last line.
    for page in [2, 10] {
        let ctx = Ctx::new(Arc::new(crate::SystemClock::new()));
        let checked = laws::check_hostile(&ctx, async || {
            let (double, url) = Double::start().await;
            let config = LokiConfig { timeout_ms: 5_000, page, max_pages: 1, ..config(&url) };
            let supply: Box<dyn laws::Hostile> = Box::new(Pusher(double, AtomicUsize::new(0)));
            (Arc::new(LokiSource::new(config).unwrap()) as Arc<dyn SignalSource>, supply)
        });
        checked.await.unwrap();
    }
}

#[tokio::test]
async fn it_keeps_the_laws_of_sources() {
    let ctx = Ctx::new(Arc::new(crate::SystemClock::new()));
    laws::check_all(&ctx, async || {
        let (double, url) = Double::start().await;
        let source = LokiSource::new(LokiConfig { timeout_ms: 5_000, ..config(&url) }).unwrap();
        let supply: Box<dyn laws::Supply> = Box::new(Pusher(double, AtomicUsize::new(0)));
        (Arc::new(source) as Arc<dyn SignalSource>, supply)
    })
    .await
    .unwrap();
}

#[test]
fn all_mistakes_of_a_configuration_are_told() {
    let query = |name: &str| LokiQuery { name: name.into(), query: " ".into() };
    let config = LokiConfig {
        name: "no name".into(),
        url: "loki".into(),
        query: vec![query("a"), query("a")],
        tenant: Some("a b".into()),
        entity_labels: Vec::new(),
        page: 0,
        max_pages: 0,
        ..LokiConfig::default()
    };
    let error = LokiSource::new(config).unwrap_err();
    assert_eq!(error.problems().len(), 9, "{error}");
}

#[tokio::test]
async fn a_cursor_of_somebody_else_is_refused() {
    let stage = Stage::new(|_| {}).await;
    for text in ["12", "{\"all\":{\"nanos\":5}}", "{\"all\":{\"nanos\":\"x\"}}", "{"] {
        let error = stage.source.poll(&stage.ctx, &Cursor::new(text)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
    }
}

#[tokio::test]
async fn labels_values_and_streams_are_found_within_the_bound() {
    let stage = Stage::new(|config| config.max_found = 2).await;
    let (from, until) = (Timestamp::from_nanos(1), Timestamp::from_nanos(2));
    let (ctx, source) = (&stage.ctx, &stage.source);
    let mood = |name: &str| stage.double.mood(Mood::Says(200, recorded(name).1));
    let asked = || {
        let head = stage.double.heads.lock().unwrap().pop().unwrap();
        head.split(' ').nth(1).unwrap().strip_prefix("/loki/api/v1/").unwrap().to_owned()
    };
    mood("labels");
    assert_eq!(source.labels(ctx, from, until).await.unwrap(), ["app", "env"]);
    assert_eq!(asked(), "labels?start=1&end=2");
    // A label that nothing has: there is no `data` at all.
    mood("label_values_unknown");
    assert_eq!(source.label_values(ctx, "a b", from, until).await.unwrap(), [""; 0]);
    assert_eq!(asked(), "label/a%20b/values?start=1&end=2");
    mood("series");
    let found = source.series(ctx, &["{app=\"checkout\"}"], from, until).await.unwrap();
    assert_eq!((found.len(), found[1].get("level")), (2, Some("error")));
    assert_eq!(asked(), "series?start=1&end=2&match%5b%5d=%7bapp%3d%22checkout%22%7d");
    stage.double.mood(Mood::Says(400, b"no".to_vec()));
    assert_eq!(source.series(ctx, &["{"], from, until).await.unwrap_err().kind(), ErrorKind::InvalidConfig);
}

#[tokio::test]
async fn no_line_is_lost_or_doubled_while_the_server_is_restarted_three_times() {
    let (double, url) = Double::start().await;
    let source = LokiSource::new(LokiConfig { lag_ms: 2_000, page: 50, timeout_ms: 2_000, ..config(&url) }).unwrap();
    let (got, kept) = double.soak(&source, Duration::from_millis(2_000)).await;
    assert!(kept.len() >= 100, "{} lines", kept.len());
    assert!(got == kept, "{} lines, and {} were there", got.len(), kept.len());
}
