//! EventBridge in moto: events that a rule sends to a queue, as on AWS; and the source that reads it, killed on the way.

use std::collections::BTreeSet;
use std::sync::Arc;

use ir_adapters::SystemClock;
use ir_adapters::aws::SdkConfig;
use ir_adapters::aws::events::{EventsConfig, EventsSource};
use ir_adapters::aws::trail::TrailThing;
use ir_core::{ChangeKind, Ctx, Cursor, EntityId, ErrorKind, Polled, SignalSource as _};
use serde_json::{Value, json};

use crate::server::{Moto, REGION, shared};

fn ctx() -> Ctx {
    Ctx::new(Arc::new(SystemClock::new()))
}

fn events(moto: &Moto, operation: &str, body: &Value) -> Value {
    moto.json("events", &format!("AWSEvents.{operation}"), body)
}

fn sqs(moto: &Moto, operation: &str, body: &Value) -> Value {
    moto.json("sqs", &format!("AmazonSQS.{operation}"), body)
}

/// Makes a queue of that name, and a rule that sends it the calls that write; gives the queue's URL.
pub(crate) fn queue(moto: &Moto, name: &str) -> String {
    let url = sqs(moto, "CreateQueue", &json!({ "QueueName": name }))["QueueUrl"].as_str().unwrap().to_owned();
    let pattern = json!({
        "source": [format!("test.{name}")],
        "detail-type": ["AWS API Call via CloudTrail", "AWS Console Sign In via CloudTrail"],
        "detail": { "readOnly": [false] },
    });
    events(moto, "PutRule", &json!({ "Name": name, "EventPattern": pattern.to_string() }));
    let arn = format!("arn:aws:sqs:{REGION}:123456789012:{name}");
    events(moto, "PutTargets", &json!({ "Rule": name, "Targets": [{ "Id": "queue", "Arn": arn }] }));
    url
}

/// Somebody calls ECS; CloudTrail tells EventBridge.
pub(crate) fn call(moto: &Moto, queue: &str, n: usize, reads: bool) {
    let detail = json!({
        "eventVersion": "1.11", "eventTime": ctx().now().wall.to_string(), "eventSource": "ecs.amazonaws.com",
        "eventName": if reads { "DescribeServices" } else { "UpdateService" },
        "eventID": format!("{queue}-{n}-{reads}"), "readOnly": reads, "managementEvent": true,
        "userIdentity": { "type": "AssumedRole", "arn": "arn:aws:sts::123456789012:assumed-role/Deploy/run-7" },
        "requestParameters": { "cluster": "main", "service": "web", "desiredCount": n },
    });
    let entry = json!({
        "Source": format!("test.{queue}"), "DetailType": "AWS API Call via CloudTrail", "Detail": detail.to_string(),
    });
    let answer = events(moto, "PutEvents", &json!({ "Entries": [entry] }));
    assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
}

/// How many messages the queue still holds, given or not.
fn n_left(moto: &Moto, url: &str) -> (u64, u64) {
    let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
    let answer = sqs(moto, "GetQueueAttributes", &json!({ "QueueUrl": url, "AttributeNames": names }));
    let number = |name: &str| answer["Attributes"][name].as_str().unwrap().parse().unwrap();
    (number(names[0]), number(names[1]))
}

pub(crate) fn source_of(sdk: &SdkConfig, url: &str, entity: &'static str, max_messages: usize) -> EventsSource {
    let thing = vec![TrailThing { entity: EntityId::literal(entity), name: format!("ecs:main/{entity}") }];
    let config = EventsConfig {
        queue_url: url.to_owned(),
        thing,
        max_messages,
        wait_secs: 0,
        visibility_secs: 1,
        ..EventsConfig::default()
    };
    EventsSource::new(config, sdk).unwrap()
}

fn counts(polled: &Polled) -> Vec<usize> {
    polled.batch.changes.iter().map(|change| change.to.as_ref().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn a_call_becomes_a_change_with_who_did_it() {
    let moto = shared();
    let url = queue(moto, "told");
    call(moto, "told", 3, false);
    call(moto, "told", 4, true);
    let source = source_of(&moto.sdk().await, &url, "web", 100);
    let polled = source.poll(&ctx(), &Cursor::default()).await.unwrap();
    let [change] = &polled.batch.changes[..] else { panic!("{:?}", polled.batch) };
    assert_eq!((change.entity.as_str(), change.kind, change.to.as_deref()), ("web", ChangeKind::Scale, Some("3")));
    assert_eq!((change.by.as_deref(), polled.late, polled.dropped), (Some("Deploy/run-7"), 0, 0));
    // The rule keeps calls that read away from the queue.
    assert_eq!(n_left(moto, &url), (0, 1));
    assert!(source.poll(&ctx(), &polled.next).await.unwrap().batch.is_empty());
    assert_eq!(n_left(moto, &url), (0, 0));
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_the_source_is_killed_three_times() {
    let moto = shared();
    let url = queue(moto, "killed");
    let sdk = moto.sdk().await;
    let (mut cursor, mut recorded, mut n_sent) = (Cursor::default(), Vec::new(), 0);
    for round in 0..4 {
        let source = source_of(&sdk, &url, "web", 6);
        for _ in 0..3 {
            for _ in 0..5 {
                call(moto, "killed", n_sent, false);
                n_sent += 1;
            }
            let polled = source.poll(&ctx(), &cursor).await.unwrap();
            recorded.extend(counts(&polled));
            cursor = polled.next;
        }
        // Killed behind a poll of which nothing was recorded, and before what it read was deleted.
        if round < 3 {
            source.poll(&ctx(), &cursor).await.unwrap();
        }
    }
    let source = source_of(&sdk, &url, "web", 6);
    while n_left(moto, &url) != (0, 0) {
        // What is hidden is shown again within a second.
        let polled = source.poll(&ctx(), &cursor).await.unwrap();
        recorded.extend(counts(&polled));
        cursor = polled.next;
    }
    let once: BTreeSet<usize> = recorded.iter().copied().collect();
    assert_eq!((once.len(), recorded.len()), (n_sent, n_sent));
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_told() {
    let moto = shared();
    let url = format!("https://sqs.{REGION}.amazonaws.com/123456789012/nobody-made-it");
    let source = source_of(&moto.sdk().await, &url, "web", 10);
    let error = source.poll(&ctx(), &Cursor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
