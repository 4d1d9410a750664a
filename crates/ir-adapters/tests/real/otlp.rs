//! The official OpenTelemetry SDK sends to our receiver: by itself, through an agent of others, and while there is no room.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ir_adapters::SystemClock;
use ir_adapters::hook::{PushAuth, Token};
use ir_adapters::otlp::{OtlpConfig, OtlpSource};
use ir_core::{Ctx, Cursor, LogLevel, Secret, SignalBatch, SignalSource, Stop};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::server::{Server, free_address, venv, wait_for};

const TOKEN: &str = "a-token-of-some-length";
const PACKAGES: &str = "opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2 rotel==0.0.1a15";
const SENDER: &str = include_str!("otlp_sender.py");

struct Stage {
    ctx: Ctx,
    _stop: Stop,
    source: OtlpSource,
    receiver: SocketAddr,
    cursor: Cursor,
    batch: SignalBatch,
}

impl Stage {
    async fn new(config: OtlpConfig) -> Self {
        let (ctx, stop) = Ctx::stoppable(Arc::new(SystemClock::new()));
        let auth = PushAuth::Bearer(Token::new(&Secret::new(TOKEN)).unwrap());
        let source = OtlpSource::new(&ctx, config, auth).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = listener.local_addr().unwrap();
        let (serving, of) = (source.clone(), ctx.clone());
        tokio::spawn(async move { serving.serve(&of, listener).await });
        Self { ctx, _stop: stop, source, receiver, cursor: Cursor::default(), batch: SignalBatch::default() }
    }

