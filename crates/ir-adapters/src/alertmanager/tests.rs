//! What the real Alertmanager sent, and what no sound one would.

use std::time::Duration;

use ir_core::testkit::signal as laws;
use ir_core::{EventKind, EventRecord, ManualClock, Secret};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::hook::{SigningKey, Token};

const TOKEN: &str = "a-token-of-some-length";

fn config() -> AlertmanagerConfig {
    AlertmanagerConfig { max_alerts: 100, max_bytes: 64 << 10, max_waiting: 1_000, ..AlertmanagerConfig::default() }
}

fn source(config: AlertmanagerConfig) -> (AlertmanagerSource, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    // A little after what was recorded.
    clock.set_wall("2026-11-20T22:00:00Z".parse().unwrap());
    let ctx = Ctx::new(clock.clone());
    let auth = HookAuth::Bearer(Token::new(&Secret::new(TOKEN)).unwrap());
    (AlertmanagerSource::new(&ctx, config, auth).unwrap(), clock)
}

/// What the real one posted.
fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/alertmanager/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let exchange: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    exchange["request"]["body"].clone()
}

fn post(source: &AlertmanagerSource, body: &Value) -> u16 {
    post_bytes(source, body.to_string().as_bytes())
}

fn post_bytes(source: &AlertmanagerSource, body: &[u8]) -> u16 {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    source.0.take(&headers, body)
}

async fn poll(source: &AlertmanagerSource, cursor: &Cursor) -> Polled {
    source.poll(&source.0.ctx, cursor).await.unwrap()
}

async fn all(source: &AlertmanagerSource) -> Polled {
    poll(source, &Cursor::default()).await
}

fn told(polled: &Polled) -> Vec<(&str, &str, bool)> {
    let of = |event: &'_ EventRecord| match &event.kind {
        EventKind::Alert(alert) => alert.firing,
        other => panic!("{other:?}"),
    };
    polled.batch.events.iter().map(|event| (event.entity.as_str(), event.name.as_str(), of(event))).collect()
}

fn alert(n: usize) -> Value {
    json!({
        "status": "firing",
        "labels": { "alertname": format!("A{n}"), "service": "web" },
        "annotations": {},
        "startsAt": "2026-11-20T21:46:30.729Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": format!("{n:016x}"),
    })
}

fn notification(alerts: impl IntoIterator<Item = Value>) -> Value {
    json!({ "version": "4", "status": "firing", "alerts": alerts.into_iter().collect::<Vec<_>>() })
}

#[tokio::test]
async fn what_alertmanager_sent_is_read_by_each_alerts_own_status() {
    let (source, _) = source(config());
    assert_eq!(post(&source, &recorded("from_prometheus_rule_mixed")), 200);
    assert_eq!(told(&all(&source).await), [("payments", "TargetDown", true), ("checkout", "TargetDown", false)]);
    let event = &all(&source).await.batch.events[0];
    assert_eq!(event.fields.get("summary"), Some("dead target 127.0.0.1:1 is down"));
    let EventKind::Alert(state) = &event.kind else { panic!("{event:?}") };
    assert_eq!(
        (state.key.as_str(), state.since.to_string().as_str()),
        ("bf30f07e341854b7", "2026-11-20T21:46:30.729000000Z")
    );
}

#[tokio::test]
async fn a_group_changes_one_alert_at_a_time_and_repetitions_are_passed_over() {
    let (source, clock) = source(config());
    for name in ["group3_firing", "group3_firing", "group3_mixed", "group3_resolved", "group3_resolved"] {
        assert_eq!(post(&source, &recorded(name)), 200);
        clock.advance(Duration::from_secs(1));
    }
    let firing: Vec<bool> = told(&all(&source).await).iter().map(|(_, _, firing)| *firing).collect();
    assert_eq!(firing, [true, true, true, false, false, false]);
    // Later than that it is news: whoever heard nothing since would take it for over.
    clock.advance(Duration::from_secs(60));
    assert_eq!(post(&source, &recorded("group3_firing")), 200);
    assert_eq!(all(&source).await.batch.events.len(), 9);
}

