//! Plans: ordered steps from the action catalogue, each with expected effect, risk, undo and measurable success.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{ConfigError, Problem};
use crate::ctx::Ctx;
use crate::decision::AutonomyTier;
use crate::entity::EntityId;
use crate::error::Result;
use crate::execution::{Catalogue, Reversibility, RiskClass};
use crate::hypothesis::Hypothesis;
use crate::id::{ActionName, Digest, HypothesisId, IncidentId, PartName, PlanId, StepId};
use crate::incident::{Classification, Incident};
use crate::score::{Measured, Probability};
use crate::topology::Topology;

/// The most steps a plan may have.
pub const MAX_STEPS: usize = 32;

/// Who made a plan. A model's plan is capped at tier T2, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Provenance {
    /// A playbook: executable data that people reviewed.
    Playbook {
        /// Its name.
        name: String,
        /// Its version.
        version: u32,
    },
    /// A search over the catalogue.
    Reasoner,
    /// A language model.
    Model {
        /// Which.
        name: String,
    },
}

impl Provenance {
    /// The highest tier that this origin allows, whatever policy and evidence say.
    #[must_use]
    pub const fn cap(&self) -> AutonomyTier {
        match self {
            Self::Playbook { .. } | Self::Reasoner => AutonomyTier::Act,
            Self::Model { .. } => AutonomyTier::Approve,
        }
    }
}

impl std::fmt::Display for Provenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Playbook { name, version } => write!(f, "playbook {name} v{version}"),
            Self::Reasoner => f.write_str("reasoner"),
            Self::Model { name } => write!(f, "model {name}"),
        }
    }
}

/// The phases of a response; they keep this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponsePhase {
    /// Save what would be lost.
    Evidence,
    /// Keep it from spreading.
    Contain,
    /// Remove the cause.
    Eradicate,
    /// Bring the service back.
    #[default]
    Recover,
}

/// One call of the catalogue: an action on a target with parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The action.
    pub action: ActionName,
    /// What it is done to. Exactly one known entity; never a pattern.
    pub target: EntityId,
    /// Parameters, within the action's schema.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
}

impl Call {
    /// The digest of the canonical form.
    ///
    /// # Errors
    ///
    /// When the parameters have no canonical form (a number that is not finite cannot occur in JSON).
    pub fn digest(&self) -> Result<Digest> {
        Ok(Digest::of(&crate::journal::canonical::to_bytes(self)?))
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.action, self.target)?;
        for (key, value) in &self.params {
            write!(f, " {key}={value}")?;
        }
        Ok(())
    }
}

/// How a measured value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// At most the limit.
    AtMost,
    /// At least the limit.
    AtLeast,
}

/// A limit on a metric that must hold for a step to count as a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Whose metric; the step's target where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<EntityId>,
    /// Which metric.
    pub metric: String,
    /// Which way.
    pub is: Comparison,
    /// The limit, in the metric's unit; for counters in units a second.
    pub value: Measured,
}

/// When a step counts as a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Verification {
    /// Whether the incident's anomalies must have ended.
    pub anomalies_end: bool,
    /// Limits that must hold as well.
    pub limits: Vec<Limit>,
    /// All of this must hold for so long without a break. Milliseconds; 3,000.
    pub hold_ms: u64,
    /// Scrapes of every entity concerned for which it must hold, after the first one with which it held: at long intervals `hold_ms`
    /// would be over before anything new is known. 2.
    pub hold_scrapes: u32,
    /// It must hold before this long has passed since the effect. Milliseconds; 60,000.
    pub within_ms: u64,
    /// And not before so many scrapes of every entity concerned since the effect is it given up: detectors need several to see
    /// that it is over. 12.
    pub within_scrapes: u32,
    /// It is given up after this long whatever was scraped. Milliseconds; 5,400,000 (90 minutes), which is enough for 12 scrapes
    /// at 5 minutes.
    pub at_most_ms: u64,
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            anomalies_end: true,
            limits: Vec::new(),
            hold_ms: 3_000,
            hold_scrapes: 2,
            within_ms: 60_000,
            within_scrapes: 12,
            at_most_ms: 5_400_000,
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name within the plan.
    pub id: StepId,
    /// What is done.
    pub call: Call,
    /// The steps that must be done before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StepId>,
    /// Which phase of the response it belongs to.
    #[serde(default)]
    pub phase: ResponsePhase,
    /// What is expected to happen, in words.
    pub expected_effect: String,
    /// How risky, from the catalogue.
    pub risk: RiskClass,
    /// How to take it back; `None` when there is nothing to take back or no way to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Call>,
    /// When it counts as a success.
    #[serde(default)]
    pub verification: Verification,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
}

/// What a planner writes: a plan before it was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanDraft {
    /// Its name.
    pub id: PlanId,
    /// The incident it is for.
    pub incident: IncidentId,
    /// 1, and one more after each modification by a person; the name stays.
    pub revision: u32,
    /// Who made it.
    pub provenance: Provenance,
    /// Who changed it last, if a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_by: Option<String>,
    /// What it was made from.
    pub hypothesis: HypothesisId,
    /// How sure: the cause's probability, lowered by the classification's confidence.
    pub confidence: Probability,
    /// In words: why this plan.
    pub because: String,
    /// The steps.
    pub steps: Vec<Step>,
}

