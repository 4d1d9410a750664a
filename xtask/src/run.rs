//! Starting other programs, limiting how long they run, and the only look at the clock.

use crate::fail::{Context, Failure, Result};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Seconds that pass while something runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts counting.
    pub(crate) fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "these commands time other programs; this is their one clock")]
        Self(Instant::now())
    }

    /// Seconds since the start.
    pub(crate) fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Seconds of processor time that ended child processes have used, theirs included: unlike seconds on the clock they say the same on
/// a busy machine. None where the system does not tell.
pub(crate) fn children_cpu_secs() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold spaces. Behind it `cutime` and `cstime` are the 14th and 15th field, in hundredths of a second
    // on every Linux that Rust runs on.
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks: Vec<f64> = fields.skip(13).take(2).filter_map(|field| field.parse().ok()).collect();
    (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / 100.0)
}

/// A program with its arguments, told to the reader before it runs.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    program: OsString,
    /// What people would type for the program.
    shown: String,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
}

/// How a limited run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ended {
    /// The exit code, or none when a signal ended it (ours, after the limit, or another).
    pub(crate) code: Option<i32>,
    /// Wall seconds from start to end.
    pub(crate) seconds: f64,
    /// Whether the limit was reached and the process tree was killed.
    pub(crate) timed_out: bool,
}

