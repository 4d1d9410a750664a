//! Parts that cannot be read, requests in which nothing is known, times that cannot be, names that become one, and processes in turn.

use serde_json::json;

use super::*;
use ir_core::LogLevel;

fn of(kind: Kind, service: Value, scopes: &str, scope: Value) -> Value {
    let resources = match kind {
        Kind::Traces => "resourceSpans",
        Kind::Metrics => "resourceMetrics",
        Kind::Logs => "resourceLogs",
    };
    let attributes = json!([{ "key": "service.name", "value": { "stringValue": service } }]);
    json!({ resources: [{ "resource": { "attributes": attributes }, scopes: [scope] }] })
}

fn logs(records: Value) -> Value {
    of(Kind::Logs, json!("web"), "scopeLogs", json!({ "logRecords": records }))
}

fn spans(spans: Value) -> Value {
    of(Kind::Traces, json!("web"), "scopeSpans", json!({ "spans": spans }))
}

fn metrics(metrics: Value) -> Value {
    of(Kind::Metrics, json!("web"), "scopeMetrics", json!({ "metrics": metrics }))
}

fn line(text: &str) -> Value {
    json!({ "timeUnixNano": now().to_string(), "severityNumber": 9, "body": { "stringValue": text } })
}

fn span() -> Value {
    json!({ "traceId": "00112233445566778899aabbccddeeff", "spanId": "0011223344556677", "name": "GET",
        "startTimeUnixNano": now().to_string(), "endTimeUnixNano": now().to_string() })
}

/// A counter's point with these attributes.
fn counter(attributes: Value, start: u64, time: u64, value: u64) -> Value {
    metrics(json!([{ "name": "calls", "sum": { "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{
        "attributes": attributes, "startTimeUnixNano": start.to_string(), "timeUnixNano": time.to_string(),
        "asInt": value.to_string() }] } }]))
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

#[tokio::test]
async fn a_record_that_cannot_be_read_costs_itself_alone() {
    let changed = |field: &str, value: Value| {
        let mut line = line("bad");
        line[field] = value;
        line
    };
    let bad = [
        changed("severityNumber", json!("SEVERITY_NUMBER_ERROR")),
        changed("timeUnixNano", json!("yesterday")),
        changed("timeUnixNano", json!(-1)),
        changed("body", json!("text")),
        changed("body", json!({ "stringValue": 7 })),
        changed("attributes", json!({ "a": 1 })),
        changed("attributes", json!([{ "key": "a", "value": { "intValue": "x" } }])),
        changed("severityText", json!([])),
        json!(null),
        json!("line"),
        json!([]),
    ];
    let (source, _) = source(config());
    let records: Vec<Value> = bad.iter().cloned().flat_map(|bad| [bad, line("good")]).collect();
    let n = bad.len() as u64;
    let answer = post_json(&source, Kind::Logs, &logs(json!(records))).await;
    assert_eq!((answer.status, answer.rejected), (200, n), "{answer:?}");
    let polled = all(&source).await;
    assert_eq!((polled.batch.logs.len() as u64, polled.dropped), (n, n));
    assert!(polled.batch.logs.iter().all(|line| line.message == "good"));
    // All of them.
    let (source, _) = self::source(config());
    assert_eq!(post_json(&source, Kind::Logs, &logs(json!(bad))).await.rejected, n);
}

#[tokio::test]
async fn a_span_or_a_point_that_cannot_be_read_costs_itself_alone() {
    let mut named = span();
    named["status"] = json!({ "code": "STATUS_CODE_ERROR" });
    let mut no_object = span();
    no_object["status"] = json!(2);
    let (source, _) = source(config());
    let answer = post_json(&source, Kind::Traces, &spans(json!([named, span(), no_object]))).await;
    assert_eq!((answer.status, answer.rejected), (200, 2));
    let point = |value: Value| json!({ "timeUnixNano": now().to_string(), "asDouble": value });
    let sent = metrics(json!([
        { "name": "a", "gauge": { "dataPoints": [point(json!(1)), point(json!("x")), point(json!("NaN")), 7] } },
        { "name": "b", "gauge": 7 },
        { "name": "c", "gauge": { "dataPoints": [point(json!(3))] } },
    ]));
    assert_eq!(post_json(&source, Kind::Metrics, &sent).await.rejected, 3);
    let polled = all(&source).await;
    assert_eq!((polled.batch.spans.len(), polled.batch.metrics.len(), polled.dropped), (1, 3, 5));
    // A resource that is none, beside one that is.
    let mut two = spans(json!([span()]));
    two["resourceSpans"].as_array_mut().unwrap().push(json!({ "resource": 1, "scopeSpans": [] }));
    assert_eq!(post_json(&source, Kind::Traces, &two).await.rejected, 1);
}

