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

/// The rule whose say would change with the least change of confidence, in words.
pub(super) fn nearest(rules: &[RuleDocument], input: &DecisionInput<'_>, verdict: &Verdict) -> Option<String> {
    let distance = |bound: Probability| {
        let up = bound.saturating_sub(input.confidence);
        let down = input.confidence.saturating_sub(bound);
        up.max(down)
    };
    let mut best: Option<(Probability, String)> = None;
    let mut consider = |by: Probability, text: String| {
        if best.as_ref().is_none_or(|(least, _)| by < *least) {
            best = Some((by, text));
        }
    };
    for rule in rules {
        let says = match rule.effect {
            Effect::Permit => "permitted it",
            Effect::RequireApproval => "wanted it approved",
            Effect::Deny => "denied it",
        };
        let fit = rule.when.fit(input);
        if let Some(min) = rule.when.min_confidence.map(limit) {
            let by = distance(min);
            match fit {
                Fit::NotConfident if input.confidence < min => {
                    consider(by, format!("with {by} more confidence rule `{}` would have {says}", rule.name));
                }
                Fit::Yes => {
                    let less =
                        format!("with a little over {by} less confidence rule `{}` would not have {says}", rule.name);
                    consider(by, less);
                }
                _ => {}
            }
        }
        if let Some(below) = rule.when.below_confidence.map(limit) {
            let by = distance(below);
            match fit {
                Fit::NotConfident if input.confidence >= below => {
                    let less =
                        format!("with a little over {by} less confidence rule `{}` would have {says}", rule.name);
                    consider(by, less);
                }
                Fit::Yes => {
                    consider(by, format!("with {by} more confidence rule `{}` would not have {says}", rule.name));
                }
                _ => {}
            }
        }
    }
    best.map(|(_, text)| format!("{text} (now: {verdict})"))
}
