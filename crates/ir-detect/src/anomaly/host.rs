//! What all detectors of metrics have in common: scrapes, the bound on entities, episodes, snapshot, restore, feedback.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use ir_core::{Anomaly, EntityId, Feedback, PartName, Result, Series, SignalBatch, Snapshot, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::episode::{EpisodeConfig, Judge, Tracks};
use super::names::Bounds;
use crate::runtime::per_entity::PerEntity;
use crate::runtime::room::Room;
use crate::runtime::scrape::{Assembly, EntityScrape, ScrapeConfig, by_entity};
use crate::stored::StoredForm;

/// The part of a detector that differs.
pub(crate) trait Core: Debug + Send + Sync + 'static {
    /// What it has learned. Its types are the form of the snapshot: when they change, `VERSION` does.
    type State: Debug + Default + PerEntity + Serialize + DeserializeOwned + Send;
    const NAME: &'static str;
    /// Of thresholds and of the form of the snapshot.
    const VERSION: u32;

    fn bounds(&self) -> &Bounds;
    /// The metric with the start time of the process, for bare batches; the empty text when restarts do not matter.
    fn start_time(&self) -> &str;
    fn episode(&self) -> &EpisodeConfig;
    fn wants(&self, series: &Series) -> bool;
    fn scrape(
        &self,
        state: &mut Self::State,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        scrape: &EntityScrape<'_>,
        out: &mut Vec<Anomaly>,
    ) -> Result<()>;
}

#[derive(Debug)]
pub(crate) struct Host<C: Core> {
    core: C,
    state: Mutex<State<C::State>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State<S> {
    /// Of bare batches only: it stays empty where scrapes are assembled for all detectors.
    bare: Assembly,
    watched: Watched,
    tracks: Tracks,
    learned: S,
}

/// What a detector left out because there was no room for it. Counted since the start, over restarts from a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// Scrapes of entities beyond `bounds.max_entities`.
    pub scrapes: u64,
    /// Values of series beyond the detector's own bound on series.
    pub series: u64,
    /// Findings that began no episode because too many were followed.
    pub episodes: u64,
}

/// The entities that a detector watches.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Watched {
    last: BTreeMap<EntityId, Timestamp>,
    /// Scrapes of entities beyond the bound.
    refused: u64,
    room: Room,
}

/// Nothing this library writes comes near it.
const MAX_SNAPSHOT_BYTES: usize = 256 << 20;

impl<C: Core> Host<C> {
    const FORM: StoredForm = StoredForm { name: C::NAME, version: C::VERSION, max_bytes: MAX_SNAPSHOT_BYTES };

    pub(crate) fn new(core: C) -> Self {
        Self { core, state: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        C::NAME
    }

    pub(crate) fn detect(&self, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let detector = PartName::new(C::NAME)?;
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let mut found = Vec::new();
        let bare = ScrapeConfig::within(self.core.bounds(), self.core.start_time());
        let scrapes = state.bare.scrapes_of(batch, &bare);
        for scrapes in by_entity(&scrapes) {
            let Some(scrape) = EntityScrape::new(scrapes, |series| self.core.wants(series)) else { continue };
            if !state.watched.admit(scrape.entity, scrape.at, self.core.bounds(), C::NAME) {
                continue;
            }
            let config = self.core.episode();
            let judge = Judge { detector: &detector, version: C::VERSION, config, at: scrape.at };
            self.core.scrape(&mut state.learned, &mut state.tracks, judge, &scrape, &mut found)?;
        }
        for gone in &batch.gone {
            let judge = Judge { detector: &detector, version: C::VERSION, config: self.core.episode(), at: gone.at };
            state.tracks.end_gone(judge, gone, &mut found);
            state.watched.last.remove(&gone.entity);
            state.learned.drop_entity(&gone.entity);
        }
        Ok(found)
    }

    pub(crate) fn refused(&self) -> Refused {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let [series, episodes] = state.tracks.refused();
        Refused { scrapes: state.watched.refused, series, episodes }
    }

    pub(crate) fn beyond_bounds(&self) -> u64 {
        let refused = self.refused();
        refused.scrapes + refused.series + refused.episodes
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

impl Watched {
    /// Whether `entity` is watched; it is from now on if there is room.
    fn admit(&mut self, entity: &EntityId, at: Timestamp, bounds: &Bounds, detector: &str) -> bool {
        if let Some(last) = self.last.get_mut(entity) {
            *last = at;
            return true;
        }
        if self.last.len() >= bounds.max_entities {
            self.make_room(at, bounds, detector);
        }
        if self.last.len() >= bounds.max_entities {
            self.refused += 1;
            return false;
        }
        self.last.insert(entity.clone(), at);
        true
    }

    fn make_room(&mut self, now: Timestamp, bounds: &Bounds, detector: &str) {
        if !self.room.is_due(now) {
            return;
        }
        self.last.retain(|_, last| now.since(*last).as_secs() <= bounds.forget_secs);
        if self.last.len() >= bounds.max_entities {
            let (watched, refused_scrapes) = (self.last.len(), self.refused);
            tracing::warn!(detector, watched, refused_scrapes, "entities beyond the bound are not watched");
        }
    }
}

/// Makes a public detector of a core: `new` with the one check, and the trait. The host is that of metrics if no other is named.
macro_rules! detector {
    ($(#[$doc:meta])* $name:ident, $core:ident, $config:ident) => {
        $crate::anomaly::host::detector! { @on [$crate::anomaly::host::Host] $(#[$doc])* $name, $core, $config }

        impl $name {
            /// What was left out because of bounds.
            #[must_use]
            pub fn refused(&self) -> $crate::anomaly::Refused {
                self.0.refused()
            }
        }
    };
    (@on [$($host:tt)+] $(#[$doc:meta])* $name:ident, $core:ident, $config:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name($($host)+<$core>);

        impl $name {
            /// Checks the configuration.
            ///
            /// # Errors
            ///
            /// All problems at once, each with its field.
            pub fn new(config: $config) -> std::result::Result<Self, ir_core::ConfigError> {
                let problems = config.check();
                ir_core::ConfigError::check(problems, Self::checked(config))
            }

            /// From a configuration that is known to be right.
            fn checked(config: $config) -> Self {
                Self($($host)+::new($core(config)))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::checked($config::default())
            }
        }

        #[async_trait::async_trait]
        impl ir_core::Detector for $name {
            fn name(&self) -> &str {
                self.0.name()
            }

            async fn detect(
                &self,
                _ctx: &ir_core::Ctx,
                batch: &ir_core::SignalBatch,
            ) -> ir_core::Result<Vec<ir_core::Anomaly>> {
                self.0.detect(batch)
            }

            async fn snapshot(&self, _ctx: &ir_core::Ctx) -> ir_core::Result<ir_core::Snapshot> {
                self.0.snapshot()
            }

            async fn restore(&self, _ctx: &ir_core::Ctx, from: &ir_core::Snapshot) -> ir_core::Result<()> {
                self.0.restore(from)
            }

            async fn feedback(&self, _ctx: &ir_core::Ctx, feedback: &ir_core::Feedback) -> ir_core::Result<()> {
                self.0.feedback(feedback);
                Ok(())
            }

            fn beyond_bounds(&self) -> u64 {
                self.0.beyond_bounds()
            }
        }
    };
}
pub(crate) use detector;
