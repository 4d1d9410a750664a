//! Reading on in the files. Blocks on the disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ir_core::{Digest, Error, ErrorKind, Polled, Result, SignalBatch, Timestamp};

use super::position::{Position, Positions};
use super::{COMPONENT, TailConfig, TailFile, line};

/// How much of a file's beginning tells it from another file.
const MARK_BYTES: u64 = 256;
/// How many problems are told in words.
const MAX_PROBLEMS: usize = 5;

/// Reads on in every file.
pub(super) fn poll(config: &TailConfig, positions: Option<Positions>, now: Timestamp) -> Result<Polled> {
    let first_poll = positions.is_none();
    let mut poll = Poll {
        config,
        now,
        positions: positions.unwrap_or_default(),
        batch: SignalBatch::default(),
        dropped: 0,
        problems: Vec::new(),
    };
    let mut failures = Vec::new();
    for file in &config.file {
        if let Err(error) = poll.file(file, first_poll && !config.from_start) {
            failures.push(format!("`{}` cannot be read: {error}", file.path.display()));
        }
    }
    if failures.len() == config.file.len() {
        return Err(Error::new(ErrorKind::Unavailable, COMPONENT, failures.join("; ")));
    }
    poll.problems.extend(failures);
    poll.problems.truncate(MAX_PROBLEMS);
    // Files that are no longer of interest leave the cursor.
    poll.positions.0.retain(|path, _| config.file.iter().any(|file| key(&file.path) == *path));
    Ok(Polled {
        next: poll.positions.to_cursor()?,
        batch: poll.batch,
        late: 0,
        dropped: poll.dropped,
        problems: poll.problems,
    })
}

fn key(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

struct Poll<'a> {
    config: &'a TailConfig,
    now: Timestamp,
    positions: Positions,
    batch: SignalBatch,
    dropped: u64,
    problems: Vec<String>,
}

impl Poll<'_> {
    fn file(&mut self, file: &TailFile, from_end: bool) -> io::Result<()> {
        let key = key(&file.path);
        let known = self.positions.0.get(&key).cloned();
        let open = match File::open(&file.path) {
            Ok(open) => Some(open),
            // Not there yet, or between two files of a rotation.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let position = match (known, &open) {
            (None, None) => return Ok(()),
            (None, Some(open)) => self.begin(open, from_end)?,
            (Some(position), Some(open)) if is_same(open, &position)? => position,
            (Some(position), open) => {
                let Some(next) = self.leave(file, position, open.as_ref())? else { return Ok(()) };
                next
            }
        };
        let Some(open) = open else { return Ok(()) };
        let position = self.take(file, &open, position, false)?;
        self.positions.0.insert(key, position);
        Ok(())
    }

    fn begin(&self, open: &File, from_end: bool) -> io::Result<Position> {
        let mut position = Position { inode: inode(open)?, ..Position::default() };
        if from_end {
            position.offset = end_of_last_line(open, self.config.max_line_bytes)?;
            mark(open, &mut position)?;
        }
        Ok(position)
    }

    /// Takes the rest of the file that was read so far, wherever it is now, and gives the start of the one that has its name;
    /// `None` while none has, or while the rest is more than one poll takes.
    fn leave(&mut self, file: &TailFile, old: Position, new: Option<&File>) -> io::Result<Option<Position>> {
        let key = key(&file.path);
        if old.offset > 0 || old.inode > 0 {
            match find_rotated(&file.path, &old)? {
                Some(rotated) => {
                    let finished = new.is_some();
                    let position = self.take(file, &rotated, old, finished)?;
                    let all = position.offset >= rotated.metadata()?.len();
                    self.positions.0.insert(key, position);
                    if !(finished && all) {
                        return Ok(None);
                    }
                }
                None if new.is_some() => self.problems.push(format!(
                    "`{}` was replaced or truncated; what was not read of it before is lost",
                    file.path.display()
                )),
                None => return Ok(None),
            }
        }
        match new {
            Some(new) => Ok(Some(Position { inode: inode(new)?, ..Position::default() })),
            None => Ok(None),
        }
    }

    /// Takes the complete lines from `position` on; with `finished` also a last one without its end.
    fn take(&mut self, file: &TailFile, open: &File, mut position: Position, finished: bool) -> io::Result<Position> {
        let mut reader = open;
        reader.seek(SeekFrom::Start(position.offset))?;
        let mut content = Vec::new();
        reader.take(self.config.max_poll_bytes as u64).read_to_end(&mut content)?;
        let at_end = position.offset + content.len() as u64 >= open.metadata()?.len();
        let mut rest = content.as_slice();
        while !rest.is_empty() {
            let (line, used, complete) = match memchr::memchr(b'\n', rest) {
                Some(end) => (&rest[..end], end + 1, true),
                None if rest.len() > self.config.max_line_bytes || (finished && at_end) => (rest, rest.len(), false),
                None => break,
            };
            let too_long = line.len() > self.config.max_line_bytes;
            if position.passing {
                position.passing = !complete;
            } else if too_long {
                self.dropped += 1;
                let message =
                    format!("`{}`: a line is longer than {}", file.path.display(), self.config.max_line_bytes);
                if self.problems.len() < MAX_PROBLEMS {
                    self.problems.push(message);
                }
                position.passing = !complete;
            } else {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if !line.is_empty() {
                    self.batch.logs.push(line::parse(line, &file.entity, self.config, self.now));
                }
            }
            position.offset += used as u64;
            rest = &rest[used..];
        }
        mark(open, &mut position)?;
        Ok(position)
    }
}

