//! Replay: the same machine fed with recorded events must come to the same facts, byte for byte.

use std::collections::{BTreeMap, VecDeque};

use ir_core::journal::{Body, Checkpoint, Event, Fact, GateFact, Journal, ReadFrom, Record, Resolved, canonical};
use ir_core::kernel::{self, AuthorizeRequest};
use ir_core::{Ctx, Error, ErrorKind, IncidentId, IncidentState, Moment, Result};
use serde::Serialize;

use super::checkpoint::{self, Memory};
use super::command::{Command, Ordered};
use super::machine::{Machine, takes};

/// What of a difference is told to people who get an incident because of it; [`replay`] tells the whole.
const MAX_DOUBT_CHARS: usize = 300;

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
    memory: Memory,
    /// At a start the records are the truth, and a difference ends nothing: `None` for a replay.
    truth: Option<Truth>,
    /// Some facts are recorded in other words than this version has for them.
    other_words: bool,
    /// Facts the machine came to and that must stand next in the journal, with the moment they belong to.
    owed: VecDeque<(Moment, Fact)>,
    /// Commands of the last apply: when the process ended right after, they were never performed.
    sends: Vec<Ordered>,
    report: ReplayReport,
}

impl Replayer {
    /// For a start: what is recorded is true, whatever this version comes to.
    pub(crate) fn believing() -> Self {
        Self { truth: Some(Truth::default()), ..Self::default() }
    }

    /// How many records were fed.
    pub(crate) const fn n_records(&self) -> u64 {
        self.report.records
    }

    /// Takes the next record; an error is the first difference, or a record that cannot be applied.
    pub(crate) fn feed(&mut self, record: &Record) -> Result<()> {
        let fed = self.feed_machine(record);
        self.memory.note(record);
        let Some(truth) = &mut self.truth else { return fed };
        truth.note(record);
        match fed {
            // A checkpoint of another form is for the reader: there is another way.
            Err(error) if error.kind() == ErrorKind::Unsupported => Err(error),
            Err(error) => {
                self.owed.clear();
                truth.doubt(record.seq, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn feed_machine(&mut self, record: &Record) -> Result<()> {
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
            Body::Gate(GateFact::Checkpoint(checkpoint)) => self.take_checkpoint(record, checkpoint)?,
            Body::Gate(fact) => {
                self.check_gate(record, fact)?;
                let output = self.machine.absorb(&record.at, fact);
                self.owe(&record.at, output.facts, output.commands);
            }
            Body::Fact(fact) => {
                self.report.decided += 1;
                match self.owed.pop_front() {
                    Some((at, owed)) if owed == *fact && at == record.at => {}
                    // Other words for the same are no other conclusion.
                    Some((at, owed)) if at == record.at && self.truth.is_some() && says_the_same(&owed, fact) => {
                        self.other_words = true;
                    }
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

    /// The first record of all is where the machine begins; every other one must say what the machine has come to.
    fn take_checkpoint(&mut self, record: &Record, checkpoint: &Checkpoint) -> Result<()> {
        if self.report.records == 1 {
            (self.machine, self.memory) = checkpoint::load(&record.at, checkpoint)?;
            if let Some(truth) = &mut self.truth {
                truth.open = self.machine.incidents().map(|incident| (incident.id.clone(), incident.state)).collect();
            }
            self.sends = self.machine.outstanding.sends().collect();
            return Ok(());
        }
        // At a start that reads the journal whole, a checkpoint is one that this version cannot begin with, so it is in another form.
        if self.truth.is_some() {
            return Ok(());
        }
        self.report.decided += 1;
        let (engine, config) = checkpoint::store(&self.machine, &self.memory)?;
        let kernel = serde_json::to_value(self.machine.kernel())
            .map_err(|error| Error::new(ErrorKind::InvalidInput, "replay", error.to_string()))?;
        for (recorded, replayed) in
            [(&checkpoint.kernel, kernel), (&checkpoint.engine, engine), (&checkpoint.config, config)]
        {
            let recorded = recorded.here()?;
            if text(recorded) != text(&replayed) {
                return Err(self.differs_in(record.seq, text(recorded), text(&replayed)));
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
        self.differs_in(record.seq, text(&record.body), replayed)
    }

    fn differs_in(&mut self, seq: u64, recorded: String, replayed: String) -> Error {
        let difference = Difference { seq, recorded, replayed };
        let message = difference.to_string();
        self.report.difference = Some(difference);
        Error::new(ErrorKind::Conflict, "replay", message)
    }

    /// The machine as it stands after the last record, what stands beside it, and the facts that the last process came to and did not
    /// write. They must be written first, each at its moment. `kernel` is the fold of the records: at a start it is what counts.
    pub(crate) fn finish(mut self, kernel: &kernel::State) -> Found {
        if self.other_words {
            self.machine.kernel = kernel.clone();
        }
        if let Some(truth) = self.truth {
            truth.reconcile(&mut self.machine, kernel);
        }
        if self.machine.doubt.is_some() {
            self.owed.clear();
        }
        Found { machine: self.machine, memory: self.memory, owed: self.owed }
    }
}

/// What a start found in the journal.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) machine: Machine,
    pub(crate) memory: Memory,
    pub(crate) owed: VecDeque<(Moment, Fact)>,
}

/// What the records say, beside the kernel's state, and where the machine came to something else.
#[derive(Debug, Default)]
struct Truth {
    /// The incidents that are open by what is recorded.
    open: BTreeMap<IncidentId, IncidentState>,
    doubt: Option<(u64, String)>,
}

impl Truth {
    fn note(&mut self, record: &Record) {
        match &record.body {
            Body::Fact(Fact::IncidentOpened { incident, .. }) => {
                self.open.insert(incident.clone(), IncidentState::Open);
            }
            Body::Fact(Fact::IncidentMoved { incident, to: IncidentState::Closed, .. }) => {
                self.open.remove(incident);
            }
            Body::Fact(Fact::IncidentMoved { incident, to, .. }) => {
                self.open.insert(incident.clone(), *to);
            }
            _ => {}
        }
    }

    fn doubt(&mut self, seq: u64, error: &Error) {
        tracing::warn!(seq, %error, "this version comes to something else than what is recorded");
        // The words stand in a record for each open incident.
        self.doubt.get_or_insert_with(|| (seq, error.to_string().chars().take(MAX_DOUBT_CHARS).collect()));
    }

    /// Makes the machine believe the records. An incident of which it thinks otherwise goes to a person.
    fn reconcile(self, machine: &mut Machine, kernel: &kernel::State) {
        let Some((seq, because)) = self.doubt else { return };
        let because =
            format!("from record {seq} on this version comes to other conclusions than are recorded ({because})");
        machine.believe(kernel, &self.open, &because);
    }
}

/// Whether two facts differ only in the words of their reasons.
fn says_the_same(a: &Fact, b: &Fact) -> bool {
    fn without_words(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.remove("because");
                fields.values_mut().for_each(without_words);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(without_words),
            _ => {}
        }
    }
    let strip = |fact: &Fact| {
        let mut value = serde_json::to_value(fact).ok()?;
        without_words(&mut value);
        Some(value)
    };
    strip(a).is_some_and(|a| strip(b) == Some(a))
}

/// Records that may come although facts are owed: the process before ended in between, and the next one writes them first.
fn is_restart(record: &Record) -> bool {
    matches!(record.body, Body::Gate(GateFact::Claimed { .. }) | Body::Event(Event::TailRepaired(_)))
}

fn text<T: Serialize>(value: &T) -> String {
    canonical::to_bytes(value)
        .map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
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