impl PlanDraft {
    /// The steps that must be done before `step` may be sent: those it names in `after`, and all of earlier phases. In the order
    /// of the plan.
    pub fn prerequisites<'a>(&'a self, step: &'a Step) -> impl Iterator<Item = &'a StepId> {
        let waits = move |other: &&Step| other.phase < step.phase || step.after.contains(&other.id);
        self.steps.iter().filter(waits).map(|other| &other.id)
    }
}

/// A checked plan: every step names a known action and target, dependencies form no cycle, phases keep their order.
///
/// # Examples
///
/// A plan is made by [`Plan::check`] alone, or found again in a [`State`](crate::kernel::State) that has accepted it; reading one from text does not make it checked:
///
/// ```compile_fail
/// let plan: ir_core::Plan = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Plan {
    draft: PlanDraft,
}

impl Plan {
    /// A plan that was checked before, as its digest in the kernel's state says.
    pub(crate) const fn found_again(draft: PlanDraft) -> Self {
        Self { draft }
    }

    /// Checks `draft` against the catalogue and the topology.
    ///
    /// # Errors
    ///
    /// All problems at once: no or too many steps, unknown actions and targets, parameters that are missing or unknown, an
    /// undo that is not in the catalogue, steps named twice, dependencies on nothing, cycles, phases out of order, times of 0.
    pub fn check(draft: PlanDraft, catalogue: &Catalogue, topology: &Topology) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if draft.steps.is_empty() || draft.steps.len() > MAX_STEPS {
            let message = format!("a plan has 1 to {MAX_STEPS} steps, this one has {}", draft.steps.len());
            problems.push(Problem::at("steps", message));
        }
        let mut ids = BTreeMap::new();
        for (n, step) in draft.steps.iter().enumerate() {
            let field = format!("steps[{n}]");
            if ids.insert(&step.id, step.phase).is_some() {
                problems.push(Problem::at(format!("{field}.id"), format!("`{}` is named twice", step.id)));
            }
            check_call(&step.call, catalogue, topology, &format!("{field}.call"), &mut problems);
            if let Some(undo) = &step.undo {
                check_call(undo, catalogue, topology, &format!("{field}.undo"), &mut problems);
                if undo.target != step.call.target {
                    problems
                        .push(Problem::at(format!("{field}.undo.target"), "an undo acts on the target of its step"));
                }
                if let Some(spec) = catalogue.action(&step.call.action)
                    && !matches!(&spec.reversibility, Reversibility::Undo { action } if *action == undo.action)
                {
                    let message = format!("`{}` is not the undo of `{}`", undo.action, step.call.action);
                    problems.push(Problem::at(format!("{field}.undo.action"), message));
                }
            }
            if step.timeout_ms == 0 {
                problems.push(Problem::at(format!("{field}.timeout_ms"), "must be more than 0"));
            }
            if step.verification.at_most_ms < step.verification.within_ms {
                let message = "`at_most_ms` must be at least `within_ms`";
                problems.push(Problem::at(format!("{field}.verification"), message));
            }
            if step.verification.within_ms < step.verification.hold_ms {
                let message = "`within_ms` must be at least `hold_ms`";
                problems.push(Problem::at(format!("{field}.verification"), message));
            }
        }
        for (n, step) in draft.steps.iter().enumerate() {
            for before in &step.after {
                match ids.get(before) {
                    None => {
                        problems.push(Problem::at(format!("steps[{n}].after"), format!("no step is named `{before}`")))
                    }
                    Some(phase) if *phase > step.phase => {
                        let message = format!("`{before}` belongs to a later phase");
                        problems.push(Problem::at(format!("steps[{n}].after"), message));
                    }
                    Some(_) => {}
                }
            }
        }
        for cycle in cycles(draft.steps.iter().map(|step| (&step.id, step.after.as_slice()))) {
            problems.push(Problem::at(format!("steps[{}].after", cycle.first), cycle.to_string()));
        }
        ConfigError::check(problems, Self { draft })
    }

    /// The digest of the canonical form: what an approval is given for.
    ///
    /// # Errors
    ///
    /// When the plan has no canonical form.
    pub fn digest(&self) -> Result<Digest> {
        Ok(Digest::of(&crate::journal::canonical::to_bytes(&self.draft)?))
    }

    /// The step of that name.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.draft.steps.iter().find(|step| step.id == *id)
    }

    /// The draft again, to be changed and checked anew.
    #[must_use]
    pub fn into_draft(self) -> PlanDraft {
        self.draft
    }
}

impl std::ops::Deref for Plan {
    type Target = PlanDraft;
    fn deref(&self) -> &PlanDraft {
        &self.draft
    }
}

