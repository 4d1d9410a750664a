//! How far deliveries were acknowledged, in a file that is replaced as a whole.

use std::path::{Path, PathBuf};

use ir_core::{Digest, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::COMPONENT;
use crate::blocking;
use crate::file::replace_file;

/// The last record that was acknowledged, or passed over because nobody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    /// The number of the next record.
    pub(super) next: u64,
    /// The hash of the record before it: another journal has another one.
    pub(super) prev: Digest,
}

impl Default for Position {
    fn default() -> Self {
        Self { next: 1, prev: Digest::ZERO }
    }
}

/// A longer file is none of ours.
const MAX_BYTES: u64 = 4096;

/// The position in the file, the beginning when there is none.
pub(super) async fn read(path: &Path) -> Result<Position> {
    let path = path.to_owned();
    blocking::run(COMPONENT, move || match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Position::default()),
        Err(error) => Err(failed(&path, error)),
        Ok(about) if about.len() > MAX_BYTES => Err(damaged(&path)),
        Ok(_) => {
            let bytes = std::fs::read(&path).map_err(|error| failed(&path, error))?;
            let position: Position = serde_json::from_slice(&bytes).map_err(|_| damaged(&path))?;
            if position.next > 0 { Ok(position) } else { Err(damaged(&path)) }
        }
    })
    .await
}

/// Puts the position into the file, durably.
pub(super) async fn write(path: &Path, position: Position) -> Result<()> {
    let path: PathBuf = path.to_owned();
    blocking::run(COMPONENT, move || {
        let bytes = serde_json::to_vec(&position).map_err(|error| {
            Error::new(ErrorKind::Unknown, COMPONENT, "the position cannot be written").with_source(error)
        })?;
        replace_file(&path, &bytes).map_err(|error| failed(&path, error))
    })
    .await
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, COMPONENT, format!("`{}`: {error}", path.display())).with_source(error)
}

/// Nobody can say what was delivered; beginning anew would deliver everything again.
fn damaged(path: &Path) -> Error {
    let message = format!("`{}` holds no position; remove it to send everything again", path.display());
    Error::new(ErrorKind::InvalidInput, COMPONENT, message)
}
