//! Tests of policies as documents: every mistake at once, and nothing that makes reading one fail badly.

use ir_core::kernel::Limits;
use ir_core::{AutonomyTier, ConfigError, Topology, document};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Policy, policy, rules, text};
use crate::plan::Playbooks;

fn problems(text: &str) -> Vec<String> {
    let error = Policy::parse(text, "p.toml").expect_err("the document has mistakes");
    error.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_of_form_is_found_at_once_with_line_and_field() {
    let text = r#"tier = "act"
[[rule]]
name = "a"
effect = "allow"
[[rule]]
name = "b"
effect = "permit"
when = { min_confidence = true }
[[rule]]
name = "c"
effect = "deny"
when = { kind = ["service"] }
[[rule]]
name = "d"
effect = "permit"
when = { max_blast_radius = -1 }
[[rule]]
name = "e"
effect = "permit"
when = { actions = ["re*"] }
[[rule]]
effect = "permit"
[[freeze]]
name = "f"
from = "tomorrow"
until = "2026-01-01T00:00:00Z"
"#;
    let found = problems(text);
    // One row a mistake: line and field, and a word of what is wrong.
    let wanted = [
        ("p.toml:4: `rule[0].effect`", "`allow` is none of `permit`, `require_approval`, `deny`"),
        ("p.toml:8: `rule[1].when.min_confidence`", "a number"),
        ("p.toml:12: `rule[2].when.kind`", "unknown field `kind`"),
        ("p.toml:16: `rule[3].when.max_blast_radius`", "-1"),
        ("p.toml:20: `rule[4].when.actions[0]`", "has the character '*'"),
        ("p.toml:21: `rule[5]`", "missing field `name`"),
        ("p.toml:25: `freeze[0].from`", "tomorrow"),
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (place, words) in wanted {
        assert!(found.iter().any(|p| p.starts_with(place) && p.contains(words)), "{place}: {words} in {found:#?}");
    }
}

#[test]
fn every_mistake_of_meaning_is_found_at_once_with_line_and_field() {
    let text = r#"approval_expires_secs = 0
veto_window_secs = 9223372036854775807
limits = { environment_window_ms = 86400001 }
[[freeze]]
name = "backwards"
from = "2026-01-02T00:00:00Z"
until = "2026-01-01T00:00:00Z"
[[rule]]
name = " "
effect = "permit"
[[rule]]
name = "same"
effect = "deny"
tier = "act"
quorum = { dba = 1 }
[[rule]]
name = "same"
effect = "require_approval"
quorum = {}
[rule.when]
min_confidence = "NaN"
below_confidence = 1.5
min_severity = "critical"
max_severity = "low"
min_risk = "high"
max_risk = "low"
min_blast_radius = 2
max_blast_radius = 1
[[rule]]
name = "nothing fits"
effect = "permit"
when = { min_confidence = 0.5, below_confidence = 0.5 }
[[rule]]
name = "out of range"
effect = "permit"
when = { min_confidence = -0.1, below_confidence = "+Inf" }
"#;
    let found = problems(text);
    let wanted = [
        "p.toml:1: `approval_expires_secs`: must be 1 to 31536000 (a year)",
        "p.toml:2: `veto_window_secs`: must be 1 to 31536000 (a year)",
        "p.toml:3: `limits.environment_window_ms`: must be at most 86400000 (a day): older changes are not counted",
        "p.toml:7: `freeze[0].until`: must be after `from`",
        "p.toml:9: `rule[0].name`: must not be empty",
        "p.toml:14: `rule[1].tier`: only a `permit` has a tier",
        "p.toml:15: `rule[1].quorum`: a `deny` cannot be approved",
        "p.toml:17: `rule[2].name`: `same` is the name of rule[1] already",
        "p.toml:19: `rule[2].quorum`: must name a role",
        "p.toml:21: `rule[2].when.min_confidence`: `NaN` is not within 0 and 1",
        "p.toml:22: `rule[2].when.below_confidence`: `1.5` is not within 0 and 1",
        "p.toml:23: `rule[2].when.min_severity`: is above `max_severity`: nothing can fit",
        "p.toml:25: `rule[2].when.min_risk`: is above `max_risk`: nothing can fit",
        "p.toml:27: `rule[2].when.min_blast_radius`: is above `max_blast_radius`: nothing can fit",
        "p.toml:32: `rule[3].when.min_confidence`: is not below `below_confidence`: nothing can fit",
        "p.toml:36: `rule[4].when.min_confidence`: `-0.1` is not within 0 and 1",
        "p.toml:36: `rule[4].when.below_confidence`: `+Inf` is not within 0 and 1",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn hostile_documents_are_refused_and_nothing_crashes() {
    let rule = |when: &str| text(&[&format!("r permit when = {{ {when} }}")]);
    let deep = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n));
    // One row a kind: floats that are no numbers, whole numbers beyond any, wrong types, not TOML, not JSON, too long,
    // nested too deeply in each of the ways there are.
    let table = [
        rule("min_confidence = nan"),
        rule("min_confidence = inf"),
        rule("min_confidence = 1e999"),
        rule("max_blast_radius = 99999999999999999999999"),
        rule("max_blast_radius = 4294967296"),
        rule("actions = \"restart\""),
        rule("actions = [1]"),
        rule(&format!("actions = [\"{}\"]", "x".repeat(257))),
        "rule = 1".to_owned(),
        "rule = { }".to_owned(),
        "[[rule]]\n[[rule]]\n".to_owned(),
        "tier = 'act".to_owned(),
        "tier = \"act\"\ntier = \"act\"".to_owned(),
        "{".to_owned(),
        "{\"tier\": \"act\",}".to_owned(),
        "\0".to_owned(),
        "x".repeat(document::MAX_DOCUMENT_BYTES + 1),
        format!("#{}", " ".repeat(document::MAX_DOCUMENT_BYTES)),
        format!("rule = {}", deep("[", "]", 100_000)),
        format!("{{\"rule\": {}}}", deep("[", "]", 100_000)),
        deep("{\"rule\":", "}", 100_000),
        format!("rule = {}1{}", "{a=".repeat(50_000), "}".repeat(50_000)),
        format!("rule{} = 1", ".a".repeat(100_000)),
        format!("[rule{}]", ".a".repeat(100_000)),
    ];
    for text in table {
        let error: ConfigError = Policy::parse(&text, "p.toml").unwrap_err();
        let start: String = text.chars().take(60).collect();
        assert!(!error.problems().is_empty(), "{start}");
        assert!(error.problems().iter().all(|p| p.origin.as_deref() == Some("p.toml")), "{start}: {error}");
    }
}

#[test]
fn a_policy_of_many_rules_is_read() {
    let many: Vec<String> = (0..200).map(|n| format!("r{n} permit when = {{ actions = [\"restart\"] }}")).collect();
    let lines: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(rules(&lines).rules().count(), 200);
}

#[test]
fn limits_only_tighten() {
    let own = Limits::default();
    let looser = policy(
        "[limits]\ngroup_percent = 100\nper_environment = 1000\nenvironment_window_ms = 1\nper_target_day = 1000\n\
         unhealthy_percent = 100\nunhealthy_from = 1000\nattempts = 1000\nprecondition_age_ms = 86400000\n\
         resume_people = 0\n",
    );
    assert_eq!(*looser.limits(), own);
    let tighter = policy("[limits]\nper_target_day = 1\nresume_people = 2\nenvironment_window_ms = 3600000\n");
    let wanted = Limits { per_target_day: 1, resume_people: 2, environment_window_ms: 3_600_000, ..own };
    assert_eq!(*tighter.limits(), wanted);
}

#[test]
fn the_digest_tells_policies_apart_but_not_the_order_of_their_rules() {
    let (a, b) = ("a permit", "b deny when = { kinds = [\"host\"] }");
    assert_eq!(rules(&[a, b]).digest(), rules(&[b, a]).digest());
    let others = [rules(&[a]), rules(&[a, "b deny"]), rules(&[a, b]).with_tier(AutonomyTier::Observe).unwrap()];
    for other in others {
        assert_ne!(rules(&[a, b]).digest(), other.digest());
    }
}

#[test]
fn another_tier_changes_the_tier_alone() {
    let act = rules(&["a permit", "b deny"]);
    let observe = act.with_tier(AutonomyTier::Observe).unwrap();
    assert_eq!((act.tier(), observe.tier()), (AutonomyTier::Act, AutonomyTier::Observe));
    assert_eq!(observe.with_tier(AutonomyTier::Act).unwrap(), act);
}

/// One document of each kind, with every field there is.
const SOUND: [(&str, &str); 3] = [
    (
        "policy",
        r#"{"tier": "act", "approval_expires_secs": 1, "veto_window_secs": 1,
            "limits": {"group_percent": 1, "per_environment": 1, "environment_window_ms": 600000, "per_target_day": 1,
                       "unhealthy_percent": 1, "unhealthy_from": 1, "attempts": 1, "precondition_age_ms": 1, "resume_people": 1},
            "vocabulary": {"actions": ["a"], "targets": ["t"], "kinds": ["k"], "environments": ["e"], "classes": ["c"]},
            "freeze": [{"name": "f", "from": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z", "environments": ["e"]}],
            "rule": [{"name": "r", "effect": "permit", "tier": "veto", "quorum": {"dba": 1},
                      "when": {"actions": ["a"], "targets": ["t"], "kinds": ["k"], "environments": ["e"], "classes": ["c"],
                               "provenance": ["model"], "reversibility": ["undo"], "min_severity": "low",
                               "max_severity": "high", "min_confidence": 0.1, "below_confidence": "0.9", "min_risk": "low",
                               "max_risk": "high", "min_blast_radius": 1, "max_blast_radius": 2}}]}"#,
    ),
    (
        "playbooks",
        r#"{"playbook": [{"name": "p", "version": 1, "description": "d",
            "when": {"classes": ["c"], "kinds": ["k"], "environments": ["e"], "entities": ["x"], "min_severity": "low"},
            "step": [{"id": "s", "action": "a", "target": {"entity": "x"}, "params": {"n": 1}, "after": [], "phase": "contain",
                      "expected_effect": "x", "timeout_ms": 1,
                      "verification": {"anomalies_end": true, "hold_ms": 1, "within_ms": 2,
                                       "limits": [{"entity": "x", "metric": "m", "is": "at_most", "value": 1.5}]}}]}]}"#,
    ),
    (
        "topology",
        r#"{"entity": [{"id": "a", "kind": "k", "environment": "e", "group": "g", "protected": true, "labels": {"l": "v"}},
                       {"id": "b"}],
            "dependency": [{"from": "a", "to": "b", "kind": "calls", "strength": 1, "source": "configured"}]}"#,
    ),
];

