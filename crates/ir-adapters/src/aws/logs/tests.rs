//! A double of CloudWatch Logs that pages, searches in vain, forgets its tokens and fails: no event is lost or given twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ir_core::testkit::signal::Supply;
use ir_core::{Clock as _, ManualClock};
use serde_json::{Value, json};

use super::*;
use crate::aws::double::{Asked, Double, Reply, ctx, fails_by_kind, keeps_the_laws, mistakes, sdk};

/// What the group holds, and how CloudWatch is today. Events are by time, then by id.
#[derive(Debug, Default)]
struct Cloud {
    events: Mutex<BTreeSet<(i64, String)>>,
    /// How many empty pages come before each page with events.
    n_empty: Mutex<usize>,
    /// Tokens are answered with: an error, or as AWS does when they are very old, with nothing at all.
    tokens: Mutex<Tokens>,
    /// Every request of which the number is a multiple of this fails; none where it is 0.
    fails_each: Mutex<usize>,
    n_asked: AtomicUsize,
    reply: Mutex<Option<Reply>>,
    /// If there are any, all that is answered, whatever the query: by the number in the token.
    pages: Mutex<Vec<Vec<Value>>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Tokens {
    #[default]
    Good,
    Refused,
    Empty,
}

impl Cloud {
    fn put(&self, at: i64, n: usize) {
        let mut events = self.events.lock().unwrap();
        for _ in 0..n {
            let id = format!("{:020}", events.len());
            events.insert((at, id));
        }
    }

