//! What a request says, as signals of ours: who it is about, when, and how much of it is taken.

use std::borrow::Cow;
use std::fmt::Write as _;

use ir_core::{EntityId, Labels, LogLevel, LogRecord, Span, Timestamp};

use super::OtlpConfig;
use super::budget::List;
use super::model::{self, KeyValue, Resource};
use super::names;
use super::scalar::AnyValue;
use crate::inbox::{Taken, told};

/// Attributes of one signal that are taken.
pub(super) const MAX_ATTRIBUTES: usize = 64;
/// The longest text of an attribute, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 1024;
/// The longest message of a log line, in bytes.
const MAX_MESSAGE_BYTES: usize = 16 << 10;
/// The longest name of a span, in bytes.
const MAX_OPERATION_BYTES: usize = 256;
/// Values within values beyond this are told by dots.
const MAX_DEPTH: u32 = 8;

/// Takes the signals of one request within its bounds.
pub(super) struct Taker<'c> {
    pub(super) config: &'c OtlpConfig,
    pub(super) now: Timestamp,
    /// After this nothing can have happened yet.
    latest: Timestamp,
    pub(super) taken: Taken,
    /// Who it is about at the moment, or why that is nobody.
    about: Result<EntityId, String>,
    /// Labels that the resource brings to its metrics.
    pub(super) labels: Labels,
}

impl<'c> Taker<'c> {
    pub(super) fn new(config: &'c OtlpConfig, now: Timestamp) -> Self {
        let ahead = std::time::Duration::from_millis(config.max_ahead_ms);
        let about = Err("there is no resource".to_owned());
        Self { config, now, latest: now.plus(ahead), taken: Taken::default(), about, labels: Labels::new() }
    }

    /// What comes next is about this resource.
    pub(super) fn resource(&mut self, resource: &Resource<'_>) {
        self.about = self.entity(&resource.attributes);
        self.labels = Labels::new();
        for name in &self.config.label_attributes {
            if let Some(found) = resource.attributes.iter().find(|attribute| attribute.key.0 == *name) {
                self.labels.insert(&*names::label(name), &*text(&found.value, MAX_TEXT_BYTES));
            }
        }
    }

    /// Counts what there was no memory to read.
    pub(super) fn beyond(&mut self, what: &str, n: u64) {
        self.taken.drop_some(n, || format!("{what} beyond the allowed memory"));
    }

    /// The entity that the signals are about; without one `n` of them are dropped.
    pub(super) fn about(&mut self, n: u64) -> Option<EntityId> {
        match &self.about {
            Ok(entity) => Some(entity.clone()),
            Err(problem) => {
                self.taken.drop_some(n, || problem.clone());
                None
            }
        }
    }

    fn entity(&self, attributes: &List<KeyValue<'_>>) -> Result<EntityId, String> {
        let names = self.config.entity_attributes.iter();
        let value = names.filter_map(|name| attributes.iter().find(|attribute| attribute.key.0 == *name)).next();
        let value = value.ok_or("a resource has none of the attributes that name an entity")?;
        let text = text(&value.value, MAX_TEXT_BYTES);
        EntityId::new(&*text).map_err(|error| format!("a resource is no entity: {}", error.message()))
    }

