//! Pieces of work: the lines of one trace, request or thread in one entity, and lines that belong to a piece and do not come.
//!
//! A piece begins with a line of a key that is not open (its opener) and ends when nothing comes under the key for some seconds. For
//! every opener it is counted which templates the piece holds. Where a template nearly always belongs to it, a piece without it is a
//! miss; misses have a usual rate like lines. This finds what returns too early: such faults write nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ir_core::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::TemplateId;
use super::usual::{Recent, Usual};
use crate::stats::EventRate;

/// Pieces open at a time in one entity; the oldest beyond are let go without a verdict.
const MAX_OPEN: usize = 4096;
/// Templates of a piece, and of all pieces of an opener, that are counted.
const MAX_MEMBERS: usize = 32;
/// Clocks of one entity differ by less than this.
const AHEAD: Duration = Duration::from_secs(600);
/// Kinds of piece that are counted in one entity.
const MAX_KINDS: usize = 256;
/// Pieces after which half of what was learned of members is forgotten.
const HALF_LIFE: f64 = 2000.0;
/// Pieces before a member is believed, and the share of them that must hold it.
const ENOUGH: f64 = 10.0;
const NEARLY_ALWAYS: f64 = 0.9;
/// What is held less often than this belongs no more.
const NO_LONGER: f64 = 0.7;

/// A piece that goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Piece {
    opener: TemplateId,
    members: SmallVec<[TemplateId; 8]>,
    last: Timestamp,
}

/// Pieces with one opener.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Kind {
    /// Pieces by tick.
    pub(super) trials: Recent,
    pub(super) members: Vec<Member>,
    learned: f64,
    fresh: u32,
    /// Of the fresh ones, those with new statements.
    excused: u32,
}

/// A template that pieces hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) id: TemplateId,
    learned: f64,
    fresh: u32,
    /// Whether nearly every piece holds it.
    pub(super) belongs: bool,
    /// Pieces without it, exposed to the trials.
    pub(super) misses: Usual,
}

/// The pieces of one entity.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Works {
    #[serde(with = "crate::pairs")]
    open: BTreeMap<u64, Piece>,
    /// In the order of time; entries whose time differs from the piece's are over.
    queue: VecDeque<(u64, Timestamp)>,
    #[serde(with = "crate::pairs")]
    pub(super) kinds: BTreeMap<TemplateId, Kind>,
}

impl Works {
    /// The next line under `key`.
    pub(super) fn line(&mut self, key: u64, id: TemplateId, at: Timestamp) {
        let piece = self.open.entry(key).or_insert_with(|| Piece { opener: id, members: SmallVec::new(), last: at });
        if id != piece.opener && piece.members.len() < MAX_MEMBERS && !piece.members.contains(&id) {
            piece.members.push(id);
        }
        piece.last = at;
        self.queue.push_back((key, at));
        while self.queue.len() > MAX_OPEN * 4 || self.open.len() > MAX_OPEN {
            let Some((key, at)) = self.queue.pop_front() else { break };
            if self.open.get(&key).is_some_and(|piece| piece.last == at) {
                self.open.remove(&key);
            }
        }
    }

    /// Pieces under whose key nothing came for so long are over. `new` says of a template that it was not written until lately and
    /// does not tell of failure: then the program changed, and the piece tells nothing.
    pub(super) fn expire(&mut self, now: Timestamp, patience: Duration, new: impl Fn(&TemplateId) -> bool) {
        while let Some((key, at)) = self.queue.front().copied() {
            // What was stamped by a clock that ran far ahead is let go as well.
            if now.since(at) < patience && at.since(now) <= AHEAD {
                break;
            }
            self.queue.pop_front();
            if self.open.get(&key).is_some_and(|piece| piece.last == at)
                && let Some(piece) = self.open.remove(&key)
                && now >= at
            {
                let known = self.kinds.contains_key(&piece.opener);
                if known || self.kinds.len() < MAX_KINDS {
                    let excused = piece.members.iter().any(&new);
                    self.kinds.entry(piece.opener).or_default().take(&piece.members, excused);
                }
            }
        }
    }

