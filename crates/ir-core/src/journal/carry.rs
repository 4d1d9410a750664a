//! Taking over what must not be forgotten from another journal: an older format, another folder, one that ended.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{Halted, StepTerms};
use super::{Journal, ReadFrom};
use crate::ctx::Ctx;
use crate::entity::EntityId;
use crate::error::{Error, ErrorKind, Result};
use crate::execution::Reversibility;
use crate::id::{Digest, IncidentId, PlanId, StepId, StepRef};
use crate::incident::IncidentState;
use crate::kernel::StepState;
use crate::plan::Call;
use crate::time::{Moment, Timestamp};

/// The oldest format that is read.
const OLDEST: u64 = 1;
const DAY_NS: u64 = 86_400_000_000_000;

/// What a journal takes over from another: its first event. What it names goes on to bind: a halt halts, a locked target is locked
/// until a person has looked, changes count against the budgets, and no token is given twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CarriedOver {
    /// The format version of the other journal.
    pub format: u32,
    /// How many records it has.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub records: u64,
    /// The hash of the last of them: it names the journal, and all that stands in it.
    pub head: Digest,
    /// The highest fencing token that it gave.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub token: u64,
    /// The halt in force.
    pub halted: Option<Halted>,
    /// Changes of the last day.
    pub changes: Vec<CarriedChange>,
    /// Steps of which it is not known what became, and those done for an incident that is open and not taken back. Each is for a person:
    /// see `settle`.
    pub steps: Vec<CarriedStep>,
    /// The highest number of an incident: names go on behind it.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub last_incident: u64,
    /// Incidents that were open. People have them.
    pub incidents: Vec<CarriedIncident>,
}

/// A change that counts against the budgets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CarriedChange {
    /// What was changed.
    pub target: EntityId,
    /// Where it runs.
    pub environment: String,
    /// When.
    pub at: Moment,
}

/// A step that was under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CarriedStep {
    /// Which.
    pub step: StepRef,
    /// Its incident.
    pub incident: IncidentId,
    /// What was, or was to be, done.
    pub call: Call,
    /// What the kernel knew of it.
    pub terms: StepTerms,
    /// Where it stood.
    pub was: StepState,
}

/// An incident that was open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CarriedIncident {
    /// Its name.
    pub incident: IncidentId,
    /// Where it stood.
    pub was: IncidentState,
    /// Its earliest onset.
    pub onset: Timestamp,
}

