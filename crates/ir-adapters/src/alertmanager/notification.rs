//! The body that Alertmanager posts, version 4, and what is read out of it.
//!
//! A group says `firing` while any alert in it fires, so each alert's own status counts. A firing alert ends in the year 1.
//! Names may be missing, groups may be empty, and alerts that were cut off are only counted. `null` is what is not there. An alert
//! that cannot be read costs itself alone.

use std::collections::BTreeMap;

use ir_core::text::decode;
use ir_core::{AlertState, Digest, EntityId, EventKind, EventRecord, Labels, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::json::mended;
use crate::shared::times::Plausible;
use crate::shared::{excerpt, names};

/// What an alert without a name is called.
const UNNAMED: &str = "alert";
/// Longer texts are cut: labels and annotations may hold anything.
const MAX_TEXT_CHARS: usize = 1024;
const MAX_KEY_BYTES: usize = 64;
/// Labels and annotations kept of one alert.
const MAX_FIELDS: usize = 64;

#[derive(Debug, Deserialize)]
pub(super) struct Notification {
    #[serde(deserialize_with = "or_none")]
    pub(super) alerts: Vec<Value>,
    #[serde(default, rename = "truncatedAlerts", deserialize_with = "or_none")]
    pub(super) truncated: u64,
}

/// Reads a field in which `null` says that it is not there.
fn or_none<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Notification {
    pub(super) fn read(body: &[u8]) -> serde_json::Result<Self> {
        let text = decode(body);
        serde_json::from_str(&text).or_else(|error| match mended(&text) {
            Some(mended) => serde_json::from_str(&mended),
            None => Err(error),
        })
    }
}

/// An alert as it came.
#[derive(Debug)]
pub(super) struct Alert {
    pub(super) entity: EntityId,
    pub(super) name: String,
    pub(super) firing: bool,
    /// What tells it from its siblings.
    pub(super) key: String,
    /// When it began, by its sender.
    pub(super) since: Timestamp,
    fields: Labels,
}

impl Alert {
    /// The alert, or why there is none.
    pub(super) fn read(value: &Value, entity_labels: &[String]) -> Result<Self, String> {
        let object = value.as_object().ok_or("an alert is no object")?;
        let labels = texts(object, "labels");
        let name = excerpt(labels.get("alertname").map_or(UNNAMED, String::as_str), MAX_TEXT_CHARS);
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let firing = match text("status") {
            status if status.eq_ignore_ascii_case("firing") => true,
            status if status.eq_ignore_ascii_case("resolved") => false,
            status => return Err(format!("alert `{name}` neither fires nor is resolved: `{}`", quoted(status))),
        };
        let named = names::entity(entity_labels, |label| labels.get(label).map(String::as_str));
        let entity = named.map_err(|problem| format!("alert `{name}`: {problem}"))?.entity;
        let since = text("startsAt");
        let since = since.parse().map_err(|_| format!("alert `{name}` has no time: `{}`", quoted(since)))?;
        let key = match text("fingerprint") {
            fingerprint if (1..=MAX_KEY_BYTES).contains(&fingerprint.len()) => fingerprint.to_owned(),
            _ => digest(&labels),
        };
        let annotations = texts(object, "annotations");
        let fields = labels.iter().chain(&annotations).filter(|(_, value)| !value.is_empty()).take(MAX_FIELDS);
        let fields = fields.map(|(key, value)| (quoted(key), quoted(value))).collect();
        Ok(Self { entity, name, firing, key, since, fields })
    }

    /// The event, received at `now`, and what is wrong with its time, which is `now` then.
    pub(super) fn event(self, now: Timestamp, plausible: Plausible) -> (EventRecord, Option<String>) {
        let Self { entity, name, firing, key, since, fields } = self;
        let (since, problem) = match plausible.check(since) {
            Ok(since) => (since, None),
            Err(problem) => (now, Some(format!("alert `{name}` {problem}: {since}; it is taken as of now"))),
        };
        let kind = EventKind::Alert(AlertState { key, firing, since });
        (EventRecord { entity, at: now, name, kind, fields }, problem)
    }
}

/// The texts in an object of the alert. What is no text is taken as it would be written.
fn texts(alert: &Map<String, Value>, field: &str) -> BTreeMap<String, String> {
    let object = alert.get(field).and_then(Value::as_object);
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    object.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect()
}

/// Alertmanager sends a fingerprint of 16 characters; what imitates it may not.
fn digest(labels: &BTreeMap<String, String>) -> String {
    Digest::of_parts(labels.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()])).short().to_string()
}

fn quoted(text: &str) -> String {
    excerpt(text, MAX_TEXT_CHARS)
}

/// About how many bytes an event holds.
pub(super) fn n_bytes(event: &EventRecord) -> usize {
    let fields: usize = event.fields.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
    256 + event.entity.as_str().len() + event.name.len() + fields
}
