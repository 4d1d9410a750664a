//! Processes as the system sees them.

use std::fmt;
use std::io;

use ir_core::Clock;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::SystemClock;

/// One process, told from every other that ever had its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it started, in the system's ticks since boot; 0 where the system does not tell.
    pub started: u64,
    /// The boot it runs in.
    pub boot: String,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.pid, self.started)
    }
}

impl ProcessId {
    /// The process that has this number now, if one runs.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        let started = start_time(pid)?;
        Some(Self { pid, started, boot: SystemClock::new().now().boot.as_str().to_owned() })
    }

    /// Whether it still runs. One that ended and was not collected yet does not.
    pub(super) fn is_running(&self) -> bool {
        u32::try_from(self.pid).ok().and_then(Self::of).as_ref() == Some(self)
    }

    /// Signals it and all that it started in its group. One that no longer runs gets nothing.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_running()) else { return Ok(()) };
        match rustix::process::kill_process_group(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The start time of a process that runs.
#[cfg(target_os = "linux")]
fn start_time(pid: i32) -> Option<u64> {
    // proc(5): the name in parentheses may hold anything, so the fields are counted from its end: state is the first of
    // them (field 3) and the start time the twentieth (field 22).
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Elsewhere only whether the number is in use can be told.
#[cfg(not(target_os = "linux"))]
fn start_time(pid: i32) -> Option<u64> {
    rustix::process::test_kill_process(Pid::from_raw(pid)?).ok().map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_another_with_its_number_does_not() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.is_running());
        assert!(!ProcessId { started: own.started + 1, ..own.clone() }.is_running());
        assert!(!ProcessId { boot: "another".to_owned(), ..own }.is_running());
        assert!(ProcessId::of(u32::MAX).is_none());
    }
}
