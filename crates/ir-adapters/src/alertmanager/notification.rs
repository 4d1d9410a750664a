//! The body that Alertmanager posts, version 4, and what is read out of it.
//!
//! A group says `firing` while any alert in it fires, so each alert's own status counts. A firing alert ends in the year 1.
//! Names may be missing, groups may be empty, and alerts that were cut off are only counted.

use std::collections::BTreeMap;

use ir_core::{AlertState, Digest, EntityId, EventKind, EventRecord, Labels, Timestamp};
use serde::Deserialize;

/// What an alert without a name is called.
const UNNAMED: &str = "alert";
/// Longer texts are cut: labels and annotations may hold anything.
const MAX_TEXT_CHARS: usize = 1024;
const MAX_KEY_BYTES: usize = 64;
/// Labels and annotations kept of one alert.
const MAX_FIELDS: usize = 64;

#[derive(Debug, Deserialize)]
pub(super) struct Notification {
    pub(super) alerts: Vec<Alert>,
    #[serde(default, rename = "truncatedAlerts")]
    pub(super) truncated: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Alert {
    status: Status,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(rename = "startsAt")]
    starts_at: String,
    #[serde(default)]
    fingerprint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

impl Alert {
    /// The event, heard of at `now`; or why there is none.
    pub(super) fn event(self, entity_labels: &[String], now: Timestamp) -> Result<EventRecord, String> {
        let name = self.labels.get("alertname").map_or(UNNAMED, String::as_str).to_owned();
        let name = cut(&name);
        let said = entity_labels.iter().find_map(|label| self.labels.get(label));
        let said = said.ok_or_else(|| format!("alert `{name}` has none of the labels that name an entity"))?;
        let entity =
            EntityId::new(said.as_str()).map_err(|_| format!("alert `{name}` is about no entity: `{}`", cut(said)))?;
        let since =
            self.starts_at.parse().map_err(|_| format!("alert `{name}` has no time: `{}`", cut(&self.starts_at)))?;
        let key = match self.fingerprint.len() {
            1..=MAX_KEY_BYTES => self.fingerprint,
            _ => digest(&self.labels),
        };
        let firing = self.status == Status::Firing;
        let fields = self.labels.iter().chain(&self.annotations).take(MAX_FIELDS);
        let fields: Labels = fields.map(|(key, value)| (cut(key), cut(value))).collect();
        Ok(EventRecord { entity, at: now, name, kind: EventKind::Alert(AlertState { key, firing, since }), fields })
    }
}

/// Alertmanager sends a fingerprint of 16 characters; what imitates it may not.
fn digest(labels: &BTreeMap<String, String>) -> String {
    Digest::of_parts(labels.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()])).short().to_string()
}

/// So much of a text as is kept, and nothing that would move a terminal's cursor.
fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
