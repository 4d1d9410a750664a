//! What EventBridge puts around an event, and what events say that are no calls.

use std::collections::BTreeSet;

use ir_core::{AlertState, EntityId, EventKind, EventRecord, Labels, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::client::Message;
use crate::aws::trail::{self, Book, Told, cut};

const BY_CLOUDTRAIL: &str = " via CloudTrail";
const ALARM: &str = "CloudWatch Alarm State Change";
/// What is kept of the detail of an event that is no call. Everything else may be anything.
const KEPT: [&str; 11] = [
    "Cause",
    "StatusCode",
    "StatusMessage",
    "desiredStatus",
    "eventName",
    "eventType",
    "lastStatus",
    "reason",
    "state",
    "stopCode",
    "stoppedReason",
];

/// One event of EventBridge.
#[derive(Debug, Deserialize)]
struct Envelope {
    id: Option<String>,
    #[serde(rename = "detail-type")]
    what: String,
    source: String,
    time: Timestamp,
    #[serde(default)]
    resources: Vec<String>,
    detail: Value,
}

/// The mark of the event in a message, and what it says; or, in words, why it cannot be read.
pub(super) fn read(book: &Book, message: &Message) -> (String, Result<Told, String>) {
    let of_message = || trail::mark(&format!("message {}", message.id));
    // The parser's own words would repeat what stands in the message.
    let Ok(envelope) = serde_json::from_str::<Envelope>(&message.body) else {
        return (of_message(), Err("a message that is no event of EventBridge".to_owned()));
    };
    let is_call = envelope.what.ends_with(BY_CLOUDTRAIL);
    // One call may come as two events of two rules; a trail gives it one id.
    let id = trail::id(&envelope.detail).filter(|_| is_call).or(envelope.id.as_deref());
    let mark = id.map_or_else(of_message, trail::mark);
    let said = if is_call { book.tell(&envelope.detail) } else { Ok(occurrence(book, &envelope)) };
    (mark, said.map_err(|problem| format!("an event of `{}`: {problem}", cut(&envelope.source))))
}

/// What happened to the known things that the event names.
fn occurrence(book: &Book, envelope: &Envelope) -> Told {
    let mut names: BTreeSet<String> = envelope.resources.iter().map(|arn| trail::name_of(arn)).collect();
    names.extend(service_of(envelope));
    let found = book.entities(&names);
    let alarm = alarm(envelope);
    let event = |entity: &EntityId| EventRecord {
        entity: entity.clone(),
        at: envelope.time,
        name: alarm.as_ref().map_or_else(|| cut(&envelope.what), |(name, _)| name.clone()),
        kind: alarm.as_ref().map_or(EventKind::Occurrence, |(_, state)| EventKind::Alert(state.clone())),
        fields: fields(&envelope.detail),
    };
    let events = found.keys().map(|entity| event(entity)).collect();
    Told { at: envelope.time, changes: Vec::new(), events }
}

/// Events of tasks name their service beside.
fn service_of(envelope: &Envelope) -> Option<String> {
    let text = |field: &str| envelope.detail.get(field).and_then(Value::as_str);
    let service = text("group").filter(|_| envelope.source == "aws.ecs")?.strip_prefix("service:")?;
    let cluster = text("clusterArn")?.rsplit('/').next()?;
    Some(format!("ecs:{cluster}/{service}"))
}

/// The name and the state of an alarm. Without enough data it says nothing, so it does not fire.
fn alarm(envelope: &Envelope) -> Option<(String, AlertState)> {
    let name = envelope.detail.get("alarmName").and_then(Value::as_str).filter(|_| envelope.what == ALARM)?;
    let firing = envelope.detail.pointer("/state/value").and_then(Value::as_str)? == "ALARM";
    let key = envelope.resources.first().map_or(name, String::as_str);
    Some((cut(name), AlertState { key: trail::mark(key), firing, since: envelope.time }))
}

fn fields(detail: &Value) -> Labels {
    let kept = KEPT.iter().filter_map(|key| Some((*key, cut(detail.get(*key)?.as_str()?))));
    kept.collect()
}