    /// Polls while the SDK sends, until all of it was sent.
    async fn receive(&mut self, to: SocketAddr, n_spans: usize, compression: &str) {
        let mut sender = Command::new(venv("bin/python", PACKAGES));
        sender.args(["-c", SENDER, &format!("http://{to}"), TOKEN, &n_spans.to_string(), compression]);
        let mut sender = sender.kill_on_drop(true).spawn().unwrap();
        let ended = loop {
            self.poll().await;
            if let Some(ended) = sender.try_wait().unwrap() {
                break ended;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        assert!(ended.success(), "{ended}");
        self.poll().await;
    }

    async fn poll(&mut self) {
        let polled = self.source.poll(&self.ctx, &self.cursor).await.unwrap();
        assert_eq!((polled.dropped, polled.problems), (0, Vec::new()));
        self.cursor = polled.next;
        self.batch.metrics.extend(polled.batch.metrics);
        self.batch.logs.extend(polled.batch.logs);
        self.batch.spans.extend(polled.batch.spans);
    }

    /// Looks whether each span came once, and all that the sender's script says of them is so.
    fn assert_spans(&self, n: usize) {
        let spans: BTreeMap<&str, _> = self.batch.spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
        assert_eq!((self.batch.spans.len(), spans.len()), (n, n));
        let children: Vec<_> = spans.values().filter(|span| span.operation == "query").collect();
        assert_eq!(children.len(), n / 2);
        for child in &children {
            let parent = spans[child.parent_id.as_deref().unwrap()];
            assert_eq!((parent.operation.as_str(), parent.parent_id.as_deref()), ("GET /orders", None));
            assert_eq!(parent.trace_id, child.trace_id);
            assert!(parent.at <= child.at && child.duration_ns <= parent.duration_ns, "{parent:?} {child:?}");
        }
        assert_eq!(children.iter().filter(|span| span.error).count(), n / 20);
        assert!(spans.values().all(|span| span.entity.as_str() == "checkout" && span.duration_ns > 0));
        let traces: BTreeSet<&str> = spans.values().map(|span| span.trace_id.as_str()).collect();
        assert_eq!(traces.len(), n / 2);
    }

    fn assert_metrics_and_logs(&self) {
        // What the provider sends when it is shut down comes once more.
        let told: BTreeSet<String> = self
            .batch
            .metrics
            .iter()
            .filter(|s| !s.series.metric.starts_with("otel_"))
            .map(|s| format!("{:?} {}{} {}", s.series.kind, s.series.metric, s.series.labels, s.value))
            .collect();
        let (route, one) = ("http_route=\"/orders\"", "service_instance_id=\"one\"");
        let took = "http_server_request_duration_seconds";
        let wanted = [
            format!("Bucket {took}_bucket{{{route},le=\"+Inf\",{one}}} 4"),
            format!("Bucket {took}_bucket{{{route},le=\"0.1\",{one}}} 1"),
            format!("Bucket {took}_bucket{{{route},le=\"0.5\",{one}}} 3"),
            format!("Counter http_requests_total{{{route},{one}}} 7"),
            format!("Counter {took}_count{{{route},{one}}} 4"),
            format!("Counter {took}_sum{{{route},{one}}} 2.65"),
            format!("Gauge memory_usage_ratio{{{one}}} 0.25"),
            format!("Gauge queue_length{{{one}}} -3"),
        ];
        assert_eq!(told, BTreeSet::from(wanted));
        let logs: Vec<_> = self.batch.logs.iter().map(|log| (log.level, log.message.as_str())).collect();
        let failed = r#"{"what":"failed","codes":[1,2]}"#;
        assert_eq!(logs, [(Some(LogLevel::Warn), "slow answer"), (Some(LogLevel::Error), failed)]);
        let fields = &self.batch.logs[0].fields;
        assert_eq!((fields.get("took.ms"), fields.get("tags")), (Some("1200"), Some(r#"["a","b"]"#)));
    }
}

#[tokio::test]
async fn what_the_sdk_sends_arrives_packed_or_not() {
    for compression in ["none", "gzip"] {
        let mut stage = Stage::new(OtlpConfig::default()).await;
        stage.receive(stage.receiver, 1_200, compression).await;
        stage.assert_spans(1_200);
        stage.assert_metrics_and_logs();
        assert_eq!(stage.source.refused(), 0);
    }
}

#[tokio::test]
async fn what_there_was_no_room_for_is_sent_again_by_the_sdk() {
    // Room for one batch of the SDK, which has 512 spans, and a little more.
    let bounds = OtlpConfig { max_signals: 512, max_waiting: 600, retry_after_secs: 1, ..OtlpConfig::default() };
    let mut stage = Stage::new(bounds).await;
    let mut sender = Command::new(venv("bin/python", PACKAGES));
    let endpoint = format!("http://{}", stage.receiver);
    sender.args(["-c", SENDER, &endpoint, TOKEN, "4000", "gzip"]);
    let mut sender = sender.kill_on_drop(true).spawn().unwrap();
    let mut n_full = 0;
    let ended = loop {
        if let Some(ended) = sender.try_wait().unwrap() {
            break ended;
        }
        // Nothing is taken out until the sender was sent away.
        let probe = stage.client_probe().await;
        if probe == 503 {
            n_full += 1;
            stage.poll().await;
            // What was given out has arrived with the next poll.
            stage.poll().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    };
    assert!(ended.success(), "{ended}");
    stage.poll().await;
    assert!(n_full > 2, "there was always room");
    stage.assert_spans(4_000);
    stage.assert_metrics_and_logs();
}

impl Stage {
    /// What a request without signals is answered now.
    async fn client_probe(&self) -> u16 {
        use ir_adapters::http::{HttpAuth, HttpClient, HttpConfig, HttpUrl};
        let client = HttpClient::new("probe", HttpConfig::default());
        let client = client.with_auth(HttpAuth::bearer(&Secret::new(TOKEN)).unwrap());
        let url = HttpUrl::parse(&format!("http://{}/v1/traces", self.receiver)).unwrap();
        let headers = [("content-type", "application/json")];
        client.post(&self.ctx, &url, &headers, b"{}".to_vec()).await.unwrap().status
    }
}

#[tokio::test]
async fn through_an_agent_of_others_everything_arrives_as_well() {
    let mut stage = Stage::new(OtlpConfig::default()).await;
    let (http, grpc) = (free_address(), free_address());
    let package = std::fs::read_dir(venv("lib", PACKAGES)).unwrap().map(|entry| entry.unwrap().path());
    let program = package.map(|python| python.join("site-packages/rotel/rotel-agent")).find(|path| path.exists());
    let program = program.unwrap_or_else(|| panic!("target/venv/bin/pip install {PACKAGES}"));
    let folder = TempDir::new().unwrap();
    let pid = folder.path().join("pid");
    let arguments = [
        "start".to_owned(),
        format!("--pid-file={}", pid.display()),
        format!("--otlp-http-endpoint={http}"),
        format!("--otlp-grpc-endpoint={grpc}"),
        "--exporter=otlp".to_owned(),
        format!("--otlp-exporter-endpoint=http://{}", stage.receiver),
        "--otlp-exporter-protocol=http".to_owned(),
        format!("--otlp-exporter-custom-headers=authorization=Bearer {TOKEN}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let _agent = Server::start(program.to_str().unwrap(), "rotel", folder, &arguments);
    wait_for("the agent listens", async || TcpStream::connect(http).await.ok()).await;
    stage.receive(http, 1_200, "gzip").await;
    // The agent gathers before it sends.
    let told = wait_for("everything has come through", async || {
        stage.poll().await;
        let all = stage.batch.spans.len() >= 1_200 && stage.batch.logs.len() >= 2 && stage.batch.metrics.len() >= 8;
        all.then_some(())
    });
    told.await;
    stage.assert_spans(1_200);
    stage.assert_metrics_and_logs();
}
