//! Entities and who depends on whom, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    graph: Arc<Graph>,
    places: Arc<Places>,
}

/// Shared by all copies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Graph {
    entities: BTreeMap<EntityId, Entity>,
    /// By dependent, dependency and kind.
    dependencies: Vec<Dependency>,
    /// Places in `dependencies`, by dependency.
    by_dependency: Vec<usize>,
}

impl Graph {
    fn dependencies_of(&self, id: &EntityId) -> &[Dependency] {
        let first = self.dependencies.partition_point(|d| d.from < *id);
        let found = self.dependencies.get(first..).unwrap_or_default();
        found.get(..found.partition_point(|d| d.from == *id)).unwrap_or_default()
    }

    fn dependents_of(&self, id: &EntityId) -> impl Iterator<Item = &Dependency> {
        let of = |place: &usize| self.dependencies.get(*place);
        let first = self.by_dependency.partition_point(|place| of(place).is_some_and(|d| d.to < *id));
        let found = self.by_dependency.get(first..).unwrap_or_default().iter().filter_map(of);
        let id = id.clone();
        found.take_while(move |d| d.to == id)
    }

    /// Everything that is reached from `from` by steps of `next`; `from` itself only when it lies on a cycle.
    fn reached<'a, I: Iterator<Item = &'a EntityId>>(
        from: &'a EntityId,
        next: impl Fn(&'a EntityId) -> I,
    ) -> BTreeSet<&'a EntityId> {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            open.extend(next(at).filter(|id| seen.insert(*id)));
        }
        seen
    }
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
        let mut by_dependency: Vec<usize> = (0..dependencies.len()).collect();
        by_dependency.sort_by_key(|place| dependencies.get(*place).map(|d| (&d.to, *place)));
        let graph = Arc::new(Graph { entities, dependencies, by_dependency });
        ConfigError::check(problems, Self { graph, places: Arc::default() })
    }

    /// Reads TOML or JSON (a text that starts with `{`); `origin` names it in errors.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its line and field.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        document::read_with_places(text, origin, |document, places| {
            Ok(Self { places: Arc::new(places.clone()), ..Self::new(document)? })
        })
    }

    /// Where its fields stand, if it was read from a document.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The entity of that name.
    #[must_use]
    pub fn entity(&self, id: &EntityId) -> Option<&Entity> {
        self.graph.entities.get(id)
    }

    /// All entities, by name.
    pub fn entities(&self) -> impl ExactSizeIterator<Item = &Entity> {
        self.graph.entities.values()
    }

    /// All dependencies, by name of the dependent.
    #[must_use]
    pub fn dependencies(&self) -> &[Dependency] {
        &self.graph.dependencies
    }

    /// What `id` depends on directly.
    pub fn dependencies_of<'a>(&'a self, id: &'a EntityId) -> impl Iterator<Item = &'a Dependency> {
        self.graph.dependencies_of(id).iter()
    }

    /// Who depends on `id` directly.
    pub fn dependents_of<'a>(&'a self, id: &'a EntityId) -> impl Iterator<Item = &'a Dependency> {
        self.graph.dependents_of(id)
    }

    /// Everything that `id` depends on, directly or not; `id` itself is not in it unless it lies on a cycle.
    #[must_use]
    pub fn reachable_from(&self, id: &EntityId) -> BTreeSet<EntityId> {
        self.below(id).into_iter().cloned().collect()
    }

    /// The same as [`reachable_from`](Self::reachable_from), borrowed.
    #[must_use]
    pub fn below<'a>(&'a self, id: &'a EntityId) -> BTreeSet<&'a EntityId> {
        Graph::reached(id, |at| self.dependencies_of(at).map(|d| &d.to))
    }

    /// Everything that `id` depends on and everything that depends on it, directly or not, and `id` itself: whatever may have to do
    /// with it.
    #[must_use]
    pub fn concerned_by<'a>(&'a self, id: &'a EntityId) -> BTreeSet<&'a EntityId> {
        let mut found = self.below(id);
        found.extend(Graph::reached(id, |at| self.dependents_of(at).map(|d| &d.from)));
        found.insert(id);
        found
    }

    /// Whether one depends on the other, directly or not, or both are the same.
    #[must_use]
    pub fn related(&self, a: &EntityId, b: &EntityId) -> bool {
        a == b || self.below(a).contains(b) || self.below(b).contains(a)
    }

    /// How many entities share the group and environment of `entity`, itself included; 1 without a group.
    #[must_use]
    pub fn group_size(&self, entity: &Entity) -> usize {
        match &entity.group {
            None => 1,
            Some(_) => self
                .graph
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
        let graph = Arc::unwrap_or_clone(topology.graph);
        Self { entity: graph.entities.into_values().collect(), dependency: graph.dependencies }
    }
}
