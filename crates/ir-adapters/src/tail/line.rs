//! From a line to a log record.

use ir_core::text::plain;
use ir_core::{EntityId, Labels, LogLevel, LogRecord, Timestamp};
use serde_json::{Map, Value};

use super::TailConfig;
use crate::json::mended;
use crate::shared::times::Plausible;

/// The most fields of a record; what is beyond is left out.
const MAX_FIELDS: usize = 32;
/// The longest text of a field in characters.
const MAX_FIELD_CHARS: usize = 1024;

/// Where else the message stands when the configured field is not there: names of loggers and formats (`tracing`, GELF, journald,
/// Logstash, compact Serilog).
const MESSAGES: [&str; 11] =
    ["message", "msg", "fields.message", "short_message", "MESSAGE", "@message", "@m", "@mt", "log", "body", "event"];
/// The same for the time.
const TIMES: [&str; 6] = ["timestamp", "time", "ts", "@timestamp", "@t", "__REALTIME_TIMESTAMP"];
/// The same for the level.
const LEVELS: [&str; 10] = [
    "level",
    "severity",
    "severity_text",
    "SeverityText",
    "lvl",
    "levelname",
    "log.level",
    "@l",
    "PRIORITY",
    "severity_number",
];

/// A record, and what is to be said about it.
pub(super) struct Line {
    pub(super) record: LogRecord,
    /// What is wrong with its time, which is that of the reading then.
    pub(super) wrong_time: Option<&'static str>,
}

/// The record in `line`; `now` is its time when it says none.
pub(super) fn parse(line: &str, entity: &EntityId, config: &TailConfig, now: Timestamp) -> Line {
    let object = serde_json::from_str(line).ok().or_else(|| match line.as_bytes().first() {
        Some(b'{') => serde_json::from_str(&mended(line)?).ok(),
        _ => None,
    });
    match object {
        Some(object) => from_object(object, line, entity, config, now),
        None => {
            let (message, fields) = (line.to_owned(), Labels::new());
            Line {
                record: LogRecord { entity: entity.clone(), at: now, level: None, message, fields },
                wrong_time: None,
            }
        }
    }
}

fn from_object(object: Map<String, Value>, line: &str, entity: &EntityId, config: &TailConfig, now: Timestamp) -> Line {
    let mut object = Object(object);
    let plausible = Plausible::at(now, config.max_ahead_ms, config.max_age_ms);
    let mut wrong_time = None;
    let at = object.take_first(&config.time_field, &TIMES, |_, value| match plausible.check(time_of(value)?) {
        Ok(at) => Some(at),
        Err(problem) => {
            wrong_time = Some(problem);
            None
        }
    });
    let level = object.take_first(&config.level_field, &LEVELS, level_of);
    // A line without a message still says something as a whole.
    let message = object.take_first(&config.message_field, &MESSAGES, |_, value| message_of(value));
    let message = message.unwrap_or_else(|| line.to_owned());
    let text = |value: Value| plain(&text_of(value)).chars().take(MAX_FIELD_CHARS).collect::<String>();
    let fields = object.0.into_iter().take(MAX_FIELDS).map(|(key, value)| (key, text(value))).collect();
    let wrong_time = wrong_time.filter(|_| at.is_none());
    Line { record: LogRecord { entity: entity.clone(), at: at.unwrap_or(now), level, message, fields }, wrong_time }
}

/// The fields of a line.
struct Object(Map<String, Value>);

impl Object {
    /// What `read` makes of the first field that it can read; the field is no field of the record then.
    fn take_first<T>(
        &mut self,
        configured: &str,
        others: &[&str],
        mut read: impl FnMut(&str, &Value) -> Option<T>,
    ) -> Option<T> {
        let names = std::iter::once(configured).chain(others.iter().copied().filter(|name| *name != configured));
        names.into_iter().find_map(|name| {
            let found = read(name, self.get(name)?)?;
            self.remove(name);
            Some(found)
        })
    }

    /// A field by its name, or by the names of the objects around it, separated by dots.
    fn get(&self, name: &str) -> Option<&Value> {
        match (self.0.get(name), name.split_once('.')) {
            (Some(value), _) => Some(value),
            (None, Some((outer, inner))) => {
                inner.split('.').try_fold(self.0.get(outer)?, |value, name| value.as_object()?.get(name))
            }
            (None, None) => None,
        }
    }

