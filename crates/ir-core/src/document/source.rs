//! Parses the text of a document, TOML or JSON, and remembers on which line each field stands.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::MAX_DOCUMENT_BYTES;
use crate::config::{ConfigError, Problem};

/// A parsed document.
pub(super) struct Source {
    pub(super) value: Value,
    /// The line of each field, from 1.
    pub(super) lines: HashMap<String, usize>,
    /// What no value of a document can be, and fields that are given twice.
    pub(super) unreadable: Vec<Problem>,
}

impl Source {
    /// Parses `text`: JSON if it begins with `{`, else TOML.
    pub(super) fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let whole = |line: Option<usize>, message: String| {
            ConfigError::one(Problem { origin: Some(origin.to_owned()), line, field: String::new(), message })
        };
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(whole(None, format!("is {} bytes long, more than {MAX_DOCUMENT_BYTES}", text.len())));
        }
        let mut source = Self { value: Value::Null, lines: HashMap::new(), unreadable: Vec::new() };
        if text.trim_start().starts_with('{') {
            source.value = serde_json::from_str(text)
                .map_err(|error| whole(Some(error.line()), format!("is not JSON: {error}")))?;
            Json { text: text.as_bytes(), at: 0, line: 1, source: &mut source }.value("");
            return Ok(source);
        }
        let toml = Toml { starts: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect() };
        let table = toml::de::DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| toml.line_of(span.start));
            whole(line, format!("is not TOML: {}", error.message()))
        })?;
        source.value = toml.table(table.get_ref(), "", &mut source);
        Ok(source)
    }
}

/// The field `name` within `outer`.
pub(super) fn member(outer: &str, name: &str) -> String {
    if outer.is_empty() { name.to_owned() } else { format!("{outer}.{name}") }
}

/// Turns TOML into values.
struct Toml {
    /// Where each line begins, in bytes.
    starts: Vec<usize>,
}

impl Toml {
    /// The line, from 1, that holds the byte at `offset`.
    fn line_of(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    fn table(&self, table: &toml::de::DeTable<'_>, path: &str, source: &mut Source) -> Value {
        let mut map = serde_json::Map::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let field = member(path, name);
            source.lines.insert(field.clone(), self.line_of(key.span().start));
            let value = self.value(value, &field, source);
            map.insert(name.to_owned(), value);
        }
        Value::Object(map)
    }

    fn value(&self, value: &toml::Spanned<toml::de::DeValue<'_>>, field: &str, source: &mut Source) -> Value {
        use toml::de::DeValue;
        let number = match value.get_ref() {
            DeValue::String(text) => return Value::String(text.to_string()),
            DeValue::Boolean(flag) => return Value::Bool(*flag),
            DeValue::Datetime(at) => return Value::String(at.to_string()),
            DeValue::Table(table) => return self.table(table, field, source),
            DeValue::Array(items) => {
                let item = |(n, item): (usize, &toml::Spanned<DeValue<'_>>)| {
                    let field = format!("{field}[{n}]");
                    source.lines.insert(field.clone(), self.line_of(item.span().start));
                    self.value(item, &field, source)
                };
                return Value::Array(items.iter().enumerate().map(item).collect());
            }
            DeValue::Integer(whole) => {
                i64::from_str_radix(whole.as_str(), whole.radix()).map(Value::from).map_err(|_| whole.as_str())
            }
            DeValue::Float(float) => {
                let finite = float.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                finite.map(Value::Number).ok_or(float.as_str())
            }
        };
        // A number that no document can hold is noted, and reading goes on without it.
        number.unwrap_or_else(|text| {
            let message = format!("`{text}` is not a number that can be used here");
            let line = Some(self.line_of(value.span().start));
            source.unreadable.push(Problem { line, ..Problem::at(field, message) });
            Value::Null
        })
    }
}

/// Walks over a text that is known to be JSON, because the parser gives no positions. It is as deep as the parser allows.
struct Json<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    source: &'a mut Source,
}

impl Json<'_> {
    /// Goes over the value that begins here, white space before it included. `field` is its path.
    fn value(&mut self, field: &str) {
        match self.peek() {
            Some(b'{') => self.object(field),
            Some(b'[') => self.list(field),
            Some(b'"') => drop(self.string()),
            _ => {
                while self
                    .text
                    .get(self.at)
                    .is_some_and(|byte| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
                {
                    self.at += 1;
                }
            }
        }
    }

    fn object(&mut self, outer: &str) {
        self.at += 1;
        let mut seen = BTreeSet::new();
        while self.peek() == Some(b'"') {
            let line = self.line;
            let name = self.string();
            let field = member(outer, &name);
            if !seen.insert(name) {
                // The parser keeps the last one. A rule that is replaced unseen is a rule that does not guard.
                self.source.unreadable.push(Problem { line: Some(line), ..Problem::at(&field, "is given twice") });
            }
            self.source.lines.insert(field.clone(), line);
            self.skip(b':');
            self.value(&field);
            self.skip(b',');
        }
        self.skip(b'}');
    }

    fn list(&mut self, outer: &str) {
        self.at += 1;
        let mut n = 0;
        while self.peek().is_some_and(|byte| byte != b']') {
            let field = format!("{outer}[{n}]");
            self.source.lines.insert(field.clone(), self.line);
            self.value(&field);
            self.skip(b',');
            n += 1;
        }
        self.skip(b']');
    }

    /// The text of the string that begins here.
    fn string(&mut self) -> String {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.text.get(self.at).filter(|byte| **byte != b'"') {
            self.at += if *byte == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        self.text.get(start..self.at).and_then(|quoted| serde_json::from_slice(quoted).ok()).unwrap_or_default()
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at).filter(|byte| byte.is_ascii_whitespace()) {
            self.line += usize::from(*byte == b'\n');
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, wanted: u8) {
        if self.peek() == Some(wanted) {
            self.at += 1;
        }
    }
}
