//! Files that had the name of a followed one before: `app.log.1`, `app.log-20261130`, with or without packing.
//!
//! Which of them were written since the last poll is told by which were there then: numbers count up or down by the program that
//! rotates, and times of writing are too coarse for programs that rotate quickly.

use std::cmp::Reverse;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::position::Position;
use super::read::{inode, is_same};

/// The most siblings that are remembered, the newest ones.
const MAX_SIBLINGS: usize = 256;
/// What packed files are called.
const PACKED: [&str; 6] = [".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z"];

/// A file that had the name before.
#[derive(Debug)]
pub(super) struct Sibling {
    path: PathBuf,
    /// What tells it from others: its number, and when it was made where the file system knows.
    pub(super) key: String,
    packed: bool,
    written: SystemTime,
    number: Option<u32>,
}

/// What was written between the file that was read and the one that has the name now.
#[derive(Debug)]
pub(super) enum Between {
    Nothing,
    Next(File),
    /// So many files cannot be read.
    Packed(u64),
}

/// The file that `position` speaks of, under another name in the same folder.
pub(super) fn find(path: &Path, position: &Position) -> io::Result<Option<File>> {
    for other in neighbours(path)? {
        // Gone again, or not ours to read: then it is not the one.
        let Ok(open) = File::open(&other) else { continue };
        if position.inode > 0 && is_same(&open, position)? {
            return Ok(Some(open));
        }
    }
    Ok(None)
}

/// The files that had the name before, oldest first.
pub(super) fn siblings(path: &Path) -> io::Result<Vec<Sibling>> {
    let mut found: Vec<Sibling> = neighbours(path)?.into_iter().filter_map(|other| Sibling::of(path, other)).collect();
    // Of files that were last written in the same moment, the higher number is mostly the older one.
    found.sort_by_key(|sibling| (sibling.written, Reverse(sibling.number)));
    let beyond = found.len().saturating_sub(MAX_SIBLINGS);
    found.drain(..beyond);
    Ok(found)
}

/// The oldest of `siblings` that is not `known`: it was not there at the last poll and was not read since. `last` is the file that
/// was read last, if there was one.
pub(super) fn next(siblings: &[Sibling], known: impl Fn(&String) -> bool, last: Option<&File>) -> io::Result<Between> {
    let after = last.map(|last| last.metadata()?.modified()).transpose()?;
    let mut packed = 0;
    for sibling in siblings.iter().filter(|sibling| !known(&sibling.key)) {
        if sibling.packed {
            // Packing keeps the time of writing, so that an older one is one that was read before it was packed.
            packed += u64::from(after.is_none_or(|after| sibling.written > after));
        } else if let Ok(open) = File::open(&sibling.path) {
            return Ok(Between::Next(open));
        }
    }
    Ok(if packed > 0 { Between::Packed(packed) } else { Between::Nothing })
}

/// What tells a file from others.
pub(super) fn key(open: &File) -> io::Result<String> {
    let made = open.metadata()?.created().ok().and_then(|made| made.duration_since(SystemTime::UNIX_EPOCH).ok());
    Ok(format!("{:x}-{:x}", inode(open)?, made.map_or(0, |made| made.as_nanos())))
}

fn neighbours(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let other = entry?.path();
        if other.file_name() != path.file_name() && other.is_file() {
            found.push(other);
        }
    }
    Ok(found)
}

impl Sibling {
    fn of(path: &Path, other: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let ending = other.file_name()?.to_str()?.strip_prefix(name)?.strip_prefix(['.', '-', '_'])?;
        let bare = PACKED.iter().find_map(|packed| ending.strip_suffix(packed));
        let number = bare.unwrap_or(ending).parse().ok();
        let packed = bare.is_some();
        let open = File::open(&other).ok()?;
        let written = open.metadata().and_then(|metadata| metadata.modified()).ok()?;
        Some(Self { key: key(&open).ok()?, path: other, packed, written, number })
    }
}
