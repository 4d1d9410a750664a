//! The names that policy and playbooks may use: those that topology, catalogue and classifier have, and those that a policy
//! guards in advance.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::nearest;
use crate::execution::Catalogue;
use crate::id::ClassName;
use crate::topology::Topology;

/// The most names a message lists.
const MAX_LISTED: usize = 8;

/// What a name is a name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameKind {
    /// An action of an executor.
    Action,
    /// An entity of the topology.
    Entity,
    /// A kind of entities.
    EntityKind,
    /// An environment of entities.
    Environment,
    /// A class of incidents.
    Class,
}

/// Every name there is, by what it is a name of. A name that is not in it fits nothing: in a rule that forbids this means that
/// the rule does not guard.
///
/// # Examples
///
/// ```
/// # use ir_core::{Catalogue, NameKind, Topology, Vocabulary};
/// let topology = Topology::parse("[[entity]]\nid = \"jobs\"\nkind = \"worker\"\n", "topology.toml")?;
/// let vocabulary = Vocabulary::new(&Catalogue::default(), &topology, []);
/// assert_eq!(vocabulary.unknown(NameKind::EntityKind, "worker"), None);
/// let message = vocabulary.unknown(NameKind::EntityKind, "wroker");
/// assert_eq!(message.as_deref(), Some("no entity is of kind `wroker`: did you mean `worker`?"));
/// # Ok::<(), ir_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    names: BTreeMap<NameKind, BTreeSet<String>>,
    entities_change: bool,
}

impl Vocabulary {
    /// The names of an installation: its actions, its entities with their kinds and environments, and the classes that its
    /// classifier can give.
    #[must_use]
    pub fn new(catalogue: &Catalogue, topology: &Topology, classes: impl IntoIterator<Item = ClassName>) -> Self {
        Self::default()
            .and(NameKind::Action, catalogue.actions().map(|action| action.name.as_str()))
            .and(NameKind::Entity, topology.entities().map(|entity| entity.id.as_str()))
            .and(NameKind::EntityKind, topology.entities().map(|entity| entity.kind.as_str()))
            .and(NameKind::Environment, topology.entities().map(|entity| entity.environment.as_str()))
            .and(NameKind::Class, classes.into_iter().map(String::from))
    }

    /// These names as well.
    #[must_use]
    pub fn and(mut self, kind: NameKind, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names.entry(kind).or_default().extend(names.into_iter().map(Into::into));
        self
    }

    /// The same for a topology that was read from a platform whose entities come and go: an entity that it does not have now may
    /// be there later.
    #[must_use]
    pub fn with_changing_entities(mut self) -> Self {
        self.entities_change = true;
        self
    }

    /// Whether entities come and go.
    #[must_use]
    pub const fn entities_change(&self) -> bool {
        self.entities_change
    }

    /// All names of a kind, in order.
    pub fn names(&self, kind: NameKind) -> impl Iterator<Item = &str> {
        self.names.get(&kind).into_iter().flatten().map(String::as_str)
    }

    /// Whether there is such a name.
    #[must_use]
    pub fn knows(&self, kind: NameKind, name: &str) -> bool {
        self.names.get(&kind).is_some_and(|names| names.contains(name))
    }

    /// `None` for a name there is; else what is wrong with it: that nothing has it, and which name is near or which there are.
    #[must_use]
    pub fn unknown(&self, kind: NameKind, name: &str) -> Option<String> {
        if self.knows(kind, name) {
            return None;
        }
        let mut message = match kind {
            NameKind::Action => format!("no executor has the action `{name}`"),
            NameKind::Entity => format!("no entity is named `{name}`"),
            NameKind::EntityKind => format!("no entity is of kind `{name}`"),
            NameKind::Environment => format!("no entity runs in the environment `{name}`"),
            NameKind::Class => format!("no incident is of class `{name}`"),
        };
        if let Some(near) = nearest(name, self.names(kind)) {
            message.push_str(&format!(": did you mean `{near}`?"));
        } else if kind != NameKind::Entity && self.names(kind).next().is_some() {
            message.push_str(&format!("; there is: {}", self.listed(kind)));
        }
        Some(message)
    }

    fn listed(&self, kind: NameKind) -> String {
        let listed: Vec<&str> = self.names(kind).take(MAX_LISTED).collect();
        let more = self.names(kind).count() - listed.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("`{}`{more}", listed.join("`, `"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        let text = "entity = [{ id = \"web\", environment = \"production\" }, { id = \"db\", kind = \"database\" }]";
        let topology = Topology::parse(text, "t.toml").unwrap();
        Vocabulary::new(&Catalogue::default(), &topology, [ClassName::literal("errors")])
    }

    #[test]
    fn each_kind_of_name_has_its_own_words() {
        // One row a kind: a near name, and a far one. Entities may be many, so they are not listed.
        let table = [
            (NameKind::Action, "restart", "no executor has the action `restart`"),
            (NameKind::Entity, "wbe", "no entity is named `wbe`: did you mean `web`?"),
            (NameKind::Entity, "cache", "no entity is named `cache`"),
            (NameKind::EntityKind, "databse", "no entity is of kind `databse`: did you mean `database`?"),
            (NameKind::EntityKind, "queue", "no entity is of kind `queue`; there is: `database`, `service`"),
            (
                NameKind::Environment,
                "Production",
                "no entity runs in the environment `Production`: did you mean `production`?",
            ),
            (
                NameKind::Environment,
                "live",
                "no entity runs in the environment `live`; there is: `default`, `production`",
            ),
            (NameKind::Class, "error", "no incident is of class `error`: did you mean `errors`?"),
        ];
        for (kind, name, wanted) in table {
            assert_eq!(vocabulary().unknown(kind, name).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn a_name_of_one_kind_is_no_name_of_another() {
        let all = [
            (NameKind::Entity, "web"),
            (NameKind::EntityKind, "database"),
            (NameKind::Environment, "production"),
            (NameKind::Class, "errors"),
        ];
        for (kind, name) in all {
            for (other, _) in all {
                assert_eq!(vocabulary().unknown(other, name).is_none(), kind == other, "{name} as {other:?}");
            }
        }
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let many = Vocabulary::default().and(NameKind::Class, (10..30).map(|n| format!("class-{n}-of-many")));
        let message = many.unknown(NameKind::Class, "x").unwrap();
        assert!(message.ends_with("`class-17-of-many` and 12 more"), "{message}");
    }
}
