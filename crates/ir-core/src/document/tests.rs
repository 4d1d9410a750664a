//! Tests of reading documents.

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
    let line = read_book("title = \"x\"\n[[page]]\nnumber = 1\nline = [{ words = 2 }]").unwrap().page[0].line[0].words;
    assert_eq!(line, 2);
}

/// Every kind of value there is in documents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only the mistakes in it are read")]
struct Kinds {
    whole: u64,
    small: i8,
    ratio: f64,
    flag: bool,
    text: String,
    list: Vec<u16>,
    table: Line,
    way: Way,
    by_name: std::collections::BTreeMap<String, u32>,
    #[serde(default)]
    tagged: Option<Tagged>,
    pair: (u8, bool),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Forward,
    Back,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "only the mistakes in it are read")]
enum Tagged {
    Sized { bytes: u32 },
    Plain,
}

const SOUND: &str = r#"{"whole": 1, "small": -1, "ratio": 0.5, "flag": true, "text": "x", "list": [1], "table": {"words": 1},
 "way": "back", "by_name": {"a": 1}, "tagged": {"type": "sized", "bytes": 3}, "pair": [1, true]}"#;

/// The message about `value` in `field` of an otherwise sound document.
fn message(field: &str, value: serde_json::Value) -> String {
    let mut document: serde_json::Value = serde_json::from_str(SOUND).unwrap();
    document[field] = value;
    let error = read::<Kinds, _>(&document.to_string(), "k.json", Ok).unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
    let problem = &error.problems()[0];
    format!("{}: {}", problem.field, problem.message)
}

#[test]
fn a_wrong_value_is_described_in_the_words_of_documents() {
    use serde_json::json;
    read::<Kinds, _>(SOUND, "k.json", Ok).unwrap();
    let table = [
        ("whole", json!("two"), "whole: must be a whole number of at least 0, not the text `two`"),
        ("whole", json!(-1), "whole: must be a whole number of at least 0, not the number -1"),
        ("whole", json!(1.5), "whole: must be a whole number of at least 0, not the number 1.5"),
        ("whole", json!(null), "whole: must be a whole number of at least 0, not nothing"),
        ("small", json!(200), "small: must be a whole number from -128 to 127, not the number 200"),
        ("ratio", json!(true), "ratio: must be a number, not `true`"),
        ("flag", json!("true"), "flag: must be true or false, not the text `true`"),
        ("text", json!(["x"]), "text: must be a text, not a list"),
        ("list", json!({"a": 1}), "list: must be a list, not a table"),
        ("list", json!([1, 65536]), "list[1]: must be a whole number from 0 to 65535, not the number 65536"),
        ("table", json!("x"), "table: must be a table, not the text `x`"),
        ("table", json!({}), "table: missing field `words`"),
        ("way", json!(3), "way: must be one of `forward`, `back`, not the number 3"),
        ("way", json!("bakc"), "way: `bakc` is none of `forward`, `back`: did you mean `back`?"),
        ("way", json!("sideways"), "way: `sideways` is none of `forward`, `back`"),
        ("by_name", json!([1]), "by_name: must be a table, not a list"),
        ("by_name", json!({"a": false}), "by_name.a: must be a whole number from 0 to 4294967295, not `false`"),
        ("tagged", json!({"type": "plian"}), "tagged.type: `plian` is none of `sized`, `plain`: did you mean `plain`?"),
        ("tagged", json!({"bytes": 1}), "tagged: missing field `type`"),
        ("tagged", json!(1), "tagged: must be a table, not the number 1"),
        ("pair", json!([1]), "pair: must be a list, not 1 values"),
        ("pair", json!(1), "pair: must be a list, not the number 1"),
    ];
    for (field, value, wanted) in table {
        assert_eq!(message(field, value.clone()), wanted, "{value}");
    }
}

