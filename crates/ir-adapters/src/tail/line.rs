//! From a line to a log record.

use ir_core::{EntityId, Labels, LogLevel, LogRecord, Timestamp};
use serde_json::{Map, Value};

use super::TailConfig;

/// The most fields of a record; what is beyond is left out.
const MAX_FIELDS: usize = 32;
/// The longest text of a field in characters.
const MAX_FIELD_CHARS: usize = 1024;

/// The record in `line`; `now` is its time when it says none.
pub(super) fn parse(line: &[u8], entity: &EntityId, config: &TailConfig, now: Timestamp) -> LogRecord {
    match serde_json::from_slice::<Map<String, Value>>(line) {
        Ok(object) => from_object(object, entity, config, now),
        Err(_) => LogRecord {
            entity: entity.clone(),
            at: now,
            level: None,
            message: String::from_utf8_lossy(line).into_owned(),
            fields: Labels::new(),
        },
    }
}

fn from_object(mut object: Map<String, Value>, entity: &EntityId, config: &TailConfig, now: Timestamp) -> LogRecord {
    let at = object.get(&config.time_field).and_then(time_of);
    if at.is_some() {
        object.remove(&config.time_field);
    }
    let level = object.get(&config.level_field).and_then(level_of);
    if level.is_some() {
        object.remove(&config.level_field);
    }
    let message = object.remove(&config.message_field).map(text_of).unwrap_or_default();
    let fields = object
        .into_iter()
        .take(MAX_FIELDS)
        .map(|(key, value)| (key, text_of(value).chars().take(MAX_FIELD_CHARS).collect::<String>()))
        .collect();
    LogRecord { entity: entity.clone(), at: at.unwrap_or(now), level, message, fields }
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A number's unit follows from its size: as seconds, 10^11 would be the year 5138.
fn time_of(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => {
            if let Some(whole) = number.as_i64() {
                let factor = match whole.unsigned_abs() {
                    0..=99_999_999_999 => 1_000_000_000,
                    100_000_000_000..=99_999_999_999_999 => 1_000_000,
                    100_000_000_000_000..=99_999_999_999_999_999 => 1_000,
                    _ => 1,
                };
                return whole.checked_mul(factor).map(Timestamp::from_nanos);
            }
            let value = number.as_f64()?;
            let factor = match value.abs() {
                size if size < 1e11 => 1e9,
                size if size < 1e14 => 1e6,
                size if size < 1e17 => 1e3,
                _ => 1.0,
            };
            #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range of times stays at its end")]
            Some(Timestamp::from_nanos((value * factor) as i64))
        }
        _ => None,
    }
}

fn level_of(value: &Value) -> Option<LogLevel> {
    match value {
        Value::String(text) => {
            let text = text.trim().to_ascii_lowercase();
            Some(match text.as_str() {
                "trace" | "finest" | "verbose" => LogLevel::Trace,
                "debug" | "fine" => LogLevel::Debug,
                "info" | "information" | "notice" => LogLevel::Info,
                "warn" | "warning" => LogLevel::Warn,
                "error" | "err" | "severe" => LogLevel::Error,
                "fatal" | "critical" | "crit" | "panic" | "alert" | "emerg" | "emergency" => LogLevel::Fatal,
                _ => return None,
            })
        }
        // The numbers of bunyan and pino.
        Value::Number(number) => Some(match number.as_u64()? {
            0..=10 => LogLevel::Trace,
            11..=20 => LogLevel::Debug,
            21..=30 => LogLevel::Info,
            31..=40 => LogLevel::Warn,
            41..=50 => LogLevel::Error,
            51..=60 => LogLevel::Fatal,
            _ => return None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> LogRecord {
        let now = Timestamp::from_millis(7);
        parse(line.as_bytes(), &EntityId::new("web").unwrap(), &TailConfig::default(), now)
    }

    #[test]
    fn time_level_and_message_are_found_and_the_rest_are_fields() {
        let record = read(
            r#"{"ts":"2026-11-20T08:00:00.5Z","level":"WARN","msg":"slow","ms":12,"ok":true,"who":"ann","x":{"y":[1]}}"#,
        );
        assert_eq!(record.at.to_string(), "2026-11-20T08:00:00.500000000Z");
        assert_eq!((record.level, record.message.as_str()), (Some(LogLevel::Warn), "slow"));
        assert_eq!(record.fields.to_string(), r#"{ms="12",ok="true",who="ann",x="{\"y\":[1]}"}"#);
    }

    #[test]
    fn times_as_numbers_are_understood_by_their_size() {
        let second = "2026-01-01T00:00:00.000000000Z";
        for text in ["1767225600", "1767225600000", "1767225600000000", "1767225600000000000", "1767225600.0"] {
            assert_eq!(read(&format!("{{\"ts\":{text}}}")).at.to_string(), second, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_kept_as_it_stands() {
        let now = Timestamp::from_millis(7);
        let plain = read("thread 'main' panicked");
        assert_eq!((plain.at, plain.level, plain.message.as_str()), (now, None, "thread 'main' panicked"));
        let odd = read(r#"{"ts":"yesterday","level":"loud","msg":["a"]}"#);
        assert_eq!((odd.at, odd.level, odd.message.as_str()), (now, None, "[\"a\"]"));
        assert_eq!((odd.fields.get("ts"), odd.fields.get("level")), (Some("yesterday"), Some("loud")));
        assert_eq!(read("[1]").message, "[1]");
        assert_eq!(read(r#"{"level":50}"#).level, Some(LogLevel::Error));
    }

    proptest! {
        #[test]
        fn any_bytes_become_a_record(line in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&line, &EntityId::new("web").unwrap(), &TailConfig::default(), Timestamp::default());
        }

        #[test]
        fn any_number_is_a_time_or_none(number in any::<f64>(), whole in any::<i64>()) {
            read(&format!("{{\"ts\":{number}}}"));
            read(&format!("{{\"ts\":{whole}}}"));
        }
    }
}
