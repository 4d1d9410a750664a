//! Learns what stands before the message in the lines of a stream (times, hosts, levels, threads, loggers), and peels it off.
//!
//! A header is only believed when it has a time in it, in the same column of nearly every line. From the last column of times it
//! goes on as long as nearly every line has the same kind of thing next: a level, a number, something in brackets, a dash, a tag
//! that ends with a colon; plain words only when such a thing follows within reach.

use std::collections::BTreeSet;

use ir_core::LogLevel;
use serde::{Deserialize, Serialize};

use super::hash;
use super::scan::is_space;
use super::words;

/// Columns that are looked at; longer headers have not been seen.
const COLUMNS: usize = 14;
/// How many plain words may stand between two columns of a known kind.
const REACH: usize = 3;
/// How many columns a tag or a dash may be away when its place differs from line to line.
const SEARCH: usize = 4;
/// Share of lines, in percent, that must have a time in the column. Continuation lines have none.
const TIMES_PERCENT: usize = 85;
/// Share of the lines with a time, in percent, that must agree on a column behind it.
const AGREE_PERCENT: usize = 94;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Time,
    Number,
    Level,
    Bracket,
    Tag,
    Dash,
    Word,
}

/// The header of a stream, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Header {
    /// How many columns belong to it; none when lines have no header.
    columns: usize,
    /// The first column that must be a time.
    time: usize,
    /// Whether it goes on to the next tag or dash nearby.
    until: Option<Until>,
}

/// What closes a header whose last columns differ in number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Until {
    Tag,
    Dash,
}

impl Until {
    fn closes(self, kind: Kind) -> bool {
        matches!((self, kind), (Self::Tag, Kind::Tag) | (Self::Dash, Kind::Dash))
    }
}

impl Header {
    /// The message behind the header, and whether the line had the header that was learned.
    pub(super) fn peel<'a>(&self, line: &'a [u8]) -> (&'a [u8], bool) {
        if self.columns == 0 {
            return (line, true);
        }
        let mut columns = Columns { line, at: 0 };
        for column in 0..self.columns {
            let Some((from, to)) = columns.next() else { return (line, false) };
            if column == self.time && !may_be_time(&line[from..to]) {
                return (line, false);
            }
        }
        if let Some(until) = self.until {
            let mut ahead = Columns { line, at: columns.at };
            for _ in 0..SEARCH {
                let Some((from, to)) = ahead.next() else { break };
                let closes = until.closes(kind(&line[from..to]));
                if closes {
                    columns.at = ahead.at;
                    break;
                }
            }
        }
        let rest = &line[columns.at..];
        let start = rest.iter().position(|b| !is_space(*b) && *b != b'|').unwrap_or(rest.len());
        (&rest[start..], true)
    }

    /// What nearly all of `lines` have in front.
    pub(super) fn learn<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let rows: Vec<Vec<(&[u8], Kind)>> = lines.map(row).collect();
        let mut header = Self::default();
        let is_time =
            |row: &Vec<(&[u8], Kind)>, column: usize| row.get(column).is_some_and(|(_, kind)| *kind == Kind::Time);
        let timed: Vec<usize> = (0..COLUMNS)
            .filter(|column| enough(rows.iter().filter(|row| is_time(row, *column)).count(), rows.len(), TIMES_PERCENT))
            .collect();
        let (Some(first), Some(last)) = (timed.first(), timed.last()) else { return header };
        let rows: Vec<_> = rows.into_iter().filter(|row| is_time(row, *first)).collect();
        header.time = *first;
        header.columns = last + 1;
        while header.columns < COLUMNS {
            let found = (0..=REACH).find_map(|step| {
                let kind = agreed(&rows, header.columns + step)?;
                (0..step).all(|skip| passable(&rows, header.columns + skip)).then_some((step, kind))
            });
            let Some((step, kind)) = found else { break };
            // Names of programs may have blanks in them: a tag is looked for in every line, from the words before it.
            if kind == Kind::Tag && step < SEARCH {
                break;
            }
            header.columns += step + 1;
        }
        header.until = [Until::Tag, Until::Dash].into_iter().find(|until| {
            let with = rows
                .iter()
                .filter(|row| row.iter().skip(header.columns).take(SEARCH).any(|(_, kind)| until.closes(*kind)));
            enough(with.count(), rows.len(), AGREE_PERCENT)
        });
        header
    }
}

