//! Who is hit and who is not, what is taken back, and with which rights.

use std::time::Duration;

use ir_adapters::postgres::{PostgresActions, PostgresActionsConfig};
use ir_core::testkit::GateRig;
use ir_core::testkit::executor as attempts;
use ir_core::{Call, Direction, ErrorKind, Executor, StepState};
use serde_json::json;

use super::cluster::{Cluster, connect};
use super::{PASSWORD, call, config, ctx, executor, url};

async fn done(executor: &dyn Executor, call: &Call) -> String {
    let mut rig = GateRig::open(&ctx()).await.unwrap();
    let (_, granted) = rig.permit(executor, call, 5_000).await.unwrap();
    attempts::done(executor.execute(&ctx(), granted.permit).await).unwrap().summary
}

/// Whether a client learns within a while that its query was cancelled or its session ended.
async fn ends(running: &mut tokio::task::JoinHandle<bool>) -> bool {
    tokio::time::timeout(Duration::from_secs(20), running).await.is_ok_and(|ended| !ended.unwrap())
}

#[tokio::test]
async fn only_old_queries_of_the_role_are_cancelled_and_no_more_than_asked_for() {
    let cluster = Cluster::start(&["wal_level=replica"]).await;
    cluster.with_roles(PASSWORD).await;
    // A role that is on the list and became a superuser is left alone as well.
    cluster.sql("CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'boss'").await;
    let mut old = Vec::new();
    for _ in 0..3 {
        old.push(cluster.run_away("reports", "SELECT pg_sleep(600)").await);
    }
    let shop = cluster.run_away("shop", "SELECT pg_sleep(600)").await;
    let boss = cluster.run_away("boss", "SELECT pg_sleep(600)").await;
    cluster.wait_a_second("reports").await;
    let mine = connect(cluster.address, "incident_response", PASSWORD).await.unwrap();
    let young = cluster.run_away("reports", "SELECT pg_sleep(601)").await;
    let roles = ["reports", "boss", "incident_response"].map(str::to_owned).to_vec();
    let executor = PostgresActions::new(PostgresActionsConfig { roles, ..config() }, &url(cluster.address)).unwrap();

    // Younger than 30 s: nobody.
    let nobody = call("postgres.cancel_queries", json!({ "role": "reports", "min_seconds": 30, "max_sessions": 5 }));
    let preview = executor.preview(&ctx(), &nobody).await.unwrap();
    assert!(preview.summary.contains("nothing is done"), "{}", preview.summary);
    assert_eq!(done(&executor, &nobody).await, "0 queries of role `reports` were told to cancel");

    // Two of the three old ones; the young one is the youngest and stays.
    let two = call("postgres.cancel_queries", json!({ "role": "reports", "min_seconds": 1, "max_sessions": 2 }));
    assert_eq!(done(&executor, &two).await, "2 queries of role `reports` were told to cancel");
    let (mut first, mut second) = (old.remove(0), old.remove(0));
    assert!(ends(&mut first).await && ends(&mut second).await, "the oldest are cancelled first");
    assert!(!old[0].is_finished() && !young.is_finished());

    // Superusers and the executor's own role are refused by name, though they are on the list.
    for (role, words) in [("boss", "superuser"), ("incident_response", "own")] {
        let call = call("postgres.cancel_queries", json!({ "role": role, "min_seconds": 1, "max_sessions": 2 }));
        let error = executor.preview(&ctx(), &call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    assert!(!shop.is_finished() && !boss.is_finished() && !mine.is_closed());
}

#[tokio::test]
async fn queries_are_told_apart_by_fingerprint_and_no_literal_is_shown() {
    // With pg's own ids, and with ours.
    for (setting, mark) in [("compute_query_id=on", "id:"), ("compute_query_id=off", "text:")] {
        let cluster = Cluster::start(&[setting]).await;
        cluster.with_roles(PASSWORD).await;
        let mut same = cluster.run_away("reports", "SELECT pg_sleep(600), 'canary-literal-1'").await;
        let mut also = cluster.run_away("reports", "SELECT  pg_sleep(601), 'it''s canary-literal-2'").await;
        let other = cluster
            .run_away("reports", "SELECT count(*), pg_sleep(600) FROM pg_class WHERE relname = 'canary-3'")
            .await;
        cluster.wait_a_second("reports").await;
        let executor = executor(cluster.address);
        let all = json!({ "role": "reports", "min_seconds": 1, "max_sessions": 5 });
        let preview = executor.preview(&ctx(), &call("postgres.cancel_queries", all)).await.unwrap();
        assert!(!preview.summary.contains("canary"), "{}", preview.summary);
        assert!(preview.summary.starts_with("3 queries of role `reports`"), "{}", preview.summary);
        let word = preview.summary.split(&[' ', ',']).filter(|word| word.starts_with(mark)).collect::<Vec<_>>();
        assert_eq!(word.len(), 2, "{}", preview.summary);
        // The one that two share is told first.
        let two = json!({ "role": "reports", "min_seconds": 1, "max_sessions": 5, "fingerprint": word[0] });
        let told = done(&executor, &call("postgres.cancel_queries", two)).await;
        assert_eq!(told, "2 queries of role `reports` were told to cancel");
        assert!(ends(&mut same).await && ends(&mut also).await);
        assert!(!other.is_finished());
    }
}

#[tokio::test]
async fn sessions_that_hold_a_transaction_and_do_nothing_are_ended_and_others_are_not() {
    let cluster = Cluster::start(&[]).await;
    cluster.with_roles(PASSWORD).await;
    let holding = connect(cluster.address, "reports", "reports").await.unwrap();
    holding.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let idle = connect(cluster.address, "reports", "reports").await.unwrap();
    idle.batch_execute("SELECT 1").await.unwrap();
    cluster.wait_a_second("reports").await;
    let executor = executor(cluster.address);
    let of = |state: &str| json!({ "role": "reports", "min_seconds": 1, "max_sessions": 5, "state": state });
    let told = done(&executor, &call("postgres.terminate_sessions", of("idle_in_transaction"))).await;
    assert_eq!(told, "1 idle transactions of role `reports` were told to end");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holding.is_closed() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(holding.is_closed() && !idle.is_closed());
    let told = done(&executor, &call("postgres.terminate_sessions", of("any"))).await;
    assert_eq!(told, "1 sessions of role `reports` were told to end");
}

/// Names and settings that would do harm where they are not quoted.
const NASTY: &str = "we\"ird'; DROP ROLE shop; $ir$ --\\";

#[tokio::test]
async fn what_is_altered_is_brought_back_in_the_whole_catalogue() {
    let cluster = Cluster::start(&[]).await;
    cluster.with_roles(PASSWORD).await;
    let quoted = format!("\"{}\"", NASTY.replace('"', "\"\""));
    cluster
        .sql(&format!(
            "CREATE ROLE {quoted} LOGIN CONNECTION LIMIT 9; ALTER ROLE {quoted} SET work_mem TO '1MB'; \
             ALTER ROLE {quoted} SET statement_timeout TO '90min'; ALTER ROLE {quoted} SET lock_timeout TO '5s'; \
             ALTER ROLE shop IN DATABASE postgres SET statement_timeout TO '2s'; ALTER ROLE shop SET work_mem TO '2MB'"
        ))
        .await;
    let roles = ["reports", "shop", NASTY].map(str::to_owned).to_vec();
    let executor = PostgresActions::new(PostgresActionsConfig { roles, ..config() }, &url(cluster.address)).unwrap();
    let before = cluster.roles().await;
    // One row for each way in which the former state may look.
    for (role, former) in [("reports", "without a setting"), (NASTY, "among others"), ("shop", "in one database only")]
    {
        let calls = [
            call("postgres.cap_connections", json!({ "role": role, "limit": 0 })),
            call("postgres.set_statement_timeout", json!({ "role": role, "setting": "1500" })),
            call("postgres.set_statement_timeout", json!({ "role": role, "setting": "" })),
        ];
        for call in calls {
            let preview = executor.preview(&ctx(), &call).await.unwrap();
            assert_eq!(cluster.roles().await, before, "a preview changes nothing");
            let mut rig = GateRig::open(&ctx()).await.unwrap();
            let (step, granted) = rig.permit(&executor, &call, 5_000).await.unwrap();
            attempts::done(executor.execute(&ctx(), granted.permit).await).unwrap();
            let is_new = call.params.get("setting").is_none_or(|text| text != "") || role == NASTY;
            assert_eq!(cluster.roles().await != before, is_new, "{call}");
            rig.applied(&executor, &step).await.unwrap();
            rig.go(&step, &[StepState::Compensating]).await.unwrap();
            let granted = rig.authorize(&executor, &step, Direction::Undo).await.unwrap();
            attempts::done(executor.execute(&ctx(), granted.permit).await).unwrap();
            assert_eq!(cluster.roles().await, before, "{former}: {call}: {}", preview.summary);
        }
    }
}

#[tokio::test]
async fn what_may_not_be_done_is_refused_before_anything_is_sent() {
    let cluster = Cluster::start(&[]).await;
    // Nothing was granted.
    cluster
        .sql(&format!(
            "CREATE ROLE incident_response LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE reports LOGIN PASSWORD 'reports'"
        ))
        .await;
    let running = cluster.run_away("reports", "SELECT pg_sleep(600)").await;
    cluster.wait_a_second("reports").await;
    let executor = executor(cluster.address);
    let select = json!({ "role": "reports", "min_seconds": 1, "max_sessions": 5 });
    let mut whole = select.clone();
    whole["state"] = json!("any");
    let calls = [
        (call("postgres.cancel_queries", select), "pg_signal_backend"),
        (call("postgres.terminate_sessions", whole), "pg_signal_backend"),
        (call("postgres.cap_connections", json!({ "role": "reports", "limit": 1 })), "CREATEROLE"),
        (call("postgres.set_statement_timeout", json!({ "role": "reports", "setting": "1s" })), "CREATEROLE"),
    ];
    let before = cluster.roles().await;
    for (call, lacks) in &calls {
        let error = executor.preview(&ctx(), call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        assert!(error.message().contains(lacks), "{error}");
        let mut rig = GateRig::open(&ctx()).await.unwrap();
        let (_, granted) = rig.permit_unseen(&executor, call, 5_000).await.unwrap();
        let error = attempts::done(executor.execute(&ctx(), granted.permit).await).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        assert!(!granted.watch.was_redeemed(), "{call}");
    }
    // Sight alone is not enough, and a role that is not on the list stays out of reach.
    cluster.sql("GRANT pg_signal_backend TO incident_response").await;
    let error = executor.preview(&ctx(), &calls[0].0).await.unwrap_err();
    assert!(error.message().contains("pg_read_all_stats"), "{error}");
    let shop = call("postgres.cap_connections", json!({ "role": "shop", "limit": 1 }));
    let error = executor.preview(&ctx(), &shop).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    let none = PostgresActionsConfig { roles: Vec::new(), ..config() };
    let none = PostgresActions::new(none, &url(cluster.address)).unwrap();
    for (call, _) in &calls {
        let error = none.preview(&ctx(), call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    }
    cluster.sql("REVOKE pg_signal_backend FROM incident_response").await;
    assert_eq!(cluster.roles().await, before);
    assert!(!running.is_finished());
}

#[tokio::test]
async fn values_that_the_server_does_not_take_are_refused_by_the_preview() {
    let cluster = Cluster::start(&[]).await;
    cluster.with_roles(PASSWORD).await;
    let executor = executor(cluster.address);
    for setting in ["soon", "-1s", "1 fortnight", "99999999999"] {
        let call = call("postgres.set_statement_timeout", json!({ "role": "reports", "setting": setting }));
        let error = executor.preview(&ctx(), &call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{setting}: {error}");
    }
    cluster.sql("DROP ROLE reports").await;
    let call = call("postgres.cap_connections", json!({ "role": "reports", "limit": 1 }));
    let error = executor.preview(&ctx(), &call).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
