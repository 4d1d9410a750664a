//! The calls to ECS that list services, and what of its answers is of interest.

use aws_sdk_ecs::types::ServiceConnectConfiguration;
use ir_core::{Ctx, Error, ErrorKind, Result};

use super::super::COMPONENT;
use super::super::client::Client;
use crate::aws::error::of_reading;

/// ECS describes at most so many services at once.
const AT_ONCE: usize = 10;

/// A service, as far as it says who is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) cluster: String,
    pub(super) name: String,
    /// The ARN of its task definition.
    pub(super) definition: String,
    /// The ARNs of the target groups that it registers with.
    pub(super) target_groups: Vec<String>,
    /// The ids of its services in Cloud Map.
    pub(super) registries: Vec<String>,
    /// The names and ports under which Service Connect lets others call it.
    pub(super) aliases: Vec<(String, Option<i32>)>,
}

impl Client {
    /// All active services of a cluster.
    pub(super) async fn services(&self, ctx: &Ctx, cluster: &str, max: usize) -> Result<Vec<Service>> {
        let what = format!("listing the services of `{cluster}`");
        let (mut arns, mut token) = (Vec::new(), None);
        loop {
            let sent = async {
                let request = self.0.list_services().cluster(cluster).max_results(100).set_next_token(token.take());
                request.send().await.map_err(|error| of_reading(COMPONENT, &what, &error))
            };
            let answer = ctx.run(COMPONENT, sent).await?;
            arns.extend(answer.service_arns().iter().cloned());
            if arns.len() > max {
                return Err(Error::new(ErrorKind::Conflict, COMPONENT, format!("{what}: there are more than {max}")));
            }
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        let what = format!("reading the services of `{cluster}`");
        let mut services = Vec::new();
        for some in arns.chunks(AT_ONCE) {
            let sent = async {
                let request = self.0.describe_services().cluster(cluster).set_services(Some(some.to_vec()));
                request.send().await.map_err(|error| of_reading(COMPONENT, &what, &error))
            };
            let answer = ctx.run(COMPONENT, sent).await?;
            let active = answer.services().iter().filter(|service| service.status() == Some("ACTIVE"));
            services.extend(active.filter_map(service));
        }
        services.sort_by(|a: &Service, b| (&a.cluster, &a.name).cmp(&(&b.cluster, &b.name)));
        Ok(services)
    }

    /// What the containers of a task definition get as environment, by name.
    pub(super) async fn environment(&self, ctx: &Ctx, definition: &str) -> Result<Vec<(String, String)>> {
        let what = format!("reading task definition `{definition}`");
        let sent = async {
            let request = self.0.describe_task_definition().task_definition(definition);
            request.send().await.map_err(|error| of_reading(COMPONENT, &what, &error))
        };
        let answer = ctx.run(COMPONENT, sent).await?;
        let containers = answer.task_definition().map(|definition| definition.container_definitions());
        let pairs = containers.into_iter().flatten().flat_map(|container| container.environment());
        Ok(pairs.filter_map(|pair| Some((pair.name()?.to_owned(), pair.value()?.to_owned()))).collect())
    }
}

fn last(arn: &str) -> String {
    arn.rsplit('/').next().unwrap_or(arn).to_owned()
}

fn service(service: &aws_sdk_ecs::types::Service) -> Option<Service> {
    let primary = service.deployments().iter().find(|deployment| deployment.status() == Some("PRIMARY"));
    let connect = primary.and_then(|deployment| deployment.service_connect_configuration());
    let groups = service.load_balancers().iter().filter_map(|balancer| balancer.target_group_arn());
    let registries = service.service_registries().iter().filter_map(|registry| registry.registry_arn());
    Some(Service {
        cluster: last(service.cluster_arn()?),
        name: service.service_name()?.to_owned(),
        definition: service.task_definition().unwrap_or_default().to_owned(),
        target_groups: groups.map(str::to_owned).collect(),
        registries: registries.map(last).collect(),
        aliases: connect.filter(|connect| connect.enabled()).map(aliases).unwrap_or_default(),
    })
    .filter(|service| !service.definition.is_empty())
}

/// The names that a service answers to. Without an alias that is its discovery name with the namespace behind it, and
/// without a discovery name the name of its port.
fn aliases(connect: &ServiceConnectConfiguration) -> Vec<(String, Option<i32>)> {
    let namespace = connect.namespace().map(last).unwrap_or_default();
    let mut names = Vec::new();
    for service in connect.services() {
        let discovery = service.discovery_name().unwrap_or_else(|| service.port_name());
        let full = format!("{discovery}.{namespace}");
        if service.client_aliases().is_empty() {
            names.push((full.clone(), None));
        }
        for alias in service.client_aliases() {
            names.push((alias.dns_name().map_or_else(|| full.clone(), str::to_owned), Some(alias.port())));
        }
    }
    names
}
