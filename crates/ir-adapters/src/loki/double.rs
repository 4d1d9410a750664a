//! A Loki of the tests: recorded exchanges of a real one, and a double that pages, tails, fails and restarts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ir_core::{Clock as _, Ctx, Cursor, SignalSource};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::SystemClock;

/// One exchange with the real server: status, and the body of the answer.
pub(super) fn recorded(name: &str) -> (u16, Vec<u8>) {
    let path = format!("{}/tests/fixtures/loki/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let exchange: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let response = &exchange["response"];
    let body = match response.get("body_json") {
        Some(body) => body.to_string(),
        None => response["body_text"].as_str().unwrap_or_default().to_owned(),
    };
    (response["status"].as_u64().unwrap().try_into().unwrap(), body.into_bytes())
}

/// One line, in the order in which it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) nanos: i64,
    pub(super) stream: &'static str,
    pub(super) text: String,
}

/// What the server does with a request instead of answering it.
#[derive(Debug, Clone)]
pub(super) enum Mood {
    Answers,
    Says(u16, Vec<u8>),
    Truncates,
    Endless,
    Hangs,
}

/// Keeps lines, and answers range queries with the semantics of the real one. The start is within, the end is not; the limit is
/// over all streams together; equal entries are one.
#[derive(Debug)]
pub(super) struct Double {
    pub(super) lines: Mutex<Vec<Line>>,
    mood: Mutex<Mood>,
    pub(super) n_asked: AtomicUsize,
    pub(super) heads: Mutex<Vec<String>>,
    address: Mutex<Option<SocketAddr>>,
    running: Mutex<Option<JoinHandle<()>>>,
    #[cfg(feature = "loki-tail")]
    pub(super) tails: tail::Tails,
}

impl Double {
    pub(super) async fn start() -> (Arc<Self>, String) {
        let double = Arc::new(Self {
            lines: Mutex::default(),
            mood: Mutex::new(Mood::Answers),
            n_asked: AtomicUsize::new(0),
            heads: Mutex::default(),
            address: Mutex::default(),
            running: Mutex::default(),
            #[cfg(feature = "loki-tail")]
            tails: tail::Tails::default(),
        });
        let address = double.clone().listen().await;
        (double, format!("http://{address}"))
    }

    /// Listens where it did before, or anywhere.
    async fn listen(self: Arc<Self>) -> SocketAddr {
        let before = *self.address.lock().unwrap();
        let listener = TcpListener::bind(before.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap())).await.unwrap();
        let address = listener.local_addr().unwrap();
        *self.address.lock().unwrap() = Some(address);
        *self.running.lock().unwrap() = Some(tokio::spawn(self.clone().run(listener)));
        address
    }

    /// Is gone, with all its connections. What it keeps it keeps.
    pub(super) async fn stop(&self) {
        let running = self.running.lock().unwrap().take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }

    pub(super) async fn restart(self: &Arc<Self>) {
        self.clone().listen().await;
    }

    /// Accepts until it is aborted, and its connections with it.
    async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(self.clone().serve(stream));
        }
    }

    pub(super) fn add(&self, nanos: i64, stream: &'static str, text: impl Into<String>) {
        let line = Line { nanos, stream, text: text.into() };
        let mut lines = self.lines.lock().unwrap();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }

    pub(super) fn mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        #[cfg(feature = "loki-tail")]
        if tail::is_asked_for(&stream).await {
            return tail::serve(self, stream).await;
        }
        let mut read = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(n) = stream.read(&mut chunk).await
            && n > 0
        {
            read.extend_from_slice(&chunk[..n]);
            if !read.ends_with(b"\r\n\r\n") {
                continue;
            }
            let head = String::from_utf8(std::mem::take(&mut read)).unwrap();
            self.n_asked.fetch_add(1, Ordering::SeqCst);
            self.heads.lock().unwrap().push(head.to_ascii_lowercase());
            let mood = self.mood.lock().unwrap().clone();
            let cut = matches!(mood, Mood::Truncates);
            let (status, body) = match mood {
                Mood::Answers | Mood::Truncates => (200, self.answer(&head)),
                Mood::Says(status, body) => (status, body),
                Mood::Endless => (200, b" ".repeat(1 << 20)),
                Mood::Hangs => return std::future::pending().await,
            };
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
            let body = if cut { &body[..body.len() / 2] } else { &body[..] };
            // A client that has seen enough hangs up.
            if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(body).await.is_err() || cut {
                return;
            }
        }
    }

    fn answer(&self, head: &str) -> Vec<u8> {
        let target = head.split(' ').nth(1).unwrap();
        assert!(target.starts_with("/loki/api/v1/query_range?"), "{target}");
        let value = |name: &str| {
            let pairs = target.split_once('?').unwrap().1.split('&');
            pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).unwrap().1
        };
        let number = |name: &str| value(name).parse::<i64>().unwrap();
        let mut lines = self.lines.lock().unwrap().clone();
        lines.retain(|line| number("start") <= line.nanos && line.nanos < number("end"));
        lines.sort_by_key(|line| line.nanos);
        if value("direction") == "backward" {
            lines.reverse();
        }
        lines.truncate(number("limit").try_into().unwrap());
        let mut streams: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for line in lines {
            streams.entry(line.stream).or_default().push(json!([line.nanos.to_string(), line.text]));
        }
        let result: Vec<Value> =
            streams.into_iter().map(|(s, values)| json!({ "stream": labels(s), "values": values })).collect();
        json!({ "status": "success", "data": { "resultType": "streams", "result": result } }).to_string().into_bytes()
    }
}

