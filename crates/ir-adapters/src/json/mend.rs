//! JSON that is nearly right, as loggers write it: numbers that are none, halves of characters, wrong escapes.

/// The text with what is commonly wrong put right; nothing where nothing of that is wrong.
///
/// `NaN` and infinities become texts and `undefined` becomes `null`; a half of a surrogate pair becomes U+FFFD; a backslash that
/// escapes nothing stands for itself; control characters within texts are escaped; a comma before a closing bracket is left out.
pub(crate) fn mended(text: &str) -> Option<String> {
    let mut mend = Mend { text, at: 0, out: String::with_capacity(text.len() + 16), changed: false };
    while mend.at < text.len() {
        match text.as_bytes()[mend.at] {
            b'"' => mend.string(),
            b',' => mend.comma(),
            byte if byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'+') => mend.word(),
            _ => mend.keep(1),
        }
    }
    mend.changed.then_some(mend.out)
}

struct Mend<'t> {
    text: &'t str,
    at: usize,
    out: String,
    changed: bool,
}

impl Mend<'_> {
    fn rest(&self) -> &[u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Takes over as many bytes, up to the end of a character.
    fn keep(&mut self, n: usize) {
        let end = self.text.ceil_char_boundary(self.at + n);
        self.out.push_str(&self.text[self.at..end]);
        self.at = end;
    }

    fn replace(&mut self, n: usize, with: &str) {
        self.out.push_str(with);
        self.at += n;
        self.changed = true;
    }

    fn comma(&mut self) {
        let next = self.rest()[1..].iter().find(|byte| !byte.is_ascii_whitespace());
        match next {
            Some(b'}' | b']') => self.replace(1, ""),
            _ => self.keep(1),
        }
    }

    /// A word or a number outside of texts.
    fn word(&mut self) {
        let len = self
            .rest()
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'))
            .count();
        let word = self.text[self.at..self.at + len].to_ascii_lowercase();
        match word.as_str() {
            "nan" | "-nan" | "+nan" => self.replace(len, "\"NaN\""),
            "infinity" | "inf" | "+infinity" | "+inf" => self.replace(len, "\"Infinity\""),
            "-infinity" | "-inf" => self.replace(len, "\"-Infinity\""),
            "undefined" => self.replace(len, "null"),
            _ => self.keep(len),
        }
    }

    fn string(&mut self) {
        self.keep(1);
        while let Some(byte) = self.rest().first() {
            match byte {
                b'"' => return self.keep(1),
                b'\\' => self.escape(),
                byte if *byte < b' ' => {
                    let escaped = format!("\\u{byte:04x}");
                    self.replace(1, &escaped);
                }
                _ => self.keep(1),
            }
        }
    }

    fn escape(&mut self) {
        match self.rest().get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.keep(2),
            Some(b'u') => match (unit(self.rest()), unit(self.rest().get(6..).unwrap_or_default())) {
                (None, _) => self.replace(1, "\\\\"),
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => self.keep(12),
                (Some(0xd800..=0xdfff), _) => self.replace(6, "\\ufffd"),
                (Some(_), _) => self.keep(6),
            },
            _ => self.replace(1, "\\\\"),
        }
    }
}

/// The unit of UTF-16 that an escape stands for.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn what_loggers_do_wrong_is_put_right() {
        let rows = [
            (
                r#"{"a":NaN,"b":[-Infinity,inf, nan],"c":undefined}"#,
                json!({"a": "NaN", "b": ["-Infinity", "Infinity", "NaN"], "c": null}),
            ),
            (
                r#"{"a":"cut \ud83d","b":"\udc00x","c":"\ud83d\ud83d\ude00"}"#,
                json!({"a": "cut \u{fffd}", "b": "\u{fffd}x", "c": "\u{fffd}\u{1f600}"}),
            ),
            (r#"{"a":"C:\dir\x1b[0m \u12"}"#, json!({"a": "C:\\dir\\x1b[0m \\u12"})),
            ("{\"a\":\"tab\there\u{1b}\"}", json!({"a": "tab\there\u{1b}"})),
            (r#"{"a":[1,2, ],}"#, json!({"a": [1, 2]})),
        ];
        for (text, expected) in rows {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
            let value: Value = serde_json::from_str(&mended(text).unwrap()).unwrap();
            assert_eq!(value, expected, "{text}");
        }
        for text in [
            r#"{"a":"NaN, Infinity","b":-1.5e+3,"c":[true,false,null],"d":"\ud83d\ude00 \n \\x"}"#,
            "",
            "plain text",
            "{",
        ] {
            assert_eq!(mended(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_right_stays(text in "\\PC{0,30}", number in any::<f64>()) {
            let value = json!({ text.clone(): [text, number, -1, null, true] });
            prop_assert_eq!(mended(&value.to_string()), None);
        }

        #[test]
        fn any_text_is_mended_or_not(text in "[\\\\u\"d8{},:\u{e9}NaInf\n-]{0,24}") {
            mended(&text);
        }
    }
}
