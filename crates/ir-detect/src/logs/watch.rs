//! Watches the lines of all entities: steps of time, the budget of false alarms, and what is told.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use ir_core::anomaly::Direction;
use ir_core::signal::LogRecord;
use ir_core::text::plain;
use ir_core::{Anomaly, EntityId, Gone, Result, Symptom, Timestamp};
use serde::{Deserialize, Serialize};

use super::detector::LogTemplatesConfig;
use super::elsewhere::Elsewhere;
use super::entity::Watched;
use super::room::Room;
use super::usual::{HORIZON, TICKS, Verdict};
use super::{TemplateId, TemplateMiner};
use crate::anomaly::episode::Verdict as Told;
use crate::anomaly::episode::{Finding, Judge, Key, Tracks};
use crate::runtime::per_entity::PerEntity;

/// What every further entity adds that shows failures never seen before at the same time, and how many are counted.
const SHARED_NATS: f64 = 2.0;
const MAX_SHARED: usize = 3;
/// No budget makes a limit lower than this, nor higher.
const LIMITS: [f64; 2] = [8.0, 25.0];
/// Characters of a template that a sentence quotes.
const QUOTED: usize = 120;
/// Clocks that were set back by more than this begin a new step.
const JUMP: Duration = Duration::from_secs(600);
/// The number of tests is a mean over so many steps.
const TESTS_TICKS: f64 = 120.0;

/// Three families of tests, each with a third of the budget. Failures are few, and must not pay for the many tests of other lines
/// (C. Genovese, K. Roeder, L. Wasserman 2006, "False discovery control with p-value weighting", doi:10.1093/biomet/93.3.509).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Failures,
    Rates,
    Order,
}

const FAMILIES: usize = 3;

/// All that is known, beside the miner.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Watch {
    pub(super) tracks: Tracks,
    entities: BTreeMap<EntityId, Watched>,
    elsewhere: Elsewhere,
    room: Room,
    /// When the open step began.
    tick: Option<Timestamp>,
    /// Steps with lines so far.
    ticks: u64,
    /// Tests of a step, on average, by family.
    tests: [f64; FAMILIES],
}

/// What a suspicion is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// How often the template comes.
    Rate,
    /// Lines of the entity that tell of failure, all rare ones together; the template is one of them.
    Failures,
    /// The template's usual successor, and what came instead.
    Successor(TemplateId, Option<TemplateId>),
    /// A statement that belongs to the pieces of work that this one opens.
    Work(TemplateId),
    /// A statement of failure in the pieces of work that the other one opens.
    Failing(TemplateId),
}

/// Something that may be told at the end of a step.
#[derive(Debug, Clone)]
pub(super) struct Suspicion {
    pub(super) id: TemplateId,
    pub(super) about: About,
    pub(super) family: Family,
    pub(super) direction: Direction,
    pub(super) verdict: Verdict,
    pub(super) nats: f64,
    /// Whether it is as large, and goes on for as long, as is worth telling.
    pub(super) worth: bool,
}

impl Suspicion {
    pub(super) fn key(&self, entity: &EntityId) -> Key {
        key(entity, self.id, self.about)
    }
}

/// The episode of a suspicion.
pub(super) fn key(entity: &EntityId, id: TemplateId, about: About) -> Key {
    let (subject, change, other) = match about {
        About::Rate => (id.to_string(), "rate", None),
        About::Failures => ("failures".to_owned(), "failures", None),
        About::Successor(next, _) => (id.to_string(), "successor", Some(next)),
        About::Work(member) => (id.to_string(), "work", Some(member)),
        About::Failing(_) => (id.to_string(), "failing", None),
    };
    let mut key = Key::new(entity, subject);
    key.labels.insert("change", change);
    if let Some(other) = other {
        key.labels.insert("missing", other.to_string());
    }
    key
}

impl Watch {
    /// Ends the episodes of an entity that is gone, and drops what was learned of it. The miner keeps its templates: they say how
    /// lines are read, not what is usual.
    pub(super) fn end_gone(&mut self, judge: Judge<'_>, gone: &Gone, out: &mut Vec<Anomaly>) {
        self.tracks.end_gone(judge, gone, out);
        self.entities.drop_entity(&gone.entity);
    }

