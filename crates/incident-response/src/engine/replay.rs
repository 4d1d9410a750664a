//! Replay: the same machine fed with recorded events must come to the same facts, byte for byte.

use std::collections::VecDeque;
use std::time::Duration;

use ir_core::journal::{Body, Event, Fact, GateFact, Journal, ReadFrom, Record, Resolved, canonical};
use ir_core::kernel::{self, AuthorizeRequest};
use ir_core::{Ctx, Error, ErrorKind, Moment, Result};
use serde::Serialize;

use super::command::{Command, Ordered};
use super::machine::{Machine, takes};

/// The first record at which a replay came to something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The record.
    pub seq: u64,
    /// What stands in the journal, as canonical JSON; `nothing` where something is missing.
    pub recorded: String,
    /// What the replay came to.
    pub replayed: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record {}:\n  recorded: {}\n  replayed: {}", self.seq, self.recorded, self.replayed)
    }
}

/// What a replay found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// Records looked at.
    pub records: u64,
    /// Events fed.
    pub events: u64,
    /// Facts and decisions of the gate that were made again.
    pub decided: u64,
    /// The first difference; `None`: identical.
    pub difference: Option<Difference>,
}

/// Feeds records to a machine and compares what it comes to. Also how an engine finds its state again at a start.
#[derive(Debug, Default)]
pub(crate) struct Replayer {
    machine: Machine,
    /// Facts the machine came to and that must stand next in the journal, with the moment they belong to.
    owed: VecDeque<(Moment, Fact)>,
    /// Commands of the last apply: when the process ended right after, they were never performed.
    sends: Vec<Ordered>,
    report: ReplayReport,
}

impl Replayer {
    /// Takes the next record; an error is the first difference, or a record that cannot be applied.
    pub(crate) fn feed(&mut self, record: &Record) -> Result<()> {
        self.report.records += 1;
        if takes(record) && !self.owed.is_empty() && !is_restart(record) {
            let owed = self.owed.pop_front().map(|(_, fact)| text(&fact)).unwrap_or_default();
            return Err(self.differs(record, owed));
        }
        match &record.body {
            Body::Event(event) => {
                self.report.events += 1;
                if matches!(event, Event::Started(_)) {
                    self.sends.clear();
                }
                let output = self.machine.apply(&record.at, event)?;
                self.owe(&record.at, output.facts, output.commands);
            }
            Body::Gate(fact) => {
                self.check_gate(record, fact)?;
                let output = self.machine.absorb(&record.at, fact);
                self.owe(&record.at, output.facts, output.commands);
            }
            Body::Fact(fact) => {
                self.report.decided += 1;
                match self.owed.pop_front() {
                    Some((at, owed)) if owed == *fact && at == record.at => {}
                    Some((_, owed)) => return Err(self.differs(record, text(&owed))),
                    None => return Err(self.differs(record, "nothing".to_owned())),
                }
            }
            Body::Spilled { .. } => {
                return Err(Error::new(ErrorKind::InvalidInput, "replay", "a record without its content"));
            }
        }
        Ok(())
    }

    fn owe(&mut self, at: &Moment, facts: Vec<Fact>, commands: Vec<Ordered>) {
        self.owed.extend(facts.into_iter().map(|fact| (at.clone(), fact)));
        self.sends.extend(commands.into_iter().filter(|c| matches!(c.command, Command::Send { .. })));
    }

    /// What the gate decided must follow from the kernel's state, and somebody must have asked for it.
    fn check_gate(&mut self, record: &Record, fact: &GateFact) -> Result<()> {
        let (step, direction, precondition) = match fact {
            GateFact::Intent(intent) => (&intent.step, intent.direction, &intent.precondition),
            GateFact::Refused { step, direction, precondition, .. } => (step, *direction, precondition),
            GateFact::Claimed { .. }
            | GateFact::Checkpoint(_)
            | GateFact::Fenced(_)
            | GateFact::Halted(_)
            | GateFact::Resumed { .. } => {
                return Ok(());
            }
        };
        self.report.decided += 1;
        let asked = self.sends.iter().position(
            |c| matches!(&c.command, Command::Send { step: s, direction: d, .. } if s == step && *d == direction),
        );
        let Some(asked) = asked else {
            return Err(self.differs(record, "nobody asked for it".to_owned()));
        };
        self.sends.remove(asked);
        let (step, precondition) = (step.clone(), precondition.clone());
        let request = AuthorizeRequest { step: step.clone(), direction, precondition: precondition.clone() };
        let again = match kernel::check(self.machine.kernel(), &request, &record.at) {
            Ok(intent) => GateFact::Intent(intent),
            Err(refusals) => GateFact::Refused { step, direction, precondition, refusals },
        };
        if again == *fact { Ok(()) } else { Err(self.differs(record, text(&again))) }
    }

    fn differs(&mut self, record: &Record, replayed: String) -> Error {
        let difference = Difference { seq: record.seq, recorded: text(&record.body), replayed };
        let message = difference.to_string();
        self.report.difference = Some(difference);
        Error::new(ErrorKind::Conflict, "replay", message)
    }

    /// The machine as it stands after the last record, and the facts that the last process came to and did not write. They
    /// must be written first, each at its moment.
    pub(crate) fn finish(self) -> (Machine, VecDeque<(Moment, Fact)>) {
        (self.machine, self.owed)
    }
}

/// Records that may come although facts are owed: the process before ended in between, and the next one writes them first.
fn is_restart(record: &Record) -> bool {
    matches!(record.body, Body::Gate(GateFact::Claimed { .. }) | Body::Event(Event::TailRepaired(_)))
}

fn text<T: Serialize>(value: &T) -> String {
    canonical::to_bytes(value)
        .map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The machine as it stands after the last record of `journal`. One page is waited for no longer than `within`.
pub(crate) async fn machine_of(ctx: &Ctx, journal: &dyn Journal, within: Duration) -> Result<Machine> {
    let mut replayer = Replayer::default();
    let mut next = 1;
    loop {
        let ctx = &ctx.with_timeout(within);
        let page = ctx.run("engine", journal.read(ctx, &ReadFrom { seq: next, max: 512 })).await?;
        if page.records.is_empty() {
            return Ok(replayer.finish().0);
        }
        for stored in &page.records {
            let record = Resolved(journal).decode(ctx, stored).await?;
            next = record.seq + 1;
            replayer.feed(&record)?;
        }
    }
}

/// Replays a whole journal offline.
///
/// # Errors
///
/// Those of the journal. A difference is no error, it is in the report.
///
/// # Examples
///
/// ```
/// # use incident_response::core::{Ctx, ManualClock, MemoryJournal};
/// # use std::sync::Arc;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), incident_response::core::Error> {
/// let ctx = Ctx::new(Arc::new(ManualClock::new()));
/// let report = incident_response::replay(&ctx, &MemoryJournal::new()).await?;
/// assert_eq!(report.difference, None);
/// # Ok(())
/// # }
/// ```
pub async fn replay(ctx: &Ctx, journal: &dyn Journal) -> Result<ReplayReport> {
    let mut replayer = Replayer::default();
    let mut next = 1;
    loop {
        let page = journal.read(ctx, &ReadFrom { seq: next, max: 512 }).await?;
        if page.records.is_empty() {
            return Ok(replayer.report);
        }
        for stored in &page.records {
            let record = Resolved(journal).decode(ctx, stored).await?;
            next = record.seq + 1;
            if let Err(error) = replayer.feed(&record) {
                return if replayer.report.difference.is_some() { Ok(replayer.report) } else { Err(error) };
            }
        }
    }
}
