//! Grafana Loki: log lines by range queries, without loss or repetition at equal nanoseconds.
//!
//! Each poll reads every query from where it stood up to a little before now, page by page. Lines that Loki receives later than
//! that little are not seen. What is read in one poll is bounded; the next poll goes on from there.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use ir_core::config::Problem;
use ir_core::text::plain;
use ir_core::{
    ConfigError, Ctx, Cursor, EntityId, Error, Labels, LogLevel, LogRecord, PartName, Polled, Result, SignalSource,
    Timestamp,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::http::{HttpClient, HttpConfig, HttpUrl};
use crate::json::Pairs;
use crate::shared::names::{self, present};
use crate::shared::{MAX_PROBLEMS, excerpt};

mod answer;
mod client;
#[cfg(test)]
mod double;
mod position;
#[cfg(feature = "loki-tail")]
mod seen;
#[cfg(feature = "loki-tail")]
mod tail;
#[cfg(test)]
mod tests;

use answer::{Answer, Entry, Stream};
use client::{Client, Range};
use position::Position;
#[cfg(feature = "loki-tail")]
use seen::Seen;
#[cfg(feature = "loki-tail")]
pub use tail::{LokiTail, LokiTailConfig};

const COMPONENT: &str = "loki";
/// The longest range of one query: an hour stays below every usual limit of servers.
const MAX_RANGE_NS: i64 = 3_600_000_000_000;
/// So much of the server's words is told.
const MAX_WORDS: usize = 200;
/// The most fields of a line that are kept.
const MAX_FIELDS: usize = 64;

/// One query for lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LokiQuery {
    /// Its name: where it was read up to is kept under it.
    pub name: String,
    /// LogQL that gives lines: `{env="prod"} |= "error"`.
    pub query: String,
}

/// What is read, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LokiConfig {
    /// The source's name in records. `loki`.
    pub name: String,
    /// Where the server is: `http://loki:3100`, with a path before `/loki/api` if there is one.
    pub url: String,
    /// The queries.
    pub query: Vec<LokiQuery>,
    /// The tenant (`X-Scope-OrgID`), where the server has several.
    pub tenant: Option<String>,
    /// The labels that name the entity, the first that a line has counts. `service_name`, `app`, `job`.
    pub entity_labels: Vec<String>,
    /// How far behind now is read, in milliseconds, so that lines which arrive late are not missed: agents
    /// gather lines for a second or more before they send them. 5,000.
    pub lag_ms: u64,
    /// How far back the first poll begins, in milliseconds. 0.
    pub backfill_ms: u64,
    /// The most lines of one page: not more than the server's `max_entries_limit_per_query`. 5,000.
    #[schemars(range(min = 1))]
    pub page: usize,
    /// The most pages of one query in one poll. 10.
    #[schemars(range(min = 1))]
    pub max_pages: usize,
    /// How long one page may take, in milliseconds. 5,000.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
    /// The most bytes of one page. 32 MiB.
    #[schemars(range(min = 1))]
    pub max_bytes: usize,
    /// The most names, values or streams that are found at once. 5,000.
    #[schemars(range(min = 1))]
    pub max_found: usize,
}

impl Default for LokiConfig {
    fn default() -> Self {
        Self {
            name: "loki".to_owned(),
            url: String::new(),
            query: Vec::new(),
            tenant: None,
            entity_labels: ["service_name", "app", "job"].map(str::to_owned).to_vec(),
            lag_ms: 5_000,
            backfill_ms: 0,
            page: 5_000,
            max_pages: 10,
            timeout_ms: 5_000,
            max_bytes: 32 << 20,
            max_found: 5_000,
        }
    }
}

/// Reads log lines from Loki.
///
/// The message is the line without terminal control sequences and byte order marks; the stream's labels, the structured metadata and
/// what the query extracts (`| json`, `| logfmt`) become fields, and name the entity and the level alike. The level is what the
/// writer said (`level`, `severity`, `severity_text`, `lvl` ...) by [`LogLevel::parse`], and else what Loki guessed from the text
/// (`detected_level`). An empty label is no label, and white space in the name of an entity becomes `-`. Lines without an entity
/// label are dropped and counted, and so is a part of an answer that cannot be read, and a line of a time that was not asked for;
/// warnings of the server are problems. When more than two pages of lines carry the very same nanosecond, those in the middle
/// cannot be asked for: one is counted as dropped, and a problem says so.
///
/// A query that fails is a problem of the poll, which keeps its position, as long as another one answers.
#[derive(Debug)]
pub struct LokiSource {
    config: LokiConfig,
    client: Client,
}

