//! AWS CloudTrail, by `LookupEvents`: who changed what, with nothing to set up, some minutes late.
//!
//! # When to take it
//!
//! Every account has ninety days of it without a trail, a rule or a queue: a program that only reads can begin with it at
//! once, and look back ([`CloudTrailConfig::backfill_ms`]) at what was changed before it began. But an event may take a
//! quarter of an hour to appear, by which time the incident that it explains has been dealt with. Where a queue can be
//! set up, [`events`](super::events) tells the same within seconds. One of the two is enough: both would tell every change
//! twice.
//!
//! # Each once, also the late ones
//!
//! Events appear minutes after they happened and not in their order. So every look covers the last
//! [`CloudTrailConfig::settle_ms`] again, and what was given is known by its id. Only the marks of events that said
//! something are kept, since nothing can come twice of the others. What appears later than that is not seen.
//!
//! # Within AWS's limits
//!
//! AWS takes two look-ups a second for the account and the region, whoever asks, and gives fifty events in each. So a look
//! comes at most every [`CloudTrailConfig::every_ms`], its pages [`CloudTrailConfig::pause_ms`] apart, and only for calls
//! that write. A look that was not finished goes on in the next poll by AWS's own token, or from its beginning where the
//! token is too old; a pause of days is caught up with an hour at a time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use ir_core::config::Problem;
use ir_core::{ConfigError, Ctx, Cursor, EntityId, ErrorKind, PartName, Polled, Result, SignalSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::poll::{self, tell};
use super::prepare;
use super::trail::{self, Book, TrailThing};

mod client;
mod position;
#[cfg(test)]
mod tests;

use client::{Client, Found, Page};
use position::{Position, Window};

const COMPONENT: &str = "cloudtrail";
/// At most so much new time is looked at in one go.
const SLICE_SECS: i64 = 3_600;

/// Whose changes count, and how they are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CloudTrailConfig {
    /// The source's name in records. `cloudtrail`.
    pub name: String,
    /// What AWS calls the things of the topology.
    pub thing: Vec<TrailThing>,
    /// The entity that stands for the account. Where it is given, every call that writes is an activity of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<EntityId>,
    /// How long after it happened an event may appear, in milliseconds. 900,000: AWS speaks of five minutes on the
    /// average, and of fifteen.
    pub settle_ms: u64,
    /// How far back the first look goes, in milliseconds. 0. AWS keeps 90 days.
    pub backfill_ms: u64,
    /// The least time between two looks, in milliseconds. 30,000. Polls in between are answered with nothing.
    pub every_ms: u64,
    /// The pause between two pages of one look, in milliseconds. 600, so that others may look, too.
    pub pause_ms: u64,
    /// The most pages of one poll. 5: three seconds, and 250 events.
    #[schemars(range(min = 1))]
    pub max_pages: usize,
}

impl Default for CloudTrailConfig {
    fn default() -> Self {
        Self {
            name: "cloudtrail".to_owned(),
            thing: Vec::new(),
            account: None,
            settle_ms: 900_000,
            backfill_ms: 0,
            every_ms: 30_000,
            pause_ms: 600,
            max_pages: 5,
        }
    }
}

/// Looks up what was called in the account, and gives what changed the things it was given.
///
/// A record that cannot be read is dropped and counted once.
#[derive(Debug)]
pub struct CloudTrailSource {
    config: CloudTrailConfig,
    book: Book,
    client: Client,
    /// When the last look began, in monotonic nanoseconds.
    looked: Mutex<Option<u64>>,
}

impl CloudTrailSource {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no thing and no account, names that are none, no pages, an `sdk` without a region.
    pub fn new(config: CloudTrailConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&config.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if config.max_pages == 0 {
            problems.push(Problem::at("max_pages", "must be more than 0"));
        }
        let book = Book::new(&config.thing, config.account.as_ref(), &mut problems);
        let client = Client::new(&prepare::prepared(sdk, &mut problems));
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        Ok(Self { config, book, client, looked: Mutex::default() })
    }

    /// Whether it is time for a look; if so, the next one is due later.
    fn is_due(&self, ctx: &Ctx) -> bool {
        let now = ctx.now().mono_ns;
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let every = self.config.every_ms.saturating_mul(1_000_000);
        let is_due = looked.is_none_or(|last| now.saturating_sub(last) >= every);
        if is_due {
            *looked = Some(now);
        }
        is_due
    }

    /// Reads the window page by page, and moves the position behind it at its end. An error leaves it where the last
    /// page was; the window is read on from there.
    async fn look(&self, ctx: &Ctx, position: &mut Position, now: i64, polled: &mut Polled) -> Result<()> {
        let settle = seconds(self.config.settle_ms);
        let mut window = position.window(now, settle, SLICE_SECS);
        for n in 0..self.config.max_pages {
            if n > 0 {
                ctx.sleep(COMPONENT, Duration::from_millis(self.config.pause_ms)).await?;
            }
            let page = self.client.look_up(ctx, &window).await?;
            self.take(&page, position, polled);
            match page.next {
                Some(token) => {
                    window = Window { token: Some(token), token_at: now, ..window };
                    position.open = Some(window.clone());
                }
                None => {
                    position.close(&window, settle);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn take(&self, page: &Page, position: &mut Position, polled: &mut Polled) {
        for Found { id, at, record } in &page.events {
            let mark = trail::mark(id);
            if position.knows(&mark) {
                continue;
            }
            match record.as_ref().map_err(Clone::clone).and_then(|record| self.book.tell(record)) {
                Ok(told) if told.is_empty() => {}
                Ok(told) => {
                    position.gave(mark, *at);
                    polled.batch.changes.extend(told.changes);
                    polled.batch.events.extend(told.events);
                }
                Err(problem) => {
                    position.gave(mark, *at);
                    polled.dropped += 1;
                    tell(polled, || problem);
                }
            }
        }
    }
}

fn seconds(ms: u64) -> i64 {
    i64::try_from(ms.div_ceil(1_000)).unwrap_or(i64::MAX)
}

#[async_trait]
impl SignalSource for CloudTrailSource {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let now = ctx.now().wall.as_nanos().div_euclid(1_000_000_000);
        let begin = now.saturating_sub(seconds(self.config.backfill_ms));
        let mut position = poll::position(COMPONENT, cursor)?.unwrap_or_else(|| Position::at(begin));
        let mut polled = Polled::default();
        if self.is_due(ctx) {
            let before = position.clone();
            if let Err(error) = self.look(ctx, &mut position, now, &mut polled).await {
                // A token that AWS does not take any more must not be asked for again, and that must get into the cursor.
                let is_forgotten = error.kind() == ErrorKind::InvalidInput && position.forget_token();
                if position == before && !is_forgotten {
                    return Err(error);
                }
                tell(&mut polled, || error.message().to_owned());
            }
        }
        polled.batch.changes.sort_by_key(|change| change.at);
        polled.batch.events.sort_by_key(|event| event.at);
        polled.next = poll::cursor(COMPONENT, &position)?;
        Ok(polled)
    }
}
