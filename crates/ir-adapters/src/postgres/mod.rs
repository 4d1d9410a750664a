//! A PostgreSQL server (14 or newer): cancels runaway queries, ends sessions, caps what a role may do.
//!
//! # Flow
//!
//! The call's target is the server ([`PostgresActionsConfig::entity`]); whose sessions are meant is the parameter `role`, which
//! must be on the list in the configuration. A preview counts what would be hit and never shows the text of a query: only
//! fingerprints, since literals may be secrets. Whom an effect hits is decided once more by the very statement that hits.
//!
//! | action | does | taken back by | a lost attempt |
//! |---|---|---|---|
//! | `postgres.cancel_queries` | `pg_cancel_backend` | nothing: the client may ask again | `probe` |
//! | `postgres.terminate_sessions` | `pg_terminate_backend` | nothing: the client may connect again | `probe` |
//! | `postgres.cap_connections` | `ALTER ROLE .. CONNECTION LIMIT` | itself, with the former limit | `probe` |
//! | `postgres.set_statement_timeout` | `ALTER ROLE .. SET statement_timeout` | itself, with the former text or none | `probe` |
//!
//! Caps and timeouts hold for sessions that begin afterwards; those that are there keep what they have.
//!
//! # Guarantees
//!
//! One attempt of everything. What changes something is one statement in a transaction of its own, which the server refuses when
//! it arrives after the permit's deadline by the server's own clock, which was read right before. So class PROBE is kept: an
//! effect lands at the latest [`lock_timeout_ms`](PostgresActionsConfig::lock_timeout_ms) and
//! [`timeout_ms`](PostgresActionsConfig::timeout_ms) after the deadline. Superusers, roles for replication, the executor's own
//! role and background processes are never touched.
//!
//! # Assumptions
//!
//! The server's clock does not jump back while a statement is on its way, and its disk takes a commit within the time that a
//! statement has. The connection leads to the server itself or through a pooler that keeps one session for one client: settings
//! of the session bound each statement.
//!
//! # Caveats
//!
//! Between looking at a session and signalling it the session may have ended its query and begun another one. What a lost
//! cancelling did can only be told by the value that sent it: after a restart a probe says "unknown". When the server has no
//! connection left, one that was made before helps: see [`PostgresActions::connect`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ir_core::config::Problem;
use ir_core::execution::{ActionSpec, Attempt, Executor, Preview, Probe, Probed};
use ir_core::kernel::Permit;
use ir_core::plan::Call;
use ir_core::{
    ActionName, ConfigError, Ctx, Error, ErrorKind, RecoveryClass, Result, Reversibility, RiskClass, Secret,
};
use serde_json::{Map, Value, json};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{NoTls, Socket};

mod config;
mod fault;
mod link;
mod role;
mod sessions;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;

pub use config::PostgresActionsConfig;
pub use tokio_postgres;

use fault::Fault;
use link::{Connector, Link, Session, Through};
use role::Alteration;
use sessions::{Selection, Target};

/// SQL that gives a role named `incident_response` what the executor needs; the same as `postgres/grants.sql` beside the source.
pub const GRANTS: &str = include_str!("../../postgres/grants.sql");

const COMPONENT: &str = "postgres";
/// Of so many lost attempts it is remembered whom they were for.
const MAX_REMEMBERED: usize = 64;
/// The longest text of a setting that is taken, in characters.
const MAX_SETTING_CHARS: usize = 64;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Cancel,
    Terminate,
    Cap,
    Timeout,
}

impl Action {
    const ALL: [Self; 4] = [Self::Cancel, Self::Terminate, Self::Cap, Self::Timeout];

    const fn name(self) -> &'static str {
        match self {
            Self::Cancel => "postgres.cancel_queries",
            Self::Terminate => "postgres.terminate_sessions",
            Self::Cap => "postgres.cap_connections",
            Self::Timeout => "postgres.set_statement_timeout",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Cancel => "Cancels running queries of a role, the longest running first.",
            Self::Terminate => "Ends sessions of a role, the longest waiting or running first.",
            Self::Cap => "Limits how many sessions a role may have; -1 is no limit. Sessions that are there stay.",
            Self::Timeout => {
                "Sets how long a statement of a role may run, as PostgreSQL writes it (`15s`); an empty text takes the \
                 role's own setting away. Sessions that are there keep what they have."
            }
        }
    }

    const fn is_undoable(self) -> bool {
        matches!(self, Self::Cap | Self::Timeout)
    }
}

