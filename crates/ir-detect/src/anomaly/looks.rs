//! From samples to looks: what one scrape of one entity told, with counters turned into increases.
//!
//! Detectors must answer the same wherever a batch is cut, so a scrape cannot end where its batch ends. It ends at its `up`
//! sample once that was seen to come last, or else with the first sample that is later: of the same entity, or of another by
//! more than [`SLACK`]. A source that puts `up` last therefore saves one interval of waiting.
//!
//! Hygiene: a repeated or late sample changes nothing; a clock set back by more than [`JUMP`] begins anew; NaN and infinities
//! are left out; a counter that fell, or whose process has another start time, counts from 0; a series that appears on a known
//! entity counts from 0 as well, because the first error of a process is a new series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ir_core::{EntityId, MetricKind, MetricSample, Series, Timestamp};
use serde::{Deserialize, Serialize};

use super::names::Bounds;
use crate::pairs;

/// Targets of one scrape round have times a little apart, and sources may mix their samples.
const SLACK: Duration = Duration::from_millis(200);
/// Late samples lie a few seconds back at most; what lies further back was stamped by a clock that was set.
const JUMP: Duration = Duration::from_secs(10);

/// What one scrape of one entity told.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) entity: EntityId,
    pub(crate) at: Timestamp,
    /// The look before that brought data: increases count from there. `None` on the first look and after a clock jump.
    pub(crate) before: Option<Timestamp>,
    /// What the `up` sample said, if there was one.
    pub(crate) up: Option<bool>,
    /// Whether the process is another one than before.
    pub(crate) restarted: bool,
    /// By how much counters and buckets grew since `before`; empty without it.
    pub(crate) increases: Vec<(Arc<Series>, f64)>,
    pub(crate) gauges: Vec<(Arc<Series>, f64)>,
}

impl Look {
    /// Seconds that the increases cover.
    pub(crate) fn span_secs(&self) -> Option<f64> {
        let secs = self.at.since(self.before?).as_secs_f64();
        (secs > 0.0).then_some(secs)
    }

    /// The gauges, and of counters what they rose a second. What the old process counted after its last scrape is lost, so over a
    /// restart there is no rate.
    pub(crate) fn gauges_and_rates(&self) -> impl Iterator<Item = (&Arc<Series>, f64)> {
        let span = self.span_secs().filter(|_| !self.restarted);
        let rates = self.increases.iter().filter_map(move |(series, increase)| Some((series, increase / span?)));
        self.gauges.iter().map(|(series, value)| (series, *value)).chain(rates)
    }
}

/// What the owner wants to see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interest<'a> {
    pub(crate) start_time: &'a str,
    pub(crate) bounds: &'a Bounds,
    /// A look ends at `up`, whatever else comes: for an owner that wants no values.
    pub(crate) eager: bool,
}

/// Puts looks together. Memory: the last value of each wanted series, and the samples of the open looks.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Assembler {
    pages: BTreeMap<EntityId, Page>,
    /// No page that is open is earlier than this, so a sample is compared with one time and not with every page. It may be the
    /// time of a page that was closed since; looking through the pages then finds the right one.
    oldest_open: Option<Timestamp>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Page {
    at: Timestamp,
    open: bool,
    /// The time of the last page that was closed.
    closed: Option<Timestamp>,
    before: Option<Timestamp>,
    up: Option<bool>,
    after_up: usize,
    up_is_last: bool,
    start: Option<f64>,
    pending: Vec<(Arc<Series>, f64)>,
    #[serde(with = "pairs")]
    last: BTreeMap<Arc<Series>, f64>,
}

