//! Timers as data: when they are due on the monotonic clock of the present boot, and how long they are in full.

use ir_core::journal::CommandId;
use ir_core::persistent::PersistentMap;
use ir_core::{IncidentId, Moment, StepRef};
use serde::{Deserialize, Serialize};

/// What a timer is for. Its text stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Timer {
    key: TimerKey,
    #[serde(with = "ir_core::wire::int53")]
    due_mono_ns: u64,
    #[serde(with = "ir_core::wire::int53")]
    length_ms: u64,
}

/// All timers that run, by their text and by when they are due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Timers {
    timers: PersistentMap<String, Timer>,
    due: PersistentMap<(u64, String), ()>,
}

impl Timers {
    /// Starts a timer, or starts it anew.
    pub(crate) fn start(&mut self, key: TimerKey, now: &Moment, length_ms: u64) {
        self.add(Timer { due_mono_ns: due(now, length_ms), length_ms, key });
    }

    fn add(&mut self, timer: Timer) {
        let text = timer.key.text();
        self.remove(&text);
        self.due.insert((timer.due_mono_ns, text.clone()), ());
        self.timers.insert(text, timer);
    }

    fn remove(&mut self, text: &str) -> Option<Timer> {
        let timer = self.timers.remove(text)?;
        self.due.remove(&(timer.due_mono_ns, text.to_owned()));
        Some(timer)
    }

    pub(crate) fn stop(&mut self, key: &TimerKey) {
        self.remove(&key.text());
    }

    /// Stops the timer of that text, whatever it is for.
    pub(crate) fn stop_text(&mut self, text: &str) {
        self.remove(text);
    }

    pub(crate) fn runs(&self, key: &TimerKey) -> bool {
        self.timers.contains_key(&key.text())
    }

    /// Takes a timer that has run out; `None` when it was stopped or started anew meanwhile.
    pub(crate) fn take(&mut self, text: &str, now: &Moment) -> Option<TimerKey> {
        if self.timers.get(text)?.due_mono_ns > now.mono_ns {
            return None;
        }
        self.remove(text).map(|timer| timer.key)
    }

    /// The next one to run out, and when.
    pub(crate) fn next(&self) -> Option<(&str, u64)> {
        self.due.keys().next().map(|(due, text)| (text.as_str(), *due))
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        self.timers.iter().map(|(text, timer)| (text.as_str(), timer.due_mono_ns))
    }

    /// After a restart every wait begins anew in full: what passed meanwhile cannot be proved. The answers of `but` are not waited for.
    pub(crate) fn restart(&mut self, now: &Moment, but: impl Fn(&TimerKey) -> bool) {
        let timers = std::mem::take(self).timers;
        for timer in timers.values().filter(|timer| !but(&timer.key)) {
            self.start(timer.key.clone(), now, timer.length_ms);
        }
    }
}

/// A list: the texts follow from the keys.
impl Serialize for Timers {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.timers.values())
    }
}

impl<'de> Deserialize<'de> for Timers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut timers = Self::default();
        for timer in Vec::<Timer>::deserialize(deserializer)? {
            timers.add(timer);
        }
        Ok(timers)
    }
}

fn due(now: &Moment, length_ms: u64) -> u64 {
    now.mono_ns.saturating_add(length_ms.saturating_mul(1_000_000))
}
