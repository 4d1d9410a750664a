//! Connections as regular as a clock: a program that asks somebody for orders.
//!
//! For one program and destination the gaps between contacts are compared with their median. Were contacts to come by chance (gaps
//! exponential), a gap would lie within a share `d` of the median with probability below `0.69 d`; how surprising it is that so many
//! do is the binomial bound of [`binomial_surprise`], at the best of four tolerances, less `ln 4` for the choice. That needs no idea
//! of the period, and missed or additional contacts cost little. That beacons are best found by robust dispersion of their gaps,
//! not by Fourier's transform, is the experience of RITA (Active Countermeasures); for the whole problem see Hu et al. (2016):
//! "BAYWATCH: Robust Beaconing Detection to Identify Infected Hosts in Large-Scale Enterprise Networks",
//! doi:10.1109/DSN.2016.50.

use std::time::Duration;

use ir_core::anomaly::Direction;
use ir_core::{Act, Activity, EntityId, EventRecord, Problem, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::{Core, Found, Learning, Reports};
use super::table::{Table, hash, quote};
use super::{ATTACK, subject};
use crate::anomaly::episode::Key;
use crate::anomaly::host::detector;
use crate::check::Check;
use crate::runtime::per_entity::PerEntity;
use crate::stats::{Ring, binomial_surprise, median};

/// How a [`BeaconDetector`] decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BeaconConfig {
    /// Gaps that are looked at before anything is said. Default 10.
    #[schemars(range(min = 5, max = 64))]
    pub min_gaps: usize,
    /// Surprise that is reported, in nats. Default 14: each contact of each pair is one trial.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub nats: f64,
    /// The largest deviation from the median that may count as regular, as its share. Default 0.5: what is mixed with more chance is
    /// lost.
    #[schemars(range(min = 0.05, max = 0.9))]
    pub jitter_ratio: f64,
    /// Contacts closer than this are one. Seconds, default 1: a page is many connections.
    #[schemars(range(min = 0.001, max = 3_600.0))]
    pub min_gap_secs: f64,
    /// A program known to keep this period, give or take this share of it, may do so with others. Default 0.1.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub same_period_ratio: f64,
    /// What is learned first, and how much is kept.
    pub learning: Learning,
}

impl Default for BeaconConfig {
    fn default() -> Self {
        Self {
            min_gaps: 10,
            nats: 14.0,
            jitter_ratio: 0.5,
            min_gap_secs: 1.0,
            same_period_ratio: 0.1,
            learning: Learning::default(),
        }
    }
}

impl BeaconConfig {
    fn check(&self) -> Vec<Problem> {
        let mut check = Check::default();
        check.count("min_gaps", self.min_gaps, 5, GAPS);
        check.within("nats", self.nats, 1.0, 1000.0);
        check.within("jitter_ratio", self.jitter_ratio, 0.05, 0.9);
        check.within("min_gap_secs", self.min_gap_secs, 0.001, 3_600.0);
        check.within("same_period_ratio", self.same_period_ratio, 0.0, 0.5);
        check.part("learning", self.learning.check());
        check.done()
    }
}

detector! {
    @on [super::host::Host]
    /// Finds programs that contact somebody at regular intervals, unless they did so when they were learned.
    ///
    /// What is regular in an entity's first [`Learning::warm_secs`], or was in contact then already, is normal; so is another
    /// destination with a period that the program is known to keep. 64 gaps, so about 700 bytes, a program and destination.
    BeaconDetector, Beacon, BeaconConfig
}

/// Gaps kept of each line.
const GAPS: usize = 64;
/// Periods kept of each program.
const PERIODS: usize = 8;
/// Tolerances tried, as parts of the largest.
const TOLERANCES: [f64; 4] = [0.1, 0.25, 0.5, 1.0];
/// The density of an exponential gap at its median, times the median, on both sides: `2 ln 2 / 2`.
const AT_MEDIAN: f64 = std::f64::consts::LN_2;

#[derive(Debug)]
struct Beacon(BeaconConfig);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Entities(Table<EntityId, Watched>);

impl PerEntity for Entities {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.0.retain(|of, _| of != entity);
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Watched {
    first: Timestamp,
    lines: Table<u64, Line>,
    /// Periods that are normal of a program, in seconds.
    periods: Table<u64, Ring<f64>>,
}

/// One program's contacts with one destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    first: Timestamp,
    last: Timestamp,
    /// Seconds.
    gaps: Ring<f64>,
}

