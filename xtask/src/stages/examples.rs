//! Stage `examples`: every package under `examples/` builds and passes its own checks. With `--deep` as a release, which takes
//! minutes to build.
//!
//! An example lists its checks in its manifest; each must end with exit code 0. Without a list it is run once, as it is.
//!
//! ```toml
//! [package.metadata.check]
//! run = [["--fault", "crash", "--seed", "3"]]  # one list of arguments per run
//! limit_secs = 120                             # longest a run may take, 180 when not given
//! ```

use super::Site;
use super::checks::{Check, log_folder, side_by_side};
use crate::fail::{Failure, Result};
use crate::run::Task;
use crate::workspace::{Package, everything};
use serde_json::Value;
use std::time::Duration;

const LIMIT_SECS: u64 = 180;

/// What an example asks to be run.
#[derive(Debug, PartialEq)]
struct Checks {
    run: Vec<Vec<String>>,
    limit: Duration,
}

/// Builds all examples at once, then runs their checks, a few side by side.
pub(super) fn run(site: &Site) -> Result<String> {
    let examples: Vec<&Package> = site.workspace.examples().collect();
    if examples.is_empty() {
        return Ok("no examples yet".into());
    }
    let (profile, folder) = if site.deep { ("release", "release") } else { ("dev", "debug") };
    // With the targets named `--examples` come the dependencies of tests, as in stage `test`, whose dependencies are so used again.
    let task = Task::cargo("build").args(["--profile", profile]).args(everything(&site.workspace, site.deep));
    task.args(["--bins", "--examples"]).run()?;
    let logs = log_folder(&site.workspace, "example-checks")?;
    let mut waiting = Vec::new();
    for example in &examples {
        let Checks { run, limit } = checks(example)?;
        let program = site.workspace.target.join(folder).join(program(example)?);
        for args in run {
            let task = Task::new(&program).args(args).dir(&site.workspace.root);
            let log = logs.join(format!("{}-{}.log", example.name, waiting.len()));
            waiting.push(Check { name: example.name.clone(), task, limit, log });
        }
    }
    side_by_side(&waiting)?;
    Ok(format!("{} examples, {} checks", examples.len(), waiting.len()))
}

/// The name of the program of a package: the one it names as default, else its only one.
pub(crate) fn program(package: &Package) -> Result<&str> {
    match (&package.default_run, package.bins.as_slice()) {
        (Some(name), _) => Ok(name),
        (None, [only]) => Ok(only),
        _ => {
            Err(Failure::new(format!("`{}`: set `default-run`, it has {} programs", package.name, package.bins.len())))
        }
    }
}

fn checks(package: &Package) -> Result<Checks> {
    let wrong = |what: &str| Failure::new(format!("`{}`: `package.metadata.check.{what}", package.name));
    let check = &package.metadata["check"];
    let words = |list: &Value| {
        let list = list.as_array()?;
        list.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
    };
    let run = match &check["run"] {
        Value::Null => vec![Vec::new()],
        Value::Array(runs) if !runs.is_empty() => {
            let runs = runs.iter().map(words).collect::<Option<Vec<_>>>();
            runs.ok_or_else(|| wrong("run` must be a list of lists of words"))?
        }
        _ => return Err(wrong("run` must be a list of lists of words")),
    };
    let limit = match &check["limit_secs"] {
        Value::Null => LIMIT_SECS,
        value => value.as_u64().ok_or_else(|| wrong("limit_secs` must be whole seconds"))?,
    };
    Ok(Checks { run, limit: Duration::from_secs(limit) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample;
    use serde_json::json;

    fn with(metadata: Value) -> Result<Checks> {
        checks(&Package { metadata, ..sample("shop", &[]) })
    }

    #[test]
    fn each_list_of_arguments_is_a_run_and_no_list_is_one_plain_run() {
        let listed = with(json!({"check": {"run": [["--seed", "3"], []], "limit_secs": 9}})).unwrap();
        let want = vec![vec!["--seed".to_owned(), "3".to_owned()], vec![]];
        assert_eq!(listed, Checks { run: want, limit: Duration::from_secs(9) });
        let plain = Checks { run: vec![vec![]], limit: Duration::from_secs(LIMIT_SECS) };
        assert_eq!(with(Value::Null).unwrap(), plain);
    }

    #[test]
    fn a_list_of_another_form_is_refused_and_not_skipped() {
        for wrong in [json!([]), json!(["--seed"]), json!([[3]]), json!("--seed")] {
            let why = with(json!({"check": {"run": wrong}})).unwrap_err().to_string();
            assert_eq!(why, "`shop`: `package.metadata.check.run` must be a list of lists of words");
        }
        assert!(with(json!({"check": {"limit_secs": "9"}})).is_err());
    }

    #[test]
    fn the_program_is_the_default_one_or_the_only_one() {
        let bins = |list: &[&str], default: Option<&str>| Package {
            bins: list.iter().map(|b| (*b).to_owned()).collect(),
            default_run: default.map(Into::into),
            ..sample("shop", &[])
        };
        assert_eq!(program(&bins(&["a"], None)).unwrap(), "a");
        assert_eq!(program(&bins(&["a", "b"], Some("b"))).unwrap(), "b");
        assert!(program(&bins(&["a", "b"], None)).is_err() && program(&bins(&[], None)).is_err());
    }
}
