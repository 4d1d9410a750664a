//! The basic tier on masses of series: every gauge, and the rate of every counter, each by itself.
//!
//! The other detectors of metrics look at scrapes, an entity at a time. That costs memory and time for every series, so this one
//! takes samples as they come: a series is known by the address of what the source shares for it, and by its content otherwise.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ir_core::anomaly::Direction;
use ir_core::{
    Anomaly, ConfigError, Ctx, Detector, Feedback, MetricKind, MetricSample, PartName, Problem, Result, Series,
    SignalBatch, Snapshot, Symptom, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::episode::{EpisodeConfig, Finding, Judge, Key, Tracks, Verdict};
use super::host::Refused;
use super::names::MetricNames;
use crate::basic::{BasicConfig, BasicModel, Judged};
use crate::check::Check;
use crate::runtime::room::Room;
use crate::stored::StoredForm;

/// How a [`BasicSeriesDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicSeriesConfig {
    /// How each series is judged.
    pub model: BasicConfig,
    /// Series at most; those beyond are not watched. Default 100,000: some 70 MB with the names.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_series: usize,
    /// Surprise is capped here, in nats, because nobody said what a series is for. Default 15, a score of 0.39: it supports other
    /// symptoms and opens no incident alone.
    #[schemars(range(min = 1.0, max = 1e6))]
    pub max_nats: f64,
    /// What was silent for so long makes room when there is no more. Seconds, default 3,600.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub forget_secs: u64,
    /// Metrics that are not watched. Default `build_info`, and always the start time of the process.
    pub ignore: Vec<String>,
    /// Names of metrics: `start_time` is left out.
    pub names: MetricNames,
    /// When episodes end; they begin when the model says so, which has waited already.
    pub episode: EpisodeConfig,
}

impl Default for BasicSeriesConfig {
    fn default() -> Self {
        Self {
            model: BasicConfig::default(),
            max_series: 100_000,
            max_nats: 15.0,
            forget_secs: 3_600,
            ignore: vec!["build_info".to_owned()],
            names: MetricNames::default(),
            episode: EpisodeConfig { begin_looks: 1, ..EpisodeConfig::default() },
        }
    }
}

impl BasicSeriesConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.part("model", self.model.problems());
        check.count("max_series", self.max_series, 1, 10_000_000);
        check.within("max_nats", self.max_nats, 1.0, 1e6);
        check.count("forget_secs", usize::try_from(self.forget_secs).unwrap_or(usize::MAX), 1, 31_536_000);
        check.part("names", self.names.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

/// Finds spikes, steps and new levels in masses of series: a [`BasicModel`] each.
///
/// Every series is judged by itself, in the order of its samples: late and repeated ones change nothing, a clock set back by more
/// than ten seconds begins anew, NaN and infinities are left out, a counter that fell has no rate then. Nothing is said before a
/// hundred values. Not in [`Detectors::standard`](super::Detectors::standard).
#[derive(Debug, Default)]
pub struct BasicSeriesDetector {
    config: BasicSeriesConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    known: HashMap<Arc<Series>, u32>,
    /// The same by the address of the shared series. The slot holds it, so no other can have that address meanwhile.
    addresses: HashMap<usize, u32>,
    tracks: Tracks,
    made_room: Room,
}

/// What is kept of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Slot {
    #[serde(with = "crate::stored::series")]
    series: Arc<Series>,
    at: Timestamp,
    /// The last value as it came: counters are judged by what they rose.
    value: Option<f64>,
    /// Whether an episode may go on.
    tracked: bool,
    model: BasicModel,
}

/// What a snapshot holds: borrowed to be written, owned when read.
#[derive(Serialize, Deserialize)]
struct Stored<S, T> {
    slots: S,
    tracks: T,
    made_room: Room,
}

const NAME: &str = "basic-series";
const VERSION: u32 = 1;
/// What lies further back was stamped by a clock that was set.
const JUMP: Duration = Duration::from_secs(10);
/// Enough for two million series. Ten million come to some 2 GB, which no store should be given.
const FORM: StoredForm = StoredForm { name: NAME, version: VERSION, max_bytes: 512 << 20 };

impl BasicSeriesDetector {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn new(config: BasicSeriesConfig) -> std::result::Result<Self, ConfigError> {
        let problems = config.check();
        ConfigError::check(problems, Self { config, state: Mutex::default() })
    }

