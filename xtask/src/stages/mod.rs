//! `cargo xtask test`: the stages in order, each timed, with a table at the end.

mod benches;
mod checks;
mod components;
mod copied;
pub(crate) mod examples;
mod features;
mod lint;
mod outside;
mod package;
pub(crate) mod packages;
mod readme;
pub(crate) mod schema;
mod testing;

use crate::fail::{Failure, Result};
use crate::run::{Stopwatch, children_cpu_secs};
use crate::table::table;
use crate::workspace::Workspace;

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Also what is too slow for every change.
    pub(crate) deep: bool,
    /// Go on after a stage failed.
    pub(crate) keep_going: bool,
    /// Leave out the stages before this one.
    pub(crate) from: Option<String>,
    /// Run this stage alone.
    pub(crate) only: Option<String>,
    /// Never install anything, even where it would be possible.
    pub(crate) no_install: bool,
}

/// What every stage is given.
#[derive(Debug)]
struct Site {
    workspace: Workspace,
    deep: bool,
    no_install: bool,
}

/// A stage returns a note for the table, empty when there is nothing to tell.
struct Stage {
    name: &'static str,
    run: fn(&Site) -> Result<String>,
}

const STAGES: &[Stage] = &[
    Stage { name: "components", run: components::run },
    Stage { name: "fmt", run: lint::fmt },
    Stage { name: "clippy", run: lint::clippy },
    Stage { name: "test", run: testing::all },
    Stage { name: "test-none", run: testing::none },
    Stage { name: "features", run: features::run },
    Stage { name: "doc", run: lint::doc },
    Stage { name: "packages", run: packages::run },
    Stage { name: "package", run: package::run },
    Stage { name: "schema", run: schema::run },
    Stage { name: "examples", run: examples::run },
    Stage { name: "benches", run: benches::run },
    Stage { name: "copied", run: copied::run },
];

/// One line of the table.
#[derive(Debug)]
struct Row {
    name: &'static str,
    seconds: f64,
    /// Of processor time, where the system tells.
    cpu: Option<f64>,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Passed(String),
    Failed(Failure),
    NotRun,
}

/// The names of all stages in order, for the help text.
pub(crate) fn names() -> String {
    STAGES.iter().map(|s| s.name).collect::<Vec<_>>().join(", ")
}

/// Runs the selected stages; true when all of them passed.
pub(crate) fn test(options: &Options) -> Result<bool> {
    let selected = selected(options)?;
    let site = Site { workspace: Workspace::load()?, deep: options.deep, no_install: options.no_install };
    let mut rows: Vec<Row> = Vec::new();
    let mut stopped = false;
    for stage in selected {
        if stopped {
            rows.push(Row { name: stage.name, seconds: 0.0, cpu: None, outcome: Outcome::NotRun });
            continue;
        }
        println!("\n== {} ==", stage.name);
        let (watch, before) = (Stopwatch::start(), children_cpu_secs());
        let outcome = match (stage.run)(&site) {
            Ok(note) => Outcome::Passed(note),
            Err(why) => {
                println!("{}: {why}", stage.name);
                stopped = !options.keep_going;
                Outcome::Failed(why)
            }
        };
        let seconds = watch.seconds();
        println!("{}: {seconds:.1} s", stage.name);
        let cpu = children_cpu_secs().zip(before).map(|(after, before)| after - before);
        rows.push(Row { name: stage.name, seconds, cpu, outcome });
    }
    print!("\n{}", report(&rows));
    Ok(!rows.iter().any(|r| matches!(r.outcome, Outcome::Failed(_))))
}

fn selected(options: &Options) -> Result<&'static [Stage]> {
    let find = |name: &str| {
        let at = STAGES.iter().position(|s| s.name == name);
        at.ok_or_else(|| Failure::new(format!("no stage `{name}`: the stages are {}", names())))
    };
    match (&options.from, &options.only) {
        (Some(_), Some(_)) => Err(Failure::new("`--from` and `--only` exclude each other")),
        (Some(from), None) => find(from).map(|at| &STAGES[at..]),
        (None, Some(only)) => find(only).map(|at| &STAGES[at..=at]),
        (None, None) => Ok(STAGES),
    }
}

fn report(rows: &[Row]) -> String {
    let cells = |row: &Row| {
        let (result, note) = match &row.outcome {
            Outcome::Passed(note) => ("passed", note.clone()),
            Outcome::Failed(why) => ("FAILED", why.to_string().lines().next().unwrap_or_default().to_owned()),
            Outcome::NotRun => ("not run", String::new()),
        };
        let cpu = row.cpu.map(|cpu| format!("{cpu:.1}")).unwrap_or_default();
        vec![row.name.to_owned(), format!("{:.1}", row.seconds), cpu, result.to_owned(), note]
    };
    let rest = rows.iter().filter(|r| matches!(r.outcome, Outcome::NotRun)).count();
    let failed = rows.iter().filter(|r| matches!(r.outcome, Outcome::Failed(_))).count();
    let mut lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let seconds: f64 = rows.iter().map(|r| r.seconds).sum();
    let cpu: f64 = rows.iter().filter_map(|r| r.cpu).sum();
    lines.push(vec!["all".into(), format!("{seconds:.1}"), format!("{cpu:.1}")]);
    let table = table(&["stage", "seconds", "cpu s", "result", "note"], &lines, &[0, 3, 4]);
    format!("{table}\n{} passed, {failed} failed\n", rows.len() - rest - failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(from: Option<&str>, only: Option<&str>) -> Options {
        Options { from: from.map(Into::into), only: only.map(Into::into), ..Options::default() }
    }

    #[test]
    fn stages_are_selected_by_name() {
        assert_eq!(selected(&options(None, None)).unwrap().len(), STAGES.len());
        assert_eq!(selected(&options(None, Some("fmt"))).unwrap().len(), 1);
        let from = selected(&options(Some("benches"), None)).unwrap();
        assert_eq!(from.iter().map(|s| s.name).collect::<Vec<_>>(), ["benches", "copied"]);
        let unknown = selected(&options(Some("fnt"), None)).err().unwrap().to_string();
        assert!(unknown.contains("no stage `fnt`: the stages are components, fmt,"), "{unknown}");
        assert!(selected(&options(Some("fmt"), Some("fmt"))).is_err());
    }

    #[test]
    fn the_report_closes_with_the_counts_alone_on_a_line() {
        let rows = [
            Row { name: "fmt", seconds: 1.04, cpu: Some(0.96), outcome: Outcome::Passed(String::new()) },
            Row {
                name: "clippy",
                seconds: 2.0,
                cpu: Some(3.5),
                outcome: Outcome::Failed(Failure::new("first line\nsecond")),
            },
            Row { name: "test", seconds: 0.0, cpu: None, outcome: Outcome::NotRun },
        ];
        let text = report(&rows);
        assert!(text.ends_with("\n\n1 passed, 1 failed\n"), "{text}");
        assert!(text.contains("FAILED   first line\n") && !text.contains("second\n"), "{text}");
        assert!(text.contains("not run") && text.contains(" 3.5 "), "{text}");
    }
}
