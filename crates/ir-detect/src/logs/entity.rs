//! What is known of one entity's lines, and what the last steps say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ir_core::anomaly::Direction;
use ir_core::signal::LogRecord;
use ir_core::{EntityId, Timestamp};
use serde::{Deserialize, Serialize};

use super::detector::LogTemplatesConfig;
use super::elsewhere::Elsewhere;
use super::follow::Follow;
use super::hash;
use super::room::Room;
use super::severity::Severity;
use super::site::{self, Place, Places};
use super::statement::Statement;
use super::usual::{HORIZON, TICKS, Usual, Verdict};
use super::watch::{About, Family, Suspicion, key};
use super::work::{Member, Works};
use super::{TemplateId, TemplateMiner, thread};
use crate::anomaly::episode::Tracks;

/// What a line that calls itself an error adds to the surprise: such lines are about one in twenty.
const ERROR_NATS: f64 = 3.0;
/// Statements are judged by how often they come after so many blocks, sooner when they tell of failure, and
/// can be missed after so many.
const RATE_BLOCKS: u32 = 10;
const FAILURE_BLOCKS: u32 = 3;
const GONE_BLOCKS: u32 = 5;
/// Steps with more than usual, from the first to the last, without which nothing lasts.
const LEAST_RAISED: usize = 3;
/// Steps in which an entity wrote something every time is not away.
const WRITES: usize = 6;
/// Where at least this share of the work is not as usual, and was so in the last steps, it is told sooner. What is without a line in
/// less than the second share is not told, because what people ask for changes; nor a failure in less than the third.
const MOST: f64 = 0.5;
const MANY: f64 = 0.3;
const SOME: f64 = 0.05;
const GOES_ON: usize = 2;

/// What is known of one entity's lines.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Watched {
    pub(super) last: Timestamp,
    /// Steps since it was first heard, and since the last long gap.
    ticks: u64,
    heard: usize,
    lines: Usual,
    /// Lines that tell of failure and are rare here.
    failures: Usual,
    #[serde(with = "crate::pairs")]
    templates: BTreeMap<TemplateId, Statement>,
    places: Places,
    follow: Follow,
    works: Works,
}

impl Watched {
    /// Takes a line. Gives a suspicion when it says that the process cannot go on, as none did before.
    pub(super) fn line(
        &mut self,
        record: &LogRecord,
        template: TemplateId,
        elsewhere: &mut Elsewhere,
        room: &mut Room,
        config: &LogTemplatesConfig,
    ) -> Option<Suspicion> {
        self.last = self.last.max(record.at);
        self.lines.recent.add();
        let (place, level) = (self.place(record, template), Severity::level(record));
        let id = site::statement(template, place, level.unwrap_or_default());
        let known = self.templates.get(&id).map(|statement| statement.last);
        if known.is_none() && (self.templates.len() >= config.bounds.max_series || !room.statement()) {
            return None;
        }
        let ticks = self.ticks;
        let statement =
            self.templates.entry(id).or_insert_with(|| Statement::new(record, template, place, level, ticks));
        statement.usual.recent.add();
        statement.last = statement.last.max(record.at);
        let severity = statement.severity;
        let fails = severity > Severity::Plain && !statement.elsewhere;
        let unreached = statement.elsewhere;
        if statement.is_rare_failure() {
            self.failures.recent.add();
        }
        let thread = thread::of(record);
        let entity = hash::bytes(record.entity.as_str().as_bytes());
        if unreached && thread.trace != 0 {
            let begun = self.works.begun(thread.trace).unwrap_or(record.at);
            elsewhere.add(thread.trace, entity, begun, record.at);
        }
        let templates = &self.templates;
        // Not only at the end of a step: busy entities open more pieces in one than may be open.
        self.works.expire(record.at, config.patience(), (entity, elsewhere), room, |id| {
            templates.get(id).is_some_and(|member| member.is_young(record.at, config))
        });
        let is_young = |id: TemplateId| templates.get(&id).is_some_and(|next| next.is_young(record.at, config));
        match thread.piece {
            0 => self.follow.line(id, record.at, config.patience(), config.bounds.max_series, is_young),
            _ => self.works.line(thread, id, fails, record.at, room),
        }
        let unheard = known.is_none_or(|last| record.at.since(last).as_secs() >= config.rare_secs);
        (unheard && severity == Severity::Fatal && self.ticks >= config.warm_ticks()).then(|| {
            let nats = (self.ticks as f64 * 2.0).ln() + ERROR_NATS;
            let verdict = Verdict { nats, seen: 1.0, ticks: 1, span: 1, raised: 1, ..Verdict::default() };
            let (about, family, direction) = (About::Rate, Family::Failures, Direction::New);
            Suspicion { id, about, family, direction, verdict, nats, worth: true }
        })
    }

