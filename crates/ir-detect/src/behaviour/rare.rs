//! What an entity was never seen to do: a program that starts another, a user that runs something, a program that talks to somebody.
//!
//! Two questions, both answered by what was learned:
//!
//! 1. *Is it odd for who did it?* A shell starts new programs all day, a web server never. The probability that the next thing is a
//!    new one is `(s + 10 r) / (n + 10)` after `n` acts, of which `s` were with a thing met only once, where `r` is the same share
//!    over the whole entity (I. J. Good 1953: "The population frequencies of species and the estimation of population parameters",
//!    doi:10.1093/biomet/40.3-4.237, smoothed), times the probability that the thing is one that nobody else on the entity had to
//!    do with either.
//! 2. *How often does that happen to who did it?* Occasions, hours with something odd, come to each at some rate a day, which is drawn
//!    towards that of all others of the entity as long as little is known of it: `(k + 5 m) / (d + 5)` after `k` in `d` days, with
//!    `m` a day for the others. The surprise reported is that of at least one within a day, so who has one daily is quiet.
//!
//! An occasion is reported once for each who did something.

use std::time::Duration;

use ir_core::anomaly::Direction;
use ir_core::{Act, Activity, EntityId, EventRecord, Problem, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::host::{Core, Found, Learning, Reports};
use super::table::{Table, hash, quote};
use super::{ATTACK, subject};
use crate::anomaly::episode::Key;
use crate::anomaly::host::detector;
use crate::check::Check;
use crate::runtime::per_entity::PerEntity;

/// How a [`RareActivityDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RareActivityConfig {
    /// How odd a new thing must be for who did it, in nats. Default 3: one act in twenty.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub odd_nats: f64,
    /// And how seldom that happens to who did it: nats of one within a day. Default 3: one day in twenty.
    #[schemars(range(min = 0.5, max = 100.0))]
    pub day_nats: f64,
    /// What was not seen for so long is as good as new. Seconds, default 30 days.
    #[schemars(range(min = 3_600, max = 315_360_000))]
    pub rare_secs: u64,
    /// After so many days what was learned of rates counts half. Default 14.
    #[schemars(range(min = 0.1, max = 3_650.0))]
    pub half_life_days: f64,
    /// What is learned first, and how much is kept.
    pub learning: Learning,
}

impl Default for RareActivityConfig {
    fn default() -> Self {
        Self {
            odd_nats: 3.0,
            day_nats: 3.0,
            rare_secs: 30 * 86_400,
            half_life_days: 14.0,
            learning: Learning::default(),
        }
    }
}

impl RareActivityConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.within("odd_nats", self.odd_nats, 0.0, 100.0);
        check.within("day_nats", self.day_nats, 0.5, 100.0);
        check.count("rare_secs", usize::try_from(self.rare_secs).unwrap_or(usize::MAX), 3_600, 315_360_000);
        check.within("half_life_days", self.half_life_days, 0.1, 3_650.0);
        check.part("learning", self.learning.check());
        check.done()
    }
}

detector! {
    @on [super::host::Host]
    /// Finds pairs that are new or long not seen: parent and child program, user and program, program and destination, user and
    /// origin of a login, user and action.
    ///
    /// About 200 bytes a pair. The first day of an entity is learned; a day later, what is odd for who did it is reported.
    RareActivityDetector, Rare, RareActivityConfig
}

#[derive(Debug)]
struct Rare(RareActivityConfig);

/// One kind of pair.
struct Pair<'a> {
    kind: u8,
    subject: &'static str,
    technique: &'static str,
    who: (&'static str, &'a str),
    what: (&'static str, &'a str),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Entities(Table<EntityId, Watched>);

impl PerEntity for Entities {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.0.retain(|of, _| of != entity);
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Watched {
    first: Timestamp,
    kinds: Table<u8, Kind>,
}

/// What is known of one kind of pair on one entity.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kind {
    all: Counts,
    by_who: Table<u64, Who>,
    /// How often each came.
    pairs: Table<u64, u32>,
    things: Table<u64, ()>,
    /// How many of the pairs had a thing that was new to the entity.
    unknown: f64,
    /// Occasions of all since the entity is warm, and the days that all were watched together; both fading.
    occasions: f64,
    days: f64,
    until: Timestamp,
}

/// What is known of one who does things.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Who {
    counts: Counts,
    first: Timestamp,
    /// Occasions, as of the last; fading.
    occasions: f64,
    last: Option<Timestamp>,
}

/// Acts, how many of them were new, and how many things came but once.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Counts {
    acts: f64,
    new: f64,
    once: f64,
}

