//! Checks the names of a policy against those that there are, and what else in it is probably not meant.

use ir_core::document::{Places, nearest};
use ir_core::kernel::Limits;
use ir_core::{Findings, NameKind, Problem, UNKNOWN_CLASS, Vocabulary};

use super::document::{PolicyDocument, RuleDocument};
use super::engine::Written;
use super::rule::Effect;

/// What is doubtful in the document by itself: limits that have no effect, rules without a condition, conditions without a name.
/// `limits` are those that hold.
pub(super) fn doubts(document: &PolicyDocument, limits: &Limits, places: &Places) -> Vec<Problem> {
    let mut doubts = looser_limits(&document.limits, limits);
    for (n, rule) in document.rule.iter().enumerate() {
        let field = format!("rule[{n}].when");
        if places.has(&field) == Some(false) {
            let message = format!("rule `{}` has no `when`, so it fits every step; `when = {{}}` says so", rule.name);
            doubts.push(Problem::at(format!("rule[{n}]"), message));
        }
        for list in rule.when.empty_lists() {
            let field = format!("{field}.{list}");
            if places.has(&field) == Some(true) {
                doubts.push(Problem::at(field, format!("is empty, so rule `{}` fits any", rule.name)));
            }
        }
    }
    doubts.into_iter().map(|problem| places.locate(problem)).collect()
}

/// Compared field by field as they are written, so that no limit can be forgotten here.
fn looser_limits(written: &Limits, holding: &Limits) -> Vec<Problem> {
    let (Ok(written), Ok(holding)) = (serde_json::to_value(written), serde_json::to_value(holding)) else {
        return Vec::new();
    };
    let fields = written.as_object().into_iter().flatten();
    fields
        .filter(|(field, value)| holding[field.as_str()] != **value)
        .map(|(field, value)| {
            let message =
                format!("{value} is looser than the kernel's own limit and has no effect: {} holds", holding[field]);
            Problem::at(format!("limits.{field}"), message)
        })
        .collect()
}

/// What is wrong and what is doubtful in an installation that has the names of `installation`.
pub(super) fn check(document: &PolicyDocument, written: &Written, installation: &Vocabulary) -> Findings {
    let vocabulary = document.vocabulary.added_to(installation).and(NameKind::Class, [UNKNOWN_CLASS]);
    let mut found = Findings { errors: Vec::new(), warnings: written.warnings.clone() };
    for (rule, n) in document.rule.iter().zip(&written.rule_index) {
        found.extend(check_rule(rule, *n, &vocabulary));
    }
    for (n, freeze) in document.freeze.iter().enumerate() {
        for (m, environment) in freeze.environments.iter().enumerate() {
            if let Some(what) = unguarded(&vocabulary, NameKind::Environment, environment) {
                let message = format!("freeze `{}` guards nothing by this name: {what}", freeze.name);
                found.errors.push(Problem::at(format!("freeze[{n}].environments[{m}]"), message));
            }
        }
    }
    for (field, kind, names) in document.vocabulary.names() {
        for (n, name) in names.into_iter().enumerate() {
            if let Some(near) = misspelt(installation, kind, name) {
                let message = format!("nothing is named `{name}` yet: did you mean `{near}`?");
                found.warnings.push(Problem::at(format!("vocabulary.{field}[{n}]"), message));
            }
        }
    }
    let locate = |problems: Vec<Problem>| problems.into_iter().map(|problem| written.places.locate(problem)).collect();
    Findings { errors: locate(found.errors), warnings: locate(found.warnings) }
}

fn check_rule(rule: &RuleDocument, n: usize, vocabulary: &Vocabulary) -> Findings {
    let mut found = Findings::default();
    for (field, kind, names) in rule.when.names() {
        let numbered = names.iter().copied().enumerate();
        let unknown: Vec<(usize, &str, String)> =
            numbered.filter_map(|(m, name)| Some((m, name, vocabulary.unknown(kind, name)?))).collect();
        let field = format!("rule[{n}].when.{field}");
        if kind == NameKind::Entity && vocabulary.entities_change() {
            if !unknown.is_empty() {
                let missing: Vec<&str> = unknown.iter().map(|(_, name, _)| *name).take(MAX_LISTED).collect();
                let (of, listed) = (names.len(), missing.join("`, `"));
                let message = format!("{} of {of} targets are not there now: `{listed}`", unknown.len());
                found.warnings.push(Problem::at(field, message));
            }
            continue;
        }
        let forbids = rule.effect != Effect::Permit;
        for (m, name, what) in unknown {
            let what = if forbids { unguarded(vocabulary, kind, name).unwrap_or(what) } else { what };
            let verb = if forbids { "guards" } else { "permits" };
            let message = format!("rule `{}` {verb} nothing by this name: {what}", rule.name);
            let problem = Problem::at(format!("{field}[{m}]"), message);
            if forbids || matches!(kind, NameKind::Action | NameKind::Entity) {
                found.errors.push(problem);
            } else {
                found.warnings.push(problem);
            }
        }
    }
    found
}

/// The most names a warning lists.
const MAX_LISTED: usize = 8;

/// What is wrong with a name that something should be guarded by, and what to do if it is right.
fn unguarded(vocabulary: &Vocabulary, kind: NameKind, name: &str) -> Option<String> {
    let mut what = vocabulary.unknown(kind, name)?;
    if nearest(name, vocabulary.names(kind)).is_none() {
        what.push_str("; a name that is guarded in advance belongs in `[vocabulary]`");
    }
    Some(what)
}

/// The name of the installation that a name of `[vocabulary]` probably means. Names that differ by digits only are two names.
fn misspelt<'a>(installation: &'a Vocabulary, kind: NameKind, name: &str) -> Option<&'a str> {
    fn letters(name: &str) -> impl Iterator<Item = char> {
        name.chars().filter(|c| !c.is_ascii_digit())
    }
    if installation.knows(kind, name) {
        return None;
    }
    nearest(name, installation.names(kind).filter(|known| !letters(known).eq(letters(name))))
}
