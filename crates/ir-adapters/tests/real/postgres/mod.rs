//! The executor on a real PostgreSQL: the laws, rights, faults of the server and of the way to it.

mod actions;
mod cluster;
mod faults;
mod laws;
mod proxy;
mod secrets;
#[cfg(feature = "tls")]
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use ir_adapters::SystemClock;
use ir_adapters::postgres::{PostgresActions, PostgresActionsConfig};
use ir_core::{ActionName, Call, Ctx, EntityId, Secret};
use serde_json::Value;

/// The executor's password. It must never be seen again.
const PASSWORD: &str = "canary-4b1d-password";

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn config() -> PostgresActionsConfig {
    PostgresActionsConfig {
        entity: EntityId::literal("db"),
        roles: vec!["reports".to_owned()],
        timeout_ms: 2_000,
        lock_timeout_ms: 300,
        ..PostgresActionsConfig::default()
    }
}

fn url(address: SocketAddr) -> Secret {
    Secret::new(format!("postgresql://incident_response:{PASSWORD}@{address}/postgres"))
}

fn executor(address: SocketAddr) -> PostgresActions {
    PostgresActions::new(config(), &url(address)).unwrap()
}

fn call(action: &str, params: Value) -> Call {
    let Value::Object(params) = params else { panic!("{params}") };
    Call { action: ActionName::new(action).unwrap(), target: EntityId::literal("db"), params }
}
