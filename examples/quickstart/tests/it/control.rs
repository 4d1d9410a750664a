//! The control API: once per key, never with an old token, and only what was asked for.

use serde_json::{Value, json};

use crate::stage::{SOON, Shop, get, lines, processes_with, request, send, until};

const RESPONDER: (&str, &str) = ("X-Actor", "responder");

#[test]
fn the_same_key_at_once_and_later_is_one_effect_and_one_answer() {
    let shop = Shop::start();
    let headers = [RESPONDER, ("Idempotency-Key", "k1"), ("Fencing-Token", "1")];
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4).map(|_| scope.spawn(|| shop.post("orders", "restart", &headers, "{}"))).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    let later = shop.post("orders", "restart", &headers, "");
    assert!(answers.iter().all(|answer| *answer == later), "{answers:?}");
    let (status, answer) = later;
    assert_eq!(status, 200);
    let expected =
        json!({ "key": "k1", "effect": "restart", "service": "orders", "generation": 2, "version": "1.1.0" });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&answer[name], value, "{name}");
    }
    let effects = shop.effects();
    assert_eq!(effects.len(), 1);
    assert_eq!((&effects[0]["by"], &effects[0]["token"]), (&json!("responder"), &json!(1)));
    let (_, operation) = get(&format!("{}/v1/operations/k1", shop.control));
    assert_eq!((&operation["state"], &operation["result"]), (&json!("done"), &answer));
    assert_eq!(get(&format!("{}/v1/operations/k2", shop.control)).0, 404);
}

