//! The laws of executors, for each action.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ir_adapters::postgres::PostgresActions;
use ir_core::testkit::executor::{self as laws, World};
use ir_core::{Call, Executor};
use serde_json::json;
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::{PASSWORD, call, ctx, executor};

/// Queries that run too long, counted by their clients when they end.
struct Runaways {
    cluster: Cluster,
    call: Call,
    wrap: fn(PostgresActions) -> Arc<dyn Executor>,
    running: Mutex<Vec<JoinHandle<bool>>>,
}

#[async_trait]
impl World for Runaways {
    async fn fresh(&self) -> Arc<dyn Executor> {
        self.running.lock().unwrap().clear();
        let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'reports'";
        self.cluster.sql(end).await;
        for _ in 0..2 {
            let running = self.cluster.run_away("reports", "SELECT pg_sleep(600)").await;
            self.running.lock().unwrap().push(running);
        }
        self.cluster.wait_a_second("reports").await;
        (self.wrap)(executor(self.cluster.address))
    }

    fn calls(&self) -> Vec<Call> {
        vec![self.call.clone()]
    }

    async fn effects(&self) -> u64 {
        // A signal is sent at once and noticed a moment later: counted when nothing has changed for a while.
        let count = || self.running.lock().unwrap().iter().filter(|running| running.is_finished()).count() as u64;
        let (mut last, mut same) = (count(), 0);
        while same < 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            same = if count() == last { same + 1 } else { 0 };
            last = count();
        }
        last
    }

    fn timeout_ms(&self) -> u64 {
        3_000
    }
}

/// A role with settings, whose rows in the catalogue get a new version with every change.
struct Settings {
    cluster: Cluster,
    calls: Vec<Call>,
    wrap: fn(PostgresActions) -> Arc<dyn Executor>,
}

#[async_trait]
impl World for Settings {
    async fn fresh(&self) -> Arc<dyn Executor> {
        let former = "ALTER ROLE reports CONNECTION LIMIT 7; ALTER ROLE reports SET statement_timeout TO '7s'";
        self.cluster.sql(former).await;
        (self.wrap)(executor(self.cluster.address))
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.clone()
    }

    async fn effects(&self) -> u64 {
        let versions = "SELECT (SELECT xmin::text::int8 FROM pg_authid WHERE rolname = 'reports') + \
                        (SELECT sum(xmin::text::int8) FROM pg_db_role_setting)";
        self.cluster.value(versions).await.parse().unwrap()
    }

    fn timeout_ms(&self) -> u64 {
        3_000
    }
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start(&[]).await;
    cluster.with_roles(PASSWORD).await;
    cluster
}

#[tokio::test]
async fn cancelling_keeps_every_law() {
    let params = json!({ "role": "reports", "min_seconds": 1, "max_sessions": 5 });
    let call = call("postgres.cancel_queries", params);
    let wrap: fn(PostgresActions) -> Arc<dyn Executor> = |executor| Arc::new(executor);
    let world = Runaways { cluster: cluster().await, call, wrap, running: Mutex::default() };
    laws::check_all(&ctx(), &world).await.unwrap();
}

#[tokio::test]
async fn terminating_keeps_every_law_in_a_box() {
    let params = json!({ "role": "reports", "min_seconds": 1, "max_sessions": 5, "state": "active" });
    let call = call("postgres.terminate_sessions", params);
    let wrap: fn(PostgresActions) -> Arc<dyn Executor> = |executor| Arc::new(Box::new(executor) as Box<dyn Executor>);
    let world = Runaways { cluster: cluster().await, call, wrap, running: Mutex::default() };
    laws::check_all(&ctx(), &world).await.unwrap();
}

#[tokio::test]
async fn caps_and_timeouts_keep_every_law_in_an_arc() {
    let calls = vec![
        call("postgres.cap_connections", json!({ "role": "reports", "limit": 2 })),
        call("postgres.set_statement_timeout", json!({ "role": "reports", "setting": "15s" })),
    ];
    let wrap: fn(PostgresActions) -> Arc<dyn Executor> = |executor| Arc::new(Arc::new(executor) as Arc<dyn Executor>);
    let world = Settings { cluster: cluster().await, calls, wrap };
    laws::check_all(&ctx(), &world).await.unwrap();
}
