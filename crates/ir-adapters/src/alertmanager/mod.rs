//! Prometheus Alertmanager: receives its webhook and gives the alerts as events.
//!
//! Alertmanager sends a group again when the answer was no 2xx, and every `repeat_interval` while an alert fires. A notification
//! is answered with 200 once its alerts wait for the next poll; they are in memory until a later cursor says that they arrived,
//! so what was received right before a crash comes again only with the next repetition.
//!
//! # What is refused
//!
//! Everything that is not given on is counted and named in a poll. An alert that cannot be read (no time, no entity, a status that is
//! neither `firing` nor `resolved`) costs itself alone. A request that cannot be read as a whole counts as one: no JSON, too large
//! (413), packed (415), broken off (400, 408). A request that cannot prove its sender is in [`AlertmanagerSource::refused`] instead,
//! and one that is refused for want of room (503) comes again.
//!
//! An alert whose `startsAt` cannot be (a clock that goes ahead, a wrong unit) is given with the time of its receipt, and a problem
//! says so. Entities are named by the rule of all adapters: an empty label is no label, and white space becomes `-`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use ir_core::config::Problem;
use ir_core::{ConfigError, Ctx, Cursor, PartName, Polled, Result, SignalSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::hook::{self, HookAuth, HookGuard, Refusal, ReplayWindow};
use crate::inbox::{Bounds, InFlight, Queue, Refused, Taken};
use crate::shared::times::{self, Plausible};

mod notification;
mod repeats;
#[cfg(test)]
mod tests;

use notification::{Alert, Notification};
use repeats::Repeats;

/// The bytes of bodies in flight, in bodies of the largest size.
const BODIES_IN_FLIGHT: usize = 4;

/// What is received, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertmanagerConfig {
    /// The source's name in records. `alertmanager`.
    pub name: String,
    /// The labels that name the entity, the first that an alert has counts. `service`, `job`.
    pub entity_labels: Vec<String>,
    /// The most bytes of one notification. 1 MiB.
    #[schemars(range(min = 1))]
    pub max_bytes: usize,
    /// The most alerts of one notification; what is beyond is dropped and counted. 1,000.
    #[schemars(range(min = 1))]
    pub max_alerts: usize,
    /// The most alerts that wait for a poll. When they are so many, senders are told to come again. 10,000.
    #[schemars(range(min = 1))]
    pub max_waiting: usize,
    /// The most bytes of alerts that wait, counted roughly. 16 MiB.
    #[schemars(range(min = 1))]
    pub max_waiting_bytes: usize,
    /// A report of an alert within so many milliseconds after the last one, which had the same state, is a repetition and is passed
    /// over. 60,000.
    pub repeat_ms: u64,
    /// How far ahead of our clock the beginning of an alert may be, in milliseconds. One beyond it is taken as of its receipt,
    /// which is a problem of the poll. 600,000.
    pub max_ahead_ms: u64,
    /// How long ago an alert may have begun, in milliseconds. One beyond it is taken in the same way. 315,360,000,000: ten years.
    pub max_age_ms: u64,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        Self {
            name: "alertmanager".to_owned(),
            entity_labels: vec!["service".to_owned(), "job".to_owned()],
            max_bytes: 1 << 20,
            max_alerts: 1_000,
            max_waiting: 10_000,
            max_waiting_bytes: 16 << 20,
            repeat_ms: 60_000,
            max_ahead_ms: times::MAX_AHEAD_MS,
            max_age_ms: times::MAX_AGE_MS,
        }
    }
}

/// Receives Alertmanager's webhook.
///
/// It is a source and an HTTP handler at once: mount [`router`](Self::router) into a server of the host's own, or let
/// [`serve`](Self::serve) do it, and give a clone to the engine.
///
/// # Examples
///
/// ```no_run
/// # use ir_core::{Ctx, Result, Secret};
/// use ir_adapters::alertmanager::{AlertmanagerConfig, AlertmanagerSource};
/// use ir_adapters::hook::{HookAuth, Token};
///
/// # async fn example(ctx: &Ctx, token: &Secret) -> Result<()> {
/// let auth = HookAuth::Bearer(Token::new(token)?);
/// let alerts = AlertmanagerSource::new(ctx, AlertmanagerConfig::default(), auth)?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:9095").await.unwrap();
/// alerts.serve(ctx, listener).await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct AlertmanagerSource(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: AlertmanagerConfig,
    guard: HookGuard,
    ctx: Ctx,
    in_flight: InFlight,
    repeats: Mutex<Repeats>,
    queue: Mutex<Queue>,
    refused: AtomicU64,
}

