//! What all detectors of metrics have in common: looks, episodes, snapshot, restore, feedback.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use ir_core::{Anomaly, Feedback, PartName, Result, Series, SignalBatch, Snapshot};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::stored::StoredForm;

use super::episode::{EpisodeConfig, Judge, Tracks};
use super::looks::{Assembler, Interest, Look};

/// The part of a detector that differs.
pub(crate) trait Core: Debug + Send + Sync + 'static {
    /// What it has learned. Finite numbers only: the snapshot is JSON.
    type State: Debug + Default + Serialize + DeserializeOwned + Send;
    const NAME: &'static str;
    /// Of thresholds and of the form of the snapshot.
    const VERSION: u32;

    fn interest(&self) -> Interest<'_>;
    fn episode(&self) -> &EpisodeConfig;
    fn wants(&self, series: &Series) -> bool;
    fn look(
        &self,
        state: &mut Self::State,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        look: &Look,
        out: &mut Vec<Anomaly>,
    ) -> Result<()>;
}

#[derive(Debug)]
pub(crate) struct Host<C: Core> {
    core: C,
    state: Mutex<State<C::State>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct State<S> {
    looks: Assembler,
    tracks: Tracks,
    learned: S,
}

/// Nothing this library writes comes near it.
const MAX_SNAPSHOT_BYTES: usize = 256 << 20;

impl<C: Core> Host<C> {
    const FORM: StoredForm = StoredForm { name: C::NAME, version: C::VERSION, max_bytes: MAX_SNAPSHOT_BYTES };

    pub(crate) fn new(core: C) -> Self {
        let state = State { looks: Assembler::default(), tracks: Tracks::default(), learned: C::State::default() };
        Self { core, state: Mutex::new(state) }
    }

    pub(crate) fn name(&self) -> &str {
        C::NAME
    }

    pub(crate) fn detect(&self, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let detector = PartName::new(C::NAME)?;
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let (mut found, mut looks) = (Vec::new(), Vec::new());
        for sample in &batch.metrics {
            state.looks.push(sample, self.core.wants(&sample.series), self.core.interest(), &mut looks);
            for look in looks.drain(..) {
                let judge =
                    Judge { detector: &detector, version: C::VERSION, config: self.core.episode(), at: look.at };
                self.core.look(&mut state.learned, &mut state.tracks, judge, &look, &mut found)?;
            }
        }
        Ok(found)
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

/// Makes a public detector of a core: `new` with the one check, and the trait. The host is that of metrics if no other is named.
macro_rules! detector {
    ($(#[$doc:meta])* $name:ident, $core:ident, $config:ident) => {
        $crate::anomaly::host::detector! { @on [$crate::anomaly::host::Host] $(#[$doc])* $name, $core, $config }
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
        }
    };
}
pub(crate) use detector;
