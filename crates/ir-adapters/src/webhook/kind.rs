//! What kind of record is sent: `fact.incident_opened`, all of `fact.*`, or everything.

use ir_core::journal::EncodedRecord;
use serde::Deserialize;

/// A record whose content is in a blob: nobody can tell its kind without the journal.
pub(super) const SPILLED: &str = "spilled";

/// Every kind that there is. A test compares it with the journal's own schema.
pub(super) const KINDS: [&str; 46] = [
    "event.answered",
    "event.automation_resumed",
    "event.carried_over",
    "event.closed_by_person",
    "event.dropped",
    "event.executed",
    "event.judged",
    "event.left_in_flight",
    "event.observed",
    "event.overridden",
    "event.playbook_ordered",
    "event.reported",
    "event.settled_by_person",
    "event.started",
    "event.stopping",
    "event.tail_repaired",
    "event.timer_fired",
    "fact.answer_rejected",
    "fact.approval_counted",
    "fact.approval_delivered",
    "fact.approval_opened",
    "fact.attempt_cleared",
    "fact.attempt_found",
    "fact.attempt_unknown",
    "fact.decided",
    "fact.degraded",
    "fact.hypothesis_formed",
    "fact.incident_grew",
    "fact.incident_moved",
    "fact.incident_opened",
    "fact.lesson_drawn",
    "fact.order_rejected",
    "fact.outcome_reached",
    "fact.plan_accepted",
    "fact.plan_rejected",
    "fact.plan_revised",
    "fact.step_delayed",
    "fact.step_moved",
    "fact.step_previewed",
    "gate.claimed",
    "gate.checkpoint",
    "gate.fenced",
    "gate.halted",
    "gate.intent",
    "gate.refused",
    "gate.resumed",
];

/// Whether the text names a kind, or all kinds of a group.
pub(super) fn is_pattern(text: &str) -> bool {
    KINDS.iter().any(|kind| matches(text, kind))
}

/// Whether a record of this kind is meant.
pub(super) fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(group) => kind.split_once('.').is_some_and(|(of, _)| of == group),
        None => pattern == kind,
    }
}

/// What is read of a record to send it.
#[derive(Debug, Deserialize)]
pub(super) struct Peek {
    pub(super) prev: ir_core::Digest,
    at: At,
    body: Content,
}

#[derive(Debug, Deserialize)]
struct At {
    wall: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Event(Tag),
    Fact(Tag),
    Gate(Tag),
    Spilled(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct Tag {
    r#type: String,
}

impl Peek {
    pub(super) fn of(record: &EncodedRecord) -> serde_json::Result<Self> {
        serde_json::from_slice(&record.bytes)
    }

    pub(super) fn kind(&self) -> String {
        match &self.body {
            Content::Event(tag) => format!("event.{}", tag.r#type),
            Content::Fact(tag) => format!("fact.{}", tag.r#type),
            Content::Gate(tag) => format!("gate.{}", tag.r#type),
            Content::Spilled(_) => SPILLED.to_owned(),
        }
    }

    /// When the record was written, in RFC 3339.
    pub(super) fn at(&self) -> &str {
        &self.at.wall
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ir_core::journal::{Event, Fact, GateFact};
    use serde_json::Value;

    use super::*;

    /// The tags in the schema of one group.
    fn tags<T: schemars::JsonSchema>(group: &str) -> BTreeSet<String> {
        let schema = schemars::schema_for!(T);
        let variants = schema.get("oneOf").and_then(Value::as_array).unwrap();
        let tag = |variant: &Value| variant["properties"]["type"]["const"].as_str().unwrap().to_owned();
        variants.iter().map(|variant| format!("{group}.{}", tag(variant))).collect()
    }

    #[test]
    fn every_kind_of_the_journal_is_known() {
        let mut all = tags::<Event>("event");
        all.extend(tags::<Fact>("fact"));
        all.extend(tags::<GateFact>("gate"));
        assert_eq!(all, KINDS.iter().map(|kind| (*kind).to_owned()).collect());
    }

    #[test]
    fn patterns_are_kinds_or_groups() {
        for (pattern, kind, is_meant) in [
            ("fact.*", "fact.decided", true),
            ("fact.*", "gate.intent", false),
            ("gate.intent", "gate.intent", true),
            ("gate.inten", "gate.intent", false),
        ] {
            assert_eq!(matches(pattern, kind), is_meant, "{pattern} {kind}");
        }
        assert!(is_pattern("event.*") && is_pattern("fact.decided"));
        for wrong in ["", "*", ".*", "facts.*", "fact", "fact.decide", "spilled.*"] {
            assert!(!is_pattern(wrong), "{wrong}");
        }
    }
}
