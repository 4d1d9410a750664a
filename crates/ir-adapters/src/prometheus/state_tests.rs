//! Alerts and targets: recorded answers, and a server that changes its mind.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ir_core::{Clock as _, Ctx, Cursor, ErrorKind, EventKind, ManualClock, MetricKind, Polled, SignalSource as _};
use serde_json::{Value, json};

use super::tests::{Double, recorded};
use super::{PrometheusState, PrometheusStateConfig};

fn alert(name: &str, job: &str, state: &str, active_at: &str) -> Value {
    json!({ "labels": { "alertname": name, "job": job }, "annotations": { "summary": "it is so" }, "state": state,
        "activeAt": active_at, "value": "1e+00" })
}

fn rule(name: &str, health: &str, alerts: &[Value]) -> Value {
    json!({ "name": name, "health": health, "lastError": "too many samples\n", "alerts": alerts, "type": "alerting" })
}

struct Stage {
    rules: Arc<Mutex<Vec<Value>>>,
    source: PrometheusState,
    clock: Arc<ManualClock>,
    ctx: Ctx,
    cursor: Cursor,
}

impl Stage {
    async fn new(change: impl FnOnce(&mut PrometheusStateConfig)) -> Self {
        let rules: Arc<Mutex<Vec<Value>>> = Arc::default();
        let shared = rules.clone();
        let double = Double::start(move |target| match target {
            "/prom/api/v1/targets?state=active" => (200, recorded("targets_active").body.to_vec()),
            "/prom/api/v1/rules?type=alert" => {
                let rules = shared.lock().unwrap().clone();
                (
                    200,
                    json!({ "status": "success", "data": { "groups": [{ "rules": rules }] } }).to_string().into_bytes(),
                )
            }
            target => panic!("{target}"),
        })
        .await;
        let mut config = PrometheusStateConfig { url: double.url.clone(), targets: false, ..Default::default() };
        change(&mut config);
        let clock = Arc::new(ManualClock::new());
        // A little after what was recorded.
        clock.set_wall("2026-11-20T23:00:00Z".parse().unwrap());
        let ctx = Ctx::new(clock.clone());
        Self { rules, source: PrometheusState::new(config).unwrap(), clock, ctx, cursor: Cursor::default() }
    }

    async fn poll(&mut self, rules: &[Value]) -> Polled {
        *self.rules.lock().unwrap() = rules.to_vec();
        self.clock.advance(Duration::from_secs(15));
        let polled = self.source.poll(&self.ctx, &self.cursor).await.unwrap();
        self.cursor = polled.next.clone();
        polled
    }

    /// What changed: entity, name, whether it fires.
    async fn changes(&mut self, rules: &[Value]) -> Vec<(String, String, bool)> {
        let polled = self.poll(rules).await;
        let now = self.clock.now().wall;
        let change = |event: &ir_core::EventRecord| {
            let EventKind::Alert(state) = &event.kind else { panic!("{event:?}") };
            assert_eq!(event.at, now);
            (event.entity.to_string(), event.name.clone(), state.firing)
        };
        polled.batch.events.iter().map(change).collect()
    }
}

const EARLY: &str = "2026-11-20T21:46:28.729412273Z";
const LATE: &str = "2026-11-20T22:46:28Z";

