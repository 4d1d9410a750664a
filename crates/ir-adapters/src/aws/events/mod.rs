//! Amazon EventBridge: what people and pipelines do to the account, seconds after they did it, by a queue of SQS that a
//! rule feeds.
//!
//! # Why a queue
//!
//! A rule can send events to a queue or to an address on the Internet. A queue keeps them while nobody asks, for up to
//! fourteen days, opens no port, and needs no secret that a stranger could guess. And CloudTrail's own look-up
//! ([`cloudtrail`](super::cloudtrail)), which needs no queue, tells the same minutes later.
//!
//! # What has to be there
//!
//! A trail that records management events, a queue of its own for each source (two readers would each see a part), and
//! a rule whose target is the queue, without a transformer:
//!
//! ```json
//! {
//!   "detail-type": ["AWS API Call via CloudTrail", "AWS Console Sign In via CloudTrail"],
//!   "detail": { "readOnly": [false] }
//! }
//! ```
//!
//! Other events of AWS may be in the rule, too. Those that name a known thing become events of it: `ECS Deployment State
//! Change`, `EC2 Instance State-change Notification`; and `CloudWatch Alarm State Change` becomes an alert.
//!
//! # Each once
//!
//! SQS gives a message again until it is deleted, and EventBridge may send an event twice. A message is deleted only
//! when a later cursor says that its signals arrived, and the cursor keeps the marks of what was given: what comes again
//! after a crash, after a lost answer, or twice in the first place is recognised by its id. Marks of deleted messages are
//! kept for an hour, and a thousand of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use ir_core::config::Problem;
use ir_core::{ConfigError, Ctx, Cursor, EntityId, Error, PartName, Polled, Result, SignalSource, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::poll::{self, tell};
use super::prepare;
use super::trail::{Book, Told, TrailThing};

mod client;
mod envelope;
mod position;
#[cfg(test)]
mod tests;

use client::{Client, Message};
use position::Position;

const COMPONENT: &str = "aws-events";
/// AWS gives at most so many messages at once.
const MAX_BATCH: usize = 10;

/// Which queue is read, whose events count, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// The source's name in records. `aws-events`.
    pub name: String,
    /// The queue's URL: `https://sqs.eu-central-1.amazonaws.com/123456789012/changes`.
    pub queue_url: String,
    /// What AWS calls the things of the topology.
    pub thing: Vec<TrailThing>,
    /// The entity that stands for the account. Where it is given, every call that writes is an activity of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<EntityId>,
    /// The most messages of one poll, and the most that wait to be known to have arrived. 100.
    #[schemars(range(min = 1, max = 1_000))]
    pub max_messages: usize,
    /// How long SQS may wait for a message before it says that there is none, in seconds. 1: without a wait it asks only
    /// some of its servers.
    #[schemars(range(max = 5))]
    pub wait_secs: u32,
    /// How long SQS keeps a message to itself that was given, in seconds. 120: longer than a poll takes to be recorded.
    #[schemars(range(min = 1, max = 43_200))]
    pub visibility_secs: u32,
    /// An event that comes more than so long after it happened counts as late, in milliseconds. 900,000: CloudTrail may
    /// take a quarter of an hour.
    pub late_after_ms: u64,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            name: "aws-events".to_owned(),
            queue_url: String::new(),
            thing: Vec::new(),
            account: None,
            max_messages: 100,
            wait_secs: 1,
            visibility_secs: 120,
            late_after_ms: 900_000,
        }
    }
}

/// Reads the events of EventBridge out of a queue.
///
/// What cannot be read is dropped, counted, and deleted as the others are. A message that is about nothing known is
/// deleted at once.
#[derive(Debug)]
pub struct EventsSource {
    config: EventsConfig,
    book: Book,
    client: Client,
    /// What was received and is not known to have arrived, by the mark of its event.
    held: Mutex<Held>,
}

/// Messages of which nobody has said yet that their signals arrived.
#[derive(Debug, Default)]
struct Held {
    by_mark: BTreeMap<String, Waiting>,
    n: u64,
}

#[derive(Debug)]
struct Waiting {
    /// The order of reception.
    n: u64,
    /// What SQS wants to be told when the message is to be deleted: that of its last reception.
    receipt: String,
    said: Result<Told, String>,
    late: bool,
}

