//! Loki's tail: lines as they come in, over a WebSocket, with the gaps between two connections filled by range queries.
//!
//! # Why both
//!
//! A tail brings a line when Loki receives it, whatever its time; but what is received while nobody listens it never brings, and of
//! what is received while it begins the order of events at the server is not promised. So every connection is filled up twice
//! by range queries: at once, from where the last poll stood, and once more when lines of its beginning are as old as lines get.
//! A line that comes by two ways is given once.
//!
//! While the server is away, agents keep what it refuses and send it again, so that lines of a break arrive long after it, and some of
//! them before the new connection listens. The time of a break is therefore read again and again, at doubling distances, for as long as
//! agents may repeat.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use ir_core::config::Problem;
use ir_core::{ConfigError, Ctx, Cursor, Error, ErrorKind, Polled, Result, SignalSource, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::answer::{self, Answer};
use super::client::meaning;
use super::position::Position;
use super::seen::Seen;
use super::{COMPONENT, Gathered, LokiConfig, LokiQuery, LokiSource};
use crate::http::{HttpClient, HttpConfig, Wire, encode};
use crate::shared::times::{MAX_AGE_MS, MAX_AHEAD_MS, Plausible};

/// The most breaks of which late lines are looked for at once.
const MAX_GAPS: usize = 8;
/// The most lines that a cursor holds as given already.
const MAX_SEEN: usize = 20_000;

/// What is read, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LokiTailConfig {
    /// The source's name in records. `loki-tail`.
    pub name: String,
    /// Where the server is: `http://loki:3100`, with a path before `/loki/api` if there is one.
    pub url: String,
    /// LogQL that gives lines: `{env="prod"} |= "error"`.
    pub query: String,
    /// The tenant (`X-Scope-OrgID`), where the server has several.
    pub tenant: Option<String>,
    /// The labels that name the entity, the first that a line has counts. `service_name`, `app`, `job`.
    pub entity_labels: Vec<String>,
    /// How late lines may come, in milliseconds, for none to be missed while there is no connection. Within it, lines that were
    /// given are remembered in the cursor. 5,000.
    pub lag_ms: u64,
    /// How long after a break lines of it may still arrive, in milliseconds, because agents repeat what was refused. 60,000.
    pub catch_up_ms: u64,
    /// How far back the first poll begins, in milliseconds. 0.
    pub backfill_ms: u64,
    /// The most lines of one page of a range query: not more than the server's `max_entries_limit_per_query`. 5,000.
    #[schemars(range(min = 1))]
    pub page: usize,
    /// The most pages of a gap in one poll. 10.
    #[schemars(range(min = 1))]
    pub max_pages: usize,
    /// No more is taken from the connection in one poll once there are so many lines. 50,000.
    #[schemars(range(min = 1))]
    pub max_lines: usize,
    /// How long a poll waits for what is just arriving, in milliseconds. 50.
    pub wait_ms: u64,
    /// After so long without a sign of life a connection is given up, in milliseconds. Loki gives one a second. 15,000.
    #[schemars(range(min = 1))]
    pub silence_ms: u64,
    /// How long making a connection, or one page, may take, in milliseconds. 5,000.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
    /// The most bytes of one page, or of one message. 32 MiB.
    #[schemars(range(min = 1))]
    pub max_bytes: usize,
}

impl Default for LokiTailConfig {
    fn default() -> Self {
        let LokiConfig { entity_labels, lag_ms, backfill_ms, page, max_pages, timeout_ms, max_bytes, .. } =
            LokiConfig::default();
        Self {
            name: "loki-tail".to_owned(),
            url: String::new(),
            query: String::new(),
            tenant: None,
            entity_labels,
            lag_ms,
            catch_up_ms: 60_000,
            backfill_ms,
            page,
            max_pages,
            max_lines: 50_000,
            wait_ms: 50,
            silence_ms: 15_000,
            timeout_ms,
            max_bytes,
        }
    }
}

/// Reads log lines from Loki as they come in.
///
/// Lines are those of [`LokiSource`]. A line older than `lag_ms` that comes over a standing connection is given and counted as late,
/// and so is a line of the time of a break that arrives within `catch_up_ms` after it. What the server leaves out because it is not
/// read fast enough is filled up like a gap; of it, what is older than `lag_ms` is dropped and counted. A line whose time is ahead of
/// our clock by more than ten minutes, or older than ten years, is taken as of now, which is a problem of the poll. A connection is
/// kept between polls and read only in them; no task runs beside.
///
/// The cursor holds the time before which everything was given, and short digests of what was given behind it and within a break, at
/// most 20,000: where more lines come within `lag_ms`, the time in which late lines are found after a break is shorter, and where
/// more lines are of a break, late ones of it are no longer looked for, which is a problem of the poll.
#[derive(Debug)]
pub struct LokiTail {
    config: LokiTailConfig,
    /// Asks for what the tail does not bring.
    range: LokiSource,
    link: Mutex<Option<Link>>,
}

