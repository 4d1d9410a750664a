//! `cargo xtask fuzz`: the fuzz targets in `benches/fuzz`, each for a while. It needs a nightly compiler and `cargo-fuzz`, which
//! nothing else does, so it is in no stage of `test` and installs nothing.

use crate::fail::{Failure, Result};
use crate::run::Task;
use crate::workspace::Workspace;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    /// How long each target is run.
    pub(crate) secs: u64,
    /// Which targets; none means all.
    pub(crate) targets: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { secs: 60, targets: Vec::new() }
    }
}

const TARGETS: [&str; 3] = ["batches", "lines", "values"];

/// Runs the targets one after the other; the first crash ends it, and says where its input lies.
pub(crate) fn fuzz(options: &Options) -> Result<()> {
    if let Some(unknown) = options.targets.iter().find(|target| !TARGETS.contains(&target.as_str())) {
        return Err(Failure::new(format!("no fuzz target `{unknown}`: there are {}", TARGETS.join(", "))));
    }
    for (what, words, line) in [
        ("a nightly compiler", ["+nightly", "--version"], "rustup toolchain install nightly"),
        ("cargo-fuzz", ["fuzz", "--version"], "cargo install cargo-fuzz"),
    ] {
        if !Task::new("cargo").args(words).works() {
            return Err(Failure::new(format!("missing: {what}; run\n    {line}")));
        }
    }
    let root = Workspace::load()?.root;
    for target in
        TARGETS.iter().filter(|target| options.targets.is_empty() || options.targets.iter().any(|t| t == *target))
    {
        // A target folder of its own: the instrumented code of a nightly would only push out what the others built.
        let task = Task::new("cargo").args(["+nightly", "fuzz", "run", "--fuzz-dir", "benches/fuzz"]);
        let task =
            task.args(["--target-dir", "target/fuzz", target, "--"]).arg(format!("-max_total_time={}", options.secs));
        task.args(["-max_len=4096", "-rss_limit_mb=1024"]).dir(&root).run()?;
    }
    Ok(())
}
