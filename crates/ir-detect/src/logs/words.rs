//! The few words whose meaning the miner knows: parts of dates, units, booleans, and words after which a name stands.
//!
//! Words of up to eight letters are compared as numbers, lower case, so that a lookup is one search over a constant table.

use super::hash::load;

/// A word of up to eight bytes, lower case, as a number. Longer words are zero: no word known here is longer.
#[inline]
pub(super) fn packed(word: &[u8]) -> u64 {
    if word.len() > 8 {
        return 0;
    }
    // Only letters are ever compared, so setting the bit that makes letters lower case harms nothing.
    load(word) | (0x2020_2020_2020_2020 >> (8 * (8 - word.len())).min(63))
}

const fn pack(word: &str) -> u64 {
    let bytes = word.as_bytes();
    let mut value = 0u64;
    let mut i = 0;
    while i < bytes.len() {
        value |= (bytes[i] as u64) << (8 * i);
        i += 1;
    }
    value
}

macro_rules! table {
    ($(#[$doc:meta])* $name:ident: $($word:literal)+) => {
        $(#[$doc])*
        #[inline]
        pub(super) fn $name(word: u64) -> bool {
            const WORDS: &[u64] = &[$(pack($word)),+];
            WORDS.contains(&word)
        }
    };
}

table! {
    /// Part of a date or a size: a variable when it stands beside one.
    beside: "mon" "tue" "wed" "thu" "fri" "sat" "sun" "monday" "tuesday" "thursday" "friday" "saturday" "sunday"
        "jan" "feb" "mar" "apr" "may" "jun" "jul" "aug" "sep" "sept" "oct" "nov" "dec" "january" "february" "march" "april"
        "june" "july" "august" "october" "november" "december"
        "am" "pm" "utc" "gmt" "est" "edt" "cst" "cdt" "mst" "mdt" "pst" "pdt" "cet" "cest" "bst" "jst"
        "b" "kb" "mb" "gb" "tb" "kib" "mib" "gib" "tib"
        "ns" "us" "ms" "s" "h" "sec" "secs" "min" "mins"
}

table! {
    /// A value by itself, whatever stands around it.
    value: "true" "false" "null" "nil"
}

table! {
    /// The next word is a name.
    anchor: "user" "username" "hostname" "rhost" "ruser"
}

/// `for`, as in "for NAME from ADDRESS".
pub(super) const FOR: u64 = pack("for");
/// `from`, as in "for NAME from ADDRESS".
pub(super) const FROM: u64 = pack("from");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_in_any_case() {
        for (word, known) in [("Fri", true), ("JUN", true), ("december", true), ("frigate", false), ("", false)] {
            assert_eq!(beside(packed(word.as_bytes())), known, "{word}");
        }
        assert_eq!(packed(b"Hostname"), pack("hostname"));
        assert_eq!(packed(b"for"), FOR);
        assert_eq!(packed(b"something longer"), 0);
    }
}
