//! Text that other systems wrote: without terminal control sequences, byte order marks and NUL bytes, and from bytes in whatever
//! encoding they arrived.
//!
//! A program that writes to a terminal colours its levels, and what collects its output keeps the colours. Everything that searches
//! for levels, headers or words reads the text that these functions return, so that a coloured line is the same line.
//!
//! Sources: ECMA-48, fifth edition (1991), sections 5.4 (control sequences), 5.5 (independent control functions) and 5.6 (control
//! strings); `xterm` "Control Sequences", section "Operating System Commands" (ended by BEL or ST); the Unicode Standard,
//! section 23.8 (byte order mark).

use std::borrow::Cow;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
/// A byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// How programs that escape control characters spell ESC behind a backslash (JSON, C, shells), and without one: rsyslog
/// (`EscapeControlCharactersOnReceive`) and `cat -v`.
const ESCAPED: [&[u8]; 6] = [b"u001b", b"u001B", b"x1b", b"x1B", b"033", b"e"];
const SPELLED: [&[u8]; 2] = [b"#033", b"^["];
/// The longest parameters of a spelled sequence. Longer ones are text.
const MAX_SPELLED: usize = 24;

/// The text without terminal control sequences, NUL bytes, and a byte order mark at its beginning; borrowed where there are none.
///
/// Of a sequence that is spelled out (`\u001b[31m`, `#033[31m`) only colours and other renditions (ending in `m`) are removed. The
/// text between the two halves of a hyperlink stays. A control string without its end loses its first two characters only.
///
/// # Examples
///
/// ```
/// use ir_core::text::plain;
///
/// assert_eq!(plain("\u{1b}[31mERROR\u{1b}[0m disk full"), "ERROR disk full");
/// assert_eq!(plain("plain"), "plain");
/// ```
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    match plain_bytes(text.as_bytes()) {
        Cow::Borrowed(bytes) if bytes.len() == text.len() => Cow::Borrowed(text),
        // Whole characters are removed, and what remains is UTF-8 as before.
        plain => Cow::Owned(String::from_utf8_lossy(&plain).into_owned()),
    }
}

/// The same for a text that may not be UTF-8.
#[must_use]
pub fn plain_bytes(text: &[u8]) -> Cow<'_, [u8]> {
    // Without a branch for each byte the compiler compares many bytes at once.
    let found = text.iter().fold(0_u8, |found, byte| {
        found | u8::from(*byte == ESC) | u8::from(*byte == 0) | u8::from(*byte == 0xc2) | (u8::from(*byte == b'[') << 1)
    });
    let may_be = found & 1 != 0 || text.first() == Some(&MARK[0]) || (found & 2 != 0 && has_spelled(text));
    if !may_be {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match removed(&text[at..], plain.is_empty()) {
            0 => {
                plain.push(text[at]);
                at += 1;
            }
            n => at += n,
        }
    }
    if plain.len() == text.len() { Cow::Borrowed(text) } else { Cow::Owned(plain) }
}

/// The text in bytes of unknown encoding: UTF-16 by its byte order mark, else UTF-8, in which wrong bytes become U+FFFD. The mark
/// is removed, and so are NUL bytes and terminal control sequences.
#[must_use]
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let decoded = match Encoding::of(bytes) {
        Encoding::Utf8 => String::from_utf8_lossy(bytes),
        encoding => Cow::Owned(encoding.decode(bytes)),
    };
    match decoded {
        Cow::Borrowed(text) => plain(text),
        Cow::Owned(text) => Cow::Owned(plain(&text).into_owned()),
    }
}

/// How a text is encoded, as its byte order mark says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, with or without a mark.
    #[default]
    Utf8,
    /// UTF-16, the low byte first.
    Utf16Le,
    /// UTF-16, the high byte first.
    Utf16Be,
}

