//! Log groups in moto: every event once, page by page, also where many have the same millisecond.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ir_adapters::SystemClock;
use ir_adapters::aws::SdkConfig;
use ir_adapters::aws::logs::{LogGroup, LogsConfig, LogsSource};
use ir_core::{Ctx, Cursor, EntityId, ErrorKind, SignalSource};
use serde_json::{Value, json};

use crate::server::{Moto, shared};

const LAG_MS: u64 = 200;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn logs(moto: &Moto, operation: &str, body: &Value) -> Value {
    moto.json("logs", &format!("Logs_20140328.{operation}"), body)
}

/// Makes a group with two streams.
pub(crate) fn group(moto: &Moto, name: &str) {
    moto.ask_json("logs", "Logs_20140328.CreateLogGroup", &json!({ "logGroupName": name }));
    for stream in ["app-1", "app-2"] {
        let body = json!({ "logGroupName": name, "logStreamName": stream });
        moto.ask_json("logs", "Logs_20140328.CreateLogStream", &body);
    }
}

fn put(moto: &Moto, group: &str, stream: &str, at: i64, lines: &[String]) {
    let events: Vec<Value> = lines.iter().map(|line| json!({ "timestamp": at, "message": line })).collect();
    logs(moto, "PutLogEvents", &json!({ "logGroupName": group, "logStreamName": stream, "logEvents": events }));
}

fn now_ms() -> i64 {
    ctx().now().wall.as_nanos() / 1_000_000
}

async fn source(moto: &Moto, group: &str, filter: Option<&str>) -> LogsSource {
    source_of(&moto.sdk().await, group, filter)
}

pub(crate) fn source_of(sdk: &SdkConfig, group: &str, filter: Option<&str>) -> LogsSource {
    let group = LogGroup {
        name: "web".to_owned(),
        entity: EntityId::literal("web"),
        group: group.to_owned(),
        stream_prefix: None,
        filter: filter.map(str::to_owned),
    };
    let config = LogsConfig {
        group: vec![group],
        lag_ms: LAG_MS,
        backfill_ms: 60_000,
        page: 7,
        max_pages: 2,
        ..LogsConfig::default()
    };
    LogsSource::new(config, sdk).unwrap()
}

#[tokio::test]
async fn every_event_comes_once() {
    let (moto, ctx) = (shared(), ctx());
    group(moto, "/once");
    let source = source(moto, "/once", None).await;
    let (mut cursor, mut lines, mut expected) = (Cursor::default(), Vec::new(), BTreeSet::new());
    for round in 0..8 {
        let at = now_ms();
        for stream in ["app-1", "app-2"] {
            let some: Vec<String> = (0..9).map(|n| format!("{round} {stream} {n}")).collect();
            put(moto, "/once", stream, at, &some);
            expected.extend(some);
        }
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        assert_eq!((polled.dropped, &polled.problems), (0, &Vec::new()));
        lines.extend(polled.batch.logs.into_iter().map(|line| line.message));
        cursor = polled.next;
    }
    let give_up = ctx.with_timeout(Duration::from_secs(60));
    while lines.len() < expected.len() {
        give_up.sleep("test", Duration::from_millis(20)).await.unwrap();
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        lines.extend(polled.batch.logs.into_iter().map(|line| line.message));
        cursor = polled.next;
    }
    let n = lines.len();
    let lines: BTreeSet<String> = lines.into_iter().collect();
    assert_eq!((lines.len(), lines == expected), (n, true), "an event came twice, or is another");
    assert!(source.poll(&ctx, &cursor).await.unwrap().batch.is_empty());
}

#[tokio::test]
async fn a_filter_is_the_servers_and_a_group_that_is_not_there_is_told() {
    let (moto, ctx) = (shared(), ctx());
    group(moto, "/filtered");
    let at = now_ms() - 1_000;
    put(moto, "/filtered", "app-1", at, &["ERROR broken".to_owned(), "INFO well".to_owned()]);
    let polled = source(moto, "/filtered", Some("ERROR")).await.poll(&ctx, &Cursor::default()).await.unwrap();
    assert_eq!(polled.batch.logs.len(), 1);
    let line = &polled.batch.logs[0];
    assert_eq!((line.message.as_str(), line.fields.get("stream")), ("ERROR broken", Some("app-1")));
    assert_eq!(line.at.as_nanos(), at * 1_000_000);
    let error = source(moto, "/nobody-made-it", None).await.poll(&ctx, &Cursor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
