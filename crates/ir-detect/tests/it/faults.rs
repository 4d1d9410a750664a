//! Every fault on every service of the simulated shop is found in time and blamed on the right one; nothing else is.

use ir_core::{Anomaly, Hypothesis};

use crate::responder::Responder;
use crate::shop::{FAULTS, Fault, SERVICES, Scene, Shop, topology};

/// What came of a run.
struct Run {
    /// Seconds from the fault to the first incident.
    detected: Option<f64>,
    /// Seconds from the fault to the first hypothesis that does not abstain.
    decided: Option<f64>,
    n_incidents: usize,
    /// Leaders that were not the target.
    wrong: Vec<Hypothesis>,
    last: Option<Hypothesis>,
    reports: Vec<Anomaly>,
}

async fn play(scene: Scene, until_secs: f64, up_first: bool) -> Run {
    let mut shop = Shop::open(scene);
    shop.up_first = up_first;
    let mut responder = Responder::new(topology());
    let mut run =
        Run { detected: None, decided: None, n_incidents: 0, wrong: Vec::new(), last: None, reports: Vec::new() };
    let mut now = 0.25;
    while now < until_secs {
        run.reports.extend(responder.take(&shop.scrape(now)).await);
        let since = now - scene.fault_at_secs;
        for incident in &responder.incidents {
            run.detected = run.detected.or(Some(since));
            let hypothesis = responder.diagnose(incident).await;
            if let Some(leader) = hypothesis.leading() {
                run.decided = run.decided.or(Some(since));
                if leader.entity.as_str() != SERVICES[scene.target] {
                    run.wrong.push(hypothesis.clone());
                }
            }
            run.last = Some(hypothesis);
        }
        now += scene.interval_secs;
    }
    run.n_incidents = responder.incidents.len();
    run
}

fn scene(fault: Fault, target: usize, seed: u64, busy: bool, interval_secs: f64) -> Scene {
    // The phase of the fault against the scrapes differs from seed to seed.
    let fault_at_secs = 22.0 + 0.137 * (seed % 7) as f64;
    Scene { fault, target, seed, busy, interval_secs, fault_at_secs, healed_at_secs: f64::INFINITY }
}

#[tokio::test]
async fn every_fault_on_every_service_is_found_within_seconds_and_blamed_rightly() {
    let mut problems = Vec::new();
    let mut slowest: f64 = 0.0;
    for fault in FAULTS {
        for target in 0..4 {
            for (seed, busy, interval_secs) in (0..24u64).map(|n| (n, n % 2 == 1, if n % 4 < 2 { 0.5 } else { 1.0 })) {
                let seed = seed + 10 * target as u64;
                let scene = scene(fault, target, seed, busy, interval_secs);
                let run = play(scene, scene.fault_at_secs + 12.0, false).await;
                // Two looks more at one scrape a second: the promise is for two a second.
                let limit = if interval_secs < 1.0 {
                    3.0
                } else if busy {
                    6.0
                } else {
                    4.0
                };
                let decided = run.decided.unwrap_or(f64::INFINITY);
                slowest = slowest.max(decided);
                eprintln!(
                    "T {fault:?} {target} {busy} {interval_secs} {:.2} {decided:.2}",
                    run.detected.unwrap_or(99.0)
                );
                let early = run.detected.is_some_and(|secs| secs < 0.0);
                if decided > limit || early || run.n_incidents != 1 || !run.wrong.is_empty() {
                    problems.push(format!(
                        "{scene:?}: detected {:?} decided {:?} incidents {} wrong {:#?} last {:#?} {:#?}",
                        run.detected,
                        run.decided,
                        run.n_incidents,
                        run.wrong.first(),
                        run.last,
                        run.reports
                            .iter()
                            .map(|r| format!(
                                "{:?} {} {} {:?} {} {}",
                                r.phase, r.entity, r.subject, r.peer, r.score, r.because
                            ))
                            .collect::<Vec<_>>(),
                    ));
                }
            }
        }
    }
    assert!(
        problems.is_empty(),
        "{} of 96 runs:\n{}",
        problems.len(),
        problems.iter().take(3).cloned().collect::<Vec<_>>().join("\n")
    );
    println!("slowest decision {slowest:.2} s");
}

#[tokio::test]
async fn nothing_is_found_where_nothing_is_broken() {
    for seed in 100..130 {
        for busy in [false, true] {
            let scene = scene(Fault::None, (seed % 4) as usize, seed, busy, if seed % 2 == 0 { 0.5 } else { 1.0 });
            let run = play(scene, 82.0, false).await;
            assert_eq!(run.n_incidents, 0, "{scene:?} {:#?}", run.reports);
        }
    }
}
