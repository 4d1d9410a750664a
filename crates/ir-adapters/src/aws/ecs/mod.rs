//! Amazon ECS: put a service back to its former task definition, start its tasks anew, change how many there are.
//!
//! # Flow
//!
//! A preview reads the service and, for a roll-back, the task definition that it would get. `execute` reads the service
//! once more, redeems its permit, and sends one `UpdateService`.
//!
//! # Guarantees
//!
//! `ecs.rollback` without a name means the revision before the one that the service runs *in the preview*: if the
//! service has moved on since, nothing is sent. A named definition must be of the family that the service runs now.
//! `ecs.scale` keeps to the bounds of the configuration, before and after, so that its undo keeps to them as well.
//!
//! # Why class PROBE
//!
//! `UpdateService` takes no idempotency token, so a repeated request cannot be recognised. But the service can be read,
//! and a request has no effect any more once its signature has expired: AWS refuses what arrives more than five minutes
//! (in some services fifteen) after it was signed, and it is signed before the permit's deadline. So after
//! [`EcsConfig::settles_within_ms`] what is there is all that will come. Which definition was meant by an unnamed
//! roll-back, and which deployment was there before a redeployment, only the process that sent it knows: after its
//! crash a probe says "unknown", and a person is asked.
//!
//! # Why `ecs.redeploy` has no undo
//!
//! It starts the same tasks anew and leaves the service as it was; there is nothing to take back.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use ir_core::config::Problem;
use ir_core::execution::{ActionSpec, Attempt, Executor, Preview, Probe, Probed};
use ir_core::kernel::Permit;
use ir_core::plan::Call;
use ir_core::{ConfigError, Ctx, Digest, EntityId, Error, ErrorKind, PartName, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::send::{foreign_action, foreign_target, in_time, text, whole_number};
use super::{error, prepare};

mod action;
mod changes;
mod client;
mod memory;
#[cfg(test)]
mod tests;
mod topology;

use action::Action;
pub use changes::EcsChanges;
use client::{Client, Service};
use memory::{Memory, Sent};
pub use topology::{EcsTopology, EcsTopologyConfig};

const COMPONENT: &str = "ecs";
/// The parameter that names a task definition.
const DEFINITION: &str = "task_definition";
/// The parameter that says how many tasks.
const COUNT: &str = "count";

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EcsService {
    /// Its name in the topology.
    pub entity: EntityId,
    /// The cluster, by name or ARN.
    pub cluster: String,
    /// The service, by name or ARN.
    pub service: String,
    /// The least number of tasks that `ecs.scale` may ask for. 1.
    #[serde(default = "one")]
    pub min_count: u32,
    /// The largest number of tasks that `ecs.scale` may ask for. 10.
    #[serde(default = "ten")]
    pub max_count: u32,
}

const fn one() -> u32 {
    1
}

const fn ten() -> u32 {
    10
}

/// The services that may be acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EcsConfig {
    /// The executor's name in records. `ecs`.
    pub name: String,
    /// The services.
    pub service: Vec<EcsService>,
    /// How long after a permit's deadline a request that was sent before it may still take effect, in milliseconds.
    /// 900,000: AWS accepts a signature for five minutes, in some services for fifteen, and clocks differ. Less is
    /// quicker, and no longer certain.
    pub settles_within_ms: u64,
}

impl Default for EcsConfig {
    fn default() -> Self {
        Self { name: "ecs".to_owned(), service: Vec::new(), settles_within_ms: 900_000 }
    }
}

/// Performs `ecs.rollback`, `ecs.redeploy` and `ecs.scale` on the services it was given.
#[derive(Debug)]
pub struct EcsExecutor {
    name: String,
    services: BTreeMap<EntityId, EcsService>,
    settles_within_ms: u64,
    client: Client,
    /// What the service ran and would run, as it was previewed for an unnamed roll-back.
    previewed: Memory<EntityId, Exchange>,
    sent: Sent<Request>,
}

/// From one task definition to another, by their ARNs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exchange {
    from: String,
    to: String,
}

/// What was sent, as far as a probe needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Request {
    Definition(Exchange),
    /// The deployment and the definition that were there before.
    Fresh {
        deployment: Option<String>,
        definition: String,
    },
    Count,
}

