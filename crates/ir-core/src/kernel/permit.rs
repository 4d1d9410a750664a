//! Permits, effects, fences, receipts: things only the gate can make.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::halt::Switch;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::{Direction, EffectKey};
use crate::id::{PartName, StepRef};
use crate::journal::Intent;
use crate::plan::Call;
use crate::time::Clock;

/// The right to have one effect: one step, one direction, one attempt. Minted by [`Gate::authorize`](super::Gate::authorize)
/// alone, after the intention became durable; it cannot be built, copied or read from text.
#[derive(Debug)]
pub struct Permit {
    pub(super) gate: PartName,
    pub(super) intent: Intent,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) switch: Arc<Switch>,
    pub(super) redeemed: Arc<AtomicBool>,
}

impl Permit {
    /// What may be done, exactly.
    #[must_use]
    pub const fn call(&self) -> &Call {
        &self.intent.call
    }

    /// The step.
    #[must_use]
    pub const fn step(&self) -> &StepRef {
        &self.intent.step
    }

    /// Do or undo.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.intent.direction
    }

    /// Turns the permit into the effect's key, token and deadline. Called right before the first byte goes out; no I/O.
    ///
    /// # Errors
    ///
    /// `Stopped` when a halt came, the lease ended, the writer failed, or the deadline has passed: then nothing may be sent.
    pub fn redeem(self) -> Result<Effect> {
        let now = self.clock.now().mono_ns;
        let stopped = |message: &str| Err(Error::new(ErrorKind::Stopped, "permit", message));
        if self.switch.broken.load(Ordering::SeqCst) {
            return stopped("the journal's writer has failed");
        }
        if self.switch.halted.load(Ordering::SeqCst)
            || self.switch.halt_epoch.load(Ordering::SeqCst) != self.intent.halt_epoch
        {
            return stopped("a halt came before the effect");
        }
        if now >= self.switch.lease_until_mono_ns.load(Ordering::SeqCst) {
            return stopped("the lease has ended");
        }
        if now >= self.intent.deadline_mono_ns {
            return stopped("the deadline has passed");
        }
        self.redeemed.store(true, Ordering::SeqCst);
        self.switch.redeemed.fetch_add(1, Ordering::SeqCst);
        Ok(Effect {
            gate: self.gate,
            key: self.intent.key,
            token: self.intent.token,
            deadline_mono_ns: self.intent.deadline_mono_ns,
            call: self.intent.call,
            direction: self.intent.direction,
        })
    }
}

/// A redeemed permit: what goes out with the effect.
#[derive(Debug)]
pub struct Effect {
    gate: PartName,
    key: EffectKey,
    token: u64,
    deadline_mono_ns: u64,
    call: Call,
    direction: Direction,
}

impl Effect {
    /// The gate that authorized it: an executor may insist on one.
    #[must_use]
    pub const fn gate(&self) -> &PartName {
        &self.gate
    }

    /// The idempotency key: the same for every attempt of this step and direction.
    #[must_use]
    pub const fn key(&self) -> EffectKey {
        self.key
    }

    /// The fencing token: higher than that of every attempt before.
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }

    /// After this no byte may go out. On the monotonic clock of this boot, in nanoseconds.
    #[must_use]
    pub const fn deadline_mono_ns(&self) -> u64 {
        self.deadline_mono_ns
    }

    /// What is done.
    #[must_use]
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// Do or undo.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }
}

/// Tells the holder of the other end whether a permit was redeemed.
#[derive(Debug, Clone)]
pub struct PermitWatch(pub(super) Arc<AtomicBool>);

impl PermitWatch {
    /// Whether the permit was redeemed. When it was not and is gone, nothing was sent.
    #[must_use]
    pub fn was_redeemed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The right to make a target refuse older tokens. Minted by [`Gate::fence`](super::Gate::fence) alone.
#[derive(Debug)]
pub struct Fence {
    pub(super) token: u64,
}

impl Fence {
    /// Tokens below this one must be refused from now on.
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }
}

/// Proof that records are durable. Made by the gate alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

impl Receipt {
    /// The first record's number.
    #[must_use]
    pub const fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// The last record's number.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }
}
