//! Detectors' states in files: the latest few of each detector.
//!
//! One file per snapshot: `NAME-NUMBER-DIGEST.snapshot`, where `NAME` is the start of the digest of the detector's name and
//! `NUMBER` counts the snapshots of all detectors, so that the order of files depends on no clock. It holds
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `irsnap` and the version of this layout, two digits |
//! | 4 | the version of the snapshot, big-endian |
//! | 2 | the length of the name, big-endian |
//! | 1 to 256 | the name |
//! | the rest | the state, as the detector wrote it |

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ir_core::anomaly::KEPT_SNAPSHOTS;
use ir_core::{Ctx, Digest, Error, ErrorKind, PartName, Result, Snapshot, SnapshotStore};

use super::disk::{Disk, RealDisk, replace};
use crate::blocking;

const COMPONENT: &str = "file snapshots";
const MAGIC: &[u8; 8] = b"irsnap01";
const EXTENSION: &str = "snapshot";
/// Larger files are as good as absent. Nothing that a detector writes comes near it.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// A detector that was not among this many snapshots stored is no more. With eight detectors, each stored every ten seconds,
/// this is a week.
const KEPT_PUTS: u64 = 500_000;

/// Keeps the latest snapshots of each detector in a folder. A cache: what is damaged is as good as absent.
///
/// At most [`KEPT_SNAPSHOTS`] of each detector are kept. Those of a detector that was not stored while half a million others
/// were are removed: the configuration names it no more.
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
    /// Uses `dir`, and makes it when it is not there. Removes what a write that was cut off left behind, and the snapshots that
    /// earlier versions of this library stored as JSON.
    ///
    /// # Errors
    ///
    /// `Unavailable` when it cannot be made or read.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).and_then(|()| remove_leftovers(&dir)).map_err(|error| failed(&dir, error))?;
        Ok(Self { dir })
    }
}

/// A file of a snapshot, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stored {
    /// Names of detectors may hold characters that file names must not, so files are named by digests.
    name: String,
    number: u64,
    digest: Digest,
}

impl Stored {
    /// `None` for the name of any other file.
    fn parse(file_name: &str) -> Option<Self> {
        let mut parts = file_name.strip_suffix(EXTENSION)?.strip_suffix('.')?.split('-');
        let (name, number, digest) = (parts.next()?, parts.next()?, parts.next()?);
        let stored = Self { name: name.to_owned(), number: number.parse().ok()?, digest: digest.parse().ok()? };
        (stored.file_name() == file_name).then_some(stored)
    }

    fn file_name(&self) -> String {
        format!("{}-{:020}-{}.{EXTENSION}", self.name, self.number, self.digest)
    }
}

/// The snapshots in `dir`, sorted by name, then from old to new.
fn list(dir: &Path) -> std::io::Result<Vec<Stored>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        all.extend(entry?.file_name().to_str().and_then(Stored::parse));
    }
    all.sort();
    Ok(all)
}

