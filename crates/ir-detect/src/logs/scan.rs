//! One pass over the bytes of a message: pieces, and whether each is constant or variable. No regular expressions.

use super::hash;
use super::words;

/// Splits pieces: white space and the usual punctuation around values.
const SPLIT: u8 = 1;
const DIGIT: u8 = 2;
/// A letter, or any byte beyond ASCII.
const LETTER: u8 = 4;
const SLASH: u8 = 8;
const DOT: u8 = 16;
const AT: u8 = 32;
/// A letter that is no hexadecimal digit.
const NOT_HEX: u8 = 64;
const OTHER: u8 = 128;

const CLASS: [u8; 256] = {
    let mut class = [OTHER | NOT_HEX; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        class[b] = match byte {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => LETTER,
            b'g'..=b'z' | b'G'..=b'Z' | 128..=255 => LETTER | NOT_HEX,
            b'/' | b'\\' => SLASH | NOT_HEX,
            b'.' => DOT | NOT_HEX,
            b'@' => AT | NOT_HEX,
            b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => SPLIT,
            b'=' | b':' | b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b'"' | b'\'' | b'|' => {
                SPLIT
            }
            _ => OTHER | NOT_HEX,
        };
        b += 1;
    }
    class
};

/// A stretch between separators.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Where the separators before it begin; they end where the piece starts.
    pub(super) gap: u32,
    /// Where it starts.
    pub(super) start: u32,
    /// Where it ends; the same as `start` for what closes a message.
    pub(super) end: u32,
    /// What its bytes are, together.
    class: u8,
    /// Whether it varies from line to line.
    pub(super) variable: bool,
    /// The hash of the separators, runs of white space counted as one blank.
    pub(super) separators: u64,
    /// The hash of its bytes; [`VARIABLE`] when it varies.
    pub(super) token: u64,
    /// The word as a number, when it has at most eight bytes.
    word: u64,
}

/// The token hash of every variable.
pub(super) const VARIABLE: u64 = 0x2a2a_2a2a_2a2a_2a2a;
/// The token hash of the end, where separators close a message.
const END: u64 = 0x0a0a_0a0a_0a0a_0a0a;

/// Whether a byte is white space.
#[inline]
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// Cuts `message` into `pieces` (emptied first), at most `cap` of them: what is left then is one variable.
pub(super) fn scan(message: &[u8], cap: usize, pieces: &mut Vec<Piece>) {
    pieces.clear();
    let mut at = 0;
    loop {
        let gap = at;
        let mut separators = 0u64;
        let mut blank = true;
        while at < message.len() {
            let byte = message[at];
            if is_space(byte) {
                if !blank {
                    blank = true;
                    separators = hash::separator(separators, b' ');
                }
            } else if matches!(byte, b'"' | b'\'')
                && at > gap
                && message[at - 1] == b'='
                && quoted(message, at).is_some()
            {
                break;
            } else if CLASS[byte as usize] & SPLIT != 0
                || (byte == b'.' && (message.get(at + 1) == Some(&b'.') || (at > gap && message[at - 1] == b'.')))
            {
                // Rows of dots are drawn to align values; how many there are means nothing more than that they are there.
                if byte != b'.' || at == gap || message[at - 1] != b'.' {
                    separators = hash::separator(separators, byte);
                }
                blank = false;
            } else {
                break;
            }
            at += 1;
        }
        let start = at;
        if at < message.len() && pieces.len() + 1 >= cap {
            pieces.push(Piece { variable: true, ..piece(gap, start, message.len(), DIGIT, separators, VARIABLE) });
            break;
        }
        if let Some(end) = quoted(message, start) {
            at = end;
            pieces.push(Piece { variable: true, ..piece(gap, start, at, OTHER, separators, VARIABLE) });
            continue;
        }
        let mut class = 0;
        let dense = is_dense(&message[at..]);
        while at < message.len() {
            let byte = message[at];
            let of = CLASS[byte as usize];
            if of & SPLIT != 0 || (of & DOT != 0 && message.get(at + 1) == Some(&b'.')) {
                break;
            }
            // Where a script without blanks begins or ends, so does a word: a number in a sentence is not the sentence.
            let begins = !(0x80..DENSE_FROM).contains(&byte);
            if at > start && begins && (dense || byte >= DENSE_FROM) && is_dense(&message[at..]) != dense {
                break;
            }
            class |= of;
            at += 1;
        }
        if start == at {
            if separators != 0 {
                pieces.push(piece(gap, start, at, 0, separators, END));
            }
            break;
        }
        if start > gap
            && message[start - 1] == b'='
            && let Some(end) = bracketed(message, at)
        {
            at = end;
            class |= DIGIT;
        }
        let text = &message[start..at];
        let variable = varies(text, class, message.get(at).copied());
        let token = if variable { VARIABLE } else { hash::bytes(text) };
        let word = if variable || class & (DIGIT | DOT | SLASH | OTHER) != 0 { 0 } else { words::packed(text) };
        pieces.push(Piece { variable, word, ..piece(gap, start, at, class, separators, token) });
    }
    settle(message, pieces);
}

/// The first byte, in UTF-8, of characters from U+0800 on.
const DENSE_FROM: u8 = 0xe0;

