//! Windows of time over which acts are counted, one after the other.

use ir_core::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Check;

/// Over what acts are counted, and how long that is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WindowConfig {
    /// Length. Seconds, default 3,600.
    #[schemars(range(min = 1, max = 604_800))]
    pub secs: u64,
    /// Windows before anything is said. Default 24.
    #[schemars(range(min = 1, max = 100_000))]
    pub warm: u64,
    /// After so many windows what was seen counts half. Default 336: two weeks of hours.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub half_life: u64,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self { secs: 3_600, warm: 24, half_life: 336 }
    }
}

impl WindowConfig {
    pub(crate) fn check(&self) -> Check {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let mut check = Check::default();
        check.count("secs", size(self.secs), 1, 604_800);
        check.count("warm", size(self.warm), 1, 100_000);
        check.count("half_life", size(self.half_life), 1, 1_000_000);
        check
    }

    pub(crate) fn half_life(&self) -> f64 {
        self.half_life as f64
    }
}

/// The open window.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Window {
    begun: Timestamp,
    open: bool,
    before: u64,
}

/// More silence than that tells nothing new.
const MAX_SILENT: i64 = 1_000;

impl Window {
    /// Lets time pass until `at`: how many windows are over now, if any, the one that was open among them.
    pub(crate) fn pass(&mut self, at: Timestamp, config: &WindowConfig) -> Option<u64> {
        if !self.open {
            (self.begun, self.open) = (at, true);
            return None;
        }
        let length = i64::try_from(config.secs).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
        let passed = at.as_nanos().saturating_sub(self.begun.as_nanos()).div_euclid(length);
        if passed < 0 {
            // Late acts belong to the open window; a clock that was set back further begins it anew.
            if passed < -1 {
                self.begun = at;
            }
            return None;
        }
        if passed == 0 {
            return None;
        }
        let begun = self.begun.as_nanos().saturating_add(passed.saturating_mul(length));
        self.begun = Timestamp::from_nanos(begun.min(at.as_nanos()));
        let over = passed.clamp(1, MAX_SILENT) as u64;
        self.before = self.before.saturating_add(over);
        Some(over)
    }

    pub(crate) fn begun(&self) -> Timestamp {
        self.begun
    }

    /// How many windows are over.
    pub(crate) fn n_before(&self) -> u64 {
        self.before
    }

    pub(crate) fn is_warm(&self, config: &WindowConfig) -> bool {
        self.before >= config.warm
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn silent_windows_are_counted_and_late_acts_belong_to_the_open_one() {
        let (mut window, config) = (Window::default(), WindowConfig { secs: 10, ..WindowConfig::default() });
        let at = |secs: i64| Timestamp::from_millis(secs * 1_000);
        let passed: Vec<Option<u64>> =
            [100, 105, 99, 110, 145, 100].map(|secs| window.pass(at(secs), &config)).to_vec();
        assert_eq!(passed, [None, None, None, Some(1), Some(3), None]);
        assert_eq!(window.n_before(), 4);
        assert_eq!(window.begun(), at(100));
    }

    proptest! {
        #[test]
        fn any_times_are_survived(times in proptest::collection::vec(any::<i64>(), 0..50), secs in 1..604_800u64) {
            let (mut window, config) = (Window::default(), WindowConfig { secs, ..WindowConfig::default() });
            for at in times {
                let over = window.pass(Timestamp::from_nanos(at), &config);
                prop_assert!(over.is_none_or(|over| (1..=1_000).contains(&over)));
            }
        }
    }
}
