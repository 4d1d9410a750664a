//! Anomalies: signals that do not fit, each with a score and a sentence.

use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ctx::Ctx;
use crate::entity::{EntityId, Labels};
use crate::error::Result;
use crate::id::{AnomalyId, Digest, PartName};
use crate::score::{Measured, Score};
use crate::signal::SignalBatch;
use crate::time::Timestamp;

/// Which way the signal left what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Above.
    Up,
    /// Below.
    Down,
    /// No longer there.
    Gone,
    /// Never seen before.
    New,
}

/// What kind of symptom it is: ranking and classification go by this, never by free text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Symptom {
    /// The entity answers later.
    Latency,
    /// The entity answers wrongly.
    Errors,
    /// The entity, or its telemetry, is gone.
    Absence,
    /// A resource fills: memory, disk, connections.
    Saturation,
    /// More or less work arrives.
    Traffic,
    /// The log says something it did not say before.
    Log,
    /// What the entity measures when it calls another one (the label `peer`): late or failed answers.
    Downstream,
    /// Behaviour of people or processes that does not fit.
    Behaviour,
    /// Anything else.
    Other,
}

/// Whether the anomaly goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// First report of this episode.
    Began,
    /// Reported before, stronger now.
    Grew,
    /// Back to normal.
    Ended,
}

/// A signal that does not fit.
///
/// An episode is one anomaly with one id; detectors report when it begins, when it grows clearly, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Anomaly {
    /// Its name: the same for all reports of the episode.
    pub id: AnomalyId,
    /// The detector that found it.
    pub detector: PartName,
    /// The detector's version, since thresholds change.
    pub version: u32,
    /// Who it is about.
    pub entity: EntityId,
    /// The other end, for [`Symptom::Downstream`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<EntityId>,
    /// Metric name or template id.
    pub subject: String,
    /// What tells the series from its siblings.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// What kind of symptom.
    pub symptom: Symptom,
    /// Which way.
    pub direction: Direction,
    /// Beginning, growing, ended.
    pub phase: Phase,
    /// When it began, as well as the signals tell.
    pub onset: Timestamp,
    /// When this report was made, by the time of the signals.
    pub at: Timestamp,
    /// How strong.
    pub score: Score,
    /// What was expected.
    pub expected: Measured,
    /// What was seen.
    pub seen: Measured,
    /// The limit that was crossed.
    pub threshold: Measured,
    /// One sentence: expected, seen, since when, against which history.
    pub because: String,
}

/// What a person or an outcome says of a detector's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Feedback {
    /// This was no problem.
    FalseAlarm {
        /// Which report.
        anomaly: AnomalyId,
    },
    /// Here was a problem and no report came.
    Missed {
        /// Who was concerned.
        entity: EntityId,
        /// When it was.
        at: Timestamp,
    },
}

/// The state of a part as bytes only that part understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The part.
    pub name: PartName,
    /// The form of `bytes`.
    pub version: u32,
    /// The state.
    pub bytes: Vec<u8>,
}