impl Assembler {
    /// Takes one sample; `wanted` says whether its value matters. Looks that are complete go to `out`.
    pub(crate) fn push(&mut self, sample: &MetricSample, wanted: bool, interest: Interest<'_>, out: &mut Vec<Look>) {
        let series = &sample.series;
        self.close_older(sample.at.minus(SLACK), interest, out);
        if !self.pages.contains_key(&series.entity) && self.pages.len() >= interest.bounds.max_entities {
            self.forget(sample.at, interest.bounds);
            if self.pages.len() >= interest.bounds.max_entities {
                tracing::debug!(entity = %series.entity, "entity beyond the bound is not watched");
                return;
            }
        }
        let page = self.pages.entry(series.entity.clone()).or_default();
        if page.open && sample.at > page.at {
            out.extend(page.close(&series.entity, interest));
        }
        if !page.open {
            match page.closed {
                Some(closed) if sample.at <= closed && closed.since(sample.at) <= JUMP => {
                    // A repetition of what was seen says nothing of the order; a value not seen yet came after `up`.
                    let repeated = page.last.get(series) == Some(&sample.value);
                    if sample.at == closed && wanted && series.kind != MetricKind::Up && !repeated {
                        page.up_is_last = false;
                    }
                    return;
                }
                Some(closed) if sample.at <= closed => {
                    page.before = None;
                    page.closed = None;
                }
                _ => {}
            }
            page.open(sample.at);
        } else if sample.at < page.at {
            if page.at.since(sample.at) <= JUMP {
                return;
            }
            page.before = None;
            page.closed = None;
            page.pending.clear();
            page.open(sample.at);
        }
        if series.kind == MetricKind::Up {
            if sample.value.is_nan() {
                return;
            }
            page.up = Some(sample.value > 0.0);
            page.after_up = 0;
            let complete = page.up_is_last && !page.pending.is_empty();
            if page.up == Some(false) || complete || interest.eager {
                out.extend(page.close(&series.entity, interest));
            }
        } else if wanted && sample.value.is_finite() && page.pending.len() < interest.bounds.max_series {
            page.after_up += 1;
            page.pending.push((Arc::clone(series), sample.value));
        }
        if page.open {
            self.oldest_open = Some(self.oldest_open.map_or(page.at, |oldest| oldest.min(page.at)));
        }
    }

    fn close_older(&mut self, than: Timestamp, interest: Interest<'_>, out: &mut Vec<Look>) {
        if self.oldest_open.is_none_or(|oldest| oldest >= than) {
            return;
        }
        let mut older: Vec<_> = self.pages.iter_mut().filter(|(_, page)| page.open && page.at < than).collect();
        // In the order of time, so that looks come the same way however samples are cut.
        older.sort_by(|a, b| (a.1.at, a.0).cmp(&(b.1.at, b.0)));
        for (entity, page) in older {
            out.extend(page.close(entity, interest));
        }
        self.oldest_open = self.pages.values().filter(|page| page.open).map(|page| page.at).min();
    }

    fn forget(&mut self, now: Timestamp, bounds: &Bounds) {
        self.pages.retain(|_, page| now.since(page.at).as_secs() <= bounds.forget_secs);
    }
}

impl Page {
    fn open(&mut self, at: Timestamp) {
        (self.at, self.open, self.up, self.after_up) = (at, true, None, 0);
    }

    fn close(&mut self, entity: &EntityId, interest: Interest<'_>) -> Option<Look> {
        if !self.open {
            return None;
        }
        self.open = false;
        self.closed = Some(self.at);
        if self.up == Some(true) {
            self.up_is_last = self.after_up == 0;
        }
        let pending = std::mem::take(&mut self.pending);
        let start = pending.iter().find(|(s, _)| s.metric == interest.start_time).map(|(_, value)| *value);
        let restarted = start.is_some() && self.start.is_some() && start != self.start;
        self.start = start.or(self.start);
        if restarted {
            self.last.clear();
        }
        let mut look = Look {
            entity: entity.clone(),
            at: self.at,
            before: self.before,
            up: self.up,
            restarted,
            increases: Vec::new(),
            gauges: Vec::new(),
        };
        let brought = !pending.is_empty() && self.up != Some(false);
        for (series, value) in pending {
            match series.kind {
                MetricKind::Counter | MetricKind::Bucket => self.count(series, value, interest.bounds, &mut look),
                _ => {
                    if self.last.contains_key(&series) || self.last.len() < interest.bounds.max_series {
                        self.last.insert(Arc::clone(&series), value);
                    }
                    look.gauges.push((series, value));
                }
            }
        }
        if brought {
            self.before = Some(self.at);
        }
        Some(look)
    }

    fn count(&mut self, series: Arc<Series>, value: f64, bounds: &Bounds, look: &mut Look) {
        if value < 0.0 {
            return;
        }
        let known = self.last.get(&series).copied();
        if known.is_none() && self.last.len() >= bounds.max_series {
            return;
        }
        let increase = match known {
            Some(last) if value >= last => value - last,
            _ => value,
        };
        self.last.insert(Arc::clone(&series), value);
        if look.before.is_some() {
            look.increases.push((series, increase));
        }
    }
}

#[cfg(test)]
mod tests;
