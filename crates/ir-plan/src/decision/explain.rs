//! Verdicts in words, and what would have changed them.

use ir_core::{AutonomyTier, Probability, Provenance, Verdict};

use super::document::RuleDocument;
use super::engine::DecisionInput;
use super::rule::{Effect, Fit, limit};

pub(super) fn tier(ceiling: AutonomyTier, tier: AutonomyTier, provenance: &Provenance) -> String {
    let what = match tier {
        AutonomyTier::Observe => "observes only",
        AutonomyTier::Recommend => "recommends only",
        AutonomyTier::Approve => "acts after approval",
        AutonomyTier::Veto => "acts unless somebody objects",
        AutonomyTier::Act => "acts and tells",
    };
    let why = if tier == ceiling {
        "the policy's tier".to_owned()
    } else if tier == provenance.cap() {
        format!("the most that a plan by {provenance} may have")
    } else {
        "the most that the permitting rules give".to_owned()
    };
    format!("tier {} {what}: {why}", tier.short())
}

/// The least change of confidence that would have changed the verdict, and the rule that it turns on, in words; `None` where
/// no change of confidence does. `at_confidence` decides the same step again at another confidence.
pub(super) fn nearest(
    rules: &[RuleDocument],
    input: &DecisionInput<'_>,
    verdict: &Verdict,
    at_confidence: impl Fn(Probability) -> Verdict,
) -> Option<String> {
    let mut ways: Vec<Way<'_>> = rules.iter().flat_map(|rule| ways(rule, input)).collect();
    // A stable sort: equally near ones keep the order of the rules.
    ways.sort_by_key(|way| (way.by, !way.turns));
    ways.into_iter().find_map(|way| {
        let then = at_confidence(way.to);
        (then != *verdict).then(|| format!("{}: then {then} (now: {verdict})", way.text(input)))
    })
}

/// A confidence at which one rule would begin or cease to speak.
struct Way<'a> {
    rule: &'a RuleDocument,
    to: Probability,
    by: Probability,
    speaks: bool,
    /// Whether this rule itself says something else there than now; if not, the verdict turns on several rules together.
    turns: bool,
}

/// The ways over the bounds of one rule.
fn ways<'a>(rule: &'a RuleDocument, input: &DecisionInput<'_>) -> Vec<Way<'a>> {
    let bounds = [rule.when.min_confidence, rule.when.below_confidence];
    bounds
        .into_iter()
        .flatten()
        .filter_map(|bound| {
            let to = across(input.confidence, limit(bound))?;
            let by = to.saturating_sub(input.confidence).max(input.confidence.saturating_sub(to));
            let (now, then) = (rule.when.fit(input), rule.when.fit(&DecisionInput { confidence: to, ..*input }));
            Some(Way { rule, to, by, speaks: then == Fit::Yes, turns: now != then })
        })
        .collect()
}

/// The nearest confidence on the other side of `bound`, where sides are "below" and "at least".
fn across(confidence: Probability, bound: Probability) -> Option<Probability> {
    if confidence < bound {
        return Some(bound);
    }
    // Nothing lies below a bound of 0.
    Probability::from_millionths(bound.millionths().checked_sub(1)?).ok()
}

impl Way<'_> {
    fn text(&self, input: &DecisionInput<'_>) -> String {
        let amount = if self.to > input.confidence {
            format!("{} more", exact(self.by))
        } else {
            // Just below the bound: people read the distance to the bound itself.
            match self.by.millionths() {
                0 | 1 => "the least bit less".to_owned(),
                millionths => Probability::from_millionths(millionths - 1)
                    .map_or_else(|_| exact(self.by), |by| format!("a little over {} less", exact(by))),
            }
        };
        if !self.turns {
            return format!("with {amount} confidence, at a bound of rule `{}`,", self.rule.name);
        }
        let says = match self.rule.effect {
            Effect::Permit => "permitted it",
            Effect::RequireApproval => "wanted it approved",
            Effect::Deny => "denied it",
        };
        let not = if self.speaks { "" } else { "not " };
        format!("with {amount} confidence rule `{}` would {not}have {says}", self.rule.name)
    }
}

/// As many digits as it has: an amount that is rounded to nothing helps nobody.
fn exact(amount: Probability) -> String {
    let text = format!("{amount:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
