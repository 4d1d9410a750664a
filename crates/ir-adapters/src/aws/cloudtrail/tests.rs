//! A double of CloudTrail whose events appear late and in no order, which pages from the latest on, refuses old tokens and
//! asks not to be asked so often: each event that appears in time is given once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ir_core::testkit::signal::Supply;
use ir_core::{Clock as _, ManualClock, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::aws::connect::https;
use crate::aws::double::{Asked, Double, Reply, ctx, fails_by_kind, keeps_the_laws, mistakes, sdk};

/// The page of the double, so that few events are many pages.
const SMALL_PAGE: usize = 4;

#[derive(Debug, Clone)]
struct Event {
    n: usize,
    at: i64,
    /// From when on a look-up shows it.
    appears: i64,
    record: String,
}

#[derive(Debug, Default)]
struct Trail {
    events: Mutex<Vec<Event>>,
    now: AtomicI64,
    n_asked: AtomicUsize,
    /// Every look-up of which the number is a multiple of this is refused as too many.
    throttles_each: AtomicUsize,
    forgets_tokens: AtomicBool,
    hangs: AtomicBool,
}

fn record(n: usize, at: i64) -> Value {
    json!({
        "eventTime": Timestamp::from_millis(at * 1_000).to_string(), "eventSource": "ecs.amazonaws.com",
        "eventName": "UpdateService", "eventID": format!("id-{n}"), "readOnly": false,
        "userIdentity": { "type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/alice" },
        "requestParameters": { "cluster": "main", "service": "web", "desiredCount": n },
    })
}

impl Trail {
    async fn start(now: i64) -> (Arc<Self>, Double) {
        Double::of(Self { now: now.into(), ..Self::default() }, Self::answer).await
    }

    /// Something happens at `at` and is shown from `appears` on.
    fn happens(&self, at: i64, appears: i64) {
        let mut events = self.events.lock().unwrap();
        let n = events.len();
        events.push(Event { n, at, appears, record: record(n, at).to_string() });
    }

    fn answer(&self, (head, body): &Asked) -> Reply {
        if self.hangs.load(Ordering::SeqCst) {
            return Reply::Hangs;
        }
        assert!(head.contains("cloudtrail_20131101.lookupevents\r\n"), "{head}");
        let n = self.n_asked.fetch_add(1, Ordering::SeqCst) + 1;
        if n.checked_rem(self.throttles_each.load(Ordering::SeqCst)) == Some(0) {
            return Reply::Says(
                400,
                json!({ "__type": "ThrottlingException", "message": "Rate exceeded" }).to_string(),
            );
        }
        let mut asked: Value = serde_json::from_str(body).unwrap();
        let writing = json!([{ "AttributeKey": "ReadOnly", "AttributeValue": "false" }]);
        assert_eq!((&asked["LookupAttributes"], &asked["MaxResults"]), (&writing, &json!(50)));
        let token = asked.as_object_mut().unwrap().remove("NextToken");
        let second = |field: &str| asked[field].as_f64().unwrap() as i64;
        let (from, until) = (second("StartTime"), second("EndTime"));
        if from > until {
            return Reply::Says(400, json!({ "__type": "InvalidTimeRangeException", "message": "no" }).to_string());
        }
        let skip = match token.as_ref().and_then(Value::as_str) {
            Some(_) if self.forgets_tokens.load(Ordering::SeqCst) => {
                return Reply::Says(400, json!({ "__type": "InvalidNextTokenException", "message": "no" }).to_string());
            }
            Some(token) => {
                let (skip, question) = token.split_once(' ').unwrap();
                assert_eq!(question, asked.to_string(), "a token of another question");
                skip.parse().unwrap()
            }
            None => 0,
        };
        let now = self.now.load(Ordering::SeqCst);
        let events = self.events.lock().unwrap();
        let is_shown = |event: &&Event| (from..=until).contains(&event.at) && event.appears <= now;
        let mut shown: Vec<&Event> = events.iter().filter(is_shown).collect();
        shown.sort_by_key(|event| std::cmp::Reverse((event.at, event.n)));
        let event = |event: &&Event| json!({ "EventId": format!("id-{}", event.n), "EventTime": event.at, "CloudTrailEvent": event.record });
        let page: Vec<Value> = shown.iter().skip(skip).take(SMALL_PAGE).map(event).collect();
        let mut answer = json!({ "Events": page });
        if shown.len() > skip + SMALL_PAGE {
            answer["NextToken"] = json!(format!("{} {asked}", skip + SMALL_PAGE));
        }
        Reply::Says(200, answer.to_string())
    }
}

fn config() -> CloudTrailConfig {
    let thing = TrailThing { entity: EntityId::literal("web"), name: "ecs:main/web".to_owned() };
    CloudTrailConfig { thing: vec![thing], every_ms: 0, pause_ms: 0, ..CloudTrailConfig::default() }
}

/// A clock that the test moves, with the double's beside it.
struct World {
    clock: Arc<ManualClock>,
    ctx: Ctx,
    trail: Arc<Trail>,
    double: Double,
    http: SharedHttpClient,
}

impl World {
    async fn start() -> Self {
        // Making one reads the certificates of the system.
        Self::start_with(https()).await
    }

    async fn start_with(http: SharedHttpClient) -> Self {
        let clock = Arc::new(ManualClock::new());
        clock.set_wall("2026-11-28T02:00:00Z".parse().unwrap());
        let (trail, double) = Trail::start(seconds_of(&clock)).await;
        Self { ctx: Ctx::new(clock.clone()), clock, trail, double, http }
    }

    fn now(&self) -> i64 {
        seconds_of(&self.clock)
    }

    fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
        self.trail.now.store(self.now(), Ordering::SeqCst);
    }

    fn source(&self, config: CloudTrailConfig) -> CloudTrailSource {
        let sdk = self.double.sdk().into_builder().http_client(self.http.clone()).build();
        CloudTrailSource::new(config, &sdk).unwrap()
    }

    fn n_asked(&self) -> usize {
        self.trail.n_asked.load(Ordering::SeqCst)
    }
}

