//! Detectors' states in files: one a detector, replaced as a whole.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ir_core::{Ctx, Error, ErrorKind, PartName, Result, Snapshot, SnapshotStore};

use super::disk::{RealDisk, replace};
use crate::blocking;

const COMPONENT: &str = "file snapshots";

/// Keeps the latest snapshot of each detector in a folder. A cache: what is damaged is as good as absent.
///
/// # Examples
///
/// ```
/// # use ir_adapters::file::FileSnapshots;
/// # let folder = std::env::temp_dir().join(format!("snapshots-{}", std::process::id()));
/// let snapshots = FileSnapshots::open(&folder)?;
/// # drop(snapshots);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), ir_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileSnapshots {
    dir: PathBuf,
}

impl FileSnapshots {
    /// Uses `dir`, and makes it when it is not there.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).map_err(|error| failed(&dir, error))?;
        Ok(Self { dir })
    }

    /// Names may hold characters that file names must not, so files are named by digest.
    fn path(&self, name: &PartName) -> PathBuf {
        self.dir.join(format!("{}.json", ir_core::Digest::of(name.as_str().as_bytes()).short()))
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    let message = format!("`{}`: {error}", path.display());
    Error::new(ErrorKind::Unavailable, COMPONENT, message).with_source(error)
}

#[async_trait]
impl SnapshotStore for FileSnapshots {
    fn name(&self) -> &str {
        "files"
    }

    async fn put(&self, _ctx: &Ctx, snapshot: &Snapshot) -> Result<()> {
        let path = self.path(&snapshot.name);
        let bytes = serde_json::to_vec(snapshot)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, COMPONENT, error.to_string()))?;
        blocking::run(COMPONENT, move || replace(&mut RealDisk, &path, &bytes).map_err(|error| failed(&path, error)))
            .await
    }

    async fn get(&self, _ctx: &Ctx, name: &PartName) -> Result<Option<Snapshot>> {
        let path = self.path(name);
        let name = name.clone();
        blocking::run(COMPONENT, move || match std::fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok().filter(|snapshot: &Snapshot| snapshot.name == name)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, error)),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ir_core::ManualClock;

    use super::*;

    #[tokio::test]
    async fn the_latest_snapshot_comes_back_and_a_damaged_one_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileSnapshots::open(folder.path().join("s")).unwrap();
        let ctx = Ctx::new(Arc::new(ManualClock::new()));
        let name = PartName::new("a/../b").unwrap();
        assert_eq!(store.get(&ctx, &name).await.unwrap(), None);
        for version in [1, 2] {
            let snapshot = Snapshot { name: name.clone(), version, bytes: vec![0, 255, 7] };
            store.put(&ctx, &snapshot).await.unwrap();
            assert_eq!(store.get(&ctx, &name).await.unwrap(), Some(snapshot));
        }
        std::fs::write(store.path(&name), "{").unwrap();
        assert_eq!(store.get(&ctx, &name).await.unwrap(), None);
    }
}
