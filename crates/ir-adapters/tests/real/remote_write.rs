//! The real Prometheus writes to our receiver: each sample that it holds arrives once, while it or the receiver is away now and
//! then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ir_adapters::SystemClock;
use ir_adapters::hook::{PushAuth, Token};
use ir_adapters::http::{HttpClient, HttpConfig, HttpUrl};
use ir_adapters::prometheus::{PrometheusConfig, PrometheusQuery, PrometheusSource, Samples};
use ir_adapters::remote_write::{RemoteWriteConfig, RemoteWriteSource};
use ir_core::{Ctx, Cursor, MetricKind, MetricSample, Secret, SignalSource, Stop, Timestamp};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::server::{Server, free_address, wait_for};

const TOKEN: &str = "a-token-of-some-length";

/// An endpoint whose one counter says how often it was scraped, and which can be out of order.
#[derive(Debug, Default)]
struct Endpoint {
    scraped: AtomicU64,
    broken: AtomicBool,
}

impl Endpoint {
    async fn start() -> (SocketAddr, Arc<Self>) {
        let endpoint = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let of = endpoint.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let of = of.clone();
                tokio::spawn(async move {
                    let mut chunk = [0; 4096];
                    while stream.read(&mut chunk).await.is_ok_and(|n| n > 0) {
                        let answer = of.answer();
                        // A server that is being killed hangs up.
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (address, endpoint)
    }

    fn answer(&self) -> String {
        if self.broken.load(Ordering::SeqCst) {
            return "HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n".to_owned();
        }
        let n = self.scraped.fetch_add(1, Ordering::SeqCst);
        let body = format!("# TYPE scrapes_total counter\nscrapes_total{{service=\"web\"}} {n}\n");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\n";
        format!("{head}content-length: {}\r\n\r\n{body}", body.len())
    }
}

struct Stage {
    ctx: Ctx,
    source: RemoteWriteSource,
    receiver: SocketAddr,
    serving: Option<(Stop, JoinHandle<ir_core::Result<()>>)>,
    cursor: Cursor,
    samples: Vec<MetricSample>,
    target: SocketAddr,
    endpoint: Arc<Endpoint>,
    server: SocketAddr,
}

impl Stage {
    async fn new() -> Self {
        let (target, endpoint) = Endpoint::start().await;
        let ctx = Ctx::new(Arc::new(SystemClock::new()));
        let auth = PushAuth::Bearer(Token::new(&Secret::new(TOKEN)).unwrap());
        let source = RemoteWriteSource::new(&ctx, RemoteWriteConfig::default(), auth).unwrap();
        let (receiver, server) = (free_address(), free_address());
        let (cursor, samples) = (Cursor::default(), Vec::new());
        Self { ctx, source, receiver, serving: None, cursor, samples, target, endpoint, server }
    }

    async fn serve(&mut self) {
        let (ctx, stop) = Ctx::stoppable(Arc::new(SystemClock::new()));
        let listener = wait_for("the port is free", async || TcpListener::bind(self.receiver).await.ok()).await;
        let source = self.source.clone();
        self.serving = Some((stop, tokio::spawn(async move { source.serve(&ctx, listener).await })));
    }

    async fn hang_up(&mut self) {
        let (stop, serving) = self.serving.take().unwrap();
        stop.stop();
        assert!(serving.await.unwrap().is_err());
    }

    /// Starts the server, and waits until it is ready.
    async fn prometheus(&self, folder: TempDir) -> Server {
        let config = format!(
            "global: {{ scrape_interval: 100ms, scrape_timeout: 100ms }}\n\
             scrape_configs:\n- job_name: ours\n  static_configs:\n  - targets: ['{}']\n\
             remote_write:\n- url: http://{}/api/v1/write\n  authorization: {{ credentials: {TOKEN} }}\n  \
             queue_config: {{ batch_send_deadline: 200ms, max_backoff: 200ms }}\n",
            self.target, self.receiver
        );
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        let arguments = [
            format!("--config.file={}", path.display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address={}", self.server),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = Server::start("prometheus", "prometheus", folder, &arguments);
        let ready = HttpUrl::parse(&format!("http://{}/-/ready", self.server)).unwrap();
        let client = HttpClient::new("test", HttpConfig::default());
        wait_for("Prometheus is ready", async || {
            client.get(&self.ctx, &ready).await.ok().filter(|reply| reply.status == 200)
        })
        .await;
        server
    }

    async fn poll(&mut self) {
        let polled = self.source.poll(&self.ctx, &self.cursor).await.unwrap();
        assert_eq!((polled.dropped, polled.problems), (0, Vec::new()));
        self.cursor = polled.next;
        self.samples.extend(polled.batch.metrics);
    }

    /// Polls until the endpoint was scraped so many times more.
    async fn scrapes(&mut self, n: u64) {
        let wanted = self.endpoint.scraped.load(Ordering::SeqCst) + n;
        let endpoint = self.endpoint.clone();
        wait_for("further scrapes", async || {
            self.poll().await;
            (endpoint.scraped.load(Ordering::SeqCst) >= wanted).then_some(())
        })
        .await;
    }

    /// The samples of the counter that arrived.
    fn arrived(&self) -> Vec<(Timestamp, u64)> {
        let ours = |s: &&MetricSample| s.series.metric == "scrapes_total";
        self.samples.iter().filter(ours).map(|s| (s.at, s.value as u64)).collect()
    }

    /// All samples of the counter that the server holds.
    async fn held(&self) -> Vec<(Timestamp, u64)> {
        let query = PrometheusQuery {
            name: "scrapes".to_owned(),
            query: "scrapes_total".to_owned(),
            samples: Samples::Raw,
            metric: None,
            kind: None,
            unit: String::new(),
        };
        let config = PrometheusConfig {
            url: format!("http://{}", self.server),
            query: vec![query],
            lag_ms: 0,
            backfill_ms: 600_000,
            ..PrometheusConfig::default()
        };
        let source = PrometheusSource::new(config).unwrap();
        let polled = source.poll(&self.ctx, &Cursor::default()).await.unwrap();
        polled.batch.metrics.iter().map(|s| (s.at, s.value as u64)).collect()
    }

    /// The endpoint breaks, and what the server holds until then arrives: a server that is killed sends nothing later that it
    /// has not sent before.
    async fn settle(&mut self) {
        self.endpoint.broken.store(true, Ordering::SeqCst);
        // The last scrape may still be on its way into the server.
        wait_for("the server knows that it is broken", async || {
            self.poll().await;
            let (last_up, last) = (self.last("up")?, self.last("scrapes_total")?);
            (last_up.value == 0.0 && last_up.at > last.at).then_some(())
        })
        .await;
        let held = self.held().await;
        wait_for("what the server holds has arrived", async || {
            self.poll().await;
            (self.arrived().len() >= held.len()).then_some(())
        })
        .await;
        assert_eq!(self.arrived(), held);
    }

    fn last(&self, metric: &str) -> Option<&MetricSample> {
        self.samples.iter().rfind(|sample| sample.series.metric == metric)
    }
}

#[tokio::test]
async fn every_sample_that_the_server_holds_arrives_once() {
    let mut stage = Stage::new().await;
    stage.serve().await;
    let mut server = stage.prometheus(TempDir::new().unwrap()).await;
    for _ in 0..3 {
        stage.scrapes(10).await;
        // The receiver is away for a while: the server sends again until it is back.
        stage.hang_up().await;
        stage.scrapes(10).await;
        stage.serve().await;
        stage.scrapes(10).await;
        stage.settle().await;
        let folder = server.kill();
        stage.endpoint.broken.store(false, Ordering::SeqCst);
        server = stage.prometheus(folder).await;
    }
    stage.scrapes(10).await;
    // Killed among its samples it loses what it had not sent, and nothing else: what comes afterwards comes once.
    let folder = server.kill();
    let killed = stage.ctx.now().wall;
    let _server = stage.prometheus(folder).await;
    stage.scrapes(10).await;
    stage.settle_after(killed).await;

    let series: Vec<_> = stage.samples.iter().filter(|s| s.series.metric == "scrapes_total").collect();
    assert!(series.len() >= 100, "{} samples", series.len());
    assert!(series.iter().all(|s| s.series.kind == MetricKind::Counter && s.series.entity.as_str() == "web"));
    assert!(stage.samples.iter().any(|s| s.series.kind == MetricKind::Up && s.series.entity.as_str() == "ours"));
    assert_eq!(stage.source.refused(), 0);
}

impl Stage {
    /// As [`settle`](Self::settle), but for what was not sent in the last second before `killed`.
    async fn settle_after(&mut self, killed: Timestamp) {
        self.endpoint.broken.store(true, Ordering::SeqCst);
        let lost = killed.minus(Duration::from_secs(1));
        let surely = |at: &Timestamp| *at < lost || *at > killed;
        wait_for("what the server holds has arrived", async || {
            self.poll().await;
            let held: Vec<_> = self.held().await.into_iter().filter(|(at, _)| surely(at)).collect();
            let arrived: Vec<_> = self.arrived().into_iter().filter(|(at, _)| surely(at)).collect();
            (held == arrived && held.iter().any(|(at, _)| *at > killed)).then_some(())
        })
        .await;
        let mut once = self.arrived();
        once.dedup();
        assert_eq!(once, self.arrived(), "a sample came twice");
    }
}
