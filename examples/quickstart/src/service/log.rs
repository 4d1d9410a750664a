//! JSON lines, one per event: time, level, who, message, and what belongs to it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::clock;

#[derive(Debug)]
pub(crate) struct Log {
    file: Mutex<File>,
    who: [(&'static str, String); 3],
}

impl Log {
    /// Opens the log for appending: the instances of a service write into the same file, whole lines each.
    pub(crate) fn open(path: &Path, service: &str, version: &str, instance: &str) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open log `{}`", path.display()))?;
        let who = [("service", service.to_owned()), ("version", version.to_owned()), ("instance", instance.to_owned())];
        Ok(Self { file: Mutex::new(file), who })
    }

    pub(crate) fn event(&self, level: &str, message: &str, fields: &[(&str, Value)]) {
        let mut line = Map::new();
        line.insert("ts".to_owned(), clock::rfc3339(clock::now()).into());
        line.insert("level".to_owned(), level.into());
        for (name, value) in &self.who {
            line.insert((*name).to_owned(), value.as_str().into());
        }
        line.insert("msg".to_owned(), message.into());
        for (name, value) in fields {
            line.insert((*name).to_owned(), value.clone());
        }
        let text = format!("{}\n", Value::Object(line));
        // A service does not fail because it cannot log; the missing lines are the sign.
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
    }
}
