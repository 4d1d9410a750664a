//! Which lines belong together: those of one span, trace or thread.

use ir_core::signal::LogRecord;

use super::hash;

/// Bytes of a line in which ids are looked for.
const REACH: usize = 512;
/// Shorter words after `trace id` are no ids.
const SHORTEST: usize = 8;
/// Fields that name what a line belongs to, most telling first. The span is added to the trace.
const FIELDS: [&str; 8] =
    ["trace_id", "traceid", "traceId", "TraceId", "request_id", "requestId", "thread", "thread_name"];
const SPANS: [&str; 4] = ["span_id", "spanid", "spanId", "SpanId"];

/// What a line belongs to; 0 where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Thread {
    /// The trace, request or thread.
    pub(super) trace: u64,
    /// The span of it, or all of it where no span is named.
    pub(super) piece: u64,
}

/// The keys of the lines that a record belongs to: its trace (and span), request or thread, from the fields or from ids that the
/// line names (`TraceID: 4bf9...`, `trace_id=...`, `"traceId":"..."`). 0 where there is none: then it is the entity's stream.
pub(super) fn of(record: &LogRecord) -> Thread {
    let field = |names: &[&str]| {
        names.iter().find_map(|name| record.fields.get(name)).map(|value| hash::bytes(value.as_bytes()))
    };
    let line = record.message.as_bytes();
    let line = &line[..line.len().min(REACH)];
    match field(&FIELDS).or_else(|| id(line, b"race")) {
        Some(trace) => {
            let span = field(&SPANS).or_else(|| id(line, b"span")).unwrap_or(0);
            // Never 0, which means none.
            Thread { trace: trace | 1, piece: trace.rotate_left(1) ^ span | 1 }
        }
        None => Thread::default(),
    }
}

/// The id after `..race` or `span`, an optional separator, and `id`.
fn id(line: &[u8], name: &[u8; 4]) -> Option<u64> {
    let starts = line.windows(4).enumerate().filter(|(_, four)| four.eq_ignore_ascii_case(name));
    for (at, _) in starts {
        let mut rest = line.get(at + 4..)?;
        if let [b'_' | b'-' | b'.' | b' ', more @ ..] = rest {
            rest = more;
        }
        let [b'i' | b'I', b'd' | b'D', more @ ..] = rest else { continue };
        let separators = more.iter().take(4).take_while(|byte| !byte.is_ascii_alphanumeric()).count();
        let value = more.get(separators..)?;
        let length = value.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
        if separators > 0 && length >= SHORTEST {
            return Some(hash::bytes(&value[..length]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir_core::{EntityId, Labels, Timestamp};

    fn key(message: &str, fields: &[(&str, &str)]) -> u64 {
        let entity = EntityId::new("shop").unwrap();
        let fields: Labels = fields.iter().copied().collect();
        of(&LogRecord { entity, at: Timestamp::default(), level: None, message: message.to_owned(), fields }).piece
    }

    #[test]
    fn ids_are_found_however_they_are_written() {
        let wanted = key("x TraceID: 4bf92f3577b34da6 y", &[]);
        assert_ne!(wanted, 0);
        for line in ["trace_id=4bf92f3577b34da6", "{\"traceId\":\"4bf92f3577b34da6\"}", "[trace-id 4bf92f3577b34da6]"] {
            assert_eq!(key(line, &[]), wanted, "{line}");
        }
        assert_eq!(key("plain", &[("trace_id", "4bf92f3577b34da6")]), wanted);
        assert_ne!(key("TraceID: 4bf92f3577b34da6 SpanID: 00f067aa0ba902b7", &[]), wanted);
        for line in [
            "no trace of it",
            "trace id",
            "traceid=",
            "trace_id=7",
            "tracer idea: something",
            "span_id=00f067aa0ba902b7",
        ] {
            assert_eq!(key(line, &[]), 0, "{line}");
        }
    }
}
