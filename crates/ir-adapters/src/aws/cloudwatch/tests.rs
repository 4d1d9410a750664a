//! A double of CloudWatch that pages, gives only parts, and fails: no period is lost or given twice.

use std::sync::Mutex;
use std::time::Duration;

use ir_core::testkit::signal::Supply;
use ir_core::{Clock as _, ErrorKind, ManualClock};
use serde_json::json;

use super::*;
use crate::aws::double::{Asked, Double, Reply, ctx, fails_by_kind, keeps_the_laws, mistakes, sdk};

#[path = "../../../tests/support/cbor.rs"]
mod cbor;

const MINUTE: i64 = 60_000;

/// What CloudWatch knows and how it is today. Values by metric and by the beginning of their minute.
#[derive(Debug, Default)]
struct Cloud {
    values: Mutex<BTreeMap<(String, i64), f64>>,
    /// Values a page; all where it is 0.
    page: Mutex<usize>,
    /// What is said of a metric instead of `Complete`.
    status: Mutex<BTreeMap<String, &'static str>>,
    reply: Mutex<Option<Reply>>,
}

impl Cloud {
    fn put(&self, metric: &str, minute: i64, value: f64) {
        self.values.lock().unwrap().insert((metric.to_owned(), minute * MINUTE), value);
    }

