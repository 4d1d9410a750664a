//! Makes the folders of a journal, and gives the right to write them to one process at a time.

use std::fs::File;
use std::io;
use std::path::Path;

use ir_core::{Error, ErrorKind, Result};

use super::disk::Disk;
use super::layout::Layout;
use super::{COMPONENT, io_error};

/// Makes the folders that are not there, durably.
pub(super) fn make_folders(disk: &mut dyn Disk, layout: &Layout) -> io::Result<()> {
    let missing: Vec<&Path> = layout.root().ancestors().take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(layout.segments())?;
    std::fs::create_dir_all(layout.blobs())?;
    disk.sync_dir(layout.root())?;
    for made in missing {
        match made.parent() {
            Some(parent) if parent.as_os_str().is_empty() => disk.sync_dir(Path::new("."))?,
            Some(parent) => disk.sync_dir(parent)?,
            None => {}
        }
    }
    Ok(())
}

/// The right to write a folder, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing alone would not do: a process that the host is just starting holds a copy of the open file until it becomes
    /// another program, and the lock would live as long. Unlocking ends it for all copies.
    fn drop(&mut self) {
        // There is nothing to be done about a failure, and closing follows in any case.
        let _ = self.0.unlock();
    }
}

/// Takes the right to write the folder.
pub(super) fn lock(layout: &Layout) -> Result<Lock> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(layout.lock())
        .map_err(|error| io_error("cannot open the lock", error))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(std::fs::TryLockError::WouldBlock) => {
            let message = format!("`{}` is being written by another process", layout.root().display());
            Err(Error::new(ErrorKind::Conflict, COMPONENT, message))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(io_error("cannot take the lock", error)),
    }
}
