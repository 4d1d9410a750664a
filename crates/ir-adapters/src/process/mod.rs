//! Supervised processes of this machine: start, stop, restart.
//!
//! # Flow
//!
//! The program names its processes and starts them once ([`ProcessExecutor::start_all`]); from then on they change by permit
//! only. A file for each process remembers which one runs and what was begun under which key, so that an executor that died
//! and came back finds its processes again and can tell what became of an attempt.
//!
//! # Guarantees
//!
//! Nothing is sent to a process after the deadline of the permit; the time to stop in good order is cut to fit. A process is
//! signalled only while it is the very one that was started (its number and its start time), never another that got its
//! number. Processes outlive the executor unless [`ProcessConfig::stop_with_executor`] is set.
//!
//! # Why class PROBE and not KEYED
//!
//! Between starting a process and remembering its number there is a moment in which a crash leaves a process that nobody
//! remembers. Repeating the key would then start a second one; a probe says "unknown", and a person looks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use ir_core::config::Problem;
use ir_core::execution::{ActionSpec, Attempt, Executor, Preview, Probe, Probed};
use ir_core::kernel::Permit;
use ir_core::plan::Call;
use ir_core::{
    ActionName, ConfigError, Ctx, Digest, EntityId, Error, ErrorKind, PartName, RecoveryClass, Result, Reversibility,
    RiskClass,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod memory;
mod slot;
mod system;
#[cfg(test)]
mod tests;

use slot::Slot;
pub use system::ProcessId;

const COMPONENT: &str = "process";
/// How long after the deadline a signal that was sent before it may still take effect. Milliseconds.
const SETTLES_WITHIN_MS: u64 = 1_000;

/// One process to supervise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// Its name in the topology.
    pub entity: EntityId,
    /// Program and arguments. No shell is in between.
    pub command: Vec<String>,
    /// The folder it runs in; the executor's own where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<PathBuf>,
    /// Variables added to the executor's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// A file that takes what it writes to its outputs, at the end; nowhere where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
}

/// What is supervised, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessConfig {
    /// The executor's name in records. `process`.
    pub name: String,
    /// The processes.
    pub process: Vec<ProcessSpec>,
    /// A folder for what must be remembered over a restart of the executor. It is made when it is not there. `processes`.
    pub state_dir: PathBuf,
    /// How long a process may take to end by itself before it is killed. Milliseconds; 5,000.
    pub stop_grace_ms: u64,
    /// Whether the processes end with the executor's value. false.
    pub stop_with_executor: bool,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            name: "process".to_owned(),
            process: Vec::new(),
            state_dir: PathBuf::from("processes"),
            stop_grace_ms: 5_000,
            stop_with_executor: false,
        }
    }
}

/// Performs `process.restart`, `process.stop` and `process.start` on the processes it was given.
#[derive(Debug)]
pub struct ProcessExecutor {
    name: String,
    slots: BTreeMap<EntityId, Arc<Slot>>,
    stop_with_executor: bool,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Restart,
    Stop,
    Start,
}

impl Action {
    const ALL: [Self; 3] = [Self::Restart, Self::Stop, Self::Start];

    const fn name(self) -> &'static str {
        match self {
            Self::Restart => "process.restart",
            Self::Stop => "process.stop",
            Self::Start => "process.start",
        }
    }

    fn of(name: &ActionName) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name.as_str())
    }

    const fn undo(self) -> Option<Self> {
        match self {
            Self::Restart => None,
            Self::Stop => Some(Self::Start),
            Self::Start => Some(Self::Stop),
        }
    }

    fn spec(self) -> Result<ActionSpec> {
        let description = match self {
            Self::Restart => "Ends the process, by force if it does not end by itself, and starts it again.",
            Self::Stop => "Ends the process, by force if it does not end by itself.",
            Self::Start => "Starts the process unless it runs.",
        };
        let reversibility = match self.undo() {
            None => Reversibility::Transient,
            Some(undo) => Reversibility::Undo { action: ActionName::new(undo.name())? },
        };
        Ok(ActionSpec {
            name: ActionName::new(self.name())?,
            description: description.to_owned(),
            params: ActionSpec::no_params(),
            risk: if self == Self::Stop { RiskClass::High } else { RiskClass::Medium },
            reversibility,
            recovery: RecoveryClass::Probe { settles_within_ms: SETTLES_WITHIN_MS },
            blast_radius: 1,
            changes_target: true,
        })
    }
}

