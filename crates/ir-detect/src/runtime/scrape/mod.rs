//! Assembles samples into scrapes, once for all detectors.
//!
//! Detectors must answer the same wherever a batch is cut, so a scrape cannot end where its batch ends. Samples belong to a
//! [`Target`]: an entity and the labels that tell its targets apart. All that an entity's targets return at one time is emitted
//! together. It is complete
//!
//! 1. with its `up` sample, once that was seen to come last (of as many targets as had the same time before); a source that puts `up`
//!    last therefore saves one interval of waiting;
//! 2. with an `up` sample of 0: a failed scrape has nothing else;
//! 3. else with the first sample that is later: of the same target, or of any other by more than 200 ms, because targets
//!    that are scraped together have times a little apart and sources may mix their samples.
//!
//! Hygiene: a repeated or late sample changes nothing; a clock set back by more than ten seconds begins anew; NaN and infinities
//! are left out; a counter that fell, or whose process has another start time, counts from 0; a series that appears on a known
//! target counts from 0 as well, because the first error of a process is a new series; what was measured of an entity before it
//! was reported gone, and comes later, is left out.
//!
//! The engine has one [`ScrapeAssembler`] in front of all detectors and the observation store, and stores its state beside theirs.
//! A detector that is called with a bare batch assembles by itself, through the same code.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use ir_core::{
    ConfigError, EntityId, Gone, MetricKind, MetricSample, Result, Scrape, ScrapedSample, SignalBatch, Snapshot,
    Target, Timestamp,
};
use serde::{Deserialize, Serialize};

mod config;
mod entity;
mod known;

pub use config::ScrapeConfig;
pub(crate) use entity::{EntityScrape, Rise, by_entity};
pub use known::ScrapeCounts;

use crate::stored::StoredForm;
use known::{Known, OpenTime, Place, TargetPage};

/// Targets that are scraped together have times a little apart, and sources may mix their samples.
const SLACK: Duration = Duration::from_millis(200);
/// Late samples lie a few seconds back at most; what lies further back was stamped by a clock that was set.
const JUMP: Duration = Duration::from_secs(10);
/// The interval is the median of this many gaps: it follows a new interval after five scrapes, and four odd gaps do not move it.
const GAPS: usize = 9;
/// With fewer gaps the interval is not known: one of them may be odd.
const MIN_GAPS: usize = 3;

/// Assembles samples into scrapes.
///
/// Its answer does not depend on where batches are cut. Bounded by its [`ScrapeConfig`]; what did not fit is
/// [counted](Self::counts). O(1) a sample on average.
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use ir_core::{EntityId, Labels, MetricKind, MetricSample, Series, SignalBatch, Target, Timestamp};
/// use ir_detect::ScrapeAssembler;
///
/// let series = |metric: &str, kind| {
///     let (entity, metric) = (EntityId::new("web").unwrap(), metric.to_owned());
///     Arc::new(Series { entity, metric, kind, unit: String::new(), labels: Labels::new() })
/// };
/// let (total, up) = (series("jobs_total", MetricKind::Counter), series("up", MetricKind::Up));
/// let mut assembler = ScrapeAssembler::default();
/// let mut increases = Vec::new();
/// for n in 1..=6 {
///     let sample = |series: &Arc<Series>, value| {
///         MetricSample { series: series.clone(), at: Timestamp::from_millis(n * 15_000), value }
///     };
///     let metrics = vec![sample(&total, 7.0 * n as f64), sample(&up, 1.0)];
///     let mut batch = SignalBatch { metrics, ..SignalBatch::default() };
///     assembler.assemble(&mut batch);
///     for scrape in batch.scrapes.unwrap() {
///         increases.extend(scrape.samples.iter().filter_map(|sample| sample.increase));
///     }
/// }
/// assert_eq!(increases, [7.0; 5]);
/// assert_eq!(assembler.interval_of(&Target::of(&total)), Some(Duration::from_secs(15)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ScrapeAssembler {
    config: ScrapeConfig,
    state: Assembly,
}

impl ScrapeAssembler {
    /// The name of its snapshots.
    pub const NAME: &'static str = "scrapes";

