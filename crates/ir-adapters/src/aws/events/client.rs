//! `ReceiveMessage` and `DeleteMessage` of one queue.

use aws_config::SdkConfig;
use ir_core::{Ctx, Result};

use super::{COMPONENT, EventsConfig};
use crate::aws::error::of_reading;
use crate::aws::limit::SizeLimit;

/// One queue.
#[derive(Debug)]
pub(super) struct Client {
    client: aws_sdk_sqs::Client,
    queue_url: String,
    wait_secs: i32,
    visibility_secs: i32,
}

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    /// SQS's own id of it.
    pub(super) id: String,
    /// What it is deleted by.
    pub(super) receipt: String,
    pub(super) body: String,
}

impl Client {
    /// Nothing without a region.
    pub(super) fn new(sdk: &SdkConfig, config: &EventsConfig) -> Option<Self> {
        sdk.region()?;
        let client = aws_sdk_sqs::config::Builder::from(sdk).interceptor(SizeLimit).build();
        let small = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        Some(Self {
            client: aws_sdk_sqs::Client::from_conf(client),
            queue_url: config.queue_url.clone(),
            wait_secs: small(config.wait_secs),
            visibility_secs: small(config.visibility_secs),
        })
    }

    /// At most `n` messages, which SQS then keeps to itself for a while. A call that is given up loses none of them.
    pub(super) async fn receive(&self, ctx: &Ctx, n: usize) -> Result<Vec<Message>> {
        let sent = async {
            let request = self.client.receive_message().queue_url(&self.queue_url);
            let request = request.max_number_of_messages(i32::try_from(n).unwrap_or(1));
            let request = request.wait_time_seconds(self.wait_secs).visibility_timeout(self.visibility_secs);
            request.send().await.map_err(|error| of_reading(COMPONENT, "receiving from the queue", &error))
        };
        let answer = ctx.run(COMPONENT, sent).await?;
        let message = |message: aws_sdk_sqs::types::Message| Message {
            id: message.message_id.unwrap_or_default(),
            receipt: message.receipt_handle.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
        };
        Ok(answer.messages.unwrap_or_default().into_iter().map(message).collect())
    }

    /// Deletes a message. One that is gone already is deleted.
    pub(super) async fn delete(&self, ctx: &Ctx, receipt: &str) -> Result<()> {
        let sent = async {
            let request = self.client.delete_message().queue_url(&self.queue_url).receipt_handle(receipt);
            request.send().await.map_err(|error| of_reading(COMPONENT, "deleting from the queue", &error))
        };
        ctx.run(COMPONENT, sent).await.map(|_| ())
    }
}
