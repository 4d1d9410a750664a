//! A double of SQS that hides messages and shows them again, gives events twice, and fails: each event counts once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use ir_core::testkit::signal::Supply;
use ir_core::{Clock as _, ErrorKind, EventKind, ManualClock};
use serde_json::{Value, json};

use super::*;
use crate::aws::connect::https;
use crate::aws::double::{Asked, Double, Reply, ctx, fails_by_kind, keeps_the_laws, mistakes};

#[derive(Debug)]
struct Stored {
    id: usize,
    body: String,
    /// Given, and not to be given again before its time has passed.
    is_hidden: bool,
    receipt: String,
}

/// One queue.
#[derive(Debug, Default)]
struct Sqs {
    messages: Mutex<Vec<Stored>>,
    n: AtomicUsize,
    /// Every call of this kind of which the number is a multiple of this fails; none where it is 0.
    fails_each: AtomicUsize,
    n_asked: AtomicUsize,
    /// A deletion works, and its answer is lost.
    loses_answers: AtomicBool,
    hangs: AtomicBool,
}

impl Sqs {
    async fn start() -> (Arc<Self>, Double) {
        Double::of(Self::default(), Self::answer).await
    }

    fn send(&self, body: impl Into<String>) {
        let id = self.n.fetch_add(1, Ordering::SeqCst);
        let stored = Stored { id, body: body.into(), is_hidden: false, receipt: String::new() };
        self.messages.lock().unwrap().push(stored);
    }

    /// The time in which SQS keeps messages to itself has passed.
    fn reveal(&self) {
        self.messages.lock().unwrap().iter_mut().for_each(|message| message.is_hidden = false);
    }

    fn n_left(&self) -> usize {
        self.messages.lock().unwrap().len()
    }

    fn answer(&self, (head, body): &Asked) -> Reply {
        if self.hangs.load(Ordering::SeqCst) {
            return Reply::Hangs;
        }
        let n = self.n_asked.fetch_add(1, Ordering::SeqCst) + 1;
        if n.checked_rem(self.fails_each.load(Ordering::SeqCst)) == Some(0) {
            return Reply::Says(500, "<html>".to_owned());
        }
        let asked: Value = serde_json::from_str(body).unwrap();
        assert_eq!(asked["QueueUrl"], config().queue_url);
        let mut messages = self.messages.lock().unwrap();
        if head.contains("x-amz-target: amazonsqs.deletemessage\r\n") {
            messages.retain(|message| asked["ReceiptHandle"] != message.receipt);
            if self.loses_answers.load(Ordering::SeqCst) {
                return Reply::HangsUp;
            }
            return Reply::Says(200, "{}".to_owned());
        }
        assert!(head.contains("x-amz-target: amazonsqs.receivemessage\r\n"), "{head}");
        let most = usize::try_from(asked["MaxNumberOfMessages"].as_u64().unwrap()).unwrap();
        let given = messages.iter_mut().filter(|message| !message.is_hidden).take(most);
        let given: Vec<Value> = given
            .map(|message| {
                message.is_hidden = true;
                message.receipt = format!("{}-{n}", message.id);
                json!({ "MessageId": message.id.to_string(), "ReceiptHandle": message.receipt, "Body": message.body })
            })
            .collect();
        Reply::Says(200, json!({ "Messages": given }).to_string())
    }
}

fn config() -> EventsConfig {
    let thing = |entity, name: &str| TrailThing { entity: EntityId::literal(entity), name: name.to_owned() };
    EventsConfig {
        queue_url: "https://sqs.eu-central-1.amazonaws.com/123456789012/changes".to_owned(),
        thing: vec![
            thing("web", "ecs:main/web"),
            thing("web", "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:web-5xx"),
        ],
        wait_secs: 0,
        max_messages: 20,
        ..EventsConfig::default()
    }
}

fn envelope(id: &str, what: &str, source: &str, resources: &[&str], detail: &Value) -> String {
    json!({
        "version": "0", "id": id, "detail-type": what, "source": source, "account": "123456789012",
        "time": "2026-11-28T02:00:00Z", "region": "eu-central-1", "resources": resources, "detail": detail,
    })
    .to_string()
}

