//! Deciding: every rule, cap and freeze has a vote, and the most restrictive wins.

use ir_core::decision::ANYONE;
use ir_core::document::Places;
use ir_core::journal::canonical;
use ir_core::kernel::Limits;
use ir_core::{
    ActionSpec, AutonomyTier, Call, Classification, ConfigError, Decision, Digest, Entity, Findings, Probability,
    Problem, Provenance, Quorum, Reversibility, StepRef, Timestamp, Verdict, Vocabulary, Vote, document,
};
use serde::{Deserialize, Serialize};

use super::document::{PolicyDocument, RuleDocument};
use super::explain;
use super::names;
use super::rule::{Effect, Fit};

/// Everything a decision may rest on.
#[derive(Debug, Clone, Copy)]
pub struct DecisionInput<'a> {
    /// The step.
    pub step: &'a StepRef,
    /// The plan, exactly.
    pub plan_digest: Digest,
    /// What would be done.
    pub call: &'a Call,
    /// What the catalogue says of the action.
    pub spec: &'a ActionSpec,
    /// What the topology says of the target.
    pub entity: &'a Entity,
    /// What the incident is, if that is known.
    pub classification: Option<&'a Classification>,
    /// How sure the plan is.
    pub confidence: Probability,
    /// Who made the plan.
    pub provenance: &'a Provenance,
    /// The wall time, for freeze windows.
    pub now: Timestamp,
}

/// A checked policy.
///
/// # Examples
///
/// The policy of nothing at all observes:
///
/// ```
/// use ir_core::AutonomyTier;
/// use ir_plan::decision::Policy;
///
/// assert_eq!(Policy::parse("", "policy.toml")?.tier(), AutonomyTier::Observe);
/// # Ok::<(), ir_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "PolicyDocument", into = "PolicyDocument")]
pub struct Policy {
    document: PolicyDocument,
    digest: Digest,
    written: Written,
}

/// What is known of the text of a policy. It does not decide anything.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) places: Places,
    /// Where in the document each rule stands; the rules themselves are sorted by name.
    pub(super) rule_index: Vec<usize>,
    /// Whether the tier was given, and is not only the default.
    pub(super) gives_tier: bool,
    /// What is doubtful by itself.
    pub(super) warnings: Vec<Problem>,
}

/// Policies that decide alike are equal, wherever they were written.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl Eq for Policy {}

impl TryFrom<PolicyDocument> for Policy {
    type Error = ConfigError;
    fn try_from(document: PolicyDocument) -> Result<Self, ConfigError> {
        Self::new(document)
    }
}

impl From<Policy> for PolicyDocument {
    fn from(policy: Policy) -> Self {
        policy.document
    }
}

impl Policy {
    /// Checks the document.
    ///
    /// # Errors
    ///
    /// All problems at once.
    pub fn new(document: PolicyDocument) -> Result<Self, ConfigError> {
        Self::at(document, &Places::default())
    }

    fn at(mut document: PolicyDocument, places: &Places) -> Result<Self, ConfigError> {
        let problems = document.problems();
        if !problems.is_empty() {
            return Err(ConfigError::of(problems));
        }
        let limits = Limits::default().tighten(&document.limits);
        let warnings = names::doubts(&document, &limits, places);
        document.limits = limits;
        let mut rules: Vec<(usize, RuleDocument)> = document.rule.into_iter().enumerate().collect();
        rules.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        let rule_index;
        (rule_index, document.rule) = rules.into_iter().unzip();
        let gives_tier = places.has("tier").unwrap_or(true);
        let written = Written { places: places.clone(), rule_index, gives_tier, warnings };
        Ok(Self { digest: digest(&document)?, document, written })
    }

