//! What must be remembered of one process over a restart of the executor.

use std::io;
use std::path::Path;

use ir_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{COMPONENT, ProcessId};

/// How many keys are remembered. Kernels ask about recent attempts, and at most a few are made a day.
const MAX_DONE: usize = 1_000;

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Memory {
    /// The process that was started last.
    pub(super) process: Option<ProcessId>,
    /// The key of what was begun and is not known to have ended.
    pub(super) begun: Option<String>,
    /// Keys whose effect took place, oldest first, with what was done.
    pub(super) done: Vec<(String, String)>,
}

impl Memory {
    /// Reads the file; an empty memory where there is none.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(path, "read", &error)),
        };
        serde_json::from_slice(&text).map_err(|error| failed(path, "understood", &error))
    }

    /// Writes the file: whole or not at all. It need not survive a loss of power, since no process does.
    pub(super) fn store(&self, path: &Path) -> Result<()> {
        let write = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let temporary = path.with_extension("tmp");
            std::fs::write(&temporary, serde_json::to_vec(self)?)?;
            std::fs::rename(&temporary, path)
        };
        write().map_err(|error| failed(path, "written", &error))
    }

    /// What was done under `key`, if anything.
    pub(super) fn done(&self, key: &str) -> Option<&str> {
        self.done.iter().find(|(known, _)| known == key).map(|(_, summary)| summary.as_str())
    }

    /// Notes that the effect of `key` took place.
    pub(super) fn finish(&mut self, key: &str, summary: &str) {
        self.begun = None;
        self.done.push((key.to_owned(), summary.to_owned()));
        let surplus = self.done.len().saturating_sub(MAX_DONE);
        self.done.drain(..surplus);
    }
}

fn failed(path: &Path, what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, COMPONENT, format!("`{}` could not be {what}: {error}", path.display()))
}
