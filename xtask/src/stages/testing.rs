//! Stages `test` and `test-none`: all tests with all features, and those of the libraries that have features with none.
//!
//! Cargo builds the test programs and runs the doc tests; the programs are run here, because cargo runs one after the other and
//! many of them mostly wait.

use super::Site;
use super::checks::{Check, log_folder, side_by_side};
use crate::fail::{Context, Failure, Result};
use crate::run::Task;
use crate::workspace::{Workspace, everything, select};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that one test program may take. With `--deep` there are eight times as many cases.
const LIMIT: Duration = Duration::from_secs(600);
const DEEP: u32 = 8;

/// All tests, doc tests included, with all features.
pub(super) fn all(site: &Site) -> Result<String> {
    run(site, "test", &everything(&site.workspace, site.deep))
}

/// The tests of the libraries that have features, without any: the others were tested as they are.
pub(super) fn none(site: &Site) -> Result<String> {
    let libraries = select(site.workspace.libraries().filter(|library| library.lone_features().next().is_some()));
    if libraries.is_empty() {
        return Ok("no library has features".into());
    }
    run(site, "test-none", &[libraries, vec!["--no-default-features".into()]].concat())
}

fn run(site: &Site, stage: &str, which: &[String]) -> Result<String> {
    let build = Task::cargo("test").args(which).args(["--no-run", "--message-format=json-render-diagnostics"]);
    let programs = programs(&build.output_beside_errors()?, &site.workspace)?;
    let logs = log_folder(&site.workspace, stage)?;
    let checks: Vec<Check> = programs
        .iter()
        .enumerate()
        .map(|(at, program)| program.check(&logs.join(format!("{at}.log")), site.deep))
        .collect();
    let ran = side_by_side(&checks);
    let docs = Task::cargo("test").args(which).arg("--doc").run();
    ran.and(docs).map(|()| format!("{} programs", programs.len()))
}

/// A test program that cargo has built.
#[derive(Debug, PartialEq)]
struct Program {
    name: String,
    path: PathBuf,
    /// The folder of its package, in which cargo runs it.
    folder: PathBuf,
}

impl Program {
    fn check(&self, log: &Path, deep: bool) -> Check {
        // Tests about staying power restart servers for so long, unless the caller says otherwise.
        let soak = std::env::var("IR_SOAK_SECS").unwrap_or_else(|_| if deep { "600" } else { "60" }.to_owned());
        let task = Task::new(&self.path).dir(&self.folder);
        let mut task = task.env("CARGO_MANIFEST_DIR", &self.folder).env("IR_SOAK_SECS", soak);
        // proptest reads this itself: eight times its usual number of cases, unless the caller asks for another.
        if deep && std::env::var_os("PROPTEST_CASES").is_none() {
            task = task.env("PROPTEST_CASES", "2048");
        }
        if deep {
            task = task.env("IR_MODEL_WHOLE", "1");
        }
        Check { name: self.name.clone(), task, limit: if deep { LIMIT * DEEP } else { LIMIT }, log: log.to_owned() }
    }
}

/// What cargo says it built to be tested, one JSON object a line.
fn programs(messages: &str, workspace: &Workspace) -> Result<Vec<Program>> {
    let mut found = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context(|| "cannot read what `cargo test` says".into())?;
        let tests = message["profile"]["test"] == true;
        let (Some(path), Some(target), true) =
            (message["executable"].as_str(), message["target"]["name"].as_str(), tests)
        else {
            continue;
        };
        let manifest = message["manifest_path"].as_str().map(Path::new);
        let of = |package: &&crate::workspace::Package| manifest == Some(&package.folder.join("Cargo.toml"));
        let package = workspace.packages.iter().find(of);
        let package = package.ok_or_else(|| Failure::new(format!("`{path}` belongs to no package")))?;
        let name = format!("{}/{target}", package.name);
        found.push(Program { name, path: path.into(), folder: package.folder.clone() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample;
    use serde_json::json;

    #[test]
    fn only_programs_that_test_are_run_each_in_its_folder() {
        let artifact = |executable: Value, test: bool| {
            json!({"reason": "compiler-artifact", "manifest_path": "/w/crates/a/Cargo.toml", "executable": executable,
                "target": {"name": "it"}, "profile": {"test": test}})
            .to_string()
        };
        let lines = [
            artifact(json!("/t/it-1"), true),
            artifact(json!("/t/a"), false),
            artifact(Value::Null, true),
            json!({"reason": "build-finished", "success": true}).to_string(),
        ];
        let workspace = Workspace { root: "/w".into(), target: "/t".into(), packages: vec![sample("a", &[])] };
        let found = programs(&lines.join("\n"), &workspace).unwrap();
        let want = Program { name: "a/it".into(), path: "/t/it-1".into(), folder: "/w/crates/a".into() };
        assert_eq!(found, [want]);
        let elsewhere = Workspace { packages: Vec::new(), ..workspace };
        assert!(programs(&lines[0], &elsewhere).unwrap_err().to_string().contains("belongs to no package"));
    }
}