#[tokio::test]
async fn what_was_refused_for_want_of_room_is_taken_when_it_comes_again() {
    let (source, _) = source(AlertmanagerConfig { max_alerts: 3, max_waiting: 3, ..config() });
    assert_eq!(post(&source, &recorded("single_firing")), 200);
    assert_eq!(post(&source, &recorded("group3_firing")), 503);
    let polled = all(&source).await;
    assert_eq!(polled.batch.events.len(), 1);
    poll(&source, &polled.next).await;
    assert_eq!(post(&source, &recorded("group3_firing")), 200);
    assert_eq!(poll(&source, &polled.next).await.batch.events.len(), 3);
}

#[tokio::test]
async fn what_was_left_out_or_belongs_to_nobody_is_counted() {
    let (source, _) = source(config());
    // One of three, the other two cut off; and it names no service.
    assert_eq!(post(&source, &recorded("truncated_firing")), 200);
    assert_eq!(post(&source, &recorded("no_alertname_empty_group_firing")), 200);
    assert_eq!(post(&source, &recorded("quoted_unicode_firing")), 200);
    let polled = all(&source).await;
    assert_eq!((polled.batch.len(), polled.dropped), (0, 5));
    assert!(polled.problems.iter().any(|p| p.contains("left out 2")), "{:?}", polled.problems);
    assert!(polled.problems.iter().all(|p| !p.contains('\n')), "{:?}", polled.problems);
    // Counted once: what was given out does not come again behind its cursor.
    assert_eq!(poll(&source, &polled.next).await.dropped, 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_counted_once() {
    let (source, _) = source(config());
    let bodies: [&[u8]; 6] = [b"", b"{", b"[]", b"{\"alerts\": 3}", &[0xff; 64], &[b'['; 10_000]];
    for body in bodies {
        assert_eq!(post_bytes(&source, body), 400);
    }
    assert_eq!(all(&source).await.dropped, 6);
    let mut odd = alert(1);
    odd["startsAt"] = json!("yesterday");
    let mut nobody = alert(2);
    nobody["labels"]["service"] = json!("no such\u{0}name ".repeat(500));
    assert_eq!(post(&source, &notification([odd, nobody, alert(3)])), 200);
    let polled = all(&source).await;
    assert_eq!((polled.batch.events.len(), polled.dropped), (1, 8));
    assert!(polled.problems.iter().all(|p| p.len() < 8 << 10));
}

#[tokio::test]
async fn a_flood_is_bounded_in_number_and_bytes() {
    let (source, _) = source(AlertmanagerConfig { max_waiting: 200, max_waiting_bytes: 1 << 20, ..config() });
    let big = |n: usize| {
        let mut alert = alert(n);
        for label in 0..200 {
            alert["labels"][format!("label{label}")] = json!("x".repeat(200));
        }
        alert
    };
    let mut statuses = std::collections::BTreeMap::new();
    for n in 0..1_000 {
        *statuses.entry(post(&source, &notification([big(n)]))).or_insert(0) += 1;
    }
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [200, 503]);
    let held: usize =
        all(&source).await.batch.events.iter().flat_map(|e| e.fields.iter()).map(|(k, v)| k.len() + v.len()).sum();
    assert!(held < 1 << 20, "{held} bytes wait");
    // More alerts in one notification than allowed.
    let (source, _) = self::source(config());
    assert_eq!(post(&source, &notification((0..150).map(alert))), 200);
    let polled = all(&source).await;
    assert_eq!((polled.batch.events.len(), polled.dropped), (100, 50));
}

#[tokio::test]
async fn a_state_in_between_makes_the_same_report_news() {
    let (source, clock) = source(config());
    let mut resolved = alert(1);
    resolved["status"] = json!("resolved");
    for alert in [alert(1), resolved.clone(), alert(1), resolved, alert(1)] {
        assert_eq!(post(&source, &notification([alert])), 200);
        clock.advance(Duration::from_secs(20));
    }
    let firing: Vec<bool> = told(&all(&source).await).iter().map(|(_, _, firing)| *firing).collect();
    assert_eq!(firing, [true, false, true, false, true]);
    // Repetitions do not prolong the while in which they are passed over: one comes within 60 s after the last that was given.
    for _ in 0..4 {
        assert_eq!(post(&source, &notification([alert(1)])), 200);
        clock.advance(Duration::from_secs(20));
    }
    assert_eq!(all(&source).await.batch.events.len(), 6);
}

#[tokio::test]
async fn an_alert_that_cannot_be_read_costs_itself_alone() {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut bad = alert(7);
        change(&mut bad);
        bad
    };
    let bad: [Value; 9] = [
        changed(&|alert| drop(alert.as_object_mut().unwrap().remove("startsAt"))),
        changed(&|alert| alert["startsAt"] = Value::Null),
        // What a program writes that does not know the time.
        changed(&|alert| alert["startsAt"] = json!("0001-01-01T00:00:00Z")),
        changed(&|alert| alert["status"] = json!("suppressed")),
        changed(&|alert| alert["status"] = json!(1)),
        changed(&|alert| alert["labels"] = Value::Null),
        changed(&|alert| alert["labels"] = json!([])),
        Value::Null,
        json!("alert"),
    ];
    let (source, _) = source(config());
    let alerts = bad.iter().cloned().enumerate().flat_map(|(n, bad)| [bad, alert(n + 10)]);
    assert_eq!(post(&source, &notification(alerts)), 200);
    let polled = all(&source).await;
    assert_eq!((polled.batch.events.len(), polled.dropped), (9, 9));
    // All of them alone.
    let (source, _) = self::source(config());
    assert_eq!(post(&source, &notification(bad)), 200);
    let polled = all(&source).await;
    assert_eq!((polled.batch.events.len(), polled.dropped), (0, 9));
}