/// A connection, and how far it has come.
struct Link {
    socket: WebSocketStream<Box<dyn Wire>>,
    /// The cursor that it goes on from.
    cursor: Cursor,
    /// When it began to be made, in nanoseconds of the wall clock.
    opened: i64,
    /// When it last gave a sign of life, in nanoseconds of the monotonic clock.
    heard: u64,
    /// The gap that is being filled.
    fill: Option<Fill>,
    /// Nothing of its beginning is missing any more.
    settled: bool,
    /// Breaks before it, as long as lines of them may still arrive.
    gaps: Vec<Gap>,
}

/// A time without a connection. All times are nanoseconds since 1970.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    /// Everything before was given.
    #[serde(with = "super::position::text")]
    from: i64,
    /// When the next connection began.
    #[serde(with = "super::position::text")]
    until: i64,
    /// When it is read the next time.
    #[serde(with = "super::position::text")]
    next: i64,
    /// When it is read the last time.
    #[serde(with = "super::position::text")]
    ends: i64,
}

#[derive(Debug)]
struct Fill {
    position: Position,
    until: i64,
    purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// What came while there was no connection.
    Begins,
    /// What the connection may have missed when it began, read when such lines are as old as lines get.
    Settles,
    /// What arrives late of a break.
    CatchesUp,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("cursor", &self.cursor).field("fill", &self.fill).finish_non_exhaustive()
    }
}

/// What the cursor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// Everything before was given.
    #[serde(with = "super::position::text")]
    at: i64,
    /// What was given from then on.
    #[serde(default)]
    seen: Seen,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gaps: Vec<Gap>,
}

