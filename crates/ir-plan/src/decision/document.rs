//! The policy as people write it.

use std::collections::BTreeMap;

use ir_core::config::Problem;
use ir_core::kernel::Limits;
use ir_core::{ActionName, AutonomyTier, ClassName, EntityId, NameKind, Quorum, Timestamp, Vocabulary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::{Condition, Effect};

/// A year. Times are recorded in milliseconds as whole numbers below 2^53, and nobody waits longer for an answer.
const MAX_SECS: u64 = 365 * 86_400;

/// A day: the kernel's ledger forgets older changes, so a longer window would promise more than it holds.
const MAX_WINDOW_MS: u64 = 86_400_000;

/// A time in which nothing is done without a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// Its name.
    pub name: String,
    /// From when, within.
    pub from: Timestamp,
    /// Until when, not within.
    pub until: Timestamp,
    /// Where; empty: everywhere.
    #[serde(default)]
    pub environments: Vec<String>,
}

/// Names that rules and freezes may use although nothing of this installation has them: a policy that several installations
/// share guards them in advance. Every other name must be one of the topology, the catalogue or the classifier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VocabularyDocument {
    /// Actions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionName>,
    /// Entities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<EntityId>,
    /// Kinds of entities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Environments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
    /// Classes of incidents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassName>,
}

impl VocabularyDocument {
    /// Whether it has no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Its names, by field.
    pub(super) fn names(&self) -> [(&'static str, NameKind, Vec<&str>); 5] {
        [
            ("actions", NameKind::Action, self.actions.iter().map(ActionName::as_str).collect()),
            ("targets", NameKind::Entity, self.targets.iter().map(EntityId::as_str).collect()),
            ("kinds", NameKind::EntityKind, self.kinds.iter().map(String::as_str).collect()),
            ("environments", NameKind::Environment, self.environments.iter().map(String::as_str).collect()),
            ("classes", NameKind::Class, self.classes.iter().map(ClassName::as_str).collect()),
        ]
    }

    /// What an installation has, and these.
    pub(super) fn added_to(&self, vocabulary: &Vocabulary) -> Vocabulary {
        self.names().into_iter().fold(vocabulary.clone(), |all, (_, kind, names)| all.and(kind, names))
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleDocument {
    /// Its name, as it stands in every explanation.
    pub name: String,
    /// What it says when it fits.
    pub effect: Effect,
    /// For `permit`: up to which tier; for others it has no meaning. `act`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<AutonomyTier>,
    /// For `require_approval`, and for `permit` at tier `approve`: who. One person of any role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Quorum>,
    /// When it fits.
    #[serde(default)]
    pub when: Condition,
}

/// The policy as a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyDocument {
    /// The highest tier of all, whatever rules say. `observe`: acting is something a person switched on.
    pub tier: AutonomyTier,
    /// How long an approval may take, and how long it holds. Seconds; 900.
    pub approval_expires_secs: u64,
    /// How long people have to object at tier `veto`. Seconds; 60.
    pub veto_window_secs: u64,
    /// Tighter limits than the kernel's own; looser ones have no effect.
    pub limits: Limits,
    /// Names that are guarded in advance.
    #[serde(skip_serializing_if = "VocabularyDocument::is_empty")]
    pub vocabulary: VocabularyDocument,
    /// Times in which a person must approve everything.
    pub freeze: Vec<Freeze>,
    /// The rules. Their order does not matter.
    pub rule: Vec<RuleDocument>,
}

impl Default for PolicyDocument {
    fn default() -> Self {
        Self {
            tier: AutonomyTier::Observe,
            approval_expires_secs: 900,
            veto_window_secs: 60,
            limits: Limits::default(),
            vocabulary: VocabularyDocument::default(),
            freeze: Vec::new(),
            rule: Vec::new(),
        }
    }
}

impl PolicyDocument {
    /// All that is wrong with it.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (field, secs) in
            [("approval_expires_secs", self.approval_expires_secs), ("veto_window_secs", self.veto_window_secs)]
        {
            if secs == 0 || secs > MAX_SECS {
                problems.push(Problem::at(field, format!("must be 1 to {MAX_SECS} (a year)")));
            }
        }
        if self.limits.environment_window_ms > MAX_WINDOW_MS {
            let message = format!("must be at most {MAX_WINDOW_MS} (a day): older changes are not counted");
            problems.push(Problem::at("limits.environment_window_ms", message));
        }
        for (field, _, names) in self.vocabulary.names() {
            for (n, _) in names.iter().enumerate().filter(|(_, name)| name.trim().is_empty()) {
                problems.push(Problem::at(format!("vocabulary.{field}[{n}]"), "must not be empty"));
            }
        }
        for (n, freeze) in self.freeze.iter().enumerate() {
            if freeze.until <= freeze.from {
                problems.push(Problem::at(format!("freeze[{n}].until"), "must be after `from`"));
            }
        }
        let mut names = BTreeMap::new();
        for (n, rule) in self.rule.iter().enumerate() {
            let field = format!("rule[{n}]");
            if rule.name.trim().is_empty() {
                problems.push(Problem::at(format!("{field}.name"), "must not be empty"));
            }
            let first = *names.entry(rule.name.as_str()).or_insert(n);
            if first != n {
                let message = format!("`{}` is the name of rule[{first}] already", rule.name);
                problems.push(Problem::at(format!("{field}.name"), message));
            }
            if rule.tier.is_some() && rule.effect != Effect::Permit {
                problems.push(Problem::at(format!("{field}.tier"), "only a `permit` has a tier"));
            }
            if rule.quorum.is_some() && rule.effect == Effect::Deny {
                problems.push(Problem::at(format!("{field}.quorum"), "a `deny` cannot be approved"));
            }
            if rule.quorum.as_ref().is_some_and(|quorum| quorum.roles().len() == 0) {
                problems.push(Problem::at(format!("{field}.quorum"), "must name a role"));
            }
            problems.extend(rule.when.problems().into_iter().map(|p| p.within(&format!("{field}.when"))));
        }
        problems
    }
}
