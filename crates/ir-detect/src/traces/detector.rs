//! The detector of traces: configuration, looks by the clock of the spans, snapshot and restore.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ir_core::signal::Span;
use ir_core::{
    Anomaly, ConfigError, Ctx, Detector, Feedback, PartName, Problem, Result, SignalBatch, Snapshot, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::graph::{Look, ServiceGraph};
use super::join::{SpanCounts, Table, end};
use super::usual::Learned;
use crate::anomaly::episode::{EpisodeConfig, Judge, Tracks};
use crate::anomaly::{self};
use crate::check::Check;
use crate::runtime::per_entity::PerEntity;
use crate::stats::Ring;
use crate::stored::StoredForm;

const NAME: &str = "traces";
const VERSION: u32 = 1;
const FORM: StoredForm = StoredForm { name: NAME, version: VERSION, max_bytes: 256 << 20 };
/// Clocks that were set back by more than this, beyond the time that spans are waited for, begin anew.
const JUMP: Duration = Duration::from_secs(600);

/// How a [`TraceDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TraceConfig {
    /// Requests are counted over looks of this length. Seconds, default 10.
    #[schemars(range(min = 1, max = 3600))]
    pub look_secs: u64,
    /// A trace is waited for so long from its earliest start, by the clock of the spans. Seconds, default 30: exporters send every
    /// five seconds, and few requests take longer than the rest. What comes later counts as another trace.
    #[schemars(range(min = 0, max = 3600))]
    pub hold_secs: u64,
    /// Spans that wait at a time; beyond, the oldest traces are closed early. Default 200000: about 40 MB.
    #[schemars(range(min = 100, max = 100_000_000))]
    pub max_spans: usize,
    /// Operations of an entity that are told apart; further ones are one. Default 100.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_operations: usize,
    /// Pairs of caller and callee that are watched. Default 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_calls: usize,
    /// Shares and times that are learned, of all entities together. Default 50000: about 60 MB.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_keys: usize,
    /// Looks that the graph covers. Default 6: a minute.
    #[schemars(range(min = 1, max = 1000))]
    pub graph_looks: usize,
    /// Fewer requests in a look say nothing. Default 10.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub min_requests: usize,
    /// Nothing is said of what was seen in fewer looks. Default 12: two minutes.
    #[schemars(range(min = 3, max = 10_000))]
    pub warm_looks: usize,
    /// So many looks are remembered. Default 180: half an hour.
    #[schemars(range(min = 10, max = 10_000))]
    pub remember_looks: usize,
    /// Shares that were learned count half after so many seconds. Default 1800.
    #[schemars(range(min = 1.0, max = 864_000.0))]
    pub half_life_secs: f64,
    /// A usual share of failures below this counts as this. Default 0.01.
    #[schemars(range(min = 1e-6, max = 0.5))]
    pub tolerated_ratio: f64,
    /// A share must be above the usual one by this much. Default 0.05.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_effect_ratio: f64,
    /// Surprise of a share that counts, in nats. Default 14: hundreds of shares are judged in each look.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub surprise_nats: f64,
    /// How many scales out a time counts. Default 6.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub sigmas: f64,
    /// A mean must be later by this much. Seconds, default 0.02: spans are exact, unlike the buckets of histograms.
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub min_effect_secs: f64,
    /// The same for a 95th percentile. Seconds, default 0.1.
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub p95_min_effect_secs: f64,
    /// And by this share of the usual time. Default 0.5.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub min_effect_share: f64,
    /// The smallest scale of times that is believed. Seconds, default 0.002.
    #[schemars(range(min = 1e-6, max = 3600.0))]
    pub floor_secs: f64,
    /// How much is kept.
    pub bounds: anomaly::Bounds,
    /// When episodes begin and end. Default: 2 bad looks begin one, 3 good ones end it.
    pub episode: EpisodeConfig,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self {
            look_secs: 10,
            hold_secs: 30,
            max_spans: 200_000,
            max_operations: 100,
            max_calls: 10_000,
            max_keys: 50_000,
            graph_looks: 6,
            min_requests: 10,
            warm_looks: 12,
            remember_looks: 180,
            half_life_secs: 1800.0,
            tolerated_ratio: 0.01,
            min_effect_ratio: 0.05,
            surprise_nats: 14.0,
            sigmas: 6.0,
            min_effect_secs: 0.02,
            p95_min_effect_secs: 0.1,
            min_effect_share: 0.5,
            floor_secs: 0.002,
            bounds: anomaly::Bounds::default(),
            episode: EpisodeConfig { end_looks: 3, ..EpisodeConfig::default() },
        }
    }
}