    pub(super) fn read(
        &mut self,
        record: &LogRecord,
        miner: &mut TemplateMiner,
        judge: Judge<'_>,
        config: &LogTemplatesConfig,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        self.turn(record.at, miner, judge, config, out)?;
        if !self.entities.contains_key(&record.entity) {
            if self.entities.len() >= config.bounds.max_entities {
                let forget = config.bounds.forget_secs;
                self.entities.retain(|_, watched| record.at.since(watched.last).as_secs() <= forget);
                if self.entities.len() >= config.bounds.max_entities {
                    tracing::debug!(entity = %record.entity, "entity beyond the bound is not watched");
                    return Ok(());
                }
            }
            self.entities.insert(record.entity.clone(), Watched::default());
        }
        let Some(watched) = self.entities.get_mut(&record.entity) else { return Ok(()) };
        let stream = miner.stream(record.entity.as_str());
        // Levels, places in the code and ids are looked for in the same text as templates.
        let coloured;
        let record = match plain(&record.message) {
            Cow::Borrowed(_) => record,
            Cow::Owned(message) => {
                coloured = LogRecord { message, ..record.clone() };
                &coloured
            }
        };
        let observed = miner.observe(stream, record.message.as_bytes());
        match watched.line(record, observed.id, &mut self.elsewhere, &mut self.room, config) {
            Some(fatal) => {
                let quote = |id| quote(miner, watched.template(id));
                tell(&mut self.tracks, judge, &record.entity, &fatal, config.fatal_nats, quote, config, out)
            }
            None => Ok(()),
        }
    }

    /// Closes the open step when `now` is beyond it. Steps in which nobody at all wrote are no time: the collection was away.
    fn turn(
        &mut self,
        now: Timestamp,
        miner: &TemplateMiner,
        judge: Judge<'_>,
        config: &LogTemplatesConfig,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let length = config.tick();
        let Some(start) = self.tick else {
            self.tick = Some(now);
            return Ok(());
        };
        if now < start {
            if start.since(now) > JUMP {
                self.tick = Some(now);
                self.entities.values_mut().for_each(Watched::interrupt);
            }
            return Ok(());
        }
        let passed = now.since(start).as_nanos() / length.as_nanos().max(1);
        if passed == 0 {
            return Ok(());
        }
        self.close(start.plus(length), miner, judge, config, out)?;
        if passed > 1 {
            // Whatever was written meanwhile was lost, and with it what followed on the last lines.
            self.entities.values_mut().for_each(Watched::interrupt);
        }
        if passed > TICKS as u128 {
            self.entities.values_mut().for_each(|watched| watched.leave(config));
        }
        // What goes on right after a short gap is the same trouble, told once. After a long one nobody knows.
        if now.since(start).as_secs_f64() > config.episode.relearn_secs {
            let judge = Judge { at: now, ..judge };
            self.tracks.end_all(
                judge,
                over,
                |since| format!("no log of anybody came for long, open since {since}"),
                out,
            )?;
        }
        let whole = i64::try_from(passed * length.as_nanos()).unwrap_or(i64::MAX);
        self.tick = Some(Timestamp::from_nanos(start.as_nanos().saturating_add(whole)));
        Ok(())
    }

    fn close(
        &mut self,
        end: Timestamp,
        miner: &TemplateMiner,
        judge: Judge<'_>,
        config: &LogTemplatesConfig,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        self.ticks += 1;
        let learns = self.ticks.is_multiple_of(HORIZON as u64);
        let judge = Judge { at: end, ..judge };
        let (mut found, mut tests) = (Vec::new(), [0_u32; FAMILIES]);
        for (entity, watched) in &mut self.entities {
            watched.close(entity, (end, learns), (&self.elsewhere, &mut self.room), miner, &self.tracks, config);
        }
        let sizes = self.entities.values().map(Watched::size);
        let (statements, members) = sizes.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        self.room = Room::beside(statements, members, self.entities.len());
        for (entity, watched) in &self.entities {
            watched.suspect(end, config, &mut tests, |suspicion| found.push((entity, watched, suspicion)));
        }
        let weight = (1.0 / self.ticks as f64).max(1.0 / TESTS_TICKS);
        for (mean, now) in self.tests.iter_mut().zip(tests) {
            *mean += weight * (f64::from(now) - *mean);
        }
        let limits = limits(self.tests, config);
        let novel = |suspicion: &Suspicion| {
            suspicion.about == About::Failures && suspicion.nats >= limits[Family::Failures as usize] / 2.0
        };
        let shows: Vec<&EntityId> = found.iter().filter(|(_, _, s)| novel(s)).map(|(entity, ..)| *entity).collect();
        for (entity, _, suspicion) in &mut found {
            if suspicion.about == About::Failures && suspicion.nats > 0.0 {
                let others = shows.iter().filter(|other| *other != entity).count();
                suspicion.nats += SHARED_NATS * others.min(MAX_SHARED) as f64;
            }
        }
        for (entity, watched, suspicion) in &found {
            let limit = limits[suspicion.family as usize];
            let quote = |id| quote(miner, watched.template(id));
            tell(&mut self.tracks, judge, entity, suspicion, limit, quote, config, out)?;
        }
        Ok(())
    }
}