impl EcsConfig {
    /// The services by their entities, and the client, if nothing is wrong.
    fn checked(&self, sdk: &SdkConfig) -> Result<(BTreeMap<EntityId, EcsService>, Client), ConfigError> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if self.service.is_empty() {
            problems.push(Problem::at("service", "at least one service is needed"));
        }
        let mut services = BTreeMap::new();
        for (n, service) in self.service.iter().enumerate() {
            let at = |field: &str| format!("service[{n}].{field}");
            if services.contains_key(&service.entity) {
                problems.push(Problem::at(at("entity"), format!("`{}` is named twice", service.entity)));
            }
            for (field, value) in [("cluster", &service.cluster), ("service", &service.service)] {
                if value.trim().is_empty() {
                    problems.push(Problem::at(at(field), "is empty"));
                }
            }
            if service.min_count > service.max_count {
                problems.push(Problem::at(at("min_count"), "must not be more than `max_count`"));
            }
            if i32::try_from(service.max_count).is_err() {
                problems.push(Problem::at(at("max_count"), "is more than ECS can count"));
            }
            services.insert(service.entity.clone(), service.clone());
        }
        let client = Client::new(&prepare::prepared(sdk, &mut problems));
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        Ok((services, client))
    }
}

impl EcsExecutor {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no service, an entity named twice, an empty name, bounds that allow nothing, an `sdk`
    /// without a region.
    pub fn new(config: EcsConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let (services, client) = config.checked(sdk)?;
        Ok(Self {
            name: config.name,
            services,
            settles_within_ms: config.settles_within_ms,
            client,
            previewed: Memory::default(),
            sent: Sent::default(),
        })
    }

    fn own(&self, call: &Call) -> Result<(Action, &EcsService)> {
        let action = Action::ALL.into_iter().find(|action| action.name() == call.action.as_str());
        let action = action.ok_or_else(|| foreign_action(COMPONENT, &call.action))?;
        let service = self.services.get(&call.target).ok_or_else(|| foreign_target(COMPONENT, call))?;
        Ok((action, service))
    }

    /// The definition that a roll-back of `now` leads to.
    async fn rolled_back(&self, ctx: &Ctx, now: &Service, call: &Call) -> Result<Exchange> {
        let to = match text(COMPONENT, call, DEFINITION)? {
            Some(named) => self.client.definition(ctx, named).await?,
            None => self.client.definition_before(ctx, &now.definition).await?,
        };
        let family = |arn: &str| client::revision(arn).map(|(family, _)| family.to_owned());
        if family(&to) != family(&now.definition) {
            let message = format!("`{to}` is not of the family of `{}`, which `{}` runs", now.definition, call.target);
            return Err(Error::new(ErrorKind::InvalidInput, COMPONENT, message));
        }
        Ok(Exchange { from: now.definition.clone(), to })
    }

    /// How many tasks are wanted, within the bounds.
    fn scaled(service: &EcsService, now: &Service, call: &Call) -> Result<i32> {
        let wanted = whole_number(COMPONENT, call, COUNT)?;
        let allowed = i64::from(service.min_count)..=i64::from(service.max_count);
        if !allowed.contains(&i64::from(wanted)) {
            let message = format!("{wanted} tasks are outside of {} to {}", service.min_count, service.max_count);
            return Err(Error::new(ErrorKind::InvalidInput, COMPONENT, message));
        }
        if !allowed.contains(&i64::from(now.desired)) {
            let (least, most) = (service.min_count, service.max_count);
            let message =
                format!("the service has {} tasks, which is outside of {least} to {most} already", now.desired);
            return Err(Error::new(ErrorKind::Conflict, COMPONENT, message));
        }
        Ok(wanted)
    }
}

