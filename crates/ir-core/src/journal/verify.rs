//! Verifying a journal: every record has the bytes it was written with, in the order it was written.

use serde::Serialize;

use super::encode::{Chain, EncodedRecord, Resolved, decode, leaf_hash};
use super::{Journal, ReadFrom};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::id::Digest;

/// The first thing that is wrong with a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("record {seq}: {what}")]
pub struct Fault {
    /// The record that is damaged, missing, or the first after a cut.
    pub seq: u64,
    /// What is wrong with it.
    pub what: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// How many records are sound, from the first on. Archived ones in front are counted.
    pub records: u64,
    /// How many of them are archived, so that only their hashes were here.
    pub archived: u64,
    /// The hash of the last sound record. Kept elsewhere, it makes a cut tail visible.
    pub head: Digest,
    /// The first thing that is wrong, if anything is.
    pub fault: Option<Fault>,
}

/// Takes records one by one and says which is the first that cannot be right.
#[derive(Debug, Default)]
pub struct ChainVerifier {
    chain: Chain,
    left: u32,
    archived: u64,
    /// The chain before the last record, in case its blob turns out to be damaged.
    before: Chain,
    fault: Option<Fault>,
}

impl ChainVerifier {
    /// Starts before the first record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts behind archived records, of which only the hashes are known: the next record must follow `archived`.
    #[must_use]
    pub fn after(archived: Chain) -> Self {
        Self { archived: archived.next_seq() - 1, before: archived.clone(), chain: archived, ..Self::default() }
    }

    /// The number of the record that must come next.
    #[must_use]
    pub const fn next_seq(&self) -> u64 {
        self.chain.next_seq()
    }

    /// Looks at the next record: `hash` as it was stored, and its bytes. Gives the digests of the blobs it names.
    ///
    /// # Errors
    ///
    /// The fault, at this record and at every later call.
    pub fn push(&mut self, hash: &Digest, bytes: &[u8]) -> Result<Vec<Digest>, Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let seq = self.chain.next_seq();
        match self.look(seq, hash, bytes) {
            Ok((left, blobs)) => {
                self.left = left;
                self.before = std::mem::replace(&mut self.chain, Chain::after(seq, *hash));
                Ok(blobs)
            }
            Err(what) => Err(self.fail(seq, what)),
        }
    }

    /// Notes a fault found by the caller, such as a line that cannot be split or a missing blob.
    pub fn fail(&mut self, seq: u64, what: impl Into<String>) -> Fault {
        let fault = Fault { seq, what: what.into() };
        self.fault.get_or_insert(fault).clone()
    }

    fn look(&self, seq: u64, hash: &Digest, bytes: &[u8]) -> Result<(u32, Vec<Digest>), String> {
        if leaf_hash(bytes) != *hash {
            return Err("its bytes do not have its hash".to_owned());
        }
        let stored = EncodedRecord { seq, hash: *hash, bytes: bytes.into() };
        let record = decode(&stored).map_err(|error| error.message().to_owned())?;
        if record.seq != seq {
            return Err(format!("it calls itself {}", record.seq));
        }
        if record.prev != self.chain.prev() {
            return Err("it does not follow the record before it".to_owned());
        }
        if self.left > 0 && record.left != self.left - 1 {
            return Err("it is not the next of its append".to_owned());
        }
        Ok((record.left, record.body.blobs()))
    }

    /// The end: an append that was begun must be complete.
    #[must_use]
    pub fn finish(mut self) -> ChainReport {
        if self.left > 0 && self.fault.is_none() {
            let seq = self.chain.next_seq();
            self.fail(seq, format!("is missing: {} more records of its append were written", self.left));
        }
        let chain = match &self.fault {
            Some(fault) if fault.seq < self.chain.next_seq() => &self.before,
            _ => &self.chain,
        };
        let records = chain.next_seq() - 1;
        ChainReport { records, archived: self.archived, head: chain.prev(), fault: self.fault }
    }
}

/// Verifies a journal through its trait: chain, batches, and that every blob is there with the right content.
///
/// # Errors
///
/// Those of the journal. Damage is not an error, it is in the report.
pub async fn verify(ctx: &Ctx, journal: &dyn Journal) -> Result<ChainReport> {
    verify_after(ctx, journal, Chain::default()).await
}

/// Verifies a journal as [`verify`] does, of which the records up to the end of the chain `archived` are archived: they are counted and not
/// read, and the next record must follow them.
///
/// # Errors
///
/// Those of the journal. Damage is not an error, it is in the report.
pub async fn verify_after(ctx: &Ctx, journal: &dyn Journal, archived: Chain) -> Result<ChainReport> {
    let mut verifier = ChainVerifier::after(archived);
    loop {
        let page = journal.read(ctx, &ReadFrom { seq: verifier.next_seq(), max: 1024 }).await?;
        if page.records.is_empty() {
            if verifier.fault.is_none() && page.head > verifier.next_seq() {
                verifier.fail(verifier.next_seq(), "is missing");
            }
            return Ok(verifier.finish());
        }
        for stored in &page.records {
            let seq = verifier.next_seq();
            match verifier.push(&stored.hash, &stored.bytes) {
                Err(_) => return Ok(verifier.finish()),
                Ok(blobs) if blobs.is_empty() => {}
                Ok(_) => {
                    if let Err(error) = Resolved(journal).decode(ctx, stored).await {
                        verifier.fail(seq, error.message());
                        return Ok(verifier.finish());
                    }
                }
            }
        }
    }
}
