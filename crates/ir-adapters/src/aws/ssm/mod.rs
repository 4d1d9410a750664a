//! AWS Systems Manager: one of a fixed list of commands is run on an instance. Its automations are in [`automation`].
//!
//! # Flow
//!
//! A plan names a command of the configuration, never a document or its parameters: neither a playbook nor a model can
//! bring a line of shell. A preview reads the document. `execute` reads it once more, redeems its permit, sends one
//! `SendCommand` with the hash of the document as it was read, so that AWS refuses another one, and asks until the
//! command has ended or the permit's deadline has come.
//!
//! # Why class BLIND
//!
//! `SendCommand` takes no idempotency token, and what a command does nobody can see from outside. An answer that was
//! lost, a command that failed half way, one that still runs at the deadline: each leaves the effect unknown, and a
//! person is asked.
//!
//! # Why it counts as irreversible
//!
//! Nobody can know what a command changes but who wrote it. A host that has only such commands as leave nothing behind
//! says so by [`SsmConfig::transient`].

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use ir_core::config::Problem;
use ir_core::execution::{ActionSpec, Attempt, Executor, Preview, Probe, Probed};
use ir_core::kernel::{Effect, Permit};
use ir_core::plan::Call;
use ir_core::{
    ActionName, ConfigError, Ctx, Digest, EntityId, Error, ErrorKind, PartName, RecoveryClass, Result, Reversibility,
    RiskClass,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::send::{foreign_action, foreign_target, in_time, text};
use super::{error, prepare};

pub mod automation;
mod client;
mod document;
#[cfg(test)]
mod tests;

use client::{Client, Ended};
use document::Wanted;

const COMPONENT: &str = "ssm";
const RUN: &str = "ssm.run_command";
const COMMAND: &str = "command";

/// One command that may be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SsmCommand {
    /// Its name in plans: `restart-nginx`.
    pub name: String,
    /// The document: `AWS-RunShellScript`, or one of your own.
    pub document: String,
    /// The document's version; its default one where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The SHA-256 of the document's content in hexadecimal, as AWS tells it: another content is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The document's parameters, which are always the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Vec<String>>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SsmInstance {
    /// Its name in the topology.
    pub entity: EntityId,
    /// Its id: `i-...`, or `mi-...` for one outside of EC2.
    pub instance: String,
}

/// Which commands may be run, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SsmConfig {
    /// The executor's name in records. `ssm`.
    pub name: String,
    /// The commands.
    pub command: Vec<SsmCommand>,
    /// The instances.
    pub instance: Vec<SsmInstance>,
    /// Whether every command leaves its instance as it was, as a restart of a service does. false.
    pub transient: bool,
    /// How often is asked whether a command has ended, in milliseconds. 1,000.
    #[schemars(range(min = 1))]
    pub poll_ms: u64,
}

impl Default for SsmConfig {
    fn default() -> Self {
        Self { name: "ssm".to_owned(), command: Vec::new(), instance: Vec::new(), transient: false, poll_ms: 1_000 }
    }
}

/// Performs `ssm.run_command` on the instances it was given.
#[derive(Debug)]
pub struct SsmExecutor {
    name: String,
    commands: BTreeMap<String, SsmCommand>,
    instances: BTreeMap<EntityId, String>,
    transient: bool,
    poll: Duration,
    client: Client,
}

impl SsmExecutor {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no command, no instance, names used twice, empty names, a hash that is none, an `sdk`
    /// without a region.
    pub fn new(config: SsmConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let mut problems = config.problems();
        let client = Client::new(&prepare::prepared(sdk, &mut problems));
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        Ok(Self {
            name: config.name,
            commands: config.command.into_iter().map(|command| (command.name.clone(), command)).collect(),
            instances: config.instance.into_iter().map(|one| (one.entity, one.instance)).collect(),
            transient: config.transient,
            poll: Duration::from_millis(config.poll_ms),
            client,
        })
    }

    fn own(&self, call: &Call) -> Result<(&SsmCommand, &str)> {
        if call.action.as_str() != RUN {
            return Err(foreign_action(COMPONENT, &call.action));
        }
        let instance = self.instances.get(&call.target).ok_or_else(|| foreign_target(COMPONENT, call))?;
        let name = text(COMPONENT, call, COMMAND)?.unwrap_or_default();
        let unknown = || Error::new(ErrorKind::InvalidInput, COMPONENT, format!("`{name}` is none of the commands"));
        Ok((self.commands.get(name).ok_or_else(unknown)?, instance))
    }

    /// The hash of the document's content, if it may be run.
    async fn hash(&self, ctx: &Ctx, command: &SsmCommand) -> Result<String> {
        let document = self.client.document(ctx, command.wanted()).await?;
        document.hash().map(str::to_owned)
    }

