//! Made-up traces: what is joined, in any order and under floods; what is told of faults; and the contract.

use std::sync::Arc;

use ir_core::testkit::detector as laws;
use ir_core::{EntityId, ManualClock, Phase, Symptom};
use proptest::prelude::*;

use super::*;
use crate::anomaly::subject;

const MS: u64 = 1_000_000;

fn at(secs: f64) -> Timestamp {
    Timestamp::default().plus(Duration::from_secs_f64(1_000_000.0 + secs))
}

fn span(entity: &str, trace: u64, id: u64, parent: Option<u64>, start: Timestamp, ms: u64) -> Span {
    Span {
        entity: EntityId::new(entity).unwrap(),
        trace_id: format!("{trace:032x}"),
        span_id: format!("{id:016x}"),
        parent_id: parent.map(|parent| format!("{parent:016x}")),
        operation: format!("GET /{entity}"),
        at: start,
        duration_ns: ms * MS,
        error: false,
    }
}

/// web (100 ms) calls shop, as its client span sees for 60 ms; shop works for 50 ms, of which it waits 30 for stock.
fn request(trace: u64, secs: f64) -> Vec<Span> {
    let start = at(secs);
    let later = |ms: u64| start.plus(Duration::from_millis(ms));
    vec![
        span("web", trace, 1, None, start, 100),
        span("web", trace, 2, Some(1), later(20), 60),
        span("shop", trace, 3, Some(2), later(25), 50),
        span("stock", trace, 4, Some(3), later(30), 30),
    ]
}

fn detector() -> TraceDetector {
    TraceDetector::default()
}

async fn detect(detector: &TraceDetector, spans: &[Span]) -> Vec<Anomaly> {
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    detector.detect(&ctx, &SignalBatch { spans: spans.to_vec(), ..SignalBatch::default() }).await.unwrap()
}

/// Five requests a second with some noise; `change` makes the fault.
fn traffic(from: u32, to: u32, change: impl Fn(u64, &mut Vec<Span>)) -> Vec<Span> {
    let mut spans = Vec::new();
    for n in from * 5..to * 5 {
        let n = u64::from(n);
        let mut trace = request(n + 1, n as f64 / 5.0);
        for span in &mut trace {
            span.duration_ns += n * 7919 % 4 * MS;
        }
        change(n, &mut trace);
        spans.extend(trace);
    }
    spans
}

/// Closes all looks so far.
fn flush(secs: f64) -> Span {
    span("flush", u64::MAX, 1, None, at(secs), 0)
}

#[tokio::test]
async fn spans_become_edges_with_the_times_of_both_ends() {
    let detector = detector();
    let mut spans = Vec::new();
    for n in 0..20 {
        spans.extend(request(n + 1, n as f64 / 10.0));
    }
    spans.push(flush(50.0));
    detect(&detector, &spans).await;
    let graph = detector.graph();
    let edges: Vec<(&str, &str, u64)> =
        graph.edges.iter().map(|edge| (edge.from.as_str(), edge.to.as_str(), edge.calls)).collect();
    assert_eq!(edges, [("shop", "stock", 20), ("web", "shop", 20)]);
    // As the caller saw it (60 ms) where it told, else as the callee did (30 ms).
    assert!((graph.edges[1].p50_secs - 0.060).abs() < 0.001 && (graph.edges[0].p99_secs - 0.030).abs() < 0.001);
    assert_eq!(graph.edges[0].error_ratio, 0.0);
    assert_eq!(graph.dependencies().next().unwrap().source, "traces");
    let state = detector.state.lock().unwrap();
    let look = state.recent.iter().find(|look| !look.requests.is_empty()).unwrap();
    let exclusive = |entity: &str| {
        let all = &look.requests[&EntityId::new(entity).unwrap()].all;
        all.exclusive_secs / all.total()
    };
    // Web without its call of 60 ms, shop without that of 30 ms.
    for (entity, secs) in [("web", 0.040), ("shop", 0.020), ("stock", 0.030)] {
        assert!((exclusive(entity) - secs).abs() < 1e-9, "{entity} {}", exclusive(entity));
    }
    let gap = &look.calls[&(EntityId::new("web").unwrap(), EntityId::new("shop").unwrap())];
    assert!((gap.gap_secs / gap.gaps as f64 - 0.010).abs() < 1e-9);
}