impl AlertmanagerSource {
    /// Checks the configuration. Nothing listens yet; the clock of `ctx` says when what is received was received.
    ///
    /// # Errors
    ///
    /// All problems at once: no label, bounds of 0, a name that is none.
    pub fn new(ctx: &Ctx, config: AlertmanagerConfig, auth: HookAuth) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        if let Err(error) = PartName::new(&config.name) {
            problems.push(Problem::at("name", error.message()));
        }
        if config.entity_labels.is_empty() {
            problems.push(Problem::at("entity_labels", "name at least one label"));
        }
        let bounds = [
            ("max_bytes", config.max_bytes),
            ("max_alerts", config.max_alerts),
            ("max_waiting", config.max_waiting),
            ("max_waiting_bytes", config.max_waiting_bytes),
        ];
        let zero = bounds.into_iter().filter(|(_, value)| *value == 0);
        problems.extend(zero.map(|(field, _)| Problem::at(field, "must be more than 0")));
        for (field, of, limit) in [
            ("max_alerts", config.max_alerts, config.max_waiting),
            ("max_bytes", config.max_bytes, config.max_waiting_bytes),
        ] {
            if of > limit {
                problems.push(Problem::at(field, "is more than may wait: no notification would ever be taken"));
            }
        }
        let bounds = Bounds { max_signals: config.max_waiting, max_bytes: config.max_waiting_bytes };
        let shared = Shared {
            guard: HookGuard::new(auth, ReplayWindow::default()),
            in_flight: InFlight::new(config.max_bytes.saturating_mul(BODIES_IN_FLIGHT)),
            repeats: Mutex::new(Repeats::new(Duration::from_millis(config.repeat_ms), config.max_waiting)),
            queue: Mutex::new(Queue::new(ctx.now().wall, bounds)),
            ctx: ctx.clone(),
            refused: AtomicU64::new(0),
            config,
        };
        ConfigError::check(problems, Self(Arc::new(shared)))
    }

    /// What answers `POST /`. Nest it where the host likes.
    pub fn router(&self) -> axum::Router {
        axum::Router::new().route("/", post(receive)).with_state(self.0.clone())
    }

    /// Serves the router on a listener of its own until the context is stopped, without TLS.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the listener fails; `Stopped` in the end.
    pub async fn serve(&self, ctx: &Ctx, listener: TcpListener) -> Result<()> {
        hook::serve(ctx, listener, self.router()).await
    }

    /// How many requests were refused because their sender could not prove who it is, or repeated itself.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status to answer with.
    async fn answer(&self, headers: &HeaderMap, body: Body) -> u16 {
        match self.in_flight.read(body, self.config.max_bytes).await {
            Ok(body) => self.take(headers, &body.bytes),
            // It comes again.
            Err(refused) if !refused.is_final() => refused.status,
            Err(refused) => match self.guard.admit(self.ctx.now().wall, in_headers(headers), b"") {
                Ok(_) => self.lose(&refused),
                // Without its body a signature proves nothing.
                Err(_) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    refused.status
                }
            },
        }
    }

    /// Counts a request that does not come again, and gives its status.
    fn lose(&self, refused: &Refused) -> u16 {
        let mut lost = Taken::default();
        lost.drop_some(1, || format!("a notification was refused: {}", refused.message));
        self.queue().push(lost);
        refused.status
    }

    /// The status to answer a whole request with.
    fn take(&self, headers: &HeaderMap, body: &[u8]) -> u16 {
        let header = in_headers(headers);
        let now = self.ctx.now().wall;
        let admission = match self.guard.admit(now, &header, body) {
            Ok(admission) => admission,
            Err(refusal) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return refusal.status();
            }
        };
        if !self.queue().has_room(self.config.max_alerts, body.len()) {
            return Refusal::Full.status();
        }
        // From here on a repetition would bring nothing new, whether it can be read or not.
        admission.keep();
        // Alertmanager compresses nothing, and what is not unpacked cannot burst.
        if let Some(encoding) = header("content-encoding").filter(|encoding| !matches!(*encoding, "" | "identity")) {
            return self.lose(&Refused::new(415, format!("its encoding is `{}`", encoding.escape_debug())));
        }
        let notification = match Notification::read(body) {
            Ok(notification) => notification,
            Err(error) => return self.lose(&Refused::new(400, format!("it cannot be read: {error}"))),
        };
        let mut taken = Taken::default();
        taken.drop_some(notification.truncated, || format!("Alertmanager left out {} alerts", notification.truncated));
        let beyond = notification.alerts.len().saturating_sub(self.config.max_alerts);
        taken.drop_some(beyond as u64, || format!("{beyond} alerts beyond the allowed {}", self.config.max_alerts));
        let plausible = Plausible::at(now, self.config.max_ahead_ms, self.config.max_age_ms);
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        for alert in notification.alerts.iter().take(self.config.max_alerts) {
            match Alert::read(alert, &self.config.entity_labels) {
                Ok(alert) if repeats.is_again(&alert.key, alert.firing, alert.since, now) => {}
                Ok(alert) => {
                    let (event, problem) = alert.event(now, plausible);
                    taken.tell(problem);
                    taken.n_bytes += notification::n_bytes(&event);
                    taken.batch.events.push(event);
                }
                Err(problem) => taken.drop_some(1, || problem),
            }
        }
        drop(repeats);
        self.queue().push(taken);
        200
    }
}

fn in_headers<'h>(headers: &'h HeaderMap) -> impl Fn(&str) -> Option<&'h str> {
    move |name| headers.get(name).and_then(|value| value.to_str().ok())
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let status = shared.answer(&parts.headers, body).await;
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[async_trait]
impl SignalSource for AlertmanagerSource {
    fn name(&self) -> &str {
        &self.0.config.name
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        ctx.check(&self.0.config.name)?;
        Ok(self.0.queue().poll(cursor))
    }
}
