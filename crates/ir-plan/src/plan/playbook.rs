//! Playbooks as documents, and their check.

use std::collections::BTreeMap;

use ir_core::config::{ConfigError, Findings, Problem};
use ir_core::document::Places;
use ir_core::plan::{MAX_STEPS, cycles};
use ir_core::{
    ActionName, Catalogue, ClassName, EntityId, NameKind, ResponsePhase, Severity, StepId, UNKNOWN_CLASS, Verification,
    Vocabulary, document,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
pub struct Playbooks(Vec<Written>);

/// A playbook, and where it stands in which document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct Written {
    playbook: Playbook,
    #[serde(skip)]
    at: Place,
}

/// A document, and the index of a playbook in it. It says nothing about what the playbook means, so all are equal.
#[derive(Debug, Clone)]
struct Place {
    places: Places,
    index: usize,
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl Place {
    fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        self.places.locate(Problem::at(field, message).within(&format!("playbook[{}]", self.index)))
    }
}

impl Playbooks {
    /// Checks what can be checked without a catalogue.
    ///
    /// # Errors
    ///
    /// All problems: names used twice, no steps or too many, steps that wait for nothing, for each other or for a later
    /// phase, times and limits that cannot be.
    pub fn new(document: PlaybooksDocument) -> Result<Self, ConfigError> {
        Self::at(document, &Places::default())
    }

    fn at(document: PlaybooksDocument, places: &Places) -> Result<Self, ConfigError> {
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
        let written = |(index, playbook)| Written { playbook, at: Place { places: places.clone(), index } };
        ConfigError::check(problems, ())
            .map(|()| Self(document.playbook.into_iter().enumerate().map(written).collect()))
    }

    /// Reads TOML or JSON; `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its line and field.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        document::read_with_places(text, origin, Self::at)
    }

    /// These and those of `other`.
    ///
    /// # Errors
    ///
    /// When a name is used in both.
    pub fn merge(mut self, other: Self) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        for Written { playbook, at } in &other.0 {
            if let Some(first) = self.0.iter().find(|first| first.playbook.name == playbook.name) {
                let field = format!("playbook[{}]", first.at.index);
                let place = match (first.at.places.origin(), first.at.places.line(&field)) {
                    (Some(origin), Some(line)) => format!("the playbook at {origin}:{line}"),
                    (Some(origin), None) => format!("{field} of {origin}"),
                    (None, _) => field,
                };
                problems.push(at.problem("name", format!("`{}` is the name of {place} already", playbook.name)));
            }
        }
        self.0.extend(other.0);
        ConfigError::check(problems, self)
    }

    /// All playbooks, in the order of preference.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Playbook> {
        self.0.iter().map(|written| &written.playbook)
    }

    /// What is wrong and what is doubtful with them in an installation with this catalogue and these names.
    ///
    /// Actions, parameters and entities that there are not are errors, since a step could not be done; entities only a warning
    /// where they come and go. Kinds, environments and classes in a `when` are warnings: the playbook only does not fit.
    #[must_use]
    pub fn check_against(&self, catalogue: &Catalogue, vocabulary: &Vocabulary) -> Findings {
        let vocabulary = vocabulary.clone().and(NameKind::Class, [UNKNOWN_CLASS]);
        let mut found = Findings::default();
        for Written { playbook, at } in &self.0 {
            check_when(playbook, at, &vocabulary, &mut found);
            for (n, step) in playbook.step.iter().enumerate() {
                let field = format!("step[{n}]");
                match catalogue.action(&step.action) {
                    None => found.errors.extend(
                        vocabulary
                            .unknown(NameKind::Action, step.action.as_str())
                            .map(|message| at.problem(&format!("{field}.action"), message)),
                    ),
                    Some(spec) => found.errors.extend(
                        spec.check_params(&step.params)
                            .into_iter()
                            .map(|p| at.problem(&format!("{field}.params.{}", p.field), p.message)),
                    ),
                }
                let target = step.target.iter().map(|target| ("target.entity".to_owned(), &target.entity));
                let limits = step.verification.limits.iter().enumerate();
                let limited = limits.filter_map(|(m, limit)| {
                    Some((format!("verification.limits[{m}].entity"), limit.entity.as_ref()?))
                });
                for (name, entity) in target.chain(limited) {
                    check_entity(entity, &format!("{field}.{name}"), at, &vocabulary, &mut found);
                }
            }
        }
        found
    }
}

fn check_when(playbook: &Playbook, at: &Place, vocabulary: &Vocabulary, found: &mut Findings) {
    let When { classes, kinds, environments, entities, min_severity: _ } = &playbook.when;
    for (n, entity) in entities.iter().enumerate() {
        check_entity(entity, &format!("when.entities[{n}]"), at, vocabulary, found);
    }
    let lists: [(&str, NameKind, Vec<&str>); 3] = [
        ("classes", NameKind::Class, classes.iter().map(ClassName::as_str).collect()),
        ("kinds", NameKind::EntityKind, kinds.iter().map(String::as_str).collect()),
        ("environments", NameKind::Environment, environments.iter().map(String::as_str).collect()),
    ];
    for (list, kind, names) in lists {
        for (n, name) in names.into_iter().enumerate() {
            if let Some(what) = vocabulary.unknown(kind, name) {
                let message = format!("playbook `{}` fits nothing by this name: {what}", playbook.name);
                found.warnings.push(at.problem(&format!("when.{list}[{n}]"), message));
            }
        }
    }
}

fn check_entity(entity: &EntityId, field: &str, at: &Place, vocabulary: &Vocabulary, found: &mut Findings) {
    let Some(message) = vocabulary.unknown(NameKind::Entity, entity.as_str()) else { return };
    let problem = at.problem(field, message);
    if vocabulary.entities_change() {
        found.warnings.push(problem);
    } else {
        found.errors.push(problem);
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
        for (m, before) in step.after.iter().enumerate() {
            let message = match phases.get(before) {
                None => {
                    let near = document::nearest(before.as_str(), phases.keys().map(|id| id.as_str()));
                    let hint = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
                    format!("no step is named `{before}`{hint}")
                }
                Some(phase) if *phase > step.phase => format!("`{before}` belongs to a later phase"),
                Some(_) => continue,
            };
            problems.push(Problem::at(format!("{field}.after[{m}]"), message));
        }
        if step.timeout_ms == 0 || step.timeout_ms > MAX_MS {
            problems.push(Problem::at(format!("{field}.timeout_ms"), format!("must be 1 to {MAX_MS} (a year)")));
        }
        problems.extend(check_verification(&step.verification).into_iter().map(|p| p.within(&field)));
    }
    for cycle in cycles(steps.iter().map(|step| (&step.id, step.after.as_slice()))) {
        problems.push(Problem::at(format!("step[{}].after", cycle.first), cycle.to_string()));
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
