//! What receivers of pushed telemetry share: bodies of bounded size, a reader of protobuf, known series, and the queue in which
//! what was taken waits for a poll.

mod body;
mod heard;
mod proto;
mod queue;
mod series;

#[cfg(feature = "otlp")]
pub(crate) use body::gunzip;
#[cfg(feature = "remote-write")]
pub(crate) use body::unsnap;
pub(crate) use body::{InFlight, Refused};
pub(crate) use heard::Heard;
pub(crate) use proto::{Fields, Malformed, Value};
pub(crate) use queue::{Bounds, Queue, Taken};
pub(crate) use series::SeriesTable;

/// So much of a text is told in a problem.
const MAX_WORDS: usize = 200;

/// A sender's words, short and without anything that would move a terminal's cursor.
pub(crate) fn told(text: &str) -> String {
    text.chars().take(MAX_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
