//! Entities and who depends on whom, as plain data.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Problem};
use crate::document::{self, Places};
use crate::entity::{Entity, EntityId};
use crate::score::Probability;

/// `from` depends on `to`: when `to` breaks, `from` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Who shows the symptom.
    pub from: EntityId,
    /// Who may be the cause.
    pub to: EntityId,
    /// How: `calls`, `runs_on`, `reads` ...
    #[serde(default = "default_dependency_kind")]
    pub kind: String,
    /// How likely a fault of `to` shows at `from`; 1 where the document says nothing.
    #[serde(default = "certain")]
    pub strength: Probability,
    /// Where this was learned: `configured`, `traces` ...
    #[serde(default = "configured")]
    pub source: String,
}

fn default_dependency_kind() -> String {
    "calls".to_owned()
}

fn certain() -> Probability {
    Probability::ONE
}

fn configured() -> String {
    "configured".to_owned()
}

/// The document a user writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopologyDocument {
    /// All that can be observed or acted on.
    pub entity: Vec<Entity>,
    /// Who depends on whom.
    pub dependency: Vec<Dependency>,
}

/// Checked: every name once, every dependency between known entities.
///
/// # Examples
///
/// ```
/// # use ir_core::{EntityId, Topology};
/// let text = r#"
/// [[entity]]
/// id = "web"
/// [[entity]]
/// id = "db"
/// kind = "database"
/// protected = true
/// [[dependency]]
/// from = "web"
/// to = "db"
/// "#;
/// let topology = Topology::parse(text, "topology.toml")?;
/// let web = EntityId::new("web")?;
/// assert_eq!(topology.dependencies_of(&web).next().map(|d| d.to.as_str()), Some("db"));
///
/// let wrong = Topology::parse("[[dependency]]\nfrom = \"a\"\nto = \"b\"\n", "t.toml").unwrap_err();
/// assert_eq!(wrong.problems().len(), 2); // neither is an entity, and both are said at once
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TopologyDocument", into = "TopologyDocument")]
pub struct Topology {
    entities: BTreeMap<EntityId, Entity>,
    dependencies: Vec<Dependency>,
    places: Places,
}

impl Topology {
    /// Checks the document.
    ///
    /// # Errors
    ///
    /// All problems at once: names used twice, dependencies on nothing or on oneself.
    pub fn new(document: TopologyDocument) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut entities = BTreeMap::new();
        for (n, entity) in document.entity.into_iter().enumerate() {
            if entities.contains_key(&entity.id) {
                problems.push(Problem::at(format!("entity[{n}].id"), format!("`{}` is named twice", entity.id)));
            }
            entities.insert(entity.id.clone(), entity);
        }
        for (n, dependency) in document.dependency.iter().enumerate() {
            for (field, id) in [("from", &dependency.from), ("to", &dependency.to)] {
                if !entities.contains_key(id) {
                    let near = document::nearest(id.as_str(), entities.keys().map(EntityId::as_str));
                    let hint = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
                    let message = format!("no entity is named `{id}`{hint}");
                    problems.push(Problem::at(format!("dependency[{n}].{field}"), message));
                }
            }
            if dependency.from == dependency.to {
                problems.push(Problem::at(
                    format!("dependency[{n}]"),
                    format!("`{}` cannot depend on itself", dependency.from),
                ));
            }
        }
        let mut dependencies = document.dependency;
        dependencies.sort_by(|a, b| (&a.from, &a.to, &a.kind).cmp(&(&b.from, &b.to, &b.kind)));
        dependencies.dedup_by(|a, b| a.from == b.from && a.to == b.to && a.kind == b.kind);
        ConfigError::check(problems, Self { entities, dependencies, places: Places::default() })
    }

    /// Reads TOML or JSON (a text that starts with `{`); `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its line and field.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        document::read_with_places(text, origin, |document, places| {
            Ok(Self { places: places.clone(), ..Self::new(document)? })
        })
    }

    /// Where its fields stand, if it was read from a document.
    #[must_use]
    pub const fn places(&self) -> &Places {
        &self.places
    }

    /// The entity of that name.
    #[must_use]
    pub fn entity(&self, id: &EntityId) -> Option<&Entity> {
        self.entities.get(id)
    }

    /// All entities, by name.
    pub fn entities(&self) -> impl ExactSizeIterator<Item = &Entity> {
        self.entities.values()
    }

    /// All dependencies, by name of the dependent.
    #[must_use]
    pub fn dependencies(&self) -> &[Dependency] {
        &self.dependencies
    }

    /// What `id` depends on directly.
    pub fn dependencies_of<'a>(&'a self, id: &'a EntityId) -> impl Iterator<Item = &'a Dependency> {
        self.dependencies.iter().filter(move |d| d.from == *id)
    }

    /// Who depends on `id` directly.
    pub fn dependents_of<'a>(&'a self, id: &'a EntityId) -> impl Iterator<Item = &'a Dependency> {
        self.dependencies.iter().filter(move |d| d.to == *id)
    }

    /// Everything that `id` depends on, directly or not; `id` itself is not in it unless it lies on a cycle.
    #[must_use]
    pub fn reachable_from(&self, id: &EntityId) -> BTreeSet<EntityId> {
        let mut seen = BTreeSet::new();
        let mut open = vec![id.clone()];
        while let Some(next) = open.pop() {
            for dependency in self.dependencies_of(&next) {
                if seen.insert(dependency.to.clone()) {
                    open.push(dependency.to.clone());
                }
            }
        }
        seen
    }

    /// Whether one depends on the other, directly or not, or both are the same.
    #[must_use]
    pub fn related(&self, a: &EntityId, b: &EntityId) -> bool {
        a == b || self.reachable_from(a).contains(b) || self.reachable_from(b).contains(a)
    }

    /// How many entities share the group and environment of `entity`, itself included; 1 without a group.
    #[must_use]
    pub fn group_size(&self, entity: &Entity) -> usize {
        match &entity.group {
            None => 1,
            Some(_) => self
                .entities
                .values()
                .filter(|other| other.group == entity.group && other.environment == entity.environment)
                .count(),
        }
    }
}

impl TryFrom<TopologyDocument> for Topology {
    type Error = ConfigError;
    fn try_from(document: TopologyDocument) -> Result<Self, ConfigError> {
        Self::new(document)
    }
}

impl From<Topology> for TopologyDocument {
    fn from(topology: Topology) -> Self {
        Self { entity: topology.entities.into_values().collect(), dependency: topology.dependencies }
    }
}