    /// The place in the code that the line names, where it tells statements apart.
    fn place(&mut self, record: &LogRecord, template: TemplateId) -> u64 {
        let place = site::of(record.message.as_bytes());
        if place == 0 {
            return 0;
        }
        match self.places.see(template, place, record.at) {
            Place::Told(place) => return place,
            Place::Data => {}
            Place::DataNow => {
                let of = |(id, s): (&TemplateId, &Statement)| (s.template == template && s.place != 0).then_some(*id);
                let apart: Vec<TemplateId> = self.templates.iter().filter_map(of).collect();
                for id in apart {
                    self.rename(id, template, 0);
                }
            }
        }
        0
    }

    /// The template of a statement.
    pub(super) fn template(&self, statement: TemplateId) -> TemplateId {
        self.templates.get(&statement).map_or(statement, |known| known.template)
    }

    /// Nobody knows what came after the last lines.
    pub(super) fn interrupt(&mut self) {
        self.follow.interrupt();
        self.works.interrupt();
    }

    /// The open step is over.
    pub(super) fn close(
        &mut self,
        entity: &EntityId,
        end: Timestamp,
        learns: bool,
        (elsewhere, room): (&Elsewhere, &mut Room),
        miner: &TemplateMiner,
        tracks: &Tracks,
        config: &LogTemplatesConfig,
    ) {
        let templates = &self.templates;
        let is_young = |id: &TemplateId| templates.get(id).is_some_and(|member| member.is_young(end, config));
        let key = hash::bytes(entity.as_str().as_bytes());
        self.works.expire(end, config.patience(), (key, elsewhere), room, is_young);
        if learns {
            self.follow_merges(miner);
            if self.heard >= TICKS {
                self.learn(entity, tracks, end, config);
            }
            let forget = Duration::from_secs(config.rare_secs.max(config.bounds.forget_secs) * 2);
            self.templates.retain(|_, statement| end.since(statement.last) <= forget);
            self.make_room(config.bounds.max_series);
            let templates = &self.templates;
            self.follow.after.retain(|id, _| templates.contains_key(id));
            self.works.kinds.retain(|id, _| templates.contains_key(id));
            let known: BTreeSet<TemplateId> = templates.values().map(|statement| statement.template).collect();
            self.places.retain(|template| known.contains(&template));
        }
        self.ticks += 1;
        self.heard = self.heard.saturating_add(1);
        self.lines.recent.turn();
        self.failures.recent.turn();
        self.templates.values_mut().for_each(|statement| statement.usual.recent.turn());
        self.follow.turn();
        self.works.turn();
    }

    /// Learns the block that is about to leave. What looks odd is not learned from until it is over, or taken for usual.
    fn learn(&mut self, entity: &EntityId, tracks: &Tracks, now: Timestamp, config: &LogTemplatesConfig) {
        let may = |id: TemplateId, about: About| tracks.may_learn(&key(entity, id, about), now, &config.episode);
        // An episode that has gone on for so long that it may be learned from is the usual state.
        let accepted = |id: TemplateId, about: About| tracks.is_open(&key(entity, id, about)) && may(id, about);
        let most = |accepted: bool| if accepted { f64::INFINITY } else { config.burst_ratio };
        let block = self.lines.recent.oldest();
        let load = ratio(block.iter().map(|n| f64::from(*n)).sum(), self.lines.rate.expected(HORIZON as f64));
        self.lines.learn(&block, HORIZON as f64);
        let ticks = HORIZON as f64;
        let failing = accepted(TemplateId(0), About::Failures);
        self.failures.learn_clipped(&self.failures.recent.oldest(), ticks, most(failing));
        for (id, statement) in &mut self.templates {
            let block = statement.usual.recent.oldest();
            if statement.severity > Severity::Plain {
                statement.usual.learn_clipped(&block, ticks, most(failing || accepted(*id, About::Rate)));
            } else if may(*id, About::Rate) {
                statement.usual.learn(&block, ticks * load.clamp(0.1, 10.0));
            }
        }
        self.retire(now, config);
        for (id, after) in &mut self.follow.after {
            let about = after.usual.map(|next| About::Successor(next, None));
            let told = about.is_some_and(|about| tracks.is_open(&key(entity, *id, about)));
            after.learn(config.burst_ratio, told, about.is_some_and(|about| accepted(*id, about)));
        }
        for (id, kind) in &mut self.works.kinds {
            kind.learn(config.burst_ratio, |member: &Member| match member.belongs {
                true => accepted(*id, About::Work(member.id)),
                false => accepted(member.id, About::Failing(*id)),
            });
        }
    }

