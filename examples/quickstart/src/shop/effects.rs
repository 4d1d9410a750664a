//! The shop's own record of what was done to its services, on disk before anybody is told that it was done.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::clock;
use crate::records::{Change, Effect, EffectKind};

#[derive(Debug)]
pub(crate) struct Effects {
    /// The file and the number of the last effect.
    file: Arc<Mutex<(File, u64)>>,
}

/// Who does something to a service, and under which name.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) by: String,
    pub(crate) key: String,
    pub(crate) token: Option<u64>,
}

impl Effects {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open `{}`", path.display()))?;
        Ok(Self { file: Arc::new(Mutex::new((file, 0))) })
    }

    /// Returns once the effect is on disk, with its number.
    pub(crate) async fn record(&self, mut effect: Effect) -> Result<u64> {
        let file = Arc::clone(&self.file);
        let write = move || -> Result<u64> {
            let mut guard = file.lock().unwrap_or_else(PoisonError::into_inner);
            let (file, seq) = &mut *guard;
            effect.seq = *seq + 1;
            let mut line = serde_json::to_vec(&effect)?;
            line.push(b'\n');
            file.write_all(&line)?;
            file.sync_data()?;
            *seq = effect.seq;
            Ok(effect.seq)
        };
        // The disk may take its time; the proxies must not wait for it.
        tokio::task::spawn_blocking(write).await?.context("cannot record an effect")
    }
}

/// What changed, for whoever asks what was new before it broke.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<Vec<Change>>);

impl Changes {
    pub(crate) fn record(&self, kind: EffectKind, service: &str, from: &str, to: &str, by: &str) -> Change {
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let change = Change {
            seq: changes.len() as u64 + 1,
            at: clock::now(),
            service: service.to_owned(),
            kind,
            from: from.to_owned(),
            to: to.to_owned(),
            by: by.to_owned(),
        };
        changes.push(change.clone());
        change
    }

    /// The changes numbered above `seq`, and the number of the last one.
    pub(crate) fn after(&self, seq: u64) -> (Vec<Change>, u64) {
        let changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = changes.iter().filter(|change| change.seq > seq).cloned().collect();
        (new, changes.len() as u64)
    }
}
