//! The one table of what log levels are called, in words and in numbers.
//!
//! | level | words | syslog, GELF | bunyan, pino | OpenTelemetry | logback |
//! |---|---|---|---|---|---|
//! | trace | trace, trc, trce, trac, finest, finer, all, verbose, vrb, silly, v, t | | 10 | 1 to 4 | 5000 |
//! | debug | debug, dbg, dbug, debu, fine, config, d | 7 | 20 | 5 to 8 | 10000 |
//! | info | info, inf, information, informational, notice, note, default, log, success, system, i, n | 5, 6 | 30 | 9 to 12 | 20000 |
//! | warn | warn, wrn, warning, w | 4 | 40 | 13 to 16 | 30000 |
//! | error | error, err, eror, erro, severe, fail, failure, e | 3 | 50 | 17 to 20 | 40000 |
//! | fatal | fatal, ftl, fata, critical, crit, crt, panic, pnc, pani, dpanic, alert, emergency, emerg, fault, f, c | 0 to 2 | 60 | 21 to 24 | 50000 |
//!
//! A word may be of any case and stand in brackets or behind `SEVERITY_NUMBER_`, may carry the step of OpenTelemetry (`INFO3`), or a
//! distance of Go's `slog` (`WARN+1`, `ERROR-1`): there DEBUG is -4, INFO 0, WARN 4, ERROR 8, and 12 is an emergency.
//!
//! **Numbers** share no scale. 0 to 7 are those of syslog and GELF, 10 to 60 those of bunyan and pino (in between, the next higher
//! one), thousands those of logback; negative ones are the finer levels of slog and zap. 8 and 9 and everything else are no
//! level. Python (10 is debug), .NET and zap (0 to 5) count otherwise; they write words unless told otherwise. Numbers of
//! OpenTelemetry count where a field is named after them: [`LogLevel::of_severity_number`].
//!
//! Sources: RFC 5424, table 2 (syslog); GELF 1.1 (Graylog documentation); bunyan README, "Levels"; pino API, "logger.level";
//! OpenTelemetry Logs Data Model, "Severity Fields"; `java.util.logging.Level`; Go `log/slog` ("Levels") and `zap/zapcore` (`Level`);
//! zerolog `console.go`; logrus `TextFormatter` (four letters) and log15 `LogfmtFormat`; Serilog and NLog documentation; `Microsoft.Extensions.Logging.Console`; Android `Log`; PostgreSQL
//! ("Message Severity Levels"); MySQL ("Error Log"); loguru; Apple `os_log`; Google Cloud `LogSeverity`; logback `Level`.

use super::LogLevel;
use crate::text::plain;

