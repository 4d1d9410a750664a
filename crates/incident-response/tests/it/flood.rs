//! Thousands of incidents at once, on one thread: all are looked at, people are heard meanwhile, and an event costs what it costs.
//!
//! Beside other tests on a busy machine the limits are eight times as wide. The real ones, alone and optimized:
//! `IR_FLOOD=3200 cargo test --release -p incident-response --test it flood -- --nocapture --test-threads 1`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use incident_response::adapters::clock::SystemClock;
use incident_response::core::*;
use incident_response::detect::CorrelatorConfig;
use incident_response::{Handle, Responder};
use tokio::time::Instant;

use crate::hostile::{Says, anomaly, part};

/// How many, from the environment for the whole of it.
fn size() -> usize {
    std::env::var("IR_FLOOD").ok().and_then(|n| n.parse().ok()).unwrap_or(800)
}

/// How much longer everything may take beside other tests.
fn patience() -> u32 {
    if std::env::var_os("IR_FLOOD").is_some() { 1 } else { 8 }
}

/// `n` services; with `ways` each depends on two others, so that all hang together.
fn services(n: usize, connected: bool) -> Topology {
    let mut text: String = (0..n).map(|n| format!("[[entity]]\nid = \"svc-{n}\"\n")).collect();
    for n in (1..n).filter(|_| connected) {
        for to in [(n - 1) / 3, (n - 1) / 2] {
            text.push_str(&format!("[[dependency]]\nfrom = \"svc-{n}\"\nto = \"svc-{to}\"\n"));
        }
    }
    Topology::parse(&text, "topology.toml").unwrap()
}

/// An engine of which every service fails at once, in its first poll cycle.
async fn flooded(
    n: usize,
    connected: bool,
) -> (Handle, tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<Result<()>>) {
    let told = AtomicUsize::new(0);
    let all = part(move |_: &SignalBatch| {
        let at = SystemClock::new().now().wall;
        let first = told.fetch_add(1, Ordering::SeqCst) == 0;
        let one = |n: usize| anomaly(&format!("errors/{n}"), &format!("svc-{n}"), Phase::Began, at);
        Says::This(if first { (0..n).map(one).collect() } else { Vec::new() })
    });
    let builder = Responder::builder()
        .journal(MemoryJournal::new())
        .topology(services(n, connected))
        .correlator(incident_response::detect::StandardCorrelator::new(CorrelatorConfig::default()).unwrap())
        .source(part(|_: &Moment| Says::This(Polled::default())))
        .detector(all);
    let engine = builder.build().unwrap().open().await.unwrap();
    let handle = engine.handle();
    let (done, wait) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(engine.run_until(async {
        let _ = wait.await;
    }));
    (handle, done, running)
}

fn diagnosed(status: &incident_response::Status) -> usize {
    status.incidents.iter().filter(|incident| incident.state == IncidentState::HandedOver).count()
}

/// Asks for something that does not count, which is an event like any other, and says how long the answer took.
async fn ask(handle: &Handle) -> Duration {
    let asked = Instant::now();
    let step = StepRef { plan: PlanId::new("none").unwrap(), step: StepId::new("none").unwrap() };
    handle.settle(step, Person::named("ann"), true, "I looked").await.unwrap_err();
    asked.elapsed()
}

#[tokio::test]
async fn a_mass_of_unconnected_faults_is_diagnosed_and_people_are_heard_meanwhile() {
    let n = size();
    let begun = Instant::now();
    let (mut handle, done, running) = flooded(n, false).await;
    let (mut slowest, mut asked) = (Duration::ZERO, 0);
    while diagnosed(&handle.status()) < n {
        slowest = slowest.max(ask(&handle).await);
        asked += 1;
        handle.changed().await.unwrap();
    }
    let took = begun.elapsed();
    println!(
        "{n} unconnected incidents diagnosed in {took:?}; of {asked} requests meanwhile the slowest took {slowest:?}"
    );
    assert_eq!(handle.status().incidents.len(), n, "none is merged");
    assert!(took < Duration::from_secs(10) * patience(), "{took:?}");
    assert!(slowest < Duration::from_millis(250) * patience(), "{slowest:?}");
    // The halt takes no turn of the loop at all.
    let halted = Instant::now();
    handle.halt("ann", "a mass of faults");
    while handle.status().halted.is_none() {
        handle.changed().await.unwrap();
    }
    assert!(halted.elapsed() < Duration::from_millis(250) * patience(), "{:?}", halted.elapsed());
    let _ = done.send(());
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_mass_of_connected_faults_is_a_few_incidents_with_many_members() {
    let n = size();
    let (mut handle, done, running) = flooded(n, true).await;
    while handle.status().incidents.is_empty() || diagnosed(&handle.status()) < handle.status().incidents.len() {
        handle.changed().await.unwrap();
    }
    let incidents = handle.status().incidents.clone();
    let members: usize = incidents.iter().map(|incident| incident.anomalies.len()).sum();
    println!("{n} connected faults: {} incidents with {members} members", incidents.len());
    assert!(incidents.len() <= 10);
    assert!(members >= n.min(1_024));
    let _ = done.send(());
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_an_event_costs_does_not_depend_on_the_open_incidents() {
    let mut costs = Vec::new();
    for n in [10, size() / 3, size()] {
        let (mut handle, done, running) = flooded(n, false).await;
        while diagnosed(&handle.status()) < n {
            handle.changed().await.unwrap();
        }
        let mut took = Vec::new();
        for _ in 0..300 {
            took.push(ask(&handle).await);
        }
        took.sort_unstable();
        println!("{n} open incidents: half of the events take less than {:?}", took[took.len() / 2]);
        costs.push(took[took.len() / 2]);
        let _ = done.send(());
        running.await.unwrap().unwrap();
    }
    assert!(costs[2] < costs[0] * 2 * patience(), "{costs:?}");
}
