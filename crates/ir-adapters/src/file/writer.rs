//! The one thread that writes: it takes everything that waits, writes it, syncs once, and answers all.

use std::fs::File;
use std::sync::Arc;

use ir_core::journal::{Appended, Blob, Holder, Lease, TailRepair};
use ir_core::{Digest, Error, ErrorKind, PartName, Result};
use tokio::sync::{mpsc, oneshot};

use super::Lock;
use super::archive::{self, Archived, Prepared};
use super::disk::{Disk, replace};
use super::index::Index;
use super::layout::Layout;
use super::marks::Marks;
use super::{COMPONENT, io_error};

/// The most that is written under one sync: beyond this, waiting for the rest would only make the first ones late.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// Something for the writer to do.
#[derive(Debug)]
pub(super) enum Job {
    Append(Append, oneshot::Sender<Result<Appended>>),
    Archive(Prepared, oneshot::Sender<Result<Archived>>),
    Claim { holder: Holder, now_mono_ns: u64, reply: oneshot::Sender<Result<Lease>> },
}

/// A batch as lines, checked by the caller as far as that needs no knowledge of the journal.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) expected_seq: u64,
    pub(super) epoch: u64,
    /// The number of the last record, if the batch is marked as a checkpoint.
    pub(super) checkpoint: Option<u64>,
    pub(super) blobs: Vec<Blob>,
    /// All lines, one behind the other.
    pub(super) lines: Vec<u8>,
    /// Where in `lines` each record begins.
    pub(super) offsets: Vec<u64>,
    /// The hash that the first record names as its predecessor's, and that of the last record.
    pub(super) prev: Digest,
    pub(super) last: Digest,
    /// What opening will find in the records.
    pub(super) marks: Marks,
    /// Why it could not be read back, if so.
    pub(super) flaw: Option<String>,
}

/// The last segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: File,
    /// How many of its bytes are durable.
    pub(super) len: u64,
    /// The hash of the record before its first.
    pub(super) prev: Digest,
    /// What its durable records hold that opening needs.
    pub(super) marks: Marks,
}

/// What the writer owns.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) disk: Box<dyn Disk>,
    pub(super) layout: Layout,
    pub(super) segment_bytes: u64,
    pub(super) index: Arc<Index>,
    /// The last segment, open at its end; `None` before the first.
    pub(super) segment: Option<Segment>,
    pub(super) next_seq: u64,
    pub(super) prev: Digest,
    /// The epoch of the lease; before the first claim of this opening, the highest that a record carries.
    pub(super) epoch: u64,
    /// The holder of this opening, and until when on the monotonic clock.
    pub(super) holder: Option<(PartName, u64)>,
    pub(super) repaired: Option<TailRepair>,
    /// Set for good once a write failed: what is on the disk is known only to who reads it again.
    pub(super) broken: Option<String>,
    /// Held as long as this value lives: no other process writes.
    pub(super) _lock: Lock,
}

/// Appends taken together, waiting for one sync.
#[derive(Debug)]
struct Group {
    lines: Vec<u8>,
    offsets: Vec<u64>,
    blobs: Vec<Blob>,
    /// The hash of the record before the first.
    prev: Digest,
    marks: Marks,
    checkpoint: Option<u64>,
    replies: Vec<(oneshot::Sender<Result<Appended>>, Appended)>,
}

impl Group {
    /// An empty group behind the record of hash `prev`.
    fn after(prev: Digest) -> Self {
        let (lines, offsets, blobs, replies) = Default::default();
        Self { lines, offsets, blobs, prev, marks: Marks::default(), checkpoint: None, replies }
    }
}

