//! Pieces of work: the lines of one trace, request or thread in one entity, and pieces that are not as usual.
//!
//! A piece begins with a line of a key that is not open (its opener) and ends when nothing comes under the key for some seconds. For
//! every opener it is counted which statements the piece holds. Two things are odd of a piece: it is without a statement that nearly
//! always belongs to it, or it holds one that tells of failure and does not belong to it. Odd pieces have a usual share like lines
//! have a usual rate. The first finds what returns too early: such faults write nothing. The second knows how many pieces could have
//! failed, and so says more, and sooner, than the rate of failures.
//!
//! A piece in which the entity, or one that worked for it, could not reach another is no trial: whoever is away, it is not the one
//! who says so.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ir_core::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::TemplateId;
use super::elsewhere::Elsewhere;
use super::room::Room;
use super::thread::Thread;
use super::usual::{Recent, Usual};
use crate::stats::EventRate;

/// Statements of a piece, and of all pieces of an opener, that are counted.
const MAX_MEMBERS: usize = 32;
/// Clocks of one entity differ by less than this.
const AHEAD: Duration = Duration::from_secs(600);
/// Kinds of piece that are counted in one entity.
const MAX_KINDS: usize = 256;
/// A failure without an odd piece is forgotten after so many times of learning.
const CALM: u32 = 3;
/// Pieces after which half of what was learned of members is forgotten.
const HALF_LIFE: f64 = 2000.0;
/// Pieces before a member is believed, and the share of them that must hold it.
const ENOUGH: f64 = 20.0;
const NEARLY_ALWAYS: f64 = 0.95;
/// What is held less often than this belongs no more.
const NO_LONGER: f64 = 0.7;
/// A member that so many pieces with new statements in a row are without went with the old program.
const REPLACED: u32 = 5;

/// A piece that goes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Piece {
    trace: u64,
    opener: TemplateId,
    members: SmallVec<[TemplateId; 8]>,
    /// Members that were counted as hits when they came.
    hits: SmallVec<[TemplateId; 1]>,
    first: Timestamp,
    last: Timestamp,
}

/// Pieces with one opener.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Kind {
    /// Pieces by tick, and those of them without new statements, which must hold what belongs to them.
    pub(super) pieces: Recent,
    pub(super) trials: Recent,
    pub(super) members: Vec<Member>,
    learned: f64,
    fresh: u32,
    /// Of the fresh ones, those that are no trials.
    excused: u32,
}

/// A statement that pieces hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) id: TemplateId,
    learned: f64,
    fresh: u32,
    /// Excused pieces without it since the last piece with it.
    without: u32,
    /// Whether it tells of failure.
    pub(super) fails: bool,
    /// Whether nearly every piece holds it.
    pub(super) belongs: bool,
    /// Pieces without it where it belongs, and with it where it is a failure that does not; exposed to the trials.
    pub(super) odd: Usual,
    /// How often in a row what was learned held no odd piece.
    calm: u32,
}

/// The pieces of one entity.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Works {
    #[serde(with = "crate::pairs")]
    open: BTreeMap<u64, Piece>,
    /// When the first of the open pieces of a trace began, and how many there are.
    #[serde(with = "crate::pairs")]
    begun: BTreeMap<u64, (Timestamp, u32)>,
    /// In the order of time; entries whose time differs from the piece's are over.
    queue: VecDeque<(u64, Timestamp)>,
    #[serde(with = "crate::pairs")]
    pub(super) kinds: BTreeMap<TemplateId, Kind>,
}

impl Works {
    /// The next line of a piece. `fails` says that it tells of a failure of the entity's own. The oldest of too many open pieces are
    /// let go without a verdict.
    pub(super) fn line(&mut self, thread: Thread, id: TemplateId, fails: bool, at: Timestamp, room: &mut Room) {
        let key = thread.piece;
        let begun = &mut self.begun;
        let piece = self.open.entry(key).or_insert_with(|| {
            begun.entry(thread.trace).or_insert((at, 0)).1 += 1;
            let (members, hits) = (SmallVec::new(), SmallVec::new());
            Piece { trace: thread.trace, opener: id, members, hits, first: at, last: at }
        });
        if id != piece.opener && piece.members.len() < MAX_MEMBERS && !piece.members.contains(&id) {
            piece.members.push(id);
            if fails
                && let Some(kind) = self.kinds.get_mut(&piece.opener)
                && kind.hit(id, room)
            {
                piece.hits.push(id);
            }
        }
        piece.last = at;
        self.queue.push_back((key, at));
        while self.queue.len() > room.pieces * 4 || self.open.len() > room.pieces {
            let Some((key, at)) = self.queue.pop_front() else { break };
            self.close(key, at);
        }
    }

