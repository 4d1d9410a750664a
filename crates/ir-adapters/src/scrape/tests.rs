//! Tests of the scrape against endpoints that misbehave on purpose.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ir_core::Clock;
use ir_core::testkit::signal as laws;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::SystemClock;

fn ctx() -> Ctx {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Ctx::new(clock).with_timeout(std::time::Duration::from_secs(20))
}

/// An endpoint whose content the test changes; hangs when told so.
#[derive(Debug, Default)]
struct Endpoint {
    body: Mutex<Vec<u8>>,
    content_type: Mutex<String>,
    content_encoding: Mutex<String>,
    /// The head of the last request.
    asked: Mutex<String>,
    hangs: AtomicBool,
    n_served: AtomicUsize,
}

async fn endpoint(body: &str) -> (Arc<Endpoint>, String) {
    let endpoint = Arc::new(Endpoint { body: Mutex::new(body.into()), ..Endpoint::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let shared = endpoint.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let shared = shared.clone();
            tokio::spawn(async move {
                let mut chunk = [0; 4096];
                while let Ok(n) = stream.read(&mut chunk).await
                    && n > 0
                {
                    *shared.asked.lock().unwrap() = String::from_utf8_lossy(&chunk[..n]).to_ascii_lowercase();
                    if shared.hangs.load(Ordering::SeqCst) {
                        return std::future::pending().await;
                    }
                    shared.n_served.fetch_add(1, Ordering::SeqCst);
                    let body = shared.body.lock().unwrap().clone();
                    let mut head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
                    let content_type = shared.content_type.lock().unwrap().clone();
                    if !content_type.is_empty() {
                        head.push_str(&format!("content-type: {content_type}\r\n"));
                    }
                    let content_encoding = shared.content_encoding.lock().unwrap().clone();
                    if !content_encoding.is_empty() {
                        head.push_str(&format!("content-encoding: {content_encoding}\r\n"));
                    }
                    head.push_str("\r\n");
                    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
                }
            });
        }
    });
    (endpoint, url)
}

fn source(targets: &[(&str, &str)]) -> ScrapeSource {
    let target = targets
        .iter()
        .map(|(entity, url)| ScrapeTarget { entity: EntityId::new(entity).unwrap(), url: (*url).to_owned() })
        .collect();
    let drop_labels = vec!["service".to_owned()];
    ScrapeSource::new(ScrapeConfig { target, timeout_ms: 500, max_series: 50, drop_labels, ..ScrapeConfig::default() })
        .unwrap()
}

fn value(polled: &Polled, entity: &str, metric: &str) -> Option<f64> {
    let of = |sample: &&MetricSample| sample.series.entity.as_str() == entity && sample.series.metric == metric;
    polled.batch.metrics.iter().find(of).map(|sample| sample.value)
}

#[tokio::test]
async fn a_dead_and_a_silent_target_are_down_and_the_others_still_come() {
    let (_, good) = endpoint("# TYPE a_seconds_total counter\na_seconds_total{service=\"x\",le=\"y\"} 3\n").await;
    let (silent, slow) = endpoint("a 1\n").await;
    silent.hangs.store(true, Ordering::SeqCst);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = format!("http://{}/", gone.local_addr().unwrap());
    drop(gone);
    let source = source(&[("good", &good), ("slow", &slow), ("dead", &dead)]);
    let polled = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    assert_eq!(value(&polled, "good", "up"), Some(1.0));
    assert_eq!(value(&polled, "slow", "up"), Some(0.0));
    assert_eq!(value(&polled, "dead", "up"), Some(0.0));
    assert_eq!((polled.dropped, polled.problems.len()), (0, 2), "{:?}", polled.problems);

    let sample = polled.batch.metrics.iter().find(|s| s.series.metric == "a_seconds_total").unwrap();
    assert_eq!((sample.series.kind, sample.series.unit.as_str()), (MetricKind::Counter, "seconds"));
    assert_eq!(sample.series.labels.to_string(), "{le=\"y\"}", "`service` is dropped");
    let of_up = polled.batch.metrics.iter().find(|s| s.series.metric == "up").unwrap();
    assert_eq!((of_up.series.kind, of_up.at), (MetricKind::Up, sample.at));
}

