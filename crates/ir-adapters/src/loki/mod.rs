//! Grafana Loki: log lines by range queries, without loss or repetition at equal nanoseconds.
//!
//! Each poll reads every query from where it stood up to a little before now, page by page. Lines that Loki receives later than
//! that little are not seen. What is read in one poll is bounded; the next poll goes on from there.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use ir_core::config::Problem;
use ir_core::{
    ConfigError, Ctx, Cursor, EntityId, Error, Labels, LogLevel, LogRecord, PartName, Polled, Result, SignalSource,
    Timestamp,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::http::{HttpClient, HttpConfig, HttpUrl};
use crate::json::Pairs;

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
/// How many problems of one poll are told in words; the rest is only counted.
const MAX_PROBLEMS: usize = 5;
/// The longest range of one query: an hour stays below every usual limit of servers.
const MAX_RANGE_NS: i64 = 3_600_000_000_000;
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
/// The message is the line as it is; the stream's labels and the structured metadata become fields; the level is that of
/// `detected_level` or `level`. Lines of nobody (none of the entity labels) are dropped and counted. When more than two pages
/// of lines carry the very same nanosecond, those in the middle cannot be asked for: one is counted as dropped, and a problem
/// says so.
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
            let answer = answer::read(&reply.body)?;
            let last = answer.streams.iter().flat_map(|stream| &stream.values).map(|entry| entry.nanos).max();
            let next = match last {
                Some(last) if answer.len() >= self.config.page => {
                    if last <= position.nanos {
                        self.read_nanosecond(ctx, query, position, answer, gathered).await?;
                        *position = Position::at(position.nanos.saturating_add(1));
                        continue;
                    }
                    // The page may have ended among lines of this very nanosecond.
                    Position { nanos: last, seen: names_at(last, &answer) }
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
        let other = answer::read(&reply.body)?;
        let (of_first, of_other) = (names_at(nanos, &first), names_at(nanos, &other));
        let is_whole = other.len() < self.config.page;
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
        for Stream { stream, values } in answer.streams {
            let about = |label: &String| stream.iter().find(|(key, _)| key == label).map(|(_, value)| value);
            let entity = self.config.entity_labels.iter().find_map(about).map(|name| EntityId::new(name.as_ref()));
            let mut new = values;
            new.retain(|entry| !position.has(&stream, entry) && gathered.admits(&stream, entry));
            if new.is_empty() {
                continue;
            }
            match entity {
                Some(Ok(entity)) => {
                    let mut common = Common::new(entity, &stream);
                    gathered.lines.extend(new.into_iter().map(|entry| common.record(entry)));
                }
                Some(Err(error)) => gathered.drop_some(new.len() as u64, || error.message().to_owned()),
                None => {
                    let nobody = || "a stream has none of the labels that name an entity".to_owned();
                    gathered.drop_some(new.len() as u64, nobody);
                }
            }
        }
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
struct Common {
    entity: EntityId,
    /// The stream's labels, as far as they fit.
    fields: Labels,
    /// What `detected_level` and `level` say among them.
    levels: [Option<LogLevel>; 2],
    /// How many fields there is room for.
    room: usize,
    /// The metadata that came last, by name: the same names come with every line, and often the same values.
    last: Vec<(Arc<str>, Arc<str>)>,
}

const LEVELS: [&str; 2] = ["detected_level", "level"];

impl Common {
    fn new(entity: EntityId, stream: &Pairs<'_>) -> Self {
        let fields = stream.iter().take(MAX_FIELDS).map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        let levels = LEVELS.map(|name| level_in(name, stream));
        Self { entity, fields, levels, room: MAX_FIELDS.saturating_sub(stream.len()), last: Vec::new() }
    }

    fn record(&mut self, entry: Entry<'_>) -> LogRecord {
        let mut levels = (0..LEVELS.len()).map(|n| self.levels[n].or_else(|| level_in(LEVELS[n], &entry.metadata)));
        let level = levels.find_map(|level| level);
        let mut fields = self.fields.clone();
        for (key, value) in entry.metadata.into_iter().take(self.room) {
            let (key, value) = self.shared(key, value);
            fields.insert(key, value);
        }
        LogRecord {
            entity: self.entity.clone(),
            at: Timestamp::from_nanos(entry.nanos),
            level,
            message: entry.line.into_owned(),
            fields,
        }
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

fn level_in(name: &str, pairs: &Pairs<'_>) -> Option<LogLevel> {
    pairs.iter().find(|(key, _)| key == name).and_then(|(_, value)| level_of(value))
}

/// The words that Loki detects, and their usual variants.
fn level_of(word: &str) -> Option<LogLevel> {
    let levels: [(&[&str], LogLevel); 6] = [
        (&["trace", "trc"], LogLevel::Trace),
        (&["debug", "dbg"], LogLevel::Debug),
        (&["info", "inf", "information", "notice"], LogLevel::Info),
        (&["warn", "wrn", "warning"], LogLevel::Warn),
        (&["error", "err"], LogLevel::Error),
        (&["fatal", "critical", "panic", "emerg", "alert"], LogLevel::Fatal),
    ];
    levels.into_iter().find(|(words, _)| words.iter().any(|w| word.eq_ignore_ascii_case(w))).map(|(_, level)| level)
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