/// Finds anomalies in signals.
///
/// One instance is called by one caller, in the order of the batches. State lives inside, bounded per series.
///
/// # Contract
///
/// 1. Splitting a batch anywhere gives the same anomalies.
/// 2. NaN, infinities, gaps, repeats and time going backwards do not make it fail.
/// 3. `restore` of a snapshot goes on as the original would have.
/// 4. A snapshot of another name or version is `InvalidInput` and changes nothing.
/// 5. Every anomaly names its detector, its entity, a score above 0, and says why in a sentence.
/// 6. After an entity is [gone](crate::Gone) none of its episodes is open: each ends at once, and its sentence begins with `gone: `.
///    Episodes of other entities go on.
///
/// # Cancellation
///
/// Dropping the future may lose what this batch would have told; the state stays usable.
///
/// # Errors
///
/// `InvalidInput` for a snapshot that is not its own. Bad signals are not errors.
///
/// # Examples
///
/// ```
/// use ir_core::{Anomaly, Ctx, Detector, Feedback, PartName, Result, SignalBatch, Snapshot};
///
/// /// Sees nothing, which is honest as far as it goes.
/// #[derive(Debug)]
/// struct Blind;
///
/// #[async_trait::async_trait]
/// impl Detector for Blind {
///     fn name(&self) -> &str {
///         "blind"
///     }
///     async fn detect(&self, _ctx: &Ctx, _batch: &SignalBatch) -> Result<Vec<Anomaly>> {
///         Ok(Vec::new())
///     }
///     async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
///         Ok(Snapshot { name: PartName::new("blind")?, version: 1, bytes: Vec::new() })
///     }
///     async fn restore(&self, _ctx: &Ctx, _from: &Snapshot) -> Result<()> {
///         Ok(())
///     }
///     async fn feedback(&self, _ctx: &Ctx, _feedback: &Feedback) -> Result<()> {
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Detector: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// What does not fit in `batch`, given everything before it.
    async fn detect(&self, ctx: &Ctx, batch: &SignalBatch) -> Result<Vec<Anomaly>>;

    /// The state, to go on later.
    async fn snapshot(&self, ctx: &Ctx) -> Result<Snapshot>;

    /// Goes on from a snapshot.
    async fn restore(&self, ctx: &Ctx, from: &Snapshot) -> Result<()>;

    /// Takes what was right and wrong; moves thresholds within bounds only.
    async fn feedback(&self, ctx: &Ctx, feedback: &Feedback) -> Result<()>;

    /// How many scrapes, values and findings it has left out because a bound of its own was reached. The status shows it. 0 for a
    /// detector without bounds.
    fn beyond_bounds(&self) -> u64 {
        0
    }
}

crate::forward! {
    Detector {
        fn name(&self) -> &str;
        fn beyond_bounds(&self) -> u64;
        async fn detect(&self, ctx: &Ctx, batch: &SignalBatch) -> Result<Vec<Anomaly>>;
        async fn snapshot(&self, ctx: &Ctx) -> Result<Snapshot>;
        async fn restore(&self, ctx: &Ctx, from: &Snapshot) -> Result<()>;
        async fn feedback(&self, ctx: &Ctx, feedback: &Feedback) -> Result<()>;
    }
}

/// How many snapshots of one detector a store keeps at least: the last one that the journal knows must be among them.
pub const KEPT_SNAPSHOTS: usize = 3;

/// Keeps the latest states of each detector, so that a restart need not learn anew. A cache: losing it costs the time to learn.
///
/// # Contract
///
/// 1. `get` gives the snapshot of that name and digest, whole, while it is among the latest [`KEPT_SNAPSHOTS`] of its name that
///    were put; else nothing.
/// 2. A `put` that fails leaves those before.
///
/// # Cancellation
///
/// Dropping the future of `put` may or may not have kept the new snapshot; those before stay.
///
/// # Errors
///
/// Any; the engine goes on and notes it.
#[async_trait]
pub trait SnapshotStore: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// Keeps a snapshot.
    async fn put(&self, ctx: &Ctx, snapshot: &Snapshot) -> Result<()>;

    /// The snapshot of that name with that digest.
    async fn get(&self, ctx: &Ctx, name: &PartName, digest: &Digest) -> Result<Option<Snapshot>>;
}

crate::forward! {
    SnapshotStore {
        fn name(&self) -> &str;
        async fn put(&self, ctx: &Ctx, snapshot: &Snapshot) -> Result<()>;
        async fn get(&self, ctx: &Ctx, name: &PartName, digest: &Digest) -> Result<Option<Snapshot>>;
    }
}

impl Snapshot {
    /// The digest of name, version and state.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_parts([self.name.as_str().as_bytes(), &self.version.to_be_bytes(), &self.bytes])
    }
}