impl LokiSource {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: an address that is none, no query, names used twice, bounds of 0.
    pub fn new(config: LokiConfig) -> Result<Self, ConfigError> {
        let http = HttpConfig {
            timeout_ms: config.timeout_ms,
            connect_timeout_ms: config.timeout_ms,
            max_bytes: config.max_bytes,
        };
        Self::with_client(config, HttpClient::new(COMPONENT, http))
    }

    /// The same with a client of the host's own: with credentials, with TLS, with other bounds.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_client(config: LokiConfig, client: HttpClient) -> Result<Self, ConfigError> {
        let mut problems = config.problems();
        let url = match HttpUrl::parse(&config.url) {
            Ok(url) if url.path().contains('?') => {
                problems.push(Problem::at("url", "parameters do not belong into it"));
                Some(url)
            }
            Ok(url) => Some(url),
            Err(error) => {
                problems.push(Problem::at("url", error.message()));
                None
            }
        };
        let Some(url) = url else { return Err(ConfigError::of(problems)) };
        let client = Client { http: client, url, tenant: config.tenant.clone() };
        ConfigError::check(problems, Self { config, client })
    }

    /// Reads a recorded answer of the server as a poll would: the content of a reply of `query_range` with status 200. All of
    /// its lines count, whatever their times, sorted by time. Nothing is asked.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the answer cannot be read, `InvalidConfig` when it holds no lines but samples.
    pub fn read_recorded(&self, body: &[u8]) -> Result<Polled> {
        let mut gathered = Gathered::default();
        self.take(answer::read(body)?, &Position::at(i64::MIN), &mut gathered);
        Ok(gathered.polled(Cursor::default()))
    }
}

impl LokiConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if self.query.is_empty() {
            problems.push(Problem::at("query", "at least one query is needed"));
        }
        let mut names = BTreeSet::new();
        for (n, query) in self.query.iter().enumerate() {
            if !names.insert(&query.name) {
                problems.push(Problem::at(format!("query[{n}].name"), format!("`{}` is named twice", query.name)));
            }
            if query.query.trim().is_empty() {
                problems.push(Problem::at(format!("query[{n}].query"), "is empty"));
            }
        }
        if self.entity_labels.is_empty() {
            problems.push(Problem::at("entity_labels", "name at least one label"));
        }
        if self.tenant.as_ref().is_some_and(|tenant| !tenant.bytes().all(|byte| byte.is_ascii_graphic())) {
            problems.push(Problem::at("tenant", "a tenant is printable text without spaces"));
        }
        let bounds = [
            ("page", self.page == 0),
            ("max_pages", self.max_pages == 0),
            ("timeout_ms", self.timeout_ms == 0),
            ("max_bytes", self.max_bytes == 0),
            ("max_found", self.max_found == 0),
        ];
        let zero = bounds.into_iter().filter(|(_, is_zero)| *is_zero);
        problems.extend(zero.map(|(field, _)| Problem::at(field, "must be more than 0")));
        problems
    }
}

/// What one poll has gathered so far.
#[derive(Debug, Default)]
struct Gathered {
    lines: Vec<LogRecord>,
    dropped: u64,
    problems: Vec<String>,
    /// What came by another way already, where there is one.
    #[cfg(feature = "loki-tail")]
    seen: Option<Seen>,
}

impl Gathered {
    /// Whether this entry is new, whatever way it comes.
    #[cfg(feature = "loki-tail")]
    fn admits(&mut self, stream: &Pairs<'_>, entry: &Entry<'_>) -> bool {
        self.seen.as_mut().is_none_or(|seen| seen.insert(stream, entry))
    }

    /// There is one way only.
    #[cfg(not(feature = "loki-tail"))]
    #[expect(clippy::unused_self, reason = "with the feature `loki-tail` it remembers")]
    fn admits(&self, _stream: &Pairs<'_>, _entry: &Entry<'_>) -> bool {
        true
    }

