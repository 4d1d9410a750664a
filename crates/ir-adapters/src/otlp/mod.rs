//! OpenTelemetry: receives metrics, traces and logs by OTLP/HTTP, in protobuf or JSON, with or without gzip.
//!
//! What was taken is in memory until a later cursor says that it arrived: it is lost with the process. A sender is told to come
//! again (503 with `Retry-After`) while too much waits, and is told how much of a request was not taken. A request that comes
//! again within a minute, as after a lost answer, is passed over.
//!
//! The whole of a request is bounded before it grows: its bytes packed and unpacked, the memory that its lists take, its signals,
//! its series. Of spans everything but [`ir_core::Span`]'s fields is passed over unread.
//!
//! # What is refused
//!
//! Everything that is not given on is counted, named in a poll, and told to the sender. A span, a line, a point or a resource that cannot
//! be read (a value of another kind, names in place of the numbers of `severityNumber` and `status.code`) costs itself alone, and so does
//! one whose time cannot be by our clock; a line whose own time cannot be counts by its observed one. A request in which nothing is
//! known, and one that cannot be read as a whole, count as one. JSON that is nearly right (`NaN`, halves of characters, a byte order mark)
//! is read. So is what versions before 0.19 sent: `instrumentationLibrarySpans` and the like, and ids in base64.
//!
//! A request that comes again within a minute is passed over where all of its signals say their time: lines without one may be of the
//! same words and not the same.
//!
//! # Names
//!
//! Names of metrics and labels are those that Prometheus makes. Attributes whose names become one label are joined by `;` in the order of
//! their original names, equal values too, as the specification asks. An attribute without content is no label. The name of an entity may not have
//! white space in it, which becomes `-`; the attribute is a label then. Levels are those of [`ir_core::LogLevel`]: by the severity
//! number, else by the text.
//!
//! Where one cumulative series comes from several processes in turn (their values begin at different times, and no attribute of the
//! configuration tells them apart), a problem says so once; the values are given on as one series.

use std::borrow::Cow;
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
use ir_core::text;
use ir_core::{ConfigError, Ctx, Cursor, PartName, Polled, Result, SignalSource, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::hook::{self, PushAuth};
use crate::inbox::{Bounds, Heard, InFlight, Queue, Refused, SeriesTable, Taken, gunzip, told};
use crate::json::mended;
use crate::shared::times;

mod answer;
mod budget;
mod metrics;
mod model;
mod names;
mod scalar;
mod take;
#[cfg(test)]
mod tests;
mod wire;

use answer::{Answer, Form, Kind};
use budget::{Budget, Element, from_json};
use metrics::Total;
use model::{Item, LogRecord, Metric, Request, Span, Visit};
use take::{Decoded, Taker};

/// The bytes of bodies in flight, in bodies of the largest size.
const BODIES_IN_FLIGHT: usize = 2;

/// What is received, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// The source's name in records. `otlp`.
    pub name: String,
    /// The attributes of a resource that name the entity, the first that it has counts. `service.name`.
    pub entity_attributes: Vec<String>,
    /// The attributes of a resource that become labels of its metrics, because they tell its processes apart.
    /// `service.instance.id`.
    pub label_attributes: Vec<String>,
    /// Labels of metrics that are left out, by their names here: `server_port` ...
    pub drop_labels: Vec<String>,
    /// The most bytes of one request as it comes. 4 MiB.
    #[schemars(range(min = 1))]
    pub max_bytes: usize,
    /// The most bytes of one request when it is unpacked, and of what is made of it. 4 MiB, which is the custom of OTLP/gRPC.
    #[schemars(range(min = 1))]
    pub max_unpacked_bytes: usize,
    /// The most signals of one request; what is beyond is dropped and counted. 20,000.
    #[schemars(range(min = 1))]
    pub max_signals: usize,
    /// The most series that are known at once; what is beyond is dropped and counted. 20,000.
    #[schemars(range(min = 1))]
    pub max_series: usize,
    /// The most bytes of series that are known at once, counted roughly. 16 MiB.
    #[schemars(range(min = 1))]
    pub max_series_bytes: usize,
    /// A series that was silent for so many seconds makes room for others when there is none. 3,600.
    pub forget_secs: u64,
    /// The most signals that wait for a poll. When there is no room for another request, senders are told to come again.
    /// 100,000.
    #[schemars(range(min = 1))]
    pub max_waiting: usize,
    /// The most bytes of signals that wait, counted roughly. 32 MiB.
    #[schemars(range(min = 1))]
    pub max_waiting_bytes: usize,
    /// How many seconds a sender is told to wait. 5.
    pub retry_after_secs: u32,
    /// How far ahead of our clock a signal may be, in milliseconds; what is beyond is dropped and counted. 600,000.
    pub max_ahead_ms: u64,
    /// How old a signal may be, in milliseconds; what is beyond is dropped and counted. 315,360,000,000: ten years.
    pub max_age_ms: u64,
    /// The very same request within so many milliseconds is a repetition and is passed over. 60,000.
    pub repeat_ms: u64,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            name: "otlp".to_owned(),
            entity_attributes: vec!["service.name".to_owned()],
            label_attributes: vec!["service.instance.id".to_owned()],
            drop_labels: Vec::new(),
            max_bytes: 4 << 20,
            max_unpacked_bytes: 4 << 20,
            max_signals: 20_000,
            max_series: 20_000,
            max_series_bytes: 16 << 20,
            forget_secs: 3_600,
            max_waiting: 100_000,
            max_waiting_bytes: 32 << 20,
            retry_after_secs: 5,
            max_ahead_ms: times::MAX_AHEAD_MS,
            max_age_ms: times::MAX_AGE_MS,
            repeat_ms: 60_000,
        }
    }
}

