//! What a series does again and again is its nature, and nobody needs to hear of it once more.

use serde::{Deserialize, Serialize};

const DAY_MINUTES: i64 = 1440;
/// So many things out of the usual are remembered.
const KEPT: usize = 8;
/// One that came at the same hour on so many of the last days is a habit: jobs that start, logs that are rotated.
const DAYS: i64 = 3;
const SAME_HOUR: usize = 2;
/// So is one that came so often in those days, at whatever hour.
const OFTEN: usize = 4;
/// Something in the same direction and at most so many times as large as what was remembered is the same again.
const NO_LARGER: f64 = 1.5;
/// Things no farther apart than this are at the same hour, and on the same day they are one.
const LEEWAY_MINUTES: i64 = 30;
/// What is one cannot be what comes again: what lies closer than this to the newest was not over.
const APART_MINUTES: i64 = 120;

/// The last things out of the usual: when they came, and how far off they were.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Habits {
    kept: [Kept; KEPT],
    n: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Minutes since the epoch.
    at: i32,
    /// Off by so much, in the unit of the series; 0 is an empty place.
    by: f32,
}

impl Kept {
    /// Whether `by` at `minutes` is this again, seen by its size alone.
    fn is_like(self, by: f64) -> bool {
        let ratio = by / f64::from(self.by);
        ratio > 0.0 && ratio < NO_LARGER
    }

    fn minutes_before(self, minutes: i64) -> i64 {
        minutes - i64::from(self.at)
    }
}

impl Habits {
    /// Whether something at `secs` since the epoch that is off `by` so much is a habit. It is remembered. `interval_secs` lie
    /// between two values of the series.
    pub(crate) fn is_one(&mut self, secs: f64, by: f64, interval_secs: f64) -> bool {
        // Casts saturate: four thousand years are enough.
        let minutes = i64::from((secs / 60.0) as i32);
        let leeway = LEEWAY_MINUTES.max((interval_secs / 30.0) as i64);
        let same_hour = |kept: Kept| {
            let off_by = |days: i64| (kept.minutes_before(minutes) - days * DAY_MINUTES).abs();
            (1..=DAYS).any(|days| off_by(days) <= leeway)
        };
        let lately = |kept: Kept| (APART_MINUTES..DAYS * DAY_MINUTES).contains(&kept.minutes_before(minutes));
        let count =
            |is_so: &dyn Fn(Kept) -> bool| self.kept.iter().filter(|kept| kept.is_like(by) && is_so(**kept)).count();
        let is_one = count(&same_hour) >= SAME_HOUR || count(&lately) >= OFTEN;
        self.remember(minutes, by, leeway);
        is_one
    }

    fn remember(&mut self, minutes: i64, by: f64, leeway: i64) {
        let by = by.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        let newest = &mut self.kept[self.n.wrapping_sub(1) % KEPT];
        if newest.by * by > 0.0 && (0..leeway).contains(&newest.minutes_before(minutes)) {
            if by.abs() > newest.by.abs() {
                newest.by = by;
            }
            return;
        }
        self.kept[self.n % KEPT] = Kept { at: minutes as i32, by };
        self.n = self.n.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: f64 = 3600.0;

    fn is_one(habits: &mut Habits, hours: f64, by: f64) -> bool {
        habits.is_one(1.7e9 + hours * HOUR, by, 300.0)
    }

    #[test]
    fn the_same_hour_of_two_days_makes_a_habit_for_either_direction_apart() {
        let mut habits = Habits::default();
        let nights = [(0.0, 5.0), (24.2, 4.0), (48.1, 5.5), (72.0, -6.0), (72.3, 5.0)];
        let found = nights.map(|(hours, by)| is_one(&mut habits, hours, by));
        assert_eq!(found, [false, false, true, false, true]);
        // Larger than any before is news, and so is another hour.
        assert!(!is_one(&mut habits, 96.0, 20.0));
        assert!(!is_one(&mut habits, 108.0, 5.0));
        // After a week without it, nobody remembers.
        assert!(!is_one(&mut habits, 300.0, 5.0));
    }

    #[test]
    fn what_comes_at_any_hour_is_a_habit_when_it_comes_often() {
        let mut habits = Habits::default();
        let found = [0.0, 11.0, 27.0, 40.0, 57.0].map(|hours| is_one(&mut habits, hours, 3.0));
        assert_eq!(found, [false, false, false, false, true]);
    }

    #[test]
    fn one_thing_that_lasts_is_one() {
        let mut habits = Habits::default();
        let found: Vec<bool> = (0..24).map(|step| is_one(&mut habits, f64::from(step) / 12.0, 3.0)).collect();
        assert!(found.iter().all(|habit| !habit), "{found:?}");
    }

    #[test]
    fn no_time_and_no_size_is_too_much() {
        let mut habits = Habits::default();
        for secs in [0.0, -1e300, 1e300, 1e9, f64::MAX, f64::MIN] {
            for by in [0.0, f64::MAX, f64::MIN, 1e-320, 5.0] {
                habits.is_one(secs, by, 60.0);
                habits.is_one(secs, by, f64::MAX);
            }
        }
        assert!(!is_one(&mut habits, 0.0, 5.0));
    }
}
