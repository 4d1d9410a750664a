//! What a policy says, case by case.

use ir_core::decision::ANYONE;
use ir_core::{AutonomyTier, Provenance, Quorum, Reversibility, Severity, Verdict};

use super::{Facts, Policy, policy, rules};
use crate::samples;

fn approval(role: &str, count: u32) -> Verdict {
    Verdict::RequireApproval { quorum: Quorum::of(role, count) }
}

#[test]
fn what_no_rule_permits_is_denied() {
    let facts = Facts::new();
    // No rule at all; a rule for something else; a rule that only asks for approval.
    for lines in [&[][..], &["other permit when = { actions = [\"deploy\"] }"], &["ask require_approval"]] {
        let decision = facts.decide(&rules(lines));
        assert_eq!(decision.verdict, Verdict::Deny, "{lines:?}");
        assert!(decision.votes.iter().any(|vote| vote.by == "default"), "{lines:?}");
    }
    assert_eq!(facts.verdict(&rules(&["all permit"])), Verdict::Allow);
}

#[test]
fn deny_wins_in_any_order() {
    let lines = ["a permit", "b deny when = { kinds = [\"service\"] }", "c require_approval", "d permit"];
    for shift in 0..lines.len() {
        let mut turned = lines;
        turned.rotate_left(shift);
        assert_eq!(Facts::new().verdict(&rules(&turned)), Verdict::Deny, "{turned:?}");
        turned.reverse();
        assert_eq!(Facts::new().verdict(&rules(&turned)), Verdict::Deny, "{turned:?}");
    }
}

#[test]
fn each_tier_has_its_verdict() {
    let open = rules(&["all permit"]);
    let table = [
        (AutonomyTier::Observe, Verdict::Observe, None),
        (AutonomyTier::Recommend, Verdict::Recommend, None),
        (AutonomyTier::Approve, approval(ANYONE, 1), None),
        // The window of 60 s that the policy has unless it says otherwise.
        (AutonomyTier::Veto, Verdict::Allow, Some(60_000)),
        (AutonomyTier::Act, Verdict::Allow, None),
    ];
    for (tier, verdict, veto_ms) in table {
        let decision = Facts::new().decide(&open.with_tier(tier).unwrap());
        assert_eq!((decision.verdict, decision.tier, decision.veto_ms), (verdict, tier, veto_ms));
        assert_eq!(decision.approval_expires_ms, 900_000);
    }
}

#[test]
fn a_policy_that_says_nothing_observes_and_permits_nothing() {
    let decision = Facts::new().decide(&Policy::parse("", "policy.toml").unwrap());
    assert_eq!((decision.verdict, decision.tier), (Verdict::Deny, AutonomyTier::Observe));
}

#[test]
fn the_lowest_tier_of_all_permitting_rules_counts() {
    let both = rules(&["a permit tier = \"act\"", "b permit tier = \"recommend\"", "c permit"]);
    let decision = Facts::new().decide(&both);
    assert_eq!((decision.verdict, decision.tier), (Verdict::Recommend, AutonomyTier::Recommend));
}

#[test]
fn a_model_needs_approval_always() {
    let open = rules(&["all permit tier = \"act\""]);
    let facts = Facts { provenance: Provenance::Model { name: "some-model".to_owned() }, ..Facts::new() };
    let decision = facts.decide(&open);
    assert_eq!((decision.verdict, decision.tier), (approval(ANYONE, 1), AutonomyTier::Approve));
    // Lower tiers stay what they are.
    assert_eq!(facts.verdict(&open.with_tier(AutonomyTier::Recommend).unwrap()), Verdict::Recommend);
    let facts = Facts { provenance: Provenance::Reasoner, ..Facts::new() };
    assert_eq!(facts.verdict(&open), Verdict::Allow);
}

#[test]
fn protected_targets_need_a_person_and_what_cannot_be_taken_back_two() {
    let open = rules(&["all permit"]);
    let mut facts = Facts::new();
    facts.entity.protected = true;
    assert_eq!(facts.verdict(&open), approval(ANYONE, 1));
    facts.spec.reversibility = Reversibility::Irreversible;
    assert_eq!(facts.verdict(&open), approval(ANYONE, 2));
    facts.entity.protected = false;
    assert_eq!(facts.verdict(&open), approval(ANYONE, 2));
    // What only looks harms nobody.
    facts.spec.changes_target = false;
    facts.entity.protected = true;
    assert_eq!(facts.verdict(&open), Verdict::Allow);
}

