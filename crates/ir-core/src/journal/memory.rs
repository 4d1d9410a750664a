//! A journal in memory: for tests, and for hosts that want no record at all. What it holds is gone with the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Appended, Batch, EncodedRecord, Holder, Journal, Lease, Page, ReadFrom};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Digest, PartName};

/// A journal in memory. Clones share the content, so that a clone is "the same journal opened again".
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<EncodedRecord>,
    blobs: HashMap<Digest, Arc<[u8]>>,
    holder: Option<(PartName, u64)>,
    epoch: u64,
    checkpoint: Option<u64>,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before the lock is released, so a panic elsewhere leaves a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn head(&self) -> u64 {
        self.records.len() as u64 + 1
    }
}

fn conflict(message: String) -> Error {
    Error::new(ErrorKind::Conflict, "memory journal", message)
}

#[async_trait]
impl Journal for MemoryJournal {
    fn name(&self) -> &str {
        "memory"
    }

    async fn append(&self, _ctx: &Ctx, batch: &Batch) -> Result<Appended> {
        let mut state = self.state();
        if batch.epoch != state.epoch {
            return Err(conflict(format!("epoch {} has ended, {} holds the lease", batch.epoch, state.epoch)));
        }
        if batch.expected_seq != state.head() {
            return Err(conflict(format!("record {} was expected, the next is {}", batch.expected_seq, state.head())));
        }
        let contiguous = (batch.expected_seq..).zip(&batch.records).all(|(seq, record)| record.seq == seq);
        if batch.records.is_empty() || !contiguous {
            return Err(Error::new(ErrorKind::InvalidInput, "memory journal", "a batch holds contiguous records"));
        }
        for blob in &batch.blobs {
            state.blobs.insert(blob.digest, blob.bytes.clone());
        }
        state.records.extend(batch.records.iter().cloned());
        let last_seq = state.head() - 1;
        if batch.checkpoint {
            state.checkpoint = Some(last_seq);
        }
        Ok(Appended { first_seq: batch.expected_seq, last_seq })
    }

    async fn read(&self, _ctx: &Ctx, from: &ReadFrom) -> Result<Page> {
        let state = self.state();
        let skip = usize::try_from(from.seq.max(1) - 1).unwrap_or(usize::MAX);
        let records = state.records.iter().skip(skip).take(from.max).cloned().collect();
        Ok(Page { records, head: state.head() })
    }

    async fn blob(&self, _ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>> {
        let found = self.state().blobs.get(digest).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "memory journal", format!("no blob is named `{digest}`")))
    }

    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease> {
        let now = ctx.now().mono_ns;
        let mut state = self.state();
        match &state.holder {
            Some((name, _)) if *name == holder.name => {}
            Some((name, until)) if *until > now => {
                return Err(conflict(format!("`{name}` holds the lease")));
            }
            _ => state.epoch += 1,
        }
        let until = now.saturating_add(holder.ttl_ms.saturating_mul(1_000_000));
        state.holder = Some((holder.name.clone(), until));
        let (epoch, head, checkpoint) = (state.epoch, state.head(), state.checkpoint);
        Ok(Lease { epoch, ttl_ms: holder.ttl_ms, head, checkpoint, repaired: None })
    }
}
