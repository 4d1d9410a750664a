//! Amazon CloudWatch Logs, by `FilterLogEvents`: each event once, also where many have the same millisecond.
//!
//! Each poll reads every group from where it stood up to a little before now, page by page. An event that CloudWatch
//! receives later than [`LogsConfig::lag_ms`] after its time is not seen. What is read in one poll is bounded; the next
//! poll goes on from there, by AWS's own token where it is fresh, else by time and the ids of the latest events.
//!
//! Within a time range events may come in any order, on one page or over several. Only where a token must be given up
//! within a range whose events were out of order, earlier events of its unread pages are not read; a problem of the poll
//! says so.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_config::SdkConfig;
use ir_core::config::Problem;
use ir_core::text::plain;
use ir_core::{
    ConfigError, Ctx, Cursor, EntityId, Error, ErrorKind, Labels, LogRecord, PartName, Polled, Result, SignalSource,
    Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::poll::{self, tell};
use super::prepare;

mod client;
mod position;
#[cfg(test)]
mod tests;

use client::{Client, Page, Range};
use position::{Came, Position, Query, Resume};

const COMPONENT: &str = "cloudwatch-logs";
/// AWS gives at most so many events in a page.
const MAX_PAGE: u32 = 10_000;

/// One log group, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogGroup {
    /// Its name here: where it was read up to is kept under it.
    pub name: String,
    /// Who writes it.
    pub entity: EntityId,
    /// The group's name: `/ecs/checkout`.
    pub group: String,
    /// Only streams whose name begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_prefix: Option<String>,
    /// Only events that match, in the filter syntax of CloudWatch Logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// What is read, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogsConfig {
    /// The source's name in records. `cloudwatch-logs`.
    pub name: String,
    /// The groups.
    pub group: Vec<LogGroup>,
    /// How far behind now is read, in milliseconds, so that events which arrive late are not missed: agents gather them for
    /// seconds before they send them. 15,000.
    pub lag_ms: u64,
    /// How far back the first poll begins, in milliseconds. 0.
    pub backfill_ms: u64,
    /// The most events of one page. 10,000, which is the most that AWS gives.
    #[schemars(range(min = 1, max = 10_000))]
    pub page: u32,
    /// The most pages of one group in one poll. 10. AWS gives empty pages, too, while it searches.
    #[schemars(range(min = 1))]
    pub max_pages: usize,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            name: "cloudwatch-logs".to_owned(),
            group: Vec::new(),
            lag_ms: 15_000,
            backfill_ms: 0,
            page: MAX_PAGE,
            max_pages: 10,
        }
    }
}

/// Reads log events from CloudWatch Logs.
///
/// The message is the event's without terminal control sequences; its stream becomes the field `stream`. An event without
/// a time or a message, or of a time that was not asked for, is dropped and counted. An event that is earlier by more than
/// `lag_ms` than one that came before it counts as late. A group that fails is a problem of the poll and keeps its
/// position, as long as another one answers.
#[derive(Debug)]
pub struct LogsSource {
    config: LogsConfig,
    client: Client,
}

impl LogsSource {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: no group, names used twice, empty names, bounds of 0 or beyond those of AWS, an `sdk`
    /// without a region.
    pub fn new(config: LogsConfig, sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let mut problems = config.problems();
        let client = Client::new(&prepare::prepared(sdk, &mut problems));
        let Some(client) = client.filter(|_| problems.is_empty()) else { return Err(ConfigError::of(problems)) };
        Ok(Self { config, client })
    }

    /// Reads a group from `position` up to `end` (not within), which moves as pages come; an error leaves it behind the
    /// last whole page.
    async fn read(
        &self,
        ctx: &Ctx,
        group: &LogGroup,
        position: &mut Position,
        end: i64,
        gathered: &mut Polled,
    ) -> Result<()> {
        let now_ms = ctx.now().wall.as_nanos().div_euclid(1_000_000);
        let mut token = None;
        let mut query = match position.fresh_resume(now_ms) {
            Some(resume) => {
                token = Some(resume.token);
                resume.query
            }
            None => {
                tell_unread(group, position, gathered);
                position.query(end)
            }
        };
        for _ in 0..self.config.max_pages {
            if token.is_none() && query.from >= query.until {
                return Ok(());
            }
            let range = Range { from: query.from, until: query.until, limit: self.config.page, token };
            let page = self.client.filter(ctx, group, range).await?;
            self.receive(group, &page, &mut query, position, gathered);
            token = page.next;
            match &token {
                Some(token) => {
                    let resume = Resume { query: query.clone(), token: token.clone(), at_ms: now_ms };
                    position.resume = Some(resume);
                }
                None => {
                    *position = Position::at(query.until);
                    query = position.query(end);
                }
            }
        }
        Ok(())
    }