    const FORM: StoredForm = StoredForm { name: Self::NAME, version: 1, max_bytes: 256 << 20 };

    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its field.
    pub fn new(config: ScrapeConfig) -> std::result::Result<Self, ConfigError> {
        ConfigError::check(config.check(), Self { config, state: Assembly::default() })
    }

    /// Fills `batch.scrapes` with what is complete now, in the order of time, then entity and target, and drops the targets of
    /// entities that are gone. A batch that has scrapes already stays as it is.
    pub fn assemble(&mut self, batch: &mut SignalBatch) {
        if batch.scrapes.is_none() {
            batch.scrapes = Some(self.push(&batch.metrics));
            self.state.remove(&batch.gone, &self.config);
        }
    }

    /// The scrapes that are complete with `samples`.
    pub fn push(&mut self, samples: &[MetricSample]) -> Vec<Scrape> {
        self.state.push(samples, &self.config)
    }

    /// The usual time between two scrapes of `target`: the median of the recent ones. `None` until it is known.
    #[must_use]
    pub fn interval_of(&self, target: &Target) -> Option<Duration> {
        self.state.known.target(target).and_then(TargetPage::interval)
    }

    /// How many scrapes of `target` are complete.
    #[must_use]
    pub fn scrapes_of(&self, target: &Target) -> u64 {
        self.state.known.target(target).map_or(0, |page| page.number)
    }

    /// How it was configured.
    #[must_use]
    pub const fn config(&self) -> &ScrapeConfig {
        &self.config
    }

    /// How much is kept, and what was not.
    #[must_use]
    pub fn counts(&self) -> ScrapeCounts {
        self.state.known.counts()
    }

    /// The state, to go on later.
    ///
    /// # Errors
    ///
    /// `Unknown` when it cannot be written.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Self::FORM.write(&self.state)
    }

    /// Goes on from a snapshot.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a snapshot that is not its own; nothing changes then.
    pub fn restore(&mut self, from: &Snapshot) -> Result<()> {
        self.state = Self::FORM.read(from)?;
        Ok(())
    }
}

/// What an assembler has seen: apart from its configuration, so that a detector can keep it in its own state.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Known")]
pub(crate) struct Assembly {
    known: Known,
    /// The times at which an entity is being scraped, so that those that are over are found without a walk over all.
    // INVARIANT (open times): holds exactly the times in `Entity::open` of all entities. Each of those is the `open` time of at least
    // one target.
    open: BTreeSet<(Timestamp, EntityId)>,
}

impl Serialize for Assembly {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.known.serialize(serializer)
    }
}

impl TryFrom<Known> for Assembly {
    type Error = &'static str;

    fn try_from(mut known: Known) -> std::result::Result<Self, Self::Error> {
        if !known.index() {
            return Err("it names targets or series that it does not have");
        }
        let of = |entity: &known::Entity| -> Vec<_> {
            entity.open.iter().map(|open| (open.at, entity.id.clone())).collect()
        };
        let open = known.entities.iter().flat_map(of).collect();
        Ok(Self { known, open })
    }
}