    /// Where there is no room for another statement, a quarter goes: those not heard for longest.
    fn make_room(&mut self, most: usize) {
        if self.templates.len() < most {
            return;
        }
        let mut ages: Vec<Timestamp> = self.templates.values().map(|statement| statement.last).collect();
        let (_, limit, _) = ages.select_nth_unstable(most / 4);
        let limit = *limit;
        self.templates.retain(|_, statement| statement.last > limit);
    }

    /// Statements and orders that are remembered, and members of work.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.templates.len() + self.follow.after.len(), self.works.n_members())
    }

    /// Statements that are gone while new ones came are no longer expected.
    fn retire(&mut self, now: Timestamp, config: &LogTemplatesConfig) {
        let gone = |statement: &Statement| {
            let usual = &statement.usual;
            let missing = usual.rate.expected(TICKS as f64);
            usual.blocks >= GONE_BLOCKS
                && missing >= 1.0
                && usual.recent.sum(TICKS) == 0.0
                && self.replaced(missing, now, config)
        };
        let gone: Vec<TemplateId> =
            self.templates.iter().filter(|(_, statement)| gone(statement)).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(statement) = self.templates.get_mut(&id) {
                statement.usual = Usual::default();
            }
        }
    }

    /// A long gap: what the last steps held is learned, and they begin anew.
    pub(super) fn leave(&mut self, config: &LogTemplatesConfig) {
        let ticks = self.heard.min(TICKS);
        let exposure = ticks as f64;
        let (lines, failures) = (self.lines.recent, self.failures.recent);
        self.lines.learn(lines.last(ticks), exposure);
        self.failures.learn_clipped(failures.last(ticks), exposure, config.burst_ratio);
        for statement in self.templates.values_mut() {
            let recent = statement.usual.recent;
            statement.usual.learn_clipped(recent.last(ticks), exposure, config.burst_ratio);
            statement.usual.recent.clear();
        }
        self.lines.recent.clear();
        self.failures.recent.clear();
        for after in self.follow.after.values_mut() {
            after.learn(config.burst_ratio, after.told, false);
            after.clear();
        }
        for kind in self.works.kinds.values_mut() {
            kind.learn(config.burst_ratio, |_| false);
            kind.clear();
        }
        self.heard = 0;
    }

    /// Templates that were merged are counted as one from here on.
    fn follow_merges(&mut self, miner: &TemplateMiner) {
        let moved: Vec<(TemplateId, TemplateId, u64)> = self
            .templates
            .iter()
            .map(|(id, statement)| (*id, statement.template, miner.resolve(statement.template), statement.place))
            .filter(|(_, template, to, _)| template != to)
            .map(|(id, _, to, place)| (id, to, place))
            .collect();
        for (id, to, place) in moved {
            self.rename(id, to, place);
        }
    }

    /// A statement is one of another template, or place, from here on.
    fn rename(&mut self, id: TemplateId, template: TemplateId, place: u64) {
        let Some(part) = self.templates.remove(&id) else { return };
        let to = site::statement(template, place, part.level.unwrap_or_default());
        self.follow.rename(id, to);
        self.works.rename(id, to);
        match self.templates.get_mut(&to) {
            Some(whole) => {
                whole.usual.join(&part.usual);
                whole.born = whole.born.min(part.born);
                whole.last = whole.last.max(part.last);
                whole.severity = whole.severity.min(part.severity);
            }
            None => {
                self.templates.insert(to, Statement { template, place, ..part });
            }
        }
    }

    /// What the last steps say of every statement and every order. Counts how much was judged, by family.
    pub(super) fn suspect(
        &self,
        now: Timestamp,
        config: &LogTemplatesConfig,
        tests: &mut [u32],
        mut found: impl FnMut(Suspicion),
    ) {
        if self.ticks <= config.warm_ticks() {
            return;
        }
        let mut tell = |id, about, family: Family, direction, verdict: Verdict, worth: bool| {
            if let Some(tests) = tests.get_mut(family as usize) {
                *tests += 1;
            }
            let fails = matches!(about, About::Failures | About::Failing(_));
            let bonus = if fails && verdict.nats > 0.0 { ERROR_NATS } else { 0.0 };
            found(Suspicion { id, about, family, direction, verdict, nats: verdict.nats + bonus, worth });
        };
        let large = |verdict: &Verdict, least: u64, ratio: f64| {
            let lasting = verdict.span >= config.lasting_ticks() && verdict.raised >= LEAST_RAISED;
            lasting && verdict.seen >= least as f64 && verdict.seen >= ratio * verdict.expected
        };
        // Where most of the work is not as usual, less than the usual time will do.
        let odd = |verdict: &Verdict, sooner: usize| {
            let soon = verdict.share >= MOST && verdict.calm <= GOES_ON;
            let span = if soon { sooner } else { config.lasting_ticks() };
            let large =
                verdict.seen >= config.min_errors as f64 && verdict.seen >= config.burst_ratio * verdict.expected;
            large && verdict.span >= span && verdict.raised >= LEAST_RAISED
        };
        let rare = self.templates.iter().filter(|(_, statement)| statement.is_rare_failure());
        if let Some((id, _)) = rare.max_by_key(|(_, statement)| statement.usual.recent.sum(TICKS) as u64) {
            let verdict = self.failures.more(
                |ticks| ticks as f64 * self.load(&self.failures, ticks).max(1.0),
                config.burst_ratio,
                true,
            );
            let worth = large(&verdict, config.min_errors, config.burst_ratio);
            tell(*id, About::Failures, Family::Failures, Direction::New, verdict, worth);
        }
        // Rare failures are judged together.
        for (id, statement) in self.templates.iter().filter(|(_, statement)| !statement.is_rare_failure()) {
            let Statement { severity, usual, .. } = statement;
            let (family, blocks, least, ratio) = match severity {
                Severity::Plain => (Family::Rates, RATE_BLOCKS, config.min_burst, config.plain_ratio),
                _ => (Family::Failures, FAILURE_BLOCKS, config.min_errors, config.burst_ratio),
            };
            let rising = usual.recent.sum(HORIZON) > usual.rate.expected(HORIZON as f64);
            if usual.blocks >= blocks && rising {
                let verdict = usual.more(|ticks| ticks as f64 * self.load(usual, ticks).max(1.0), ratio, false);
                tell(*id, About::Rate, family, Direction::Up, verdict, large(&verdict, least, ratio));
            } else if usual.blocks >= GONE_BLOCKS && self.heard >= TICKS {
                let verdict = usual.fewer(TICKS as f64 * self.load(usual, TICKS).min(1.0));
                let wrote = self.lines.recent.last(WRITES).iter().all(|n| *n > 0);
                let missing = verdict.expected - verdict.seen;
                let few = verdict.seen * config.plain_ratio <= verdict.expected;
                let worth = few && wrote && *severity == Severity::Plain && !self.replaced(missing, now, config);
                tell(*id, About::Rate, family, Direction::Gone, verdict, worth);
            }
        }
        for (id, after) in &self.follow.after {
            let Some(next) = after.usual else { continue };
            let verdict = after.misses.more(|ticks| after.trials.sum(ticks).max(0.5), config.burst_ratio, false);
            let most = verdict.seen >= MOST * after.trials.sum(verdict.ticks);
            let worth = most && large(&verdict, config.min_errors, config.burst_ratio);
            tell(*id, About::Successor(next, after.instead), Family::Order, Direction::Gone, verdict, worth);
        }
        // One failure may be in pieces of several kinds: where it says most is told.
        let mut failing: BTreeMap<TemplateId, (TemplateId, Verdict, bool)> = BTreeMap::new();
        for (id, kind) in &self.works.kinds {
            for member in &kind.members {
                if member.belongs {
                    let verdict = member.odd.more_of(&kind.trials, config.burst_ratio);
                    let worth = verdict.share >= MANY && odd(&verdict, config.steps(config.missing_secs));
                    tell(*id, About::Work(member.id), Family::Order, Direction::Gone, verdict, worth);
                } else if member.fails {
                    let verdict = member.odd.more_of(&kind.pieces, config.burst_ratio);
                    let worth = verdict.share >= SOME && odd(&verdict, config.steps(config.failing_secs));
                    let rank = |worth: bool, verdict: &Verdict| (worth, verdict.nats);
                    let held = failing.entry(member.id).or_insert((*id, verdict, worth));
                    if rank(worth, &verdict) > rank(held.2, &held.1) {
                        *held = (*id, verdict, worth);
                    }
                }
            }
        }
        for (id, (opener, verdict, worth)) in failing {
            tell(id, About::Failing(opener), Family::Failures, Direction::New, verdict, worth);
        }
    }

    /// How much more or less than usual the entity writes, the statement left out.
    fn load(&self, usual: &Usual, ticks: usize) -> f64 {
        let others = self.lines.recent.sum(ticks) - usual.recent.sum(ticks);
        let expected = self.lines.rate.expected(ticks as f64) - usual.rate.expected(ticks as f64).min(1e300);
        ratio(others, expected)
    }

    /// Whether new statements of the usual kind make up for lines that do not come: a deploy, not a fault.
    fn replaced(&self, missing: f64, now: Timestamp, config: &LogTemplatesConfig) -> bool {
        let young = self.templates.values().filter(|statement| statement.is_young(now, config));
        let new: f64 = young.map(|statement| statement.usual.recent.sum(TICKS)).sum();
        new * config.burst_ratio >= missing
    }
}

/// How many times what was expected, drawn to 1 where counts are small.
fn ratio(seen: f64, expected: f64) -> f64 {
    if expected.is_finite() && expected >= 1.0 { (seen + 1.0) / (expected + 1.0) } else { 1.0 }
}
