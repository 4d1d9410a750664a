//! Prometheus remote-write: receives the samples that a server sends as it takes them (version 1.0 of the protocol).
//!
//! What was taken is in memory until a later cursor says that it arrived: it is lost with the process. A sender is told to come
//! again (503) while too much waits, and repeats a request until it is answered: what it repeats is passed over, sample by
//! sample. A stale marker says that a series ended, and gives nothing. Prometheus itself loses what it had not sent when it was
//! killed: after a restart it begins with new samples.
//!
//! # What is refused
//!
//! Everything that is not given on is counted and named in a poll. A series that cannot be read, or a sample whose time cannot be by
//! our clock, costs itself alone; the answer is 400 then, as the protocol asks. A request that cannot be read as a whole counts as one.
//! Series of version 2.0 of the protocol are dropped and counted, whatever name they come under. An empty label is no label, and
//! white space in the name of an entity becomes `-`; the label stays in that case.
//!
//! Where series differ in nothing but labels that are left out, their samples are one series, which a problem says once. Of two
//! samples of it at the very same time the second is dropped and counted.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use ir_core::config::Problem;
use ir_core::{
    ConfigError, Ctx, Cursor, Labels, MetricSample, PartName, Polled, Result, Series, SignalSource, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::hook::{self, PushAuth};
use crate::inbox::{Bounds, Heard, InFlight, Queue, Refused, SeriesTable, Taken, told, unsnap};
use crate::prom::kind_of;
use crate::shared::names;
use crate::shared::recent::{Came, Recent};
use crate::shared::sources::Sources;
use crate::shared::times::{self, Plausible};

#[cfg(test)]
mod tests;
mod wire;

use wire::{MAX_LABELS, TimeSeries};

/// The label with the metric's name.
const NAME: &str = "__name__";
/// The NaN that says that a series ended. Any other NaN is a value.
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// The longest name or value of a label, in bytes.
const MAX_TEXT_BYTES: usize = 1024;
/// The bytes of bodies in flight, in bodies of the largest size.
const BODIES_IN_FLIGHT: usize = 2;
/// What a sample takes while it waits, its series aside.
const SAMPLE_BYTES: usize = size_of::<MetricSample>();

/// What is received, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteWriteConfig {
    /// The source's name in records. `remote-write`.
    pub name: String,
    /// The labels that name the entity, the first that a series has counts. `service`, `job`.
    pub entity_labels: Vec<String>,
    /// Labels that are left out, because they change without meaning: `pod`, `instance` ... Series that differ in nothing else
    /// become one.
    pub drop_labels: Vec<String>,
    /// The most bytes of one request as it comes. 1 MiB.
    #[schemars(range(min = 1))]
    pub max_bytes: usize,
    /// The most bytes of one request when it is unpacked. 4 MiB.
    #[schemars(range(min = 1))]
    pub max_unpacked_bytes: usize,
    /// The most samples of one request; what is beyond is dropped and counted. 20,000.
    #[schemars(range(min = 1))]
    pub max_samples: usize,
    /// The most series that are known at once; what is beyond is dropped and counted. 20,000.
    #[schemars(range(min = 1))]
    pub max_series: usize,
    /// The most bytes of series that are known at once, counted roughly. 16 MiB.
    #[schemars(range(min = 1))]
    pub max_series_bytes: usize,
    /// A series that was silent for so many seconds makes room for others when there is none. 3,600.
    pub forget_secs: u64,
    /// The most samples that wait for a poll. When there is no room for another request, senders are told to come again. 200,000.
    #[schemars(range(min = 1))]
    pub max_waiting: usize,
    /// How many seconds a sender is told to wait. 5.
    pub retry_after_secs: u32,
    /// How far ahead of our clock a sample may be, in milliseconds; what is beyond is dropped and counted. 600,000.
    pub max_ahead_ms: u64,
    /// How old a sample may be, in milliseconds; what is beyond is dropped and counted. 315,360,000,000: ten years.
    pub max_age_ms: u64,
}

impl Default for RemoteWriteConfig {
    fn default() -> Self {
        Self {
            name: "remote-write".to_owned(),
            entity_labels: ["service", "job"].map(str::to_owned).to_vec(),
            drop_labels: Vec::new(),
            max_bytes: 1 << 20,
            max_unpacked_bytes: 4 << 20,
            max_samples: 20_000,
            max_series: 20_000,
            max_series_bytes: 16 << 20,
            forget_secs: 3_600,
            max_waiting: 200_000,
            retry_after_secs: 5,
            max_ahead_ms: times::MAX_AHEAD_MS,
            max_age_ms: times::MAX_AGE_MS,
        }
    }
}

