//! Reads and writes what stays of an archived segment: the hash of each of its records.
//!
//! The file `segments/<first record>.archived` has one line of canonical JSON and, behind it, the 32 bytes of each leaf hash. The line
//! checks itself and has the digest of the hashes, so that opening reads the line alone.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ir_core::journal::canonical;
use ir_core::{Digest, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::segment_index::Summary;
use super::{COMPONENT, io_error};

const HASH_BYTES: usize = 32;

/// The longest first line: far more than the longest path.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// The first line, without its check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// The archived segment.
    pub(super) summary: Summary,
    /// The folder it was moved to, for messages.
    pub(super) archive: String,
    /// The digest of the hashes that follow.
    hashes: Digest,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// Digest of the canonical `archived`.
    check: Digest,
    archived: Header,
}

/// The bytes of the file.
pub(super) fn to_bytes(summary: Summary, archive: String, hashes: &[Digest]) -> Result<Vec<u8>> {
    let hashes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
    let archived = Header { summary, archive, hashes: Digest::of(&hashes) };
    let check = Digest::of(&canonical::to_bytes(&archived)?);
    let mut bytes = canonical::to_bytes(&Document { check, archived })?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&hashes);
    Ok(bytes)
}

fn header(bytes: &[u8]) -> Option<(Header, usize)> {
    let length = memchr::memchr(b'\n', bytes)?;
    let Document { check, archived } = serde_json::from_slice(&bytes[..length]).ok()?;
    let sound = Digest::of(&canonical::to_bytes(&archived).ok()?) == check;
    (sound && archived.summary.is_known()).then_some((archived, length + 1))
}

fn damaged(first_seq: u64) -> Error {
    let message = format!("record {first_seq} is archived, and the file with its hash is damaged");
    Error::new(ErrorKind::InvalidInput, COMPONENT, message)
}

/// Reads the first line of the file of the segment that begins with `first_seq`.
pub(super) fn load_header(path: &Path, first_seq: u64) -> Result<Header> {
    let read = || {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut start = Vec::new();
        file.take(MAX_LINE_BYTES).read_to_end(&mut start)?;
        Ok((start, length))
    };
    let (start, length) = read().map_err(|error| io_error("cannot read the hashes of archived records", error))?;
    let (header, line) = header(&start).ok_or_else(|| damaged(first_seq))?;
    let n_hashes = length.saturating_sub(line as u64) / HASH_BYTES as u64;
    let whole = length == line as u64 + n_hashes * HASH_BYTES as u64 && n_hashes == header.summary.records;
    if !whole || header.summary.first_seq != first_seq {
        return Err(damaged(first_seq));
    }
    Ok(header)
}

/// Reads the whole file and verifies it.
pub(super) fn load(path: &Path, first_seq: u64) -> Result<(Header, Vec<Digest>)> {
    let bytes = std::fs::read(path).map_err(|error| io_error("cannot read the hashes of archived records", error))?;
    let (header, line) = header(&bytes).ok_or_else(|| damaged(first_seq))?;
    let (hashes, rest) = bytes[line..].as_chunks::<HASH_BYTES>();
    let whole = rest.is_empty() && hashes.len() as u64 == header.summary.records;
    let sound = Digest::of(&bytes[line..]) == header.hashes && header.summary.first_seq == first_seq;
    let hashes: Vec<Digest> = hashes.iter().map(|hash| Digest::from_bytes(*hash)).collect();
    if !whole || !sound || hashes.last() != Some(&header.summary.last) {
        return Err(damaged(first_seq));
    }
    Ok((header, hashes))
}
