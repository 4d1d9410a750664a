//! Whether a playbook fits, and how closely.

use ir_core::{Classification, Entity};

use super::playbook::{Playbook, When};

/// How closely a playbook fits: the number of things it demands that hold. More is closer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match(pub u32);

impl Playbook {
    /// How closely it fits this incident; `None` when it does not.
    #[must_use]
    pub fn matches(&self, classification: &Classification, cause: &Entity) -> Option<Match> {
        self.when.matches(classification, cause)
    }
}

impl When {
    fn matches(&self, classification: &Classification, cause: &Entity) -> Option<Match> {
        let mut count = 0;
        let mut demand = |demanded: bool, holds: bool| {
            count += u32::from(demanded);
            !demanded || holds
        };
        let fits = demand(!self.classes.is_empty(), self.classes.contains(&classification.class))
            && demand(!self.kinds.is_empty(), self.kinds.contains(&cause.kind))
            && demand(!self.environments.is_empty(), self.environments.contains(&cause.environment))
            && demand(!self.entities.is_empty(), self.entities.contains(&cause.id))
            && demand(self.min_severity.is_some(), self.min_severity.is_some_and(|min| classification.severity >= min));
        fits.then_some(Match(count))
    }
}