/// Stores `bytes` as the newest snapshot of `name`, then removes what need not be kept.
fn store(dir: &Path, name: String, digest: Digest, bytes: &[u8]) -> std::io::Result<()> {
    let before = list(dir)?;
    let number = before.iter().map(|stored| stored.number).max().map_or(0, |last| last.saturating_add(1));
    let new = Stored { name, number, digest };
    replace(&mut RealDisk, &dir.join(new.file_name()), bytes)?;
    RealDisk.sync_dir(dir)?;
    for stored in superfluous(&before, &new) {
        match std::fs::remove_file(dir.join(stored.file_name())) {
            // Another call removes the same snapshots of a detector that is no more.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Those of `before`, which is sorted, that need not be kept beside `new`.
fn superfluous<'a>(before: &'a [Stored], new: &Stored) -> Vec<&'a Stored> {
    let mut superfluous = Vec::new();
    for of_one in before.chunk_by(|a, b| a.name == b.name) {
        if of_one.first().is_some_and(|first| first.name == new.name) {
            let (same, others): (Vec<_>, Vec<_>) = of_one.iter().partition(|stored| stored.digest == new.digest);
            let excess = others.len().saturating_sub(KEPT_SNAPSHOTS - 1);
            superfluous.extend(same.into_iter().chain(others.into_iter().take(excess)));
        } else if of_one.last().is_some_and(|last| new.number.saturating_sub(last.number) > KEPT_PUTS) {
            superfluous.extend(of_one);
        }
    }
    superfluous
}

/// Removes the files that no call of this version reads: unfinished ones, and snapshots in JSON (`NAME-DIGEST.json`).
fn remove_leftovers(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let (stem, extension) = (path.file_stem().and_then(|stem| stem.to_str()), path.extension());
        let Some((stem, extension)) = stem.zip(extension.and_then(|extension| extension.to_str())) else { continue };
        let is_json =
            extension == "json" && stem.split_once('-').is_some_and(|(_, digest)| digest.parse::<Digest>().is_ok());
        let is_unfinished = extension == "tmp" && Stored::parse(&format!("{stem}.{EXTENSION}")).is_some();
        if is_json || is_unfinished {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn prefix(name: &PartName) -> String {
    Digest::of(name.as_str().as_bytes()).short()
}

fn encode(snapshot: &Snapshot) -> Result<Vec<u8>> {
    let name = snapshot.name.as_str().as_bytes();
    let length = u16::try_from(name.len())
        .map_err(|_| Error::new(ErrorKind::InvalidInput, COMPONENT, "the name of the snapshot is too long"))?;
    let header = [&MAGIC[..], &snapshot.version.to_be_bytes(), &length.to_be_bytes(), name];
    Ok([&header.concat()[..], &snapshot.bytes].concat())
}

/// `None` when the bytes are none of a snapshot.
fn decode(bytes: &[u8]) -> Option<Snapshot> {
    let (version, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (name, state) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let name = PartName::new(std::str::from_utf8(name).ok()?).ok()?;
    Some(Snapshot { name, version: u32::from_be_bytes(*version), bytes: state.to_vec() })
}

/// The snapshot of `name` with `digest`; `None` when it is not there or damaged.
fn load(dir: &Path, name: &str, digest: &Digest) -> Result<Option<Snapshot>> {
    let all = list(dir).map_err(|error| failed(dir, error))?;
    let Some(stored) = all.into_iter().rfind(|stored| stored.name == name && stored.digest == *digest) else {
        return Ok(None);
    };
    let path = dir.join(stored.file_name());
    let read = std::fs::metadata(&path).and_then(|file| match file.len() <= MAX_FILE_BYTES {
        true => std::fs::read(&path).map(|bytes| decode(&bytes)),
        false => Ok(None),
    });
    match read {
        Ok(snapshot) => Ok(snapshot.filter(|snapshot| snapshot.digest() == *digest)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&path, error)),
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
        let (dir, name, digest) = (self.dir.clone(), prefix(&snapshot.name), snapshot.digest());
        let bytes = encode(snapshot)?;
        blocking::run(COMPONENT, move || store(&dir, name, digest, &bytes).map_err(|error| failed(&dir, error))).await
    }

    async fn get(&self, _ctx: &Ctx, name: &PartName, digest: &Digest) -> Result<Option<Snapshot>> {
        let (dir, name, digest) = (self.dir.clone(), prefix(name), *digest);
        blocking::run(COMPONENT, move || load(&dir, &name, &digest)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ir_core::ManualClock;

    use super::*;

    fn ctx() -> Ctx {
        Ctx::new(Arc::new(ManualClock::new()))
    }

    fn snapshot(name: &str, version: u32) -> Snapshot {
        Snapshot { name: PartName::new(name).unwrap(), version, bytes: vec![0, 255, 7] }
    }

    async fn get(store: &FileSnapshots, wanted: &Snapshot) -> Option<Snapshot> {
        store.get(&ctx(), &wanted.name, &wanted.digest()).await.unwrap()
    }

    fn files(store: &FileSnapshots) -> usize {
        std::fs::read_dir(&store.dir).unwrap().count()
    }

    #[tokio::test]
    async fn the_latest_snapshots_come_back_and_a_damaged_one_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileSnapshots::open(folder.path().join("s")).unwrap();
        let snapshot = |version| snapshot("a/../b", version);
        assert_eq!(get(&store, &snapshot(1)).await, None);
        for version in 1..=5 {
            store.put(&ctx(), &snapshot(version)).await.unwrap();
            assert_eq!(get(&store, &snapshot(version)).await, Some(snapshot(version)));
        }
        assert_eq!(files(&store), KEPT_SNAPSHOTS);
        assert_eq!(get(&store, &snapshot(3)).await, Some(snapshot(3)), "the one before the last two is kept");
        assert_eq!(get(&store, &snapshot(1)).await, None);
        let newest = list(&store.dir).unwrap().pop().unwrap();
        let path = store.dir.join(newest.file_name());
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole, [&b"irsnap01\0\0\0\x05\0\x06a/../b"[..], &[0, 255, 7]].concat());
        // One row a kind of damage: nothing, cut off at each place, another name, another state.
        let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
        damaged.extend([[b"{", &whole[1..]].concat(), [&whole[..], &[0]].concat()]);
        for bytes in damaged {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(get(&store, &snapshot(5)).await, None);
        }
    }

    #[tokio::test]
    async fn the_same_state_again_is_the_latest_and_takes_no_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileSnapshots::open(folder.path()).unwrap();
        for version in [1, 2, 3, 1, 1, 1, 4] {
            store.put(&ctx(), &snapshot("a", version)).await.unwrap();
        }
        assert_eq!(files(&store), KEPT_SNAPSHOTS);
        for (version, is_kept) in [(1, true), (2, false), (3, true), (4, true)] {
            assert_eq!(get(&store, &snapshot("a", version)).await.is_some(), is_kept, "{version}");
        }
    }

    #[tokio::test]
    async fn a_detector_that_is_no_more_is_removed_after_a_long_time_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileSnapshots::open(folder.path()).unwrap();
        for name in ["gone", "stays"] {
            store.put(&ctx(), &snapshot(name, 1)).await.unwrap();
        }
        // As if many had been stored since.
        let pass = |puts: u64| {
            let stays =
                list(&store.dir).unwrap().into_iter().find(|stored| stored.name == prefix(&snapshot("stays", 1).name));
            let stays = stays.unwrap();
            let later = Stored { number: puts, ..stays.clone() };
            std::fs::rename(store.dir.join(stays.file_name()), store.dir.join(later.file_name())).unwrap();
        };
        pass(KEPT_PUTS - 1);
        store.put(&ctx(), &snapshot("stays", 2)).await.unwrap();
        assert!(get(&store, &snapshot("gone", 1)).await.is_some());
        store.put(&ctx(), &snapshot("stays", 3)).await.unwrap();
        assert_eq!(get(&store, &snapshot("gone", 1)).await, None);
        assert_eq!(files(&store), KEPT_SNAPSHOTS);
    }

    #[test]
    fn what_earlier_versions_and_crashes_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"a");
        let stored = Stored { name: digest.short(), number: 7, digest };
        let json = format!("{}-{digest}.json", digest.short());
        let unfinished = stored.file_name().replace(EXTENSION, "tmp");
        let kept = [stored.file_name(), "lease.json".to_owned(), "notes-a.json".to_owned(), "b.tmp".to_owned()];
        for name in kept.iter().chain([&json, &unfinished]) {
            std::fs::write(folder.path().join(name), "{}").unwrap();
        }
        FileSnapshots::open(folder.path()).unwrap();
        assert!(kept.iter().all(|name| folder.path().join(name).exists()));
        assert!([json, unfinished].iter().all(|name| !folder.path().join(name).exists()));
    }
}