impl EventsSource {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no thing and no account, names that are none, a queue that is none, bounds of 0 or beyond
    /// those of AWS, an `sdk` without a region.
    pub fn new(config: EventsConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let mut problems = config.problems();
        let book = Book::new(&config.thing, config.account.as_ref(), &mut problems);
        let client = Client::new(&prepare::prepared(sdk, &mut problems), &config);
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        Ok(Self { config, book, client, held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing in here is left half done by a panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes what has arrived. What cannot be deleted stays, comes again, and is known by its mark.
    async fn acknowledge(&self, ctx: &Ctx, position: &mut Position, polled: &mut Polled) {
        let arrived: Vec<(String, String)> = {
            let held = self.held();
            let known = held.by_mark.iter().filter(|(mark, _)| position.knows(mark));
            known.map(|(mark, waiting)| (mark.clone(), waiting.receipt.clone())).collect()
        };
        for some in arrived.chunks(MAX_BATCH) {
            let deleted = some.iter().map(|(_, receipt)| self.client.delete(ctx, receipt));
            let deleted = futures::future::join_all(deleted).await;
            for ((mark, _), deleted) in some.iter().zip(deleted) {
                match deleted {
                    Ok(()) => {
                        self.held().by_mark.remove(mark);
                        position.deleted(mark, seconds(ctx.now().wall));
                    }
                    Err(error) => tell(polled, || error.message().to_owned()),
                }
            }
        }
    }

    /// Takes messages until there are none, or as many as may wait. Gives how many came.
    async fn receive(&self, ctx: &Ctx, position: &mut Position, polled: &mut Polled) -> Result<usize> {
        let mut n_received = 0;
        loop {
            let room = self.config.max_messages.saturating_sub(self.held().by_mark.len()).min(MAX_BATCH);
            if room == 0 || n_received >= self.config.max_messages {
                return Ok(n_received);
            }
            let messages = self.client.receive(ctx, room).await?;
            n_received += messages.len();
            let was_full = messages.len() == room;
            for message in messages {
                self.take(ctx, message, position, polled).await;
            }
            if !was_full {
                return Ok(n_received);
            }
        }
    }

    /// Keeps a message that says something new, and deletes every other.
    async fn take(&self, ctx: &Ctx, message: Message, position: &mut Position, polled: &mut Polled) {
        let now = ctx.now().wall;
        let (mark, said) = envelope::read(&self.book, &message);
        let is_new = !position.knows(&mark);
        if is_new && !said.as_ref().is_ok_and(Told::is_empty) {
            let late_after = Duration::from_millis(self.config.late_after_ms);
            let late = said.as_ref().is_ok_and(|told| now.since(told.at) > late_after);
            let mut held = self.held();
            held.n += 1;
            let n = held.n;
            let waiting = held.by_mark.entry(mark).or_insert_with(|| Waiting { n, receipt: String::new(), said, late });
            waiting.receipt = message.receipt;
            return;
        }
        match self.client.delete(ctx, &message.receipt).await {
            Ok(()) if !is_new => position.deleted(&mark, seconds(now)),
            Ok(()) => {}
            Err(error) => tell(polled, || error.message().to_owned()),
        }
    }

    /// Gives everything that waits and that the cursor does not know.
    fn give(&self, now: i64, position: &mut Position, polled: &mut Polled) {
        let held = self.held();
        let mut waiting: Vec<(&String, &Waiting)> =
            held.by_mark.iter().filter(|(mark, _)| !position.knows(mark)).collect();
        waiting.sort_by_key(|(_, waiting)| waiting.n);
        for (mark, waiting) in waiting {
            match &waiting.said {
                Ok(told) => {
                    let n = (told.changes.len() + told.events.len()) as u64;
                    polled.late += if waiting.late { n } else { 0 };
                    polled.batch.changes.extend(told.changes.iter().cloned());
                    polled.batch.events.extend(told.events.iter().cloned());
                }
                Err(problem) => {
                    polled.dropped += 1;
                    tell(polled, || problem.clone());
                }
            }
            position.gave(mark, now);
        }
        polled.batch.changes.sort_by_key(|change| change.at);
        polled.batch.events.sort_by_key(|event| event.at);
    }
}

impl EventsConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        let is_address = ["https://", "http://"].iter().any(|scheme| self.queue_url.starts_with(scheme));
        if !is_address || self.queue_url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            problems.push(Problem::at("queue_url", "must be the URL that SQS gives the queue"));
        }
        if !(1..=1_000).contains(&self.max_messages) {
            problems.push(Problem::at("max_messages", "must be from 1 to 1,000"));
        }
        if self.wait_secs > 5 {
            problems.push(Problem::at("wait_secs", "must be at most 5"));
        }
        if !(1..=43_200).contains(&self.visibility_secs) {
            problems.push(Problem::at("visibility_secs", "must be from 1 to 43,200"));
        }
        problems
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.as_nanos().div_euclid(1_000_000_000)
}

#[async_trait]
impl SignalSource for EventsSource {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let mut position: Position = poll::position(COMPONENT, cursor)?.unwrap_or_default();
        let mut polled = Polled::default();
        self.acknowledge(ctx, &mut position, &mut polled).await;
        let received = self.receive(ctx, &mut position, &mut polled).await;
        self.give(seconds(ctx.now().wall), &mut position, &mut polled);
        let failed: Option<Error> = received.err();
        if let Some(error) = failed {
            // What waited before is an answer; that the queue is away is told beside it.
            if polled.batch.is_empty() && polled.dropped == 0 {
                return Err(error);
            }
            tell(&mut polled, || error.message().to_owned());
        }
        polled.next = poll::cursor(COMPONENT, &position)?;
        Ok(polled)
    }
}
