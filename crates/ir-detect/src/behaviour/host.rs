//! What all detectors of activity have in common: episodes that end when nothing more comes, snapshot, restore, feedback.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ir_core::anomaly::Direction;
use ir_core::{
    Activity, Anomaly, EventKind, EventRecord, Feedback, PartName, Result, SignalBatch, Snapshot, Symptom, Timestamp,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::anomaly::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use crate::check::Check;
use crate::pairs;
use crate::runtime::per_entity::PerEntity;
use crate::stored::StoredForm;

/// How much a detector of behaviour learns before it speaks, and how much it keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Learning {
    /// What an entity does in its first so many seconds is normal. Default 86,400: each hour of the day was seen once.
    #[schemars(range(min = 0, max = 31_536_000))]
    pub warm_secs: u64,
    /// An episode ends when nothing more came for so long. Seconds, default 3,600.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub quiet_secs: u64,
    /// Entities at most; that which was silent for longest is forgotten first. Default 2,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_entities: usize,
    /// Names of each kind (pairs, programs, destinations) of one entity at most, the same way; 40 to 300 bytes each. Default 2,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_names: usize,
}

impl Default for Learning {
    fn default() -> Self {
        Self { warm_secs: 86_400, quiet_secs: 3_600, max_entities: 2_000, max_names: 2_000 }
    }
}

impl Learning {
    pub(crate) fn check(&self) -> Check {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let mut check = Check::default();
        check.count("warm_secs", size(self.warm_secs), 0, 31_536_000);
        check.count("quiet_secs", size(self.quiet_secs), 1, 31_536_000);
        check.count("max_entities", self.max_entities, 1, 1_000_000);
        check.count("max_names", self.max_names, 1, 1_000_000);
        check
    }

    /// Whether an entity first heard of at `first` has been learned at `at`.
    pub(crate) fn is_over(&self, first: Timestamp, at: Timestamp) -> bool {
        at.since(first).as_secs() >= self.warm_secs
    }
}

/// The part of a detector that differs.
pub(crate) trait Core: Debug + Send + Sync + 'static {
    /// What it has learned. Its types are the form of the snapshot: when they change, `VERSION` does.
    type State: Debug + Default + PerEntity + Serialize + DeserializeOwned + Send;
    const NAME: &'static str;
    /// Of thresholds and of the form of the snapshot.
    const VERSION: u32;

    fn learning(&self) -> &Learning;
    fn activity(
        &self,
        state: &mut Self::State,
        event: &EventRecord,
        activity: &Activity,
        reports: &mut Reports<'_>,
    ) -> Result<()>;
}

/// Where findings go.
#[derive(Debug)]
pub(crate) struct Reports<'a> {
    judge: Judge<'a>,
    tracks: &'a mut Tracks,
    open: &'a mut BTreeMap<Key, Since>,
    out: &'a mut Vec<Anomaly>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Since {
    last: Timestamp,
    /// It is waited for more for so long at least.
    patience: Duration,
    direction: Direction,
}

/// What was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) nats: f64,
    pub(crate) direction: Direction,
    pub(crate) onset: Option<Timestamp>,
    pub(crate) expected: f64,
    pub(crate) seen: f64,
    pub(crate) threshold: f64,
    /// How long may pass before more of it comes; an episode lasts at least so long, and [`Learning::quiet_secs`].
    pub(crate) patience: Duration,
}

impl Found {
    fn finding(self, verdict: Verdict) -> Finding {
        let Self { nats, direction, onset, expected, seen, threshold, patience: _ } = self;
        Finding { verdict, nats, symptom: Symptom::Behaviour, direction, onset, expected, seen, threshold }
    }
}

