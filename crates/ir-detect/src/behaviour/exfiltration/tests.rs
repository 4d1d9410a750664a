//! Bytes that leave, against what did before.

use super::super::testing::{DAY, HOUR, begun, connected};
use super::*;

/// A program that sends one to five megabytes an hour to one place, and a backup of 20 GB every night.
fn usual(days: u32) -> Vec<EventRecord> {
    let hourly =
        (0..days * 24).map(|n| connected(f64::from(n) * HOUR + 60.0, "app", "api", 1_000_000 * u64::from(1 + n % 5)));
    let nightly = (0..days).map(|n| connected(f64::from(n) * DAY + 2.0 * HOUR, "backup", "vault", 20_000_000_000));
    hourly.chain(nightly).collect()
}

#[tokio::test]
async fn much_more_to_a_known_place_and_much_to_a_new_one_are_found_and_backups_are_not() {
    assert_eq!(begun(&ExfiltrationDetector::default(), usual(20)).await, []);
    for (program, to, bytes) in [("app", "api", 2_000_000_000), ("curl", "drop", 500_000_000)] {
        let mut events = usual(20);
        events.extend((0..10).map(|n| connected(19.4 * DAY + f64::from(n) * 60.0, program, to, bytes / 10)));
        let found = begun(&ExfiltrationDetector::default(), events).await;
        let [theft] = &found[..] else { panic!("{program}: {found:?}") };
        assert_eq!((theft.labels.get("destination"), theft.labels.get(ATTACK)), (Some(to), Some("T1048")));
        assert!(theft.seen.0 >= 1e7 && theft.because.contains(" MB since "), "{theft:?}");
    }
}

#[tokio::test]
async fn who_often_sends_much_to_somebody_new_may() {
    let mut events = usual(20);
    // Every day three customers get 300 MB each, of whom nobody heard before.
    events.extend(
        (0..60).map(|n| connected(f64::from(n) * DAY / 3.0 + 900.0, "share", &format!("customer-{n}"), 300_000_000)),
    );
    let found = begun(&ExfiltrationDetector::default(), events).await;
    assert!(found.iter().all(|anomaly| anomaly.at.as_secs_f64() < 5.0 * DAY), "{found:?}");
}

#[tokio::test]
async fn chatter_is_never_much() {
    let mut events = usual(20);
    events.push(connected(19.4 * DAY, "curl", "drop", 9_999_999));
    assert_eq!(begun(&ExfiltrationDetector::default(), events).await, []);
}

#[test]
fn all_problems_of_a_configuration_are_told() {
    let config = ExfiltrationConfig {
        min_bytes: 0,
        nats: 0.0,
        window_secs: 0,
        half_life: 0,
        learning: Learning { warm_secs: u64::MAX, ..Learning::default() },
    };
    assert_eq!(ExfiltrationDetector::new(config).unwrap_err().problems().len(), 5);
}