/// Somebody gives the service so many tasks.
fn scaled(n: usize) -> String {
    let detail = json!({
        "eventTime": "2026-11-28T02:00:00Z", "eventSource": "ecs.amazonaws.com", "eventName": "UpdateService",
        "eventID": format!("event-{n}"), "readOnly": false,
        "userIdentity": { "type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/alice" },
        "requestParameters": { "cluster": "main", "service": "web", "desiredCount": n },
    });
    // Each copy is another envelope.
    envelope(&format!("envelope-{n}"), "AWS API Call via CloudTrail", "aws.ecs", &[], &detail)
}

fn counts(polled: &Polled) -> Vec<usize> {
    polled.batch.changes.iter().map(|change| change.to.as_ref().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn what_arrived_is_deleted_and_nothing_before() {
    let (queue, double) = Sqs::start().await;
    let source = EventsSource::new(config(), &double.sdk()).unwrap();
    (0..25).for_each(|n| queue.send(scaled(n)));
    let first = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    // No more than may wait.
    assert_eq!((counts(&first), queue.n_left()), ((0..20).collect(), 25));
    assert_eq!(first.batch.changes[0].by.as_deref(), Some("alice"));
    // Not recorded yet: the same again, and nothing beside it.
    let again = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    assert_eq!((counts(&again), queue.n_left()), ((0..20).collect(), 25));
    let second = source.poll(&ctx(), &again.next).await.unwrap();
    assert_eq!((counts(&second), queue.n_left()), ((20..25).collect(), 5));
    let third = source.poll(&ctx(), &second.next).await.unwrap();
    assert_eq!((counts(&third), queue.n_left()), (Vec::new(), 0));
}

#[tokio::test]
async fn a_message_that_comes_again_after_a_crash_is_given_once() {
    let (queue, double) = Sqs::start().await;
    (0..3).for_each(|n| queue.send(scaled(n)));
    let source = EventsSource::new(config(), &double.sdk()).unwrap();
    let recorded = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    assert_eq!(counts(&recorded).len(), 3);
    drop(source);
    // The next process knows nothing but the cursor.
    let source = EventsSource::new(config(), &double.sdk()).unwrap();
    queue.reveal();
    queue.send(scaled(3));
    let next = source.poll(&ctx(), &recorded.next).await.unwrap();
    assert_eq!(counts(&next), [3]);
    assert_eq!(queue.n_left(), 1, "what came again is deleted");
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

/// Sends, polls, crashes, fails and repeats as the dice fall, and gives what was recorded in the end.
async fn live(seed: u64, http: &SharedHttpClient) -> (usize, Vec<usize>, usize) {
    let (queue, double) = Sqs::start().await;
    let sdk = double.sdk().into_builder().http_client(http.clone()).build();
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut source = EventsSource::new(config(), &sdk).unwrap();
    let (mut cursor, mut recorded, mut n_sent) = (Cursor::default(), Vec::new(), 0);
    for _ in 0..40 {
        for _ in 0..dice.roll(6) {
            queue.send(scaled(n_sent));
            n_sent += 1;
        }
        if n_sent > 0 && dice.roll(4) == 0 {
            // EventBridge sends one of the last again.
            queue.send(scaled(n_sent - 1 - usize::try_from(dice.roll(n_sent.min(8) as u64)).unwrap()));
        }
        if dice.roll(3) == 0 {
            queue.reveal();
        }
        queue.loses_answers.store(dice.roll(4) == 0, Ordering::SeqCst);
        queue.fails_each.store(if dice.roll(3) == 0 { 3 } else { 0 }, Ordering::SeqCst);
        if let Ok(polled) = source.poll(&ctx(), &cursor).await
            && dice.roll(4) > 0
        {
            recorded.extend(counts(&polled));
            cursor = polled.next;
        }
        if dice.roll(5) == 0 {
            source = EventsSource::new(config(), &sdk).unwrap();
        }
    }
    queue.fails_each.store(0, Ordering::SeqCst);
    queue.loses_answers.store(false, Ordering::SeqCst);
    for _ in 0..12 {
        queue.reveal();
        let polled = source.poll(&ctx(), &cursor).await.unwrap();
        recorded.extend(counts(&polled));
        cursor = polled.next;
    }
    (n_sent, recorded, queue.n_left())
}

#[tokio::test]
async fn no_event_is_lost_or_doubled_whatever_happens() {
    // Making one reads the certificates of the system.
    let http = https();
    for seed in 1..=30 {
        let (n_sent, recorded, n_left) = live(seed, &http).await;
        let once: BTreeSet<usize> = recorded.iter().copied().collect();
        assert_eq!((once.len(), recorded.len(), n_left), (n_sent, n_sent, 0), "seed {seed}");
    }
}

#[tokio::test]
async fn what_is_of_no_interest_is_deleted_and_what_cannot_be_read_is_counted_once() {
    let (queue, double) = Sqs::start().await;
    let source = EventsSource::new(config(), &double.sdk()).unwrap();
    let call = |fields: Value| {
        let mut detail =
            json!({ "eventTime": "2026-11-28T02:00:00Z", "eventSource": "ecs.amazonaws.com", "eventName": "X" });
        detail.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        envelope("e", "AWS API Call via CloudTrail", "aws.ecs", &[], &detail)
    };
    queue.send(call(
        json!({ "eventID": "reads", "readOnly": true, "requestParameters": { "cluster": "main", "service": "web" } }),
    ));
    queue.send(call(json!({ "eventID": "foreign", "requestParameters": { "cluster": "main", "service": "other" } })));
    queue.send("no JSON, but a canary-in-a-message");
    queue.send(call(json!({ "eventID": "broken", "eventTime": "canary-in-a-message" })));
    queue.send(scaled(7));
    let polled = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    assert_eq!((counts(&polled), polled.dropped, queue.n_left()), (vec![7], 2, 3));
    assert!(polled.problems.len() == 2 && !polled.problems.concat().contains("canary"), "{:?}", polled.problems);
    // Somebody else's crash: they come again, and are not counted again.
    let source = EventsSource::new(config(), &double.sdk()).unwrap();
    queue.reveal();
    let again = source.poll(&ctx(), &polled.next).await.unwrap();
    assert_eq!((again.batch.len(), again.dropped, queue.n_left()), (0, 0, 0));
}

#[tokio::test]
async fn what_comes_late_is_given_and_counted() {
    let (queue, double) = Sqs::start().await;
    let clock = Arc::new(ManualClock::new());
    clock.set_wall("2026-11-28T02:10:00Z".parse().unwrap());
    let ctx = Ctx::new(clock.clone());
    let source = EventsSource::new(config(), &double.sdk()).unwrap();
    queue.send(scaled(1));
    let first = source.poll(&ctx, &Cursor::default()).await.unwrap();
    assert_eq!((counts(&first), first.late), (vec![1], 0));
    clock.advance(Duration::from_secs(600));
    queue.send(scaled(2));
    let second = source.poll(&ctx, &first.next).await.unwrap();
    assert_eq!((counts(&second), second.late), (vec![2], 1));
    assert!(clock.now().wall > second.batch.changes[0].at);
}

#[tokio::test]
async fn marks_outlive_a_pause_of_days() {
    let (queue, double) = Sqs::start().await;
    let clock = Arc::new(ManualClock::new());
    let ctx = Ctx::new(clock.clone());
    let source = EventsSource::new(config(), &double.sdk()).unwrap();
    queue.send(scaled(1));
    let first = source.poll(&ctx, &Cursor::default()).await.unwrap();
    clock.advance(Duration::from_secs(4 * 86_400));
    let source = EventsSource::new(config(), &double.sdk()).unwrap();
    queue.reveal();
    let second = source.poll(&ctx, &first.next).await.unwrap();
    assert_eq!((counts(&second), queue.n_left()), (Vec::new(), 0));
    // A day after it was deleted its mark is of no use any more: another one takes its place.
    clock.advance(Duration::from_secs(86_400));
    queue.send(scaled(2));
    let third = source.poll(&ctx, &second.next).await.unwrap();
    let fourth = source.poll(&ctx, &third.next).await.unwrap();
    assert_eq!((counts(&third), fourth.next.as_str().matches("[\"").count()), (vec![2], 1), "{:?}", fourth.next);
}

#[tokio::test]
async fn events_that_are_no_calls_are_told_of_known_things() {
    let (queue, double) = Sqs::start().await;
    let source = EventsSource::new(config(), &double.sdk()).unwrap();
    let service = "arn:aws:ecs:eu-central-1:123456789012:service/main/web";
    let failed = json!({ "eventType": "ERROR", "eventName": "SERVICE_DEPLOYMENT_FAILED", "reason": "circuit\nbreaker", "secret": "s" });
    queue.send(envelope("1", "ECS Deployment State Change", "aws.ecs", &[service], &failed));
    let task = json!({ "group": "service:web", "clusterArn": "arn:aws:ecs:eu-central-1:1:cluster/main", "lastStatus": "STOPPED" });
    queue.send(envelope("2", "ECS Task State Change", "aws.ecs", &["arn:aws:ecs:eu-central-1:1:task/main/t"], &task));
    let alarm = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:web-5xx";
    for (id, value) in [("3", "ALARM"), ("4", "OK"), ("5", "INSUFFICIENT_DATA")] {
        let detail = json!({ "alarmName": "web-5xx", "state": { "value": value } });
        queue.send(envelope(id, "CloudWatch Alarm State Change", "aws.cloudwatch", &[alarm], &detail));
    }
    queue.send(envelope(
        "6",
        "ECS Deployment State Change",
        "aws.ecs",
        &["arn:aws:ecs:eu-central-1:1:service/main/b"],
        &failed,
    ));
    let events = source.poll(&ctx(), &Cursor::default()).await.unwrap().batch.events;
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["ECS Deployment State Change", "ECS Task State Change", "web-5xx", "web-5xx", "web-5xx"]);
    assert!(events.iter().all(|event| event.entity.as_str() == "web"));
    assert_eq!((events[0].fields.get("reason"), events[0].fields.get("secret")), (Some("circuit breaker"), None));
    let states = events[2..].iter().map(|event| match &event.kind {
        EventKind::Alert(alert) => (alert.key.clone(), alert.firing),
        other => panic!("{other:?}"),
    });
    let (keys, firing): (BTreeSet<String>, Vec<bool>) = states.unzip();
    assert_eq!((keys.len(), firing), (1, vec![true, false, false]));
}

#[tokio::test]
async fn a_queue_that_is_away_is_an_error_of_its_kind_and_shows_no_secret() {
    // One row a reply, with the kind of its error.
    let rows = [
        (Reply::refuses(400, "com.amazonaws.sqs#QueueDoesNotExist"), ErrorKind::NotFound),
        (Reply::refuses(403, "AccessDenied"), ErrorKind::Unauthorized),
        (Reply::refuses(400, "RequestThrottled"), ErrorKind::RateLimited),
        (Reply::refuses(503, "ServiceUnavailable"), ErrorKind::Unavailable),
        (Reply::Says(200, "{\"Messages\": 7".to_owned()), ErrorKind::Unavailable),
        (Reply::HangsUp, ErrorKind::Unavailable),
        (Reply::Endless, ErrorKind::Unavailable),
    ];
    fails_by_kind(|sdk| EventsSource::new(config(), sdk).unwrap(), rows).await;
}

#[test]
fn every_mistake_of_a_configuration_is_told() {
    let wrong = EventsConfig {
        name: String::new(),
        queue_url: "changes".to_owned(),
        max_messages: 0,
        wait_secs: 6,
        visibility_secs: 0,
        ..EventsConfig::default()
    };
    let made = EventsSource::new(wrong, &SdkConfig::builder().build());
    assert_eq!(mistakes(made), ["name", "queue_url", "max_messages", "wait_secs", "visibility_secs", "thing", "sdk"]);
}

struct Supplied(Arc<Sqs>);

#[async_trait]
impl Supply for Supplied {
    async fn add(&self, n: usize) {
        (0..n).for_each(|_| self.0.send(scaled(self.0.n.load(Ordering::SeqCst))));
    }

    async fn spoil(&self, n: usize) -> u64 {
        (0..n).for_each(|_| self.0.send("{"));
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
        let (queue, double) = Sqs::start().await;
        (EventsSource::new(config(), &double.sdk()).unwrap(), Supplied(queue))
    };
    keeps_the_laws(fresh).await.unwrap();
}
