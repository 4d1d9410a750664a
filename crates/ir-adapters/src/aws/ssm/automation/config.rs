//! Which automations may be started, on what, and with what a plan may choose.

use std::collections::BTreeMap;

use ir_core::config::Problem;
use ir_core::{ActionName, EntityId, PartName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a plan may choose for a parameter of the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AutomationChoice {
    /// One of these texts.
    OneOf {
        /// Which.
        values: Vec<String>,
    },
    /// A whole number.
    Number {
        /// The least.
        minimum: i64,
        /// The most.
        maximum: i64,
    },
}

/// What is left of an automation when it has ended well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AutomationEffect {
    /// Nobody can take it back, or nobody knows.
    #[default]
    Irreversible,
    /// Nothing: the target is as it was, as after a restart.
    Transient,
    /// What this other automation of the configuration takes back, on the same target with the same choices:
    /// `AWS-StopEC2Instance` and `AWS-StartEC2Instance`. That it brings back the state before is the word of whoever
    /// writes this: nobody can read it off the documents.
    Undone {
        /// Its name.
        by: String,
    },
}

/// What an automation may be started on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AutomationTarget {
    /// Its name in the topology.
    pub entity: EntityId,
    /// What the document calls it: `i-0123456789abcdef0`.
    pub value: String,
}

/// One automation that may be started: an action of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Automation {
    /// Its name. The action is called `ssm.automation.` and this: `restart-instance`.
    pub name: String,
    /// For people; the document's name where nothing is said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The document: `AWS-RestartEC2Instance`, or one of your own.
    pub document: String,
    /// The document's version; its default one where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The SHA-256 of the document's content in hexadecimal, as AWS tells it: another content is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The document's parameter that names the target: `InstanceId`.
    pub target_parameter: String,
    /// What it may be started on.
    pub target: Vec<AutomationTarget>,
    /// Parameters that are always the same, `AutomationAssumeRole` among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Vec<String>>,
    /// Parameters that a plan must choose.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub choice: BTreeMap<String, AutomationChoice>,
    /// What is left of it. Irreversible.
    #[serde(default)]
    pub effect: AutomationEffect,
}

/// The automations, and how they are waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AutomationConfig {
    /// The executor's name in records. `ssm-automation`.
    pub name: String,
    /// The automations.
    pub automation: Vec<Automation>,
    /// How often is asked whether an automation has ended, in milliseconds. 2,000.
    #[schemars(range(min = 1))]
    pub poll_ms: u64,
    /// So long before its deadline an automation that has not ended is told to stop, in milliseconds. 0: it never is. What
    /// a stopped automation leaves is unknown, and so is what one leaves that still runs.
    pub cancel_before_ms: u64,
    /// How long after a permit's deadline a request that was sent before it may still take effect, and be found by a
    /// look-up, in milliseconds. 900,000, as for all of AWS. An automation that takes longer than its deadline and this is
    /// found running, and a person is asked.
    pub settles_within_ms: u64,
}

impl Default for AutomationConfig {
    fn default() -> Self {
        Self {
            name: "ssm-automation".to_owned(),
            automation: Vec::new(),
            poll_ms: 2_000,
            cancel_before_ms: 0,
            settles_within_ms: 900_000,
        }
    }
}

impl Automation {
    /// The name of its action.
    pub(super) fn action(&self) -> String {
        format!("ssm.automation.{}", self.name)
    }

    /// What the document calls that entity.
    pub(super) fn value(&self, entity: &EntityId) -> Option<&str> {
        self.target.iter().find(|target| target.entity == *entity).map(|target| target.value.as_str())
    }
}

impl AutomationConfig {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if self.automation.is_empty() {
            problems.push(Problem::at("automation", "at least one automation is needed"));
        }
        for (n, automation) in self.automation.iter().enumerate() {
            let at = format!("automation[{n}]");
            if self.automation.iter().take(n).any(|other| other.name == automation.name) {
                problems.push(Problem::at("name", format!("`{}` is named twice", automation.name)).within(&at));
            }
            problems.extend(automation.problems().into_iter().map(|problem| problem.within(&at)));
            if let AutomationEffect::Undone { by } = &automation.effect {
                let problem = match self.automation.iter().find(|other| other.name == *by) {
                    None => Some(format!("no automation is named `{by}`")),
                    Some(other) => automation.not_undone(other),
                };
                problems.extend(problem.map(|problem| Problem::at("effect.by", problem).within(&at)));
            }
        }
        if self.poll_ms == 0 {
            problems.push(Problem::at("poll_ms", "must be more than 0"));
        }
        problems
    }
}

impl Automation {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.name.is_empty() || ActionName::new(self.action()).is_err() {
            problems.push(Problem::at("name", "must be one word"));
        }
        for (field, value) in [("document", &self.document), ("target_parameter", &self.target_parameter)] {
            if value.trim().is_empty() {
                problems.push(Problem::at(field, "is empty"));
            }
        }
        let is_hash = |hash: &String| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if self.sha256.as_ref().is_some_and(|hash| !is_hash(hash)) {
            problems.push(Problem::at("sha256", "must be 64 hexadecimal digits"));
        }
        if self.target.is_empty() {
            problems.push(Problem::at("target", "at least one target is needed"));
        }
        for (n, target) in self.target.iter().enumerate() {
            if self.target.iter().take(n).any(|other| other.entity == target.entity) {
                problems
                    .push(Problem::at(format!("target[{n}].entity"), format!("`{}` is named twice", target.entity)));
            }
            if target.value.trim().is_empty() {
                problems.push(Problem::at(format!("target[{n}].value"), "is empty"));
            }
        }
        for name in self.parameters.keys().chain(self.choice.keys()).filter(|name| **name == self.target_parameter) {
            problems.push(Problem::at(format!("parameters.{name}"), "is the parameter that names the target"));
        }
        for (name, choice) in &self.choice {
            let at = format!("choice.{name}");
            if self.parameters.contains_key(name) {
                problems.push(Problem::at(&at, "stands among the parameters that are always the same"));
            }
            match choice {
                AutomationChoice::OneOf { values } if values.is_empty() => {
                    problems.push(Problem::at(&at, "leaves nothing to choose"));
                }
                AutomationChoice::Number { minimum, maximum } if minimum > maximum => {
                    problems.push(Problem::at(&at, "`minimum` is more than `maximum`"));
                }
                _ => {}
            }
        }
        problems
    }

    /// Why `other` cannot be called with what this one was called with.
    fn not_undone(&self, other: &Self) -> Option<String> {
        let foreign = self.target.iter().find(|target| other.value(&target.entity) != Some(target.value.as_str()));
        if let Some(target) = foreign {
            return Some(format!("`{}` does not take `{}` as it is here", other.name, target.entity));
        }
        let unknown = other.choice.iter().find(|(name, choice)| self.choice.get(*name) != Some(*choice));
        unknown.map(|(name, _)| format!("`{}` has a choice `{name}` that is none, or another one, here", other.name))
    }
}