impl LokiTail {
    /// Checks the configuration. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// All problems at once: an address that is none, no query, bounds of 0.
    pub fn new(config: LokiTailConfig) -> Result<Self, ConfigError> {
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
    pub fn with_client(config: LokiTailConfig, client: HttpClient) -> Result<Self, ConfigError> {
        let range = LokiConfig {
            name: config.name.clone(),
            url: config.url.clone(),
            query: vec![LokiQuery { name: "tail".to_owned(), query: config.query.clone() }],
            tenant: config.tenant.clone(),
            entity_labels: config.entity_labels.clone(),
            page: config.page,
            max_pages: config.max_pages,
            timeout_ms: config.timeout_ms,
            max_bytes: config.max_bytes,
            ..LokiConfig::default()
        };
        let bounds = [("max_lines", config.max_lines == 0), ("silence_ms", config.silence_ms == 0)];
        let zero = bounds.into_iter().filter(|(_, is_zero)| *is_zero);
        let mut problems: Vec<Problem> = zero.map(|(field, _)| Problem::at(field, "must be more than 0")).collect();
        match LokiSource::with_client(range, client) {
            Ok(range) => ConfigError::check(problems, Self { config, range, link: Mutex::default() }),
            Err(error) => {
                problems.extend(error.problems().iter().cloned());
                Err(ConfigError::of(problems))
            }
        }
    }

    fn lag(&self) -> i64 {
        nanos(self.config.lag_ms)
    }

    /// The break that ends with a connection.
    fn gap(&self, from: i64, opened: i64) -> Gap {
        let next = opened.saturating_add(self.lag());
        Gap { from, until: opened, next, ends: opened.saturating_add(nanos(self.config.catch_up_ms)).max(next) }
    }

    /// A new connection. It begins with lines so old that they may have been received last; older ones are in the gap from `at` on.
    async fn open(&self, ctx: &Ctx, cursor: &Cursor, at: i64) -> Result<Link> {
        let client = &self.range.client;
        let opened = ctx.now().wall.as_nanos();
        let start = at.max(opened.saturating_sub(self.lag()));
        let url = client.at(&format!(
            "tail?query={}&start={start}&limit={}",
            encode(&self.config.query),
            self.config.page
        ))?;
        let key = generate_key();
        let mut headers = client.headers();
        headers.extend([("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]);
        headers.push(("sec-websocket-key", &key));
        let ctx = ctx.with_timeout(Duration::from_millis(self.config.timeout_ms));
        let (wire, request) = client.http.open(&ctx, &url, &headers).await?;
        let most = Some(self.config.max_bytes);
        let bounds = WebSocketConfig::default().max_message_size(most).max_frame_size(most);
        let shake = async {
            let shaken = tokio_tungstenite::client_async_with_config(request, wire, Some(bounds)).await;
            shaken.map(|(socket, _)| socket).map_err(|error| match error {
                SocketError::Http(reply) => {
                    meaning(reply.status().as_u16(), reply.body().as_deref().unwrap_or_default())
                }
                error => Error::new(ErrorKind::Unavailable, COMPONENT, format!("no tail: {error}")),
            })
        };
        let socket = ctx.run(COMPONENT, shake).await?;
        let now = ctx.now();
        let until = now.wall.as_nanos().saturating_add(1);
        let fill = Some(Fill { position: Position::at(at), until, purpose: Purpose::Begins });
        Ok(Link { socket, cursor: cursor.clone(), opened, heard: now.mono_ns, fill, settled: false, gaps: Vec::new() })
    }

    /// Goes on filling the gap, if there is one, and counts what arrived late.
    async fn fill(&self, ctx: &Ctx, link: &mut Link, at: i64, gathered: &mut Gathered, late: &mut u64) -> Result<()> {
        let now = ctx.now().wall.as_nanos();
        if link.fill.is_none() && !link.settled && now >= link.opened.saturating_add(self.lag()) {
            let (position, until) = (Position::at(at), now.saturating_add(1));
            link.fill = Some(Fill { position, until, purpose: Purpose::Settles });
        }
        if let Some(gap) = link.gaps.iter().find(|gap| link.fill.is_none() && now >= gap.next) {
            let (position, until) = (Position::at(gap.from), gap.until.saturating_add(1));
            link.fill = Some(Fill { position, until, purpose: Purpose::CatchesUp });
        }
        let Some(fill) = &mut link.fill else { return Ok(()) };
        let had = gathered.lines.len();
        let read = self.range.read(ctx, &self.config.query, &mut fill.position, fill.until, gathered).await;
        if fill.purpose == Purpose::CatchesUp {
            *late += gathered.lines[had..].iter().filter(|line| line.at.as_nanos() < at).count() as u64;
        }
        read?;
        if fill.position.nanos >= fill.until {
            let purpose = fill.purpose;
            link.fill = None;
            link.settled |= purpose == Purpose::Settles;
            if purpose == Purpose::CatchesUp
                && let Some(at) = link.gaps.iter().position(|gap| now >= gap.next)
            {
                let gap = link.gaps.remove(at);
                if now < gap.ends {
                    let again = now.saturating_add(now.saturating_sub(gap.until).max(self.lag()).max(1));
                    link.gaps.push(Gap { next: again.min(gap.ends), ..gap });
                }
            }
        }
        Ok(())
    }

    /// Takes what has arrived; why the connection ended, if it did.
    async fn drain(
        &self,
        ctx: &Ctx,
        link: &mut Link,
        at: i64,
        gathered: &mut Gathered,
        late: &mut u64,
    ) -> Option<String> {
        let wait = Duration::from_millis(self.config.wait_ms);
        let before = Position::at(i64::MIN);
        while gathered.lines.len() < self.config.max_lines {
            let next = async { Ok(tokio::time::timeout(wait, link.socket.next()).await) };
            let Ok(Ok(message)) = ctx.run(COMPONENT, next).await else { break };
            let text = match message {
                Some(Ok(Message::Close(reason))) => {
                    let reason = reason.map(|reason| reason.reason.to_string()).unwrap_or_default();
                    return Some(format!("the server ended it: {}", reason.escape_debug()));
                }
                Some(Ok(message)) => {
                    link.heard = ctx.now().mono_ns;
                    let Message::Text(text) = message else { continue };
                    text
                }
                Some(Err(error)) => return Some(error.to_string()),
                None => return Some("the server hung up".to_owned()),
            };
            let frame = match answer::read_frame(&text) {
                Ok(frame) => frame,
                // What is in it comes by a range query.
                Err(error) => return Some(error.message().to_owned()),
            };
            let now = ctx.now().wall;
            if let Some(dropped) = frame.dropped.filter(|dropped| !dropped.is_empty()) {
                // Which of the older lines were given is no longer known, so that they cannot be read again.
                let lost = dropped.iter().filter(|entry| entry.nanos().is_some_and(|nanos| nanos < at)).count() as u64;
                if lost > 0 {
                    gathered
                        .drop_some(lost, || format!("the server left out {lost} lines that are older than is kept"));
                }
                (link.settled, link.opened) = (false, now.as_nanos());
                let (position, until) = (Position::at(at), now.as_nanos().saturating_add(1));
                link.fill = Some(Fill { position, until, purpose: Purpose::Begins });
            }
            let had = gathered.lines.len();
            self.range.take(Answer { streams: frame.streams, ..Answer::default() }, &before, gathered);
            *late += gathered.lines[had..].iter().filter(|line| line.at.as_nanos() < at).count() as u64;
            bound(gathered, had, now);
        }
        let silent = ctx.now().mono_ns.saturating_sub(link.heard);
        (silent > self.config.silence_ms.saturating_mul(1_000_000)).then(|| "it has been silent".to_owned())
    }
}

/// Dates lines whose time cannot be as of now.
fn bound(gathered: &mut Gathered, from: usize, now: Timestamp) {
    let plausible = Plausible::at(now, MAX_AHEAD_MS, MAX_AGE_MS);
    let wrong = gathered.lines.iter_mut().skip(from).filter(|line| plausible.check(line.at).is_err());
    let n = wrong.map(|line| line.at = now).count();
    if n > 0 {
        gathered.tell(|| format!("{n} lines have a time too far in the future or the past and are taken as of now"));
    }
}

fn nanos(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}

#[async_trait]
impl SignalSource for LokiTail {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let now = ctx.now().wall;
        let mut mark = match cursor.as_str() {
            "" => {
                let at = now.minus(Duration::from_millis(self.config.backfill_ms)).as_nanos();
                Mark { at, seen: Seen::default(), gaps: Vec::new() }
            }
            text => serde_json::from_str(text).map_err(|error| {
                Error::new(ErrorKind::InvalidInput, COMPONENT, format!("the cursor is not one of it: {error}"))
            })?,
        };
        // Taken out: when this poll is dropped, so is the connection, and the next one goes on from the cursor.
        let kept = self.link.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut link = match kept.filter(|link| link.cursor == *cursor) {
            Some(link) => link,
            None => {
                let mut link = self.open(ctx, cursor, mark.at).await?;
                if !cursor.as_str().is_empty() {
                    link.gaps = std::mem::take(&mut mark.gaps);
                    link.gaps.push(self.gap(mark.at, link.opened));
                    // Where breaks follow each other quickly, the first of them is read the longest.
                    link.gaps.truncate(MAX_GAPS);
                }
                link
            }
        };
        let mut gathered = Gathered { seen: Some(std::mem::take(&mut mark.seen)), ..Gathered::default() };
        let mut late = 0;
        let filled = self.fill(ctx, &mut link, mark.at, &mut gathered, &mut late).await;
        if let Err(error) = filled {
            if gathered.lines.is_empty() && gathered.dropped == 0 {
                *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
                return Err(error);
            }
            gathered.tell(|| format!("a gap is not filled yet: {}", error.message()));
        }
        // Lines that wait at the connection can wait for those before them; the server says if they cannot.
        let ended = match &link.fill {
            Some(_) => None,
            None => self.drain(ctx, &mut link, mark.at, &mut gathered, &mut late).await,
        };
        let mut seen = gathered.seen.take().unwrap_or_default();
        // Everything before this was given, as far as anybody can tell.
        let now = ctx.now().wall.as_nanos();
        let mut whole = if link.settled { now } else { now.min(link.opened) }.saturating_sub(self.lag());
        match &link.fill {
            // What waits at the connection meanwhile was not taken.
            Some(Fill { purpose: Purpose::CatchesUp, .. }) => whole = mark.at,
            Some(fill) => whole = whole.min(fill.position.nanos),
            None => {}
        }
        mark.at = mark.at.max(whole);
        let ranges = |link: &Link| link.gaps.iter().map(|gap| (gap.from, gap.until)).collect::<Vec<_>>();
        seen.keep(mark.at, &ranges(&link));
        if seen.len() > MAX_SEEN && !link.gaps.is_empty() {
            link.gaps.clear();
            seen.keep(mark.at, &[]);
            gathered.tell(|| {
                format!("more than {MAX_SEEN} lines are of a break: late ones of it are no longer looked for")
            });
        }
        if link.gaps.is_empty()
            && link.fill.is_none()
            && let Some(from) = seen.latest(MAX_SEEN)
        {
            // A time of the future would pass over everything up to it.
            mark.at = mark.at.max(from.min(now));
            seen.keep(mark.at, &[]);
        }
        mark.seen = seen;
        mark.gaps.clone_from(&link.gaps);
        let text = serde_json::to_string(&mark).map_err(|error| {
            Error::new(ErrorKind::Unknown, COMPONENT, "the cursor cannot be written").with_source(error)
        })?;
        let next = Cursor::new(text);
        match ended {
            Some(why) => gathered.tell(|| format!("the tail broke off and is made anew: {why}")),
            None => {
                link.cursor = next.clone();
                *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
            }
        }
        Ok(Polled { late, ..gathered.polled(next) })
    }
}

#[cfg(test)]
mod tests;
