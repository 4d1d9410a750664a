//! One variant a fact: everything the journal can hold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CarriedOver, TailRepair};
use crate::anomaly::{Anomaly, Feedback};
use crate::decision::{ApprovalAnswer, ApprovalRequest, AutonomyTier, Decision, Person};
use crate::entity::EntityId;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::execution::{
    Direction, EffectKey, Execution, Precondition, Preview, Probed, RecoveryClass, Reversibility, RiskClass,
};
use crate::hypothesis::Hypothesis;
use crate::id::{AnomalyId, ApprovalId, Digest, HypothesisId, IncidentId, PartName, PlanId, StepId, StepRef};
use crate::incident::{Classification, Grouping, IncidentState};
use crate::kernel::{Limits, StepState};
use crate::lesson::Lesson;
use crate::outcome::{Outcome, Pace, Verified};
use crate::plan::{Call, PlanDraft, Planned};
use crate::signal::{Change, PollRecord};
use crate::time::{Moment, Timestamp};

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version of this form.
    pub v: u32,
    /// Its number, from 1, without gaps.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub seq: u64,
    /// How many records of the same append still follow.
    pub left: u32,
    /// The hash of the record before, zeros for the first.
    pub prev: Digest,
    /// When it was written. The order is `seq`, never this.
    pub at: Moment,
    /// What happened.
    pub body: Body,
}

impl Record {
    /// The version of the form written by this release.
    pub const VERSION: u32 = 2;
}

/// Where the content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// It came from outside. Replay takes it as given.
    Event(Event),
    /// It follows from what stands before. Replay must come to the same.
    Fact(Fact),
    /// The gate did it. Replay must come to the same.
    Gate(GateFact),
    /// The content is in a blob of this digest.
    Spilled {
        /// SHA-256 of the canonical body.
        digest: Digest,
    },
}

/// A part of a record that may be large and is often the same as before: in the record itself, or in a blob that is named by what it
/// holds and so stands in the journal once. Whatever encodes and decodes records moves it; in memory it is always here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Here.
    Here(serde_json::Value),
    /// In the blob of this digest, as canonical JSON.
    Blob(Digest),
}

impl Content {
    /// The content.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it was not fetched from its blob.
    pub fn here(&self) -> Result<&serde_json::Value> {
        match self {
            Self::Here(value) => Ok(value),
            Self::Blob(digest) => {
                let message = format!("the content of blob `{digest}` was not fetched");
                Err(Error::new(ErrorKind::InvalidInput, "journal", message))
            }
        }
    }
}

/// The state after every record before it: a start may begin with it, and a replay must come to the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The version of the library that wrote it. The states are in a form of its own.
    pub version: String,
    /// The state of the kernel.
    pub kernel: Content,
    /// The state of the engine.
    pub engine: Content,
    /// The configuration in force: see [`Started::config`].
    pub config: Content,
}

impl Body {
    /// The large parts of it.
    pub(crate) fn contents_mut(&mut self) -> Vec<&mut Content> {
        match self {
            Self::Event(Event::Started(started)) => vec![&mut started.config],
            Self::Gate(GateFact::Checkpoint(checkpoint)) => {
                vec![&mut checkpoint.kernel, &mut checkpoint.engine, &mut checkpoint.config]
            }
            _ => Vec::new(),
        }
    }

    /// The blobs that the body names: of a record as it is stored, what must stand beside it. What is within a spilled body is named
    /// only by that body.
    #[must_use]
    pub fn blobs(&self) -> Vec<Digest> {
        let of = |contents: &[&Content]| {
            contents
                .iter()
                .filter_map(|content| if let Content::Blob(digest) = content { Some(*digest) } else { None })
                .collect()
        };
        match self {
            Self::Spilled { digest } => vec![*digest],
            Self::Event(Event::Started(started)) => of(&[&started.config]),
            Self::Gate(GateFact::Checkpoint(checkpoint)) => {
                of(&[&checkpoint.kernel, &checkpoint.engine, &checkpoint.config])
            }
            _ => Vec::new(),
        }
    }
}

/// Numbers a command of the machine, so that its answer finds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CommandId(
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub u64,
);

/// A part that was plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartRecord {
    /// `source`, `detector`, `planner` ...
    pub role: String,
    /// Its name.
    pub name: PartName,
}

