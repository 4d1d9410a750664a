//! Names and the form of a line: where a journal keeps what.

use std::io;
use std::path::{Path, PathBuf};

use ir_core::Digest;
use ir_core::journal::{EncodedRecord, leaf_hash};

const HEX: usize = 64;

/// The folders and files of one journal.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The segment that begins with record `first_seq`.
    pub(super) fn segment(&self, first_seq: u64) -> PathBuf {
        self.segments().join(format!("{first_seq:020}.jsonl"))
    }

    /// The index of that segment, once it is finished.
    pub(super) fn index(&self, first_seq: u64) -> PathBuf {
        self.segments().join(format!("{first_seq:020}.index"))
    }

    /// The hashes of that segment, once it is archived.
    pub(super) fn archived(&self, first_seq: u64) -> PathBuf {
        self.segments().join(format!("{first_seq:020}.archived"))
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.to_string())
    }

    /// Every segment with the number of its first record, in order. Files of other names are none of the journal's.
    pub(super) fn list_segments(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        self.list(".jsonl")
    }

    /// The files that stay for archived segments, in order.
    pub(super) fn list_archived(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        self.list(".archived")
    }

    fn list(&self, suffix: &str) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.segments())? {
            let path = entry?.path();
            let number = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_suffix(suffix))
                .filter(|digits| digits.len() == 20)
                .and_then(|digits| digits.parse::<u64>().ok());
            if let Some(first_seq) = number {
                found.push((first_seq, path));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Writes `record` as a line at the end of `lines`.
pub(super) fn write_line(lines: &mut Vec<u8>, record: &EncodedRecord) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    lines.reserve(HEX + record.bytes.len() + 2);
    for byte in record.hash.as_bytes() {
        lines.push(DIGITS[usize::from(byte >> 4)]);
        lines.push(DIGITS[usize::from(byte & 15)]);
    }
    lines.push(b' ');
    lines.extend_from_slice(&record.bytes);
    lines.push(b'\n');
}

/// Hash and record of a line without its line break, as they stand there.
pub(super) fn split_line(line: &[u8]) -> Option<(Digest, &[u8])> {
    let (hash, rest) = line.split_at_checked(HEX)?;
    let hash = std::str::from_utf8(hash).ok()?.parse().ok()?;
    Some((hash, rest.strip_prefix(b" ")?))
}

/// Whether `line` is a record with the hash it claims.
pub(super) fn is_sound(line: &[u8]) -> bool {
    split_line(line).is_some_and(|(hash, bytes)| link(bytes).is_some() && leaf_hash(bytes) == hash)
}

/// What chains a record to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// How many records of its append follow.
    pub(super) left: u32,
    /// The hash of the record before.
    pub(super) prev: Digest,
    /// Its number.
    pub(super) seq: u64,
}

/// Reads the link from the end of a record. Canonical JSON sorts its keys, so that every record ends with
/// `,"left":0,"prev":"..","seq":1,"v":1}` and nothing in front of it has to be parsed.
pub(super) fn link(bytes: &[u8]) -> Option<Link> {
    const LONGEST: usize = 160;
    let tail = &bytes[bytes.len().saturating_sub(LONGEST)..];
    let at = memchr::memmem::rfind(tail, b",\"left\":")?;
    let tail = std::str::from_utf8(&tail[at..]).ok()?.strip_prefix(",\"left\":")?;
    let (left, tail) = tail.split_once(",\"prev\":\"")?;
    let (prev, tail) = tail.split_once("\",\"seq\":")?;
    let (seq, version) = tail.split_once(",\"v\":")?;
    version.strip_suffix('}')?.parse::<u32>().ok()?;
    Some(Link { left: left.parse().ok()?, prev: prev.parse().ok()?, seq: seq.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir_core::journal::{Body, Chain, Event};
    use ir_core::{Clock, ManualClock};

    #[test]
    fn a_line_gives_back_hash_record_and_link() {
        let at = ManualClock::new().now();
        let timer = |text: &str| Body::Event(Event::TimerFired { timer: text.to_owned() });
        // The second record's content looks like the end of a record, to lead a careless reader astray.
        let bodies = vec![timer("a"), timer("x\",\"left\":7,\"prev\":\"0\",\"seq\":9,\"v\":1}")];
        let (_, records, _) = Chain::default().encode(&at, bodies).unwrap();
        let mut lines = Vec::new();
        for record in &records {
            write_line(&mut lines, record);
        }
        let read: Vec<_> = lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
        assert_eq!(read.len(), 2);
        for (n, (line, record)) in read.iter().zip(&records).enumerate() {
            assert_eq!(split_line(line), Some((record.hash, &*record.bytes)));
            let found = link(&record.bytes).unwrap();
            assert_eq!((found.seq, found.left), (record.seq, 1 - n as u32));
            assert!(is_sound(line));
        }
        assert_eq!(link(&records[1].bytes).unwrap().prev, records[0].hash);
    }
}
