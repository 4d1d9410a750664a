//! How bad a line says it is, by its level or by its words.

use ir_core::signal::{LogLevel, LogRecord};
use serde::{Deserialize, Serialize};

/// What the first line of a template says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// Business as usual, or a warning.
    #[default]
    Plain,
    /// No level, but words that tell of failure.
    Suspect,
    /// The level says error.
    Error,
    /// The process cannot go on.
    Fatal,
}

/// Bytes in which a level stands, and in which words are looked for.
const HEAD: usize = 160;
const BODY: usize = 512;

const FAILURE: [&str; 18] = [
    "abort",
    "aborted",
    "cannot",
    "corrupt",
    "denied",
    "error",
    "errors",
    "exception",
    "fail",
    "failed",
    "failure",
    "fatal",
    "panic",
    "refused",
    "timeout",
    "traceback",
    "unable",
    "unreachable",
];

impl Severity {
    /// The record's level where its source knows it, else what stands in the line.
    pub(super) fn of(record: &LogRecord) -> Self {
        match record.level {
            Some(LogLevel::Fatal) => Self::Fatal,
            Some(LogLevel::Error) => Self::Error,
            Some(_) => Self::Plain,
            None => Self::of_text(record.message.as_bytes()),
        }
    }

    fn of_text(line: &[u8]) -> Self {
        let mut before: &[u8] = b"";
        for word in words(&line[..line.len().min(HEAD)]) {
            let named = [&b"level"[..], b"lvl", b"severity"].iter().any(|name| before.eq_ignore_ascii_case(name));
            // A level is written large, or after its name; other words of a sentence are not.
            let large = word.iter().all(u8::is_ascii_uppercase);
            if (named || large)
                && let Some(found) = level(word)
            {
                return found;
            }
            before = word;
        }
        let body = &line[..line.len().min(BODY)];
        let fails = |word: &[u8]| {
            let whole = FAILURE.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()));
            // Names of classes: `SocketTimeoutException`, `IOError`.
            whole || word.ends_with(b"Exception") || word.ends_with(b"Error")
        };
        if words(body).any(fails) { Self::Suspect } else { Self::Plain }
    }
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !byte.is_ascii_alphabetic()).filter(|word| !word.is_empty())
}

fn level(word: &[u8]) -> Option<Severity> {
    const LEVELS: [(&[&str], Severity); 3] = [
        (&["FATAL", "CRITICAL", "CRIT", "PANIC", "EMERG", "EMERGENCY", "ALERT"], Severity::Fatal),
        (&["ERROR", "ERR", "SEVERE"], Severity::Error),
        (&["WARN", "WARNING", "INFO", "NOTICE", "DEBUG", "TRACE"], Severity::Plain),
    ];
    let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    LEVELS.into_iter().find(|(names, _)| is(names)).map(|(_, level)| level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_where_they_stand_and_words_only_without_one() {
        for (line, expected) in [
            ("10:00:01 ERROR o.s.Orders#68 could not reach stock", Severity::Error),
            ("time=10:00 level=error msg=\"x\"", Severity::Error),
            ("{\"severity\":\"CRITICAL\",\"message\":\"x\"}", Severity::Fatal),
            // A level that is harmless wins over words behind it.
            ("10:00:01 INFO retry after error and timeout", Severity::Plain),
            ("sshd[7]: error: connection refused", Severity::Suspect),
            ("java.net.SocketTimeoutException: Read timed out", Severity::Suspect),
            // Words that merely begin so.
            ("terrorism erroneous failsafe", Severity::Plain),
            ("", Severity::Plain),
        ] {
            assert_eq!(Severity::of_text(line.as_bytes()), expected, "{line}");
        }
    }
}
