//! The calls to EC2, and what of its answers is of interest.

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;
use aws_sdk_ec2::operation::modify_instance_attribute::builders::ModifyInstanceAttributeFluentBuilder;
use ir_core::{Ctx, Error, ErrorKind, Result};

use super::COMPONENT;
use crate::aws::error::of_reading;
use crate::aws::limit::SizeLimit;

/// One account and region.
#[derive(Debug)]
pub(super) struct Client(aws_sdk_ec2::Client);

/// An instance as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance {
    /// The ids of its security groups.
    pub(super) groups: BTreeSet<String>,
    /// Its VPC.
    pub(super) network: String,
    pub(super) n_interfaces: usize,
}

impl Client {
    /// Nothing without a region.
    pub(super) fn new(sdk: &SdkConfig) -> Option<Self> {
        sdk.region()?;
        let config = aws_sdk_ec2::config::Builder::from(sdk).interceptor(SizeLimit).build();
        Some(Self(aws_sdk_ec2::Client::from_conf(config)))
    }

    /// Reads an instance that is not gone or going.
    pub(super) async fn instance(&self, ctx: &Ctx, id: &str) -> Result<Instance> {
        let what = format!("reading instance `{id}`");
        let sent = async {
            let request = self.0.describe_instances().instance_ids(id);
            request.send().await.map_err(|error| of_reading(COMPONENT, &what, &error))
        };
        let answer = ctx.run(COMPONENT, sent).await?;
        let mut found = answer.reservations().iter().flat_map(|reservation| reservation.instances());
        let missing = || Error::new(ErrorKind::NotFound, COMPONENT, format!("{what}: there is none"));
        let instance = found.find(|instance| instance.instance_id() == Some(id)).ok_or_else(missing)?;
        let refused = |why: &str| Error::new(ErrorKind::Conflict, COMPONENT, format!("{what}: {why}"));
        let state = instance.state().and_then(|state| state.name()).map(|name| name.as_str());
        if matches!(state, Some("shutting-down" | "terminated")) {
            return Err(refused("it is gone, or going"));
        }
        let groups = instance.security_groups().iter().filter_map(|group| group.group_id());
        Ok(Instance {
            groups: groups.map(str::to_owned).collect(),
            network: instance.vpc_id().ok_or_else(|| refused("it is in no VPC"))?.to_owned(),
            n_interfaces: instance.network_interfaces().len(),
        })
    }

    /// The VPC of each of these groups; a group that does not exist is an error.
    pub(super) async fn networks(&self, ctx: &Ctx, groups: &BTreeSet<String>) -> Result<BTreeMap<String, String>> {
        let sent = async {
            let request = self.0.describe_security_groups().set_group_ids(Some(groups.iter().cloned().collect()));
            request.send().await.map_err(|error| of_reading(COMPONENT, "reading security groups", &error))
        };
        let answer = ctx.run(COMPONENT, sent).await?;
        let network = |group: &aws_sdk_ec2::types::SecurityGroup| {
            Some((group.group_id()?.to_owned(), group.vpc_id().unwrap_or_default().to_owned()))
        };
        let found: BTreeMap<String, String> = answer.security_groups().iter().filter_map(network).collect();
        match groups.iter().find(|group| !found.contains_key(*group)) {
            Some(group) => Err(Error::new(ErrorKind::NotFound, COMPONENT, format!("there is no group `{group}`"))),
            None => Ok(found),
        }
    }

    /// Other groups for an instance, not sent yet.
    pub(super) fn change(&self, id: &str, groups: &BTreeSet<String>) -> ModifyInstanceAttributeFluentBuilder {
        let request = self.0.modify_instance_attribute().instance_id(id);
        groups.iter().fold(request, |request, group| request.groups(group))
    }
}
