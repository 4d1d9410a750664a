//! What the responder says of itself at the end, read from its journal alone.

use std::path::Path;

use anyhow::Result;
use incident_response::adapters::file::{FileJournal, verify};
use incident_response::core::journal::{Body, Event, Fact, GateFact, Journal, ReadFrom, Record, Report, Resolved};
use incident_response::core::{Ctx, Hypothesis, Timestamp};
use incident_response::replay;
use serde::Serialize;

use crate::records::{self, RunDir};

/// The content of `responder.json`.
#[derive(Debug, Default, Serialize)]
struct Summary {
    detected_at: Option<String>,
    cause: Option<String>,
    cause_path: Vec<String>,
    action: Option<String>,
    journal_verified: bool,
    journal_records: u64,
    replay_identical: bool,
    replay_difference: Option<String>,
    /// Steps that are not over.
    open_steps: Vec<String>,
}

/// Reads the journal, verifies it, replays it, and writes the summary.
pub(crate) async fn write(ctx: &Ctx, journal: &Path, run: &RunDir) -> Result<()> {
    let report = verify(journal)?;
    let reader = FileJournal::open_read_only(journal)?;
    let replayed = replay(ctx, &reader).await?;
    let mut summary = Summary {
        journal_verified: report.fault.is_none(),
        journal_records: report.records,
        replay_identical: replayed.difference.is_none(),
        replay_difference: replayed.difference.map(|difference| difference.to_string()),
        ..Summary::default()
    };
    let mut hypothesis: Option<Hypothesis> = None;
    let mut next = 1;
    loop {
        let page = reader.read(ctx, &ReadFrom { seq: next, max: 512 }).await?;
        if page.records.is_empty() {
            break;
        }
        for stored in &page.records {
            next = stored.seq + 1;
            let record = Resolved(&reader).decode(ctx, stored).await?;
            note(&mut summary, &mut hypothesis, &record);
        }
    }
    records::write_json(&run.responder(), &summary)
}

/// The first incident counts, and the last hypothesis from which something was done, or planned.
fn note(summary: &mut Summary, hypothesis: &mut Option<Hypothesis>, record: &Record) {
    match &record.body {
        Body::Fact(Fact::IncidentOpened { .. }) => {
            summary.detected_at.get_or_insert_with(|| text(record.at.wall));
        }
        Body::Event(Event::Reported { report: Report::Diagnosed(diagnosed), .. }) => {
            *hypothesis = Some(diagnosed.clone())
        }
        Body::Fact(Fact::PlanAccepted { .. }) if summary.action.is_none() => {
            if let Some(cause) = hypothesis.as_ref().and_then(Hypothesis::leading) {
                summary.cause = Some(cause.entity.to_string());
                summary.cause_path = cause.path.iter().map(ToString::to_string).collect();
            }
        }
        Body::Gate(GateFact::Intent(intent)) => {
            summary.action.get_or_insert_with(|| intent.call.to_string());
        }
        Body::Fact(Fact::StepMoved { step, to, .. }) => {
            let name = step.to_string();
            summary.open_steps.retain(|open| *open != name);
            if !to.is_terminal() {
                summary.open_steps.push(name);
            }
        }
        _ => {}
    }
}

fn text(at: Timestamp) -> String {
    at.to_string()
}
