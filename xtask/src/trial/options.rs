//! What a campaign is asked for: faults, seeds, mode.

use super::record::Run;
use crate::fail::{Failure, Result};
use std::path::PathBuf;
use std::time::Duration;

/// What `--faults all` stands for. `none` is asked for by name: there the right thing is to do nothing.
const FAULTS: &[&str] = &["crash", "hang", "leak", "slow", "errors", "bad-deploy"];
pub(super) const NO_FAULT: &str = "none";

/// The faults of a `--kill` campaign: one that a restart heals, one that only a rollback heals.
const KILL_FAULTS: &[&str] = &["crash", "bad-deploy"];

/// Seconds after the first alert at which the simulated person of a baseline run does the right thing.
const PERSON_AFTER_SECS: &str = "300";

/// The command line of `cargo xtask trial`.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) faults: Option<Vec<String>>,
    pub(crate) seeds: Option<Vec<u64>>,
    pub(crate) kill: bool,
    pub(crate) busy: bool,
    pub(crate) baseline: bool,
    /// Forget the selected runs first.
    pub(crate) fresh: bool,
    /// The folder of the results.
    pub(crate) out: PathBuf,
    /// The program to run instead of building the quickstart.
    pub(crate) bin: Option<PathBuf>,
}

/// How the responder is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It acts by itself.
    Act,
    /// It acts, and is killed and started again on the way.
    Kill,
    /// It only watches; a simulated person acts five minutes after the first alert.
    Baseline,
}

/// The runs to be had.
#[derive(Debug, PartialEq)]
pub(super) struct Campaign {
    pub(super) mode: Mode,
    faults: Vec<String>,
    seeds: Vec<u64>,
}

impl Options {
    /// The runs asked for, with the mode's own faults and seeds where none were given.
    pub(super) fn campaign(&self) -> Result<Campaign> {
        let mode = match (self.kill, self.baseline) {
            (true, true) => return Err(Failure::new("`--kill` and `--baseline` exclude each other")),
            (true, false) => Mode::Kill,
            (false, true) => Mode::Baseline,
            (false, false) => Mode::Act,
        };
        let usual = if mode == Mode::Kill { KILL_FAULTS } else { FAULTS };
        let faults = self.faults.clone().unwrap_or_else(|| usual.iter().map(|f| (*f).to_owned()).collect());
        let last = if mode == Mode::Baseline { 2 } else { 10 };
        Ok(Campaign { mode, faults, seeds: self.seeds.clone().unwrap_or_else(|| (1..=last).collect()) })
    }

    /// The name of the mode, and of its file of results.
    pub(super) fn name(&self, mode: Mode) -> String {
        let name = match mode {
            Mode::Act => "act",
            Mode::Kill => "kill",
            Mode::Baseline => "baseline",
        };
        if self.busy { format!("{name}-busy") } else { name.to_owned() }
    }
}

impl Mode {
    /// What the program is told beside fault, seed and report.
    pub(super) fn arguments(self, seed: u64) -> Vec<String> {
        match self {
            Self::Act => vec![],
            Self::Kill => vec!["--kill".into(), seed.to_string()],
            Self::Baseline => ["--tier", "observe", "--person-after", PERSON_AFTER_SECS].map(str::to_owned).to_vec(),
        }
    }

    /// The longest a run may take.
    pub(super) fn limit(self, fault: &str) -> Duration {
        Duration::from_secs(match self {
            // The promise for a run with a fault.
            Self::Act if fault != NO_FAULT => 90,
            // A run without a fault watches for 60 s after learning; a killed responder starts, learns and settles twice.
            Self::Act | Self::Kill => 180,
            // The 5 minutes of the person, and twice the time of another run around them.
            Self::Baseline => 480,
        })
    }
}

impl Campaign {
    /// Fault by fault, each with all its seeds.
    pub(super) fn runs(&self) -> impl Iterator<Item = (&str, u64)> {
        self.faults.iter().flat_map(|fault| self.seeds.iter().map(|seed| (fault.as_str(), *seed)))
    }

    /// Whether a recorded run is one of these.
    pub(super) fn has(&self, run: &Run) -> bool {
        self.faults.contains(&run.fault) && self.seeds.contains(&run.seed)
    }
}

/// `all`, or names with commas between them.
pub(crate) fn parse_faults(text: &str) -> Result<Vec<String>> {
    if text == "all" {
        return Ok(FAULTS.iter().map(|f| (*f).to_owned()).collect());
    }
    let mut faults: Vec<String> = Vec::new();
    for name in text.split(',') {
        if name != NO_FAULT && !FAULTS.contains(&name) {
            let known = FAULTS.join(", ");
            return Err(Failure::new(format!("no fault `{name}`: give `all`, or some of {known}, {NO_FAULT}")));
        }
        if !faults.iter().any(|f| f == name) {
            faults.push(name.to_owned());
        }
    }
    Ok(faults)
}

/// Seeds and ranges with commas between them: `1..10` has both its ends.
pub(crate) fn parse_seeds(text: &str) -> Result<Vec<u64>> {
    let wrong = || Failure::new(format!("no seeds `{text}`: give `1..10` (both ends included), or `1,4,7`"));
    let mut seeds = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let first: u64 = first.parse().map_err(|_| wrong())?;
        let last: u64 = last.trim_start_matches('=').parse().map_err(|_| wrong())?;
        if first > last || last - first >= 100_000 {
            return Err(wrong());
        }
        seeds.extend(first..=last);
    }
    seeds.sort_unstable();
    seeds.dedup();
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_the_six_faults_and_none_is_asked_for_by_name() {
        assert_eq!(parse_faults("all").unwrap().len(), 6);
        assert_eq!(parse_faults("none,crash,none").unwrap(), ["none", "crash"]);
        assert!(parse_faults("crsh").unwrap_err().to_string().starts_with("no fault `crsh`: give `all`"));
    }

    #[test]
    fn a_range_of_seeds_has_both_its_ends() {
        assert_eq!(parse_seeds("1..3").unwrap(), [1, 2, 3]);
        assert_eq!(parse_seeds("7,1..=2,2").unwrap(), [1, 2, 7]);
        for wrong in ["", "3..1", "a", "1..", "1,", "-1", "0..99999999999"] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_mode_has_its_own_runs() {
        let runs = |options: Options| options.campaign().unwrap().runs().count();
        assert_eq!(runs(Options::default()), 60);
        assert_eq!(runs(Options { kill: true, ..Options::default() }), 20);
        assert_eq!(runs(Options { baseline: true, ..Options::default() }), 12);
        let asked =
            Options { kill: true, faults: Some(vec!["leak".into()]), seeds: Some(vec![4]), ..Options::default() };
        assert_eq!(asked.campaign().unwrap().runs().collect::<Vec<_>>(), [("leak", 4)]);
        assert!(Options { kill: true, baseline: true, ..Options::default() }.campaign().is_err());
    }

    #[test]
    fn the_mode_decides_what_the_program_is_told() {
        assert!(Mode::Act.arguments(3).is_empty());
        assert_eq!(Mode::Kill.arguments(3), ["--kill", "3"]);
        assert_eq!(Mode::Baseline.arguments(3), ["--tier", "observe", "--person-after", "300"]);
        assert_eq!(Options { busy: true, ..Options::default() }.name(Mode::Act), "act-busy");
    }
}
