//! Verifying a journal at rest: without its lock, without opening it, without changing anything.

use std::path::Path;

use ir_core::journal::{ChainReport, ChainVerifier};
use ir_core::{Digest, Result};

use super::layout::{Layout, link, split_line};
use super::{io_error, lease};

/// Verifies the journal in `dir`: every byte of every record, the chain, whole appends, every blob and the lease.
///
/// The report names the record that holds the first thing that is wrong; a torn tail is said to be damaged after the last
/// complete record. Opening the journal for writing repairs a torn tail and nothing else.
///
/// # Errors
///
/// When files cannot be read. Damage is not an error, it is in the report.
///
/// # Examples
///
/// ```
/// let dir = tempfile::tempdir()?;
/// drop(ir_adapters::file::FileJournal::open(dir.path())?);
/// let report = ir_adapters::file::verify(dir.path())?;
/// assert_eq!((report.records, report.fault), (0, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify(dir: impl AsRef<Path>) -> Result<ChainReport> {
    let layout = Layout::new(dir.as_ref());
    let mut reader = Reader { layout, verifier: ChainVerifier::new(), left: 0, blobs: true };
    if !reader.read_all()? {
        return Ok(reader.verifier.finish());
    }
    if reader.left > 0 {
        let (seq, left) = (reader.verifier.next_seq(), reader.left);
        let what = format!("damaged after record {}: {left} more records of its append were written", seq - 1);
        reader.verifier.fail(seq, what);
    } else if let Err(error) = lease::load(&reader.layout.lease()) {
        // No record holds the lease, so the damage is told at the place of the next one.
        reader.verifier.fail(reader.verifier.next_seq(), error.message());
    }
    Ok(reader.verifier.finish())
}

/// Verifies the records in the folder of a [`FileExport`](super::FileExport). It holds no blobs, and its end may lie within an
/// append whose rest is still to come.
///
/// # Errors
///
/// When files cannot be read. Damage is not an error, it is in the report.
pub fn verify_export(dir: impl AsRef<Path>) -> Result<ChainReport> {
    let layout = Layout::new(dir.as_ref());
    let mut reader = Reader { layout, verifier: ChainVerifier::new(), left: 0, blobs: false };
    let sound = reader.read_all()?;
    let records = reader.verifier.next_seq() - 1;
    let mut report = reader.verifier.finish();
    if sound {
        report = ChainReport { records, fault: None, ..report };
    }
    Ok(report)
}

struct Reader {
    layout: Layout,
    verifier: ChainVerifier,
    /// How many records of the last append are still missing.
    left: u32,
    blobs: bool,
}

impl Reader {
    /// Reads every segment; false at the first fault, which the verifier keeps.
    fn read_all(&mut self) -> Result<bool> {
        let segments = self.layout.list_segments().map_err(|error| io_error("cannot list the segments", error))?;
        for (first_seq, path) in segments {
            let seq = self.verifier.next_seq();
            if first_seq != seq {
                self.verifier.fail(seq.min(first_seq), format!("a segment begins with record {first_seq}, not {seq}"));
                return Ok(false);
            }
            let content = std::fs::read(&path)
                .map_err(|error| io_error(&format!("cannot read the segment of record {first_seq}"), error))?;
            for line in content.split_inclusive(|byte| *byte == b'\n') {
                if !self.line(line)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn line(&mut self, line: &[u8]) -> Result<bool> {
        let seq = self.verifier.next_seq();
        let Some(line) = line.strip_suffix(b"\n") else {
            self.verifier.fail(seq, format!("damaged after record {}: its line has no end", seq - 1));
            return Ok(false);
        };
        let Some((hash, bytes)) = split_line(line) else {
            self.verifier.fail(seq, "its line is not a hash and a record");
            return Ok(false);
        };
        match self.verifier.push(&hash, bytes) {
            Err(_) => return Ok(false),
            Ok(blobs) if self.blobs => {
                for digest in blobs {
                    if let Some(what) = self.blob_fault(&digest)? {
                        self.verifier.fail(seq, what);
                        return Ok(false);
                    }
                }
            }
            Ok(_) => {}
        }
        self.left = link(bytes).map_or(0, |link| link.left);
        Ok(true)
    }

    fn blob_fault(&self, digest: &Digest) -> Result<Option<String>> {
        match std::fs::read(self.layout.blob(digest)) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(None),
            Ok(_) => Ok(Some(format!("blob `{digest}` has another content"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Some(format!("blob `{digest}` is missing")))
            }
            Err(error) => Err(io_error(&format!("cannot read blob `{digest}`"), error)),
        }
    }
}
