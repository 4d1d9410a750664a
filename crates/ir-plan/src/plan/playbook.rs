//! Playbooks as documents, and their check.

use std::collections::BTreeMap;

use ir_core::config::{ConfigError, Problem};
use ir_core::plan::MAX_STEPS;
use ir_core::{
    ActionName, Catalogue, ClassName, EntityId, ResponsePhase, Severity, StepId, Topology, Verification, document,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::order;

/// A year. Times are recorded in milliseconds as whole numbers below 2^53, and nothing here takes longer.
const MAX_MS: u64 = 365 * 86_400_000;

/// When a playbook applies. All that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// The incident's class is one of these; empty: any.
    pub classes: Vec<ClassName>,
    /// The cause's kind (`service`, `database` ...) is one of these; empty: any.
    pub kinds: Vec<String>,
    /// The cause runs in one of these environments; empty: any.
    pub environments: Vec<String>,
    /// The cause is one of these entities; empty: any.
    pub entities: Vec<EntityId>,
    /// The incident is at least so severe.
    pub min_severity: Option<Severity>,
}

/// An entity by name: `{ entity = "load-balancer" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedTarget {
    /// The name.
    pub entity: EntityId,
}

/// One step of a playbook. Parameters are fixed values: no text of telemetry ever becomes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaybookStep {
    /// Its name within the playbook.
    pub id: StepId,
    /// What is done.
    pub action: ActionName,
    /// To what: the cause unless an entity is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<NamedTarget>,
    /// Parameters, within the action's schema.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Steps that must be done before.
    #[serde(default)]
    pub after: Vec<StepId>,
    /// Phase of the response.
    #[serde(default)]
    pub phase: ResponsePhase,
    /// What is expected to happen, in words.
    pub expected_effect: String,
    /// How long one attempt may take. Milliseconds; 30,000.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// When the step counts as a success.
    #[serde(default)]
    pub verification: Verification,
}

const fn default_timeout_ms() -> u64 {
    30_000
}

/// One playbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    /// Its name.
    pub name: String,
    /// Raised with every change: what was learned of a version counts for that version only.
    pub version: u32,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// When it applies.
    #[serde(default)]
    pub when: When,
    /// What it does.
    #[serde(default)]
    pub step: Vec<PlaybookStep>,
}

/// The document a user writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlaybooksDocument {
    /// All playbooks; those named first are preferred when several fit equally well.
    pub playbook: Vec<Playbook>,
}

/// Checked playbooks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Playbooks(Vec<Playbook>);