impl Reports<'_> {
    /// By how much the limit of `key` was moved by feedback.
    pub(crate) fn factor(&self, key: &Key) -> f64 {
        self.tracks.factor(key)
    }

    /// Reports what is beyond its limit.
    pub(crate) fn report(&mut self, key: &Key, found: Found, because: impl FnOnce(Timestamp) -> String) -> Result<()> {
        self.tracks.judge(self.judge, key, &found.finding(Verdict::Bad), because, self.out)?;
        if self.tracks.is_open(key) {
            self.open.insert(
                key.clone(),
                Since { last: self.judge.at, patience: found.patience, direction: found.direction },
            );
        }
        Ok(())
    }

    /// Ends episodes of which nothing more came.
    fn end(&mut self, quiet: Duration) -> Result<()> {
        let at = self.judge.at;
        let over: Vec<(Key, Since)> = self
            .open
            .iter()
            .filter(|(_, since)| at.since(since.last) >= quiet.max(since.patience))
            .map(|(key, since)| (key.clone(), *since))
            .collect();
        for (key, since) in over {
            self.open.remove(&key);
            let direction = since.direction;
            let found = Found {
                nats: 0.0,
                direction,
                onset: None,
                expected: 0.0,
                seen: 0.0,
                threshold: 0.0,
                patience: Duration::ZERO,
            };
            let because = |onset| format!("nothing more of it since {}; it began at {onset}", since.last);
            self.tracks.judge(self.judge, &key, &found.finding(Verdict::Good), because, self.out)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Host<C: Core> {
    core: C,
    episode: EpisodeConfig,
    state: Mutex<State<C::State>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct State<S> {
    tracks: Tracks,
    #[serde(with = "pairs")]
    open: BTreeMap<Key, Since>,
    /// When it was last looked for episodes that are over.
    swept: Timestamp,
    learned: S,
}

const MAX_SNAPSHOT_BYTES: usize = 256 << 20;
/// So often it is looked for episodes that are over.
const SWEEP: Duration = Duration::from_secs(60);

impl<C: Core> Host<C> {
    const FORM: StoredForm = StoredForm { name: C::NAME, version: C::VERSION, max_bytes: MAX_SNAPSHOT_BYTES };

    pub(crate) fn new(core: C) -> Self {
        // What cannot be taken back, such as a program started, is no flutter: one look begins an episode.
        let episode = EpisodeConfig { begin_looks: 1, end_looks: 1, ..EpisodeConfig::default() };
        let state = State {
            tracks: Tracks::default(),
            open: BTreeMap::new(),
            swept: Timestamp::default(),
            learned: C::State::default(),
        };
        Self { core, episode, state: Mutex::new(state) }
    }

    pub(crate) fn name(&self) -> &str {
        C::NAME
    }

    pub(crate) fn detect(&self, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let detector = PartName::new(C::NAME)?;
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { tracks, open, swept, learned } = &mut *guard;
        let mut out = Vec::new();
        for event in &batch.events {
            let EventKind::Activity(activity) = &event.kind else { continue };
            let judge = Judge { detector: &detector, version: C::VERSION, config: &self.episode, at: event.at };
            let mut reports = Reports { judge, tracks, open, out: &mut out };
            // A clock that was set back must not stop the looking.
            if event.at.since(*swept) >= SWEEP || swept.since(event.at) >= SWEEP {
                *swept = event.at;
                reports.end(Duration::from_secs(self.core.learning().quiet_secs))?;
            }
            self.core.activity(learned, event, activity, &mut reports)?;
        }
        for gone in &batch.gone {
            let judge = Judge { detector: &detector, version: C::VERSION, config: &self.episode, at: gone.at };
            tracks.end_gone(judge, gone, &mut out);
            open.drop_entity(&gone.entity);
            learned.drop_entity(&gone.entity);
        }
        Ok(out)
    }

    pub(crate) fn beyond_bounds(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tracks.refused().into_iter().sum()
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Self::FORM.write(&*state)
    }

    pub(crate) fn restore(&self, from: &Snapshot) -> Result<()> {
        let restored = Self::FORM.read(from)?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = restored;
        Ok(())
    }

    pub(crate) fn feedback(&self, feedback: &Feedback) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tracks.feedback(feedback);
    }
}
