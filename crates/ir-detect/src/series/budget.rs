//! When a surprise is an alert: the limit, how it rises after alerts, and how it falls again.

use serde::{Deserialize, Serialize};

use super::SeriesConfig;
use super::habits::Habits;

/// The rate of values for which the limit is stated.
const STATED_SECS: f64 = 300.0;
/// The raised limit falls by half in at most, and at least, so many values.
const LONGEST: f64 = 300.0;
const SHORTEST: f64 = 24.0;
/// However many alerts came, the limit is raised by no more than this.
const MOST_NATS: f64 = 40.0;
/// So many times the surprise of the last alert is worth another one at once.
const CLEARLY_WORSE: f64 = 1.2;

/// The alert budget of one series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Budget {
    raised: f64,
    since_alert: usize,
    last: f64,
    habits: Habits,
}

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) nats: f64,
    /// Since the epoch.
    pub(crate) secs: f64,
    /// How far off what was expected, in the unit of the values.
    pub(crate) off: f64,
    pub(crate) interval_secs: f64,
}

impl Budget {
    /// By how much the limit differs from the stated one, given seconds between values.
    fn offset(interval_secs: f64, config: &SeriesConfig) -> f64 {
        config.limit_rises_nats * (STATED_SECS / interval_secs.max(1.0)).ln()
    }

    /// The surprise with the budget taken off, so that it can be compared with the stated limit, and whether it is an alert.
    pub(crate) fn judge(&mut self, seen: Seen, config: &SeriesConfig) -> (f64, bool) {
        let Seen { nats, secs, off, interval_secs } = seen;
        let half_life = (config.rest_secs / interval_secs.max(1.0)).clamp(SHORTEST, LONGEST);
        if self.raised > 0.0 {
            self.raised *= (-std::f64::consts::LN_2 / half_life).exp();
        }
        self.since_alert = self.since_alert.saturating_add(1);
        let nats = nats - Self::offset(interval_secs, config);
        let left = nats - self.raised;
        let again = self.since_alert > config.quiet_values || nats > CLEARLY_WORSE * self.last;
        // What would be an alert but for the budget counts as well: a habit is one whether it was told or not.
        let habit = nats >= config.limit_nats && self.habits.is_one(secs, off, interval_secs);
        let alert = left >= config.limit_nats && !habit && (again || self.last == 0.0);
        if alert {
            self.raised = (self.raised + config.rest_nats).min(MOST_NATS);
            self.since_alert = 0;
            self.last = nats;
        }
        (left.max(0.0), alert)
    }

    /// Whether the last alert is so young that another one would be the same.
    pub(crate) fn told_within(&self, config: &SeriesConfig) -> bool {
        self.last > 0.0 && self.since_alert <= config.quiet_values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges sums that come every `interval_secs`, each farther off than any before.
    struct Series(Budget, f64, f64);

    impl Series {
        fn is_alert(&mut self, nats: f64) -> bool {
            let Self(budget, at, interval_secs) = self;
            *at += 1.0;
            let seen = Seen { nats, secs: *at * *interval_secs, off: 2_f64.powf(*at), interval_secs: *interval_secs };
            budget.judge(seen, &SeriesConfig::default()).1
        }
    }

    #[test]
    fn alerts_make_the_next_one_dearer_until_it_is_forgotten() {
        let mut series = Series(Budget::default(), 0.0, 300.0);
        assert!(!series.is_alert(29.9));
        assert!(series.is_alert(31.0));
        assert!(!series.is_alert(36.0), "too soon and not clearly worse");
        assert!(series.is_alert(41.0), "clearly worse");
        let mut waited = 0;
        while !series.is_alert(31.0) {
            waited += 1;
        }
        assert!((500..1500).contains(&waited), "{waited}");
    }

    #[test]
    fn values_that_come_often_need_more() {
        let is_alert = |secs: f64| Series(Budget::default(), 0.0, secs).is_alert(27.0);
        assert!(is_alert(3600.0) && !is_alert(300.0) && !is_alert(1.0));
    }

    #[test]
    fn the_same_every_night_is_told_at_first_and_more_than_it_is_told_again() {
        let (mut budget, config) = (Budget::default(), SeriesConfig::default());
        let mut night = |day: u32, off: f64| {
            let seen = Seen { nats: 80.0, secs: f64::from(day) * 86_400.0, off, interval_secs: 300.0 };
            let alert = budget.judge(seen, &config).1;
            // The rest of the day is quiet.
            assert!((0..287).all(|_| !budget.judge(Seen { nats: 0.0, ..seen }, &config).1));
            alert
        };
        let found: Vec<bool> = (0..6).map(|day| night(day, 5.0)).collect();
        assert_eq!(found, [true, true, false, false, false, false]);
        assert!(night(6, 25.0));
    }
}