/// How odd a new pair is.
#[derive(Debug, Clone, Copy)]
struct Odd {
    /// For who did it.
    nats: f64,
    /// Of an occasion to who did it, within a day.
    within_a_day: f64,
    /// Acts of who did it, before.
    acts: f64,
    /// How long ago it was seen, if it ever was.
    away: Option<Duration>,
    /// Whether nobody here had to do with it.
    foreign: bool,
    days: f64,
}

/// Beyond so many acts old ones count less.
const MAX_ACTS: f64 = 10_000.0;
/// How many acts the entity's own share of new things is worth.
const PRIOR_ACTS: f64 = 10.0;
/// Occasions that all of an entity are granted beforehand, over so many days; and how many days of who did it their rate is worth.
const PRIOR_OCCASIONS: f64 = 0.5;
const PRIOR_DAYS: f64 = 5.0;
/// Silence counts as time observed up to so many days at once.
const MAX_STEP_DAYS: f64 = 1.0;
/// How long an occasion is.
const OCCASION: Duration = Duration::from_secs(3_600);
impl Counts {
    /// Counts an act with a thing that came `times` times now.
    fn count(&mut self, times: u32) {
        self.acts += 1.0;
        match times {
            1 => (self.new, self.once) = (self.new + 1.0, self.once + 1.0),
            2 => self.once = (self.once - 1.0).max(0.0),
            _ => {}
        }
        if self.acts > MAX_ACTS {
            (self.acts, self.new, self.once) = (self.acts / 2.0, self.new / 2.0, self.once / 2.0);
        }
    }
}

impl Core for Rare {
    type State = Entities;
    const NAME: &'static str = "rare_activity";
    const VERSION: u32 = 1;

    fn learning(&self) -> &Learning {
        &self.0.learning
    }

    fn activity(
        &self,
        state: &mut Entities,
        event: &EventRecord,
        activity: &Activity,
        reports: &mut Reports<'_>,
    ) -> Result<()> {
        let learning = &self.0.learning;
        let new = || Watched { first: event.at, ..Watched::default() };
        let (watched, _) = state.0.meet(&event.entity, event.at, learning.max_entities, new);
        let warm = learning.is_over(watched.first, event.at);
        let mut odd = SmallVec::<[(Pair<'_>, Odd); 2]>::new();
        for pair in pairs(activity) {
            let (kind, _) = watched.kinds.meet(&pair.kind, event.at, usize::from(u8::MAX), Kind::default);
            odd.extend(self.pair(kind, warm, event.at, &pair).map(|found| (pair, found)));
        }
        self.report(event, &odd, reports)
    }
}

/// The pairs of one act whose both ends are known.
fn pairs(activity: &Activity) -> impl Iterator<Item = Pair<'_>> {
    let user = activity.user.as_deref().map(|user| ("user", user));
    let program = activity.program.as_deref().map(|program| ("program", program));
    let pair = |kind, subject, technique, who: Option<(&'static str, _)>, what: Option<(&'static str, _)>| {
        Some(Pair { kind, subject, technique, who: who?, what: what? })
    };
    let both = match &activity.act {
        Act::Started { parent, .. } => {
            let parent = parent.as_deref().map(|parent| ("parent", parent));
            // T1059: Command and Scripting Interpreter. T1078: Valid Accounts.
            [
                pair(0, subject::RARE_CHILD, "T1059", parent, program),
                pair(1, subject::RARE_PROGRAM, "T1078", user, program),
            ]
        }
        // T1071: Application Layer Protocol.
        Act::Connected { to, .. } => {
            [pair(2, subject::RARE_DESTINATION, "T1071", program, Some(("destination", to.as_str()))), None]
        }
        Act::LoggedIn { from, succeeded: true } => {
            let from = from.as_deref().map(|from| ("from", from));
            [pair(3, subject::RARE_LOGIN, "T1078", user, from), None]
        }
        Act::Did { action, .. } => {
            [pair(4, subject::RARE_ACTION, "T1078", user, Some(("action", action.as_str()))), None]
        }
        // Failed logins name whatever an attacker types.
        _ => [None, None],
    };
    both.into_iter().flatten()
}

impl Rare {
    /// Learns a pair, and says how odd it is if it is new.
    fn pair(&self, kind: &mut Kind, warm: bool, at: Timestamp, pair: &Pair<'_>) -> Option<Odd> {
        let config = &self.0;
        let (max, half_life) = (config.learning.max_names, config.half_life_days);
        kind.pass(at, warm, half_life);
        let (who, what) = (hash(&[pair.who.1]), hash(&[pair.what.1]));
        let (who, _) = kind.by_who.meet(&who, at, max, || Who { first: at, ..Who::default() });
        let (times, last) = kind.pairs.meet(&hash(&[pair.who.1, pair.what.1]), at, max, || 0);
        let away = last.map(|last| at.since(last));
        let new = away.is_none_or(|away| away.as_secs() >= config.rare_secs);
        *times = if new { 1 } else { times.saturating_add(1) };
        let usual = (kind.all.once + 0.5) / (kind.all.acts + 1.0);
        let mut share = (who.counts.once + PRIOR_ACTS * usual) / (who.counts.acts + PRIOR_ACTS);
        let acts = who.counts.acts;
        who.counts.count(*times);
        let foreign = kind.things.meet(&what, at, max, || ()).1.is_none();
        if new && foreign {
            share *= (kind.unknown + 0.5) / (kind.all.new + 1.0);
            kind.unknown += 1.0;
        }
        kind.all.count(*times);
        let odd = -share.min(1.0).ln();
        let goes_on = who.last.is_some_and(|last| last <= at && at.since(last) < OCCASION);
        if !warm || !new || odd < config.odd_nats || goes_on {
            return None;
        }
        let others = (kind.occasions + PRIOR_OCCASIONS) / (kind.days + PRIOR_DAYS);
        let days = days_that_count(at.since(who.first), half_life);
        let before = who.last.map_or(0.0, |last| who.occasions * fading(at.since(last), half_life));
        let rate = (before + PRIOR_DAYS * others) / (days + PRIOR_DAYS);
        (who.occasions, who.last) = (before + 1.0, Some(at));
        kind.occasions += 1.0;
        Some(Odd { nats: odd, within_a_day: -(-(-rate).exp_m1()).ln(), acts, away, foreign, days })
    }

