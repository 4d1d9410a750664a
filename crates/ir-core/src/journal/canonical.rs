//! Canonical JSON (RFC 8785): equal values, equal bytes, on every machine.

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// The canonical bytes of `value`.
///
/// Records hold whole numbers below 2^53 and texts only, so the number rules of RFC 8785 never round anything here.
///
/// # Errors
///
/// `InvalidInput` when `value` has no JSON form, such as a map with keys that are no texts.
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json_canonicalizer::to_vec(value)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, "canonical", error.to_string()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_are_sorted_by_utf16_and_numbers_printed_as_ecmascript_does() {
        // RFC 8785, section 3.2.3 (sorting) and appendix B (numbers).
        let value: serde_json::Value = serde_json::from_str(
            "{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7,\"n\":[333333333.33333329,1E30,4.50,2e-3,1e-27]}",
        )
        .unwrap();
        let text = String::from_utf8(super::to_bytes(&value).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"\\r\":2,\"1\":4,\"n\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}"
        );
    }
}
