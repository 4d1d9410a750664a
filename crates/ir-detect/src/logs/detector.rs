//! The detector of log templates: new and rare ones at once, bursts and silences when a window ends.
//!
//! *New* and *rare* are as surprising as new templates are seldom in the logs of that entity: `-ln` of their share of lines, with
//! Jeffreys' half. *Bursts* are judged by the Chernoff bound of the Poisson tail, *vanished* templates by the probability of no
//! line at all; both are divided by how much more than Poisson's the counts of that template scatter (a quasi-Poisson model:
//! McCullagh and Nelder 1989, "Generalized Linear Models", section 6.2). Windows in which the entity wrote nothing tell nothing
//! of its templates: silence as a whole is for the detector of absence.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ir_core::anomaly::Direction;
use ir_core::signal::{LogLevel, LogRecord};
use ir_core::{
    Anomaly, ConfigError, Ctx, Detector, EntityId, Error, ErrorKind, Feedback, PartName, Problem, Result, SignalBatch,
    Snapshot, Symptom, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MinerConfig, MinerSnapshot, TemplateId, TemplateMiner};
use crate::anomaly::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use crate::anomaly::{self};
use crate::check::Check;

const NAME: &str = "log_templates";
const VERSION: u32 = 1;
/// Larger snapshots are refused when read.
const MAX_SNAPSHOT_BYTES: usize = 1 << 30;
/// What a line that calls itself an error adds to the surprise of a new template: such lines are about one in twenty.
const ERROR_NATS: f64 = 3.0;
/// Characters of a template that a sentence quotes.
const QUOTED: usize = 120;

/// How [`LogTemplates`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogTemplatesConfig {
    /// Lines are counted over windows of this length. Seconds, default 60.
    #[schemars(range(min = 1, max = 86_400))]
    pub window_secs: u64,
    /// Nothing is called new before an entity has written so many lines. Default 500.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub warm_lines: u64,
    /// Nor before it was heard for so long. Seconds, default 120.
    #[schemars(range(min = 0, max = 864_000))]
    pub warm_secs: u64,
    /// Surprise of a new or rare template that is reported, in nats. Default 6: one line in 400.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub new_nats: f64,
    /// A template not seen for so long is rare when it comes back. Seconds, default a day.
    #[schemars(range(min = 60, max = 31_536_000))]
    pub rare_secs: u64,
    /// Surprise of a count that is reported, in nats. Default 14: every window of every template is one trial.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub count_nats: f64,
    /// Lines in a window a burst has at least. Default 10.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_burst: u64,
    /// And so many times what is usual. Default 3.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub burst_ratio: f64,
    /// Windows in a row without a line before a template counts as vanished. Default 3.
    #[schemars(range(min = 1, max = 10_000))]
    pub gone_windows: u32,
    /// Windows a template is watched before its counts are judged. Default 10.
    #[schemars(range(min = 2, max = 10_000))]
    pub learn_windows: u32,
    /// How much is kept.
    pub bounds: anomaly::Bounds,
    /// Limits of the miner.
    pub miner: MinerConfig,
    /// When episodes begin and end. Default: they begin at once and end after 2 good windows.
    pub episode: EpisodeConfig,
}

impl Default for LogTemplatesConfig {
    fn default() -> Self {
        Self {
            window_secs: 60,
            warm_lines: 500,
            warm_secs: 120,
            new_nats: 6.0,
            rare_secs: 86_400,
            count_nats: 14.0,
            min_burst: 10,
            burst_ratio: 3.0,
            gone_windows: 3,
            learn_windows: 10,
            bounds: anomaly::Bounds::default(),
            miner: MinerConfig::default(),
            episode: EpisodeConfig { begin_looks: 1, end_looks: 2, ..EpisodeConfig::default() },
        }
    }
}

