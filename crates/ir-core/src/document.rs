//! Reading what people write (TOML or JSON): every mistake with its line and field, as many as can be found at once.
//!
//! A syntax error ends the reading, since nothing after it can be trusted. Everything else is collected: the members of
//! each list at the top (`[[rule]]`, `[[step]]` ...) are read one by one, so that a mistake in one does not hide those in
//! the next, and the checks of the whole run over what could be read.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{ConfigError, Problem};

/// The longest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// Reads `text` as `D`, then runs `check` on it. `origin` names the document in errors.
///
/// # Errors
///
/// All problems found, each with its origin, its line where that is known (TOML), and its field.
pub fn read<D, T>(text: &str, origin: &str, check: impl FnOnce(D) -> Result<T, ConfigError>) -> Result<T, ConfigError>
where
    D: DeserializeOwned,
{
    let source = Source::parse(text, origin)?;
    let found = match source.deserialize::<D>() {
        Ok(document) => match check(document) {
            Ok(checked) if source.unreadable.is_empty() => return Ok(checked),
            Ok(_) => Vec::new(),
            Err(error) => error.into_problems(),
        },
        Err(problems) => problems,
    };
    // What could not be read at all stands for nothing, so that its absence must not be reported a second time.
    let unreadable = source.unreadable.clone();
    let second = |problem: &Problem| unreadable.iter().any(|first| first.field == problem.field);
    let found = found.into_iter().filter(|problem| !second(problem));
    let problems = unreadable.iter().cloned().chain(found).collect();
    Err(source.locate(problems))
}

/// A parsed document that remembers where its fields stand.
struct Source<'a> {
    origin: &'a str,
    value: Value,
    /// Where each line begins.
    starts: Vec<usize>,
    /// The line of each field.
    lines: HashMap<String, usize>,
    /// Values that no document can hold.
    unreadable: Vec<Problem>,
}

impl<'a> Source<'a> {
    fn parse(text: &str, origin: &'a str) -> Result<Self, ConfigError> {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let (lines, unreadable) = (HashMap::new(), Vec::new());
        let mut source = Self { origin, value: Value::Null, starts, lines, unreadable };
        if text.len() > MAX_DOCUMENT_BYTES {
            let message = format!("is {} bytes long, more than {MAX_DOCUMENT_BYTES}", text.len());
            return Err(source.whole(None, message));
        }
        if text.trim_start().starts_with('{') {
            source.value = serde_json::from_str(text)
                .map_err(|error| source.whole(Some(error.line()), format!("is not JSON: {error}")))?;
            return Ok(source);
        }
        let table = toml::de::DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| source.line_of(span.start));
            source.whole(line, format!("is not TOML: {}", error.message()))
        })?;
        source.value = source.table(table.get_ref(), "")?;
        Ok(source)
    }

    fn whole(&self, line: Option<usize>, message: String) -> ConfigError {
        ConfigError::one(Problem { origin: Some(self.origin.to_owned()), line, field: String::new(), message })
    }

    fn table(&mut self, table: &toml::de::DeTable<'_>, path: &str) -> Result<Value, ConfigError> {
        let mut map = serde_json::Map::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            self.lines.insert(field.clone(), self.line_of(key.span().start));
            let value = self.value(value, &field)?;
            map.insert(name.to_owned(), value);
        }
        Ok(Value::Object(map))
    }

    fn value(&mut self, value: &toml::Spanned<toml::de::DeValue<'_>>, field: &str) -> Result<Value, ConfigError> {
        use toml::de::DeValue;
        let line = self.line_of(value.span().start);
        Ok(match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(at) => Value::String(at.to_string()),
            DeValue::Integer(whole) => match i64::from_str_radix(whole.as_str(), whole.radix()) {
                Ok(whole) => Value::from(whole),
                Err(_) => self.cannot_hold(field, line, whole.as_str()),
            },
            DeValue::Float(float) => match float.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
                Some(float) => Value::Number(float),
                None => self.cannot_hold(field, line, float.as_str()),
            },
            DeValue::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (n, item) in items.iter().enumerate() {
                    let field = format!("{field}[{n}]");
                    self.lines.insert(field.clone(), self.line_of(item.span().start));
                    list.push(self.value(item, &field)?);
                }
                Value::Array(list)
            }
            DeValue::Table(table) => self.table(table, field)?,
        })
    }

    /// Notes a number that no document can hold, and goes on without it.
    fn cannot_hold(&mut self, field: &str, line: usize, text: &str) -> Value {
        let message = format!("`{text}` is not a number that can be used here");
        self.unreadable.push(Problem { line: Some(line), ..Problem::at(field, message) });
        Value::Null
    }

    /// The line, from 1, that holds the byte at `offset`.
    fn line_of(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// Reads the whole; where that fails, reads the parts one by one to find every mistake.
    fn deserialize<D: DeserializeOwned>(&self) -> Result<D, Vec<Problem>> {
        let first = match attempt::<D>(self.value.clone()) {
            Ok(document) => return Ok(document),
            Err(problem) => problem,
        };
        let mut problems = Vec::new();
        collect::<D>(&self.value, &|part| part, "", "", &mut problems);
        if problems.is_empty() {
            problems.push(first);
        }
        Err(problems)
    }

    fn locate(&self, problems: Vec<Problem>) -> ConfigError {
        let problems = problems
            .into_iter()
            .map(|mut problem| {
                problem.origin = Some(self.origin.to_owned());
                problem.line = problem.line.or_else(|| self.line(&problem.field));
                problem
            })
            .collect();
        match ConfigError::check(problems, ()) {
            Err(error) => error,
            Ok(()) => self.whole(None, "could not be read".to_owned()),
        }
    }

    /// The line of `field`, or of the nearest part around it.
    fn line(&self, field: &str) -> Option<usize> {
        let mut field = field;
        loop {
            if let Some(line) = self.lines.get(field) {
                return Some(*line);
            }
            field = &field[..field.rfind(['.', '['])?];
        }
    }
}

