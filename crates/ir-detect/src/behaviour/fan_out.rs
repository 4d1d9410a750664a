//! Somebody who suddenly talks to many new hosts: a scan, or an attacker who moves on.
//!
//! Of each source the destinations that are new to it are counted in windows, and the count is compared with those of its own windows
//! before ([`Tail`]). Sources are a program on an entity, the entity as a whole (so that a new program has a history), and a user,
//! whose destinations are the entities where the user logs in.

use std::collections::BTreeSet;

use std::time::Duration;

use ir_core::anomaly::Direction;
use ir_core::{Act, Activity, EntityId, EventRecord, Problem, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::{Core, Found, Learning, Reports};
use super::table::{Table, hash, quote};
use super::window::{Window, WindowConfig};
use super::{ATTACK, subject};
use crate::anomaly::episode::Key;
use crate::anomaly::host::detector;
use crate::check::Check;
use crate::runtime::per_entity::PerEntity;
use crate::stats::Tail;

/// How a [`FanOutDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FanOutConfig {
    /// New destinations in a window that are reported at least. Default 6.
    #[schemars(range(min = 1, max = 1_000))]
    pub min_new: usize,
    /// Surprise that is reported, in nats. Default 7: a window in a thousand.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub nats: f64,
    /// Sources at most, programs and users together; that which was silent for longest is forgotten first. Default 20,000.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_sources: usize,
    /// Over what is counted.
    pub window: WindowConfig,
    /// What is learned first, and how much is kept: `max_names` are the destinations of one source.
    pub learning: Learning,
}

impl Default for FanOutConfig {
    fn default() -> Self {
        Self {
            min_new: 6,
            nats: 7.0,
            max_sources: 20_000,
            window: WindowConfig::default(),
            learning: Learning::default(),
        }
    }
}

impl FanOutConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.count("min_new", self.min_new, 1, 1_000);
        check.within("nats", self.nats, 1.0, 1000.0);
        check.count("max_sources", self.max_sources, 1, 10_000_000);
        check.part("window", self.window.check());
        check.part("learning", self.learning.check());
        check.done()
    }
}

detector! {
    @on [super::host::Host]
    /// Finds programs, entities and users with many new destinations in a short time.
    ///
    /// New destinations of one window are counted exactly up to 1,024 and not beyond. About 50 bytes a destination, 1 KB a source.
    FanOutDetector, FanOut, FanOutConfig
}

/// More new destinations in a window are not told apart.
const MAX_NEW: usize = 1_024;

#[derive(Debug)]
struct FanOut(FanOutConfig);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Sources(Table<u64, Source>);

impl PerEntity for Sources {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.0.retain(|_, source| source.on.as_ref() != Some(entity));
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Source {
    /// Where it is; users are everywhere.
    on: Option<EntityId>,
    first: Timestamp,
    known: Table<u64, ()>,
    window: Window,
    new: BTreeSet<u64>,
    counts: Tail,
}

impl Core for FanOut {
    type State = Sources;
    const NAME: &'static str = "fan_out";
    const VERSION: u32 = 1;

    fn learning(&self) -> &Learning {
        &self.0.learning
    }

    fn activity(
        &self,
        state: &mut Sources,
        event: &EventRecord,
        activity: &Activity,
        reports: &mut Reports<'_>,
    ) -> Result<()> {
        let entity = event.entity.as_str();
        match &activity.act {
            Act::Connected { to, .. } => {
                let program = activity.program.as_deref().unwrap_or_default();
                // T1046: Network Service Discovery, which is what many new hosts are before anybody is let in.
                let found = self.source(state, event, ("program", Some(entity), program, "T1046"), to, reports)?;
                if found {
                    return Ok(());
                }
                self.source(state, event, ("entity", None, entity, "T1046"), to, reports).map(drop)
            }
            Act::LoggedIn { succeeded: true, .. } => {
                let Some(user) = activity.user.as_deref() else { return Ok(()) };
                // T1021: Remote Services.
                self.source(state, event, ("user", None, user, "T1021"), entity, reports).map(drop)
            }
            _ => Ok(()),
        }
    }
}

impl FanOut {
    /// Whether it was reported. `(kind, on, name, technique)` is the source.
    fn source(
        &self,
        state: &mut Sources,
        event: &EventRecord,
        (kind, on, name, technique): (&'static str, Option<&str>, &str, &'static str),
        to: &str,
        reports: &mut Reports<'_>,
    ) -> Result<bool> {
        let (config, at) = (&self.0, event.at);
        let on_entity = (kind != "user").then(|| event.entity.clone());
        let new = || Source { on: on_entity, first: at, ..Source::default() };
        let id = hash(&[kind, on.unwrap_or_default(), name]);
        let (source, _) = state.0.meet(&id, at, config.max_sources, new);
        // Silent windows count too: whoever talks to somebody new once a week is quiet the rest of it.
        if let Some(over) = source.window.pass(at, &config.window) {
            if source.window.n_before() > 0 {
                source.counts.push(source.new.len() as f64, 1.0, config.window.half_life());
            }
            for _ in 1..over {
                source.counts.push(0.0, 1.0, config.window.half_life());
            }
            source.new.clear();
        }
        let to_id = hash(&[to]);
        if source.known.meet(&to_id, at, config.learning.max_names, || ()).1.is_some() || source.new.len() >= MAX_NEW {
            return Ok(false);
        }
        source.new.insert(to_id);
        let n = source.new.len();
        let warm = config.learning.is_over(source.first, at) && source.window.is_warm(&config.window);
        if !warm || n < config.min_new {
            return Ok(false);
        }
        let nats = source.counts.surprise(n as f64);
        // A user's hosts are many: the report is about where it went last.
        let mut key = Key::new(&event.entity, subject::FAN_OUT);
        key.labels.insert(ATTACK, technique);
        key.labels.insert(kind, quote(name));
        if nats < config.nats * reports.factor(&key) {
            return Ok(false);
        }
        let found = Found {
            nats,
            direction: Direction::Up,
            onset: Some(source.window.begun()),
            expected: 0.0,
            seen: n as f64,
            threshold: config.min_new as f64,
            patience: Duration::ZERO,
        };
        let windows = source.window.n_before();
        reports.report(&key, found, |onset| {
            format!(
                "expected fewer than {} new destinations of {kind} `{}` in {} s as in {windows} windows before, seen {n} since \
                 {onset}, the last `{}`",
                config.min_new,
                quote(name),
                config.window.secs,
                quote(to)
            )
        })?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