impl LogTemplatesConfig {
    fn check(&self) -> Vec<Problem> {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let mut check = Check::default();
        check.count("window_secs", size(self.window_secs), 1, 86_400);
        check.count("warm_lines", size(self.warm_lines), 1, 1_000_000_000);
        check.count("warm_secs", size(self.warm_secs), 0, 864_000);
        check.within("new_nats", self.new_nats, 1.0, 1000.0);
        check.count("rare_secs", size(self.rare_secs), 60, 31_536_000);
        check.within("count_nats", self.count_nats, 1.0, 1000.0);
        check.count("min_burst", size(self.min_burst), 1, 1_000_000_000);
        check.within("burst_ratio", self.burst_ratio, 1.0, 1000.0);
        check.count("gone_windows", self.gone_windows as usize, 1, 10_000);
        check.count("learn_windows", self.learn_windows as usize, 2, 10_000);
        check.part("bounds", self.bounds.check());
        check.part("miner", self.miner.problems());
        check.part("episode", self.episode.check());
        check.done()
    }
}

/// Finds log templates that are new, back after long, bursting or gone, per entity.
///
/// The subject of its anomalies is the template's id; the label `change` says `novelty` or `rate`. The entity's id is the stream's
/// kind, so one entity's templates do not make another's known. A merge of templates is no anomaly.
#[derive(Debug)]
pub struct LogTemplates {
    config: LogTemplatesConfig,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    miner: TemplateMiner,
    tracks: Tracks,
    entities: BTreeMap<EntityId, Watched>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    miner: MinerSnapshot,
    tracks: Tracks,
    entities: BTreeMap<EntityId, Watched>,
}

/// What is known of one entity's lines.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Watched {
    first: Timestamp,
    last: Timestamp,
    /// When the open window began.
    window: Timestamp,
    lines: u64,
    /// Lines and new templates, fading.
    recent_lines: f64,
    recent_new: f64,
    templates: BTreeMap<TemplateId, Usual>,
}

/// What is usual of one template.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Usual {
    /// Lines in the open window.
    count: u64,
    windows: u32,
    mean: f64,
    variance: f64,
    /// Windows in a row without a line.
    silent: u32,
    last: Timestamp,
}

/// Windows after which half of what was learned is forgotten, roughly: the newest counts 1/30.
const MEMORY_WINDOWS: f64 = 30.0;
/// Clocks that were set back by more than this begin a new window.
const JUMP: Duration = Duration::from_secs(600);

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
        let state = State { miner, tracks: Tracks::default(), entities: BTreeMap::new() };
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
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for record in &batch.logs {
            let judge = Judge { detector: &detector, version: VERSION, config: &self.config.episode, at: record.at };
            state.read(record, judge, &self.config, &mut found)?;
        }
        Ok(found)
    }

    async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
        #[derive(Serialize)]
        struct Borrowed<'a> {
            miner: MinerSnapshot,
            tracks: &'a Tracks,
            entities: &'a BTreeMap<EntityId, Watched>,
        }
        let name = PartName::new(NAME)?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = Borrowed { miner: state.miner.snapshot(), tracks: &state.tracks, entities: &state.entities };
        let bytes = serde_json::to_vec(&stored)
            .map_err(|error| Error::new(ErrorKind::Unknown, NAME, "cannot write the snapshot").with_source(error))?;
        Ok(Snapshot { name, version: VERSION, bytes })
    }

    async fn restore(&self, _ctx: &Ctx, from: &Snapshot) -> Result<()> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, NAME, message);
        if from.name.as_str() != NAME || from.version != VERSION {
            let (name, version) = (&from.name, from.version);
            return Err(invalid(format!(
                "a snapshot of `{name}` version {version} is not one of `{NAME}` version {VERSION}"
            )));
        }
        if from.bytes.len() > MAX_SNAPSHOT_BYTES {
            return Err(invalid(format!("a snapshot of {} bytes is too large", from.bytes.len())));
        }
        let stored: Stored = serde_json::from_slice(&from.bytes)
            .map_err(|error| invalid(format!("cannot read the snapshot: {error}")))?;
        let miner = TemplateMiner::restore(stored.miner)?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) =
            State { miner, tracks: stored.tracks, entities: stored.entities };
        Ok(())
    }

    async fn feedback(&self, _ctx: &Ctx, feedback: &Feedback) -> Result<()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tracks.feedback(feedback);
        Ok(())
    }
}

fn key(entity: &EntityId, id: TemplateId, change: &str) -> Key {
    let mut key = Key::new(entity, id.to_string());
    key.labels.insert("change", change);
    key
}

