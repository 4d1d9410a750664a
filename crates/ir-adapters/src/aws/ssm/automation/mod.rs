//! Automations of AWS Systems Manager: one of a fixed list of documents is started on a target of a fixed list.
//!
//! # Flow
//!
//! Each automation of the configuration is an action of its own. A plan names the action, the target, and what the
//! configuration lets it choose: neither a playbook nor a model can bring a document or a parameter of its own. A preview
//! reads the document. `execute` reads it once more, redeems its permit, starts that very version, and asks until the
//! automation has ended or the permit's deadline has come.
//!
//! # Why class PROBE, though there is a token
//!
//! `StartAutomationExecution` takes a `ClientToken`, and every attempt of a step sends the same one, made from its key:
//! a repeated request starts no second execution. That alone would be class KEYED, if AWS said that the repetition
//! answers with the first execution, and for how long it knows a token. It says neither: only that a token is unique,
//! cannot be used again, and that other parameters with it are refused (`IdempotentParameterMismatch`). So an execution
//! also carries the key as a tag, and is looked for by it: after [`AutomationConfig::settles_within_ms`] there is one, or
//! there will be none. One that ended well is an effect; one that failed half way or still runs is unknown. If AWS ever
//! failed to list it, the token would still keep it from being started twice.
//!
//! # What it runs as
//!
//! Without the parameter `AutomationAssumeRole` an automation has the rights of whoever starts it, which is this process.
//! With it, this process needs only the right to pass that role.
//!
//! # What is not proven
//!
//! moto has no automations. All of this is tested against a double of our own, which keeps to AWS's documentation.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use ir_core::execution::{ActionSpec, Attempt, Executor, Preview, Probe, Probed};
use ir_core::kernel::{Effect, Permit};
use ir_core::plan::Call;
use ir_core::{
    ActionName, ConfigError, Ctx, Digest, Error, ErrorKind, RecoveryClass, Result, Reversibility, RiskClass,
};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::document::{Document, Wanted};
use crate::aws::send::{foreign_action, foreign_target, in_time};
use crate::aws::{error, prepare};

mod client;
mod config;
#[cfg(test)]
mod tests;

use client::Course;
pub use config::{Automation, AutomationChoice, AutomationConfig, AutomationEffect, AutomationTarget};

const COMPONENT: &str = "ssm-automation";

/// Starts the automations that it was given, on the targets that it was given.
#[derive(Debug)]
pub struct AutomationExecutor {
    name: String,
    /// By the names of their actions.
    automations: BTreeMap<String, Automation>,
    poll: Duration,
    cancel_before: Duration,
    settles_within_ms: u64,
    client: Client,
}

impl AutomationExecutor {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no automation, no target, names used twice, an undo that is none or takes other targets, a
    /// choice that leaves nothing, a hash that is none, an `sdk` without a region.
    pub fn new(config: AutomationConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let mut problems = config.problems();
        let client = Client::new(&prepare::prepared(sdk, &mut problems));
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        Ok(Self {
            name: config.name,
            automations: config.automation.into_iter().map(|one| (one.action(), one)).collect(),
            poll: Duration::from_millis(config.poll_ms),
            cancel_before: Duration::from_millis(config.cancel_before_ms),
            settles_within_ms: config.settles_within_ms,
            client,
        })
    }

    /// The automation, and what the document calls its target.
    fn own(&self, call: &Call) -> Result<(&Automation, &str)> {
        let automation = self.automations.get(call.action.as_str());
        let automation = automation.ok_or_else(|| foreign_action(COMPONENT, &call.action))?;
        let value = automation.value(&call.target).ok_or_else(|| foreign_target(COMPONENT, call))?;
        Ok((automation, value))
    }

    /// The document, if it may be started.
    async fn document<'a>(&self, ctx: &Ctx, automation: &'a Automation) -> Result<Document<'a>> {
        let document = self.client.document(ctx, automation.wanted()).await?;
        document.must_be_automation()?;
        document.hash()?;
        Ok(document)
    }

    /// Asks until the automation has ended, and tells it to stop in time if it is to be told. Whatever is not a success
    /// may have changed something.
    async fn wait(&self, ctx: &Ctx, effect: &Effect, id: &str) -> Result<()> {
        let unknown = |message: String| Err(Error::new(ErrorKind::Unknown, COMPONENT, message));
        let cancel_at = effect.deadline_mono_ns().saturating_sub(nanos(self.cancel_before));
        let mut is_told = self.cancel_before.is_zero();
        loop {
            let mut next_look = ctx.now().mono_ns.saturating_add(nanos(self.poll));
            if !is_told {
                next_look = next_look.min(cancel_at);
            }
            in_time(ctx, COMPONENT, effect, ctx.clock().sleep_until(next_look)).await?;
            match in_time(ctx, COMPONENT, effect, self.client.course(id)).await? {
                Ok(Course::Runs) => {}
                Ok(Course::EndedWell) => return Ok(()),
                Ok(Course::EndedOtherwise(how)) => return unknown(format!("automation `{id}` ended: {how}")),
                // An execution is not to be seen at once.
                Err(error) if error.is_retryable() || error.kind() == ErrorKind::NotFound => {}
                Err(error) => return unknown(format!("automation `{id}` was started: {}", error.message())),
            }
            if !is_told && ctx.now().mono_ns >= cancel_at {
                is_told = true;
                if let Err(error) = in_time(ctx, COMPONENT, effect, self.client.cancel(id)).await? {
                    return unknown(format!("automation `{id}` runs and cannot be stopped: {}", error.message()));
                }
            }
        }
    }
}

