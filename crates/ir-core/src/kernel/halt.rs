//! The stop switch: an atomic that every redeem looks at, and the wishes that the gate has yet to record.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A wish to halt that is in force already and not yet recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaltRequest {
    /// Who, or which way: `api`, `file` ...
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What gate, permits and halt handles share.
#[derive(Debug, Default)]
pub(super) struct Switch {
    pub(super) halted: AtomicBool,
    /// The writer failed; nothing is authorized or redeemed any more.
    pub(super) broken: AtomicBool,
    pub(super) halt_epoch: AtomicU64,
    pub(super) lease_until_mono_ns: AtomicU64,
    pub(super) redeemed: AtomicU64,
    wishes: Mutex<Vec<HaltRequest>>,
    notify: Notify,
}

impl Switch {
    pub(super) fn take_wishes(&self) -> Vec<HaltRequest> {
        std::mem::take(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the halt, unless a wish came that is not recorded yet: that one was made after the resume was decided.
    pub(super) fn resume(&self) {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        if wishes.is_empty() {
            self.halted.store(false, Ordering::SeqCst);
        }
    }
}

/// Stops everything, from any thread, without waiting for anything. Clones stop the same gate.
#[derive(Debug, Clone)]
pub struct HaltHandle(pub(super) Arc<Switch>);

impl HaltHandle {
    /// From the moment this returns no permit of the gate can be redeemed, until somebody resumes. The gate records it as soon
    /// as its loop comes round.
    pub fn halt(&self, by: impl Into<String>, reason: impl Into<String>) {
        let wish = HaltRequest { by: by.into(), reason: reason.into() };
        {
            let mut wishes = self.0.wishes.lock().unwrap_or_else(PoisonError::into_inner);
            // Both under one lock, so that no resume falls between them.
            self.0.halted.store(true, Ordering::SeqCst);
            wishes.push(wish);
        }
        self.0.notify.notify_one();
    }

    /// Whether a halt is in force.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.0.halted.load(Ordering::SeqCst)
    }

    /// Returns when a halt was asked for and is not recorded yet.
    pub async fn asked(&self) {
        self.0.notify.notified().await;
    }
}
