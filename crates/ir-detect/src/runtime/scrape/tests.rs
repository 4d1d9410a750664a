//! Hygiene case by case, and what must hold of any samples.

use std::sync::Arc;

use ir_core::{ErrorKind, Labels, Series};
use proptest::prelude::*;

use super::*;

fn series(entity: &str, metric: &str, kind: MetricKind, labels: &[(&str, &str)]) -> Arc<Series> {
    let (entity, metric) = (EntityId::new(entity).unwrap(), metric.to_owned());
    let labels = labels.iter().copied().collect::<Labels>();
    Arc::new(Series { entity, metric, kind, unit: String::new(), labels })
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn sample(series: &Arc<Series>, at_ms: i64, value: f64) -> MetricSample {
    MetricSample { series: series.clone(), at: at(at_ms), value }
}

/// One target: a counter, a start time, `up`.
struct Rig {
    total: Arc<Series>,
    start: Arc<Series>,
    up: Arc<Series>,
}

impl Rig {
    fn new(entity: &str, labels: &[(&str, &str)]) -> Self {
        Self {
            total: series(entity, "total", MetricKind::Counter, labels),
            start: series(entity, "process_start_time_seconds", MetricKind::Gauge, labels),
            up: series(entity, "up", MetricKind::Up, labels),
        }
    }

    /// A whole scrape with `up` last.
    fn scrape(&self, at_ms: i64, total: f64, start: f64) -> Vec<MetricSample> {
        vec![sample(&self.total, at_ms, total), sample(&self.start, at_ms, start), sample(&self.up, at_ms, 1.0)]
    }
}

fn web() -> Rig {
    Rig::new("web", &[])
}

fn increases(scrapes: &[Scrape]) -> Vec<f64> {
    scrapes.iter().flat_map(|scrape| scrape.samples.iter().filter_map(|sample| sample.increase)).collect()
}

#[test]
fn a_step_that_no_register_holds_is_no_increase() {
    let (mut assembler, rig) = (ScrapeAssembler::default(), web());
    let mut found = Vec::new();
    for (n, total) in
        [(1, 1.0), (2, 2.0), (3, f64::MAX), (4, 5.0), (5, f64::MAX / 2.0), (6, f64::MAX), (7, 8.0), (8, 9.0)]
    {
        found.extend(increases(&assembler.push(&rig.scrape(n * 1_000, total, 1.0))));
    }
    assert_eq!(found, [1.0, 5.0, 8.0, 1.0]);
}

#[test]
fn counters_become_increases_whatever_happens_to_them() {
    let (mut assembler, rig) = (ScrapeAssembler::default(), web());
    // One row a scrape: time, counter, start time, increases that it completes. The first is closed by the second.
    for (at_ms, total, start, expected) in [
        (1_000, 100.0, 1.0, vec![]),
        (2_000, 110.0, 1.0, vec![10.0]), // From now on `up` is known to be last.
        (3_000, 110.0, 1.0, vec![0.0]),
        (3_000, 110.0, 1.0, vec![]),     // A repetition.
        (2_500, 105.0, 1.0, vec![]),     // Late.
        (4_000, f64::NAN, 1.0, vec![]),  // No number.
        (5_000, 140.0, 1.0, vec![30.0]), // After the gap.
        (6_000, 4.0, 1.0, vec![4.0]),    // A reset that shows in the counter.
        (7_000, 9.0, 2.0, vec![9.0]),    // A reset that shows in the start time only.
        (-60_000, 20.0, 2.0, vec![]),    // The clock was set back: nothing can be said of the time between.
        (-59_000, 25.0, 2.0, vec![5.0]),
    ] {
        assert_eq!(increases(&assembler.push(&rig.scrape(at_ms, total, start))), expected, "at {at_ms}");
    }
}

#[test]
fn a_failed_scrape_is_complete_at_once() {
    let (mut assembler, rig) = (ScrapeAssembler::default(), web());
    assembler.push(&rig.scrape(1_000, 1.0, 1.0));
    let scrapes = assembler.push(&[sample(&rig.up, 2_000, 0.0)]);
    assert_eq!(scrapes.last().map(|scrape| (scrape.up, scrape.at)), Some((Some(false), at(2_000))));
}

#[test]
fn a_target_without_values_is_complete_with_up() {
    let (mut assembler, rig) = (ScrapeAssembler::default(), web());
    assert!(assembler.push(&[sample(&rig.up, 1_000, 1.0)]).is_empty());
    assert_eq!(assembler.push(&[sample(&rig.up, 2_000, 1.0)]).len(), 2);
    assert_eq!(assembler.push(&[sample(&rig.up, 3_000, 1.0)]).len(), 1);
}

#[test]
fn a_new_series_of_a_known_target_counts_from_zero() {
    let (mut assembler, rig) = (ScrapeAssembler::default(), web());
    assembler.push(&rig.scrape(1_000, 1.0, 1.0));
    assembler.push(&rig.scrape(2_000, 1.0, 1.0));
    let errors = series("web", "errors", MetricKind::Counter, &[]);
    assert!(assembler.push(&[sample(&errors, 3_000, 7.0)]).is_empty());
    assert_eq!(increases(&assembler.push(&rig.scrape(3_000, 1.0, 1.0))), [7.0, 0.0]);
}

#[test]
fn when_up_no_longer_comes_last_nothing_is_lost_for_long() {
    let (mut assembler, rig) = (ScrapeAssembler::default(), web());
    assembler.push(&rig.scrape(1_000, 1.0, 1.0));
    assert_eq!(increases(&assembler.push(&rig.scrape(2_000, 2.0, 1.0))), [1.0]);
    for at_ms in [3_000, 4_000, 5_000] {
        let total = sample(&rig.total, at_ms, at_ms as f64 / 1_000.0);
        assembler.push(&[sample(&rig.start, at_ms, 1.0), sample(&rig.up, at_ms, 1.0), total]);
    }
    // The scrape of 5 s is still open; that of 3 s lacked the counter, that of 4 s has its whole increase.
    assert_eq!(increases(&assembler.push(&[sample(&rig.start, 6_000, 1.0)])), [1.0]);
}

#[test]
fn the_interval_is_the_median_of_recent_gaps() {
    let (mut assembler, rig) = (ScrapeAssembler::default(), web());
    let target = Target::of(&rig.up);
    let mut last = None;
    let mut scrape_at = |secs: i64| {
        let scrapes = assembler.push(&rig.scrape(secs * 1_000, 1.0, 1.0));
        last = scrapes.last().map_or(last, |scrape| scrape.interval);
        (assembler.interval_of(&target).map(|interval| interval.as_secs()), last.map(|interval| interval.as_secs()))
    };
    // One row a scrape: its time and the interval that is known then. The first is closed by the second.
    for (secs, interval) in [
        (0, None),
        (15, None),
        (30, None),
        (45, Some(15)),
        (45, Some(15)), // A repetition.
        (60, Some(15)),
        (75, Some(15)),
        (3_600, Some(15)), // A gap.
        (3_601, Some(15)), // Two scrapes close together.
        (3_616, Some(15)),
        (-500, Some(15)), // The clock was set back: that is no gap.
        (-470, Some(15)),
        (-440, Some(15)),
        (-410, Some(15)),
        (-380, Some(30)), // Five of nine gaps are of the new interval, or longer.
    ] {
        assert_eq!(scrape_at(secs), (interval, interval), "at {secs} s");
    }
    assert_eq!(assembler.scrapes_of(&target), 14);
    assert_eq!(assembler.interval_of(&Target::of(&Rig::new("db", &[]).up)), None);
}

#[test]
fn targets_of_one_entity_and_time_come_together_once_that_is_known() {
    let (a, b) = (Rig::new("web", &[("pod", "a")]), Rig::new("web", &[("pod", "b")]));
    let mut assembler = ScrapeAssembler::default();
    for n in 1..4 {
        assembler.push(&a.scrape(n * 1_000, n as f64, 1.0));
    }
    // The samples of `a`, its `up`, then those of `b`, which is new. When `a` is complete, nothing is known of `b`.
    assert_eq!(increases(&assembler.push(&a.scrape(4_000, 4.0, 1.0))), [1.0]);
    assert_eq!(assembler.push(&b.scrape(4_000, 40.0, 1.0)).len(), 1);
    for n in 5..7 {
        let first = assembler.push(&a.scrape(n * 1_000, n as f64, 1.0));
        assert!(first.is_empty(), "{first:?}");
        let both = assembler.push(&b.scrape(n * 1_000, 10.0 * n as f64, 1.0));
        assert_eq!(increases(&both), [1.0, 10.0]);
        assert_eq!(both.iter().map(|scrape| scrape.completes_entity).collect::<Vec<_>>(), [false, true]);
    }
    // One fails: the other answers, and so does the entity.
    let mut failed = a.scrape(7_000, 8.0, 1.0);
    failed.push(sample(&b.up, 7_000, 0.0));
    let scrapes = assembler.push(&failed);
    assert_eq!(scrapes.iter().map(|scrape| scrape.up).collect::<Vec<_>>(), [Some(true), Some(false)]);
    assert_eq!(EntityScrape::new(&scrapes, |_| true).unwrap().up, Some(true));
}

#[test]
fn no_more_is_kept_than_allowed_and_what_is_not_is_counted() {
    let config = ScrapeConfig { max_targets: 2, max_series_per_target: 3, max_series: 5, ..ScrapeConfig::default() };
    let mut assembler = ScrapeAssembler::new(config).unwrap();
    for n in 0..50 {
        for m in 0..50 {
            let series = series(&format!("web-{n}"), &format!("m{m}"), MetricKind::Gauge, &[]);
            assembler.push(&[sample(&series, 1_000 + n * 300, 1.0)]);
        }
    }
    let counts = assembler.counts();
    assert_eq!((counts.targets, counts.series, counts.refused_samples), (2, 5, 2_495));
    // An hour later what is silent makes room.
    let late = series("late", "m0", MetricKind::Gauge, &[]);
    assembler.push(&[sample(&late, 4_000_000, 1.0)]);
    let counts = assembler.counts();
    assert_eq!((counts.targets, counts.series), (1, 1));
    assert_eq!((counts.evicted_targets, counts.evicted_series, counts.refused_samples), (2, 5, 2_495));
    assert_eq!(assembler.push(&[sample(&late, 4_001_000, 1.0)]).len(), 1);
}

#[test]
fn those_that_stay_go_on_when_others_are_evicted() {
    let config = ScrapeConfig { max_targets: 3, ..ScrapeConfig::default() };
    let mut assembler = ScrapeAssembler::new(config).unwrap();
    let (gone, stays) = (Rig::new("gone", &[]), Rig::new("web", &[("pod", "a")]));
    let other = Rig::new("web", &[("pod", "b")]);
    let new = Rig::new("new", &[]);
    assembler.push(&[gone.scrape(0, 1.0, 1.0), other.scrape(0, 1.0, 1.0)].concat());
    assembler.push(&stays.scrape(3_599_000, 1.0, 1.0));
    assembler.push(&stays.scrape(3_600_000, 2.0, 1.0));
    // `stays` is open while the others make room for `new`.
    assembler.push(&[sample(&stays.total, 3_601_000, 5.0)]);
    assembler.push(&new.scrape(3_601_050, 1.0, 1.0));
    assert_eq!((assembler.counts().targets, assembler.counts().evicted_targets), (2, 2));
    assert_eq!(increases(&assembler.push(&stays.scrape(3_602_000, 9.0, 1.0))), [3.0, 4.0]);
}

#[test]
fn a_snapshot_that_contradicts_itself_is_refused_and_changes_nothing() {
    let (mut assembler, rig) = (ScrapeAssembler::default(), web());
    assembler.push(&rig.scrape(1_000, 1.0, 1.0));
    assembler.push(&rig.scrape(2_000, 2.0, 1.0));
    let snapshot = assembler.snapshot().unwrap();
    let mut contradicts = assembler.clone();
    contradicts.state.known.series[0].target = 7;
    let wrong = contradicts.snapshot().unwrap();
    assert_eq!(assembler.restore(&wrong).unwrap_err().kind(), ErrorKind::InvalidInput);
    let old = Snapshot { version: 0, ..snapshot };
    assert_eq!(assembler.restore(&old).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(increases(&assembler.push(&rig.scrape(3_000, 5.0, 1.0))), [3.0]);
}

#[test]
fn all_mistakes_of_a_configuration_are_reported_at_once() {
    let config = ScrapeConfig { start_time: String::new(), max_targets: 0, ..ScrapeConfig::default() };
    let text = ScrapeAssembler::new(config).unwrap_err().to_string();
    assert!(text.contains("start_time") && text.contains("max_targets"), "{text}");
}

/// Samples of three targets, two of one entity, with everything that goes wrong: order, repeats, NaN, failed scrapes, clocks.
fn hostile() -> impl Strategy<Value = Vec<MetricSample>> {
    let rigs = [Rig::new("web", &[("pod", "a")]), Rig::new("web", &[("pod", "b")]), Rig::new("db", &[])];
    let all: Vec<Arc<Series>> = rigs.into_iter().flat_map(|rig| [rig.total, rig.start, rig.up]).collect();
    let value = prop_oneof![
        8 => (0_u8..9).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(-1.0),
        1 => Just(f64::MAX),
    ];
    let step = prop_oneof![6 => Just(0_i64), 3 => 0_i64..2_000, 1 => Just(100_000), 1 => -15_000_i64..0];
    proptest::collection::vec((0..all.len(), step, value), 0..120).prop_map(move |rows| {
        let mut now = 0;
        let sampled = rows.into_iter().map(|(n, step, value)| {
            now += step;
            sample(&all[n], now, value)
        });
        sampled.collect()
    })
}

/// Scrapes in the regular order that sources bring, of two pods whose clocks are `offset_ms` apart.
fn interleaved(offset_ms: i64, totals: &[(u16, u16)]) -> Vec<MetricSample> {
    let (a, b) = (Rig::new("web", &[("pod", "a")]), Rig::new("web", &[("pod", "b")]));
    let (mut total_a, mut total_b) = (0.0, 0.0);
    let mut samples = Vec::new();
    for (n, (by_a, by_b)) in (1..).zip(totals) {
        total_a += f64::from(*by_a);
        total_b += f64::from(*by_b);
        samples.extend(a.scrape(n * 15_000, total_a, 1.0));
        samples.extend(b.scrape(n * 15_000 + offset_ms, total_b, 2.0));
    }
    samples
}

fn of_pod<'a>(scrapes: &'a [Scrape], pod: &str) -> Vec<&'a Scrape> {
    scrapes.iter().filter(|scrape| scrape.target.labels.get("pod") == Some(pod)).collect()
}

