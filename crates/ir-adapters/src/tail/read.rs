//! Reading on in the files. Blocks on the disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use ir_core::text::{Encoding, plain};
use ir_core::{Digest, Error, ErrorKind, Polled, Result, SignalBatch, Timestamp};

use super::position::{Position, Positions};
use super::rotation::{self, Between, Sibling};
use super::{COMPONENT, TailConfig, TailFile, line};
use crate::shared::MAX_PROBLEMS;

/// How much of a file's beginning tells it from another file.
const MARK_BYTES: u64 = 256;

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
        let siblings = match rotation::siblings(&file.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            siblings => siblings?,
        };
        let open = match File::open(&file.path) {
            Ok(open) => Some(open),
            // Not there yet, or between two files of a rotation.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let before = known.as_ref().map(|position| position.siblings.clone()).unwrap_or_default();
        let mut position = match (known, &open) {
            // What is there already was written before anything was followed.
            (None, None) => {
                let there = siblings.into_iter().map(|sibling| sibling.key).collect();
                self.positions.0.insert(key, Position::of(0, there));
                return Ok(());
            }
            (None, Some(open)) => self.begin(open, from_end)?,
            (Some(position), Some(open)) if is_same(open, &position)? => position,
            (Some(position), open) => {
                let Some(next) = self.leave(file, position, open.as_ref(), &siblings)? else { return Ok(()) };
                next
            }
        };
        let Some(open) = open else { return Ok(()) };
        // Those that are gone leave the cursor; what was read in this poll may have got its name after the siblings were listed.
        let there: BTreeSet<String> = siblings.into_iter().map(|sibling| sibling.key).collect();
        position.siblings.retain(|key| there.contains(key) || !before.contains(key));
        position.siblings.extend(there);
        let position = self.take(file, &open, position, false)?;
        self.positions.0.insert(key, position);
        Ok(())
    }

    fn begin(&self, open: &File, from_end: bool) -> io::Result<Position> {
        let mut position = Position::of(inode(open)?, BTreeSet::new());
        if from_end {
            position.offset = end_of_last_line(open, self.config.max_line_bytes)?;
            mark(open, &mut position)?;
        }
        Ok(position)
    }

    /// Takes the rest of the file that was read so far, wherever it is now, and all files between it and the one that has its name,
    /// and gives the start of that one; `None` while none has the name, or while the rest is more than one poll takes.
    fn leave(
        &mut self,
        file: &TailFile,
        mut old: Position,
        new: Option<&File>,
        siblings: &[Sibling],
    ) -> io::Result<Option<Position>> {
        let key = key(&file.path);
        let mut known = old.siblings.clone();
        let mut last = None;
        loop {
            if old.inode > 0 {
                let rotated = match (rotation::find(&file.path, &old)?, new) {
                    (Some(rotated), _) => rotated,
                    (None, None) => return Ok(None),
                    (None, Some(_)) => {
                        self.tell(|| {
                            let path = file.path.display();
                            format!("`{path}` was replaced or truncated; what was not read of it before is lost")
                        });
                        break;
                    }
                };
                let position = self.take(file, &rotated, old, new.is_some())?;
                let is_whole = position.offset >= rotated.metadata()?.len();
                known.insert(rotation::key(&rotated)?);
                self.positions.0.insert(key.clone(), position);
                if !is_whole {
                    return Ok(None);
                }
                last = Some(rotated);
            }
            let Some(new) = new else { return Ok(None) };
            // The one that has the name now may have been moved away in this very moment, and is read from its place there.
            let current = rotation::key(new)?;
            match rotation::next(siblings, |key| known.contains(key) || *key == current, last.as_ref())? {
                Between::Next(next) => old = Position::of(inode(&next)?, known.clone()),
                Between::Packed(n) => {
                    self.dropped += n;
                    self.tell(|| {
                        format!("`{}`: {n} files were rotated and packed before they were read", file.path.display())
                    });
                    break;
                }
                Between::Nothing => break,
            }
        }
        match new {
            Some(new) => Ok(Some(Position::of(inode(new)?, known))),
            None => Ok(None),
        }
    }

    fn tell(&mut self, problem: impl FnOnce() -> String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem());
        }
    }

    /// Takes the complete lines from `position` on; with `finished` also a last one without its end.
    fn take(&mut self, file: &TailFile, open: &File, mut position: Position, finished: bool) -> io::Result<Position> {
        let encoding = encoding(open)?;
        let mut reader = open;
        reader.seek(SeekFrom::Start(position.offset))?;
        let mut content = Vec::new();
        reader.take(self.config.max_poll_bytes as u64).read_to_end(&mut content)?;
        let at_end = position.offset + content.len() as u64 >= open.metadata()?.len();
        let mut rest = content.as_slice();
        while !rest.is_empty() {
            // A file that was emptied while its writer went on begins with a hole, which reads as NUL bytes and is no line.
            let hole = if position.passing || encoding != Encoding::Utf8 { 0 } else { leading_nuls(rest) };
            if hole > 0 {
                position.offset += hole as u64;
                rest = &rest[hole..];
                continue;
            }
            let (line, used, complete) = match line_end(encoding, rest) {
                Some((end, next)) => (&rest[..end], next, true),
                None if rest.len() > self.config.max_line_bytes || (finished && at_end) => (rest, rest.len(), false),
                None => break,
            };
            if position.passing {
                position.passing = !complete;
            } else if line.len() > self.config.max_line_bytes {
                self.dropped += 1;
                let most = self.config.max_line_bytes;
                self.tell(|| format!("`{}`: a line is longer than {most}", file.path.display()));
                position.passing = !complete;
            } else {
                self.line(file, encoding, line);
            }
            position.offset += used as u64;
            rest = &rest[used..];
        }
        mark(open, &mut position)?;
        Ok(position)
    }

    fn line(&mut self, file: &TailFile, encoding: Encoding, line: &[u8]) {
        let text = match encoding {
            Encoding::Utf8 => String::from_utf8_lossy(line),
            encoding => encoding.decode(line).into(),
        };
        let text = plain(&text);
        let text = text.strip_suffix('\r').unwrap_or(&text);
        if text.is_empty() {
            return;
        }
        let line::Line { record, wrong_time } = line::parse(text, &file.entity, self.config, self.now);
        self.batch.logs.push(record);
        if let Some(problem) = wrong_time {
            self.tell(|| format!("`{}`: a line {problem} and is taken as of now", file.path.display()));
        }
    }
}