#[tokio::test]
async fn what_is_not_there_may_be_null() {
    let (source, _) = source(config());
    for body in ["{\"alerts\":null}", "{\"alerts\":[]}", "{\"alerts\":null,\"truncatedAlerts\":null}"] {
        assert_eq!(post_bytes(&source, body.as_bytes()), 200, "{body}");
    }
    assert_eq!(all(&source).await, Polled { next: all(&source).await.next, ..Polled::default() });
    let mut bare = alert(1);
    for field in ["annotations", "endsAt", "fingerprint", "generatorURL"] {
        bare[field] = Value::Null;
    }
    bare["labels"]["zone"] = Value::Null;
    bare["labels"]["port"] = json!(80);
    // With the mark of an editor in front.
    let body = format!("\u{feff}{}", notification([bare]));
    assert_eq!(post_bytes(&source, body.as_bytes()), 200);
    let polled = all(&source).await;
    assert_eq!((polled.batch.events.len(), polled.dropped), (1, 0));
    assert_eq!(polled.batch.events[0].fields.get("port"), Some("80"));
    // Without the list it is no notification.
    assert_eq!(post_bytes(&source, b"{\"alert\":[]}"), 400);
}

#[tokio::test]
async fn entities_are_named_by_the_first_label_that_says_something() {
    let (source, _) = source(config());
    let labelled = |n: usize, labels: Value| {
        let mut alert = alert(n);
        alert["labels"] = labels;
        alert
    };
    let alerts = [
        labelled(1, json!({ "service": "", "job": "node" })),
        labelled(2, json!({ "service": "Payment Service" })),
        labelled(3, json!({ "service": "", "job": "" })),
        labelled(4, json!({ "service": " \t" })),
    ];
    assert_eq!(post(&source, &notification(alerts)), 200);
    let polled = all(&source).await;
    let entities: Vec<&str> = polled.batch.events.iter().map(|event| event.entity.as_str()).collect();
    assert_eq!(entities, ["node", "Payment-Service"]);
    assert_eq!(polled.batch.events[1].fields.get("service"), Some("Payment Service"));
    assert_eq!(polled.dropped, 2);
}