    /// Reports an act with pairs that are odd.
    fn report(&self, event: &EventRecord, odd: &[(Pair<'_>, Odd)], reports: &mut Reports<'_>) -> Result<()> {
        // Of equals the first.
        let most = odd.iter().rev().max_by(|a, b| a.1.within_a_day.total_cmp(&b.1.within_a_day));
        let Some((pair, oddest)) = most else { return Ok(()) };
        let nats = oddest.within_a_day;
        let mut key = Key::new(&event.entity, pair.subject);
        key.labels.insert(ATTACK, pair.technique);
        for (pair, _) in odd {
            key.labels.insert(pair.who.0, quote(pair.who.1));
            key.labels.insert(pair.what.0, quote(pair.what.1));
        }
        if nats < self.0.day_nats * reports.factor(&key) {
            return Ok(());
        }
        let found = Found {
            // The limit is of how often such things come; the score tells how odd it is as well.
            nats: oddest.nats + nats,
            direction: Direction::New,
            onset: Some(event.at),
            expected: 0.0,
            seen: 1.0,
            threshold: 1.0,
            patience: Duration::ZERO,
        };
        let ((who_is, who), (what_is, what)) = (pair.who, pair.what);
        reports.report(&key, found, |onset| {
            let before = match oddest.away {
                Some(away) => format!("last seen {} days before", away.as_secs() / 86_400),
                None if oddest.foreign => "never seen here".to_owned(),
                None => format!("never seen with this {who_is}"),
            };
            format!(
                "expected no new {what_is} of {who_is} `{}`: one act in {:.0} is as odd, by {:.0} acts of it; seen `{}`, {before}, at \
                 {onset}; that comes to it on one day in {:.0}, by {:.1} days",
                quote(who),
                oddest.nats.min(40.0).exp(),
                oddest.acts,
                quote(what),
                nats.min(40.0).exp(),
                oddest.days
            )
        })
    }
}

impl Kind {
    /// Lets time pass.
    fn pass(&mut self, at: Timestamp, warm: bool, half_life: f64) {
        let days = if warm { in_days(at.since(self.until)).min(MAX_STEP_DAYS) } else { 0.0 };
        // A clock that was set back is followed, else no time would pass until it is ahead again.
        self.until = at;
        let fade = (-days * std::f64::consts::LN_2 / half_life).exp();
        self.occasions *= fade;
        self.days = self.days * fade + days * self.by_who.len() as f64;
    }
}

fn in_days(time: Duration) -> f64 {
    time.as_secs_f64() / 86_400.0
}

/// What is left of a count after so long.
fn fading(time: Duration, half_life: f64) -> f64 {
    (-in_days(time) * std::f64::consts::LN_2 / half_life).exp()
}

/// How many days so long a time is, when old ones count less.
fn days_that_count(time: Duration, half_life: f64) -> f64 {
    (1.0 - fading(time, half_life)) * half_life / std::f64::consts::LN_2
}

#[cfg(test)]
mod tests;
