//! Sessions of users and programs that go otherwise than theirs ever did.
//!
//! What a program on an entity does (or a user, where no program is named) without a long pause is a session: a sequence of the verbs
//! of its acts. Each has a [`SequenceModel`](super::SequenceModel) of its own. A session is judged when it is over, or too long to
//! wait for, and learned unless it was reported.

use std::collections::BTreeMap;
use std::time::Duration;

use ir_core::anomaly::Direction;
use ir_core::{Activity, EntityId, EventRecord, Problem, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::{Core, Found, Learning, Reports};
use super::sequence::{Learned, SequenceConfig, Unusual};
use super::table::{Table, hash, quote};
use super::{ATTACK, subject};
use crate::anomaly::episode::Key;
use crate::anomaly::host::detector;
use crate::check::Check;
use crate::runtime::per_entity::PerEntity;

/// How a [`SequenceDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SequenceDetectorConfig {
    /// Surprise of a session that is reported, in nats. Default 9.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub nats: f64,
    /// A session ends with a pause of so long. Seconds, default 600.
    #[schemars(range(min = 1, max = 86_400))]
    pub pause_secs: u64,
    /// Shorter sessions tell nothing. Default 3 acts.
    #[schemars(range(min = 1, max = 10_000))]
    pub min_acts: usize,
    /// Longer ones are cut. Default 300 acts.
    #[schemars(range(min = 2, max = 100_000))]
    pub max_acts: usize,
    /// Programs and users followed at most, over all entities. Default 2,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_models: usize,
    /// How each is learned. Default: 20,000 runs, 200 examples, 50 sessions before anything is said; some 2 MB when full.
    pub model: SequenceConfig,
    /// What is learned first, and how much is kept.
    pub learning: Learning,
}

impl Default for SequenceDetectorConfig {
    fn default() -> Self {
        Self {
            nats: 9.0,
            pause_secs: 600,
            min_acts: 3,
            max_acts: 300,
            max_models: 2_000,
            model: SequenceConfig { max_runs: 20_000, max_examples: 200, warm: 50, ..SequenceConfig::default() },
            learning: Learning::default(),
        }
    }
}

impl SequenceDetectorConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.within("nats", self.nats, 1.0, 1000.0);
        check.count("pause_secs", usize::try_from(self.pause_secs).unwrap_or(usize::MAX), 1, 86_400);
        check.count("min_acts", self.min_acts, 1, 10_000);
        check.count("max_acts", self.max_acts, 2, 100_000);
        check.count("max_models", self.max_models, 1, 1_000_000);
        check.part("model", self.model.problems());
        check.part("learning", self.learning.check());
        check.done()
    }
}

detector! {
    @on [super::host::Host]
    /// Finds sessions of programs and users that are unlike those before: other acts, other counts, another order.
    SequenceDetector, Sequences, SequenceDetectorConfig
}

#[derive(Debug)]
struct Sequences(SequenceDetectorConfig);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Actors {
    all: Table<Actor, Session>,
    /// When it was last looked for sessions that are over.
    swept: Timestamp,
}

impl PerEntity for Actors {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.all.retain(|actor, _| actor.entity != *entity);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Actor {
    entity: EntityId,
    /// `program` or `user`.
    kind: String,
    name: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Session {
    born: Timestamp,
    first: Timestamp,
    last: Timestamp,
    acts: Vec<u32>,
    /// What each symbol of the open session is called.
    verbs: BTreeMap<u32, String>,
    learned: Learned,
}

/// So often it is looked for sessions that are over.
const SWEEP: Duration = Duration::from_secs(60);

impl Core for Sequences {
    type State = Actors;
    const NAME: &'static str = "sequence";
    const VERSION: u32 = 1;

    fn learning(&self) -> &Learning {
        &self.0.learning
    }

