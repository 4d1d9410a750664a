//! Parts that keep everything in memory: for tests, and for trying things out. What they hold is gone with the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ir_core::journal::EncodedRecord;
use ir_core::{
    ApprovalRequest, Approver, AuditSink, Ctx, Cursor, Error, ErrorKind, Lesson, LessonId, LessonQuery, LessonStore,
    Polled, Result, SignalBatch, SignalSource,
};
use tokio::sync::Notify;

pub use ir_core::MemoryJournal;

#[cfg(test)]
mod tests;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change below is complete before its lock is released, so a panic elsewhere leaves sound content.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lessons in memory.
#[derive(Debug, Default)]
pub struct MemoryLessonStore {
    lessons: Mutex<BTreeMap<LessonId, Lesson>>,
}

impl MemoryLessonStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl LessonStore for MemoryLessonStore {
    fn name(&self) -> &str {
        "memory"
    }

    async fn put(&self, _ctx: &Ctx, lesson: &Lesson) -> Result<()> {
        lock(&self.lessons).insert(lesson.id.clone(), lesson.clone());
        Ok(())
    }

    async fn recall(&self, _ctx: &Ctx, query: &LessonQuery) -> Result<Vec<Lesson>> {
        let lessons = lock(&self.lessons);
        let fits = |lesson: &&Lesson| {
            (query.class.is_none() || query.class == lesson.class)
                && (query.cause.is_none() || query.cause == lesson.cause)
        };
        let mut found: Vec<Lesson> = lessons.values().filter(fits).cloned().collect();
        found.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        if query.limit > 0 {
            found.truncate(query.limit);
        }
        Ok(found)
    }
}

/// A copy of the log in memory. Clones share the content, so that a clone is "the same copy opened again".
#[derive(Debug, Clone, Default)]
pub struct MemoryAuditSink {
    records: Arc<Mutex<Vec<EncodedRecord>>>,
}

impl MemoryAuditSink {
    /// An empty copy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that was copied.
    #[must_use]
    pub fn records(&self) -> Vec<EncodedRecord> {
        lock(&self.records).clone()
    }
}

#[async_trait]
impl AuditSink for MemoryAuditSink {
    fn name(&self) -> &str {
        "memory"
    }

    async fn copy(&self, _ctx: &Ctx, records: &[EncodedRecord]) -> Result<()> {
        let mut kept = lock(&self.records);
        let next = kept.len() as u64 + 1;
        let new: Vec<EncodedRecord> = records.iter().filter(|record| record.seq >= next).cloned().collect();
        if (next..).zip(&new).any(|(seq, record)| record.seq != seq) {
            return Err(Error::new(ErrorKind::Conflict, "memory", format!("record {next} is missing")));
        }
        kept.extend(new);
        Ok(())
    }

    async fn position(&self, _ctx: &Ctx) -> Result<u64> {
        Ok(lock(&self.records).len() as u64 + 1)
    }
}

/// Takes requests and lets a test wait for them. It answers nothing: the test does, through the engine's handle.
#[derive(Debug, Default)]
pub struct ScriptedApprover {
    requests: Mutex<Vec<ApprovalRequest>>,
    fails: Mutex<u32>,
    asked: Notify,
}

impl ScriptedApprover {
    /// Takes every request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Is away for the first `n` requests.
    #[must_use]
    pub fn away_for(n: u32) -> Self {
        Self { fails: Mutex::new(n), ..Self::default() }
    }

    /// Every request that was delivered, each once, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<ApprovalRequest> {
        lock(&self.requests).clone()
    }

    /// The request number `n`, from 0; waits until it is delivered.
    pub async fn request(&self, n: usize) -> ApprovalRequest {
        loop {
            // Asked for before looking, so that a request in between wakes this one.
            let asked = self.asked.notified();
            if let Some(request) = lock(&self.requests).get(n) {
                return request.clone();
            }
            asked.await;
        }
    }
}

#[async_trait]
impl Approver for ScriptedApprover {
    fn name(&self) -> &str {
        "scripted"
    }

    async fn ask(&self, _ctx: &Ctx, request: &ApprovalRequest) -> Result<()> {
        {
            let mut fails = lock(&self.fails);
            if *fails > 0 {
                *fails -= 1;
                return Err(Error::new(ErrorKind::Unavailable, "scripted", "nobody is there"));
            }
        }
        {
            let mut requests = lock(&self.requests);
            if !requests.contains(request) {
                requests.push(request.clone());
            }
        }
        self.asked.notify_waiters();
        Ok(())
    }
}

/// Gives the batches that a test puts in, each once.
#[derive(Debug, Default)]
pub struct ScriptedSource {
    script: Mutex<Vec<SignalBatch>>,
}

impl ScriptedSource {
    /// Has nothing to give yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what the next poll gives.
    pub fn push(&self, batch: SignalBatch) {
        lock(&self.script).push(batch);
    }
}

#[async_trait]
impl SignalSource for ScriptedSource {
    fn name(&self) -> &str {
        "scripted"
    }

    async fn poll(&self, _ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let script = lock(&self.script);
        let from = match cursor.as_str() {
            "" => Some(0),
            text => text.parse::<usize>().ok().filter(|from| *from <= script.len()),
        };
        let new = from.and_then(|from| script.get(from..)).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "scripted", format!("`{}` is no cursor of this", cursor.as_str()))
        })?;
        let mut polled = Polled { next: Cursor::new(script.len().to_string()), ..Polled::default() };
        for batch in new.iter().cloned() {
            polled.batch.metrics.extend(batch.metrics);
            polled.batch.logs.extend(batch.logs);
            polled.batch.spans.extend(batch.spans);
            polled.batch.events.extend(batch.events);
            polled.batch.changes.extend(batch.changes);
        }
        Ok(polled)
    }
}
