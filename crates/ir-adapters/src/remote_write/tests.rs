//! Senders that are sound, that repeat themselves, and that mean no good.

use std::sync::atomic::AtomicUsize;

use ir_core::testkit::signal as laws;
use ir_core::{Clock as _, ManualClock, MetricKind, Secret};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::hook::Token;

const TOKEN: &str = "a-token-of-some-length";

/// A request as another library writes it.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Written>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Written {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    millis: i64,
}

fn config() -> RemoteWriteConfig {
    RemoteWriteConfig {
        max_bytes: 256 << 10,
        max_unpacked_bytes: 1 << 20,
        max_samples: 1_000,
        max_series: 100,
        max_waiting: 3_000,
        ..RemoteWriteConfig::default()
    }
}

fn source(config: RemoteWriteConfig) -> RemoteWriteSource {
    let auth = PushAuth::Bearer(Token::new(&Secret::new(TOKEN)).unwrap());
    RemoteWriteSource::new(&Ctx::new(Arc::new(ManualClock::new())), config, auth).unwrap()
}

/// Milliseconds since 1970 on the clock of the tests.
fn now() -> i64 {
    ManualClock::new().now().wall.as_nanos() / 1_000_000
}

fn written(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Written {
    let mut labels: Vec<Pair> =
        labels.iter().map(|(name, value)| Pair { name: (*name).to_owned(), value: (*value).to_owned() }).collect();
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    let samples = samples.iter().map(|(millis, value)| Sample { value: *value, millis: *millis }).collect();
    Written { labels, samples, histograms: Vec::new() }
}

fn web(metric: &str, samples: &[(i64, f64)]) -> Written {
    written(&[("__name__", metric), ("job", "web"), ("instance", "a:1")], samples)
}

fn packed(series: Vec<Written>) -> Vec<u8> {
    let message = WriteRequest { series, metadata: vec![Pair { name: "x".to_owned(), value: "y".to_owned() }] };
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap()
}

async fn post_as(source: &RemoteWriteSource, headers: &[(&'static str, &str)], body: Vec<u8>) -> u16 {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.insert(*name, value.parse().unwrap());
    }
    source.0.answer(&all, Body::from(body)).await.0
}

async fn post_bytes(source: &RemoteWriteSource, body: Vec<u8>) -> u16 {
    let token = format!("Bearer {TOKEN}");
    let headers =
        [("authorization", &*token), ("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
    post_as(source, &headers, body).await
}

async fn post(source: &RemoteWriteSource, series: Vec<Written>) -> u16 {
    post_bytes(source, packed(series)).await
}

async fn poll(source: &RemoteWriteSource, cursor: &Cursor) -> Polled {
    source.poll(&source.0.ctx, cursor).await.unwrap()
}

async fn all(source: &RemoteWriteSource) -> Polled {
    poll(source, &Cursor::default()).await
}

fn told(polled: &Polled) -> Vec<(i64, f64)> {
    polled.batch.metrics.iter().map(|s| (s.at.as_nanos() / 1_000_000 - now(), s.value)).collect()
}

#[tokio::test]
async fn series_are_those_of_the_server() {
    let source = source(RemoteWriteConfig { drop_labels: vec!["instance".to_owned()], ..config() });
    let rows = vec![
        web("http_requests_total", &[(now(), 7.0)]),
        web("up", &[(now(), 1.0)]),
        written(
            &[("__name__", "took_seconds_bucket"), ("le", "0.5"), ("job", "web"), ("service", "shop")],
            &[(now(), 3.0)],
        ),
        web("odd", &[(now(), f64::NAN), (now() + 1, f64::NEG_INFINITY)]),
    ];
    assert_eq!(post(&source, rows).await, 204);
    let batch = all(&source).await.batch;
    let told: Vec<String> = batch
        .metrics
        .iter()
        .map(|s| format!("{} {:?} {}{} {}", s.series.entity, s.series.kind, s.series.metric, s.series.labels, s.value))
        .collect();
    let wanted = [
        "web Counter http_requests_total{} 7",
        "web Up up{} 1",
        "shop Bucket took_seconds_bucket{job=\"web\",le=\"0.5\"} 3",
        "web Gauge odd{} NaN",
        "web Gauge odd{} -inf",
    ];
    assert_eq!(told, wanted);
    assert_eq!(batch.metrics[1].series.kind, MetricKind::Up);
}

#[tokio::test]
async fn what_a_sender_repeats_is_passed_over_and_what_comes_late_is_taken() {
    let source = source(config());
    let at = |n: i64| (now() + n, n as f64);
    let rows = packed(vec![web("m", &[at(1), at(2), at(5)])]);
    for _ in 0..3 {
        assert_eq!(post_bytes(&source, rows.clone()).await, 204);
    }
    // Partly the same, in another request.
    assert_eq!(post(&source, vec![web("m", &[at(2), at(5), at(6)])]).await, 204);
    assert_eq!(post(&source, vec![web("m", &[at(4)]), web("other", &[at(4)])]).await, 204);
    assert_eq!(post(&source, vec![web("m", &[at(4)]), web("other", &[at(4)]), web("m", &[at(7)])]).await, 204);
    let polled = all(&source).await;
    assert_eq!(told(&polled), [1, 2, 5, 6, 4, 4, 7].map(|n| (n, n as f64)));
    assert_eq!((polled.late, polled.dropped), (1, 0));
}

#[tokio::test]
async fn a_stale_marker_ends_a_series_and_is_no_value() {
    let source = source(config());
    let stale = f64::from_bits(STALE);
    let rows = vec![web("m", &[(now(), 1.0), (now() + 1, stale), (now() + 2, 2.0)])];
    assert_eq!(post(&source, rows).await, 204);
    // Other NaN are values, as the server keeps them.
    let rows = vec![web("m", &[(now() + 1, stale), (now() + 3, f64::from_bits(STALE - 1))])];
    assert_eq!(post(&source, rows).await, 204);
    let polled = all(&source).await;
    assert_eq!((polled.dropped, polled.batch.metrics.len()), (0, 3));
    assert!(polled.batch.metrics[2].value.is_nan());
}

#[tokio::test]
async fn what_no_sound_server_sends_is_dropped_and_told_and_the_rest_is_taken() {
    let long = "x".repeat(2_000);
    let many: Vec<(String, String)> = (0..65).map(|n| (format!("l{n:02}"), "x".to_owned())).collect();
    let mut many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    many.extend([("__name__", "m"), ("job", "web")]);
    let twice = Written {
        labels: [web("m", &[]).labels, web("m", &[]).labels].concat(),
        ..web("m", &[(now(), 1.0), (now() + 1, 1.0)])
    };
    // What is sent, how many samples are lost with it.
    let rows = [
        (written(&[("job", "web")], &[(now(), 1.0)]), 1),
        (written(&[("__name__", ""), ("job", "web")], &[(now(), 1.0)]), 1),
        (written(&[("__name__", &long), ("job", "web")], &[(now(), 1.0)]), 1),
        (written(&[("__name__", "m"), ("", "x"), ("job", "web")], &[(now(), 1.0)]), 1),
        (written(&many, &[(now(), 1.0), (now() + 1, 1.0)]), 2),
        (twice, 2),
        (web("m", &[(0, 1.0), (-5, 1.0), (i64::MIN, 1.0), (i64::MAX, 1.0), (now() + 601_000, 1.0)]), 5),
    ];
    for (row, lost) in rows {
        let source = source(config());
        let what = format!("{row:?}");
        assert_eq!(post(&source, vec![row, web("good", &[(now(), 1.0)])]).await, 400, "{what}");
        let polled = all(&source).await;
        assert_eq!((polled.batch.metrics.len(), polled.dropped), (1, lost), "{what}");
    }
    // Of no interest, or not understood: no fault of the sender.
    let source = source(config());
    let mut histogram = web("h", &[]);
    histogram.histograms = vec![Pair::default(); 3];
    let nobody = written(&[("__name__", "m")], &[(now(), 1.0)]);
    let nameless = written(&[("__name__", "m"), ("job", "?")], &[(now(), 1.0)]);
    assert_eq!(post(&source, vec![histogram, nobody, nameless]).await, 204);
    assert_eq!(all(&source).await.dropped, 5);
}

/// A request with these fields of a `WriteRequest`, each with its number and its content.
fn fields(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (number, content) in fields {
        body.push(number << 3 | 2);
        prost::encode_length_delimiter(content.len(), &mut body).unwrap();
        body.extend_from_slice(content);
    }
    snap::raw::Encoder::new().compress_vec(&body).unwrap()
}

#[tokio::test]
async fn a_series_that_cannot_be_read_costs_itself_alone() {
    let good = |metric: &str| web(metric, &[(now(), 1.0)]).encode_to_vec();
    let mut text = good("m");
    let at = text.windows(3).position(|bytes| bytes == b"web").unwrap();
    text[at] = 0xff;
    for (what, bad) in
        [("no UTF-8", text), ("cut off within", vec![0x0a, 0x7f]), ("a sample of another kind", vec![0x10, 1])]
    {
        let source = source(config());
        let body = fields(&[(1, good("a")), (1, bad.clone()), (1, good("b")), (1, bad.clone())]);
        assert_eq!(post_bytes(&source, body).await, 400, "{what}");
        let polled = all(&source).await;
        assert_eq!((polled.batch.metrics.len(), polled.dropped), (2, 2), "{what}");
        // All of them.
        let source = self::source(config());
        assert_eq!(post_bytes(&source, fields(&[(1, bad.clone()), (1, bad)])).await, 400, "{what}");
        assert_eq!(all(&source).await.dropped, 2, "{what}");
    }
}

#[tokio::test]
async fn a_request_in_which_nothing_is_known_is_counted() {
    for (what, body, dropped) in [
        ("version 2.0", fields(&[(4, b"".to_vec()), (4, b"job".to_vec()), (5, vec![]), (5, vec![])]), 2),
        ("something else", fields(&[(7, b"x".to_vec())]), 1),
    ] {
        let source = source(config());
        assert_eq!(post_bytes(&source, body).await, 400, "{what}");
        let polled = all(&source).await;
        assert_eq!((polled.dropped, polled.problems.len()), (dropped, 1), "{what}");
    }
    // Nothing at all, and metadata alone, lose nothing.
    let source = source(config());
    assert_eq!(post_bytes(&source, fields(&[])).await, 204);
    assert_eq!(post_bytes(&source, fields(&[(3, b"".to_vec())])).await, 204);
    assert_eq!(all(&source).await.dropped, 0);
}

#[tokio::test]
async fn a_time_that_cannot_be_mutes_nothing() {
    let source = source(config());
    for wrong in [now() / 1000, now() * 1000, now() + 3_600_000] {
        assert_eq!(post(&source, vec![web("m", &[(wrong, 1.0)])]).await, 400, "{wrong}");
    }
    assert_eq!(post(&source, vec![web("m", &[(now(), 2.0)])]).await, 204);
    let polled = all(&source).await;
    assert_eq!((told(&polled), polled.dropped, polled.late), (vec![(0, 2.0)], 3, 0));
}

#[tokio::test]
async fn entities_are_named_by_labels_with_a_value() {
    let source = source(config());
    let series = |labels: &[(&str, &str)]| written(&[&[("__name__", "m")], labels].concat(), &[(now(), 1.0)]);
    let rows = vec![
        series(&[("job", "node"), ("service", ""), ("zone", "")]),
        series(&[("job", "x"), ("service", "Payment Service")]),
        series(&[("job", ""), ("service", "")]),
    ];
    assert_eq!(post(&source, rows).await, 204);
    let polled = all(&source).await;
    let series: Vec<String> =
        polled.batch.metrics.iter().map(|s| format!("{} {}", s.series.entity, s.series.labels)).collect();
    assert_eq!(series, ["node {}", "Payment-Service {job=\"x\",service=\"Payment Service\"}"]);
    assert_eq!(polled.dropped, 1);
}

#[tokio::test]
async fn series_that_fall_onto_one_are_said_once() {
    let source = source(RemoteWriteConfig { drop_labels: vec!["pod".into()], ..config() });
    let pod =
        |pod: &str, at: i64, value: f64| written(&[("__name__", "hits"), ("job", "web"), ("pod", pod)], &[(at, value)]);
    // One that is replaced is no second one.
    for (n, name) in ["a", "a", "b"].into_iter().enumerate() {
        assert_eq!(post(&source, vec![pod(name, now() + n as i64, 1.0)]).await, 204);
    }
    assert!(all(&source).await.problems.is_empty());
    for n in 3..7 {
        let rows = vec![pod("a", now() + 10 * n, 1.0), pod("b", now() + 10 * n + 1, 9.0)];
        assert_eq!(post(&source, rows).await, 204);
    }
    let polled = all(&source).await;
    assert_eq!((polled.batch.metrics.len(), polled.dropped, polled.problems.len()), (11, 0, 1));
    assert!(polled.problems[0].contains("several sources"), "{:?}", polled.problems);
    // At the very same time one of two values is too many; the same value is a repetition.
    assert_eq!(
        post(&source, vec![pod("a", now() + 100, 1.0), pod("b", now() + 100, 9.0), pod("c", now() + 100, 1.0)]).await,
        204
    );
    let polled = poll(&source, &polled.next).await;
    assert_eq!((polled.batch.metrics.len(), polled.dropped), (1, 1));
}

#[tokio::test]
async fn what_is_older_than_is_remembered_is_dropped() {
    let source = source(config());
    let samples: Vec<(i64, f64)> = (1..=200).map(|n| (now() + n, 0.0)).collect();
    assert_eq!(post(&source, vec![web("m", &samples)]).await, 204);
    assert_eq!(post(&source, vec![web("m", &[(now() + 50, 0.0), (now() + 201, 0.0)])]).await, 400);
    let polled = all(&source).await;
    assert_eq!((polled.batch.metrics.len(), polled.dropped), (201, 1));
}

#[tokio::test]
async fn series_samples_and_bytes_are_bounded() {
    let source = source(config());
    let series = |n: usize| written(&[("__name__", "m"), ("job", "web"), ("user", &n.to_string())], &[(now(), 1.0)]);
    assert_eq!(post(&source, (0..150).map(series).collect()).await, 204);
    let polled = all(&source).await;
    assert_eq!((polled.batch.metrics.len(), polled.dropped), (100, 50));
    let samples: Vec<(i64, f64)> = (1..=1_500).map(|n| (now() + n, 0.0)).collect();
    let source = self::source(config());
    assert_eq!(post(&source, vec![web("m", &samples)]).await, 204);
    let polled = all(&source).await;
    assert_eq!((polled.batch.metrics.len(), polled.dropped), (1_000, 500));
    // Two bytes on the wire for each series and each label that says nothing.
    let empty = [0x0a, 0].repeat(200_000);
    let label = [&[0x0a, 0xc0, 0x84, 0x3d][..], &[0x0a, 0].repeat(500_000)].concat();
    for message in [empty, label] {
        let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
        assert!([204, 400].contains(&post_bytes(&source, body).await));
    }
    assert_eq!(all(&source).await.batch.metrics.len(), 1_000);
}

#[tokio::test]
async fn bombs_and_nonsense_are_refused() {
    let source = source(config());
    let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 2 << 20]).unwrap();
    assert!(bomb.len() < 256 << 10);
    assert_eq!(post_bytes(&source, bomb).await, 413);
    assert_eq!(post_bytes(&source, vec![0; (256 << 10) + 1]).await, 413);
    assert_eq!(post_bytes(&source, b"text".to_vec()).await, 400);
    let nonsense = snap::raw::Encoder::new().compress_vec(&[0xff; 64]).unwrap();
    assert_eq!(post_bytes(&source, nonsense).await, 400);
    // One series is sound and the next one is cut off: neither is taken, so that both may come again.
    let mut cut = WriteRequest { series: vec![web("m", &[(now(), 1.0)]); 2], metadata: Vec::new() }.encode_to_vec();
    cut.truncate(cut.len() - 3);
    assert_eq!(post_bytes(&source, snap::raw::Encoder::new().compress_vec(&cut).unwrap()).await, 400);
    let polled = all(&source).await;
    assert_eq!((polled.batch.len(), polled.dropped), (0, 5));
}

#[tokio::test]
async fn the_door_is_for_version_1_and_who_shows_the_token() {
    let source = source(config());
    let token = format!("Bearer {TOKEN}");
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let v1 = "application/x-protobuf; proto=prometheus.WriteRequest";
    let rows = [
        ("Bearer some-other-token-here", "application/x-protobuf", "snappy", 401),
        ("", "application/x-protobuf", "snappy", 401),
        (&token, v2, "snappy", 415),
        (&token, "text/plain", "snappy", 415),
        (&token, v1, "gzip", 415),
        (&token, v1, "snappy", 204),
    ];
    for (authorization, content_type, encoding, status) in rows {
        let headers =
            [("authorization", authorization), ("content-type", content_type), ("content-encoding", encoding)];
        let body = packed(vec![web("m", &[(now(), 1.0)])]);
        assert_eq!(post_as(&source, &headers, body).await, status, "{headers:?}");
    }
    assert_eq!((source.refused(), all(&source).await.dropped), (2, 3));
    assert!(!format!("{source:?}").contains(TOKEN));
}

#[tokio::test]
async fn what_there_is_no_room_for_is_taken_when_it_comes_again() {
    let source = source(config());
    let rows = |from: i64| vec![web("m", &(from..from + 800).map(|n| (now() + n, 0.0)).collect::<Vec<_>>())];
    for from in [0, 800, 1_600] {
        assert_eq!(post(&source, rows(from)).await, 204);
    }
    assert_eq!(post(&source, rows(2_400)).await, 503);
    let polled = all(&source).await;
    assert_eq!(post(&source, rows(2_400)).await, 503, "given out is not arrived");
    poll(&source, &polled.next).await;
    assert_eq!(post(&source, rows(2_400)).await, 204);
    assert_eq!(poll(&source, &polled.next).await.batch.metrics.len(), 800);
}

#[test]
fn all_mistakes_of_a_configuration_are_told() {
    let config = RemoteWriteConfig {
        name: "no name".into(),
        entity_labels: Vec::new(),
        max_bytes: 0,
        max_waiting: 10,
        ..RemoteWriteConfig::default()
    };
    let error = RemoteWriteSource::new(&Ctx::new(Arc::new(ManualClock::new())), config, PushAuth::Anybody).unwrap_err();
    assert_eq!(error.problems().len(), 4, "{error}");
}

struct Sender(RemoteWriteSource, AtomicUsize);

#[async_trait]
impl laws::Supply for Sender {
    async fn add(&self, n: usize) {
        let first = self.1.fetch_add(n, Ordering::SeqCst) as i64;
        let samples: Vec<(i64, f64)> = (first..first + n as i64).map(|n| (now() + n, n as f64)).collect();
        assert_eq!(post(&self.0, vec![web("m", &samples)]).await, 204);
    }

    async fn spoil(&self, n: usize) -> u64 {
        let samples: Vec<(i64, f64)> = (0..n as i64).map(|n| (-n, 0.0)).collect();
        assert_eq!(post(&self.0, vec![web("m", &samples)]).await, 400);
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
        let at = |metric: &str, millis: i64| web(metric, &[(millis, 1.0)]).encode_to_vec();
        let (series, given, dropped) = match what {
            laws::Hostility::BadParts => (vec![at("a", now()), vec![0x0a, 0x7f], at("b", now())], 2, 1),
            laws::Hostility::WrongTimes => (vec![at("a", now() * 1000), at("a", now() / 1000)], 0, 2),
            laws::Hostility::EmptyLabel => {
                let labels = [("__name__", "a"), ("job", "node"), ("service", "")];
                (vec![written(&labels, &[(now(), 1.0)]).encode_to_vec()], 1, 0)
            }
            _ => return None,
        };
        let series: Vec<(u8, Vec<u8>)> = series.into_iter().map(|series| (1, series)).collect();
        post_bytes(&self.0, fields(&series)).await;
        Some(laws::Fed { given, dropped })
    }
}

#[tokio::test]
async fn it_keeps_the_laws_on_hostile_input() {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    laws::check_hostile(&ctx, async || {
        let source = source(config());
        let supply: Box<dyn laws::Hostile> = Box::new(Sender(source.clone(), AtomicUsize::new(0)));
        (Arc::new(source) as Arc<dyn SignalSource>, supply)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn it_keeps_the_laws_of_sources() {
    let ctx = Ctx::new(Arc::new(crate::SystemClock::new()));
    laws::check_all(&ctx, async || {
        let source = source(config());
        let supply: Box<dyn laws::Supply> = Box::new(Sender(source.clone(), Default::default()));
        (Arc::new(source) as Arc<dyn SignalSource>, supply)
    })
    .await
    .unwrap();
}

fn series() -> impl Strategy<Value = Written> {
    let pair = || (".{0,8}", ".{0,8}").prop_map(|(name, value)| Pair { name, value });
    // A zero with a sign is left out by the other one as if it had none.
    let sample = (any::<f64>(), any::<i64>()).prop_map(|(value, millis)| Sample { value: value + 0.0, millis });
    let lists = (prop::collection::vec(pair(), 0..80), prop::collection::vec(sample, 0..6));
    (lists, prop::collection::vec(pair(), 0..3)).prop_map(|((labels, samples), histograms)| Written {
        labels,
        samples,
        histograms,
    })
}

proptest! {
    #[test]
    fn requests_are_read_as_by_another_library(series in prop::collection::vec(series(), 0..4)) {
        let body = WriteRequest { series: series.clone(), metadata: Vec::new() }.encode_to_vec();
        let mut n = 0;
        wire::read(&body, |read| {
            let theirs = &series[n];
            n += 1;
            assert_eq!((read.n_labels, read.n_samples), (theirs.labels.len(), theirs.samples.len() as u64));
            assert_eq!(read.n_histograms, theirs.histograms.len() as u64);
            assert!(read.labels.iter().copied().eq(theirs.labels.iter().take(64).map(|l| (&*l.name, &*l.value))));
            let samples = read.samples().map(|sample| sample.unwrap());
            let samples: Vec<(u64, i64)> = samples.map(|sample| (sample.value.to_bits(), sample.millis)).collect();
            assert!(samples.iter().copied().eq(theirs.samples.iter().map(|s| (s.value.to_bits(), s.millis))));
        }).unwrap();
        prop_assert_eq!(n, series.len());
    }

    #[test]
    fn garbled_requests_are_read_as_by_another_library(
        series in prop::collection::vec(series(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = WriteRequest { series, metadata: Vec::new() }.encode_to_vec();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let mut n = 0;
        let ours = wire::read(&bytes, |_| n += 1);
        // The other one also reads what is passed over here: it finds a fault in more of them.
        if let Ok(theirs) = WriteRequest::decode(&*bytes) {
            prop_assert!(ours.is_ok());
            prop_assert_eq!(n, theirs.series.len());
        }
    }
}
