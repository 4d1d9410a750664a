//! What the signals of a request become, in protobuf and in JSON.

use std::time::Duration;

use ir_core::LogLevel;
use serde_json::json;

use super::sent::*;
use super::*;

const DELTA: i64 = 1;
const CUMULATIVE: i64 = 2;

fn span(n: u8) -> Span {
    Span {
        trace_id: vec![n; 16],
        span_id: vec![n; 8],
        parent_span_id: Vec::new(),
        name: "GET /orders".to_owned(),
        start: now(),
        end: now() + 1_500,
        status: None,
    }
}

#[tokio::test]
async fn the_example_of_a_trace_is_read() {
    let (source, _) = source(config());
    // From the examples of the protocol.
    let example = json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "my.service" } }] },
        "scopeSpans": [{
            "scope": { "name": "my.library", "version": "1.0.0", "attributes": [
                { "key": "my.scope.attribute", "value": { "stringValue": "some scope attribute" } }
            ] },
            "spans": [{
                "traceId": "5B8EFFF798038103D269B633813FC60C",
                "spanId": "EEE19B7EC3C1B174",
                "parentSpanId": "EEE19B7EC3C1B173",
                "name": "I'm a server span",
                "startTimeUnixNano": "1544712660000000000",
                "endTimeUnixNano": "1544712661000000000",
                "kind": 2,
                "attributes": [{ "key": "my.span.attr", "value": { "stringValue": "some value" } }]
            }]
        }]
    }] });
    let answer = post_json(&source, Kind::Traces, &example).await;
    assert_eq!((answer.status, answer.rejected), (200, 0), "{answer:?}");
    let spans = all(&source).await.batch.spans;
    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!((span.entity.as_str(), span.operation.as_str()), ("my.service", "I'm a server span"));
    assert_eq!(span.trace_id, "5b8efff798038103d269b633813fc60c");
    assert_eq!((span.span_id.as_str(), span.parent_id.as_deref()), ("eee19b7ec3c1b174", Some("eee19b7ec3c1b173")));
    assert_eq!(
        (span.at.to_string(), span.duration_ns, span.error),
        ("2018-12-13T14:51:00.000000000Z".into(), 1_000_000_000, false)
    );
}

#[tokio::test]
async fn the_example_of_metrics_is_read() {
    let (source, _) = source(config());
    let point = |value: serde_json::Value| {
        let mut point = json!({
            "startTimeUnixNano": "1544712660300000000",
            "timeUnixNano": "1544712660300000000",
            "attributes": [{ "key": "my.attr", "value": { "stringValue": "some value" } }]
        });
        point.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        json!([point])
    };
    // From the examples of the protocol, the exponential histogram's buckets aside.
    let example = json!({ "resourceMetrics": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "my.service" } }] },
        "scopeMetrics": [{ "scope": { "name": "my.library" }, "metrics": [
            { "name": "my.counter", "unit": "1", "description": "I am a Counter",
              "sum": { "aggregationTemporality": 1, "isMonotonic": true, "dataPoints": point(json!({ "asDouble": 5 })) } },
            { "name": "my.gauge", "unit": "1", "gauge": { "dataPoints": point(json!({ "asDouble": 10 })) } },
            { "name": "my.histogram", "unit": "1", "histogram": { "aggregationTemporality": 1,
              "dataPoints": point(json!({ "count": 2, "sum": 2, "bucketCounts": [1, 1], "explicitBounds": [1], "min": 0, "max": 2 })) } },
            { "name": "my.exponential.histogram", "unit": "1", "exponentialHistogram": { "aggregationTemporality": 1,
              "dataPoints": point(json!({ "count": 3, "sum": 10, "scale": 0, "zeroCount": 1,
                                          "positive": { "offset": 1, "bucketCounts": [0, 2] } })) } },
        ] }]
    }] });
    assert_eq!(post_json(&source, Kind::Metrics, &example).await.rejected, 0);
    let batch = all(&source).await.batch;
    assert_eq!(batch.metrics[0].series.entity.as_str(), "my.service");
    let wanted = [
        "counter my_counter_total{my_attr=\"some value\"} 5",
        "gauge my_gauge_ratio{my_attr=\"some value\"} 10",
        "bucket my_histogram_bucket{le=\"1\",my_attr=\"some value\"} 1",
        "bucket my_histogram_bucket{le=\"+Inf\",my_attr=\"some value\"} 2",
        "counter my_histogram_sum{my_attr=\"some value\"} 2",
        "counter my_histogram_count{my_attr=\"some value\"} 2",
        "counter my_exponential_histogram_sum{my_attr=\"some value\"} 10",
        "counter my_exponential_histogram_count{my_attr=\"some value\"} 3",
    ];
    assert_eq!(written(&batch.metrics), wanted);
}

