//! Outgoing webhooks: every record of the journal, or some kinds of them, posted to an address and signed.
//!
//! # Guarantees
//!
//! Records are sent one after another in their order, each until it is acknowledged: at least once, under an id that is the same
//! each time (number and hash of the record), so that a receiver can pass over what it has. How far it got stands in a file;
//! after a restart it goes on there. The engine feeds a sink beside its work: however slow the receiver is, the journal does not
//! wait (unless the host makes the sink a required one).
//!
//! # Assumptions
//!
//! 2xx acknowledges, and so does 409: that is what receivers answer to an id that they have. Everything else is tried again,
//! later and later up to a bound, and not before `Retry-After`. A record that is refused for itself (400, 413, 415, 422) again
//! and again is set aside, counted and logged, so that it does not hold up all others; no other answer loses one.
//!
//! # Caveats
//!
//! A new sink begins with the first record of the journal. What was too large for a record (a blob) is not sent: the record names
//! it by its digest and has the kind `spilled`, which is always sent because nobody can tell what it is.
//!
//! Signatures are those of [Standard Webhooks](https://www.standardwebhooks.com). The address may be public only, unless `allow`
//! says otherwise ([`Reach`]); redirects are not followed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ir_core::config::Problem;
use ir_core::journal::{AuditSink, EncodedRecord, leaf_hash};
use ir_core::{ConfigError, Ctx, Error, ErrorKind, PartName, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::hook::SigningKey;
#[cfg(feature = "tls")]
use crate::http::Tls;
use crate::http::{HttpClient, HttpConfig, HttpReply, HttpUrl, Network, Reach};

mod kind;
mod position;
mod retry;
#[cfg(test)]
mod tests;

use kind::{Peek, SPILLED};
use position::Position;

const COMPONENT: &str = "webhook";
/// The most bytes of an answer: nobody reads it.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Where records are sent, and which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// The sink's name in records. `webhook`.
    pub name: String,
    /// Where: `https://hooks.example.org/incidents`.
    pub url: String,
    /// The kinds of record that are sent: `fact.incident_opened`, or all of a group as `fact.*`. Empty: every record.
    pub kinds: Vec<String>,
    /// Networks that may be sent to although they are not public: `10.1.0.0/16`, `127.0.0.1`.
    pub allow: Vec<String>,
    /// The file that keeps how far deliveries were acknowledged. One for each sink.
    pub position: PathBuf,
    /// How long one delivery may take, in milliseconds. 5,000: less than the engine waits for an answer of a sink.
    #[schemars(range(min = 1))]
    pub timeout_ms: u64,
    /// How long to wait after a delivery that failed, in milliseconds; doubled with each further one. 1,000.
    #[schemars(range(min = 1))]
    pub backoff_ms: u64,
    /// The longest wait, in milliseconds, also where the receiver asks for more. 300,000.
    #[schemars(range(min = 1))]
    pub max_backoff_ms: u64,
    /// How often a record may be refused for itself before it is set aside. 5.
    #[schemars(range(min = 1))]
    pub max_refusals: u32,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            name: COMPONENT.to_owned(),
            url: String::new(),
            kinds: Vec::new(),
            allow: Vec::new(),
            position: PathBuf::new(),
            timeout_ms: 5_000,
            backoff_ms: 1_000,
            max_backoff_ms: 300_000,
            max_refusals: 5,
        }
    }
}

impl WebhookConfig {
    fn problems(&self, keys: &[SigningKey]) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if keys.is_empty() {
            problems.push(Problem::at("", "at least one key to sign with is needed"));
        }
        for (n, kind) in self.kinds.iter().enumerate().filter(|(_, kind)| !kind::is_pattern(kind)) {
            problems.push(Problem::at(format!("kinds[{n}]"), format!("`{kind}` is no kind of record")));
        }
        if self.position.file_name().is_none() {
            problems.push(Problem::at("position", "name a file"));
        }
        let bounds = [
            ("timeout_ms", self.timeout_ms == 0),
            ("backoff_ms", self.backoff_ms == 0),
            ("max_backoff_ms", self.max_backoff_ms == 0),
            ("max_refusals", self.max_refusals == 0),
        ];
        let zero = bounds.into_iter().filter(|(_, is_zero)| *is_zero);
        problems.extend(zero.map(|(field, _)| Problem::at(field, "must be more than 0")));
        problems
    }

    /// The networks that may be sent to, and what is wrong with their texts.
    fn reach(&self, problems: &mut Vec<Problem>) -> Reach {
        let mut reach = Reach::public();
        for (n, text) in self.allow.iter().enumerate() {
            match text.parse::<Network>() {
                Ok(network) => reach = reach.and(network),
                Err(error) => problems.push(Problem::at(format!("allow[{n}]"), error.message())),
            }
        }
        reach
    }
}

