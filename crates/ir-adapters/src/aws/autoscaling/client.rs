//! The calls to Auto Scaling, and what of its answers is of interest.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_autoscaling::operation::set_desired_capacity::builders::SetDesiredCapacityFluentBuilder;
use aws_sdk_autoscaling::operation::terminate_instance_in_auto_scaling_group::builders as terminate;
use aws_sdk_autoscaling::types::LifecycleState;
use ir_core::{Ctx, Error, ErrorKind, Result};

use super::COMPONENT;
use crate::aws::error::of_reading;
use crate::aws::limit::SizeLimit;

/// One account and region.
#[derive(Debug)]
pub(super) struct Client(pub(super) aws_sdk_autoscaling::Client);

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

    /// Reads a group.
    pub(super) async fn group(&self, ctx: &Ctx, name: &str) -> Result<Group> {
        let what = format!("reading group `{name}`");
        let sent = async {
            let request = self.0.describe_auto_scaling_groups().auto_scaling_group_names(name);
            request.send().await.map_err(|error| of_reading(COMPONENT, &what, &error))
        };
        let answer = ctx.run(COMPONENT, sent).await?;
        let found = answer.auto_scaling_groups().iter().find(|group| group.auto_scaling_group_name() == Some(name));
        let missing = || Error::new(ErrorKind::NotFound, COMPONENT, format!("{what}: there is none"));
        let group = found.ok_or_else(missing)?;
        let known = |size: Option<i32>| {
            size.ok_or_else(|| Error::new(ErrorKind::Unavailable, COMPONENT, format!("{what}: it has no sizes")))
        };
        let state = |state: Option<&LifecycleState>, health: Option<&str>| State {
            is_in_service: state == Some(&LifecycleState::InService) && health == Some("Healthy"),
            is_leaving: state.is_some_and(|state| {
                let word = state.as_str();
                word.starts_with("Terminat") || word.starts_with("Detach")
            }),
        };
        let instances = group.instances().iter().filter_map(|instance| {
            let id = instance.instance_id()?.to_owned();
            Some((id, state(instance.lifecycle_state(), instance.health_status())))
        });
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
