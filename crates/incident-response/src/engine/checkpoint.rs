//! The state of the engine as text: what a checkpoint holds, and how the machine and what stands beside it are found again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ir_core::journal::{Body, Checkpoint, Event, Record};
use ir_core::persistent::PersistentMap;
use ir_core::{
    AnomalyId, Change, Cursor, Digest, EntityId, Error, ErrorKind, Feedback, Moment, PartName, Plan, PlanDraft, PlanId,
    Result, kernel,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::EngineConfig;
use super::machine::{IncidentRun, Machine, Pending, PlanRun};
use super::outstanding::Outstanding;
use super::timer::Timers;

/// The form of [`Stored`]. One of another form is not read: the start reads the journal whole instead.
const FORM: u32 = 1;

/// What the journal says of things outside the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// How far each source was read.
    pub(crate) cursors: BTreeMap<PartName, Cursor>,
    /// How far each source was read when the states in `snapshots` were stored.
    pub(crate) snapshot_cursors: BTreeMap<PartName, Cursor>,
    /// The latest stored states.
    pub(crate) snapshots: BTreeMap<PartName, Digest>,
    /// How many judgements the last stored states know of, and those that came later.
    pub(crate) heard: u64,
    pub(crate) unheard: Vec<Vec<Feedback>>,
}

impl Memory {
    pub(crate) fn note(&mut self, record: &Record) {
        match &record.body {
            Body::Event(Event::Observed(observed)) => {
                self.cursors.extend(observed.polls.iter().map(|poll| (poll.source.clone(), poll.cursor.clone())));
                if !observed.snapshots.is_empty() {
                    self.snapshot_cursors.clone_from(&self.cursors);
                }
                self.snapshots.extend(observed.snapshots.iter().cloned());
                let newly = usize::try_from(observed.heard.saturating_sub(self.heard)).unwrap_or(usize::MAX);
                self.unheard.drain(..newly.min(self.unheard.len()));
                self.heard = self.heard.max(observed.heard);
            }
            Body::Event(Event::Judged { feedback, .. }) => self.unheard.push(feedback.clone()),
            _ => {}
        }
    }
}

/// Everything but the kernel's state and the configuration, which a checkpoint holds beside it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<P> {
    form: u32,
    incidents: Vec<IncidentRun>,
    /// The plans that incidents are being answered with.
    runs: Vec<PlanRun<P>>,
    pending: Vec<Pending>,
    uncorrelated: bool,
    dismissed: BTreeSet<AnomalyId>,
    changes: Arc<Vec<Change>>,
    intervals: PersistentMap<EntityId, u64>,
    timers: Timers,
    outstanding: Outstanding,
    #[serde(with = "ir_core::wire::int53")]
    n_commands: u64,
    #[serde(with = "ir_core::wire::int53")]
    n_incidents: u64,
    isolated: BTreeSet<PlanId>,
    last_dropped: Option<Moment>,
    memory: Memory,
}

/// The state of `machine` and of what stands beside it, for a checkpoint, and its configuration.
pub(crate) fn store(machine: &Machine, memory: &Memory) -> Result<(Value, Value)> {
    let text = |error: serde_json::Error| {
        Error::new(ErrorKind::InvalidInput, "engine", format!("the state has no text: {error}"))
    };
    let stored = Stored::<Plan> {
        form: FORM,
        incidents: machine.incidents.values().cloned().collect(),
        runs: machine.incidents.values().filter_map(|run| run.run.clone()).collect(),
        pending: machine.pending.values().cloned().collect(),
        uncorrelated: machine.uncorrelated,
        dismissed: machine.dismissed.keys().cloned().collect(),
        changes: machine.changes.clone(),
        intervals: machine.intervals.clone(),
        timers: machine.timers.clone(),
        outstanding: machine.outstanding.clone(),
        n_commands: machine.n_commands,
        n_incidents: machine.n_incidents,
        isolated: machine.isolated.clone(),
        last_dropped: machine.last_dropped.clone(),
        memory: memory.clone(),
    };
    let config = machine.config.as_deref().map(serde_json::to_value).transpose().map_err(text)?.unwrap_or_default();
    Ok((serde_json::to_value(stored).map_err(text)?, config))
}

/// The machine, and what stands beside it, as the checkpoint written at `at` has them.
///
/// # Errors
///
/// `Unsupported` when it has another form.
pub(crate) fn load(at: &Moment, checkpoint: &Checkpoint) -> Result<(Machine, Memory)> {
    let other = |error: &dyn std::fmt::Display| {
        let version = &checkpoint.version;
        let message =
            format!("a checkpoint of version {version} cannot be read by {}: {error}", env!("CARGO_PKG_VERSION"));
        Error::new(ErrorKind::Unsupported, "engine", message)
    };
    let kernel = kernel::State::deserialize(checkpoint.kernel.here()?).map_err(|error| other(&error))?;
    let stored = Stored::<PlanDraft>::deserialize(checkpoint.engine.here()?).map_err(|error| other(&error))?;
    if stored.form != FORM {
        return Err(other(&format!("it has form {}", stored.form)));
    }
    let config = Option::<EngineConfig>::deserialize(checkpoint.config.here()?).map_err(|error| other(&error))?;
    let mut incidents: PersistentMap<_, _> =
        stored.incidents.into_iter().map(|run| (run.incident.id.clone(), run)).collect();
    let members =
        incidents.iter().flat_map(|(id, run)| run.incident.anomalies.iter().map(|a| (a.id.clone(), id.clone())));
    let homes = members.collect();
    for run in stored.runs {
        let incident = run.plan.incident.clone();
        let plan = kernel.accepted(run.plan).map_err(|error| other(&error))?;
        let Some(of) = incidents.get_mut(&incident) else { return Err(other(&format!("{incident} is missing"))) };
        of.run = Some(PlanRun {
            plan,
            previews: run.previews,
            verifying: run.verifying,
            asks: run.asks,
            delays: run.delays,
            decided: run.decided,
            first_effect: run.first_effect,
            failing: run.failing,
            taking_back: run.taking_back,
            made_for: run.made_for,
            overridden: run.overridden,
        });
    }
    let machine = Machine {
        config: config.map(Arc::new),
        kernel,
        incidents,
        homes,
        pending: stored.pending.into_iter().map(|pending| (pending.anomaly.id.clone(), pending)).collect(),
        uncorrelated: stored.uncorrelated,
        dismissed: stored.dismissed.into_iter().map(|anomaly| (anomaly, ())).collect(),
        changes: stored.changes,
        intervals: stored.intervals,
        timers: stored.timers,
        outstanding: stored.outstanding,
        n_commands: stored.n_commands,
        n_incidents: stored.n_incidents,
        now: Some(at.clone()),
        isolated: stored.isolated,
        last_dropped: stored.last_dropped,
        ..Machine::new()
    };
    Ok((machine, stored.memory))
}
