//! When a surprise is an alert: the limit, how it rises after alerts, and how it falls again.

use serde::{Deserialize, Serialize};

use super::SeriesConfig;

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
}

impl Budget {
    /// By how much the limit differs from the stated one, given seconds between values.
    fn offset(interval_secs: f64, config: &SeriesConfig) -> f64 {
        config.limit_rises_nats * (STATED_SECS / interval_secs.max(1.0)).ln()
    }

    /// The surprise with the budget taken off, so that it can be compared with the stated limit, and whether it is an alert.
    pub(crate) fn judge(&mut self, nats: f64, interval_secs: f64, config: &SeriesConfig) -> (f64, bool) {
        let half_life = (config.rest_secs / interval_secs.max(1.0)).clamp(SHORTEST, LONGEST);
        if self.raised > 0.0 {
            self.raised *= (-std::f64::consts::LN_2 / half_life).exp();
        }
        self.since_alert = self.since_alert.saturating_add(1);
        let nats = nats - Self::offset(interval_secs, config);
        let left = nats - self.raised;
        let again = self.since_alert > config.quiet_values || nats > CLEARLY_WORSE * self.last;
        let alert = left >= config.limit_nats && (again || self.last == 0.0);
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

    #[test]
    fn alerts_make_the_next_one_dearer_until_it_is_forgotten() {
        let (mut budget, config) = (Budget::default(), SeriesConfig::default());
        assert!(!budget.judge(28.9, 300.0, &config).1);
        assert!(budget.judge(30.0, 300.0, &config).1);
        assert!(!budget.judge(35.0, 300.0, &config).1, "too soon and not clearly worse");
        assert!(budget.judge(40.0, 300.0, &config).1, "clearly worse");
        let mut waited = 0;
        while !budget.judge(30.0, 300.0, &config).1 {
            waited += 1;
        }
        assert!((500..1500).contains(&waited), "{waited}");
    }

    #[test]
    fn values_that_come_often_need_more() {
        let config = SeriesConfig::default();
        let at = |secs: f64| Budget::default().judge(27.0, secs, &config).1;
        assert!(at(3600.0) && !at(300.0) && !at(1.0));
    }
}