/// The engine started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// The library's version.
    pub version: String,
    /// The lease's epoch.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub epoch: u64,
    /// Everything that decides: policy, topology, catalogue, engine settings. Replay needs nothing else.
    pub config: Content,
    /// The policy's digest.
    pub policy: Digest,
    /// The limits in force.
    pub limits: Limits,
    /// Everything that was plugged in.
    pub parts: Vec<PartRecord>,
    /// Detectors that do not know what they reported before: their state could not be restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgetful: Vec<PartName>,
}

/// One round of looking at the sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// What each source brought, in numbers.
    pub polls: Vec<PollRecord>,
    /// What the detectors found in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<Anomaly>,
    /// The changes in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Sources and detectors that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// Detectors' states that were stored right after this round, by name and digest: a restart goes on from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<(PartName, Digest)>,
    /// How many of the `judged` records of the whole journal those states know of: later ones are told again after a restart. 0
    /// where no state was stored.
    #[serde(default, skip_serializing_if = "is_zero", with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub heard: u64,
    /// Detectors whose quarantine began: they are called again after a while, and see nothing until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<PartName>,
    /// Batches of signals that a detector did not see or did not finish, since the record before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<Unseen>,
}

/// Batches that were lost for one detector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unseen {
    /// The detector.
    pub detector: PartName,
    /// How many.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub batches: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What came from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The engine started.
    Started(Started),
    /// What must not be forgotten of another journal: the first event of this one.
    CarriedOver(Box<CarriedOver>),
    /// The journal had an incomplete end, which was cut.
    TailRepaired(TailRepair),
    /// The sources were looked at.
    Observed(Observed),
    /// A command was answered.
    Reported {
        /// Which.
        command: CommandId,
        /// The answer.
        report: Report,
    },
    /// An attempt came to its end.
    Executed(Execution),
    /// A person answered a request.
    Answered(ApprovalAnswer),
    /// A person overrode the library: the incident is theirs now.
    Overridden {
        /// Which incident.
        incident: IncidentId,
        /// Who.
        by: Person,
        /// Why.
        reason: String,
        /// Whether what was done is to be taken back.
        undo: bool,
    },
    /// A person closes an incident, whatever its anomalies say.
    ClosedByPerson {
        /// Which incident.
        incident: IncidentId,
        /// Who.
        by: Person,
        /// Why.
        reason: String,
    },
    /// A person orders a playbook for an incident. It is decided by the policy like any other plan.
    PlaybookOrdered {
        /// Which incident.
        incident: IncidentId,
        /// The playbook's name.
        playbook: String,
        /// Who.
        by: Person,
        /// Why.
        reason: String,
    },
    /// A person gives an escalated incident back to the library.
    AutomationResumed {
        /// Which incident.
        incident: IncidentId,
        /// Who.
        by: Person,
        /// Why.
        reason: String,
    },
    /// A person looked, and says what became of a step that waited for one.
    SettledByPerson {
        /// Which step.
        step: StepRef,
        /// Who.
        by: Person,
        /// Whether its effect is in place.
        applied: bool,
        /// Why they say so.
        reason: String,
    },
    /// A person says what the reports of detectors were worth, or that one was missing. Detectors are told, and the engine decides
    /// nothing by it.
    Judged {
        /// What of what.
        feedback: Vec<Feedback>,
        /// Who.
        by: Person,
        /// Why.
        reason: String,
    },
    /// A timer of the machine ran out.
    TimerFired {
        /// Which.
        timer: String,
    },
    /// The engine was asked to stop in good order.
    Stopping,
    /// The engine ends while attempts are in flight: their executors were asked to stop and did not answer in time. The next start
    /// settles them by their class.
    LeftInFlight {
        /// The steps.
        steps: Vec<StepRef>,
    },
    /// An event was dropped as a whole, because an illegal fact followed from it.
    Dropped {
        /// What it was, in words.
        event: String,
        /// The timer, if it was one: it does not run out again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timer: Option<String>,
        /// The command, if it was the answer to one: no other answer will come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<CommandId>,
        /// The illegal fact.
        because: String,
        /// The plan that the fact is about: it sends nothing more, and a person gets its incident.
        plan: Option<PlanId>,
        /// Whether all effects are halted: it is the second within an hour, or it is not about a single plan.
        halts: bool,
    },
}

