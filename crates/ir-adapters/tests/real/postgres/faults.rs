//! The server dies, is full, is locked; answers are lost and requests come late.

use std::sync::Arc;
use std::time::Duration;

use ir_adapters::postgres::PostgresActions;
use ir_core::testkit::GateRig;
use ir_core::testkit::executor::done;
use ir_core::{Call, Ctx, ErrorKind, Executor, Probe, Probed, StepRef};
use serde_json::json;

use super::cluster::{Cluster, connect};
use super::proxy::{Proxy, Wrong};
use super::{PASSWORD, call, ctx, executor};
use crate::server::wait_for;

fn cap() -> Call {
    call("postgres.cap_connections", json!({ "role": "reports", "limit": 2 }))
}

fn cancel() -> Call {
    call("postgres.cancel_queries", json!({ "role": "reports", "min_seconds": 1, "max_sessions": 5 }))
}

fn probe(rig: &GateRig, step: &StepRef, call: &Call) -> Probe {
    let key = rig.gate().state().step(step).unwrap().open.as_ref().unwrap().intent.key;
    Probe { call: call.clone(), key, fence: None }
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_a_probe_finds_what_was_done() {
    let cluster = Cluster::start(&[]).await;
    cluster.with_roles(PASSWORD).await;
    let proxy = Proxy::to(cluster.address).await;
    // The words in a request, and how many requests later the effect goes out.
    for (call, words, after) in [(cap(), "DO LANGUAGE", 0), (cancel(), "pg_cancel_backend", 1)] {
        let running = cluster.run_away("reports", "SELECT pg_sleep(600)").await;
        cluster.wait_a_second("reports").await;
        let executor = executor(proxy.address);
        let mut rig = GateRig::open(&ctx()).await.unwrap();
        let (step, granted) = rig.permit(&executor, &call, 3_000).await.unwrap();
        proxy.goes_wrong(Wrong::LosesTheAnswer, words, after);
        let error = done(executor.execute(&ctx(), granted.permit).await).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{call}: {error}");
        let probe = probe(&rig, &step, &call);
        let found = wait_for("the effect is found", async || {
            Some(executor.probe(&ctx(), &probe).await.unwrap()).filter(|found| *found == Probed::Applied)
        });
        found.await;
        // Another value of the executor, as after a restart, can still read settings; whom a signal hit it cannot know.
        let other = super::executor(cluster.address);
        let known = if call == cap() { Probed::Applied } else { Probed::Unknown };
        assert_eq!(other.probe(&ctx(), &probe).await.unwrap(), known);
        drop(running);
    }
    assert_eq!(cluster.value("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'reports'").await, "2");
}

#[tokio::test]
async fn a_request_that_arrives_after_its_deadline_changes_nothing() {
    let cluster = Cluster::start(&[]).await;
    cluster.with_roles(PASSWORD).await;
    for (call, words, after) in [(cap(), "DO LANGUAGE", 0), (cancel(), "pg_cancel_backend", 1)] {
        let mut proxy = Proxy::to(cluster.address).await;
        let running = cluster.run_away("reports", "SELECT pg_sleep(600)").await;
        cluster.wait_a_second("reports").await;
        let before = cluster.roles().await;
        let executor = executor(proxy.address);
        let mut rig = GateRig::open(&ctx()).await.unwrap();
        let (step, granted) = rig.permit(&executor, &call, 700).await.unwrap();
        proxy.goes_wrong(Wrong::HoldsTheRequest, words, after);
        let error = done(executor.execute(&ctx(), granted.permit).await).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{call}: {error}");
        // The engine waits for the settling time before it asks; here it is asked for after the late arrival instead.
        proxy.release().await;
        let found = executor.probe(&ctx(), &probe(&rig, &step, &call)).await.unwrap();
        assert_eq!(found, if call == cap() { Probed::NotApplied } else { Probed::Unknown });
        assert_eq!(cluster.roles().await, before);
        let still = "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'reports' AND state = 'active'";
        assert_eq!(cluster.value(still).await, "t");
        assert!(!running.is_finished(), "it was cancelled by a statement that came too late");
    }
}

#[tokio::test]
async fn a_server_that_is_killed_is_away_and_acts_again_when_it_is_back() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.with_roles(PASSWORD).await;
    let executor = executor(cluster.address);
    executor.connect(&ctx()).await.unwrap();
    for round in 1..=3 {
        let limit = json!({ "role": "reports", "limit": round });
        let call = call("postgres.cap_connections", limit);
        let mut rig = GateRig::open(&ctx()).await.unwrap();
        let (_, granted) = rig.permit(&executor, &call, 20_000).await.unwrap();
        let folder = cluster.kill();
        let error = done(executor.execute(&ctx(), granted.permit).await).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable() && !granted.watch.was_redeemed(), "nothing was sent, and that is known");
        let error = executor.preview(&ctx(), &call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        cluster.start_again(folder).await;
        let mut rig = GateRig::open(&ctx()).await.unwrap();
        let (_, granted) = rig.permit(&executor, &call, 20_000).await.unwrap();
        done(executor.execute(&ctx(), granted.permit).await).unwrap();
        let now = cluster.value("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'reports'").await;
        assert_eq!(now, round.to_string());
    }
}