/// Sends records as signed webhooks.
///
/// A delivery is `{"type": "fact.decided", "timestamp": "..", "seq": 7, "hash": "..", "data": {..}}`, in which `data` is the
/// record exactly as the journal keeps it.
///
/// # Examples
///
/// ```
/// # use ir_core::{Result, Secret};
/// use ir_adapters::hook::SigningKey;
/// use ir_adapters::webhook::{WebhookConfig, WebhookSink};
///
/// # fn example(key: &Secret) -> Result<WebhookSink> {
/// let config = WebhookConfig {
///     url: "http://10.1.2.3:8080/incidents".to_owned(),
///     kinds: vec!["fact.incident_opened".to_owned(), "gate.*".to_owned()],
///     allow: vec!["10.1.0.0/16".to_owned()],
///     position: "/var/lib/responder/webhook.json".into(),
///     ..WebhookConfig::default()
/// };
/// Ok(WebhookSink::new(config, vec![SigningKey::from_text(key)?])?)
/// # }
/// # example(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
/// ```
#[derive(Debug)]
pub struct WebhookSink {
    config: WebhookConfig,
    keys: Vec<SigningKey>,
    url: HttpUrl,
    client: HttpClient,
    state: Mutex<State>,
    set_aside: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Read with the first use.
    position: Option<Position>,
    /// What the file says.
    kept: Option<Position>,
    /// Failures in a row.
    n_failed: u32,
    /// How often the next record was refused for itself.
    n_refused: u32,
    /// No attempt before that, on the monotonic clock.
    not_before_ns: u64,
}

/// What a receiver's answer means.
enum Meaning {
    Acknowledged,
    /// It does not want this record.
    Refused,
    Failed,
}

impl WebhookSink {
    /// Checks the configuration. Nothing is connected or read yet. Every delivery is signed with each of the keys: two while
    /// keys are being changed.
    ///
    /// # Errors
    ///
    /// All problems at once: an address that is none or needs TLS, kinds or networks that are none, no key, no file, bounds of 0.
    pub fn new(config: WebhookConfig, keys: Vec<SigningKey>) -> Result<Self, ConfigError> {
        let client = HttpClient::new(COMPONENT, config.http());
        Self::build(config, keys, client, false)
    }

    /// The same, to an address that needs TLS.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    #[cfg(feature = "tls")]
    pub fn with_tls(config: WebhookConfig, keys: Vec<SigningKey>, tls: Tls) -> Result<Self, ConfigError> {
        let client = HttpClient::new(COMPONENT, config.http()).with_tls(tls);
        Self::build(config, keys, client, true)
    }

    /// The same with a client of the host's own: with credentials, with TLS, with other bounds. Where it may connect to is decided
    /// by `allow` all the same.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new), but for TLS.
    pub fn with_client(config: WebhookConfig, keys: Vec<SigningKey>, client: HttpClient) -> Result<Self, ConfigError> {
        Self::build(config, keys, client, true)
    }

    fn build(
        config: WebhookConfig,
        keys: Vec<SigningKey>,
        client: HttpClient,
        may_tls: bool,
    ) -> Result<Self, ConfigError> {
        let mut problems = config.problems(&keys);
        let client = client.with_reach(config.reach(&mut problems));
        let url = match HttpUrl::parse(&config.url) {
            Ok(url) if url.is_tls() && !may_tls => {
                problems.push(Problem::at("url", "it needs TLS, and this sink was given none"));
                return Err(ConfigError::of(problems));
            }
            Ok(url) => url,
            Err(error) => {
                problems.push(Problem::at("url", error.message()));
                return Err(ConfigError::of(problems));
            }
        };
        let (state, set_aside) = (Mutex::default(), AtomicU64::new(0));
        ConfigError::check(problems, Self { config, keys, url, client, state, set_aside })
    }

    /// How many records were set aside since the start because they were refused for themselves.
    #[must_use]
    pub fn set_aside(&self) -> u64 {
        self.set_aside.load(Ordering::Relaxed)
    }

    fn error(&self, kind: ErrorKind, message: String) -> Error {
        Error::new(kind, self.config.name.clone(), message)
    }

    async fn reached(&self, state: &mut State) -> Result<Position> {
        if let Some(position) = state.position {
            return Ok(position);
        }
        let position = position::read(&self.config.position).await?;
        (state.position, state.kept) = (Some(position), Some(position));
        Ok(position)
    }

    /// Makes durable how far it got.
    async fn keep(&self, state: &mut State) -> Result<()> {
        if let Some(position) = state.position.filter(|_| state.position != state.kept) {
            position::write(&self.config.position, position).await?;
            state.kept = Some(position);
        }
        Ok(())
    }

    async fn send_all(&self, ctx: &Ctx, records: &[EncodedRecord], state: &mut State) -> Result<()> {
        for record in records {
            let reached = self.reached(state).await?;
            if record.seq < reached.next {
                continue;
            }
            let peek = Peek::of(record).ok();
            let follows = peek.as_ref().is_some_and(|peek| peek.prev == reached.prev);
            let (Some(peek), true) = (peek, follows && record.seq == reached.next) else {
                let message = format!("record {} does not follow record {}", record.seq, reached.next - 1);
                return Err(self.error(ErrorKind::Conflict, message));
            };
            if leaf_hash(&record.bytes) != record.hash {
                return Err(self.error(ErrorKind::Conflict, format!("record {} is not what its hash says", record.seq)));
            }
            let kind = peek.kind();
            let wanted = self.config.kinds.is_empty()
                || kind == SPILLED
                || self.config.kinds.iter().any(|pattern| kind::matches(pattern, &kind));
            if wanted {
                self.deliver(ctx, record, &peek, &kind, state).await?;
            }
            state.position = Some(Position { next: record.seq + 1, prev: record.hash });
            if wanted {
                // What was acknowledged must not be sent again after a restart, as far as that can be had.
                self.keep(state).await?;
            }
        }
        Ok(())
    }