    /// When the entity's part of a trace began, as far as it is open.
    pub(super) fn begun(&self, trace: u64) -> Option<Timestamp> {
        self.begun.get(&trace).map(|(at, _)| *at)
    }

    /// Takes the piece whose last line came then, if that is so.
    fn close(&mut self, key: u64, at: Timestamp) -> Option<Piece> {
        if self.open.get(&key)?.last != at {
            return None;
        }
        let piece = self.open.remove(&key)?;
        if let Some((_, open)) = self.begun.get_mut(&piece.trace) {
            *open -= 1;
            if *open == 0 {
                self.begun.remove(&piece.trace);
            }
        }
        Some(piece)
    }

    /// Pieces under whose key nothing came for so long are over. `new` says of a statement that it was not written until lately and
    /// does not tell of failure: then the program changed, and the piece tells nothing.
    pub(super) fn expire(
        &mut self,
        now: Timestamp,
        patience: Duration,
        (entity, elsewhere): (u64, &Elsewhere),
        room: &mut Room,
        new: impl Fn(&TemplateId) -> bool,
    ) {
        while let Some((key, at)) = self.queue.front().copied() {
            // What was stamped by a clock that ran far ahead is let go as well.
            if now.since(at) < patience && at.since(now) <= AHEAD {
                break;
            }
            self.queue.pop_front();
            if let Some(piece) = self.close(key, at)
                && now >= at
            {
                let known = self.kinds.contains_key(&piece.opener);
                if known || (self.kinds.len() < MAX_KINDS && room.member()) {
                    let excuse = if elsewhere.explains(piece.trace, entity, piece.first) {
                        Excuse::Elsewhere
                    } else if piece.members.iter().any(&new) {
                        Excuse::Changed
                    } else {
                        Excuse::None
                    };
                    self.kinds.entry(piece.opener).or_default().take(&piece, excuse, room);
                }
            }
        }
    }

    /// Forgets the pieces that are open: nobody knows what came after.
    pub(super) fn interrupt(&mut self) {
        self.open.clear();
        self.begun.clear();
        self.queue.clear();
    }

    /// Statements that turned out to be one are one from here on.
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
            for id in piece.members.iter_mut().chain(&mut piece.hits) {
                *id = if *id == from { to } else { *id };
            }
        }
    }

    /// Members of all kinds; a kind counts as one.
    pub(super) fn n_members(&self) -> usize {
        self.kinds.values().map(|kind| 1 + kind.members.len()).sum()
    }

    pub(super) fn turn(&mut self) {
        for kind in self.kinds.values_mut() {
            kind.pieces.turn();
            kind.trials.turn();
            kind.members.iter_mut().for_each(|member| member.odd.recent.turn());
        }
    }
}

/// Why a piece that is not as usual tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excuse {
    None,
    /// The entity, or one that worked for it, could not reach another.
    Elsewhere,
    /// It has new statements.
    Changed,
}