impl TraceConfig {
    fn check(&self) -> Vec<Problem> {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let mut check = Check::default();
        check.count("look_secs", size(self.look_secs), 1, 3600);
        check.count("hold_secs", size(self.hold_secs), 0, 3600);
        check.count("max_spans", self.max_spans, 100, 100_000_000);
        check.count("max_operations", self.max_operations, 1, 100_000);
        check.count("max_calls", self.max_calls, 1, 1_000_000);
        check.count("max_keys", self.max_keys, 1, 10_000_000);
        check.count("graph_looks", self.graph_looks, 1, 1000);
        check.count("min_requests", self.min_requests, 1, 1_000_000_000);
        check.count("warm_looks", self.warm_looks, 3, 10_000);
        check.count("remember_looks", self.remember_looks, self.warm_looks.max(10), 10_000);
        check.within("half_life_secs", self.half_life_secs, 1.0, 864_000.0);
        check.within("tolerated_ratio", self.tolerated_ratio, 1e-6, 0.5);
        check.within("min_effect_ratio", self.min_effect_ratio, 0.0, 1.0);
        check.within("surprise_nats", self.surprise_nats, 1.0, 1000.0);
        check.within("sigmas", self.sigmas, 1.0, 100.0);
        check.within("min_effect_secs", self.min_effect_secs, 0.0, 3600.0);
        check.within("p95_min_effect_secs", self.p95_min_effect_secs, 0.0, 3600.0);
        check.within("min_effect_share", self.min_effect_share, 0.0, 100.0);
        check.within("floor_secs", self.floor_secs, 1e-6, 3600.0);
        check.part("bounds", self.bounds.check());
        check.part("episode", self.episode.check());
        check.done()
    }
}

/// Finds requests and calls that fail more often, or take longer, than usual; and draws the graph of services.
///
/// See the [module](super) for how. Anomalies come as late as a trace is waited for, and one look. About 300 bytes a span that waits,
/// and 1.5 KB a time that is learned.
///
/// # Examples
///
/// ```
/// use ir_detect::traces::{TraceConfig, TraceDetector};
///
/// let detector = TraceDetector::new(TraceConfig::default())?;
/// assert!(detector.graph().edges.is_empty());
/// # Ok::<(), ir_core::ConfigError>(())
/// ```
#[derive(Debug, Default)]
pub struct TraceDetector {
    config: TraceConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    table: Table,
    /// The latest end of a span.
    latest: Option<Timestamp>,
    /// When the open look began, by the clock of the spans.
    look_start: Timestamp,
    open: Look,
    recent: Ring<Look>,
    looks: u64,
    learned: Learned,
    tracks: Tracks,
}

impl TraceDetector {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn new(config: TraceConfig) -> std::result::Result<Self, ConfigError> {
        let problems = config.check();
        let config = ConfigError::check(problems, config)?;
        Ok(Self { config, state: Mutex::default() })
    }

    /// The graph of the last looks.
    #[must_use]
    pub fn graph(&self) -> ServiceGraph {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = Look::default();
        state.recent.iter().for_each(|look| sum.merge(look));
        ServiceGraph::of(&sum, state.recent.len() as f64 * self.config.look_secs as f64)
    }

    /// How many spans went which way.
    #[must_use]
    pub fn counts(&self) -> SpanCounts {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).table.counts
    }

    /// How many spans wait for the rest of their trace; at most [`TraceConfig::max_spans`].
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).table.len()
    }
}

#[async_trait::async_trait]
impl Detector for TraceDetector {
    fn name(&self) -> &str {
        NAME
    }