impl Task {
    /// A task that runs `program`.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        let shown = program.to_string_lossy().into_owned();
        Self { program, shown, args: Vec::new(), env: Vec::new(), dir: None }
    }

    /// The cargo that runs us, with its subcommand.
    pub(crate) fn cargo(subcommand: &str) -> Self {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self { shown: "cargo".into(), ..Self::new(program) }.arg(subcommand)
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs in this folder.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// The task as a line for a shell.
    pub(crate) fn line(&self) -> String {
        let args = self.args.iter().map(|a| a.to_string_lossy().into_owned());
        let words = std::iter::once(self.shown.clone()).chain(args);
        let env = self.env.iter().map(|(k, v)| format!("{}={}", k.to_string_lossy(), quoted(&v.to_string_lossy())));
        env.chain(words.map(|w| quoted(&w))).collect::<Vec<_>>().join(" ")
    }

    /// Runs it with our terminal; anything but exit code 0 is a failure.
    pub(crate) fn run(&self) -> Result<()> {
        println!("$ {}", self.line());
        let status = self.command().status().context(|| format!("cannot start `{}`", self.line()))?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("`{}` failed: {status}", self.line()))) }
    }

    /// Runs it silently and returns what it wrote to standard output.
    pub(crate) fn output(&self) -> Result<String> {
        let out = self.command().stdin(Stdio::null()).output().context(|| format!("cannot start `{}`", self.line()))?;
        if !out.status.success() {
            let why = String::from_utf8_lossy(&out.stderr);
            return Err(Failure::new(format!("`{}` failed: {}\n{}", self.line(), out.status, why.trim_end())));
        }
        String::from_utf8(out.stdout).context(|| format!("`{}` did not write UTF-8", self.line()))
    }

    /// Runs it and returns what it wrote to standard output; what it writes to standard error goes to our terminal.
    pub(crate) fn output_beside_errors(&self) -> Result<String> {
        println!("$ {}", self.line());
        let mut command = self.command();
        let out = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let out = out.context(|| format!("cannot start `{}`", self.line()))?;
        if !out.status.success() {
            return Err(Failure::new(format!("`{}` failed: {}", self.line(), out.status)));
        }
        String::from_utf8(out.stdout).context(|| format!("`{}` did not write UTF-8", self.line()))
    }

    /// Whether it starts and ends with exit code 0; its output is thrown away.
    pub(crate) fn works(&self) -> bool {
        let quiet = self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|s| s.success())
    }

    /// Runs it for at most `limit`, then kills it with all its descendants. Output goes to `log`, or to our terminal.
    pub(crate) fn run_limited(&self, limit: Duration, log: Option<&Path>) -> Result<Ended> {
        let mut command = self.command();
        command.stdin(Stdio::null());
        if let Some(path) = log {
            let file = File::create(path).context(|| format!("cannot write `{}`", path.display()))?;
            command.stderr(file.try_clone().context(|| format!("cannot share `{}`", path.display()))?);
            command.stdout(file);
        }
        let watch = Stopwatch::start();
        let mut child = command.spawn().context(|| format!("cannot start `{}`", self.line()))?;
        loop {
            let state = child.try_wait().context(|| format!("cannot wait for `{}`", self.line()))?;
            if let Some(status) = state {
                return Ok(Ended { code: status.code(), seconds: watch.seconds(), timed_out: false });
            }
            if watch.seconds() > limit.as_secs_f64() {
                kill_tree(&mut child);
                return Ok(Ended { code: None, seconds: watch.seconds(), timed_out: true });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Kills a child and everything it started, as far as `/proc` still shows it, and collects the child.
///
/// A process group of its own would be simpler, but then Ctrl-C at the terminal would not reach the child.
fn kill_tree(child: &mut Child) {
    let victims = descendants(child.id(), &parents());
    // The shell's own `kill` is used because the program of that name is missing on a small Debian.
    let pids = victims.iter().map(u32::to_string);
    Task::new("sh").args(["-c", r#"kill -KILL "$@""#, "sh"]).arg(child.id().to_string()).args(pids).works();
    // Where there is no shell this still ends the child; both calls fail only when it has already ended.
    child.kill().ok();
    child.wait().ok();
}

fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let one = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, parent_in(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
    };
    entries.flatten().filter_map(one).collect()
}

/// The parent in the text of `/proc/PID/stat`. The name before it may hold spaces and brackets, so the last bracket counts.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(root: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for &(pid, _) in parents.iter().filter(|&&(pid, of)| of == parent && pid != root) {
            if !found.contains(&pid) {
                found.push(pid);
                open.push(pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let task = Task::new("/usr/bin/cargo").args(["check", "--features", "a b", "it's", ""]).env("FLAGS", "-D x");
        assert_eq!(task.line(), r"FLAGS='-D x' /usr/bin/cargo check --features 'a b' 'it'\''s' ''");
    }

    #[test]
    fn a_program_that_fails_or_is_missing_is_a_failure_that_names_it() {
        let failed = Task::new("sh").args(["-c", "echo why >&2; exit 3"]).output().unwrap_err().to_string();
        assert!(failed.contains("exit status: 3") && failed.ends_with("why"), "{failed}");
        let missing = Task::new("no-such-program").output().unwrap_err().to_string();
        assert!(missing.starts_with("cannot start `no-such-program`"), "{missing}");
        assert!(!Task::new("no-such-program").works());
    }

    #[test]
    fn a_run_over_its_limit_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        // The grandchild tells its process id; both would otherwise live for ten minutes.
        let script = format!("sh -c 'echo $$ > {0}.new; mv {0}.new {0}; sleep 600; true' & wait", pids.display());
        let ended = Task::new("sh").args(["-c", &script]).run_limited(Duration::from_secs(1), None).unwrap();
        assert!(ended.timed_out && ended.code.is_none(), "{ended:?}");
        let grandchild = fs::read_to_string(&pids).unwrap().trim().to_owned();
        let watch = Stopwatch::start();
        // It is a zombie until whoever adopted it collects it, so the state counts, not the presence.
        let alive = || {
            let stat = fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
        };
        while alive() {
            assert!(watch.seconds() < 10.0, "the grandchild outlived the limit");
            thread::yield_now();
        }
    }

    #[test]
    fn a_limited_run_reports_its_exit_code_and_keeps_its_output() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let task = Task::new("sh").args(["-c", "echo out; echo err >&2; exit 7"]);
        let ended = task.run_limited(Duration::from_secs(60), Some(&log)).unwrap();
        assert_eq!((ended.code, ended.timed_out), (Some(7), false));
        assert_eq!(fs::read_to_string(log).unwrap(), "out\nerr\n");
    }

    #[test]
    fn the_parent_is_found_behind_any_program_name() {
        assert_eq!(parent_in("12 (a b) c) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("nonsense"), None);
    }

    #[test]
    fn descendants_are_found_at_every_depth_and_strangers_are_not() {
        let parents = [(2, 1), (3, 2), (4, 3), (9, 8), (5, 2)];
        let mut found = descendants(2, &parents);
        found.sort_unstable();
        assert_eq!(found, [3, 4, 5]);
    }
}