    /// Asks until the command has ended. Whatever is not a success may have changed something.
    async fn wait(&self, ctx: &Ctx, effect: &Effect, command: &str, instance: &str) -> Result<()> {
        let unknown = |message: String| Err(Error::new(ErrorKind::Unknown, COMPONENT, message));
        loop {
            in_time(ctx, COMPONENT, effect, ctx.clock().sleep_until(self.next_look(ctx))).await?;
            let answer = in_time(ctx, COMPONENT, effect, self.client.ended(command, instance)).await?;
            match answer {
                Ok(None) => {}
                Ok(Some(Ended::Well)) => return Ok(()),
                Ok(Some(Ended::Otherwise(how))) => return unknown(format!("command `{command}` ended: {how}")),
                // The invocation is not to be seen at once.
                Err(error) if error.is_retryable() || error.kind() == ErrorKind::NotFound => {}
                Err(error) => return unknown(format!("command `{command}` was sent: {}", error.message())),
            }
        }
    }

    fn next_look(&self, ctx: &Ctx) -> u64 {
        let nanos = u64::try_from(self.poll.as_nanos()).unwrap_or(u64::MAX);
        ctx.now().mono_ns.saturating_add(nanos)
    }
}

impl SsmCommand {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            component: COMPONENT,
            name: &self.document,
            version: self.version.as_deref(),
            sha256: self.sha256.as_deref(),
        }
    }
}

impl SsmConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if self.command.is_empty() {
            problems.push(Problem::at("command", "at least one command is needed"));
        }
        if self.instance.is_empty() {
            problems.push(Problem::at("instance", "at least one instance is needed"));
        }
        for (n, command) in self.command.iter().enumerate() {
            let at = |field: &str| format!("command[{n}].{field}");
            if self.command.iter().take(n).any(|other| other.name == command.name) {
                problems.push(Problem::at(at("name"), format!("`{}` is named twice", command.name)));
            }
            for (field, value) in [("name", &command.name), ("document", &command.document)] {
                if value.trim().is_empty() {
                    problems.push(Problem::at(at(field), "is empty"));
                }
            }
            let is_hash = |hash: &String| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            if command.sha256.as_ref().is_some_and(|hash| !is_hash(hash)) {
                problems.push(Problem::at(at("sha256"), "must be 64 hexadecimal digits"));
            }
        }
        for (n, instance) in self.instance.iter().enumerate() {
            let at = |field: &str| format!("instance[{n}].{field}");
            if self.instance.iter().take(n).any(|other| other.entity == instance.entity) {
                problems.push(Problem::at(at("entity"), format!("`{}` is named twice", instance.entity)));
            }
            if instance.instance.trim().is_empty() {
                problems.push(Problem::at(at("instance"), "is empty"));
            }
        }
        if self.poll_ms == 0 {
            problems.push(Problem::at("poll_ms", "must be more than 0"));
        }
        problems
    }
}

#[async_trait]
impl Executor for SsmExecutor {
    fn name(&self) -> &str {
        &self.name
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        let names: Vec<&String> = self.commands.keys().collect();
        let command =
            json!({ "type": "string", "enum": names, "description": "one of the commands of the configuration" });
        vec![ActionSpec {
            name: ActionName::literal(RUN),
            description: "Runs one of a fixed list of commands on the instance.".to_owned(),
            params: json!({ "type": "object", "properties": { COMMAND: command }, "required": [COMMAND] }),
            risk: if self.transient { RiskClass::Medium } else { RiskClass::High },
            reversibility: if self.transient { Reversibility::Transient } else { Reversibility::Irreversible },
            recovery: RecoveryClass::Blind,
            blast_radius: 1,
            changes_target: true,
        }]
    }

    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        let (command, instance) = self.own(call)?;
        let hash = self.hash(ctx, command).await?;
        let (name, document) = (&command.name, &command.document);
        let version = command.version.as_deref().unwrap_or("default");
        Ok(Preview {
            state: Digest::of_parts([
                b"document".as_slice(),
                document.as_bytes(),
                hash.as_bytes(),
                instance.as_bytes(),
            ]),
            summary: format!("`{name}` is run on `{instance}`: document `{document}`, version `{version}`"),
            undo: None,
        })
    }

    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let (command, instance) = self.own(permit.call())?;
        // This also opens the connection and fetches the credentials, so that the effect itself is one request.
        let hash = self.hash(ctx, command).await?;
        let request = self.client.send(command, instance, &hash);
        let what = format!("`{}` on `{}`", command.name, permit.call().target);
        let effect = permit.redeem()?;
        let answer = in_time(ctx, COMPONENT, &effect, request.send()).await?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return error::ended(COMPONENT, &what, effect, &failure),
        };
        let id = answer.command().and_then(|sent| sent.command_id());
        let id = id.ok_or_else(|| Error::new(ErrorKind::Unknown, COMPONENT, format!("{what}: it was given no id")))?;
        self.wait(ctx, &effect, id, instance).await?;
        Ok(Attempt::applied(format!("{what} ended well, as command `{id}`")))
    }

    async fn probe(&self, _ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        self.own(&probe.call)?;
        Ok(Probed::Unknown)
    }
}
