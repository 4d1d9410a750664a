//! Detectors of behaviour in the simulated office: the contracts, what they find, and how often they are wrong.

use std::sync::Arc;
use std::time::Duration;

use ir_core::testkit::detector;
use ir_core::{Act, Anomaly, Detector, EventKind, EventRecord, Feedback, Phase, Symptom, Timestamp};
use ir_detect::Detectors;
use ir_detect::behaviour::ATTACK;
use proptest::prelude::*;

use crate::laws::ctx;
use crate::office::{ATTACKS, Attack, ENTITIES, attack_begins, batches, stream};

const DAYS: u32 = 11;

fn one(name: &str) -> Arc<dyn Detector> {
    Detectors::behaviour().into_iter().find(|detector| detector.name() == name).unwrap()
}

async fn run(detector: &dyn Detector, events: &[EventRecord]) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for batch in batches(events, 1_000) {
        found.extend(detector.detect(&ctx(), &batch).await.unwrap());
    }
    found
}

fn is_to(event: &EventRecord, host: &str) -> bool {
    let EventKind::Activity(activity) = &event.kind else { return false };
    matches!(&activity.act, Act::Connected { to, .. } if to == host)
}

fn begins(days: u32) -> Timestamp {
    Timestamp::from_nanos(1_700_000_000_000_000_000 + (attack_begins(days) * 1e9) as i64)
}

#[tokio::test]
async fn every_detector_keeps_the_laws() {
    let attacks = [
        (Attack::WebShell, "web"),
        (Attack::Beacon, "ws-ben"),
        (Attack::Scan, "web"),
        (Attack::Theft, "db"),
        (Attack::StolenKey, "build"),
    ];
    for (attack, entity) in attacks {
        // The laws run everything many times, so one entity must do.
        let events = stream(3, DAYS, Some(attack)).into_iter().filter(|event| event.entity.as_str() == entity);
        let events: Vec<EventRecord> = events.collect();
        let signals = batches(&events, events.len().div_ceil(4));
        detector::check_all(&ctx(), &|| one(attack.detector()), &signals)
            .await
            .unwrap_or_else(|why| panic!("{attack:?}: {why:?}"));
    }
}

#[tokio::test]
async fn attacks_are_found_and_the_rest_is_quiet() {
    let (mut alarms, mut missed) = (0, Vec::new());
    for (attack, seed) in ATTACKS.into_iter().zip(1..) {
        let events = stream(seed, DAYS, Some(attack));
        let detector = one(attack.detector());
        let found = run(&*detector, &events).await;
        let (after, before): (Vec<&Anomaly>, Vec<&Anomaly>) = found
            .iter()
            .filter(|anomaly| anomaly.phase == Phase::Began)
            .partition(|anomaly| anomaly.at >= begins(DAYS));
        alarms += before.len();
        if after.is_empty() {
            missed.push(attack);
        }
        for anomaly in after {
            assert_eq!(anomaly.symptom, Symptom::Behaviour);
            assert!(anomaly.labels.get(ATTACK).is_some_and(|id| id.starts_with('T')), "{anomaly:?}");
            assert!(anomaly.because.starts_with("expected"), "{}", anomaly.because);
        }
    }
    let days = ATTACKS.len() * ENTITIES.len() * DAYS as usize;
    assert!(missed.len() <= 1, "{missed:?}");
    assert!(alarms * 20 <= days, "{alarms} false alarms in {days} days of entities");
}

#[tokio::test]
async fn an_episode_ends_when_nothing_more_comes() {
    let found = run(&*one("fan_out"), &stream(5, DAYS, Some(Attack::Scan))).await;
    let began: Vec<&Anomaly> = found.iter().filter(|a| a.phase == Phase::Began && a.at >= begins(DAYS)).collect();
    let [began] = began[..] else { panic!("{began:?}") };
    let ended = found.iter().find(|a| a.id == began.id && a.phase == Phase::Ended).unwrap();
    assert!(ended.at.since(began.at).as_secs() >= 3_600 && ended.because.starts_with("nothing more"), "{ended:?}");
}

#[tokio::test]
async fn feedback_moves_the_limit_of_what_it_is_about() {
    let events = stream(5, DAYS, Some(Attack::Beacon));
    let detector = one("beacon");
    let first = run(&*detector, &events).await;
    let began = first.iter().find(|a| a.phase == Phase::Began && a.at >= begins(DAYS)).unwrap();
    for _ in 0..10 {
        detector.feedback(&ctx(), &Feedback::FalseAlarm { anomaly: began.id.clone() }).await.unwrap();
    }
    let untouched = one("beacon");
    run(&*untouched, &events).await;
    let beacons = events.iter().filter(|event| event.at >= began.onset && is_to(event, "cdn.evil.example"));
    let mut later: Vec<EventRecord> = beacons.cloned().collect();
    // A week later: first what is not regular, so that the gaps of before are forgotten, then the same again.
    let mut at = later[later.len() - 1].at.plus(Duration::from_secs(7 * 86_400));
    let irregular: Vec<EventRecord> = (0..70)
        .map(|n| {
            at = at.plus(Duration::from_secs([20, 70, 300, 1_500, 9_000][n % 5]));
            EventRecord { at, ..later[0].clone() }
        })
        .collect();
    let by = at.since(began.onset).saturating_add(Duration::from_secs(600));
    for event in &mut later {
        event.at = event.at.plus(by);
    }
    let again = later[0].at;
    later.splice(0..0, irregular);
    let (heard, deaf) = (run(&*untouched, &later).await, run(&*detector, &later).await);
    let when = |found: &[Anomaly]| {
        found.iter().find(|a| a.labels == began.labels && a.phase == Phase::Began && a.at >= again).map(|a| a.at)
    };
    assert!(when(&heard).is_some() && when(&deaf).is_none_or(|at| Some(at) > when(&heard)), "{heard:?} {deaf:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_times_and_names_are_survived(
        times in proptest::collection::vec(any::<i64>(), 1..200), names in proptest::collection::vec(".{0,40}", 1..8), seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut events = stream(seed, 1, Some(ATTACKS[(seed % 9) as usize]));
        events.truncate(times.len() * 3);
        for (n, event) in events.iter_mut().enumerate() {
            event.at = Timestamp::from_nanos(times[n % times.len()]);
            if let EventKind::Activity(activity) = &mut event.kind {
                activity.user = Some(names[n % names.len()].clone());
                activity.program = (n % 3 != 0).then(|| names[n * 7 % names.len()].clone());
            }
        }
        for detector in Detectors::behaviour() {
            let found = runtime.block_on(run(&*detector, &events));
            prop_assert!(found.iter().all(|anomaly| !anomaly.because.contains('\n')));
            let snapshot = runtime.block_on(detector.snapshot(&ctx())).unwrap();
            runtime.block_on(detector.restore(&ctx(), &snapshot)).unwrap();
        }
    }
}
