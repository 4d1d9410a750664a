//! The targets and series that an assembler knows: found by the address of what the source shares, bounded, evicted when silent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ir_core::{EntityId, Gone, MetricSample, Series, Target, Timestamp};
use serde::{Deserialize, Serialize};

use super::config::ScrapeConfig;
use crate::runtime::room::Room;
use crate::stats::Ring;

/// The place of an entity, a target or a series in its list. It changes when others are evicted.
pub(super) type Place = u32;

/// How much is kept, and what was not. Counted since the start, over restarts from a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrapeCounts {
    /// Targets that are known now.
    pub targets: usize,
    /// Series that are known now.
    pub series: usize,
    /// Targets that made room because they were silent.
    pub evicted_targets: u64,
    /// Series that made room because they, or their target, were silent.
    pub evicted_series: u64,
    /// Samples that were left out because there was no room for their target or series. Each is data that no detector saw.
    pub refused_samples: u64,
}

/// All that is kept of scrapes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) entities: Vec<Entity>,
    pub(super) targets: Vec<TargetPage>,
    pub(super) series: Vec<SeriesPage>,
    /// Entities that are gone, and since when. What was measured before and comes later is ignored.
    gone: BTreeMap<EntityId, Timestamp>,
    room: Room,
    counts: ScrapeCounts,
    #[serde(skip)]
    by_entity: HashMap<EntityId, Place>,
    #[serde(skip)]
    by_series: HashMap<Arc<Series>, Place>,
    /// The same by the address of the shared series. Its page holds it, so no other series can have that address meanwhile.
    #[serde(skip)]
    by_address: HashMap<usize, Place>,
}

/// What the targets of one entity have in common.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entity {
    pub(super) id: EntityId,
    /// Sorted by target.
    pub(super) targets: Vec<Place>,
    /// The times at which targets are being scraped: one, unless their clocks differ.
    pub(super) open: Vec<OpenTime>,
    /// Whether no value came after `up` in the last answered scrapes.
    pub(super) up_is_last: bool,
    /// Whether there were values in the last answered scrapes.
    pub(super) has_values: bool,
    /// How many targets gave `up` at the same last time.
    pub(super) ups: (Option<Timestamp>, u32),
}

/// What came of one entity at one time, as long as more may come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OpenTime {
    pub(super) at: Timestamp,
    pub(super) ups: u32,
    pub(super) values: u32,
    pub(super) after_up: u32,
}

/// What is kept of one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TargetPage {
    #[serde(with = "crate::stored::target")]
    pub(super) target: Arc<Target>,
    pub(super) entity: Place,
    /// The time of the scrape that is being assembled.
    pub(super) open: Option<Timestamp>,
    pub(super) up: Option<bool>,
    pub(super) start: Option<f64>,
    pub(super) pending: Vec<(Place, f64)>,
    /// The time of the last scrape that is complete. `None` after the clock was set back.
    pub(super) closed: Option<Timestamp>,
    pub(super) before: Option<Timestamp>,
    pub(super) last_start: Option<f64>,
    /// Counts restarts: values of counters from another epoch count as 0.
    pub(super) epoch: u32,
    pub(super) gaps_ns: Ring<u64>,
    pub(super) number: u64,
    pub(super) seen: Timestamp,
    n_series: usize,
}

/// What is kept of one series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SeriesPage {
    #[serde(with = "crate::stored::series")]
    pub(super) series: Arc<Series>,
    pub(super) target: Place,
    pub(super) is_start: bool,
    /// Of a counter: its last value, and the epoch of that.
    pub(super) last: f64,
    pub(super) epoch: u32,
    /// The time of the last value.
    pub(super) at: Option<Timestamp>,
}

impl Known {
    /// The place of the sample's series; a new one if there is room, else the sample is counted.
    pub(super) fn place(&mut self, sample: &MetricSample, config: &ScrapeConfig) -> Option<Place> {
        let address = Arc::as_ptr(&sample.series) as usize;
        if let Some(place) = self.by_address.get(&address) {
            return Some(*place);
        }
        if let Some(&place) = self.by_series.get(&sample.series) {
            // The source shares another one now: keep up with it.
            let page = self.series.get_mut(place as usize)?;
            self.by_address.remove(&(Arc::as_ptr(&page.series) as usize));
            page.series = Arc::clone(&sample.series);
            self.by_address.insert(address, place);
            self.by_series.remove(&sample.series);
            self.by_series.insert(Arc::clone(&sample.series), place);
            return Some(place);
        }
        if self.is_left_over(sample, config) {
            return None;
        }
        let added = self.add_series(&sample.series, config).or_else(|| {
            self.make_room(sample.at, config);
            self.add_series(&sample.series, config)
        });
        self.counts.refused_samples += u64::from(added.is_none());
        added
    }

