//! Sessions, and which of them are reported.

use ir_core::Act;

use super::super::testing::{HOUR, begun, event};
use super::*;

fn session(at: f64, actions: &[&str]) -> Vec<EventRecord> {
    let did = |(n, action): (usize, &&str)| {
        let act = Act::Did { action: (*action).to_owned(), target: None, succeeded: true };
        event(at + n as f64 * 3.0, "host", "deploy", "cli", act)
    };
    actions.iter().enumerate().map(did).collect()
}

/// Four days of deployments, one an hour.
fn usual() -> Vec<EventRecord> {
    let one = |n: u32| {
        let mut actions = vec!["assume", "list"];
        actions.extend(["get", "put"].repeat(1 + n as usize % 3));
        actions.extend(["update", "list"]);
        session(f64::from(n) * HOUR, &actions)
    };
    (0..96).flat_map(one).collect()
}

#[tokio::test]
async fn other_acts_and_another_order_are_found_and_told() {
    assert_eq!(begun(&SequenceDetector::default(), usual()).await, []);
    for odd in [
        &["assume", "users", "keys", "delete", "delete"][..],
        &["put", "update", "assume", "put", "update", "assume", "put"],
    ] {
        let mut events = usual();
        events.extend(session(97.0 * HOUR, odd));
        events.extend(session(99.0 * HOUR, &["assume"]));
        let found = begun(&SequenceDetector::default(), events).await;
        let [odd] = &found[..] else { panic!("{odd:?}: {found:?}") };
        assert_eq!((odd.labels.get("program"), odd.labels.get(ATTACK)), (Some("cli"), Some("T1059")));
        assert!(odd.because.contains("least expected `") && odd.because.contains(" acts since "), "{}", odd.because);
        assert_eq!(odd.onset.as_secs_f64(), 97.0 * HOUR);
    }
}

#[tokio::test]
async fn a_session_ends_with_a_pause_although_others_go_on() {
    let mut events = usual();
    events.extend(session(97.0 * HOUR, &["assume", "users", "keys", "delete"]));
    let act = || Act::Did { action: "tick".to_owned(), target: None, succeeded: true };
    events.extend((0..30).map(|n| event(97.0 * HOUR + f64::from(n) * 60.0, "other", "root", "cron", act())));
    let found = begun(&SequenceDetector::default(), events).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let late = found[0].at.as_secs_f64() - 97.0 * HOUR;
    assert!((600.0..=720.0).contains(&late), "{late}");
}

#[test]
fn all_problems_of_a_configuration_are_told() {
    let config = SequenceDetectorConfig {
        nats: 0.0,
        pause_secs: 0,
        min_acts: 0,
        max_acts: 0,
        max_models: 0,
        model: SequenceConfig { order: 99, ..SequenceConfig::default() },
        learning: Learning { max_entities: 0, ..Learning::default() },
    };
    assert_eq!(SequenceDetector::new(config).unwrap_err().problems().len(), 7);
}