#[tokio::test]
async fn skewed_clocks_shared_ids_and_missing_parents_do_no_harm() {
    let detector = detector();
    let mut skewed = request(1, 0.0);
    // Stock's clock is 8 seconds ahead: its call still takes 30 ms of shop's time.
    skewed[3].at = skewed[3].at.plus(Duration::from_secs(8));
    // The other trace has one id for both ends of the call, as Zipkin gives them, and lost its root.
    let mut shared = request(2, 0.0);
    let caller = shared[1].clone();
    (shared[2].span_id, shared[2].parent_id) = (caller.span_id, caller.parent_id);
    shared[3].parent_id = Some(shared[2].span_id.clone());
    shared.remove(0);
    let spans: Vec<Span> = skewed.into_iter().chain(shared).chain([flush(60.0)]).collect();
    detect(&detector, &spans).await;
    let graph = detector.graph();
    assert_eq!(graph.edges.iter().map(|edge| edge.calls).collect::<Vec<_>>(), [2, 2], "{graph:?}");
    assert_eq!(detector.counts().orphaned, 1);
    let state = detector.state.lock().unwrap();
    let mut sum = Look::default();
    state.recent.iter().for_each(|look| sum.merge(look));
    let shop = &sum.requests[&EntityId::new("shop").unwrap()].all;
    assert!((shop.exclusive_secs / shop.total() - 0.020).abs() < 1e-9, "{}", shop.exclusive_secs);
}

#[tokio::test]
async fn usual_traffic_is_no_anomaly_and_a_slow_callee_is_told_as_such() {
    let detector = detector();
    assert_eq!(detect(&detector, &traffic(0, 400, |_, _| {})).await, []);
    let slow = traffic(400, 600, |_, trace| {
        // Stock takes 200 ms more, and all who wait for it do as well.
        trace.iter_mut().for_each(|span| span.duration_ns += 200 * MS);
    });
    let found = detect(&detector, &slow).await;
    let began = |subject: &str, entity: &str| {
        found.iter().any(|a| a.phase == Phase::Began && a.subject == subject && a.entity.as_str() == entity)
    };
    assert!(began(subject::EXCLUSIVE, "stock"), "{found:?}");
    assert!(!began(subject::EXCLUSIVE, "shop") && !began(subject::EXCLUSIVE, "web"), "{found:?}");
    assert!(began(subject::CALLS_LATENCY, "shop") && began(subject::CALLS_LATENCY, "web"), "{found:?}");
    assert!(began(subject::P95, "web") && !began(subject::CALLS_GAP, "web"), "{found:?}");
    let call = found.iter().find(|a| a.subject == subject::CALLS_LATENCY && a.entity.as_str() == "shop").unwrap();
    assert_eq!((call.symptom, call.peer.as_ref().map(EntityId::as_str)), (Symptom::Downstream, Some("stock")));
    // Held for thirty seconds, and two looks of ten.
    assert!(call.at.since(at(400.0)).as_secs() <= 60, "{}", call.at);
    let healed = detect(&detector, &traffic(600, 800, |_, _| {})).await;
    assert!(healed.iter().all(|a| a.phase == Phase::Ended) && !healed.is_empty(), "{healed:?}");
}

#[tokio::test]
async fn failures_are_laid_to_whoever_failed_first() {
    let detector = detector();
    detect(&detector, &traffic(0, 400, |_, _| {})).await;
    let failing = traffic(400, 600, |n, trace| {
        if n.is_multiple_of(2) {
            trace.iter_mut().for_each(|span| span.error = true);
        }
    });
    let found = detect(&detector, &failing).await;
    let began = |subject: &str, entity: &str| {
        found.iter().any(|a| a.phase == Phase::Began && a.subject == subject && a.entity.as_str() == entity)
    };
    assert!(began(subject::OWN_ERRORS, "stock") && began(subject::CALLS_OWN, "shop"), "{found:?}");
    assert!(!began(subject::OWN_ERRORS, "shop") && !began(subject::OWN_ERRORS, "web"), "{found:?}");
    assert!(began(subject::ERRORS, "web") && began(subject::CALLS_RELAYED, "web"), "{found:?}");
}

#[tokio::test]
async fn one_operation_among_many_is_told_by_its_name() {
    let named = |n: u64, trace: &mut Vec<Span>| {
        let pay = n.is_multiple_of(5);
        trace.iter_mut().for_each(|span| span.operation = if pay { "pay" } else { "look" }.to_owned());
    };
    let config = TraceConfig { look_secs: 30, ..TraceConfig::default() };
    let detector = TraceDetector::new(config).unwrap();
    detect(&detector, &traffic(0, 600, named)).await;
    let found = detect(
        &detector,
        &traffic(600, 800, |n, trace| {
            named(n, trace);
            trace[3].error = n.is_multiple_of(5);
        }),
    )
    .await;
    let told: Vec<&str> = found
        .iter()
        .filter(|a| a.phase == Phase::Began && a.subject == subject::OWN_ERRORS)
        .filter_map(|a| a.labels.get("operation"))
        .collect();
    assert_eq!(told, ["pay"], "{found:?}");
}

