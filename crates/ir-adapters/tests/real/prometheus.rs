//! The real Prometheus scrapes an endpoint of ours, and we read it back: each sample once, through restarts of the server.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ir_adapters::SystemClock;
use ir_adapters::http::{HttpClient, HttpConfig, HttpUrl};
use ir_adapters::prometheus::{
    PrometheusConfig, PrometheusQuery, PrometheusSource, PrometheusState, PrometheusStateConfig, Samples,
};
use ir_core::testkit::signal as laws;
use ir_core::{Ctx, Cursor, EventKind, Gone, GoneReason, MetricKind, SignalSource};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::server::{Server, free_address, soak, wait_for, wait_until};

/// How long a scrape may take to stand in the server.
const LAG_MS: u64 = 500;

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

/// An endpoint whose one counter says how often it was scraped.
async fn endpoint() -> (SocketAddr, Arc<AtomicU64>) {
    let text = "text/plain; version=0.0.4";
    let body = |n| format!("# TYPE scrapes_total counter\nscrapes_total{{service=\"web\"}} {n}\n").into_bytes();
    endpoint_at("127.0.0.1:0".parse().unwrap(), text, body).await
}

/// An endpoint that answers the n-th scrape with its own text.
async fn endpoint_at(
    address: SocketAddr,
    content_type: &'static str,
    body: impl Fn(u64) -> Vec<u8> + Clone + Send + 'static,
) -> (SocketAddr, Arc<AtomicU64>) {
    let scraped = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = scraped.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (shared, body) = (shared.clone(), body.clone());
            tokio::spawn(async move {
                let mut chunk = [0; 4096];
                while stream.read(&mut chunk).await.is_ok_and(|n| n > 0) {
                    let n = shared.fetch_add(1, Ordering::SeqCst);
                    let body = body(n);
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n");
                    let head = format!("{head}content-length: {}\r\n\r\n", body.len());
                    // A server that is being killed hangs up.
                    if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
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
    prometheus_with(&[("ours", target)], address, folder, &[]).await
}

/// The rules of the tests: one about a target, one that cannot be evaluated.
const RULES: &str = r#"
groups:
- name: g
  interval: 200ms
  rules:
  - alert: Gone
    expr: up{job="gone"} == 0
    annotations: { summary: nobody is there }
  - alert: Torn
    expr: up / on() up
"#;

/// The same with jobs by their names, the rules, and further arguments.
async fn prometheus_with(
    jobs: &[(&str, SocketAddr)],
    address: SocketAddr,
    folder: TempDir,
    further: &[&str],
) -> Server {
    let rules = folder.path().join("rules.yml");
    std::fs::write(&rules, RULES).unwrap();
    let mut config = format!(
        "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }}\n\
         rule_files: ['{}']\nscrape_configs:\n",
        rules.display()
    );
    for (job, target) in jobs {
        config.push_str(&format!("- job_name: {job}\n  static_configs:\n  - targets: ['{target}']\n"));
    }
    let path = folder.path().join("prometheus.yml");
    std::fs::write(&path, config).unwrap();
    let arguments = [
        format!("--config.file={}", path.display()),
        format!("--storage.tsdb.path={}", folder.path().join("data").display()),
        format!("--web.listen-address={address}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(further.iter().copied()).collect();
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
    // Five phases, three restarts.
    let phase = soak() / 5;
    let more = |n: u64| {
        let wanted = scraped.load(Ordering::SeqCst) + n;
        let (scraped, until) = (scraped.clone(), ctx().now().wall.plus(phase));
        move || scraped.load(Ordering::SeqCst) >= wanted && ctx().now().wall >= until
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
    let all = PrometheusSource::new(PrometheusConfig {
        backfill_ms: 300_000 + 2 * soak().as_millis() as u64,
        ..config(address)
    })
    .unwrap();
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

/// Whether it is so of the health of targets, of what alerts did so far, and of what was wrong.
type IsSo<'a> = &'a dyn Fn(&[(String, f64)], &[(String, bool)], &[String]) -> bool;

#[tokio::test]
async fn its_alerts_and_targets_are_read_through_a_restart() {
    let (target, _) = endpoint().await;
    let (gone, address) = (free_address(), free_address());
    let jobs = [("ours", target), ("gone", gone)];
    let server = prometheus_with(&jobs, address, TempDir::new().unwrap(), &[]).await;
    let config = PrometheusStateConfig { url: format!("http://{address}"), ..PrometheusStateConfig::default() };
    let source = PrometheusState::new(config).unwrap();
    let mut cursor = Cursor::default();
    let mut changes: Vec<(String, bool)> = Vec::new();
    let mut until = async |what: &str, is_so: IsSo<'_>| {
        wait_for(what, async || {
            let polled = source.poll(&ctx(), &cursor).await.ok()?;
            cursor = polled.next;
            assert_eq!(polled.batch.gone, [], "nothing was taken away");
            changes.extend(polled.batch.events.iter().map(|event| {
                let EventKind::Alert(state) = &event.kind else { panic!("{event:?}") };
                assert_eq!(event.name, "Gone");
                assert!(state.since <= event.at, "{event:?}");
                (event.entity.to_string(), state.firing)
            }));
            let health = polled.batch.metrics.iter().map(|s| (s.series.entity.to_string(), s.value));
            is_so(&health.collect::<Vec<_>>(), &changes, &polled.problems).then_some(())
        })
        .await;
    };
    let fires = ("gone".to_owned(), true);
    until("the alert fires", &|health, changes, problems| {
        health.contains(&("gone".to_owned(), 0.0))
            && health.contains(&("ours".to_owned(), 1.0))
            && changes == [fires.clone()]
            && problems.iter().any(|problem| problem.contains("rule `Torn` cannot be evaluated"))
            && problems.iter().any(|problem| problem.contains("`gone` is not up: "))
    })
    .await;
    let _server = prometheus_with(&jobs, address, server.end().await, &[]).await;
    let (_, scraped) =
        endpoint_at(gone, "text/plain", |n| format!("scrapes_total{{service=\"late\"}} {n}\n").into_bytes()).await;
    until("it is over", &|_, changes, _| changes == [fires.clone(), ("gone".to_owned(), false)]).await;
    assert!(scraped.load(Ordering::SeqCst) > 0, "it is over before the target was there");
}

#[tokio::test]
async fn an_entity_that_is_discovered_no_more_is_gone_and_one_that_is_down_or_dropped_is_not() {
    let (target, _) = endpoint().await;
    let address = free_address();
    let jobs =
        ["stays", "down", "dropped", "leaves"].map(|job| (job, if job == "down" { free_address() } else { target }));
    let server = prometheus_with(&jobs, address, TempDir::new().unwrap(), &[]).await;
    let config =
        PrometheusStateConfig { url: format!("http://{address}"), alerts: false, ..PrometheusStateConfig::default() };
    let source = PrometheusState::new(config).unwrap();
    let (mut cursor, mut gone) = (Cursor::default(), Vec::new());
    let mut until = async |what: &str, is_so: &dyn Fn(&[String], &[Gone]) -> bool| {
        wait_for(what, async || {
            let polled = source.poll(&ctx(), &cursor).await.ok()?;
            cursor = polled.next;
            gone.extend(polled.batch.gone);
            let scraped = polled.batch.metrics.iter().map(|sample| sample.series.entity.to_string());
            is_so(&scraped.collect::<Vec<_>>(), &gone).then_some(())
        })
        .await;
    };
    until("all are scraped", &|scraped, _| jobs.iter().all(|(job, _)| scraped.contains(&(*job).to_owned()))).await;
    let path = server.folder().join("prometheus.yml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.truncate(text.find("- job_name: dropped").unwrap());
    text.push_str(&format!(
        "- job_name: dropped\n  static_configs:\n  - targets: ['{target}']\n  relabel_configs:\n  - action: drop\n    \
         source_labels: [__address__]\n    regex: '.*'\n"
    ));
    std::fs::write(&path, text).unwrap();
    server.signal("HUP");
    until("one is gone", &|_, gone| !gone.is_empty()).await;
    let more = std::cell::Cell::new(0);
    until("nothing else is gone for long", &|_, _| more.replace(more.get() + 1) > 50).await;
    let names: Vec<(&str, &GoneReason)> = gone.iter().map(|gone| (gone.entity.as_str(), &gone.reason)).collect();
    assert_eq!(names, [("leaves", &GoneReason::Undiscovered)]);
}

#[tokio::test]
async fn targets_say_kinds_and_units() {
    let text = "application/openmetrics-text; version=1.0.0";
    let body = |n: u64| {
        format!(
            "# TYPE water_liters_total gauge\nwater_liters_total 3\n\
             # TYPE took_seconds summary\n# UNIT took_seconds seconds\ntook_seconds_count {n}\ntook_seconds_sum 1\n\
             # TYPE jobs counter\njobs_total {n}\n# EOF\n"
        )
        .into_bytes()
    };
    let (target, _) = endpoint_at("127.0.0.1:0".parse().unwrap(), text, body).await;
    let address = free_address();
    let _server = prometheus(target, address, TempDir::new().unwrap()).await;
    let query = query("all", "{__name__=~\"water.*|took.*|jobs.*\"}", Samples::Raw);
    let source =
        PrometheusSource::new(PrometheusConfig { query: vec![query], metadata_secs: 1, ..config(address) }).unwrap();
    let mut cursor = Cursor::default();
    // At the very beginning nothing is known of them yet.
    wait_for("the kinds are those that the target says", async || {
        let polled = source.poll(&ctx(), &cursor).await.ok()?;
        cursor = polled.next;
        let of = |metric: &str| {
            let found = polled.batch.metrics.iter().find(|sample| sample.series.metric == metric);
            found.map(|sample| (sample.series.kind, sample.series.unit.clone()))
        };
        let wanted = [
            ("water_liters_total", MetricKind::Gauge, ""),
            ("took_seconds_count", MetricKind::Counter, ""),
            ("took_seconds_sum", MetricKind::Counter, "seconds"),
            ("jobs_total", MetricKind::Counter, ""),
        ];
        wanted.into_iter().all(|(metric, kind, unit)| of(metric) == Some((kind, unit.to_owned()))).then_some(())
    })
    .await;
    let (now, selectors) = (ctx().now().wall, ["up{job=\"ours\"}", "jobs_total"]);
    let from = now.minus(Duration::from_secs(60));
    let found = source.series(&ctx(), &selectors, from, now).await.unwrap();
    let names: Vec<_> = found.iter().map(|labels| (labels.get("__name__"), labels.get("job"))).collect();
    assert_eq!(names, [(Some("jobs_total"), Some("ours")), (Some("up"), Some("ours"))]);
    assert!(source.series(&ctx(), &["{"], from, now).await.is_err());
}

/// The part of the client data model that native histograms need (`io.prometheus.client`).
mod model {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MetricFamily {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        /// 4 is a histogram.
        #[prost(int32, tag = "3")]
        pub(super) kind: i32,
        #[prost(message, repeated, tag = "4")]
        pub(super) metric: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metric {
        #[prost(message, optional, tag = "7")]
        pub(super) histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(uint64, tag = "1")]
        pub(super) count: u64,
        #[prost(double, tag = "2")]
        pub(super) sum: f64,
        #[prost(sint32, tag = "5")]
        pub(super) schema: i32,
        #[prost(double, tag = "6")]
        pub(super) zero_threshold: f64,
        #[prost(uint64, tag = "7")]
        pub(super) zero_count: u64,
        #[prost(message, repeated, tag = "12")]
        pub(super) spans: Vec<Span>,
        #[prost(sint64, repeated, tag = "13")]
        pub(super) deltas: Vec<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(sint32, tag = "1")]
        pub(super) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(super) length: u32,
    }
}

#[tokio::test]
async fn native_histograms_become_the_parts_of_classic_ones() {
    let text = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let body = |_| {
        // Schema 1: each bucket is larger by the root of two. 3 values up to 1, 2 up to 1.41, 4 up to 2.
        let histogram = model::Histogram {
            count: 10,
            sum: 12.5,
            schema: 1,
            zero_threshold: 0.001,
            zero_count: 1,
            spans: vec![model::Span { offset: 0, length: 3 }],
            deltas: vec![3, -1, 2],
        };
        let metric = vec![model::Metric { histogram: Some(histogram) }];
        let family = model::MetricFamily { name: "took_seconds".into(), kind: 4, metric };
        prost::Message::encode_length_delimited_to_vec(&family)
    };
    let (target, scraped) = endpoint_at("127.0.0.1:0".parse().unwrap(), text, body).await;
    let address = free_address();
    let folder = TempDir::new().unwrap();
    let _server = prometheus_with(&[("ours", target)], address, folder, &["--enable-feature=native-histograms"]).await;
    wait_until("a few scrapes", || scraped.load(Ordering::SeqCst) > 5).await;
    let config = PrometheusConfig {
        query: vec![query("all", "took_seconds", Samples::Raw)],
        histogram_bounds: vec![0.5, 1.0, 2.0],
        backfill_ms: 60_000,
        ..config(address)
    };
    let source = PrometheusSource::new(config).unwrap();
    let metrics = wait_for("there are samples", async || {
        let polled = source.poll(&ctx(), &Cursor::default()).await.ok()?;
        assert_eq!(polled.dropped, 0, "{:?}", polled.problems);
        Some(polled.batch.metrics).filter(|metrics| !metrics.is_empty())
    })
    .await;
    let seen: Vec<_> = metrics
        .iter()
        .take(6)
        .map(|s| (s.series.metric.as_str(), s.series.labels.get("le"), s.series.kind, s.value))
        .collect();
    let bucket = |le, value| ("took_seconds_bucket", Some(le), MetricKind::Bucket, value);
    let wanted = [
        ("took_seconds_count", None, MetricKind::Counter, 10.0),
        ("took_seconds_sum", None, MetricKind::Counter, 12.5),
        bucket("0.5", 1.0),
        bucket("1", 4.0),
        bucket("2", 10.0),
        bucket("+Inf", 10.0),
    ];
    assert_eq!(seen, wanted);
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