/// The answer of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "of", rename_all = "snake_case")]
pub enum Report {
    /// Where anomalies belong.
    Correlated {
        /// One placement for each.
        groupings: Vec<Grouping>,
        /// How often the entities near them are scraped, as far as that is known: the usual time between two scrapes. Milliseconds.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        intervals: Vec<(EntityId, u64)>,
    },
    /// What may have caused an incident.
    Diagnosed(Hypothesis),
    /// What an incident is.
    Classified(Classification),
    /// What could be done.
    Planned(Planned),
    /// What a step would change.
    Previewed {
        /// The executor's answer.
        preview: Preview,
        /// When it was read.
        read: Moment,
    },
    /// Which approvers the request was delivered to.
    Asked {
        /// The approvers that have it now.
        delivered: Vec<PartName>,
        /// Why others do not.
        failed: Vec<Failure>,
    },
    /// What became of an attempt.
    Probed {
        /// What the probe found.
        probed: Probed,
        /// Where a do was found applied: the state that its undo would find.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Digest>,
    },
    /// Whether a step helped.
    Verified {
        /// What the verifier found.
        verified: Verified,
        /// How often the entities concerned were scraped since the effect.
        pace: Pace,
    },
    /// A lesson was kept.
    Kept,
    /// The command failed.
    Failed(Failure),
}

/// What the kernel must know of a step, taken from catalogue and topology when the plan was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepTerms {
    /// The step.
    pub step: StepId,
    /// What can be known of a lost attempt.
    pub recovery: RecoveryClass,
    /// What can be known of a lost attempt to undo it.
    pub undo_recovery: RecoveryClass,
    /// Whether it can be taken back.
    pub reversibility: Reversibility,
    /// How risky it is.
    pub risk: RiskClass,
    /// Whether it changes its target.
    pub changes_target: bool,
    /// Where the target runs.
    pub environment: String,
    /// The target's group, if it is one of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How many are in the group.
    pub group_size: u32,
    /// Whether nothing touches the target without a person.
    pub protected: bool,
}

/// Who is taken for the cause of an incident, as far as the limits on groups need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suspect {
    /// Who.
    pub entity: EntityId,
    /// Where it runs.
    pub environment: String,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What follows from events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Fact {
    /// Anomalies opened an incident.
    IncidentOpened {
        /// Its name.
        incident: IncidentId,
        /// Which anomalies.
        anomalies: Vec<AnomalyId>,
        /// The earliest onset.
        onset: Timestamp,
        /// Why they belong together.
        because: Vec<String>,
    },
    /// Anomalies joined an incident.
    IncidentGrew {
        /// Which incident.
        incident: IncidentId,
        /// Which anomalies.
        anomalies: Vec<AnomalyId>,
        /// Why.
        because: Vec<String>,
    },
    /// An incident's state changed.
    IncidentMoved {
        /// Which.
        incident: IncidentId,
        /// To where.
        to: IncidentState,
        /// Why.
        because: String,
    },
    /// It is settled what is thought to be the cause, for now.
    HypothesisFormed {
        /// Which incident.
        incident: IncidentId,
        /// Which hypothesis.
        hypothesis: HypothesisId,
        /// Who leads; `None` when the diagnoser abstains.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suspect: Option<Suspect>,
    },
    /// A plan passed all checks.
    PlanAccepted {
        /// The plan.
        plan: PlanDraft,
        /// Its digest: what approvals are given for.
        digest: Digest,
        /// What the kernel must know of each step, in the order of the steps.
        terms: Vec<StepTerms>,
    },
    /// A person changed a plan: steps that were sent are as before, all others begin anew.
    PlanRevised {
        /// The whole plan as it is now.
        plan: PlanDraft,
        /// Its digest.
        digest: Digest,
        /// What the kernel must know of each step, in the order of the steps.
        terms: Vec<StepTerms>,
    },
    /// A plan did not pass the checks.
    PlanRejected {
        /// Which.
        plan: PlanId,
        /// All problems.
        problems: Vec<String>,
    },
    /// A step's target was looked at before deciding.
    StepPreviewed {
        /// Which step.
        step: StepRef,
        /// What the executor said.
        preview: Preview,
    },
    /// A step was decided.
    Decided(Decision),
    /// People are asked.
    ApprovalOpened(ApprovalRequest),
    /// A request reached people: from now on a veto window runs.
    ApprovalDelivered {
        /// Which step.
        step: StepRef,
        /// What the request covers.
        covers: Digest,
        /// The approvers that delivered it.
        by: Vec<PartName>,
    },
    /// An answer counted.
    ApprovalCounted(Approved),
    /// An answer did not count.
    AnswerRejected {
        /// Which request.
        request: ApprovalId,
        /// Why.
        because: String,
    },
    /// What a person asked for did not count.
    OrderRejected {
        /// What was asked for.
        order: String,
        /// Why it did not count.
        because: String,
    },
    /// Something that passes with time keeps a step from being sent: it is tried again.
    StepDelayed {
        /// Which step.
        step: StepRef,
        /// What keeps it.
        because: String,
        /// When it is tried again, in milliseconds from now.
        retry_ms: u64,
    },
    /// A step's state changed.
    StepMoved {
        /// Which step.
        step: StepRef,
        /// From where.
        from: StepState,
        /// To where.
        to: StepState,
        /// Why.
        because: String,
    },
    /// A probe settled that no attempt of the step had an effect, so that it may be sent again.
    AttemptCleared {
        /// Which step.
        step: StepRef,
        /// Why.
        because: String,
    },
    /// A probe found the effect of an attempt.
    AttemptFound {
        /// Which step.
        step: StepRef,
        /// After a do that can be undone: the state that its undo would find.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Digest>,
        /// Why.
        because: String,
    },
    /// What an attempt did is not known; its class settles it.
    AttemptUnknown {
        /// Which step.
        step: StepRef,
        /// Why.
        because: String,
    },
    /// A plan ended.
    OutcomeReached(Outcome),
    /// A lesson was drawn.
    LessonDrawn(Lesson),
    /// Something did not go as it should; the library goes on with less.
    Degraded {
        /// What.
        what: String,
        /// Why.
        because: String,
    },
}