/// Acts on one PostgreSQL server.
///
/// # Examples
///
/// ```no_run
/// # use ir_core::{ConfigError, EntityId, Secret};
/// use ir_adapters::postgres::{PostgresActions, PostgresActionsConfig};
///
/// # fn example() -> Result<(), ConfigError> {
/// let config = PostgresActionsConfig {
///     entity: EntityId::literal("orders-db"),
///     roles: vec!["reports".to_owned()],
///     ..PostgresActionsConfig::default()
/// };
/// let url = Secret::new("postgresql://responder:secret@db.example/orders");
/// let actions = PostgresActions::new(config, &url)?;
/// # Ok(())
/// # }
/// ```
pub struct PostgresActions {
    config: PostgresActionsConfig,
    server: tokio_postgres::Config,
    connector: Box<dyn Connector>,
    idle: Mutex<Option<Link>>,
    /// Whom an attempt was for, by its key: for the case that its answer is lost.
    sent: Mutex<BTreeMap<String, Vec<Target>>>,
}

impl fmt::Debug for PostgresActions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresActions").field("config", &self.config).finish_non_exhaustive()
    }
}

impl PostgresActions {
    /// Checks the configuration and the server's address, a URL or `key=value` pairs. Nothing is connected yet, and nothing is
    /// encrypted: see [`with_tls`](Self::with_tls) and [`with_connector`](Self::with_connector).
    ///
    /// # Errors
    ///
    /// All problems at once: an address that cannot be read (it is not repeated), roles named twice, bounds of 0.
    pub fn new(config: PostgresActionsConfig, url: &Secret) -> Result<Self, ConfigError> {
        match url.expose().parse::<tokio_postgres::Config>() {
            Ok(server) => Self::with_config(config, server),
            Err(_) => {
                let mut problems = config.problems();
                problems.push(Problem::at("url", "is no address of a PostgreSQL server"));
                Err(ConfigError::of(problems))
            }
        }
    }

