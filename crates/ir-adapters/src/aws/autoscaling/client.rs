//! The calls to Auto Scaling, and what of its answers is of interest.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_autoscaling::operation::set_desired_capacity::builders::SetDesiredCapacityFluentBuilder;
use aws_sdk_autoscaling::operation::terminate_instance_in_auto_scaling_group::builders as terminate;
use aws_sdk_autoscaling::types::{AutoScalingGroup, Instance, LifecycleState};
use ir_core::{Ctx, Error, ErrorKind, Result};

use super::COMPONENT;
use crate::aws::error::of_reading;
use crate::aws::limit::SizeLimit;

/// One account and region.
#[derive(Debug)]
pub(super) struct Client(aws_sdk_autoscaling::Client);

/// A group as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) desired: i32,
    /// Its instances, by their ids.
    pub(super) instances: BTreeMap<String, State>,
}

/// Where an instance is on its way through the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) is_in_service: bool,
    pub(super) is_leaving: bool,
}

impl Client {
    /// Nothing without a region.
    pub(super) fn new(sdk: &SdkConfig) -> Option<Self> {
        sdk.region()?;
        let config = aws_sdk_autoscaling::config::Builder::from(sdk).interceptor(SizeLimit).build();
        Some(Self(aws_sdk_autoscaling::Client::from_conf(config)))
    }

    /// Reads a group, as AWS describes it.
    pub(super) async fn described(&self, ctx: &Ctx, name: &str) -> Result<AutoScalingGroup> {
        let what = reading(name);
        let sent = async {
            let request = self.0.describe_auto_scaling_groups().auto_scaling_group_names(name);
            request.send().await.map_err(|error| of_reading(COMPONENT, &what, &error))
        };
        let answer = ctx.run(COMPONENT, sent).await?;
        let mut groups = answer.auto_scaling_groups.unwrap_or_default().into_iter();
        let missing = || Error::new(ErrorKind::NotFound, COMPONENT, format!("{what}: there is none"));
        groups.find(|group| group.auto_scaling_group_name() == Some(name)).ok_or_else(missing)
    }

    /// Reads how large a group is, and how its instances are.
    pub(super) async fn group(&self, ctx: &Ctx, name: &str) -> Result<Group> {
        let group = self.described(ctx, name).await?;
        let known = |size: Option<i32>| {
            let missing = || format!("{}: it has no sizes", reading(name));
            size.ok_or_else(|| Error::new(ErrorKind::Unavailable, COMPONENT, missing()))
        };
        let state = |instance: &Instance| State {
            is_in_service: instance.lifecycle_state() == Some(&LifecycleState::InService)
                && instance.health_status() == Some("Healthy"),
            is_leaving: is_leaving(instance),
        };
        let instances = group.instances().iter();
        let instances = instances.filter_map(|instance| Some((instance.instance_id()?.to_owned(), state(instance))));
        Ok(Group {
            min: known(group.min_size())?,
            max: known(group.max_size())?,
            desired: known(group.desired_capacity())?,
            instances: instances.collect(),
        })
    }

    /// A change of the desired capacity, not sent yet.
    pub(super) fn set_desired(&self, group: &str, capacity: i32) -> SetDesiredCapacityFluentBuilder {
        self.0.set_desired_capacity().auto_scaling_group_name(group).desired_capacity(capacity).honor_cooldown(false)
    }

    /// The end of an instance, not sent yet. The group keeps its capacity.
    pub(super) fn terminate(&self, id: &str) -> terminate::TerminateInstanceInAutoScalingGroupFluentBuilder {
        self.0.terminate_instance_in_auto_scaling_group().instance_id(id).should_decrement_desired_capacity(false)
    }
}

fn reading(group: &str) -> String {
    format!("reading group `{group}`")
}

/// Whether an instance is on its way out of its group.
pub(super) fn is_leaving(instance: &Instance) -> bool {
    let state = instance.lifecycle_state().map(LifecycleState::as_str).unwrap_or_default();
    state.starts_with("Terminat") || state.starts_with("Detach")
}