/// Reads what must be carried over from `old`, a journal of format 1 or later, whole. It is not changed, and not claimed: make sure
/// that nothing writes it any more.
///
/// Detectors' states, cursors of sources and what people judged are not carried over: detectors learn anew, and sources begin anew.
///
/// # Errors
///
/// Those of the journal; `InvalidInput` when a record or a blob is damaged or does not follow the one before; `Unsupported` for a
/// format that is newer than this release; `NotFound` when it is empty.
pub async fn carried_over(ctx: &Ctx, old: &dyn Journal) -> Result<CarriedOver> {
    let mut reader = Reader::new();
    loop {
        let page = old.read(ctx, &ReadFrom { seq: reader.records + 1, max: 512 }).await?;
        if page.records.is_empty() {
            return reader.finish();
        }
        for stored in &page.records {
            let damaged = |what: &str| {
                Error::new(ErrorKind::InvalidInput, "carry over", format!("record {}: {what}", stored.seq))
            };
            if super::leaf_hash(&stored.bytes) != stored.hash {
                return Err(damaged("its bytes do not have its hash"));
            }
            let record: Value = serde_json::from_slice(&stored.bytes).map_err(|_| damaged("is not JSON"))?;
            let follows = read::<Digest>(&record, "prev").is_some_and(|prev| prev == reader.head);
            if record["seq"].as_u64() != Some(reader.records + 1) || !follows {
                return Err(damaged("does not follow the record before it"));
            }
            let format = record["v"].as_u64().unwrap_or(0);
            if !(OLDEST..=u64::from(super::Record::VERSION)).contains(&format) {
                let message = format!("record {} has format {format}, which this release does not read", stored.seq);
                return Err(Error::new(ErrorKind::Unsupported, "carry over", message));
            }
            let mut body = record["body"].clone();
            if let Some(digest) = read::<Digest>(&body["spilled"], "digest") {
                let bytes = old.blob(ctx, &digest).await?;
                if Digest::of(&bytes) != digest {
                    return Err(damaged("its blob has another content"));
                }
                body = serde_json::from_slice(&bytes).map_err(|_| damaged("its blob is not JSON"))?;
            }
            (reader.records, reader.head) = (stored.seq, stored.hash);
            reader.format = u32::try_from(format).unwrap_or(u32::MAX);
            let at: Moment = read(&record, "at").ok_or_else(|| damaged("it has no time"))?;
            reader.take(&body, &at).ok_or_else(|| damaged("it cannot be read as a record of its format"))?;
            reader.last = Some(at);
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(from: &Value, field: &str) -> Option<T> {
    T::deserialize(from.get(field)?).ok()
}

/// A fold of what matters, over the text of records of any format.
#[derive(Debug)]
struct Reader {
    format: u32,
    records: u64,
    head: Digest,
    last: Option<Moment>,
    token: u64,
    halted: Option<Halted>,
    changes: Vec<CarriedChange>,
    steps: BTreeMap<StepRef, CarriedStep>,
    last_incident: u64,
    incidents: BTreeMap<IncidentId, CarriedIncident>,
}

impl Reader {
    fn new() -> Self {
        Self {
            format: 0,
            records: 0,
            head: Digest::ZERO,
            last: None,
            token: 0,
            halted: None,
            changes: Vec::new(),
            steps: BTreeMap::new(),
            last_incident: 0,
            incidents: BTreeMap::new(),
        }
    }

    /// `None` when something that matters cannot be read.
    fn take(&mut self, body: &Value, at: &Moment) -> Option<()> {
        self.pass(at);
        let kind = |of: &str| body[of]["type"].as_str().unwrap_or_default();
        let (fact, gate, event) = (&body["fact"], &body["gate"], &body["event"]);
        match (kind("event"), kind("fact"), kind("gate")) {
            ("carried_over", ..) => {
                let carried = CarriedOver::deserialize(strip(event)).ok()?;
                (self.token, self.halted, self.changes) = (carried.token, carried.halted, carried.changes);
                self.last_incident = carried.last_incident;
                self.steps.extend(carried.steps.into_iter().map(|step| (step.step.clone(), step)));
                self.incidents.extend(carried.incidents.into_iter().map(|one| (one.incident.clone(), one)));
            }
            (_, "plan_accepted" | "plan_revised", _) => self.take_plan(fact)?,
            (_, "step_moved", _) => {
                let (step, to) = (read::<StepRef>(fact, "step")?, read::<StepState>(fact, "to")?);
                if let Some(step) = self.steps.get_mut(&step) {
                    step.was = to;
                }
            }
            (_, "incident_opened", _) => {
                let (incident, onset) = (read::<IncidentId>(fact, "incident")?, read(fact, "onset")?);
                self.last_incident = self.last_incident.max(incident.number().unwrap_or(0));
                let open = CarriedIncident { incident: incident.clone(), was: IncidentState::Open, onset };
                self.incidents.insert(incident, open);
            }
            (_, "incident_moved", _) => {
                let (incident, to) = (read::<IncidentId>(fact, "incident")?, read::<IncidentState>(fact, "to")?);
                match self.incidents.get_mut(&incident) {
                    Some(_) if to == IncidentState::Closed => drop(self.incidents.remove(&incident)),
                    Some(open) => open.was = to,
                    None => {}
                }
            }
            (.., "intent") => self.take_intent(gate, at)?,
            (.., "fenced") => self.token = self.token.max(gate["token"].as_u64()?),
            (.., "halted") => self.halted = Some(Halted::deserialize(strip(gate)).ok()?),
            (.., "resumed") => self.halted = None,
            _ => {}
        }
        Some(())
    }

    /// As the kernel counts: after a new boot every change counts as made at its start, and what a record of the same boot proves to be
    /// older than a day is forgotten.
    fn pass(&mut self, at: &Moment) {
        if self.last.as_ref().is_some_and(|last| last.boot != at.boot) {
            for change in &mut self.changes {
                change.at = at.clone();
            }
        }
        self.changes.retain(|change| at.mono_since(&change.at).is_none_or(|ns| ns < DAY_NS));
    }

    fn take_plan(&mut self, fact: &Value) -> Option<()> {
        let (plan, incident) = (read::<PlanId>(&fact["plan"], "id")?, read::<IncidentId>(&fact["plan"], "incident")?);
        let terms: Vec<StepTerms> = read(fact, "terms")?;
        for (step, terms) in fact["plan"]["steps"].as_array()?.iter().zip(terms) {
            let step_ref = StepRef { plan: plan.clone(), step: read::<StepId>(step, "id")? };
            let call = read(step, "call").or_else(|| Call::deserialize(step).ok())?;
            let was = self.steps.get(&step_ref).map_or(StepState::Planned, |known| known.was);
            let carried = CarriedStep { step: step_ref.clone(), incident: incident.clone(), call, terms, was };
            self.steps.insert(step_ref, carried);
        }
        Some(())
    }

    fn take_intent(&mut self, gate: &Value, at: &Moment) -> Option<()> {
        let step = self.steps.get_mut(&read::<StepRef>(gate, "step")?)?;
        self.token = self.token.max(gate["token"].as_u64()?);
        if gate["direction"] == "do" {
            step.was = StepState::Intent;
            if gate["attempt"] == 1 && step.terms.changes_target {
                let (target, environment) = (step.call.target.clone(), step.terms.environment.clone());
                self.changes.push(CarriedChange { target, environment, at: at.clone() });
            }
        }
        Some(())
    }

    fn finish(self) -> Result<CarriedOver> {
        if self.last.is_none() {
            return Err(Error::new(ErrorKind::NotFound, "carry over", "the journal is empty"));
        }
        // While its incident is open, what a plan did may still have to be taken back.
        let in_place = |step: &CarriedStep| {
            step.was == StepState::Done
                && step.terms.changes_target
                && step.terms.reversibility != Reversibility::Transient
                && self.incidents.contains_key(&step.incident)
        };
        let open = |step: &CarriedStep| {
            in_place(step)
                || matches!(
                    step.was,
                    StepState::Intent
                        | StepState::Applied
                        | StepState::Verifying
                        | StepState::Compensating
                        | StepState::Unknown
                        | StepState::RollbackFailed
                )
        };
        Ok(CarriedOver {
            format: self.format,
            records: self.records,
            head: self.head,
            token: self.token,
            halted: self.halted,
            changes: self.changes,
            steps: self.steps.values().filter(|step| open(step)).cloned().collect(),
            last_incident: self.last_incident,
            incidents: self.incidents.into_values().collect(),
        })
    }
}

/// Without the tag of its kind.
fn strip(of: &Value) -> Value {
    let mut fields = of.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("type");
    }
    fields
}
