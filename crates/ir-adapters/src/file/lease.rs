//! The lease's epoch on the disk: a small document that checks itself.

use std::io;
use std::path::Path;

use ir_core::journal::canonical;
use ir_core::{Digest, Error, ErrorKind, PartName, Result};
use serde::{Deserialize, Serialize};

use super::disk::{Disk, replace};
use super::{COMPONENT, io_error};

/// Who wrote last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) epoch: u64,
    pub(super) holder: PartName,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// Digest of `lease`, so that a damaged epoch is never taken for a true one.
    check: Digest,
    lease: Stored,
}

/// Reads the document; `None` before the first claim.
pub(super) fn load(path: &Path) -> Result<Option<Stored>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("cannot read `lease.json`", error)),
    };
    let damaged =
        |what: &str| Error::new(ErrorKind::InvalidInput, COMPONENT, format!("`lease.json` is damaged: {what}"));
    let document: Document =
        serde_json::from_slice(&text).map_err(|_| damaged("it is not the document written here"))?;
    if Digest::of(&canonical::to_bytes(&document.lease)?) != document.check || canonical::to_bytes(&document)? != text {
        return Err(damaged("its content does not have its digest"));
    }
    Ok(Some(document.lease))
}

/// Writes the document; durable when it returns.
pub(super) fn store(disk: &mut dyn Disk, path: &Path, lease: Stored) -> Result<()> {
    let document = Document { check: Digest::of(&canonical::to_bytes(&lease)?), lease };
    let text = canonical::to_bytes(&document)?;
    let written = replace(disk, path, &text).and_then(|()| match path.parent() {
        Some(folder) => disk.sync_dir(folder),
        None => Ok(()),
    });
    written.map_err(|error| io_error("cannot write `lease.json`", error))
}