/// How the file is encoded, as its first bytes say.
fn encoding(open: &File) -> io::Result<Encoding> {
    let mut reader = open;
    reader.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    reader.take(2).read_to_end(&mut start)?;
    Ok(Encoding::of(&start))
}

fn leading_nuls(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| **byte == 0).count()
}

/// Where the first line ends, and where the next one begins. `text` begins with a whole character.
fn line_end(encoding: Encoding, text: &[u8]) -> Option<(usize, usize)> {
    let newline = match encoding {
        Encoding::Utf8 => return memchr::memchr(b'\n', text).map(|end| (end, end + 1)),
        Encoding::Utf16Le => [b'\n', 0],
        Encoding::Utf16Be => [0, b'\n'],
    };
    let end = text.as_chunks::<2>().0.iter().position(|unit| *unit == newline)? * 2;
    Some((end, end + 2))
}

/// Whether `open` is the file that `position` speaks of, and still has what was read of it.
pub(super) fn is_same(open: &File, position: &Position) -> io::Result<bool> {
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

/// Where the line begins that is being written now.
fn end_of_last_line(open: &File, max_line_bytes: usize) -> io::Result<u64> {
    let encoding = encoding(open)?;
    let len = open.metadata()?.len();
    // At a whole character where each has two bytes.
    let start = len.saturating_sub(max_line_bytes as u64) / 2 * 2;
    let mut reader = open;
    reader.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    reader.take(len - start).read_to_end(&mut end)?;
    let mut begin = None;
    while let Some((_, next)) = line_end(encoding, &end[begin.unwrap_or(0)..]) {
        begin = Some(begin.unwrap_or(0) + next);
    }
    Ok(match begin {
        Some(at) => start + at as u64,
        None if start == 0 => 0,
        None => len,
    })
}

#[cfg(unix)]
pub(super) fn inode(open: &File) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(open.metadata()?.ino())
}

/// Elsewhere only the beginning of a file tells it from another.
#[cfg(not(unix))]
pub(super) fn inode(_: &File) -> io::Result<u64> {
    Ok(1)
}
