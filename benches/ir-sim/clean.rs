//! `ir-sim clean`: what the models of series say where nothing happens.

use std::fmt::Write as _;

use ir_bench::sim::series::{Measure, clean};

use super::series::Tier;

const DAYS: f64 = 28.0;
const INTERVALS_SECS: [f64; 2] = [60.0, 300.0];
/// Alerts so many values apart are one episode.
const GAP: usize = 5;

pub(crate) fn run(first: u64, seeds: u64) -> String {
    let mut text = format!(
        "clean series of {DAYS} days, seeds {first} to {}: episodes a series and day (asked: at most .05), rows with an alert \
         (asked: at most .05 %)\n",
        first + seeds - 1
    );
    for tier in Tier::ALL {
        let _ = writeln!(text, "== {}", tier.name());
        INTERVALS_SECS.iter().for_each(|interval_secs| table(tier, *interval_secs, first, seeds, &mut text));
    }
    text
}

fn table(tier: Tier, interval_secs: f64, first: u64, seeds: u64, text: &mut String) {
    let (mut all, mut rows, mut alerted) = (0, 0, 0);
    let _ = write!(text, "a value every {interval_secs} s:");
    for measure in Measure::ALL {
        let mut episodes = 0;
        for seed in first..first + seeds {
            let series = clean(measure, seed, interval_secs, DAYS);
            let found = tier.alerts(&series);
            rows += series.values.len();
            alerted += found.len();
            episodes += found.iter().enumerate().filter(|(n, at)| *n == 0 || *at - found[n - 1] > GAP).count();
        }
        let _ = write!(text, "  {} {:.3}", measure.name(), episodes as f64 / (seeds.max(1) as f64 * DAYS));
        all += episodes;
    }
    let days = seeds.max(1) as f64 * DAYS * Measure::ALL.len() as f64;
    let share = 100.0 * alerted as f64 / rows.max(1) as f64;
    let _ =
        writeln!(text, "\n    all: {:.4} episodes a series and day, {share:.4} % of {rows} rows", all as f64 / days);
}