    async fn detect(&self, _ctx: &Ctx, batch: &SignalBatch) -> Result<Vec<Anomaly>> {
        let detector = PartName::new(NAME)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for span in &batch.spans {
            state.read(span, &detector, &self.config, &mut found)?;
        }
        for gone in &batch.gone {
            let judge = Judge { detector: &detector, version: VERSION, config: &self.config.episode, at: gone.at };
            state.tracks.end_gone(judge, gone, &mut found);
            state.learned.drop_entity(&gone.entity);
            state.open.drop_entity(&gone.entity);
        }
        Ok(found)
    }

    async fn snapshot(&self, _ctx: &Ctx) -> Result<Snapshot> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        FORM.write(&*state)
    }

    async fn restore(&self, _ctx: &Ctx, from: &Snapshot) -> Result<()> {
        let restored = FORM.read(from)?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = restored;
        Ok(())
    }

    async fn feedback(&self, _ctx: &Ctx, feedback: &Feedback) -> Result<()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tracks.feedback(feedback);
        Ok(())
    }
}

impl State {
    fn read(&mut self, span: &Span, detector: &PartName, config: &TraceConfig, out: &mut Vec<Anomaly>) -> Result<()> {
        let ended = end(span.at, span.duration_ns);
        let hold = Duration::from_secs(config.hold_secs);
        match self.latest {
            None => self.look_start = aligned(ended, config),
            Some(latest) if latest.since(span.at) > hold + JUMP && latest.since(ended) > hold + JUMP => {
                // The clock was set back: what waits belongs to another time.
                self.table.clear();
                self.open = Look::default();
                self.look_start = aligned(ended, config);
                self.latest = None;
            }
            Some(_) => {}
        }
        let latest = self.latest.map_or(ended, |latest| latest.max(ended));
        self.latest = Some(latest);
        self.turn(latest, detector, config, out)?;
        let Self { table, open, .. } = self;
        // Both visitors write the same look, so it is lent to them in turn.
        let open = std::cell::RefCell::new(open);
        let (entities, operations) = (config.bounds.max_entities, config.max_operations);
        table.push(
            span,
            config.max_spans,
            |visit| open.borrow_mut().visit(visit, entities, operations),
            |call| open.borrow_mut().call(call, config.max_calls),
        );
        Ok(())
    }

    /// Closes looks up to `now`.
    fn turn(
        &mut self,
        now: Timestamp,
        detector: &PartName,
        config: &TraceConfig,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let length = Duration::from_secs(config.look_secs);
        // After so many looks nothing that began before the gap waits any more; the rest of a long gap is one step.
        let enough = config.hold_secs / config.look_secs.max(1) + config.graph_looks as u64 + 2;
        for _ in 0..enough {
            let at = self.look_start.plus(length);
            if now < at || at <= self.look_start {
                return Ok(());
            }
            self.close(at, detector, config, out)?;
            self.look_start = at;
        }
        self.look_start = self.look_start.max(aligned(now, config));
        Ok(())
    }

    fn close(
        &mut self,
        at: Timestamp,
        detector: &PartName,
        config: &TraceConfig,
        out: &mut Vec<Anomaly>,
    ) -> Result<()> {
        let Self { table, open, .. } = self;
        let cell = std::cell::RefCell::new(open);
        let (entities, operations) = (config.bounds.max_entities, config.max_operations);
        table.close_before(
            at.minus(Duration::from_secs(config.hold_secs)),
            |visit| cell.borrow_mut().visit(visit, entities, operations),
            |call| cell.borrow_mut().call(call, config.max_calls),
        );
        let look = std::mem::take(&mut self.open);
        let judge = Judge { detector, version: VERSION, config: &config.episode, at };
        self.learned.look(&look, &mut self.tracks, judge, config, out)?;
        self.recent.push(look, config.graph_looks);
        self.looks += 1;
        if self.looks.is_multiple_of(360) {
            self.learned.forget(at, config.bounds.forget_secs);
        }
        Ok(())
    }
}

/// The last whole look before a time.
fn aligned(at: Timestamp, config: &TraceConfig) -> Timestamp {
    let length = i64::try_from(config.look_secs).unwrap_or(3600).saturating_mul(1_000_000_000);
    Timestamp::from_nanos(at.as_nanos().saturating_sub(at.as_nanos().rem_euclid(length)))
}

#[cfg(test)]
mod tests;
