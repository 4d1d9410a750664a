//! Permits, effects, fences, receipts: things only the gate can make.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::halt::Switch;
use crate::error::{Error, ErrorKind, Failure, Result};
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
    pub(super) life: Arc<Life>,
}

/// Where a permit stands: one atomic, so that it is either redeemed or revoked and never both.
#[derive(Debug, Default)]
pub(super) struct Life(AtomicU8);

impl Life {
    const OPEN: u8 = 0;
    const REDEEMED: u8 = 1;
    const REVOKED: u8 = 2;

    /// From open to `to`; whether it was open.
    fn end(&self, to: u8) -> bool {
        self.0.compare_exchange(Self::OPEN, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
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
    /// `Stopped` when the attempt was settled meanwhile, a halt came, the lease ended, the writer failed, or the deadline has
    /// passed: then nothing may be sent.
    pub fn redeem(self) -> Result<Effect> {
        // INVARIANT (redeemed or revoked): the permit is taken first and given back where something speaks against it, so that
        // whoever revokes it knows from one atomic whether an effect can exist.
        if !self.life.end(Life::REDEEMED) {
            return Err(Error::new(ErrorKind::Stopped, "permit", "its attempt was settled before the effect"));
        }
        if let Err(error) = self.objection() {
            self.life.0.store(Life::REVOKED, Ordering::SeqCst);
            return Err(error);
        }
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

    /// What speaks against the effect right now.
    fn objection(&self) -> Result<()> {
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
        Ok(())
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

    /// Gives the effect up: this attempt changed nothing and never will, because nothing was sent or because the target itself
    /// refused. It says nothing of earlier attempts. Where it is not certain, return an error instead.
    #[must_use = "the proof is what `execute` returns"]
    pub fn not_applied(self, because: Error) -> NotApplied {
        NotApplied { gate: self.gate, token: self.token, failure: because.to_failure() }
    }
}

/// The other end of a permit: whether it was redeemed, and the way to make sure that it never is.
#[derive(Debug, Clone)]
pub struct PermitWatch(pub(super) Arc<Life>);

impl PermitWatch {
    /// Whether the permit was redeemed, so that its effect may exist.
    #[must_use]
    pub fn was_redeemed(&self) -> bool {
        self.0.0.load(Ordering::SeqCst) == Life::REDEEMED
    }

    /// Makes sure that the permit is never redeemed from now on. `true` proves that the attempt had no effect and will have
    /// none, wherever the permit is; `false`: it was redeemed before.
    #[must_use = "`false` means that the effect may exist"]
    pub fn revoke(&self) -> bool {
        self.0.end(Life::REVOKED) || !self.was_redeemed()
    }
}

/// Proof that one attempt had no effect and will have none. Made by [`Effect::not_applied`] alone, which consumes the effect.
#[derive(Debug)]
pub struct NotApplied {
    gate: PartName,
    token: u64,
    failure: Failure,
}

impl NotApplied {
    /// Whether it speaks of the attempt of `gate` with this fencing token, and of no other.
    #[must_use]
    pub fn is_of(&self, gate: &PartName, token: u64) -> bool {
        self.gate == *gate && self.token == token
    }

    /// Why nothing was done.
    #[must_use]
    pub const fn failure(&self) -> &Failure {
        &self.failure
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
