//! Which change may have done it. Recency is a prior of one bit and no more: decoys sit on it.

use std::time::Duration;

use ir_core::{Change, ChangeKind, EntityId, Timestamp};

/// A change may be recorded a little after its first effect: clocks differ and deployments take a moment.
const SLACK: Duration = Duration::from_secs(2);

/// The most recent change of `entity` that can have caused what began at `onset`: not after it, and at most `window` before.
/// Restarts and rollbacks put things back and are not taken for causes.
pub(crate) fn before<'a>(
    changes: &'a [Change],
    entity: &EntityId,
    onset: Timestamp,
    window: Duration,
) -> Option<&'a Change> {
    changes
        .iter()
        .filter(|change| change.entity == *entity && is_cause(change.kind))
        .filter(|change| change.at.since(onset) <= SLACK && onset.since(change.at) <= window)
        .max_by(|a, b| (a.at, a.kind, &a.to, &a.from, &a.by).cmp(&(b.at, b.kind, &b.to, &b.from, &b.by)))
}

fn is_cause(kind: ChangeKind) -> bool {
    !matches!(kind, ChangeKind::Restart | ChangeKind::Rollback)
}
