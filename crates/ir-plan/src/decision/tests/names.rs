//! Tests of the names in a policy: what forbids by a name that nothing has is refused, everything else of the kind is a warning.

use ir_core::{ClassName, Entity, Findings, Problem, Topology, TopologyDocument, Vocabulary};
use proptest::prelude::*;

use super::{Policy, policy, rules};
use crate::samples;

/// Workers and a database in production and staging, one action, two classes.
fn vocabulary() -> Vocabulary {
    let entity = |id: &str, kind: &str, environment: &str| Entity {
        kind: kind.to_owned(),
        environment: environment.to_owned(),
        ..Entity::service(samples::id(id))
    };
    let entity = vec![entity("jobs", "worker", "production"), entity("ledger", "database", "staging")];
    let topology = Topology::new(TopologyDocument { entity, dependency: Vec::new() }).unwrap();
    let classes = ["errors", "latency"].map(ClassName::literal);
    Vocabulary::new(&samples::catalogue(&["restart"]), &topology, classes)
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn check(policy: &Policy) -> Findings {
    policy.check_against(&vocabulary())
}

/// Each field of names: a name there is, a misspelt one, and one like none.
const FIELDS: [(&str, &str, &str, &str); 5] = [
    ("actions", "restart", "restrat", "shutdown"),
    ("targets", "ledger", "legder", "somebody"),
    ("kinds", "worker", "wroker", "appliance"),
    ("environments", "production", "Production", "somewhere"),
    ("classes", "errors", "error", "intrusion"),
];

#[test]
fn a_name_that_nothing_has_is_an_error_where_it_forbids_and_a_warning_where_it_only_does_not_permit() {
    for effect in ["deny", "require_approval", "permit"] {
        for (field, right, misspelt, strange) in FIELDS {
            // Actions and targets that there are not are an error in a permit as well.
            let is_error = effect != "permit" || matches!(field, "actions" | "targets");
            for wrong in [misspelt, strange] {
                // One row a form: alone, beside a name there is, and twice.
                for names in [vec![wrong], vec![right, wrong], vec![wrong, right, wrong]] {
                    let found = check(&rules(&[&format!("r {effect} when = {{ {field} = {names:?} }}")]));
                    let (all, none) =
                        if is_error { (found.errors, found.warnings) } else { (found.warnings, found.errors) };
                    let n_wrong = names.iter().filter(|name| **name == wrong).count();
                    assert_eq!(all.len(), n_wrong, "{effect} {field} {names:?}: {all:?}");
                    assert!(none.is_empty(), "{effect} {field} {names:?}: {none:?}");
                    for problem in all {
                        assert_eq!((problem.origin.as_deref(), problem.line), (Some("policy.toml"), Some(5)));
                        let at = names.iter().position(|name| *name == wrong).unwrap();
                        let last = names.len() - 1;
                        let fields = [at, last].map(|n| format!("rule[0].when.{field}[{n}]"));
                        assert!(fields.contains(&problem.field), "{problem}");
                        let hint = format!("did you mean `{right}`?");
                        assert_eq!(problem.message.contains(&hint), wrong == misspelt, "{problem}");
                    }
                }
            }
            let right = check(&rules(&[&format!("r {effect} when = {{ {field} = [{right:?}] }}")]));
            assert_eq!(right, Findings::default(), "{effect} {field}");
        }
    }
}

#[test]
fn a_freeze_of_an_environment_that_there_is_not_is_an_error() {
    let freeze = |environments: &str| {
        let text = format!(
            "[[freeze]]\nname = \"f\"\nfrom = \"2026-01-01T00:00:00Z\"\nuntil = \"2026-01-02T00:00:00Z\"\n{environments}\n"
        );
        check(&policy(&text))
    };
    let found = freeze("environments = [\"staging\", \"prodction\"]");
    let wanted = "policy.toml:5: `freeze[0].environments[1]`: freeze `f` guards nothing by this name: no entity runs in the \
                  environment `prodction`: did you mean `production`?";
    assert_eq!(lines(&found.errors), [wanted]);
    for sound in ["", "environments = []", "environments = [\"production\"]"] {
        assert_eq!(freeze(sound), Findings::default(), "{sound}");
    }
}

#[test]
fn the_line_is_that_of_the_document_although_rules_are_sorted() {
    let text = "tier = \"act\"\n[[rule]]\nname = \"z\"\neffect = \"deny\"\nwhen.kinds = [\"wroker\"]\n\
                [[rule]]\nname = \"a\"\neffect = \"deny\"\n[rule.when]\nkinds = [\n\"worker\",\n\"databse\",\n]\n";
    let wanted = [
        "policy.toml:12: `rule[1].when.kinds[1]`: rule `a` guards nothing by this name: no entity is of kind `databse`: \
         did you mean `database`?",
        "policy.toml:5: `rule[0].when.kinds[0]`: rule `z` guards nothing by this name: no entity is of kind `wroker`: \
         did you mean `worker`?",
    ];
    assert_eq!(lines(&check(&policy(text)).errors), wanted);
    // Another tier changes nothing of it, and in JSON it is the same.
    let observing = policy(text).with_tier(ir_core::AutonomyTier::Observe).unwrap();
    assert_eq!(lines(&check(&observing).errors), wanted);
    let json = "{\"rule\": [\n{\"name\": \"z\", \"effect\": \"deny\", \"when\": {\"kinds\":\n[\"wroker\"]}}]}";
    let found = check(&Policy::parse(json, "policy.json").unwrap());
    assert!(lines(&found.errors)[0].starts_with("policy.json:3: `rule[0].when.kinds[0]`: "), "{found:?}");
}

#[test]
fn what_the_policy_guards_in_advance_is_no_mistake() {
    for (field, right, _, strange) in FIELDS {
        let text = |effect: &str| {
            format!(
                "vocabulary = {{ {field} = [{strange:?}] }}\n[[rule]]\nname = \"r\"\neffect = {effect:?}\n\
                 when = {{ {field} = [{strange:?}, {right:?}] }}\n"
            )
        };
        for effect in ["deny", "require_approval", "permit"] {
            assert_eq!(check(&policy(&text(effect))), Findings::default(), "{effect} {field}");
        }
        // The vocabulary of one kind of names is not that of another.
        let other = if field == "kinds" { "environments" } else { "kinds" };
        let elsewhere =
            text("deny").replace(&format!("{{ {field} = [{strange:?}] }}"), &format!("{{ {other} = [{strange:?}] }}"));
        let found = check(&policy(&elsewhere));
        assert_eq!(found.errors.len(), 1, "{field}: {found:?}");
        assert!(found.errors[0].message.ends_with("a name that is guarded in advance belongs in `[vocabulary]`"));
    }
    let frozen = "[vocabulary]\nenvironments = [\"dr-site\"]\n[[freeze]]\nname = \"f\"\nfrom = \"2026-01-01T00:00:00Z\"\n\
                  until = \"2026-01-02T00:00:00Z\"\nenvironments = [\"dr-site\"]\n";
    assert_eq!(check(&policy(frozen)), Findings::default());
}

#[test]
fn a_vocabulary_that_repeats_the_misspelling_is_doubtful() {
    let text = |name: &str| format!("[vocabulary]\nenvironments = [{name:?}]\n");
    let found = check(&policy(&text("prodcution")));
    let wanted =
        "policy.toml:2: `vocabulary.environments[0]`: nothing is named `prodcution` yet: did you mean `production`?";
    assert_eq!(lines(&found.warnings), [wanted]);
    // What there is, what is like nothing, and what differs by a number only is no doubt.
    for name in ["production", "dr-site", "production2"] {
        assert_eq!(check(&policy(&text(name))), Findings::default(), "{name}");
    }
    let empty = Policy::parse("[vocabulary]\nkinds = [\"worker\", \" \"]\n", "p.toml").unwrap_err();
    assert_eq!(empty.to_string(), "p.toml:2: `vocabulary.kinds[1]`: must not be empty");
    let strange = Policy::parse("[vocabulary]\nkind = [\"worker\"]\n", "p.toml").unwrap_err();
    assert_eq!(strange.to_string(), "p.toml:2: `vocabulary.kind`: unknown field `kind`: did you mean `kinds`?");
}

#[test]
fn targets_that_come_and_go_are_counted_and_nothing_else_is_forgiven() {
    let changing = vocabulary().with_changing_entities();
    let policy = rules(&[
        "a deny when = { targets = [\"task-1\", \"jobs\", \"task-2\"], kinds = [\"wroker\"] }",
        "b permit when = { targets = [\"task-3\"] }",
    ]);
    let found = policy.check_against(&changing);
    let wanted = [
        "policy.toml:5: `rule[0].when.targets`: 2 of 3 targets are not there now: `task-1`, `task-2`",
        "policy.toml:9: `rule[1].when.targets`: 1 of 1 targets are not there now: `task-3`",
    ];
    assert_eq!(lines(&found.warnings), wanted);
    assert_eq!(found.errors.len(), 1, "{found:?}");
    assert!(found.errors[0].message.contains("`wroker`"));
}

#[test]
fn a_rule_without_when_and_an_empty_list_are_reported() {
    let found = check(&rules(&["a permit", "b deny when = {}", "c deny when = { kinds = [], provenance = [] }"]));
    let wanted = [
        "policy.toml:2: `rule[0]`: rule `a` has no `when`, so it fits every step; `when = {}` says so",
        "policy.toml:13: `rule[2].when.kinds`: is empty, so rule `c` fits any",
        "policy.toml:13: `rule[2].when.provenance`: is empty, so rule `c` fits any",
    ];
    assert_eq!(lines(&found.warnings), wanted);
    assert!(found.errors.is_empty());
}

#[test]
fn every_limit_that_is_looser_than_the_kernels_is_reported() {
    let looser = [
        ("group_percent", 100, 5),
        ("per_environment", 1000, 10),
        ("environment_window_ms", 1, 600_000),
        ("per_target_day", 1000, 3),
        ("unhealthy_percent", 100, 30),
        ("unhealthy_from", 1000, 4),
        ("attempts", 1000, 3),
        ("precondition_age_ms", 86_400_000, 10_000),
        ("resume_people", 0, 1),
    ];
    for (field, value, holds) in looser {
        let found = check(&policy(&format!("[limits]\n{field} = {value}\n")));
        let message = format!("{value} is looser than the kernel's own limit and has no effect: {holds} holds");
        assert_eq!(lines(&found.warnings), [format!("policy.toml:2: `limits.{field}`: {message}")]);
        // The kernel's own limit is not looser.
        assert_eq!(check(&policy(&format!("[limits]\n{field} = {holds}\n"))), Findings::default(), "{field}");
    }
    let tighter = "[limits]\nper_target_day = 1\nresume_people = 2\nenvironment_window_ms = 3600000\n";
    assert_eq!(check(&policy(tighter)), Findings::default());
}

#[test]
fn a_policy_knows_whether_its_tier_was_given() {
    assert!(!policy("").gives_tier());
    assert!(policy("tier = \"observe\"").gives_tier());
    assert!(policy("").with_tier(ir_core::AutonomyTier::Observe).unwrap().gives_tier());
}

proptest! {
    /// The kernel of the promise: whatever a deny names, either every name is one that something has, or it does not build.
    #[test]
    fn no_deny_with_a_name_that_nothing_has_is_accepted(
        field in 0_usize..5,
        names in prop::collection::vec(prop_oneof![Just("worker".to_owned()), "[a-z]{1,8}".prop_map(|name| name)], 1..4),
        ask in any::<bool>(),
    ) {
        let field = FIELDS[field].0;
        let effect = if ask { "require_approval" } else { "deny" };
        let policy = rules(&[&format!("r {effect} when = {{ {field} = {names:?} }}")]);
        let known = vocabulary();
        let (kind, ..) = match field {
            "actions" => (ir_core::NameKind::Action,),
            "targets" => (ir_core::NameKind::Entity,),
            "kinds" => (ir_core::NameKind::EntityKind,),
            "environments" => (ir_core::NameKind::Environment,),
            _ => (ir_core::NameKind::Class,),
        };
        let n_unknown = names.iter().filter(|name| !known.knows(kind, name)).count();
        prop_assert_eq!(policy.check_against(&known).errors.len(), n_unknown);
    }
}
