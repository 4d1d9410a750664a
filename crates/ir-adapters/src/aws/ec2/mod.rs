//! Amazon EC2: an instance is cut off from everybody by a security group that lets nothing through, and let in again.
//!
//! # Flow
//!
//! `ec2.quarantine` puts one configured security group in the place of all that the instance has; `ec2.release` puts
//! named ones in the place of that one, and is the undo, with exactly the groups that were there.
//!
//! # Guarantees
//!
//! Groups are looked up first, and must be in the instance's own network. An instance with more than one network
//! interface is refused, since the call that changes groups would reach only one of them. `ec2.release` does nothing to
//! an instance that is not in quarantine, so it cannot be used to give an instance any groups.
//!
//! # What it does not do
//!
//! EC2 lets connections that it already follows go on until they have been idle for a while; new ones are cut at once.
//! Evidence (memory, disks) is kept by nobody.
//!
//! # Why class PROBE
//!
//! There is no idempotency token, but the groups can be read, and a request whose signature has expired is refused.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_config::SdkConfig;
use ir_core::config::Problem;
use ir_core::execution::{ActionSpec, Attempt, Executor, Preview, Probe, Probed};
use ir_core::kernel::Permit;
use ir_core::plan::Call;
use ir_core::{
    ActionName, ConfigError, Ctx, Digest, EntityId, Error, ErrorKind, PartName, RecoveryClass, Result, Reversibility,
    RiskClass,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::send::{foreign_action, foreign_target, in_time, text};
use super::{error, prepare};

mod client;
#[cfg(test)]
mod tests;

use client::{Client, Instance};

const COMPONENT: &str = "ec2";
const QUARANTINE: &str = "ec2.quarantine";
const RELEASE: &str = "ec2.release";
const GROUPS: &str = "groups";
/// AWS allows at most so many groups for an interface.
const MAX_GROUPS: usize = 16;

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ec2Instance {
    /// Its name in the topology.
    pub entity: EntityId,
    /// Its id: `i-...`.
    pub instance: String,
}

/// The instances that may be acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ec2Config {
    /// The executor's name in records. `ec2`.
    pub name: String,
    /// The instances.
    pub instance: Vec<Ec2Instance>,
    /// The security group that lets nothing through: `sg-...`. Its rules are yours to check.
    pub quarantine_group: String,
    /// How long after a permit's deadline a request that was sent before it may still take effect, in milliseconds.
    /// 900,000: AWS accepts a signature for five minutes, in some services for fifteen, and clocks differ. Less is
    /// quicker, and no longer certain.
    pub settles_within_ms: u64,
}

impl Default for Ec2Config {
    fn default() -> Self {
        Self {
            name: "ec2".to_owned(),
            instance: Vec::new(),
            quarantine_group: String::new(),
            settles_within_ms: 900_000,
        }
    }
}

/// Performs `ec2.quarantine` and `ec2.release` on the instances it was given.
#[derive(Debug)]
pub struct Ec2Executor {
    name: String,
    instances: BTreeMap<EntityId, String>,
    quarantine: BTreeSet<String>,
    settles_within_ms: u64,
    client: Client,
}

impl Ec2Executor {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no instance, an entity named twice, an empty id, a group that is none, an `sdk` without a
    /// region.
    pub fn new(config: Ec2Config, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&config.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if config.instance.is_empty() {
            problems.push(Problem::at("instance", "at least one instance is needed"));
        }
        if !config.quarantine_group.starts_with("sg-") {
            problems.push(Problem::at("quarantine_group", "a security group is like `sg-0123456789abcdef0`"));
        }
        let mut instances = BTreeMap::new();
        for (n, Ec2Instance { entity, instance }) in config.instance.into_iter().enumerate() {
            if instances.contains_key(&entity) {
                problems.push(Problem::at(format!("instance[{n}].entity"), format!("`{entity}` is named twice")));
            }
            if !instance.starts_with("i-") {
                problems
                    .push(Problem::at(format!("instance[{n}].instance"), "an instance is like `i-0123456789abcdef0`"));
            }
            instances.insert(entity, instance);
        }
        let client = Client::new(&prepare::prepared(sdk, &mut problems));
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        let quarantine = BTreeSet::from([config.quarantine_group]);
        let (name, settles_within_ms) = (config.name, config.settles_within_ms);
        Ok(Self { name, instances, quarantine, settles_within_ms, client })
    }

    /// The instance of the call, and the groups that it is to have.
    fn own(&self, call: &Call) -> Result<(&str, BTreeSet<String>)> {
        let instance = self.instances.get(&call.target);
        let wanted = match call.action.as_str() {
            QUARANTINE => self.quarantine.clone(),
            RELEASE if instance.is_some() => named(call)?,
            RELEASE => BTreeSet::new(),
            _ => return Err(foreign_action(COMPONENT, &call.action)),
        };
        Ok((instance.ok_or_else(|| foreign_target(COMPONENT, call))?, wanted))
    }

