//! Whether one series leaks, and until when it lasts.

use serde::{Deserialize, Serialize};

use super::config::LeakConfig;
use super::crossing::{Forecast, Start};
use super::ladder::{Ladder, SPANS, secs_of};
use super::season::Season;
use super::tops::Tops;
use crate::stats::Drift;

/// Times beyond the year 5000 are nonsense.
const LAST_SECS: f64 = 1e11;
/// Fewer means than this of a span say nothing.
const MIN_MEANS: usize = 24;
/// A leak has gone on for so many means when anything is told from them.
const MIN_AFTER_ONSET: usize = 12;
/// A leak has ended when it is less sure than that it rises, in nats.
const NO_NATS: f64 = 0.7;
/// A fall by this share of the level from one minute to the next is a start of something new.
const DROP: f64 = 0.3;
/// A level is at least this, as a share of what the series ever was, when rises are compared with it.
const LEAST_LEVEL: f64 = 0.01;
/// Without a limit, a rise must be this share of the level.
const UNKNOWN_RISE: f64 = 0.25;
/// Without a limit, growth within the horizon matters from this share of the level on.
const GROWTH: f64 = 0.5;

/// A rise that does not look as if it ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    /// When it began, in seconds since the epoch.
    pub onset_secs: f64,
    /// The level then, and now, without the hour of the day.
    pub from: f64,
    /// See `from`.
    pub level: f64,
    /// How much it rises an hour.
    pub per_hour: f64,
    /// How sure it is that it rises, in nats.
    pub nats: f64,
}

/// Watches one series for slow rises. About 3 KB.
///
/// # Examples
///
/// ```
/// # use ir_detect::forecast::{LeakConfig, LeakModel};
/// let (config, mut model) = (LeakConfig::default(), LeakModel::default());
/// // Five days of noise, then a tenth of a MiB more every minute, of 500 at most.
/// let mut found = None;
/// for minute in 0..11_000_u32 {
///     let noise = f64::from(minute * 7919 % 31) / 10.0;
///     let leaked = 0.1 * f64::from(minute.saturating_sub(8_000));
///     let secs = f64::from(minute) * 60.0;
///     model.push(secs, 200.0 + noise + leaked, false, Some(500.0), &config);
///     if let (None, Some(leak)) = (found, model.leak()) {
///         found = Some((minute, *leak, model.forecast(secs, 500.0, &config)));
///     }
/// }
/// let (minute, leak, forecast) = found.unwrap();
/// assert!(minute > 8_000 && minute < 8_720);
/// assert!((leak.per_hour - 6.0).abs() < 2.0);
/// let hours = f64::from(8_000 + 3_000 - minute) / 60.0;
/// assert!(forecast.early_secs.unwrap() / 3600.0 < hours && hours < forecast.late_secs.unwrap() / 3600.0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LeakModel {
    ladder: Ladder,
    season: Season,
    tops: Tops,
    /// The mean of the last minute.
    minute: Option<f64>,
    /// The largest that was ever seen.
    size: f64,
    leak: Option<Open>,
}

/// A leak that goes on, and the coarsest span it was found on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Open {
    span: usize,
    leak: Leak,
}

/// What is known of a rise since its onset.
#[derive(Debug)]
struct Rise {
    drift: Drift,
    step_secs: f64,
    onset_secs: f64,
    last_secs: f64,
    /// By how much it rose.
    by: f64,
    /// By how much it will still rise if it slows down as it did; infinite if it does not.
    to_come: f64,
}

impl LeakModel {
    /// Takes a value at a time in seconds since the epoch. `restarted` tells that another process holds it now; a fall by a third
    /// within a minute says so as well. `limit` is where the resource ends, if that is known. Values that are not finite change
    /// nothing. Tells whether anything was judged anew: about once a minute.
    pub fn push(&mut self, secs: f64, value: f64, restarted: bool, limit: Option<f64>, config: &LeakConfig) -> bool {
        if !(value.is_finite() && secs.abs() < LAST_SECS) {
            return false;
        }
        let fell = self.minute.is_some_and(|minute| value < minute - DROP * minute.abs());
        if restarted || fell {
            self.ladder.clear();
            self.season.break_day();
            (self.minute, self.leak) = (None, None);
        }
        self.size = self.size.max(value.abs());
        self.season.push(secs, value);
        let Some(closed) = self.ladder.push(secs, value) else { return false };
        self.minute = Some(closed.mean);
        let level = closed.mean - self.season.at(closed.middle_secs);
        self.tops.minute(closed.middle_secs, level, closed.mean, closed.max, self.leak.is_none());
        for span in (0..SPANS).filter(|span| closed.spans[*span]) {
            self.judge(span, limit, config);
        }
        true
    }

    /// The leak that goes on, as it was last judged.
    #[must_use]
    pub fn leak(&self) -> Option<&Leak> {
        self.leak.as_ref().map(|open| &open.leak)
    }

    /// When a rise that goes on will reach `limit`, seen from a time in seconds since the epoch. Costs about a millisecond. All
    /// ends are `None` when nothing rises.
    #[must_use]
    pub fn forecast(&self, secs: f64, limit: f64, config: &LeakConfig) -> Forecast {
        let Some(rise) = self.rise() else { return Forecast::default() };
        let start = Start {
            drift: &rise.drift,
            step_secs: rise.step_secs,
            seen_secs: rise.last_secs - rise.onset_secs,
            last_secs: rise.last_secs,
            now_secs: secs,
            limit: limit - self.tops.stands_out(),
        };
        start.forecast(config.courses, config.horizon_secs, |at| self.season.at(at))
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.ladder.held() + self.season.held() + self.tops.held()
    }