#[tokio::test]
async fn a_series_is_shared_by_its_scrapes_and_forgotten_with_its_target() {
    let (endpoint, url) = endpoint("a{x=\"1\"} 1\nb 2\n").await;
    let source = source(&[("web", &url)]);
    let first = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    let second = source.poll(&ctx(), &first.next).await.unwrap();
    for (one, two) in first.batch.metrics.iter().zip(&second.batch.metrics) {
        assert!(Arc::ptr_eq(&one.series, &two.series));
    }
    *endpoint.body.lock().unwrap() = b"# TYPE b counter\nb 3\n".to_vec();
    let third = source.poll(&ctx(), &second.next).await.unwrap();
    assert_eq!(third.batch.metrics[0].series.kind, MetricKind::Counter, "a type that changed is a new series");
    let known = source.targets[0].known.lock().unwrap();
    assert_eq!((known.entries.len(), known.by_text.len(), known.by_series.len()), (1, 1, 1));
}

#[tokio::test]
async fn wrong_lines_series_beyond_the_bound_and_repeats_are_counted() {
    let mut body = "bad line here\na 1\na 1\nb{x=1} 2\n".to_owned();
    for n in 0..60 {
        body.push_str(&format!("many{{n=\"{n}\"}} {n}\n"));
    }
    let (_, url) = endpoint(&body).await;
    let polled = source(&[("web", &url)]).poll(&ctx(), &Cursor::default()).await.unwrap();
    // `a`, `up`, and as many of the others as fit within 50 series.
    assert_eq!(polled.batch.metrics.len(), 51);
    assert_eq!(polled.dropped, 3 + 11);
    assert_eq!(polled.problems.len(), MAX_PROBLEMS);
    assert!(polled.problems[0].contains("line 1"), "{:?}", polled.problems);
}