    /// Reads the instance, and checks that it may get those groups.
    async fn checked(&self, ctx: &Ctx, call: &Call, id: &str, wanted: &BTreeSet<String>) -> Result<Instance> {
        let refused = |message: String| Err(Error::new(ErrorKind::Conflict, COMPONENT, message));
        let now = self.client.instance(ctx, id).await?;
        if now.n_interfaces > 1 {
            return refused(format!("`{id}` has {} network interfaces, and only one can be changed", now.n_interfaces));
        }
        if call.action.as_str() == RELEASE && now.groups != self.quarantine && now.groups != *wanted {
            return refused(format!("`{id}` is not in quarantine"));
        }
        if call.action.as_str() == QUARANTINE && now.groups.is_empty() {
            return refused(format!("`{id}` has no groups that could be given back"));
        }
        let networks = self.client.networks(ctx, wanted).await?;
        match networks.into_iter().find(|(_, network)| *network != now.network) {
            Some((group, _)) => refused(format!("`{group}` is of another network than `{id}`")),
            None => Ok(now),
        }
    }
}

/// The groups that a release names.
fn named(call: &Call) -> Result<BTreeSet<String>> {
    let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidInput, COMPONENT, message));
    let list = text(COMPONENT, call, GROUPS)?.unwrap_or_default();
    let groups: BTreeSet<String> = list.split(',').map(|group| group.trim().to_owned()).collect();
    if groups.len() > MAX_GROUPS {
        return invalid("an interface has at most 16 groups");
    }
    if !groups.iter().all(|group| group.starts_with("sg-")) {
        return invalid("`groups` must be like `sg-1,sg-2`");
    }
    Ok(groups)
}

fn joined(groups: &BTreeSet<String>) -> String {
    groups.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

#[async_trait]
impl Executor for Ec2Executor {
    fn name(&self) -> &str {
        &self.name
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        let recovery = RecoveryClass::Probe { settles_within_ms: self.settles_within_ms };
        let undo = |action| Reversibility::Undo { action: ActionName::literal(action) };
        let groups = json!({ "type": "string", "minLength": 4, "maxLength": 400, "description": "`sg-1,sg-2`" });
        let quarantine = ActionSpec {
            name: ActionName::literal(QUARANTINE),
            description: "Cuts the instance off from everybody by its security groups.".to_owned(),
            params: ActionSpec::no_params(),
            risk: RiskClass::High,
            reversibility: undo(RELEASE),
            recovery,
            blast_radius: 1,
            changes_target: true,
        };
        let release = ActionSpec {
            name: ActionName::literal(RELEASE),
            description: "Gives an instance in quarantine the named security groups.".to_owned(),
            params: json!({ "type": "object", "properties": { GROUPS: groups }, "required": [GROUPS] }),
            reversibility: undo(QUARANTINE),
            ..quarantine.clone()
        };
        vec![quarantine, release]
    }

    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        let (id, wanted) = self.own(call)?;
        let now = self.checked(ctx, call, id, &wanted).await?;
        let (groups, then) = (joined(&now.groups), joined(&wanted));
        let undo = if call.action.as_str() == QUARANTINE {
            let params = Map::from_iter([(GROUPS.to_owned(), json!(groups))]);
            Call { action: ActionName::literal(RELEASE), params, ..call.clone() }
        } else {
            Call { action: ActionName::literal(QUARANTINE), params: Map::new(), ..call.clone() }
        };
        Ok(Preview {
            state: Digest::of_parts([b"groups".as_slice(), id.as_bytes(), groups.as_bytes()]),
            summary: format!("`{id}` has the security groups {groups}; then {then}"),
            undo: Some(undo),
        })
    }

    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let (id, wanted) = self.own(permit.call())?;
        // This also opens the connection and fetches the credentials, so that the effect itself is one request.
        self.checked(ctx, permit.call(), id, &wanted).await?;
        let request = self.client.change(id, &wanted);
        let what = format!("{} of `{}`", permit.call().action, permit.call().target);
        let effect = permit.redeem()?;
        let answer = in_time(ctx, COMPONENT, &effect, request.send()).await?;
        match answer {
            Ok(_) => Ok(Attempt::applied(format!("`{id}` has the security groups {}", joined(&wanted)))),
            Err(failure) => error::ended(COMPONENT, &what, effect, &failure),
        }
    }

    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        let (id, wanted) = self.own(&probe.call)?;
        let now = self.client.instance(ctx, id).await?;
        Ok(if now.groups == wanted { Probed::Applied } else { Probed::NotApplied })
    }
}
