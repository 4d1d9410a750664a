//! Detectors' states in files: the latest few of each detector.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ir_core::anomaly::KEPT_SNAPSHOTS;
use ir_core::{Ctx, Digest, Error, ErrorKind, PartName, Result, Snapshot, SnapshotStore};

use super::disk::{RealDisk, replace};
use crate::blocking;

const COMPONENT: &str = "file snapshots";

/// Keeps the latest snapshots of each detector in a folder. A cache: what is damaged is as good as absent.
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

    /// Names may hold characters that file names must not, so files are named by digests.
    fn prefix(name: &PartName) -> String {
        Digest::of(name.as_str().as_bytes()).short()
    }

    fn path(&self, name: &PartName, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{digest}.json", Self::prefix(name)))
    }
}

/// Removes all but the latest of those whose file names begin with `prefix`.
fn prune(dir: &Path, prefix: &str) -> std::io::Result<()> {
    let mut files: Vec<(std::time::SystemTime, PathBuf)> = std::fs::read_dir(dir)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let ours = entry.file_name().to_str()?.starts_with(prefix);
            ours.then_some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    files.sort();
    let excess = files.len().saturating_sub(KEPT_SNAPSHOTS);
    files.iter().take(excess).try_for_each(|(_, path)| std::fs::remove_file(path))
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
        let path = self.path(&snapshot.name, &snapshot.digest());
        let (dir, prefix) = (self.dir.clone(), Self::prefix(&snapshot.name));
        let bytes = serde_json::to_vec(snapshot)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, COMPONENT, error.to_string()))?;
        blocking::run(COMPONENT, move || {
            replace(&mut RealDisk, &path, &bytes).map_err(|error| failed(&path, error))?;
            prune(&dir, &prefix).map_err(|error| failed(&dir, error))
        })
        .await
    }

    async fn get(&self, _ctx: &Ctx, name: &PartName, digest: &Digest) -> Result<Option<Snapshot>> {
        let (path, digest) = (self.path(name, digest), *digest);
        blocking::run(COMPONENT, move || match std::fs::read(&path) {
            Ok(bytes) => {
                Ok(serde_json::from_slice(&bytes).ok().filter(|snapshot: &Snapshot| snapshot.digest() == digest))
            }
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
    async fn the_latest_snapshots_come_back_and_a_damaged_one_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileSnapshots::open(folder.path().join("s")).unwrap();
        let ctx = Ctx::new(Arc::new(ManualClock::new()));
        let snapshot = |version| Snapshot { name: PartName::new("a/../b").unwrap(), version, bytes: vec![0, 255, 7] };
        let get = async |version| {
            let wanted = snapshot(version);
            store.get(&ctx, &wanted.name, &wanted.digest()).await.unwrap()
        };
        assert_eq!(get(1).await, None);
        for version in 1..=5 {
            store.put(&ctx, &snapshot(version)).await.unwrap();
            assert_eq!(get(version).await, Some(snapshot(version)));
        }
        assert_eq!(get(3).await, Some(snapshot(3)), "the one before the last two is kept");
        assert_eq!(get(1).await, None);
        std::fs::write(store.path(&snapshot(5).name, &snapshot(5).digest()), "{").unwrap();
        assert_eq!(get(5).await, None);
    }
}
