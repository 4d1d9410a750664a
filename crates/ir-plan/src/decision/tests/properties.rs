//! Properties over random policies and inputs.

use ir_core::{
    AutonomyTier, Call, Classification, Decision, Entity, Measured, Provenance, Quorum, Reversibility, RiskClass,
    Severity, Verdict,
};
use proptest::prelude::*;
use proptest::sample::select;

use super::super::{Condition, Effect, Freeze, Policy, PolicyDocument, RuleDocument};
use super::Facts;
use crate::classification::UNKNOWN;
use crate::samples;

const TIERS: [AutonomyTier; 5] =
    [AutonomyTier::Observe, AutonomyTier::Recommend, AutonomyTier::Approve, AutonomyTier::Veto, AutonomyTier::Act];
const SEVERITIES: [Severity; 4] = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

fn conditions() -> impl Strategy<Value = Condition> {
    let maybe_share = || prop::option::of((0u32..=10).prop_map(|tenths| Measured(f64::from(tenths) / 10.0)));
    (
        prop::option::of(select(vec!["restart", "deploy"])),
        prop::option::of(select(vec!["service", "database"])),
        prop::option::of(select(vec!["unavailable", "errors"])),
        prop::option::of(select(SEVERITIES.to_vec())),
        maybe_share(),
        maybe_share(),
    )
        .prop_map(|(action, kind, class, min_severity, min_confidence, below_confidence)| Condition {
            actions: action.map(|name| samples::call(name, "x").action).into_iter().collect(),
            kinds: kind.map(str::to_owned).into_iter().collect(),
            classes: class.map(|name| samples::classification(name, 1.0).class).into_iter().collect(),
            min_severity,
            min_confidence,
            // The check would refuse a range in which nothing fits.
            below_confidence: below_confidence.filter(|below| min_confidence.is_none_or(|min| min.0 < below.0)),
            ..Condition::default()
        })
}

fn rules() -> impl Strategy<Value = Vec<RuleDocument>> {
    let effect = select(vec![Effect::Permit, Effect::Permit, Effect::RequireApproval, Effect::Deny]);
    let quorum = prop::option::of(("[ab]", 1u32..3).prop_map(|(role, count)| Quorum::of(role, count)));
    let rule = (effect, prop::option::of(select(TIERS.to_vec())), quorum, conditions());
    prop::collection::vec(rule, 0..6).prop_map(|rules| {
        let named = |(n, (effect, tier, quorum, when)): (usize, (Effect, _, Option<Quorum>, _))| RuleDocument {
            name: format!("r{n}"),
            effect,
            tier: if effect == Effect::Permit { tier } else { None },
            quorum: quorum.filter(|_| effect != Effect::Deny),
            when,
        };
        rules.into_iter().enumerate().map(named).collect()
    })
}

prop_compose! {
    fn documents()(rule in rules(), tier in select(TIERS.to_vec()), frozen in any::<bool>()) -> PolicyDocument {
        let freeze = Freeze {
            name: "f".to_owned(),
            from: samples::at(500),
            until: samples::at(1500),
            environments: Vec::new(),
        };
        PolicyDocument { tier, rule, freeze: frozen.then_some(freeze).into_iter().collect(), ..PolicyDocument::default() }
    }
}

prop_compose! {
    fn facts()(
        action in select(vec!["restart", "deploy"]),
        kind in select(vec!["service", "database"]),
        class in prop::option::of((select(vec!["unavailable", "errors"]), select(SEVERITIES.to_vec()))),
        confidence in 0.0..=1.0,
        by in 0..3,
        (protected, changes_target, irreversible) in any::<(bool, bool, bool)>(),
        secs in 0i64..2000,
    ) -> Facts {
        let mut spec = samples::spec(action);
        spec.changes_target = changes_target;
        spec.risk = RiskClass::Medium;
        if irreversible {
            spec.reversibility = Reversibility::Irreversible;
        }
        let provenance = match by {
            0 => Provenance::Reasoner,
            1 => Provenance::Model { name: "m".to_owned() },
            _ => Provenance::Playbook { name: "p".to_owned(), version: 1 },
        };
        let classification = class.map(|(class, severity)| {
            Classification { severity, ..samples::classification(class, 0.9) }
        });
        Facts {
            call: Call { ..samples::call(action, "web") },
            spec,
            entity: Entity { kind: kind.to_owned(), protected, ..Entity::service(samples::id("web")) },
            classification,
            confidence: samples::share(confidence),
            provenance,
            now: samples::at(secs),
            ..Facts::new()
        }
    }
}

