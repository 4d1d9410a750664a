//! Log files with one JSON object a line, read as they grow: rotation, truncation and half-written lines included.
//!
//! A line that is no JSON object still becomes a record, as its raw text: a process that dies often says so in plain words. JSON that
//! is nearly right (`NaN`, halves of characters, wrong escapes) is read all the same.
//!
//! Where a configured field is not in a line, the names of common formats are looked up (`message`, `fields.message`,
//! `short_message`, `timestamp`, `severity`, `PRIORITY` ...). Levels are those of [`LogLevel::parse`](ir_core::LogLevel::parse), and a
//! field `severity_number` counts as OpenTelemetry does. A line without any message has its whole text as one.
//!
//! Terminal control sequences, byte order marks and the NUL bytes of a hole (left where a file was emptied while its writer went on)
//! are no content. A file that begins with the byte order mark of UTF-16 is read as such.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use ir_core::config::Problem;
use ir_core::{ConfigError, Ctx, Cursor, EntityId, PartName, Polled, Result, SignalSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocking;
use crate::shared::times;

mod line;
mod position;
mod read;
mod rotation;
#[cfg(test)]
mod tests;

const COMPONENT: &str = "tail";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TailFile {
    /// Who writes it.
    pub entity: EntityId,
    /// Where it is. It need not be there yet.
    pub path: PathBuf,
}

/// What is read, and how a line is understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TailConfig {
    /// The source's name in records. `tail`.
    pub name: String,
    /// The files.
    pub file: Vec<TailFile>,
    /// The field with the time: RFC 3339 text, or a number of seconds, milli-, micro- or nanoseconds since 1970. Dots lead into
    /// objects, here and below. `ts`.
    pub time_field: String,
    /// The field with the level. `level`.
    pub level_field: String,
    /// The field with the message, such as `fields.message` of Rust's `tracing`. `msg`. All other fields become fields of the
    /// record.
    pub message_field: String,
    /// Whether a file that is there at the first poll is read from its beginning; otherwise only what is added later. false.
    /// Files that appear later are always read whole.
    pub from_start: bool,
    /// Longer lines are dropped and counted. 64 KiB.
    #[schemars(range(min = 1))]
    pub max_line_bytes: usize,
    /// The most that one poll reads of one file; the next poll goes on from there. 4 MiB.
    #[schemars(range(min = 1))]
    pub max_poll_bytes: usize,
    /// How far ahead of our clock the time of a line may be, in milliseconds. A line beyond it is taken as of its reading, which
    /// is a problem of the poll. 600,000.
    pub max_ahead_ms: u64,
    /// How old the time of a line may be, in milliseconds. A line beyond it is taken in the same way. 315,360,000,000: ten years.
    pub max_age_ms: u64,
}

impl Default for TailConfig {
    fn default() -> Self {
        Self {
            name: "tail".to_owned(),
            file: Vec::new(),
            time_field: "ts".to_owned(),
            level_field: "level".to_owned(),
            message_field: "msg".to_owned(),
            from_start: false,
            max_line_bytes: 64 << 10,
            max_poll_bytes: 4 << 20,
            max_ahead_ms: times::MAX_AHEAD_MS,
            max_age_ms: times::MAX_AGE_MS,
        }
    }
}

/// Reads structured log files.
///
/// # Guarantees
///
/// Every complete line is given once: after a rename (the usual rotation) the rest of the old file is looked for beside the new
/// one, and so are the files of further rotations since the last poll (`app.log.1`, `app.log-20261130`), oldest first; a line
/// without its end waits until it has one. The cursor alone says where to go on, so that a restart loses nothing.
///
/// # Caveats
///
/// Lines written just before a file is truncated, or before a rotated file is deleted, can be gone before they are read; this is a
/// problem of the poll, since they cannot be counted. A file that was rotated and packed before it was read is dropped and
/// counted as one.
#[derive(Debug)]
pub struct TailSource {
    config: Arc<TailConfig>,
}

impl TailSource {
    /// Checks the configuration. Nothing is opened yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no file, a file named twice, bounds of 0, a name that is none.
    pub fn new(config: TailConfig) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&config.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if config.file.is_empty() {
            problems.push(Problem::at("file", "at least one file is needed"));
        }
        for (n, file) in config.file.iter().enumerate() {
            if config.file[..n].iter().any(|other| other.path == file.path) {
                let message = format!("`{}` is named twice", file.path.display());
                problems.push(Problem::at(format!("file[{n}].path"), message));
            }
        }
        if config.max_line_bytes == 0 {
            problems.push(Problem::at("max_line_bytes", "must be more than 0"));
        }
        if config.max_poll_bytes < config.max_line_bytes {
            problems.push(Problem::at("max_poll_bytes", "must be at least `max_line_bytes`"));
        }
        ConfigError::check(problems, Self { config: Arc::new(config) })
    }
}

#[async_trait]
impl SignalSource for TailSource {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let (config, now) = (self.config.clone(), ctx.now().wall);
        let positions = position::Positions::from_cursor(cursor)?;
        ctx.run(COMPONENT, blocking::run(COMPONENT, move || read::poll(&config, positions, now))).await
    }
}
