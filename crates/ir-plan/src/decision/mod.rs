//! The policy: what may be done, by whom, at which tier. Deny wins; nothing that fits is a denial; errors only narrow.

mod document;
mod engine;
mod explain;
mod names;
mod rule;

pub use document::{Freeze, PolicyDocument, RuleDocument, VocabularyDocument};
pub use engine::{DecisionInput, Policy};
pub use rule::{Condition, Effect};

#[cfg(test)]
mod tests;