#[tokio::test]
async fn a_beginning_that_cannot_be_is_the_receipt() {
    let (source, clock) = source(config());
    let now = source.0.ctx.now().wall;
    for since in ["2262-04-11T00:00:00Z", "2026-11-20T23:00:00Z", "1970-01-21T10:53:45Z"] {
        let mut alert = alert(1);
        alert["startsAt"] = json!(since);
        assert_eq!(post(&source, &notification([alert.clone()])), 200);
        // It is the same alert when it is repeated.
        clock.advance(Duration::from_secs(1));
        assert_eq!(post(&source, &notification([alert])), 200);
    }
    assert_eq!(post(&source, &notification([alert(1)])), 200);
    let polled = all(&source).await;
    assert_eq!((polled.batch.events.len(), polled.dropped, polled.problems.len()), (4, 0, 3));
    for event in &polled.batch.events[..3] {
        let EventKind::Alert(alert) = &event.kind else { panic!("{event:?}") };
        assert!(alert.since >= now && alert.since == event.at, "{alert:?}");
    }
}

#[tokio::test]
async fn every_request_that_does_not_come_again_is_counted() {
    let (ctx, stop) = Ctx::stoppable(Arc::new(crate::SystemClock::new()));
    let auth = HookAuth::Bearer(Token::new(&Secret::new(TOKEN)).unwrap());
    let source = AlertmanagerSource::new(&ctx, config(), auth).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn({
        let (source, ctx) = (source.clone(), ctx.clone());
        async move { source.serve(&ctx, listener).await }
    });
    let auth = format!("authorization: Bearer {TOKEN}\r\n");
    let large = notification((0..70).map(|n| {
        let mut alert = alert(n);
        alert["annotations"]["description"] = json!("x".repeat(1_000));
        alert
    }));
    let rows: [(&str, String, Vec<u8>, u16); 5] = [
        ("too large", auth.clone(), large.to_string().into_bytes(), 413),
        ("too large, of whom nothing is known", String::new(), large.to_string().into_bytes(), 413),
        ("deflate", format!("{auth}content-encoding: deflate\r\n"), b"x".to_vec(), 415),
        ("zstd", format!("{auth}content-encoding: zstd\r\n"), b"x".to_vec(), 415),
        ("no JSON", auth.clone(), b"x".to_vec(), 400),
    ];
    for (what, headers, body, status) in rows {
        assert_eq!(request(address, &headers, &body).await, status, "{what}");
    }
    let polled = all(&source).await;
    assert_eq!((polled.dropped, source.refused()), (4, 1));
    assert!(polled.problems[0].contains("larger than 65536 bytes"), "{:?}", polled.problems);
    assert!(polled.problems[1].contains("deflate"), "{:?}", polled.problems);
    stop.stop();
    assert_eq!(serving.await.unwrap().unwrap_err().kind(), ir_core::ErrorKind::Stopped);
}

/// One request over a real connection; the status.
async fn request(address: std::net::SocketAddr, headers: &str, body: &[u8]) -> u16 {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    // The other side may have answered and hung up before all of it was written.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !answer.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "no answer");
        answer.extend_from_slice(&chunk[..n]);
    }
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn over_the_wire_only_who_may_send_is_heard() {
    let key = SigningKey::from_bytes(&[3; 32]).unwrap();
    let clock: Arc<dyn ir_core::Clock> = Arc::new(crate::SystemClock::new());
    let (ctx, stop) = Ctx::stoppable(clock);
    let auth = HookAuth::Signed(vec![key.clone()]);
    let source = AlertmanagerSource::new(&ctx, config(), auth).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn({
        let (source, ctx) = (source.clone(), ctx.clone());
        async move { source.serve(&ctx, listener).await }
    });
    let body = notification([alert(1)]).to_string();
    let now = ctx.now().wall.as_nanos() / 1_000_000_000;
    let signed = |id: &str, body: &str| {
        let signature = key.sign(id, now, body.as_bytes());
        format!("webhook-id: {id}\r\nwebhook-timestamp: {now}\r\nwebhook-signature: {signature}\r\n")
    };
    let zipped = format!("{}content-encoding: gzip\r\n", signed("z", &body));
    let huge = vec![b' '; 1 << 20];
    let rows: [(&str, String, &[u8], u16); 6] = [
        ("nothing to show", String::new(), body.as_bytes(), 401),
        ("a signature of something else", signed("a", "other"), body.as_bytes(), 401),
        ("signed", signed("a", &body), body.as_bytes(), 200),
        ("the same again", signed("a", &body), body.as_bytes(), 409),
        ("compressed", zipped, body.as_bytes(), 415),
        ("too large", signed("h", "x"), &huge, 413),
    ];
    for (what, headers, body, status) in rows {
        assert_eq!(request(address, &headers, body).await, status, "{what}");
    }
    // Without all of its content a signature proves nothing, so the large one counts among those.
    let polled = all(&source).await;
    assert_eq!((source.refused(), polled.batch.events.len(), polled.dropped), (4, 1, 1));
    assert!(polled.problems[0].contains("gzip"), "{:?}", polled.problems);
    stop.stop();
    assert_eq!(serving.await.unwrap().unwrap_err().kind(), ir_core::ErrorKind::Stopped);
}

