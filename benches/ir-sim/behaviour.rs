//! `ir-sim behaviour`: detectors of behaviour over simulated offices: false alarms, attacks found, events a second.

#[path = "../../crates/ir-detect/tests/it/office.rs"]
mod office;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use incident_response::core::{Anomaly, Ctx, Detector, EventRecord, ManualClock, Phase, Timestamp};
use incident_response::detect::Detectors;
use office::{ATTACKS, DAY, ENTITIES, attack_begins, batches, stream};

const DAYS: u32 = 11;
/// The first day is learned.
const WARM: u32 = 1;

pub(crate) fn run(first: u64, seeds: u64) -> String {
    match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime.block_on(measure(first..first + seeds)),
        Err(error) => format!("{error}\n"),
    }
}

async fn measure(seeds: std::ops::Range<u64>) -> String {
    let n = seeds.end - seeds.start;
    let (mut alarms, mut entities) =
        (BTreeMap::<(String, String), u32>::new(), BTreeMap::<(String, String), u32>::new());
    let (mut events, mut spent) = (0, BTreeMap::<String, Duration>::new());
    let mut found = BTreeMap::<String, (u64, Vec<f64>)>::new();
    for seed in seeds {
        let clean = stream(seed, DAYS, None);
        events += clean.len();
        let mut quiet = BTreeSet::new();
        for detector in Detectors::behaviour() {
            let start = now();
            let reports = reports(&*detector, &clean).await;
            *spent.entry(detector.name().to_owned()).or_default() += start.elapsed();
            quiet.extend(reports.iter().map(|report| report.id.clone()));
            for report in reports.iter().filter(|report| report.phase == Phase::Began) {
                *alarms.entry((detector.name().to_owned(), report.subject.clone())).or_default() += 1;
                *entities.entry((detector.name().to_owned(), report.entity.to_string())).or_default() += 1;
                if n <= 3 {
                    eprintln!("  {} {}: {}", report.entity, report.subject, report.because);
                }
            }
        }
        for attack in ATTACKS {
            let events = stream(seed, DAYS, Some(attack));
            let from = Timestamp::from_nanos(1_700_000_000_000_000_000 + (attack_begins(DAYS) * 1e9) as i64);
            let (n_found, minutes) = found.entry(format!("{attack:?}")).or_default();
            let detectors = Detectors::behaviour();
            let Some(detector) = detectors.iter().find(|detector| detector.name() == attack.detector()) else {
                continue;
            };
            // The same stream without the attack has its own reports on that day: they are no success.
            let new =
                |report: &&Anomaly| report.at >= from && report.phase == Phase::Began && !quiet.contains(&report.id);
            if let Some(report) = reports(&**detector, &events).await.iter().find(new) {
                *n_found += 1;
                minutes.push(report.at.since(from).as_secs_f64() / 60.0);
            }
        }
    }
    let days = n as f64 * ENTITIES.len() as f64 * f64::from(DAYS - WARM);
    let mut text = String::new();
    let _ = writeln!(text, "{n} clean streams, {events} events, {days} entity-days after the first day of {DAY} s");
    for ((detector, subject), count) in &alarms {
        let _ = writeln!(
            text,
            "  {detector:<14} {subject:<18} {:.4} false alarms an entity and day",
            f64::from(*count) / days
        );
    }
    for ((detector, entity), count) in &entities {
        let _ = writeln!(
            text,
            "  {detector:<14} {entity:<18} {:.4} a day",
            f64::from(*count) / days * ENTITIES.len() as f64
        );
    }
    for (detector, time) in &spent {
        let _ = writeln!(text, "  {detector:<14} {:.0} events/s", events as f64 / time.as_secs_f64());
    }
    for (attack, (n_found, mut minutes)) in found {
        minutes.sort_by(f64::total_cmp);
        let median = minutes.get(minutes.len() / 2).copied().unwrap_or(f64::NAN);
        let _ = writeln!(text, "  {attack:<14} found by its detector {n_found}/{n}, after {median:.1} min (median)");
    }
    text
}

async fn reports(detector: &dyn Detector, events: &[EventRecord]) -> Vec<Anomaly> {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let mut found = Vec::new();
    for batch in batches(events, 1_000) {
        found.extend(detector.detect(&ctx, &batch).await.unwrap_or_default());
    }
    found
}

#[expect(clippy::disallowed_methods, reason = "speed is measured by the real clock")]
fn now() -> Instant {
    Instant::now()
}
