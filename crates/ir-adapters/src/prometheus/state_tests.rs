//! Alerts and targets: recorded answers, and a server that changes its mind.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ir_core::{
    Clock as _, Ctx, Cursor, ErrorKind, EventKind, GoneReason, ManualClock, MetricKind, Polled, SignalSource as _,
};
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
            "/prom/api/v1/status/runtimeinfo" => (404, Vec::new()),
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

/// What a server lists, answer by answer.
#[derive(Debug, Clone, Default)]
struct Listed {
    active: Vec<Value>,
    dropped: Vec<Value>,
    started: &'static str,
    /// The status of the answers about targets, and about the process.
    status: (u16, u16),
}

struct Discovery {
    listed: Arc<Mutex<Listed>>,
    source: PrometheusState,
    clock: Arc<ManualClock>,
    cursor: Cursor,
}

fn target(job: &str, address: &str) -> Value {
    json!({ "discoveredLabels": { "job": job, "__address__": address }, "labels": { "job": job, "instance": address },
        "health": "up" })
}

impl Discovery {
    async fn new(change: impl FnOnce(&mut PrometheusStateConfig)) -> Self {
        let listed = Arc::new(Mutex::new(Listed { started: "then", status: (200, 200), ..Listed::default() }));
        let shared = listed.clone();
        let double = Double::start(move |target| {
            let listed = shared.lock().unwrap().clone();
            let (status, data) = match target {
                "/prom/api/v1/targets?state=active" => (listed.status.0, json!({ "activeTargets": listed.active })),
                "/prom/api/v1/targets?state=dropped" => (listed.status.0, json!({ "droppedTargets": listed.dropped })),
                "/prom/api/v1/status/runtimeinfo" => (listed.status.1, json!({ "startTime": listed.started })),
                target => panic!("{target}"),
            };
            (status, json!({ "status": "success", "data": data }).to_string().into_bytes())
        })
        .await;
        let mut config = PrometheusStateConfig { url: double.url.clone(), alerts: false, ..Default::default() };
        change(&mut config);
        let source = PrometheusState::new(config).unwrap();
        Self { listed, source, clock: Arc::new(ManualClock::new()), cursor: Cursor::default() }
    }

    /// The entities that are gone with one more poll.
    async fn poll(&mut self) -> Vec<String> {
        self.clock.advance(Duration::from_secs(15));
        let polled = self.source.poll(&Ctx::new(self.clock.clone()), &self.cursor).await;
        let Ok(polled) = polled else { return vec!["failed".to_owned()] };
        self.cursor = polled.next;
        let now = self.clock.now().wall;
        assert!(polled.batch.gone.iter().all(|gone| gone.at == now && gone.reason == GoneReason::Undiscovered));
        polled.batch.gone.iter().map(|gone| gone.entity.to_string()).collect()
    }

    fn set(&self, change: impl FnOnce(&mut Listed)) {
        change(&mut self.listed.lock().unwrap());
    }

    fn list(&self, targets: &[(&str, &str)]) {
        self.set(|listed| listed.active = targets.iter().map(|(job, address)| target(job, address)).collect());
    }
}

const NONE: [&str; 0] = [];

/// What changes at the server.
type Turn = fn(&mut Listed);