    /// The same with the server's address and the credentials as the client library takes them.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_config(config: PostgresActionsConfig, server: tokio_postgres::Config) -> Result<Self, ConfigError> {
        let mut problems = config.problems();
        if server.get_hosts().is_empty() && server.get_hostaddrs().is_empty() {
            problems.push(Problem::at("url", "names no host"));
        }
        let mut server = server;
        if server.get_application_name().is_none() {
            server.application_name("incident-response");
        }
        let connector = Box::new(Through(NoTls));
        let (idle, sent) = (Mutex::default(), Mutex::default());
        ConfigError::check(problems, Self { config, server, connector, idle, sent })
    }

    /// The same executor, which speaks nothing but TLS with the server, and only when the server proves to be who it should.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: crate::http::Tls) -> Self {
        self.server.ssl_mode(tokio_postgres::config::SslMode::Require);
        self.with_connector(tls::RustlsConnector(tls))
    }

    /// The same executor with a connector of the host's own. Whether TLS is needed is said by the address (`sslmode`).
    #[must_use]
    pub fn with_connector<T>(mut self, connector: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        self.connector = Box::new(Through(connector));
        self
    }

    /// Makes the connection that is kept between calls. Call it once at the start: when the server has no connection left, this
    /// one is there already. It is made anew when it breaks.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout`, `Unauthorized`, `InvalidConfig` for a database that does not exist.
    pub async fn connect(&self, ctx: &Ctx) -> Result<()> {
        let session = self.session(ctx).await?;
        self.keep(session);
        Ok(())
    }

    /// A session on the kept connection, or on a new one. Nothing but settings is sent, so a second try does no harm.
    async fn session(&self, ctx: &Ctx) -> Result<Session> {
        let kept = locked(&self.idle).take();
        if let Some(link) = kept {
            let soon = ctx.with_timeout(Duration::from_millis(self.config.connect_timeout_ms));
            match Session::begin(&soon, link, &self.config).await {
                Ok(session) => return Ok(session),
                Err(_) => ctx.check(COMPONENT)?,
            }
        }
        Session::open(ctx, &*self.connector, &self.server, &self.config).await
    }

    fn keep(&self, session: Session) {
        if let Some(link) = session.into_link() {
            *locked(&self.idle) = Some(link);
        }
    }

    fn spec(&self, action: Action) -> Result<ActionSpec> {
        let name = ActionName::new(action.name())?;
        let mut properties = Map::new();
        let role = json!({ "type": "string", "enum": self.config.roles, "description": "whose sessions are meant" });
        properties.insert("role".to_owned(), role);
        let mut required = vec!["role"];
        match action {
            Action::Cancel | Action::Terminate => {
                let seconds = json!({
                    "type": "integer", "minimum": self.config.min_seconds, "maximum": 31_536_000,
                    "description": "only what has run, or waited, for so long",
                });
                let most = json!({
                    "type": "integer", "minimum": 1, "maximum": self.config.max_sessions,
                    "description": "at most so many",
                });
                let fingerprint = json!({
                    "type": "string", "minLength": 1, "maxLength": 64,
                    "description": "only queries of this fingerprint, as a preview tells it",
                });
                properties.insert("min_seconds".to_owned(), seconds);
                properties.insert("max_sessions".to_owned(), most);
                properties.insert("fingerprint".to_owned(), fingerprint);
                required.extend(["min_seconds", "max_sessions"]);
                if action == Action::Terminate {
                    let state = json!({
                        "type": "string", "enum": sessions::STATES,
                        "description": "only sessions that run a query, that hold a transaction and do nothing, or any",
                    });
                    properties.insert("state".to_owned(), state);
                    required.push("state");
                }
            }
            Action::Cap => {
                let limit = json!({ "type": "integer", "minimum": -1, "maximum": i32::MAX });
                properties.insert("limit".to_owned(), limit);
                required.push("limit");
            }
            Action::Timeout => {
                properties.insert("setting".to_owned(), json!({ "type": "string", "maxLength": MAX_SETTING_CHARS }));
                required.push("setting");
            }
        }
        let reversibility = match action.is_undoable() {
            true => Reversibility::Undo { action: name.clone() },
            false => Reversibility::Transient,
        };
        Ok(ActionSpec {
            name,
            description: action.description().to_owned(),
            params: json!({ "type": "object", "properties": properties, "required": required }),
            risk: if action == Action::Terminate { RiskClass::High } else { RiskClass::Medium },
            reversibility,
            recovery: RecoveryClass::Probe {
                settles_within_ms: self.config.lock_timeout_ms.saturating_add(self.config.timeout_ms),
            },
            blast_radius: 1,
            changes_target: true,
        })
    }

    /// The action and the role, if both are ours and the parameters are whole.
    fn own(&self, call: &Call) -> Result<(Action, String)> {
        let unsupported = |what: String| Error::new(ErrorKind::Unsupported, COMPONENT, what);
        let action = Action::ALL.into_iter().find(|action| action.name() == call.action.as_str());
        let action = action.ok_or_else(|| unsupported(format!("`{}` is no action of this executor", call.action)))?;
        if call.target != self.config.entity {
            return Err(unsupported(format!("`{}` is not the server of this executor", call.target)));
        }
        let role = text(call, "role").unwrap_or_default();
        if !self.config.roles.contains(&role) {
            let shown: String = role.chars().take(63).filter(|c| !c.is_control()).collect();
            let message = format!("the role `{shown}` is not among those that may be touched");
            return Err(Error::new(ErrorKind::Unauthorized, COMPONENT, message));
        }
        let problems = self.spec(action)?.check_params(&call.params);
        ConfigError::check(problems, ()).map_err(|problems| {
            Error::new(ErrorKind::InvalidInput, COMPONENT, problems.to_string().replace('\n', "; "))
        })?;
        Ok((action, role))
    }

    /// The bound of everything that only reads.
    fn reading(&self, ctx: &Ctx) -> Ctx {
        ctx.with_timeout(Duration::from_millis(self.config.timeout_ms.saturating_add(self.config.connect_timeout_ms)))
    }

    fn remember(&self, key: String, targets: Vec<Target>) {
        let mut sent = locked(&self.sent);
        if sent.len() >= MAX_REMEMBERED {
            sent.pop_first();
        }
        sent.insert(key, targets);
    }

    async fn signal(&self, ctx: &Ctx, permit: Permit, selection: &Selection) -> Result<Attempt> {
        let reading = self.reading(ctx);
        let mut session = self.session(&reading).await?;
        let role = role::look(&mut session, &reading, &selection.role).await?;
        role.may_be_signalled()?;
        let found = sessions::look(&mut session, &reading, selection).await?;
        let statement = session.prepare(&reading, &selection.effect()).await?;
        let effect = permit.redeem()?;
        let key = effect.key().to_string();
        self.remember(key.clone(), found.targets);
        let until = session.on_server(effect.deadline_mono_ns());
        let waiting = self.acting(ctx, effect.deadline_mono_ns());
        let done = sessions::act(&mut session, &waiting, &statement, selection, until).await;
        self.keep(session);
        let result = match done {
            Ok(summary) => Attempt::applied(summary),
            Err(Fault::Refused(error)) if sessions::is_too_late(&error) => effect.not_applied(error).into(),
            // Some may have been signalled before the server refused to go on.
            Err(Fault::Refused(error) | Fault::Lost(error)) => return Err(unknown(&error)),
        };
        // Only what nobody knows is asked for later.
        locked(&self.sent).remove(&key);
        Ok(result)
    }

    async fn alter(&self, ctx: &Ctx, permit: Permit, alteration: &Alteration) -> Result<Attempt> {
        let reading = self.reading(ctx);
        let mut session = self.session(&reading).await?;
        role::look(&mut session, &reading, &alteration.role).await?.may_be_altered()?;
        let effect = permit.redeem()?;
        let waiting = self.acting(ctx, effect.deadline_mono_ns());
        let command = alteration.command(session.on_server(effect.deadline_mono_ns()));
        let done = session.command(&waiting, &command).await;
        self.keep(session);
        match done {
            Ok(()) => Ok(Attempt::applied(alteration.done())),
            Err(Fault::Refused(error)) => Ok(effect.not_applied(error).into()),
            Err(Fault::Lost(error)) => Err(unknown(&error)),
        }
    }

    /// The bound of waiting for the answer to an effect.
    fn acting(&self, ctx: &Ctx, deadline_mono_ns: u64) -> Ctx {
        let most = self.config.timeout_ms.saturating_add(self.config.lock_timeout_ms);
        ctx.with_deadline(deadline_mono_ns).with_timeout(Duration::from_millis(most))
    }

    async fn previewed(&self, ctx: &Ctx, session: &mut Session, call: &Call) -> Result<Preview> {
        let (action, name) = self.own(call)?;
        let role = role::look(session, ctx, &name).await?;
        match action {
            Action::Cancel | Action::Terminate => {
                role.may_be_signalled()?;
                let selection = Selection::of(action, name, call);
                let found = sessions::look(session, ctx, &selection).await?;
                let summary = selection.foretell(&found, role.n_sessions);
                Ok(Preview { state: role.identity(), summary, undo: None })
            }
            Action::Cap | Action::Timeout => {
                role.may_be_altered()?;
                let alteration = Alteration::of(action, name, call)?;
                alteration.check(session, ctx).await?;
                let undo = Call { params: alteration.former(&role)?, ..call.clone() };
                Ok(Preview { state: alteration.state(&role), summary: alteration.foretell(&role), undo: Some(undo) })
            }
        }
    }
}

