//! What the APIs of AWS tell about who is there and who depends on whom, as plain data that a host joins with what people
//! wrote.
//!
//! [`EcsTopology`](super::ecs::EcsTopology) and [`AutoScalingTopology`](super::autoscaling::AutoScalingTopology) read it;
//! [`FoundTopology::within`] joins it.
//!
//! # What cannot be known
//!
//! - **Who calls whom.** No API of AWS says it. An environment that names a host is a hint, and a weak one: it says that
//!   somebody may be called. Traces say who is.
//! - **Names that are made elsewhere**: those of Cloud Map, of Route 53, of a load balancer. The configuration says whose
//!   they are, or they stay unknown; which were met is told ([`FoundTopology::unknown`]).
//! - **What runs on which machine.** The tasks of a service move; this is read once.
//! - **What is protected, which environment something belongs to, which replicas are one group.** People say so.

use std::collections::{BTreeMap, BTreeSet};

use ir_core::{ConfigError, Dependency, Entity, EntityId, Labels, Probability, Topology, TopologyDocument};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundTopology {
    /// Entities and dependencies. It may name dependencies on entities that only the people's own document has.
    pub document: TopologyDocument,
    /// What was met and could not be resolved, for people: names, never values.
    pub unknown: Vec<String>,
}

impl FoundTopology {
    /// Both together. Of an entity that both have, the first word counts.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.document.entity.extend(other.document.entity);
        self.document.dependency.extend(other.document.dependency);
        self.unknown.extend(other.unknown);
        self
    }

    /// What people wrote, and what was found beside it. Their word counts for every entity and every dependency that they
    /// have: what was found changes nothing of it. A dependency on nobody is left out.
    ///
    /// # Errors
    ///
    /// Those of [`Topology::new`]; there are none if `written` passed it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ir_adapters::aws::topology::FoundTopology;
    /// # use ir_core::{Entity, EntityId, Topology};
    /// let written = Topology::parse("[[entity]]\nid = \"web\"\nprotected = true\n", "topology.toml")?;
    /// let mut found = FoundTopology::default();
    /// found.document.entity = vec![Entity::service(EntityId::new("web")?), Entity::service(EntityId::new("api")?)];
    /// let both = found.within(&written)?;
    /// assert_eq!(both.entities().len(), 2);
    /// assert!(both.entity(&EntityId::new("web")?).is_some_and(|web| web.protected));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn within(self, written: &Topology) -> Result<Topology, ConfigError> {
        let TopologyDocument { mut entity, mut dependency } = written.clone().into();
        let mut known: BTreeSet<EntityId> = entity.iter().map(|entity| entity.id.clone()).collect();
        for found in self.document.entity {
            if known.insert(found.id.clone()) {
                entity.push(found);
            }
        }
        let has_ends = |d: &Dependency| d.from != d.to && known.contains(&d.from) && known.contains(&d.to);
        // Of equal ones the first is kept: that of the people.
        dependency.extend(self.document.dependency.into_iter().filter(has_ends));
        Topology::new(TopologyDocument { entity, dependency })
    }
}

/// A dependency that AWS tells of.
pub(super) fn dependency(
    from: &EntityId,
    to: &EntityId,
    kind: &str,
    strength: Probability,
    source: &str,
) -> Dependency {
    Dependency { from: from.clone(), to: to.clone(), kind: kind.to_owned(), strength, source: source.to_owned() }
}

/// An entity of that kind.
pub(super) fn entity<'a>(
    id: &EntityId,
    kind: &str,
    environment: &str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Entity {
    Entity {
        kind: kind.to_owned(),
        environment: environment.to_owned(),
        labels: labels.into_iter().collect::<Labels>(),
        ..Entity::service(id.clone())
    }
}

/// The name of the target group of that ARN: `targetgroup/web`.
pub(super) fn target_group(arn: &str) -> Option<String> {
    let rest = arn.split(':').nth(5)?;
    let mut path = rest.split('/');
    (path.next() == Some("targetgroup")).then(|| path.next()).flatten().map(|name| format!("targetgroup/{name}"))
}

/// The entity that the configuration gives to a name, or one of that very name. A name that can be none is unknown.
pub(super) fn resolved(named: &BTreeMap<String, EntityId>, name: &str, unknown: &mut Vec<String>) -> Option<EntityId> {
    if let Some(entity) = named.get(name) {
        return Some(entity.clone());
    }
    let entity = EntityId::new(name).ok();
    if entity.is_none() {
        unknown.push(format!("`{}` cannot be the name of an entity", name.chars().take(80).collect::<String>()));
    }
    entity
}
