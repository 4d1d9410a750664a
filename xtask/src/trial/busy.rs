//! Processes that only use up the processor, so that a trial can be run on a loaded machine.

use crate::fail::{Context, Result};
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

/// The hidden subcommand that the children run.
pub(crate) const SUBCOMMAND: &str = "spin-until-stdin-closes";

/// Busy children; they end with this value, and also when this process ends in any other way, because then their standard
/// input closes.
#[derive(Debug)]
pub(super) struct Busy(Vec<Child>);

impl Busy {
    pub(super) fn start(count: usize) -> Result<Self> {
        let told = || "cannot start a busy loop".to_owned();
        let mut busy = Self(Vec::with_capacity(count));
        // The link still leads to this very program after a build has put another one in its place.
        let link = Path::new("/proc/self/exe");
        let program = if link.exists() { link.to_owned() } else { std::env::current_exe().context(told)? };
        for _ in 0..count {
            let mut command = Command::new(&program);
            command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::null());
            busy.0.push(command.spawn().context(told)?);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Both fail only when the child has already ended.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// What a busy child does: spins until its standard input closes.
pub(crate) fn spin() {
    let input = thread::spawn(|| std::io::stdin().read_to_end(&mut Vec::new()));
    while !input.is_finished() {
        std::hint::spin_loop();
    }
}