    /// Forgets the pieces that are open: nobody knows what came after.
    pub(super) fn interrupt(&mut self) {
        self.open.clear();
        self.queue.clear();
    }

    /// Templates that were merged are one from here on.
    pub(super) fn rename(&mut self, from: TemplateId, to: TemplateId) {
        if let Some(part) = self.kinds.remove(&from) {
            self.kinds.entry(to).or_insert(part);
        }
        for kind in self.kinds.values_mut() {
            kind.rename(from, to);
        }
        for piece in self.open.values_mut() {
            if piece.opener == from {
                piece.opener = to;
            }
            for id in &mut piece.members {
                *id = if *id == from { to } else { *id };
            }
        }
    }

    pub(super) fn turn(&mut self) {
        for kind in self.kinds.values_mut() {
            kind.trials.turn();
            kind.members.iter_mut().for_each(|member| member.misses.recent.turn());
        }
    }
}

impl Kind {
    fn take(&mut self, held: &[TemplateId], excused: bool) {
        self.fresh += 1;
        if excused {
            self.excused += 1;
        } else {
            self.trials.add();
        }
        for member in &mut self.members {
            if held.contains(&member.id) {
                member.fresh += 1;
            } else if member.belongs && !excused {
                member.misses.recent.add();
            }
        }
        for id in held {
            if self.members.len() < MAX_MEMBERS && !self.members.iter().any(|member| member.id == *id) {
                self.members.push(Member { id: *id, fresh: 1, ..Member::default() });
            }
        }
    }

    /// Learns what came since the last block. `accepted` says of a member that its absence has lasted so long that it is usual now;
    /// else at most `most` times as many misses as usual are learned from.
    pub(super) fn learn(&mut self, most: f64, accepted: impl Fn(TemplateId) -> bool) {
        let exposure = self.trials.oldest().iter().map(|n| f64::from(*n)).sum();
        let fresh = f64::from(std::mem::take(&mut self.fresh));
        let excused = f64::from(std::mem::take(&mut self.excused));
        let keep = 0.5_f64.powf(fresh / HALF_LIFE);
        self.learned = self.learned * keep + fresh;
        for member in &mut self.members {
            let mut held = f64::from(std::mem::take(&mut member.fresh));
            let clipped = member.belongs && !accepted(member.id);
            if clipped {
                held = held.max(fresh - excused - (most * member.misses.rate.expected(fresh)).max(1.0));
            }
            member.learned = member.learned * keep + held;
            let share = member.learned / self.learned.max(1.0);
            if member.belongs {
                let block = member.misses.recent.oldest();
                member.misses.learn_clipped(&block, exposure, if clipped { most } else { f64::INFINITY });
                member.belongs = share >= NO_LONGER;
            } else if self.learned >= ENOUGH && share >= NEARLY_ALWAYS {
                member.belongs = true;
                let missed = (self.learned - member.learned).max(0.0);
                member.misses = Usual { rate: EventRate::known(missed, self.learned), ..Usual::default() };
            }
        }
        self.members.retain(|member| member.learned >= 0.01 * self.learned);
    }

    pub(super) fn clear(&mut self) {
        self.trials.clear();
        self.members.iter_mut().for_each(|member| member.misses.recent.clear());
    }

    fn rename(&mut self, from: TemplateId, to: TemplateId) {
        let Some(at) = self.members.iter().position(|member| member.id == from) else { return };
        let part = self.members.swap_remove(at);
        match self.members.iter_mut().find(|member| member.id == to) {
            // Pieces that held both are counted twice; the share says at most that all hold it.
            Some(whole) => {
                whole.learned = (whole.learned + part.learned).min(self.learned);
                whole.fresh = (whole.fresh + part.fresh).min(self.fresh);
            }
            None => self.members.push(Member { id: to, ..part }),
        }
    }
}