impl Encoding {
    /// The encoding of a text that begins with `bytes`.
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0xff, 0xfe, ..] => Self::Utf16Le,
            [0xfe, 0xff, ..] => Self::Utf16Be,
            _ => Self::Utf8,
        }
    }

    /// The text; what is not valid becomes U+FFFD. A mark at the beginning stays, for [`plain`] to remove.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> String {
        let unit = match self {
            Self::Utf8 => return String::from_utf8_lossy(bytes).into_owned(),
            Self::Utf16Le => u16::from_le_bytes,
            Self::Utf16Be => u16::from_be_bytes,
        };
        let (units, rest) = bytes.as_chunks::<2>();
        let mut text: String = char::decode_utf16(units.iter().map(|bytes| unit(*bytes)))
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        if !rest.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        text
    }
}

fn has_spelled(text: &[u8]) -> bool {
    let brackets = text.iter().enumerate().filter(|(_, byte)| **byte == b'[');
    brackets.map(|(at, _)| &text[..at]).any(|before| SPELLED.iter().chain(&ESCAPED).any(|name| before.ends_with(name)))
}

/// How many bytes at the beginning of `rest` are no text; `first` is whether nothing stands before them.
fn removed(rest: &[u8], first: bool) -> usize {
    match rest {
        [0, ..] => 1,
        [ESC, after @ ..] => 1 + escape(after),
        // The same controls as single characters of Unicode (C1).
        [0xc2, 0x9b, after @ ..] => 2 + sequence(after),
        [0xc2, 0x90 | 0x98 | 0x9d | 0x9e | 0x9f, after @ ..] => 2 + string(after),
        [0xc2, 0x9c, ..] => 2,
        [b'\\' | b'#' | b'^', ..] => spelled(rest),
        _ if first && rest.starts_with(MARK) => MARK.len(),
        _ => 0,
    }
}

/// What belongs to an ESC, behind it.
fn escape(after: &[u8]) -> usize {
    match after {
        [b'[', rest @ ..] => 1 + sequence(rest),
        [b']' | b'P' | b'X' | b'^' | b'_', rest @ ..] => 1 + string(rest),
        _ => {
            // Such as the choice of a character set, `ESC ( B`.
            let between = after.iter().take_while(|byte| matches!(byte, 0x20..=0x2f)).count();
            match after.get(between) {
                Some(0x30..=0x7e) => between + 1,
                // No sequence: the ESC alone is removed.
                _ => 0,
            }
        }
    }
}

/// Parameters, intermediate bytes and the final byte of a control sequence. One that is cut off ends with the text.
fn sequence(rest: &[u8]) -> usize {
    let parameters = rest.iter().take_while(|byte| matches!(byte, 0x30..=0x3f)).count();
    let between = rest[parameters..].iter().take_while(|byte| matches!(byte, 0x20..=0x2f)).count();
    let n = parameters + between;
    n + usize::from(matches!(rest.get(n), Some(0x40..=0x7e)))
}

/// A control string up to its end, which stands in the same line.
fn string(rest: &[u8]) -> usize {
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            &BEL => return at + 1,
            &ESC if rest.get(at + 1) == Some(&b'\\') => return at + 2,
            0xc2 if rest.get(at + 1) == Some(&0x9c) => return at + 2,
            b'\n' => return 0,
            _ => {}
        }
    }
    0
}