impl Writer {
    /// Works until nobody can send jobs any more.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = Group::after(self.prev);
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Append(append, reply) => self.take(append, reply, &mut group),
                    Job::Archive(prepared, reply) => {
                        self.flush(std::mem::replace(&mut group, Group::after(self.prev)));
                        let archived = self
                            .is_sound()
                            .and_then(|()| archive::complete(&mut *self.disk, &self.layout, &self.index, prepared));
                        let _ = reply.send(archived);
                    }
                    Job::Claim { holder, now_mono_ns, reply } => {
                        // A claim may end the right of what is queued behind it, never of what came before.
                        self.flush(std::mem::replace(&mut group, Group::after(self.prev)));
                        // Nobody listens any more when the caller gave up; the claim stands all the same.
                        let _ = reply.send(self.claim(holder, now_mono_ns));
                    }
                }
                next = if group.lines.len() < MAX_GROUP_BYTES { jobs.try_recv().ok() } else { None };
            }
            self.flush(group);
        }
    }

    fn take(&mut self, append: Append, reply: oneshot::Sender<Result<Appended>>, group: &mut Group) {
        if let Err(error) = self.accepts(&append) {
            let _ = reply.send(Err(error));
            return;
        }
        let count = append.offsets.len() as u64;
        let appended = Appended { first_seq: append.expected_seq, last_seq: append.expected_seq + count - 1 };
        self.next_seq += count;
        self.prev = append.last;
        let base = group.lines.len() as u64;
        group.offsets.extend(append.offsets.iter().map(|offset| base + offset));
        if group.lines.is_empty() {
            group.lines = append.lines;
        } else {
            group.lines.extend_from_slice(&append.lines);
        }
        group.blobs.extend(append.blobs);
        group.marks.add(append.marks);
        group.checkpoint = append.checkpoint.or(group.checkpoint);
        group.replies.push((reply, appended));
    }

    fn accepts(&self, append: &Append) -> Result<()> {
        self.is_sound()?;
        if append.epoch != self.epoch {
            let message = format!("epoch {} has ended, {} holds the lease", append.epoch, self.epoch);
            return Err(Error::new(ErrorKind::Conflict, COMPONENT, message));
        }
        if append.expected_seq != self.next_seq {
            let message = format!("record {} was expected, the next is {}", append.expected_seq, self.next_seq);
            return Err(Error::new(ErrorKind::Conflict, COMPONENT, message));
        }
        let stray = (append.prev != self.prev)
            .then(|| format!("record {} does not follow the record before it", append.expected_seq));
        match append.flaw.clone().or(stray) {
            None => Ok(()),
            Some(message) => Err(Error::new(ErrorKind::InvalidInput, COMPONENT, message)),
        }
    }

    fn is_sound(&self) -> Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(why) => {
                let message = format!("a write failed before, open the journal again: {why}");
                Err(Error::new(ErrorKind::Stopped, COMPONENT, message))
            }
        }
    }

    /// Makes a group durable and answers everybody in it.
    fn flush(&mut self, group: Group) {
        if group.replies.is_empty() {
            return;
        }
        let result = self.write(&group);
        if let Err(error) = &result {
            tracing::error!(error = %error, "the journal cannot write any more");
            self.broken = Some(error.message().to_owned());
            if let Some(segment) = &self.segment {
                // Best effort: what was not acknowledged should not come back after a failed sync.
                let _ = self.disk.cut(&segment.file, segment.len);
            }
        }
        for (reply, appended) in group.replies {
            let answer = match &result {
                Ok(()) => Ok(appended),
                Err(error) => Err(Error::new(error.kind(), COMPONENT, error.message())),
            };
            let _ = reply.send(answer);
        }
    }

    fn write(&mut self, group: &Group) -> Result<()> {
        let first_seq = group.replies.first().map_or(self.next_seq, |(_, appended)| appended.first_seq);
        let failed = |error: std::io::Error| unknown(first_seq, error);
        self.write_blobs(&group.blobs).map_err(failed)?;
        let n_bytes = group.lines.len() as u64;
        let full = |segment: &Segment| segment.len > 0 && segment.len + n_bytes > self.segment_bytes;
        if self.segment.as_ref().is_none_or(full) {
            self.roll(first_seq, group.prev).map_err(failed)?;
        }
        let Some(segment) = &mut self.segment else {
            return Err(Error::new(ErrorKind::Unknown, COMPONENT, "there is no segment to write to"));
        };
        let written = self.disk.write(&mut segment.file, &group.lines);
        written.and_then(|()| self.disk.sync(&segment.file)).map_err(failed)?;
        segment.len += n_bytes;
        segment.marks.add(group.marks);
        if let Some(checkpoint) = group.checkpoint {
            self.index.set_checkpoint(checkpoint);
        }
        self.index.extend(group.offsets.iter().copied(), n_bytes);
        Ok(())
    }

    /// Finishes the last segment and begins one with the record `first_seq`, which follows the record of hash `prev`.
    fn roll(&mut self, first_seq: u64, prev: Digest) -> std::io::Result<()> {
        if let Some(segment) = &self.segment
            && let Some((finished, bytes)) =
                self.index.finish(segment.prev, prev, segment.marks).map_err(std::io::Error::other)?
        {
            // INVARIANT (index of a finished segment): everything in the segment is durable, and nothing is added to it any more.
            replace(&mut *self.disk, &self.layout.index(finished), &bytes)?;
        }
        let path = self.layout.segment(first_seq);
        let file = self.disk.open(&path)?;
        self.disk.sync_dir(&self.layout.segments())?;
        self.segment = Some(Segment { file, len: 0, prev, marks: Marks::default() });
        self.index.add_segment(first_seq, &path, Vec::new(), 0);
        Ok(())
    }

    fn write_blobs(&mut self, blobs: &[Blob]) -> std::io::Result<()> {
        if blobs.is_empty() {
            return Ok(());
        }
        for blob in blobs {
            let path = self.layout.blob(&blob.digest);
            // The same content may have been kept before; a damaged copy is written anew.
            if !std::fs::read(&path).is_ok_and(|kept| *kept == *blob.bytes) {
                replace(&mut *self.disk, &path, &blob.bytes)?;
            }
        }
        self.disk.sync_dir(&self.layout.blobs())
    }

    fn claim(&mut self, holder: Holder, now_mono_ns: u64) -> Result<Lease> {
        self.is_sound()?;
        let same = match &self.holder {
            Some((name, _)) if *name == holder.name => true,
            Some((name, until)) if *until > now_mono_ns => {
                return Err(Error::new(ErrorKind::Conflict, COMPONENT, format!("`{name}` holds the lease")));
            }
            _ => false,
        };
        if !same {
            self.epoch += 1;
        }
        let until = now_mono_ns.saturating_add(holder.ttl_ms.saturating_mul(1_000_000));
        self.holder = Some((holder.name, until));
        Ok(Lease {
            epoch: self.epoch,
            ttl_ms: holder.ttl_ms,
            head: self.next_seq,
            checkpoint: self.index.checkpoint(),
            repaired: self.repaired.take(),
        })
    }
}

fn unknown(first_seq: u64, error: std::io::Error) -> Error {
    let error = io_error(&format!("record {first_seq} could not be made durable"), error);
    Error::new(ErrorKind::Unknown, COMPONENT, error.message())
}
