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

/// Words after which a level stands.
const NAMES: [&[u8]; 5] = [b"level", b"lvl", b"severity", b"loglevel", b"levelname"];

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

/// Words of a failure that lies with another: it could not be reached, or did not answer in time.
const ELSEWHERE: [&str; 5] = ["refused", "unreachable", "unavailable", "timeout", "unresolved"];
const ELSEWHERE_PAIRS: [[&str; 2]; 8] = [
    ["no", "instances"],
    ["no", "instance"],
    ["no", "route"],
    ["timed", "out"],
    ["connection", "reset"],
    ["broken", "pipe"],
    ["deadline", "exceeded"],
    ["unknown", "host"],
];
const ELSEWHERE_ENDS: [&str; 5] =
    ["ConnectException", "TimeoutException", "TimeoutError", "ConnectionError", "UnknownHostException"];

impl Severity {
    /// The record's level where its source knows it or the line names it; of the rest it is [`Severity::of_words`] that tells.
    pub(super) fn level(record: &LogRecord) -> Option<Self> {
        record.level.map(Self::from).or_else(|| Self::level_in(record.message.as_bytes()))
    }

    fn level_in(line: &[u8]) -> Option<Self> {
        let head = &line[..line.len().min(HEAD)];
        // Where the name of a level ended right before.
        let mut named: Option<usize> = None;
        let mut at = 0;
        for word in words(head).chain([&b""[..]]) {
            // Words are separated by everything that is no letter.
            let start = at + head[at..].iter().position(u8::is_ascii_alphabetic).unwrap_or(head.len() - at);
            // A level is written large, or after its name; other words of a sentence are not.
            let found = match named {
                Some(end) => number_in(&head[end..start]).and_then(LogLevel::of_number).or(LogLevel::of_word(word)),
                None if word.iter().all(u8::is_ascii_uppercase) => LogLevel::of_free_word(word),
                None => None,
            };
            if let Some(level) = found {
                return Some(level.into());
            }
            at = start + word.len();
            named = NAMES.iter().any(|name| word.eq_ignore_ascii_case(name)).then_some(at);
        }
        None
    }

    /// What the words of a line without a level say.
    pub(super) fn of_words(line: &[u8]) -> Self {
        let body = &line[..line.len().min(BODY)];
        let fails = |word: &[u8]| {
            let whole = FAILURE.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()));
            // Names of classes: `SocketTimeoutException`, `IOError`.
            whole || word.ends_with(b"Exception") || word.ends_with(b"Error")
        };
        if words(body).any(fails) { Self::Suspect } else { Self::Plain }
    }
}

/// Whether a line that tells of failure says that another could not be reached: restarts explain that.
pub(super) fn is_elsewhere(line: &[u8]) -> bool {
    let mut before: &[u8] = b"";
    let body = &line[..line.len().min(BODY * 2)];
    words(body).any(|word| {
        let pair = [std::mem::replace(&mut before, word), word];
        let is = |word: &[u8], known: &str| word.eq_ignore_ascii_case(known.as_bytes());
        ELSEWHERE.iter().any(|known| is(word, known))
            || ELSEWHERE_PAIRS.iter().any(|known| is(pair[0], known[0]) && is(pair[1], known[1]))
            || ELSEWHERE_ENDS.iter().any(|known| word.ends_with(known.as_bytes()))
    })
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !byte.is_ascii_alphabetic()).filter(|word| !word.is_empty())
}

/// The number between the name of a level and the next word, as in `"level":50,"msg"`.
fn number_in(between: &[u8]) -> Option<i64> {
    let from = between.iter().position(|byte| !matches!(byte, b'"' | b':' | b'=' | b' '))?;
    let digits = between[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&between[from..from + digits]).ok()?.parse().ok()
}

impl From<LogLevel> for Severity {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Fatal => Self::Fatal,
            LogLevel::Error => Self::Error,
            _ => Self::Plain,
        }
    }
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
            // The words and numbers of other products.
            ("{\"level\":50,\"time\":1767225600000,\"msg\":\"x\"}", Severity::Error),
            ("lvl=eror msg=x", Severity::Error),
            ("level=dpanic msg=x", Severity::Fatal),
            ("msg=x level=3", Severity::Error),
            ("level 3 reached, ok", Severity::Error),
            ("{\"level\":30,\"msg\":\"error\"}", Severity::Plain),
            // A level that is harmless wins over words behind it.
            ("10:00:01 INFO retry after error and timeout", Severity::Plain),
            ("sshd[7]: error: connection refused", Severity::Suspect),
            ("java.net.SocketTimeoutException: Read timed out", Severity::Suspect),
            // Words that merely begin so.
            ("terrorism erroneous failsafe", Severity::Plain),
            ("", Severity::Plain),
        ] {
            let found = Severity::level_in(line.as_bytes()).unwrap_or(Severity::of_words(line.as_bytes()));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn failures_of_others_are_told_from_own_ones() {
        for (line, elsewhere) in [
            ("ERROR threw IllegalStateException: No instances available for stock", true),
            ("error: connect to 10.0.0.1 port 80: Connection refused", true),
            ("java.net.SocketTimeoutException: Read timed out", true),
            ("upstream request failed: 503 Service Unavailable", true),
            ("ERROR could not find the code", false),
            ("NullPointerException at line 7", false),
            ("no such instances", false),
            ("", false),
        ] {
            assert_eq!(is_elsewhere(line.as_bytes()), elsewhere, "{line}");
        }
    }
}
