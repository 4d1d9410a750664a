//! Metrics of moto. It speaks CloudWatch's JSON protocol and the SDK only its CBOR protocol, so a translator stands
//! between.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use ir_adapters::SystemClock;
use ir_adapters::aws::cloudwatch::{CloudWatchConfig, CloudWatchMetric, CloudWatchSource};
use ir_core::{Ctx, Cursor, EntityId, MetricKind, SignalSource};
use serde_json::{Value, json};

use crate::server::{Moto, shared};

#[path = "../support/cbor.rs"]
mod cbor;

const TARGET: &str = "GraniteServiceVersion20100801";
const MINUTE: i64 = 60;

/// Takes requests in CBOR, asks moto in JSON, and answers in CBOR.
fn translator(moto: &'static Moto) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            translate(moto, stream.unwrap());
        }
    });
    url
}

fn translate(moto: &Moto, mut stream: TcpStream) {
    let (mut read, mut chunk) = (Vec::new(), [0; 65_536]);
    let (head, body) = loop {
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "a request that is cut");
        read.extend_from_slice(&chunk[..n]);
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(read[..end].to_vec()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if read.len() - end - 4 == length.trim().parse::<usize>().unwrap() {
            break (head, read[end + 4..].to_vec());
        }
    };
    assert!(head.starts_with("post /service/graniteserviceversion20100801/operation/getmetricdata "), "{head}");
    let answer = cbor::encode(&moto.json("monitoring", &format!("{TARGET}.GetMetricData"), &cbor::decode(&body)));
    let head = "HTTP/1.1 200 OK\r\nsmithy-protocol: rpc-v2-cbor\r\ncontent-type: application/cbor\r\nconnection: close";
    stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n", answer.len()).as_bytes()).unwrap();
    stream.write_all(&answer).unwrap();
}

fn put(moto: &Moto, metric: &str, service: &str, at: i64, value: f64) {
    let dimensions = json!([{ "Name": "Service", "Value": service }]);
    let datum = json!({ "MetricName": metric, "Dimensions": dimensions, "Timestamp": at, "Value": value });
    let body = json!({ "Namespace": "Shop", "MetricData": [datum] });
    moto.ask_json("monitoring", &format!("{TARGET}.PutMetricData"), &body);
}

fn metric(service: &'static str, stat: &str) -> CloudWatchMetric {
    CloudWatchMetric {
        name: format!("orders_{}", stat.to_lowercase()),
        entity: EntityId::literal(service),
        namespace: "Shop".to_owned(),
        metric: "Orders".to_owned(),
        dimensions: [("Service".to_owned(), service.to_owned())].into(),
        stat: stat.to_owned(),
        period_secs: 60,
        kind: MetricKind::Gauge,
        unit: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_period_comes_once_with_the_statistic_that_was_asked_for() {
    let moto = shared();
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let this_minute = ctx.now().wall.as_nanos() / 1_000_000_000 / MINUTE * MINUTE;
    for n in 1..=10 {
        let at = this_minute - n * MINUTE;
        put(moto, "Orders", "web", at + 5, 10.0);
        put(moto, "Orders", "web", at + 30, n as f64);
        put(moto, "Orders", "api", at + 30, 0.5);
    }
    let sdk = moto.sdk().await.into_builder().endpoint_url(translator(moto)).build();
    let config = CloudWatchConfig {
        metric: vec![metric("web", "Sum"), metric("web", "Maximum"), metric("api", "Average")],
        lag_ms: 60_000,
        backfill_ms: 7 * 60_000,
        max_periods: 3,
        ..CloudWatchConfig::default()
    };
    let source = CloudWatchSource::new(config, &sdk).unwrap();
    let (mut cursor, mut samples) = (Cursor::default(), Vec::new());
    for _ in 0..5 {
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        assert_eq!((polled.dropped, &polled.problems), (0, &Vec::new()));
        let sample = |s: ir_core::MetricSample| (s.series.entity.to_string(), s.series.metric.clone(), s.at, s.value);
        samples.extend(polled.batch.metrics.into_iter().map(sample));
        cursor = polled.next;
    }
    let of = |entity: &str, name: &str| {
        let of = samples.iter().filter(|(e, n, _, _)| e == entity && n == name);
        let mut minutes: Vec<(i64, f64)> =
            of.map(|(_, _, at, value)| ((this_minute - at.as_nanos() / 1_000_000_000) / MINUTE, *value)).collect();
        minutes.reverse();
        minutes
    };
    // The minute before this one is not over for long enough, unless the minute has just turned.
    let sums = of("web", "orders_sum");
    let seen: Vec<i64> = sums.iter().map(|(minute, _)| *minute).collect();
    assert!(seen.len() >= 7 && seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
    assert!(sums.iter().all(|(minute, sum)| *sum == 10.0 + *minute as f64), "{sums:?}");
    assert!(of("web", "orders_maximum").iter().all(|(_, value)| *value == 10.0));
    assert_eq!(of("api", "orders_average").len(), sums.len());
    assert!(of("api", "orders_average").iter().all(|(_, value)| *value == 0.5));
    let known: Value = serde_json::from_str(cursor.as_str()).unwrap();
    assert_eq!(known.as_object().unwrap().len(), 3);
}