    /// Receives what is new on a page of `query`, and moves the position to its latest event.
    fn receive(
        &self,
        group: &LogGroup,
        page: &Page,
        query: &mut Query,
        position: &mut Position,
        gathered: &mut Polled,
    ) {
        for event in &page.events {
            let Some((at, message)) = event.at.zip(event.message.as_ref()) else {
                gathered.dropped += 1;
                tell(gathered, || format!("group `{}`: an event has no time or no message", group.name));
                continue;
            };
            match position.note(at, &event.id, query) {
                Came::Again => continue,
                Came::Outside => {
                    gathered.dropped += 1;
                    tell(gathered, || format!("group `{}`: an event is of a time that was not asked for", group.name));
                    continue;
                }
                Came::Earlier(by) => gathered.late += u64::from(by > millis(self.config.lag_ms)),
                Came::New => {}
            }
            let fields: Labels = event.stream.iter().map(|stream| ("stream", stream.as_str())).collect();
            let record = LogRecord {
                entity: group.entity.clone(),
                at: Timestamp::from_millis(at),
                level: None,
                message: plain(message).into_owned(),
                fields,
            };
            gathered.batch.logs.push(record);
        }
    }
}

/// Says what is not read when the token of an unfinished query is given up, if anything.
fn tell_unread(group: &LogGroup, position: &Position, gathered: &mut Polled) {
    if position.resume.as_ref().is_some_and(|resume| resume.query.is_unordered) {
        let latest = Timestamp::from_millis(position.from);
        tell(gathered, || {
            format!("group `{}`: a token was given up, and events before {latest} may be unread", group.name)
        });
    }
}

impl LogsConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if self.group.is_empty() {
            problems.push(Problem::at("group", "at least one group is needed"));
        }
        let mut names = BTreeSet::new();
        for (n, group) in self.group.iter().enumerate() {
            let at = |field: &str| format!("group[{n}].{field}");
            if !names.insert(&group.name) {
                problems.push(Problem::at(at("name"), format!("`{}` is named twice", group.name)));
            }
            for (field, text) in [("name", &group.name), ("group", &group.group)] {
                if text.trim().is_empty() {
                    problems.push(Problem::at(at(field), "is empty"));
                }
            }
            if group.filter.as_ref().is_some_and(|filter| filter.chars().count() > 1_024) {
                problems.push(Problem::at(at("filter"), "AWS takes at most 1,024 characters"));
            }
        }
        if !(1..=MAX_PAGE).contains(&self.page) {
            problems.push(Problem::at("page", "must be from 1 to 10,000"));
        }
        if self.max_pages == 0 {
            problems.push(Problem::at("max_pages", "must be more than 0"));
        }
        problems
    }
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[async_trait]
impl SignalSource for LogsSource {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        // Where the groups stand, by their names.
        let known: Option<BTreeMap<String, Position>> = poll::position(COMPONENT, cursor)?;
        let mut known = known.unwrap_or_default();
        let now = ctx.now().wall.as_nanos().div_euclid(1_000_000);
        let end = now.saturating_sub(millis(self.config.lag_ms));
        let begin = end.saturating_sub(millis(self.config.backfill_ms));
        let mut gathered = Polled::default();
        let mut positions = BTreeMap::new();
        let mut failed: Option<Error> = None;
        let mut n_failed = 0;
        let mut is_forgotten = false;
        for group in &self.config.group {
            let mut position = known.remove(&group.name).unwrap_or_else(|| Position::at(begin));
            let before = position.clone();
            if let Err(error) = self.read(ctx, group, &mut position, end, &mut gathered).await {
                if position == before {
                    n_failed += 1;
                    // A token that AWS does not take any more must not be asked for again.
                    if error.kind() == ErrorKind::InvalidInput && position.resume.is_some() {
                        tell_unread(group, &position, &mut gathered);
                        position.resume = None;
                        is_forgotten = true;
                    }
                }
                tell(&mut gathered, || format!("group `{}`: {}", group.name, error.message()));
                failed = failed.or(Some(error));
            }
            positions.insert(group.name.clone(), position);
        }
        // That a token was given up must get into the cursor, so such a poll is an answer, too.
        if let Some(error) = failed.filter(|_| n_failed == self.config.group.len() && !is_forgotten) {
            return Err(error);
        }
        gathered.batch.logs.sort_by_key(|line| line.at);
        gathered.next = poll::cursor(COMPONENT, &positions)?;
        Ok(gathered)
    }
}
