//! The halt file: whoever can make a file can stop everything.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ir_core::{Ctx, ErrorKind, HaltHandle, Result};

use crate::blocking;

const COMPONENT: &str = "halt file";
/// How often it is looked at: often enough to stop within the 250 ms that the library promises on one node.
const EVERY: Duration = Duration::from_millis(100);
/// How much of the file is taken as the reason.
const REASON_BYTES: u64 = 1024;

/// Halts a gate as long as a file exists. What stands in the file is the reason.
///
/// Fails closed: when it cannot be told whether the file is there, everything halts. Removing the file does not resume; a
/// person resumes through the engine, and while the file is still there that halts again at once.
#[derive(Debug, Clone)]
pub struct HaltFile {
    path: PathBuf,
}

impl HaltFile {
    /// Looks at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks every 100 ms until `ctx` is stopped. The engine runs this beside its loop.
    ///
    /// # Errors
    ///
    /// `Timeout` when `ctx` has a deadline and it passes. Being stopped is no error.
    pub async fn watch(&self, ctx: &Ctx, handle: &HaltHandle) -> Result<()> {
        let mut there = false;
        loop {
            let reason = self.look().await?;
            // A file that appears is told even under another halt; one that stays halts again after a resume.
            if let Some(reason) = &reason
                && (!there || !handle.is_halted())
            {
                handle.halt("file", reason.clone());
            }
            there = reason.is_some();
            match ctx.sleep(COMPONENT, EVERY).await {
                Err(error) if error.kind() == ErrorKind::Stopped => return Ok(()),
                other => other?,
            }
        }
    }

    /// The reason to halt, if there is one.
    async fn look(&self) -> Result<Option<String>> {
        let path = self.path.clone();
        blocking::run(COMPONENT, move || Ok(look(&path))).await
    }
}

pub(super) fn look(path: &Path) -> Option<String> {
    // The link itself counts, wherever it leads.
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("`{}` cannot be looked at: {error}", path.display())),
        Ok(metadata) if !metadata.is_file() => return Some(format!("`{}` exists", path.display())),
        Ok(_) => {}
    }
    let text = read_start(path).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() { Some(format!("`{}` exists", path.display())) } else { Some(text.to_owned()) }
}

fn read_start(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(REASON_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
