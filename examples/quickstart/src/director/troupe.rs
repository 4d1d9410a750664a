//! The processes of a run: started, listened to, stopped in order.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::records::RunDir;

/// A role of this program as a process of its own.
#[derive(Debug)]
pub(crate) struct Player {
    role: &'static str,
    child: Child,
    /// The lines it prints.
    said: mpsc::UnboundedReceiver<String>,
    stderr: PathBuf,
}

impl Player {
    /// Starts `role`. It ends when we do, at the latest.
    pub(crate) fn start(role: &'static str, args: &[OsString], run: &RunDir) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find our own program")?;
        let stderr = run.stderr(role);
        let errors = File::options().create(true).append(true).open(&stderr)?;
        let mut child = Command::new(program)
            .arg(role)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {role}"))?;
        let (sender, said) = mpsc::unbounded_channel();
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    // Read on even when nobody listens any more: a full pipe would stop the player.
                    let _ = sender.send(line);
                }
            });
        }
        Ok(Self { role, child, said, stderr })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// A line it printed, if there is a new one.
    pub(crate) fn said(&mut self) -> Option<String> {
        self.said.try_recv().ok()
    }

    pub(crate) async fn tell(&mut self, line: &str) {
        if let Some(stdin) = self.child.stdin.as_mut() {
            // If it is gone, that shows in its exit.
            let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
        }
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// An error that says how it ended and the last it complained of.
    pub(crate) fn complaint(&self, status: ExitStatus) -> anyhow::Error {
        let text = std::fs::read_to_string(&self.stderr).unwrap_or_default();
        let last = text.lines().last().unwrap_or("without a word");
        anyhow::anyhow!("{} ended too early ({status}): {last}", self.role)
    }

    /// Asks it to stop, and makes it after `grace`.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<()> {
        // Waiting would close its input first, which is how a role learns that its parent is gone.
        let _stdin = self.child.stdin.take();
        if self.child.try_wait()?.is_none()
            && let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
        {
            // Not reaped before `wait` below, so the number is still its own.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(grace, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}
