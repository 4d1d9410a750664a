//! Small rules of the text form that several nouns share.

/// Whole numbers of records: plain below 2^53, decimal text from there on, because JSON readers keep numbers as doubles.
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Wait {
///     #[serde(with = "ir_core::wire::int53")]
///     due_ns: u64,
/// }
/// let text = |due_ns| serde_json::to_string(&Wait { due_ns }).unwrap();
/// assert_eq!(text(7), r#"{"due_ns":7}"#);
/// assert_eq!(text(1 << 53), r#"{"due_ns":"9007199254740992"}"#);
/// ```
pub mod int53 {
    use serde::{Deserialize, Deserializer, Serializer};

    const LIMIT: u64 = 1 << 53;

    /// Writes one.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        if *value < LIMIT { serializer.serialize_u64(*value) } else { serializer.collect_str(value) }
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// When it is no whole number, or in the other of the two forms.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(value) if value < LIMIT => Ok(value),
            Form::Number(value) => Err(serde::de::Error::custom(format!("`{value}` must be written as text"))),
            Form::Text(text) => match text.parse::<u64>() {
                Ok(value) if value >= LIMIT && value.to_string() == text => Ok(value),
                _ => Err(serde::de::Error::custom(format!("`{text}` is not a whole number of 2^53 or more"))),
            },
        }
    }
}

/// The first `max` characters of `text`, with a mark where something was cut.
#[must_use]
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max).collect();
    short.push('…');
    short
}
