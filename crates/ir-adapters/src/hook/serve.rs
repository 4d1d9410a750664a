//! A small server for hosts that have none: HTTP/1.1 on a listener of theirs, bounded in connections and patience.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ir_core::{Ctx, Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::COMPONENT;

/// Connections at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// How long a sender may take over the head of its request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may last.
const CONNECTION_WITHIN: Duration = Duration::from_secs(60);

/// Serves `router` until the context is stopped. No TLS: put it behind what terminates TLS, or bind it to loopback.
///
/// # Errors
///
/// `Unavailable` when the listener fails; `Stopped` in the end.
pub async fn serve(ctx: &Ctx, listener: TcpListener, router: axum::Router) -> Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    ctx.run(COMPONENT, async {
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
            let (stream, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                // A connection that ended before it was accepted is its own affair; anything else would come again at once.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    let message = "no connection can be accepted";
                    return Err(Error::new(ErrorKind::Unavailable, COMPONENT, message).with_source(error));
                }
            };
            let service = TowerToHyperService::new(router.clone());
            connections.spawn(async move {
                let mut server = hyper::server::conn::http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(64 << 10);
                let connection = server.serve_connection(TokioIo::new(stream), service);
                if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_WITHIN, connection).await {
                    tracing::debug!(%error, "a connection broke");
                }
                drop(place);
            });
        }
    })
    .await
}