/// A rendition whose ESC is spelled out, with all backslashes before it: text that was escaped twice stays well-formed.
fn spelled(rest: &[u8]) -> usize {
    let slashes = rest.iter().take_while(|byte| **byte == b'\\').count();
    let names: &[&[u8]] = if slashes > 0 { &ESCAPED } else { &SPELLED };
    let Some(name) = names.iter().find(|name| rest[slashes..].starts_with(name)) else { return 0 };
    let introducer = slashes + name.len() + 1;
    let Some([b'[', after @ ..]) = rest.get(introducer - 1..) else { return 0 };
    let parameters =
        after.iter().take(MAX_SPELLED).take_while(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')).count();
    if after.get(parameters) == Some(&b'm') { introducer + parameters + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_of_terminals_are_no_text() {
        let rows = [
            // Colours: of 8, 256 and all colours, with `:`, without parameters, and several in a row.
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}[38;5;196mred\u{1b}[m", "red"),
            ("\u{1b}[38:2::255:0:0mred\u{1b}[1;4m!", "red!"),
            // Movements, erasing, private modes, and one with an intermediate byte.
            ("\u{1b}[2K\u{1b}[1Gdone\u{1b}[?25h\u{1b}[0 q", "done"),
            // Titles and hyperlinks, ended by BEL and by ST.
            ("\u{1b}]0;title\u{7}text", "text"),
            ("see \u{1b}]8;;http://a/b\u{1b}\\here\u{1b}]8;;\u{1b}\\.", "see here."),
            // What `tput sgr0` writes; saving the cursor; a string for the device.
            ("\u{1b}(B\u{1b}[mtext\u{1b}7\u{1b}P1$r\u{1b}\\", "text"),
            // Single characters of Unicode for the same.
            ("\u{9b}31mred\u{9b}0m \u{9d}0;title\u{9c}x", "red x"),
            // Cut off, alone, and without an end.
            ("text\u{1b}[3", "text"),
            ("a\u{1b}", "a"),
            ("a\u{1b}\u{e9}", "a\u{e9}"),
            ("\u{1b}]0;no end\nnext", "0;no end\nnext"),
            // Spelled out.
            ("\\u001b[31mred\\u001B[0m \\x1b[1mbold \\033[0m#033[32mgreen^[[0m \\e[2mdim", "red bold green dim"),
            ("{\"msg\":\"\\\\u001b[31mred\\\\u001b[0m\"}", "{\"msg\":\"red\"}"),
            // No sequence at all.
            (
                "[31m [x] \\u001b[x] #033 a^[b array[3] \u{a0}\u{e2}",
                "[31m [x] \\u001b[x] #033 a^[b array[3] \u{a0}\u{e2}",
            ),
            // Byte order marks and NUL bytes.
            ("\u{feff}first", "first"),
            ("\u{1b}[0m\u{feff}first", "first"),
            ("in\u{feff}side", "in\u{feff}side"),
            ("\0\0a\0b", "ab"),
            ("", ""),
        ];
        for (text, expected) in rows {
            assert_eq!(plain(text), expected, "{text:?}");
        }
        assert!(matches!(plain("nothing [here] to remove"), Cow::Borrowed(_)));
    }

    #[test]
    fn bytes_are_read_by_their_mark() {
        let utf16 = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}a\u{e9}\u{1f600}".encode_utf16().flat_map(order).collect()
        };
        assert_eq!(decode(&utf16(u16::to_le_bytes)), "a\u{e9}\u{1f600}");
        assert_eq!(decode(&utf16(u16::to_be_bytes)), "a\u{e9}\u{1f600}");
        assert_eq!(decode(b"\xef\xbb\xbfa\xff"), "a\u{fffd}");
        assert_eq!(decode(b"\xff\xfea\0\0\xd8b"), "a\u{fffd}\u{fffd}");
        assert!(matches!(decode(b"plain"), Cow::Borrowed("plain")));
    }

    proptest! {
        #[test]
        fn nothing_is_left_and_nothing_is_made_up(text in "[\u{1b}\\[\\]0-9;m\u{7}\u{9b}\u{9c}\0\\\\u\u{feff}#^ ab\u{e9}]{0,24}") {
            let once = plain(&text).into_owned();
            prop_assert!(!once.contains(['\u{1b}', '\0', '\u{9b}']), "a control is left");
            prop_assert!(once.len() <= text.len());
            let mut rest = text.chars();
            prop_assert!(once.chars().all(|c| rest.any(|of| of == c)), "{once:?} is no part of {text:?}");
        }

        #[test]
        fn any_bytes_are_a_text(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(plain_bytes(&bytes).len() <= bytes.len());
            prop_assert!(decode(&bytes).len() <= 3 * bytes.len());
        }
    }
}
