//! Recorded answers of Prometheus and Loki into samples and log records, on one core, beside `serde_json` into the structs that
//! come to mind first.
//!
//! A matrix is as a server writes it: 200 series with 1,000 samples each, counts, ratios of 17 digits, some that are not finite.
//! Streams are 50 with 1,000 lines each of some 150 bytes: every sixteenth with escapes, every eighth with metadata beside it.
//! The structs of the comparison hold text; they are no samples and no records yet.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use incident_response::adapters::loki::{LokiConfig, LokiQuery, LokiSource};
use incident_response::adapters::prometheus::{PrometheusConfig, PrometheusQuery, PrometheusSource, Samples};
use serde::Deserialize;

const SERIES: u64 = 200;
const SAMPLES: u64 = 1_000;
const STREAMS: u64 = 50;
const LINES: u64 = 1_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn matrix() -> String {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut body = r#"{"status":"success","data":{"resultType":"matrix","result":["#.to_owned();
    for n in 0..SERIES {
        let comma = if n > 0 { "," } else { "" };
        let series = format!(
            r#"{comma}{{"metric":{{"__name__":"http_requests_total","code":"200","instance":"10.0.3.{n}:9090","job":"orders","method":"GET"}},"values":["#
        );
        body.push_str(&series);
        let mut count = random.next() % 1_000_000;
        for at in 0..SAMPLES {
            let millis = 1_795_211_200_459 + 15_000 * at;
            count += random.next() % 1_000;
            let ratio = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
            let value = match random.next() % 100 {
                0 => "NaN".to_owned(),
                1 => "+Inf".to_owned(),
                2..10 => format!("{}", ratio * 1e-9),
                10..40 => format!("{ratio}"),
                40..60 => format!("{:.3}", ratio * 1000.0),
                _ => count.to_string(),
            };
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(body, r#"{comma}[{}.{:03},"{value}"]"#, millis / 1000, millis % 1000);
        }
        body.push_str("]}");
    }
    body.push_str("]}}");
    body
}

fn streams() -> String {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let head = r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":["#;
    let mut body = head.to_owned();
    for n in 0..STREAMS {
        let comma = if n > 0 { "," } else { "" };
        let stream = format!(
            r#"{comma}{{"stream":{{"app":"checkout","env":"prod","pod":"checkout-{n}","service_name":"checkout"}},"values":["#
        );
        body.push_str(&stream);
        for at in 0..LINES {
            let nanos = 1_795_211_364_109_914_515 + 10_000_000 * at + n;
            let (id, ms, trace) = (random.next() % 1_000_000, random.next() % 1_000, random.next() | 1);
            let message =
                if at % 16 == 0 { r#"msg=\"order placed\"\tcustomer=gold"# } else { "msg=order-placed customer=gold" };
            let beside = if at % 8 == 0 {
                format!(r#"{{"structuredMetadata":{{"detected_level":"info","trace_id":"{trace:016x}"}}}}"#)
            } else {
                r#"{"structuredMetadata":{"detected_level":"info"}}"#.to_owned()
            };
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(
                body,
                r#"{comma}["{nanos}","level=info {message} id={id} took={ms}ms trace={trace:016x} route=/api/v1/orders/:id method=POST status=201 client=10.42.7.19",{beside}]"#
            );
        }
        body.push_str("]}");
    }
    body.push_str(r#"],"stats":{"summary":{"execTime":0.003139,"totalLinesProcessed":50000}}}}"#);
    body
}

/// What comes to mind first.
mod plain {
    use super::{BTreeMap, Deserialize};

    #[derive(Deserialize)]
    pub(super) struct Reply<R> {
        pub(super) data: Data<R>,
    }

    #[derive(Deserialize)]
    pub(super) struct Data<R> {
        pub(super) result: Vec<R>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "it is made and dropped")]
    pub(super) struct Series {
        pub(super) metric: BTreeMap<String, String>,
        pub(super) values: Vec<(f64, String)>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "it is made and dropped")]
    pub(super) struct Stream {
        pub(super) stream: BTreeMap<String, String>,
        pub(super) values: Vec<(String, String, Beside)>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "it is made and dropped")]
    pub(super) struct Beside {
        #[serde(default, rename = "structuredMetadata")]
        pub(super) metadata: BTreeMap<String, String>,
    }
}

fn prometheus(c: &mut Criterion) {
    let body = matrix();
    println!("a matrix of {} bytes a sample", body.len() as u64 / (SERIES * SAMPLES));
    let query = PrometheusQuery {
        name: "requests".into(),
        query: "http_requests_total".into(),
        samples: Samples::Raw,
        metric: None,
        kind: None,
        unit: String::new(),
    };
    let config = PrometheusConfig { url: "http://prometheus:9090".into(), query: vec![query], ..Default::default() };
    let source = PrometheusSource::new(config).unwrap();
    let read = || source.read_recorded("requests", body.as_bytes()).unwrap();
    let polled = read();
    assert_eq!((polled.batch.metrics.len() as u64, polled.dropped), (SERIES * SAMPLES, 0));

    let mut group = c.benchmark_group("answers/matrix");
    group.throughput(Throughput::Elements(SERIES * SAMPLES));
    group.measurement_time(Duration::from_secs(8)).sample_size(20);
    group.bench_function("this", |b| b.iter_batched(|| (), |()| read(), BatchSize::PerIteration));
    group.bench_function("serde_json", |b| {
        b.iter_batched(
            || (),
            |()| serde_json::from_str::<plain::Reply<plain::Series>>(&body).unwrap().data.result,
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn loki(c: &mut Criterion) {
    let body = streams();
    println!("streams of {} bytes a line", body.len() as u64 / (STREAMS * LINES));
    let query = vec![LokiQuery { name: "orders".into(), query: "{app=\"checkout\"}".into() }];
    let config = LokiConfig { url: "http://loki:3100".into(), query, ..Default::default() };
    let source = LokiSource::new(config).unwrap();
    let read = || source.read_recorded(body.as_bytes()).unwrap();
    let polled = read();
    assert_eq!((polled.batch.logs.len() as u64, polled.dropped), (STREAMS * LINES, 0));

    let mut group = c.benchmark_group("answers/streams");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.measurement_time(Duration::from_secs(8)).sample_size(20);
    group.bench_function("this", |b| b.iter_batched(|| (), |()| read(), BatchSize::PerIteration));
    group.bench_function("serde_json", |b| {
        b.iter_batched(
            || (),
            |()| serde_json::from_str::<plain::Reply<plain::Stream>>(&body).unwrap().data.result,
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, prometheus, loki);
criterion_main!(benches);
