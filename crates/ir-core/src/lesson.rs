//! Lessons: what to do differently next time. Reviewable, reversible, never widening authority by itself.

use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::anomaly::Symptom;
use crate::ctx::Ctx;
use crate::entity::EntityId;
use crate::error::Result;
use crate::id::{ClassName, IncidentId, LessonId};
use crate::outcome::Recovery;
use crate::plan::{Call, Provenance};
use crate::time::Timestamp;

/// One thing that was tried, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// What was done.
    pub call: Call,
    /// Who proposed it.
    pub provenance: Provenance,
    /// What came of it.
    pub recovery: Recovery,
}

/// What one incident teaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lesson {
    /// Its name.
    pub id: LessonId,
    /// The incident.
    pub incident: IncidentId,
    /// When it was over.
    pub at: Timestamp,
    /// What it was taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassName>,
    /// Who was taken for the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EntityId>,
    /// Who showed what: the fingerprint by which similar incidents are found, sorted.
    pub symptoms: Vec<(EntityId, Symptom)>,
    /// What was tried, in order.
    pub tried: Vec<Tried>,
    /// From the onset to the end of the incident. Milliseconds.
    pub lasted_ms: u64,
}

/// Which lessons are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LessonQuery {
    /// Those of this class only.
    pub class: Option<ClassName>,
    /// Those with this cause only.
    pub cause: Option<EntityId>,
    /// At most so many, newest first; 0 means all.
    pub limit: usize,
}

/// Keeps lessons: an index that can be rebuilt from the journal.
///
/// # Contract
///
/// 1. A lesson put is recalled.
/// 2. Putting the same lesson again changes nothing; the same name with another content replaces it.
/// 3. `recall` answers newest first and keeps to the limit.
///
/// # Cancellation
///
/// Dropping the future of `put` may or may not have kept the lesson; it is put again at the next start.
///
/// # Errors
///
/// `Unavailable`, `Timeout`: put again later.
#[async_trait]
pub trait LessonStore: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// Keeps a lesson.
    async fn put(&self, ctx: &Ctx, lesson: &Lesson) -> Result<()>;

    /// The lessons that fit.
    async fn recall(&self, ctx: &Ctx, query: &LessonQuery) -> Result<Vec<Lesson>>;
}

crate::forward! {
    LessonStore {
        fn name(&self) -> &str;
        async fn put(&self, ctx: &Ctx, lesson: &Lesson) -> Result<()>;
        async fn recall(&self, ctx: &Ctx, query: &LessonQuery) -> Result<Vec<Lesson>>;
    }
}
