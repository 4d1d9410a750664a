//! Decisions: which steps may run, at which tier, and why. Votes, verdicts, approvals.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ctx::Ctx;
use crate::error::Result;
use crate::execution::{Direction, RiskClass};
use crate::id::{ActionName, ApprovalId, Digest, StepId, StepRef};
use crate::kernel::Allowance;
use crate::plan::Call;

/// How much the library may do by itself: a ladder, lowest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AutonomyTier {
    /// T0: sees, says nothing.
    #[default]
    Observe,
    /// T1: says what it would do.
    Recommend,
    /// T2: acts after a person approved.
    Approve,
    /// T3: acts when nobody objected within the veto window.
    Veto,
    /// T4: acts and tells.
    Act,
}

impl AutonomyTier {
    /// `T0` to `T4`.
    #[must_use]
    pub const fn short(self) -> &'static str {
        match self {
            Self::Observe => "T0",
            Self::Recommend => "T1",
            Self::Approve => "T2",
            Self::Veto => "T3",
            Self::Act => "T4",
        }
    }
}

impl std::fmt::Display for AutonomyTier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Recommend => "recommend",
            Self::Approve => "approve",
            Self::Veto => "veto",
            Self::Act => "act",
        })
    }
}

/// The role that everybody has.
pub const ANYONE: &str = "anyone";

/// How many different people of each role must approve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Quorum(BTreeMap<String, u32>);

impl Quorum {
    /// `count` people of `role` ([`ANYONE`] for any person); a count of 0 counts as 1.
    #[must_use]
    pub fn of(role: impl Into<String>, count: u32) -> Self {
        Self(BTreeMap::from([(role.into(), count.max(1))]))
    }

    /// What satisfies both.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (role, count) in &other.0 {
            let own = self.0.entry(role.clone()).or_insert(0);
            *own = (*own).max(*count);
        }
        self
    }

    /// Each role with its count.
    pub fn roles(&self) -> impl ExactSizeIterator<Item = (&str, u32)> {
        self.0.iter().map(|(role, count)| (role.as_str(), *count))
    }

    /// Whether `person` could count towards it.
    #[must_use]
    pub fn counts(&self, person: &Person) -> bool {
        self.0.keys().any(|role| person.has_role(role))
    }

    /// Whether these people (each counted once, by name) are enough. Without any role nobody is ever enough.
    #[must_use]
    pub fn is_met_by<'a>(&self, people: impl Iterator<Item = &'a Person> + Clone) -> bool {
        !self.0.is_empty()
            && self.0.iter().all(|(role, count)| {
                let names: BTreeSet<&str> =
                    people.clone().filter(|p| p.has_role(role)).map(|p| p.name.as_str()).collect();
                names.len() >= usize::try_from((*count).max(1)).unwrap_or(usize::MAX)
            })
    }
}

impl std::fmt::Display for Quorum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, (role, count)) in self.roles().enumerate() {
            let and = if n == 0 { "" } else { " and " };
            write!(f, "{and}{count} of {role}")?;
        }
        Ok(())
    }
}

/// What is decided about a step, most restrictive first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verdict {
    /// It must not be done.
    Deny,
    /// It is noted and nobody is told.
    Observe,
    /// A person is told what would be done.
    Recommend,
    /// It is done once these people approved.
    RequireApproval {
        /// Who.
        quorum: Quorum,
    },
    /// It is done.
    Allow,
}

impl Verdict {
    const fn rank(&self) -> u8 {
        match self {
            Self::Deny => 0,
            Self::Observe => 1,
            Self::Recommend => 2,
            Self::RequireApproval { .. } => 3,
            Self::Allow => 4,
        }
    }

    /// Whether `self` allows no more than `other`.
    #[must_use]
    pub fn at_most(&self, other: &Self) -> bool {
        self.rank() <= other.rank()
    }

