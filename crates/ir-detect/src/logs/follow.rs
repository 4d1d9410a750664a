//! Which line follows which in a stream without traces or threads; and lines whose usual successor does not come.
//!
//! For every template A the templates of the next line are counted. Where one successor comes nearly always, each time that another
//! one does is a miss; misses have a usual rate like lines. In streams of many hands nothing follows anything nearly always, and
//! nothing is said.

use std::collections::BTreeMap;
use std::time::Duration;

use ir_core::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::TemplateId;
use super::usual::{Recent, Usual};
use crate::stats::EventRate;

/// Successors of one template that are counted.
const MAX_SUCCESSORS: usize = 6;
/// Lines after which half of what was learned of successors is forgotten.
const HALF_LIFE: f64 = 2000.0;
/// Lines of A before its successor is believed, and the share of them that it must follow.
const ENOUGH: f64 = 20.0;
const NEARLY_ALWAYS: f64 = 0.98;
/// So many times as many after each time that a broken pair was told and came back by itself: it depends on load, not on the program.
const DOUBT: f64 = 8.0;
/// What is still followed less often than this is no pair any more.
const NO_LONGER: f64 = 0.8;

/// The successors of one template.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct After {
    /// The successor that nearly always comes.
    pub(super) usual: Option<TemplateId>,
    /// What came instead last.
    pub(super) instead: Option<TemplateId>,
    learned: SmallVec<[(TemplateId, f64); 2]>,
    total: f64,
    /// Whether it is told that the pair is broken, and how often it was.
    pub(super) told: bool,
    doubts: i32,
    /// Not yet learned, and how many of them were new statements.
    excused: u32,
    fresh: SmallVec<[(TemplateId, u32); 2]>,
    /// Lines of A that had their chance, by tick.
    pub(super) trials: Recent,
    /// Lines of A without their successor; exposed to the trials.
    pub(super) misses: Usual,
}

/// The order of one entity's lines.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Follow {
    last: Option<(TemplateId, Timestamp)>,
    #[serde(with = "crate::pairs")]
    pub(super) after: BTreeMap<TemplateId, After>,
}

impl Follow {
    /// The next line. After more than `patience` it follows on nothing. `excused` says of a template that it is no wonder: a new
    /// statement after a deploy.
    pub(super) fn line(
        &mut self,
        id: TemplateId,
        at: Timestamp,
        patience: Duration,
        max_templates: usize,
        excused: impl Fn(TemplateId) -> bool,
    ) {
        let before = self.last.replace((id, at));
        // A statement that is made several times in a row follows on itself; that is no order of things.
        if let Some((before, then)) = before
            && before != id
            && at >= then
            && at.since(then) <= patience
        {
            self.resolve(before, id, max_templates, excused);
        }
    }

    /// Nobody knows what came after the last line.
    pub(super) fn interrupt(&mut self) {
        self.last = None;
    }

    pub(super) fn turn(&mut self) {
        for after in self.after.values_mut() {
            after.trials.turn();
            after.misses.recent.turn();
        }
    }

    fn resolve(
        &mut self,
        before: TemplateId,
        next: TemplateId,
        max_templates: usize,
        excused: impl Fn(TemplateId) -> bool,
    ) {
        if !self.after.contains_key(&before) && self.after.len() >= max_templates {
            return;
        }
        let after = self.after.entry(before).or_default();
        if let Some((_, n)) = after.fresh.iter_mut().find(|(id, _)| *id == next) {
            *n += 1;
        } else if after.fresh.len() < MAX_SUCCESSORS {
            after.fresh.push((next, 1));
        }
        match after.usual {
            Some(usual) if usual == next => after.trials.add(),
            Some(_) if excused(next) => after.excused += 1,
            Some(_) => {
                after.trials.add();
                after.misses.recent.add();
                after.instead = Some(next);
            }
            None => {}
        }
    }

    /// Templates that were merged are one from here on.
    pub(super) fn rename(&mut self, from: TemplateId, to: TemplateId) {
        if let Some(part) = self.after.remove(&from) {
            self.after.entry(to).or_insert(part);
        }
        for after in self.after.values_mut() {
            if after.usual == Some(from) {
                after.usual = Some(to);
            }
            for (id, _) in &mut after.fresh {
                *id = if *id == from { to } else { *id };
            }
            if let Some(at) = after.learned.iter().position(|(id, _)| *id == from) {
                let (_, n) = after.learned.remove(at);
                after.learn_one(to, n);
            }
        }
        if let Some((id, _)) = &mut self.last
            && *id == from
        {
            *id = to;
        }
    }
}

impl After {
    /// Learns what came since the last block. `told` says that an episode goes on, and `accepted` that it has lasted so long that the
    /// misses are usual now; else at most `most` times as many as usual are learned from.
    pub(super) fn learn(&mut self, most: f64, told: bool, accepted: bool) {
        if std::mem::replace(&mut self.told, told) && !told {
            *self = Self { doubts: self.doubts + 1, ..Self::default() };
        }
        let exposure = self.trials.oldest().iter().map(|n| f64::from(*n)).sum();
        let counts = self.misses.recent.oldest();
        self.misses.learn_clipped(&counts, exposure, if accepted { f64::INFINITY } else { most });
        if let Some(usual) = self.usual.filter(|_| !accepted) {
            let all: u32 = self.fresh.iter().map(|(_, n)| n).sum();
            let room = (most * self.misses.rate.expected(f64::from(all))).max(1.0) as u32;
            let missed: u32 = self.fresh.iter().filter(|(id, _)| *id != usual).map(|(_, n)| n).sum();
            if missed > room + std::mem::take(&mut self.excused) {
                self.fresh = SmallVec::from_slice(&[(usual, all)]);
            }
        }
        let fresh = std::mem::take(&mut self.fresh);
        let n: f64 = fresh.iter().map(|(_, n)| f64::from(*n)).sum();
        let keep = 0.5_f64.powf(n / HALF_LIFE);
        self.total = self.total * keep + n;
        for (_, n) in &mut self.learned {
            *n *= keep;
        }
        for (id, n) in fresh {
            self.learn_one(id, f64::from(n));
        }
        let most = self.learned.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((id, n)) = most else { return };
        let share = n / self.total.max(1.0);
        if self.usual.is_some_and(|usual| usual != id) || share < NO_LONGER {
            *self = Self { usual: None, misses: Usual::default(), trials: Default::default(), ..std::mem::take(self) };
        }
        if self.usual.is_none() && self.total >= ENOUGH * DOUBT.powi(self.doubts) && share >= NEARLY_ALWAYS {
            self.usual = Some(id);
            self.misses = Usual { rate: EventRate::known(self.total - n, self.total), ..Usual::default() };
            self.trials = Default::default();
        }
    }

    pub(super) fn clear(&mut self) {
        self.trials.clear();
        self.misses.recent.clear();
    }

    fn learn_one(&mut self, id: TemplateId, n: f64) {
        if let Some((_, held)) = self.learned.iter_mut().find(|(known, _)| *known == id) {
            *held += n;
            return;
        }
        if self.learned.len() >= MAX_SUCCESSORS {
            let least = self.learned.iter().enumerate().min_by(|a, b| a.1.1.total_cmp(&b.1.1)).map(|(at, _)| at);
            if let Some(at) = least {
                self.learned.swap_remove(at);
            }
        }
        self.learned.push((id, n));
    }
}