fn enough(count: usize, of: usize, percent: usize) -> bool {
    of > 0 && count * 100 >= of * percent
}

/// What nearly all rows have in a column, when it is not just a word.
fn agreed(rows: &[Vec<(&[u8], Kind)>], column: usize) -> Option<Kind> {
    [Kind::Time, Kind::Number, Kind::Level, Kind::Bracket, Kind::Tag, Kind::Dash].into_iter().find(|wanted| {
        enough(
            rows.iter().filter(|row| row.get(column).is_some_and(|(_, k)| k == wanted)).count(),
            rows.len(),
            AGREE_PERCENT,
        )
    })
}

/// Whether a column of words may be passed on the way to a better one: few different words, or names with numbers in them.
fn passable(rows: &[Vec<(&[u8], Kind)>], column: usize) -> bool {
    let cells: Vec<&[u8]> = rows.iter().filter_map(|row| row.get(column).map(|(text, _)| *text)).collect();
    let different: BTreeSet<&[u8]> = cells.iter().copied().collect();
    let numbered = cells.iter().filter(|text| text.iter().any(u8::is_ascii_digit)).count();
    enough(cells.len(), rows.len(), AGREE_PERCENT)
        && (different.len() * 2 <= cells.len() || enough(numbered, cells.len(), 90))
}

/// The first columns of a line with their kinds.
fn row(line: &[u8]) -> Vec<(&[u8], Kind)> {
    let mut columns = Columns { line, at: 0 };
    let mut row: Vec<(&[u8], Kind)> = Vec::new();
    while row.len() < COLUMNS {
        let Some((from, to)) = columns.next() else { break };
        let text = &line[from..to];
        let mut of = kind(text);
        // Six digits and six digits are a date and a time; alone they are just a number.
        if let Some(last) = row.last_mut()
            && of == Kind::Number
            && ((last.1 == Kind::Number && six_digit_clock(last.0, text)) || (is_month(last.0) && text.len() <= 2))
        {
            of = Kind::Time;
            last.1 = Kind::Time;
        }
        row.push((text, of));
    }
    row
}

fn is_month(text: &[u8]) -> bool {
    text.len() == 3 && words::beside(words::packed(text))
}

fn six_digit_clock(date: &[u8], clock: &[u8]) -> bool {
    let two =
        |text: &[u8], at: usize| text.get(at..at + 2).and_then(|d| std::str::from_utf8(d).ok()?.parse::<u32>().ok());
    let below = |value: Option<u32>, end: u32| value.is_some_and(|v| v < end);
    matches!(date.len(), 6 | 8)
        && clock.len() == 6
        && below(two(clock, 0), 24)
        && below(two(clock, 2), 60)
        && below(two(clock, 4), 61)
        && two(date, date.len() - 4).is_some_and(|month| (1..=12).contains(&month))
        && two(date, date.len() - 2).is_some_and(|day| (1..=31).contains(&day))
}

fn kind(text: &[u8]) -> Kind {
    let bare = trim(text, |b| matches!(b, b'[' | b']' | b'(' | b')' | b',' | b':' | b'<' | b'>'));
    if text.iter().all(|b| *b == b'-') {
        return Kind::Dash;
    }
    if looks_like_time(text) {
        return Kind::Time;
    }
    if text.strip_suffix(b",").unwrap_or(text).iter().all(u8::is_ascii_digit) {
        return Kind::Number;
    }
    if LogLevel::of_word(bare).is_some() {
        return Kind::Level;
    }
    match (text.first(), text.last()) {
        (_, Some(b':')) => Kind::Tag,
        (Some(b'['), Some(b']')) => Kind::Bracket,
        _ => Kind::Word,
    }
}