impl Playbooks {
    /// Checks what can be checked without a catalogue.
    ///
    /// # Errors
    ///
    /// All problems: names used twice, no steps or too many, steps that wait for nothing, for each other or for a later
    /// phase, times and limits that cannot be.
    pub fn new(document: PlaybooksDocument) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (n, playbook) in document.playbook.iter().enumerate() {
            let field = format!("playbook[{n}]");
            if playbook.name.trim().is_empty() {
                problems.push(Problem::at(format!("{field}.name"), "must not be empty"));
            }
            let first = *names.entry(&playbook.name).or_insert(n);
            if first != n {
                let message = format!("`{}` is the name of playbook[{first}] already", playbook.name);
                problems.push(Problem::at(format!("{field}.name"), message));
            }
            if playbook.step.is_empty() {
                problems.push(Problem::at(format!("{field}.step"), "has no step"));
            }
            problems.extend(check_steps(&playbook.step).into_iter().map(|p| p.within(&field)));
        }
        ConfigError::check(problems, Self(document.playbook))
    }

    /// Reads TOML or JSON; `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its line and field.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        document::read(text, origin, Self::new)
    }

    /// These and those of `other`.
    ///
    /// # Errors
    ///
    /// When a name is used in both.
    pub fn merge(self, other: Self) -> Result<Self, ConfigError> {
        let mut playbook = self.0;
        playbook.extend(other.0);
        Self::new(PlaybooksDocument { playbook })
    }

    /// All playbooks, in the order of preference.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Playbook> {
        self.0.iter()
    }

    /// What is wrong with them beside this catalogue and topology; empty when nothing is.
    #[must_use]
    pub fn check_against(&self, catalogue: &Catalogue, topology: &Topology) -> Vec<Problem> {
        let mut problems = Vec::new();
        for playbook in &self.0 {
            for (n, step) in playbook.step.iter().enumerate() {
                let field = format!("playbook `{}`.step[{n}]", playbook.name);
                match catalogue.action(&step.action) {
                    None => {
                        let known: Vec<&str> = catalogue.actions().map(|a| a.name.as_str()).collect();
                        let message =
                            format!("no executor has the action `{}`; there is: `{}`", step.action, known.join("`, `"));
                        problems.push(Problem::at(format!("{field}.action"), message));
                    }
                    Some(spec) => problems.extend(
                        spec.check_params(&step.params).into_iter().map(|p| p.within(&format!("{field}.params"))),
                    ),
                }
                if let Some(target) = &step.target
                    && topology.entity(&target.entity).is_none()
                {
                    let message = format!("no entity is named `{}`", target.entity);
                    problems.push(Problem::at(format!("{field}.target.entity"), message));
                }
            }
            for (n, step) in playbook.step.iter().enumerate() {
                for (m, limit) in step.verification.limits.iter().enumerate() {
                    if let Some(entity) = limit.entity.as_ref().filter(|id| topology.entity(id).is_none()) {
                        let field = format!("playbook `{}`.step[{n}].verification.limits[{m}].entity", playbook.name);
                        problems.push(Problem::at(field, format!("no entity is named `{entity}`")));
                    }
                }
            }
            for entity in playbook.when.entities.iter().filter(|id| topology.entity(id).is_none()) {
                let field = format!("playbook `{}`.when.entities", playbook.name);
                problems.push(Problem::at(field, format!("no entity is named `{entity}`")));
            }
        }
        problems
    }
}

fn check_steps(steps: &[PlaybookStep]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if steps.len() > MAX_STEPS {
        problems.push(Problem::at("step", format!("has {} steps, a plan has at most {MAX_STEPS}", steps.len())));
    }
    let mut phases = BTreeMap::new();
    for (n, step) in steps.iter().enumerate() {
        if phases.insert(&step.id, step.phase).is_some() {
            problems.push(Problem::at(format!("step[{n}].id"), format!("`{}` is named twice", step.id)));
        }
    }
    for (n, step) in steps.iter().enumerate() {
        let field = format!("step[{n}]");
        for before in &step.after {
            let message = match phases.get(before) {
                None => format!("no step is named `{before}`"),
                Some(phase) if *phase > step.phase => format!("`{before}` belongs to a later phase"),
                Some(_) => continue,
            };
            problems.push(Problem::at(format!("{field}.after"), message));
        }
        if step.timeout_ms == 0 || step.timeout_ms > MAX_MS {
            problems.push(Problem::at(format!("{field}.timeout_ms"), format!("must be 1 to {MAX_MS} (a year)")));
        }
        problems.extend(check_verification(&step.verification).into_iter().map(|p| p.within(&field)));
    }
    if let Err(cycle) = order::topological(steps.iter().map(|s| (&s.id, s.after.as_slice()))) {
        problems.push(Problem::at("step", format!("`{cycle}` waits for itself")));
    }
    problems
}

fn check_verification(verification: &Verification) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |field: &str, message: String| problems.push(Problem::at(format!("verification.{field}"), message));
    if verification.within_ms < verification.hold_ms {
        wrong("within_ms", "must be at least `hold_ms`".to_owned());
    }
    if verification.within_ms > MAX_MS {
        wrong("within_ms", format!("must be at most {MAX_MS} (a year)"));
    }
    for (n, limit) in verification.limits.iter().enumerate() {
        if limit.metric.trim().is_empty() {
            wrong(&format!("limits[{n}].metric"), "must not be empty".to_owned());
        }
        if !limit.value.0.is_finite() {
            wrong(&format!("limits[{n}].value"), format!("`{}` is not a finite number", limit.value));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