impl Automation {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            component: COMPONENT,
            name: &self.document,
            version: self.version.as_deref(),
            sha256: self.sha256.as_deref(),
        }
    }

    fn spec(&self, settles_within_ms: u64) -> ActionSpec {
        let property = |choice: &AutomationChoice| match choice {
            AutomationChoice::OneOf { values } => json!({ "type": "string", "enum": values }),
            AutomationChoice::Number { minimum, maximum } => {
                json!({ "type": "integer", "minimum": minimum, "maximum": maximum })
            }
        };
        let properties: Map<String, Value> =
            self.choice.iter().map(|(name, choice)| (name.clone(), property(choice))).collect();
        let required: Vec<&String> = self.choice.keys().collect();
        let reversibility = match &self.effect {
            AutomationEffect::Irreversible => Reversibility::Irreversible,
            AutomationEffect::Transient => Reversibility::Transient,
            AutomationEffect::Undone { by } => Reversibility::Undo { action: named(by) },
        };
        let is_said = !self.description.trim().is_empty();
        ActionSpec {
            name: named(&self.name),
            description: if is_said {
                self.description.clone()
            } else {
                format!("Runs `{}` on the target.", self.document)
            },
            params: json!({ "type": "object", "properties": properties, "required": required }),
            risk: if reversibility == Reversibility::Irreversible { RiskClass::High } else { RiskClass::Medium },
            reversibility,
            recovery: RecoveryClass::Probe { settles_within_ms },
            blast_radius: 1,
            changes_target: true,
        }
    }

    /// Everything that the document is given.
    fn filled(&self, value: &str, call: &Call) -> Result<HashMap<String, Vec<String>>> {
        let wrong = |name: &str| {
            Error::new(ErrorKind::InvalidInput, COMPONENT, format!("`{name}` is not what the configuration allows"))
        };
        let mut filled: HashMap<String, Vec<String>> = self.parameters.clone().into_iter().collect();
        filled.insert(self.target_parameter.clone(), vec![value.to_owned()]);
        if let Some(foreign) = call.params.keys().find(|name| !self.choice.contains_key(*name)) {
            return Err(wrong(foreign));
        }
        for (name, choice) in &self.choice {
            let chosen = match (choice, call.params.get(name)) {
                (AutomationChoice::OneOf { values }, Some(Value::String(text))) if values.contains(text) => {
                    text.clone()
                }
                (AutomationChoice::Number { minimum, maximum }, Some(Value::Number(number))) => {
                    let number = number.as_i64().filter(|number| (minimum..=maximum).contains(&number));
                    number.ok_or_else(|| wrong(name))?.to_string()
                }
                _ => return Err(wrong(name)),
            };
            filled.insert(name.clone(), vec![chosen]);
        }
        Ok(filled)
    }

    /// The call that takes `call` back, with those of its choices that the other automation has.
    fn undo(&self, call: &Call, all: &BTreeMap<String, Self>) -> Option<Call> {
        let AutomationEffect::Undone { by } = &self.effect else { return None };
        let other = all.values().find(|other| other.name == *by)?;
        let kept = call.params.iter().filter(|(name, _)| other.choice.contains_key(*name));
        let params = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        Some(Call { action: named(by), target: call.target.clone(), params })
    }
}

/// The action of that automation. That it is a name was checked with the configuration.
fn named(automation: &str) -> ActionName {
    ActionName::new(format!("ssm.automation.{automation}")).unwrap_or_else(|_| ActionName::literal("ssm.automation"))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Executor for AutomationExecutor {
    fn name(&self) -> &str {
        &self.name
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        self.automations.values().map(|automation| automation.spec(self.settles_within_ms)).collect()
    }

    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        let (automation, value) = self.own(call)?;
        automation.filled(value, call)?;
        let document = self.document(ctx, automation).await?;
        let (version, hash) = (document.version()?, document.hash()?);
        let name = &automation.document;
        Ok(Preview {
            state: Digest::of_parts([
                b"automation".as_slice(),
                name.as_bytes(),
                version.as_bytes(),
                hash.as_bytes(),
                value.as_bytes(),
            ]),
            summary: format!("document `{name}`, version {version}, is run on `{value}`"),
            undo: automation.undo(call, &self.automations),
        })
    }

    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let (automation, value) = self.own(permit.call())?;
        let parameters = automation.filled(value, permit.call())?;
        // This also opens the connection and fetches the credentials, so that the effect itself is one request.
        let document = self.document(ctx, automation).await?;
        let request = self.client.start(automation, document.version()?, parameters);
        let what = format!("`{}` on `{}`", automation.name, permit.call().target);
        let effect = permit.redeem()?;
        let key = effect.key();
        let request = request.client_token(client::token(&key)).tags(client::tag(&key)?);
        let answer = in_time(ctx, COMPONENT, &effect, request.send()).await?;
        let answer = match answer {
            Ok(answer) => answer,
            // The token is known already, so an earlier attempt came through.
            Err(failure) if failure.code().is_some_and(|code| code.contains("Idempotent")) => {
                let message = format!("{what}: an earlier attempt came through");
                return Err(Error::new(ErrorKind::Unknown, COMPONENT, message));
            }
            Err(failure) => return error::ended(COMPONENT, &what, effect, &failure),
        };
        let id = answer.automation_execution_id().filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Error::new(ErrorKind::Unknown, COMPONENT, format!("{what}: it was given no id")))?;
        self.wait(ctx, &effect, id).await?;
        Ok(Attempt::applied(format!("{what} ended well, as automation `{id}`")))
    }

    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        let (automation, _) = self.own(&probe.call)?;
        let found = self.client.tagged(ctx, &probe.key).await?;
        Ok(match found.as_slice() {
            [] => Probed::NotApplied,
            [(document, Course::EndedWell)] if *document == automation.document => Probed::Applied,
            // It runs, it failed half way, or somebody else uses our tags.
            _ => Probed::Unknown,
        })
    }
}
