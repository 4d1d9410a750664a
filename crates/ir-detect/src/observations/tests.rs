//! The times of scrapes beside the histories.

use super::*;
use crate::runtime::scrape::ScrapeAssembler;
use ir_core::MetricSample;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1_000)
}

/// A scrape of one pod of `web` with a counter and `up`.
fn scrape(pod: &str, secs: i64, up: f64) -> Vec<MetricSample> {
    let series = |metric: &str, kind| {
        let entity = EntityId::new("web").unwrap();
        let labels = [("pod", pod)].into_iter().collect();
        Arc::new(Series { entity, metric: metric.to_owned(), kind, unit: String::new(), labels })
    };
    let (total, up_series) = (series("http_requests_total", MetricKind::Counter), series("up", MetricKind::Up));
    let sample = |series, value| MetricSample { series, at: at(secs), value };
    let value = sample(total, 10.0 * secs as f64);
    [(up > 0.0).then_some(value), Some(sample(up_series, up))].into_iter().flatten().collect()
}

fn batch(metrics: Vec<MetricSample>) -> SignalBatch {
    SignalBatch { metrics, ..SignalBatch::default() }
}

/// Two pods every ten seconds, three seconds apart; `b` fails at 33 s.
fn two_pods() -> Vec<SignalBatch> {
    let b_fails = |n: i64| if n == 3 { 0.0 } else { 1.0 };
    let of_pods = |n: i64| [scrape("a", n * 10, 1.0), scrape("b", n * 10 + 3, b_fails(n))];
    (0..8).flat_map(of_pods).map(batch).collect()
}

#[test]
fn each_target_has_the_times_of_its_answered_scrapes() {
    let store = ObservationStore::default();
    for batch in two_pods() {
        store.observe(&batch);
    }
    let cut = store.cut(at(80), Duration::from_secs(45));
    let pods: Vec<_> = cut.targets.iter().map(|history| history.target.labels.get("pod")).collect();
    assert_eq!(pods, [Some("a"), Some("b")]);
    assert_eq!(cut.targets[0].scrapes, [40, 50, 60, 70].map(at));
    assert_eq!(cut.targets[1].scrapes, [43, 53, 63, 73].map(at));
    let web = EntityId::new("web").unwrap();
    assert_eq!(cut.interval_of(&web), Some(Duration::from_secs(10)));
    assert_eq!(store.interval_of(&cut.targets[0].target), cut.interval_of(&web));
    assert_eq!(cut.scrapes_since(&web, at(51)), 2);
    let whole = store.cut(at(80), Duration::from_secs(800));
    assert_eq!(whole.targets[1].scrapes, [3, 13, 23, 43, 53, 63, 73].map(at));
    // The rate of each pod by its own scrapes: ten a second, whatever the other does.
    let rates = whole.series.iter().filter(|history| history.series.metric == "http_requests_total:rate");
    for history in rates {
        assert!(history.values.iter().all(|rate| *rate == 10.0), "{history:?}");
    }
}

#[test]
fn assembled_batches_give_the_same_as_bare_ones() {
    let (bare, assembled) = (ObservationStore::default(), ObservationStore::default());
    let mut assembler = ScrapeAssembler::default();
    for mut batch in two_pods() {
        bare.observe(&batch);
        assembler.assemble(&mut batch);
        assembled.observe(&batch);
    }
    let cut = |store: &ObservationStore| store.cut(at(80), Duration::from_secs(800));
    assert_eq!(cut(&assembled), cut(&bare));
    assert!(!cut(&bare).series.is_empty());
}

#[test]
fn what_is_beyond_a_bound_is_counted() {
    let bounds = Bounds { max_entities: 1, ..Bounds::default() };
    let config = ObservationStoreConfig { bounds, max_series: 2, ..ObservationStoreConfig::default() };
    let store = ObservationStore::new(config).unwrap();
    let mut assembler = ScrapeAssembler::default();
    for mut batch in two_pods() {
        assembler.assemble(&mut batch);
        store.observe(&batch);
    }
    let cut = store.cut(at(80), Duration::from_secs(800));
    assert_eq!((cut.targets.len(), cut.series.len()), (1, 2));
    assert!(store.refused() > 0);
}