    /// The time, if it can be one.
    pub(super) fn time(&self, nanos: u64) -> Result<Timestamp, &'static str> {
        match i64::try_from(nanos).map(Timestamp::from_nanos) {
            Ok(_) if nanos == 0 => Err("has no time"),
            Ok(at) if at <= self.latest => Ok(at),
            _ => Err("is of the future"),
        }
    }

    /// Whether so many more signals of so many bytes may be taken.
    pub(super) const fn fits(&self, n: usize, n_bytes: usize) -> bool {
        self.taken.batch.metrics.len() + self.taken.batch.logs.len() + self.taken.batch.spans.len() + n
            <= self.config.max_signals
            && self.taken.n_bytes + n_bytes <= self.config.max_unpacked_bytes
    }

    pub(super) fn take_span(&mut self, span: &model::Span<'_>) {
        let Some(entity) = self.about(1) else { return };
        match self.span(entity, span) {
            Ok(span) => {
                let texts = [&span.trace_id, &span.span_id, &span.operation].map(String::capacity);
                let n_bytes = size_of::<Span>() + texts.iter().sum::<usize>() + 64;
                if self.fits(1, n_bytes) {
                    self.taken.n_bytes += n_bytes;
                    self.taken.batch.spans.push(span);
                } else {
                    self.taken.drop_some(1, || "spans beyond the allowed".to_owned());
                }
            }
            Err(problem) => self.taken.drop_some(1, || format!("span `{}` {problem}", told(&span.name.0))),
        }
    }

    fn span(&self, entity: EntityId, span: &model::Span<'_>) -> Result<Span, &'static str> {
        let trace_id = span.trace_id.hex().ok_or("has no trace id of 16 bytes")?;
        let span_id = span.span_id.hex().ok_or("has no id of 8 bytes")?;
        if span.parent_span_id == super::scalar::Id::Wrong {
            return Err("has a parent whose id is not of 8 bytes");
        }
        let at = self.time(span.start.0)?;
        self.time(span.end.0)?;
        Ok(Span {
            entity,
            trace_id,
            span_id,
            parent_id: span.parent_span_id.hex(),
            operation: cut(&span.name.0, MAX_OPERATION_BYTES).to_owned(),
            at,
            // A clock that was set back in between makes it negative.
            duration_ns: span.end.0.saturating_sub(span.start.0),
            error: span.status.code.0 == 2,
        })
    }

    pub(super) fn take_log(&mut self, record: &model::LogRecord<'_>) {
        let Some(entity) = self.about(1) else { return };
        match self.log(entity, record) {
            Ok(record) => {
                let fields: usize = record.fields.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
                let n_bytes = size_of::<LogRecord>() + record.message.capacity() + fields;
                if self.fits(1, n_bytes) {
                    self.taken.n_bytes += n_bytes;
                    self.taken.batch.logs.push(record);
                } else {
                    self.taken.drop_some(1, || "log lines beyond the allowed".to_owned());
                }
            }
            Err(problem) => self.taken.drop_some(1, || format!("a log line {problem}")),
        }
    }

    fn log(&self, entity: EntityId, record: &model::LogRecord<'_>) -> Result<LogRecord, &'static str> {
        // What was read from elsewhere may not know when it was written, and then it counts when it was seen.
        let at = match [record.time.0, record.observed.0].into_iter().find(|nanos| *nanos > 0) {
            Some(nanos) => self.time(nanos)?,
            None => self.now,
        };
        if record.attributes.beyond > 0 {
            return Err("has attributes beyond the allowed memory");
        }
        let mut fields = Labels::new();
        for attribute in record.attributes.iter().take(MAX_ATTRIBUTES) {
            fields.insert(cut(&attribute.key.0, MAX_TEXT_BYTES), &*text(&attribute.value, MAX_TEXT_BYTES));
        }
        let ids = [("trace_id", record.trace_id.hex()), ("span_id", record.span_id.hex())];
        for (key, id) in ids.into_iter().filter_map(|(key, id)| Some((key, id?))) {
            fields.insert(key, id);
        }
        if !record.event_name.0.is_empty() {
            fields.insert("event_name", cut(&record.event_name.0, MAX_TEXT_BYTES));
        }
        let message = text(&record.body, MAX_MESSAGE_BYTES).into_owned();
        Ok(LogRecord { entity, at, level: level(record), message, fields })
    }
}

/// By the number: four steps a level. Without one by the first letters of the text.
fn level(record: &model::LogRecord<'_>) -> Option<LogLevel> {
    let by_text = || {
        let text = record.severity_text.0.as_bytes();
        let begins = |with: &str| text.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with.as_bytes()));
        let words = [
            ("trace", LogLevel::Trace),
            ("debug", LogLevel::Debug),
            ("info", LogLevel::Info),
            ("notice", LogLevel::Info),
            ("warn", LogLevel::Warn),
            ("err", LogLevel::Error),
            ("crit", LogLevel::Fatal),
            ("fatal", LogLevel::Fatal),
            ("emerg", LogLevel::Fatal),
            ("alert", LogLevel::Fatal),
            ("panic", LogLevel::Fatal),
        ];
        words.into_iter().find(|(word, _)| begins(word)).map(|(_, level)| level)
    };
    match record.severity_number.0 {
        1..=4 => Some(LogLevel::Trace),
        5..=8 => Some(LogLevel::Debug),
        9..=12 => Some(LogLevel::Info),
        13..=16 => Some(LogLevel::Warn),
        17..=20 => Some(LogLevel::Error),
        21..=24 => Some(LogLevel::Fatal),
        _ => by_text(),
    }
}

/// The first `max` bytes at most, whole characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// A value as text: a text as it stands, everything else as JSON would write it.
pub(super) fn text<'v>(value: &'v AnyValue<'_>, max: usize) -> Cow<'v, str> {
    if let AnyValue::Text(text) = value {
        return Cow::Borrowed(cut(&text.0, max));
    }
    let mut out = String::new();
    write(&mut out, value, max, 0);
    out.truncate(out.floor_char_boundary(max));
    Cow::Owned(out)
}

fn write(out: &mut String, value: &AnyValue<'_>, max: usize, depth: u32) {
    // Writing to a string cannot fail.
    let _ = match value {
        _ if out.len() > max => return,
        AnyValue::Nothing => Ok(()),
        AnyValue::Text(text) => write!(out, "{:?}", cut(&text.0, max)),
        AnyValue::Bool(value) => write!(out, "{value}"),
        AnyValue::Int(value) => write!(out, "{value}"),
        AnyValue::Double(value) => write!(out, "{value}"),
        AnyValue::TooDeep => out.write_str(".."),
        AnyValue::List(_) | AnyValue::Map(_) if depth >= MAX_DEPTH => out.write_str(".."),
        AnyValue::List(values) => {
            out.push('[');
            for (n, value) in values.iter().enumerate() {
                if out.len() > max {
                    break;
                }
                out.push_str(if n == 0 { "" } else { "," });
                write(out, value, max, depth + 1);
            }
            out.write_str("]")
        }
        AnyValue::Map(values) => {
            out.push('{');
            for (n, KeyValue { key, value }) in values.iter().enumerate() {
                if out.len() > max {
                    break;
                }
                let _ = write!(out, "{}{:?}:", if n == 0 { "" } else { "," }, cut(&key.0, max));
                write(out, value, max, depth + 1);
            }
            out.write_str("}")
        }
    };
}
