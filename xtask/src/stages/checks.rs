//! Programs that must end well, a few of them side by side.

use crate::fail::{Context, Failure, Result};
use crate::run::Task;
use crate::workspace::Workspace;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// They mostly wait, for processes, ports and folders of their own, so a few more than two cores can be kept busy with.
const SIDE_BY_SIDE: usize = 3;

/// One run of a program that must end with exit code 0.
#[derive(Debug)]
pub(super) struct Check {
    /// What the reader calls it.
    pub(super) name: String,
    pub(super) task: Task,
    /// The longest it may take.
    pub(super) limit: Duration,
    /// Where its output goes.
    pub(super) log: PathBuf,
}

/// A folder for the outputs of one stage.
pub(super) fn log_folder(workspace: &Workspace, stage: &str) -> Result<PathBuf> {
    let logs = workspace.target.join(stage);
    fs::create_dir_all(&logs).context(|| format!("cannot make `{}`", logs.display()))?;
    Ok(logs)
}

/// Runs them all, in their order as places become free. What failed is told together, when all have ended.
pub(super) fn side_by_side(checks: &[Check]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let worker = || -> Vec<Failure> {
        let mut failed = Vec::new();
        while let Some(check) = checks.get(next.fetch_add(1, Ordering::Relaxed)) {
            failed.extend(check.run().err());
        }
        failed
    };
    let failed: Vec<Failure> = thread::scope(|scope| {
        let workers: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(worker)).collect();
        let died = || vec![Failure::new("a check could not be followed to its end")];
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|_| died())).collect()
    });
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(Failure::new(failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_run_and_all_failures_are_told() {
        let logs = tempfile::tempdir().unwrap();
        let check = |name: &str, script: &str, limit: u64| Check {
            name: name.into(),
            task: Task::new("sh").args(["-c", script]),
            limit: Duration::from_millis(limit),
            log: logs.path().join(name),
        };
        let seen = logs.path().join("seen");
        let well = format!("echo done > {}", seen.display());
        let why = side_by_side(&[
            check("code", "exit 3", 60_000),
            check("slow", "sleep 600", 50),
            check("signal", "kill -9 $$", 60_000),
            check("well", &well, 60_000),
        ]);
        let why = why.unwrap_err().to_string();
        let told = ["exit code 3", "did not end within 50ms", "ended with a signal"];
        assert!(told.iter().all(|part| why.contains(part)) && why.lines().count() == 3, "{why}");
        assert!(seen.exists());
        assert!(side_by_side(&[check("again", "true", 60_000)]).is_ok());
    }
}