    pub(super) fn counts(&self) -> ScrapeCounts {
        ScrapeCounts { targets: self.targets.len(), series: self.series.len(), ..self.counts }
    }

    pub(super) fn place_of(&self, entity: &EntityId) -> Option<Place> {
        self.by_entity.get(entity).copied()
    }

    pub(super) fn target(&self, target: &Target) -> Option<&TargetPage> {
        let entity = self.entities.get(*self.by_entity.get(&target.entity)? as usize)?;
        let at = self.search(entity, target).ok()?;
        self.targets.get(*entity.targets.get(at)? as usize)
    }

    /// Builds what is found by, after a snapshot was read. `false` when the snapshot contradicts itself.
    pub(super) fn index(&mut self) -> bool {
        let (n_entities, n_targets, n_series) = (self.entities.len(), self.targets.len(), self.series.len());
        let sound = self.entities.iter().flat_map(|entity| &entity.targets).all(|place| (*place as usize) < n_targets)
            && self.targets.iter().all(|page| (page.entity as usize) < n_entities)
            && self.targets.iter().flat_map(|page| &page.pending).all(|(place, _)| (*place as usize) < n_series)
            && self.series.iter().all(|page| (page.target as usize) < n_targets);
        (self.by_entity, self.by_series, self.by_address) = Default::default();
        for (place, entity) in (0..).zip(&self.entities) {
            self.by_entity.insert(entity.id.clone(), place);
        }
        for (place, page) in (0..).zip(&self.series) {
            self.by_address.insert(Arc::as_ptr(&page.series) as usize, place);
            self.by_series.insert(Arc::clone(&page.series), place);
        }
        sound
    }

    /// `None` when there is no room.
    fn add_series(&mut self, series: &Arc<Series>, config: &ScrapeConfig) -> Option<Place> {
        if self.series.len() >= config.max_series {
            return None;
        }
        let target = self.place_of_target(Target::of(series), config.max_targets)?;
        let page = self.targets.get_mut(target as usize)?;
        if page.n_series >= config.max_series_per_target {
            return None;
        }
        page.n_series += 1;
        let place = Place::try_from(self.series.len()).ok()?;
        let is_start = series.metric == config.start_time;
        let epoch = page.epoch;
        self.series.push(SeriesPage { series: Arc::clone(series), target, is_start, last: 0.0, epoch, at: None });
        self.by_address.insert(Arc::as_ptr(series) as usize, place);
        self.by_series.insert(Arc::clone(series), place);
        Some(place)
    }

    fn place_of_target(&mut self, target: Target, max_targets: usize) -> Option<Place> {
        let known = self.by_entity.get(&target.entity).copied();
        let at = match known.and_then(|place| self.entities.get(place as usize)) {
            Some(entity) => match self.search(entity, &target) {
                Ok(at) => return entity.targets.get(at).copied(),
                Err(at) => at,
            },
            None => 0,
        };
        if self.targets.len() >= max_targets {
            return None;
        }
        let place = Place::try_from(self.targets.len()).ok()?;
        let entity = match known {
            Some(entity) => entity,
            None => self.add_entity(&target.entity)?,
        };
        self.entities.get_mut(entity as usize)?.targets.insert(at, place);
        self.targets.push(TargetPage::new(target, entity));
        Some(place)
    }

    fn add_entity(&mut self, id: &EntityId) -> Option<Place> {
        let place = Place::try_from(self.entities.len()).ok()?;
        self.entities.push(Entity {
            id: id.clone(),
            targets: Vec::new(),
            open: Vec::new(),
            up_is_last: false,
            has_values: true,
            ups: (None, 1),
        });
        self.by_entity.insert(id.clone(), place);
        Some(place)
    }

    fn search(&self, entity: &Entity, target: &Target) -> Result<usize, usize> {
        entity.targets.binary_search_by(|place| {
            let labels = self.targets.get(*place as usize).map(|page| &page.target.labels);
            labels.cmp(&Some(&target.labels))
        })
    }