    /// All of it, by time.
    fn polled(mut self, next: Cursor) -> Polled {
        // A record is large: its place is found first, and it is moved once.
        self.lines.sort_by_cached_key(|line| line.at);
        let mut polled = Polled { next, dropped: self.dropped, problems: self.problems, ..Polled::default() };
        polled.batch.logs = self.lines;
        polled
    }

    fn drop_some(&mut self, n: u64, problem: impl FnOnce() -> String) {
        self.dropped += n;
        self.tell(problem);
    }

    fn tell(&mut self, problem: impl FnOnce() -> String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem());
        }
    }
}

impl LokiSource {
    /// The names of the labels that there are between two times: what there is to watch. At most `max_found` of them.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `RateLimited`, `Unauthorized`; `InvalidConfig` when the range is longer than the server allows;
    /// `InvalidInput` when the answer is larger than `max_bytes`.
    pub async fn labels(&self, ctx: &Ctx, from: Timestamp, until: Timestamp) -> Result<Vec<String>> {
        let reply = self.client.labels(ctx, None, (from.as_nanos(), until.as_nanos())).await?;
        self.found(&reply.body)
    }

    /// The values that a label has between two times. At most `max_found` of them.
    ///
    /// # Errors
    ///
    /// As for [`labels`](Self::labels).
    pub async fn label_values(&self, ctx: &Ctx, label: &str, from: Timestamp, until: Timestamp) -> Result<Vec<String>> {
        let reply = self.client.labels(ctx, Some(label), (from.as_nanos(), until.as_nanos())).await?;
        self.found(&reply.body)
    }

