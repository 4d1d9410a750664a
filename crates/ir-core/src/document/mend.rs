//! Finds every mistake of form: reads a document part by part, and mends what is wrong with a part for as long as it takes to
//! read on.
//!
//! Deserialization ends at the first mistake. So the mistake is noted and mended: a misspelt field gets the name it probably
//! means, a value of the wrong kind is left out, what is missing gets a value that fits. Then the part is read again. A mended
//! document is never used, only searched for further mistakes.

use std::collections::{HashMap, HashSet};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::near::nearest;
use super::source::member;
use super::words::{Mistake, Segment, Wrong, attempt};
use crate::config::Problem;

/// The most mistakes that are looked for in one part.
const MAX_MISTAKES: usize = 64;

/// What was found in a document.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What is wrong, in the order in which it was found.
    pub(super) problems: Vec<Problem>,
    fields: HashSet<String>,
    /// The new name of each field that is read under another name.
    renamed: HashMap<String, String>,
    /// The same fields by their new path: as they are written.
    written: HashMap<String, String>,
}

impl Found {
    /// Begins with what is known already.
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        let mut found = Self::default();
        problems.into_iter().for_each(|problem| found.add(problem));
        found
    }

    /// Adds a problem, unless one at its field, or at what holds it, is known: then this one follows from that.
    pub(super) fn add(&mut self, mut problem: Problem) {
        problem.field = self.as_written(&problem.field);
        if !self.covers(&problem.field) {
            self.fields.insert(problem.field.clone());
            self.problems.push(problem);
        }
    }

    /// The same for several that do not follow from each other.
    pub(super) fn add_all(&mut self, problems: Vec<Problem>) {
        let written = problems.into_iter().map(|problem| {
            let field = self.as_written(&problem.field);
            Problem { field, ..problem }
        });
        let new: Vec<Problem> = written.filter(|problem| !self.covers(&problem.field)).collect();
        self.problems.extend(new);
    }

    fn covers(&self, field: &str) -> bool {
        let mut outer = String::new();
        pieces(field).any(|piece| {
            outer.push_str(piece);
            self.fields.contains(&outer)
        })
    }

    /// The field as it stands in the document.
    fn as_written(&self, field: &str) -> String {
        let mut written = String::new();
        for piece in pieces(field) {
            written.push_str(piece);
            if let Some(name) = self.written.get(&written) {
                written.clone_from(name);
            }
        }
        written
    }
}

