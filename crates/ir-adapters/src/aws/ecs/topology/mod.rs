//! The services of ECS clusters, the target groups before them, and whom their environments name.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;
use ir_core::config::Problem;
use ir_core::{ConfigError, Ctx, EntityId, Probability, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Client;
use crate::aws::prepare;
use crate::aws::topology::{FoundTopology, dependency, entity, resolved, target_group};

mod hosts;
mod reading;
#[cfg(test)]
mod tests;

use hosts::Hosts;
use reading::Service;

/// Which clusters are read, and who is called what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EcsTopologyConfig {
    /// The clusters, by name or ARN.
    pub cluster: Vec<String>,
    /// The entities of services and target groups that are not to be called as here: `main/web`, `targetgroup/web`.
    pub name: BTreeMap<String, EntityId>,
    /// Whose hosts these are: the endpoint of a database, a name of Cloud Map. Those of Service Connect are read.
    pub host: BTreeMap<String, EntityId>,
    /// The environment that the entities belong to. `default`.
    pub environment: String,
    /// How likely a fault of somebody shows at a service whose environment names him, and at which it was not seen that
    /// it calls him. 0.5.
    pub named_strength: Probability,
    /// The most services of a cluster. 1,000: with more, the reading fails rather than tells a part.
    #[schemars(range(min = 1))]
    pub max_services: usize,
}

impl Default for EcsTopologyConfig {
    fn default() -> Self {
        Self {
            cluster: Vec::new(),
            name: BTreeMap::new(),
            host: BTreeMap::new(),
            environment: "default".to_owned(),
            named_strength: Probability::saturating(0.5),
            max_services: 1_000,
        }
    }
}

/// Reads the topology that ECS tells of.
///
/// | found | becomes |
/// |---|---|
/// | a service | an entity of kind `service`, `CLUSTER/SERVICE` unless the configuration names it |
/// | a target group before it | an entity of kind `target_group`; it depends on the service (`routes_to`) |
/// | a host in an environment that is one of Service Connect's or of the configuration | the service depends on its owner (`calls`, weak) |
/// | a service registered in Cloud Map | unknown: its name is Cloud Map's |
///
/// Values of environments are looked at for the names of known hosts, and nothing of them is kept, told or logged.
#[derive(Debug)]
pub struct EcsTopology {
    config: EcsTopologyConfig,
    client: Client,
}

impl EcsTopology {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no cluster, an empty name, no services allowed, an `sdk` without a region.
    pub fn new(config: EcsTopologyConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if config.cluster.is_empty() {
            problems.push(Problem::at("cluster", "at least one cluster is needed"));
        }
        for (n, cluster) in config.cluster.iter().enumerate().filter(|(_, cluster)| cluster.trim().is_empty()) {
            problems.push(Problem::at(format!("cluster[{n}]"), format!("`{cluster}` is no name")));
        }
        if config.max_services == 0 {
            problems.push(Problem::at("max_services", "must be more than 0"));
        }
        let client = Client::new(&prepare::prepared(sdk, &mut problems));
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        Ok(Self { config, client })
    }

    /// What there is now.
    ///
    /// # Errors
    ///
    /// As a source: `Unavailable`, `Unauthorized`, `RateLimited`, `Timeout`, `NotFound` for a cluster that is none,
    /// `Conflict` for one with too many services. Half a topology is none.
    pub async fn read(&self, ctx: &Ctx) -> Result<FoundTopology> {
        let mut services = Vec::new();
        for cluster in &self.config.cluster {
            services.extend(self.client.services(ctx, cluster, self.config.max_services).await?);
        }
        let mut found = FoundTopology::default();
        let mut named = Vec::new();
        for service in services {
            let name = format!("{}/{}", service.cluster, service.name);
            let id = resolved(&self.config.name, &name, &mut found.unknown);
            named.extend(id.map(|id| (id, service)));
        }
        let mut hosts = Hosts::new(&self.config.host);
        for (id, service) in &named {
            hosts.add(id, &service.aliases);
        }
        let mut environments = BTreeMap::new();
        for (_, service) in &named {
            if !environments.contains_key(&service.definition) {
                let environment = self.client.environment(ctx, &service.definition).await?;
                environments.insert(service.definition.clone(), environment);
            }
        }
        let mut groups = BTreeSet::new();
        for (id, service) in &named {
            self.add(&mut found, &mut groups, id, service);
            let environment = environments.get(&service.definition).into_iter().flatten();
            let owners: BTreeSet<&EntityId> = environment.flat_map(|(key, value)| hosts.named(key, value)).collect();
            let calls = owners.into_iter().filter(|owner| *owner != id);
            let strength = self.config.named_strength;
            found.document.dependency.extend(calls.map(|to| dependency(id, to, "calls", strength, "ecs-environment")));
        }
        Ok(found)
    }

    /// The service, and what is before it.
    fn add(&self, found: &mut FoundTopology, groups: &mut BTreeSet<EntityId>, id: &EntityId, service: &Service) {
        let environment = &self.config.environment;
        let family = super::client::revision(&service.definition).map_or("", |(family, _)| family);
        let labels = [("cluster", service.cluster.as_str()), ("service", &service.name), ("task_definition", family)];
        found.document.entity.push(entity(id, "service", environment, labels));
        for arn in &service.target_groups {
            let group = target_group(arn).and_then(|name| resolved(&self.config.name, &name, &mut found.unknown));
            let Some(group) = group else { continue };
            if groups.insert(group.clone()) {
                found.document.entity.push(entity(&group, "target_group", environment, []));
            }
            found.document.dependency.push(dependency(&group, id, "routes_to", Probability::ONE, "ecs"));
        }
        let registered = service.registries.iter().map(|registry| format!("`{id}` is in Cloud Map as `{registry}`"));
        found.unknown.extend(registered);
    }
}