    fn remove(&mut self, name: &str) {
        let Some((outer, inner)) = name.split_once('.').filter(|_| !self.0.contains_key(name)) else {
            self.0.remove(name);
            return;
        };
        let (path, last) = inner.rsplit_once('.').map_or((None, inner), |(path, last)| (Some(path), last));
        let holder = path.into_iter().flat_map(|path| path.split('.'));
        let holder = self.0.get_mut(outer).and_then(|outer| {
            holder.into_iter().try_fold(outer, |value, name| value.as_object_mut()?.get_mut(name))?.as_object_mut()
        });
        if let Some(holder) = holder {
            holder.remove(last);
        }
    }
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn message_of(value: &Value) -> Option<String> {
    let message = match value {
        Value::Null => return None,
        Value::String(text) => plain(text).into_owned(),
        other => other.to_string(),
    };
    Some(message).filter(|message| !message.is_empty())
}

fn time_of(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => match text.parse() {
            Ok(at) => Some(at),
            // journald and others write numbers as texts.
            Err(_) => number_of(&text.parse().ok()?),
        },
        Value::Number(number) => number_of(number),
        _ => None,
    }
}

/// A number's unit follows from its size: as seconds, 10^11 would be the year 5138.
fn number_of(number: &serde_json::Number) -> Option<Timestamp> {
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

fn level_of(name: &str, value: &Value) -> Option<LogLevel> {
    // OpenTelemetry counts otherwise, and says so by the name of the field.
    let is_otel =
        name.rsplit('.').next().is_some_and(|name| name.replace('_', "").eq_ignore_ascii_case("severitynumber"));
    match value {
        Value::String(text) if is_otel => match text.parse() {
            Ok(number) => LogLevel::of_severity_number(number),
            Err(_) => LogLevel::parse(text),
        },
        Value::String(text) => LogLevel::parse(text),
        Value::Number(number) => {
            #[expect(clippy::cast_possible_truncation, reason = "levels are small numbers, and others stay none")]
            let whole =
                number.as_i64().or_else(|| number.as_f64().filter(|of| of.fract() == 0.0).map(|of| of as i64))?;
            if is_otel { LogLevel::of_severity_number(whole) } else { LogLevel::of_number(whole) }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        "2026-11-20T09:00:00Z".parse().unwrap()
    }

    fn read_with(config: &TailConfig, line: &str) -> LogRecord {
        parse(line, &EntityId::new("web").unwrap(), config, now()).record
    }

    fn read(line: &str) -> LogRecord {
        read_with(&TailConfig::default(), line)
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
        for text in [
            "1767225600",
            "1767225600000",
            "1767225600000000",
            "1767225600000000000",
            "1767225600.0",
            "\"1767225600000000\"",
            "\"1767225600.0\"",
        ] {
            assert_eq!(read(&format!("{{\"ts\":{text}}}")).at.to_string(), second, "{text}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_is_that_of_the_reading() {
        for text in
            ["12.5", "0", "\"1970-01-21T10:53:45Z\"", "9000000000000000000", "\"2026-11-20T10:00:00Z\"", "1e300"]
        {
            let line = parse(
                &format!(r#"{{"ts":{text},"msg":"x"}}"#),
                &EntityId::literal("web"),
                &TailConfig::default(),
                now(),
            );
            assert_eq!(line.record.at, now(), "{text}");
            assert!(line.wrong_time.is_some_and(|problem| problem.contains("too far")), "{text}");
            assert!(line.record.fields.get("ts").is_some(), "what was written stays: {text}");
        }
        // Another field may know it.
        let line =
            parse(r#"{"ts":0,"time":1795160000,"msg":"x"}"#, &EntityId::literal("web"), &TailConfig::default(), now());
        assert_eq!((line.record.at, line.wrong_time), (Timestamp::from_millis(1_795_160_000_000), None));
    }

    #[test]
    fn what_is_not_understood_is_kept_as_it_stands() {
        let plain = read("thread 'main' panicked");
        assert_eq!((plain.at, plain.level, plain.message.as_str()), (now(), None, "thread 'main' panicked"));
        let odd = read(r#"{"ts":"yesterday","level":"loud","msg":["a"]}"#);
        assert_eq!((odd.at, odd.level, odd.message.as_str()), (now(), None, "[\"a\"]"));
        assert_eq!((odd.fields.get("ts"), odd.fields.get("level")), (Some("yesterday"), Some("loud")));
        assert_eq!(read("[1]").message, "[1]");
    }

    #[test]
    fn levels_are_those_of_the_one_table() {
        for (field, level) in [
            ("\"level\":50", Some(LogLevel::Error)),
            ("\"level\":3", Some(LogLevel::Error)),
            ("\"level\":3.0", Some(LogLevel::Error)),
            ("\"level\":\"50\"", Some(LogLevel::Error)),
            ("\"level\":\"dpanic\"", Some(LogLevel::Fatal)),
            ("\"level\":\"\\u001b[33mWARN\\u001b[39m\"", Some(LogLevel::Warn)),
            ("\"severity\":\"NOTICE\"", Some(LogLevel::Info)),
            ("\"PRIORITY\":\"3\"", Some(LogLevel::Error)),
            ("\"severity_number\":9", Some(LogLevel::Info)),
            ("\"severity_number\":\"17\"", Some(LogLevel::Error)),
            ("\"level\":\"unknown\",\"severity\":\"error\"", Some(LogLevel::Error)),
            ("\"level\":null", None),
            ("\"level\":9", None),
        ] {
            assert_eq!(read(&format!("{{\"msg\":\"x\",{field}}}")).level, level, "{field}");
        }
    }

    #[test]
    fn a_message_is_found_where_other_loggers_put_it() {
        let nested = r#"{"level":"ERROR","fields":{"message":"no route","code":7},"target":"shop"}"#;
        let record = read(nested);
        assert_eq!((record.message.as_str(), record.fields.get("fields")), ("no route", Some(r#"{"code":7}"#)));
        for (field, line, message) in [
            ("fields.message", nested, "no route"),
            ("a.b.c", r#"{"a":{"b":{"c":"deep"}},"msg":"flat"}"#, "deep"),
            ("a.b", r#"{"a.b":"with a dot","a":{"b":"nested"}}"#, "with a dot"),
            ("msg", r#"{"message":"out of disk","event":"full"}"#, "out of disk"),
            ("msg", r#"{"msg":"","short_message":"gelf"}"#, "gelf"),
            ("msg", r#"{"msg":null,"@mt":"serilog {n}"}"#, "serilog {n}"),
            // Nothing in it is a message: the whole line is one.
            ("msg", r#"{"n":7}"#, r#"{"n":7}"#),
        ] {
            let config = TailConfig { message_field: field.to_owned(), ..TailConfig::default() };
            assert_eq!(read_with(&config, line).message, message, "{field} {line}");
        }
    }

    #[test]
    fn json_that_is_nearly_right_is_read() {
        for (line, message) in [
            (r#"{"level":"error","msg":"half \ud83d"}"#, "half \u{fffd}"),
            (r#"{"level":"error","msg":"x","ratio":NaN,"most":Infinity}"#, "x"),
            (r#"{"level":"error","msg":"C:\temp"}"#, "C:\temp"),
            (r#"{"level":"error","msg":"C:\data"}"#, "C:\\data"),
            ("{\"level\":\"error\",\"msg\":\"a\tb\"}", "a\tb"),
            (r#"{"level":"error","msg":"x",}"#, "x"),
            (r#"{"level":"error","msg":"\u001b[31mred\u001b[0m"}"#, "red"),
        ] {
            let record = read(line);
            assert_eq!((record.level, record.message.as_str()), (Some(LogLevel::Error), message), "{line}");
        }
        assert_eq!(read(r#"{"level":"error","msg":"cut"#).level, None);
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_record(line in "\\PC{0,60}|\\{[\"a-z:,\\[\\]{}0-9\\\\uN.]{0,40}\\}") {
            read(&line);
        }

        #[test]
        fn any_number_is_a_time_or_none(number in any::<f64>(), whole in any::<i64>()) {
            read(&format!("{{\"ts\":{number}}}"));
            read(&format!("{{\"ts\":{whole}}}"));
        }
    }
}