impl OtlpConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&self.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if self.entity_attributes.is_empty() {
            problems.push(Problem::at("entity_attributes", "name at least one attribute"));
        }
        let bounds = [
            ("max_bytes", self.max_bytes),
            ("max_unpacked_bytes", self.max_unpacked_bytes),
            ("max_signals", self.max_signals),
            ("max_series", self.max_series),
            ("max_series_bytes", self.max_series_bytes),
            ("max_waiting", self.max_waiting),
            ("max_waiting_bytes", self.max_waiting_bytes),
        ];
        let zero = bounds.into_iter().filter(|(_, value)| *value == 0);
        problems.extend(zero.map(|(field, _)| Problem::at(field, "must be more than 0")));
        for (field, of, limit) in [
            ("max_signals", self.max_signals, self.max_waiting),
            ("max_unpacked_bytes", self.max_unpacked_bytes, self.max_waiting_bytes),
        ] {
            if of > limit {
                problems.push(Problem::at(field, "is more than may wait: no request would ever be taken"));
            }
        }
        problems
    }
}

/// Receives OTLP/HTTP.
///
/// It is a source and an HTTP handler at once: mount [`router`](Self::router) into a server of the host's own, or let
/// [`serve`](Self::serve) do it, and give a clone to the engine.
///
/// # Examples
///
/// ```no_run
/// # use ir_core::{Ctx, Result, Secret};
/// use ir_adapters::hook::{PushAuth, Token};
/// use ir_adapters::otlp::{OtlpConfig, OtlpSource};
///
/// # async fn example(ctx: &Ctx, token: &Secret) -> Result<()> {
/// let auth = PushAuth::Bearer(Token::new(token)?);
/// let telemetry = OtlpSource::new(ctx, OtlpConfig::default(), auth)?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:4318").await.unwrap();
/// telemetry.serve(ctx, listener).await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OtlpSource(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: OtlpConfig,
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
    series: SeriesTable<Total>,
    heard: Heard,
}

