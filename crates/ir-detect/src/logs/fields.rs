//! The message inside a structured line: JSON and logfmt, without parsing more than it takes to find it.

use super::scan::is_space;

/// Keys under which writers put the message, best first.
const KEYS: [&[u8]; 11] =
    [b"msg", b"message", b"log", b"MESSAGE", b"@message", b"event", b"body", b"text", b"short_message", b"@m", b"@mt"];

/// The object in which Rust's `tracing` puts its message.
const NESTED: &[u8] = b"fields";

/// How deep structures may nest before a line is taken as plain text.
const DEPTH: usize = 32;

/// The message of a JSON object or of a logfmt line; `None` when the line is neither or names no message.
pub(super) fn message(line: &[u8]) -> Option<&[u8]> {
    match line.first()? {
        b'{' => json(line),
        byte if byte.is_ascii_alphabetic() || *byte == b'@' => logfmt(line),
        _ => None,
    }
}

fn better(best: &mut Option<(usize, (usize, usize))>, key: &[u8], span: (usize, usize)) {
    if let Some(rank) = KEYS.iter().position(|known| *known == key)
        && best.is_none_or(|(held, _)| rank < held)
    {
        *best = Some((rank, span));
    }
}

/// Walks the top level of an object. Escapes stay as they are written: they are constant where the text is.
fn json(line: &[u8]) -> Option<&[u8]> {
    let (mut best, mut nested) = (None, None);
    let mut at = 1;
    loop {
        at = skip_space(line, at);
        if line.get(at) != Some(&b'"') {
            break;
        }
        let key_end = string_end(line, at)?;
        let key = line.get(at + 1..key_end)?;
        at = skip_space(line, key_end + 1);
        if line.get(at) != Some(&b':') {
            break;
        }
        at = skip_space(line, at + 1);
        if line.get(at) == Some(&b'"') {
            // A line that was cut keeps what is there of its message.
            let end = string_end(line, at).unwrap_or(line.len());
            better(&mut best, key, (at + 1, end));
            at = end + 1;
        } else {
            let end = value_end(line, at);
            if key == NESTED
                && line.get(at) == Some(&b'{')
                && best.is_none()
                && let Some(message) = line.get(at..end).and_then(json)
            {
                nested = Some(message);
            }
            at = end;
        }
        at = skip_space(line, at);
        if line.get(at) != Some(&b',') {
            break;
        }
        at += 1;
    }
    best.and_then(|(_, (from, to))| line.get(from..to)).filter(|message| !message.is_empty()).or(nested)
}

fn skip_space(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(|b| is_space(*b)) {
        at += 1;
    }
    at
}

/// Where the string that opens at `at` closes.
fn string_end(line: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match line.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where a number, word, array or object ends.
fn value_end(line: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(byte) = line.get(at) {
        match byte {
            b'"' => at = string_end(line, at).unwrap_or(line.len()),
            b'{' | b'[' if depth < DEPTH => depth += 1,
            b'{' | b'[' => return line.len(),
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Walks `key=value` pairs; anything else makes the line plain text.
fn logfmt(line: &[u8]) -> Option<&[u8]> {
    let (mut best, mut pairs, mut at) = (None, 0, 0);
    loop {
        at = skip_space(line, at);
        if at >= line.len() {
            break;
        }
        let key_start = at;
        while line.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@')) {
            at += 1;
        }
        let key = &line[key_start..at];
        if key.is_empty() || line.get(at) != Some(&b'=') {
            return None;
        }
        at += 1;
        let span = if line.get(at) == Some(&b'"') {
            let end = string_end(line, at).unwrap_or(line.len());
            let span = (at + 1, end);
            at = (end + 1).min(line.len());
            span
        } else {
            let start = at;
            while line.get(at).is_some_and(|b| !is_space(*b)) {
                at += 1;
            }
            (start, at)
        };
        better(&mut best, key, span);
        pairs += 1;
    }
    if pairs < 2 {
        return None;
    }
    best.and_then(|(_, (from, to))| line.get(from..to)).filter(|message| !message.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_structured_line_is_found() {
        for (line, wanted) in [
            (r#"{"level":"info","msg":"user logged in","n":3}"#, Some("user logged in")),
            (r#"{"a":{"msg":"inner"},"b":[1,"]",{}],"message":"outer \"x\""}"#, Some(r#"outer \"x\""#)),
            // The better key wins wherever it stands.
            (r#"{"event":"e","msg":"m"}"#, Some("m")),
            (r#"{"level":"info"}"#, None),
            // Cut in the middle of its message.
            (r#"{"msg":"half of a mess"#, Some("half of a mess")),
            (r#"level=info msg="disk is full" dev=sda"#, Some("disk is full")),
            ("level=info msg=ready", Some("ready")),
            // One pair alone, and text behind pairs, are plain text.
            ("ambient=33", None),
            ("uid=0 euid=0 failed", None),
            ("", None),
            ("{", None),
            ("{\"a\\", None),
        ] {
            let found = message(line.as_bytes()).map(|m| String::from_utf8_lossy(m).into_owned());
            assert_eq!(found.as_deref(), wanted, "{line}");
        }
    }
}