#[tokio::test]
async fn a_protobuf_record_that_cannot_be_read_costs_itself_alone() {
    let field = |number: u8, content: &[u8]| {
        let mut field = vec![number << 3 | 2];
        prost::encode_length_delimiter(content.len(), &mut field).unwrap();
        field.extend_from_slice(content);
        field
    };
    let name = [field(1, b"service.name"), field(2, &field(1, b"web"))].concat();
    let resource = field(1, &field(1, &name));
    let good = field(2, &field(5, &field(1, b"good")));
    // No UTF-8, and a field that is cut off.
    let bad = [field(2, &field(5, &field(1, b"\xff"))), field(2, &[0x2a, 0x7f])].concat();
    for scope in [2_u8, 0] {
        // Field 1000 has a tag of two bytes.
        let records = [good.as_slice(), &bad, &good].concat();
        let mut scope_field = field(2, &records);
        if scope == 0 {
            scope_field.splice(0..1, [0xc2, 0x3e]);
        }
        let body = field(1, &[resource.clone(), scope_field].concat());
        let (source, _) = source(config());
        let headers = [("content-type", "application/x-protobuf")];
        let answer = post_as(&source, Kind::Logs, &headers, body).await;
        assert_eq!((answer.status, answer.rejected), (200, 2), "{answer:?}");
        assert_eq!(all(&source).await.batch.logs.len(), 2);
    }
}

#[tokio::test]
async fn what_older_versions_sent_is_read() {
    let old = json!({ "traceId": "ABEiM0RVZneImaq7zN3u/w==", "spanId": "ABEiM0RVZnc=", "parentSpanId": "", "name": "GET",
        "startTimeUnixNano": now().to_string(), "endTimeUnixNano": now().to_string() });
    let (source, _) = source(config());
    let sent = of(Kind::Traces, json!("web"), "instrumentationLibrarySpans", json!({ "spans": [old] }));
    assert_eq!(post_json(&source, Kind::Traces, &sent).await.rejected, 0);
    let sent = of(Kind::Logs, json!("web"), "instrumentationLibraryLogs", json!({ "logs": [line("x")] }));
    assert_eq!(post_json(&source, Kind::Logs, &sent).await.rejected, 0);
    let polled = all(&source).await;
    assert_eq!(polled.batch.spans[0].trace_id, "00112233445566778899aabbccddeeff");
    assert_eq!((polled.batch.spans[0].span_id.as_str(), polled.batch.logs.len()), ("0011223344556677", 1));
}

#[tokio::test]
async fn a_request_in_which_nothing_is_known_is_counted() {
    for (kind, sent) in [
        (Kind::Traces, json!({ "resource_spans": [] })),
        (Kind::Traces, logs(json!([line("x")]))),
        (Kind::Traces, of(Kind::Traces, json!("web"), "librarySpans", json!({}))),
        (Kind::Logs, of(Kind::Logs, json!("web"), "scopeLogs", json!({ "records": [] }))),
    ] {
        let (source, _) = source(config());
        let answer = post_json(&source, kind, &sent).await;
        assert_eq!((answer.status, answer.rejected), (200, 1), "{sent}");
        let polled = all(&source).await;
        assert_eq!((polled.dropped, polled.problems.len()), (1, 1), "{sent}");
    }
    let (source, _) = source(config());
    for sent in [json!({}), json!({ "resourceSpans": [] }), json!({ "resourceSpans": null }), spans(json!([]))] {
        assert_eq!(post_json(&source, Kind::Traces, &sent).await.rejected, 0, "{sent}");
    }
    // A field of a later version beside what is known is nothing to speak of.
    let mut later = spans(json!([span()]));
    later["resourceSpans"][0]["entityRefs"] = json!([]);
    assert_eq!(post_json(&source, Kind::Traces, &later).await.rejected, 0);
}

