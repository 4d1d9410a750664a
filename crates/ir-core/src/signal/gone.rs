//! Entities that are gone: taken away on purpose, as the source that knows of it reports.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::entity::EntityId;
use crate::time::Timestamp;

/// Reports that an entity no longer exists, because somebody or something took it away on purpose.
///
/// Silence alone never is: an entity that no longer answers may have failed, and its absence is a symptom that stays open. So only a
/// source that knows what ought to be there reports this: service discovery, an orchestrator, the topology.
///
/// It takes effect after all other signals of its batch. All episodes of the entity end, what was learned of it is dropped, and
/// scrapes of it up to [`at`](Self::at) that come later are ignored. Later signals of the same id are of a new entity, of which
/// nothing is known. An episode of another entity that names this one as its peer goes on: calls to what is gone still fail.
///
/// Not a [`Change`](super::Change): a change is a candidate cause and is recorded, and where instances come and go all day nearly
/// every one of them would be an innocent one. A source that knows of a change as well reports both.
///
/// # Examples
///
/// ```
/// use ir_core::{EntityId, Gone, GoneReason, SignalBatch, Timestamp};
///
/// let successor = EntityId::new("web-2")?;
/// let gone = Gone {
///     entity: EntityId::new("web-1")?,
///     at: Timestamp::from_millis(1_700_000_000_000),
///     reason: GoneReason::Replaced { successor },
/// };
/// assert_eq!(gone.reason.to_string(), "replaced by `web-2`");
/// let batch = SignalBatch { gone: vec![gone], ..SignalBatch::default() };
/// # Ok::<(), ir_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// What is gone.
    pub entity: EntityId,
    /// Since when, or when the source learned of it.
    pub at: Timestamp,
    /// How the source knows.
    pub reason: GoneReason,
}

/// How a source knows that an entity is gone. [`Display`](fmt::Display) gives the words that the end of an episode is explained with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum GoneReason {
    /// Service discovery no longer lists it.
    Undiscovered,
    /// The topology no longer has it.
    NotInTopology,
    /// The number of instances was reduced.
    ScaledIn,
    /// Another entity does its work.
    Replaced {
        /// The other entity.
        successor: EntityId,
    },
}

impl fmt::Display for GoneReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undiscovered => f.write_str("no longer in service discovery"),
            Self::NotInTopology => f.write_str("no longer in the topology"),
            Self::ScaledIn => f.write_str("scaled in"),
            Self::Replaced { successor } => write!(f, "replaced by `{successor}`"),
        }
    }
}
