//! Heartbeats: when each loop of the engine came round last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ir_core::{Clock, Ctx};

use super::status::Heartbeat;

/// The heartbeats of all loops. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heartbeats(Arc<Mutex<Vec<Last>>>);

/// The name of a loop, and when it came round last.
type Last = (String, Arc<AtomicU64>);

/// The heartbeat of one loop.
#[derive(Debug)]
pub(crate) struct Beat(Arc<AtomicU64>);

impl Heartbeats {
    /// Adds a loop, which counts as alive now.
    pub(crate) fn add(&self, name: impl Into<String>, ctx: &Ctx) -> Beat {
        let last = Arc::new(AtomicU64::new(ctx.now().mono_ns));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name.into(), last.clone()));
        Beat(last)
    }

    /// How long ago each loop came round, in the order in which they were added.
    pub(crate) fn read(&self, clock: &dyn Clock) -> Vec<Heartbeat> {
        let now = clock.now().mono_ns;
        let of = |(name, last): &Last| {
            let at_mono_ns = last.load(Ordering::SeqCst);
            Heartbeat { of: name.clone(), at_mono_ns, age_ms: now.saturating_sub(at_mono_ns) / 1_000_000 }
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(of).collect()
    }
}

impl Beat {
    pub(crate) fn beat(&self, ctx: &Ctx) {
        self.0.store(ctx.now().mono_ns, Ordering::SeqCst);
    }
}