#[tokio::test]
async fn an_alert_comes_when_it_begins_and_when_it_ends() {
    let mut stage = Stage::new(|_| {}).await;
    let (down, slow) = (alert("Down", "web", "firing", EARLY), alert("Slow", "db", "firing", EARLY));
    let pending = alert("Down", "db", "pending", EARLY);
    let is = |entity: &str, name: &str, firing: bool| (entity.to_owned(), name.to_owned(), firing);
    assert_eq!(stage.changes(&[rule("Down", "ok", &[])]).await, []);
    let rules = [rule("Down", "ok", &[down.clone(), pending]), rule("Slow", "ok", std::slice::from_ref(&slow))];
    assert_eq!(stage.changes(&rules).await, [is("web", "Down", true), is("db", "Slow", true)]);
    assert_eq!(stage.changes(&rules).await, [], "it is told once");
    // One ends. The other has another beginning, as after every restart of the server: it goes on.
    let anew = alert("Slow", "db", "firing", LATE);
    let rules = [rule("Down", "ok", &[]), rule("Slow", "ok", &[anew])];
    let changes = stage.changes(&rules).await;
    assert_eq!(changes, [is("web", "Down", false)]);
    // A rule that was taken away has no alerts.
    assert_eq!(stage.changes(&[]).await, [is("db", "Slow", false)]);
    assert_eq!(stage.changes(&[]).await, []);
}

#[tokio::test]
async fn a_restarted_server_or_a_rule_that_fails_ends_no_alert() {
    let mut stage = Stage::new(|_| {}).await;
    let down = alert("Down", "web", "firing", EARLY);
    assert_eq!(stage.changes(&[rule("Down", "ok", std::slice::from_ref(&down))]).await.len(), 1);
    // Not evaluated yet; pending until the server remembers; cannot be evaluated.
    assert_eq!(stage.changes(&[rule("Down", "unknown", &[])]).await, []);
    assert_eq!(stage.changes(&[rule("Down", "ok", &[alert("Down", "web", "pending", LATE)])]).await, []);
    let polled = stage.poll(&[rule("Down", "err", &[])]).await;
    assert!(polled.batch.is_empty() && polled.problems == ["rule `Down` cannot be evaluated: too many samples "]);
    assert_eq!(stage.changes(&[rule("Down", "ok", std::slice::from_ref(&down))]).await, []);
    assert_eq!(stage.changes(&[rule("Down", "ok", &[])]).await.len(), 1);
}

#[tokio::test]
async fn alerts_of_nobody_and_beyond_the_bound_are_counted_once() {
    let mut stage = Stage::new(|config| config.max_alerts = 2).await;
    let nobody = json!({ "labels": { "alertname": "X" }, "state": "firing", "activeAt": EARLY });
    let timeless = alert("X", "web", "firing", "soon");
    let many: Vec<Value> = ["a", "b"].iter().map(|job| alert("X", job, "firing", EARLY)).collect();
    let rules = [rule("X", "ok", &[nobody, timeless]), rule("X", "ok", &many)];
    let polled = stage.poll(&rules).await;
    assert_eq!((polled.batch.events.len(), polled.dropped, polled.problems.len()), (2, 2, 2), "{:?}", polled.problems);
    assert_eq!(stage.poll(&rules).await.dropped, 0);
    let third = rule("X", "ok", &[alert("X", "c", "firing", EARLY)]);
    let polled = stage.poll(&[&rules[..], &[third]].concat()).await;
    assert_eq!((polled.batch.events.len(), polled.dropped), (0, 1));
}

#[tokio::test]
async fn recorded_alerts_and_targets_are_read() {
    let recorded_rules = recorded("rules_alert");
    let rules: Value = serde_json::from_slice(&recorded_rules.body).unwrap();
    let mut stage = Stage::new(|config| (config.targets, config.drop_labels) = (true, vec!["instance".into()])).await;
    let polled = stage.poll(rules["data"]["groups"][0]["rules"].as_array().unwrap()).await;
    let event = &polled.batch.events[0];
    let EventKind::Alert(state) = &event.kind else { panic!("{event:?}") };
    assert_eq!((event.entity.as_str(), event.name.as_str(), state.firing), ("payments", "TargetDown", true));
    assert_eq!(state.since, EARLY.parse().unwrap());
    assert_eq!(event.fields.get("summary"), Some("dead target 127.0.0.1:1 is down"));
    let ups: Vec<(&str, f64)> =
        polled.batch.metrics.iter().map(|sample| (sample.series.entity.as_str(), sample.value)).collect();
    assert_eq!(ups, [("payments", 0.0), ("checkout", 1.0), ("prometheus", 1.0)]);
    let series = &polled.batch.metrics[1].series;
    assert_eq!((series.kind, series.labels.to_string().as_str()), (MetricKind::Up, "{env=\"prod\",job=\"node\"}"));
    assert!(polled.problems[0].contains("`payments` is not up: Get") && polled.dropped == 0, "{:?}", polled.problems);
}