fn read(kind: &str, text: &str) -> Result<(), ConfigError> {
    match kind {
        "policy" => Policy::parse(text, "d.json").map(drop),
        "playbooks" => Playbooks::parse(text, "d.json").map(drop),
        _ => Topology::parse(text, "d.json").map(drop),
    }
}

/// The path of every value in `value`, as JSON pointers.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| pointers(inner, &format!("{at}/{key}"), all)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, inner)| pointers(inner, &format!("{at}/{n}"), all));
        }
        _ => {}
    }
}

#[test]
fn whatever_value_stands_where_no_message_speaks_of_rust_and_each_has_its_line() {
    let words = [
        "u8",
        "u16",
        "u32",
        "u64",
        "i32",
        "i64",
        "usize",
        "f64",
        "bool",
        "boolean",
        "struct",
        "enum",
        "variant",
        "string",
        "sequence",
        "map",
        "unit",
        "null",
        "Option",
        "newtype",
        "Limits",
        "Condition",
        "NamedTarget",
        "Quorum",
        "Rule",
    ];
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!("x y"),
        json!(""),
        json!([]),
        json!([[]]),
        json!([1, "x"]),
        json!({}),
        json!({"a": 1}),
        json!({"type": "x"}),
    ];
    let mut refused = 0;
    for (kind, text) in SOUND {
        read(kind, text).unwrap();
        let sound: Value = serde_json::from_str(text).unwrap();
        let mut all = Vec::new();
        pointers(&sound, "", &mut all);
        for pointer in all.iter().skip(1) {
            for value in &wrong {
                let mut document = sound.clone();
                *document.pointer_mut(pointer).unwrap() = value.clone();
                let text = serde_json::to_string_pretty(&document).unwrap();
                let Err(error) = read(kind, &text) else { continue };
                refused += 1;
                for problem in error.problems() {
                    assert!(problem.line.is_some(), "{kind} {pointer} {value}: {problem}");
                    let mut said = problem.message.split(|c: char| !c.is_ascii_alphanumeric());
                    assert!(!said.any(|word| words.contains(&word)), "{kind} {pointer} {value}: {problem}");
                }
            }
        }
    }
    assert!(refused > 700, "{refused} documents were refused");
}

proptest! {
    #[test]
    fn no_text_at_all_makes_reading_fail_badly(text in "\\PC{0,200}", tail in "[\\[\\]{}=\".,a-z0-9\n-]{0,120}") {
        let _ = Policy::parse(&text, "p.toml");
        let _ = Policy::parse(&tail, "p.toml");
        let _ = Policy::parse(&format!("tier = \"act\"\n[[rule]]\n{tail}"), "p.toml");
    }
}