    /// The means of a span without the hour of the day.
    fn levels(&self, span: usize) -> impl DoubleEndedIterator<Item = (f64, Option<f64>)> + ExactSizeIterator + Clone {
        self.ladder.means(span).map(|(at, mean)| (at, mean.map(|mean| mean - self.season.at(at))))
    }

    fn judge(&mut self, span: usize, limit: Option<f64>, config: &LeakConfig) {
        let levels = self.levels(span).map(|(_, level)| level);
        if levels.clone().flatten().count() < MIN_MEANS {
            return;
        }
        let Some(drift) = Drift::of(levels) else { return };
        let nats = drift.rising_nats();
        let sure = nats >= config.limit_nats;
        match self.leak {
            Some(open) if open.span == span && nats < NO_NATS => self.leak = None,
            // What is found on a coarser span is known better from there on.
            Some(open) if open.span == span || (sure && open.span < span) => {
                let leak = self.rise().map_or(open.leak, |rise| rise.leak(nats));
                self.leak = Some(Open { span, leak });
            }
            Some(_) => {}
            None if sure => {
                let rise = self.rise().filter(|rise| self.is_leak(rise, limit, config));
                self.leak = rise.map(|rise| Open { span, leak: rise.leak(nats) });
            }
            None => {}
        }
    }

    /// Whether a rise leaves what was seen before it, is not small, will matter, and does not look as if it ended by itself.
    fn is_leak(&self, rise: &Rise, limit: Option<f64>, config: &LeakConfig) -> bool {
        let level = rise.drift.level();
        let from = level - rise.by;
        let room = limit.map(|limit| (limit - self.tops.stands_out() - from).abs());
        let size = level.abs().max(LEAST_LEVEL * self.size);
        // Where nobody knows the end, a full cache and a leak differ only in how far they go.
        let least = room.map_or(UNKNOWN_RISE * size, |room| config.min_rise * room.min(size));
        let Some((top, seen_secs)) = self.tops.before(rise.onset_secs) else { return false };
        let per_sec = rise.drift.per_step() / rise.step_secs;
        let matters = match room {
            Some(room) => (room - rise.by) / per_sec <= config.horizon_secs && rise.by + rise.to_come >= room,
            None => (per_sec * config.horizon_secs).min(rise.to_come) >= GROWTH * size,
        };
        seen_secs >= config.warm_secs && rise.by >= least && level >= top + config.beyond_top * rise.by && matters
    }

    /// The rise that goes on, from the coarsest span on which enough lies behind its onset: it has the longest view.
    fn rise(&self) -> Option<Rise> {
        (0..SPANS).rev().find_map(|span| {
            let levels: Vec<(f64, Option<f64>)> = self.levels(span).collect();
            let after = levels.get(hinge(&levels)?..)?;
            if after.iter().filter(|(_, level)| level.is_some()).count() < MIN_AFTER_ONSET {
                return None;
            }
            let drift = Drift::of(after.iter().map(|(_, level)| *level))?;
            let by = drift.per_step() * (after.len() - 1) as f64;
            let (onset_secs, last_secs) = (after.first()?.0, after.last()?.0);
            let to_come = to_come(after, by);
            (by > 0.0).then_some(Rise { drift, step_secs: secs_of(span), onset_secs, last_secs, by, to_come })
        })
    }
}

impl Rise {
    fn leak(&self, nats: f64) -> Leak {
        let level = self.drift.level();
        let per_hour = self.drift.per_step() / self.step_secs * 3600.0;
        Leak { onset_secs: self.onset_secs, from: level - self.by, level, per_hour, nats }
    }
}

/// What a rise that slows down as an exponential does has still before it: each half rises by the same share of the half before.
/// The share is taken as large as it may well be.
fn to_come(after: &[(f64, Option<f64>)], by: f64) -> f64 {
    let (first, second) = after.split_at(after.len() / 2);
    let of = |half: &[(f64, Option<f64>)]| {
        let drift = Drift::of(half.iter().map(|(_, level)| *level))?;
        Some((drift.per_step(), drift.per_step_sd()))
    };
    let (Some((early, early_sd)), Some((late, late_sd))) = (of(first), of(second)) else { return f64::INFINITY };
    let share = (late + late_sd) / (early - early_sd).max(0.0);
    if share < 1.0 { by * share / (1.0 + share) * share / (1.0 - share) } else { f64::INFINITY }
}

/// Where a line that was level begins to rise: the least squares of a level and a slope that sets in at each point in turn.
fn hinge(points: &[(f64, Option<f64>)]) -> Option<usize> {
    let known: Vec<(f64, f64)> =
        points.iter().enumerate().filter_map(|(at, (_, mean))| Some((at as f64, (*mean)?))).collect();
    let n = known.len() as f64;
    let mean_y = known.iter().map(|(_, y)| y).sum::<f64>() / n;
    let explained = |onset: usize| {
        let x = |at: f64| (at - onset as f64).max(0.0);
        let mean_x = known.iter().map(|(at, _)| x(*at)).sum::<f64>() / n;
        let (mut xx, mut xy) = (0.0, 0.0);
        for (at, y) in &known {
            xx += (x(*at) - mean_x).powi(2);
            xy += (x(*at) - mean_x) * (y - mean_y);
        }
        if xx > 0.0 { xy.max(0.0).powi(2) / xx } else { 0.0 }
    };
    // What is left is least where most is explained.
    let onsets = (0..points.len().saturating_sub(2)).map(|onset| (onset, explained(onset)));
    onsets.max_by(|a, b| a.1.total_cmp(&b.1)).map(|best| best.0)
}