fn trim(text: &[u8], of: impl Fn(u8) -> bool) -> &[u8] {
    let start = text.iter().position(|b| !of(*b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !of(*b)).map_or(start, |at| at + 1);
    &text[start..end]
}

/// Whether a column is a time or a date, or begins with one in brackets.
fn looks_like_time(text: &[u8]) -> bool {
    let bare = trim(text, |b| matches!(b, b'[' | b']' | b'(' | b')' | b',' | b'"'));
    let bare = bare.strip_suffix(b":").unwrap_or(bare);
    let first = bare.split(|b| is_space(*b)).next().unwrap_or(bare);
    if first.len() < bare.len() && words::beside(words::packed(first)) {
        return true;
    }
    if first.len() == 3 && is_month(first) {
        return true;
    }
    let digits = first.iter().filter(|b| b.is_ascii_digit()).count();
    if digits == first.len() {
        // Seconds, milli-, micro- or nanoseconds since 1970, in this century.
        return matches!(digits, 10 | 13 | 16 | 19) && matches!(first.first(), Some(b'1'..=b'4'));
    }
    let marks = first.iter().filter(|b| matches!(b, b':' | b'-' | b'/' | b'.' | b',' | b'+' | b'_')).count();
    let zone = first.iter().filter(|b| matches!(b, b'T' | b'Z')).count();
    let address = first.iter().all(|b| b.is_ascii_digit() || *b == b'.') && marks == 3;
    first.first().is_some_and(u8::is_ascii_digit)
        && digits >= 4
        && marks >= 1
        && zone <= 2
        && digits + marks + zone == first.len()
        && !address
        && !(marks == 1 && first.contains(&b'-'))
}

/// Whether a column can be the time that was learned: also one of six or eight digits, that needs its neighbours to be one.
fn may_be_time(text: &[u8]) -> bool {
    (matches!(text.len(), 6 | 8) && text.iter().all(u8::is_ascii_digit)) || looks_like_time(text)
}

/// A line cut at white space and bars; what is in brackets stays together.
struct Columns<'a> {
    line: &'a [u8],
    at: usize,
}

/// The farthest a bracket may close; threads and request ids are shorter.
const BRACKET: usize = 512;

impl Iterator for Columns<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let line = self.line;
        while line.get(self.at).is_some_and(|b| is_space(*b) || *b == b'|') {
            self.at += 1;
        }
        let start = self.at;
        if line.get(start) == Some(&b'[')
            && let Some(end) = closes(line, start)
            && line.get(end).is_none_or(|b| is_space(*b) || *b == b'|')
        {
            self.at = end;
            return Some((start, end));
        }
        while line.get(self.at).is_some_and(|b| !is_space(*b) && *b != b'|') {
            self.at += 1;
        }
        (self.at > start).then_some((start, self.at))
    }
}

/// Behind the bracket that closes the one at `start`, and behind a colon that follows it.
fn closes(line: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in line.iter().enumerate().skip(start).take(BRACKET) {
        match byte {
            b'[' => depth += 1,
            b']' => {
                depth -= 1;
                if depth == 0 {
                    let end = at + 1;
                    return Some(if line.get(end) == Some(&b':') { end + 1 } else { end });
                }
            }
            _ => {}
        }
    }
    None
}

/// How many lines are looked at before a header is settled.
pub(super) const LEARN_LINES: usize = 256;
/// How many bytes of lines are kept for that, at most.
pub(super) const LEARN_BYTES: usize = 64 * 1024;

/// Whether a header should be learned again from so many lines: from the first on, then when twice as much is known. In the middle of
/// a stream (`whole` is not so) a few lines are waited for, because what was learned before may come back.
pub(super) fn is_lesson(lines: usize, whole: bool) -> bool {
    lines.is_power_of_two() && (whole || lines >= 4) && lines <= LEARN_LINES
}

/// The hash of a stream's kind.
pub(super) fn kind_hash(kind: &str) -> u64 {
    hash::bytes(kind.as_bytes())
}

#[cfg(test)]
mod tests;