#[tokio::test]
async fn the_example_of_logs_is_read() {
    let (source, _) = source(config());
    // From the examples of the protocol.
    let example = json!({ "resourceLogs": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "my.service" } }] },
        "scopeLogs": [{ "scope": {}, "logRecords": [{
            "timeUnixNano": "1544712660300000000",
            "observedTimeUnixNano": "1544712660300000000",
            "severityNumber": 10,
            "severityText": "Information",
            "traceId": "5B8EFFF798038103D269B633813FC60C",
            "spanId": "EEE19B7EC3C1B174",
            "body": { "stringValue": "Example log record" },
            "attributes": [
                { "key": "string.attribute", "value": { "stringValue": "some string" } },
                { "key": "boolean.attribute", "value": { "boolValue": true } },
                { "key": "int.attribute", "value": { "intValue": "10" } },
                { "key": "double.attribute", "value": { "doubleValue": 637.704 } },
                { "key": "array.attribute", "value": { "arrayValue": { "values": [
                    { "stringValue": "many" }, { "stringValue": "values" }
                ] } } },
                { "key": "map.attribute", "value": { "kvlistValue": { "values": [
                    { "key": "some.map.key", "value": { "stringValue": "some value" } }
                ] } } },
                { "key": "bytes.attribute", "value": { "bytesValue": "AQI=" } },
                { "key": "nothing", "value": null }
            ]
        }] }]
    }] });
    assert_eq!(post_json(&source, Kind::Logs, &example).await.rejected, 0);
    let logs = all(&source).await.batch.logs;
    let log = &logs[0];
    assert_eq!((log.entity.as_str(), log.message.as_str()), ("my.service", "Example log record"));
    assert_eq!(log.level, Some(LogLevel::Info));
    let fields: Vec<String> = log.fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let wanted = [
        "array.attribute=[\"many\",\"values\"]",
        "boolean.attribute=true",
        "bytes.attribute=AQI=",
        "double.attribute=637.704",
        "int.attribute=10",
        "map.attribute={\"some.map.key\":\"some value\"}",
        "nothing=",
        "span_id=eee19b7ec3c1b174",
        "string.attribute=some string",
        "trace_id=5b8efff798038103d269b633813fc60c",
    ];
    assert_eq!(fields, wanted);
}

#[tokio::test]
async fn a_span_says_who_when_how_long_and_whether_it_failed() {
    let (source, _) = source(config());
    let failed = Span { status: Some(Status { code: 2 }), parent_span_id: vec![9; 8], ..span(2) };
    // The clock was set back in between, the parent is all zeros, and the name is very long.
    let odd = Span { end: now() - 5, parent_span_id: vec![0; 8], name: "ä".repeat(1_000), ..span(3) };
    let fine = Span { status: Some(Status { code: 1 }), ..span(1) };
    assert_eq!(post(&source, Kind::Traces, &request(vec![fine, failed, odd])).await.rejected, 0);
    let spans = all(&source).await.batch.spans;
    let told: Vec<_> = spans.iter().map(|s| (s.parent_id.as_deref(), s.duration_ns, s.error)).collect();
    assert_eq!(told, [(None, 1_500, false), (Some("0909090909090909"), 1_500, true), (None, 0, false)]);
    assert_eq!(spans[2].operation.len(), 256);
}

