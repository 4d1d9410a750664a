//! Pieces of JSON answers that several products share, borrowed from the answer where nothing in them is escaped.

#[cfg(any(feature = "loki", feature = "prometheus"))]
use std::borrow::Cow;
#[cfg(any(feature = "loki", feature = "prometheus"))]
use std::fmt;

#[cfg(any(feature = "loki", feature = "prometheus"))]
use serde::Deserialize;
#[cfg(any(feature = "loki", feature = "prometheus"))]
use serde::de::{Deserializer, MapAccess, Visitor};

#[cfg(any(feature = "alertmanager", feature = "otlp", feature = "tail"))]
mod mend;
#[cfg(any(feature = "loki", feature = "prometheus"))]
mod scan;

#[cfg(any(feature = "alertmanager", feature = "otlp", feature = "tail"))]
pub(crate) use mend::mended;
#[cfg(any(feature = "loki", feature = "prometheus"))]
pub(crate) use scan::Scan;
#[cfg(feature = "prometheus")]
pub(crate) use scan::number;

/// A text.
#[cfg(any(feature = "loki", feature = "prometheus"))]
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// Names and values, in their order.
#[cfg(any(feature = "loki", feature = "prometheus"))]
pub(crate) type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Reads an object whose values are texts.
#[cfg(any(feature = "loki", feature = "prometheus"))]
pub(crate) fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pairs<'de>, D::Error> {
    struct Labels;
    impl<'de> Visitor<'de> for Labels {
        type Value = Pairs<'de>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("labels")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::with_capacity(8);
            while let Some((Text(key), Text(value))) = map.next_entry()? {
                pairs.push((key, value));
            }
            Ok(pairs)
        }
    }
    deserializer.deserialize_map(Labels)
}

/// For tests: how a text is damaged, by where and with what.
#[cfg(all(test, any(feature = "loki", feature = "prometheus")))]
pub(crate) fn garbled(text: &[u8], damage: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut text = text.to_vec();
    for (at, how, byte) in damage {
        let at = at % (text.len() + 1);
        match how % 4 {
            0 => text.truncate(at),
            1 => text.insert(at, *byte),
            2 if at < text.len() => drop(text.remove(at)),
            _ if at < text.len() => text[at] = *byte,
            _ => {}
        }
    }
    text
}

/// For tests: bytes that mean something in JSON more often than others.
#[cfg(all(test, any(feature = "loki", feature = "prometheus")))]
pub(crate) fn damage() -> impl proptest::strategy::Strategy<Value = Vec<(usize, u8, u8)>> {
    use proptest::prelude::*;
    let byte = prop_oneof![prop::sample::select(b"[]{}\",:\\ \n0123456789.-+eEntfu".to_vec()), any::<u8>()];
    prop::collection::vec((any::<usize>(), any::<u8>(), byte), 0..4)
}
