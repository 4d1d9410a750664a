//! Finds the blobs that a record names, also those named within a body that is a blob itself.

use ir_core::journal::{Body, EncodedRecord, decode};
use ir_core::{Digest, Error, ErrorKind, Result};

use super::COMPONENT;

/// A blob that a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// A content: it names nothing further.
    Content(Digest),
    /// The whole body, which may name contents: see [`in_body`].
    Body(Digest),
}

impl Named {
    pub(super) const fn digest(&self) -> &Digest {
        match self {
            Self::Content(digest) | Self::Body(digest) => digest,
        }
    }
}

/// The blobs that `record` names itself. Records that name none, nearly all, are not parsed.
///
/// # Errors
///
/// Those of [`decode`].
pub(super) fn in_record(record: &EncodedRecord) -> Result<Vec<Named>> {
    let holds = |text: &str| memchr::memmem::find(&record.bytes, text.as_bytes()).is_some();
    // Canonical JSON has no blanks, and quotation marks within a string are escaped.
    if !holds(r#""blob":"#) && !holds(r#""spilled":"#) {
        return Ok(Vec::new());
    }
    let body = decode(record)?.body;
    let spilled = matches!(body, Body::Spilled { .. });
    let name = |digest| if spilled { Named::Body(digest) } else { Named::Content(digest) };
    Ok(body.blobs().into_iter().map(name).collect())
}

/// The blobs that the body of record `seq` names, read from its own blob.
///
/// # Errors
///
/// `InvalidInput` when `bytes` are not a body.
pub(super) fn in_body(seq: u64, bytes: &[u8]) -> Result<Vec<Digest>> {
    let body: Body = serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("record {seq}: its body in a blob is not one: {error}");
        Error::new(ErrorKind::InvalidInput, COMPONENT, message)
    })?;
    Ok(body.blobs())
}