impl State {
    fn read(
        &mut self,
        record: &LogRecord,
        judge: Judge<'_>,
        config: &LogTemplatesConfig,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let window = Duration::from_secs(config.window_secs);
        if !self.entities.contains_key(&record.entity) {
            if self.entities.len() >= config.bounds.max_entities {
                let forget = config.bounds.forget_secs;
                self.entities.retain(|_, watched| record.at.since(watched.last).as_secs() <= forget);
                if self.entities.len() >= config.bounds.max_entities {
                    tracing::debug!(entity = %record.entity, "entity beyond the bound is not watched");
                    return Ok(());
                }
            }
            let new = Watched { first: record.at, last: record.at, window: record.at, ..Watched::default() };
            self.entities.insert(record.entity.clone(), new);
        }
        let Some(watched) = self.entities.get_mut(&record.entity) else { return Ok(()) };
        if record.at >= watched.window.plus(window) {
            watched.close(&record.entity, &self.miner, &mut self.tracks, judge, config, out)?;
            // What lies between is silence of the entity: it is not counted against its templates.
            watched.window = record.at;
        } else if watched.window.since(record.at) > JUMP {
            watched.window = record.at;
        }
        watched.last = watched.last.max(record.at);
        watched.lines += 1;
        watched.recent_lines += 1.0;
        let stream = self.miner.stream(record.entity.as_str());
        let observed = self.miner.observe(stream, record.message.as_bytes());
        let known = watched.templates.get(&observed.id).map(|usual| usual.last);
        let away = known.map(|last| record.at.since(last));
        let rare = observed.returned || away.is_some_and(|away| away.as_secs() >= config.rare_secs);
        if known.is_some() || watched.templates.len() < config.bounds.max_series {
            let usual = watched.templates.entry(observed.id).or_default();
            usual.count += 1;
            usual.last = usual.last.max(record.at);
        }
        if !(observed.is_new || rare) {
            return Ok(());
        }
        let share = (watched.recent_new + 0.5) / (watched.recent_lines + 1.0);
        watched.recent_new += 1.0;
        let warm = watched.lines > config.warm_lines && record.at.since(watched.first).as_secs() >= config.warm_secs;
        if !warm {
            return Ok(());
        }
        let severe = matches!(record.level, Some(LogLevel::Error | LogLevel::Fatal));
        let nats = -share.min(1.0).ln() + if severe { ERROR_NATS } else { 0.0 };
        let key = key(&record.entity, observed.id, "novelty");
        let limit = config.new_nats * self.tracks.factor(&key);
        if nats < limit {
            return Ok(());
        }
        let finding = Finding {
            verdict: Verdict::Bad,
            nats,
            symptom: Symptom::Log,
            direction: Direction::New,
            onset: Some(record.at),
            expected: 0.0,
            seen: 1.0,
            threshold: 1.0,
        };
        let text = quote(&self.miner, observed.id);
        let lines = watched.lines;
        let because = |onset| {
            let before = match away {
                Some(away) => format!("seen last {} s before", away.as_secs()),
                None if rare => "seen long ago and forgotten".to_owned(),
                None => format!("not among {lines} lines"),
            };
            format!(
                "expected no line like `{text}`, {before}, seen one since {onset}; about {share:.4} of lines are new"
            )
        };
        self.tracks.judge(judge, &key, &finding, because, out)
    }
}

