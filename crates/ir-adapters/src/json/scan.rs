//! A quick reader of the JSON that servers write, for answers that hold the same small form a hundred thousand times.
//!
//! # Why beside `serde_json` and not in its place
//!
//! It knows the forms that servers write and gives up (`None`) on everything else; whoever uses it then has the whole text read by
//! `serde_json`, which has the last word on what stands there and on what is wrong with it. So giving up costs time and never
//! an answer, while accepting what `serde_json` refuses would be a mistake: strings with escapes and values of no interest are
//! left to it, and the tests hold both beside each other.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::Pairs;

/// A place in a text.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    /// The beginning of a text, if it is one.
    pub(crate) fn new(body: &'a [u8]) -> Option<Self> {
        Some(Self { text: std::str::from_utf8(body).ok()?, at: 0 })
    }

    /// The text ends here.
    pub(crate) fn end(mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// The next byte that is not blank, not taken.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
        None
    }

    /// Takes that byte, if it is the next one.
    pub(crate) fn has(&mut self, byte: u8) -> bool {
        let has = self.peek() == Some(byte);
        self.at += usize::from(has);
        has
    }

    /// Takes that byte, which must be the next one.
    pub(crate) fn take(&mut self, byte: u8) -> Option<()> {
        self.has(byte).then_some(())
    }

    /// A list, whose elements `each` takes.
    pub(crate) fn list(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        if self.has(b']') {
            return Some(());
        }
        loop {
            each(self)?;
            if !self.has(b',') {
                return self.take(b']');
            }
        }
    }

    /// An object, whose values `each` takes.
    pub(crate) fn object(&mut self, mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.has(b'}') {
            return Some(());
        }
        loop {
            let key = self.text()?;
            self.take(b':')?;
            each(self, key)?;
            if !self.has(b',') {
                return self.take(b'}');
            }
        }
    }

    /// An object of texts.
    pub(crate) fn pairs(&mut self) -> Option<Pairs<'a>> {
        let mut pairs = Vec::new();
        self.object(|scan, key| {
            pairs.push((key, scan.text()?));
            Some(())
        })?;
        Some(pairs)
    }

    /// A text.
    pub(crate) fn text(&mut self) -> Option<Cow<'a, str>> {
        self.take(b'"')?;
        let begin = self.at;
        let mut escapes = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let found = memchr::memchr2(b'"', b'\\', rest)?;
            self.at += found + 1;
            if rest[found] == b'"' {
                break;
            }
            // Whatever is escaped does not end the text; a place within a character is none that `get` below would give.
            escapes = true;
            self.at += 1;
        }
        if escapes {
            return serde_json::from_str(self.text.get(begin - 1..self.at)?).ok().map(Cow::Owned);
        }
        let text = self.text.get(begin..self.at - 1)?;
        // Without a branch for each byte it looks at many bytes at once.
        let control = text.bytes().fold(false, |found, byte| found | (byte < b' '));
        (!control).then_some(Cow::Borrowed(text))
    }

    /// A value of no interest.
    pub(crate) fn skip(&mut self) -> Option<()> {
        let mut values = serde_json::Deserializer::from_str(self.text.get(self.at..)?).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(())
    }

    /// Seconds with at most three decimals, as milliseconds.
    #[cfg(feature = "prometheus")]
    pub(crate) fn millis(&mut self) -> Option<i64> {
        /// Beyond that the seconds of a float are no longer so exact that milliseconds are beyond doubt.
        const MAX_DIGITS: usize = 11;
        self.peek()?;
        let bytes = self.text.as_bytes().get(self.at..)?;
        let digits = |from: usize, most: usize| -> (i64, usize) {
            let digits =
                bytes.get(from..).unwrap_or_default().iter().take(most).take_while(|byte| byte.is_ascii_digit());
            digits.fold((0, 0), |(value, n), digit| (value * 10 + i64::from(digit - b'0'), n + 1))
        };
        let (secs, n) = digits(0, MAX_DIGITS + 1);
        if n == 0 || n > MAX_DIGITS || (n > 1 && bytes[0] == b'0') {
            return None;
        }
        let (mut millis, mut len) = (secs * 1000, n);
        if bytes.get(n) == Some(&b'.') {
            let (part, n_part) = digits(n + 1, 4);
            millis += match n_part {
                1 => part * 100,
                2 => part * 10,
                3 => part,
                _ => return None,
            };
            len += 1 + n_part;
        }
        self.at += len;
        // What follows in a list of a time and a value; an exponent is none of it.
        matches!(self.peek(), Some(b',')).then_some(millis)
    }

    /// A number within quotes, as [`number`] reads it.
    #[cfg(feature = "prometheus")]
    pub(crate) fn quoted_number(&mut self) -> Option<f64> {
        self.take(b'"')?;
        let rest = self.text.as_bytes().get(self.at..)?;
        if let Some((value, len)) = plain_decimal(rest) {
            self.at += len + 1;
            return Some(value);
        }
        let len = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if rest[len] == b'\\' {
            return None;
        }
        let value = number(self.text.get(self.at..self.at + len)?)?;
        self.at += len + 1;
        Some(value)
    }
}