fn seconds_of(clock: &ManualClock) -> i64 {
    clock.now().wall.as_nanos() / 1_000_000_000
}

fn numbers(polled: &Polled) -> Vec<usize> {
    polled.batch.changes.iter().map(|change| change.to.as_ref().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn what_appears_late_and_in_no_order_is_given_once() {
    let world = World::start().await;
    let source = world.source(config());
    let first = source.poll(&world.ctx, &Cursor::default()).await.unwrap();
    let now = world.now();
    world.trail.happens(now + 10, now + 600);
    world.trail.happens(now + 20, now + 60);
    // Before the source began: nobody asked for it.
    world.trail.happens(now - 10, now + 60);
    world.pass(60);
    let second = source.poll(&world.ctx, &first.next).await.unwrap();
    assert_eq!((numbers(&first), numbers(&second)), (vec![], vec![1]));
    assert_eq!(second.batch.changes[0].by.as_deref(), Some("alice"));
    world.pass(600);
    let third = source.poll(&world.ctx, &second.next).await.unwrap();
    assert_eq!(numbers(&third), [0]);
    world.pass(600);
    assert!(numbers(&source.poll(&world.ctx, &third.next).await.unwrap()).is_empty());
}

#[tokio::test]
async fn looking_back_is_bounded_by_the_pages_of_a_poll_and_goes_on_by_token() {
    let world = World::start().await;
    let now = world.now();
    (0..30).for_each(|n| world.trail.happens(now - 1_800 + n * 60, now - 1_000));
    let backfill = CloudTrailConfig { backfill_ms: 1_800_000, max_pages: 3, ..config() };
    let source = world.source(backfill.clone());
    let first = source.poll(&world.ctx, &Cursor::default()).await.unwrap();
    // The latest come first; within a poll they are in order.
    assert_eq!((numbers(&first), world.n_asked()), ((18..30).collect(), 3));
    // Another process goes on.
    let second = world.source(backfill.clone()).poll(&world.ctx, &first.next).await.unwrap();
    assert_eq!(numbers(&second), (6..18).collect::<Vec<_>>());
    let third = world.source(backfill).poll(&world.ctx, &second.next).await.unwrap();
    assert_eq!((numbers(&third), world.n_asked()), ((0..6).collect(), 8));
}

#[tokio::test]
async fn tokens_that_are_refused_or_old_begin_the_look_anew() {
    for is_old in [true, false] {
        let world = World::start().await;
        let now = world.now();
        (0..20).for_each(|n| world.trail.happens(now - 100 + n, now));
        let source = world.source(CloudTrailConfig { backfill_ms: 200_000, max_pages: 2, ..config() });
        let first = source.poll(&world.ctx, &Cursor::default()).await.unwrap();
        let mut given = numbers(&first);
        let mut cursor = first.next;
        match is_old {
            true => world.pass(3_600),
            false => world.trail.forgets_tokens.store(true, Ordering::SeqCst),
        }
        for n in 0..8 {
            let polled = source.poll(&world.ctx, &cursor).await.unwrap();
            given.extend(numbers(&polled));
            cursor = polled.next;
            if n == 0 {
                world.trail.forgets_tokens.store(false, Ordering::SeqCst);
            }
        }
        given.sort_unstable();
        assert_eq!(given, (0..20).collect::<Vec<_>>(), "{is_old}");
    }
}

/// A small source of chance with a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Events that appear up to 900 s late, crashes, lost polls, throttling, pauses: what was recorded in the end.
async fn live(seed: u64, http: &SharedHttpClient) -> (usize, Vec<usize>) {
    let world = World::start_with(http.clone()).await;
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let config = CloudTrailConfig { max_pages: 2, ..config() };
    let mut source = world.source(config.clone());
    let (mut cursor, mut recorded) = (Cursor::default(), Vec::new());
    let mut first = true;
    for _ in 0..60 {
        for _ in 0..dice.roll(4) {
            if first {
                break;
            }
            let at = world.now() - i64::try_from(dice.roll(3)).unwrap();
            world.trail.happens(at.max(world.now()), world.now() + i64::try_from(dice.roll(890)).unwrap());
        }
        world.trail.throttles_each.store(if dice.roll(4) == 0 { 3 } else { 0 }, Ordering::SeqCst);
        world.trail.forgets_tokens.store(dice.roll(8) == 0, Ordering::SeqCst);
        if let Ok(polled) = source.poll(&world.ctx, &cursor).await
            && (first || dice.roll(4) > 0)
        {
            recorded.extend(numbers(&polled));
            cursor = polled.next;
            first = false;
        }
        if dice.roll(6) == 0 {
            source = world.source(config.clone());
        }
        // Now and then nobody looks for hours.
        world.pass(if dice.roll(20) == 0 { 9_000 } else { 1 + dice.roll(60) });
    }
    world.trail.throttles_each.store(0, Ordering::SeqCst);
    world.trail.forgets_tokens.store(false, Ordering::SeqCst);
    world.pass(900);
    for _ in 0..40 {
        let polled = source.poll(&world.ctx, &cursor).await.unwrap();
        recorded.extend(numbers(&polled));
        cursor = polled.next;
    }
    (world.trail.events.lock().unwrap().len(), recorded)
}

#[tokio::test]
async fn no_event_is_lost_or_doubled_whatever_happens() {
    let http = https();
    for seed in 1..=20 {
        let (n, recorded) = live(seed, &http).await;
        let once: BTreeSet<usize> = recorded.iter().copied().collect();
        assert_eq!((once.len(), recorded.len()), (n, n), "seed {seed}");
    }
}

#[tokio::test]
async fn it_does_not_ask_more_often_than_it_should() {
    let world = World::start().await;
    let source = world.source(CloudTrailConfig { every_ms: 30_000, ..config() });
    let mut cursor = Cursor::default();
    for _ in 0..60 {
        let polled = source.poll(&world.ctx, &cursor).await.unwrap();
        cursor = polled.next;
        world.pass(1);
    }
    assert_eq!(world.n_asked(), 2);
    // The cursor of a poll that did not look is that of the one before.
    let next = source.poll(&world.ctx, &cursor).await.unwrap().next;
    world.pass(1);
    assert_eq!(source.poll(&world.ctx, &next).await.unwrap().next, next);
}

#[tokio::test]
async fn marks_are_kept_only_as_long_as_an_event_can_be_met_again() {
    let world = World::start().await;
    let source = world.source(CloudTrailConfig { max_pages: 10, ..config() });
    let mut cursor = Cursor::default();
    for _ in 0..80 {
        let polled = source.poll(&world.ctx, &cursor).await.unwrap();
        cursor = polled.next;
        world.trail.happens(world.now(), world.now());
        world.pass(30);
    }
    // One every half a minute, for a quarter of an hour, and the fields around them.
    let n = cursor.as_str().matches(':').count();
    assert!((30..40).contains(&n), "{n}: {}", cursor.as_str());
}

#[tokio::test]
async fn a_refusal_is_an_error_of_its_kind_and_shows_no_secret() {
    // One row a refusal, with the kind of its error.
    let rows = [
        (Reply::refuses(400, "AccessDeniedException"), ErrorKind::Unauthorized),
        (Reply::refuses(400, "ThrottlingException"), ErrorKind::RateLimited),
        (Reply::refuses(400, "InvalidTimeRangeException"), ErrorKind::InvalidInput),
    ];
    let fresh = |sdk: &SdkConfig| CloudTrailSource::new(config(), sdk).unwrap();
    fails_by_kind(fresh, rows).await;
    // This one has none of the fields that a cursor must have.
    let error = fresh(&sdk("http://127.0.0.1:1")).poll(&ctx(), &Cursor::new("{}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let wrong = CloudTrailConfig { name: "a b".to_owned(), max_pages: 0, thing: Vec::new(), ..config() };
    let made = CloudTrailSource::new(wrong, &SdkConfig::builder().build());
    assert_eq!(mistakes(made), ["name", "max_pages", "thing", "sdk"]);
}

struct Supplied(Arc<Trail>, Ctx);

impl Supplied {
    fn now(&self) -> i64 {
        let now = self.1.now().wall.as_nanos() / 1_000_000_000;
        self.0.now.store(now, Ordering::SeqCst);
        now
    }
}

#[async_trait]
impl Supply for Supplied {
    async fn add(&self, n: usize) {
        let now = self.now();
        (0..n).for_each(|_| self.0.happens(now, now));
    }

    async fn spoil(&self, n: usize) -> u64 {
        let now = self.now();
        let spoilt = [String::new(), "{".to_owned(), json!({ "eventID": "x" }).to_string()];
        for record in spoilt.iter().cycle().take(n) {
            self.0.happens(now, now);
            self.0.events.lock().unwrap().last_mut().unwrap().record.clone_from(record);
        }
        n as u64
    }

    async fn hang(&self) -> bool {
        self.0.hangs.store(true, Ordering::SeqCst);
        true
    }
}

#[tokio::test]
async fn it_keeps_the_laws_of_sources() {
    let fresh = async || {
        let (trail, double) = Trail::start(0).await;
        (CloudTrailSource::new(config(), &double.sdk()).unwrap(), Supplied(trail, ctx()))
    };
    keeps_the_laws(fresh).await.unwrap();
}
