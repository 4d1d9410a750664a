//! Auto Scaling groups, their instances, and the target groups before them.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;
use ir_core::config::Problem;
use ir_core::{ConfigError, Ctx, Entity, EntityId, Probability, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{Client, is_leaving};
use crate::aws::prepare;
use crate::aws::topology::{FoundTopology, dependency, entity, resolved, target_group};

#[cfg(test)]
mod tests;

/// Which groups are read, and who is called what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AutoScalingTopologyConfig {
    /// The groups, by name.
    pub group: Vec<String>,
    /// The entities of groups, instances and target groups that are not to be called as AWS calls them: `workers`,
    /// `i-0123456789abcdef0`, `targetgroup/web`.
    pub name: BTreeMap<String, EntityId>,
    /// The environment that the entities belong to. `default`.
    pub environment: String,
}

impl Default for AutoScalingTopologyConfig {
    fn default() -> Self {
        Self { group: Vec::new(), name: BTreeMap::new(), environment: "default".to_owned() }
    }
}

/// Reads the topology that Auto Scaling tells of.
///
/// | found | becomes |
/// |---|---|
/// | a group | an entity of kind `auto_scaling_group`, called as the group unless the configuration names it |
/// | an instance | an entity of kind `host`, called by its id, and one of the group's replicas; the group depends on it (`runs_on`, the stronger the fewer they are) |
/// | a target group | an entity of kind `target_group`; it depends on the group (`routes_to`) |
///
/// Instances come and go: what is read is what was there. An instance that is leaving is none.
#[derive(Debug)]
pub struct AutoScalingTopology {
    config: AutoScalingTopologyConfig,
    client: Client,
}

impl AutoScalingTopology {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no group, an empty name, an `sdk` without a region.
    pub fn new(config: AutoScalingTopologyConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if config.group.is_empty() {
            problems.push(Problem::at("group", "at least one group is needed"));
        }
        for (n, group) in config.group.iter().enumerate().filter(|(_, group)| group.trim().is_empty()) {
            problems.push(Problem::at(format!("group[{n}]"), format!("`{group}` is no name")));
        }
        let client = Client::new(&prepare::prepared(sdk, &mut problems));
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        Ok(Self { config, client })
    }

    /// What there is now.
    ///
    /// # Errors
    ///
    /// As a source: `Unavailable`, `Unauthorized`, `RateLimited`, `Timeout`, and `NotFound` for a group that is none. Half
    /// a topology is none.
    pub async fn read(&self, ctx: &Ctx) -> Result<FoundTopology> {
        let mut found = FoundTopology::default();
        let mut seen = BTreeSet::new();
        for name in &self.config.group {
            let group = self.client.membership(ctx, name).await?;
            self.add(&mut found, &mut seen, &group);
        }
        Ok(found)
    }

    fn add(&self, found: &mut FoundTopology, seen: &mut BTreeSet<EntityId>, group: &Membership) {
        let environment = &self.config.environment;
        let Some(id) = resolved(&self.config.name, &group.name, &mut found.unknown) else { return };
        let mut put = |found: &mut FoundTopology, entity: Entity| {
            if seen.insert(entity.id.clone()) {
                found.document.entity.push(entity);
            }
        };
        put(found, entity(&id, "auto_scaling_group", environment, [("auto_scaling_group", group.name.as_str())]));
        // One of many that fails shows little of itself.
        #[expect(clippy::cast_precision_loss, reason = "a count of instances")]
        let strength = Probability::saturating(1.0 / group.instances.len().max(1) as f64);
        for (instance, zone) in &group.instances {
            let Some(member) = resolved(&self.config.name, instance, &mut found.unknown) else { continue };
            let host = entity(&member, "host", environment, [("instance", instance.as_str()), ("zone", zone)]);
            put(found, Entity { group: Some(id.as_str().to_owned()), ..host });
            found.document.dependency.push(dependency(&id, &member, "runs_on", strength, "autoscaling"));
        }
        for name in group.target_groups.iter().filter_map(|arn| target_group(arn)) {
            let Some(before) = resolved(&self.config.name, &name, &mut found.unknown) else { continue };
            put(found, entity(&before, "target_group", environment, []));
            found.document.dependency.push(dependency(&before, &id, "routes_to", Probability::ONE, "autoscaling"));
        }
    }
}

/// Who belongs to a group.
#[derive(Debug)]
struct Membership {
    name: String,
    /// Ids, with the zones that they are in.
    instances: Vec<(String, String)>,
    target_groups: Vec<String>,
}

impl Client {
    async fn membership(&self, ctx: &Ctx, name: &str) -> Result<Membership> {
        let group = self.described(ctx, name).await?;
        let instances = group.instances().iter().filter(|instance| !is_leaving(instance)).filter_map(|instance| {
            let zone = instance.availability_zone().unwrap_or_default();
            Some((instance.instance_id()?.to_owned(), zone.to_owned()))
        });
        Ok(Membership {
            name: name.to_owned(),
            instances: instances.collect(),
            target_groups: group.target_group_arns().to_vec(),
        })
    }
}
