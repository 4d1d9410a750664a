//! The life of one step, as a table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a step stands. Exhaustive on purpose: a new state must break every `match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Part of an accepted plan.
    Planned,
    /// People are asked, or may object.
    AwaitingApproval,
    /// May be sent.
    Ready,
    /// The intention is durable; whether the effect took place is not known yet.
    Intent,
    /// The effect took place.
    Applied,
    /// Whether it helped is being measured.
    Verifying,
    /// It is being taken back.
    Compensating,
    /// Policy or a person said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// It was no longer wanted.
    Cancelled,
    /// It was tried and nothing was changed.
    NotApplied,
    /// Done, and measured.
    Done,
    /// Done and taken back.
    RolledBack,
    /// Nobody knows whether the effect took place. Waits for a person.
    Unknown,
    /// Taking it back failed. Waits for a person.
    RollbackFailed,
}

impl StepState {
    /// All states.
    pub const ALL: [Self; 15] = [
        Self::Planned,
        Self::AwaitingApproval,
        Self::Ready,
        Self::Intent,
        Self::Applied,
        Self::Verifying,
        Self::Compensating,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::NotApplied,
        Self::Done,
        Self::RolledBack,
        Self::Unknown,
        Self::RollbackFailed,
    ];

    /// Whether nothing more happens to the step by itself. `Done` may still be taken back while its plan goes on.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Planned
            | Self::AwaitingApproval
            | Self::Ready
            | Self::Intent
            | Self::Applied
            | Self::Verifying
            | Self::Compensating => false,
            Self::Denied
            | Self::Expired
            | Self::Cancelled
            | Self::NotApplied
            | Self::Done
            | Self::RolledBack
            | Self::Unknown
            | Self::RollbackFailed => true,
        }
    }

    /// Whether the step keeps its target locked in this state, terminal or not.
    #[must_use]
    pub const fn holds_lock(self) -> bool {
        matches!(
            self,
            Self::Intent | Self::Applied | Self::Verifying | Self::Compensating | Self::Unknown | Self::RollbackFailed
        )
    }

    /// Whether a person is needed to end it.
    #[must_use]
    pub const fn waits_for_person(self) -> bool {
        matches!(self, Self::Unknown | Self::RollbackFailed)
    }

    /// Whether a step may go from `self` to `to` by a record of the machine. Into [`Intent`](Self::Intent) there is no such
    /// way: only the gate leads there.
    #[must_use]
    pub const fn may_move_to(self, to: Self) -> bool {
        match self {
            Self::Planned => {
                matches!(to, Self::AwaitingApproval | Self::Ready | Self::Denied | Self::Expired | Self::Cancelled)
            }
            Self::AwaitingApproval => {
                matches!(to, Self::Ready | Self::Denied | Self::Expired | Self::Cancelled)
            }
            // A step that was ready before a restart, or before a halt, is decided anew.
            Self::Ready => matches!(to, Self::AwaitingApproval | Self::Denied | Self::Expired | Self::Cancelled),
            Self::Intent => matches!(to, Self::Applied | Self::NotApplied | Self::Unknown),
            Self::Applied => matches!(to, Self::Verifying | Self::Done | Self::Compensating),
            Self::Verifying => matches!(to, Self::Done | Self::Compensating),
            Self::Compensating => matches!(to, Self::RolledBack | Self::RollbackFailed),
            // A later step of the plan failed: what was done before is taken back as well, in reverse.
            Self::Done => matches!(to, Self::Compensating),
            Self::Denied | Self::Expired | Self::Cancelled | Self::NotApplied | Self::RolledBack => false,
            // Only by a person's word.
            Self::Unknown | Self::RollbackFailed => false,
        }
    }

    /// Whether a step may go from `self` to `to` by the word of a person who looked at the target: the fold demands their record
    /// right before. It ends every step that may have had an effect and is not over.
    #[must_use]
    pub const fn may_move_by_word(self, to: Self) -> bool {
        match self {
            Self::Intent | Self::Unknown => matches!(to, Self::Done | Self::NotApplied),
            Self::Applied | Self::Verifying | Self::Compensating | Self::RollbackFailed => {
                matches!(to, Self::Done | Self::RolledBack)
            }
            _ => false,
        }
    }

    /// Whether nothing of the step was ever sent and it still may be.
    #[must_use]
    pub const fn is_unsent(self) -> bool {
        matches!(self, Self::Planned | Self::AwaitingApproval | Self::Ready)
    }

    /// Whether an attempt may be under way or unsettled.
    #[must_use]
    pub const fn is_in_flight(self) -> bool {
        matches!(self, Self::Intent | Self::Compensating)
    }
}

impl std::fmt::Display for StepState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Planned => "PLANNED",
            Self::AwaitingApproval => "AWAITING_APPROVAL",
            Self::Ready => "READY",
            Self::Intent => "INTENT",
            Self::Applied => "APPLIED",
            Self::Verifying => "VERIFYING",
            Self::Compensating => "COMPENSATING",
            Self::Denied => "DENIED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
            Self::NotApplied => "NOT_APPLIED",
            Self::Done => "DONE",
            Self::RolledBack => "ROLLED_BACK",
            Self::Unknown => "UNKNOWN",
            Self::RollbackFailed => "ROLLBACK_FAILED",
        })
    }
}
