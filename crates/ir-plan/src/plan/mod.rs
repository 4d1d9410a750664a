//! Plans from playbooks: executable data that people wrote and reviewed.

mod matching;
mod planner;
mod playbook;

pub use matching::Match;
pub use planner::PlaybookPlanner;
pub use playbook::{NamedTarget, Playbook, PlaybookStep, Playbooks, PlaybooksDocument, When};