impl RemoteWriteConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if self.entity_labels.is_empty() {
            problems.push(Problem::at("entity_labels", "name at least one label"));
        }
        let bounds = [
            ("max_bytes", self.max_bytes),
            ("max_unpacked_bytes", self.max_unpacked_bytes),
            ("max_samples", self.max_samples),
            ("max_series", self.max_series),
            ("max_series_bytes", self.max_series_bytes),
            ("max_waiting", self.max_waiting),
        ];
        let zero = bounds.into_iter().filter(|(_, value)| *value == 0);
        problems.extend(zero.map(|(field, _)| Problem::at(field, "must be more than 0")));
        if self.max_samples > self.max_waiting {
            let message = "is more than may wait: no request would ever be taken";
            problems.push(Problem::at("max_samples", message));
        }
        problems
    }
}

/// Receives Prometheus remote-write.
///
/// It is a source and an HTTP handler at once: mount [`router`](Self::router) into a server of the host's own, or let
/// [`serve`](Self::serve) do it, and give a clone to the engine. Kinds of series go by the customs of their names; native
/// histograms are dropped and counted.
///
/// # Examples
///
/// ```no_run
/// # use ir_core::{Ctx, Result, Secret};
/// use ir_adapters::hook::{PushAuth, Token};
/// use ir_adapters::remote_write::{RemoteWriteConfig, RemoteWriteSource};
///
/// # async fn example(ctx: &Ctx, token: &Secret) -> Result<()> {
/// let auth = PushAuth::Bearer(Token::new(token)?);
/// let samples = RemoteWriteSource::new(ctx, RemoteWriteConfig::default(), auth)?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:9201").await.unwrap();
/// samples.serve(ctx, listener).await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RemoteWriteSource(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: RemoteWriteConfig,
    auth: PushAuth,
    ctx: Ctx,
    in_flight: InFlight,
    /// One request is decoded at a time, so that what decoding takes is bounded as well.
    decoder: tokio::sync::Mutex<Decoder>,
    queue: Mutex<Queue>,
    refused: AtomicU64,
}

/// What is remembered between requests.
#[derive(Debug)]
struct Decoder {
    series: SeriesTable<Known>,
    heard: Heard,
}

/// What is remembered of a series.
#[derive(Debug, Default)]
struct Known {
    recent: Recent,
    sources: Sources,
    /// The last sample: its time, and the bits of its value.
    last: (i64, u64),
}

impl Known {
    const MAX_BYTES: usize = size_of::<Self>() - size_of::<Recent>() + Recent::MAX_BYTES;
}

impl RemoteWriteSource {
    /// Checks the configuration. Nothing listens yet; the clock of `ctx` says when what is received was received.
    ///
    /// # Errors
    ///
    /// All problems at once: no label, bounds of 0 or that exclude each other, a name that is none.
    pub fn new(ctx: &Ctx, config: RemoteWriteConfig, auth: PushAuth) -> Result<Self, ConfigError> {
        let problems = config.problems();
        let max_bytes = config.max_waiting.saturating_mul(SAMPLE_BYTES).saturating_mul(2);
        let bounds = Bounds { max_signals: config.max_waiting, max_bytes };
        let forget = Duration::from_secs(config.forget_secs);
        let decoder = Decoder {
            series: SeriesTable::new(config.max_series, config.max_series_bytes, Known::MAX_BYTES, forget),
            // A sender that waits for its answer repeats nothing older.
            heard: Heard::new(Duration::from_secs(60)),
        };
        let shared = Shared {
            auth,
            in_flight: InFlight::new(config.max_bytes.saturating_mul(BODIES_IN_FLIGHT)),
            decoder: tokio::sync::Mutex::new(decoder),
            queue: Mutex::new(Queue::new(ctx.now().wall, bounds)),
            ctx: ctx.clone(),
            refused: AtomicU64::new(0),
            config,
        };
        ConfigError::check(problems, Self(Arc::new(shared)))
    }

