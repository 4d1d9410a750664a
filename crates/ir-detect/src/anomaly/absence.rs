//! Absence: an entity that used to answer and no longer does.
//!
//! One failed scrape is nothing: machines are busy. Several in a row over some time are, and so is silence of one entity
//! while others are heard. When all are silent nobody can tell time from the signals, and nothing is said: a source that fails
//! as a whole is an error of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ir_core::anomaly::Direction;
use ir_core::{Anomaly, EntityId, Problem, Result, Series, Symptom, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use super::host::{Core, detector};
use super::names::Bounds;
use super::subject;
use crate::check::Check;
use crate::runtime::per_entity::PerEntity;
use crate::runtime::scrape::EntityScrape;
use crate::stats::Ewma;

/// How an [`AbsenceDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AbsenceConfig {
    /// Failed scrapes in a row that count. Default 2.
    #[schemars(range(min = 1, max = 1000))]
    pub misses: u32,
    /// And so long without a good one. Seconds, default 1.4: at two scrapes a second a busy machine may lose two in a row.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub after_secs: f64,
    /// Usual intervals of silence that count. Default 4, and never less than `silent_secs`.
    #[schemars(range(min = 2.0, max = 1000.0))]
    pub silent_intervals: f64,
    /// Silence that counts. A scrape that fails says something of the entity; when none comes at all, what collects may be at
    /// fault, and restarts of that take a minute. Seconds, default 90.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub silent_secs: f64,
    /// Good scrapes before an entity is known; until then nothing is said of it. Default 3.
    #[schemars(range(min = 1, max = 1000))]
    pub known_after: u32,
    /// How likely a scrape fails without a fault, at least: each miss in a row adds as much surprise as it is rare. What was
    /// seen of the entity itself counts when it is more. Default 0.003, which is 5.8 nats a miss: two or three
    /// need the support of other symptoms, four stand alone.
    #[schemars(range(min = 1e-9, max = 0.5))]
    pub chance_of_miss: f64,
    /// How much is kept.
    pub bounds: Bounds,
    /// When episodes begin and end. Default: they begin at once, since misses are counted already, and end after 2 good scrapes.
    pub episode: EpisodeConfig,
}

impl Default for AbsenceConfig {
    fn default() -> Self {
        Self {
            misses: 2,
            after_secs: 1.4,
            silent_intervals: 4.0,
            silent_secs: 90.0,
            known_after: 3,
            chance_of_miss: 0.003,
            bounds: Bounds::default(),
            // Who does not answer is away, however often that was so today.
            episode: EpisodeConfig { begin_looks: 1, end_looks: 2, most_a_day: 0, ..EpisodeConfig::default() },
        }
    }
}

impl AbsenceConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.count("misses", self.misses as usize, 1, 1000);
        check.within("after_secs", self.after_secs, 0.0, 86_400.0);
        check.within("silent_intervals", self.silent_intervals, 2.0, 1000.0);
        check.within("silent_secs", self.silent_secs, 0.0, 86_400.0);
        check.count("known_after", self.known_after as usize, 1, 1000);
        check.within("chance_of_miss", self.chance_of_miss, 1e-9, 0.5);
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

detector! {
    /// Finds entities that no longer answer.
    ///
    /// Assumes that misses without a fault are independent. About 200 bytes an entity.
    AbsenceDetector, Absence, AbsenceConfig
}

#[derive(Debug)]
struct Absence(AbsenceConfig);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Presence {
    good: u32,
    misses: u32,
    /// Short runs of misses that were over by themselves, and scrapes in all: how often this entity is missed in health.
    missed: f64,
    scrapes: f64,
    first_miss: Option<Timestamp>,
    last_good: Timestamp,
    last: Timestamp,
    interval: Ewma,
    /// When it is next asked whether its silence counts, unless it is scraped before.
    due: Timestamp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(from = "BTreeMap<EntityId, Presence>")]
struct All {
    entities: BTreeMap<EntityId, Presence>,
    /// `Presence::due` of all, so that the silent ones are found without a walk over all at each scrape.
    due: BTreeSet<(Timestamp, EntityId)>,
}

impl From<BTreeMap<EntityId, Presence>> for All {
    fn from(entities: BTreeMap<EntityId, Presence>) -> Self {
        let due = entities.iter().map(|(entity, presence)| (presence.due, entity.clone())).collect();
        Self { entities, due }
    }
}

impl Serialize for All {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.entities.serialize(serializer)
    }
}

impl PerEntity for All {
    fn drop_entity(&mut self, entity: &EntityId) {
        if let Some(presence) = self.entities.remove(entity) {
            self.due.remove(&(presence.due, entity.clone()));
        }
    }
}

impl All {
    /// Those whose time has come, sorted.
    fn due(&mut self, now: Timestamp) -> BTreeSet<EntityId> {
        let mut entities = BTreeSet::new();
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            entities.extend(self.due.pop_first().map(|(_, entity)| entity));
        }
        entities
    }

    fn put_off(&mut self, entity: &EntityId, due: Timestamp) {
        if let Some(presence) = self.entities.get_mut(entity) {
            self.due.remove(&(presence.due, entity.clone()));
            presence.due = due;
            self.due.insert((due, entity.clone()));
        }
    }
}

impl Core for Absence {
    type State = All;
    const NAME: &'static str = "absence";
    const VERSION: u32 = 1;

    fn bounds(&self) -> &Bounds {
        &self.0.bounds
    }

    fn start_time(&self) -> &str {
        ""
    }

    fn episode(&self) -> &EpisodeConfig {
        &self.0.episode
    }

    fn wants(&self, _: &Series) -> bool {
        false
    }