    fn answer(&self, (head, body): &Asked) -> Reply {
        if let Some(reply) = self.reply.lock().unwrap().clone() {
            return reply;
        }
        let n = self.n_asked.fetch_add(1, Ordering::SeqCst) + 1;
        if n.checked_rem(*self.fails_each.lock().unwrap()) == Some(0) {
            return Reply::Says(500, "<html>".to_owned());
        }
        assert!(head.contains("logs_20140328.filterlogevents\r\n"), "{head}");
        let asked: Value = serde_json::from_str(body).unwrap();
        let number = |field: &str| asked[field].as_i64().unwrap();
        let (from, until, limit) = (number("startTime"), number("endTime"), number("limit") as usize);
        let token = asked["nextToken"].as_str();
        let (skip, n_empty) = token.map_or((0, 0), |token| {
            let (range, rest) = token.split_once(':').unwrap();
            assert_eq!(range, format!("{from}-{until}"), "a token of another question");
            let (skip, n_empty) = rest.split_once(':').unwrap();
            (skip.parse::<usize>().unwrap(), n_empty.parse::<usize>().unwrap())
        });
        match (*self.tokens.lock().unwrap(), token) {
            (Tokens::Refused, Some(_)) => {
                let body = json!({ "__type": "InvalidParameterException", "message": "the token is not valid" });
                return Reply::Says(400, body.to_string());
            }
            (Tokens::Empty, Some(_)) => return Reply::Says(200, json!({ "events": [] }).to_string()),
            _ => {}
        }
        let pages = self.pages.lock().unwrap();
        if let Some(page) = pages.get(skip) {
            let mut answer = json!({ "events": page });
            if skip + 1 < pages.len() {
                answer["nextToken"] = json!(format!("{from}-{until}:{}:0", skip + 1));
            }
            return Reply::Says(200, answer.to_string());
        }
        let next = |skip: usize, n_empty: usize| format!("{from}-{until}:{skip}:{n_empty}");
        if n_empty < *self.n_empty.lock().unwrap() {
            return Reply::Says(200, json!({ "events": [], "nextToken": next(skip, n_empty + 1) }).to_string());
        }
        // The end is within.
        let events = self.events.lock().unwrap();
        let known: Vec<_> = events.iter().filter(|(at, _)| (from..=until).contains(at)).skip(skip).collect();
        let event =
            |(at, id): &&(i64, String)| json!({ "timestamp": at, "eventId": id, "message": id, "logStreamName": "s" });
        let page: Vec<Value> = known.iter().take(limit).map(event).collect();
        let mut answer = json!({ "events": page });
        if known.len() > limit {
            answer["nextToken"] = json!(next(skip + limit, 0));
        }
        Reply::Says(200, answer.to_string())
    }
}

async fn start() -> (Arc<Cloud>, Double) {
    Double::of(Cloud::default(), Cloud::answer).await
}

fn config() -> LogsConfig {
    let group = LogGroup {
        name: "web".to_owned(),
        entity: EntityId::literal("web"),
        group: "/ecs/web".to_owned(),
        stream_prefix: Some("app".to_owned()),
        filter: Some("ERROR".to_owned()),
    };
    LogsConfig { group: vec![group], lag_ms: 1_000, page: 3, max_pages: 2, ..LogsConfig::default() }
}

fn clock() -> (Arc<ManualClock>, Ctx, i64) {
    let clock = Arc::new(ManualClock::new());
    let now = clock.now().wall.as_nanos() / 1_000_000;
    (clock.clone(), Ctx::new(clock), now)
}

fn given(polled: &Polled) -> Vec<String> {
    polled.batch.logs.iter().map(|line| line.message.clone()).collect()
}

/// Polls until nothing more comes, and gives everything that came.
async fn all(source: &LogsSource, ctx: &Ctx, mut cursor: Cursor) -> Vec<String> {
    let mut lines = Vec::new();
    let mut n_quiet = 0;
    while n_quiet < 20 {
        let polled = source.poll(ctx, &cursor).await.unwrap();
        n_quiet = if polled.batch.is_empty() { n_quiet + 1 } else { 0 };
        lines.extend(given(&polled));
        cursor = polled.next;
    }
    lines
}

/// A cloud with 40 events, 17 of which share a millisecond, all of them old enough to be read.
async fn forty() -> (Arc<Cloud>, Double, Ctx, Arc<ManualClock>, Vec<String>, Cursor) {
    let (cloud, double) = start().await;
    let (clock, ctx, now) = clock();
    let source = LogsSource::new(config(), &double.sdk()).unwrap();
    let cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
    for (at, n) in [(0, 5), (1, 17), (2, 1), (500, 16), (999, 1)] {
        cloud.put(now + at, n);
    }
    clock.advance(Duration::from_secs(10));
    let expected = cloud.events.lock().unwrap().iter().map(|(_, id)| id.clone()).collect();
    (cloud, double, ctx, clock, expected, cursor)
}

#[tokio::test]
async fn every_event_comes_once_though_pages_end_within_a_millisecond() {
    let (_cloud, double, ctx, _clock, expected, cursor) = forty().await;
    let source = LogsSource::new(config(), &double.sdk()).unwrap();
    assert_eq!(all(&source, &ctx, cursor).await, expected);
    let (_, body) = double.asked().pop().unwrap();
    for words in ["\"/ecs/web\"", "\"logStreamNamePrefix\":\"app\"", "\"filterPattern\":\"ERROR\""] {
        assert!(body.contains(words), "{body}");
    }
}

#[tokio::test]
async fn empty_pages_are_no_end() {
    let (cloud, double, ctx, _clock, expected, cursor) = forty().await;
    // More of them than one poll reads.
    *cloud.n_empty.lock().unwrap() = 5;
    let source = LogsSource::new(config(), &double.sdk()).unwrap();
    assert_eq!(all(&source, &ctx, cursor).await, expected);
}

#[tokio::test]
async fn a_token_that_is_refused_or_old_is_given_up_and_nothing_is_lost_or_doubled() {
    for tokens in [Tokens::Refused, Tokens::Empty] {
        let (cloud, double, ctx, clock, expected, cursor) = forty().await;
        let source = LogsSource::new(LogsConfig { page: 20, max_pages: 1, ..config() }, &double.sdk()).unwrap();
        let first = source.poll(&ctx, &cursor).await.unwrap();
        assert_eq!(first.batch.logs.len(), 20);
        *cloud.tokens.lock().unwrap() = tokens;
        if tokens == Tokens::Empty {
            // So old a token is not even tried.
            clock.advance(Duration::from_secs(2 * 3600));
        }
        let second = source.poll(&ctx, &first.next).await.unwrap();
        *cloud.tokens.lock().unwrap() = Tokens::Good;
        let mut lines = [given(&first), given(&second)].concat();
        lines.extend(all(&source, &ctx, second.next).await);
        assert_eq!(lines, expected, "{tokens:?}");
    }
}

#[tokio::test]
async fn an_error_between_pages_keeps_what_came_and_goes_on_there() {
    let (mut n_failed, mut n_cut) = (0, 0);
    // A poll is two pages: the third request is the first of a poll, the fourth its second.
    for fails_each in [3, 4] {
        let (cloud, double, ctx, _clock, expected, mut cursor) = forty().await;
        let source = LogsSource::new(config(), &double.sdk()).unwrap();
        let mut lines = Vec::new();
        cloud.n_asked.store(0, Ordering::SeqCst);
        *cloud.fails_each.lock().unwrap() = fails_each;
        for _ in 0..60 {
            match source.poll(&ctx, &cursor).await {
                Ok(polled) => {
                    n_cut += usize::from(!polled.problems.is_empty() && !polled.batch.is_empty());
                    lines.extend(given(&polled));
                    cursor = polled.next;
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    n_failed += 1;
                }
            }
        }
        assert_eq!(lines, expected);
    }
    assert!(n_failed > 0 && n_cut > 0, "{n_failed} polls failed and {n_cut} were cut");
}

#[tokio::test]
async fn what_is_younger_than_the_lag_waits() {
    let (cloud, double) = start().await;
    let (clock, ctx, now) = clock();
    let source = LogsSource::new(config(), &double.sdk()).unwrap();
    let cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
    cloud.put(now, 1);
    clock.advance(Duration::from_millis(1_000));
    let polled = source.poll(&ctx, &cursor).await.unwrap();
    assert!(polled.batch.is_empty());
    // As long as it may still come, an event of an earlier moment is read, too.
    cloud.put(now, 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(source.poll(&ctx, &polled.next).await.unwrap().batch.logs.len(), 2);
}

#[tokio::test]
async fn what_is_no_event_is_counted() {
    let (cloud, double, ctx, _clock, _, cursor) = forty().await;
    let source = LogsSource::new(config(), &double.sdk()).unwrap();
    let at = ctx.now().wall.as_nanos() / 1_000_000 - 5_000;
    let events = json!([{ "eventId": "1" }, { "eventId": "2", "timestamp": at, "message": "sound" }]);
    *cloud.reply.lock().unwrap() = Some(Reply::Says(200, json!({ "events": events }).to_string()));
    let polled = source.poll(&ctx, &cursor).await.unwrap();
    assert_eq!((given(&polled), polled.dropped), (vec!["sound".to_owned()], 1));
}

#[tokio::test]
async fn a_refusal_is_an_error_of_its_kind_and_shows_no_secret() {
    // One row a reply, with the kind of its error.
    let rows = [
        (Reply::refuses(400, "ResourceNotFoundException"), ErrorKind::NotFound),
        (Reply::refuses(400, "AccessDeniedException"), ErrorKind::Unauthorized),
        (Reply::refuses(400, "ThrottlingException"), ErrorKind::RateLimited),
        // A filter that AWS cannot read stays one, so this is no token to be given up.
        (Reply::refuses(400, "InvalidParameterException"), ErrorKind::InvalidInput),
        (Reply::HangsUp, ErrorKind::Unavailable),
        (Reply::Endless, ErrorKind::Unavailable),
    ];
    let config = LogsConfig { backfill_ms: 1_000, ..config() };
    fails_by_kind(|sdk| LogsSource::new(config.clone(), sdk).unwrap(), rows).await;
}

/// Adds events of now, and waits until they are old enough.
struct Events(Arc<Cloud>);

#[async_trait]
impl Supply for Events {
    async fn add(&self, n: usize) {
        let ctx = ctx();
        self.0.put(ctx.now().wall.as_nanos() / 1_000_000, n);
        ctx.sleep("test", Duration::from_millis(60)).await.unwrap();
    }

    async fn spoil(&self, _n: usize) -> u64 {
        // CloudWatch keeps nothing that cannot be read.
        0
    }

    async fn hang(&self) -> bool {
        *self.0.reply.lock().unwrap() = Some(Reply::Hangs);
        true
    }
}

#[tokio::test]
async fn it_keeps_the_laws_of_sources() {
    let fresh = async || {
        let (cloud, double) = start().await;
        // With something to read from the first poll on.
        let config = LogsConfig { lag_ms: 20, backfill_ms: 1_000, page: 100, ..config() };
        (LogsSource::new(config, &double.sdk()).unwrap(), Events(cloud))
    };
    keeps_the_laws(fresh).await.unwrap();
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let mut config = config();
    let group = config.group[0].clone();
    config.group.push(LogGroup { group: " ".to_owned(), filter: Some("x".repeat(1_025)), ..group });
    (config.name, config.page, config.max_pages) = (String::new(), 10_001, 0);
    let made = LogsSource::new(config, &SdkConfig::builder().build());
    let expected = ["name", "group[1].name", "group[1].group", "group[1].filter", "page", "max_pages", "sdk"];
    assert_eq!(mistakes(made), expected);
    assert_eq!(mistakes(LogsSource::new(LogsConfig::default(), &sdk("http://127.0.0.1:1"))), ["group"]);
}

/// Gives these events as the only answers: one list a page, each event a time after `now` and a message, which is its id.
fn pages(cloud: &Cloud, now: i64, pages: &[&[(i64, &str)]]) {
    let event = |(at, id): &(i64, &str)| json!({ "timestamp": now + at, "eventId": id, "message": id });
    let page = |page: &&[(i64, &str)]| page.iter().map(event).collect();
    *cloud.pages.lock().unwrap() = pages.iter().map(page).collect();
}

#[tokio::test]
async fn events_of_a_page_out_of_order_come_once_and_late_ones_are_counted() {
    let (cloud, double) = start().await;
    let (clock, ctx, now) = clock();
    let config = LogsConfig { backfill_ms: 600_000, ..config() };
    let source = LogsSource::new(config, &double.sdk()).unwrap();
    pages(&cloud, now, &[&[(-300_000, "m0"), (-100_000, "m1"), (-280_000, "m2"), (-100_500, "m3"), (-90_000, "m4")]]);
    let polled = source.poll(&ctx, &Cursor::default()).await.unwrap();
    assert_eq!(given(&polled), ["m0", "m2", "m3", "m1", "m4"]);
    // Half a second is within the lag of one second.
    assert_eq!((polled.late, polled.dropped, polled.problems.len()), (1, 0, 0));
    clock.advance(Duration::from_secs(1));
    let after = source.poll(&ctx, &polled.next).await.unwrap();
    assert_eq!((after.batch.len(), after.late), (0, 0));
}

#[tokio::test]
async fn events_out_of_order_over_pages_and_polls_come_once() {
    let (cloud, double) = start().await;
    let (clock, ctx, now) = clock();
    let source = LogsSource::new(config(), &double.sdk()).unwrap();
    let cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
    // Two pages a poll. Equal times stand on one page, over two pages and over two polls.
    let all: [&[(i64, &str)]; 5] = [
        &[(5_000, "a"), (5_000, "b"), (3_000, "c")],
        &[(5_000, "d"), (3_000, "e"), (100, "f")],
        &[(5_000, "g"), (6_000, "h"), (100, "i")],
        &[],
        &[(0, "j"), (6_000, "k")],
    ];
    pages(&cloud, now, &all);
    clock.advance(Duration::from_secs(10));
    let (mut cursor, mut late, mut lines) = (cursor, 0, Vec::new());
    for n in [6, 3, 2, 0] {
        let polled = source.poll(&ctx, &cursor).await.unwrap();
        assert_eq!((polled.batch.len(), polled.dropped, polled.problems.len()), (n, 0, 0));
        lines.extend(given(&polled));
        late += polled.late;
        cursor = polled.next;
    }
    lines.sort();
    assert_eq!(lines.concat(), "abcdefghijk");
    // c, e and f come two seconds and more after the latest, i and j six.
    assert_eq!(late, 5);
}

#[tokio::test]
async fn events_of_the_first_millisecond_that_were_given_before_do_not_come_again() {
    let (cloud, double) = start().await;
    let (clock, ctx, now) = clock();
    let source = LogsSource::new(LogsConfig { max_pages: 1, ..config() }, &double.sdk()).unwrap();
    let cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
    pages(&cloud, now, &[&[(1_000, "a"), (2_000, "b")], &[(2_000, "c")]]);
    clock.advance(Duration::from_secs(10));
    let first = source.poll(&ctx, &cursor).await.unwrap();
    assert_eq!(given(&first), ["a", "b"]);
    // So old a token is not used: the rest is asked for by time, and what is earlier or later was not asked for.
    clock.advance(Duration::from_secs(2 * 3600));
    let later = 10_000_000;
    pages(&cloud, now, &[&[(3_000, "d"), (2_000, "b"), (2_000, "c"), (1_000, "a"), (later, "z")], &[(2_000, "e")]]);
    let second = source.poll(&ctx, &first.next).await.unwrap();
    assert_eq!((given(&second), second.dropped), (vec!["c".to_owned(), "d".to_owned()], 2));
    assert!(second.problems[0].contains("not asked for"), "{:?}", second.problems);
    assert_eq!(given(&source.poll(&ctx, &second.next).await.unwrap()), ["e"]);
}

#[tokio::test]
async fn a_token_that_is_given_up_among_events_out_of_order_is_told() {
    for tokens in [Tokens::Refused, Tokens::Empty] {
        let (cloud, double) = start().await;
        let (clock, ctx, now) = clock();
        let source = LogsSource::new(LogsConfig { max_pages: 1, ..config() }, &double.sdk()).unwrap();
        let cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
        pages(&cloud, now, &[&[(2_000, "a"), (1_000, "b")], &[(500, "c")]]);
        clock.advance(Duration::from_secs(10));
        let first = source.poll(&ctx, &cursor).await.unwrap();
        *cloud.tokens.lock().unwrap() = tokens;
        if tokens == Tokens::Empty {
            clock.advance(Duration::from_secs(2 * 3600));
        }
        let second = source.poll(&ctx, &first.next).await.unwrap();
        assert!(second.problems[0].contains("a token was given up"), "{:?}", second.problems);
        // Once: what follows is another query.
        *cloud.tokens.lock().unwrap() = Tokens::Good;
        let third = source.poll(&ctx, &second.next).await.unwrap();
        assert!(!third.problems.iter().any(|problem| problem.contains("token")), "{:?}", third.problems);
    }
}

#[tokio::test]
async fn events_without_an_id_come_all_the_same() {
    let (cloud, double) = start().await;
    let (clock, ctx, now) = clock();
    let source = LogsSource::new(config(), &double.sdk()).unwrap();
    let cursor = source.poll(&ctx, &Cursor::default()).await.unwrap().next;
    let event = |message: &str| json!({ "timestamp": now + 5, "message": message });
    *cloud.pages.lock().unwrap() = vec![vec![event("a"), event("b")], vec![event("\u{1b}[31mc\u{1b}[0m")]];
    clock.advance(Duration::from_secs(10));
    assert_eq!(given(&source.poll(&ctx, &cursor).await.unwrap()), ["a", "b", "c"]);
}
