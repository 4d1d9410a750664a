//! What receivers of pushed telemetry share: bodies of bounded size, a reader of protobuf, known series, and the queue in which
//! what was taken waits for a poll.

mod body;
#[cfg(any(feature = "otlp", feature = "remote-write"))]
mod heard;
#[cfg(any(feature = "otlp", feature = "remote-write"))]
mod proto;
mod queue;
#[cfg(any(feature = "otlp", feature = "remote-write"))]
mod series;

#[cfg(feature = "otlp")]
pub(crate) use body::gunzip;
#[cfg(feature = "remote-write")]
pub(crate) use body::unsnap;
pub(crate) use body::{InFlight, Refused};
#[cfg(any(feature = "otlp", feature = "remote-write"))]
pub(crate) use heard::Heard;
#[cfg(any(feature = "otlp", feature = "remote-write"))]
pub(crate) use proto::{Fields, Malformed, Value};
pub(crate) use queue::{Bounds, Queue, Taken};
#[cfg(any(feature = "otlp", feature = "remote-write"))]
pub(crate) use series::SeriesTable;

/// So much of a text is told in a problem.
#[cfg(any(feature = "otlp", feature = "remote-write"))]
const MAX_WORDS: usize = 200;

/// A sender's words, short and without anything that would move a terminal's cursor.
#[cfg(any(feature = "otlp", feature = "remote-write"))]
pub(crate) fn told(text: &str) -> String {
    crate::shared::excerpt(text, MAX_WORDS)
}