    fn scrape(
        &self,
        state: &mut Self::State,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        scrape: &EntityScrape<'_>,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let presence = state.entities.entry(scrape.entity.clone()).or_default();
        presence.scrape(scrape);
        let due = self.due(presence);
        let misses = presence.misses;
        let gone_secs = scrape.at.since(presence.last_good).as_secs_f64();
        let known = presence.good >= self.0.known_after;
        let bad = known && misses >= self.0.misses && gone_secs >= self.0.after_secs;
        let verdict = match misses {
            0 => Verdict::Good,
            _ if bad => Verdict::Bad,
            _ => Verdict::Unsure,
        };
        self.judge(tracks, judge, scrape.entity, presence, f64::from(misses), verdict, "failed scrapes", out)?;
        state.put_off(scrape.entity, due);
        self.silent(state, tracks, judge, out)
    }
}

/// The interval follows the last two minutes.
const INTERVAL_HALF_LIFE_SECS: f64 = 120.0;

/// A long run is a fault, from which must not be learned that faults are usual.
const MAX_RUN_LEARNED: u32 = 2;
/// Half of what was learned is forgotten after so many scrapes.
const SCRAPES_KEPT: f64 = 5_000.0;
/// Fifty scrapes with hardly a miss are assumed before anything was seen.
const PRIOR: [f64; 2] = [0.05, 50.0];

impl Presence {
    /// How likely this entity is missed in health.
    fn chance_of_miss(&self) -> f64 {
        (self.missed + PRIOR[0]) / (self.scrapes + PRIOR[1])
    }

    fn scrape(&mut self, scrape: &EntityScrape<'_>) {
        if self.last != Timestamp::default() {
            let elapsed = scrape.at.since(self.last).as_secs_f64();
            self.interval.push(elapsed, elapsed, INTERVAL_HALF_LIFE_SECS);
        }
        self.last = scrape.at;
        self.scrapes += 1.0;
        if self.scrapes > SCRAPES_KEPT {
            (self.scrapes, self.missed) = (self.scrapes / 2.0, self.missed / 2.0);
        }
        if scrape.up == Some(false) {
            self.misses = self.misses.saturating_add(1);
            self.first_miss = self.first_miss.or(Some(scrape.at));
        } else {
            self.good = self.good.saturating_add(1);
            self.missed += f64::from(self.misses.min(MAX_RUN_LEARNED));
            (self.misses, self.first_miss, self.last_good) = (0, None, scrape.at);
        }
    }
}

impl Absence {
    /// Silence that counts, in seconds: `None` as long as it is not known how often the entity is scraped.
    fn limit_secs(&self, presence: &Presence) -> Option<f64> {
        let interval = presence.interval.mean().filter(|interval| *interval > 0.0)?;
        let limit = (self.0.silent_intervals * interval).max(self.0.silent_secs);
        (presence.good >= self.0.known_after).then_some(limit)
    }

    /// When the silence after the last scrape counts, or is so long that the entity is evicted.
    fn due(&self, presence: &Presence) -> Timestamp {
        let evicted = presence.last.plus(Duration::from_secs(self.0.bounds.forget_secs.saturating_add(1)));
        let counts = self.limit_secs(presence).and_then(|secs| Duration::try_from_secs_f64(secs).ok());
        counts.map_or(evicted, |silence| presence.last.plus(silence).min(evicted))
    }

    /// Judges who has been silent for long. Silence is judged again with each scrape that did not come, not with each that came
    /// of others: with ten thousand entities that would be most of the work.
    fn silent(&self, state: &mut All, tracks: &mut Tracks, judge: Judge<'_>, out: &mut Vec<Anomaly>) -> Result<()> {
        for entity in state.due(judge.at) {
            let Some(presence) = state.entities.get_mut(&entity) else { continue };
            let silence = judge.at.since(presence.last);
            if silence.as_secs() > self.0.bounds.forget_secs {
                state.entities.remove(&entity);
                continue;
            }
            let mut due = self.due(presence);
            let silent_secs = silence.as_secs_f64();
            let interval = presence.interval.mean().unwrap_or_default();
            if self.limit_secs(presence).is_some_and(|limit| silent_secs > limit) {
                presence.first_miss = presence.first_miss.or(Some(presence.last));
                let missed = (silent_secs / interval).floor();
                self.judge(tracks, judge, &entity, presence, missed, Verdict::Bad, "scrapes that never came", out)?;
                let next = Duration::try_from_secs_f64((missed + 1.0) * interval).unwrap_or(Duration::MAX);
                due = presence.last.plus(next);
            }
            state.put_off(&entity, due.max(judge.at.plus(Duration::from_nanos(1))));
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one call in two places, each with its own words")]
    fn judge(
        &self,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        entity: &EntityId,
        presence: &Presence,
        misses: f64,
        verdict: Verdict,
        what: &str,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let key = Key::new(entity, subject::UP);
        let finding = Finding {
            verdict,
            nats: -presence.chance_of_miss().clamp(self.0.chance_of_miss, 0.5).ln() * misses / tracks.factor(&key),
            symptom: Symptom::Absence,
            direction: Direction::Gone,
            onset: presence.first_miss,
            expected: 1.0,
            seen: if verdict == Verdict::Good { 1.0 } else { 0.0 },
            threshold: f64::from(self.0.misses),
        };
        let because = |onset| match verdict {
            Verdict::Good => format!("{entity} answers scrapes again; it did not since {onset}"),
            _ => format!(
                "expected an answer to each scrape as in {} scrapes before, seen {misses} {what} in a row since {onset}",
                presence.good
            ),
        };
        tracks.judge(judge, &key, &finding, because, out)
    }
}
