//! The few things a writer asks of the disk, in one place so that tests can let each of them fail.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What a writer asks of the disk.
pub(super) trait Disk: std::fmt::Debug + Send {
    /// Opens `path` for writing at its end and creates it when it is not there.
    fn open(&mut self, path: &Path) -> io::Result<File>;

    /// Writes all of `bytes` at the end of `file`.
    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()>;

    /// Returns when the content of `file` would survive a loss of power.
    fn sync(&mut self, file: &File) -> io::Result<()>;

    /// Returns when the names in the folder `path` would survive a loss of power.
    fn sync_dir(&mut self, path: &Path) -> io::Result<()>;

    /// Gives `from` the name `to`, replacing what had it.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file at `path`, if it is there.
    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// The same disk, for another thread.
    fn another(&self) -> Box<dyn Disk>;

    /// Cuts `file` to `len` bytes.
    fn cut(&mut self, file: &File, len: u64) -> io::Result<()>;
}

/// The disk itself.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn open(&mut self, path: &Path) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).open(path)
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn another(&self) -> Box<dyn Disk> {
        Box::new(Self)
    }

    fn cut(&mut self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)?;
        file.sync_all()
    }
}

/// Puts `bytes` at `path` so that at any moment either the old content is there or all of the new one.
pub(super) fn replace(disk: &mut dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    RealDisk.remove(&temporary)?;
    let mut file = disk.open(&temporary)?;
    disk.write(&mut file, bytes)?;
    disk.sync(&file)?;
    disk.rename(&temporary, path)
}
