//! What a request says, as signals of ours: who it is about, when, and how much of it is taken.

use std::borrow::Cow;
use std::fmt::Write as _;

use ir_core::text::plain;
use ir_core::{EntityId, Labels, LogLevel, LogRecord, Span, Timestamp};

use super::OtlpConfig;
use super::model::{self, KeyValue, Resource};
use super::names;
use super::scalar::AnyValue;
use crate::inbox::{Taken, told};
use crate::shared;
use crate::shared::times::Plausible;

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

/// What came of a request.
pub(super) struct Decoded {
    pub(super) taken: Taken,
    /// Whether a signal has no time of its own.
    pub(super) untimed: bool,
}

/// Takes the signals of one request within its bounds.
pub(super) struct Taker<'c> {
    pub(super) config: &'c OtlpConfig,
    pub(super) now: Timestamp,
    plausible: Plausible,
    pub(super) taken: Taken,
    /// Whether there was any signal, readable or not.
    pub(super) found: bool,
    /// A field that is not known.
    unknown: String,
    /// Whether a signal has no time of its own.
    untimed: bool,
    /// Who it is about at the moment, or why that is nobody.
    about: Result<EntityId, String>,
    /// Labels that the resource brings to its metrics.
    pub(super) labels: Labels,
}

impl<'c> Taker<'c> {
    pub(super) fn new(config: &'c OtlpConfig, now: Timestamp) -> Self {
        let plausible = Plausible::at(now, config.max_ahead_ms, config.max_age_ms);
        let about = Err("there is no resource".to_owned());
        let (taken, labels, unknown) = (Taken::default(), Labels::new(), String::new());
        Self { config, now, plausible, taken, found: false, unknown, untimed: false, about, labels }
    }

    /// What came of the request.
    pub(super) fn decoded(mut self) -> Decoded {
        if !self.found && !self.unknown.is_empty() {
            let unknown = told(&self.unknown);
            self.taken.drop_some(1, || format!("a request has no signals that are known, but a field `{unknown}`"));
        }
        Decoded { taken: self.taken, untimed: self.untimed }
    }

    /// What comes next is about this resource.
    pub(super) fn resource(&mut self, resource: &Resource<'_>) {
        self.labels = Labels::new();
        for (name, value) in values(&self.config.label_attributes, resource) {
            if !value.is_empty() {
                self.labels.insert(&*names::label(name), &*value);
            }
        }
        let named = values(&self.config.entity_attributes, resource);
        let value = |name: &str| named.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref());
        self.about = match shared::names::entity(&self.config.entity_attributes, value) {
            Ok(named) => {
                // Resources whose names become one stay apart by the name that they gave.
                if let Some(own) = value(named.by).filter(|_| named.renamed) {
                    self.labels.insert(&*names::label(named.by), own);
                }
                Ok(named.entity)
            }
            Err(problem) => Err(format!("a resource is about no entity: {problem}")),
        };
    }

    /// Counts what there was no memory to read.
    pub(super) fn beyond(&mut self, what: &str, n: u64) {
        self.found |= n > 0;
        self.taken.drop_some(n, || format!("{what} beyond the allowed memory"));
    }

    /// Counts what cannot be read.
    pub(super) fn wrong(&mut self, what: &str, n: u64) {
        self.found |= n > 0;
        self.taken.drop_some(n, || format!("{n} {what} cannot be read"));
    }

    /// Takes note of a field that is not known.
    pub(super) fn unknown(&mut self, name: &str) {
        if self.unknown.is_empty() {
            name.clone_into(&mut self.unknown);
        }
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

    /// The time, if it can be one.
    pub(super) fn time(&self, nanos: u64) -> Result<Timestamp, &'static str> {
        if nanos == 0 {
            return Err("has no time");
        }
        self.plausible.check(Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX)))
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

    fn log(&mut self, entity: EntityId, record: &model::LogRecord<'_>) -> Result<LogRecord, &'static str> {
        // What was read from elsewhere may not know when it was written, or be wrong about it: then it counts when it was seen.
        let at = match (record.time.0, record.observed.0) {
            (0, 0) => {
                self.untimed = true;
                self.now
            }
            (own, 0) => self.time(own)?,
            (own, observed) => self.time(own).or_else(|_| self.time(observed))?,
        };
        if record.attributes.beyond > 0 {
            return Err("has attributes beyond the allowed memory");
        }
        let mut fields = Labels::new();
        for attribute in record.attributes.iter().take(MAX_ATTRIBUTES) {
            fields.insert(cut(&attribute.key.0, MAX_TEXT_BYTES), &*plain(&text(&attribute.value, MAX_TEXT_BYTES)));
        }
        let ids = [("trace_id", record.trace_id.hex()), ("span_id", record.span_id.hex())];
        for (key, id) in ids.into_iter().filter_map(|(key, id)| Some((key, id?))) {
            fields.insert(key, id);
        }
        if !record.event_name.0.is_empty() {
            fields.insert("event_name", cut(&record.event_name.0, MAX_TEXT_BYTES));
        }
        let message = plain(&text(&record.body, MAX_MESSAGE_BYTES)).into_owned();
        Ok(LogRecord { entity, at, level: level(record), message, fields })
    }
}

/// The attributes of a resource that are of interest, and their values as texts.
fn values<'v>(of_interest: &'v [String], resource: &'v Resource<'_>) -> Vec<(&'v str, Cow<'v, str>)> {
    let value = |name: &'v String| {
        let found = resource.attributes.iter().find(|attribute| attribute.key.0 == **name)?;
        Some((name.as_str(), text(&found.value, MAX_TEXT_BYTES)))
    };
    of_interest.iter().filter_map(value).collect()
}

/// By the number, and without one by the text.
fn level(record: &model::LogRecord<'_>) -> Option<LogLevel> {
    LogLevel::of_severity_number(record.severity_number.0).or_else(|| LogLevel::parse(&record.severity_text.0))
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
