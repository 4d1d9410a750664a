//! Single values as OTLP writes them in JSON: numbers of 64 bits as text, ids in hexadecimal, `null` for what is not there.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::budget::List;
use super::model::KeyValue;

/// A text, borrowed where nothing in it is escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

/// A number of 64 bits without a sign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Whole(pub(super) u64);

/// A number of 64 bits with a sign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Int(pub(super) i64);

/// A floating point number, `"NaN"` and `"Infinity"` included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Double(pub(super) f64);

/// An id of `N` bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Id<const N: usize> {
    /// Empty, or zeros alone.
    #[default]
    Absent,
    /// Of another length, or no hexadecimal.
    Wrong,
    Is([u8; N]),
}

/// The value of an attribute, or the body of a log line.
#[derive(Debug, Default, PartialEq)]
pub(super) enum AnyValue<'a> {
    #[default]
    Nothing,
    Text(Text<'a>),
    Bool(bool),
    Int(i64),
    Double(f64),
    List(List<AnyValue<'a>>),
    Map(List<KeyValue<'a>>),
    /// Nested deeper than is read.
    TooDeep,
}

impl<const N: usize> Id<N> {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        match <[u8; N]>::try_from(bytes) {
            Ok(bytes) if bytes != [0; N] => Self::Is(bytes),
            Err(_) if !bytes.is_empty() => Self::Wrong,
            _ => Self::Absent,
        }
    }

    fn from_hex(text: &str) -> Self {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; N];
        if text.is_empty() {
            return Self::Absent;
        }
        if pairs.len() != N || !rest.is_empty() {
            return Self::Wrong;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Self::Wrong };
            *byte = high << 4 | low;
        }
        Self::from_bytes(&bytes)
    }

    /// The id in lower-case hexadecimal, if there is one.
    pub(super) fn hex(&self) -> Option<String> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let Self::Is(bytes) = self else { return None };
        let mut text = String::with_capacity(2 * N);
        for byte in bytes {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        Some(text)
    }
}

/// Reads a field in which `null` says that it is not there.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

macro_rules! scalar {
    ([$($lifetimes:tt)*], $name:ty, $read:ty, $expecting:literal, { $($visit:tt)* }) => {
        impl<$($lifetimes)*> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Scalar;
                impl<'de> Visitor<'de> for Scalar {
                    type Value = $read;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_unit<E>(self) -> Result<Self::Value, E> {
                        Ok(Default::default())
                    }
                    $($visit)*
                }
                deserializer.deserialize_any(Scalar)
            }
        }
    };
    ($name:ty, $expecting:literal, { $($visit:tt)* }) => {
        scalar!(['de], $name, $name, $expecting, { $($visit)* });
    };
}

scalar!(['de: 'a, 'a], Text<'a>, Text<'de>, "a text", {
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
});

scalar!(Whole, "a number without a sign", {
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Whole(value))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map(Whole).map_err(|_| E::custom("a number without a sign was expected"))
    }
});

scalar!(Int, "a whole number", {
    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        i64::try_from(value).map(Int).map_err(|_| E::custom("a number is out of range"))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Int(value))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map(Int).map_err(|_| E::custom("a whole number was expected"))
    }
});

scalar!(Double, "a number", {
    #[expect(clippy::cast_precision_loss, reason = "a number without a fraction is a number all the same")]
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Double(value as f64))
    }
    #[expect(clippy::cast_precision_loss, reason = "a number without a fraction is a number all the same")]
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Double(value as f64))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Double(value))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map(Double).map_err(|_| E::custom("a number was expected"))
    }
});

scalar!(Id<16>, "an id in hexadecimal", {
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Id::from_hex(text))
    }
});

scalar!(Id<8>, "an id in hexadecimal", {
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Id::from_hex(text))
    }
});

scalar!(['de: 'a, 'a], AnyValue<'a>, AnyValue<'de>, "a value", {
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut value = AnyValue::Nothing;
        while let Some(Text(key)) = map.next_key()? {
            match key.as_ref() {
                // Bytes are in base64 already, and are kept as that text.
                "stringValue" | "bytesValue" => value = AnyValue::Text(map.next_value()?),
                "boolValue" => value = AnyValue::Bool(map.next_value()?),
                "intValue" => value = AnyValue::Int(map.next_value::<Int>()?.0),
                "doubleValue" => value = AnyValue::Double(map.next_value::<Double>()?.0),
                "arrayValue" => value = AnyValue::List(map.next_value::<Values<AnyValue<'de>>>()?.0),
                "kvlistValue" => value = AnyValue::Map(map.next_value::<Values<KeyValue<'de>>>()?.0),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(value)
    }
});

/// `{"values": [..]}`.
struct Values<T>(List<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Values<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(default, bound = "T: Deserialize<'de>")]
        struct Object<T> {
            values: List<T>,
        }
        impl<T> Default for Object<T> {
            fn default() -> Self {
                Self { values: List::default() }
            }
        }
        Object::deserialize(deserializer).map(|object| Self(object.values))
    }
}