struct Sender(AlertmanagerSource, std::sync::atomic::AtomicUsize);

#[async_trait]
impl laws::Supply for Sender {
    async fn add(&self, n: usize) {
        let first = self.1.fetch_add(n, Ordering::SeqCst);
        assert_eq!(post(&self.0, &notification((first..first + n).map(alert))), 200);
    }

    async fn spoil(&self, n: usize) -> u64 {
        let mut nobody = alert(0);
        nobody["labels"] = json!({});
        assert_eq!(post(&self.0, &notification(vec![nobody; n])), 200);
        n as u64
    }

    async fn hang(&self) -> bool {
        // A poll reads what was received; nobody is asked who could hang.
        false
    }
}

#[async_trait]
impl laws::Hostile for Sender {
    async fn feed(&self, what: laws::Hostility) -> Option<laws::Fed> {
        let changed = |field: &str, value: Value| {
            let mut alert = alert(9_000);
            alert[field] = value;
            alert
        };
        let (alerts, dropped) = match what {
            laws::Hostility::BadParts => {
                (vec![changed("startsAt", json!("x")), alert(9_001), Value::Null, alert(9_002)], 2)
            }
            laws::Hostility::WrongTimes => (
                vec![
                    changed("startsAt", json!("2262-01-01T00:00:00Z")),
                    changed("startsAt", json!("1970-01-01T00:00:00Z")),
                ],
                0,
            ),
            laws::Hostility::EmptyLabel => (vec![changed("labels", json!({ "service": "", "job": "node" }))], 0),
            laws::Hostility::StateBetween => {
                (vec![alert(9_000), changed("status", json!("resolved")), alert(9_000)], 0)
            }
            _ => return None,
        };
        let given = alerts.len() - usize::try_from(dropped).unwrap();
        assert_eq!(post(&self.0, &notification(alerts)), 200);
        Some(laws::Fed { given, dropped })
    }
}

#[tokio::test]
async fn it_keeps_the_laws_on_hostile_input() {
    let (first, _) = source(config());
    laws::check_hostile(&first.0.ctx.clone(), async || {
        let (source, _) = source(config());
        let supply: Box<dyn laws::Hostile> = Box::new(Sender(source.clone(), Default::default()));
        (Arc::new(source) as Arc<dyn SignalSource>, supply)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn it_keeps_the_laws_of_sources() {
    let ctx = Ctx::new(Arc::new(crate::SystemClock::new()));
    laws::check_all(&ctx, async || {
        let (source, _) = source(config());
        let supply: Box<dyn laws::Supply> = Box::new(Sender(source.clone(), Default::default()));
        (Arc::new(source) as Arc<dyn SignalSource>, supply)
    })
    .await
    .unwrap();
}

#[test]
fn all_mistakes_of_a_configuration_are_told() {
    let config = AlertmanagerConfig {
        name: "no name".into(),
        entity_labels: Vec::new(),
        max_bytes: 0,
        max_waiting: 0,
        ..AlertmanagerConfig::default()
    };
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let auth = HookAuth::Bearer(Token::new(&Secret::new(TOKEN)).unwrap());
    let error = AlertmanagerSource::new(&ctx, config, auth).unwrap_err();
    assert_eq!(error.problems().len(), 5, "{error}");
}
