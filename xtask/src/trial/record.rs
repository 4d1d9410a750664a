//! One run as it is recorded: a JSON line with what we saw from outside, and the program's own report as it came.

use super::options::NO_FAULT;
use crate::fail::{Context, Result};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A run that ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) mode: String,
    pub(super) fault: String,
    pub(super) seed: u64,
    /// Which build of the program ran.
    pub(super) binary: String,
    /// Its exit code, none when a signal ended it.
    pub(super) exit: Option<i32>,
    /// Whether it was killed because it took too long.
    pub(super) timed_out: bool,
    pub(super) wall_s: f64,
    /// What it wrote for `--json`, or null.
    pub(super) report: Value,
}

impl Run {
    /// Whether this is the run of that fault and seed by that build.
    pub(super) fn is(&self, fault: &str, seed: u64, binary: &str) -> bool {
        self.fault == fault && self.seed == seed && self.binary == binary
    }

    /// Right is what the report says and the exit code confirms; anything missing is wrong.
    pub(super) fn right(&self) -> bool {
        self.exit == Some(0) && self.report["right"] == Value::Bool(true)
    }

    /// Why it is not right, the outside view first.
    pub(super) fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.exit {
            _ if self.timed_out => reasons.push(format!("killed after {:.0} s", self.wall_s)),
            None => reasons.push("ended by a signal".to_owned()),
            Some(0) => {}
            Some(code) => reasons.push(format!("exit code {code}")),
        }
        match &self.report {
            Value::Null => reasons.push("no report".to_owned()),
            report if !report["right"].is_boolean() => reasons.push("the report has no `right`".to_owned()),
            _ => {}
        }
        let told = self.report["reasons"].as_array().into_iter().flatten();
        reasons.extend(told.map(|r| r.as_str().map_or_else(|| r.to_string(), str::to_owned)));
        reasons
    }

    /// A number of the report, if it is there and finite.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.report[key].as_f64()
    }

    /// The service that was broken; none where nothing was, even if the report names the one that was drawn.
    pub(super) fn target(&self) -> Option<&str> {
        if self.fault == NO_FAULT { None } else { self.report["target"].as_str() }
    }

    /// How many effects the shop's own log holds: told as a count, or as the list itself.
    pub(super) fn effects(&self) -> Option<u64> {
        let effects = &self.report["effects"];
        effects.as_u64().or_else(|| effects.as_array().map(|list| list.len() as u64))
    }

    /// Whether the hypothesis of the plan named the broken service first; none when the report does not tell, or when nothing
    /// was broken.
    pub(super) fn rank1(&self) -> Option<bool> {
        let target = self.target()?;
        let told = self.report["cause_rank1"].as_bool();
        told.or_else(|| Some(self.report["cause"].as_str()? == target))
    }

    fn line(&self) -> String {
        let value = json!({
            "mode": self.mode, "fault": self.fault, "seed": self.seed, "binary": self.binary, "exit": self.exit,
            "timed_out": self.timed_out, "wall_s": self.wall_s, "report": self.report,
        });
        format!("{value}\n")
    }

    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        Some(Self {
            mode: text("mode")?,
            fault: text("fault")?,
            seed: value["seed"].as_u64()?,
            binary: text("binary")?,
            exit: value["exit"].as_i64().and_then(|code| i32::try_from(code).ok()),
            timed_out: value["timed_out"].as_bool()?,
            wall_s: value["wall_s"].as_f64()?,
            report: value["report"].clone(),
        })
    }
}

/// The file of a mode: one line a run, in the order they ended.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    runs: Vec<Run>,
}