    /// The streams that any of `selectors` gives between two times, by their labels. At most `max_found` of them.
    ///
    /// # Errors
    ///
    /// As for [`labels`](Self::labels), and `InvalidConfig` when a selector is none, or there is none at all.
    pub async fn series(
        &self,
        ctx: &Ctx,
        selectors: &[&str],
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Labels>> {
        let reply = self.client.series(ctx, selectors, (from.as_nanos(), until.as_nanos())).await?;
        self.found(&reply.body)
    }

    fn found<T: DeserializeOwned>(&self, body: &[u8]) -> Result<Vec<T>> {
        let mut found: Vec<T> = answer::read_data(body)?;
        found.truncate(self.config.max_found);
        Ok(found)
    }

    /// Reads a query from `position` up to `end`, which moves as pages come; an error leaves it behind the last whole page.
    async fn read(
        &self,
        ctx: &Ctx,
        query: &str,
        position: &mut Position,
        end: i64,
        gathered: &mut Gathered,
    ) -> Result<()> {
        for _ in 0..self.config.max_pages {
            if position.nanos >= end {
                return Ok(());
            }
            let until = end.min(position.nanos.saturating_add(MAX_RANGE_NS));
            let range = Range { start: position.nanos, end: until, limit: self.config.page, backward: false };
            let reply = self.client.query_range(ctx, query, range).await?;
            let mut answer = answer::read(&reply.body)?;
            let is_full = answer.len() >= self.config.page;
            drop_outside(&mut answer, position.nanos..until, gathered);
            let last = answer.streams.iter().flat_map(|stream| &stream.values).map(|entry| entry.nanos).max();
            let next = match last {
                Some(last) if is_full => {
                    if last <= position.nanos {
                        self.read_nanosecond(ctx, query, position, answer, gathered).await?;
                        *position = Position::at(position.nanos.saturating_add(1));
                        continue;
                    }
                    // The page may have ended among lines of this very nanosecond.
                    Position { nanos: last, seen: names_at(last, &answer) }
                }
                None if is_full => {
                    gathered.tell(|| {
                        "a page of which nothing can be read; what follows it in its range is passed over".to_owned()
                    });
                    Position::at(until)
                }
                _ => Position::at(until),
            };
            self.take(answer, position, gathered);
            *position = next;
        }
        Ok(())
    }

    /// A whole page of one nanosecond: the other end of it is all that can be asked for beside.
    async fn read_nanosecond(
        &self,
        ctx: &Ctx,
        query: &str,
        position: &Position,
        first: Answer<'_>,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let nanos = position.nanos;
        let range = Range { start: nanos, end: nanos.saturating_add(1), limit: self.config.page, backward: true };
        let reply = self.client.query_range(ctx, query, range).await?;
        let mut other = answer::read(&reply.body)?;
        let is_whole = other.len() < self.config.page;
        drop_outside(&mut other, nanos..nanos.saturating_add(1), gathered);
        let (of_first, of_other) = (names_at(nanos, &first), names_at(nanos, &other));
        let apart = of_first.is_disjoint(&of_other);
        let mut known = position.clone();
        known.seen.extend(of_first);
        self.take(first, position, gathered);
        self.take(other, &known, gathered);
        if apart && !is_whole {
            gathered.drop_some(1, || format!("more than {} lines of one nanosecond", 2 * self.config.page));
        }
        Ok(())
    }

    /// Takes what is new behind `position`.
    fn take(&self, answer: Answer<'_>, position: &Position, gathered: &mut Gathered) {
        gathered.lines.reserve(answer.len());
        for warning in &answer.warnings {
            gathered.tell(|| format!("the server says: {}", excerpt(warning, MAX_WORDS)));
        }
        if answer.n_wrong > 0 {
            gathered.drop_some(answer.n_wrong, || format!("{} parts of an answer cannot be read", answer.n_wrong));
        }
        for Stream { stream, values } in answer.streams {
            let mut new = values;
            new.retain(|entry| !position.has(&stream, entry) && gathered.admits(&stream, entry));
            if new.is_empty() {
                continue;
            }
            let mut common = Common::new(&self.config.entity_labels, &stream);
            for entry in new {
                match common.record(entry) {
                    Ok(line) => gathered.lines.push(line),
                    Err(problem) => gathered.drop_some(1, || format!("a line is without an entity: {problem}")),
                }
            }
        }
    }
}

/// Leaves out and counts entries of times that were not asked for: believed, one of them would move the position.
fn drop_outside(answer: &mut Answer<'_>, range: std::ops::Range<i64>, gathered: &mut Gathered) {
    let n = answer.keep_within(&range);
    if n > 0 {
        gathered.drop_some(n, || format!("{n} lines are of times that were not asked for"));
    }
}

/// The entries at that nanosecond.
fn names_at(nanos: i64, answer: &Answer<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for stream in &answer.streams {
        let there = stream.values.iter().filter(|entry| entry.nanos == nanos);
        names.extend(there.map(|entry| position::name(&stream.stream, entry)));
    }
    names
}

/// What the lines of one stream have in common.
#[derive(Debug)]
struct Common<'c> {
    entity_labels: &'c [String],
    /// How many of the labels that name an entity come before the one that the stream has.
    n_better: usize,
    entity: Result<EntityId, String>,
    /// The stream's labels, as far as they fit.
    fields: Labels,
    /// The level that the stream says, and how good the label is that says it.
    level: Level,
    /// How many fields there is room for.
    room: usize,
    /// The metadata that came last, by name: the same names come with every line, and often the same values.
    last: Vec<(Arc<str>, Arc<str>)>,
    /// The level that was read last, and from what.
    last_level: (String, Option<LogLevel>),
}

/// The labels that say a level, best first: what the writer said comes before what Loki guessed from the text.
const LEVELS: [&str; 9] =
    ["level", "severity", "severity_text", "lvl", "loglevel", "log_level", "levelname", "severity_number", GUESSED];
const GUESSED: &str = "detected_level";

/// A level, and the place in [`LEVELS`] of the label that says it.
type Level = Option<(usize, LogLevel)>;

impl<'c> Common<'c> {
    fn new(entity_labels: &'c [String], stream: &Pairs<'_>) -> Self {
        let find = |label: &str| find(label, stream);
        let n_better = entity_labels.iter().position(|label| present(find(label)).is_some());
        let entity = names::entity(entity_labels, find).map(|named| named.entity);
        let fields = stream.iter().filter(|(_, value)| !value.is_empty()).take(MAX_FIELDS);
        let fields = fields.map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        let mut common = Self {
            entity_labels,
            n_better: n_better.unwrap_or(entity_labels.len()),
            entity,
            fields,
            level: None,
            room: MAX_FIELDS.saturating_sub(stream.len()),
            last: Vec::new(),
            last_level: (String::new(), None),
        };
        common.level = common.better(None, stream);
        common
    }

