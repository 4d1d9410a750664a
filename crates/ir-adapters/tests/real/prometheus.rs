//! The real Prometheus scrapes an endpoint of ours, and we read it back: each sample once, through restarts of the server.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ir_adapters::SystemClock;
use ir_adapters::http::{HttpClient, HttpConfig, HttpUrl};
use ir_adapters::prometheus::{PrometheusConfig, PrometheusQuery, PrometheusSource, Samples};
use ir_core::testkit::signal as laws;
use ir_core::{Ctx, Cursor, MetricKind, SignalSource};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::server::{Server, free_address, wait_for, wait_until};

/// How long a scrape may take to stand in the server.
const LAG_MS: u64 = 500;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

/// An endpoint whose one counter says how often it was scraped.
async fn endpoint() -> (SocketAddr, Arc<AtomicU64>) {
    let scraped = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = scraped.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let shared = shared.clone();
            tokio::spawn(async move {
                let mut chunk = [0; 4096];
                while stream.read(&mut chunk).await.is_ok_and(|n| n > 0) {
                    let n = shared.fetch_add(1, Ordering::SeqCst);
                    let body = format!("# TYPE scrapes_total counter\nscrapes_total{{service=\"web\"}} {n}\n");
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\n";
                    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
                    // A server that is being killed hangs up.
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, scraped)
}

/// Starts the server on `address`, and waits until it is ready.
async fn prometheus(target: SocketAddr, address: SocketAddr, folder: TempDir) -> Server {
    let config = format!(
        "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\n\
         scrape_configs:\n- job_name: ours\n  static_configs:\n  - targets: ['{target}']\n"
    );
    let path = folder.path().join("prometheus.yml");
    std::fs::write(&path, config).unwrap();
    let arguments = [
        format!("--config.file={}", path.display()),
        format!("--storage.tsdb.path={}", folder.path().join("data").display()),
        format!("--web.listen-address={address}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Server::start("prometheus", "prometheus", folder, &arguments);
    let ready = HttpUrl::parse(&format!("http://{address}/-/ready")).unwrap();
    let client = HttpClient::new("test", HttpConfig::default());
    wait_for("Prometheus is ready", async || client.get(&ctx(), &ready).await.ok().filter(|reply| reply.status == 200))
        .await;
    server
}

fn query(name: &str, query: &str, samples: Samples) -> PrometheusQuery {
    PrometheusQuery {
        name: name.to_owned(),
        query: query.to_owned(),
        samples,
        metric: None,
        kind: None,
        unit: String::new(),
    }
}

fn config(address: SocketAddr) -> PrometheusConfig {
    PrometheusConfig {
        url: format!("http://{address}"),
        query: vec![query("scrapes", "scrapes_total", Samples::Raw)],
        lag_ms: LAG_MS,
        timeout_ms: 2_000,
        ..PrometheusConfig::default()
    }
}

#[tokio::test]
async fn no_sample_is_lost_or_doubled_while_the_server_is_restarted_three_times() {
    let (target, scraped) = endpoint().await;
    let address = free_address();
    let mut server = prometheus(target, address, TempDir::new().unwrap()).await;
    let source = PrometheusSource::new(config(address)).unwrap();
    let (mut cursor, mut samples, mut n_failed) = (Cursor::default(), Vec::new(), 0);
    let mut round = async |until: &mut dyn FnMut() -> bool| {
        while !until() {
            match source.poll(&ctx(), &cursor).await {
                Ok(polled) => {
                    samples.extend(polled.batch.metrics.into_iter().map(|s| (s.at, s.value as u64)));
                    assert_eq!((polled.dropped, polled.problems), (0, Vec::new()));
                    cursor = polled.next;
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    n_failed += 1;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let more = |n: u64| {
        let wanted = scraped.load(Ordering::SeqCst) + n;
        let scraped = scraped.clone();
        move || scraped.load(Ordering::SeqCst) >= wanted
    };
    // The first cursor stands at a time before which nothing counts.
    round(&mut more(10)).await;
    let begin = ctx().now().wall;
    for _ in 0..3 {
        round(&mut more(10)).await;
        let folder = server.end().await;
        // While it is away there is nothing to read, and that is an error that may be tried again.
        let mut rounds = 0;
        round(&mut || {
            rounds += 1;
            rounds > 3
        })
        .await;
        server = prometheus(target, address, folder).await;
    }
    round(&mut more(10)).await;
    let end = ctx().now().wall;
    let long_after = end.plus(Duration::from_millis(2 * LAG_MS));
    round(&mut || ctx().now().wall > long_after).await;

    // What the server itself has of that time, asked for at once.
    let all = PrometheusSource::new(PrometheusConfig { backfill_ms: 300_000, ..config(address) }).unwrap();
    let kept = all.poll(&ctx(), &Cursor::default()).await.unwrap().batch.metrics;
    let within = |at: ir_core::Timestamp| begin < at && at <= end;
    let kept: Vec<_> = kept.iter().map(|s| (s.at, s.value as u64)).filter(|(at, _)| within(*at)).collect();
    samples.retain(|(at, _)| within(*at));
    assert!(kept.len() >= 30, "{} samples", kept.len());
    assert_eq!(samples, kept);
    assert!(n_failed > 0, "the server was never away");
    assert!(samples.windows(2).all(|pair| pair[0].1 < pair[1].1), "a sample came twice or out of order");
}

#[tokio::test]
async fn an_expression_has_its_value_at_every_step() {
    let (target, scraped) = endpoint().await;
    let address = free_address();
    let _server = prometheus(target, address, TempDir::new().unwrap()).await;
    let config = PrometheusConfig {
        query: vec![query("rate", "sum by (service) (scrapes_total)", Samples::Steps), query("up", "up", Samples::Raw)],
        step_ms: 1_000,
        backfill_ms: 5_000,
        ..config(address)
    };
    let source = PrometheusSource::new(config).unwrap();
    wait_until("a few scrapes", || scraped.load(Ordering::SeqCst) > 20).await;
    let metrics = source.poll(&ctx(), &Cursor::default()).await.unwrap().batch.metrics;
    assert_eq!(source.label_values(&ctx(), "service").await.unwrap(), ["web"]);
    assert_eq!(source.label_values(&ctx(), "nobody_has_it").await.unwrap(), [""; 0]);
    let (rate, up): (Vec<_>, Vec<_>) = metrics.iter().partition(|s| s.series.metric == "rate");
    assert!(rate.len() >= 2 && rate.iter().all(|s| s.at.as_nanos() % 1_000_000_000 == 0), "{rate:?}");
    assert_eq!((rate[0].series.entity.as_str(), rate[0].series.kind), ("web", MetricKind::Gauge));
    assert!(up.len() > 10 && up.iter().all(|s| s.series.kind == MetricKind::Up && s.value == 1.0), "{up:?}");
    assert_eq!(up[0].series.entity.as_str(), "ours");
}

/// What the laws need of the other side.
struct Scrapes {
    server: Arc<Mutex<Server>>,
    scraped: Arc<AtomicU64>,
}

#[async_trait]
impl laws::Supply for Scrapes {
    async fn add(&self, n: usize) {
        // The first one may have begun before now, and the last one must have had time to be kept.
        let wanted = self.scraped.load(Ordering::SeqCst) + n as u64 + 1;
        wait_until("further scrapes", || self.scraped.load(Ordering::SeqCst) >= wanted).await;
        let later = ctx().now().wall.plus(Duration::from_millis(LAG_MS + 200));
        wait_until("they are old enough", || ctx().now().wall > later).await;
    }

    async fn spoil(&self, _n: usize) -> u64 {
        // Prometheus keeps nothing that cannot be read.
        0
    }

    async fn hang(&self) -> bool {
        self.server.lock().unwrap().signal("STOP");
        true
    }
}

/// A source that keeps its server.
struct Kept(PrometheusSource, #[expect(dead_code, reason = "it ends with the source")] Arc<Mutex<Server>>);

impl Deref for Kept {
    type Target = dyn SignalSource;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[tokio::test]
async fn it_keeps_the_laws_of_sources() {
    laws::check_all(&ctx(), async || {
        let (target, scraped) = endpoint().await;
        let address = free_address();
        let server = Arc::new(Mutex::new(prometheus(target, address, TempDir::new().unwrap()).await));
        let supply: Box<dyn laws::Supply> = Box::new(Scrapes { server: server.clone(), scraped });
        (Kept(PrometheusSource::new(config(address)).unwrap(), server), supply)
    })
    .await
    .unwrap();
}