#[tokio::test]
async fn a_server_that_is_away_or_talks_nonsense_is_an_error_and_so_is_a_foreign_cursor() {
    for (status, body, kind) in [
        (503, "", ErrorKind::Unavailable),
        (200, "{", ErrorKind::Unavailable),
        (200, r#"{"data":{"groups":[{"rules":[{"alerts":{}}]}]}}"#, ErrorKind::Unavailable),
        (404, "", ErrorKind::InvalidConfig),
    ] {
        let double = Double::start(move |_| (status, body.as_bytes().to_vec())).await;
        let config = PrometheusStateConfig { url: double.url.clone(), ..Default::default() };
        let source = PrometheusState::new(config).unwrap();
        let ctx = Ctx::new(Arc::new(ManualClock::new()));
        assert_eq!(source.poll(&ctx, &Cursor::default()).await.unwrap_err().kind(), kind, "{status} {body}");
        assert_eq!(source.poll(&ctx, &Cursor::new("{\"a\":1}")).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn all_mistakes_of_a_configuration_are_told() {
    let config = PrometheusStateConfig {
        name: "no name".into(),
        url: "http://h/?a=b".into(),
        alerts: false,
        targets: false,
        entity_labels: Vec::new(),
        max_alerts: 0,
        ..Default::default()
    };
    assert_eq!(PrometheusState::new(config).unwrap_err().problems().len(), 5);
}

#[tokio::test]
async fn an_alert_or_a_target_that_cannot_be_read_costs_itself_alone() {
    let mut stage = Stage::new(|_| {}).await;
    let mut bare = alert("Bare", "web", "firing", EARLY);
    bare["annotations"] = Value::Null;
    let mut empty = alert("Empty", "", "firing", EARLY);
    empty["labels"]["service"] = json!("");
    let mut blank = alert("Blank", "", "firing", EARLY);
    blank["labels"]["service"] = json!("Payment Service");
    let mut stateless = alert("Stateless", "web", "firing", EARLY);
    stateless["state"] = Value::Null;
    let polled = stage.poll(&[rule("R", "ok", &[json!(7), bare, stateless, empty, blank])]).await;
    let entities: Vec<_> = polled.batch.events.iter().map(|event| event.entity.as_str()).collect();
    assert_eq!((entities, polled.dropped), (vec!["web", "Payment-Service"], 3));
    // One that cannot be read may be one that fires: none of its rule is over.
    let polled = stage.poll(&[rule("Bare", "ok", &[json!(7)])]).await;
    assert_eq!(polled.batch.events.iter().filter(|event| event.name == "Bare").count(), 0);
    let mut without = rule("Bare", "ok", &[]);
    without["alerts"] = Value::Null;
    assert_eq!(stage.poll(&[without]).await.batch.events.len(), 1);
}

#[tokio::test]
async fn a_beginning_that_cannot_be_is_the_time_of_the_poll() {
    let mut stage = Stage::new(|_| {}).await;
    let rules = [rule("R", "ok", &[alert("Ahead", "web", "firing", "2262-01-01T00:00:00Z")])];
    let polled = stage.poll(&rules).await;
    let EventKind::Alert(state) = &polled.batch.events[0].kind else { panic!() };
    assert_eq!(state.since, stage.clock.now().wall);
    assert!(polled.problems[0].contains("too far in the future"), "{:?}", polled.problems);
    assert_eq!(stage.changes(&rules).await, [], "it is told once");
}