#[async_trait]
impl Executor for EcsExecutor {
    fn name(&self) -> &str {
        &self.name
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        Action::ALL.into_iter().map(|action| action.spec(self.settles_within_ms)).collect()
    }

    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        let (action, service) = self.own(call)?;
        let now = self.client.service(ctx, service).await?;
        let target = &call.target;
        let undo =
            |name: &str, value| Some(Call { params: Map::from_iter([(name.to_owned(), value)]), ..call.clone() });
        Ok(match action {
            Action::Rollback => {
                now.takes_definitions()?;
                let exchange = self.rolled_back(ctx, &now, call).await?;
                // What was deregistered cannot be put back: without this there would be no way back.
                let former = self.client.definition(ctx, &now.definition).await?;
                self.previewed.remember(target.clone(), exchange.clone());
                let Exchange { from, to } = exchange;
                let then = if from == to { "nothing changes".to_owned() } else { format!("it gets `{to}`") };
                Preview {
                    state: Digest::of_parts([b"definition".as_slice(), from.as_bytes(), to.as_bytes()]),
                    summary: format!("`{target}` runs {} tasks of `{from}`; {then}", now.desired),
                    undo: undo(DEFINITION, json!(former)),
                }
            }
            Action::Redeploy => {
                now.takes_definitions()?;
                let deployment = now.primary.as_deref().unwrap_or("none");
                let parts = [b"deployment".as_slice(), now.definition.as_bytes(), deployment.as_bytes()];
                let (desired, definition) = (now.desired, &now.definition);
                Preview {
                    state: Digest::of_parts(parts),
                    summary: format!(
                        "`{target}` runs {desired} tasks of `{definition}`; they are replaced by fresh ones"
                    ),
                    undo: None,
                }
            }
            Action::Scale => {
                now.takes_counts()?;
                let wanted = Self::scaled(service, &now, call)?;
                Preview {
                    state: Digest::of_parts([b"count".as_slice(), now.desired.to_string().as_bytes()]),
                    summary: format!("`{target}` is to run {} tasks; then {wanted}", now.desired),
                    undo: undo(COUNT, json!(now.desired)),
                }
            }
        })
    }

    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let (action, service) = self.own(permit.call())?;
        // This also opens the connection and fetches the credentials, so that the effect itself is one request.
        let now = self.client.service(ctx, service).await?;
        let call = permit.call();
        let update = self.client.update(service);
        let (update, sent, summary) = match action {
            Action::Rollback => {
                now.takes_definitions()?;
                let exchange = self.rolled_back(ctx, &now, call).await?;
                if !call.params.contains_key(DEFINITION)
                    && self.previewed.recall(&call.target) != Some(exchange.clone())
                {
                    let message =
                        format!("`{}` runs `{}`, which is not what was previewed", call.target, now.definition);
                    return Err(Error::new(ErrorKind::Conflict, COMPONENT, message));
                }
                let summary = format!("`{}` gets `{}`", call.target, exchange.to);
                (update.task_definition(&exchange.to), Request::Definition(exchange), summary)
            }
            Action::Redeploy => {
                now.takes_definitions()?;
                let summary = format!("the tasks of `{}` are replaced", call.target);
                let sent = Request::Fresh { deployment: now.primary.clone(), definition: now.definition.clone() };
                (update.force_new_deployment(true), sent, summary)
            }
            Action::Scale => {
                now.takes_counts()?;
                let wanted = Self::scaled(service, &now, call)?;
                (update.desired_count(wanted), Request::Count, format!("`{}` is to run {wanted} tasks", call.target))
            }
        };
        let what = format!("{} of `{}`", action.name(), call.target);
        let effect = permit.redeem()?;
        self.sent.remember(effect.key(), sent);
        let answer = in_time(ctx, COMPONENT, &effect, update.send()).await?;
        match answer {
            Ok(_) => Ok(Attempt::applied(summary)),
            Err(failure) => error::ended(COMPONENT, &what, effect, &failure),
        }
    }

    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        let (action, service) = self.own(&probe.call)?;
        let now = self.client.service(ctx, service).await?;
        let sent = self.sent.recall(&probe.key);
        let is_there = match (action, sent) {
            (Action::Scale, _) => now.desired == whole_number(COMPONENT, &probe.call, COUNT)?,
            (Action::Rollback, Some(Request::Definition(Exchange { from, to }))) => match &now.definition {
                current if *current == to => true,
                current if *current == from => false,
                // Somebody else has put a third one in place, before or after us.
                _ => return Ok(Probed::Unknown),
            },
            (Action::Rollback, _) => match text(COMPONENT, &probe.call, DEFINITION)? {
                Some(named) => client::same_definition(named, &now.definition),
                None => return Ok(Probed::Unknown),
            },
            (Action::Redeploy, Some(Request::Fresh { deployment: Some(old), definition })) => match &now.primary {
                Some(current) if *current == old => false,
                // Whoever began it: the tasks of this definition are replaced.
                Some(_) if now.definition == definition => true,
                _ => return Ok(Probed::Unknown),
            },
            (Action::Redeploy, _) => return Ok(Probed::Unknown),
        };
        Ok(if is_there { Probed::Applied } else { Probed::NotApplied })
    }
}
