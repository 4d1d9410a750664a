//! Series with one thing in them that somebody looking at the curve would point at.

use incident_response::detect::stats::Random;

use super::noise::{DAY, HOUR, between, chance, order_between};
use super::series::{Measure, Series, clean};

/// What is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// One to three values far out.
    Spike,
    /// Half an hour to three hours on another level.
    Shock,
    /// Another level from then on.
    Level,
    /// A rise or fall over six hours to a day, to a level that stays.
    Trend,
    /// A day with its hours shifted by a quarter to a half of a day.
    Season,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Spike, Self::Shock, Self::Level, Self::Trend, Self::Season];

    /// A word for tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Shock => "shock",
            Self::Level => "level",
            Self::Trend => "trend",
            Self::Season => "season",
        }
    }
}

/// A series with something planted, and the same without.
#[derive(Debug, Clone)]
pub struct Planted {
    /// As it would have been.
    pub clean: Series,
    /// As it is.
    pub series: Series,
    /// The first value that differs.
    pub from: usize,
    /// The last value at which finding it helps: the end of what passes, two hours into what stays.
    pub to: usize,
}

/// Days before something may happen, and in all.
const WARM_DAYS: f64 = 9.0;
const DAYS: f64 = 12.0;
/// How large things are, in usual moves, and how far trends lead, in usual ranges.
const MOVES: (f64, f64) = (2.0, 5.0);
const RANGES: (f64, f64) = (1.0, 2.0);
/// A season that can be broken explains this share of the variance.
const SEASONAL: f64 = 0.6;

/// Plants a fault of two to five times of what the series usually moves in an hour (which 95 of 100 hours do not exceed), up or
/// down, but not below 0. Trends are slower than what a series usually does, so they lead farther: by one to two times the range in
/// which 98 of 100 values before were. `None` when a season is to be broken and this one has none.
#[must_use]
pub fn planted(measure: Measure, fault: Fault, seed: u64, interval_secs: f64) -> Option<Planted> {
    let clean = clean(measure, seed, interval_secs, DAYS);
    let mut random = Random::new(seed ^ (measure as u64 + 301) << 40 ^ (fault as u64 + 1) << 50);
    let of_hour = (HOUR / interval_secs).round().max(1.0);
    let from = ((WARM_DAYS + between(&mut random, 0.0, 1.5)) * DAY / interval_secs) as usize;
    let past = &clean.values[..from];
    let size = match fault {
        Fault::Trend => between(&mut random, RANGES.0, RANGES.1) * usual_range(past),
        _ => between(&mut random, MOVES.0, MOVES.1) * usual_move(past, of_hour as usize),
    };
    // What would fall below 0 rises instead.
    let up = chance(&mut random, 0.5) || clean.values[from..].iter().any(|value| value - size < 0.0);
    let by = if up { size } else { -size };
    let hours = |random: &mut Random, low: f64, high: f64| (order_between(random, low, high) * of_hour) as usize;
    let mut series = clean.clone();
    let mut lift = |range: std::ops::Range<usize>, by: &dyn Fn(usize) -> f64| {
        let from = range.start;
        for (at, value) in series.values.iter_mut().enumerate().take(range.end).skip(from) {
            *value += by(at - from);
        }
    };
    let end = clean.values.len();
    let to = match fault {
        Fault::Spike => {
            let to = from + (random.bits() % 3) as usize;
            lift(from..to + 1, &|_| by);
            to
        }
        Fault::Shock => {
            let to = from + hours(&mut random, 0.5, 3.0);
            lift(from..to + 1, &|_| by);
            to
        }
        Fault::Level => {
            lift(from..end, &|_| by);
            from + 2 * of_hour as usize
        }
        Fault::Trend => {
            let lasts = hours(&mut random, 6.0, 24.0);
            lift(from..end, &|at| by * (at as f64 / lasts as f64).min(1.0));
            from + lasts + 2 * of_hour as usize
        }
        Fault::Season => {
            let day = (24.0 * of_hour) as usize;
            if explained(&clean.values[..from], day) < SEASONAL {
                return None;
            }
            let shift = hours(&mut random, 6.0, 12.0);
            series.values[from..from + day].copy_from_slice(&clean.values[from - shift..from - shift + day]);
            from + day
        }
    };
    Some(Planted { clean, series, from, to: to.min(end - 1) })
}

/// What the series moves in an hour at most, in 95 of 100 hours.
fn usual_move(values: &[f64], of_hour: usize) -> f64 {
    let mut moves: Vec<f64> = values.iter().zip(&values[of_hour..]).map(|(a, b)| (b - a).abs()).collect();
    moves.sort_by(f64::total_cmp);
    moves.get(moves.len() * 95 / 100).copied().unwrap_or(0.0).max(f64::MIN_POSITIVE)
}

/// The range in which 98 of 100 values lie.
fn usual_range(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or(0.0);
    at(99) - at(1)
}

/// The share of the variance that the mean of the time of day explains.
fn explained(values: &[f64], day: usize) -> f64 {
    let variance = |values: &mut dyn Iterator<Item = f64>| {
        let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
        values.for_each(|value| {
            n += 1.0;
            sum += value;
            squares += value * value;
        });
        (squares - sum * sum / f64::max(n, 1.0)) / f64::max(n, 1.0)
    };
    let days = values.len() / day;
    let mean = |at: usize| (0..days).map(|n| values[n * day + at]).sum::<f64>() / days as f64;
    let all = variance(&mut values.iter().copied());
    if all > 0.0 { variance(&mut (0..day).map(mean)) / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_planted_differs_and_the_seed_decides_all() {
        for fault in Fault::ALL {
            let mut made = 0;
            for seed in 1..30 {
                let Some(planted) = planted(Measure::Traffic, fault, seed, 300.0) else { continue };
                made += 1;
                assert_eq!(planted.series.values[..planted.from], planted.clean.values[..planted.from]);
                assert_ne!(planted.series.values[planted.from..], planted.clean.values[planted.from..]);
                assert!(planted.from <= planted.to && planted.series.values.iter().all(|value| *value >= 0.0));
                let again = super::planted(Measure::Traffic, fault, seed, 300.0).unwrap();
                assert_eq!((again.series.values, again.to), (planted.series.values, planted.to));
            }
            assert!(made >= 5, "{fault:?} {made}");
        }
    }
}
