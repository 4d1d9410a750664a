//! What is regular, what is not, and what was always so.

use proptest::prelude::*;

use super::super::testing::{DAY, HOUR, begun, connected};
use super::*;

/// Contacts from `from` on, with gaps of `secs` times what `jitter` says.
fn contacts(from: f64, n: u32, secs: f64, jitter: impl Fn(u32) -> f64, program: &str, to: &str) -> Vec<EventRecord> {
    let mut at = from;
    (0..n)
        .map(|k| {
            let event = connected(at, program, to, 100);
            at += secs * jitter(k);
            event
        })
        .collect()
}

/// Someone else who has been there from the beginning.
fn others() -> Vec<EventRecord> {
    contacts(0.0, 200, 1_700.0, |n| [0.01, 0.1, 3.0, 0.4, 1.9][n as usize % 5], "browser", "site")
}

/// From 1 - `by` to 1 + `by`, without a pattern.
fn about(by: f64) -> impl Fn(u32) -> f64 {
    move |n| 1.0 + by * (2.0 * (f64::from(n) * 0.618_034).fract() - 1.0)
}

#[tokio::test]
async fn a_new_beacon_is_found_whatever_its_period_and_jitter() {
    for (secs, jitter) in [(5.0, 0.0), (60.0, 0.1), (300.0, 0.2), (300.0, 0.4), (3_600.0, 0.2)] {
        let mut events = others();
        events.extend(contacts(2.0 * DAY, 40, secs, about(jitter), "updater", "evil"));
        let found = begun(&BeaconDetector::default(), events).await;
        let [beacon] = &found[..] else { panic!("{secs} {jitter}: {found:?}") };
        assert_eq!((beacon.labels.get("destination"), beacon.labels.get(ATTACK)), (Some("evil"), Some("T1071")));
        assert!(beacon.at.since(beacon.onset).as_secs_f64() <= 40.0 * secs, "{beacon:?}");
    }
}

#[tokio::test]
async fn missed_contacts_and_others_between_cost_little() {
    let mut events = others();
    let beacon = contacts(2.0 * DAY, 60, 300.0, about(0.1), "updater", "evil");
    events.extend(beacon.into_iter().enumerate().filter(|(n, _)| n % 7 != 3).map(|(_, event)| event));
    events.extend((0..6).map(|n| connected(2.0 * DAY + 1_530.0 * f64::from(n), "updater", "evil", 9)));
    assert_eq!(begun(&BeaconDetector::default(), events).await.len(), 1);
}

#[tokio::test]
async fn what_was_regular_when_it_was_learned_is_normal_also_elsewhere() {
    let mut events = contacts(10.0, 3_000, 120.0, about(0.02), "agent", "metrics");
    events.extend(contacts(2.0 * DAY, 200, 121.0, about(0.02), "agent", "metrics-2"));
    assert_eq!(begun(&BeaconDetector::default(), events.clone()).await, []);
    events.extend(contacts(2.0 * DAY, 200, 45.0, about(0.02), "agent", "evil"));
    assert_eq!(begun(&BeaconDetector::default(), events).await.len(), 1);
}

#[tokio::test]
async fn people_are_not_regular() {
    let mut events = others();
    events.extend(contacts(
        2.0 * DAY,
        500,
        400.0,
        |n| -(1.0 - (f64::from(n) * 0.618_034).fract()).ln(),
        "mail",
        "server",
    ));
    // A page is many connections at once.
    events.extend((0..300).map(|n| connected(3.0 * DAY + HOUR + f64::from(n) * 0.2, "browser", "page", 9)));
    assert_eq!(begun(&BeaconDetector::default(), events).await, []);
}

#[test]
fn all_problems_of_a_configuration_are_told() {
    let config = BeaconConfig {
        min_gaps: 0,
        nats: f64::NAN,
        jitter_ratio: 2.0,
        min_gap_secs: 0.0,
        same_period_ratio: 1.0,
        learning: Learning { max_entities: 0, ..Learning::default() },
    };
    assert_eq!(BeaconDetector::new(config).unwrap_err().problems().len(), 6);
}

proptest! {
    #[test]
    fn regularity_knows_no_unit_of_time(gaps in proptest::collection::vec(1.0..1e4f64, 10..60), unit in 0.1..100.0f64) {
        let config = BeaconConfig::default();
        let (mut plain, mut scaled) = (Ring::default(), Ring::default());
        for gap in gaps {
            plain.push(gap, GAPS);
            scaled.push(gap * unit, GAPS);
        }
        let (a, b) = (config.regular(&plain).unwrap(), config.regular(&scaled).unwrap());
        // A gap exactly at a tolerance may fall to either side.
        prop_assert!((a.nats - b.nats).abs() < 1e-6 || (a.share - b.share).abs() < 0.11, "{:?} {:?}", a, b);
    }
}