#[tokio::test]
async fn the_kept_connection_serves_when_the_server_has_none_left() {
    let cluster = Cluster::start(&["max_connections=8", "superuser_reserved_connections=3"]).await;
    cluster.with_roles(PASSWORD).await;
    let ready = executor(cluster.address);
    ready.connect(&ctx()).await.unwrap();
    let mut hoard = Vec::new();
    while let Some(client) = connect(cluster.address, "reports", "reports").await {
        hoard.push(client);
    }
    cluster.wait_a_second("reports").await;
    let late = executor(cluster.address);
    let all = json!({ "role": "reports", "min_seconds": 1, "max_sessions": 20, "state": "any" });
    let end = call("postgres.terminate_sessions", all);
    let error = late.preview(&ctx(), &end).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("53300"), "{error}");
    let mut rig = GateRig::open(&ctx()).await.unwrap();
    let (_, granted) = rig.permit(&ready, &end, 5_000).await.unwrap();
    let told = done(ready.execute(&ctx(), granted.permit).await).unwrap().summary;
    assert_eq!(told, format!("{} sessions of role `reports` were told to end", hoard.len()));
    wait_for("there is room again", async || late.preview(&ctx(), &end).await.ok()).await;
}

#[tokio::test]
async fn a_role_that_somebody_else_is_altering_is_a_conflict_and_stays() {
    let cluster = Cluster::start(&[]).await;
    cluster.with_roles(PASSWORD).await;
    let other = connect(cluster.address, "postgres", "").await.unwrap();
    let executor = executor(cluster.address);
    let before = cluster.roles().await;
    other.batch_execute("BEGIN; ALTER ROLE reports CONNECTION LIMIT 99").await.unwrap();
    let mut rig = GateRig::open(&ctx()).await.unwrap();
    let (_, granted) = rig.permit(&executor, &cap(), 5_000).await.unwrap();
    let error = done(executor.execute(&ctx(), granted.permit).await).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(cluster.roles().await, before);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_waited_for_no_longer_than_allowed() {
    // Accepts and is silent, at once or after the connection was made: the time is bounded either way.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent: PostgresActions = executor(listener.local_addr().unwrap());
    let begun = tokio::time::Instant::now();
    let short: Ctx = ctx().with_timeout(Duration::from_millis(300));
    let error = silent.preview(&short, &cap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    let (stoppable, stop) = Ctx::stoppable(Arc::new(ir_adapters::SystemClock::new()));
    let asked = tokio::spawn(async move { silent.preview(&stoppable, &cap()).await });
    stop.stop();
    assert_eq!(asked.await.unwrap().unwrap_err().kind(), ErrorKind::Stopped);
}