impl ProcessExecutor {
    /// Checks the configuration. Nothing is started and nothing is read yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no process, an entity named twice or not fit to name a file, an empty command, a name that is none.
    pub fn new(config: ProcessConfig) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&config.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if config.process.is_empty() {
            problems.push(Problem::at("process", "at least one process is needed"));
        }
        let mut slots = BTreeMap::new();
        for (n, spec) in config.process.into_iter().enumerate() {
            let entity = spec.entity.clone();
            if slots.contains_key(&entity) {
                problems.push(Problem::at(format!("process[{n}].entity"), format!("`{entity}` is named twice")));
            }
            if entity.as_str().contains(['/', '\\']) || entity.as_str().starts_with('.') {
                problems.push(Problem::at(format!("process[{n}].entity"), format!("`{entity}` cannot name a file")));
            }
            if spec.command.first().is_none_or(String::is_empty) {
                problems.push(Problem::at(format!("process[{n}].command"), "must name a program"));
            }
            let memory = config.state_dir.join(format!("{entity}.json"));
            slots.insert(entity, Arc::new(Slot::new(spec, memory, config.stop_grace_ms)));
        }
        let stop_with_executor = config.stop_with_executor;
        ConfigError::check(problems, Self { name: config.name, slots, stop_with_executor })
    }

    /// Starts every process that does not run. This is the program's own beginning, not a remedy: call it once, before the
    /// responder starts.
    ///
    /// # Errors
    ///
    /// `Unavailable` naming the first process that could not be started.
    pub async fn start_all(&self) -> Result<()> {
        for slot in self.slots.values() {
            slot.start_unless_running().await?;
        }
        Ok(())
    }

    /// Which process runs for `entity`, if one does.
    ///
    /// # Errors
    ///
    /// `Unsupported` for an entity that is not one of its own; `Unavailable` when what was remembered cannot be read.
    pub async fn running(&self, entity: &EntityId) -> Result<Option<ProcessId>> {
        self.slot(entity)?.running().await
    }

    fn slot(&self, entity: &EntityId) -> Result<&Arc<Slot>> {
        self.slots.get(entity).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, COMPONENT, format!("`{entity}` is no process of this executor"))
        })
    }

    fn own(&self, call: &Call) -> Result<(Action, &Arc<Slot>)> {
        let action = Action::of(&call.action).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, COMPONENT, format!("`{}` is no action of this executor", call.action))
        })?;
        Ok((action, self.slot(&call.target)?))
    }
}

impl Drop for ProcessExecutor {
    fn drop(&mut self) {
        if self.stop_with_executor {
            for slot in self.slots.values() {
                slot.kill_now();
            }
        }
    }
}

#[async_trait]
impl Executor for ProcessExecutor {
    fn name(&self) -> &str {
        &self.name
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        // The names are constants that pass the check.
        Action::ALL.into_iter().filter_map(|action| action.spec().ok()).collect()
    }

    async fn preview(&self, _ctx: &Ctx, call: &Call) -> Result<Preview> {
        let (action, slot) = self.own(call)?;
        let running = slot.running().await?;
        // A restart relies on the very process it was decided for; start and stop only on whether one runs.
        let state = match (action, &running) {
            (Action::Restart, Some(id)) => format!("runs as {id}"),
            (_, Some(_)) => "runs".to_owned(),
            (_, None) => "does not run".to_owned(),
        };
        let now = match &running {
            Some(id) => format!("`{}` runs as {id}", call.target),
            None => format!("`{}` does not run", call.target),
        };
        let then = match (action, running.is_some()) {
            (Action::Restart, true) => "it is stopped and started again",
            (Action::Restart | Action::Start, false) => "it is started",
            (Action::Stop, true) => "it is stopped",
            (Action::Stop, false) | (Action::Start, true) => "nothing changes",
        };
        let undo = match action.undo() {
            None => None,
            Some(undo) => Some(Call { action: ActionName::new(undo.name())?, ..call.clone() }),
        };
        Ok(Preview { state: Digest::of(state.as_bytes()), summary: format!("{now}; {then}"), undo })
    }

    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let (action, slot) = self.own(permit.call())?;
        slot.perform(ctx, action, permit).await
    }

    async fn probe(&self, _ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        let (action, slot) = self.own(&probe.call)?;
        slot.probe(action, &probe.key.to_string()).await
    }
}
