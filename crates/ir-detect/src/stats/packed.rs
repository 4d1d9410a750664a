//! Arrays in snapshots: bytes as base64, a third of the length that numbers have as text, and the same bits when read back.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// The alphabet of RFC 4648, section 4.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Zeros at the end are left out; padding is, too.
fn text(bytes: &[u8]) -> String {
    let kept = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut text = String::with_capacity(kept.div_ceil(3) * 4);
    for three in bytes[..kept].chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..=three.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * letter) & 63) as usize]));
        }
    }
    text
}

/// Fills `into`, what is not in the text with zeros; `None` when the text is too long or has other letters.
fn read(text: &str, into: &mut [u8]) -> Option<()> {
    let mut at = 0;
    for four in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for letter in 0..4 {
            let six = match four.get(letter) {
                Some(letter) => LETTERS.iter().position(|other| other == letter)?,
                None => 0,
            };
            bits = bits << 6 | six as u32;
        }
        for byte in 0..four.len().saturating_sub(1) {
            *into.get_mut(at)? = (bits >> (16 - 8 * byte)) as u8;
            at += 1;
        }
    }
    Some(())
}

/// For `#[serde(with = "...")]` on arrays of `f32`, which must be finite.
pub(crate) mod singles {
    use super::*;

    pub(crate) fn serialize<S: Serializer, const N: usize>(values: &[f32; N], to: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        to.serialize_str(&text(&bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[f32; N], D::Error> {
        let (text, mut bytes) = (std::borrow::Cow::<str>::deserialize(from)?, vec![0; N * 4]);
        read(&text, &mut bytes).ok_or_else(|| D::Error::custom("no packed numbers"))?;
        let value = |at: usize| f32::from_le_bytes(std::array::from_fn(|byte| bytes[at * 4 + byte]));
        let values: [f32; N] = std::array::from_fn(value);
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(D::Error::custom("a packed number is not finite")),
        }
    }
}

/// For `#[serde(with = "...")]` on arrays of bytes.
pub(crate) mod octets {
    use super::*;

    pub(crate) fn serialize<S: Serializer, const N: usize>(values: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text(values))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[u8; N], D::Error> {
        let (text, mut bytes) = (std::borrow::Cow::<str>::deserialize(from)?, [0; N]);
        read(&text, &mut bytes).ok_or_else(|| D::Error::custom("no packed bytes"))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_those_of_the_standard_without_padding() {
        // RFC 4648, section 10.
        for (bytes, expected) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(text(bytes.as_bytes()), expected);
        }
        let mut bytes = [0; 2];
        assert!(read("Zm9v", &mut bytes).is_none(), "too long");
        assert!(read("Z!", &mut bytes).is_none(), "no letter of the alphabet");
    }

    proptest! {
        #[test]
        fn bytes_are_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut again = vec![7; bytes.len()];
            again.fill(0);
            read(&text(&bytes), &mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }
}
