//! Canonical JSON (RFC 8785): equal values, equal bytes, on every machine.

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// The canonical bytes of `value`.
///
/// RFC 8785 keeps numbers as doubles, which round whole ones from 2^53 on: such a record could not be read back. Nouns write
/// those as texts; one that comes in by another way, such as a parameter, is refused.
///
/// # Errors
///
/// `InvalidInput` when `value` has no JSON form, such as a map with keys that are no texts, or holds a whole number of 2^53
/// or more.
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidInput, "canonical", message);
    let bytes = serde_json_canonicalizer::to_vec(value).map_err(|error| invalid(error.to_string()))?;
    match rounded_number(&bytes) {
        None => Ok(bytes),
        Some(number) => Err(invalid(format!("the whole number `{number}` is 2^53 or more, which cannot be recorded"))),
    }
}

/// The first whole number that may have been rounded. Canonical JSON has no blanks, so a number ends at a comma or a bracket.
fn rounded_number(bytes: &[u8]) -> Option<String> {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let rest = &bytes[at..];
        at += match byte {
            b'"' => text_length(rest),
            b'-' | b'0'..=b'9' => {
                let length = rest.iter().position(|b| matches!(b, b',' | b']' | b'}')).unwrap_or(rest.len());
                let digits = rest[..length].strip_prefix(b"-").unwrap_or(&rest[..length]);
                let whole = digits.iter().all(u8::is_ascii_digit);
                let value = digits.iter().try_fold(0_u64, |sum, digit| {
                    sum.checked_mul(10)?.checked_add(u64::from(digit.wrapping_sub(b'0')))
                });
                if whole && value.is_none_or(|value| value >= 1 << 53) {
                    return Some(String::from_utf8_lossy(&rest[..length]).into_owned());
                }
                length
            }
            _ => 1,
        };
    }
    None
}

/// The length of the text that begins here, with its quotes.
fn text_length(rest: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    #[test]
    fn whole_numbers_that_would_be_rounded_are_refused() {
        let refused =
            ["9007199254740992", "-9007199254740992", "18446744073709551615", "1e20", "[1,{\"a\":9007199254740993}]"];
        for text in refused {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert!(super::to_bytes(&value).is_err(), "{text}");
        }
        let kept =
            ["9007199254740991", "-9007199254740991", "1e21", "0.1", "\"9007199254740992\"", "{\"\\\"\":[1,-2.5e-7]}"];
        for text in kept {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert!(super::to_bytes(&value).is_ok(), "{text}");
        }
    }

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