    /// The more restrictive of both; two approvals need both quorums.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::RequireApproval { quorum: a }, Self::RequireApproval { quorum: b }) => {
                Self::RequireApproval { quorum: a.and(&b) }
            }
            (a, b) if b.rank() < a.rank() => b,
            (a, _) => a,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deny => f.write_str("deny"),
            Self::Observe => f.write_str("observe"),
            Self::Recommend => f.write_str("recommend"),
            Self::RequireApproval { quorum } => write!(f, "require approval by {quorum}"),
            Self::Allow => f.write_str("allow"),
        }
    }
}

/// One voice in a decision: a rule, a limit, a cap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// Who votes: `rule restart-services`, `cap model` ...
    pub by: String,
    /// For what.
    pub verdict: Verdict,
    /// In words.
    pub because: String,
}

/// What was decided about one step. Made by [`Decision::combine`]; deciding never fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The step.
    pub step: StepRef,
    /// The plan it was decided for, exactly.
    pub plan_digest: Digest,
    /// The verdict.
    pub verdict: Verdict,
    /// The tier it follows from.
    pub tier: AutonomyTier,
    /// For [`AutonomyTier::Veto`]: how long people have to object before it is done. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub veto_ms: Option<u64>,
    /// How long an approval may take and how long it holds. Milliseconds.
    pub approval_expires_ms: u64,
    /// Every voice.
    pub votes: Vec<Vote>,
    /// What would have changed the verdict with the least change, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// The policy's digest.
    pub policy: Digest,
}

impl Decision {
    /// The most restrictive of all votes; no votes at all is a denial.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ir_core::{Decision, Verdict, Vote};
    /// let allow = Vote { by: "rule a".into(), verdict: Verdict::Allow, because: "it may".into() };
    /// let deny = Vote { by: "rule b".into(), verdict: Verdict::Deny, because: "it may not".into() };
    /// assert_eq!(Decision::combine(&[allow.clone(), deny]), Verdict::Deny);
    /// assert_eq!(Decision::combine(&[allow]), Verdict::Allow);
    /// assert_eq!(Decision::combine(&[]), Verdict::Deny);
    /// ```
    #[must_use]
    pub fn combine(votes: &[Vote]) -> Verdict {
        votes.iter().map(|vote| vote.verdict.clone()).reduce(Verdict::and).unwrap_or(Verdict::Deny)
    }
}

/// A person, as the host program authenticated them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The name that stands in the record.
    pub name: String,
    /// The roles they hold.
    #[serde(default)]
    pub roles: Vec<String>,
}

impl Person {
    /// A person without special roles.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), roles: Vec::new() }
    }

    /// Whether they hold `role`; everybody holds [`ANYONE`].
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        role == ANYONE || self.roles.iter().any(|own| own == role)
    }
}

/// Digest of everything that an approval covers: the plan, the call with its parameters, the target's state as it was previewed, and
/// how it would be undone. An approval counts for exactly this; whatever changes needs a new one.
///
/// # Errors
///
/// When a call has no canonical form.
pub fn covered(
    plan: &Digest,
    direction: Direction,
    call: &Call,
    state: &Digest,
    undo: Option<&Call>,
) -> Result<Digest> {
    let direction = match direction {
        Direction::Do => b"do".as_slice(),
        Direction::Undo => b"undo",
    };
    let undo = undo.map(Call::digest).transpose()?;
    Ok(Digest::of_parts([
        b"incident-response approval 1".as_slice(),
        plan.as_bytes(),
        direction,
        call.digest()?.as_bytes(),
        state.as_bytes(),
        undo.as_ref().map_or(b"none".as_slice(), |undo| undo.as_bytes()),
    ]))
}

/// What a person is asked, facts first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// The request's name. It changes with everything that the approval covers.
    pub id: ApprovalId,
    /// The step.
    pub step: StepRef,
    /// Whether the step is to be done, or undone although somebody else changed its target meanwhile.
    pub direction: Direction,
    /// The plan, exactly.
    pub plan_digest: Digest,
    /// What exactly an approval covers: see [`covered`].
    pub covers: Digest,
    /// What would be done.
    pub call: Call,
    /// Why.
    pub why: String,
    /// What is expected to happen.
    pub expected_effect: String,
    /// How risky it is.
    pub risk: RiskClass,
    /// What the executor said would change.
    pub preview: String,
    /// How it would be taken back, in words.
    pub undo: String,
    /// What the limits still allow before this call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowances: Vec<Allowance>,
    /// What else could be done.
    pub alternatives: Vec<String>,
    /// Who must approve; empty for a veto request.
    pub quorum: Quorum,
    /// Set when it is done unless somebody objects within this time, which begins with the first proved delivery. Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub veto_ms: Option<u64>,
    /// The request ends after this time, as a refusal. Milliseconds.
    pub expires_ms: u64,
}