#[async_trait]
impl Executor for PostgresActions {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn catalogue(&self) -> Vec<ActionSpec> {
        // The names are constants that pass the check.
        Action::ALL.into_iter().filter_map(|action| self.spec(action).ok()).collect()
    }

    async fn preview(&self, ctx: &Ctx, call: &Call) -> Result<Preview> {
        // What is not ours is refused before anybody is asked.
        self.own(call)?;
        let ctx = self.reading(ctx);
        let mut session = self.session(&ctx).await?;
        let preview = self.previewed(&ctx, &mut session, call).await;
        self.keep(session);
        preview
    }

    async fn execute(&self, ctx: &Ctx, permit: Permit) -> Result<Attempt> {
        let (action, role) = self.own(permit.call())?;
        match action {
            Action::Cancel | Action::Terminate => {
                let selection = Selection::of(action, role, permit.call());
                self.signal(ctx, permit, &selection).await
            }
            Action::Cap | Action::Timeout => {
                let alteration = Alteration::of(action, role, permit.call())?;
                self.alter(ctx, permit, &alteration).await
            }
        }
    }

    async fn probe(&self, ctx: &Ctx, probe: &Probe) -> Result<Probed> {
        let (action, name) = self.own(&probe.call)?;
        let ctx = self.reading(ctx);
        match action {
            Action::Cancel | Action::Terminate => {
                let Some(targets) = locked(&self.sent).get(&probe.key.to_string()).cloned() else {
                    return Ok(Probed::Unknown);
                };
                let mut session = self.session(&ctx).await?;
                let left = sessions::left(&mut session, &ctx, action, &targets).await?;
                self.keep(session);
                // That some still run does not say that nothing was done: they may be slow to notice.
                Ok(if left == 0 && !targets.is_empty() { Probed::Applied } else { Probed::Unknown })
            }
            Action::Cap | Action::Timeout => {
                let alteration = Alteration::of(action, name, &probe.call)?;
                let mut session = self.session(&ctx).await?;
                let role = role::look(&mut session, &ctx, &alteration.role).await?;
                self.keep(session);
                Ok(if alteration.is_done(&role) { Probed::Applied } else { Probed::NotApplied })
            }
        }
    }
}

fn text(call: &Call, name: &str) -> Option<String> {
    call.params.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn unknown(error: &Error) -> Error {
    Error::new(
        ErrorKind::Unknown,
        COMPONENT,
        format!("it was sent, and nobody knows what became of it: {}", error.message()),
    )
}

/// A panic while it was held leaves nothing half done: each is a single step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
