//! Single values as OTLP writes them in JSON: numbers of 64 bits as text, ids in hexadecimal, `null` for what is not there.
//!
//! A value of another kind does not end the reading: it is noted, and the part in which it stands is dropped and counted.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::budget::{Element, List};
use super::model::KeyValue;

/// A text, borrowed where nothing in it is escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

/// True or false.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

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

    /// In hexadecimal, or in base64 as before version 0.19 and as protobuf itself writes bytes. Their lengths tell them apart.
    fn from_text(text: &str) -> Self {
        match base64::engine::general_purpose::STANDARD.decode(text) {
            Ok(bytes) if text.len() != 2 * N && bytes.len() == N => Self::from_bytes(&bytes),
            _ => Self::from_hex(text),
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

thread_local! {
    /// How many values of the JSON that this thread is reading are not of the kind that they should be.
    static WRONG: Cell<u64> = const { Cell::new(0) };
}

/// How many values were of another kind so far. A part (see [`Element`](super::budget::Element)) in which there are more is dropped.
pub(super) fn n_wrong() -> u64 {
    WRONG.get()
}

/// From here on so many were: what was wrong within a part that is dropped does not count for what is around it.
pub(super) fn set_wrong(n: u64) {
    WRONG.set(n);
}

/// Takes note of a value of another kind.
pub(super) fn note_wrong<T: Default>() -> T {
    WRONG.set(WRONG.get() + 1);
    T::default()
}

/// Any value, as far as a scalar may be made of it.
enum Raw<'de> {
    Nothing,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Double(f64),
    Text(Cow<'de, str>),
    /// A list or an object.
    Other,
}

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Raw<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Raw<'de>, E> {
                Ok(Raw::Nothing)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Raw<'de>, E> {
                Ok(Raw::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Raw<'de>, E> {
                Ok(Raw::Unsigned(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Raw<'de>, E> {
                Ok(Raw::Signed(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Raw<'de>, E> {
                Ok(Raw::Double(value))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Raw<'de>, E> {
                Ok(Raw::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Raw<'de>, E> {
                Ok(Raw::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Raw::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Raw::Other)
            }
        }
        deserializer.deserialize_any(Anything)
    }
}

macro_rules! scalar {
    ($name:ty, $($raw:pat => $read:expr),+ $(,)?) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(match Raw::deserialize(deserializer)? {
                    Raw::Nothing => Self::default(),
                    $($raw => $read,)+
                    _ => note_wrong(),
                })
            }
        }
    };
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Raw::deserialize(deserializer)? {
            Raw::Nothing => Self::default(),
            Raw::Text(text) => Self(text),
            _ => note_wrong(),
        })
    }
}

scalar!(Flag, Raw::Bool(value) => Self(value));

scalar!(Whole,
    Raw::Unsigned(value) => Self(value),
    Raw::Text(text) => text.parse().map_or_else(|_| note_wrong(), Self),
);

scalar!(Int,
    Raw::Unsigned(value) => i64::try_from(value).map_or_else(|_| note_wrong(), Self),
    Raw::Signed(value) => Self(value),
    Raw::Text(text) => text.parse().map_or_else(|_| note_wrong(), Self),
);

#[expect(clippy::cast_precision_loss, reason = "a number without a fraction is a number all the same")]
const fn double(value: u64, negative: bool) -> f64 {
    if negative { -(value as f64) } else { value as f64 }
}

scalar!(Double,
    Raw::Unsigned(value) => Self(double(value, false)),
    Raw::Signed(value) => Self(double(value.unsigned_abs(), value < 0)),
    Raw::Double(value) => Self(value),
    Raw::Text(text) => text.parse().map_or_else(|_| note_wrong(), Self),
);

scalar!(Id<16>, Raw::Text(text) => Self::from_text(&text));
scalar!(Id<8>, Raw::Text(text) => Self::from_text(&text));

/// Reads an object, or nothing; anything else is wrong.
pub(super) fn object<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);
    impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
        fn visit_unit<E>(self) -> Result<T, E> {
            Ok(T::default())
        }
        fn visit_bool<E>(self, _: bool) -> Result<T, E> {
            Ok(note_wrong())
        }
        fn visit_u64<E>(self, _: u64) -> Result<T, E> {
            Ok(note_wrong())
        }
        fn visit_i64<E>(self, _: i64) -> Result<T, E> {
            Ok(note_wrong())
        }
        fn visit_f64<E>(self, _: f64) -> Result<T, E> {
            Ok(note_wrong())
        }
        fn visit_str<E>(self, _: &str) -> Result<T, E> {
            Ok(note_wrong())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(note_wrong())
        }
    }
    from.deserialize_any(Object(PhantomData))
}

/// The same where it may not be there.
pub(super) fn some_object<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    struct Some<T>(T);
    impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Some<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            object(deserializer).map(Some)
        }
    }
    Ok(Option::<Some<T>>::deserialize(from)?.map(|some| some.0))
}

impl<'de: 'a, 'a> Deserialize<'de> for AnyValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default)]
        struct Read<'a>(AnyValue<'a>);
        impl<'de: 'a, 'a> Deserialize<'de> for Read<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Value;
                impl<'de> Visitor<'de> for Value {
                    type Value = AnyValue<'de>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a value")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AnyValue<'de>, A::Error> {
                        any_value(map)
                    }
                }
                deserializer.deserialize_map(Value).map(Read)
            }
        }
        object::<D, Read<'a>>(deserializer).map(|read| read.0)
    }
}

fn any_value<'de, A: MapAccess<'de>>(mut map: A) -> Result<AnyValue<'de>, A::Error> {
    let mut value = AnyValue::Nothing;
    while let Some(Text(key)) = map.next_key()? {
        match key.as_ref() {
            // Bytes are in base64 already, and are kept as that text.
            "stringValue" | "bytesValue" => value = AnyValue::Text(map.next_value()?),
            "boolValue" => value = AnyValue::Bool(map.next_value::<Flag>()?.0),
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

/// `{"values": [..]}`.
struct Values<T>(List<T>);

impl<'de, T: Element + Deserialize<'de>> Deserialize<'de> for Values<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(default, bound = "T: Element + Deserialize<'de>")]
        struct Object<T> {
            values: List<T>,
        }
        impl<T> Default for Object<T> {
            fn default() -> Self {
                Self { values: List::default() }
            }
        }
        object(deserializer).map(|object: Object<T>| Self(object.values))
    }
}