/// Whether `less` permits no more than `more`: neither its verdict nor the people it asks.
fn no_more_than(less: &Verdict, more: &Verdict) -> bool {
    let quorums = match (less, more) {
        (Verdict::RequireApproval { quorum: a }, Verdict::RequireApproval { quorum: b }) => a.clone().and(b) == *a,
        _ => true,
    };
    less.at_most(more) && quorums
}

proptest! {
    #[test]
    fn a_lower_tier_never_permits_more(document in documents(), facts in facts()) {
        let policy = Policy::new(document).unwrap();
        for pair in TIERS.windows(2) {
            let (low, high) = (policy.with_tier(pair[0]).unwrap(), policy.with_tier(pair[1]).unwrap());
            let (low, high) = (facts.decide(&low), facts.decide(&high));
            prop_assert!(no_more_than(&low.verdict, &high.verdict), "{} over {}", low.verdict, high.verdict);
            prop_assert!(low.tier <= high.tier);
        }
    }

    #[test]
    fn the_order_of_rules_changes_nothing(document in documents(), facts in facts(), turn in 0usize..6) {
        let policy = Policy::new(document.clone()).unwrap();
        let mut other = document;
        let n = other.rule.len().max(1);
        other.rule.rotate_left(turn % n);
        other.rule.reverse();
        let other = Policy::new(other).unwrap();
        prop_assert_eq!(policy.digest(), other.digest());
        prop_assert_eq!(facts.decide(&policy), facts.decide(&other));
    }

    #[test]
    fn a_forgotten_classification_never_permits_more(document in documents(), facts in facts()) {
        let policy = Policy::new(document).unwrap();
        let known = facts.verdict(&policy);
        let unknown = Facts { classification: None, ..facts }.verdict(&policy);
        prop_assert!(unknown.at_most(&known), "{unknown} over {known}");
    }

    #[test]
    fn a_class_nobody_could_tell_never_permits_more(document in documents(), facts in facts()) {
        let policy = Policy::new(document).unwrap();
        let known = facts.verdict(&policy);
        let untold = facts.classification.clone().map(|of| Classification { class: samples::classification(UNKNOWN, 0.0).class, ..of });
        let unknown = Facts { classification: untold, ..facts }.verdict(&policy);
        prop_assert!(unknown.at_most(&known), "{unknown} over {known}");
    }

    #[test]
    fn one_more_denial_or_request_never_permits_more(
        document in documents(),
        when in conditions(),
        denies in any::<bool>(),
        facts in facts(),
    ) {
        let effect = if denies { Effect::Deny } else { Effect::RequireApproval };
        let more = RuleDocument { name: "one more".to_owned(), effect, tier: None, quorum: None, when };
        let before = facts.verdict(&Policy::new(document.clone()).unwrap());
        let rule = document.rule.iter().cloned().chain([more]).collect();
        let after = facts.verdict(&Policy::new(PolicyDocument { rule, ..document }).unwrap());
        prop_assert!(no_more_than(&after, &before), "{after} over {before}");
    }

    #[test]
    fn the_verdict_follows_from_the_votes_and_a_policy_survives_its_text(document in documents(), facts in facts()) {
        let policy = Policy::new(document).unwrap();
        let decision = facts.decide(&policy);
        prop_assert_eq!(&Decision::combine(&decision.votes), &decision.verdict);
        let text = serde_json::to_string(&policy).unwrap();
        let again: Policy = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(again.digest(), policy.digest());
        prop_assert_eq!(facts.decide(&again), decision);
        prop_assert_eq!(Policy::parse(&text, "policy.json").unwrap(), policy);
    }

    #[test]
    fn the_nearest_change_is_none_or_changes_the_verdict(document in documents(), facts in facts()) {
        let policy = Policy::new(document).unwrap();
        let decision = facts.decide(&policy);
        let every = (0..=100u32).map(|hundredths| samples::share(f64::from(hundredths) / 100.0));
        let changes = every.filter(|confidence| {
            Facts { confidence: *confidence, ..facts.clone() }.verdict(&policy) != decision.verdict
        });
        // Bounds lie on whole tenths, so some hundredth shows every change there is.
        prop_assert_eq!(decision.nearest.is_some(), changes.count() > 0, "{:?}", decision.nearest);
    }
}