#[tokio::test]
async fn a_flood_of_traces_and_operations_is_bounded() {
    let config = TraceConfig { max_spans: 1000, max_operations: 10, max_keys: 100, ..TraceConfig::default() };
    let detector = TraceDetector::new(config).unwrap();
    let spans: Vec<Span> = (0..20_000_u64)
        .map(|n| Span {
            operation: format!("GET /{n}"),
            ..span(&format!("s{}", n % 50), n + 1, 1, None, at(n as f64 / 400.0), 1)
        })
        .collect();
    detect(&detector, &spans).await;
    assert!(detector.waiting() <= 1000);
    assert!(detector.counts().shed > 0);
    let ctx = Ctx::new(Arc::new(ManualClock::new()));
    let size = detector.snapshot(&ctx).await.unwrap().bytes.len();
    assert!(size < 2 << 20, "{size}");
}

#[tokio::test]
async fn the_laws_hold() {
    let slow = traffic(40, 90, |_, trace| trace.iter_mut().for_each(|span| span.duration_ns += 200 * MS));
    let spans: Vec<Span> = traffic(0, 40, |_, _| {}).into_iter().chain(slow).collect();
    let batches: Vec<SignalBatch> =
        spans.chunks(120).map(|part| SignalBatch { spans: part.to_vec(), ..SignalBatch::default() }).collect();
    let config = TraceConfig { look_secs: 2, hold_secs: 4, warm_looks: 5, ..TraceConfig::default() };
    let make = || Arc::new(TraceDetector::new(config.clone()).unwrap()) as Arc<dyn Detector>;
    laws::check_all(&Ctx::new(Arc::new(ManualClock::new())), &make, &batches).await.unwrap();
}

#[tokio::test]
async fn hostile_spans_are_survived() {
    let detector = detector();
    let mut spans = Vec::new();
    for n in 0..300_u64 {
        // Loops of parents, one's own parent, no hexadecimal, the ends of time.
        let mut odd = span(
            "odd",
            n % 3,
            n,
            Some(n ^ 1),
            Timestamp::from_nanos(if n.is_multiple_of(7) { i64::MIN } else { i64::MAX }),
            1,
        );
        odd.duration_ns = if n.is_multiple_of(2) { u64::MAX } else { 0 };
        odd.trace_id = if n.is_multiple_of(5) { "nonsense\0".to_owned() } else { odd.trace_id };
        odd.operation = "x".repeat(n as usize * 10);
        spans.push(odd);
    }
    spans.extend(traffic(0, 60, |_, _| {}));
    detect(&detector, &spans).await;
    detect(&detector, &[flush(1e6)]).await;
    assert!(detector.waiting() <= 1);
    let wrong = TraceConfig { look_secs: 0, sigmas: f64::NAN, ..TraceConfig::default() };
    assert_eq!(TraceDetector::new(wrong).unwrap_err().problems().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Spans of ten seconds in any order, some twice, give the same graph.
    #[test]
    fn the_order_of_spans_does_not_matter(seed in any::<u64>(), lost in prop::collection::vec(0..200_usize, 0..10)) {
        let mut spans = traffic(0, 10, |_, _| {});
        lost.iter().for_each(|at| { spans.remove(*at % spans.len()); });
        let mut mixed = spans.clone();
        mixed.extend(spans.iter().take(20).cloned());
        let mut state = seed | 1;
        for n in (1..mixed.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            mixed.swap(n, (state % (n as u64 + 1)) as usize);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let graph = |spans: &[Span]| {
            let detector = detector();
            runtime.block_on(detect(&detector, spans));
            runtime.block_on(detect(&detector, &[flush(59.0)]));
            (detector.graph().edges.into_iter().map(|edge| (edge.from, edge.to, edge.calls, edge.p95_secs.to_bits(), edge.p50_secs.to_bits())).collect::<Vec<_>>(), detector.counts().orphaned, detector.counts().repeated)
        };
        let (straight, shuffled) = (graph(&spans), graph(&mixed));
        prop_assert_eq!(&straight.0, &shuffled.0);
        prop_assert_eq!(straight.1, shuffled.1);
        prop_assert_eq!(shuffled.2, 20);
    }
}
