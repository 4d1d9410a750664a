//! The detector of log templates: failures that were not there, statements that burst or vanish, and work that fails or breaks off.
//!
//! Time goes in steps of a twelfth of a window; a step in which nobody at all wrote is no time. Statements are told apart by template,
//! by the place in the code and by the level that their lines name. Five things are judged after each step, over one window and over two:
//!
//! - *Failures*: lines of an entity that call themselves errors, or have words of failure and no level, and are rare there, all
//!   together, because one fault writes several statements.
//! - *Rates*: a statement comes more or less often than usual, beyond what the entity's load explains.
//! - *Failing work*: pieces of work (the lines of one trace, request or thread in one entity) that hold a failure of the entity's own,
//!   of all pieces with that opener.
//! - *Broken work*: pieces without a statement that nearly always belongs to pieces with that opener. Faults that return too early
//!   write nothing; they show only here.
//! - *Successors*: in a stream without such keys, a statement that is not followed by its usual successor.
//!
//! Each is a count with an exposure that explains it, judged by the Chernoff bound of a negative binomial tail
//! ([`EventRate`](crate::stats::EventRate)); pieces of work, of which it is known how many there are, by the tail of a beta-binomial
//! law ([`share_surprise`](crate::stats::share_surprise)). A limit follows from how many tests are done an hour and how many false
//! alarms are accepted ([`LogTemplatesConfig::false_alarms_per_hour`]).
//!
//! What is over within [`LogTemplatesConfig::lasting_secs`] is not told: restarts. Work that breaks off because the entity, or one that
//! worked for it, could not reach another is no trial, so restarts do not explain the rest; where most of the work is not as usual it is
//! told after [`LogTemplatesConfig::failing_secs`] and [`LogTemplatesConfig::missing_secs`]. What is odd is learned only a little at a
//! time until it has lasted. New statements that do not tell of failure are never told; they excuse the absence of old ones for a
//! while: deploys. Fatal lines never seen before are told at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ir_core::{Anomaly, ConfigError, Ctx, Detector, Feedback, PartName, Problem, Result, SignalBatch, Snapshot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::usual::{HORIZON, TICKS};
use super::watch::Watch;
use super::{MinerConfig, MinerSnapshot, TemplateMiner};
use crate::anomaly::episode::{EpisodeConfig, Judge};
use crate::anomaly::{self};
use crate::check::Check;
use crate::stored::StoredForm;

const NAME: &str = "log_templates";
const VERSION: u32 = 3;
const FORM: StoredForm = StoredForm { name: NAME, version: VERSION, max_bytes: 256 << 20 };

/// How [`LogTemplates`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogTemplatesConfig {
    /// Lines are counted over windows of this length, and of twice this, in steps of a twelfth. Seconds, default 60.
    #[schemars(range(min = 12, max = 86_400))]
    pub window_secs: u64,
    /// Nothing is said of an entity before so many seconds of its lines were read. Default 300.
    #[schemars(range(min = 0, max = 864_000))]
    pub warm_secs: u64,
    /// False alarms an hour that are accepted, of all entities together, as far as chance makes them. Default 0.1. With a thousand
    /// statements and pairs watched this makes a limit of 13 nats.
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub false_alarms_per_hour: f64,
    /// What is over sooner is not told: restarts and retries. Seconds, default 60.
    #[schemars(range(min = 0, max = 86_400))]
    pub lasting_secs: u64,
    /// The same for a failure of an entity's own that most pieces of work write of which few did before: bursts of requests that
    /// cannot be served. Seconds, default 20.
    #[schemars(range(min = 0, max = 86_400))]
    pub failing_secs: u64,
    /// The same for a statement that most pieces of work are without to which it belongs: instances of two programs side by side
    /// while one replaces the other. Seconds, default 35.
    #[schemars(range(min = 0, max = 86_400))]
    pub missing_secs: u64,
    /// Surprise of a fatal line never seen before that is told at once, in nats. Default 6.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub fatal_nats: f64,
    /// A template not seen for so long is as good as new when it comes back. Seconds, default a day.
    #[schemars(range(min = 60, max = 31_536_000))]
    pub rare_secs: u64,
    /// Lines in a window a burst has at least. Default 10.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_burst: u64,
    /// The same for lines that tell of failure, and for broken pairs. Default 3.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_errors: u64,
    /// And so many times what is usual. Default 3.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub burst_ratio: f64,
    /// Lines that do not tell of failure must be so many times more than usual, or fewer: what people ask for changes. Default 8.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub plain_ratio: f64,
    /// A line that no other follows within so many seconds has no successor. Default 5.
    #[schemars(range(min = 1, max = 3600))]
    pub successor_secs: u64,
    /// New statements that do not tell of failure explain missing lines and unusual successors for so long: programs change.
    /// Seconds, default 900.
    #[schemars(range(min = 0, max = 864_000))]
    pub young_secs: u64,
    /// How much is kept.
    pub bounds: anomaly::Bounds,
    /// Limits of the miner.
    pub miner: MinerConfig,
    /// When episodes begin and end; a look is a step. Default: they begin at once and end after 12 good steps.
    pub episode: EpisodeConfig,
}

