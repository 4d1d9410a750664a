//! Connections: made, kept between calls, and driven only while a call uses them.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::poll_fn;
use ir_core::{Ctx, Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Connection, Row, Socket, Statement};

use super::COMPONENT;
use super::config::PostgresActionsConfig;
use super::fault::{Fault, told};

/// Parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Makes connections, in clear or under some TLS.
#[async_trait::async_trait]
pub(super) trait Connector: Send + Sync {
    async fn connect(&self, config: &Config) -> Result<Link, tokio_postgres::Error>;
}

/// Any connector of the client library's.
pub(super) struct Through<T>(pub(super) T);

#[async_trait::async_trait]
impl<T> Connector for Through<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    async fn connect(&self, config: &Config) -> Result<Link, tokio_postgres::Error> {
        let (client, connection) = config.connect(self.0.clone()).await?;
        Ok(Link { client, driver: Some(Box::new(connection)) })
    }
}

/// Moves the bytes of a connection.
trait Driver: Send {
    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Driver for Connection<Socket, T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.poll_message(cx) {
                Poll::Pending => return Poll::Pending,
                // Notices and notifications are nothing to us, and are not logged: the server writes what it likes.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
            }
        }
    }
}

/// A connection. Its bytes move only while somebody waits for an answer.
pub(super) struct Link {
    client: Client,
    /// `None` once the connection is over.
    driver: Option<Box<dyn Driver>>,
}

impl Link {
    async fn drive<'a, T, F>(&'a mut self, ask: impl FnOnce(&'a Client) -> F) -> T
    where
        F: Future<Output = T> + 'a,
    {
        let Self { client, driver } = self;
        let work = ask(client);
        futures::pin_mut!(work);
        poll_fn(|cx| {
            if driver.as_mut().is_some_and(|driver| driver.poll(cx).is_ready()) {
                // Who still waits for an answer learns of the end only when it is dropped.
                *driver = None;
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}

/// A connection whose settings are ours, and what the server's clock said.
pub(super) struct Session {
    link: Link,
    /// False once an answer may be outstanding: such a connection is not kept.
    sound: bool,
    /// What the server's clock said, in microseconds since 1970.
    server_us: i64,
    /// Our clock not before that moment.
    read_mono_ns: u64,
}

impl Session {
    /// Makes a connection.
    pub(super) async fn open(
        ctx: &Ctx,
        connector: &dyn Connector,
        server: &Config,
        config: &PostgresActionsConfig,
    ) -> Result<Self> {
        let ctx = ctx.with_timeout(Duration::from_millis(config.connect_timeout_ms));
        let connecting = async { connector.connect(server).await.map_err(|error| told(&error)) };
        let link = ctx.run(COMPONENT, connecting).await?;
        Self::begin(&ctx, link, config).await
    }

    /// Sets what bounds a session. On a kept connection this shows as well that somebody is still there.
    pub(super) async fn begin(ctx: &Ctx, link: Link, config: &PostgresActionsConfig) -> Result<Self> {
        let mut session = Self { link, sound: true, server_us: 0, read_mono_ns: 0 };
        // Nothing may wait for a standby: an effect that is durable and not yet seen would come after it was looked for.
        let settings = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SET synchronous_commit = local; SET standard_conforming_strings = on; SET search_path = pg_catalog, pg_temp",
            config.timeout_ms, config.lock_timeout_ms, config.timeout_ms,
        );
        let told_settings = session.link.drive(|client| client.batch_execute(&settings));
        ctx.run(COMPONENT, async { told_settings.await.map_err(|error| told(&error)) }).await?;
        let clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
        let row = session.query(ctx, clock, &[]).await?;
        session.read_mono_ns = ctx.now().mono_ns;
        session.server_us = row
            .first()
            .map(|row| row.try_get(0))
            .transpose()
            .map_err(|error| told(&error))?
            .ok_or_else(|| Error::new(ErrorKind::Unavailable, COMPONENT, "the server did not tell the time"))?;
        Ok(session)
    }

    /// The moment `mono_ns` of our clock on the server's: never later than it really is, as long as the server's clock does not
    /// jump back meanwhile. Microseconds since 1970.
    pub(super) fn on_server(&self, mono_ns: u64) -> i64 {
        let ahead = i64::try_from(mono_ns.saturating_sub(self.read_mono_ns) / 1_000).unwrap_or(i64::MAX);
        self.server_us.saturating_add(ahead)
    }

    /// Asks something that changes nothing.
    pub(super) async fn query(&mut self, ctx: &Ctx, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let asking = self.link.drive(|client| client.query(sql, params));
        let answer = ctx.run(COMPONENT, async { asking.await.map_err(|error| told(&error)) }).await;
        self.sound &= answer.is_ok();
        answer
    }

    /// Has a statement looked at by the server, so that what is wrong with it is known before anything is done.
    pub(super) async fn prepare(&mut self, ctx: &Ctx, sql: &str) -> Result<Statement> {
        let asking = self.link.drive(|client| client.prepare(sql));
        let answer = ctx.run(COMPONENT, async { asking.await.map_err(|error| told(&error)) }).await;
        self.sound &= answer.is_ok();
        answer
    }

    /// Sends a prepared statement that changes something, once.
    pub(super) async fn act(
        &mut self,
        ctx: &Ctx,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Fault> {
        let asking = self.link.drive(|client| client.query(statement, params));
        let answer = settled(ctx, asking).await;
        self.sound &= answer.is_ok();
        answer
    }

    /// Sends a command that takes no parameters and changes something, once.
    pub(super) async fn command(&mut self, ctx: &Ctx, sql: &str) -> Result<(), Fault> {
        let asking = self.link.drive(|client| client.batch_execute(sql));
        let answer = settled(ctx, asking).await;
        self.sound &= answer.is_ok();
        answer
    }

    /// The connection, if it may be used again.
    pub(super) fn into_link(self) -> Option<Link> {
        (self.sound && self.link.driver.is_some()).then_some(self.link)
    }
}

/// Waits for what was sent. Whatever is not an answer leaves it open what was done.
async fn settled<T>(ctx: &Ctx, asking: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Fault> {
    let answer = ctx.run(COMPONENT, async { Ok(asking.await) }).await;
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Fault::of(&error)),
        Err(error) => Err(Fault::Lost(error)),
    }
}
