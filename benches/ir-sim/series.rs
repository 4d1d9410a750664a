//! `ir-sim series`: spikes, shocks, levels, trends and broken seasons in single series, and whether an alert tells of them.

use std::fmt::Write as _;

use incident_response::detect::basic::{BasicConfig, BasicModel};
use incident_response::detect::series::{SeriesConfig, SeriesModel};
use ir_bench::sim::planted::{Fault, Planted, planted};
use ir_bench::sim::series::{Measure, Series};

const INTERVAL_SECS: f64 = 300.0;

#[derive(Debug, Default)]
struct Counted {
    planted: u32,
    found: u32,
    /// Alerts in the same values of the series without anything planted.
    by_chance: u32,
    /// Values until the alert.
    after: Vec<usize>,
}

/// What watches.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tier {
    /// All that is known of one series.
    Full,
    /// What masses of series get.
    Basic,
}

impl Tier {
    pub(crate) const ALL: [Self; 2] = [Self::Full, Self::Basic];

    /// For tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "the full stack",
            Self::Basic => "the basic tier",
        }
    }

    /// At which values the default configuration tells something.
    pub(crate) fn alerts(self, series: &Series) -> Vec<usize> {
        let values = series.values.iter().enumerate().map(|(at, value)| (at, series.secs(at), *value));
        match self {
            Self::Full => {
                let (config, mut model) = (SeriesConfig::default(), SeriesModel::default());
                values
                    .filter(|(_, secs, value)| model.push(*secs, *value, &config).tells())
                    .map(|(at, ..)| at)
                    .collect()
            }
            Self::Basic => {
                let (config, mut model) = (BasicConfig::default(), BasicModel::default());
                values.filter(|(_, secs, value)| model.push(*secs, *value, &config).alert).map(|(at, ..)| at).collect()
            }
        }
    }
}

pub(crate) fn run(first: u64, seeds: u64) -> String {
    let mut text = format!(
        "planted things found by an alert while it helps (by chance: an alert in the same hours without them), \
         a value every {INTERVAL_SECS} s, seeds {first} to {}\n",
        first + seeds - 1
    );
    Tier::ALL.iter().for_each(|tier| table(*tier, first, seeds, &mut text));
    text
}

fn table(tier: Tier, first: u64, seeds: u64, text: &mut String) {
    let _ = writeln!(text, "== {}", tier.name());
    for fault in Fault::ALL {
        let mut all = Counted::default();
        let _ = write!(text, "{:<7}", fault.name());
        for measure in Measure::ALL {
            let mut counted = Counted::default();
            (first..first + seeds)
                .filter_map(|seed| planted(measure, fault, seed, INTERVAL_SECS))
                .for_each(|planted| count(tier, &planted, &mut counted));
            let _ = write!(text, "  {} {}/{}", measure.name(), counted.found, counted.planted);
            all.planted += counted.planted;
            all.found += counted.found;
            all.by_chance += counted.by_chance;
            all.after.append(&mut counted.after);
        }
        all.after.sort_unstable();
        let median = all.after.get(all.after.len() / 2).map_or(f64::NAN, |after| *after as f64 * INTERVAL_SECS / 60.0);
        let percent = |part: u32| 100.0 * f64::from(part) / f64::from(all.planted.max(1));
        let _ = writeln!(
            text,
            "\n        all: {:.1} % found, {:.1} % by chance, median after {median:.0} minutes",
            percent(all.found),
            percent(all.by_chance)
        );
    }
}

fn count(tier: Tier, planted: &Planted, counted: &mut Counted) {
    let inside = |at: &&usize| (planted.from..=planted.to).contains(*at);
    counted.planted += 1;
    counted.by_chance += u32::from(tier.alerts(&planted.clean).iter().any(|at| inside(&at)));
    if let Some(at) = tier.alerts(&planted.series).iter().find(inside) {
        counted.found += 1;
        counted.after.push(at - planted.from);
    }
}
