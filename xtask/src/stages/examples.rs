//! Stage `examples`: every package under `examples/` builds in release and passes its own checks.
//!
//! An example lists its checks in its manifest; each must end with exit code 0. Without a list it is run once, as it is.
//!
//! ```toml
//! [package.metadata.check]
//! run = [["--fault", "crash", "--seed", "3"]]  # one list of arguments per run
//! limit_secs = 120                             # longest a run may take, 180 when not given
//! ```

use super::Site;
use crate::fail::{Context, Failure, Result};
use crate::run::Task;
use crate::workspace::{Package, select};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const LIMIT_SECS: u64 = 180;

/// What an example asks to be run.
#[derive(Debug, PartialEq)]
struct Checks {
    run: Vec<Vec<String>>,
    limit: Duration,
}

/// Checks that run side by side. They mostly wait, and each has processes, ports and folders of its own.
const SIDE_BY_SIDE: usize = 2;

/// One run of an example that must end with exit code 0.
#[derive(Debug)]
struct Check {
    name: String,
    task: Task,
    limit: Duration,
    log: PathBuf,
}

/// Builds all examples at once, then runs their checks, a few side by side.
pub(super) fn run(site: &Site) -> Result<String> {
    let examples: Vec<&Package> = site.workspace.examples().collect();
    if examples.is_empty() {
        return Ok("no examples yet".into());
    }
    Task::cargo("build").arg("--release").args(select(examples.iter().copied())).run()?;
    let logs = site.workspace.target.join("example-checks");
    fs::create_dir_all(&logs).context(|| format!("cannot make `{}`", logs.display()))?;
    let mut waiting = Vec::new();
    for example in &examples {
        let Checks { run, limit } = checks(example)?;
        let program = site.workspace.target.join("release").join(program(example)?);
        for args in run {
            let task = Task::new(&program).args(args).dir(&site.workspace.root);
            let log = logs.join(format!("{}-{}.log", example.name, waiting.len()));
            waiting.push(Check { name: example.name.clone(), task, limit, log });
        }
    }
    let next = AtomicUsize::new(0);
    let worker = || -> Result<()> {
        while let Some(check) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) {
            check.run()?;
        }
        Ok(())
    };
    let ended: Vec<Result<()>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(worker)).collect();
        let died = || Err(Failure::new("a check could not be followed to its end"));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| died())).collect()
    });
    ended.into_iter().collect::<Result<()>>()?;
    Ok(format!("{} examples, {} checks", examples.len(), waiting.len()))
}

impl Check {
    /// Runs it, and tells what it printed when it has ended, so that checks side by side do not talk at the same time.
    fn run(&self) -> Result<()> {
        let ended = self.task.run_limited(self.limit, Some(&self.log))?;
        let said = fs::read(&self.log).context(|| format!("cannot read `{}`", self.log.display()))?;
        let (line, said) = (self.task.line(), String::from_utf8_lossy(&said));
        println!("$ {line}\n{said}{}: {:.1} s", self.name, ended.seconds);
        if ended.timed_out {
            return Err(Failure::new(format!("`{line}` did not end within {:?}", self.limit)));
        }
        match ended.code {
            Some(0) => Ok(()),
            Some(code) => Err(Failure::new(format!("`{line}` ended with exit code {code}"))),
            None => Err(Failure::new(format!("`{line}` ended with a signal"))),
        }
    }
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
