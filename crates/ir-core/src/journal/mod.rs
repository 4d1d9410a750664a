//! The one log. Everything the library knows for certain is a fold over it.
//!
//! Events (what came from outside) are recorded before they are used; facts (what follows from them) stand behind their event
//! in the same append; what the gate did stands by itself. A record is canonical JSON, chained by hash; its hash is its leaf
//! in an RFC 6962 tree.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ctx::Ctx;
use crate::error::Result;
use crate::id::{Digest, PartName};

pub mod canonical;
mod carry;
mod encode;
mod memory;
mod record;
mod verify;

pub use carry::{CarriedChange, CarriedIncident, CarriedOver, CarriedStep, carried_over};
pub use encode::{Chain, EncodedRecord, MAX_INLINE_BYTES, Resolved, decode, leaf_hash};
pub use memory::MemoryJournal;
pub use record::{
    Approved, Body, Checkpoint, CommandId, Content, Event, Fact, Fenced, GateFact, Halted, Intent, Observed,
    PartRecord, Record, Refusal, Report, Started, StepTerms, Suspect, Unseen,
};
pub use verify::{ChainReport, ChainVerifier, Fault, verify, verify_after};

/// Bytes too large for a record, stored beside it and named by their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// The content.
    pub bytes: Arc<[u8]>,
}

impl Blob {
    /// Takes bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(&bytes), bytes }
    }
}

/// Records to be made durable together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The number the first record must get.
    pub expected_seq: u64,
    /// The epoch of the lease under which it is written.
    pub epoch: u64,
    /// Whether the last record is a checkpoint: reading may begin with it.
    pub checkpoint: bool,
    /// Contents that the records name; made durable first.
    pub blobs: Vec<Blob>,
    /// The records, in order; never empty.
    pub records: Vec<EncodedRecord>,
}

/// What a journal says of an append that is durable. Plain data: only the gate makes a [`Receipt`](crate::kernel::Receipt).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The first record's number.
    pub first_seq: u64,
    /// The last record's number.
    pub last_seq: u64,
}

/// Where to read, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadFrom {
    /// The first record wanted.
    pub seq: u64,
    /// At most so many.
    pub max: usize,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The records, contiguous from the one wanted.
    pub records: Vec<EncodedRecord>,
    /// The number the next append will get.
    pub head: u64,
}

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The name of this writer; the same name renews.
    pub name: PartName,
    /// For how long, in milliseconds.
    pub ttl_ms: u64,
}

/// What a journal cut from its end when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TailRepair {
    /// The number of the first record that was incomplete.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub seq: u64,
    /// How many bytes were cut.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub bytes: u64,
}

/// The right to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Rises with every change of holder; appends carry it.
    pub epoch: u64,
    /// How long it lasts, counted from before the call. Milliseconds.
    pub ttl_ms: u64,
    /// The number the next append will get.
    pub head: u64,
    /// The number of a checkpoint, the newest that the journal knows. A hint: the reader looks whether it is one. `None`: reading
    /// begins with the first record.
    pub checkpoint: Option<u64>,
    /// What was cut when the journal was opened, told once.
    pub repaired: Option<TailRepair>,
}

/// Keeps the log.
///
/// # Contract
///
/// 1. `append` returns only when records and blobs are durable, and all of a batch or nothing of it is there.
/// 2. A wrong `expected_seq` or an old `epoch` is `Conflict` and writes nothing.
/// 3. `read` gives back exactly the bytes and hashes that were appended, contiguous, from the number asked for.
/// 4. Numbers start at 1. Reading beyond the head is an empty page that names the head.
/// 5. A blob is there once the append that carried it has returned; an unknown digest is `NotFound`.
/// 6. `claim` by another name while a lease lasts is `Conflict`; by the same name it renews with the same epoch; a new holder
///    gets a higher epoch, and from then on the old one's appends are `Conflict`.
/// 7. What was durable is there after opening again.
/// 8. `claim` names the newest checkpoint, an older one or none, and never a record that was not appended as one.
/// 9. A record that was archived is `NotFound`, never an empty page.
///
/// # Cancellation
///
/// Dropping the future of `append` leaves the result unknown: the caller must stop writing and read again.
///
/// # Errors
///
/// `Conflict` as above. Any other error of `append` has an unknown result: this writer stops for good.
#[async_trait]
pub trait Journal: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// Makes a batch durable.
    async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended>;

    /// Reads records.
    async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page>;

    /// Reads the content named by `digest`.
    async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>>;

    /// Takes or renews the right to write.
    async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease>;
}

crate::forward! {
    Journal {
        fn name(&self) -> &str;
        async fn append(&self, ctx: &Ctx, batch: &Batch) -> Result<Appended>;
        async fn read(&self, ctx: &Ctx, from: &ReadFrom) -> Result<Page>;
        async fn blob(&self, ctx: &Ctx, digest: &Digest) -> Result<Arc<[u8]>>;
        async fn claim(&self, ctx: &Ctx, holder: &Holder) -> Result<Lease>;
    }
}

/// Gets a copy of every committed record.
///
/// # Contract
///
/// 1. `copy` keeps all given records before it returns; they come in order, without gaps.
/// 2. Records it has already are taken again without harm (at least once).
/// 3. `position` is the number of the next record it wants, 1 at first; it never goes back.
///
/// # Cancellation
///
/// Dropping the future of `copy` may or may not have kept the records; they come again.
///
/// # Errors
///
/// Any; the same records come again later. For a sink marked as required no permit is minted meanwhile.
#[async_trait]
pub trait AuditSink: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// Keeps these records.
    async fn copy(&self, ctx: &Ctx, records: &[EncodedRecord]) -> Result<()>;

    /// The number of the next record it wants.
    async fn position(&self, ctx: &Ctx) -> Result<u64>;
}

crate::forward! {
    AuditSink {
        fn name(&self) -> &str;
        async fn copy(&self, ctx: &Ctx, records: &[EncodedRecord]) -> Result<()>;
        async fn position(&self, ctx: &Ctx) -> Result<u64>;
    }
}
