//! The calls to ECS, and what of its answers is of interest.

use aws_config::SdkConfig;
use aws_sdk_ecs::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_ecs::types::{DeploymentControllerType, SchedulingStrategy, SortOrder, TaskDefinitionStatus};
use ir_core::{Ctx, Error, ErrorKind, Result};

use super::{COMPONENT, EcsService};
use crate::aws::error::of_reading;
use crate::aws::limit::SizeLimit;

/// The most pages of task definitions that are read to find the one before: a thousand revisions.
const MAX_PAGES: usize = 10;

/// One account and region.
#[derive(Debug)]
pub(super) struct Client(pub(super) aws_sdk_ecs::Client);

/// A service as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// The ARN of the task definition that it is to run.
    pub(super) definition: String,
    /// How many tasks it is to run.
    pub(super) desired: i32,
    /// The deployment that is being rolled out, or was last.
    pub(super) primary: Option<String>,
    /// When that deployment began, if it is one of this definition. Milliseconds since the epoch.
    pub(super) since: Option<i64>,
    is_daemon: bool,
    is_deployed_by_ecs: bool,
}

impl Service {
    /// Whether another task definition can be put in place by `UpdateService`.
    pub(super) fn takes_definitions(&self) -> Result<()> {
        if self.is_deployed_by_ecs {
            return Ok(());
        }
        Err(refused("the service is deployed by another controller than ECS itself"))
    }

    /// Whether it has a number of tasks that can be changed.
    pub(super) fn takes_counts(&self) -> Result<()> {
        if self.is_daemon { Err(refused("the service runs one task on each instance")) } else { Ok(()) }
    }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Conflict, COMPONENT, why)
}

impl Client {
    /// Nothing without a region.
    pub(super) fn new(sdk: &SdkConfig) -> Option<Self> {
        sdk.region()?;
        let config = aws_sdk_ecs::config::Builder::from(sdk).interceptor(SizeLimit).build();
        Some(Self(aws_sdk_ecs::Client::from_conf(config)))
    }

    /// Reads a service.
    pub(super) async fn service(&self, ctx: &Ctx, of: &EcsService) -> Result<Service> {
        let what = format!("reading service `{}`", of.service);
        let sent = async {
            let request = self.0.describe_services().cluster(&of.cluster).services(&of.service);
            request.send().await.map_err(|error| of_reading(COMPONENT, &what, &error))
        };
        let answer = ctx.run(COMPONENT, sent).await?;
        let missing = || Error::new(ErrorKind::NotFound, COMPONENT, format!("{what}: there is none"));
        let service = answer.services().first().ok_or_else(missing)?;
        if service.status() != Some("ACTIVE") {
            return Err(refused(&format!("service `{}` is not active", of.service)));
        }
        let definition = service.task_definition().ok_or_else(|| refused("the service has no task definition"))?;
        let primary = service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"));
        let controller = service.deployment_controller().map(|controller| controller.r#type());
        let since = primary.filter(|deployment| deployment.task_definition() == Some(definition));
        let since = since.and_then(|deployment| deployment.created_at());
        Ok(Service {
            definition: definition.to_owned(),
            since: since.and_then(|at| at.to_millis().ok()),
            desired: service.desired_count(),
            primary: primary.and_then(|deployment| deployment.id()).map(str::to_owned),
            is_daemon: service.scheduling_strategy() == Some(&SchedulingStrategy::Daemon),
            is_deployed_by_ecs: controller.is_none_or(|controller| *controller == DeploymentControllerType::Ecs),
        })
    }

    /// The ARN of a task definition that can be run.
    pub(super) async fn definition(&self, ctx: &Ctx, name: &str) -> Result<String> {
        let what = format!("reading task definition `{name}`");
        let sent = async {
            let request = self.0.describe_task_definition().task_definition(name);
            request.send().await.map_err(|error| of_reading(COMPONENT, &what, &error))
        };
        let answer = ctx.run(COMPONENT, sent).await?;
        let definition = answer.task_definition();
        let is_active = definition.and_then(|found| found.status()) == Some(&TaskDefinitionStatus::Active);
        let arn = definition.filter(|_| is_active).and_then(|found| found.task_definition_arn());
        arn.map(str::to_owned).ok_or_else(|| refused(&format!("task definition `{name}` is deregistered")))
    }

    /// The ARN of the latest active revision before that of `arn`, in the same family.
    pub(super) async fn definition_before(&self, ctx: &Ctx, arn: &str) -> Result<String> {
        let unclear = || refused(&format!("`{arn}` is no `family:revision`"));
        let (family, current) = revision(arn).ok_or_else(unclear)?;
        let what = format!("listing the revisions of `{family}`");
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let sent = async {
                let request = self.0.list_task_definitions().family_prefix(family).sort(SortOrder::Desc);
                let request =
                    request.status(TaskDefinitionStatus::Active).max_results(100).set_next_token(token.take());
                request.send().await.map_err(|error| of_reading(COMPONENT, &what, &error))
            };
            let answer = ctx.run(COMPONENT, sent).await?;
            let revisions = answer.task_definition_arns().iter().filter_map(|arn| Some((arn, revision(arn)?)));
            // The latest first is what was asked for; the largest is looked for all the same.
            let before = revisions.filter(|(_, (of, number))| *of == family && *number < current);
            if let Some((arn, _)) = before.max_by_key(|(_, (_, number))| *number) {
                return Ok(arn.clone());
            }
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        Err(Error::new(ErrorKind::NotFound, COMPONENT, format!("there is no active revision before `{arn}`")))
    }

    /// An update of a service, not sent yet.
    pub(super) fn update(&self, of: &EcsService) -> UpdateServiceFluentBuilder {
        self.0.update_service().cluster(&of.cluster).service(&of.service)
    }
}

/// Family and number of `arn:aws:ecs:eu-central-1:123456789012:task-definition/web:7` or `web:7`.
pub(super) fn revision(definition: &str) -> Option<(&str, u64)> {
    let name = definition.rsplit('/').next()?;
    let (family, number) = name.rsplit_once(':')?;
    Some((family, number.parse().ok()?))
}

/// Whether a name, which may be an ARN or only family and revision, means the definition of that ARN.
pub(super) fn same_definition(name: &str, arn: &str) -> bool {
    if name.starts_with("arn:") { name == arn } else { revision(name).is_some() && revision(name) == revision(arn) }
}
