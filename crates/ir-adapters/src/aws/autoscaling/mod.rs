//! Amazon EC2 Auto Scaling: change the desired capacity of a group, or have one of its instances replaced.
//!
//! # Guarantees
//!
//! A capacity outside of the group's own minimum and maximum, or of those of the configuration, is refused here, before
//! anything is sent. An instance is terminated only while it is a member of the group that it is said to be of, and
//! only when enough others are in service. The group's desired capacity stays, so that it starts another one.
//!
//! # Why class PROBE
//!
//! Neither call takes an idempotency token, but both results can be read, and a signature that has expired is refused:
//! after [`AutoScalingConfig::settles_within_ms`] what is there is all that will come. Both name their result and not a
//! change, so that a probe needs no memory.
//!
//! # Why `asg.terminate_instance` cannot be undone
//!
//! The group starts another instance, but the terminated one and what was on its own disks are gone for good. Only the
//! host can know that nothing was: with [`AutoScalingConfig::disposable`] it says so, and the action counts as one that
//! passes by itself.

use std::collections::BTreeMap;

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

use super::send::{foreign_action, foreign_target, in_time, text, whole_number};
use super::{error, prepare};

mod client;
#[cfg(test)]
mod tests;
mod topology;

use client::{Client, Group};
pub use topology::{AutoScalingTopology, AutoScalingTopologyConfig};

const COMPONENT: &str = "autoscaling";
const CAPACITY: &str = "capacity";
const INSTANCE: &str = "instance";

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoScalingGroup {
    /// Its name in the topology.
    pub entity: EntityId,
    /// The group's name in AWS.
    pub group: String,
    /// The least capacity that may be asked for, beside the group's own. 0.
    #[serde(default)]
    pub min_capacity: u32,
    /// The largest capacity that may be asked for, beside the group's own. 100.
    #[serde(default = "hundred")]
    pub max_capacity: u32,
    /// How many instances must be left in service when one is terminated. 1.
    #[serde(default = "one")]
    pub min_left: u32,
}

const fn one() -> u32 {
    1
}

const fn hundred() -> u32 {
    100
}

/// The groups that may be acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AutoScalingConfig {
    /// The executor's name in records. `autoscaling`.
    pub name: String,
    /// The groups.
    pub group: Vec<AutoScalingGroup>,
    /// Whether nothing is lost with an instance of these groups. Where it is so, `asg.terminate_instance` counts as
    /// transient; else it is irreversible, and two people must approve. false.
    pub disposable: bool,
    /// How long after a permit's deadline a request that was sent before it may still take effect, in milliseconds.
    /// 900,000: AWS accepts a signature for five minutes, in some services for fifteen, and clocks differ. Less is
    /// quicker, and no longer certain.
    pub settles_within_ms: u64,
}

impl Default for AutoScalingConfig {
    fn default() -> Self {
        Self { name: "autoscaling".to_owned(), group: Vec::new(), disposable: false, settles_within_ms: 900_000 }
    }
}

/// Performs `asg.set_desired` and `asg.terminate_instance` on the groups it was given.
#[derive(Debug)]
pub struct AutoScalingExecutor {
    name: String,
    groups: BTreeMap<EntityId, AutoScalingGroup>,
    disposable: bool,
    settles_within_ms: u64,
    client: Client,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    SetDesired,
    Terminate,
}

impl Action {
    const ALL: [Self; 2] = [Self::SetDesired, Self::Terminate];

    const fn name(self) -> &'static str {
        match self {
            Self::SetDesired => "asg.set_desired",
            Self::Terminate => "asg.terminate_instance",
        }
    }

    fn spec(self, disposable: bool, settles_within_ms: u64) -> ActionSpec {
        let name = ActionName::literal(self.name());
        let (description, parameter, property, risk, reversibility) = match self {
            Self::SetDesired => (
                "Changes how many instances the group keeps.",
                CAPACITY,
                json!({ "type": "integer", "minimum": 0, "maximum": 10_000, "description": "the desired capacity" }),
                RiskClass::Medium,
                Reversibility::Undo { action: name.clone() },
            ),
            Self::Terminate => (
                "Terminates an instance of the group, which starts another one in its place.",
                INSTANCE,
                json!({ "type": "string", "minLength": 3, "maxLength": 32, "description": "the instance's id: `i-...`" }),
                if disposable { RiskClass::Medium } else { RiskClass::High },
                if disposable { Reversibility::Transient } else { Reversibility::Irreversible },
            ),
        };
        ActionSpec {
            name,
            description: description.to_owned(),
            params: json!({ "type": "object", "properties": { parameter: property }, "required": [parameter] }),
            risk,
            reversibility,
            recovery: RecoveryClass::Probe { settles_within_ms },
            blast_radius: 1,
            changes_target: true,
        }
    }
}

impl AutoScalingExecutor {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no group, an entity named twice, an empty name, bounds that allow nothing, an `sdk`
    /// without a region.
    pub fn new(config: AutoScalingConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&config.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if config.group.is_empty() {
            problems.push(Problem::at("group", "at least one group is needed"));
        }
        let mut groups = BTreeMap::new();
        for (n, group) in config.group.into_iter().enumerate() {
            let at = |field: &str| format!("group[{n}].{field}");
            if groups.contains_key(&group.entity) {
                problems.push(Problem::at(at("entity"), format!("`{}` is named twice", group.entity)));
            }
            if group.group.trim().is_empty() {
                problems.push(Problem::at(at("group"), "is empty"));
            }
            if group.min_capacity > group.max_capacity {
                problems.push(Problem::at(at("min_capacity"), "must not be more than `max_capacity`"));
            }
            if i32::try_from(group.max_capacity).is_err() {
                problems.push(Problem::at(at("max_capacity"), "is more than a group can have"));
            }
            groups.insert(group.entity.clone(), group);
        }
        let client = Client::new(&prepare::prepared(sdk, &mut problems));
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        let AutoScalingConfig { name, disposable, settles_within_ms, .. } = config;
        Ok(Self { name, groups, disposable, settles_within_ms, client })
    }

