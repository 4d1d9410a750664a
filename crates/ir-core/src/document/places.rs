//! Where the fields of a document stand, kept beyond its reading so that later checks can name file and line.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Problem;

/// Where the fields of a document stand: its origin, and the line of each field. Cheap to clone.
///
/// It says nothing about what a document means: all places are equal, so that two documents that say the same are equal. Values
/// made in code have the default, which knows no place.
#[derive(Debug, Clone, Default)]
pub struct Places(Option<Arc<Written>>);

#[derive(Debug)]
struct Written {
    origin: String,
    lines: HashMap<String, usize>,
}

impl Places {
    pub(super) fn new(origin: &str, lines: HashMap<String, usize>) -> Self {
        Self(Some(Arc::new(Written { origin: origin.to_owned(), lines })))
    }

    /// The document's origin; `None` for what was made in code.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.0.as_ref().map(|written| written.origin.as_str())
    }

    /// Whether the document itself has `field`, such as `rule[2].when`. Unknown, hence `None`, for what was made in code.
    #[must_use]
    pub fn has(&self, field: &str) -> Option<bool> {
        self.0.as_ref().map(|written| field.is_empty() || written.lines.contains_key(field))
    }

    /// The line of `field`, from 1; that of the nearest field around it where the document does not have it.
    #[must_use]
    pub fn line(&self, field: &str) -> Option<usize> {
        let lines = &self.0.as_ref()?.lines;
        let mut field = field;
        loop {
            if let Some(line) = lines.get(field) {
                return Some(*line);
            }
            field = &field[..field.rfind(['.', '['])?];
        }
    }

    /// The same problem with origin and line, as far as they are known and it has none yet.
    #[must_use]
    pub fn locate(&self, mut problem: Problem) -> Problem {
        problem.line = problem.line.or_else(|| self.line(&problem.field));
        problem.origin = problem.origin.or_else(|| self.origin().map(str::to_owned));
        problem
    }
}

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Places {}
