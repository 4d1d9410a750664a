//! Entities that are gone: those whose targets service discovery no longer lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use ir_core::{EntityId, Gone, GoneReason, Timestamp};

/// Answers in a row without any target of an entity after which the entity is gone.
const MISSED: u32 = 2;

/// What tells a target from others before any relabelling: `job` and `__address__`.
pub(super) type Discovered = (String, String);

/// A complete answer: all active targets, by entity, and when the server was started.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) at: Timestamp,
    /// As the server writes it. Compared only.
    pub(super) started: String,
    pub(super) active: BTreeMap<EntityId, BTreeSet<Discovered>>,
}

/// The entities that had a target since the server was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    started: String,
    entities: BTreeMap<EntityId, Entity>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entity {
    targets: BTreeSet<Discovered>,
    missed: u32,
}

/// Remembers which entities had targets. In memory only: what goes away while the host is down is not reported, and its absence stays.
///
/// A poll may be repeated from the same cursor, so the state before the last poll is kept beside the state after it, each under the
/// number that the cursor has.
#[derive(Debug, Default)]
pub(super) struct Departures(Mutex<[(u64, Arc<Known>); 2]>);

/// What a poll found, before it is kept.
#[derive(Debug)]
pub(super) struct Step {
    from: (u64, Arc<Known>),
    known: Known,
    at: Timestamp,
    suspects: BTreeSet<EntityId>,
}

impl Departures {
    /// Compares `answer` with what is known at the cursor with this number. `None`: the answer is not complete, which changes only
    /// that nothing was missing in a row.
    pub(super) fn step(&self, number: u64, answer: Option<Answer>) -> Step {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.iter().find(|(of, _)| *of == number).map(|(_, known)| Arc::clone(known)).unwrap_or_default();
        drop(kept);
        let (mut known, mut suspects) = (Known::clone(&before), BTreeSet::new());
        let from = (number, before);
        let Some(Answer { at, started, active }) = answer else {
            known.entities.values_mut().for_each(|entity| entity.missed = 0);
            return Step { from, known, at: Timestamp::default(), suspects };
        };
        if known.started != started {
            // A server that was just started lists what its service discovery has found so far.
            known = Known { started, entities: BTreeMap::new() };
        }
        for (id, entity) in known.entities.iter_mut().filter(|(id, _)| !active.contains_key(*id)) {
            entity.missed = entity.missed.saturating_add(1);
            // What relabelling drops is missed for good: the long list of all dropped targets is asked for more and more rarely.
            if entity.missed >= MISSED && entity.missed.is_power_of_two() {
                suspects.insert(id.clone());
            }
        }
        known.entities.extend(active.into_iter().map(|(id, targets)| (id, Entity { targets, missed: 0 })));
        Step { from, known, at, suspects }
    }

    /// Keeps the state after a poll, and returns the number for its cursor.
    pub(super) fn keep(&self, step: Step) -> u64 {
        let next = step.from.0.wrapping_add(1);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = [step.from, (next, Arc::new(step.known))];
        next
    }
}

impl Step {
    /// Whether some entity is gone unless its targets were dropped by relabelling.
    pub(super) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// The entities that are gone, given the targets that the server discovers and does not scrape; `None` where it did not say.
    pub(super) fn gone(&mut self, dropped: Option<&BTreeSet<Discovered>>) -> Vec<Gone> {
        let Some(dropped) = dropped else { return Vec::new() };
        let mut all = Vec::new();
        for id in std::mem::take(&mut self.suspects) {
            let is_dropped = |entity: &Entity| !entity.targets.is_disjoint(dropped);
            if self.known.entities.get(&id).is_some_and(is_dropped) {
                // It is there and no longer scraped, which is no news of the entity.
                continue;
            }
            self.known.entities.remove(&id);
            all.push(Gone { entity: id, at: self.at, reason: GoneReason::Undiscovered });
        }
        all
    }
}