/// Every word, its level, and whether it is a level also where it stands alone and in capitals in a sentence.
const WORDS: [(&str, LogLevel, bool); 59] = [
    ("trace", LogLevel::Trace, true),
    ("trc", LogLevel::Trace, true),
    ("trce", LogLevel::Trace, true),
    ("trac", LogLevel::Trace, true),
    ("finest", LogLevel::Trace, true),
    ("finer", LogLevel::Trace, true),
    ("all", LogLevel::Trace, false),
    ("verbose", LogLevel::Trace, true),
    ("vrb", LogLevel::Trace, true),
    ("silly", LogLevel::Trace, false),
    ("v", LogLevel::Trace, false),
    ("t", LogLevel::Trace, false),
    ("debug", LogLevel::Debug, true),
    ("dbg", LogLevel::Debug, true),
    ("dbug", LogLevel::Debug, true),
    ("debu", LogLevel::Debug, true),
    ("fine", LogLevel::Debug, false),
    ("config", LogLevel::Debug, false),
    ("d", LogLevel::Debug, false),
    ("info", LogLevel::Info, true),
    ("inf", LogLevel::Info, true),
    ("information", LogLevel::Info, true),
    ("informational", LogLevel::Info, true),
    ("notice", LogLevel::Info, true),
    ("note", LogLevel::Info, false),
    ("default", LogLevel::Info, false),
    ("log", LogLevel::Info, false),
    ("success", LogLevel::Info, false),
    ("system", LogLevel::Info, false),
    ("i", LogLevel::Info, false),
    ("n", LogLevel::Info, false),
    ("warn", LogLevel::Warn, true),
    ("wrn", LogLevel::Warn, true),
    ("warning", LogLevel::Warn, true),
    ("w", LogLevel::Warn, false),
    ("error", LogLevel::Error, true),
    ("err", LogLevel::Error, true),
    ("eror", LogLevel::Error, true),
    ("erro", LogLevel::Error, true),
    ("severe", LogLevel::Error, true),
    ("fail", LogLevel::Error, false),
    ("failure", LogLevel::Error, false),
    ("e", LogLevel::Error, false),
    ("fatal", LogLevel::Fatal, true),
    ("ftl", LogLevel::Fatal, true),
    ("fata", LogLevel::Fatal, true),
    ("critical", LogLevel::Fatal, true),
    ("crit", LogLevel::Fatal, true),
    ("crt", LogLevel::Fatal, false),
    ("panic", LogLevel::Fatal, true),
    ("pnc", LogLevel::Fatal, true),
    ("pani", LogLevel::Fatal, true),
    ("dpanic", LogLevel::Fatal, true),
    ("alert", LogLevel::Fatal, true),
    ("emergency", LogLevel::Fatal, true),
    ("emerg", LogLevel::Fatal, true),
    ("fault", LogLevel::Fatal, false),
    ("f", LogLevel::Fatal, false),
    ("c", LogLevel::Fatal, false),
];

/// What the numbers of OpenTelemetry are called in protobuf.
const ENUM: &str = "SEVERITY_NUMBER_";

