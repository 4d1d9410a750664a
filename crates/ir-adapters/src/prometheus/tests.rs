//! Recorded answers of a real Prometheus, and servers that misbehave. The real one is in `tests/real`.

use std::sync::Mutex;
use std::time::Duration;

use ir_core::testkit::signal as laws;
use ir_core::{Clock as _, ManualClock, MetricKind};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::http::HttpReply;
use crate::prom::kind_of;

pub(super) fn recorded(name: &str) -> HttpReply {
    let path = format!("{}/tests/fixtures/prometheus/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let exchange: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let response = &exchange["response"];
    let body = match response.get("body_json") {
        Some(body) => body.to_string(),
        None => response["body_text"].as_str().unwrap_or_default().to_owned(),
    };
    reply(response["status"].as_u64().unwrap().try_into().unwrap(), body)
}

fn reply(status: u16, body: impl Into<Vec<u8>>) -> HttpReply {
    HttpReply { status, body: body.into().into(), content_type: None, retry_after: None, content_encoding: None }
}

fn matrix(series: &Value) -> Vec<u8> {
    json!({ "status": "success", "data": { "resultType": "matrix", "result": series } }).to_string().into_bytes()
}

#[test]
fn recorded_answers_are_read() {
    let reply = recorded("query_matrix");
    let answer = answer::read(&reply).unwrap();
    let samples: Vec<(i64, f64)> = answer.series[0].values.iter().map(|s| (s.millis, s.value)).collect();
    assert_eq!(samples, [(1_795_211_200_459, 1.0), (1_795_211_201_450, 1.0), (1_795_211_202_450, 1.0)]);
    assert_eq!(answer.series[0].metric[0], (NAME.into(), "up".into()));
    assert_eq!(answer::read(&recorded("query_range_gap")).unwrap().series[0].values.len(), 3);
    assert_eq!(answer::read(&recorded("query_range_empty")).unwrap().series.len(), 0);
}

#[test]
fn recorded_errors_have_their_kind_and_their_words() {
    let rows = [
        ("query_bad_parse", ErrorKind::InvalidConfig, "parse error"),
        ("query_timeout", ErrorKind::Timeout, "timed out"),
        ("query_too_many_samples", ErrorKind::InvalidConfig, "too many samples"),
        ("query_range_too_many_points", ErrorKind::InvalidConfig, "11,000 points"),
        ("not_found", ErrorKind::InvalidConfig, "404"),
        ("method_not_allowed", ErrorKind::InvalidConfig, "405"),
    ];
    for (name, kind, words) in rows {
        let error = answer::read(&recorded(name)).unwrap_err();
        assert!(error.kind() == kind && error.message().contains(words), "{name}: {error}");
    }
    for (status, kind) in [(401, ErrorKind::Unauthorized), (429, ErrorKind::RateLimited), (500, ErrorKind::Unavailable)]
    {
        assert_eq!(answer::read(&reply(status, "")).unwrap_err().kind(), kind);
    }
}

#[test]
fn values_that_are_no_numbers_elsewhere_are_numbers_here() {
    let body =
        matrix(&json!([{ "metric": { "job": "a" }, "values": [[1, "NaN"], [2.5, "+Inf"], [3, "-Inf"], [4, "-0"]] }]));
    let reply = reply(200, body);
    let values = &answer::read(&reply).unwrap().series[0].values;
    assert!(values[0].value.is_nan() && values[3].value.is_sign_negative());
    assert_eq!((values[1].value, values[2].value, values[1].millis), (f64::INFINITY, f64::NEG_INFINITY, 2500));
}

#[test]
fn nonsense_is_an_error_and_no_panic() {
    let rows = [r#"{"data":{"result":3}}"#, r#"{"data":[]}"#, r#"{"data":{"result":"#, "<html>", ""];
    for body in rows {
        assert_eq!(answer::read(&reply(200, body)).unwrap_err().kind(), ErrorKind::Unavailable, "{body}");
    }
}

proptest! {
    /// Beside the tree of values that `serde_json` makes.
    #[test]
    fn samples_are_read_as_a_plain_reader_reads_them(
        values in prop::collection::vec((0_i64..4_000_000_000_000, prop::num::f64::NORMAL | prop::num::f64::ZERO), 0..20),
        label in "\\PC{0,20}",
    ) {
        let list: Vec<Value> =
            values.iter().map(|(at, value)| json!([*at as f64 / 1000.0, value.to_string()])).collect();
        let reply = reply(200, matrix(&json!([{ "metric": { "job": label }, "values": list }])));
        let answer = answer::read(&reply).unwrap();
        prop_assert_eq!(answer.series[0].metric[0].1.as_ref(), label.as_str());
        let read: Vec<(i64, f64)> = answer.series[0].values.iter().map(|s| (s.millis, s.value)).collect();
        prop_assert_eq!(read, values);
    }
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
    for name in ["query_matrix", "query_nan_inf", "query_range_matrix", "query_range_gap", "query_range_empty"] {
        let reply = recorded(name);
        assert!(readers_agree(&reply.body), "{name}");
        for cut in 0..reply.body.len() {
            assert!(!readers_agree(&reply.body[..cut]), "{name} cut at {cut}");
            assert!(answer::read_body(&reply.body[..cut]).is_err(), "{name} cut at {cut}");
        }
    }
}

const RICH: &str = r#"{"status":"success","warnings":["slow \u00e9"],"infos":[],"data":{"resultType":"matrix","result":[
 {"metric":{"__name__":"a","job":"x\\\"y"},"values":[[1795211200.459,"1.5"],[1795211201,"-0.1e3"],[3,"NaN"]]},
 {"values":[],"more":[1,{"a":null}],"metric":{}}],"stats":{"n":1e3}}}"#;