    /// One attempt, which waits first where the last one failed.
    async fn deliver(
        &self,
        ctx: &Ctx,
        record: &EncodedRecord,
        peek: &Peek,
        kind: &str,
        state: &mut State,
    ) -> Result<()> {
        let wait = state.not_before_ns.saturating_sub(ctx.now().mono_ns);
        if wait > 0 {
            ctx.sleep(&self.config.name, Duration::from_nanos(wait)).await?;
        }
        let id = format!("{}-{}", record.seq, record.hash);
        let unix_secs = ctx.now().wall.as_nanos().div_euclid(1_000_000_000);
        let body = self.body(record, peek, kind)?;
        let signatures: Vec<String> = self.keys.iter().map(|key| key.sign(&id, unix_secs, &body)).collect();
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", &id),
            ("webhook-timestamp", &unix_secs.to_string()),
            ("webhook-signature", &signatures.join(" ")),
        ];
        // Whoever gives up waiting drops this call: then it counts as failed, and the next attempt waits.
        state.n_failed = state.n_failed.saturating_add(1);
        self.wait(ctx, state, None);
        let (meaning, problem, retry_after) = match self.client.post(ctx, &self.url, &headers, body).await {
            Ok(reply) => {
                (Meaning::of(&reply), format!("it was answered with status {}", reply.status), reply.retry_after)
            }
            Err(error) => (Meaning::Failed, error.message().to_owned(), None),
        };
        let refused = matches!(meaning, Meaning::Refused);
        state.n_refused += u32::from(refused);
        let aside = refused && state.n_refused >= self.config.max_refusals;
        if aside {
            tracing::error!(sink = self.config.name, seq = record.seq, %problem, "a record was set aside");
            self.set_aside.fetch_add(1, Ordering::Relaxed);
        }
        if aside || matches!(meaning, Meaning::Acknowledged) {
            (state.n_failed, state.n_refused, state.not_before_ns) = (0, 0, 0);
            return Ok(());
        }
        let secs = self.wait(ctx, state, retry_after.as_deref()).as_secs();
        let message = format!("record {} was not delivered: {problem}; again in {secs} s", record.seq);
        Err(self.error(ErrorKind::Unavailable, message))
    }

    /// No attempt before what the failures in a row and the receiver ask for; how long that is.
    fn wait(&self, ctx: &Ctx, state: &mut State, retry_after: Option<&str>) -> Duration {
        let first = Duration::from_millis(self.config.backoff_ms);
        let longest = Duration::from_millis(self.config.max_backoff_ms);
        let now = ctx.now();
        let delay = retry::delay(state.n_failed, retry_after, now.wall, first, longest);
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        state.not_before_ns = now.mono_ns.saturating_add(delay_ns);
        delay
    }

    /// The content of a delivery. Only the envelope is written here: the record goes as it stands.
    fn body(&self, record: &EncodedRecord, peek: &Peek, kind: &str) -> Result<Vec<u8>> {
        let text = |text: &str| {
            serde_json::to_string(text)
                .map_err(|error| self.error(ErrorKind::Unknown, format!("a delivery cannot be written: {error}")))
        };
        let (kind, at, seq, hash) = (text(kind)?, text(peek.at())?, record.seq, record.hash);
        let head = format!(r#"{{"type":{kind},"timestamp":{at},"seq":{seq},"hash":"{hash}","data":"#);
        Ok([head.as_bytes(), &record.bytes, b"}"].concat())
    }
}

impl WebhookConfig {
    fn http(&self) -> HttpConfig {
        HttpConfig { timeout_ms: self.timeout_ms, connect_timeout_ms: self.timeout_ms, max_bytes: MAX_ANSWER_BYTES }
    }
}

impl Meaning {
    const fn of(reply: &HttpReply) -> Self {
        match reply.status {
            200..=299 | 409 => Self::Acknowledged,
            400 | 413 | 415 | 422 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

#[async_trait]
impl AuditSink for WebhookSink {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn copy(&self, ctx: &Ctx, records: &[EncodedRecord]) -> Result<()> {
        let mut state = self.state.lock().await;
        let sent = self.send_all(ctx, records, &mut state).await;
        // What was passed over counts as well, whether what came after it was delivered or not.
        let kept = self.keep(&mut state).await;
        sent.and(kept)
    }

    async fn position(&self, ctx: &Ctx) -> Result<u64> {
        ctx.run(&self.config.name, async {
            let mut state = self.state.lock().await;
            Ok(self.reached(&mut state).await?.next)
        })
        .await
    }
}