/// An approval that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// The step.
    pub step: StepRef,
    /// The plan, exactly.
    pub plan_digest: Digest,
    /// Everything that the approval covers: see [`covered`](crate::decision::covered).
    pub covers: Digest,
    /// Who.
    pub by: Person,
    /// Why.
    pub reason: String,
}

/// An intention: durable before its effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The step.
    pub step: StepRef,
    /// Do or undo.
    pub direction: Direction,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The fencing token: higher than every token before.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub token: u64,
    /// The idempotency key: the same for every attempt of this step and direction.
    pub key: EffectKey,
    /// What is done.
    pub call: Call,
    /// After this no byte goes out. On the monotonic clock of the record's boot.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub deadline_mono_ns: u64,
    /// How it would be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inverse: Option<Call>,
    /// The target's state it relies on, and when that was read.
    pub precondition: Precondition,
    /// The tier under which it is done.
    pub tier: AutonomyTier,
    /// The people whose approval it spends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spends: Vec<String>,
    /// The lease's epoch.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub epoch: u64,
    /// The halt epoch it was authorized in.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub halt_epoch: u64,
}

/// Why the gate said no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The rule of the kernel, as one word: `halted`, `locked`, `budget_target` ...
    pub rule: String,
    /// In words.
    pub because: String,
}

/// A raised fence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fenced {
    /// The step whose attempt is to be settled.
    pub step: StepRef,
    /// Tokens below this one must be refused from now on.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub token: u64,
}

/// A halt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Halted {
    /// Rises with every halt and resume.
    #[serde(with = "crate::wire::int53")]
    #[schemars(with = "u64")]
    pub epoch: u64,
    /// Who, or which way: `api`, `file` ...
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What the gate did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GateFact {
    /// It took the right to write.
    Claimed {
        /// Who.
        holder: PartName,
        /// The lease's epoch.
        #[serde(with = "crate::wire::int53")]
        #[schemars(with = "u64")]
        epoch: u64,
        /// The journal's own name, given by its first claim: every idempotency key contains it, so that a new journal repeats no key
        /// of another.
        journal: Digest,
    },
    /// It wrote down where everything stands.
    Checkpoint(Box<Checkpoint>),
    /// It made an intention durable and minted a permit.
    Intent(Intent),
    /// It said no.
    Refused {
        /// Which step.
        step: StepRef,
        /// Do or undo.
        direction: Direction,
        /// The target's state as it was read.
        precondition: Precondition,
        /// Why not: every reason.
        refusals: Vec<Refusal>,
    },
    /// It minted a fence.
    Fenced(Fenced),
    /// Nothing acts any more.
    Halted(Halted),
    /// Acting is possible again.
    Resumed {
        /// Rises with every halt and resume.
        #[serde(with = "crate::wire::int53")]
        #[schemars(with = "u64")]
        epoch: u64,
        /// Who.
        by: Vec<Person>,
        /// Why.
        reason: String,
    },
}

impl From<Event> for Body {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

impl From<Fact> for Body {
    fn from(fact: Fact) -> Self {
        Self::Fact(fact)
    }
}

impl From<GateFact> for Body {
    fn from(fact: GateFact) -> Self {
        Self::Gate(fact)
    }
}
