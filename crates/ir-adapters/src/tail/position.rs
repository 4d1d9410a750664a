//! Where each file is read on: the content of the cursor.

use std::collections::{BTreeMap, BTreeSet};

use ir_core::{Cursor, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::COMPONENT;

/// Where one file is read on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// The file behind the name, so that a rotation is seen.
    pub(super) inode: u64,
    /// How many bytes were taken.
    pub(super) offset: u64,
    /// How many bytes at its beginning `mark` covers.
    pub(super) mark_bytes: u64,
    /// A hash of its beginning, because a new file may get the number of one that was deleted.
    pub(super) mark: String,
    /// Whether a line that is too long is being passed over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) passing: bool,
    /// Files that had the name before and were there at the last poll: none of them is unread.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) siblings: BTreeSet<String>,
}

impl Position {
    /// The beginning of a file.
    pub(super) fn of(inode: u64, siblings: BTreeSet<String>) -> Self {
        Self { inode, siblings, ..Self::default() }
    }
}

/// Where every file is read on, by its path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Positions(pub(super) BTreeMap<String, Position>);

impl Positions {
    /// Nothing in an empty cursor: the first poll.
    pub(super) fn from_cursor(cursor: &Cursor) -> Result<Option<Self>> {
        if cursor.as_str().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(cursor.as_str()).map(Some).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, COMPONENT, format!("this is no cursor of log files: {error}"))
        })
    }

    pub(super) fn to_cursor(&self) -> Result<Cursor> {
        serde_json::to_string(self).map(Cursor::new).map_err(|error| {
            Error::new(ErrorKind::Unknown, COMPONENT, "the cursor could not be written").with_source(error)
        })
    }
}
