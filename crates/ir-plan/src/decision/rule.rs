//! One rule: a conjunction over closed fields, so that rules can be analysed.

use ir_core::config::Problem;
use ir_core::{
    ActionName, ClassName, Classification, EntityId, Measured, NameKind, Probability, Provenance, Reversibility,
    RiskClass, Severity,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::engine::DecisionInput;
use crate::classification::UNKNOWN;

/// What a rule says when it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It may be done, up to the rule's tier.
    Permit,
    /// People must approve it.
    RequireApproval,
    /// It must not be done.
    Deny,
}

/// Who made a plan, as rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A playbook.
    Playbook,
    /// The reasoner.
    Reasoner,
    /// A language model.
    Model,
}

/// How an action can be taken back, as rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Undoable {
    /// By an undo.
    Undo,
    /// There is nothing to take back.
    Transient,
    /// Not at all.
    Irreversible,
}

/// When a rule fits: everything that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    /// The action is one of these.
    pub actions: Vec<ActionName>,
    /// The target is one of these.
    pub targets: Vec<EntityId>,
    /// The target's kind is one of these.
    pub kinds: Vec<String>,
    /// The target runs in one of these.
    pub environments: Vec<String>,
    /// The incident's class is one of these. Class `unknown` is a missing fact: it fits what denies or asks, never a permit,
    /// unless it is named.
    pub classes: Vec<ClassName>,
    /// The plan was made by one of these.
    pub provenance: Vec<Origin>,
    /// The action can be taken back in one of these ways.
    pub reversibility: Vec<Undoable>,
    /// The incident is at least so severe.
    pub min_severity: Option<Severity>,
    /// The incident is at most so severe.
    pub max_severity: Option<Severity>,
    /// The plan's confidence is at least this, 0 to 1.
    pub min_confidence: Option<Measured>,
    /// The plan's confidence is below this, 0 to 1.
    pub below_confidence: Option<Measured>,
    /// The action is at most so risky.
    pub max_risk: Option<RiskClass>,
    /// The action is at least so risky.
    pub min_risk: Option<RiskClass>,
    /// The action disturbs at most so many entities.
    pub max_blast_radius: Option<u32>,
    /// The action disturbs at least so many entities.
    pub min_blast_radius: Option<u32>,
}

/// Whether a rule fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    /// Only the confidence speaks against it.
    NotConfident,
    /// A fact is missing: a permit does not fit, everything else does.
    Missing,
}

impl Condition {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (field, value) in [("min_confidence", self.min_confidence), ("below_confidence", self.below_confidence)] {
            if let Some(value) = value
                && !(0.0..=1.0).contains(&value.0)
            {
                problems.push(Problem::at(field, format!("`{value}` is not within 0 and 1")));
            }
        }
        if let (Some(min), Some(max)) = (self.min_severity, self.max_severity)
            && min > max
        {
            problems.push(Problem::at("min_severity", "is above `max_severity`: nothing can fit"));
        }
        if let (Some(min), Some(max)) = (self.min_risk, self.max_risk)
            && min > max
        {
            problems.push(Problem::at("min_risk", "is above `max_risk`: nothing can fit"));
        }
        if let (Some(min), Some(max)) = (self.min_blast_radius, self.max_blast_radius)
            && min > max
        {
            problems.push(Problem::at("min_blast_radius", "is above `max_blast_radius`: nothing can fit"));
        }
        if let (Some(min), Some(below)) = (self.min_confidence, self.below_confidence)
            && min.0 >= below.0
        {
            problems.push(Problem::at("min_confidence", "is not below `below_confidence`: nothing can fit"));
        }
        problems
    }

    /// The names it asks for, by field.
    pub(super) fn names(&self) -> [(&'static str, NameKind, Vec<&str>); 5] {
        [
            ("actions", NameKind::Action, self.actions.iter().map(ActionName::as_str).collect()),
            ("targets", NameKind::Entity, self.targets.iter().map(EntityId::as_str).collect()),
            ("kinds", NameKind::EntityKind, self.kinds.iter().map(String::as_str).collect()),
            ("environments", NameKind::Environment, self.environments.iter().map(String::as_str).collect()),
            ("classes", NameKind::Class, self.classes.iter().map(ClassName::as_str).collect()),
        ]
    }

    /// Its lists that are empty.
    pub(super) fn empty_lists(&self) -> Vec<&'static str> {
        let named = self.names().into_iter().map(|(field, _, names)| (field, names.is_empty()));
        let chosen = [("provenance", self.provenance.is_empty()), ("reversibility", self.reversibility.is_empty())];
        named.chain(chosen).filter(|(_, is_empty)| *is_empty).map(|(field, _)| field).collect()
    }

    pub(super) fn fit(&self, input: &DecisionInput<'_>) -> Fit {
        fn one_of<T: PartialEq>(wanted: &[T], value: &T) -> bool {
            wanted.is_empty() || wanted.contains(value)
        }
        let spec = input.spec;
        let known = one_of(&self.actions, &input.call.action)
            && one_of(&self.targets, &input.call.target)
            && one_of(&self.kinds, &input.entity.kind)
            && one_of(&self.environments, &input.entity.environment)
            && one_of(&self.provenance, &origin(input.provenance))
            && one_of(&self.reversibility, &undoable(&spec.reversibility))
            && self.max_risk.is_none_or(|max| spec.risk <= max)
            && self.min_risk.is_none_or(|min| spec.risk >= min)
            && self.max_blast_radius.is_none_or(|max| spec.blast_radius <= max)
            && self.min_blast_radius.is_none_or(|min| spec.blast_radius >= min);
        if !known {
            return Fit::No;
        }
        match self.fits_class(input.classification) {
            Fit::Yes => {}
            other => return other,
        }
        let confident = self.min_confidence.is_none_or(|min| input.confidence >= limit(min))
            && self.below_confidence.is_none_or(|below| input.confidence < limit(below));
        if confident { Fit::Yes } else { Fit::NotConfident }
    }

    /// An incident that nobody classified, or whose class nobody could tell, may be of any class.
    fn fits_class(&self, classification: Option<&Classification>) -> Fit {
        let Some(of) = classification else {
            let asks = !self.classes.is_empty() || self.min_severity.is_some() || self.max_severity.is_some();
            return if asks { Fit::Missing } else { Fit::Yes };
        };
        let severe = self.min_severity.is_none_or(|min| of.severity >= min)
            && self.max_severity.is_none_or(|max| of.severity <= max);
        match self.classes.is_empty() || self.classes.contains(&of.class) {
            _ if !severe => Fit::No,
            true => Fit::Yes,
            false if of.class.as_str() == UNKNOWN => Fit::Missing,
            false => Fit::No,
        }
    }
}

/// The limit in millionths, so that comparing needs no floats.
pub(super) fn limit(value: Measured) -> Probability {
    Probability::saturating(value.0)
}

const fn origin(provenance: &Provenance) -> Origin {
    match provenance {
        Provenance::Playbook { .. } => Origin::Playbook,
        Provenance::Reasoner => Origin::Reasoner,
        Provenance::Model { .. } => Origin::Model,
    }
}

const fn undoable(reversibility: &Reversibility) -> Undoable {
    match reversibility {
        Reversibility::Undo { .. } => Undoable::Undo,
        Reversibility::Transient => Undoable::Transient,
        Reversibility::Irreversible => Undoable::Irreversible,
    }
}