/// How an episode is reported of which nobody knows whether it goes on.
fn over(key: &Key) -> Finding {
    let direction = if key.labels.get("missing").is_some() { Direction::Gone } else { Direction::Up };
    let (expected, seen, threshold, nats) = (0.0, 0.0, 0.0, 0.0);
    Finding { verdict: Told::Good, nats, symptom: Symptom::Log, direction, onset: None, expected, seen, threshold }
}

/// The surprise that chance reaches as often as the budget allows, by family, when a step has so many tests. Windows overlap: those
/// that do not are the chances that there are.
fn limits(tests: [f64; FAMILIES], config: &LogTemplatesConfig) -> [f64; FAMILIES] {
    let budget = config.false_alarms_per_hour / FAMILIES as f64;
    tests.map(|tests| {
        let an_hour = tests * 3600.0 / config.window_secs as f64;
        (an_hour / budget).max(1.0).ln().clamp(LIMITS[0], LIMITS[1])
    })
}

/// Tells the episodes of a suspicion.
#[expect(clippy::too_many_arguments, reason = "private; what is told needs all there is")]
fn tell(
    tracks: &mut Tracks,
    judge: Judge<'_>,
    entity: &EntityId,
    suspicion: &Suspicion,
    limit: f64,
    quote: impl Fn(TemplateId) -> String,
    config: &LogTemplatesConfig,
    out: &mut Vec<Anomaly>,
) -> Result<()> {
    let Suspicion { id, verdict, direction, nats, .. } = suspicion;
    let key = suspicion.key(entity);
    let limit = limit * tracks.factor(&key);
    let expected = if verdict.expected.is_finite() { verdict.expected } else { 0.0 };
    let finding = Finding {
        verdict: Told::of(suspicion.worth && *nats >= limit, *nats, limit),
        nats: *nats,
        symptom: Symptom::Log,
        direction: *direction,
        onset: Some(judge.at.minus(config.tick() * u32::try_from(verdict.span).unwrap_or(1))),
        expected,
        seen: verdict.seen,
        threshold: config.burst_ratio * expected,
    };
    let because = |onset| {
        let text = quote(*id);
        let (secs, seen) = (config.tick().as_secs_f64() * verdict.ticks as f64, verdict.seen);
        match suspicion.about {
            About::Rate => {
                format!("expected about {expected:.1} lines like `{text}` in {secs:.0} s, seen {seen} since {onset}")
            }
            About::Failures => format!(
                "expected about {expected:.1} rare lines that tell of failure in {secs:.0} s, seen {seen} like `{text}` since {onset}"
            ),
            About::Successor(next, instead) => {
                let instead = instead.map_or_else(String::new, |id| format!(", last `{}` instead", quote(id)));
                format!(
                    "expected `{}` after `{text}` with {expected:.1} exceptions in {secs:.0} s, seen {seen} since {onset}{instead}",
                    quote(next)
                )
            }
            About::Work(member) => format!(
                "expected `{}` in all work that begins with `{text}` but {expected:.1} in {secs:.0} s, missing in {seen} since {onset}",
                quote(member)
            ),
            About::Failing(opener) => format!(
                "expected `{text}` in {expected:.1} pieces of work that begin with `{}` in {secs:.0} s, seen in {seen} since {onset}",
                quote(opener)
            ),
        }
    };
    tracks.judge(judge, &key, &finding, because, out)
}

/// The template as a sentence may have it: short, without control characters. It is untrusted text.
fn quote(miner: &TemplateMiner, id: TemplateId) -> String {
    let text = miner.template(id).unwrap_or_else(|| id.to_string());
    text.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).take(QUOTED).collect()
}