impl Watched {
    /// Judges the counts of the window and learns from them.
    fn close(
        &mut self,
        entity: &EntityId,
        miner: &TemplateMiner,
        tracks: &mut Tracks,
        judge: Judge<'_>,
        config: &LogTemplatesConfig,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let fade = 1.0 - 1.0 / (MEMORY_WINDOWS * 4.0);
        self.recent_lines *= fade;
        self.recent_new *= fade;
        self.follow_merges(miner);
        for (id, usual) in &mut self.templates {
            let novelty = key(entity, *id, "novelty");
            if usual.count == 0 && tracks.is_open(&novelty) {
                let over = good(Symptom::Log, Direction::New);
                tracks.judge(judge, &novelty, &over, |since| format!("no line like it since {since}"), out)?;
            }
            usual.silent = if usual.count == 0 { usual.silent + 1 } else { 0 };
            let rate = key(entity, *id, "rate");
            if usual.windows >= config.learn_windows {
                let finding = usual.judge(config, config.count_nats * tracks.factor(&rate));
                let because = |onset| {
                    format!(
                        "expected about {:.1} lines like `{}` in {} s as in {} windows before, seen {} ({} silent windows) since \
                         {onset}",
                        usual.mean,
                        quote(miner, *id),
                        config.window_secs,
                        usual.windows,
                        usual.count,
                        usual.silent
                    )
                };
                tracks.judge(judge, &rate, &finding, because, out)?;
            }
            if tracks.may_learn(&rate, judge.at, judge.config) {
                usual.learn();
            }
            usual.count = 0;
        }
        let forget = config.rare_secs.max(config.bounds.forget_secs) * 2;
        self.templates.retain(|_, usual| judge.at.since(usual.last).as_secs() <= forget);
        Ok(())
    }

    /// Templates that were merged are counted as one from here on.
    fn follow_merges(&mut self, miner: &TemplateMiner) {
        let moved: Vec<(TemplateId, TemplateId)> =
            self.templates.keys().map(|id| (*id, miner.resolve(*id))).filter(|(id, to)| id != to).collect();
        for (id, to) in moved {
            let Some(part) = self.templates.remove(&id) else { continue };
            let whole = self.templates.entry(to).or_default();
            whole.count += part.count;
            whole.mean += part.mean;
            whole.variance += part.variance;
            whole.windows = whole.windows.max(part.windows);
            whole.silent = if whole.last == Timestamp::default() { part.silent } else { whole.silent.min(part.silent) };
            whole.last = whole.last.max(part.last);
        }
    }
}

/// Nothing to see.
fn good(symptom: Symptom, direction: Direction) -> Finding {
    let (expected, seen, threshold) = (0.0, 0.0, 1.0);
    Finding { verdict: Verdict::Good, nats: 0.0, symptom, direction, onset: None, expected, seen, threshold }
}

impl Usual {
    /// Burst, vanished, or neither.
    fn judge(&self, config: &LogTemplatesConfig, limit: f64) -> Finding {
        let count = self.count as f64;
        // Half a line more keeps templates that were hardly ever seen from being sure of nothing.
        let usual = self.mean + 0.5;
        let scatter = (self.variance / usual).max(1.0);
        let (nats, direction, bad) = if self.count == 0 {
            let nats = self.mean * f64::from(self.silent) / scatter;
            (nats, Direction::Gone, self.silent >= config.gone_windows)
        } else {
            let nats = poisson_surprise(count, usual) / scatter;
            (nats, Direction::Up, self.count >= config.min_burst && count >= config.burst_ratio * usual)
        };
        let threshold =
            if direction == Direction::Up { (config.burst_ratio * usual).max(config.min_burst as f64) } else { 1.0 };
        let verdict = Verdict::of(bad && nats >= limit, nats, limit);
        Finding {
            verdict,
            nats,
            symptom: Symptom::Log,
            direction,
            onset: None,
            expected: self.mean,
            seen: count,
            threshold,
        }
    }

    /// Moving mean and variance (West 1979, doi:10.1145/359146.359153, with a weight that does not fall below one in
    /// [`MEMORY_WINDOWS`]).
    fn learn(&mut self) {
        self.windows = self.windows.saturating_add(1);
        let weight = (1.0 / f64::from(self.windows)).max(1.0 / MEMORY_WINDOWS);
        let off = self.count as f64 - self.mean;
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
    }
}

/// `-ln P` bound for at least `count` events when `usual` are expected: Chernoff's, `k ln(k/m) - k + m`.
fn poisson_surprise(count: f64, usual: f64) -> f64 {
    if count > usual && usual > 0.0 { count * (count / usual).ln() - count + usual } else { 0.0 }
}

/// The template as a sentence may have it: short, without control characters. It is untrusted text.
fn quote(miner: &TemplateMiner, id: TemplateId) -> String {
    let text = miner.template(id).unwrap_or_else(|| id.to_string());
    text.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).take(QUOTED).collect()
}

#[cfg(test)]
mod tests;