proptest! {
    #[test]
    fn batches_may_be_cut_anywhere(samples in hostile(), cuts in proptest::collection::vec(1_usize..20, 1..40)) {
        let whole = ScrapeAssembler::default().push(&samples);
        let (mut assembler, mut pieces, mut rest) = (ScrapeAssembler::default(), Vec::new(), samples.as_slice());
        for cut in cuts {
            let (piece, left) = rest.split_at(cut.min(rest.len()));
            pieces.extend(assembler.push(piece));
            rest = left;
        }
        pieces.extend(assembler.push(rest));
        prop_assert_eq!(&pieces, &whole);
        // What is judged together does not depend on it either.
        for scrapes in by_entity(&whole) {
            let (first, last) = (&scrapes[0], &scrapes[scrapes.len() - 1]);
            prop_assert!(last.completes_entity && (&first.target.entity, first.at) == (&last.target.entity, last.at));
        }
    }

    #[test]
    fn a_restart_changes_nothing(samples in hostile(), cut in 0_usize..120) {
        let whole = ScrapeAssembler::default().push(&samples);
        let (first, rest) = samples.split_at(cut.min(samples.len()));
        let mut original = ScrapeAssembler::default();
        let mut pieces = original.push(first);
        let snapshot = original.snapshot().unwrap();
        let mut restored = ScrapeAssembler::default();
        restored.restore(&snapshot).unwrap();
        prop_assert_eq!(restored.snapshot().unwrap(), snapshot);
        pieces.extend(restored.push(rest));
        prop_assert_eq!(pieces, whole);
        prop_assert_eq!(restored.counts(), { original.push(rest); original.counts() });
    }

    #[test]
    fn samples_that_are_not_shared_give_the_same(samples in hostile()) {
        let copy = |s: &MetricSample| MetricSample { series: Arc::new(Series::clone(&s.series)), ..s.clone() };
        let copies: Vec<MetricSample> = samples.iter().map(copy).collect();
        prop_assert_eq!(ScrapeAssembler::default().push(&copies), ScrapeAssembler::default().push(&samples));
    }

    #[test]
    fn repeated_batches_change_nothing(
        totals in proptest::collection::vec((any::<u16>(), any::<u16>()), 1..12), offset_ms in 0_i64..15_000,
    ) {
        let samples = interleaved(offset_ms, &totals);
        let once = ScrapeAssembler::default().push(&samples);
        let mut assembler = ScrapeAssembler::default();
        let mut twice = Vec::new();
        for scrape in samples.chunks(3) {
            twice.extend(assembler.push(scrape));
            twice.extend(assembler.push(scrape));
        }
        prop_assert_eq!(twice, once);
    }

    #[test]
    fn values_of_a_scrape_may_come_in_any_order(
        totals in proptest::collection::vec((any::<u16>(), any::<u16>()), 2..8), turn in 0_usize..5,
    ) {
        let sorted = |mut scrapes: Vec<Scrape>| {
            for scrape in &mut scrapes {
                scrape.samples.sort_by(|a, b| a.series.cmp(&b.series));
            }
            scrapes
        };
        // Both pods at one time, all values before both `up`.
        let mut turned = Vec::new();
        let mut straight = Vec::new();
        for scrape in interleaved(0, &totals).chunks(6) {
            let (mut ups, mut values): (Vec<_>, Vec<_>) =
                scrape.iter().cloned().partition(|sample| sample.series.kind == MetricKind::Up);
            straight.extend([values.clone(), ups.clone()].concat());
            values.rotate_left(turn % 4);
            ups.rotate_left(turn % 2);
            turned.extend([values, ups].concat());
        }
        let straight = sorted(ScrapeAssembler::default().push(&straight));
        prop_assert_eq!(sorted(ScrapeAssembler::default().push(&turned)), straight);
    }

    #[test]
    fn targets_with_clocks_apart_do_not_disturb_each_other(
        totals in proptest::collection::vec((any::<u16>(), any::<u16>()), 1..12), offset_ms in 1_i64..15_000,
    ) {
        let both = ScrapeAssembler::default().push(&interleaved(offset_ms, &totals));
        for pod in ["a", "b"] {
            let own = |sample: &MetricSample| sample.series.labels.get("pod") == Some(pod);
            let samples: Vec<MetricSample> = interleaved(offset_ms, &totals).into_iter().filter(own).collect();
            let alone = ScrapeAssembler::default().push(&samples);
            let together = of_pod(&both, pod);
            // Alone the last scrape may still wait to be closed by a later sample.
            prop_assert!(together.len() >= alone.len());
            for (alone, together) in alone.iter().zip(together) {
                prop_assert_eq!((alone.at, alone.before, alone.restarted), (together.at, together.before, false));
                prop_assert_eq!(&alone.samples, &together.samples);
            }
        }
    }
}