fn attempt<D: DeserializeOwned>(value: Value) -> Result<D, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = error.path().to_string();
        let field = if field == "." { String::new() } else { field };
        Problem::at(field, error.into_inner().to_string())
    })
}

/// Reads `node` with its lists of tables empty, then each of their members alone, and so on inward. `build` puts a node
/// back into an otherwise unchanged document, in which it stands at `probe`; for the user it stands at `actual`.
fn collect<D: DeserializeOwned>(
    node: &Value,
    build: &dyn Fn(Value) -> Value,
    actual: &str,
    probe: &str,
    problems: &mut Vec<Problem>,
) {
    let Value::Object(fields) = node else {
        if let Err(problem) = attempt::<D>(build(node.clone())) {
            keep(problem, actual, probe, problems);
        }
        return;
    };
    let lists: Vec<(&String, &Vec<Value>)> = fields
        .iter()
        .filter_map(|(key, value)| Some((key, value.as_array()?)))
        .filter(|(_, items)| items.iter().any(Value::is_object))
        .collect();
    let mut skeleton = fields.clone();
    for (key, _) in &lists {
        skeleton.insert((*key).clone(), Value::Array(Vec::new()));
    }
    if let Err(problem) = attempt::<D>(build(Value::Object(skeleton.clone()))) {
        keep(problem, actual, probe, problems);
        return;
    }
    for (key, items) in lists {
        let join = |outer: &str, n: usize| {
            let dot = if outer.is_empty() { "" } else { "." };
            format!("{outer}{dot}{key}[{n}]")
        };
        for (n, item) in items.iter().enumerate() {
            let with_item = |part: Value| {
                let mut outer = skeleton.clone();
                outer.insert(key.clone(), Value::Array(vec![part]));
                build(Value::Object(outer))
            };
            collect::<D>(item, &with_item, &join(actual, n), &join(probe, 0), problems);
        }
    }
}

fn keep(mut problem: Problem, actual: &str, probe: &str, problems: &mut Vec<Problem>) {
    if let Some(rest) = problem.field.strip_prefix(probe) {
        problem.field = format!("{actual}{rest}").trim_start_matches('.').to_owned();
        problems.push(problem);
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Book {
        title: String,
        #[serde(default)]
        page: Vec<Page>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        number: u32,
        #[serde(default)]
        line: Vec<Line>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        words: u32,
    }

    fn read_book(text: &str) -> Result<Book, ConfigError> {
        read(text, "book.toml", Ok)
    }

    #[test]
    fn every_mistake_is_found_with_its_line() {
        let text = "title = \"x\"\n[[page]]\nnumber = -1\n[[page]]\nnumber = 2\n[[page.line]]\nwords = \"two\"\n[[page.line]]\nwords = 3\nwrods = 4\n";
        let error = read_book(text).unwrap_err();
        let found: Vec<(Option<usize>, &str)> = error.problems().iter().map(|p| (p.line, p.field.as_str())).collect();
        assert_eq!(
            found,
            [(Some(3), "page[0].number"), (Some(7), "page[1].line[0].words"), (Some(10), "page[1].line[1].wrods")],
            "{error}"
        );
    }

    #[test]
    fn a_number_that_does_not_fit_hides_nothing_else() {
        let text = "title = \"x\"\n[[page]]\nnumber = 99999999999999999999\n[[page]]\nnumber = \"two\"\n";
        let error = read_book(text).unwrap_err();
        let found: Vec<(Option<usize>, &str)> = error.problems().iter().map(|p| (p.line, p.field.as_str())).collect();
        assert_eq!(found, [(Some(3), "page[0].number"), (Some(5), "page[1].number")], "{error}");
    }

    #[test]
    fn a_long_document_with_many_mistakes_is_read_in_good_time() {
        let text: String = std::iter::once("title = \"x\"\n".to_owned())
            .chain((0..2_000).map(|n| format!("[[page]]\nnumber = -{}\n", n + 1)))
            .collect();
        assert_eq!(read_book(&text).unwrap_err().problems().len(), 2_000);
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let error = read_book("title = \"x\"\n[[page]\n").unwrap_err();
        assert_eq!(error.problems()[0].line, Some(2), "{error}");
        assert!(error.to_string().starts_with("book.toml:2: is not TOML"), "{error}");
    }

    #[test]
    fn json_is_read_as_well() {
        let book = read_book(r#"{"title": "x", "page": [{"number": 7}]}"#).unwrap();
        assert_eq!((book.title.as_str(), book.page[0].number, book.page[0].line.len()), ("x", 7, 0));
        assert!(read_book("{\"title\": 1}").unwrap_err().to_string().contains("`title`"));
        let line =
            read_book("title = \"x\"\n[[page]]\nnumber = 1\nline = [{ words = 2 }]").unwrap().page[0].line[0].words;
        assert_eq!(line, 2);
    }
}
