//! Timers as data: when they are due on the monotonic clock of the present boot, and how long they are in full.

use std::collections::BTreeMap;

use ir_core::journal::CommandId;
use ir_core::{IncidentId, Moment, StepRef};

/// What a timer is for. Its text stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// A new incident has gathered long enough.
    Settle(IncidentId),
    /// All anomalies of an incident have been over long enough.
    Quiet(IncidentId),
    /// Anomalies that their detector forgot were not reported again.
    Forget(IncidentId),
    /// An approval or a veto window of a step is over.
    Approval(StepRef),
    /// A request that did not reach every approver is delivered again.
    Ask(StepRef),
    /// What keeps a step from being sent may have passed.
    Retry(StepRef),
    /// A command whose component failed is given again.
    Again(CommandId),
    /// An attempt's deadline has passed.
    Deadline(StepRef),
    /// An attempt whose answer was lost may be probed now.
    Probe(StepRef),
    /// It is time to measure a step's success again.
    Verify(StepRef),
    /// A step's time to succeed is over.
    VerifyEnd(StepRef),
}

impl TimerKey {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Settle(id) => format!("settle {id}"),
            Self::Quiet(id) => format!("quiet {id}"),
            Self::Forget(id) => format!("forget {id}"),
            Self::Approval(step) => format!("approval {step}"),
            Self::Ask(step) => format!("ask {step}"),
            Self::Retry(step) => format!("retry {step}"),
            Self::Again(command) => format!("again {}", command.0),
            Self::Deadline(step) => format!("deadline {step}"),
            Self::Probe(step) => format!("probe {step}"),
            Self::Verify(step) => format!("verify {step}"),
            Self::VerifyEnd(step) => format!("verify_end {step}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Timer {
    key: TimerKey,
    due_mono_ns: u64,
    length_ms: u64,
}

/// All timers that run, by their text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Timers(BTreeMap<String, Timer>);

impl Timers {
    /// Starts a timer, or starts it anew.
    pub(crate) fn start(&mut self, key: TimerKey, now: &Moment, length_ms: u64) {
        let timer = Timer { due_mono_ns: due(now, length_ms), length_ms, key };
        self.0.insert(timer.key.text(), timer);
    }

    pub(crate) fn stop(&mut self, key: &TimerKey) {
        self.0.remove(&key.text());
    }

    pub(crate) fn runs(&self, key: &TimerKey) -> bool {
        self.0.contains_key(&key.text())
    }

    /// Takes a timer that has run out; `None` when it was stopped or started anew meanwhile.
    pub(crate) fn take(&mut self, text: &str, now: &Moment) -> Option<TimerKey> {
        if self.0.get(text)?.due_mono_ns > now.mono_ns {
            return None;
        }
        self.0.remove(text).map(|timer| timer.key)
    }

    /// The next one to run out, and when.
    pub(crate) fn next(&self) -> Option<(&str, u64)> {
        self.0.iter().map(|(text, timer)| (text.as_str(), timer.due_mono_ns)).min_by_key(|(_, due)| *due)
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(text, timer)| (text.as_str(), timer.due_mono_ns))
    }

    /// After a restart every wait begins anew in full: what passed meanwhile cannot be proved.
    pub(crate) fn restart(&mut self, now: &Moment) {
        for timer in self.0.values_mut() {
            timer.due_mono_ns = due(now, timer.length_ms);
        }
    }

    /// Stops every timer for which `unwanted` says so.
    pub(crate) fn stop_where(&mut self, unwanted: impl Fn(&TimerKey) -> bool) {
        self.0.retain(|_, timer| !unwanted(&timer.key));
    }
}

fn due(now: &Moment, length_ms: u64) -> u64 {
    now.mono_ns.saturating_add(length_ms.saturating_mul(1_000_000))
}
