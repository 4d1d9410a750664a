//! Receivers that take everything, that lose their answers, that refuse, that send elsewhere; and restarts in between.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex as StdMutex};

use ir_core::journal::{Blob, Body, Chain, Event, Fact, decode};
use ir_core::testkit::audit_sink as laws;
use ir_core::{Clock, IncidentId, IncidentState, Secret};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::SystemClock;
use crate::hook::{HookAuth, HookGuard, ReplayWindow};

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32]).unwrap()
}

fn ctx() -> Ctx {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Ctx::new(clock).with_timeout(Duration::from_secs(60))
}

/// What a receiver does with a sound request.
#[derive(Debug, Clone, Copy)]
enum Act {
    Take,
    /// Takes it, and nobody hears of it.
    TakeAndHangUp,
    /// Does not take it, and keeps silent.
    Hang,
    /// Does not take it.
    Say(u16, Option<&'static str>),
    /// Does not take it, and names another place.
    SendOn(SocketAddr),
}

/// A receiver as one would be built with `hook`: signatures are checked, ids are taken once.
#[derive(Debug)]
struct Receiver {
    address: SocketAddr,
    script: Arc<StdMutex<VecDeque<Act>>>,
    /// What was taken: id and content.
    taken: Arc<StdMutex<Vec<(String, Value)>>>,
    /// What was answered, in order; 0 for nothing.
    answered: Arc<StdMutex<Vec<u16>>>,
}

impl Receiver {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Self { address, script: Arc::default(), taken: Arc::default(), answered: Arc::default() };
        let (script, taken, answered) = (receiver.script.clone(), receiver.taken.clone(), receiver.answered.clone());
        tokio::spawn(async move {
            let mut silent = Vec::new();
            let guard = HookGuard::new(HookAuth::Signed(vec![key()]), ReplayWindow::default());
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some((headers, body)) = read(&mut stream).await else { continue };
                let now = SystemClock::new().now().wall;
                let act = script.lock().unwrap().pop_front().unwrap_or(Act::Take);
                let status = match (act, guard.admit(now, |name| headers.get(name).map(String::as_str), &body)) {
                    (_, Err(refusal)) => refusal.status(),
                    (Act::Take | Act::TakeAndHangUp, Ok(admission)) => {
                        admission.keep();
                        let content = serde_json::from_slice(&body).unwrap();
                        taken.lock().unwrap().push((headers["webhook-id"].clone(), content));
                        if matches!(act, Act::Take) { 204 } else { 0 }
                    }
                    (Act::Hang, Ok(_)) => 0,
                    (Act::Say(status, _), Ok(_)) => status,
                    (Act::SendOn(_), Ok(_)) => 307,
                };
                answered.lock().unwrap().push(status);
                if matches!(act, Act::Hang) {
                    silent.push(stream);
                    continue;
                }
                let more = match act {
                    Act::Say(_, Some(after)) => format!("retry-after: {after}\r\n"),
                    Act::SendOn(to) => format!("location: http://{to}/\r\n"),
                    _ => String::new(),
                };
                if status > 0 {
                    let answer = format!("HTTP/1.1 {status} X\r\n{more}content-length: 0\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        receiver
    }

    fn plan(&self, acts: impl IntoIterator<Item = Act>) {
        self.script.lock().unwrap().extend(acts);
    }

    fn config(&self, folder: &Path) -> WebhookConfig {
        WebhookConfig {
            url: format!("http://{}/in", self.address),
            allow: vec!["127.0.0.1".to_owned()],
            position: folder.join("position.json"),
            backoff_ms: 1,
            max_backoff_ms: 50,
            timeout_ms: 5_000,
            ..WebhookConfig::default()
        }
    }

    fn sink(&self, folder: &TempDir) -> WebhookSink {
        WebhookSink::new(self.config(folder.path()), vec![key()]).unwrap()
    }

    fn numbers(&self) -> Vec<u64> {
        self.taken.lock().unwrap().iter().map(|(_, content)| content["seq"].as_u64().unwrap()).collect()
    }
}

/// One request: its headers and its content.
async fn read(stream: &mut TcpStream) -> Option<(BTreeMap<String, String>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let head = loop {
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let headers = text.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<String, String> =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let length: usize = headers["content-length"].parse().unwrap();
    let mut body = bytes.split_off(head + 4);
    while body.len() < length {
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => body.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
    Some((headers, body))
}

fn timer(n: usize) -> Body {
    Body::Event(Event::TimerFired { timer: format!("t{n} \"quoted\" \u{e4}") })
}

fn moved() -> Body {
    let incident = IncidentId::literal("i1");
    Body::Fact(Fact::IncidentMoved { incident, to: IncidentState::Closed, because: "over".to_owned() })
}

fn records(bodies: Vec<Body>) -> (Vec<EncodedRecord>, Vec<Blob>) {
    let (_, encoded, blobs) = Chain::default().encode(&ctx().now(), bodies).unwrap();
    (encoded, blobs)
}

/// Copies as the engine does: from where the sink stands, again after every failure.
async fn feed(sink: &WebhookSink, records: &[EncodedRecord]) -> u32 {
    let mut n_failed = 0;
    loop {
        let from = usize::try_from(sink.position(&ctx()).await.unwrap()).unwrap() - 1;
        if from == records.len() {
            return n_failed;
        }
        if let Err(error) = sink.copy(&ctx(), &records[from..]).await {
            assert!(error.is_retryable(), "{error}");
            n_failed += 1;
            assert!(n_failed < 100, "{error}");
        }
    }
}

#[tokio::test]
async fn a_delivery_is_the_record_signed_under_a_name_that_stays() {
    let (receiver, folder) = (Receiver::new().await, TempDir::new().unwrap());
    let (records, _) = records(vec![timer(0), moved()]);
    assert_eq!(feed(&receiver.sink(&folder), &records).await, 0);
    let taken = receiver.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 2);
    for ((id, content), record) in taken.iter().zip(&records) {
        assert_eq!(*id, format!("{}-{}", record.seq, record.hash));
        assert!(id.len() < 128);
        // What the receiver has is the record, to the byte.
        let data = sorted_bytes(&content["data"]);
        assert_eq!(EncodedRecord::new(record.seq, data).hash.to_string(), content["hash"].as_str().unwrap());
        assert_eq!(content["timestamp"], content["data"]["at"]["wall"]);
        assert!(decode(record).is_ok());
    }
    assert_eq!(
        (&taken[0].1["type"], &taken[1].1["type"]),
        (&"event.timer_fired".into(), &"fact.incident_moved".into())
    );
    assert_eq!(*receiver.answered.lock().unwrap(), [204, 204]);
}

/// Canonical JSON of what has no numbers but whole ones: sorted keys, no blanks.
fn sorted_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

#[tokio::test]
async fn whatever_goes_wrong_every_record_arrives_once_and_in_order() {
    let (receiver, folder) = (Receiver::new().await, TempDir::new().unwrap());
    let (records, _) = records((0..12).map(timer).collect());
    receiver.plan([
        Act::Take,
        Act::Say(500, None),
        Act::Say(503, Some("0")),
        Act::TakeAndHangUp,
        // The same comes again and is answered with 409.
        Act::Take,
        Act::Say(429, Some("1")),
        Act::Say(404, None),
        Act::Say(401, None),
        Act::Take,
        Act::TakeAndHangUp,
    ]);
    assert!(feed(&receiver.sink(&folder), &records[..7]).await >= 7);
    // Opened again it goes on where it was, whatever is offered.
    let sink = receiver.sink(&folder);
    assert_eq!(sink.position(&ctx()).await.unwrap(), 8);
    sink.copy(&ctx(), &records).await.unwrap();
    assert_eq!(receiver.numbers(), (1..=12).collect::<Vec<_>>());
    let answered = receiver.answered.lock().unwrap().clone();
    assert_eq!(answered.iter().filter(|status| **status == 409).count(), 2, "{answered:?}");
    assert_eq!(sink.set_aside(), 0);
}

#[tokio::test]
async fn a_sink_that_died_between_delivery_and_its_file_delivers_under_the_same_name() {
    let (receiver, folder) = (Receiver::new().await, TempDir::new().unwrap());
    let (records, _) = records((0..4).map(timer).collect());
    feed(&receiver.sink(&folder), &records[..2]).await;
    let file = folder.path().join("position.json");
    let before = std::fs::read(&file).unwrap();
    feed(&receiver.sink(&folder), &records[..3]).await;
    std::fs::write(&file, before).unwrap();
    feed(&receiver.sink(&folder), &records).await;
    assert_eq!(receiver.numbers(), [1, 2, 3, 4]);
    assert_eq!(*receiver.answered.lock().unwrap(), [204, 204, 204, 409, 204]);
}

#[tokio::test]
async fn a_record_that_is_refused_for_itself_does_not_hold_up_the_others() {
    let (receiver, folder) = (Receiver::new().await, TempDir::new().unwrap());
    let (records, _) = records((0..3).map(timer).collect());
    receiver.plan([Act::Take]);
    receiver.plan([400, 422, 413, 415, 400].map(|status| Act::Say(status, None)));
    let sink = receiver.sink(&folder);
    assert_eq!(feed(&sink, &records).await, 4);
    assert_eq!((receiver.numbers(), sink.set_aside()), (vec![1, 3], 1));
}

#[tokio::test]
async fn only_the_kinds_that_were_asked_for_are_sent_and_the_file_knows_of_all() {
    let (receiver, folder) = (Receiver::new().await, TempDir::new().unwrap());
    let large = Body::Event(Event::TimerFired { timer: "x".repeat(20_000) });
    let (records, blobs) = records(vec![timer(0), moved(), timer(1), large, timer(2)]);
    assert_eq!(blobs.len(), 1);
    let config = WebhookConfig { kinds: vec!["fact.*".to_owned()], ..receiver.config(folder.path()) };
    let sink = WebhookSink::new(config, vec![key()]).unwrap();
    feed(&sink, &records).await;
    // What is in a blob might be of any kind.
    assert_eq!(receiver.numbers(), [2, 4]);
    assert_eq!(receiver.sink(&folder).position(&ctx()).await.unwrap(), 6);
}

#[tokio::test]
async fn waits_grow_are_bounded_and_keep_to_what_the_receiver_asked() {
    let (receiver, folder) = (Receiver::new().await, TempDir::new().unwrap());
    let (records, _) = records(vec![timer(0)]);
    let config = WebhookConfig { backoff_ms: 10, max_backoff_ms: 300_000, ..receiver.config(folder.path()) };
    let sink = WebhookSink::new(config, vec![key()]).unwrap();
    receiver.plan([Act::Say(503, Some("1")), Act::Take]);
    assert!(sink.copy(&ctx(), &records).await.unwrap_err().message().contains("again in 1 s"));
    // Nothing goes out before that, and whoever has less time is told at once that it was not enough.
    let short = ctx().with_timeout(Duration::from_millis(200));
    assert_eq!(sink.copy(&short, &records).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(receiver.answered.lock().unwrap().len(), 1);
    let before = ctx().now().mono_ns;
    sink.copy(&ctx(), &records).await.unwrap();
    assert!(ctx().now().mono_ns - before > 500_000_000);
    assert_eq!(*receiver.answered.lock().unwrap(), [503, 204]);
}

#[tokio::test]
async fn an_attempt_that_nobody_waited_for_counts_as_failed() {
    let (receiver, folder) = (Receiver::new().await, TempDir::new().unwrap());
    let (records, _) = records(vec![timer(0)]);
    let config = WebhookConfig { backoff_ms: 300_000, ..receiver.config(folder.path()) };
    let sink = WebhookSink::new(WebhookConfig { max_backoff_ms: 300_000, ..config }, vec![key()]).unwrap();
    receiver.plan([Act::Hang]);
    let came = async {
        while receiver.answered.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let long = ctx();
    tokio::select! {
        copied = sink.copy(&long, &records) => panic!("nobody answered: {copied:?}"),
        () = came => {}
    }
    assert_eq!(*receiver.answered.lock().unwrap(), [0]);
    let short = ctx().with_timeout(Duration::from_millis(100));
    assert_eq!(sink.copy(&short, &records).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(receiver.answered.lock().unwrap().len(), 1);
    assert_eq!(sink.position(&ctx()).await.unwrap(), 1);
}

#[tokio::test]
async fn nobody_is_followed_and_nothing_private_is_reached() {
    let (receiver, other, folder) = (Receiver::new().await, Receiver::new().await, TempDir::new().unwrap());
    let (records, _) = records(vec![timer(0)]);
    receiver.plan([Act::SendOn(other.address); 3]);
    let sink = receiver.sink(&folder);
    for _ in 0..3 {
        assert!(sink.copy(&ctx(), &records).await.unwrap_err().message().contains("status 307"));
    }
    // Not allowed by name, so not reached.
    let config = WebhookConfig { allow: vec!["127.0.0.2".to_owned()], ..other.config(folder.path()) };
    let sink = WebhookSink::new(config, vec![key()]).unwrap();
    let error = sink.copy(&ctx(), &records).await.unwrap_err();
    assert!(error.message().contains("is not allowed"), "{error}");
    // Neither with a client of the host's own.
    let config = WebhookConfig { allow: Vec::new(), ..other.config(folder.path()) };
    let client = HttpClient::new("own", HttpConfig::default());
    let sink = WebhookSink::with_client(config, vec![key()], client).unwrap();
    assert!(sink.copy(&ctx(), &records).await.is_err());
    assert_eq!((other.numbers().len(), other.answered.lock().unwrap().len()), (0, 0));
    assert_eq!(sink.position(&ctx()).await.unwrap(), 1);
}

#[tokio::test]
async fn another_journal_or_a_damaged_file_is_noticed() {
    let (receiver, folder) = (Receiver::new().await, TempDir::new().unwrap());
    let (own, _) = records((0..3).map(timer).collect());
    let (other, _) = records((7..10).map(timer).collect());
    feed(&receiver.sink(&folder), &own[..2]).await;
    let sink = receiver.sink(&folder);
    assert_eq!(sink.copy(&ctx(), &other).await.unwrap_err().kind(), ErrorKind::Conflict);
    // Nor a record whose bytes are not those of its hash.
    let forged = EncodedRecord { bytes: own[2].bytes.iter().copied().chain(*b" ").collect(), ..own[2].clone() };
    assert_eq!(sink.copy(&ctx(), &[forged]).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(receiver.numbers(), [1, 2]);
    for content in ["", "{}", "{\"next\":0,\"prev\":\"00\"}", "nonsense", &" ".repeat(10_000)] {
        std::fs::write(folder.path().join("position.json"), content).unwrap();
        let error = receiver.sink(&folder).position(&ctx()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{content}");
    }
}

#[tokio::test]
async fn keys_are_changed_without_a_gap() {
    let (receiver, folder) = (Receiver::new().await, TempDir::new().unwrap());
    let (records, _) = records(vec![timer(0)]);
    let other = SigningKey::from_bytes(&[8; 32]).unwrap();
    // The receiver knows one of them, whichever comes first.
    let sink = WebhookSink::new(receiver.config(folder.path()), vec![other.clone(), key()]).unwrap();
    sink.copy(&ctx(), &records).await.unwrap();
    let folder = TempDir::new().unwrap();
    let sink = WebhookSink::new(receiver.config(folder.path()), vec![other]).unwrap();
    assert!(sink.copy(&ctx(), &records).await.is_err());
    assert_eq!(*receiver.answered.lock().unwrap(), [204, 401]);
}

#[tokio::test]
async fn it_keeps_the_laws_of_sinks() {
    let receiver = Arc::new(Receiver::new().await);
    let ctx = Ctx::new(Arc::new(SystemClock::new()));
    let fresh = || {
        let folder = TempDir::new().unwrap();
        let receiver = receiver.clone();
        let open: laws::Open = Box::new(move || Ok(Arc::new(receiver.sink(&folder)) as Arc<dyn AuditSink>));
        Ok(open)
    };
    laws::check_all(&ctx, &fresh).await.unwrap();
}

#[test]
fn all_mistakes_of_a_configuration_are_told_and_no_key_is() {
    let config = WebhookConfig {
        name: "no name".into(),
        url: "https://example.org/".into(),
        kinds: vec!["fact.*".into(), "facts.*".into()],
        allow: vec!["10.0.0.0/8".into(), "localhost".into()],
        backoff_ms: 0,
        ..WebhookConfig::default()
    };
    let error = WebhookSink::new(config, Vec::new()).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["name", "", "kinds[1]", "position", "backoff_ms", "allow[1]", "url"]);
    let canary = "canary-canary-canary-canary";
    let config = WebhookConfig { url: "http://example.org/".into(), position: "x".into(), ..WebhookConfig::default() };
    let key = SigningKey::from_bytes(canary.as_bytes()).unwrap();
    let sink = WebhookSink::new(config, vec![key]).unwrap();
    assert!(!format!("{sink:?} {:?}", Secret::new(canary)).contains("canary"));
}
