//! Small rules of the text form that several nouns share.

/// Whole numbers of records: plain below 2^53, decimal text from there on, because JSON readers keep numbers as doubles.
pub(crate) mod int53 {
    use serde::{Deserialize, Deserializer, Serializer};

    const LIMIT: u64 = 1 << 53;

    pub(crate) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        if *value < LIMIT { serializer.serialize_u64(*value) } else { serializer.collect_str(value) }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
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