#[tokio::test]
async fn json_that_is_nearly_right_is_read() {
    let (source, _) = source(config());
    let text = logs(json!([line("half @")])).to_string();
    let point = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"web"}}]},"scopeMetrics":[{"metrics":[{"name":"a","gauge":{"dataPoints":[{"timeUnixNano":"@","asDouble":NaN}]}}]}]}]}"#;
    for (kind, body) in [
        (Kind::Logs, text.replace('@', "\\ud83d")),
        (Kind::Logs, format!("\u{feff}{}", text.replace('@', "mark"))),
        (Kind::Metrics, point.replace('@', &now().to_string())),
    ] {
        let answer = post_as(&source, kind, &[("content-type", "application/json")], body.clone().into_bytes()).await;
        assert_eq!((answer.status, answer.rejected), (200, 0), "{body}");
    }
    let polled = all(&source).await;
    assert_eq!((polled.batch.logs.len(), polled.batch.metrics.len(), polled.dropped), (2, 1, 0));
}

#[tokio::test]
async fn names_that_become_one_are_joined_in_one_order() {
    let (source, _) = source(config());
    let pair = [attribute("http.route", "/b"), attribute("http_route", "/a")];
    let turned = [pair[1].clone(), pair[0].clone()];
    for (n, attributes) in [(1, json!(pair)), (2, json!(turned))] {
        assert_eq!(post_json(&source, Kind::Metrics, &counter(attributes, 0, now() + n, n)).await.rejected, 0);
    }
    let equal = json!([attribute("bar.one", "foo"), attribute("bar/one", "foo"), attribute("empty", "")]);
    post_json(&source, Kind::Metrics, &counter(equal, 0, now(), 1)).await;
    let labels: Vec<String> = all(&source).await.batch.metrics.iter().map(|s| s.series.labels.to_string()).collect();
    assert_eq!(labels, [r#"{http_route="/b;/a"}"#, r#"{http_route="/b;/a"}"#, r#"{bar_one="foo;foo"}"#]);
}

#[tokio::test]
async fn an_infinite_bound_may_be_written() {
    let histogram = |counts: Value, bounds: Value| {
        metrics(json!([{ "name": "took", "histogram": { "aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": now().to_string(), "count": "10", "sum": 12.5, "bucketCounts": counts, "explicitBounds": bounds }] } }]))
    };
    for (counts, bounds) in [
        (json!([5, 2, 3, 0]), json!([1, 2, "Infinity"])),
        (json!([5, 2, 3]), json!([1, 2, "Infinity"])),
        (json!([5, 2, 3]), json!([1, 2])),
    ] {
        let (source, _) = source(config());
        assert_eq!(post_json(&source, Kind::Metrics, &histogram(counts, bounds)).await.rejected, 0);
        let polled = all(&source).await;
        let values: Vec<f64> = polled.batch.metrics.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [5.0, 7.0, 10.0, 12.5, 10.0]);
    }
    for (counts, bounds, words) in [
        (json!([5, 2, 3]), json!([1, "NaN"]), "no number"),
        (json!([5, 2, 3, 0]), json!(["-Infinity", 1, 2]), "no value can be in"),
        (json!([5, 2, 2, 1]), json!([1, 2, "Infinity"]), "no value can be in"),
        (json!([5, 2, 3]), json!([2, 1]), "do not ascend"),
    ] {
        let (source, _) = source(config());
        let answer = post_json(&source, Kind::Metrics, &histogram(counts, bounds)).await;
        assert!(answer.rejected == 1 && answer.message.contains(words), "{answer:?}");
    }
}

