//! The protocol's own examples, senders that are sound, and senders that are not.

mod hostile;
mod laws;
mod mapping;
mod parts;
mod sent;
mod serving;
mod wire;

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use ir_core::{Clock as _, Ctx, Cursor, ManualClock, MetricSample, Polled, Secret, SignalSource as _};
use prost::Message;
use serde_json::Value;

use super::answer::{Answer, Kind};
use super::{OtlpConfig, OtlpSource};
use crate::hook::{PushAuth, Token};

const TOKEN: &str = "a-token-of-some-length";

fn config() -> OtlpConfig {
    OtlpConfig {
        max_bytes: 1 << 20,
        max_unpacked_bytes: 2 << 20,
        max_signals: 1_000,
        max_series: 500,
        max_waiting: 3_000,
        max_waiting_bytes: 6 << 20,
        ..OtlpConfig::default()
    }
}

fn source(config: OtlpConfig) -> (OtlpSource, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let auth = PushAuth::Bearer(Token::new(&Secret::new(TOKEN)).unwrap());
    (OtlpSource::new(&Ctx::new(clock.clone()), config, auth).unwrap(), clock)
}

/// Nanoseconds since 1970 on the clock of the tests.
fn now() -> u64 {
    u64::try_from(ManualClock::new().now().wall.as_nanos()).unwrap()
}

async fn post_as(source: &OtlpSource, kind: Kind, headers: &[(&'static str, &str)], body: Vec<u8>) -> Answer {
    let mut all = HeaderMap::new();
    all.insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    for (name, value) in headers {
        all.insert(*name, value.parse().unwrap());
    }
    source.0.answer(kind, &all, Body::from(body)).await
}

async fn post(source: &OtlpSource, kind: Kind, request: &impl Message) -> Answer {
    post_as(source, kind, &[("content-type", "application/x-protobuf")], request.encode_to_vec()).await
}

async fn post_json(source: &OtlpSource, kind: Kind, request: &Value) -> Answer {
    let body = request.to_string().into_bytes();
    post_as(source, kind, &[("content-type", "application/json; charset=utf-8")], body).await
}

async fn poll(source: &OtlpSource, cursor: &Cursor) -> Polled {
    source.poll(&source.0.ctx, cursor).await.unwrap()
}

async fn all(source: &OtlpSource) -> Polled {
    poll(source, &Cursor::default()).await
}

/// Samples as Prometheus would write them.
fn written(samples: &[MetricSample]) -> Vec<String> {
    let kind = |s: &MetricSample| format!("{:?}", s.series.kind).to_lowercase();
    samples.iter().map(|s| format!("{} {}{} {}", kind(s), s.series.metric, s.series.labels, s.value)).collect()
}
