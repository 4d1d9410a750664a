//! `cargo xtask trial`: a campaign of real faults on real processes, which can be stopped and taken up again.

mod baseline;
mod busy;
mod options;
mod record;
mod summary;

pub(crate) use busy::{SUBCOMMAND, spin};
pub(crate) use options::{Options, parse_faults, parse_seeds};

use crate::fail::{Context, Failure, Result};
use crate::hash::fnv;
use crate::run::Task;
use crate::stages::examples::program;
use crate::workspace::Workspace;
use options::Mode;
use record::{Run, Store};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const PACKAGE: &str = "quickstart";

/// Processes that spin beside each run with `--busy`.
const BUSY: usize = 2;

/// Runs what is not yet recorded and tells the whole; true when every run was right.
pub(crate) fn trial(options: &Options) -> Result<bool> {
    let campaign = options.campaign()?;
    let mode = campaign.mode;
    fs::create_dir_all(&options.out).context(|| format!("cannot make `{}`", options.out.display()))?;
    // The program finds its files from whatever folder it chooses to run in.
    let out = options.out.canonicalize().context(|| format!("cannot find `{}`", options.out.display()))?;
    let binary = Binary::keep(&source(options.bin.as_deref())?, &out)?;
    let name = options.name(mode);
    let mut store = Store::open(&out.join(format!("{name}.jsonl")))?;
    if options.fresh {
        store.forget(|run| campaign.has(run))?;
    }
    let total = campaign.runs().count();
    for (n, (fault, seed)) in campaign.runs().enumerate() {
        let known = store.runs().iter().any(|r| r.is(fault, seed, &binary.hash));
        if known {
            continue;
        }
        let run = one(&binary, &out, &name, mode, options.busy, fault, seed)?;
        println!("{:>3}/{total} {}", n + 1, summary::line(&run));
        store.append(run)?;
    }
    let wanted = |run: &&Run| campaign.has(run) && run.binary == binary.hash;
    let runs: Vec<Run> = store.runs().iter().filter(wanted).cloned().collect();
    print!("\n{}", summary::report(&runs));
    if mode == Mode::Baseline {
        let acting = Store::open(&out.join(format!("{}.jsonl", options.name(Mode::Act))))?;
        print!("\n{}", baseline::report(acting.runs(), &runs));
    }
    Ok(runs.len() == total && runs.iter().all(Run::right))
}

/// One run of the program, with whatever it reported.
fn one(binary: &Binary, out: &Path, name: &str, mode: Mode, busy: bool, fault: &str, seed: u64) -> Result<Run> {
    let file = |kind: &str, ending: &str| {
        let folder = out.join(kind).join(name);
        fs::create_dir_all(&folder).context(|| format!("cannot make `{}`", folder.display()))?;
        Ok(folder.join(format!("{fault}-{seed}.{ending}")))
    };
    let (json, log) = (file("reports", "json")?, file("logs", "log")?);
    // A report of an earlier run must not be taken for this one's.
    if json.exists() {
        fs::remove_file(&json).context(|| format!("cannot remove `{}`", json.display()))?;
    }
    let seed_text = seed.to_string();
    let task = Task::new(&binary.path).args(["--fault", fault, "--seed", &seed_text, "--json"]).arg(&json);
    let task = task.args(mode.arguments(seed));
    let ended = {
        let _load = if busy { Some(busy::Busy::start(BUSY)?) } else { None };
        task.run_limited(mode.limit(fault), Some(&log))?
    };
    let text = fs::read_to_string(&json).unwrap_or_default();
    Ok(Run {
        mode: name.to_owned(),
        fault: fault.to_owned(),
        seed,
        binary: binary.hash.clone(),
        exit: ended.code,
        timed_out: ended.timed_out,
        wall_s: ended.seconds,
        // A missing or broken report is recorded as none: the run is then not right, and says so.
        report: serde_json::from_str(&text).unwrap_or(Value::Null),
    })
}

/// The program to run: the one given, or the workspace's own, built now.
fn source(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let workspace = Workspace::load()?;
    let package = workspace.packages.iter().find(|p| p.name == PACKAGE);
    let package =
        package.ok_or_else(|| Failure::new(format!("the workspace has no package `{PACKAGE}`: give `--bin`")))?;
    Task::cargo("build").args(["--release", "-p", PACKAGE]).run()?;
    Ok(workspace.target.join("release").join(program(package)?))
}

/// The program under trial, kept beside the results: a later build must not change what a running campaign runs.
#[derive(Debug)]
struct Binary {
    path: PathBuf,
    hash: String,
}

impl Binary {
    fn keep(source: &Path, out: &Path) -> Result<Self> {
        let bytes = fs::read(source).context(|| format!("cannot read `{}`", source.display()))?;
        let hash = format!("{:016x}", fnv(&bytes));
        let folder = out.join("bin");
        fs::create_dir_all(&folder).context(|| format!("cannot make `{}`", folder.display()))?;
        let path = folder.join(format!("{PACKAGE}-{hash}"));
        if !path.exists() {
            // First under another name, so that a copy cut short is never taken for the whole program.
            let partial = path.with_extension("partial");
            fs::copy(source, &partial).context(|| format!("cannot copy `{}`", source.display()))?;
            fs::rename(&partial, &path).context(|| format!("cannot name `{}`", path.display()))?;
        }
        Ok(Self { path, hash })
    }
}