impl Core for Beacon {
    type State = Entities;
    const NAME: &'static str = "beacon";
    const VERSION: u32 = 1;

    fn learning(&self) -> &Learning {
        &self.0.learning
    }

    fn activity(
        &self,
        state: &mut Entities,
        event: &EventRecord,
        activity: &Activity,
        reports: &mut Reports<'_>,
    ) -> Result<()> {
        let Act::Connected { to, .. } = &activity.act else { return Ok(()) };
        let (config, at) = (&self.0, event.at);
        let new = || Watched { first: at, ..Watched::default() };
        let (watched, _) = state.0.meet(&event.entity, at, config.learning.max_entities, new);
        let program = activity.program.as_deref().unwrap_or_default();
        let new = || Line { first: at, last: at, gaps: Ring::default() };
        let (line, _) = watched.lines.meet(&hash(&[program, to]), at, config.learning.max_names, new);
        if line.last > at {
            // Late, or a clock that was set back: there the line goes on.
            line.last = if line.last.since(at) > Duration::from_secs(60) { at } else { line.last };
            return Ok(());
        }
        let gap = at.since(line.last).as_secs_f64();
        // Each contact prolongs what is one, else a dense stream would be as regular as the least gap.
        line.last = at;
        if gap < config.min_gap_secs {
            return Ok(());
        }
        line.gaps.push(gap, GAPS);
        let Some(regular) = config.regular(&line.gaps) else { return Ok(()) };
        let n = line.gaps.len();
        let normal = !config.learning.is_over(watched.first, line.first);
        let (known, _) = watched.periods.meet(&hash(&[program]), at, config.learning.max_names, Ring::default);
        let same = |period: &f64| (period - regular.period).abs() <= config.same_period_ratio * regular.period;
        if known.iter().any(same) {
            return Ok(());
        }
        let mut key = Key::new(&event.entity, subject::BEACON);
        // T1071: Application Layer Protocol; T1095 where there is none, which the event does not tell.
        key.labels.insert(ATTACK, "T1071");
        key.labels.insert("program", quote(program));
        key.labels.insert("destination", quote(to));
        if regular.nats < config.nats * reports.factor(&key) {
            return Ok(());
        }
        if normal {
            known.push(regular.period, PERIODS);
            return Ok(());
        }
        let found = Found {
            nats: regular.nats,
            direction: Direction::New,
            onset: Some(at.minus(Duration::from_secs_f64(line.gaps.iter().sum::<f64>().min(1e9)))),
            expected: AT_MEDIAN * regular.tolerance,
            seen: regular.share,
            threshold: config.nats,
            patience: Duration::from_secs_f64((4.0 * regular.period).min(1e9)),
        };
        reports.report(&key, found, |onset| {
            format!(
                "expected contacts of `{}` with `{}` at no fixed times, seen {:.0} % of {n} gaps within {:.0} % of {:.1} s since \
                 {onset}; no such period was learned",
                quote(program),
                quote(to),
                regular.share * 100.0,
                regular.tolerance * 100.0,
                regular.period
            )
        })
    }
}

/// How regular a line is.
#[derive(Debug, Clone, Copy)]
struct Regular {
    nats: f64,
    /// The median gap, in seconds.
    period: f64,
    tolerance: f64,
    /// Of the gaps, those within the tolerance.
    share: f64,
}

impl BeaconConfig {
    fn regular(&self, gaps: &Ring<f64>) -> Option<Regular> {
        if gaps.len() < self.min_gaps {
            return None;
        }
        let n = gaps.len() as f64;
        let period = median(gaps.iter().copied())?;
        let at = |part: f64| {
            let tolerance = part * self.jitter_ratio;
            let inside = gaps.iter().filter(|gap| (*gap - period).abs() <= tolerance * period).count() as f64;
            let nats = binomial_surprise(inside, n, AT_MEDIAN * tolerance) - (TOLERANCES.len() as f64).ln();
            Regular { nats, period, tolerance, share: inside / n }
        };
        TOLERANCES.into_iter().map(at).max_by(|a, b| a.nats.total_cmp(&b.nats))
    }
}

#[cfg(test)]
mod tests;
