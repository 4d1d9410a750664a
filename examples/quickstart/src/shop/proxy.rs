//! A stable port in front of whichever instance serves now, as a cluster gives a service one address.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};

/// A local instance accepts within microseconds unless its queue is full, which is how a process looks that has hung
/// for long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The stable address of one service. A connection stays with the instance it began with; new ones go to the current
/// instance, and are closed at once while there is none.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    backend: Arc<Mutex<Option<SocketAddr>>>,
}

impl Proxy {
    /// Listens on a free port and forwards from a task of its own.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen for a service")?;
        let proxy = Self { address: listener.local_addr()?, backend: Arc::default() };
        tokio::spawn(proxy.clone().accept(listener));
        Ok(proxy)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on new connections go to `backend`.
    pub(crate) fn point_to(&self, backend: Option<SocketAddr>) {
        *self.backend.lock().unwrap_or_else(PoisonError::into_inner) = backend;
    }

    fn backend(&self) -> Option<SocketAddr> {
        *self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            // A failed accept concerns one caller, who sees it; the others go on.
            let Ok((client, _)) = listener.accept().await else { continue };
            let Some(backend) = self.backend() else { continue };
            tokio::spawn(forward(client, backend));
        }
    }
}

/// Copies both ways until both sides are done or one of them breaks, which the other then sees as a closed connection.
async fn forward(mut client: TcpStream, backend: SocketAddr) {
    let Ok(Ok(mut server)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(backend)).await else { return };
    // Small messages must not wait for each other; without this option they are merely slower.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
