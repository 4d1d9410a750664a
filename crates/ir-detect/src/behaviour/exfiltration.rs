//! More bytes that leave than a program ever sent there, or than anybody sends to somebody new.
//!
//! Bytes are summed over windows for each program and destination, and compared with what is usual ([`Tail`]: what leaves is
//! heavy-tailed, and a backup is no theft):
//!
//! - from its second day on, with its own windows before in which anything was sent;
//! - in its first day, with what others on the entity sent in theirs; where nobody is ever new, that somebody is new and sends much
//!   is surprising by itself.
//!
//! All surprises are those of at least one such window within a day.

use std::time::Duration;

use ir_core::anomaly::Direction;
use ir_core::{Act, Activity, EntityId, EventRecord, Problem, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::{Core, Found, Learning, Reports};
use super::table::{Table, hash, quote};
use super::window::{Window, WindowConfig};
use super::{ATTACK, subject};
use crate::anomaly::episode::Key;
use crate::anomaly::host::detector;
use crate::check::Check;
use crate::runtime::per_entity::PerEntity;
use crate::stats::Tail;

/// How an [`ExfiltrationDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExfiltrationConfig {
    /// Bytes in a window that are reported at least. Default 10,000,000: less is not told from chatter.
    #[schemars(range(min = 1, max = 1_000_000_000_000_000_u64))]
    pub min_bytes: u64,
    /// Surprise that is reported: nats of such a window within a day. Default 4: one day in 55.
    #[schemars(range(min = 0.5, max = 1000.0))]
    pub nats: f64,
    /// Over what is summed. Seconds, default 3,600.
    #[schemars(range(min = 1, max = 86_400))]
    pub window_secs: u64,
    /// After so many windows with bytes what was usual counts half. Default 336: two weeks of hours.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub half_life: u64,
    /// What is learned first, and how much is kept.
    pub learning: Learning,
}

impl Default for ExfiltrationConfig {
    fn default() -> Self {
        Self { min_bytes: 10_000_000, nats: 4.0, window_secs: 3_600, half_life: 336, learning: Learning::default() }
    }
}

impl ExfiltrationConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.within("min_bytes", self.min_bytes as f64, 1.0, 1e15);
        check.within("nats", self.nats, 0.5, 1000.0);
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        check.count("window_secs", size(self.window_secs), 1, 86_400);
        check.count("half_life", size(self.half_life), 1, 1_000_000);
        check.part("learning", self.learning.check());
        check.done()
    }

    fn window(&self) -> WindowConfig {
        WindowConfig { secs: self.window_secs, half_life: self.half_life, ..WindowConfig::default() }
    }
}

detector! {
    @on [super::host::Host]
    /// Finds programs that send far more somewhere than they did before, or than is usual for somebody new.
    ///
    /// Needs events with bytes: those at the end of connections. About 1 KB a program and destination.
    ExfiltrationDetector, Exfiltration, ExfiltrationConfig
}

#[derive(Debug)]
struct Exfiltration(ExfiltrationConfig);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Entities(Table<EntityId, Watched>);

