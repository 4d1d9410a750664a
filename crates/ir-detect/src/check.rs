//! Checks of configurations that say all problems at once.

use ir_core::Problem;

/// Collects what is wrong with the fields of one configuration.
#[derive(Debug, Default)]
pub(crate) struct Check(Vec<Problem>);

impl Check {
    /// `value` must be a finite number from `low` to `high`.
    pub(crate) fn within(&mut self, field: &str, value: f64, low: f64, high: f64) -> &mut Self {
        if !(low..=high).contains(&value) {
            self.0.push(Problem::at(field, format!("`{value}` is not from {low} to {high}")));
        }
        self
    }

    /// `value` must be from `low` to `high`.
    pub(crate) fn count(&mut self, field: &str, value: usize, low: usize, high: usize) -> &mut Self {
        if !(low..=high).contains(&value) {
            self.0.push(Problem::at(field, format!("`{value}` is not from {low} to {high}")));
        }
        self
    }

    /// `value` must not be empty.
    pub(crate) fn named(&mut self, field: &str, value: &str) -> &mut Self {
        if value.is_empty() {
            self.0.push(Problem::at(field, "is empty: name the metric or label"));
        }
        self
    }

    /// Something else is wrong with a field.
    pub(crate) fn wrong(&mut self, field: &str, why: impl Into<String>) -> &mut Self {
        self.0.push(Problem::at(field, why.into()));
        self
    }

    /// Takes the problems of a part.
    pub(crate) fn part(&mut self, outer: &str, inner: Self) -> &mut Self {
        self.0.extend(inner.0.into_iter().map(|problem| problem.within(outer)));
        self
    }

    pub(crate) fn done(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.0)
    }
}
