//! From names to addresses, as a part of its own so that tests can lie about a name.

use std::net::SocketAddr;

use async_trait::async_trait;

/// What tells the addresses of a host.
#[async_trait]
pub(super) trait Resolve: std::fmt::Debug + Send + Sync {
    /// All addresses of `host`, which is a name or an address in any form.
    async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>>;
}

/// The machine's own resolver.
#[derive(Debug)]
pub(super) struct System;

#[async_trait]
impl Resolve for System {
    async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}