    fn activity(
        &self,
        state: &mut Actors,
        event: &EventRecord,
        activity: &Activity,
        reports: &mut Reports<'_>,
    ) -> Result<()> {
        let (config, at) = (&self.0, event.at);
        let pause = Duration::from_secs(config.pause_secs);
        if at.since(state.swept) >= SWEEP || state.swept.since(at) >= SWEEP {
            state.swept = at;
            for (actor, session) in state.all.iter_mut() {
                if at.since(session.last) >= pause {
                    self.close(actor, session, at, reports)?;
                }
            }
        }
        let (kind, name) = match (&activity.program, &activity.user) {
            (Some(program), _) => ("program", program),
            (None, Some(user)) => ("user", user),
            (None, None) => return Ok(()),
        };
        let actor = Actor { entity: event.entity.clone(), kind: kind.to_owned(), name: quote(name) };
        let new = || Session { born: at, ..Session::default() };
        let (session, _) = state.all.meet(&actor, at, config.max_models, new);
        // Between two looks the pause may be over, and the clock may have been set back.
        let paused = at.since(session.last) >= pause || session.last.since(at) >= pause;
        if !session.acts.is_empty() && (paused || session.acts.len() >= config.max_acts) {
            self.close(&actor, session, at, reports)?;
        }
        if session.acts.is_empty() {
            session.first = at;
        }
        let verb = format!("{} {}", activity.verb(), event.name);
        let symbol = hash(&[&verb]) as u32;
        session.acts.push(symbol);
        session.last = at;
        session.verbs.entry(symbol).or_insert_with(|| quote(&verb));
        Ok(())
    }
}

impl Sequences {
    /// Judges a session and learns it.
    fn close(&self, actor: &Actor, session: &mut Session, at: Timestamp, reports: &mut Reports<'_>) -> Result<()> {
        let config = &self.0;
        let acts = std::mem::take(&mut session.acts);
        let verbs = std::mem::take(&mut session.verbs);
        if acts.len() < config.min_acts {
            return Ok(());
        }
        let unusual = session.learned.unusual(&acts, &config.model);
        // The sum caps what order and frequencies say, for the sake of programs that stray; alone, one must say twice as much.
        let nats = unusual.nats.max(unusual.order / 2.0).max(unusual.frequency / 2.0);
        let mut key = Key::new(&actor.entity, subject::SEQUENCE);
        key.labels.insert(actor.kind.as_str(), actor.name.as_str());
        // T1059 for what a program does, T1078 for what a user does.
        key.labels.insert(ATTACK, if actor.kind == "program" { "T1059" } else { "T1078" });
        let limit = config.nats * reports.factor(&key);
        if nats < limit || !config.learning.is_over(session.born, at) {
            session.learned.learn(&acts, &config.model);
            return Ok(());
        }
        let found = Found {
            nats,
            direction: Direction::New,
            onset: Some(session.first),
            expected: 0.0,
            seen: nats,
            threshold: limit,
            patience: Duration::ZERO,
        };
        reports.report(&key, found, |onset| sentence(actor, acts.len(), &unusual, &verbs, onset))?;
        // What comes again and again becomes usual, though slowly: it was reported each time.
        session.learned.learn(&acts, &config.model);
        Ok(())
    }
}

fn sentence(actor: &Actor, acts: usize, unusual: &Unusual, verbs: &BTreeMap<u32, String>, onset: Timestamp) -> String {
    let verb = |symbol: u32| verbs.get(&symbol).map_or("?", String::as_str);
    let oddest = unusual.oddest.map_or_else(String::new, |oddest| {
        let after = oddest.after.map_or("at the beginning".to_owned(), |after| format!("after `{}`", verb(after)));
        format!("; least expected `{}` {after}", verb(oddest.symbol))
    });
    format!(
        "expected a session of {} `{}` as before, seen one of {acts} acts since {onset} with {:.1} nats for what it does, {:.1} for how \
         often, {:.1} for the order{oddest}",
        actor.kind, actor.name, unusual.set, unusual.frequency, unusual.order
    )
}

#[cfg(test)]
mod tests;