impl OtlpSource {
    /// Checks the configuration. Nothing listens yet; the clock of `ctx` says when what is received was received.
    ///
    /// # Errors
    ///
    /// All problems at once: no attribute, bounds of 0 or that exclude each other, a name that is none.
    pub fn new(ctx: &Ctx, config: OtlpConfig, auth: PushAuth) -> Result<Self, ConfigError> {
        let problems = config.problems();
        let bounds = Bounds { max_signals: config.max_waiting, max_bytes: config.max_waiting_bytes };
        let decoder = Decoder { series: table(&config), heard: Heard::new(Duration::from_millis(config.repeat_ms)) };
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

    /// What answers `POST /v1/metrics`, `/v1/traces` and `/v1/logs`.
    pub fn router(&self) -> axum::Router {
        let mut router = axum::Router::new();
        for (path, kind) in [("/v1/metrics", Kind::Metrics), ("/v1/traces", Kind::Traces), ("/v1/logs", Kind::Logs)] {
            let receive = move |State(shared): State<Arc<Shared>>, request: HttpRequest| async move {
                shared.receive(kind, request).await
            };
            router = router.route(path, post(receive));
        }
        router.with_state(self.0.clone())
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

fn table(config: &OtlpConfig) -> SeriesTable<Total> {
    let forget = Duration::from_secs(config.forget_secs);
    SeriesTable::new(config.max_series, config.max_series_bytes, size_of::<Total>(), forget)
}

fn decode(
    config: &OtlpConfig,
    now: Timestamp,
    kind: Kind,
    form: Form,
    body: &[u8],
    series: &mut SeriesTable<Total>,
) -> Result<Decoded, Refused> {
    let mut taker = Taker::new(config, now);
    match kind {
        Kind::Metrics => {
            walk::<Metric<'_>>(form, body, &mut taker, |taker, metric| taker.take_metric(metric, series))?;
        }
        Kind::Traces => walk::<Span<'_>>(form, body, &mut taker, |taker, span| taker.take_span(span))?,
        Kind::Logs => walk::<LogRecord<'_>>(form, body, &mut taker, |taker, record| taker.take_log(record))?,
    }
    Ok(taker.decoded())
}

/// The same, for JSON that is nearly right too.
fn decode_nearly(
    config: &OtlpConfig,
    now: Timestamp,
    kind: Kind,
    form: Form,
    body: &[u8],
    series: &mut SeriesTable<Total>,
) -> Result<Decoded, Refused> {
    let refused = match decode(config, now, kind, form, body, series) {
        Err(refused) if form == Form::Json => refused,
        decoded => return decoded,
    };
    let text = text::decode(body);
    let mended = mended(&text);
    match (mended, text) {
        (Some(mended), _) => decode(config, now, kind, form, mended.as_bytes(), series),
        (None, Cow::Owned(text)) => decode(config, now, kind, form, text.as_bytes(), series),
        (None, Cow::Borrowed(_)) => Err(refused),
    }
}

/// Goes through a request. Protobuf is read item by item. JSON may name a resource behind what belongs to it, so all of it is
/// read before any of it is taken.
fn walk<'a, T: Item + Element + wire::Message<'a> + Deserialize<'a>>(
    form: Form,
    body: &'a [u8],
    taker: &mut Taker<'_>,
    mut take: impl FnMut(&mut Taker<'_>, &T),
) -> Result<(), Refused> {
    let max_bytes = taker.config.max_unpacked_bytes;
    let mut visit = |visit: Visit<'_, 'a, T>| match visit {
        Visit::Resource(resource) => taker.resource(resource),
        Visit::Item(item) => {
            taker.found = true;
            take(taker, item);
        }
        Visit::Beyond(what, n) => taker.beyond(what, n),
        Visit::Wrong(what, n) => taker.wrong(what, n),
        Visit::Unknown(name) => taker.unknown(name),
    };
    match form {
        Form::Protobuf => wire::walk(body, max_bytes, &mut visit)
            .map_err(|_| Refused::new(400, "the body is no protobuf message of this kind")),
        Form::Json => {
            let request: Request<'a, T> = from_json(body, &Budget::new(max_bytes))
                .map_err(|error| Refused::new(400, format!("the body cannot be read: {}", told(&error.to_string()))))?;
            request.walk(&mut visit);
            Ok(())
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        self.queue().has_room(self.config.max_signals, self.config.max_unpacked_bytes)
    }

    async fn receive(&self, kind: Kind, request: HttpRequest) -> Response {
        let (parts, body) = request.into_parts();
        self.answer(kind, &parts.headers, body).await.response(kind, self.config.retry_after_secs)
    }

    async fn answer(&self, kind: Kind, headers: &HeaderMap, body: Body) -> Answer {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let form = Form::of(header("content-type"));
        let said = form.unwrap_or(Form::Protobuf);
        let answer = |status, rejected, message| Answer { status, form: said, rejected, message };
        if !self.auth.admits(header("authorization")) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return answer(401, 0, "the token is missing or wrong".to_owned());
        }
        match self.take(kind, form, header("content-encoding"), body).await {
            Ok((rejected, message)) => answer(200, rejected, message),
            Err(refused) => {
                // What is not to be sent again is lost.
                if refused.is_final() {
                    let mut lost = Taken::default();
                    lost.drop_some(1, || format!("a request was refused: {}", refused.message));
                    self.queue().push(lost);
                }
                answer(refused.status, 0, refused.message)
            }
        }
    }

    /// How many signals were not taken, and why.
    async fn take(
        &self,
        kind: Kind,
        form: Option<Form>,
        encoding: Option<&str>,
        body: Body,
    ) -> Result<(u64, String), Refused> {
        let form = form.ok_or_else(|| Refused::new(415, "the content is neither protobuf nor JSON"))?;
        let packed = match encoding {
            None | Some("identity" | "") => false,
            Some("gzip") => true,
            Some(_) => return Err(Refused::new(415, "gzip is the only encoding that is understood")),
        };
        // Nothing is read for which there is no room.
        if !self.has_room() {
            return Err(Refused::full());
        }
        let mut body = self.in_flight.read(body, self.config.max_bytes).await?;
        let mut decoder = self.decoder.lock().await;
        let Decoder { series, heard } = &mut *decoder;
        if packed {
            body.bytes = gunzip(&body.bytes, self.config.max_unpacked_bytes)?;
        }
        let bytes = body.bytes.as_slice();
        let now = self.ctx.now().wall;
        if heard.is_again(now, (kind, bytes)) {
            return Ok((0, String::new()));
        }
        // Others may have been taken meanwhile.
        let taken = match self.has_room() {
            true => decode_nearly(&self.config, now, kind, form, bytes, series),
            false => Err(Refused::full()),
        };
        let Decoded { taken, untimed } = taken.inspect_err(|_| heard.forget_last())?;
        if untimed {
            heard.forget_last();
        }
        let (rejected, message) = (taken.dropped, taken.problems.join("; "));
        self.queue().push(taken);
        Ok((rejected, message))
    }
}

#[async_trait]
impl SignalSource for OtlpSource {
    fn name(&self) -> &str {
        &self.0.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        ctx.check(&self.0.config.name)?;
        Ok(self.0.queue().poll(cursor))
    }
}
