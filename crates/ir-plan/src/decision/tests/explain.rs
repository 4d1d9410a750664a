//! Tests of the words of a decision.

use ir_core::{AutonomyTier, Provenance};

use super::{Facts, rules};
use crate::samples;

fn nearest(confidence: f64, lines: &[&str]) -> Option<String> {
    Facts { confidence: samples::share(confidence), ..Facts::new() }.decide(&rules(lines)).nearest
}

const PERMIT: &str = "restart permit when = { min_confidence = 0.6 }";

#[test]
fn the_nearest_change_names_the_rule_and_the_amount() {
    // One row a direction: a permit out of reach, a permit that fits, a denial that fits, a denial out of reach.
    let table = [
        (
            0.35,
            &[PERMIT][..],
            "with 0.25 more confidence rule `restart` would have permitted it: then allow (now: deny)",
        ),
        (
            0.85,
            &[PERMIT],
            "with a little over 0.25 less confidence rule `restart` would not have permitted it: then deny (now: allow)",
        ),
        (
            0.1,
            &["all permit", "shy deny when = { below_confidence = 0.5 }"],
            "with 0.4 more confidence rule `shy` would not have denied it: then allow (now: deny)",
        ),
        (
            0.5,
            &["all permit", "shy deny when = { below_confidence = 0.5 }"],
            "with the least bit less confidence rule `shy` would have denied it: then deny (now: allow)",
        ),
        (
            0.9,
            &["all permit", "ask require_approval when = { below_confidence = 0.7 }"],
            "with a little over 0.2 less confidence rule `ask` would have wanted it approved: \
             then require approval by 1 of anyone (now: allow)",
        ),
    ];
    for (confidence, lines, words) in table {
        assert_eq!(nearest(confidence, lines).as_deref(), Some(words));
    }
}

#[test]
fn a_small_amount_is_not_rounded_to_nothing() {
    let words = nearest(0.599, &[PERMIT]).unwrap();
    assert!(words.starts_with("with 0.001 more confidence"), "{words}");
}

#[test]
fn of_several_changes_the_least_is_named() {
    let far = "far permit when = { min_confidence = 0.9 }";
    let near = "near permit when = { min_confidence = 0.55 }";
    let words = nearest(0.5, &[far, PERMIT, near]).unwrap();
    assert!(words.contains("`near`") && words.contains("0.05 more"), "{words}");
}

#[test]
fn a_rule_that_would_not_change_the_verdict_is_not_named() {
    // The denial stands at every confidence, so more of it would not have helped.
    assert_eq!(nearest(0.5, &[PERMIT, "never deny"]), None);
    // The lower bound is nearer, but another rule permits it at that confidence as well.
    let words = nearest(0.65, &[PERMIT, "other permit when = { min_confidence = 0.3 }"]).unwrap();
    assert!(words.contains("`other`") && words.contains("0.35 less"), "{words}");
    // No rule asks for confidence.
    assert_eq!(nearest(0.5, &["all permit"]), None);
}

#[test]
fn a_decision_reads_as_it_is_meant() {
    let policy = rules(&[
        "restart-services permit when = { actions = [\"restart\"], min_confidence = 0.6 }",
        "night-watch require_approval quorum = { sre = 1 }",
        "never-databases deny when = { kinds = [\"database\"] }",
    ]);
    let mut facts = Facts::new();
    facts.entity.protected = true;
    let lines = |facts: &Facts| {
        let decision = facts.decide(&policy);
        let votes = decision.votes.iter().map(|vote| format!("{}: {} ({})", vote.by, vote.verdict, vote.because));
        [decision.verdict.to_string()].into_iter().chain(votes).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(&facts),
        [
            "require approval by 1 of anyone and 1 of sre",
            "rule night-watch: require approval by 1 of sre (rule `night-watch` wants it approved)",
            "rule restart-services: allow (rule `restart-services` permits it)",
            "tier: allow (tier T4 acts and tells: the policy's tier)",
            "protected: require approval by 1 of anyone (`web` is protected: a person must approve, always)",
        ]
    );
    facts.entity = ir_core::Entity { kind: "database".to_owned(), ..facts.entity };
    assert_eq!(lines(&facts)[0], "deny");
}

#[test]
fn the_tier_says_where_it_comes_from() {
    let because = |facts: &Facts, lines: &[&str]| {
        let votes = facts.decide(&rules(lines)).votes;
        votes.into_iter().find(|vote| vote.by == "tier").unwrap().because
    };
    let facts = Facts::new();
    assert!(because(&facts, &["all permit"]).ends_with("the policy's tier"));
    assert!(because(&facts, &["all permit tier = \"veto\""]).ends_with("the most that the permitting rules give"));
    let model = Facts { provenance: Provenance::Model { name: "m".to_owned() }, ..facts };
    assert!(because(&model, &["all permit"]).ends_with("the most that a plan by model m may have"));
    let observing = rules(&["all permit"]).with_tier(AutonomyTier::Observe).unwrap();
    assert!(model.decide(&observing).votes.iter().any(|vote| vote.because.starts_with("tier T0 observes only")));
}