#[test]
fn a_misspelt_field_is_read_as_what_it_means_so_that_nothing_seems_to_be_missing() {
    let text = "tilte = \"x\"\n[[pgae]]\nnumbr = 1\n[[pgae]]\nnumber = -1\nline = [{ wrods = \"two\" }]\n";
    let found: Vec<String> = read_book(text).unwrap_err().problems().iter().map(ToString::to_string).collect();
    let wanted = [
        "book.toml:2: `pgae`: unknown field `pgae`: did you mean `page`?",
        "book.toml:1: `tilte`: unknown field `tilte`: did you mean `title`?",
        "book.toml:3: `pgae[0].numbr`: unknown field `numbr`: did you mean `number`?",
        "book.toml:5: `pgae[1].number`: must be a whole number from 0 to 4294967295, not the number -1",
        "book.toml:6: `pgae[1].line[0].wrods`: unknown field `wrods`: did you mean `words`?",
        "book.toml:6: `pgae[1].line[0].wrods`: must be a whole number from 0 to 4294967295, not the text `two`",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn several_mistakes_in_one_part_are_reported_together_with_those_of_meaning() {
    let check = |book: Book| {
        let empty = |(n, page): (usize, &Page)| {
            (page.number == 0).then(|| Problem::at(format!("page[{n}].number"), "must not be 0"))
        };
        ConfigError::check(book.page.iter().enumerate().filter_map(empty).collect(), book)
    };
    let text =
        "title = 1\n[[page]]\nnumber = 0\ncolour = 1\nsize = 2\nline = 3\n[[page]]\nline = [{}, { words = true }]\n";
    let error = read::<Book, Book>(text, "book.toml", check).unwrap_err();
    let found: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    let wanted = [
        "book.toml:1: `title`: must be a text, not the number 1",
        "book.toml:4: `page[0].colour`: unknown field `colour`; there is: `number`, `line`",
        "book.toml:6: `page[0].line`: must be a list, not the number 3",
        "book.toml:5: `page[0].size`: unknown field `size`; there is: `number`, `line`",
        "book.toml:7: `page[1]`: missing field `number`",
        "book.toml:8: `page[1].line[0]`: missing field `words`",
        "book.toml:8: `page[1].line[1].words`: must be a whole number from 0 to 4294967295, not `true`",
        "book.toml:3: `page[0].number`: must not be 0",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn everything_that_is_missing_is_reported() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only what is missing of it is read")]
    struct Three {
        one: String,
        two: Vec<u8>,
        three: Way,
    }
    let error = read::<Three, _>("", "t.toml", Ok).unwrap_err();
    let found: Vec<&str> = error.problems().iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(found, ["missing field `one`", "missing field `two`", "missing field `three`"]);
}

#[test]
fn fields_of_json_have_their_lines() {
    let text = "{\n\"title\": \"a \\\" { [\",\n\"page\": [\n{\"number\": 1, \"line\": [\n{\"words\": 1}, {\"words\":\n-2}]},\n\
                {\n\"number\"\n:\n\"x\"}, 7\n]}";
    let found: Vec<String> = read_book(text).unwrap_err().problems().iter().map(ToString::to_string).collect();
    let wanted = [
        "book.toml:5: `page[0].line[1].words`: must be a whole number from 0 to 4294967295, not the number -2",
        "book.toml:8: `page[1].number`: must be a whole number from 0 to 4294967295, not the text `x`",
        "book.toml:10: `page[2]`: must be a table, not the number 7",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn a_field_that_is_given_twice_is_refused_in_json_as_in_toml() {
    let json = "{\"title\": \"x\",\n\"page\": [{\"number\": 1, \"number\": 2}],\n\"page\": []}";
    let found: Vec<String> = read_book(json).unwrap_err().problems().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["book.toml:2: `page[0].number`: is given twice", "book.toml:3: `page`: is given twice"]);
    let toml = read_book("title = \"x\"\ntitle = \"y\"\n").unwrap_err();
    assert_eq!(toml.problems()[0].line, Some(2), "{toml}");
    // The same name in two tables is not the same field, however it is written.
    read_book("{\"title\": \"x\", \"page\": [{\"number\": 1}, {\"number\": 2}]}").unwrap();
}

#[test]
fn places_find_what_is_around_a_field_and_say_nothing_of_what_was_made_in_code() {
    let places = read_with_places::<Book, Places>("title = \"x\"\n[[page]]\nnumber = 1\n", "book.toml", |_, places| {
        Ok(places.clone())
    })
    .unwrap();
    assert_eq!(places.line("page[0].number"), Some(3));
    assert_eq!(places.line("page[0].line[7].words"), Some(2));
    assert_eq!(places.line("elsewhere"), None);
    assert_eq!((places.has("page[0].line"), places.has("page[0]")), (Some(false), Some(true)));
    assert_eq!(places.locate(Problem::at("title", "is dull")).to_string(), "book.toml:1: `title`: is dull");
    let nowhere = Places::default();
    assert_eq!((nowhere.has("title"), nowhere.line("title")), (None, None));
    assert_eq!(nowhere.locate(Problem::at("title", "is dull")).to_string(), "`title`: is dull");
    assert_eq!(places, nowhere);
}

mod properties {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Words that only a programmer in Rust would use.
    const RUST: [&str; 14] = [
        "u8", "u16", "u32", "u64", "i8", "i64", "f64", "bool", "struct", "enum", "variant", "string", "sequence",
        "Option",
    ];

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e6..1e6).prop_map(Value::from),
            "[a-z]{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,5}", inner, 0..3).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_wrong_no_word_of_rust_is_used_and_every_problem_has_a_line(
            changes in prop::collection::vec((0_usize..11, values()), 1..5),
            extra in prop::option::of(("[a-z]{2,8}", values())),
        ) {
            let mut document: Value = serde_json::from_str(SOUND).unwrap();
            let names: Vec<String> = document.as_object().unwrap().keys().cloned().collect();
            for (n, value) in changes {
                document[&names[n]] = value;
            }
            if let Some((name, value)) = extra {
                document[&name] = value;
            }
            let Err(error) = read::<Kinds, _>(&serde_json::to_string_pretty(&document).unwrap(), "k.json", Ok) else {
                return Ok(());
            };
            for problem in error.problems() {
                prop_assert!(problem.line.is_some() || problem.field.is_empty(), "{problem}");
                let mut words = problem.message.split(|c: char| !c.is_ascii_alphanumeric());
                prop_assert!(!words.any(|word| RUST.contains(&word)), "{problem}");
            }
        }

        #[test]
        fn what_deserializes_is_accepted_and_nothing_else(change in (0_usize..11, values())) {
            let mut document: Value = serde_json::from_str(SOUND).unwrap();
            let names: Vec<String> = document.as_object().unwrap().keys().cloned().collect();
            document[&names[change.0]] = change.1;
            let ours = read::<Kinds, _>(&document.to_string(), "k.json", Ok);
            let theirs = serde_json::from_value::<Kinds>(document);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}", theirs);
        }
    }
}
