//! Requests that are made to fill memory, to exhaust the stack, or to be read wrong.

use serde_json::{Value, json};

use super::sent::*;
use super::*;

fn gauge(n: usize, attributes: Vec<KeyValue>) -> Metric {
    let point = NumberPoint { time: now(), as_int: Some(1), attributes, ..NumberPoint::default() };
    let gauge = Some(Data { points: vec![point], ..Data::default() });
    Metric { name: format!("metric.{n}"), gauge, ..Metric::default() }
}

fn log(body: AnyValue, attributes: Vec<KeyValue>) -> LogRecord {
    LogRecord { time: now(), body: Some(body), attributes, ..LogRecord::default() }
}

fn list(values: Vec<AnyValue>) -> AnyValue {
    AnyValue { value: Some(Any::List(AnyValues { values })) }
}

fn nested(depth: usize) -> AnyValue {
    (0..depth).fold(AnyValue { value: Some(Any::Bool(true)) }, |inner, _| list(vec![inner]))
}

/// A field that holds the bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

#[tokio::test]
async fn values_within_values_are_read_so_deep_and_no_deeper() {
    let (source, _) = source(config());
    for depth in [1, 8, 9, 16, 17, 80] {
        let answer = post(&source, Kind::Logs, &request(vec![log(nested(depth), vec![])])).await;
        assert_eq!((answer.status, answer.rejected), (200, 0), "{depth}");
    }
    let messages: Vec<String> = all(&source).await.batch.logs.into_iter().map(|log| log.message).collect();
    let deep = format!("{}..{}", "[".repeat(8), "]".repeat(8));
    assert_eq!(messages, ["[true]", &format!("{}true{}", "[".repeat(8), "]".repeat(8)), &deep, &deep, &deep, &deep]);
    // So deep that no library would write it: the stack holds.
    let mut value = vec![0x10, 1];
    for _ in 0..5_000 {
        value = field(5, &field(1, &value));
    }
    let log = field(1, &field(2, &field(2, &field(5, &value))));
    let answer = post_as(&source, Kind::Logs, &[("content-type", "application/x-protobuf")], log).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut json = json!({ "boolValue": true });
    for _ in 0..30 {
        json = json!({ "arrayValue": { "values": [json] } });
    }
    let body = |value: &Value| {
        json!({ "resourceLogs": [{ "resource": { "attributes": [
        { "key": "service.name", "value": { "stringValue": "web" } }
    ] }, "scopeLogs": [{ "logRecords": [{ "body": value }] }] }] })
    };
    assert_eq!(post_json(&source, Kind::Logs, &body(&json)).await.status, 200);
    // In JSON what is nested beyond a hundred levels is no request at all.
    let text = body(&json!("@")).to_string();
    let deep = format!("{}{{}}{}", "{\"arrayValue\":{\"values\":[".repeat(20_000), "]}}".repeat(20_000));
    let text = text.replace("\"@\"", &deep).into_bytes();
    let answer = post_as(&source, Kind::Logs, &[("content-type", "application/json")], text).await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[tokio::test]
async fn attributes_are_bounded_in_number_and_length() {
    let (source, _) = source(config());
    let many = |n: usize| (0..n).map(|n| attribute(&format!("key{n}"), "x")).collect::<Vec<_>>();
    let long = |n: usize| vec![attribute("key", "x".repeat(n))];
    let rows = vec![
        gauge(1, many(64)),
        gauge(2, many(65)),
        gauge(3, long(1024)),
        gauge(4, long(1025)),
        gauge(5, vec![attribute("", "x")]),
        gauge(6, vec![attribute(&"k".repeat(2_000), "x")]),
        gauge(7, vec![any("list", Any::List(AnyValues { values: vec![nested(1); 500] }))]),
    ];
    let answer = post(&source, Kind::Metrics, &request(rows)).await;
    assert_eq!(answer.rejected, 5, "{answer:?}");
    // A log line is taken with the first of them: nothing is mixed up by it.
    let text = AnyValue { value: Some(Any::Text("ä".repeat(20_000))) };
    let rows = vec![log(text, [many(500), long(5_000)].concat())];
    assert_eq!(post(&source, Kind::Logs, &request(rows)).await.rejected, 0);
    let batch = all(&source).await.batch;
    let names: Vec<&str> = batch.metrics.iter().map(|s| s.series.metric.as_str()).collect();
    assert_eq!(names, ["metric_1", "metric_3"]);
    assert_eq!((batch.logs[0].fields.len(), batch.logs[0].message.len()), (64, 16 << 10));
}

#[tokio::test]
async fn series_are_bounded_and_the_known_ones_go_on() {
    let (source, _) = source(config());
    let of = |label: usize| gauge(1, vec![attribute("user", label.to_string())]);
    assert_eq!(post(&source, Kind::Metrics, &request((0..400).map(of).collect())).await.rejected, 0);
    let answer = post(&source, Kind::Metrics, &request((300..800).map(of).collect())).await;
    assert_eq!((answer.status, answer.rejected), (200, 300), "{answer:?}");
    assert!(answer.message.contains("beyond the allowed number"), "{}", answer.message);
    assert_eq!(post(&source, Kind::Metrics, &request((0..100).map(of).collect())).await.rejected, 0);
    assert_eq!(all(&source).await.batch.metrics.len(), 700);
}

#[tokio::test]
async fn of_too_many_signals_the_first_are_taken_and_the_rest_is_counted() {
    let (source, _) = source(config());
    let text = |n: usize| AnyValue { value: Some(Any::Text(n.to_string())) };
    let rows = (0..1_500).map(|n| log(text(n), Vec::new())).collect();
    let answer = post(&source, Kind::Logs, &request(rows)).await;
    assert_eq!((answer.status, answer.rejected), (200, 500), "{answer:?}");
    let polled = all(&source).await;
    assert_eq!((polled.batch.logs.len(), polled.dropped), (1_000, 500));
    assert_eq!(polled.batch.logs[999].message, "999");
}

#[tokio::test]
async fn lists_of_nothing_end_where_their_memory_does() {
    let (source, _) = source(config());
    // Two bytes on the wire, a hundred or more here: half a million of each, at each level.
    let empty = |number: u8, n: usize| [number << 3 | 2, 0].repeat(n);
    let name = attribute("service.name", "web").encode_to_vec();
    let resource = field(1, &field(1, &name));
    let of = |scopes: &[u8]| field(1, &[resource.as_slice(), scopes].concat());
    let n = 500_000;
    let point = field(1, &empty(7, n));
    let bodies = [
        (Kind::Traces, empty(1, n)),
        (Kind::Traces, of(&empty(2, n))),
        (Kind::Traces, of(&field(2, &empty(2, n)))),
        (Kind::Metrics, of(&field(2, &empty(2, n)))),
        (Kind::Metrics, of(&field(2, &field(2, &field(5, &empty(1, n)))))),
        (Kind::Metrics, of(&field(2, &field(2, &field(5, &point))))),
        (Kind::Logs, of(&field(2, &field(2, &empty(6, n))))),
        (Kind::Logs, of(&field(2, &field(2, &field(5, &field(5, &empty(1, n))))))),
        (Kind::Logs, field(1, &field(1, &empty(1, n)))),
    ];
    for (kind, body) in bodies {
        let answer = post_as(&source, kind, &[("content-type", "application/x-protobuf")], body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let json = |before: &str, after: &str| format!("{before}[{}]{after}", vec!["{}"; 300_000].join(",")).into_bytes();
    let resource = r#"{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"web"}}]},"#;
    let bodies = [
        (Kind::Traces, json("{\"resourceSpans\":", "}")),
        (Kind::Traces, json(&format!("{{\"resourceSpans\":[{resource}\"scopeSpans\":"), "}]}")),
        (Kind::Logs, json(&format!("{{\"resourceLogs\":[{resource}\"scopeLogs\":[{{\"logRecords\":"), "}]}]}")),
        (
            Kind::Metrics,
            json(
                &format!(
                    "{{\"resourceMetrics\":[{resource}\"scopeMetrics\":[{{\"metrics\":[{{\"gauge\":{{\"dataPoints\":"
                ),
                "}}]}]}]}",
            ),
        ),
    ];
    for (kind, body) in bodies {
        let answer = post_as(&source, kind, &[("content-type", "application/json")], body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let polled = all(&source).await;
    assert!(polled.dropped > 1_000_000, "{}", polled.dropped);
    // Log lines that say nothing are log lines, as many as one request may bring.
    assert!(polled.batch.spans.is_empty() && polled.batch.metrics.is_empty() && polled.batch.logs.len() < 1_003);
}

#[tokio::test]
async fn bombs_are_refused_before_they_are_unpacked() {
    use std::io::Write as _;
    let (source, _) = source(config());
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..200 {
        packer.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = packer.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    for kind in [Kind::Traces, Kind::Metrics, Kind::Logs] {
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
        assert_eq!(post_as(&source, kind, &headers, bomb.clone()).await.status, 413);
    }
    // Too large as it comes.
    let headers = [("content-type", "application/x-protobuf")];
    assert_eq!(post_as(&source, Kind::Traces, &headers, vec![0; (1 << 20) + 1]).await.status, 413);
    assert_eq!(all(&source).await.dropped, 4);
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_counted_and_may_be_mended() {
    let (source, _) = source(config());
    let protobuf: [&[u8]; 4] = [b"\x0a", b"\x0a\x05abc", b"\x0b", &[0xff; 64]];
    let json: [&[u8]; 5] = [b"", b"{", b"[]", b"{\"resourceSpans\": 3}", b"\xff"];
    for (content_type, bodies) in [("application/x-protobuf", &protobuf[..]), ("application/json", &json[..])] {
        for body in bodies {
            for _ in 0..2 {
                let answer = post_as(&source, Kind::Traces, &[("content-type", content_type)], body.to_vec()).await;
                assert_eq!(answer.status, 400, "{body:?} {answer:?}");
            }
        }
    }
    let polled = all(&source).await;
    assert_eq!((polled.batch.len(), polled.dropped), (0, 18));
    assert!(polled.problems.iter().all(|problem| problem.len() < 1_000 && !problem.contains('\n')));
    // Nothing at all is a request without signals.
    assert_eq!(
        post_as(&source, Kind::Traces, &[("content-type", "application/x-protobuf")], Vec::new()).await.status,
        200
    );
}

#[tokio::test]
async fn numbers_that_are_none_pass_as_what_they_are() {
    let (source, _) = source(config());
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -0.0];
    let point = |value| NumberPoint { time: now(), as_double: Some(value), ..NumberPoint::default() };
    let gauge = Some(Data { points: values.map(point).to_vec(), ..Data::default() });
    post(&source, Kind::Metrics, &request(vec![Metric { name: "odd".to_owned(), gauge, ..Metric::default() }])).await;
    let json = json!({ "resourceMetrics": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "web" } }] },
        "scopeMetrics": [{ "metrics": [{ "name": "odd", "gauge": { "dataPoints": [
            { "timeUnixNano": now().to_string(), "asDouble": "NaN" },
            { "timeUnixNano": now(), "asDouble": "-Infinity" },
            { "timeUnixNano": now(), "asInt": "-9223372036854775808" },
            { "timeUnixNano": now() }
        ] } }] }]
    }] });
    assert_eq!(post_json(&source, Kind::Metrics, &json).await.rejected, 1);
    let taken: Vec<u64> = all(&source).await.batch.metrics.iter().map(|s| s.value.to_bits()).collect();
    let more = [f64::NAN, f64::NEG_INFINITY, -9_223_372_036_854_775_808.0];
    assert_eq!(taken, values.iter().chain(&more).map(|value| value.to_bits()).collect::<Vec<_>>());
}