impl PerEntity for Entities {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.0.retain(|of, _| of != entity);
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Watched {
    first: Timestamp,
    /// By program and destination.
    lines: Table<u64, Line>,
    /// Sums of windows of lines that were new then.
    new: History,
    /// New lines and days since warm, both fading.
    n_new: f64,
    days: f64,
    until: Timestamp,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Line {
    first: Timestamp,
    window: Window,
    bytes: f64,
    own: History,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct History {
    /// Windows in which anything was sent.
    n: u64,
    sums: Tail,
}

/// A line is new for so long.
const NEW: Duration = Duration::from_secs(86_400);
/// New lines that every entity is granted beforehand, over one day.
const PRIOR_NEW: f64 = 0.25;
/// Days after which new lines count half.
const HALF_LIFE_DAYS: f64 = 14.0;

impl History {
    fn push(&mut self, bytes: f64, config: &WindowConfig) {
        self.sums.push(bytes, 1.0, config.half_life());
        self.n = self.n.saturating_add(1);
    }

    /// Nats of a window with at least so many bytes within a day that has `windows` of them.
    fn within_a_day(&self, bytes: f64, windows: f64) -> f64 {
        let beyond = if self.n == 0 { 0.5 } else { (-self.sums.surprise(bytes)).exp() };
        -(-(-windows * beyond).exp_m1()).ln()
    }
}

impl Watched {
    /// Lets time pass.
    fn pass(&mut self, at: Timestamp, warm: bool) {
        let days = if warm { (at.since(self.until).as_secs_f64() / 86_400.0).min(1.0) } else { 0.0 };
        self.until = at;
        let fade = (-days * std::f64::consts::LN_2 / HALF_LIFE_DAYS).exp();
        (self.n_new, self.days) = (self.n_new * fade, self.days * fade + days);
    }
}

impl Core for Exfiltration {
    type State = Entities;
    const NAME: &'static str = "exfiltration";
    const VERSION: u32 = 1;

    fn learning(&self) -> &Learning {
        &self.0.learning
    }

    fn activity(
        &self,
        state: &mut Entities,
        event: &EventRecord,
        activity: &Activity,
        reports: &mut Reports<'_>,
    ) -> Result<()> {
        let Act::Connected { to, bytes_out: Some(bytes), .. } = &activity.act else { return Ok(()) };
        let (config, at, window) = (&self.0, event.at, &self.0.window());
        let new = || Watched { first: at, ..Watched::default() };
        let (watched, _) = state.0.meet(&event.entity, at, config.learning.max_entities, new);
        let warm = config.learning.is_over(watched.first, at);
        watched.pass(at, warm);
        let program = activity.program.as_deref().unwrap_or_default();
        let born = || Line { first: at, ..Line::default() };
        let (line, before) = watched.lines.meet(&hash(&[program, to]), at, config.learning.max_names, born);
        let is_new = config.learning.is_over(watched.first, line.first) && at.since(line.first) < NEW;
        if warm && before.is_none() {
            watched.n_new += 1.0;
        }
        if line.window.pass(at, window).is_some() && line.bytes > 0.0 {
            line.own.push(line.bytes, window);
            if is_new {
                watched.new.push(line.bytes, window);
            }
            line.bytes = 0.0;
        }
        line.bytes += *bytes as f64;
        let sum = line.bytes;
        if !warm || sum < config.min_bytes as f64 {
            return Ok(());
        }
        let (nats, compared) = if is_new {
            // The one that is judged is among those counted: it must not make itself usual.
            let others = (watched.n_new - 1.0).max(0.0) + PRIOR_NEW;
            (watched.new.within_a_day(sum, others / (watched.days + 1.0)), "anybody sends to somebody new")
        } else {
            let days = at.since(line.first).as_secs_f64() / 86_400.0;
            (line.own.within_a_day(sum, (line.own.n as f64 + 1.0) / days.max(1.0)), "it sent there before")
        };
        let mut key = Key::new(&event.entity, subject::BYTES_OUT);
        // T1048: Exfiltration Over Alternative Protocol; over a channel of command (T1041) if a beacon is known to the same place.
        key.labels.insert(ATTACK, "T1048");
        key.labels.insert("program", quote(program));
        key.labels.insert("destination", quote(to));
        let limit = config.nats * reports.factor(&key);
        if nats < limit {
            return Ok(());
        }
        let found = Found {
            nats,
            direction: Direction::Up,
            onset: Some(line.window.begun()),
            expected: 0.0,
            seen: sum,
            threshold: config.min_bytes as f64,
            patience: Duration::ZERO,
        };
        reports.report(&key, found, |onset| {
            format!(
                "expected of `{}` to `{}` no more in {} s than {compared}, seen {:.1} MB since {onset}; such a window comes in one \
                 day of {:.0}",
                quote(program),
                quote(to),
                window.secs,
                sum / 1e6,
                nats.min(40.0).exp()
            )
        })
    }
}

#[cfg(test)]
mod tests;