impl Store {
    /// Reads what is there. A line that does not parse (the campaign was stopped while it wrote) is dropped from the file, so
    /// its run is done again.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e).context(|| format!("cannot read `{}`", path.display())),
        };
        let store = Self { path: path.to_owned(), runs: text.lines().filter_map(Run::parse).collect() };
        let whole = text.ends_with('\n') || text.is_empty();
        if !whole || store.runs.len() != text.lines().count() {
            store.rewrite()?;
        }
        Ok(store)
    }

    /// All recorded runs, of every build.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Drops the runs that `which` selects.
    pub(super) fn forget(&mut self, which: impl Fn(&Run) -> bool) -> Result<()> {
        self.runs.retain(|run| !which(run));
        self.rewrite()
    }

    /// Adds a run; it is on disk when this returns.
    pub(super) fn append(&mut self, run: Run) -> Result<()> {
        let told = || format!("cannot write `{}`", self.path.display());
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path).context(told)?;
        file.write_all(run.line().as_bytes()).and_then(|()| file.sync_data()).context(told)?;
        self.runs.push(run);
        Ok(())
    }

    fn rewrite(&self) -> Result<()> {
        let told = || format!("cannot write `{}`", self.path.display());
        let text: String = self.runs.iter().map(Run::line).collect();
        let partial = self.path.with_extension("partial");
        fs::write(&partial, text).context(told)?;
        fs::rename(&partial, &self.path).context(told)
    }
}

/// A run for tests, with this report.
#[cfg(test)]
pub(super) fn sample(fault: &str, seed: u64, report: Value) -> Run {
    let exit = Some(i32::from(report["right"] != Value::Bool(true)));
    Run {
        mode: "act".into(),
        fault: fault.into(),
        seed,
        binary: "b1".into(),
        exit,
        timed_out: false,
        wall_s: 30.0,
        report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_needs_the_report_and_the_exit_code() {
        let right = sample("crash", 1, json!({"right": true}));
        assert!(right.right() && right.reasons().is_empty());
        let cases = [
            (Run { exit: Some(1), ..right.clone() }, "exit code 1"),
            (Run { exit: None, timed_out: true, wall_s: 90.2, ..right.clone() }, "killed after 90 s"),
            (Run { exit: None, ..right.clone() }, "ended by a signal"),
            (Run { report: Value::Null, ..right.clone() }, "no report"),
            (Run { report: json!({"right": "yes"}), ..right.clone() }, "the report has no `right`"),
            (Run { report: json!({"right": false, "reasons": ["two effects"]}), ..right }, "two effects"),
        ];
        for (run, reason) in cases {
            assert!(!run.right(), "{reason}");
            assert_eq!(run.reasons(), [reason]);
        }
    }

    #[test]
    fn reports_are_read_tolerantly() {
        let list = sample("crash", 1, json!({"effects": [{}, {}], "target": "ledger", "cause": "ledger"}));
        assert_eq!((list.effects(), list.rank1()), (Some(2), Some(true)));
        let count = sample("crash", 1, json!({"effects": 1, "cause_rank1": false, "cause": "a", "target": "a"}));
        assert_eq!((count.effects(), count.rank1()), (Some(1), Some(false)));
        let empty = sample("crash", 1, json!({"detected_after_s": null}));
        let none = sample("none", 1, json!({"effects": [], "target": "ledger", "cause": "ledger"}));
        assert_eq!((none.effects(), none.rank1(), none.target()), (Some(0), None, None));
        assert_eq!((empty.effects(), empty.rank1(), empty.number("detected_after_s")), (None, None, None));
    }

    #[test]
    fn what_was_written_is_read_again_and_a_torn_line_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("act.jsonl");
        let run = |seed| sample("leak", seed, json!({"right": true, "run_s": 31.25}));
        let mut store = Store::open(&path).unwrap();
        store.append(run(1)).unwrap();
        store.append(Run { exit: None, timed_out: true, ..run(2) }).unwrap();
        let written = store.runs().to_vec();
        assert_eq!(Store::open(&path).unwrap().runs(), written);
        let torn = fs::read_to_string(&path).unwrap() + r#"{"mode":"act","fau"#;
        fs::write(&path, torn).unwrap();
        let mut store = Store::open(&path).unwrap();
        store.append(run(3)).unwrap();
        let seeds: Vec<u64> = Store::open(&path).unwrap().runs().iter().map(|r| r.seed).collect();
        assert_eq!(seeds, [1, 2, 3]);
    }

    #[test]
    fn forgetting_leaves_the_other_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("act.jsonl");
        let mut store = Store::open(&path).unwrap();
        store.append(sample("leak", 1, Value::Null)).unwrap();
        store.append(sample("crash", 1, Value::Null)).unwrap();
        store.forget(|run| run.fault == "leak").unwrap();
        let left = Store::open(&path).unwrap();
        assert_eq!(left.runs().iter().map(|r| r.fault.as_str()).collect::<Vec<_>>(), ["crash"]);
    }
}
