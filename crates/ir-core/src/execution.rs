//! Executions: the action catalogue, the executor, and what is known of each attempt.

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{ConfigError, Problem};
use crate::ctx::Ctx;
use crate::error::{Failure, Result};
use crate::id::{ActionName, Digest, PartName, StepRef};
use crate::kernel::{Fence, NotApplied, Permit};
use crate::plan::Call;
use crate::time::Moment;

mod params;

/// How much harm an action can do when it is the wrong one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RiskClass {
    /// Users will hardly notice.
    Low,
    /// Users may notice for a moment.
    Medium,
    /// Users will notice, or data may be at risk.
    High,
}

/// Whether an effect can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reversibility {
    /// By this action; the preview tells its parameters.
    Undo {
        /// Which.
        action: ActionName,
    },
    /// It passes by itself and leaves the target as it was: there is nothing to take back.
    Transient,
    /// Never. Two people must approve, always.
    Irreversible,
}

/// What can be known of an attempt whose answer was lost. Undeclared is `Blind`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum RecoveryClass {
    /// Repeating the key returns the first result: the same key is sent again.
    Keyed,
    /// The target refuses older tokens and can be read: the fence is raised, then the target is probed.
    FenceProbe,
    /// The target can be read, and an effect lands at most this long after the deadline: wait, then probe.
    Probe {
        /// Milliseconds after the permit's deadline.
        settles_within_ms: u64,
    },
    /// Nothing can be known: it is sent at most once, and a person is asked.
    #[default]
    Blind,
}

/// One action an executor can perform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionSpec {
    /// Its name, unique over all executors.
    pub name: ActionName,
    /// For people.
    pub description: String,
    /// JSON Schema of the parameters: an object with `properties` and `required`; properties use `type`, `enum`, `minimum`,
    /// `maximum`, `minLength`, `maxLength`, `description` and nothing else, so that the kernel's check is complete.
    pub params: Value,
    /// How much harm it can do.
    pub risk: RiskClass,
    /// Whether it can be taken back.
    pub reversibility: Reversibility,
    /// What can be known of a lost attempt.
    #[serde(default)]
    pub recovery: RecoveryClass,
    /// How many entities it disturbs, the target included; at least 1.
    pub blast_radius: u32,
    /// Whether it changes the target at all; what only gathers evidence does not.
    pub changes_target: bool,
}

impl ActionSpec {
    /// What is wrong with `given` parameters; empty when nothing is.
    #[must_use]
    pub fn check_params(&self, given: &Map<String, Value>) -> Vec<Problem> {
        params::check(&self.params, given)
    }

    /// The schema of an action without parameters.
    #[must_use]
    pub fn no_params() -> Value {
        serde_json::json!({ "type": "object", "properties": {}, "required": [] })
    }
}

/// The actions of one or more executors, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<ActionSpec>", into = "Vec<ActionSpec>")]
pub struct Catalogue(BTreeMap<ActionName, ActionSpec>);

impl TryFrom<Vec<ActionSpec>> for Catalogue {
    type Error = ConfigError;
    fn try_from(actions: Vec<ActionSpec>) -> Result<Self, ConfigError> {
        Self::new(actions)
    }
}

impl From<Catalogue> for Vec<ActionSpec> {
    fn from(catalogue: Catalogue) -> Self {
        catalogue.0.into_values().collect()
    }
}

impl Catalogue {
    /// Checks the actions.
    ///
    /// # Errors
    ///
    /// All problems at once: names used twice, an undo that is not in the list, a parameter schema outside the subset that
    /// [`ActionSpec::params`] names, a blast radius of 0.
    pub fn new(actions: impl IntoIterator<Item = ActionSpec>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut map = BTreeMap::new();
        for action in actions {
            let field = format!("action `{}`", action.name);
            if map.contains_key(&action.name) {
                problems.push(Problem::at(&field, "is named twice"));
            }
            if action.blast_radius == 0 {
                problems.push(Problem::at(format!("{field}.blast_radius"), "must be at least 1"));
            }
            problems
                .extend(params::check_schema(&action.params).into_iter().map(|p| p.within(&format!("{field}.params"))));
            map.insert(action.name.clone(), action);
        }
        for action in map.values() {
            if let Reversibility::Undo { action: undo } = &action.reversibility
                && !map.contains_key(undo)
            {
                let message = format!("no action is named `{undo}`");
                problems.push(Problem::at(format!("action `{}`.reversibility", action.name), message));
            }
        }
        ConfigError::check(problems, Self(map))
    }

    /// The action of that name.
    #[must_use]
    pub fn action(&self, name: &ActionName) -> Option<&ActionSpec> {
        self.0.get(name)
    }

    /// All actions, by name.
    pub fn actions(&self) -> impl ExactSizeIterator<Item = &ActionSpec> {
        self.0.values()
    }
}

/// Do or undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The step itself.
    Do,
    /// Its undo.
    Undo,
}

/// The same for every attempt of one step in one direction of one plan revision in one journal; sent as the idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EffectKey(Digest);

impl EffectKey {
    /// The key of `step` in `direction`, of the plan of digest `plan` in the journal named `journal`.
    #[must_use]
    pub fn of(journal: Digest, plan: Digest, step: &StepRef, direction: Direction) -> Self {
        let direction = match direction {
            Direction::Do => b"do".as_slice(),
            Direction::Undo => b"undo",
        };
        Self(Digest::of_parts([
            b"incident-response effect 2".as_slice(),
            journal.as_bytes(),
            plan.as_bytes(),
            step.plan.as_str().as_bytes(),
            step.step.as_str().as_bytes(),
            direction,
        ]))
    }
}