    /// Evicts what was silent for long. Targets that are being scraped stay.
    fn make_room(&mut self, now: Timestamp, config: &ScrapeConfig) {
        if !self.room.is_due(now) {
            return;
        }
        let silent = |seen: Timestamp| now.since(seen).as_secs() > config.forget_secs;
        let (n_targets, n_series) = (self.targets.len(), self.series.len());
        self.retain(|page| page.open.is_some() || !silent(page.seen), |page| !page.at.is_some_and(silent));
        self.counts.evicted_targets += (n_targets - self.targets.len()) as u64;
        self.counts.evicted_series += (n_series - self.series.len()) as u64;
        let counts = self.counts();
        tracing::warn!(
            targets = counts.targets,
            series = counts.series,
            evicted_targets = counts.evicted_targets,
            evicted_series = counts.evicted_series,
            refused_samples = counts.refused_samples,
            "the assembler of scrapes has reached a bound"
        );
    }

    /// Drops all targets and series of entities that are gone.
    pub(super) fn remove(&mut self, all: &[Gone], config: &ScrapeConfig) {
        let places: BTreeSet<Place> = all.iter().filter_map(|gone| self.place_of(&gone.entity)).collect();
        if !places.is_empty() {
            self.retain(|page| !places.contains(&page.entity), |_| true);
        }
        for gone in all {
            if self.gone.len() >= config.max_targets {
                let first = self.gone.iter().min_by_key(|(_, at)| **at).map(|(entity, _)| entity.clone());
                first.map(|entity| self.gone.remove(&entity));
            }
            self.gone.insert(gone.entity.clone(), gone.at);
        }
    }

    /// Whether the sample was measured before its entity was gone. A later one is of a new entity; and so is a much earlier one,
    /// because no source is that late: the clock was set back.
    fn is_left_over(&mut self, sample: &MetricSample, config: &ScrapeConfig) -> bool {
        let Some(at) = self.gone.get(&sample.series.entity) else { return false };
        let is_left_over = sample.at <= *at && at.since(sample.at).as_secs() <= config.forget_secs;
        if !is_left_over {
            self.gone.remove(&sample.series.entity);
        }
        is_left_over
    }

    /// Keeps only these targets, and of their series these.
    fn retain(&mut self, keeps_target: impl Fn(&TargetPage) -> bool, keeps_series: impl Fn(&SeriesPage) -> bool) {
        let old_series = std::mem::take(&mut self.series);
        let old_targets = std::mem::take(&mut self.targets);
        let (n_series, n_targets) = (old_series.len(), old_targets.len());

        let mut new_target = vec![None; n_targets];
        for (page, place) in old_targets.into_iter().zip(&mut new_target) {
            if keeps_target(&page) {
                *place = Place::try_from(self.targets.len()).ok();
                self.targets.push(TargetPage { n_series: 0, ..page });
            }
        }
        let moved = |places: &[Option<Place>], place: Place| places.get(place as usize).copied().flatten();
        let mut new_series = vec![None; n_series];
        for (page, place) in old_series.into_iter().zip(&mut new_series) {
            let Some(target) = moved(&new_target, page.target) else { continue };
            if keeps_series(&page) {
                *place = Place::try_from(self.series.len()).ok();
                self.series.push(SeriesPage { target, ..page });
                if let Some(owner) = self.targets.get_mut(target as usize) {
                    owner.n_series += 1;
                }
            }
        }
        let mut new_entity = vec![None; self.entities.len()];
        let old_entities = std::mem::take(&mut self.entities);
        for (mut entity, place) in old_entities.into_iter().zip(&mut new_entity) {
            entity.targets = entity.targets.iter().filter_map(|place| moved(&new_target, *place)).collect();
            if !entity.targets.is_empty() {
                *place = Place::try_from(self.entities.len()).ok();
                self.entities.push(entity);
            }
        }
        for page in &mut self.targets {
            page.entity = moved(&new_entity, page.entity).unwrap_or_default();
            let pending = page.pending.iter();
            page.pending = pending.filter_map(|(place, value)| Some((moved(&new_series, *place)?, *value))).collect();
        }
        self.index();
    }
}

impl TargetPage {
    fn new(target: Target, entity: Place) -> Self {
        Self {
            target: Arc::new(target),
            entity,
            open: None,
            up: None,
            start: None,
            pending: Vec::new(),
            closed: None,
            before: None,
            last_start: None,
            epoch: 0,
            gaps_ns: Ring::default(),
            number: 0,
            seen: Timestamp::default(),
            n_series: 0,
        }
    }
}
