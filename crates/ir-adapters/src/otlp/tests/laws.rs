//! The laws of sources.

use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use ir_core::SignalSource;
use ir_core::testkit::signal as laws;
use serde_json::json;

use super::sent::{Span, request};
use super::serving::{span, spans};
use super::*;

struct Sender(OtlpSource, AtomicU8);

#[async_trait]
impl laws::Supply for Sender {
    async fn add(&self, n: usize) {
        let n = u8::try_from(n).unwrap();
        let first = self.1.fetch_add(n, Ordering::SeqCst);
        assert_eq!(post(&self.0, Kind::Traces, &spans(first, n)).await.rejected, 0);
    }

    async fn spoil(&self, n: usize) -> u64 {
        let n = u8::try_from(n).unwrap();
        let bad = (0..n).map(|n| Span { span_id: Vec::new(), ..span(n) }).collect();
        assert_eq!(post(&self.0, Kind::Traces, &request(bad)).await.rejected, u64::from(n));
        u64::from(n)
    }

    async fn hang(&self) -> bool {
        // A poll reads what was received; nobody is asked who could hang.
        false
    }
}

#[tokio::test]
async fn it_keeps_the_laws_of_sources() {
    let ctx = Ctx::new(Arc::new(crate::SystemClock::new()));
    laws::check_all(&ctx, async || {
        let (source, _) = source(config());
        let supply: Box<dyn laws::Supply> = Box::new(Sender(source.clone(), AtomicU8::new(0)));
        (Arc::new(source) as Arc<dyn SignalSource>, supply)
    })
    .await
    .unwrap();
}

/// A log line with these fields in place of its own, of a service with these attributes.
fn line(fields: Value) -> Value {
    let mut line = json!({ "timeUnixNano": now().to_string(), "body": { "stringValue": "a" } });
    for (key, value) in fields.as_object().unwrap() {
        line[key] = value.clone();
    }
    line
}

/// A request with these lines, of a resource whose entity is named by these attributes.
fn logs(attributes: &[(&str, &str)], lines: Value) -> Value {
    let attribute = |(key, value): &(&str, &str)| json!({ "key": key, "value": { "stringValue": value } });
    let attributes: Vec<Value> = attributes.iter().map(attribute).collect();
    let scope = json!({ "logRecords": lines });
    json!({ "resourceLogs": [{ "resource": { "attributes": attributes }, "scopeLogs": [scope] }] })
}

#[async_trait]
impl laws::Hostile for Sender {
    async fn feed(&self, what: laws::Hostility) -> Option<laws::Fed> {
        let web: &[_] = &[("service.name", "web")];
        let at = |nanos: u64| line(json!({ "timeUnixNano": nanos.to_string() }));
        let (request, given, dropped) = match what {
            laws::Hostility::BadParts => {
                let bad = line(json!({ "body": "text" }));
                (logs(web, json!([line(json!({})), bad, null, 7, line(json!({ "traceId": "" }))])), 2, 3)
            }
            laws::Hostility::WrongTimes => {
                (logs(web, json!([at(now() / 1_000_000_000), at(now() + 3_600_000_000_000), at(u64::MAX)])), 0, 3)
            }
            laws::Hostility::EmptyLabel => {
                (logs(&[("service.namespace", ""), ("service.name", "node")], json!([line(json!({}))])), 1, 0)
            }
            laws::Hostility::Level(text) => (logs(web, json!([line(json!({ "severityText": text }))])), 1, 0),
            _ => return None,
        };
        let answer = post_json(&self.0, Kind::Logs, &request).await;
        assert_eq!((answer.status, answer.rejected), (200, dropped));
        Some(laws::Fed { given, dropped })
    }
}

#[tokio::test]
async fn it_keeps_the_laws_on_hostile_input() {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    laws::check_hostile(&ctx, async || {
        let entity_attributes = vec!["service.namespace".to_owned(), "service.name".to_owned()];
        let (source, _) = source(OtlpConfig { entity_attributes, ..config() });
        let supply: Box<dyn laws::Hostile> = Box::new(Sender(source.clone(), AtomicU8::new(0)));
        (Arc::new(source) as Arc<dyn SignalSource>, supply)
    })
    .await
    .unwrap();
}