impl Default for LogTemplatesConfig {
    fn default() -> Self {
        Self {
            window_secs: 60,
            warm_secs: 300,
            false_alarms_per_hour: 0.1,
            lasting_secs: 60,
            failing_secs: 20,
            missing_secs: 35,
            fatal_nats: 6.0,
            rare_secs: 86_400,
            min_burst: 10,
            min_errors: 3,
            burst_ratio: 3.0,
            plain_ratio: 8.0,
            successor_secs: 5,
            young_secs: 900,
            bounds: anomaly::Bounds::default(),
            miner: MinerConfig::default(),
            episode: EpisodeConfig { begin_looks: 1, end_looks: 12, ..EpisodeConfig::default() },
        }
    }
}

impl LogTemplatesConfig {
    fn check(&self) -> Vec<Problem> {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let mut check = Check::default();
        check.count("window_secs", size(self.window_secs), 12, 86_400);
        check.count("warm_secs", size(self.warm_secs), 0, 864_000);
        check.within("false_alarms_per_hour", self.false_alarms_per_hour, 1e-6, 1e6);
        check.count("lasting_secs", size(self.lasting_secs), 0, 86_400);
        check.count("failing_secs", size(self.failing_secs), 0, 86_400);
        check.count("missing_secs", size(self.missing_secs), 0, 86_400);
        check.within("fatal_nats", self.fatal_nats, 1.0, 1000.0);
        check.count("rare_secs", size(self.rare_secs), 60, 31_536_000);
        check.count("min_burst", size(self.min_burst), 1, 1_000_000_000);
        check.count("min_errors", size(self.min_errors), 1, 1_000_000_000);
        check.within("burst_ratio", self.burst_ratio, 1.0, 1000.0);
        check.within("plain_ratio", self.plain_ratio, 1.0, 1000.0);
        check.count("successor_secs", size(self.successor_secs), 1, 3600);
        check.count("young_secs", size(self.young_secs), 0, 864_000);
        check.part("bounds", self.bounds.check());
        check.part("miner", self.miner.problems());
        check.part("episode", self.episode.check());
        check.done()
    }

    /// The length of a step.
    pub(super) fn tick(&self) -> Duration {
        Duration::from_secs(self.window_secs) / HORIZON as u32
    }

    /// How long a line may wait for the next of its piece of work.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.successor_secs)
    }

    pub(super) fn warm_ticks(&self) -> u64 {
        self.warm_secs * HORIZON as u64 / self.window_secs.max(1)
    }

    /// Steps from the first to the last raised one, both among them, of what lasts for long enough wherever steps are cut.
    pub(super) fn lasting_ticks(&self) -> usize {
        self.steps(self.lasting_secs)
    }

    pub(super) fn steps(&self, secs: u64) -> usize {
        let steps = (secs * HORIZON as u64).div_ceil(self.window_secs.max(1)) + 2;
        usize::try_from(steps).unwrap_or(TICKS).min(TICKS)
    }
}

/// Finds log lines that tell of failure as none did before, templates that burst or vanish, and work that breaks off, per entity.
///
/// The subject of its anomalies is the statement's id (the template's, where lines name neither place nor level), or `failures`; the
/// label `change` says `failures`, `rate`, `failing`, `work` or `successor`, and for the last two the label `missing` names the
/// statement that did not come. The entity's id is the stream's kind, so one entity's templates do not make another's known. A merge of
/// templates is no anomaly. Failures that several entities show at the same time count for more. What goes on right after a gap of all
/// streams is the same episode, unless the gap is longer than [`EpisodeConfig::relearn_secs`].
///
/// About 400 bytes a statement and 300 bytes a member of work, beside the miner. Of all entities together 200,000 of each are kept,
/// and 262,144 pieces of work are open at a time.
#[derive(Debug)]
pub struct LogTemplates {
    config: LogTemplatesConfig,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    miner: TemplateMiner,
    watch: Watch,
}

/// What a snapshot holds: borrowed to be written, owned when read.
#[derive(Debug, Serialize, Deserialize)]
struct Stored<W> {
    miner: MinerSnapshot,
    watch: W,
}

impl LogTemplates {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn new(config: LogTemplatesConfig) -> std::result::Result<Self, ConfigError> {
        let problems = config.check();
        let config = ConfigError::check(problems, config)?;
        let miner = TemplateMiner::new(config.miner.clone())?;
        let state = State { miner, watch: Watch::default() };
        Ok(Self { config, state: Mutex::new(state) })
    }
}

#[async_trait::async_trait]
impl Detector for LogTemplates {
    fn name(&self) -> &str {
        NAME
    }

    async fn detect(&self, _ctx: &Ctx, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let detector = PartName::new(NAME)?;
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let mut found = Vec::new();
        for record in &batch.logs {
            let judge = Judge { detector: &detector, version: VERSION, config: &self.config.episode, at: record.at };
            state.watch.read(record, &mut state.miner, judge, &self.config, &mut found)?;
        }
        for gone in &batch.gone {
            let judge = Judge { detector: &detector, version: VERSION, config: &self.config.episode, at: gone.at };
            state.watch.end_gone(judge, gone, &mut found);
        }
        Ok(found)
    }

    async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        FORM.write(&Stored { miner: state.miner.snapshot(), watch: &state.watch })
    }

    async fn restore(&self, _ctx: &Ctx, from: &Snapshot) -> Result<()> {
        let stored: Stored<Watch> = FORM.read(from)?;
        let miner = TemplateMiner::restore(stored.miner)?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State { miner, watch: stored.watch };
        Ok(())
    }

    async fn feedback(&self, _ctx: &Ctx, feedback: &Feedback) -> Result<()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).watch.tracks.feedback(feedback);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