#[tokio::test]
async fn what_is_no_span_is_dropped_and_the_rest_is_taken() {
    let (source, _) = source(config());
    let rows = [
        Span { trace_id: Vec::new(), ..span(1) },
        Span { trace_id: vec![1; 15], ..span(2) },
        Span { trace_id: vec![0; 16], ..span(3) },
        Span { span_id: vec![1; 9], ..span(4) },
        Span { parent_span_id: vec![1; 7], ..span(5) },
        Span { start: 0, ..span(6) },
        Span { start: u64::MAX, ..span(7) },
        Span { end: now() + 601_000_000_000, ..span(8) },
        span(9),
    ];
    let answer = post(&source, Kind::Traces, &request(rows.to_vec())).await;
    assert_eq!((answer.status, answer.rejected), (200, 8), "{answer:?}");
    assert!(answer.message.contains("no trace id"), "{}", answer.message);
    // Somebody without a name.
    let nameless = of("?", vec![span(10), span(11)]);
    assert_eq!(post(&source, Kind::Traces, &nameless).await.rejected, 2);
    let nobody = Request { resources: vec![OfResource { resource: None, ..nameless.resources[0].clone() }] };
    assert_eq!(post(&source, Kind::Traces, &nobody).await.rejected, 2);
    let polled = all(&source).await;
    assert_eq!((polled.batch.spans.len(), polled.dropped), (1, 12));
    assert_eq!(polled.problems.len(), 5);
}

#[tokio::test]
async fn levels_go_by_number_then_by_text() {
    let (source, _) = source(config());
    let rows = [
        (1, "", Some(LogLevel::Trace)),
        (8, "", Some(LogLevel::Debug)),
        (9, "ERROR", Some(LogLevel::Info)),
        (13, "", Some(LogLevel::Warn)),
        (17, "", Some(LogLevel::Error)),
        (24, "", Some(LogLevel::Fatal)),
        (25, "Warning", Some(LogLevel::Warn)),
        (0, "ERR", Some(LogLevel::Error)),
        (-1, "whatever", None),
        (0, "", None),
    ];
    let log = |number: i64, text: &str| LogRecord {
        observed: now(),
        severity_number: number,
        severity_text: text.to_owned(),
        ..LogRecord::default()
    };
    post(&source, Kind::Logs, &request(rows.iter().map(|(n, text, _)| log(*n, text)).collect())).await;
    let logs = all(&source).await.batch.logs;
    assert!(logs.iter().map(|log| log.level).eq(rows.iter().map(|(_, _, level)| *level)), "{logs:?}");
}

fn number(time: u64, value: f64) -> NumberPoint {
    NumberPoint { time, as_double: Some(value), ..NumberPoint::default() }
}

fn sum(temporality: i64, monotonic: bool, points: Vec<NumberPoint>) -> Metric {
    let sum = Some(Data { points, temporality, monotonic });
    Metric { name: "jobs.done".to_owned(), unit: "By".to_owned(), sum, ..Metric::default() }
}

#[tokio::test]
async fn sums_are_counters_or_gauges_and_differences_are_added_up() {
    let (source, _) = source(config());
    let rows = vec![
        sum(CUMULATIVE, true, vec![number(now(), 7.0)]),
        sum(CUMULATIVE, false, vec![NumberPoint { as_int: Some(-3), as_double: None, ..number(now(), 0.0) }]),
        // The second comes again, and the fourth would count backwards.
        Metric {
            name: "delta".to_owned(),
            unit: String::new(),
            ..sum(
                DELTA,
                true,
                vec![
                    number(now(), 2.0),
                    number(now() + 1, 3.0),
                    number(now() + 1, 3.0),
                    number(now() + 2, -1.0),
                    number(now() + 3, f64::NAN),
                    number(now() + 4, 1.0),
                ],
            )
        },
        sum(DELTA, false, vec![number(now(), 1.0)]),
        sum(0, true, vec![number(now(), 1.0)]),
    ];
    let answer = post(&source, Kind::Metrics, &request(rows)).await;
    assert_eq!(answer.rejected, 5, "{answer:?}");
    let batch = all(&source).await.batch;
    let wanted = [
        "counter jobs_done_bytes_total{} 7",
        "gauge jobs_done_bytes{} -3",
        "counter delta_total{} 2",
        "counter delta_total{} 5",
        "counter delta_total{} 6",
    ];
    assert_eq!(written(&batch.metrics), wanted);
    assert_eq!((batch.metrics[0].series.unit.as_str(), batch.metrics[2].series.unit.as_str()), ("bytes", ""));
}

