//! What the sources share: the reading and writing of cursors, and the problems of a poll.

use ir_core::{Cursor, Error, ErrorKind, Polled, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many problems of one poll are told in words.
const MAX_PROBLEMS: usize = 5;

/// What the cursor says; nothing where it is empty.
pub(super) fn position<T: DeserializeOwned>(component: &str, cursor: &Cursor) -> Result<Option<T>> {
    if cursor.as_str().is_empty() {
        return Ok(None);
    }
    serde_json::from_str(cursor.as_str()).map(Some).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, component, format!("the cursor is not one of it: {error}"))
    })
}

/// The cursor that says it.
pub(super) fn cursor<T: Serialize>(component: &str, position: &T) -> Result<Cursor> {
    let text = serde_json::to_string(position);
    text.map(Cursor::new)
        .map_err(|error| Error::new(ErrorKind::Unknown, component, "the cursor cannot be written").with_source(error))
}

/// Tells a problem, if it is one of the first.
pub(super) fn tell(polled: &mut Polled, problem: impl FnOnce() -> String) {
    if polled.problems.len() < MAX_PROBLEMS {
        polled.problems.push(problem());
    }
}