impl Kind {
    /// A piece that goes on holds a failure. Whether it counts as odd.
    fn hit(&mut self, id: TemplateId, room: &mut Room) -> bool {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
            if !member.fails && !member.belongs {
                member.odd = Usual { rate: EventRate::known(member.learned, self.learned), ..Usual::default() };
            }
            member.fails = true;
            if !member.belongs {
                member.odd.recent.add();
            }
            return !member.belongs;
        }
        if self.members.len() >= MAX_MEMBERS {
            // A failure is worth more than what comes now and then.
            let least = self.members.iter().enumerate().filter(|(_, member)| !member.belongs && !member.fails);
            let Some(least) = least.min_by(|a, b| a.1.learned.total_cmp(&b.1.learned)).map(|(at, _)| at) else {
                return false;
            };
            self.members.swap_remove(least);
        }
        if !room.member() {
            return false;
        }
        let odd = Usual { rate: EventRate::known(0.0, self.learned), ..Usual::default() };
        self.members.push(Member { id, fails: true, odd, ..Member::default() });
        if let Some(member) = self.members.last_mut() {
            member.odd.recent.add();
        }
        true
    }

    fn take(&mut self, piece: &Piece, excuse: Excuse, room: &mut Room) {
        let held = &piece.members;
        if excuse == Excuse::Elsewhere {
            for member in &mut self.members {
                if piece.hits.contains(&member.id) {
                    member.odd.recent.undo();
                }
            }
            return;
        }
        self.fresh += 1;
        self.pieces.add();
        if excuse == Excuse::None {
            self.trials.add();
        } else {
            self.excused += 1;
        }
        for member in &mut self.members {
            if held.contains(&member.id) {
                member.fresh += 1;
                member.without = 0;
            } else if member.belongs {
                match excuse {
                    Excuse::None => member.odd.recent.add(),
                    _ => member.without += 1,
                }
                if member.without >= REPLACED {
                    *member = Member { id: member.id, fails: member.fails, ..Member::default() };
                }
            }
        }
        for id in held {
            let is_known = self.members.iter().any(|member| member.id == *id);
            if !is_known && self.members.len() < MAX_MEMBERS && room.member() {
                self.members.push(Member { id: *id, fresh: 1, ..Member::default() });
            }
        }
    }

    /// Learns what came since the last block. `accepted` says of a member that what is odd of it has lasted so long that it is usual
    /// now; else at most `most` times as many odd pieces as usual are learned from.
    pub(super) fn learn(&mut self, most: f64, accepted: impl Fn(&Member) -> bool) {
        let sum = |of: &Recent| of.oldest().iter().map(|n| f64::from(*n)).sum::<f64>();
        let (pieces, trials) = (sum(&self.pieces), sum(&self.trials));
        let fresh = f64::from(std::mem::take(&mut self.fresh));
        let excused = f64::from(std::mem::take(&mut self.excused));
        let keep = 0.5_f64.powf(fresh / HALF_LIFE);
        self.learned = self.learned * keep + fresh;
        for member in &mut self.members {
            let mut held = f64::from(std::mem::take(&mut member.fresh));
            let clipped = (member.belongs || member.fails) && !accepted(member);
            let room = (most * member.odd.rate.expected(fresh)).max(1.0);
            if clipped && member.belongs {
                held = held.max(fresh - excused - room);
            } else if clipped && room.is_finite() && self.learned > fresh {
                held = held.min(room);
            }
            member.learned = member.learned * keep + held;
            let share = member.learned / self.learned.max(1.0);
            if member.belongs || member.fails {
                let block = member.odd.recent.oldest();
                let exposure = if member.belongs { trials } else { pieces };
                member.odd.learn_clipped(&block, exposure, if clipped { most } else { f64::INFINITY });
            }
            if member.belongs {
                member.belongs = share >= NO_LONGER;
                if !member.belongs && member.fails {
                    member.odd = Usual { rate: EventRate::known(member.learned, self.learned), ..Usual::default() };
                }
            } else if self.learned >= ENOUGH && share >= NEARLY_ALWAYS {
                member.belongs = true;
                let missed = (self.learned - member.learned).max(0.0);
                member.odd = Usual { rate: EventRate::known(missed, self.learned), ..Usual::default() };
            }
        }
        let learned = self.learned;
        for member in &mut self.members {
            member.calm = if member.odd.recent == Recent::default() { member.calm + 1 } else { 0 };
        }
        // An episode ends when it is said to be over for some steps, so what may have one is kept for that long.
        let kept = |member: &Member| member.calm < if member.fails { CALM } else { 1 };
        self.members.retain(|member| member.learned >= 0.01 * learned || kept(member));
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.trials.clear();
        self.members.iter_mut().for_each(|member| member.odd.recent.clear());
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