fn histogram(temporality: i64, points: Vec<HistogramPoint>) -> Metric {
    let histogram = Some(Data { points, temporality, monotonic: false });
    Metric { name: "http.request.duration".to_owned(), unit: "s".to_owned(), histogram, ..Metric::default() }
}

fn point(time: u64, counts: &[u64], bounds: &[f64]) -> HistogramPoint {
    HistogramPoint {
        time,
        count: counts.iter().fold(0, |sum, count| sum.saturating_add(*count)),
        sum: Some(1.5),
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        attributes: vec![attribute("http.route", "/orders")],
    }
}

#[tokio::test]
async fn histograms_are_those_of_a_scrape() {
    let (source, _) = source(config());
    let rows = histogram(CUMULATIVE, vec![point(now(), &[3, 0, 2], &[0.05, 0.1])]);
    assert_eq!(post(&source, Kind::Metrics, &request(vec![rows])).await.rejected, 0);
    // No buckets at all is one bucket.
    let bare = HistogramPoint { bucket_counts: Vec::new(), count: 4, sum: None, ..point(now(), &[], &[]) };
    let bare = Metric { name: "bare".to_owned(), ..histogram(CUMULATIVE, vec![bare]) };
    assert_eq!(post(&source, Kind::Metrics, &request(vec![bare])).await.rejected, 0);
    let route = "http_route=\"/orders\"";
    let of = |rest: &str| format!("http_request_duration_seconds_{rest}");
    let wanted = [
        format!("bucket {}", of(&format!("bucket{{{route},le=\"0.05\"}} 3"))),
        format!("bucket {}", of(&format!("bucket{{{route},le=\"0.1\"}} 3"))),
        format!("bucket {}", of(&format!("bucket{{{route},le=\"+Inf\"}} 5"))),
        format!("counter {}", of(&format!("sum{{{route}}} 1.5"))),
        format!("counter {}", of(&format!("count{{{route}}} 5"))),
        format!("bucket bare_seconds_bucket{{{route},le=\"+Inf\"}} 4"),
        format!("counter bare_seconds_count{{{route}}} 4"),
    ];
    let batch = all(&source).await.batch;
    assert_eq!(written(&batch.metrics), wanted);
    let units: Vec<&str> = batch.metrics.iter().map(|s| s.series.unit.as_str()).collect();
    assert_eq!(units, ["", "", "", "seconds", "", "", ""]);
}

#[tokio::test]
async fn differences_of_histograms_are_added_up_whole_or_not_at_all() {
    let (source, _) = source(config());
    let points = vec![
        point(now(), &[1, 2], &[0.1]),
        point(now() + 1, &[1, 0], &[0.1]),
        // It came before.
        point(now() + 1, &[1, 0], &[0.1]),
    ];
    assert_eq!(post(&source, Kind::Metrics, &request(vec![histogram(DELTA, points)])).await.rejected, 1);
    let values: Vec<f64> = all(&source).await.batch.metrics.iter().map(|s| s.value).collect();
    assert_eq!(values, [1.0, 3.0, 1.5, 3.0, 2.0, 4.0, 3.0, 4.0]);
}

