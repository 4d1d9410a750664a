//! From records to bytes and back: numbering, chaining, and moving what is too large into blobs.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::record::{Body, Content, Record};
use super::{Blob, Journal, canonical};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Digest;
use crate::time::Moment;

/// A body whose canonical form is longer than this goes into a blob.
pub const MAX_INLINE_BYTES: usize = 16 << 10;

/// The hash of a record: its leaf in an RFC 6962 tree, SHA-256 over a zero byte and the record's bytes.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(bytes);
    Digest::from_bytes(hasher.finalize().into())
}

/// A record as every journal stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    /// Its number, from 1.
    pub seq: u64,
    /// Its leaf hash.
    pub hash: Digest,
    /// Canonical JSON, without a line break.
    pub bytes: Arc<[u8]>,
}

impl EncodedRecord {
    /// Takes stored bytes; the hash is computed.
    #[must_use]
    pub fn new(seq: u64, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { seq, hash: leaf_hash(&bytes), bytes }
    }
}

/// The end of the chain: what the next record is numbered and linked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    next_seq: u64,
    prev: Digest,
}

impl Default for Chain {
    fn default() -> Self {
        Self { next_seq: 1, prev: Digest::ZERO }
    }
}

impl Chain {
    /// The chain that ends with the record `seq` of hash `hash`.
    #[must_use]
    pub const fn after(seq: u64, hash: Digest) -> Self {
        Self { next_seq: seq + 1, prev: hash }
    }

    /// The number of the next record.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The hash of the last record, zero before the first.
    #[must_use]
    pub const fn prev(&self) -> Digest {
        self.prev
    }

    /// Numbers, links and encodes `bodies` as one batch and moves on. The records keep their full bodies; only the encoded
    /// form names blobs.
    ///
    /// # Errors
    ///
    /// When a body has no canonical form; the chain is as before then.
    pub fn encode(&mut self, at: &Moment, bodies: Vec<Body>) -> Result<(Vec<Record>, Vec<EncodedRecord>, Vec<Blob>)> {
        let mut chain = self.clone();
        let mut left = u32::try_from(bodies.len())
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "journal", "too many records in one batch"))?;
        let (mut records, mut encoded, mut blobs) = (Vec::new(), Vec::new(), Vec::new());
        for body in bodies {
            left -= 1;
            let (record, bytes, large) = chain.encode_one(at, left, body)?;
            blobs.extend(large);
            let stored = EncodedRecord::new(chain.next_seq, bytes);
            chain = Self::after(stored.seq, stored.hash);
            records.push(record);
            encoded.push(stored);
        }
        *self = chain;
        Ok((records, encoded, blobs))
    }

    fn encode_one(&self, at: &Moment, left: u32, body: Body) -> Result<(Record, Vec<u8>, Vec<Blob>)> {
        let mut record = Record { v: Record::VERSION, seq: self.next_seq, left, prev: self.prev, at: at.clone(), body };
        let content = canonical::to_bytes(&record.body)?;
        if content.len() <= MAX_INLINE_BYTES {
            let bytes = canonical::to_bytes(&record)?;
            return Ok((record, bytes, Vec::new()));
        }
        let mut blobs = Vec::new();
        let mut stored = record.body.clone();
        for part in stored.contents_mut() {
            let blob = Blob::new(canonical::to_bytes(part.here()?)?);
            *part = Content::Blob(blob.digest);
            blobs.push(blob);
        }
        let rest = if blobs.is_empty() { content } else { canonical::to_bytes(&stored)? };
        if rest.len() > MAX_INLINE_BYTES {
            let blob = Blob::new(rest);
            stored = Body::Spilled { digest: blob.digest };
            blobs.push(blob);
        }
        let full = std::mem::replace(&mut record.body, stored);
        let bytes = canonical::to_bytes(&record)?;
        record.body = full;
        Ok((record, bytes, blobs))
    }
}

/// What every version of a record has.
#[derive(Deserialize)]
struct AnyVersion {
    v: u32,
}

/// The record in `stored`, as it stands: what was moved into a blob stays there.
///
/// # Errors
///
/// `InvalidInput` when the bytes are not a record; `Unsupported` when it has another format version. What matters of a journal of an
/// older one is carried over, see [`carried_over`](super::carried_over).
pub fn decode(stored: &EncodedRecord) -> Result<Record> {
    if let Ok(AnyVersion { v }) = serde_json::from_slice(&stored.bytes)
        && v != Record::VERSION
    {
        let message = format!(
            "record {} has format version {v}, this release goes on with {} only: carry the journal over into a new one with \
             `incident_response::carry_over` (`cargo run -p incident-response --example carry_over -- OLD NEW`)",
            stored.seq,
            Record::VERSION
        );
        return Err(Error::new(ErrorKind::Unsupported, "journal", message));
    }
    serde_json::from_slice(&stored.bytes).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, "journal", format!("record {}: is not a record: {error}", stored.seq))
    })
}

/// Reads records with their bodies fetched from blobs.
#[derive(Debug)]
pub struct Resolved<'a>(pub &'a dyn Journal);

impl Resolved<'_> {
    /// The whole record in `stored`.
    ///
    /// # Errors
    ///
    /// Those of [`decode`] and of [`Journal::blob`]; `InvalidInput` when a blob is not what its name says.
    pub async fn decode(&self, ctx: &Ctx, stored: &EncodedRecord) -> Result<Record> {
        let mut record = decode(stored)?;
        if let Body::Spilled { digest } = record.body {
            record.body = self.fetch(ctx, stored.seq, &digest).await?;
        }
        for part in record.body.contents_mut() {
            if let Content::Blob(digest) = part {
                *part = Content::Here(self.fetch(ctx, stored.seq, digest).await?);
            }
        }
        Ok(record)
    }

    async fn fetch<T: DeserializeOwned>(&self, ctx: &Ctx, seq: u64, digest: &Digest) -> Result<T> {
        let bytes = self.0.blob(ctx, digest).await?;
        let invalid = |what: String| {
            Error::new(ErrorKind::InvalidInput, "journal", format!("record {seq}: blob `{digest}` {what}"))
        };
        if Digest::of(&bytes) != *digest {
            return Err(invalid("has another content".to_owned()));
        }
        serde_json::from_slice(&bytes).map_err(|error| invalid(format!("is not what it should be: {error}")))
    }
}