#[test]
fn in_a_freeze_a_person_must_approve() {
    let freezing = |environments: &str| {
        policy(&format!(
            "tier = \"act\"\n[[rule]]\nname = \"all\"\neffect = \"permit\"\n[[freeze]]\nname = \"sale\"\n\
             from = \"1970-01-01T00:16:40Z\"\nuntil = \"1970-01-01T00:33:20Z\"\nenvironments = {environments}\n"
        ))
    };
    let everywhere = freezing("[]");
    // The first moment is within, the last is not.
    let table =
        [(999, Verdict::Allow), (1000, approval(ANYONE, 1)), (1999, approval(ANYONE, 1)), (2000, Verdict::Allow)];
    for (secs, verdict) in table {
        let facts = Facts { now: samples::at(secs), ..Facts::new() };
        assert_eq!(facts.verdict(&everywhere), verdict, "second {secs}");
    }
    assert_eq!(Facts::new().verdict(&freezing("[\"default\"]")), approval(ANYONE, 1));
    assert_eq!(Facts::new().verdict(&freezing("[\"staging\"]")), Verdict::Allow);
}

#[test]
fn a_missing_classification_narrows() {
    let facts = Facts { classification: None, ..Facts::new() };
    // Whatever asks for class or severity cannot be told.
    for when in ["classes = [\"unavailable\"]", "min_severity = \"low\"", "max_severity = \"critical\""] {
        let rule = |name: &str, effect: &str| format!("{name} {effect} when = {{ {when} }}");
        let (permit, deny, ask) = (rule("p", "permit"), rule("d", "deny"), rule("r", "require_approval"));
        assert_eq!(facts.verdict(&rules(&[&permit])), Verdict::Deny, "{when}");
        assert_eq!(facts.verdict(&rules(&["all permit", &deny])), Verdict::Deny, "{when}");
        assert_eq!(facts.verdict(&rules(&["all permit", &ask])), approval(ANYONE, 1), "{when}");
    }
    // A rule that another fact rules out does not fit, known class or not.
    let elsewhere = "d deny when = { classes = [\"unavailable\"], targets = [\"db\"] }";
    assert_eq!(facts.verdict(&rules(&["all permit", elsewhere])), Verdict::Allow);
    assert_eq!(facts.verdict(&rules(&["all permit"])), Verdict::Allow);
}

#[test]
fn quorums_add_up() {
    let facts = Facts::new();
    let asks = ["all permit", "dba require_approval quorum = { dba = 2 }"];
    assert_eq!(facts.verdict(&rules(&asks)), approval("dba", 2));
    let two = rules(&[asks[0], asks[1], "lead require_approval quorum = { lead = 1, dba = 1 }"]);
    assert_eq!(
        facts.verdict(&two),
        Verdict::RequireApproval { quorum: Quorum::of("dba", 2).and(&Quorum::of("lead", 1)) }
    );
    // A permit's own quorum counts where the tier asks people, beside the one person who is asked in any case.
    let permit = rules(&["all permit quorum = { sre = 1 }\ntier = \"approve\""]);
    assert_eq!(
        facts.verdict(&permit),
        Verdict::RequireApproval { quorum: Quorum::of("sre", 1).and(&Quorum::of(ANYONE, 1)) }
    );
}

#[test]
fn every_field_of_a_condition_is_asked() {
    // One row a field: what fits the facts, and what does not.
    let table = [
        ("actions = [\"restart\"]", "actions = [\"deploy\"]"),
        ("targets = [\"db\", \"web\"]", "targets = [\"db\"]"),
        ("kinds = [\"service\"]", "kinds = [\"host\"]"),
        ("environments = [\"default\"]", "environments = [\"production\"]"),
        ("classes = [\"unavailable\"]", "classes = [\"errors\"]"),
        ("provenance = [\"playbook\"]", "provenance = [\"model\", \"reasoner\"]"),
        ("reversibility = [\"transient\"]", "reversibility = [\"undo\", \"irreversible\"]"),
        ("min_severity = \"high\"", "min_severity = \"critical\""),
        ("max_severity = \"high\"", "max_severity = \"medium\""),
        ("min_confidence = 0.8", "min_confidence = 0.800001"),
        ("below_confidence = 0.800001", "below_confidence = 0.8"),
        ("max_risk = \"low\"", "min_risk = \"medium\""),
        ("min_risk = \"low\"", "min_risk = \"high\""),
        ("max_blast_radius = 1", "max_blast_radius = 0"),
        ("min_blast_radius = 1", "min_blast_radius = 2"),
    ];
    for (fits, does_not) in table {
        let with = |when: &str| Facts::new().verdict(&rules(&[&format!("r permit when = {{ {when} }}")]));
        assert_eq!(with(fits), Verdict::Allow, "{fits}");
        assert_eq!(with(does_not), Verdict::Deny, "{does_not}");
    }
    let mut facts = Facts::new();
    facts.classification.as_mut().unwrap().severity = Severity::Low;
    assert_eq!(facts.verdict(&rules(&["r permit when = { min_severity = \"medium\" }"])), Verdict::Deny);
}