/// Whether a text begins with a character of a script that is written without blanks between words (Han, Hiragana, Katakana, Thai,
/// Lao, Myanmar, Khmer), or in which numbers and endings stand at words without one (Hangul).
///
/// Source: Unicode Standard Annex #14, line breaking classes ID, SA, H2 and H3.
fn is_dense(text: &[u8]) -> bool {
    match text {
        [0xe0, second, ..] => matches!(second, 0xb8..=0xbb),
        [0xe1, second, third, ..] => matches!(second, 0x80..=0x81 | 0x9e..=0x9f) || (*second == 0x82 && *third < 0xa0),
        // Marks of punctuation of these scripts, kana, and Han up to the end of Hangul.
        [0xe3, second, ..] => *second >= 0x80,
        [0xe4..=0xec, ..] => true,
        [0xed, second, ..] => *second <= 0x9f,
        [0xef, second, ..] => matches!(second, 0xa4..=0xab | 0xbc | 0xbd),
        [0xf0, second, ..] => matches!(second, 0xa0..=0xb3),
        _ => false,
    }
}

/// Where the value in quotes that begins at `at` ends: all of it is one value, blanks and quotes too.
fn quoted(message: &[u8], at: usize) -> Option<usize> {
    let quote = *message.get(at)?;
    if !matches!(quote, b'"' | b'\'') {
        return None;
    }
    let length = message[at + 1..].iter().take(VALUE).position(|byte| *byte == quote)?;
    Some(at + length + 2)
}

/// Where the bracket that follows a value at once closes, as in `ws=WorkSource{10113}`; not when it holds keys of its own.
fn bracketed(message: &[u8], at: usize) -> Option<usize> {
    let close = match message.get(at)? {
        b'{' => b'}',
        b'(' => b')',
        b'[' => b']',
        _ => return None,
    };
    let inner = &message[at + 1..message.len().min(at + VALUE)];
    let end = inner.iter().position(|byte| *byte == close || matches!(byte, b'=' | b'{' | b'(' | b'['))?;
    (inner[end] == close).then_some(at + end + 2)
}

/// The longest value in quotes or brackets that is taken as one.
const VALUE: usize = 256;

fn piece(gap: usize, start: usize, end: usize, class: u8, separators: u64, token: u64) -> Piece {
    // Messages are capped far below four gigabytes before they come here.
    Piece { gap: gap as u32, start: start as u32, end: end as u32, class, variable: false, separators, token, word: 0 }
}

/// What a piece says about itself.
fn varies(text: &[u8], class: u8, next: Option<u8>) -> bool {
    if next == Some(b'=') && text[0].is_ascii_alphabetic() && class & (SLASH | AT) == 0 {
        // The keys of `r24=...` and `host.name=...` name something; digits and dots are part of the name.
        return false;
    }
    if class & DIGIT != 0 {
        return true;
    }
    if class & AT != 0 && class & LETTER != 0 {
        return true;
    }
    if class & SLASH != 0 && class & LETTER != 0 {
        return matches!(text[0], b'/' | b'.')
            || class & DOT != 0
            || text.iter().filter(|b| matches!(b, b'/' | b'\\')).count() > 1;
    }
    if class & DOT != 0 && class & LETTER != 0 {
        // `ns.example.com` is a name of a host; `org.example.Main` and `intent.action.SCREEN_ON` are names in code.
        let last = text.iter().rposition(|b| *b == b'.').and_then(|dot| text.get(dot + 1));
        return text.iter().filter(|b| **b == b'.').count() > 1 && last.is_some_and(|b| b.is_ascii_lowercase());
    }
    class & NOT_HEX == 0 && class & LETTER != 0 && text.len() >= 8
}

/// What the neighbours say about a piece.
fn settle(message: &[u8], pieces: &mut [Piece]) {
    let make = |piece: &mut Piece| {
        piece.variable = true;
        piece.token = VARIABLE;
    };
    for i in 0..pieces.len() {
        let here = pieces[i];
        let gap = &message[here.gap as usize..here.start as usize];
        if here.token == END {
            continue;
        }
        let before = i.checked_sub(1).map(|at| pieces[at]);
        if here.variable {
            // Parts of dates and of addresses that stand before a variable.
            let mut at = i;
            while let Some(back) = at.checked_sub(1) {
                let part = pieces[back];
                let colon = message[part.end as usize..pieces[at].start as usize] == *b":";
                if part.variable || !(words::beside(part.word) || (colon && pair(&part))) {
                    break;
                }
                make(&mut pieces[back]);
                at = back;
            }
            continue;
        }
        let after = message.get(here.end as usize).copied();
        let assigned = matches!(gap, [.., b'=']);
        let named = before.is_some_and(|b| !b.variable && words::anchor(b.word) && gap == b" ")
            || (before.is_some_and(|b| b.word == words::FOR)
                && pieces.get(i + 1).is_some_and(|next| next.word == words::FROM)
                && pieces.get(i + 2).is_some_and(|next| next.variable));
        let beside = before.is_some_and(|b| b.variable) && (words::beside(here.word) || (gap == b":" && pair(&here)));
        if (assigned && after != Some(b'=')) || named || beside || words::value(here.word) {
            make(&mut pieces[i]);
        }
    }
    blanks(message, pieces);
}

/// Two hexadecimal letters: part of a hardware or network address when a colon joins them to others.
fn pair(piece: &Piece) -> bool {
    piece.class == LETTER && piece.end - piece.start <= 4
}

/// An empty `()` that stands alone is a value that was not there: the separators around it must not tell lines apart.
///
/// The mark in `<1` says how exact a number is, not what it is of.
fn blanks(message: &[u8], pieces: &mut [Piece]) {
    for piece in pieces.iter_mut() {
        let gap = &message[piece.gap as usize..piece.start as usize];
        if piece.variable && matches!(gap, b" <" | b" >") && message.get(piece.end as usize) != Some(&b'>') {
            piece.separators = 0;
        }
        if gap.len() >= 4 && gap.windows(4).any(|w| w == b" () ") {
            piece.separators = hash::separator(hash::separator(0, b')'), b' ');
        }
    }
}

#[cfg(test)]
mod tests;