#[tokio::test]
async fn an_entity_without_targets_in_two_answers_is_gone_once_and_may_come_back() {
    let mut discovery = Discovery::new(|_| {}).await;
    discovery.list(&[("web", "a:1"), ("web", "b:1"), ("db", "c:1")]);
    assert_eq!(discovery.poll().await, NONE);
    // One of two instances is no entity.
    discovery.list(&[("web", "b:1"), ("db", "c:1")]);
    assert_eq!([discovery.poll().await, discovery.poll().await], [NONE, NONE]);
    discovery.list(&[("db", "c:1")]);
    assert_eq!(discovery.poll().await, NONE);
    let before = discovery.cursor.clone();
    assert_eq!(discovery.poll().await, ["web"]);
    // The same cursor again gives the same again.
    discovery.cursor = before;
    assert_eq!(discovery.poll().await, ["web"]);
    assert_eq!(discovery.poll().await, NONE);
    discovery.list(&[("db", "c:1"), ("web", "d:1")]);
    assert_eq!(discovery.poll().await, NONE);
    discovery.list(&[("web", "d:1")]);
    assert_eq!(discovery.poll().await, NONE);
    // Once is chance.
    discovery.list(&[("db", "c:1"), ("web", "d:1")]);
    assert_eq!(discovery.poll().await, NONE);
    discovery.list(&[]);
    assert_eq!(discovery.poll().await, NONE);
    assert_eq!(discovery.poll().await, ["db", "web"]);
}

#[tokio::test]
async fn an_answer_that_fails_or_is_not_complete_makes_nothing_gone() {
    // One row a reason. Each says nothing as long as it lasts, and the poll after it counts from the beginning.
    let rows: [(&str, Turn, Turn); 5] = [
        ("the targets fail", |listed| listed.status.0 = 503, |listed| listed.status.0 = 200),
        ("the server says nothing of itself", |listed| listed.status.1 = 404, |listed| listed.status.1 = 200),
        ("one cannot be read", |listed| listed.active.push(json!(7)), |listed| drop(listed.active.pop())),
        ("one has no name", |listed| listed.active.push(json!({ "labels": {} })), |listed| drop(listed.active.pop())),
        (
            "too many",
            |listed| listed.active.extend(["x:1", "y:1", "z:1"].map(|address| target("db", address))),
            |listed| listed.active.truncate(1),
        ),
    ];
    for (reason, begins, ends) in rows {
        let mut discovery = Discovery::new(|config| config.max_targets = 3).await;
        discovery.list(&[("web", "a:1"), ("db", "c:1")]);
        discovery.poll().await;
        discovery.list(&[("db", "c:1")]);
        discovery.set(begins);
        for _ in 0..4 {
            assert!(!discovery.poll().await.contains(&"web".to_owned()), "{reason}");
        }
        discovery.set(ends);
        assert_eq!(discovery.poll().await, NONE, "{reason}");
        assert_eq!(discovery.poll().await, ["web"], "{reason}");
    }
}

#[tokio::test]
async fn what_relabelling_drops_or_a_restarted_server_does_not_list_yet_is_not_gone() {
    let mut discovery = Discovery::new(|_| {}).await;
    discovery.list(&[("web", "a:1"), ("db", "c:1")]);
    discovery.poll().await;
    discovery.set(|listed| listed.dropped = vec![target("web", "a:1")]);
    discovery.list(&[("db", "c:1")]);
    for _ in 0..4 {
        assert_eq!(discovery.poll().await, NONE);
    }
    // Now it is discovered no more, which is looked for at the second, fourth, eighth answer without it.
    discovery.set(|listed| listed.dropped.clear());
    for _ in 0..3 {
        assert_eq!(discovery.poll().await, NONE);
    }
    assert_eq!(discovery.poll().await, ["web"]);
    discovery.set(|listed| listed.started = "now");
    discovery.list(&[]);
    for _ in 0..4 {
        assert_eq!(discovery.poll().await, NONE);
    }
    discovery.list(&[("db", "c:1")]);
    assert_eq!(discovery.poll().await, NONE);
    discovery.list(&[]);
    assert_eq!([discovery.poll().await, discovery.poll().await], [vec![], vec!["db".to_owned()]]);
}

#[tokio::test]
async fn a_host_that_does_not_want_it_asks_nothing_more() {
    let mut discovery = Discovery::new(|config| config.gone = false).await;
    discovery.list(&[("web", "a:1")]);
    discovery.poll().await;
    discovery.list(&[]);
    assert_eq!([discovery.poll().await, discovery.poll().await], [NONE, NONE]);
}
