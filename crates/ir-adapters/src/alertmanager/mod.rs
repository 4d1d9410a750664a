//! Prometheus Alertmanager: receives its webhook and gives the alerts as events.
//!
//! Alertmanager sends a group again when the answer was no 2xx, and every `repeat_interval` while an alert fires. A notification
//! is answered with 200 once its alerts wait for the next poll; they are in memory until a later cursor says that they arrived,
//! so what was received right before a crash comes again only with the next repetition.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use ir_core::config::Problem;
use ir_core::{ConfigError, Ctx, Cursor, PartName, Polled, Result, SignalSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::hook::{self, HookAuth, HookGuard, Refusal, ReplayWindow};

mod notification;
mod queue;
#[cfg(test)]
mod tests;

use notification::Notification;
use queue::{Bounds, Queue};

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
    /// The same report of the same alert within so many milliseconds is a repetition and is passed over. 60,000.
    pub repeat_ms: u64,
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
        let bounds = Bounds {
            max_waiting: config.max_waiting,
            max_waiting_bytes: config.max_waiting_bytes,
            repeat_nanos: config.repeat_ms.saturating_mul(1_000_000),
        };
        let shared = Shared {
            guard: HookGuard::new(auth, ReplayWindow::default()),
            queue: Mutex::new(Queue::new(ctx.now().wall, bounds)),
            ctx: ctx.clone(),
            refused: AtomicU64::new(0),
            config,
        };
        ConfigError::check(problems, Self(Arc::new(shared)))
    }

    /// What answers `POST /`. Nest it where the host likes.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
            .route("/", post(receive))
            .layer(DefaultBodyLimit::max(self.0.config.max_bytes))
            .with_state(self.0.clone())
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
    fn take(&self, headers: &HeaderMap, body: &[u8]) -> u16 {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let now = self.ctx.now().wall;
        let admission = match self.guard.admit(now, header, body) {
            Ok(admission) => admission,
            Err(refusal) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return refusal.status();
            }
        };
        // Alertmanager compresses nothing, and what is not unpacked cannot burst.
        if header("content-encoding").is_some_and(|encoding| encoding != "identity") {
            return 415;
        }
        let mut queue = self.queue();
        if !queue.has_room(self.config.max_alerts, body.len()) {
            return Refusal::Full.status();
        }
        // From here on a repetition would bring nothing new, whether it can be read or not.
        admission.keep();
        let notification: Notification = match serde_json::from_slice(body) {
            Ok(notification) => notification,
            Err(error) => {
                queue.drop_some(1, format!("a notification that cannot be read: {error}"));
                return 400;
            }
        };
        if notification.truncated > 0 {
            queue.drop_some(notification.truncated, format!("Alertmanager left out {} alerts", notification.truncated));
        }
        let beyond = notification.alerts.len().saturating_sub(self.config.max_alerts);
        if beyond > 0 {
            queue.drop_some(beyond as u64, format!("{beyond} alerts beyond the allowed {}", self.config.max_alerts));
        }
        for alert in notification.alerts.into_iter().take(self.config.max_alerts) {
            match alert.event(&self.config.entity_labels, now) {
                Ok(event) => queue.push(event),
                Err(problem) => queue.drop_some(1, problem),
            }
        }
        200
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let status = shared.take(&headers, &body);
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