    /// The record, or why it is about no entity.
    fn record(&mut self, entry: Entry<'_>) -> Result<LogRecord, String> {
        let entity = self.entity(&entry)?;
        let level = self.better(self.level, &entry.metadata);
        let level = self.better(level, &entry.parsed);
        let mut fields = self.fields.clone();
        let n = entry.metadata.len().min(self.room);
        for (key, value) in entry.metadata.into_iter().take(n) {
            let (key, value) = self.shared(key, value);
            fields.insert(key, value);
        }
        for (key, value) in entry.parsed.into_iter().take(self.room - n) {
            fields.insert(key, plain(&value));
        }
        let message = match plain(&entry.line) {
            Cow::Borrowed(_) => entry.line.into_owned(),
            Cow::Owned(plain) => plain,
        };
        let level = level.map(|(_, level)| level);
        Ok(LogRecord { entity, at: Timestamp::from_nanos(entry.nanos), level, message, fields })
    }

    fn entity(&self, entry: &Entry<'_>) -> Result<EntityId, String> {
        let own = |label: &str| present(find(label, &entry.parsed)).or_else(|| find(label, &entry.metadata));
        let better = &self.entity_labels[..self.n_better];
        if better.iter().any(|label| present(own(label)).is_some()) {
            return names::entity(better, own).map(|named| named.entity);
        }
        self.entity.clone()
    }

    /// The level that the best label says.
    fn better(&mut self, known: Level, pairs: &Pairs<'_>) -> Level {
        let mut best = known;
        for (key, value) in pairs {
            let Some(rank) = LEVELS.iter().position(|name| name.eq_ignore_ascii_case(key)) else { continue };
            if best.is_none_or(|(held, _)| rank < held)
                && let Some(level) = self.level_of(rank, value)
            {
                best = Some((rank, level));
            }
        }
        best
    }

    fn level_of(&mut self, rank: usize, text: &str) -> Option<LogLevel> {
        if LEVELS.get(rank) == Some(&"severity_number") {
            return text.parse().map_or_else(|_| LogLevel::parse(text), LogLevel::of_severity_number);
        }
        if self.last_level.0 != text {
            self.last_level = (text.to_owned(), LogLevel::parse(text));
        }
        self.last_level.1
    }

    fn shared(&mut self, key: Cow<'_, str>, value: Cow<'_, str>) -> (Arc<str>, Arc<str>) {
        match self.last.iter_mut().find(|(known, _)| known.as_ref() == key) {
            Some((known, last)) => {
                if last.as_ref() != value {
                    *last = value.into();
                }
                (known.clone(), last.clone())
            }
            None => {
                let pair: (Arc<str>, Arc<str>) = (key.into(), value.into());
                if self.last.len() < MAX_FIELDS {
                    self.last.push(pair.clone());
                }
                pair
            }
        }
    }
}

fn find<'v>(label: &str, pairs: &'v Pairs<'_>) -> Option<&'v str> {
    pairs.iter().find(|(key, _)| key == label).map(|(_, value)| value.as_ref())
}

#[async_trait]
impl SignalSource for LokiSource {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let mut known = position::read(cursor)?;
        let now = ctx.now().wall;
        let back = |ms: u64| now.minus(std::time::Duration::from_millis(ms)).as_nanos();
        let end = back(self.config.lag_ms);
        let mut gathered = Gathered::default();
        let mut positions = BTreeMap::new();
        let mut failed: Option<Error> = None;
        let mut n_failed = 0;
        for LokiQuery { name, query } in &self.config.query {
            let begin = || Position::at(back(self.config.lag_ms.saturating_add(self.config.backfill_ms)));
            let mut position = known.remove(name).unwrap_or_else(begin);
            let before = position.clone();
            if let Err(error) = self.read(ctx, query, &mut position, end, &mut gathered).await {
                // Pages that came before it failed are good.
                n_failed += usize::from(position == before);
                gathered.tell(|| format!("query `{name}`: {}", error.message()));
                failed = failed.or(Some(error));
            }
            positions.insert(name.clone(), position);
        }
        if let Some(error) = failed.filter(|_| n_failed == self.config.query.len()) {
            return Err(error);
        }
        Ok(gathered.polled(position::write(&positions)?))
    }
}
