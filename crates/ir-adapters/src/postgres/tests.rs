//! What needs no server: the configuration, the catalogue, quoting.

use ir_core::{Call, Catalogue, EntityId};
use serde_json::json;

use super::role::{Alteration, identifier, literal};
use super::*;

fn config() -> PostgresActionsConfig {
    PostgresActionsConfig { roles: vec!["reports".to_owned()], ..PostgresActionsConfig::default() }
}

fn url() -> Secret {
    Secret::new("postgresql://responder:canary@127.0.0.1:1/x")
}

fn call(action: &str, params: Value) -> Call {
    let Value::Object(params) = params else { panic!("{params}") };
    Call { action: ActionName::new(action).unwrap(), target: EntityId::literal("postgres"), params }
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once() {
    let wrong = PostgresActionsConfig {
        name: String::new(),
        roles: vec![String::new(), "a".repeat(64), "x".to_owned(), "x".to_owned()],
        max_sessions: 0,
        min_seconds: 0,
        connect_timeout_ms: 0,
        timeout_ms: 0,
        lock_timeout_ms: u64::MAX,
        ..PostgresActionsConfig::default()
    };
    let error = PostgresActions::new(wrong, &Secret::new("postgresql://u:canary@h:port")).unwrap_err();
    let mut fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    fields.sort_unstable();
    let bounds = ["connect_timeout_ms", "lock_timeout_ms", "max_sessions", "min_seconds", "name"];
    let rest = ["roles[0]", "roles[1]", "roles[3]", "timeout_ms", "url"];
    assert_eq!(fields, [bounds, rest].concat());
    assert!(!error.to_string().contains("canary"), "{error}");
    let error = PostgresActions::new(config(), &Secret::new("user=x password=canary")).unwrap_err();
    assert_eq!(error.to_string(), "`url`: names no host");
}

#[test]
fn the_catalogue_is_sound_with_roles_and_without() {
    for roles in [Vec::new(), vec!["reports".to_owned()]] {
        let executor = PostgresActions::new(PostgresActionsConfig { roles, ..config() }, &url()).unwrap();
        let catalogue = Catalogue::new(executor.catalogue()).unwrap();
        assert_eq!(catalogue.actions().len(), 4);
        // A playbook that names another role is refused when it is read, not in the middle of the night.
        let cap = catalogue.action(&ActionName::literal("postgres.cap_connections")).unwrap();
        let other = call("postgres.cap_connections", json!({ "role": "shop", "limit": 1 }));
        assert_eq!(cap.check_params(&other.params).len(), 1);
    }
}

#[tokio::test]
async fn what_is_outside_the_bounds_is_refused_before_anybody_is_asked() {
    let executor = PostgresActions::new(config(), &url()).unwrap();
    let ctx = Ctx::new(std::sync::Arc::new(crate::SystemClock::new()));
    // One row for each way of asking for too much.
    let rows = [
        ("postgres.cancel_queries", json!({ "role": "reports", "min_seconds": 0, "max_sessions": 1 })),
        ("postgres.cancel_queries", json!({ "role": "reports", "min_seconds": 1, "max_sessions": 21 })),
        ("postgres.cancel_queries", json!({ "role": "reports", "min_seconds": 1 })),
        ("postgres.terminate_sessions", json!({ "role": "reports", "min_seconds": 1, "max_sessions": 1 })),
        ("postgres.cap_connections", json!({ "role": "reports", "limit": -2 })),
        ("postgres.set_statement_timeout", json!({ "role": "reports", "setting": "1".repeat(65) })),
    ];
    for (action, params) in rows {
        let error = executor.preview(&ctx, &call(action, params.clone())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{action} {params}: {error}");
    }
    let nul = call("postgres.set_statement_timeout", json!({ "role": "reports", "setting": "1\0" }));
    assert!(Alteration::of(Action::Timeout, "reports".to_owned(), &nul).is_err());
}

#[test]
fn names_and_texts_are_quoted_whatever_they_hold() {
    assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    assert_eq!(literal("it's \\ $$"), "'it''s \\ $$'");
    let call = call("postgres.set_statement_timeout", json!({ "role": "x", "setting": "'; DROP ROLE shop; --" }));
    let command = Alteration::of(Action::Timeout, "a'b\"c".to_owned(), &call).unwrap().command(7);
    // The block is a text with a text in it: quotes of the inner one are doubled twice.
    assert!(command.starts_with("DO LANGUAGE plpgsql 'BEGIN IF "), "{command}");
    assert!(command.contains("rolname = ''a''''b\"c''"), "{command}");
    assert!(
        command.contains("ALTER ROLE \"a''b\"\"c\" SET statement_timeout TO ''''''; DROP ROLE shop; --''"),
        "{command}"
    );
    assert!(command.ends_with("END'"), "{command}");
}

#[test]
fn its_debug_form_holds_no_credentials() {
    let shown = format!("{:?}", PostgresActions::new(config(), &url()).unwrap());
    assert!(!shown.contains("canary") && shown.contains("reports"), "{shown}");
}
