//! OTLP: requests with spans from the router to a poll, in spans a second, on one core.
//!
//! Spans are as a service writes them: ids, name, times, status, and ten attributes of request, host and client.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use incident_response::adapters::SystemClock;
use incident_response::adapters::hook::PushAuth;
use incident_response::adapters::otlp::{OtlpConfig, OtlpSource};
use incident_response::core::{Ctx, Cursor, SignalSource as _};
use tower::ServiceExt as _;

const SPANS: u64 = 5_000;

const ATTRIBUTES: [(&str, &str); 10] = [
    ("http.request.method", "GET"),
    ("url.path", "/api/v1/orders/7f3a"),
    ("url.scheme", "https"),
    ("http.route", "/api/v1/orders/:id"),
    ("http.response.status_code", "200"),
    ("server.address", "orders.internal.example.org"),
    ("client.address", "10.42.7.19"),
    ("network.protocol.version", "1.1"),
    ("user_agent.original", "orders-client/3.2 (linux)"),
    ("thread.name", "worker-7"),
];

/// A field with length and content.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = content.len();
    while len >= 0x80 {
        out.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(content);
    out
}

fn fixed(number: u8, value: u64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat()
}

fn protobuf(now: u64) -> Vec<u8> {
    let span = |n: u64| {
        let id = n.to_le_bytes();
        let mut span = [field(1, &[id, [7; 8]].concat()), field(2, &id), field(4, &[1; 8])].concat();
        span.extend(field(5, b"GET /api/v1/orders/:id"));
        // The kind: a server.
        span.extend([6 << 3, 2]);
        span.extend([fixed(7, now), fixed(8, now + 1_200_000)].concat());
        for (key, value) in ATTRIBUTES {
            span.extend(field(9, &attribute(key, value)));
        }
        span.extend(field(15, &[3 << 3, 1]));
        field(2, &span)
    };
    let scope: Vec<u8> = (1..=SPANS).flat_map(span).collect();
    let resource = field(1, &attribute("service.name", "orders"));
    field(1, &[field(1, &resource), field(2, &scope)].concat())
}

fn json(now: u64) -> Vec<u8> {
    let attribute = |(key, value)| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
    let attributes = ATTRIBUTES.map(attribute).join(",");
    let span = |n: u64| {
        format!(
            r#"{{"traceId":"{n:016x}0707070707070707","spanId":"{n:016x}","parentSpanId":"0101010101010101","name":"GET /api/v1/orders/:id","kind":2,"startTimeUnixNano":"{now}","endTimeUnixNano":"{}","attributes":[{attributes}],"status":{{"code":1}}}}"#,
            now + 1_200_000
        )
    };
    let spans: Vec<String> = (1..=SPANS).map(span).collect();
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{}]}},"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        attribute(("service.name", "orders")),
        spans.join(",")
    )
    .into_bytes()
}

fn received(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let now = u64::try_from(ctx.now().wall.as_nanos()).unwrap();
    // The same request comes again and again here.
    let config =
        OtlpConfig { repeat_ms: 0, max_bytes: 16 << 20, max_unpacked_bytes: 16 << 20, ..OtlpConfig::default() };
    let source = OtlpSource::new(&ctx, config, PushAuth::Anybody).unwrap();
    let router = source.router();
    let mut cursor = Cursor::default();
    let mut group = c.benchmark_group("otlp/spans");
    group.throughput(Throughput::Elements(SPANS)).sample_size(20);
    for (name, content_type, body) in
        [("protobuf", "application/x-protobuf", protobuf(now)), ("json", "application/json", json(now))]
    {
        println!("{name}: {} bytes a span", body.len() as u64 / SPANS);
        let body = axum::body::Bytes::from(body);
        group.bench_function(name, |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let request = Request::post("/v1/traces").header("content-type", content_type);
                    let request = request.body(Body::from(body.clone())).unwrap();
                    assert_eq!(router.clone().oneshot(request).await.unwrap().status(), 200);
                    let polled = source.poll(&ctx, &cursor).await.unwrap();
                    assert_eq!((polled.batch.spans.len() as u64, polled.dropped), (SPANS, 0));
                    cursor = polled.next;
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, received);
criterion_main!(benches);
