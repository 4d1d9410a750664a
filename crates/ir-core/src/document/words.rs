//! Reads values as Rust types and says what is wrong in the words of documents: a whole number, a text, a table. The one place
//! where the words of serde end.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde_json::Value;

use super::near::nearest;
use crate::wire::shorten;

/// What of a value is shown in a message.
const MAX_SHOWN_CHARS: usize = 40;

/// One step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

/// What is wrong with one value, and where.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) at: Vec<Segment>,
    pub(super) what: Wrong,
}

/// What is wrong with one value.
#[derive(Debug, Clone)]
pub(super) enum Wrong {
    /// A field that there is not.
    UnknownField { name: String, known: &'static [&'static str] },
    /// A name that is none of a fixed list.
    UnknownName { name: String, known: &'static [&'static str] },
    /// A field that there must be.
    Missing { field: &'static str },
    /// Anything else.
    Other { message: String },
}

/// Reads `value` as `D`.
pub(super) fn attempt<D: DeserializeOwned>(value: &Value) -> Result<D, Mistake> {
    serde_path_to_error::deserialize(Node(value)).map_err(|error| {
        use serde_path_to_error::Segment as Found;
        let at = error.path().iter().filter_map(|segment| match segment {
            Found::Seq { index } => Some(Segment::Index(*index)),
            Found::Map { key } => Some(Segment::Key(key.clone())),
            // The chosen name of an enumeration is a key of the document only where it has fields.
            Found::Enum { .. } | Found::Unknown => None,
        });
        Mistake { at: at.collect(), what: error.into_inner() }
    })
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField { name, known } => {
                write!(f, "unknown field `{}`", shown(name))?;
                match (nearest(name, known.iter().copied()), known.is_empty()) {
                    (Some(near), _) => write!(f, ": did you mean `{near}`?"),
                    (None, true) => f.write_str(": there is none here"),
                    (None, false) => write!(f, "; there is: {}", listed(known)),
                }
            }
            Self::UnknownName { name, known } => {
                write!(f, "`{}` is none of {}", shown(name), listed(known))?;
                match nearest(name, known.iter().copied()) {
                    Some(near) => write!(f, ": did you mean `{near}`?"),
                    None => Ok(()),
                }
            }
            Self::Missing { field } => write!(f, "missing field `{field}`"),
            Self::Other { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other { message: message.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::not(&found_words(found), &wanted_words(&wanted.to_string()))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn invalid_length(length: usize, wanted: &dyn Expected) -> Self {
        Self::not(&format!("{length} values"), &wanted_words(&wanted.to_string()))
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownName { name: name.to_owned(), known }
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownField { name: name.to_owned(), known }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing { field }
    }

    fn duplicate_field(_: &'static str) -> Self {
        Self::Other { message: "is given twice".to_owned() }
    }
}

impl Wrong {
    fn not(found: &str, wanted: &str) -> Self {
        Self::Other { message: format!("must be {wanted}, not {found}") }
    }
}

fn shown(text: &str) -> String {
    shorten(text, MAX_SHOWN_CHARS).replace('`', "'")
}

fn listed(names: &[&str]) -> String {
    format!("`{}`", names.join("`, `"))
}

fn found_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(flag) => format!("`{flag}`"),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Char(one) => format!("the text `{one}`"),
        Unexpected::Str(text) => format!("the text `{}`", shown(text)),
        Unexpected::Bytes(_) => "bytes".to_owned(),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq | Unexpected::TupleVariant => "a list".to_owned(),
        Unexpected::Map | Unexpected::StructVariant => "a table".to_owned(),
        Unexpected::Enum | Unexpected::UnitVariant => "a name".to_owned(),
        Unexpected::NewtypeStruct | Unexpected::NewtypeVariant | Unexpected::Other(_) => {
            "a value of another kind".to_owned()
        }
    }
}

/// What serde expects, in the words of documents. The words of types of our own ("a number, or its text") stay as they are.
fn wanted_words(wanted: &str) -> String {
    let whole = |most: u64| format!("a whole number from 0 to {most}");
    let signed = |bits: u32| format!("a whole number from -{0} to {1}", 1_u64 << (bits - 1), (1_u64 << (bits - 1)) - 1);
    match wanted {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" | "u128" | "usize" => "a whole number of at least 0".to_owned(),
        "i8" => signed(8),
        "i16" => signed(16),
        "i32" => signed(32),
        "i64" | "i128" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "bool" | "a boolean" => "true or false".to_owned(),
        "unit" => "nothing".to_owned(),
        "a string" | "a borrowed string" | "a character" | "string or map" => "a text".to_owned(),
        "a map" => "a table".to_owned(),
        "a sequence" => "a list".to_owned(),
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum") => "a table".to_owned(),
        other
            if other.starts_with("tuple")
                || other.starts_with("a tuple")
                || other.starts_with("an array of length") =>
        {
            "a list".to_owned()
        }
        other if other.starts_with("a ") || other.starts_with("an ") => other.to_owned(),
        _ => "a value of another kind".to_owned(),
    }
}

/// A value to be read.
#[derive(Clone, Copy)]
struct Node<'de>(&'de Value);

impl<'de> IntoDeserializer<'de, Wrong> for Node<'de> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

/// A table's fields, for tables and for enumerations written as one.
fn fields<'de>(
    map: &'de serde_json::Map<String, Value>,
) -> MapDeserializer<'de, impl Iterator<Item = (&'de str, Node<'de>)>, Wrong> {
    MapDeserializer::new(map.iter().map(|(key, value)| (key.as_str(), Node(value))))
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(Node))),
            Value::Object(map) => visitor.visit_map(fields(map)),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(whole), _) => visitor.visit_u64(whole),
                (None, Some(whole)) => visitor.visit_i64(whole),
                // A number of a document is one of the three.
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(IntoDeserializer::<Wrong>::into_deserializer(text.as_str())),
            Value::Object(map) if map.len() == 1 => visitor.visit_enum(MapAccessDeserializer::new(fields(map))),
            other => Err(Wrong::not(&found_words(unexpected(other)), &format!("one of {}", listed(known)))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(flag) => Unexpected::Bool(*flag),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(whole), _) => Unexpected::Unsigned(whole),
            (None, Some(whole)) => Unexpected::Signed(whole),
            (None, None) => Unexpected::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
    }
}