    fn own(&self, call: &Call) -> Result<(Action, &AutoScalingGroup)> {
        let action = Action::ALL.into_iter().find(|action| action.name() == call.action.as_str());
        let action = action.ok_or_else(|| foreign_action(COMPONENT, &call.action))?;
        let group = self.groups.get(&call.target).ok_or_else(|| foreign_target(COMPONENT, call))?;
        Ok((action, group))
    }
}

impl AutoScalingGroup {
    /// The capacity that is wanted, within all bounds, as the present one must be, since it is the undo's.
    fn wanted(&self, now: &Group, call: &Call) -> Result<i32> {
        let wanted = whole_number(COMPONENT, call, CAPACITY)?;
        let least = i64::from(now.min).max(i64::from(self.min_capacity));
        let most = i64::from(now.max).min(i64::from(self.max_capacity));
        let within = |capacity: i32| (least..=most).contains(&i64::from(capacity));
        if !within(wanted) {
            let message = format!("a capacity of {wanted} is outside of {least} to {most}");
            return Err(Error::new(ErrorKind::InvalidInput, COMPONENT, message));
        }
        if !within(now.desired) {
            let message = format!("the capacity is {}, which is outside of {least} to {most} already", now.desired);
            return Err(Error::new(ErrorKind::Conflict, COMPONENT, message));
        }
        Ok(wanted)
    }

    /// The instance that is meant, if it may go.
    fn victim<'a>(&self, now: &Group, call: &'a Call) -> Result<&'a str> {
        let refused = |kind, message: String| Err(Error::new(kind, COMPONENT, message));
        let id = text(COMPONENT, call, INSTANCE)?.unwrap_or_default();
        let Some(state) = now.instances.get(id) else {
            return refused(ErrorKind::NotFound, format!("`{id}` is no instance of group `{}`", self.group));
        };
        if state.is_leaving {
            return refused(ErrorKind::Conflict, format!("`{id}` is going already"));
        }
        let left = now.instances.iter().filter(|(other, state)| *other != id && state.is_in_service).count();
        if left < usize::try_from(self.min_left).unwrap_or(usize::MAX) {
            let message = format!("without `{id}` {left} instances are in service, fewer than {}", self.min_left);
            return refused(ErrorKind::Conflict, message);
        }
        Ok(id)
    }
}

#[async_trait]
impl Executor for AutoScalingExecutor {
    fn name(&self) -> &str {
        &self.name
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        Action::ALL.into_iter().map(|action| action.spec(self.disposable, self.settles_within_ms)).collect()
    }

    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        let (action, group) = self.own(call)?;
        let now = self.client.group(ctx, &group.group).await?;
        Ok(match action {
            Action::SetDesired => {
                let wanted = group.wanted(&now, call)?;
                let params = Map::from_iter([(CAPACITY.to_owned(), json!(now.desired))]);
                Preview {
                    state: Digest::of_parts([b"capacity".as_slice(), now.desired.to_string().as_bytes()]),
                    summary: format!("`{}` has a desired capacity of {}; then {wanted}", call.target, now.desired),
                    undo: Some(Call { params, ..call.clone() }),
                }
            }
            Action::Terminate => {
                let id = group.victim(&now, call)?;
                let kept = now.desired;
                Preview {
                    state: Digest::of_parts([b"instance".as_slice(), id.as_bytes()]),
                    summary: format!(
                        "`{id}` of `{}` is terminated; the group keeps its capacity of {kept}",
                        call.target
                    ),
                    undo: None,
                }
            }
        })
    }

    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let (action, group) = self.own(permit.call())?;
        // This also opens the connection and fetches the credentials, so that the effect itself is one request.
        let now = self.client.group(ctx, &group.group).await?;
        let what = format!("{} of `{}`", action.name(), permit.call().target);
        match action {
            Action::SetDesired => {
                let wanted = group.wanted(&now, permit.call())?;
                let request = self.client.set_desired(&group.group, wanted);
                let effect = permit.redeem()?;
                let answer = in_time(ctx, COMPONENT, &effect, request.send()).await?;
                match answer {
                    Ok(_) => {
                        Ok(Attempt::applied(format!("`{}` has a desired capacity of {wanted}", effect.call().target)))
                    }
                    Err(failure) => error::ended(COMPONENT, &what, effect, &failure),
                }
            }
            Action::Terminate => {
                let id = group.victim(&now, permit.call())?.to_owned();
                let request = self.client.terminate(&id);
                let effect = permit.redeem()?;
                let answer = in_time(ctx, COMPONENT, &effect, request.send()).await?;
                match answer {
                    Ok(_) => Ok(Attempt::applied(format!("`{id}` of `{}` goes", effect.call().target))),
                    Err(failure) => error::ended(COMPONENT, &what, effect, &failure),
                }
            }
        }
    }

    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        let (action, group) = self.own(&probe.call)?;
        let now = self.client.group(ctx, &group.group).await?;
        let is_there = match action {
            Action::SetDesired => now.desired == whole_number(COMPONENT, &probe.call, CAPACITY)?,
            Action::Terminate => {
                let id = text(COMPONENT, &probe.call, INSTANCE)?.unwrap_or_default();
                now.instances.get(id).is_none_or(|state| state.is_leaving)
            }
        };
        Ok(if is_there { Probed::Applied } else { Probed::NotApplied })
    }
}