#[tokio::test]
async fn processes_that_become_one_series_are_said_once() {
    let (source, _) = source(config());
    let (one, two) = (now() - 9_000_000_000, now() - 5_000_000_000);
    // A process that was replaced by another one.
    for (n, start) in [(1, one), (2, one), (3, two), (4, two)] {
        post_json(&source, Kind::Metrics, &counter(json!([]), start, now() + n, n)).await;
    }
    assert!(all(&source).await.problems.is_empty());
    for (n, start) in [(5, one), (6, two), (7, one), (8, two)] {
        assert_eq!(post_json(&source, Kind::Metrics, &counter(json!([]), start, now() + n, n)).await.rejected, 0);
    }
    let polled = all(&source).await;
    assert_eq!((polled.batch.metrics.len(), polled.dropped, polled.problems.len()), (8, 0, 1));
    assert!(polled.problems[0].contains("several processes"), "{:?}", polled.problems);
}

#[tokio::test]
async fn times_that_cannot_be_cost_their_signal_and_mute_nothing() {
    let (source, _) = source(config());
    for time in [now() / 1_000_000_000, now() / 1_000_000, now() / 1_000, now() + 3_600_000_000_000, u64::MAX] {
        let answer = post_json(&source, Kind::Metrics, &counter(json!([]), 0, time, 1)).await;
        assert_eq!(answer.rejected, 1, "{time}");
    }
    assert_eq!(post_json(&source, Kind::Metrics, &counter(json!([]), 0, now(), 1)).await.rejected, 0);
    // A line may have been seen at a time that can be.
    let mut seen = line("seen");
    seen["timeUnixNano"] = json!((now() / 1_000).to_string());
    assert_eq!(post_json(&source, Kind::Logs, &logs(json!([seen.clone()]))).await.rejected, 1);
    seen["observedTimeUnixNano"] = json!(now().to_string());
    assert_eq!(post_json(&source, Kind::Logs, &logs(json!([seen]))).await.rejected, 0);
    assert_eq!(all(&source).await.batch.len(), 2);
}

#[tokio::test]
async fn equal_lines_without_a_time_are_not_a_repetition() {
    let (source, clock) = source(config());
    for _ in 0..3 {
        post_json(&source, Kind::Logs, &logs(json!([{ "body": { "stringValue": "tick" } }]))).await;
        clock.advance(std::time::Duration::from_secs(1));
    }
    assert_eq!(all(&source).await.batch.logs.len(), 3);
}

#[tokio::test]
async fn entities_levels_and_texts_go_by_the_rules_of_all_adapters() {
    let (source, _) = source(OtlpConfig { entity_attributes: vec!["peer".into(), "service.name".into()], ..config() });
    let mut blank = counter(json!([]), 0, now(), 1);
    blank["resourceMetrics"][0]["resource"]["attributes"] =
        json!([attribute("peer", ""), attribute("service.name", "Order Service")]);
    assert_eq!(post_json(&source, Kind::Metrics, &blank).await.rejected, 0);
    let polled = all(&source).await;
    let series = &polled.batch.metrics[0].series;
    assert_eq!(
        (series.entity.as_str(), series.labels.to_string().as_str()),
        ("Order-Service", r#"{service_name="Order Service"}"#)
    );
    let rows = [
        (json!({ "severityNumber": 17, "severityText": "info" }), Some(LogLevel::Error)),
        (json!({ "severityText": "Warning" }), Some(LogLevel::Warn)),
        (json!({ "severityText": "dpanic" }), Some(LogLevel::Fatal)),
        (json!({ "severityText": "ERROR2" }), Some(LogLevel::Error)),
        (json!({ "severityText": "\u{1b}[31mERROR\u{1b}[0m" }), Some(LogLevel::Error)),
        (json!({ "severityNumber": 99, "severityText": "nothing" }), None),
    ];
    for (n, (fields, level)) in rows.into_iter().enumerate() {
        let mut record = line(&format!("\u{1b}[31mred\u{1b}[0m {n}"));
        record["severityNumber"] = json!(0);
        for (key, value) in fields.as_object().unwrap() {
            record[key] = value.clone();
        }
        post_json(&source, Kind::Logs, &logs(json!([record]))).await;
        let polled = all(&source).await;
        let line = polled.batch.logs.last().unwrap();
        assert_eq!((line.level, line.message.as_str()), (level, format!("red {n}").as_str()), "{fields}");
    }
}
