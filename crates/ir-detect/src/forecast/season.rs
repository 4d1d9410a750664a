//! What the hour of the day explains.

use serde::{Deserialize, Serialize};

/// Half hours.
const SLOTS: usize = 48;
const DAY_SECS: f64 = 86_400.0;
/// A day counts half after three more, as far as days are concerned.
const RATE: f64 = 0.2;
/// A slot says something from its second day on.
const MIN_DAYS: u8 = 2;

/// The usual distance of each half hour from the mean of its day. UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Season {
    slots: Vec<Slot>,
    /// Means of the half hours of the current day, and how many of them have been closed in a row.
    today: Vec<f32>,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Slot {
    off: f32,
    days: u8,
}

/// The half hour that is being filled, counted from the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Open {
    half_hour: i64,
    sum: f64,
    values: f64,
}

impl Default for Season {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); SLOTS], today: Vec::with_capacity(SLOTS), open: None }
    }
}

impl Season {
    /// By how much the hour of the day usually lifts the series, at a time in seconds since the epoch. 0 as long as nothing is
    /// known of it.
    pub(crate) fn at(&self, secs: f64) -> f64 {
        // Between the middles of half hours the way is straight.
        let within = (secs / DAY_SECS).rem_euclid(1.0) * SLOTS as f64 - 0.5;
        let (before, part) = (within.floor(), within - within.floor());
        let of = |slot: f64| {
            let slot = self.slots.get(slot.rem_euclid(SLOTS as f64) as usize).filter(|slot| slot.days >= MIN_DAYS);
            slot.map(|slot| f64::from(slot.off))
        };
        match (of(before), of(before + 1.0)) {
            (Some(a), Some(b)) => a + (b - a) * part,
            (a, b) => a.or(b).unwrap_or(0.0),
        }
    }

    /// Takes a value.
    pub(crate) fn push(&mut self, secs: f64, value: f64) {
        let half_hour = (secs / DAY_SECS * SLOTS as f64).floor() as i64;
        match &mut self.open {
            Some(open) if open.half_hour == half_hour => {
                open.sum += value;
                open.values += 1.0;
                return;
            }
            Some(open) => {
                let (closed, mean) = (open.half_hour, open.sum / open.values);
                if half_hour != closed + 1 {
                    self.today.clear();
                } else {
                    self.close(closed, mean);
                }
            }
            None => {}
        }
        self.open = Some(Open { half_hour, sum: value, values: 1.0 });
    }

    /// Begins the day anew: what came before belongs to another level.
    pub(crate) fn break_day(&mut self) {
        self.today.clear();
    }

    /// Bytes on the heap.
    pub(crate) fn held(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.today.capacity() * size_of::<f32>()
    }

    /// A day without a break is 48 half hours in a row, whenever it began.
    fn close(&mut self, half_hour: i64, mean: f64) {
        self.today.push(mean as f32);
        if self.today.len() < SLOTS {
            return;
        }
        // What the day rose or fell as a whole is no season: the line through it is taken off.
        let n = SLOTS as f64;
        let middle = (n - 1.0) / 2.0;
        let all = self.today.iter().map(|mean| f64::from(*mean));
        let level = all.clone().sum::<f64>() / n;
        let quarter = SLOTS / 4;
        let sum = |part: &[f32]| part.iter().map(|mean| f64::from(*mean)).sum::<f64>() / quarter as f64;
        let known = self.slots.iter().all(|slot| slot.days >= MIN_DAYS);
        let first = half_hour - (SLOTS as i64 - 1);
        let off_of = |slots: &[Slot], at: usize| {
            let slot = (first + at as i64).rem_euclid(SLOTS as i64) as usize;
            slots.get(slot).map_or(0.0, |slot| f64::from(slot.off))
        };
        // The rise of a day is what its last quarter has over its first, beyond what the season already explains.
        let explained = |from: usize| {
            if known {
                (from..from + quarter).map(|at| off_of(&self.slots, at)).sum::<f64>() / quarter as f64
            } else {
                0.0
            }
        };
        let (early, late) = (
            sum(&self.today[..quarter]) - explained(0),
            sum(&self.today[SLOTS - quarter..]) - explained(SLOTS - quarter),
        );
        let slope = if known { (late - early) / (n - quarter as f64) } else { 0.0 };
        for (at, mean) in all.enumerate() {
            let slot = (first + at as i64).rem_euclid(SLOTS as i64) as usize;
            if let Some(slot) = self.slots.get_mut(slot) {
                let off = mean - level - slope * (at as f64 - middle);
                let rate = RATE.max(1.0 / (f64::from(slot.days) + 1.0));
                slot.off = (f64::from(slot.off) + rate * (off - f64::from(slot.off))) as f32;
                slot.days = slot.days.saturating_add(1);
            }
        }
        self.today.clear();
    }
}