#[tokio::test]
async fn histograms_that_contradict_themselves_are_dropped() {
    let (source, _) = source(config());
    let rows = vec![
        point(now(), &[1, 2], &[0.1, 0.2]),
        point(now(), &[1, 2, 3], &[0.2, 0.1]),
        point(now(), &[1, 2, 3], &[0.1, f64::NAN]),
        point(now(), &[1, 2], &[f64::INFINITY]),
        HistogramPoint { count: 4, ..point(now(), &[1, 2], &[0.1]) },
        point(now(), &[0; 600], &(0..599).map(f64::from).collect::<Vec<_>>()),
        // Does not count beyond what there is to count with.
        point(now(), &[u64::MAX, 1], &[0.1]),
    ];
    assert_eq!(post(&source, Kind::Metrics, &request(vec![histogram(CUMULATIVE, rows)])).await.rejected, 6);
    assert_eq!(all(&source).await.batch.metrics[0].value, u64::MAX as f64);
}

#[tokio::test]
async fn summaries_and_exponential_histograms_and_points_without_a_value() {
    let (source, _) = source(config());
    let quantiles = vec![Quantile { quantile: 0.5, value: 2.0 }, Quantile { quantile: 0.99, value: f64::NAN }];
    let summary = SummaryPoint { time: now(), count: 3, sum: 6.0, quantiles, attributes: Vec::new() };
    let exponential = ExponentialPoint {
        time: now(),
        count: 9,
        sum: Some(4.5),
        scale: 3,
        zero_count: 1,
        buckets: vec![attribute("not", "read")],
        attributes: vec![attribute("a", "b")],
    };
    let ended = NumberPoint { flags: 1, ..number(now(), 5.0) };
    let rows = vec![
        Metric {
            name: "rpc".to_owned(),
            summary: Some(Data { points: vec![summary], ..Data::default() }),
            ..Metric::default()
        },
        Metric {
            name: "exp".to_owned(),
            exponential_histogram: Some(Data { points: vec![exponential], temporality: CUMULATIVE, monotonic: false }),
            ..Metric::default()
        },
        sum(CUMULATIVE, true, vec![ended]),
    ];
    assert_eq!(post(&source, Kind::Metrics, &request(rows)).await.rejected, 0);
    let wanted = [
        "gauge rpc{quantile=\"0.5\"} 2",
        "gauge rpc{quantile=\"0.99\"} NaN",
        "counter rpc_sum{} 6",
        "counter rpc_count{} 3",
        "counter exp_sum{a=\"b\"} 4.5",
        "counter exp_count{a=\"b\"} 9",
    ];
    assert_eq!(written(&all(&source).await.batch.metrics), wanted);
}

#[tokio::test]
async fn processes_of_a_service_are_told_apart_and_labels_are_left_out_on_request() {
    let (source, _) = source(OtlpConfig { drop_labels: vec!["server_port".to_owned()], ..config() });
    let mut point = number(now(), 1.0);
    point.attributes = vec![
        attribute("server.port", "80"),
        attribute("http.route", "/"),
        // Both are `a_b`.
        attribute("a.b", "1"),
        attribute("a-b", "2"),
    ];
    let mut sent = request(vec![sum(CUMULATIVE, true, vec![point])]);
    sent.resources[0].resource.as_mut().unwrap().attributes.push(attribute("service.instance.id", "one"));
    assert_eq!(post(&source, Kind::Metrics, &sent).await.rejected, 0);
    let labels = all(&source).await.batch.metrics[0].series.labels.to_string();
    assert_eq!(labels, r#"{a_b="2;1",http_route="/",service_instance_id="one"}"#);
}

#[tokio::test]
async fn a_restarted_source_adds_differences_up_from_nothing() {
    // A counter that starts again at 0 is what every reader of counters knows.
    let one = |time| request(vec![sum(DELTA, true, vec![number(time, 5.0)])]);
    for _ in 0..2 {
        let (source, clock) = source(config());
        post(&source, Kind::Metrics, &one(now())).await;
        clock.advance(Duration::from_secs(1));
        post(&source, Kind::Metrics, &one(now() + 1)).await;
        let values: Vec<f64> = all(&source).await.batch.metrics.iter().map(|s| s.value).collect();
        assert_eq!(values, [5.0, 10.0]);
    }
}