fn check_call(call: &Call, catalogue: &Catalogue, topology: &Topology, field: &str, problems: &mut Vec<Problem>) {
    if topology.entity(&call.target).is_none() {
        problems.push(Problem::at(format!("{field}.target"), format!("no entity is named `{}`", call.target)));
    }
    match catalogue.action(&call.action) {
        None => problems.push(Problem::at(format!("{field}.action"), format!("no action is named `{}`", call.action))),
        Some(spec) => {
            problems.extend(spec.check_params(&call.params).into_iter().map(|p| p.within(&format!("{field}.params"))));
        }
    }
}

/// Steps that wait for each other, so that none can ever begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepCycle<'a> {
    /// The steps, each followed by one that it waits for, and the last by the first.
    pub steps: Vec<&'a StepId>,
    /// The index of the first of them among all steps.
    pub first: usize,
}

impl std::fmt::Display for StepCycle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.steps.as_slice() {
            [one] => write!(f, "`{one}` waits for itself"),
            steps => {
                f.write_str("steps wait for each other: ")?;
                steps.iter().try_for_each(|step| write!(f, "`{step}` -> "))?;
                steps.first().map_or(Ok(()), |first| write!(f, "`{first}`"))
            }
        }
    }
}

/// The cycles among `steps`, each given by its name and by those it waits for: no step is in two, and without them there is no
/// further one. Names of no step are passed over. Takes time by the square of the number of steps.
pub fn cycles<'a>(steps: impl IntoIterator<Item = (&'a StepId, &'a [StepId])>) -> Vec<StepCycle<'a>> {
    let steps: Vec<_> = steps.into_iter().collect();
    let mut left: BTreeMap<&StepId, (usize, &[StepId])> = BTreeMap::new();
    for (n, (id, after)) in steps.iter().enumerate() {
        left.entry(id).or_insert((n, after));
    }
    let mut found = Vec::new();
    loop {
        // What waits for nothing that is left is in no cycle.
        loop {
            let waiting: BTreeSet<&StepId> = left.keys().copied().collect();
            let before = left.len();
            left.retain(|_, (_, after)| after.iter().any(|step| waiting.contains(step)));
            if left.len() == before {
                break;
            }
        }
        // Everything that is left waits for something that is left, so going on from any of them comes to a cycle.
        let Some((start, _)) = left.iter().min_by_key(|(_, (n, _))| *n) else { return found };
        let mut way = vec![*start];
        let cycle = loop {
            let next = way
                .last()
                .and_then(|step| left.get(step))
                .and_then(|(_, after)| after.iter().find_map(|step| left.get_key_value(step)).map(|(step, _)| *step));
            let Some(next) = next else { return found };
            match way.iter().position(|step| *step == next) {
                Some(at) => break way.split_off(at),
                None => way.push(next),
            }
        };
        // It is told from the step that stands first.
        let index = |step: &&StepId| left.get(*step).map_or(usize::MAX, |(n, _)| *n);
        let at = (0..cycle.len()).min_by_key(|at| index(&cycle[*at])).unwrap_or_default();
        let mut cycle = cycle;
        cycle.rotate_left(at);
        let first = cycle.first().map_or(0, index);
        left.retain(|step, _| !cycle.contains(step));
        found.push(StepCycle { steps: cycle, first });
    }
}

/// What a planner may use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanInput {
    /// The name the first plan must have.
    pub id: PlanId,
    /// The incident.
    pub incident: Incident,
    /// What is thought to have caused it.
    pub hypothesis: Hypothesis,
    /// What it is.
    pub classification: Classification,
    /// Who depends on whom.
    pub topology: Topology,
    /// Every action there is.
    pub catalogue: Catalogue,
    /// Calls that were tried for this incident and did not help.
    pub tried: Vec<Call>,
    /// Set when a person ordered this playbook: only its plan is wanted, whatever its conditions say. A planner without playbooks
    /// plans nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
}

/// Makes plans.
///
/// # Contract
///
/// 1. The same input gives the same answer.
/// 2. Plans use actions of the catalogue and targets of the topology only (the engine checks it again).
/// 3. A call that was tried is not proposed again.
/// 4. No cause, no plan: an empty answer, not an error.
/// 5. With [`PlanInput::playbook`] set, no plan but one of that playbook is proposed.
///
/// # Cancellation
///
/// Dropping the future is safe.
///
/// # Errors
///
/// Any; nothing is planned then, and a person is asked.
#[async_trait]
pub trait Planner: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// Plans for the incident, best first.
    async fn plan(&self, ctx: &Ctx, input: &PlanInput) -> Result<Vec<PlanDraft>>;
}

crate::forward! {
    Planner {
        fn name(&self) -> &str;
        async fn plan(&self, ctx: &Ctx, input: &PlanInput) -> Result<Vec<PlanDraft>>;
    }
}

/// What the journal keeps of a planner's answer: drafts, checked again by the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The planner.
    pub by: PartName,
    /// Best first.
    pub drafts: Vec<PlanDraft>,
}