impl LogLevel {
    /// The level that a field with `text` as its content says: a word, or a number as text. None for what is no level, such as
    /// `unknown`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ir_core::LogLevel;
    ///
    /// for text in ["Warning", "WARN+1", "40", "4", "[wrn]"] {
    ///     assert_eq!(LogLevel::parse(text), Some(LogLevel::Warn), "{text}");
    /// }
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = plain(text);
        let text = text.trim_matches(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '+'));
        if let Ok(number) = text.parse() {
            return Self::of_number(number);
        }
        let text = text.strip_prefix(ENUM).unwrap_or(text);
        let word = text.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        Self::of_word(word.as_bytes()).or_else(|| Self::of_slog(text)).or_else(|| Self::of_step(word))
    }

    /// The level that a number says where nothing tells the scale.
    #[must_use]
    pub const fn of_number(number: i64) -> Option<Self> {
        Some(match number {
            i64::MIN..=-5 => Self::Trace,
            -4..=-1 => Self::Debug,
            0..=2 => Self::Fatal,
            3 => Self::Error,
            4 => Self::Warn,
            5 | 6 => Self::Info,
            7 => Self::Debug,
            10 | 5_000 => Self::Trace,
            11..=20 | 10_000 => Self::Debug,
            21..=30 | 20_000 => Self::Info,
            31..=40 | 30_000 => Self::Warn,
            41..=50 | 40_000 => Self::Error,
            51..=60 | 50_000 => Self::Fatal,
            _ => return None,
        })
    }

    /// The level of a severity number of OpenTelemetry, 1 to 24.
    #[must_use]
    pub const fn of_severity_number(number: i64) -> Option<Self> {
        Some(match number {
            1..=4 => Self::Trace,
            5..=8 => Self::Debug,
            9..=12 => Self::Info,
            13..=16 => Self::Warn,
            17..=20 => Self::Error,
            21..=24 => Self::Fatal,
            _ => return None,
        })
    }

    /// The level that one word says, in any case.
    #[must_use]
    pub fn of_word(word: &[u8]) -> Option<Self> {
        Self::find(word).map(|(_, level, _)| *level)
    }

    /// The level that a word says which stands in a sentence: only words that mean nothing else there.
    #[must_use]
    pub fn of_free_word(word: &[u8]) -> Option<Self> {
        Self::find(word).filter(|(_, _, free)| *free).map(|(_, level, _)| *level)
    }

    fn find(word: &[u8]) -> Option<&'static (&'static str, Self, bool)> {
        WORDS.iter().find(|(known, _, _)| word.eq_ignore_ascii_case(known.as_bytes()))
    }

    /// A word of slog and a distance from it.
    fn of_slog(text: &str) -> Option<Self> {
        let (word, distance) = text.split_at(text.find(['+', '-'])?);
        let base = match Self::of_word(word.as_bytes())? {
            Self::Trace => -8,
            Self::Debug => -4,
            Self::Info => 0,
            Self::Warn => 4,
            Self::Error => 8,
            Self::Fatal => 12,
        };
        Some(match distance.parse::<i64>().ok()?.checked_add(base)? {
            i64::MIN..=-8 => Self::Trace,
            -7..=-1 => Self::Debug,
            0..=3 => Self::Info,
            4..=7 => Self::Warn,
            8..=11 => Self::Error,
            12.. => Self::Fatal,
        })
    }

    /// A word with its step: `INFO3` of OpenTelemetry, `D2` of MongoDB.
    fn of_step(word: &str) -> Option<Self> {
        let word = word.strip_suffix(['1', '2', '3', '4', '5'])?;
        Self::of_word(word.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_of_all_products_are_known() {
        let rows: [(LogLevel, &[&str]); 6] = [
            (LogLevel::Trace, &["TRACE", "finest", "Verbose", "trc", "10", "-8", "DEBUG-4", "Trace2", "v", "5000"]),
            (LogLevel::Debug, &["debug", "FINE", "dbg", "7", "20", "-4", "-1", "INFO-1", "D2", "10000", "CONFIG"]),
            (
                LogLevel::Info,
                &["Information", "NOTICE", "LOG", "6", "5", "30", "INFO+2", "inf", "I", "SEVERITY_NUMBER_INFO4"],
            ),
            (
                LogLevel::Warn,
                &["Warning", "W", "4", "40", "WARN+1", "ERROR-1", " warn ", "[wrn]", "\u{1b}[33mWARN\u{1b}[0m"],
            ),
            (
                LogLevel::Error,
                &[
                    "eror",
                    "ERRO",
                    "E",
                    "err",
                    "severe",
                    "3",
                    "<3>",
                    "50",
                    "SEVERITY_NUMBER_ERROR",
                    "ERROR2",
                    "fail",
                    "(error)",
                ],
            ),
            (
                LogLevel::Fatal,
                &["Critical", "dpanic", "PANIC", "emerg", "0", "1", "2", "60", "ERROR+4", "FATAL4", "ftl", "50000"],
            ),
        ];
        for (level, texts) in rows {
            for text in texts {
                assert_eq!(LogLevel::parse(text), Some(level), "{text}");
            }
        }
        for text in ["", "unknown", "off", "none", "8", "9", "61", "100", "-", "INFO+x", "INFO9", "severity", "\u{fc}"]
        {
            assert_eq!(LogLevel::parse(text), None, "{text}");
        }
        for (number, level) in [(1, LogLevel::Trace), (8, LogLevel::Debug), (9, LogLevel::Info), (17, LogLevel::Error)]
        {
            assert_eq!(LogLevel::of_severity_number(number), Some(level), "{number}");
        }
        assert_eq!((LogLevel::of_severity_number(0), LogLevel::of_severity_number(25)), (None, None));
    }

    #[test]
    fn words_of_sentences_are_no_levels() {
        assert_eq!(LogLevel::of_free_word(b"ERROR"), Some(LogLevel::Error));
        for word in [&b"I"[..], b"NOTE", b"ALL", b"LOG", b"SYSTEM", b"FAULT"] {
            assert_eq!(LogLevel::of_free_word(word), None, "{word:?}");
        }
    }
}