fn labels(stream: &str) -> Value {
    match stream {
        "" => json!({ "zone": "a" }),
        stream => json!({ "service_name": stream, "detected_level": "error" }),
    }
}

/// A line as the tests compare it: time, entity, text.
pub(super) type Seen = (i64, String, String);

/// How long a test that is about staying power lasts: a few seconds by hand, longer where `cargo xtask test` says so.
fn soak_time() -> Duration {
    Duration::from_secs(std::env::var("IR_SOAK_SECS").map_or(5, |secs| secs.parse().unwrap()))
}

impl Double {
    /// Writes lines, two of three at the very same time as another one, and restarts three times, while `source` is polled; then
    /// gives what it brought and what there is. While the server is away, lines are kept by who writes them. `settle` is
    /// how long after the last line everything must have come.
    pub(super) async fn soak(self: &Arc<Self>, source: &dyn SignalSource, settle: Duration) -> (Vec<Seen>, Vec<Seen>) {
        let ctx = Ctx::new(Arc::new(SystemClock::new()));
        let mut cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
        let (double, n_written) = (self.clone(), Arc::new(AtomicUsize::new(0)));
        let n = n_written.clone();
        let writer = tokio::spawn(async move {
            let mut kept = Vec::new();
            let clock = SystemClock::new();
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            loop {
                ticks.tick().await;
                let nanos = clock.now().wall.as_nanos() / 1_000_000 * 1_000_000;
                let n = n.fetch_add(1, Ordering::SeqCst);
                let line = |stream, text: String| Line { nanos, stream, text };
                // The same words in both streams, and further ones.
                kept.extend([line("web", format!("tick {n}")), line("db", format!("tick {n}"))]);
                kept.push(line("web", format!("tock \"{n}\"")));
                if double.running.lock().unwrap().is_some() {
                    double.lines.lock().unwrap().append(&mut kept);
                }
            }
        });
        let mut got = Vec::new();
        let mut poll_for = async |length: Duration, may_fail: bool| {
            let until = ctx.now().wall.plus(length);
            let mut n_failed = 0;
            while ctx.now().wall < until {
                match source.poll(&ctx, &cursor).await {
                    Ok(polled) => {
                        let line = |line: &ir_core::LogRecord| {
                            (line.at.as_nanos(), line.entity.to_string(), line.message.clone())
                        };
                        got.extend(polled.batch.logs.iter().map(line));
                        assert_eq!(polled.dropped, 0, "{:?}", polled.problems);
                        cursor = polled.next;
                    }
                    Err(error) => {
                        assert!(may_fail && error.is_retryable(), "{error}");
                        n_failed += 1;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            n_failed
        };
        let phase = soak_time() / 4;
        poll_for(phase, false).await;
        for _ in 0..3 {
            self.stop().await;
            let n_failed = poll_for(Duration::from_millis(400), true).await;
            assert!(n_failed > 0, "the server was never away");
            self.restart().await;
            // What is kept alive may turn out to be broken once more.
            poll_for(phase, true).await;
        }
        writer.abort();
        assert!(writer.await.unwrap_err().is_cancelled());
        poll_for(settle + Duration::from_millis(500), false).await;
        let lines = self.lines.lock().unwrap();
        let mut there: Vec<Seen> =
            lines.iter().map(|line| (line.nanos, line.stream.to_owned(), line.text.clone())).collect();
        got.sort_unstable();
        there.sort_unstable();
        (got, there)
    }
}

/// The tail of the double. As the real one it begins to listen a little after it has said yes, brings what there was first, and
/// labels a line that was just received without a level.
#[cfg(feature = "loki-tail")]
mod tail {
    use futures::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

    use super::*;

    /// What the tests see and say of tails.
    #[derive(Debug, Default)]
    pub(in crate::loki) struct Tails {
        /// So many there were.
        pub(in crate::loki) n: AtomicUsize,
        /// So many of the next lines are left out, which is said.
        pub(in crate::loki) leave_out: AtomicUsize,
        /// So many of the next lines are left out, which is not said: they came before the tail listened.
        pub(in crate::loki) miss: AtomicUsize,
    }

    const CALL: &[u8] = b"GET /loki/api/v1/tail?";

    pub(super) async fn is_asked_for(stream: &TcpStream) -> bool {
        let mut head = [0; CALL.len()];
        loop {
            match stream.peek(&mut head).await {
                Ok(n) if n == CALL.len() => return head == CALL,
                Ok(n) if n > 0 && CALL.starts_with(&head[..n]) => tokio::task::yield_now().await,
                _ => return false,
            }
        }
    }

    pub(super) async fn serve(double: Arc<Double>, stream: TcpStream) {
        double.tails.n.fetch_add(1, Ordering::SeqCst);
        let mood = double.mood.lock().unwrap().clone();
        if matches!(mood, Mood::Hangs) {
            return std::future::pending().await;
        }
        let mut target = String::new();
        #[expect(clippy::result_large_err, reason = "the library wants it so")]
        let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            target = request.uri().to_string();
            assert_eq!(request.headers()["x-loki-response-encoding-flags"], "categorize-labels");
            let Mood::Says(status, body) = &mood else { return Ok(response) };
            let body = Some(String::from_utf8_lossy(body).into_owned());
            Err(Response::builder().status(*status).body(body).unwrap())
        };
        let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, look).await else { return };
        let value = |name: &str| {
            let pairs = target.split_once('?').unwrap().1.split('&');
            pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).unwrap().1
        };
        let (start, limit): (i64, usize) = (value("start").parse().unwrap(), value("limit").parse().unwrap());
        // What comes in the meantime is in no tail.
        let mut history = double.lines.lock().unwrap().clone();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut next = double.lines.lock().unwrap().len();
        history.retain(|line| line.nanos >= start);
        history.sort_by_key(|line| line.nanos);
        let from = history.len().saturating_sub(limit);
        let mut frame =
            Some(json!({ "streams": history[from..].iter().map(|line| of(line, true)).collect::<Vec<_>>() }));
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let mut pings = tokio::time::interval(Duration::from_secs(1));
        loop {
            if let Some(frame) = frame.take()
                && socket.send(Message::text(frame.to_string())).await.is_err()
            {
                return;
            }
            tokio::select! {
                heard = socket.next() => if !matches!(heard, Some(Ok(_))) { return },
                _ = pings.tick() => if socket.send(Message::Ping(Vec::new().into())).await.is_err() { return },
                _ = ticks.tick() => {
                    if matches!(*double.mood.lock().unwrap(), Mood::Hangs) {
                        return std::future::pending().await;
                    }
                    let lines = double.lines.lock().unwrap();
                    let missed = double.tails.miss.load(Ordering::SeqCst).min(lines.len() - next);
                    double.tails.miss.fetch_sub(missed, Ordering::SeqCst);
                    next += missed;
                    let left_out = double.tails.leave_out.load(Ordering::SeqCst).min(lines.len() - next);
                    double.tails.leave_out.fetch_sub(left_out, Ordering::SeqCst);
                    let dropped: Vec<Value> = lines[next..next + left_out]
                        .iter()
                        .map(|line| json!({ "timestamp": line.nanos.to_string(), "labels": {} }))
                        .collect();
                    let streams: Vec<Value> = lines[next + left_out..].iter().map(|line| of(line, false)).collect();
                    next = lines.len();
                    frame = match (streams.is_empty(), dropped.is_empty()) {
                        (true, true) => None,
                        (_, true) => Some(json!({ "streams": streams })),
                        _ => Some(json!({ "streams": streams, "dropped_entries": dropped })),
                    };
                }
            }
        }
    }

    /// A line alone, with the level that the server finds when it stores it, or without.
    fn of(line: &Line, stored: bool) -> Value {
        let mut labels = labels(line.stream);
        if !stored {
            labels.as_object_mut().unwrap().remove("detected_level");
        }
        json!({ "stream": labels, "values": [[line.nanos.to_string(), line.text]] })
    }
}
