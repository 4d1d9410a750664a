//! The calls to Systems Manager that are about automations, and what of its answers is of interest.

use std::collections::HashMap;

use aws_sdk_ssm::operation::start_automation_execution::builders::StartAutomationExecutionFluentBuilder;
use aws_sdk_ssm::types::{
    AutomationExecutionFilter, AutomationExecutionFilterKey, AutomationExecutionStatus, StopType, Tag,
};
use ir_core::execution::EffectKey;
use ir_core::{Ctx, Error, ErrorKind, Result};

use super::super::client::Client;
use super::{Automation, COMPONENT};
use crate::aws::error::of_reading;

/// So many pages of executions with one tag are read. There is one such execution, or none.
const MAX_PAGES: usize = 10;

/// What an execution is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course {
    Runs,
    EndedWell,
    EndedOtherwise(String),
}

impl Client {
    /// A start, not sent yet. Whatever its tag or token, it is a new execution or none.
    pub(super) fn start(
        &self,
        automation: &Automation,
        version: &str,
        parameters: HashMap<String, Vec<String>>,
    ) -> StartAutomationExecutionFluentBuilder {
        let request = self.0.start_automation_execution().document_name(&automation.document);
        request.document_version(version).set_parameters(Some(parameters))
    }

    /// What an execution is doing. What it put out is left where it is: it may hold anything.
    pub(super) async fn course(&self, id: &str) -> Result<Course> {
        let request = self.0.get_automation_execution().automation_execution_id(id);
        let answer =
            request.send().await.map_err(|error| of_reading(COMPONENT, "asking for the automation", &error))?;
        let execution = answer.automation_execution();
        Ok(course(execution.and_then(|execution| execution.automation_execution_status())))
    }

    /// Asks for the end of an execution.
    pub(super) async fn cancel(&self, id: &str) -> Result<()> {
        let request = self.0.stop_automation_execution().automation_execution_id(id).r#type(StopType::Cancel);
        let answer = request.send().await;
        answer.map(|_| ()).map_err(|error| of_reading(COMPONENT, "stopping the automation", &error))
    }

    /// What became of all executions that carry the tag of that key, with the names of their documents.
    pub(super) async fn tagged(&self, ctx: &Ctx, key: &EffectKey) -> Result<Vec<(String, Course)>> {
        let what = "looking for the automation";
        let filter =
            AutomationExecutionFilter::builder().key(AutomationExecutionFilterKey::TagKey).values(tag_key(key));
        let filter =
            filter.build().map_err(|error| Error::new(ErrorKind::InvalidInput, COMPONENT, error.to_string()))?;
        let (mut found, mut token) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let sent = async {
                let request = self.0.describe_automation_executions().filters(filter.clone());
                let request = request.set_next_token(token.take());
                request.send().await.map_err(|error| of_reading(COMPONENT, what, &error))
            };
            let answer = ctx.run(COMPONENT, sent).await?;
            found.extend(answer.automation_execution_metadata_list().iter().map(|execution| {
                let document = execution.document_name().unwrap_or_default().to_owned();
                (document, course(execution.automation_execution_status()))
            }));
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
        Err(Error::new(ErrorKind::Unavailable, COMPONENT, format!("{what}: there are too many")))
    }
}

fn course(status: Option<&AutomationExecutionStatus>) -> Course {
    use AutomationExecutionStatus as Status;
    match status {
        Some(Status::Success | Status::CompletedWithSuccess) => Course::EndedWell,
        Some(
            Status::Approved
            | Status::Cancelling
            | Status::ChangeCalendarOverrideApproved
            | Status::Inprogress
            | Status::Pending
            | Status::PendingApproval
            | Status::PendingChangeCalendarOverride
            | Status::RunbookInprogress
            | Status::Scheduled
            | Status::Waiting,
        )
        | None => Course::Runs,
        Some(other) => Course::EndedOtherwise(other.as_str().to_owned()),
    }
}

/// The tag by which an execution is found again.
pub(super) fn tag(key: &EffectKey) -> Result<Tag> {
    let tag = Tag::builder().key(tag_key(key)).value("1").build();
    tag.map_err(|error| Error::new(ErrorKind::InvalidInput, COMPONENT, error.to_string()))
}

fn tag_key(key: &EffectKey) -> String {
    format!("incident-response/{key}")
}

/// The key in the form of a UUID of version 8, which RFC 9562 leaves to whoever makes it: the only form that AWS takes.
pub(super) fn token(key: &EffectKey) -> String {
    let digits = key.to_string();
    let part = |from: usize, until: usize| digits.get(from..until).unwrap_or_default();
    format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
}
