//! Decides again, offline, what a journal holds.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use incident_response::adapters::clock::SystemClock;
use incident_response::adapters::file::{FileJournal, verify};
use incident_response::core::Ctx;
use incident_response::replay;

/// Verifies the journal in `dir` and replays it: identical, or the first difference.
pub(crate) async fn run(dir: &Path) -> Result<ExitCode> {
    let report = verify(dir)?;
    if let Some(fault) = report.fault {
        println!("{} of the records verify, then: {fault}", report.records);
        return Ok(ExitCode::FAILURE);
    }
    println!("{} records verify, head {}", report.records, report.head);
    let journal = FileJournal::open_read_only(dir)?;
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let replayed = replay(&ctx, &journal).await?;
    match replayed.difference {
        None => {
            println!(
                "replay: identical, {} events gave the same {} facts and decisions",
                replayed.events, replayed.decided
            );
            Ok(ExitCode::SUCCESS)
        }
        Some(difference) => {
            println!("replay: differs at {difference}");
            Ok(ExitCode::FAILURE)
        }
    }
}
