//! Signals: what was observed. Metrics, logs, spans, events and changes, typed by kind.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ctx::Ctx;
use crate::entity::{EntityId, Labels};
use crate::error::Result;
use crate::id::PartName;
use crate::time::Timestamp;

mod activity;
mod gone;
mod level;
mod scrape;

pub use activity::{Act, Activity};
pub use gone::{Gone, GoneReason};
pub use scrape::{Scrape, ScrapedSample, TARGET_LABELS, Target};

/// How the values of a series behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricKind {
    /// Goes up and down: a temperature, a queue's length.
    Gauge,
    /// Only grows, and starts again at 0 with its process.
    Counter,
    /// One cumulative bucket of a classic histogram; the label `le` is its upper bound.
    Bucket,
    /// 1 when the last scrape of the entity worked, 0 when it did not.
    Up,
}

/// What a sample belongs to. Shared by all samples of the series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Who it is about.
    pub entity: EntityId,
    /// The metric's name: `http_requests_total`.
    pub metric: String,
    /// How its values behave.
    pub kind: MetricKind,
    /// The unit in UCUM or Prometheus words (`seconds`, `bytes`); empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// What tells it from other series of the metric.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSample {
    /// What it belongs to.
    pub series: Arc<Series>,
    /// When it was measured.
    pub at: Timestamp,
    /// The value; NaN and infinities may occur.
    pub value: f64,
}

/// How bad a log line says it is. Levels that a product names otherwise are mapped to the nearest: see [`LogLevel::parse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogLevel {
    /// Finest.
    Trace,
    /// For developers.
    Debug,
    /// Normal course.
    Info,
    /// Odd, but handled.
    Warn,
    /// Failed.
    Error,
    /// The process cannot go on.
    Fatal,
}

/// One log line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Who wrote it.
    pub entity: EntityId,
    /// When.
    pub at: Timestamp,
    /// How bad, if the line says so.
    pub level: Option<LogLevel>,
    /// The message. **Untrusted text**: it counts, it is never obeyed.
    pub message: String,
    /// Structured fields, untrusted as well.
    pub fields: Labels,
}

/// One finished span of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The service that did the work.
    pub entity: EntityId,
    /// 16 bytes in hexadecimal.
    pub trace_id: String,
    /// 8 bytes in hexadecimal.
    pub span_id: String,
    /// The caller's span, if any.
    pub parent_id: Option<String>,
    /// What was done: `GET /orders`.
    pub operation: String,
    /// Start.
    pub at: Timestamp,
    /// Length in nanoseconds.
    pub duration_ns: u64,
    /// Whether it failed.
    pub error: bool,
}

/// Something that happened, such as an alert of another system or a security event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Who it is about.
    pub entity: EntityId,
    /// When.
    pub at: Timestamp,
    /// What, as a word of the product: `OOMKilled`.
    pub name: String,
    /// What kind of event, where its form is known.
    pub kind: EventKind,
    /// More, untrusted.
    pub fields: Labels,
}

/// Kinds of event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// It happened; its name and its fields say the rest.
    #[default]
    Occurrence,
    /// A rule of another system fires, or has stopped firing.
    Alert(AlertState),
    /// Somebody did something: a process was started, a connection made, an account used.
    Activity(Activity),
}

/// What another system says of one of its alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertState {
    /// What tells the alert from its siblings: the same for all reports of it.
    pub key: String,
    /// Whether it fires; else it is resolved.
    pub firing: bool,
    /// When it began to fire, by the clock of the other system: one that goes ahead of ours says a time after the event's own.
    pub since: Timestamp,
}

/// Something people or machines changed on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What was changed.
    pub entity: EntityId,
    /// When it took effect.
    pub at: Timestamp,
    /// What kind of change.
    pub kind: ChangeKind,
    /// The version or value before, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The version or value after, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Who did it, as the source names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// A new version was put in place.
    Deploy,
    /// A former version was put back.
    Rollback,
    /// Configuration changed.
    Config,
    /// A feature flag changed.
    Flag,
    /// Capacity changed.
    Scale,
    /// The same thing was started again.
    Restart,
}

/// Many signals of one source, each kind in the order of the source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SignalBatch {
    /// Metric samples.
    pub metrics: Vec<MetricSample>,
    /// Log lines.
    pub logs: Vec<LogRecord>,
    /// Spans.
    pub spans: Vec<Span>,
    /// Events.
    pub events: Vec<EventRecord>,
    /// Changes.
    pub changes: Vec<Change>,
    /// Entities that are gone: effective after all other signals of the batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
    /// The scrapes that are complete with these samples, where they were assembled once for all detectors, as the engine does.
    /// Such a batch may bring scrapes of samples that came before, and samples whose scrape is not complete. `None`: nobody
    /// assembled the samples, and a detector that needs scrapes does so itself. Not counted by [`len`](Self::len), not stored.
    #[serde(skip)]
    pub scrapes: Option<Vec<Scrape>>,
}