#[test]
fn an_old_token_starts_nothing_and_a_fence_makes_tokens_old() {
    let shop = Shop::start();
    let restart = |key: &str, token: &str| {
        let headers = [RESPONDER, ("Idempotency-Key", key), ("Fencing-Token", token)];
        shop.post("ledger", "restart", &headers, "{}")
    };
    assert_eq!(restart("a", "3").0, 200);
    assert_eq!(restart("b", "2").0, 409);
    assert_eq!(shop.post("ledger", "fence", &[], r#"{"token":7}"#).0, 200);
    let (status, answer) = restart("c", "6");
    assert_eq!((status, &answer["highest"]), (409, &json!(7)));
    assert_eq!(restart("a", "3").0, 200, "the answer of what is done already is no new effect");
    assert_eq!(restart("b", "7").0, 200, "a refused key is still free");
    assert_eq!(shop.post("ledger", "fence", &[], r#"{"token":1}"#).0, 409);
    assert_eq!(shop.effects().len(), 2);
    // Tokens belong to a service; another one has not seen any.
    let headers = [RESPONDER, ("Idempotency-Key", "d"), ("Fencing-Token", "1")];
    assert_eq!(shop.post("orders", "restart", &headers, "{}").0, 200);
}

#[test]
fn a_request_that_is_not_clear_does_nothing() {
    let shop = Shop::start();
    let token = ("Fencing-Token", "1");
    let key = |key| ("Idempotency-Key", key);
    for (service, verb, headers, body, status) in [
        // Who, under which name, with which token: all of it must be said.
        ("orders", "restart", vec![key("a"), token], "{}", 400),
        ("orders", "restart", vec![RESPONDER, token], "{}", 400),
        ("orders", "restart", vec![RESPONDER, key("a")], "{}", 400),
        ("orders", "restart", vec![RESPONDER, key("a"), ("Fencing-Token", "x")], "{}", 400),
        // What: nothing more than the operation knows, and on something that exists.
        ("orders", "restart", vec![RESPONDER, key("a"), token], r#"{"to":"1.0.0"}"#, 400),
        ("orders", "deploy", vec![RESPONDER, key("a"), token], "{}", 400),
        ("orders", "explode", vec![RESPONDER, key("a"), token], "{}", 404),
        ("shelf", "restart", vec![RESPONDER, key("a"), token], "{}", 404),
        ("orders", "restart", vec![RESPONDER, key("a"), token], "no json", 400),
        ("orders", "rollback", vec![RESPONDER, key("r"), token], r#"{"to":"9.9.9"}"#, 500),
    ] {
        assert_eq!(shop.post(service, verb, &headers, body).0, status, "{verb} of {service} {headers:?} {body}");
    }
    assert!(shop.effects().is_empty());
    assert_eq!(shop.post("orders", "restart", &[RESPONDER, key("a"), token], "{}").0, 200);
    assert_eq!(shop.post("orders", "rollback", &[RESPONDER, key("a"), token], "{}").0, 422, "another wish, same key");
    assert_eq!(shop.effects().len(), 1);
}

#[test]
fn an_operation_goes_on_when_the_asker_hangs_up_before_the_held_answer() {
    let shop = Shop::start();
    let knobs = request("POST", &format!("{}/v1/knobs", shop.fault), &[], r#"{"hold_reply_ms":600000}"#, SOON);
    assert_eq!(knobs.unwrap().0, 200);
    let url = format!("{}/v1/services/orders/rollback", shop.control);
    let headers = [RESPONDER, ("Idempotency-Key", "held"), ("Fencing-Token", "1")];
    let asker = send("POST", &url, &headers, "{}").unwrap();
    let operation = format!("{}/v1/operations/held", shop.control);
    until("it began", || get(&operation).0 == 200);
    drop(asker);
    until("it is done", || get(&operation).1["state"] == "done");
    assert_eq!(shop.effects().len(), 1);
    assert_eq!(shop.view("orders")["version"], "1.0.0");
    // Asking again gives the answer at once: only the first reply was held.
    assert_eq!(shop.post("orders", "rollback", &headers, "{}").0, 200);
}

#[test]
fn deploy_and_rollback_move_along_the_history_and_show_as_changes() {
    let shop = Shop::start();
    let next = r#"{"version":"1.2.0","extra_latency_ms":[0.0,0.0],"error_ratio":0.0,"notes":""}"#;
    std::fs::write(shop.run.path().join("versions/inventory/1.2.0.json"), next).unwrap();
    shop.operate("inventory", "deploy", r#"{"version":"1.2.0"}"#);
    let versions = |view: Value| (view["version"].clone(), view["previous_version"].clone());
    assert_eq!(versions(shop.view("inventory")), (json!("1.2.0"), json!("1.1.0")));
    shop.operate("inventory", "rollback", "");
    assert_eq!(versions(shop.view("inventory")), (json!("1.1.0"), json!("1.0.0")));
    shop.operate("inventory", "deploy", r#"{"version":"1.2.0"}"#);
    shop.operate("inventory", "rollback", r#"{"to":"1.0.0"}"#);
    assert_eq!(versions(shop.view("inventory")), (json!("1.0.0"), Value::Null));
    let (_, changes) = get(&format!("{}/v1/changes?after=2", shop.control));
    let told: Vec<_> =
        changes["changes"].as_array().unwrap().iter().map(|c| (&c["seq"], &c["kind"], &c["to"])).collect();
    let expected = [(json!(3), json!("deploy"), json!("1.2.0")), (json!(4), json!("rollback"), json!("1.0.0"))];
    assert_eq!(told, expected.iter().map(|(a, b, c)| (a, b, c)).collect::<Vec<_>>());
    assert_eq!(changes["head"], 4);
}

#[test]
fn deployments_and_rollbacks_of_healthy_services_lose_no_request() {
    let shop = Shop::start();
    let _load = shop.load("100");
    until("clients get answers", || shop.clients().len() > 20);
    for service in ["ledger", "inventory", "orders", "gateway"] {
        shop.operate(service, "deploy", r#"{"version":"1.0.0"}"#);
        shop.operate(service, "rollback", r#"{"to":"1.1.0"}"#);
    }
    let n = shop.clients().len();
    until("clients have gone on", || shop.clients().len() > n + 50);
    let clients = shop.clients();
    let failed: Vec<_> = clients.iter().filter(|client| client["status"] != 200).collect();
    assert!(failed.is_empty(), "{} of {}: {failed:?}", failed.len(), clients.len());
}

#[test]
fn a_crashed_service_stays_down_until_told_and_says_so() {
    let shop = Shop::start();
    shop.strike("crash", "ledger");
    until("it is down", || shop.view("ledger")["state"] == "down");
    let gateway = format!("{}/checkout", shop.view("gateway")["url"].as_str().unwrap());
    assert_eq!(get(&gateway).0, 502);
    let page = get(&format!("{}/metrics", shop.view("inventory")["url"].as_str().unwrap())).1;
    let line = "downstream_requests_total{service=\"inventory\",peer=\"ledger\",code=\"refused\"} 1";
    assert!(page.as_str().unwrap().contains(line), "{page}");
    let log = lines(&shop.run.path().join("logs/inventory.jsonl"));
    let told = log.iter().find(|line| line["level"] == "warn").unwrap();
    assert_eq!((&told["msg"], &told["peer"]), (&json!("ledger refused the connection"), &json!("ledger")));
    assert!(told["ts"].as_str().unwrap().len() == "2026-01-01T00:00:00.000000000Z".len());
    assert_eq!(shop.view("ledger")["state"], "down");
    shop.operate("ledger", "restart", "");
    assert_eq!(get(&gateway).0, 200);
}

#[test]
fn nobody_outlives_the_shop() {
    let mut shop = Shop::start();
    let run = shop.run.path().to_str().unwrap().to_owned();
    assert_eq!(processes_with(&run), 5);
    shop.strike("hang", "orders");
    shop.player.kill();
    until("all services are gone, the hung one too", || processes_with(&run) == 0);
}