    fn answer(&self, (head, body): &Asked) -> Reply {
        if let Some(reply) = self.reply.lock().unwrap().clone() {
            return reply;
        }
        assert!(head.contains("/operation/getmetricdata"), "{head}");
        let body: Vec<u8> = body.chars().map(|byte| u8::try_from(byte).unwrap()).collect();
        let asked = cbor::decode(&body);
        let millis = |field: &str| (asked[field].as_f64().unwrap() * 1e3) as i64;
        let (from, until) = (millis("StartTime"), millis("EndTime"));
        let skip: usize = asked["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
        let page = Some(*self.page.lock().unwrap()).filter(|page| *page > 0).unwrap_or(usize::MAX);
        let mut more = false;
        let mut results = Vec::new();
        for query in asked["MetricDataQueries"].as_array().unwrap() {
            let name = query["MetricStat"]["Metric"]["MetricName"].as_str().unwrap();
            let values = self.values.lock().unwrap();
            let known = values.iter().filter(|((of, at), _)| of == name && (from..until).contains(at));
            let known: Vec<(i64, f64)> = known.map(|((_, at), value)| (*at, *value)).collect();
            let part: Vec<&(i64, f64)> = known.iter().skip(skip).take(page).collect();
            let is_part = known.len() > skip.saturating_add(page);
            more |= is_part;
            let whole = if is_part { "PartialData" } else { "Complete" };
            let status = self.status.lock().unwrap().get(name).copied().unwrap_or(whole);
            let times: Vec<i64> = part.iter().map(|(at, _)| at / 1_000).collect();
            let values: Vec<f64> = part.iter().map(|(_, value)| *value).collect();
            let result = json!({ "Id": query["Id"], "StatusCode": status, "Timestamps": times, "Values": values });
            results.push(result);
        }
        let mut answer = json!({ "MetricDataResults": results });
        if more {
            answer["NextToken"] = json!((skip + page).to_string());
        }
        Reply::SaysCbor(cbor::encode(&answer))
    }
}

async fn start() -> (Arc<Cloud>, Double) {
    Double::of(Cloud::default(), Cloud::answer).await
}

fn metric(name: &str) -> CloudWatchMetric {
    CloudWatchMetric {
        name: name.to_lowercase(),
        entity: EntityId::literal("web"),
        namespace: "Shop".to_owned(),
        metric: name.to_owned(),
        dimensions: [("Service".to_owned(), "web".to_owned())].into(),
        stat: "Sum".to_owned(),
        period_secs: 60,
        kind: MetricKind::Gauge,
        unit: String::new(),
    }
}

fn config(names: &[&str]) -> CloudWatchConfig {
    let metric = names.iter().map(|name| metric(name)).collect();
    CloudWatchConfig { metric, lag_ms: 30_000, ..CloudWatchConfig::default() }
}

/// A clock that stands at the beginning of a minute, and the number of that minute.
fn clock() -> (Arc<ManualClock>, Ctx, i64) {
    let clock = Arc::new(ManualClock::new());
    let minute = clock.now().wall.as_nanos() / 1_000_000 / MINUTE;
    (clock.clone(), Ctx::new(clock), minute)
}

fn given(polled: &Polled) -> Vec<(String, i64, f64)> {
    let sample = |s: &MetricSample| (s.series.metric.clone(), s.at.as_nanos() / 1_000_000 / MINUTE, s.value);
    polled.batch.metrics.iter().map(sample).collect()
}

#[tokio::test]
async fn each_period_comes_once_and_only_when_it_has_been_over_for_long_enough() {
    let (cloud, double) = start().await;
    let (clock, ctx, now) = clock();
    let source = CloudWatchSource::new(config(&["Requests"]), &double.sdk()).unwrap();
    for minute in now - 5..now + 10 {
        cloud.put("Requests", minute, minute as f64);
    }
    let mut cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
    let mut all = Vec::new();
    for _ in 0..12 {
        clock.advance(Duration::from_secs(29));
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        let over = clock.now().wall.as_nanos() / 1_000_000 - 30_000;
        assert!(polled.batch.metrics.iter().all(|s| s.at.as_nanos() / 1_000_000 + MINUTE <= over), "too early");
        all.extend(given(&polled));
        cursor = polled.next;
    }
    // The clock moved by 5 minutes and 48 seconds, of which 30 seconds are not read; the minute in which it began
    // counts whole.
    let expected: Vec<_> = (now - 1..now + 5).map(|minute| ("requests".to_owned(), minute, minute as f64)).collect();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn pages_are_put_together_and_many_metrics_are_asked_for_in_batches() {
    let (cloud, double) = start().await;
    let (_clock, ctx, now) = clock();
    let names: Vec<String> = (0..700).map(|n| format!("M{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &names {
        for minute in now - 11..now - 1 {
            cloud.put(name, minute, 1.0);
        }
    }
    *cloud.page.lock().unwrap() = 4;
    let config = CloudWatchConfig { backfill_ms: 600_000, ..config(&names) };
    let source = CloudWatchSource::new(config, &double.sdk()).unwrap();
    let polled = source.poll(&ctx, &Cursor::default()).await.unwrap();
    assert_eq!((polled.batch.metrics.len(), polled.problems.len()), (700 * 10, 0));
    // 500 and 200, each in three pages.
    assert_eq!(double.asked().len(), 6);
    assert!(source.poll(&ctx, &polled.next).await.unwrap().batch.is_empty());
}

#[tokio::test]
async fn a_metric_that_is_not_given_whole_keeps_its_position_and_the_others_go_on() {
    let (cloud, double) = start().await;
    let (clock, ctx, now) = clock();
    let source = CloudWatchSource::new(config(&["Good", "Bad"]), &double.sdk()).unwrap();
    let start = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
    cloud.put("Good", now, 1.0);
    cloud.put("Bad", now, 2.0);
    clock.advance(Duration::from_secs(90));
    for status in ["InternalError", "PartialData", "Forbidden"] {
        cloud.status.lock().unwrap().insert("Bad".to_owned(), status);
        let polled = source.poll(&ctx, &start).await.unwrap();
        assert_eq!(given(&polled), [("good".to_owned(), now, 1.0)]);
        assert_eq!(polled.problems.len(), 1, "{:?}", polled.problems);
        cloud.status.lock().unwrap().clear();
        let polled = source.poll(&ctx, &polled.next).await.unwrap();
        assert_eq!(given(&polled), [("bad".to_owned(), now, 2.0)], "{status}");
    }
}

#[tokio::test]
async fn what_is_read_in_one_poll_is_bounded_and_the_rest_follows() {
    let (cloud, double) = start().await;
    let (_clock, ctx, now) = clock();
    for minute in now - 61..now - 1 {
        cloud.put("Requests", minute, 1.0);
    }
    let config = CloudWatchConfig { backfill_ms: 3_600_000, max_periods: 25, ..config(&["Requests"]) };
    let source = CloudWatchSource::new(config, &double.sdk()).unwrap();
    let (mut cursor, mut n) = (Cursor::default(), Vec::new());
    for _ in 0..4 {
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        n.push(polled.batch.metrics.len());
        cursor = polled.next;
    }
    assert_eq!(n, [25, 25, 10, 0]);
}

#[tokio::test]
async fn a_cloud_that_is_away_is_an_error_of_its_kind() {
    let html = "<html>not here</html>".to_owned();
    // One row a reply, with the kind of its error.
    let rows = [
        (Reply::Says(500, html.clone()), ErrorKind::Unavailable),
        (Reply::Says(200, html), ErrorKind::Unavailable),
        (Reply::HangsUp, ErrorKind::Unavailable),
        (Reply::Endless, ErrorKind::Unavailable),
    ];
    let config = CloudWatchConfig { backfill_ms: 600_000, ..config(&["Requests"]) };
    fails_by_kind(|sdk| CloudWatchSource::new(config.clone(), sdk).unwrap(), rows).await;
}

#[tokio::test]
async fn a_cloud_that_says_nothing_is_not_waited_for() {
    let (cloud, double) = start().await;
    *cloud.reply.lock().unwrap() = Some(Reply::Hangs);
    let config = CloudWatchConfig { backfill_ms: 600_000, ..config(&["Requests"]) };
    let source = CloudWatchSource::new(config, &double.sdk()).unwrap();
    let error = source.poll(&ctx().with_timeout(Duration::from_millis(200)), &Cursor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

/// Adds minutes to a cloud whose clock only moves by that.
struct Minutes {
    cloud: Arc<Cloud>,
    next: Mutex<i64>,
}

#[async_trait]
impl Supply for Minutes {
    async fn add(&self, n: usize) {
        let mut next = self.next.lock().unwrap();
        for _ in 0..n {
            self.cloud.put("Requests", *next, *next as f64);
            *next += 1;
        }
    }

    async fn spoil(&self, _n: usize) -> u64 {
        // CloudWatch keeps nothing that cannot be read.
        0
    }

    async fn hang(&self) -> bool {
        *self.cloud.reply.lock().unwrap() = Some(Reply::Hangs);
        true
    }
}

/// A source that looks at a fixed distance behind what was added, so that the laws need not wait for minutes.
#[derive(Debug)]
struct Shifted(CloudWatchSource, Arc<Cloud>);

#[async_trait]
impl SignalSource for Shifted {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn poll(&self, ctx: &Ctx, cursor: &Cursor) -> Result<Polled> {
        let last = self.1.values.lock().unwrap().keys().map(|(_, at)| *at).max().unwrap_or(0);
        // The clock of the source: what was added last has just been over for long enough.
        let clock = Arc::new(ManualClock::new());
        let wanted = last + MINUTE + 30_000;
        let now = clock.now().wall.as_nanos() / 1_000_000;
        clock.advance(Duration::from_millis(u64::try_from(wanted - now).unwrap()));
        let shifted = Ctx::new(clock);
        ctx.run("test", self.0.poll(&shifted, cursor)).await
    }
}

#[tokio::test]
async fn it_keeps_the_laws_of_sources() {
    let fresh = async || {
        let (cloud, double) = start().await;
        let first = ManualClock::new().now().wall.as_nanos() / 1_000_000 / MINUTE + 10;
        cloud.put("Requests", first, 0.0);
        let source = CloudWatchSource::new(config(&["Requests"]), &double.sdk()).unwrap();
        let minutes = Minutes { cloud: cloud.clone(), next: Mutex::new(first + 1) };
        (Shifted(source, cloud), minutes)
    };
    keeps_the_laws(fresh).await.unwrap();
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let mut wrong = metric("Requests");
    (wrong.namespace, wrong.stat, wrong.period_secs) = (String::new(), " ".to_owned(), 45);
    let mut config = config(&["Requests", "Requests"]);
    config.metric.push(CloudWatchMetric { name: "other".to_owned(), ..wrong });
    (config.name, config.max_periods, config.max_pages) = ("a b".to_owned(), 0, 0);
    let made = CloudWatchSource::new(config, &SdkConfig::builder().build());
    let expected = [
        "name",
        "metric[1].name",
        "metric[2].namespace",
        "metric[2].stat",
        "metric[2].period_secs",
        "max_periods",
        "max_pages",
        "sdk",
    ];
    assert_eq!(mistakes(made), expected);
    let none = CloudWatchSource::new(CloudWatchConfig::default(), &sdk("http://127.0.0.1:1"));
    assert_eq!(mistakes(none), ["metric"]);
}
