//! Many new destinations, against one's own past.

use super::super::testing::{DAY, HOUR, begun, connected, event};
use super::*;

/// A service that talks to the same three, and a browser with ten new hosts an hour.
fn usual(days: u32) -> Vec<EventRecord> {
    (0..days * 24)
        .flat_map(|hour| {
            let at = f64::from(hour) * HOUR;
            let service = connected(at + 5.0, "app", ["db", "cache", "queue"][hour as usize % 3], 10);
            let sites =
                (0..10).map(move |n| connected(at + f64::from(n) * 60.0, "browser", &format!("site-{hour}-{n}"), 10));
            sites.chain([service])
        })
        .collect()
}

#[tokio::test]
async fn a_service_that_scans_is_found_and_a_browser_is_not() {
    let mut events = usual(5);
    events.extend((0..30).map(|n| connected(4.5 * DAY + f64::from(n), "app", &format!("10.0.0.{n}"), 10)));
    let found = begun(&FanOutDetector::default(), events).await;
    let [scan] = &found[..] else { panic!("{found:?}") };
    assert_eq!((scan.labels.get("program"), scan.labels.get(ATTACK)), (Some("app"), Some("T1046")));
    assert!(scan.seen.0 >= 6.0 && scan.because.contains("10.0.0."), "{scan:?}");
}

#[tokio::test]
async fn a_program_without_a_past_is_judged_by_its_entity() {
    let quiet: Vec<EventRecord> = usual(5).into_iter().filter(|event| {
        matches!(&event.kind, ir_core::EventKind::Activity(activity) if activity.program.as_deref() == Some("app"))
    }).collect();
    let scan = (0..30).map(|n| connected(4.5 * DAY + f64::from(n), "new", &format!("10.0.0.{n}"), 10));
    let found = begun(&FanOutDetector::default(), quiet.into_iter().chain(scan).collect()).await;
    let [scan] = &found[..] else { panic!("{found:?}") };
    assert_eq!(scan.labels.get("entity"), Some("host"));
}

#[tokio::test]
async fn a_user_who_moves_on_is_found_on_the_last_host() {
    let login = |at: f64, host: &str| {
        event(at, host, "carl", "sshd", Act::LoggedIn { from: Some("jump".to_owned()), succeeded: true })
    };
    let mut events: Vec<EventRecord> =
        (0..100).map(|n| login(f64::from(n) * HOUR, ["web", "db", "build"][n as usize % 3])).collect();
    events.extend((0..12).map(|n| login(4.0 * DAY + 400.0 + f64::from(n) * 60.0, &format!("host-{n}"))));
    let found = begun(&FanOutDetector::default(), events).await;
    assert!(!found.is_empty() && found.iter().all(|a| a.labels.get(ATTACK) == Some("T1021")), "{found:?}");
    assert!(found[0].entity.as_str().starts_with("host-") && found[0].labels.get("user") == Some("carl"), "{found:?}");
}

#[test]
fn all_problems_of_a_configuration_are_told() {
    let config = FanOutConfig {
        min_new: 0,
        nats: 0.0,
        max_sources: 0,
        window: WindowConfig { secs: 0, warm: 0, half_life: 0 },
        learning: Learning { quiet_secs: 0, ..Learning::default() },
    };
    assert_eq!(FanOutDetector::new(config).unwrap_err().problems().len(), 7);
}