/// The steps of a field's path: `rule`, `[2]`, `.when`.
fn pieces(field: &str) -> impl Iterator<Item = &str> {
    let mut rest = field;
    std::iter::from_fn(move || {
        let end = rest.char_indices().skip(1).find(|(_, c)| matches!(c, '.' | '[')).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Reads `document` and gives what is wrong with it, `found` included, and the mended document if all could be mended.
pub(super) fn search<D: DeserializeOwned>(document: &Value, found: &mut Found) -> Option<Value> {
    Search::<D> { found, read: std::marker::PhantomData }.part(document, &|part| part, "", 0)
}

struct Search<'a, D> {
    found: &'a mut Found,
    read: std::marker::PhantomData<D>,
}

impl<D: DeserializeOwned> Search<'_, D> {
    /// Searches `part` with its lists of tables empty, then each of their members alone, and so on inward, so that the time it
    /// takes grows with the document and not with its square. `build` puts a part back into an otherwise sound document; there
    /// it stands `depth` steps inward, for the user it stands at `actual`.
    fn part(&mut self, part: &Value, build: &dyn Fn(Value) -> Value, actual: &str, depth: usize) -> Option<Value> {
        let Value::Object(fields) = part else { return self.mend(part.clone(), build, actual, depth) };
        let mut skeleton = fields.clone();
        let mut lists: Vec<(&String, &Vec<Value>)> = Vec::new();
        for (key, value) in fields {
            if let Some(items) = value.as_array().filter(|items| items.iter().any(Value::is_object)) {
                lists.push((key, items));
                skeleton.insert(key.clone(), json!([]));
            }
        }
        let mut whole = match self.mend(Value::Object(skeleton), build, actual, depth) {
            Some(Value::Object(mended)) => mended,
            other => return other,
        };
        let skeleton = whole.clone();
        let mut sound = true;
        for (key, items) in lists {
            let written = member(actual, key);
            let key = self.found.renamed.get(&written).unwrap_or(key).clone();
            // A list of which nothing is known is left out.
            if !skeleton.contains_key(&key) {
                continue;
            }
            let mut mended = Vec::with_capacity(items.len());
            for (n, item) in items.iter().enumerate() {
                let with_item = |part: Value| {
                    let mut outer = skeleton.clone();
                    outer.insert(key.clone(), json!([part]));
                    build(Value::Object(outer))
                };
                mended.extend(self.part(item, &with_item, &format!("{written}[{n}]"), depth + 2));
            }
            sound &= mended.len() == items.len();
            whole.insert(key, Value::Array(mended));
        }
        sound.then_some(Value::Object(whole))
    }

    /// Reads the part, and notes and mends one mistake after the other.
    fn mend(&mut self, mut part: Value, build: &dyn Fn(Value) -> Value, actual: &str, depth: usize) -> Option<Value> {
        for _ in 0..MAX_MISTAKES {
            let Err(mistake) = attempt::<D>(&build(part.clone())) else { return Some(part) };
            let at = mistake.at.get(depth..)?;
            let field = joined(actual, at);
            match mistake.what {
                // It was left out because it is wrong.
                Wrong::Missing { field: name } if self.found.covers(&self.found.as_written(&member(&field, name))) => {}
                // A table may lack several fields, which are no fields of the document.
                Wrong::Missing { .. } => self.found.add_all(vec![Problem::at(&field, mistake.what.to_string())]),
                _ => self.found.add(Problem::at(&field, mistake.what.to_string())),
            }
            let still = |part: &Value| attempt::<D>(&build(part.clone())).err();
            if let Mended::Renamed(renamed) = mend_one(&mut part, at, &mistake.what, depth, &still)? {
                let outer = joined(actual, &at[..at.len().saturating_sub(1)]);
                // What it holds is read, so further mistakes in it are no consequence of its name.
                self.found.fields.remove(&field);
                self.found.written.insert(member(&outer, &renamed), field.clone());
                self.found.renamed.insert(field, renamed);
            }
        }
        None
    }
}

/// How a mistake was mended.
enum Mended {
    InPlace,
    /// The field has this name now.
    Renamed(String),
}

/// Mends one mistake at `at` within `part`; `None` where nothing helps.
fn mend_one(
    part: &mut Value,
    at: &[Segment],
    wrong: &Wrong,
    depth: usize,
    still: &dyn Fn(&Value) -> Option<Mistake>,
) -> Option<Mended> {
    match wrong {
        Wrong::UnknownField { name, known } => {
            let table = inner(part, &at[..at.len().checked_sub(1)?])?.as_object_mut()?;
            let value = table.remove(name)?;
            let free = known.iter().copied().filter(|field| !table.contains_key(*field));
            let Some(meant) = nearest(name, free) else { return Some(Mended::InPlace) };
            table.insert(meant.to_owned(), value);
            Some(Mended::Renamed(meant.to_owned()))
        }
        Wrong::Missing { field } => {
            inner(part, at)?.as_object_mut()?.insert((*field).to_owned(), Value::Null);
            let at: Vec<Segment> = at.iter().cloned().chain([Segment::Key((*field).to_owned())]).collect();
            fill(part, &at, depth, still).then_some(Mended::InPlace)
        }
        Wrong::UnknownName { name, known } => {
            if let Some(meant) = nearest(name, known.iter().copied()) {
                *inner(part, at)? = json!(meant);
                return Some(Mended::InPlace);
            }
            leave_out(part, at, depth, still)
        }
        Wrong::Other { .. } => leave_out(part, at, depth, still),
    }
}

/// Removes a field; a member of a list gets a value that fits instead, so that the others keep their places.
fn leave_out(
    part: &mut Value,
    at: &[Segment],
    depth: usize,
    still: &dyn Fn(&Value) -> Option<Mistake>,
) -> Option<Mended> {
    if let (Some(Segment::Key(key)), Some(table)) =
        (at.last(), inner(part, &at[..at.len().saturating_sub(1)]).and_then(Value::as_object_mut))
    {
        return table.remove(key).map(|_| Mended::InPlace);
    }
    fill(part, at, depth, still).then_some(Mended::InPlace)
}

/// Puts the first value at `at` that fits there.
fn fill(part: &mut Value, at: &[Segment], depth: usize, still: &dyn Fn(&Value) -> Option<Mistake>) -> bool {
    let mut values =
        vec![json!("unreadable"), json!(1), json!(true), json!([]), json!(Map::new()), json!("2000-01-01T00:00:00Z")];
    while let Some(value) = (!values.is_empty()).then(|| values.remove(0)) {
        let Some(place) = inner(part, at) else { return false };
        *place = value.clone();
        match still(part) {
            Some(Mistake { at: there, what }) if there.get(depth..) == Some(at) => match what {
                Wrong::UnknownName { known, .. } => values.extend(known.first().map(|name| json!(name))),
                // A table that lacks something is a table: what it lacks is the next mistake to be mended.
                Wrong::Missing { .. } => return true,
                Wrong::UnknownField { .. } | Wrong::Other { .. } => {}
            },
            _ => return true,
        }
    }
    false
}

fn inner<'a>(value: &'a mut Value, at: &[Segment]) -> Option<&'a mut Value> {
    at.iter().try_fold(value, |value, segment| match segment {
        Segment::Key(key) => value.get_mut(key),
        Segment::Index(index) => value.get_mut(index),
    })
}

fn joined(outer: &str, at: &[Segment]) -> String {
    at.iter().fold(outer.to_owned(), |outer, segment| match segment {
        Segment::Key(key) => member(&outer, key),
        Segment::Index(index) => format!("{outer}[{index}]"),
    })
}