    /// What answers `POST /api/v1/write`.
    pub fn router(&self) -> axum::Router {
        let receive = |State(shared): State<Arc<Shared>>, request: HttpRequest| async move {
            let (parts, body) = request.into_parts();
            let (status, message) = shared.answer(&parts.headers, body).await;
            let mut response = Response::builder().status(status);
            if status == 503 {
                response = response.header("retry-after", shared.config.retry_after_secs);
            }
            // Status and headers are sound, so the body alone is never sent.
            response.body(Body::from(message)).unwrap_or_default()
        };
        axum::Router::new().route("/api/v1/write", post(receive)).with_state(self.0.clone())
    }

    /// Serves the router on a listener of its own until the context is stopped, without TLS.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the listener fails; `Stopped` in the end.
    pub async fn serve(&self, ctx: &Ctx, listener: TcpListener) -> Result<()> {
        hook::serve(ctx, listener, self.router()).await
    }

    /// How many requests were refused because their sender could not show the token.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        self.queue().has_room(self.config.max_samples, self.config.max_samples.saturating_mul(SAMPLE_BYTES))
    }

    /// The status to answer with, and words.
    async fn answer(&self, headers: &HeaderMap, body: Body) -> (u16, String) {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if !self.auth.admits(header("authorization")) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return (401, "the token is missing or wrong".to_owned());
        }
        match self.take(headers, body).await {
            // Whoever sent what no sound server sends is told, as the protocol asks, although the rest was taken.
            Ok(Some(problems)) => (400, problems),
            Ok(None) => (204, String::new()),
            Err(refused) => {
                // What is not to be sent again is lost.
                if refused.is_final() {
                    let mut lost = Taken::default();
                    lost.drop_some(1, || format!("a request was refused: {}", refused.message));
                    self.queue().push(lost);
                }
                (refused.status, refused.message)
            }
        }
    }

    async fn take(&self, headers: &HeaderMap, body: Body) -> Result<Option<String>, Refused> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let content = header("content-type").unwrap_or_default();
        let (kind, parameters) = content.split_once(';').unwrap_or((content, ""));
        let proto = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("proto="));
        if kind.trim() != "application/x-protobuf" || proto.is_some_and(|proto| proto != "prometheus.WriteRequest") {
            return Err(Refused::new(415, "the content is no protobuf of remote-write 1.0"));
        }
        if header("content-encoding") != Some("snappy") {
            return Err(Refused::new(415, "snappy is the only encoding that is understood"));
        }
        // Nothing is read for which there is no room.
        if !self.has_room() {
            return Err(Refused::full());
        }
        let body = self.in_flight.read(body, self.config.max_bytes).await?;
        let mut decoder = self.decoder.lock().await;
        let Decoder { series, heard } = &mut *decoder;
        let unpacked = unsnap(&body.bytes, self.config.max_unpacked_bytes)?;
        let now = self.ctx.now().wall;
        if heard.is_again(now, &unpacked) {
            return Ok(None);
        }
        // Others may have been taken meanwhile.
        let taker = match self.has_room() {
            true => self.read(now, &unpacked, series),
            false => Err(Refused::full()),
        };
        let Taker { taken, wrong, .. } = taker.inspect_err(|_| heard.forget_last())?;
        let problems = wrong.then(|| taken.problems.join("; "));
        self.queue().push(taken);
        Ok(problems)
    }

    fn read(&self, now: Timestamp, body: &[u8], table: &mut SeriesTable<Known>) -> Result<Taker<'_>, Refused> {
        let plausible = Plausible::at(now, self.config.max_ahead_ms, self.config.max_age_ms);
        let mut taker = Taker { config: &self.config, now, plausible, taken: Taken::default(), wrong: false };
        let beside = wire::read(body, |series| taker.take(series, table))
            .map_err(|_| Refused::new(400, "the body is no protobuf message of this kind"))?;
        taker.lose(beside.wrong, "series cannot be read");
        taker.lose(beside.of_version_2, "series are of version 2.0 of the protocol, which is not read");
        taker.lose(u64::from(beside.is_unknown), "request holds nothing of this protocol");
        Ok(taker)
    }
}

/// Takes the samples of one request.
struct Taker<'c> {
    config: &'c RemoteWriteConfig,
    now: Timestamp,
    plausible: Plausible,
    taken: Taken,
    /// Whether something was there that no sound sender sends.
    wrong: bool,
}

