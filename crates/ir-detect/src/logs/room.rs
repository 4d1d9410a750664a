//! How much may still be remembered of all entities together. Names in logs come from outside: their number must not fill memory.

use serde::{Deserialize, Serialize};

/// Statements of all entities, and their orders; about 400 bytes each.
const STATEMENTS: usize = 200_000;
/// Members of all kinds of work; about 250 bytes each.
const MEMBERS: usize = 200_000;
/// Pieces of work that are open at a time, and of one entity at least and at most; about 300 bytes each.
const PIECES: usize = 262_144;
const PIECES_EACH: [usize; 2] = [64, 4096];

/// What may still be added until it is reckoned anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Room {
    statements: usize,
    members: usize,
    /// Pieces of work that one entity may have open.
    pub(super) pieces: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self::beside(0, 0, 1)
    }
}

impl Room {
    /// What is left beside so many statements and members of so many entities.
    pub(super) fn beside(statements: usize, members: usize, entities: usize) -> Self {
        Self {
            statements: STATEMENTS.saturating_sub(statements),
            members: MEMBERS.saturating_sub(members),
            pieces: (PIECES / entities.max(1)).clamp(PIECES_EACH[0], PIECES_EACH[1]),
        }
    }

    /// Takes the room of one statement, where there is any.
    pub(super) fn statement(&mut self) -> bool {
        take(&mut self.statements)
    }

    /// Takes the room of one member, where there is any.
    pub(super) fn member(&mut self) -> bool {
        take(&mut self.members)
    }
}

fn take(left: &mut usize) -> bool {
    let has = *left > 0;
    *left = left.saturating_sub(1);
    has
}