#[tokio::test]
async fn a_sample_with_a_time_of_its_own_comes_once() {
    let now = ctx().now().wall.as_nanos() / 1_000_000;
    let (endpoint, url) = endpoint(&format!("a 1 {now}\nb 1\n")).await;
    let source = source(&[("web", &url)]);
    let first = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    assert_eq!(first.batch.metrics[0].at, Timestamp::from_millis(now));
    let second = source.poll(&ctx(), &first.next).await.unwrap();
    assert_eq!((value(&second, "web", "a"), value(&second, "web", "b")), (None, Some(1.0)));
    *endpoint.body.lock().unwrap() = format!("a 2 {}\n", now + 1000).into();
    let third = source.poll(&ctx(), &second.next).await.unwrap();
    assert_eq!((value(&third, "web", "a"), third.dropped), (Some(2.0), 0));
    assert_eq!(endpoint.n_served.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn openmetrics_is_asked_for_and_read_and_what_is_not_whole_is_a_failed_scrape() {
    let (endpoint, url) = endpoint("").await;
    let source = source(&[("web", &url)]);
    let mut cursor = Cursor::default();
    let mut scrape = async |content_type: &str, body: &str| {
        *endpoint.content_type.lock().unwrap() = content_type.to_owned();
        *endpoint.body.lock().unwrap() = body.into();
        let polled = source.poll(&ctx(), &cursor).await.unwrap();
        cursor = polled.next.clone();
        polled
    };
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = "# TYPE a counter\n# UNIT a liters\na_total 5 2.5 # {trace_id=\"x\"} 1\na_created 1\n# EOF\n";
    let now = ctx().now().wall.as_nanos() / 1_000_000_000;
    let text = text.replace("2.5", &format!("{now}.5"));
    let polled = scrape(open, &text).await;
    let sample = &polled.batch.metrics[0];
    assert_eq!((sample.at, sample.series.unit.as_str()), (Timestamp::from_millis(now * 1000 + 500), "liters"));
    assert_eq!((polled.dropped, value(&polled, "web", "up")), (0, Some(1.0)));
    assert_eq!(source.left_out(), ScrapeLeftOut { exemplars: 1, created: 1 });
    assert!(endpoint.asked.lock().unwrap().contains("accept: application/openmetrics-text;version=1.0.0,text/plain"));
    // Cut off: nothing of it counts, and what it held comes with the next scrape that is whole.
    let later = text.replace(&format!("{now}.5"), &format!("{}.5", now + 1));
    let polled = scrape(open, later.strip_suffix("# EOF\n").unwrap()).await;
    assert_eq!((polled.batch.metrics.len(), value(&polled, "web", "up")), (1, Some(0.0)));
    assert!(polled.problems[0].contains("# EOF"), "{:?}", polled.problems);
    let polled = scrape(open, &later).await;
    assert_eq!(value(&polled, "web", "a_total"), Some(5.0));
    let polled = scrape("text/html; charset=utf-8", "<html>please log in</html>").await;
    assert_eq!((value(&polled, "web", "up"), polled.dropped), (Some(0.0), 0));
    assert!(polled.problems[0].contains("`text/html`"), "{:?}", polled.problems);
}

#[tokio::test]
async fn a_time_that_cannot_be_costs_its_sample_and_mutes_nothing() {
    let (endpoint, url) = endpoint("").await;
    let source = source(&[("web", &url)]);
    let now = ctx().now().wall.as_nanos() / 1_000_000;
    let scrape = async |content_type: &str, body: String| {
        *endpoint.content_type.lock().unwrap() = content_type.to_owned();
        *endpoint.body.lock().unwrap() = body.into();
        source.poll(&ctx(), &Cursor::default()).await.unwrap()
    };
    let open = "application/openmetrics-text";
    for (what, content_type, body) in [
        ("seconds for milliseconds", "", format!("a 1 {}\n", now / 1000)),
        ("microseconds for milliseconds", "", format!("a 1 {now}000\n")),
        ("milliseconds for seconds", open, format!("a 1 {now}\n# EOF\n")),
        ("0", "", "a 1 0\n".to_owned()),
        ("an hour ahead", "", format!("a 1 {}\n", now + 3_600_000)),
    ] {
        let polled = scrape(content_type, body).await;
        assert_eq!((value(&polled, "web", "a"), polled.dropped), (None, 1), "{what}");
        assert!(polled.problems[0].contains("time too far"), "{what}: {:?}", polled.problems);
        // Whoever has a wrong clock is up all the same.
        assert_eq!(value(&polled, "web", "up"), Some(1.0), "{what}");
    }
    let polled = scrape("", format!("a 2 {now}\n")).await;
    assert_eq!((value(&polled, "web", "a"), polled.dropped, polled.late), (Some(2.0), 0, 0));
    // A clock that was some minutes ahead and is set right: what follows comes, and counts as late until it is new.
    let polled = scrape("", format!("a 3 {}\n", now + 300_000)).await;
    assert_eq!((value(&polled, "web", "a"), polled.late), (Some(3.0), 0));
    let polled = scrape("", format!("a 4 {}\n", now + 15_000)).await;
    assert_eq!((value(&polled, "web", "a"), polled.late), (Some(4.0), 1));
    let polled = scrape("", format!("a 4 {}\n", now + 15_000)).await;
    assert_eq!((value(&polled, "web", "a"), polled.late), (None, 0));
}

#[tokio::test]
async fn a_target_of_which_nothing_can_be_read_is_down() {
    let (endpoint, url) = endpoint("a 1\n").await;
    let source = source(&[("web", &url)]);
    for encoding in ["gzip", "deflate", "br", "zstd", "x-own"] {
        *endpoint.content_encoding.lock().unwrap() = encoding.to_owned();
        let polled = source.poll(&ctx(), &Cursor::default()).await.unwrap();
        assert_eq!((value(&polled, "web", "up"), polled.batch.metrics.len()), (Some(0.0), 1), "{encoding}");
        assert!(polled.problems[0].contains(encoding), "{:?}", polled.problems);
    }
    *endpoint.content_encoding.lock().unwrap() = "identity".to_owned();
    for (body, up) in [
        (&b"a 1\n"[..], 1.0),
        // Nothing to say is no failure.
        (b"", 1.0),
        (b"# TYPE a counter\n", 1.0),
        (b"a 1\nnonsense\n", 1.0),
        (b"nonsense\n<html>\n", 0.0),
        // Packed without saying so.
        (b"\x1f\x8b\x08\0\0\0\0\0\xff", 0.0),
    ] {
        *endpoint.body.lock().unwrap() = body.to_vec();
        let polled = source.poll(&ctx(), &Cursor::default()).await.unwrap();
        assert_eq!(value(&polled, "web", "up"), Some(up), "{body:?}");
        assert_eq!(polled.problems.iter().any(|problem| problem.contains("not up")), up == 0.0, "{body:?}");
    }
}

#[tokio::test]
async fn a_mark_in_front_costs_nothing() {
    let (endpoint, url) = endpoint("").await;
    let source = source(&[("web", &url)]);
    let text = "\u{feff}# TYPE handled counter\nhandled 41\n";
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [text.as_bytes().to_vec(), utf16] {
        *endpoint.body.lock().unwrap() = body;
        let polled = source.poll(&ctx(), &Cursor::default()).await.unwrap();
        assert_eq!((polled.batch.metrics[0].series.kind, polled.dropped), (MetricKind::Counter, 0));
    }
    *endpoint.body.lock().unwrap() = "\u{feff}handled_total 41\n".into();
    let polled = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    assert_eq!((value(&polled, "web", "handled_total"), polled.dropped), (Some(41.0), 0));
}

#[tokio::test]
async fn series_that_fall_onto_one_are_said_once() {
    let (endpoint, url) =
        endpoint("# TYPE hits_total counter\nhits_total{service=\"a\"} 1\nhits_total{service=\"b\"} 9\n").await;
    let source = source(&[("web", &url)]);
    let polled = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    assert_eq!((polled.batch.metrics.len(), polled.dropped), (3, 0));
    assert_eq!(polled.problems.len(), 1);
    assert!(polled.problems[0].contains("2 series of `hits_total`"), "{:?}", polled.problems);
    assert!(source.poll(&ctx(), &polled.next).await.unwrap().problems.is_empty());
    // Another one of the same metric, and another metric.
    endpoint
        .body
        .lock()
        .unwrap()
        .extend_from_slice(b"hits_total{service=\"c\"} 1\nb{service=\"a\"} 1\nb{service=\"b\"} 1\n");
    let polled = source.poll(&ctx(), &polled.next).await.unwrap();
    assert_eq!(polled.problems.len(), 1);
    assert!(polled.problems[0].contains("2 series of `b`"), "{:?}", polled.problems);
}

#[tokio::test]
async fn a_series_is_known_by_its_set_of_labels() {
    let now = ctx().now().wall.as_nanos() / 1_000_000;
    let (endpoint, url) = endpoint(&format!("a{{x=\"1\",y=\"2\"}} 1 {now}\n")).await;
    let source = source(&[("web", &url)]);
    let first = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    // The same sample with its labels in another order was given already, and twice in one answer it is one too many.
    for body in [
        format!("a{{y=\"2\",x=\"1\"}} 1 {now}\n"),
        format!("a{{ y=\"2\", x=\"1\", }} 1 {now}\n"),
        format!("a{{y=\"2\",z=\"\",x=\"1\"}} 1 {now}\n"),
    ] {
        *endpoint.body.lock().unwrap() = body.clone().into();
        let polled = source.poll(&ctx(), &first.next).await.unwrap();
        assert_eq!((polled.batch.metrics.len(), polled.dropped), (1, 0), "{body}");
    }
    *endpoint.body.lock().unwrap() = "a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 1\n".into();
    let polled = source.poll(&ctx(), &first.next).await.unwrap();
    assert_eq!((polled.batch.metrics.len(), polled.dropped), (2, 1));
    assert!(Arc::ptr_eq(&polled.batch.metrics[0].series, &first.batch.metrics[0].series));
}

#[tokio::test]
async fn a_cursor_of_somebody_else_is_refused() {
    let (_, url) = endpoint("").await;
    let error = source(&[("web", &url)]).poll(&ctx(), &Cursor::new("{\"offset\":3}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

struct Filler(Arc<Endpoint>);

#[async_trait]
impl laws::Supply for Filler {
    async fn add(&self, n: usize) {
        let mut body = self.0.body.lock().unwrap();
        for _ in 0..n {
            let line = format!("a{{n=\"{}\"}} 1\n", body.len());
            body.extend_from_slice(line.as_bytes());
        }
    }

    async fn spoil(&self, n: usize) -> u64 {
        self.0.body.lock().unwrap().extend_from_slice("no value\n".repeat(n).as_bytes());
        n as u64
    }

    async fn hang(&self) -> bool {
        self.0.hangs.store(true, Ordering::SeqCst);
        true
    }
}

#[async_trait]
impl laws::Hostile for Filler {
    async fn feed(&self, what: laws::Hostility) -> Option<laws::Fed> {
        let now = ctx().now().wall.as_nanos() / 1_000_000;
        let (text, dropped) = match what {
            laws::Hostility::BadParts => ("good 1\nno value\nbetter 2\n".to_owned(), 1),
            laws::Hostility::WrongTimes => (format!("ahead 1 {now}000\nold 1 {}\n", now / 1000), 2),
            // Two samples of one series.
            laws::Hostility::EmptyLabel => ("a 1\na{x=\"\"} 2\n".to_owned(), 1),
            _ => return None,
        };
        let given = text.lines().count() - usize::try_from(dropped).unwrap();
        *self.0.body.lock().unwrap() = text.into();
        Some(laws::Fed { given, dropped })
    }
}

#[tokio::test]
async fn it_keeps_the_laws_on_hostile_input() {
    let fresh = async || {
        let (endpoint, url) = endpoint("").await;
        (
            Box::new(source(&[("web", &url)])) as Box<dyn SignalSource>,
            Box::new(Filler(endpoint)) as Box<dyn laws::Hostile>,
        )
    };
    laws::check_hostile(&ctx(), fresh).await.unwrap();
}

async fn keeps_every_law(wrap: fn(ScrapeSource) -> Box<dyn SignalSource>) {
    let fresh = async || {
        let (endpoint, url) = endpoint("").await;
        (wrap(source(&[("web", &url)])), Box::new(Filler(endpoint)) as Box<dyn laws::Supply>)
    };
    laws::check_all(&ctx(), fresh).await.unwrap();
}

#[tokio::test]
async fn it_keeps_every_law_as_itself_in_a_box_and_in_an_arc() {
    keeps_every_law(|source| Box::new(source)).await;
    keeps_every_law(|source| Box::new(Box::new(source))).await;
    keeps_every_law(|source| Box::new(Arc::new(source))).await;
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let target = |entity: &str, url: &str| ScrapeTarget { entity: EntityId::new(entity).unwrap(), url: url.to_owned() };
    let config = ScrapeConfig {
        name: "a b".to_owned(),
        target: vec![target("web", "http://h/"), target("web", "https://h/")],
        timeout_ms: 0,
        ..ScrapeConfig::default()
    };
    let error = ScrapeSource::new(config).unwrap_err();
    let fields: Vec<&str> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["name", "timeout_ms", "target[1].entity", "target[1].url"]);
    assert!(ScrapeSource::new(ScrapeConfig::default()).is_err(), "without a target there is nothing to scrape");
}
