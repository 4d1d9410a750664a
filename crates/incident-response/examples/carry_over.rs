//! Begins a new journal with what must not be forgotten of another: `carry_over OLD NEW [NAME]`, two folders, and the name of the
//! responder that will write the new one. The old one may be of an older format; it stays as it is.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use incident_response::adapters::SystemClock;
use incident_response::adapters::file::FileJournal;
use incident_response::core::{Ctx, PartName};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(old), Some(new)) = (args.next(), args.next()) else {
        return Err("usage: carry_over OLD NEW [NAME]".into());
    };
    let name = args.next().map_or_else(|| "responder".into(), |name| name.to_string_lossy().into_owned());
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let old = FileJournal::open_read_only(old)?;
    let new = Arc::new(FileJournal::open(new)?);
    let carried = incident_response::carry_over(&ctx, &old, new, PartName::new(name)?).await?;
    println!("{} records of format {}; highest token {}", carried.records, carried.format, carried.token);
    match &carried.halted {
        Some(halted) => println!("halted by {}: {}", halted.by, halted.reason),
        None => println!("not halted"),
    }
    println!("{} changes of the last day count", carried.changes.len());
    for step in &carried.steps {
        println!("for a person: step {} was {}: {}", step.step, step.was, step.call);
    }
    for open in &carried.incidents {
        println!("for a person: {} since {}", open.incident, open.onset);
    }
    Ok(())
}