    /// How many series are watched now.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).slots.len()
    }

    /// What was left out because of bounds: values of series beyond `max_series`.
    #[must_use]
    pub fn refused(&self) -> Refused {
        let [series, episodes] = self.state.lock().unwrap_or_else(PoisonError::into_inner).tracks.refused();
        Refused { scrapes: 0, series, episodes }
    }

    fn wants(&self, series: &Series) -> bool {
        matches!(series.kind, MetricKind::Gauge | MetricKind::Counter)
            && series.metric != self.config.names.start_time
            && !self.config.ignore.contains(&series.metric)
    }

    fn take(&self, state: &mut State, sample: &MetricSample, name: &PartName, out: &mut Vec<Anomaly>) -> Result<()> {
        let Some(number) = self.number(state, sample) else { return Ok(()) };
        let Some(slot) = state.slots.get_mut(number as usize) else { return Ok(()) };
        let Some(value) = slot.next(sample) else { return Ok(()) };
        let judged = slot.model.push(sample.at.as_secs_f64(), value, &self.config.model);
        if !judged.alert && !slot.tracked {
            return Ok(());
        }
        let judge = Judge { detector: name, version: VERSION, config: &self.config.episode, at: sample.at };
        self.judge(&mut state.tracks, slot, judge, value, judged, out)
    }

    /// The number of a series, a new one if there is room.
    fn number(&self, state: &mut State, sample: &MetricSample) -> Option<u32> {
        let address = Arc::as_ptr(&sample.series) as usize;
        if let Some(number) = state.addresses.get(&address) {
            return Some(*number);
        }
        if let Some(&number) = state.known.get(&sample.series) {
            // The source shares another one now: keep up with it.
            let slot = state.slots.get_mut(number as usize)?;
            state.addresses.remove(&(Arc::as_ptr(&slot.series) as usize));
            slot.series = Arc::clone(&sample.series);
            state.addresses.insert(address, number);
            state.known.remove(&sample.series);
            state.known.insert(Arc::clone(&sample.series), number);
            return Some(number);
        }
        if !self.wants(&sample.series) {
            return None;
        }
        if state.slots.len() >= self.config.max_series {
            state.make_room(sample.at, self.config.forget_secs);
        }
        if state.slots.len() >= self.config.max_series {
            state.tracks.refuse_series();
            return None;
        }
        state.add(Slot::new(sample))
    }

    fn judge(
        &self,
        tracks: &mut Tracks,
        slot: &mut Slot,
        judge: Judge<'_>,
        value: f64,
        judged: Judged,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let series = &slot.series;
        let key = Key { labels: series.labels.clone(), ..Key::new(&series.entity, series.metric.as_str()) };
        let goes_on = judged.hot && tracks.is_open(&key);
        // People who called it a false alarm want more before they hear of it again.
        let wanted = f64::from(self.config.model.limit_nats) * tracks.factor(&key);
        let nats = f64::from(judged.nats);
        let finding = Finding {
            verdict: if goes_on || (judged.alert && nats >= wanted) { Verdict::Bad } else { Verdict::Good },
            nats: nats.min(self.config.max_nats),
            symptom: Symptom::Other,
            direction: if value >= judged.expected { Direction::Up } else { Direction::Down },
            onset: None,
            expected: judged.expected,
            seen: value,
            // There is no one limit in the unit of the series.
            threshold: f64::NAN,
        };
        let because = |onset| {
            let (subject, expected, seen) = (&key.subject, judged.expected, slot.model.seen());
            format!(
                "expected {subject} near {expected} by its own {seen} values, seen {value}, {nats:.0} nats of surprise since {onset}"
            )
        };
        tracks.judge(judge, &key, &finding, because, out)?;
        slot.tracked = tracks.is_open(&key);
        Ok(())
    }
}

impl State {
    fn add(&mut self, slot: Slot) -> Option<u32> {
        let number = u32::try_from(self.slots.len()).ok()?;
        self.addresses.insert(Arc::as_ptr(&slot.series) as usize, number);
        self.known.insert(Arc::clone(&slot.series), number);
        self.slots.push(slot);
        Some(number)
    }

    /// Forgets what has been silent for long.
    fn make_room(&mut self, now: Timestamp, forget_secs: u64) {
        if !self.made_room.is_due(now) {
            return;
        }
        self.retain(|slot| now.since(slot.at).as_secs() <= forget_secs);
    }

    fn retain(&mut self, keeps: impl Fn(&Slot) -> bool) {
        let mut kept = std::mem::take(&mut self.slots);
        kept.retain(keeps);
        (self.known, self.addresses) = (HashMap::default(), HashMap::default());
        for slot in kept {
            self.add(slot);
        }
    }
}

impl Slot {
    fn new(sample: &MetricSample) -> Self {
        // A moment before, so that the sample itself is later.
        let at = sample.at.minus(Duration::from_nanos(1));
        let model = BasicModel::default();
        Self { series: Arc::clone(&sample.series), at, value: None, tracked: false, model }
    }

    /// The value to be judged: of a counter, what it rose a second since the sample before.
    fn next(&mut self, sample: &MetricSample) -> Option<f64> {
        if !sample.value.is_finite() {
            return None;
        }
        let set_back = self.at.since(sample.at) > JUMP;
        if sample.at <= self.at && !set_back {
            return None;
        }
        let secs = sample.at.since(self.at).as_secs_f64();
        let before = self.value.replace(sample.value);
        self.at = sample.at;
        if self.series.kind != MetricKind::Counter {
            return Some(sample.value);
        }
        // Neither the first value has a rate, nor one after a restart or a clock that was set.
        let rise = sample.value - before?;
        (!set_back && rise >= 0.0).then(|| rise / secs)
    }
}

#[async_trait]
impl Detector for BasicSeriesDetector {
    fn name(&self) -> &str {
        NAME
    }

    async fn detect(&self, _ctx: &Ctx, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let name = PartName::new(NAME)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for sample in &batch.metrics {
            self.take(&mut state, sample, &name, &mut found)?;
        }
        for gone in &batch.gone {
            let judge = Judge { detector: &name, version: VERSION, config: &self.config.episode, at: gone.at };
            state.tracks.end_gone(judge, gone, &mut found);
            state.retain(|slot| slot.series.entity != gone.entity);
        }
        Ok(found)
    }

    async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        FORM.write(&Stored { slots: &state.slots, tracks: &state.tracks, made_room: state.made_room })
    }

    async fn restore(&self, _ctx: &Ctx, from: &Snapshot) -> Result<()> {
        let stored: Stored<Vec<Slot>, Tracks> = FORM.read(from)?;
        let mut state = State { tracks: stored.tracks, made_room: stored.made_room, ..State::default() };
        for slot in stored.slots {
            state.add(slot);
        }
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    async fn feedback(&self, _ctx: &Ctx, feedback: &Feedback) -> Result<()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tracks.feedback(feedback);
        Ok(())
    }
}
