//! What detectors of one entity look at: its targets together, and of their series those that a detector wants.

use std::sync::Arc;

use ir_core::{EntityId, Scrape, Series, Timestamp};

/// The scrapes of one entity's targets at one time.
#[derive(Debug)]
pub(crate) struct EntityScrape<'a> {
    pub(crate) entity: &'a EntityId,
    pub(crate) at: Timestamp,
    /// Whether a target answered; `None` when none gave `up`. That some of many fail is no absence of the entity.
    pub(crate) up: Option<bool>,
    /// Whether the process of a target is another one than before.
    pub(crate) restarted: bool,
    /// By how much counters and buckets grew.
    pub(crate) increases: Vec<Rise<'a>>,
    pub(crate) gauges: Vec<(&'a Arc<Series>, f64)>,
    span_secs: Option<f64>,
}

/// By how much one counter or bucket grew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rise<'a> {
    pub(crate) series: &'a Arc<Series>,
    pub(crate) by: f64,
    /// Seconds since the scrape before of the same target.
    pub(crate) over_secs: f64,
    /// What the old process counted after its last scrape is lost, so over a restart there is no rate.
    restarted: bool,
}

/// The scrapes entity by entity, each with the scrapes of all of its targets at one time.
pub(crate) fn by_entity(scrapes: &[Scrape]) -> impl Iterator<Item = &[Scrape]> {
    scrapes.split_inclusive(|scrape| scrape.completes_entity)
}

impl<'a> EntityScrape<'a> {
    /// `scrapes` are of one entity and one time, as [`by_entity`] gives them; `None` without any.
    pub(crate) fn new(scrapes: &'a [Scrape], wants: impl Fn(&Series) -> bool) -> Option<Self> {
        let first = scrapes.first()?;
        let mut all = Self {
            entity: &first.target.entity,
            at: first.at,
            up: None,
            restarted: false,
            increases: Vec::new(),
            gauges: Vec::new(),
            span_secs: None,
        };
        for scrape in scrapes {
            all.add(scrape, &wants);
        }
        Some(all)
    }

    /// Seconds that the increases cover: of the target whose last values are oldest. `None` when nothing can have grown.
    pub(crate) fn span_secs(&self) -> Option<f64> {
        self.span_secs
    }

    /// The gauges, and of counters what they rose a second.
    pub(crate) fn gauges_and_rates(&self) -> impl Iterator<Item = (&Arc<Series>, f64)> {
        let rates = self.increases.iter().filter(|rise| !rise.restarted).map(|rise| (rise.series, rise.per_sec()));
        self.gauges.iter().copied().chain(rates)
    }

    fn add(&mut self, scrape: &'a Scrape, wants: impl Fn(&Series) -> bool) {
        if let Some(up) = scrape.up {
            self.up = Some(up || self.up == Some(true));
        }
        self.restarted |= scrape.restarted;
        let span_secs = scrape.span_secs();
        self.span_secs = [self.span_secs, span_secs].into_iter().flatten().reduce(f64::max);
        for sample in scrape.samples.iter().filter(|sample| wants(&sample.series)) {
            if sample.is_level() {
                self.gauges.push((&sample.series, sample.value));
            } else if let (Some(by), Some(over_secs)) = (sample.increase, span_secs) {
                self.increases.push(Rise { series: &sample.series, by, over_secs, restarted: scrape.restarted });
            }
        }
    }
}

impl Rise<'_> {
    pub(crate) fn per_sec(&self) -> f64 {
        self.by / self.over_secs
    }
}