impl std::fmt::Display for EffectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// What an executor says would happen, read without changing anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// Digest of the target's state as far as the action relies on it: the precondition. Equal states, equal digests.
    pub state: Digest,
    /// In words: what the target is like now and what would change.
    pub summary: String,
    /// How to take it back, exactly, from the state as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Call>,
}

/// What an executor says was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// In words.
    pub summary: String,
}

/// How an attempt ended, where its executor knows. Every other end is an error, and then the effect is unknown.
#[derive(Debug)]
pub enum Attempt {
    /// The effect took place.
    Applied(Applied),
    /// This attempt had no effect and will have none: see [`Effect::not_applied`](crate::kernel::Effect::not_applied).
    NotApplied(NotApplied),
}

impl Attempt {
    /// The effect took place, with a summary for people.
    #[must_use]
    pub fn applied(summary: impl Into<String>) -> Self {
        Self::Applied(Applied { summary: summary.into() })
    }
}

impl From<Applied> for Attempt {
    fn from(applied: Applied) -> Self {
        Self::Applied(applied)
    }
}

impl From<NotApplied> for Attempt {
    fn from(proof: NotApplied) -> Self {
        Self::NotApplied(proof)
    }
}

/// What is known of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AttemptResult {
    /// The effect took place.
    Applied {
        /// What was done.
        applied: Applied,
    },
    /// This attempt changed nothing, and that is proved: its permit was revoked unredeemed, or its executor gave the effect up.
    NotApplied {
        /// Why.
        failure: Failure,
    },
    /// Whether this attempt had its effect is not known.
    Unknown {
        /// What happened.
        failure: Failure,
    },
}

/// A question about an earlier attempt.
#[derive(Debug)]
pub struct Probe {
    /// What was to be done.
    pub call: Call,
    /// The key it carried.
    pub key: EffectKey,
    /// Where given, the target must first refuse tokens below it.
    pub fence: Option<Fence>,
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Probed {
    /// The effect is there.
    Applied,
    /// The effect is not there, and within the class's promise it will not come any more.
    NotApplied,
    /// It cannot be told.
    Unknown,
}

/// Performs actions.
///
/// # Flow
///
/// `catalogue` once at the start; `preview` when a plan is made and again right before the effect; `execute` with a permit;
/// `probe` when the answer of an attempt was lost.
///
/// # Contract
///
/// 1. `catalogue` is the same at every call and passes [`Catalogue::new`].
/// 2. `preview` changes nothing; equal states of the target give equal digests.
/// 3. `execute` calls [`Permit::redeem`] right before its first byte goes out, and sends nothing when that fails.
/// 4. `execute` sends nothing after the deadline of the redeemed effect.
/// 5. `execute` gives [`Attempt::NotApplied`] only where this attempt changed nothing and never will: nothing was sent, or the
///    target itself refused. After `redeem` every error, of whatever kind, means that the effect is unknown.
/// 6. The undo that `preview` names brings the state back to an equal digest.
/// 7. `Keyed`: the same key again returns the first result and has no second effect.
/// 8. `FenceProbe`: after a probe with a fence, an attempt with a lower token has no effect.
/// 9. `probe` tells the truth, or `Unknown`, and changes no workload.
/// 10. After an effect the preview of its undo keeps the same digest until somebody else changes the target: the engine compares
///     it before it sends the undo.
/// 11. `preview` and `execute` refuse an action or a target that is not its own as `Unsupported`, and send nothing.
///
/// # Cancellation
///
/// The future of `execute` is never dropped by the engine before the process ends; it is asked to stop through `ctx`. One that
/// outlives its deadline is left alone and its attempt settled by its class.
///
/// # Errors
///
/// Before `redeem` any kind: nothing was sent, the permit is revoked, and this attempt is NOT_APPLIED. `Unsupported` for an action
/// or target that is not its own. After `redeem` see contract 5. No retry or timeout wrapper stands around an executor: the kernel
/// settles every attempt by its class.
///
/// # Examples
///
/// ```
/// # use ir_core::{Attempt, Ctx, Error, ErrorKind, Permit, Result};
/// # enum Reply { Done, Refused(&'static str), Lost }
/// # fn send(_key: String) -> Reply { Reply::Done }
/// async fn execute(_ctx: &Ctx, permit: Permit) -> Result<Attempt> {
///     let effect = permit.redeem()?; // An error here: nothing was sent.
///     match send(effect.key().to_string()) {
///         Reply::Done => Ok(Attempt::applied("restarted")),
///         // The target said no: this attempt changed nothing.
///         Reply::Refused(why) => Ok(effect.not_applied(Error::new(ErrorKind::Conflict, "ours", why)).into()),
///         // Nobody knows: the kernel settles it by the action's recovery class.
///         Reply::Lost => Err(Error::new(ErrorKind::Unknown, "ours", "the reply was lost")),
///     }
/// }
/// ```
#[async_trait]
pub trait Executor: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// The actions it can perform.
    fn catalogue(&self) -> Vec<ActionSpec>;

    /// What would happen now.
    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview>;

    /// Performs what the permit names.
    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt>;

    /// What became of an earlier attempt.
    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed>;
}

crate::forward! {
    Executor {
        fn name(&self) -> &str;
        fn catalogue(&self) -> Vec<ActionSpec>;
        async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview>;
        async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt>;
        async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed>;
    }
}

/// What the journal keeps of an attempt's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    /// The step.
    pub step: StepRef,
    /// Do or undo.
    pub direction: Direction,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The executor.
    pub by: PartName,
    /// What is known.
    pub result: AttemptResult,
    /// After a do that can be undone: the state that its undo would find, as the preview of the undo gave it right then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Digest>,
}

/// A preview as it stands in the journal, with the moment of reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Precondition {
    /// The digest of the target's state.
    pub state: Digest,
    /// When it was read.
    pub read: Moment,
}