impl Assembly {
    /// The scrapes of a batch: those that were assembled for all detectors, else what its samples complete here.
    pub(crate) fn scrapes_of<'a>(&mut self, batch: &'a SignalBatch, config: &ScrapeConfig) -> Cow<'a, [Scrape]> {
        match &batch.scrapes {
            Some(scrapes) => Cow::Borrowed(scrapes),
            None => {
                let scrapes = self.push(&batch.metrics, config);
                self.remove(&batch.gone, config);
                Cow::Owned(scrapes)
            }
        }
    }

    fn push(&mut self, samples: &[MetricSample], config: &ScrapeConfig) -> Vec<Scrape> {
        let mut out = Vec::new();
        for sample in samples {
            self.close_older(sample.at.minus(SLACK), &mut out);
            if let Some(place) = self.known.place(sample, config) {
                self.add(place, sample, &mut out);
            }
        }
        out
    }

    /// Drops the targets of entities that are gone, and what was scraped of them in part.
    fn remove(&mut self, gone: &[Gone], config: &ScrapeConfig) {
        for gone in gone {
            let entity = self.known.place_of(&gone.entity).and_then(|place| self.known.entities.get(place as usize));
            for open in entity.into_iter().flat_map(|entity| &entity.open) {
                self.open.remove(&(open.at, gone.entity.clone()));
            }
        }
        self.known.remove(gone, config);
    }

    /// Adds one sample to the scrape of its target. `None` where the tables do not hold what they should.
    fn add(&mut self, place: Place, sample: &MetricSample, out: &mut Vec<Scrape>) -> Option<()> {
        let is_up = sample.series.kind == MetricKind::Up;
        let target = self.known.series.get(place as usize)?.target;
        let page = self.known.targets.get(target as usize)?;
        let entity = page.entity;
        if let Some(open) = page.open.filter(|open| sample.at > *open) {
            self.close(entity, open, out)?;
        }
        if !self.open(entity, target, place, sample)? {
            return Some(());
        }
        let Known { entities, targets, series, .. } = &mut self.known;
        let (entity, page) = (entities.get_mut(entity as usize)?, targets.get_mut(target as usize)?);
        let owner = page.entity;
        let open = entity.open.iter_mut().find(|open| open.at == sample.at)?;
        let of_series = series.get_mut(place as usize)?;
        let repeated = of_series.at == Some(sample.at);
        if repeated || !(sample.value.is_finite() || is_up && !sample.value.is_nan()) {
            return Some(());
        }
        of_series.at = Some(sample.at);
        if !is_up {
            if of_series.is_start {
                page.start = page.start.or(Some(sample.value));
            }
            page.pending.push((place, sample.value));
            open.values += 1;
            open.after_up += 1;
            return Some(());
        }
        let up = sample.value > 0.0;
        page.up = Some(up);
        open.ups += 1;
        open.after_up = 0;
        let all_up = open.ups >= entity.ups.1;
        let has_all = entity.up_is_last && (open.values > 0 || !entity.has_values);
        if all_up && (!up || has_all) {
            self.close(owner, sample.at, out)?;
        }
        Some(())
    }

    /// Whether the sample's scrape is open now: opens it unless the sample is late.
    fn open(&mut self, entity: Place, target: Place, place: Place, sample: &MetricSample) -> Option<bool> {
        let Known { entities, targets, series, .. } = &mut self.known;
        let (entity, page) = (entities.get_mut(entity as usize)?, targets.get_mut(target as usize)?);
        page.seen = sample.at;
        let mut left = None;
        match (page.open, page.closed) {
            (Some(open), _) if sample.at == open => return Some(true),
            (Some(open), _) if open.since(sample.at) <= JUMP => return Some(false),
            (Some(open), _) => {
                // The clock was set back: what came by the other clock is no part of any scrape.
                (page.open, page.closed, page.before) = (None, None, None);
                page.pending.clear();
                left = Some(open);
            }
            (None, Some(closed)) if sample.at <= closed && closed.since(sample.at) <= JUMP => {
                // A repetition says nothing of the order; a value not seen yet came after `up`.
                let repeated = series.get(place as usize)?.at == Some(sample.at);
                if sample.at == closed && sample.value.is_finite() && sample.series.kind != MetricKind::Up && !repeated
                {
                    entity.up_is_last = false;
                }
                return Some(false);
            }
            (None, Some(closed)) if sample.at <= closed => (page.closed, page.before) = (None, None),
            (None, _) => {}
        }
        (page.open, page.up, page.start) = (Some(sample.at), None, None);
        if let Some(left) = left {
            let is_open = |place: &Place| targets.get(*place as usize).is_some_and(|page| page.open == Some(left));
            if !entity.targets.iter().any(is_open) {
                entity.open.retain(|open| open.at != left);
                self.open.remove(&(left, entity.id.clone()));
            }
        }
        if !entity.open.iter().any(|open| open.at == sample.at) {
            entity.open.push(OpenTime { at: sample.at, ups: 0, values: 0, after_up: 0 });
            self.open.insert((sample.at, entity.id.clone()));
        }
        Some(true)
    }

    /// Closes what is older than `than`, in the order of time, so that scrapes come the same way however samples are cut.
    fn close_older(&mut self, than: Timestamp, out: &mut Vec<Scrape>) {
        while self.open.first().is_some_and(|(at, _)| *at < than) {
            let Some((at, id)) = self.open.pop_first() else { return };
            if let Some(entity) = self.known.place_of(&id) {
                self.close(entity, at, out);
            }
        }
    }

    /// Completes the scrapes of all targets of `entity` that are open at `at`.
    fn close(&mut self, entity: Place, at: Timestamp, out: &mut Vec<Scrape>) -> Option<()> {
        let Known { entities, targets, series, .. } = &mut self.known;
        let entity = entities.get_mut(entity as usize)?;
        let index = entity.open.iter().position(|open| open.at == at)?;
        let closed = entity.open.swap_remove(index);
        self.open.remove(&(at, entity.id.clone()));
        let mut answered = false;
        for place in &entity.targets {
            let page = targets.get_mut(*place as usize).filter(|page| page.open == Some(at));
            if let Some(page) = page {
                answered |= page.up == Some(true);
                out.push(page.close(at, series));
            }
        }
        if let Some(last) = out.last_mut() {
            last.completes_entity = true;
        }
        if answered {
            entity.up_is_last = closed.after_up == 0;
            entity.has_values = closed.values > 0;
        }
        // Targets of one time may be complete one after the other; from now on the first waits for the last.
        if closed.ups > 0 {
            let before = if entity.ups.0 == Some(at) { entity.ups.1 } else { 0 };
            entity.ups = (Some(at), before + closed.ups);
        }
        Some(())
    }
}

