//! What is new, for whom, and how often.

use ir_core::Anomaly;

use super::super::testing::{DAY, HOUR, begun, event, started};
use super::*;

/// A server that starts the same two programs every ten minutes, for so many days.
fn server(days: f64) -> Vec<EventRecord> {
    (0..(days * 144.0) as u32)
        .map(|n| started(f64::from(n) * 600.0, "app", ["convert", "rotate"][n as usize % 2]))
        .collect()
}

#[tokio::test]
async fn a_program_that_was_never_started_there_is_found_with_its_technique() {
    let mut events = server(10.0);
    events.push(started(9.5 * DAY, "app", "sh"));
    let found = begun(&RareActivityDetector::default(), events).await;
    let child = found.iter().find(|anomaly| anomaly.subject == subject::RARE_CHILD).unwrap();
    assert_eq!((child.labels.get(ATTACK), child.labels.get("program")), (Some("T1059"), Some("sh")));
    assert!(child.because.contains("never seen here"), "{}", child.because);
    assert!(found.iter().all(|anomaly| anomaly.labels.get("program") == Some("sh")), "{found:?}");
}

#[tokio::test]
async fn nothing_is_odd_on_the_first_day_nor_for_those_who_always_do_new_things() {
    let mut first = server(0.5);
    first.push(started(0.4 * DAY, "app", "sh"));
    assert_eq!(begun(&RareActivityDetector::default(), first).await, []);
    // A shell that starts something new every hour: nobody is told.
    let mut events = server(10.0);
    events.extend((0..240).map(|n| started(f64::from(n) * HOUR + 1.0, "bash", &format!("script-{n}"))));
    assert_eq!(begun(&RareActivityDetector::default(), events).await, []);
}

#[tokio::test]
async fn to_whom_odd_things_happen_daily_is_not_told_of_and_others_are() {
    let mut events = server(30.0);
    for parent in ["init", "db", "shell", "agent", "proxy", "queue"] {
        events.extend((0..4_000).map(|n| started(f64::from(n) * 640.0 + 9.0, parent, "worker")));
    }
    events.extend((0..4_000).map(|n| started(f64::from(n) * 600.0 + 3.0, "cron", "job")));
    events.extend((0..29).map(|n| started(f64::from(n) * DAY + 7.0, "cron", &format!("tool-{n}"))));
    let (mut daily, mut seldom) = (events.clone(), events);
    daily.push(started(29.5 * DAY, "cron", "sh"));
    seldom.push(started(29.5 * DAY, "app", "sh"));
    let late = |found: Vec<Anomaly>| found.iter().filter(|anomaly| anomaly.at.as_secs_f64() > 20.0 * DAY).count();
    assert_eq!(late(begun(&RareActivityDetector::default(), daily).await), 0);
    assert_eq!(late(begun(&RareActivityDetector::default(), seldom).await), 1);
}

#[tokio::test]
async fn what_failed_logins_name_is_not_counted() {
    let mut events = server(10.0);
    for n in 0..50 {
        let act = Act::LoggedIn { from: Some(format!("10.0.0.{n}")), succeeded: false };
        events.push(event(9.0 * DAY + f64::from(n), "host", "root", "sshd", act));
    }
    assert_eq!(begun(&RareActivityDetector::default(), events).await, []);
}

#[tokio::test]
async fn what_comes_back_after_long_is_as_good_as_new() {
    let config = RareActivityConfig { rare_secs: 20 * 86_400, ..RareActivityConfig::default() };
    let mut events = server(50.0);
    events.extend([started(10.0, "app", "sh"), started(45.0 * DAY, "app", "sh")]);
    let found = begun(&RareActivityDetector::new(config).unwrap(), events).await;
    assert!(found.iter().any(|anomaly| anomaly.because.contains("last seen 44 days before")), "{found:?}");
}

#[test]
fn all_problems_of_a_configuration_are_told() {
    let learning = Learning { max_names: 0, ..Learning::default() };
    let config = RareActivityConfig { odd_nats: -1.0, day_nats: 0.0, rare_secs: 1, half_life_days: 0.0, learning };
    assert_eq!(RareActivityDetector::new(config).unwrap_err().problems().len(), 5);
}
