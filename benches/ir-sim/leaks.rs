//! `ir-sim leaks`: planted leaks found, clean resources left alone, forecasts that hold.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use incident_response::detect::forecast::{LeakConfig, LeakModel};
use ir_bench::sim::series::{Measure, Series, clean, leaking};

/// A value a minute.
const INTERVAL_SECS: f64 = 60.0;
/// What is seen before a leak may begin.
const WARM_DAYS: f64 = 8.0;
/// How long clean series are.
const CLEAN_DAYS: f64 = 28.0;
/// Where on the way to exhaustion forecasts are asked for.
const ASKED_AT: [f64; 4] = [0.3, 0.5, 0.7, 0.9];

/// What was counted for one measure.
#[derive(Debug, Default)]
struct Counted {
    leaks: u32,
    /// Found before half of the way, found at all, and called a leak before it began.
    found_early: u32,
    found: u32,
    too_soon: u32,
    /// How far on the way each was found.
    way: Vec<f64>,
    clean: u32,
    false_alarms: u32,
    /// By place on the way: forecasts, and those whose interval held the truth; the interval's length against the time left.
    forecasts: [(u32, u32); ASKED_AT.len()],
    missed_early: u32,
    missed_late: u32,
}

pub(crate) fn run(first: u64, seeds: u64) -> String {
    let mut counted: BTreeMap<Measure, Counted> = BTreeMap::new();
    for measure in Measure::RESOURCES {
        let counted = counted.entry(measure).or_default();
        for seed in first..first + seeds {
            leak(&leaking(measure, seed, INTERVAL_SECS, WARM_DAYS), counted);
            let series = clean(measure, seed, INTERVAL_SECS, CLEAN_DAYS);
            counted.clean += 1;
            let mut alarmed = None;
            watch(&series, |at, model| alarmed = alarmed.or(model.leak().map(|_| at)));
            counted.false_alarms += u32::from(alarmed.is_some());
            if let Some(at) = alarmed.filter(|_| std::env::var_os("VERBOSE").is_some()) {
                eprintln!("false: {} seed {seed} at day {:.2}", measure.name(), at as f64 / 1440.0);
            }
        }
    }
    report(&counted)
}

/// Pushes all values and shows the model after each that was judged.
fn watch(series: &Series, mut see: impl FnMut(usize, &LeakModel)) {
    let (config, mut model) = (LeakConfig::default(), LeakModel::default());
    for (at, value) in series.values.iter().enumerate() {
        let restarted = series.restarts.binary_search(&at).is_ok();
        if model.push(series.secs(at), *value, restarted, series.limit, &config) {
            see(at, &model);
        }
    }
}

fn leak(series: &Series, counted: &mut Counted) {
    let Some(leak) = series.leak else { return };
    counted.leaks += 1;
    let way = |at: usize| (at as f64 - leak.at as f64) / (leak.exhausted - leak.at) as f64;
    let (mut found, mut too_soon, mut asked) = (None, false, 0);
    watch(series, |at, model| {
        if model.leak().is_none() {
            return;
        }
        if at < leak.at {
            too_soon = true;
            return;
        }
        found.get_or_insert(way(at));
        while asked < ASKED_AT.len() && way(at) >= ASKED_AT[asked] {
            // A forecast is due at each place; where the leak was found later than that, there is none.
            if let Some(limit) = series.limit.filter(|_| way(at) < ASKED_AT[asked] + 0.05) {
                let forecast = model.forecast(series.secs(at), limit, &LeakConfig::default());
                let truth = (leak.exhausted - at) as f64 * INTERVAL_SECS;
                let (early, late) =
                    (forecast.early_secs.unwrap_or(f64::INFINITY), forecast.late_secs.unwrap_or(f64::INFINITY));
                counted.forecasts[asked].0 += 1;
                counted.forecasts[asked].1 += u32::from((early..=late).contains(&truth));
                counted.missed_early += u32::from(truth < early);
                counted.missed_late += u32::from(truth > late);
            }
            asked += 1;
        }
    });
    counted.too_soon += u32::from(too_soon);
    counted.found += u32::from(found.is_some());
    counted.found_early += u32::from(found.is_some_and(|way| way <= 0.5));
    if std::env::var_os("VERBOSE").is_some() && found.is_none_or(|way| way > 0.5) {
        let days = (leak.exhausted - leak.at) as f64 / 1440.0;
        eprintln!(
            "late: {} {days:.2} days, from day {:.2}, found {found:?}",
            series.measure.name(),
            leak.at as f64 / 1440.0
        );
    }
    counted.way.extend(found);
}

fn report(counted: &BTreeMap<Measure, Counted>) -> String {
    let mut text = String::new();
    let percent = |part: u32, all: u32| 100.0 * f64::from(part) / f64::from(all.max(1));
    for (measure, counted) in counted {
        let mut way = counted.way.clone();
        way.sort_by(f64::total_cmp);
        let median = way.get(way.len() / 2).copied().unwrap_or(f64::NAN);
        let _ = writeln!(
            text,
            "{:<8} {} leaks: {:.1} % found before half of the way, {:.1} % ever, median at {:.2}; {:.1} % called one before; \
             clean {} x {CLEAN_DAYS} days: {:.1} % called a leak",
            measure.name(),
            counted.leaks,
            percent(counted.found_early, counted.leaks),
            percent(counted.found, counted.leaks),
            median,
            percent(counted.too_soon, counted.leaks),
            counted.clean,
            percent(counted.false_alarms, counted.clean),
        );
        for (at, (asked, held)) in ASKED_AT.iter().zip(counted.forecasts) {
            let _ = write!(text, "   at {at}: {:.1} % of {asked}", percent(held, asked));
        }
        let _ = writeln!(
            text,
            " of intervals of 90 % held; truth sooner {} times, later {}",
            counted.missed_early, counted.missed_late
        );
    }
    text
}