impl TargetPage {
    fn interval(&self) -> Option<Duration> {
        let (mut gaps, n_gaps) = ([0; GAPS], self.gaps_ns.len().min(GAPS));
        for (gap, kept) in gaps.iter_mut().zip(self.gaps_ns.iter()) {
            *gap = *kept;
        }
        let gaps = gaps.get_mut(..n_gaps).filter(|gaps| gaps.len() >= MIN_GAPS)?;
        gaps.sort_unstable();
        gaps.get(n_gaps / 2).copied().map(Duration::from_nanos)
    }

    fn close(&mut self, at: Timestamp, series: &mut [known::SeriesPage]) -> Scrape {
        let gap = self.closed.map(|closed| at.since(closed)).filter(|gap| !gap.is_zero());
        if let Some(gap) = gap {
            self.gaps_ns.push(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX), GAPS);
        }
        (self.open, self.closed) = (None, Some(at));
        self.number += 1;
        let restarted = self.start.is_some() && self.last_start.is_some() && self.start != self.last_start;
        self.last_start = self.start.or(self.last_start);
        if restarted {
            self.epoch = self.epoch.wrapping_add(1);
        }
        let mut samples = Vec::with_capacity(self.pending.len());
        for (place, value) in self.pending.drain(..) {
            let Some(page) = series.get_mut(place as usize) else { continue };
            let increase = page.increase(value, self.epoch).filter(|_| self.before.is_some());
            samples.push(ScrapedSample { series: page.series.clone(), value, increase });
        }
        let scrape = Scrape {
            target: self.target.clone(),
            at,
            before: self.before,
            up: self.up,
            restarted,
            interval: self.interval(),
            number: self.number,
            samples,
            completes_entity: false,
        };
        if !scrape.samples.is_empty() && self.up != Some(false) {
            self.before = Some(at);
        }
        scrape
    }
}

/// Nothing that counts grows by more in one scrape than the widest register holds. A larger step is no count, and sums of rates
/// stay finite without it.
const MOST_INCREASE: f64 = u64::MAX as f64;

impl known::SeriesPage {
    /// By how much a counter grew; `None` for what does not count, for counts below 0 and for steps beyond [`MOST_INCREASE`].
    fn increase(&mut self, value: f64, epoch: u32) -> Option<f64> {
        if !matches!(self.series.kind, MetricKind::Counter | MetricKind::Bucket) || value < 0.0 {
            return None;
        }
        let last = if self.epoch == epoch { self.last } else { 0.0 };
        (self.last, self.epoch) = (value, epoch);
        let by = if value >= last { value - last } else { value };
        (by <= MOST_INCREASE).then_some(by)
    }
}

#[cfg(test)]
mod tests;