impl SignalBatch {
    /// How many signals of all kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.metrics.len()
            + self.logs.len()
            + self.spans.len()
            + self.events.len()
            + self.changes.len()
            + self.gone.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a source goes on reading. Opaque to everybody else; empty means from the beginning of what is of interest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// The source's own text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What one poll brought.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Polled {
    /// The signals.
    pub batch: SignalBatch,
    /// Where to go on.
    pub next: Cursor,
    /// How many came later than the source's own window for late data (they are in the batch).
    pub late: u64,
    /// How many were there and could not be taken: malformed, too long, over a limit. Counted exactly.
    pub dropped: u64,
    /// What was wrong, for people: the first few, shortened.
    pub problems: Vec<String>,
}

/// Brings signals.
///
/// # Contract
///
/// 1. The same cursor gives a continuation: nothing acknowledged by a later cursor is lost, nothing given before it comes again.
/// 2. What cannot be read is counted in `dropped`, and the rest still comes.
/// 3. No call outlives the context's deadline, whatever the other side does.
/// 4. An empty answer is an answer, not an error; a source that is away is an error.
/// 5. One bad part of what the other side gives costs that part alone, and what is dropped is named in `problems`.
/// 6. Times are bounded by the clock, and a wrong one mutes nothing.
/// 7. An empty label is no label.
/// 8. A repetition is decided by the last state.
/// 9. Levels are those of [`LogLevel::parse`].
///
/// # What is tested
///
/// `testkit::signal` tests it on a supply that the tester controls: `check_all` tests 1 to 4, and `check_hostile` tests 5 to 9 by
/// one `Hostility` each, as far as the supply can feed it.
///
/// | | by | what must hold |
/// |---|---|---|
/// | 1 | `law_1_goes_on_where_it_was` | 3 new signals come from one cursor, and come from it again; the next cursor brings 2 further ones and none of the 3 |
/// | 2 | `law_2_counts_what_it_drops` | 4 good signals around 3 bad ones come, and `dropped` is the number that the supply expects |
/// | 3 | `law_3_keeps_to_the_deadline` | a poll with a deadline of 200 ms returns within 2.2 s when the other side does not answer |
/// | 4 | `law_4_empty_is_an_answer` | three polls with nothing new succeed; that a source that is away is an error is not tested |
/// | 5 | `BadParts` | the good signals come, `dropped` is the expected number, and `problems` is not empty if it is more than 0 |
/// | 6 | `WrongTimes` | `dropped` as for 5; no signal is more than a day ahead of the clock or twenty years behind it |
/// | 7 | `EmptyLabel` | a signal comes whose first entity label is empty and whose next one is not; its entity is not compared |
/// | 8 | `StateBetween` | three reports come: one state, another, and the first again |
/// | 9 | `Level` | of each of eight texts a line comes with the level of [`LogLevel::parse`] |
///
/// After each of 5 to 9, 2 good signals come.
///
/// # Cancellation
///
/// Dropping the future is safe: the cursor of the last finished poll counts.
///
/// # Errors
///
/// `Unavailable`, `Timeout`, `RateLimited` (asked again later with the same cursor), `Unauthorized`, `InvalidInput` (the
/// cursor is not one of this source).
///
/// # Examples
///
/// ```
/// use ir_core::{Ctx, Cursor, Polled, Result, SignalSource};
///
/// #[derive(Debug)]
/// struct Silent;
///
/// #[async_trait::async_trait]
/// impl SignalSource for Silent {
///     fn name(&self) -> &str {
///         "silent"
///     }
///     async fn poll(&self, _ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
///         Ok(Polled { next: cursor.clone(), ..Polled::default() })
///     }
/// }
/// ```
#[async_trait]
pub trait SignalSource: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// What there is since `cursor`.
    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled>;
}

crate::forward! {
    SignalSource {
        fn name(&self) -> &str;
        async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled>;
    }
}

/// What the journal keeps of a poll: anomalies are recorded, signals are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollRecord {
    /// The source.
    pub source: PartName,
    /// Where it goes on.
    pub cursor: Cursor,
    /// How many signals came.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub count: u64,
    /// How many of them were late.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub late: u64,
    /// How many were lost, exactly.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub dropped: u64,
    /// What was wrong, shortened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}