/// Whether `open` is the file that `position` speaks of, and still has what was read of it.
fn is_same(open: &File, position: &Position) -> io::Result<bool> {
    let metadata = open.metadata()?;
    let fits = inode(open)? == position.inode && metadata.len() >= position.offset;
    Ok(fits && hash_start(open, position.mark_bytes)? == position.mark)
}

/// Notes the beginning of the file, as far as it was read.
fn mark(open: &File, position: &mut Position) -> io::Result<()> {
    position.mark_bytes = position.offset.min(MARK_BYTES);
    position.mark = hash_start(open, position.mark_bytes)?;
    Ok(())
}

fn hash_start(open: &File, n_bytes: u64) -> io::Result<String> {
    if n_bytes == 0 {
        return Ok(String::new());
    }
    let mut reader = open;
    reader.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    reader.take(n_bytes).read_to_end(&mut start)?;
    Ok(Digest::of(&start).short())
}

/// The file under another name in the same folder.
fn find_rotated(path: &Path, position: &Position) -> io::Result<Option<File>> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    for entry in std::fs::read_dir(folder)? {
        let other = entry?.path();
        if other == path || !other.is_file() {
            continue;
        }
        // Gone again, or not ours to read: then it is not the one.
        let Ok(open) = File::open(&other) else { continue };
        if position.inode > 0 && is_same(&open, position)? {
            return Ok(Some(open));
        }
    }
    Ok(None)
}

/// Where the line begins that is being written now.
fn end_of_last_line(open: &File, max_line_bytes: usize) -> io::Result<u64> {
    let len = open.metadata()?.len();
    let start = len.saturating_sub(max_line_bytes as u64);
    let mut reader = open;
    reader.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    reader.take(max_line_bytes as u64).read_to_end(&mut end)?;
    Ok(match memchr::memrchr(b'\n', &end) {
        Some(at) => start + at as u64 + 1,
        None if start == 0 => 0,
        None => len,
    })
}

#[cfg(unix)]
fn inode(open: &File) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(open.metadata()?.ino())
}

/// Elsewhere only the beginning of a file tells it from another.
#[cfg(not(unix))]
fn inode(_: &File) -> io::Result<u64> {
    Ok(1)
}
