//! Hygiene, case by case.

use ir_core::Labels;

use super::*;

fn series(metric: &str, kind: MetricKind) -> Arc<Series> {
    let (entity, metric) = (EntityId::new("web").unwrap(), metric.to_owned());
    Arc::new(Series { entity, metric, kind, unit: String::new(), labels: Labels::new() })
}

struct Rig {
    assembler: Assembler,
    bounds: Bounds,
    total: Arc<Series>,
    start: Arc<Series>,
    up: Arc<Series>,
}

impl Rig {
    fn new() -> Self {
        Self {
            assembler: Assembler::default(),
            bounds: Bounds::default(),
            total: series("total", MetricKind::Counter),
            start: series("start", MetricKind::Gauge),
            up: series("up", MetricKind::Up),
        }
    }

    fn push(&mut self, series: &Arc<Series>, at_ms: i64, value: f64) -> Vec<Look> {
        let mut out = Vec::new();
        let interest = Interest { start_time: "start", bounds: &self.bounds, eager: false };
        let sample = MetricSample { series: series.clone(), at: Timestamp::from_millis(at_ms), value };
        self.assembler.push(&sample, true, interest, &mut out);
        out
    }

    /// The increases of the looks that a whole scrape with `up` last completes.
    fn scrape(&mut self, at_ms: i64, total: f64, start: f64) -> Vec<f64> {
        let (t, s, u) = (self.total.clone(), self.start.clone(), self.up.clone());
        let mut looks = self.push(&t, at_ms, total);
        looks.extend(self.push(&s, at_ms, start));
        looks.extend(self.push(&u, at_ms, 1.0));
        looks.iter().flat_map(|look| look.increases.iter().map(|(_, increase)| *increase)).collect()
    }
}

#[test]
fn counters_become_increases_whatever_happens_to_them() {
    let mut rig = Rig::new();
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
        assert_eq!(rig.scrape(at_ms, total, start), expected, "at {at_ms}");
    }
}

#[test]
fn a_failed_scrape_is_a_look_at_once() {
    let mut rig = Rig::new();
    rig.scrape(1_000, 1.0, 1.0);
    let up = rig.up.clone();
    let looks = rig.push(&up, 2_000, 0.0);
    assert_eq!(looks.last().map(|look| (look.up, look.at)), Some((Some(false), Timestamp::from_millis(2_000))));
}

#[test]
fn a_new_series_of_a_known_entity_counts_from_zero() {
    let mut rig = Rig::new();
    rig.scrape(1_000, 1.0, 1.0);
    rig.scrape(2_000, 1.0, 1.0);
    let errors = series("errors", MetricKind::Counter);
    assert!(rig.push(&errors, 3_000, 7.0).is_empty());
    assert_eq!(rig.scrape(3_000, 1.0, 1.0), [7.0, 0.0]);
}

#[test]
fn when_up_no_longer_comes_last_nothing_is_lost_for_long() {
    let mut rig = Rig::new();
    rig.scrape(1_000, 1.0, 1.0);
    assert_eq!(rig.scrape(2_000, 2.0, 1.0), [1.0]);
    let (total, up, start) = (rig.total.clone(), rig.up.clone(), rig.start.clone());
    for at_ms in [3_000, 4_000, 5_000] {
        rig.push(&start, at_ms, 1.0);
        rig.push(&up, at_ms, 1.0);
        rig.push(&total, at_ms, at_ms as f64 / 1_000.0);
    }
    // The look of 5 s is still open; that of 3 s lacked the counter, that of 4 s has its whole increase.
    let closed = rig.push(&start, 6_000, 1.0);
    assert_eq!(closed[0].increases.iter().map(|(_, increase)| *increase).collect::<Vec<_>>(), [1.0]);
}

#[test]
fn no_more_is_kept_than_allowed() {
    let mut rig = Rig::new();
    rig.bounds = Bounds { max_entities: 2, max_series: 3, ..Bounds::default() };
    for n in 0..50 {
        let entity = EntityId::new(format!("web-{n}")).unwrap();
        for m in 0..50 {
            let metric = format!("m{m}");
            let series = Series { entity: entity.clone(), metric, ..Series::clone(&rig.total) };
            rig.push(&Arc::new(series), 1_000 + n * 300, 1.0);
        }
    }
    assert_eq!(rig.assembler.pages.len(), 2);
    assert!(rig.assembler.pages.values().all(|page| page.last.len() <= 3 && page.pending.len() <= 3));
}