proptest! {
    #[test]
    fn damaged_answers_are_read_as_the_plain_reader_reads_them(damage in crate::json::damage()) {
        readers_agree(&crate::json::garbled(RICH.as_bytes(), &damage));
    }
}

#[test]
fn a_recorded_answer_gives_what_a_poll_gives() {
    let mut config = PrometheusConfig { url: "http://h".into(), ..PrometheusConfig::default() };
    config.query.push(PrometheusQuery {
        name: "up".into(),
        query: "up".into(),
        samples: Samples::Raw,
        metric: None,
        kind: None,
        unit: String::new(),
    });
    let source = PrometheusSource::new(config).unwrap();
    assert!(answer::quick(RICH.as_bytes()).is_some(), "the tests above are about something");
    let polled = source.read_recorded("up", &recorded("query_range_matrix").body).unwrap();
    assert!(polled.batch.metrics.len() > 6 && polled.batch.metrics.is_sorted_by_key(|sample| sample.at));
    assert_eq!((polled.dropped, polled.batch.metrics[0].series.kind), (0, MetricKind::Up));
    assert_eq!(source.read_recorded("down", b"{}").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(source.read_recorded("up", b"{").unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_name_says_how_values_behave() {
    let rows = [
        ("up", false, MetricKind::Up),
        ("http_requests_total", false, MetricKind::Counter),
        ("http_request_seconds_bucket", true, MetricKind::Bucket),
        ("water_in_the_bucket", false, MetricKind::Gauge),
        ("http_request_seconds_sum", false, MetricKind::Counter),
        ("queue_length", false, MetricKind::Gauge),
    ];
    for (name, has_bound, kind) in rows {
        assert_eq!(kind_of(name, has_bound), kind, "{name}");
    }
}

/// Answers every request with what the test says, and remembers what was asked.
pub(super) struct Double {
    pub(super) url: String,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

impl Double {
    pub(super) async fn start(answer: impl Fn(&str) -> (u16, Vec<u8>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prom/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (shared, answer) = (asked.clone(), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (shared, answer) = (shared.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    let mut chunk = [0; 4096];
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read(&mut chunk).await {
                            Ok(n) if n > 0 => head.extend_from_slice(&chunk[..n]),
                            _ => return,
                        }
                    }
                    let target = String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned();
                    let (status, body) = answer(&target);
                    shared.lock().unwrap().push(target);
                    let head =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                    // A client that has seen enough hangs up.
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(&body).await;
                });
            }
        });
        Self { url, asked }
    }

    fn source(
        &self,
        samples: Samples,
        change: impl FnOnce(&mut PrometheusConfig),
    ) -> (PrometheusSource, Ctx, Arc<ManualClock>) {
        let query = PrometheusQuery {
            name: "errors".into(),
            query: "errors_total{a=\"b\"}".into(),
            samples,
            metric: None,
            kind: None,
            unit: String::new(),
        };
        let mut config = PrometheusConfig {
            url: self.url.clone(),
            query: vec![query],
            lag_ms: 0,
            max_bytes: 64 << 10,
            step_ms: 10_000,
            metadata_secs: 0,
            ..PrometheusConfig::default()
        };
        change(&mut config);
        let clock = Arc::new(ManualClock::new());
        (PrometheusSource::new(config).unwrap(), Ctx::new(clock.clone()), clock)
    }
}

#[tokio::test]
async fn steps_are_aligned_sliced_and_asked_for_once() {
    let double = Double::start(|_| (200, matrix(&json!([])))).await;
    let (source, ctx, clock) = double.source(Samples::Steps, |config| config.max_slices = 2);
    // Five seconds past a step.
    clock.set_wall(ir_core::Timestamp::from_millis(1_700_000_005_000));
    let first = source.poll(&ctx, &Cursor::default()).await.unwrap();
    assert!(double.asked.lock().unwrap().is_empty(), "no step has passed");
    clock.set_wall(ir_core::Timestamp::from_millis(1_700_000_031_000));
    let second = source.poll(&ctx, &first.next).await.unwrap();
    source.poll(&ctx, &second.next).await.unwrap();
    let head = "/prom/api/v1/query_range?query=errors_total%7Ba%3D%22b%22%7D";
    assert_eq!(*double.asked.lock().unwrap(), [format!("{head}&start=1700000010.000&end=1700000030.000&step=10.000")]);
    // A long absence is made up for in slices that the server accepts.
    clock.set_wall(ir_core::Timestamp::from_millis(1_700_000_030_000 + 2_500 * 10_000));
    let third = source.poll(&ctx, &second.next).await.unwrap();
    assert_eq!(third.next.as_str(), r#"{"errors":1700020030000}"#);
    source.poll(&ctx, &third.next).await.unwrap();
    assert_eq!(double.asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn raw_samples_at_the_edges_come_once_whatever_the_version_of_the_server() {
    // Both ends are within, as before version 3.
    let double = Double::start(|target| {
        let end = target.split("time=").nth(1).unwrap().parse::<f64>().unwrap();
        let length: f64 = target.split("%5B").nth(1).unwrap().split("ms").next().unwrap().parse().unwrap();
        let values: Vec<Value> =
            (0..=(length / 500.0) as i64).map(|n| json!([end - length / 1000.0 + n as f64 * 0.5, "1"])).collect();
        (200, matrix(&json!([{ "metric": { NAME: "errors_total", "job": "web", "pod": "x" }, "values": values }])))
    })
    .await;
    let (source, ctx, clock) = double.source(Samples::Raw, |config| config.drop_labels = vec!["pod".into()]);
    let mut cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
    let mut all = Vec::new();
    for _ in 0..10 {
        clock.advance(Duration::from_secs(2));
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        all.extend(polled.batch.metrics);
        cursor = polled.next;
    }
    assert_eq!(all.len(), 40);
    assert!(all.windows(2).all(|pair| pair[1].at.since(pair[0].at) == Duration::from_millis(500)));
    let series = &all[0].series;
    assert_eq!((series.entity.as_str(), series.kind, series.labels.len()), ("web", MetricKind::Counter, 0));
    assert!(all.iter().all(|sample| Arc::ptr_eq(&sample.series, series)), "polls share their series");
}

#[tokio::test]
async fn series_of_nobody_and_beyond_the_bound_are_counted_and_warnings_told() {
    let double = Double::start(|target| {
        let end = target.split("time=").nth(1).unwrap().parse::<f64>().unwrap();
        let series = |job: &str| json!({ "metric": { "job": job }, "values": [[end, "1"]] });
        let empty = json!({ "metric": { "job": "n" }, "values": [] });
        let nobody = json!({ "metric": { "other": "x" }, "values": [[end - 0.5, "1"], [end, "1"]] });
        let body = json!({ "status": "success", "warnings": ["part of the data is away\n"],
            "data": { "resultType": "matrix", "result": [series("a"), empty, nobody, series("b"), series("c")] } });
        (200, body.to_string().into_bytes())
    })
    .await;
    let (source, ctx, clock) = double.source(Samples::Raw, |config| config.max_series = 4);
    let cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
    clock.advance(Duration::from_secs(1));
    let polled = source.poll(&ctx, &cursor).await.unwrap();
    assert_eq!((polled.batch.metrics.len(), polled.dropped), (2, 2 + 1));
    for words in ["part of the data is away", "none of the labels", "more than 4 series"] {
        assert!(polled.problems.iter().any(|p| p.contains(words) && !p.contains('\n')), "{:?}", polled.problems);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_refused_early() {
    let double = Double::start(|_| (200, vec![b' '; 8 << 20])).await;
    let (source, ctx, clock) = double.source(Samples::Raw, |_| {});
    let cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
    clock.advance(Duration::from_secs(1));
    let error = source.poll(&ctx, &cursor).await.unwrap_err();
    assert!(error.message().contains("larger than 65536 bytes"), "{error}");
    assert_eq!(clock.now().mono_ns, ctx.now().mono_ns);
}

#[test]
fn all_mistakes_of_a_configuration_are_told() {
    let query = |name: &str| PrometheusQuery {
        name: name.into(),
        query: String::new(),
        samples: Samples::Raw,
        metric: None,
        kind: None,
        unit: String::new(),
    };
    let config = PrometheusConfig {
        name: "no name".into(),
        url: "prometheus".into(),
        query: vec![query("a"), query("a")],
        entity_labels: Vec::new(),
        step_ms: 0,
        max_series: 0,
        ..PrometheusConfig::default()
    };
    let error = PrometheusSource::new(config).unwrap_err();
    assert_eq!(error.problems().len(), 8, "{error}");
}

#[tokio::test]
async fn a_native_histogram_becomes_the_parts_of_a_classic_one() {
    let double = Double::start(|target| {
        let raw = target.contains("%5B");
        let end = target.split(if raw { "time=" } else { "end=" }).nth(1).unwrap().split('&').next().unwrap();
        let end: f64 = end.parse().unwrap();
        let buckets = json!([[0, "0.25", "0.5", "3"], [0, "1", "2", "4"]]);
        let native = json!([end, { "count": "7", "sum": "6.5", "buckets": buckets }]);
        let metric = json!({ NAME: "took_seconds", "job": "web", "zone": "a" });
        (200, matrix(&json!([{ "metric": metric, "histograms": [native] }])))
    })
    .await;
    for samples in [Samples::Raw, Samples::Steps] {
        let (source, ctx, clock) = double.source(samples, |config| {
            (config.histogram_bounds, config.step_ms) = (vec![0.5, 1.5], 1_000);
        });
        clock.set_wall(Timestamp::from_millis(1_700_000_000_000));
        let cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
        clock.advance(Duration::from_secs(1));
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        let seen: Vec<(String, MetricKind, f64)> = polled
            .batch
            .metrics
            .iter()
            .map(|s| (format!("{}{}", s.series.metric, s.series.labels), s.series.kind, s.value))
            .collect();
        let counts = samples == Samples::Raw;
        let kind = if counts { MetricKind::Counter } else { MetricKind::Gauge };
        let mut wanted = vec![
            ("took_seconds_count{zone=\"a\"}".to_owned(), kind, 7.0),
            ("took_seconds_sum{zone=\"a\"}".to_owned(), kind, 6.5),
        ];
        let bucket = |le: &str| format!("took_seconds_bucket{{le=\"{le}\",zone=\"a\"}}");
        if counts {
            wanted
                .extend([("0.5", 3.0), ("1.5", 5.0), ("+Inf", 7.0)].map(|(le, n)| (bucket(le), MetricKind::Bucket, n)));
        }
        assert_eq!((seen, polled.dropped), (wanted, 0));
        assert_eq!(polled.batch.metrics[1].series.unit, "seconds");
    }
}

#[tokio::test]
async fn targets_say_kind_and_unit_and_names_do_where_they_do_not() {
    let (fails, asked) = (Arc::new(Mutex::new(Some(503))), Arc::new(Mutex::new(0)));
    let (mood, count) = (fails.clone(), asked.clone());
    let double = Double::start(move |target| {
        if target.contains("/metadata") {
            *count.lock().unwrap() += 1;
            let said =
                json!({ "status": "success", "data": { "errors_total": [{ "type": "gauge", "unit": "celsius" }] } });
            return mood.lock().unwrap().map_or((200, said.to_string().into_bytes()), |status| (status, Vec::new()));
        }
        let end: f64 = target.split("time=").nth(1).unwrap().parse().unwrap();
        (200, matrix(&json!([{ "metric": { NAME: "errors_total", "job": "web" }, "values": [[end, "1"]] }])))
    })
    .await;
    let (source, ctx, clock) = double.source(Samples::Raw, |config| config.metadata_secs = 60);
    let mut cursor = Cursor::default();
    let mut step = async |secs: u64| {
        clock.advance(Duration::from_secs(secs));
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        cursor = polled.next;
        let series = polled.batch.metrics.last().map(|sample| sample.series.clone());
        (series.map(|series| (series.kind, series.unit.clone())), polled.problems.len(), *asked.lock().unwrap())
    };
    assert_eq!(step(0).await, (None, 0, 1));
    // It is away for now: it is asked again with the next poll.
    assert_eq!(step(1).await, (Some((MetricKind::Counter, String::new())), 0, 2));
    // It has no such thing: that is told once, and asked again when it is time to.
    *fails.lock().unwrap() = Some(404);
    assert_eq!(step(1).await, (Some((MetricKind::Counter, String::new())), 1, 3));
    assert_eq!(step(1).await, (Some((MetricKind::Counter, String::new())), 0, 3));
    *fails.lock().unwrap() = None;
    assert_eq!(step(60).await, (Some((MetricKind::Gauge, "celsius".to_owned())), 0, 4));
    assert_eq!(step(1).await, (Some((MetricKind::Gauge, "celsius".to_owned())), 0, 4));
}

#[tokio::test]
async fn the_history_at_the_start_comes_in_bounded_slices_and_each_sample_once() {
    let double = Double::start(|target| {
        let end = target.split("time=").nth(1).unwrap().parse::<f64>().unwrap();
        let length: f64 = target.split("%5B").nth(1).unwrap().split("ms").next().unwrap().parse().unwrap();
        let values: Vec<Value> =
            (0..(length / 10_000.0) as i64).rev().map(|n| json!([end - n as f64 * 10.0, "1"])).collect();
        (200, matrix(&json!([{ "metric": { NAME: "errors_total", "job": "web" }, "values": values }])))
    })
    .await;
    let (source, ctx, clock) = double.source(Samples::Raw, |config| {
        (config.backfill_ms, config.slice_ms, config.max_slices) = (3_600_000, 60_000, 7);
    });
    clock.set_wall(Timestamp::from_millis(1_700_000_000_000));
    let (mut cursor, mut all) = (Cursor::default(), Vec::new());
    for _ in 0..12 {
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        assert!(polled.batch.metrics.len() <= 7 * 6, "{} samples in one poll", polled.batch.metrics.len());
        all.extend(polled.batch.metrics.iter().map(|sample| sample.at));
        cursor = polled.next;
    }
    // Ten minutes and more have passed: what was live meanwhile comes after the history, without a gap.
    clock.advance(Duration::from_secs(60));
    all.extend(source.poll(&ctx, &cursor).await.unwrap().batch.metrics.iter().map(|sample| sample.at));
    assert_eq!(all.len(), 366);
    assert!(all.windows(2).all(|pair| pair[1].since(pair[0]) == Duration::from_secs(10)));
    assert_eq!(double.asked.lock().unwrap().len(), 61);
}

#[test]
fn recorded_metadata_is_read() {
    let reply = recorded("metadata_one");
    let metadata = Metadata::of(answer::read_data(&reply).unwrap(), Timestamp::from_millis(1));
    // Not by its name: that is of a family which is known.
    assert_eq!(metadata.look("prometheus_http_requests_total", false), (MetricKind::Counter, ""));
    assert_eq!(metadata.look("prometheus_http_requests_total_bucket", true).0, MetricKind::Bucket);
}

#[tokio::test]
async fn series_are_found_within_the_bound() {
    let double = Double::start(|_| (200, recorded("series").body.to_vec())).await;
    let (source, ctx, _) = double.source(Samples::Raw, |config| config.max_series = 2);
    let (from, until) = (Timestamp::from_millis(1_000), Timestamp::from_millis(2_500));
    let series = source.series(&ctx, &["up", "{job=\"a b\"}"], from, until).await.unwrap();
    assert_eq!((series.len(), series[1].get(NAME), series[1].get("job")), (2, Some("up"), Some("dead")));
    let call = "/prom/api/v1/series?start=1.000&end=2.500&limit=2&match%5B%5D=up&match%5B%5D=%7Bjob%3D%22a%20b%22%7D";
    assert_eq!(*double.asked.lock().unwrap(), [call]);
}

fn read_body(body: &[u8]) -> Polled {
    let query = serde_json::from_value(json!([{ "name": "q", "query": "x" }])).unwrap();
    let config = PrometheusConfig {
        url: "http://prometheus".into(),
        query,
        drop_labels: vec!["pod".into()],
        ..PrometheusConfig::default()
    };
    PrometheusSource::new(config).unwrap().read_recorded("q", body).unwrap()
}

#[test]
fn hints_of_the_server_are_no_problems_and_warnings_are() {
    let mut body: Value = serde_json::from_slice(&matrix(
        &json!([{ "metric": { "__name__": "total", "job": "dns" }, "values": [[1_767_225_600, "5"]] }]),
    ))
    .unwrap();
    body["infos"] = json!(["it may be no counter"]);
    body["warnings"] = Value::Null;
    let polled = read_body(body.to_string().as_bytes());
    assert_eq!((polled.batch.metrics.len(), polled.problems.len()), (1, 0));
    body["warnings"] = json!(["a store is away"]);
    assert_eq!(read_body(body.to_string().as_bytes()).problems.len(), 1);
}

#[test]
fn a_part_that_cannot_be_read_costs_itself_alone() {
    let polled = read_body(&matrix(&json!([
        { "metric": { "__name__": "a", "job": "x" }, "values": [[1, "1"], [2, "y"], [1e300, "1"], null, [3], [4, "4"]] },
        { "metric": { "__name__": "b", "job": "x" }, "values": null, "histograms": [[1, {}], [2, { "count": "1", "sum": "2" }]] },
        { "metric": { "__name__": "c", "job": 7 }, "values": [[1, "1"]] },
        7,
        { "metric": { "__name__": "d", "job": "x" }, "values": [[5, "5"]] },
    ])));
    let values: Vec<f64> =
        polled.batch.metrics.iter().filter(|s| s.series.metric.len() == 1).map(|s| s.value).collect();
    assert_eq!((values, polled.dropped), (vec![1.0, 4.0, 5.0], 7));
    assert!(polled.problems[0].contains("7 parts"), "{:?}", polled.problems);
}

#[test]
fn entities_are_named_by_labels_with_a_value() {
    let polled = read_body(&matrix(&json!([
        { "metric": { "__name__": "a", "service": "", "job": "node", "zone": "" }, "values": [[1, "1"]] },
        { "metric": { "__name__": "a", "service": "Payment Service" }, "values": [[1, "2"]] },
        { "metric": { "__name__": "a", "service": "", "job": "" }, "values": [[1, "3"]] },
    ])));
    let series: Vec<String> =
        polled.batch.metrics.iter().map(|s| format!("{} {}", s.series.entity, s.series.labels)).collect();
    assert_eq!(series, ["node {}", "Payment-Service {service=\"Payment Service\"}"]);
    assert_eq!(polled.dropped, 1);
}

#[test]
fn series_that_fall_onto_one_are_said_once() {
    let series =
        |pod: &str| json!({ "metric": { "__name__": "hits", "job": "x", "pod": pod }, "values": [[1, "1"], [2, "2"]] });
    let polled = read_body(&matrix(&json!([series("a"), series("b"), series("c")])));
    assert_eq!((polled.batch.metrics.len(), polled.dropped, polled.problems.len()), (6, 0, 1));
    assert!(polled.problems[0].contains("`hits`"), "{:?}", polled.problems);
    assert!(read_body(&matrix(&json!([series("a")]))).problems.is_empty());
}

/// A server with one series, to which samples of now are added, or which gives one answer, whatever the query.
#[derive(Debug, Default)]
struct Shelf {
    millis: Vec<i64>,
    says: Option<Value>,
}

struct Supplier(Arc<Mutex<Shelf>>, Ctx);

impl Supplier {
    /// A millisecond in which no poll has ended and none will begin.
    async fn between_polls(&self) -> i64 {
        let pause = || self.1.sleep("test", Duration::from_millis(2));
        pause().await.unwrap();
        let now = self.1.now().wall.as_nanos() / 1_000_000;
        pause().await.unwrap();
        now
    }
}

#[async_trait]
impl laws::Supply for Supplier {
    async fn add(&self, n: usize) {
        for _ in 0..n {
            let now = self.between_polls().await;
            let mut shelf = self.0.lock().unwrap();
            shelf.says = None;
            shelf.millis.push(now);
        }
    }

    async fn spoil(&self, _n: usize) -> u64 {
        // What cannot be read stands in one answer with all else: `feed` gives it.
        0
    }

    async fn hang(&self) -> bool {
        false
    }
}

#[async_trait]
impl laws::Hostile for Supplier {
    async fn feed(&self, what: laws::Hostility) -> Option<laws::Fed> {
        let at = self.between_polls().await;
        let secs = |millis: i64| millis as f64 / 1000.0;
        let one = |metric: Value| json!({ "metric": metric, "values": [[secs(at), "1"]] });
        let web = json!({ NAME: "a", "job": "web" });
        let (series, given, dropped) = match what {
            laws::Hostility::BadParts => {
                let values = json!([[secs(at), "1"], [secs(at), "x"], null, ["y", "1"], [3]]);
                (json!([{ "metric": web, "values": values }, 7, { "metric": 7 }, one(json!({ "job": "db" }))]), 2, 6)
            }
            laws::Hostility::WrongTimes => {
                let values = json!([[secs(at / 1000), "1"], [secs(at * 1000), "1"], [0, "1"]]);
                (json!([{ "metric": web, "values": values }]), 0, 3)
            }
            laws::Hostility::EmptyLabel => (json!([one(json!({ NAME: "a", "service": "", "job": "node" }))]), 1, 0),
            _ => return None,
        };
        self.0.lock().unwrap().says = Some(series);
        Some(laws::Fed { given, dropped })
    }
}

async fn supplied(ctx: &Ctx) -> (Arc<dyn SignalSource>, Supplier) {
    let shelf = Arc::new(Mutex::new(Shelf::default()));
    let shared = shelf.clone();
    let double = Double::start(move |target| {
        let shelf = shared.lock().unwrap();
        let end = (target.split("time=").nth(1).unwrap().parse::<f64>().unwrap() * 1000.0).round() as i64;
        let length: i64 = target.split("%5B").nth(1).unwrap().split("ms").next().unwrap().parse().unwrap();
        let there = shelf.millis.iter().filter(|at| (end - length + 1..=end).contains(*at));
        let values: Vec<Value> = there.map(|at| json!([*at as f64 / 1000.0, at.to_string()])).collect();
        let added = json!([{ "metric": { NAME: "a", "job": "web" }, "values": values }]);
        (200, matrix(shelf.says.as_ref().unwrap_or(&added)))
    })
    .await;
    let (source, _, _) = double.source(Samples::Raw, |_| {});
    (Arc::new(source), Supplier(shelf, ctx.clone()))
}

#[tokio::test]
async fn it_keeps_the_laws_on_hostile_input() {
    let ctx = Ctx::new(Arc::new(crate::SystemClock::new()));
    laws::check_hostile(&ctx, async || {
        let (source, supply) = supplied(&ctx).await;
        (source, Box::new(supply) as Box<dyn laws::Hostile>)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn it_keeps_the_laws_of_sources() {
    let ctx = Ctx::new(Arc::new(crate::SystemClock::new()));
    laws::check_all(&ctx, async || {
        let (source, supply) = supplied(&ctx).await;
        (source, Box::new(supply) as Box<dyn laws::Supply>)
    })
    .await
    .unwrap();
}
