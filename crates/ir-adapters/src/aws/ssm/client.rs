//! The calls to Systems Manager that are about commands, and what of its answers is of interest.

use aws_config::SdkConfig;
use aws_sdk_ssm::operation::send_command::builders::SendCommandFluentBuilder;
use aws_sdk_ssm::types::{CommandInvocationStatus, DocumentHashType};
use ir_core::Result;

use super::{COMPONENT, SsmCommand};
use crate::aws::error::of_reading;
use crate::aws::limit::SizeLimit;

/// AWS does not deliver a command after so long; it takes no less.
const DELIVERED_WITHIN_SECS: i32 = 30;

/// One account and region.
#[derive(Debug)]
pub(super) struct Client(pub(super) aws_sdk_ssm::Client);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    Well,
    Otherwise(String),
}

impl Client {
    /// Nothing without a region.
    pub(super) fn new(sdk: &SdkConfig) -> Option<Self> {
        sdk.region()?;
        let config = aws_sdk_ssm::config::Builder::from(sdk).interceptor(SizeLimit).build();
        Some(Self(aws_sdk_ssm::Client::from_conf(config)))
    }

    /// A command, not sent yet.
    pub(super) fn send(&self, command: &SsmCommand, instance: &str, hash: &str) -> SendCommandFluentBuilder {
        let parameters = command.parameters.iter().map(|(name, values)| (name.clone(), values.clone())).collect();
        let request = self.0.send_command().document_name(&command.document);
        let request = request.set_document_version(command.version.clone());
        let request = request.document_hash(hash).document_hash_type(DocumentHashType::Sha256);
        let request = request.set_parameters(Some(parameters)).instance_ids(instance);
        request.timeout_seconds(DELIVERED_WITHIN_SECS)
    }

    /// How a command ended, if it has. What it wrote is left where it is: it may hold anything.
    pub(super) async fn ended(&self, command: &str, instance: &str) -> Result<Option<Ended>> {
        let request = self.0.get_command_invocation().command_id(command).instance_id(instance);
        let answer = request.send().await.map_err(|error| of_reading(COMPONENT, "asking for the command", &error))?;
        Ok(match answer.status() {
            Some(CommandInvocationStatus::Success) => Some(Ended::Well),
            Some(
                CommandInvocationStatus::Pending
                | CommandInvocationStatus::InProgress
                | CommandInvocationStatus::Delayed
                | CommandInvocationStatus::Cancelling,
            )
            | None => None,
            Some(other) => {
                let details = answer.status_details().unwrap_or_default();
                Some(Ended::Otherwise(format!("{} ({details}), exit code {}", other.as_str(), answer.response_code())))
            }
        })
    }
}
