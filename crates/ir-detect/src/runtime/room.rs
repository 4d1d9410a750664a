//! How often a bounded table looks for what it can evict.

use std::time::Duration;

use ir_core::Timestamp;
use serde::{Deserialize, Serialize};

/// A walk over a full table costs as much as the table is long, so a flood of new keys must not cause one at each of them.
const ROOM_EVERY: Duration = Duration::from_secs(60);

/// When room was last made in a table, by the time of the signals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Room(Option<Timestamp>);

impl Room {
    /// Whether the table may be walked now: at most once a minute, and at once after the clock was set back.
    pub(crate) fn is_due(&mut self, now: Timestamp) -> bool {
        let waits = self.0.is_some_and(|before| before <= now && now.since(before) < ROOM_EVERY);
        if !waits {
            self.0 = Some(now);
        }
        !waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_once_a_minute_and_after_a_clock_was_set_back() {
        let mut room = Room::default();
        let mut is_due = |secs: i64| room.is_due(Timestamp::from_millis(secs * 1_000));
        assert_eq!([0, 1, 59, 60, 61, 10, 11].map(&mut is_due), [true, false, false, true, false, true, false]);
    }
}
