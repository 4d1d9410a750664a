//! Tests of playbooks as documents, and of how closely they fit.

use ir_core::{Entity, document};
use proptest::prelude::*;

use super::super::Match;
use super::*;
use crate::samples;

fn problems(text: &str) -> Vec<String> {
    let error = Playbooks::parse(text, "p.toml").expect_err("the document has mistakes");
    error.problems().iter().map(ToString::to_string).collect()
}

fn book(fields: &str, steps: &str) -> String {
    format!("[[playbook]]\nname = \"b\"\nversion = 1\n{fields}\n{steps}")
}

fn step(id: &str, fields: &str) -> String {
    format!("[[playbook.step]]\nid = \"{id}\"\naction = \"restart\"\nexpected_effect = \"it is well\"\n{fields}\n")
}

#[test]
fn every_mistake_of_form_is_found_at_once_with_line_and_field() {
    let text = r#"[[playbook]]
name = "a"
version = -1
[[playbook]]
name = "b"
version = 1
when = { class = ["errors"] }
[[playbook]]
name = "c"
version = 1
when = { min_severity = "awful" }
[[playbook]]
name = "d"
version = 1
[[playbook.step]]
id = "one"
action = "re start"
expected_effect = "x"
[[playbook.step]]
id = "two"
action = "restart"
[[playbook.step]]
id = "three"
action = "restart"
expected_effect = "x"
timeout_ms = "30s"
[[playbook.step]]
id = "four"
action = "restart"
expected_effect = "x"
verification = { hold = 3 }
"#;
    let found = problems(text);
    let wanted = [
        ("p.toml:3: `playbook[0].version`", "-1"),
        ("p.toml:7: `playbook[1].when.class`", "unknown field `class`"),
        ("p.toml:11: `playbook[2].when.min_severity`", "`awful` is none of"),
        ("p.toml:17: `playbook[3].step[0].action`", "has the character ' '"),
        ("p.toml:19: `playbook[3].step[1]`", "missing field `expected_effect`"),
        ("p.toml:26: `playbook[3].step[2].timeout_ms`", "30s"),
        ("p.toml:31: `playbook[3].step[3].verification.hold`", "unknown field `hold`"),
        // What can be said beside: these have no step.
        ("p.toml:1: `playbook[0].step`", "has no step"),
        ("p.toml:4: `playbook[1].step`", "has no step"),
        ("p.toml:8: `playbook[2].step`", "has no step"),
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (place, words) in wanted {
        assert!(found.iter().any(|p| p.starts_with(place) && p.contains(words)), "{place}: {words} in {found:#?}");
    }
}

#[test]
fn every_mistake_of_meaning_is_found_at_once_with_line_and_field() {
    let text = r#"[[playbook]]
name = ""
version = 1
[[playbook]]
name = "same"
version = 1
[[playbook.step]]
id = "x"
action = "restart"
expected_effect = "it is well"
timeout_ms = 0
after = ["y"]
[[playbook.step]]
id = "x"
action = "restart"
expected_effect = "it is well"
timeout_ms = 9007199254740993
verification = { hold_ms = 2, within_ms = 1 }
[[playbook]]
name = "same"
version = 2
[[playbook.step]]
id = "early"
action = "restart"
expected_effect = "it is well"
phase = "evidence"
after = ["late"]
[[playbook.step]]
id = "late"
action = "restart"
expected_effect = "it is well"
[playbook.step.verification]
within_ms = 9007199254740993
[[playbook.step.verification.limits]]
metric = " "
is = "at_most"
value = "NaN"
[[playbook.step.verification.limits]]
metric = "error_ratio"
is = "at_least"
value = "-Inf"
"#;
    let wanted = [
        "p.toml:2: `playbook[0].name`: must not be empty",
        "p.toml:1: `playbook[0].step`: has no step",
        "p.toml:14: `playbook[1].step[1].id`: `x` is named twice",
        "p.toml:12: `playbook[1].step[0].after[0]`: no step is named `y`",
        "p.toml:11: `playbook[1].step[0].timeout_ms`: must be 1 to 31536000000 (a year)",
        "p.toml:17: `playbook[1].step[1].timeout_ms`: must be 1 to 31536000000 (a year)",
        "p.toml:18: `playbook[1].step[1].verification.within_ms`: must be at least `hold_ms`",
        "p.toml:20: `playbook[2].name`: `same` is the name of playbook[1] already",
        "p.toml:27: `playbook[2].step[0].after[0]`: `late` belongs to a later phase",
        "p.toml:33: `playbook[2].step[1].verification.within_ms`: must be at most 31536000000 (a year)",
        "p.toml:35: `playbook[2].step[1].verification.limits[0].metric`: must not be empty",
        "p.toml:37: `playbook[2].step[1].verification.limits[0].value`: `NaN` is not a finite number",
        "p.toml:41: `playbook[2].step[1].verification.limits[1].value`: `-Inf` is not a finite number",
    ];
    assert_eq!(problems(text), wanted);
}

#[test]
fn steps_that_wait_for_each_other_are_refused() {
    // One row a form: itself, two, three.
    let table = [
        (vec![("a", "a")], "`a` waits for itself"),
        (vec![("a", "b"), ("b", "a")], "steps wait for each other: `a` -> `b` -> `a`"),
        (vec![("a", "c"), ("b", "a"), ("c", "b")], "steps wait for each other: `a` -> `c` -> `b` -> `a`"),
    ];
    for (cycle, wanted) in table {
        let steps: String = cycle.iter().map(|(id, after)| step(id, &format!("after = [\"{after}\"]"))).collect();
        assert_eq!(problems(&book("", &steps)), [format!("p.toml:9: `playbook[0].step[0].after`: {wanted}")]);
    }
}

#[test]
fn a_playbook_that_no_plan_could_hold_is_refused_before_there_is_an_incident() {
    let steps = |n: usize| (0..n).map(|n| step(&format!("s{n}"), "")).collect::<String>();
    assert_eq!(Playbooks::parse(&book("", &steps(MAX_STEPS)), "p.toml").unwrap().iter().count(), 1);
    let found = problems(&book("", &steps(MAX_STEPS + 1)));
    assert_eq!(found, ["p.toml:5: `playbook[0].step`: has 33 steps, a plan has at most 32"]);
}

#[test]
fn hostile_documents_are_refused_and_nothing_crashes() {
    let params = |params: String| book("", &step("s", &format!("params = {params}")));
    let table = [
        params("nan".to_owned()),
        params("1".to_owned()),
        params("{ n = inf }".to_owned()),
        params("{ n = 99999999999999999999 }".to_owned()),
        params(format!("{{ n = {}{} }}", "[".repeat(100_000), "]".repeat(100_000))),
        params(format!("{}1{}", "{a=".repeat(50_000), "}".repeat(50_000))),
        book("", &step("s", &format!("params{} = 1", ".a".repeat(100_000)))),
        book("when = 3", ""),
        "playbook = \"all\"".to_owned(),
        "#".repeat(document::MAX_DOCUMENT_BYTES + 1),
    ];
    for text in table {
        let start: String = text.chars().take(60).collect();
        assert!(!Playbooks::parse(&text, "p.toml").unwrap_err().problems().is_empty(), "{start}");
    }
}

#[test]
fn what_is_not_said_has_its_default() {
    let books = Playbooks::parse(&book("", &step("s", "")), "p.toml").unwrap();
    let only = books.iter().next().unwrap();
    assert_eq!((&only.when, only.description.as_str()), (&When::default(), ""));
    let step = &only.step[0];
    assert_eq!((step.timeout_ms, step.phase, &step.target), (30_000, ResponsePhase::Recover, &None));
    assert_eq!(step.verification, Verification::default());
    assert_eq!(Playbooks::parse("", "p.toml").unwrap().iter().count(), 0);
}

#[test]
fn merging_keeps_the_order_and_refuses_names_used_in_both() {
    let named = |name: &str| {
        let text = book("", &step("s", "")).replace("\"b\"", &format!("\"{name}\""));
        Playbooks::parse(&text, "p.toml").unwrap()
    };
    let merged = named("b").merge(named("a")).unwrap();
    assert_eq!(merged.iter().map(|book| book.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    let error = merged.merge(named("a")).unwrap_err();
    assert_eq!(error.to_string(), "p.toml:2: `playbook[0].name`: `a` is the name of the playbook at p.toml:1 already");
}

#[test]
fn names_and_parameters_that_nothing_has_are_found() {
    let text = book(
        "when = { entities = [\"web\", \"wbe\"] }",
        &[
            step("right", "target = { entity = \"db\" }"),
            step("strange", "target = { entity = \"lb\" }\nparams = { force = true }"),
            step("no-action", "").replace("\"restart\"", "\"restrat\""),
            step(
                "limit",
                "verification = { limits = [{ entity = \"bd\", metric = \"m\", is = \"at_most\", value = 1 }] }",
            ),
        ]
        .concat(),
    );
    let books = Playbooks::parse(&text, "p.toml").unwrap();
    let catalogue = samples::catalogue(&["restart", "scale"]);
    let vocabulary = Vocabulary::new(&catalogue, &samples::topology(&["web", "db"]), []);
    let lines = |problems: &[Problem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let found = books.check_against(&catalogue, &vocabulary);
    let wanted = [
        "p.toml:4: `playbook[0].when.entities[1]`: no entity is named `wbe`: did you mean `web`?",
        "p.toml:15: `playbook[0].step[1].params.force`: is not a parameter; there is: none",
        "p.toml:14: `playbook[0].step[1].target.entity`: no entity is named `lb`: did you mean `db`?",
        "p.toml:18: `playbook[0].step[2].action`: no executor has the action `restrat`: did you mean `restart`?",
        "p.toml:25: `playbook[0].step[3].verification.limits[0].entity`: no entity is named `bd`: did you mean `db`?",
    ];
    assert_eq!(lines(&found.errors), wanted);
    assert!(found.warnings.is_empty());
    // Where entities come and go, what is not there now may be there later; actions do not.
    let found = books.check_against(&catalogue, &vocabulary.with_changing_entities());
    assert_eq!(lines(&found.errors), [wanted[1], wanted[3]]);
    assert_eq!(lines(&found.warnings), [wanted[0], wanted[2], wanted[4]]);
}

#[test]
fn a_playbook_for_what_there_is_not_is_doubtful() {
    let when = "classes = [\"erors\", \"unknown\"], kinds = [\"queue\"], environments = [\"defualt\", \"default\"]";
    let books = Playbooks::parse(&book(&format!("when = {{ {when} }}"), &step("s", "")), "p.toml").unwrap();
    let catalogue = samples::catalogue(&["restart"]);
    let classes = [ClassName::literal("errors")];
    let found = books.check_against(&catalogue, &Vocabulary::new(&catalogue, &samples::topology(&["web"]), classes));
    let warnings: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
    let wanted = [
        "p.toml:4: `playbook[0].when.classes[0]`: playbook `b` fits nothing by this name: no incident is of class `erors`: \
         did you mean `errors`?",
        "p.toml:4: `playbook[0].when.kinds[0]`: playbook `b` fits nothing by this name: no entity is of kind `queue`; \
         there is: `service`",
        "p.toml:4: `playbook[0].when.environments[0]`: playbook `b` fits nothing by this name: no entity runs in the \
         environment `defualt`: did you mean `default`?",
    ];
    assert_eq!(warnings, wanted);
    assert!(found.errors.is_empty());
}

#[test]
fn several_mistakes_in_one_step_are_reported_at_once() {
    let fields = "timout_ms = 5\nparams = 3\nafter = [\"a\", \"two words\"]\nverification = { hold_ms = \"1s\", limits = \
                  [{ metric = 1, is = \"atmost\" }] }\nphase = \"recovr\"\ntarget = \"db\"";
    let text = book("", &step("a", fields).replace("expected_effect = \"it is well\"\n", ""));
    let found = problems(&text);
    let wanted = [
        "p.toml:8: `playbook[0].step[0].timout_ms`: unknown field `timout_ms`: did you mean `timeout_ms`?",
        "p.toml:9: `playbook[0].step[0].params`: must be a table, not the number 3",
        "p.toml:10: `playbook[0].step[0].after[1]`: step: invalid input: the name `two words` has the character ' '",
        "p.toml:11: `playbook[0].step[0].verification.hold_ms`: must be a whole number of at least 0, not the text `1s`",
        "p.toml:11: `playbook[0].step[0].verification.limits[0].metric`: must be a text, not the number 1",
        "p.toml:11: `playbook[0].step[0].verification.limits[0].is`: `atmost` is none of `at_most`, `at_least`: \
         did you mean `at_most`?",
        "p.toml:11: `playbook[0].step[0].verification.limits[0]`: missing field `value`",
        "p.toml:12: `playbook[0].step[0].phase`: `recovr` is none of `evidence`, `contain`, `eradicate`, `recover`: \
         did you mean `recover`?",
        "p.toml:13: `playbook[0].step[0].target`: must be a table, not the text `db`",
        "p.toml:5: `playbook[0].step[0]`: missing field `expected_effect`",
        "p.toml:10: `playbook[0].step[0].after`: `a` waits for itself",
    ];
    let (mut sorted, mut all) = (found.clone(), wanted.map(str::to_owned).to_vec());
    sorted.sort();
    all.sort();
    assert_eq!(sorted, all);
}

#[test]
fn the_more_a_playbook_demands_the_closer_it_fits() {
    let fit = |when: &str| {
        let books = Playbooks::parse(&book(&format!("when = {{ {when} }}"), &step("s", "")), "p.toml").unwrap();
        let cause = Entity::service(samples::id("web"));
        books.iter().next().unwrap().matches(&samples::classification("errors", 0.9), &cause)
    };
    // One row a demand: alone, it counts one; unmet, nothing fits.
    let table = [
        ("classes = [\"latency\", \"errors\"]", "classes = [\"latency\"]"),
        ("kinds = [\"service\"]", "kinds = [\"host\"]"),
        ("environments = [\"default\"]", "environments = [\"staging\"]"),
        ("entities = [\"web\"]", "entities = [\"db\"]"),
        ("min_severity = \"high\"", "min_severity = \"critical\""),
    ];
    assert_eq!(fit(""), Some(Match(0)));
    let all = table.map(|(met, _)| met).join(", ");
    assert_eq!(fit(&all), Some(Match(5)));
    for (met, unmet) in table {
        assert_eq!(fit(met), Some(Match(1)), "{met}");
        assert_eq!(fit(unmet), None, "{unmet}");
        assert_eq!(fit(&all.replace(met, unmet)), None, "{unmet}");
    }
}

proptest! {
    #[test]
    fn no_text_at_all_makes_reading_fail_badly(text in "\\PC{0,200}", tail in "[\\[\\]{}=\".,a-z0-9\n-]{0,120}") {
        let _ = Playbooks::parse(&text, "p.toml");
        let _ = Playbooks::parse(&book("", &step("s", &tail)), "p.toml");
    }
}
