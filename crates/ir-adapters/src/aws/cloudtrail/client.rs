//! `LookupEvents`, a page at a time.

use aws_config::SdkConfig;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use aws_smithy_types::DateTime;
use ir_core::{Ctx, Error, ErrorKind, Result};
use serde_json::Value;

use super::COMPONENT;
use super::position::Window;
use crate::aws::error::of_reading;
use crate::aws::limit::SizeLimit;
use crate::aws::trail;

/// AWS gives at most so many events in a page.
const PAGE: i32 = 50;

/// One account and region.
#[derive(Debug)]
pub(super) struct Client(aws_sdk_cloudtrail::Client);

/// Some events, the latest first, and the token for more.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) events: Vec<Found>,
    pub(super) next: Option<String>,
}

/// One event.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: String,
    /// In seconds.
    pub(super) at: i64,
    /// CloudTrail's record of it; or, in words, why it cannot be read.
    pub(super) record: std::result::Result<Value, String>,
}

impl Client {
    /// Nothing without a region.
    pub(super) fn new(sdk: &SdkConfig) -> Option<Self> {
        sdk.region()?;
        let config = aws_sdk_cloudtrail::config::Builder::from(sdk).interceptor(SizeLimit).build();
        Some(Self(aws_sdk_cloudtrail::Client::from_conf(config)))
    }

    /// One page of the calls that write.
    pub(super) async fn look_up(&self, ctx: &Ctx, window: &Window) -> Result<Page> {
        let what = "looking up events";
        // The one attribute that AWS lets a look-up have.
        let writing = LookupAttribute::builder().attribute_key(LookupAttributeKey::ReadOnly).attribute_value("false");
        let writing =
            writing.build().map_err(|error| Error::new(ErrorKind::InvalidInput, COMPONENT, error.to_string()))?;
        let sent = async {
            let request = self.0.lookup_events().lookup_attributes(writing).max_results(PAGE);
            let request =
                request.start_time(DateTime::from_secs(window.from)).end_time(DateTime::from_secs(window.until));
            let request = request.set_next_token(window.token.clone());
            request.send().await.map_err(|error| of_reading(COMPONENT, what, &error))
        };
        let answer = ctx.run(COMPONENT, sent).await?;
        Ok(Page {
            events: answer.events().iter().map(|event| found(event, window)).collect(),
            next: answer.next_token().map(str::to_owned),
        })
    }
}

fn found(event: &aws_sdk_cloudtrail::types::Event, window: &Window) -> Found {
    let text = event.cloud_trail_event().unwrap_or_default();
    let record: std::result::Result<Value, String> =
        serde_json::from_str(text).map_err(|_| "an event whose record cannot be read".to_owned());
    let id = event.event_id().map(str::to_owned);
    let id = id.or_else(|| record.as_ref().ok().and_then(trail::id).map(str::to_owned));
    Found {
        // One without an id is at least told from others.
        id: id.unwrap_or_else(|| format!("record {text}")),
        at: event.event_time().map_or(window.until, DateTime::secs),
        record,
    }
}