    /// Reads TOML or JSON; `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its line and field.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        document::read_with_places(text, origin, Self::at)
    }

    /// The same policy with another highest tier.
    ///
    /// # Errors
    ///
    /// Never for a policy that was checked before.
    pub fn with_tier(&self, tier: AutonomyTier) -> Result<Self, ConfigError> {
        let document = PolicyDocument { tier, ..self.document.clone() };
        let written = Written { gives_tier: true, ..self.written.clone() };
        Ok(Self { digest: digest(&document)?, document, written })
    }

    /// The highest tier of all.
    #[must_use]
    pub const fn tier(&self) -> AutonomyTier {
        self.document.tier
    }

    /// Whether the document gives the tier. One that does not observes, which is easily overlooked.
    #[must_use]
    pub const fn gives_tier(&self) -> bool {
        self.written.gives_tier
    }

    /// Where its fields stand, if it was read from a document.
    #[must_use]
    pub const fn places(&self) -> &Places {
        &self.written.places
    }

    /// The limits, never looser than the kernel's own.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.document.limits
    }

    /// The digest of the canonical form, rules sorted by name.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The rules, by name.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &RuleDocument> {
        self.document.rule.iter()
    }

    /// The document, rules sorted by name.
    #[must_use]
    pub const fn document(&self) -> &PolicyDocument {
        &self.document
    }

    /// What is wrong and what is doubtful with it in an installation that has these names, and those of its own `[vocabulary]`.
    ///
    /// A name that nothing has fits nothing. In a `deny`, a `require_approval` or a freeze it is an error, because what was to be
    /// stopped would run. In a `permit` a kind, an environment or a class that nothing has is a warning; an action or a target is
    /// an error there, too. Where entities come and go, targets that are not there now are a warning everywhere, with their number.
    #[must_use]
    pub fn check_against(&self, vocabulary: &Vocabulary) -> Findings {
        names::check(&self.document, &self.written, vocabulary)
    }

    /// Decides about one step. Never fails.
    #[must_use]
    pub fn decide(&self, input: &DecisionInput<'_>) -> Decision {
        let (votes, tier) = self.votes(input);
        let verdict = Decision::combine(&votes);
        let at_confidence = |confidence| Decision::combine(&self.votes(&DecisionInput { confidence, ..*input }).0);
        Decision {
            step: input.step.clone(),
            plan_digest: input.plan_digest,
            veto_ms: (tier == AutonomyTier::Veto).then(|| self.document.veto_window_secs.saturating_mul(1000)),
            approval_expires_ms: self.document.approval_expires_secs.saturating_mul(1000),
            nearest: explain::nearest(&self.document.rule, input, &verdict, at_confidence),
            verdict,
            tier,
            votes,
            policy: self.digest,
        }
    }

    /// Every voice, and the tier that is left.
    fn votes(&self, input: &DecisionInput<'_>) -> (Vec<Vote>, AutonomyTier) {
        let mut votes = Vec::new();
        let mut tier = self.document.tier.min(input.provenance.cap());
        let mut quorum = Quorum::of(ANYONE, 1);
        let mut permitted = false;
        for rule in &self.document.rule {
            match (rule.effect, rule.when.fit(input)) {
                (Effect::Permit, Fit::Yes) => {
                    permitted = true;
                    tier = tier.min(rule.tier.unwrap_or(AutonomyTier::Act));
                    quorum = rule.quorum.as_ref().map_or(quorum.clone(), |more| quorum.clone().and(more));
                    votes.push(vote(rule, Verdict::Allow, "permits it"));
                }
                (Effect::Permit, Fit::Missing) => {
                    // It might have fitted, and then it would have narrowed what the others permit. A missing fact never widens.
                    tier = tier.min(rule.tier.unwrap_or(AutonomyTier::Act));
                    quorum = rule.quorum.as_ref().map_or(quorum.clone(), |more| quorum.clone().and(more));
                }
                (Effect::Permit, _) => {}
                (Effect::Deny, Fit::Yes) => votes.push(vote(rule, Verdict::Deny, "denies it")),
                (Effect::Deny, Fit::Missing) => {
                    votes.push(vote(rule, Verdict::Deny, "would deny it, and what would tell is not known"));
                }
                (Effect::RequireApproval, Fit::Yes | Fit::Missing) => {
                    let quorum = rule.quorum.clone().unwrap_or_else(|| Quorum::of(ANYONE, 1));
                    votes.push(vote(rule, Verdict::RequireApproval { quorum }, "wants it approved"));
                }
                (Effect::Deny | Effect::RequireApproval, _) => {}
            }
        }
        if !permitted {
            votes.push(Vote {
                by: "default".to_owned(),
                verdict: Verdict::Deny,
                because: "no rule permits it".to_owned(),
            });
        }
        votes.extend(self.standing_votes(input, tier, &quorum));
        (votes, tier)
    }

    /// What speaks beside the rules: the tier, freeze windows, protected targets, what cannot be taken back.
    fn standing_votes(&self, input: &DecisionInput<'_>, tier: AutonomyTier, quorum: &Quorum) -> Vec<Vote> {
        let mut votes = Vec::new();
        let mut cast = |by: &str, verdict, because: String| votes.push(Vote { by: by.to_owned(), verdict, because });
        let verdict = match tier {
            AutonomyTier::Observe => Verdict::Observe,
            AutonomyTier::Recommend => Verdict::Recommend,
            AutonomyTier::Approve => Verdict::RequireApproval { quorum: quorum.clone() },
            AutonomyTier::Veto | AutonomyTier::Act => Verdict::Allow,
        };
        cast("tier", verdict, explain::tier(self.document.tier, tier, input.provenance));
        let one = || Quorum::of(ANYONE, 1);
        for freeze in &self.document.freeze {
            let here = freeze.environments.is_empty() || freeze.environments.contains(&input.entity.environment);
            if here && freeze.from <= input.now && input.now < freeze.until {
                let because = format!("until {} a person must approve", freeze.until);
                cast(&format!("freeze {}", freeze.name), Verdict::RequireApproval { quorum: one() }, because);
            }
        }
        if input.spec.changes_target && input.entity.protected {
            let because = format!("`{}` is protected: a person must approve, always", input.entity.id);
            cast("protected", Verdict::RequireApproval { quorum: one() }, because);
        }
        if input.spec.changes_target && input.spec.reversibility == Reversibility::Irreversible {
            let because = "it cannot be taken back: two people must approve, always".to_owned();
            cast("irreversible", Verdict::RequireApproval { quorum: Quorum::of(ANYONE, 2) }, because);
        }
        votes
    }
}

fn digest(document: &PolicyDocument) -> Result<Digest, ConfigError> {
    let bytes = canonical::to_bytes(document).map_err(|error| ConfigError::one(Problem::at("", error.message())))?;
    Ok(Digest::of(&bytes))
}

fn vote(rule: &RuleDocument, verdict: Verdict, says: &str) -> Vote {
    Vote { by: format!("rule {}", rule.name), verdict, because: format!("rule `{}` {says}", rule.name) }
}