impl Taker<'_> {
    /// Counts what no sound server sends.
    fn lose(&mut self, n: u64, what: &str) {
        self.wrong |= n > 0;
        self.taken.drop_some(n, || format!("{n} {what}"));
    }

    fn take(&mut self, series: &TimeSeries<'_>, table: &mut SeriesTable<Known>) {
        let name = || told(series.label(NAME).unwrap_or_default());
        self.taken.drop_some(series.n_histograms, || {
            format!("series `{}` has native histograms, which are not read", name())
        });
        let known = match self.series(series) {
            Ok(series) => {
                table.find(series, self.now).ok_or_else(|| "is beyond the allowed number of series".to_owned())
            }
            Err(problem) => Err(problem),
        };
        let (of, known) = match known {
            Ok(known) => known,
            Err(problem) => {
                return self.taken.drop_some(series.n_samples, || format!("series `{}` {problem}", name()));
            }
        };
        if known.sources.are_several(self.left_out(series)) {
            self.taken.tell([format!(
                "series `{}` comes from several sources that differ only in labels that are left out, and is given as one",
                name()
            )]);
        }
        // That they can be read was looked at before.
        for sample in series.samples().flatten() {
            let bits = sample.value.to_bits();
            let problem = match self.plausible.check(Timestamp::from_millis(sample.millis)) {
                Err(problem) => problem,
                _ if self.taken.batch.metrics.len() >= self.config.max_samples => {
                    self.taken.drop_some(1, || format!("series `{}` has samples beyond the allowed", name()));
                    continue;
                }
                Ok(at) => match known.recent.note(sample.millis) {
                    Came::Again if known.last.0 == sample.millis && known.last.1 != bits && bits != STALE => {
                        self.taken.drop_some(1, || format!("series `{}` has two values at one time", name()));
                        continue;
                    }
                    Came::Again => continue,
                    // It has its time among the others, so that it is not taken for late when it comes again.
                    _ if bits == STALE => continue,
                    Came::TooOld => "has a sample older than what is remembered",
                    came => {
                        if came == Came::New {
                            known.last = (sample.millis, bits);
                        }
                        self.taken.late += u64::from(came == Came::Late);
                        self.taken.n_bytes += SAMPLE_BYTES;
                        self.taken.batch.metrics.push(MetricSample { series: of.clone(), at, value: sample.value });
                        continue;
                    }
                },
            };
            self.wrong = true;
            self.taken.drop_some(1, || format!("series `{}` {problem}", name()));
        }
    }

    /// What tells apart the series that become one when labels are left out; 0 where none is.
    fn left_out(&self, series: &TimeSeries<'_>) -> u64 {
        let left_out = series.labels.iter().filter(|(key, _)| self.config.drop_labels.iter().any(|drop| drop == key));
        let mut hasher = DefaultHasher::new();
        let mut n = 0_usize;
        for label in left_out {
            label.hash(&mut hasher);
            n += 1;
        }
        if n == 0 { 0 } else { hasher.finish() | 1 }
    }

    fn series(&mut self, series: &TimeSeries<'_>) -> Result<Series, String> {
        let fits = |(key, value): &(&str, &str)| {
            !key.is_empty() && key.len() <= MAX_TEXT_BYTES && value.len() <= MAX_TEXT_BYTES
        };
        let metric = series.label(NAME).filter(|name| !name.is_empty());
        let problem = match metric {
            None => Some("has no name"),
            _ if series.n_labels > MAX_LABELS => Some("has too many labels"),
            _ if !series.labels.iter().all(fits) => Some("has a label that is too long, or has no name"),
            _ if series.labels.windows(2).any(|pair| pair[0].0 >= pair[1].0) => Some("has labels that are not sorted"),
            _ => None,
        };
        let (Some(metric), None) = (metric, problem) else {
            self.wrong = true;
            return Err(problem.unwrap_or("has no name").to_owned());
        };
        let named = names::entity(&self.config.entity_labels, |name| series.label(name))?;
        let kept =
            |key: &str| key != NAME && !named.covers(key) && !self.config.drop_labels.iter().any(|drop| drop == key);
        let labels = series.labels.iter().filter(|(key, value)| !value.is_empty() && kept(key));
        let (labels, entity): (Labels, _) = (labels.copied().collect(), named.entity.clone());
        let kind = kind_of(metric, series.label("le").is_some());
        Ok(Series { entity, metric: metric.to_owned(), kind, unit: String::new(), labels })
    }
}

#[async_trait]
impl SignalSource for RemoteWriteSource {
    fn name(&self) -> &str {
        &self.0.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        ctx.check(&self.0.config.name)?;
        Ok(self.0.queue().poll(cursor))
    }
}
