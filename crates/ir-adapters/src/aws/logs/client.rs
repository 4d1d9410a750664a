//! `FilterLogEvents`, a page at a time.

use aws_config::SdkConfig;
use ir_core::{Ctx, Result};

use super::{COMPONENT, LogGroup};
use crate::aws::error::of_reading;
use crate::aws::limit::SizeLimit;

/// One account and region.
#[derive(Debug)]
pub(super) struct Client(aws_sdk_cloudwatchlogs::Client);

/// From `from` (within) to `until` (not within), in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) limit: u32,
    pub(super) token: Option<String>,
}

/// Some events, and the token for more.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<Event>,
    pub(super) next: Option<String>,
}

/// One event, as far as it is there.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) at: Option<i64>,
    pub(super) message: Option<String>,
    pub(super) stream: Option<String>,
}

impl Client {
    /// Nothing without a region.
    pub(super) fn new(sdk: &SdkConfig) -> Option<Self> {
        sdk.region()?;
        let config = aws_sdk_cloudwatchlogs::config::Builder::from(sdk).interceptor(SizeLimit).build();
        Some(Self(aws_sdk_cloudwatchlogs::Client::from_conf(config)))
    }

    /// One page.
    pub(super) async fn filter(&self, ctx: &Ctx, group: &LogGroup, range: Range) -> Result<Page> {
        let what = format!("reading `{}`", group.group);
        let sent = async {
            let request = self.0.filter_log_events().log_group_name(&group.group);
            let request = request.set_log_stream_name_prefix(group.stream_prefix.clone());
            let request = request.set_filter_pattern(group.filter.clone());
            // AWS takes its end as within. All streams together and in order is what it does in any case; others ask to
            // be told.
            #[expect(deprecated, reason = "AWS ignores it, and other servers of its API do not")]
            let request = request.start_time(range.from).end_time(range.until.saturating_sub(1)).interleaved(true);
            let request = request.limit(i32::try_from(range.limit).unwrap_or(i32::MAX)).set_next_token(range.token);
            request.send().await.map_err(|error| of_reading(COMPONENT, &what, &error))
        };
        let answer = ctx.run(COMPONENT, sent).await?;
        let event = |event: &aws_sdk_cloudwatchlogs::types::FilteredLogEvent| Event {
            id: event.event_id().unwrap_or_default().to_owned(),
            at: event.timestamp(),
            message: event.message().map(str::to_owned),
            stream: event.log_stream_name().map(str::to_owned),
        };
        let next = answer.next_token().map(str::to_owned);
        Ok(Page { events: answer.events().iter().map(event).collect(), next })
    }
}