/// `1.5`, `NaN`, `+Inf`, `-Inf`, as Prometheus writes them.
#[cfg(feature = "prometheus")]
pub(crate) fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

/// A number of few digits up to the closing quote, and how long it is.
///
/// Exact: up to 15 digits are an integer that a float holds, powers of ten up to 22 are floats, and the quotient of two floats is
/// rounded correctly (W. D. Clinger: How to Read Floating Point Numbers Accurately, PLDI 1990, section 3).
#[cfg(feature = "prometheus")]
fn plain_decimal(text: &[u8]) -> Option<(f64, usize)> {
    const MAX_DIGITS: usize = 15;
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let negative = text.first() == Some(&b'-');
    let mut mantissa = 0_u64;
    let mut digits = |from: usize| -> Option<usize> {
        let mut at = from;
        while let Some(byte @ b'0'..=b'9') = text.get(at) {
            // It may wrap where there are too many digits, and is not used then.
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            at += 1;
        }
        Some(at).filter(|at| at - from <= MAX_DIGITS)
    };
    let begin = usize::from(negative);
    let mut at = digits(begin)?;
    let (mut n_digits, mut decimals) = (at - begin, 0);
    if text.get(at) == Some(&b'.') {
        let point = at;
        at = digits(point + 1)?;
        decimals = at - point - 1;
        n_digits += decimals;
    }
    if text.get(at) != Some(&b'"') || n_digits == 0 || n_digits > MAX_DIGITS {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "it has at most 15 digits")]
    let value = mantissa as f64 / POWERS.get(decimals)?;
    Some((if negative { -value } else { value }, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(text: &str) -> Scan<'_> {
        Scan { text, at: 0 }
    }

    #[test]
    fn it_gives_up_on_what_is_no_json() {
        for text in
            ["", "\"", "\"a", "\"a\\", "\"a\\\"", "\"\\q\"", "\"a\nb\"", "\"\\ud800\"", "\"\\\u{e9}\"", "a\"b\""]
        {
            assert!(scan(text).text().is_none(), "{text}");
            assert!(serde_json::from_str::<String>(text).is_err(), "{text}");
        }
        for text in ["{", "{}", "[1", "tru", "\"a", "1 2", "[1}", "nul", ""] {
            let whole = scan(text).skip().is_some();
            let next = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>().next();
            assert_eq!(whole, next.is_some_and(|value| value.is_ok()), "{text}");
        }
        for text in ["[", "[1", "[1,", "[1,]", "[,1]", "]"] {
            assert!(scan(text).list(Scan::skip).is_none(), "{text}");
        }
        for text in ["{", "{\"a\"", "{\"a\":", "{\"a\":1,", "{\"a\":1,}", "{1:1}", "{\"a\" 1}"] {
            assert!(scan(text).object(|scan, _| scan.skip()).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_those_of_serde_json(text in "\\PC{0,20}|[\\\\\"\n\u{1}/bu\u{e9}0d8]{0,12}") {
            let written = serde_json::to_string(&text).unwrap();
            let mut first = scan(&written);
            prop_assert_eq!(first.text().map(Cow::into_owned), Some(text.clone()));
            prop_assert!(first.end().is_some());
            // As it stands it may be anything.
            let raw = format!("\"{text}\"");
            let read = scan(&raw).text().map(Cow::into_owned);
            if let Some(read) = read {
                let mut plain = serde_json::Deserializer::from_str(&raw).into_iter::<String>();
                prop_assert_eq!(plain.next().and_then(std::result::Result::ok), Some(read));
            }
        }
    }

    #[cfg(feature = "prometheus")]
    mod numbers {
        use super::*;

        fn slow_millis(text: &str) -> Option<i64> {
            let secs: f64 = serde_json::from_str(text).ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "the texts of these tests are far smaller")]
            Some((secs * 1000.0).round() as i64)
        }

        proptest! {
            #[test]
            fn numbers_are_those_of_the_standard_library(text in "-?[0-9]{0,18}\\.?[0-9]{0,18}(e[+-]?[0-9]{1,3})?|[+-]?Inf|NaN") {
                let quoted = format!("\"{text}\"");
                let (read, plain) = (scan(&quoted).quoted_number(), number(&text));
                prop_assert_eq!(read.map(f64::to_bits), plain.map(f64::to_bits));
            }

            #[test]
            fn numbers_are_read_as_they_were_written(value in any::<f64>()) {
                let quoted = format!("\"{value}\"");
                let read = scan(&quoted).quoted_number().unwrap();
                prop_assert!(read.to_bits() == value.to_bits() || read.is_nan() && value.is_nan());
            }

            #[test]
            fn times_are_those_of_a_float(text in "[0-9]{1,12}(\\.[0-9]{0,4})?") {
                let followed = format!("{text},");
                if let Some(read) = scan(&followed).millis() {
                    prop_assert_eq!(Some(read), slow_millis(&text));
                }
            }

            #[test]
            fn times_that_servers_write_are_read_quickly(millis in 0_i64..10_000_000_000_000) {
                let (secs, part) = (millis / 1000, millis % 1000);
                let text = if part == 0 { format!("{secs},") } else { format!("{secs}.{part:03} ,") };
                prop_assert_eq!(scan(&text).millis(), Some(millis));
            }
        }
    }
}