/// A change of one step by a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepChange {
    /// Which step.
    pub step: StepId,
    /// Another action, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionName>,
    /// Other parameters, if any: they replace all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    /// Whether the step is left out.
    #[serde(default)]
    pub drop: bool,
}

/// What a person answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// Do it.
    Approve,
    /// Do not.
    Refuse,
    /// Do something else: the plan is revised where nothing was sent yet, then checked and decided anew. What is done stays done.
    Modify {
        /// What is changed.
        changes: Vec<StepChange>,
    },
}

/// A person's answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalAnswer {
    /// The request.
    pub request: ApprovalId,
    /// The plan the person saw.
    pub plan_digest: Digest,
    /// Who answers.
    pub by: Person,
    /// What.
    pub answer: Answer,
    /// Why. Never empty.
    pub reason: String,
}

/// Brings requests to people.
///
/// # Contract
///
/// 1. `ask` returns when the request was delivered; it does not wait for the answer.
/// 2. Asking the same request again is delivered again or recognised, and never an error.
/// 3. `ask` never answers by itself: answers come through the engine's handle, from an authenticated person.
///
/// # Cancellation
///
/// Dropping the future may or may not have delivered the request.
///
/// # Errors
///
/// Any: the request is delivered again with a growing delay, until it was delivered or has expired. A request that was delivered to
/// one approver is not delivered to that one again.
#[async_trait]
pub trait Approver: Debug + Send + Sync + 'static {
    /// The part's name, for records and messages.
    fn name(&self) -> &str;

    /// Delivers the request.
    async fn ask(&self, ctx: &Ctx, request: &ApprovalRequest) -> Result<()>;
}

crate::forward! {
    Approver {
        fn name(&self) -> &str;
        async fn ask(&self, ctx: &Ctx, request: &ApprovalRequest) -> Result<()>;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn verdicts() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Deny),
            Just(Verdict::Observe),
            Just(Verdict::Recommend),
            ("[ab]", 0u32..4).prop_map(|(role, n)| Verdict::RequireApproval { quorum: Quorum::of(role, n) }),
            Just(Verdict::Allow),
        ]
    }

    proptest! {
        #[test]
        fn votes_in_any_order_give_the_same_verdict(mut votes in prop::collection::vec(verdicts(), 0..6), seed in any::<u64>()) {
            let cast = |verdicts: &[Verdict]| {
                let votes: Vec<Vote> = verdicts
                    .iter()
                    .map(|v| Vote { by: "x".into(), verdict: v.clone(), because: String::new() })
                    .collect();
                Decision::combine(&votes)
            };
            let before = cast(&votes);
            let n = votes.len().max(1);
            votes.rotate_left(usize::try_from(seed).unwrap_or(0) % n);
            votes.reverse();
            prop_assert_eq!(&cast(&votes), &before);
            for vote in &votes {
                prop_assert!(before.at_most(vote));
            }
        }
    }

    #[test]
    fn a_quorum_counts_different_people_with_the_role() {
        let dba = |name: &str| Person { name: name.into(), roles: vec!["dba".into()] };
        let quorum = Quorum::of("dba", 2);
        assert!(!quorum.is_met_by([dba("ann"), dba("ann")].iter()), "the same person twice is one person");
        assert!(!quorum.is_met_by([dba("ann"), Person::named("bob")].iter()), "bob is no dba");
        assert!(quorum.is_met_by([dba("ann"), dba("bob")].iter()));
        assert!(!Quorum::default().is_met_by([dba("ann")].iter()), "no role at all is never enough");
    }
}
