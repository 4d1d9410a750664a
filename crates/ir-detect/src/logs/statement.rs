//! One statement of one entity: what it says of itself, and how often it comes.

use ir_core::Timestamp;
use ir_core::signal::LogRecord;
use serde::{Deserialize, Serialize};

use super::TemplateId;
use super::detector::LogTemplatesConfig;
use super::severity::{Severity, is_elsewhere};
use super::usual::{TICKS, Usual};
use crate::stats::EventRate;

/// What is known of one statement of one entity: a template, with the place in the code and the level where lines name them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Statement {
    pub(super) template: TemplateId,
    pub(super) place: u64,
    pub(super) level: Option<Severity>,
    pub(super) severity: Severity,
    /// Whether the failure it tells of lies with another that could not be reached.
    pub(super) elsewhere: bool,
    pub(super) born: Timestamp,
    pub(super) last: Timestamp,
    pub(super) usual: Usual,
}

impl Statement {
    pub(super) fn new(
        record: &LogRecord,
        template: TemplateId,
        place: u64,
        level: Option<Severity>,
        ticks: u64,
    ) -> Self {
        let line = record.message.as_bytes();
        let severity = level.unwrap_or_else(|| Severity::of_words(line));
        let elsewhere = severity > Severity::Plain && is_elsewhere(line);
        // What tells of failure was not written in all the time before; of the rest nobody knows since when it could be.
        let exposure = if severity > Severity::Plain { ticks as f64 } else { 0.0 };
        let never = EventRate::known(0.0, exposure);
        let usual = Usual { rate: never, presence: never, ..Usual::default() };
        Self { template, place, level, severity, elsewhere, born: record.at, last: record.at, usual }
    }

    /// Whether it tells of failure and comes less than once in two windows.
    pub(super) fn is_rare_failure(&self) -> bool {
        self.severity > Severity::Plain && self.usual.presence.expected(TICKS as f64) < 1.0
    }

    /// Whether the program has it only since lately, and it tells of nothing bad.
    pub(super) fn is_young(&self, now: Timestamp, config: &LogTemplatesConfig) -> bool {
        self.severity == Severity::Plain && now.since(self.born).as_secs() < config.young_secs
    }
}
