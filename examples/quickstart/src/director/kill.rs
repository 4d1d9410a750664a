//! Trials only: kills the responder where it hurts, as its journal shows what it is at.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use crate::fault::Fault;
use crate::records::Tail;
use crate::rng::Rng;

/// The shop holds the reply so long when the kill is to fall before it.
pub(super) const HOLD_REPLY_MS: u64 = 1000;
/// The responder is started again this long after its death.
pub(super) const REVIVE_SECS: f64 = 2.0;

/// What the responder was at when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// It saw nothing wrong yet.
    Watching,
    /// It had recorded an anomaly.
    Anomaly,
    /// It had recorded an intention and not what became of it.
    Intent,
    /// It was measuring whether it helped.
    Verifying,
    /// It was through.
    Over,
}

/// When to kill, and how far the journal has come.
#[derive(Debug)]
pub(super) struct Killer {
    /// Between the intention and its result, rather than anywhere after the first anomaly.
    in_flight: bool,
    delay_secs: f64,
    segments: PathBuf,
    tails: Vec<(PathBuf, Tail)>,
    stage: Stage,
    since: Option<f64>,
    pub(super) killed: Option<Stage>,
}

impl Killer {
    pub(super) fn new(seed: u64, fault: Fault, journal: PathBuf) -> Self {
        let mut rng = Rng::named(seed, &format!("kill {}", fault.name()));
        let in_flight = is_in_flight(seed);
        // From the first anomaly to the end of verification it takes six to eight seconds.
        let delay_secs = if in_flight { rng.between(0.0, 0.7) } else { rng.between(0.0, 4.0) };
        let segments = journal.join("segments");
        Self { in_flight, delay_secs, segments, tails: Vec::new(), stage: Stage::Watching, since: None, killed: None }
    }

    /// Whether the time has come, `now` in seconds.
    pub(super) fn is_due(&mut self, now: f64) -> Result<bool> {
        if self.killed.is_some() {
            return Ok(false);
        }
        self.read()?;
        let begun = match (self.in_flight, self.stage) {
            (true, Stage::Intent) | (false, Stage::Anomaly | Stage::Intent | Stage::Verifying) => true,
            (true, _) | (false, Stage::Watching | Stage::Over) => false,
        };
        if begun && self.since.is_none() {
            self.since = Some(now);
        }
        Ok(begun && self.since.is_some_and(|since| now - since >= self.delay_secs))
    }

    pub(super) fn note_killed(&mut self) -> Result<Stage> {
        // What it managed to write until the very end counts.
        self.read()?;
        self.killed = Some(self.stage);
        Ok(self.stage)
    }

    /// Follows the journal as text: each line is a hash, a blank, and a record.
    fn read(&mut self) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(&self.segments) else { return Ok(()) };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if !self.tails.iter().any(|(known, _)| *known == path) {
                self.tails.push((path.clone(), Tail::new(path)));
            }
        }
        let mut stage = self.stage;
        for (_, tail) in &mut self.tails {
            for line in tail.lines()? {
                let record = line.split_once(' ').and_then(|(_, text)| serde_json::from_str(text).ok());
                stage = record.map_or(stage, |record| next(stage, &record));
            }
        }
        self.stage = stage;
        Ok(())
    }
}

/// Every third seed: more than five of twenty.
pub(super) fn is_in_flight(seed: u64) -> bool {
    seed.is_multiple_of(3)
}

fn next(stage: Stage, record: &serde_json::Value) -> Stage {
    let body = &record["body"];
    let to = body["fact"]["to"].as_str();
    if body["gate"]["type"] == "intent" {
        Stage::Intent
    } else if to == Some("verifying") {
        Stage::Verifying
    } else if body["fact"]["type"] == "step_moved"
        && matches!(to, Some("done" | "not_applied" | "unknown" | "cancelled"))
    {
        Stage::Over
    } else if stage == Stage::Watching && body["event"]["anomalies"].as_array().is_some_and(|found| !found.is_empty()) {
        Stage::Anomaly
    } else {
        stage
    }
}
