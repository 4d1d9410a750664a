//! Forms: what is left of a message when its variables are gone, and what two forms have in common.

use super::hash::FormHash;
use super::scan::{Piece, VARIABLE};

/// One constant or variable of a form, with the separators before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    separators: u64,
    token: u64,
    /// Which piece of the message it came from.
    piece: u32,
    /// Whether it is a word: constants that are only marks say nothing.
    word: bool,
}

impl Item {
    /// Whether it varies.
    pub(super) fn is_variable(&self) -> bool {
        self.token == VARIABLE
    }

    /// Whether it is a constant that says something, and may turn out to vary.
    pub(super) fn is_word(&self) -> bool {
        self.word && !self.is_variable()
    }

    /// The hash of its constant.
    pub(super) fn token(&self) -> u64 {
        self.token
    }
}

/// The hash of the form of `pieces`, runs of variables counted as one, so that lists of any length share a form.
#[inline]
pub(super) fn exact(pieces: &[Piece]) -> u128 {
    let mut hash = FormHash::new();
    let mut after_variable = false;
    for piece in pieces {
        if !(piece.variable && after_variable) {
            hash.push(piece.separators, piece.token);
        }
        after_variable = piece.variable;
    }
    hash.finish()
}

/// A message's form, item by item.
#[derive(Debug, Clone, Default)]
pub(super) struct Form(Vec<Item>);

impl Form {
    /// The form of `pieces`: variables in a row become one, and so do repeated groups around a variable.
    pub(super) fn of(message: &[u8], pieces: &[Piece]) -> Self {
        let mut items: Vec<Item> = Vec::with_capacity(pieces.len());
        for (at, piece) in pieces.iter().enumerate() {
            if piece.variable && items.last().is_some_and(Item::is_variable) {
                continue;
            }
            let text = &message[piece.start as usize..piece.end as usize];
            let word = text.iter().any(|b| b.is_ascii_alphabetic() || *b >= 128);
            items.push(Item { separators: piece.separators, token: piece.token, piece: at as u32, word });
        }
        Self(fold_repeats(items))
    }

    /// Its items.
    pub(super) fn items(&self) -> &[Item] {
        &self.0
    }

    /// Its hash.
    pub(super) fn hash(&self) -> u128 {
        self.hash_without(&[])
    }

    /// The hash of the form in which the items at `erased` vary.
    pub(super) fn hash_without(&self, erased: &[usize]) -> u128 {
        let mut hash = FormHash::new();
        let mut after_variable = false;
        for (at, item) in self.0.iter().enumerate() {
            let variable = item.is_variable() || erased.contains(&at);
            if !(variable && after_variable) {
                hash.push(item.separators, if variable { VARIABLE } else { item.token });
            }
            after_variable = variable;
        }
        hash.finish()
    }

    /// The form in which the items at `erased` vary.
    pub(super) fn without(&self, erased: &[usize]) -> Self {
        let mut items: Vec<Item> = Vec::with_capacity(self.0.len());
        for (at, item) in self.0.iter().enumerate() {
            let variable = item.is_variable() || erased.contains(&at);
            if variable && items.last().is_some_and(Item::is_variable) {
                continue;
            }
            items.push(Item { token: if variable { VARIABLE } else { item.token }, ..*item });
        }
        Self(items)
    }

    /// How many constants are words.
    pub(super) fn words(&self) -> usize {
        self.0.iter().filter(|item| item.is_word()).count()
    }

    /// The text of the form, `<*>` for what varies, made from the message it came from.
    pub(super) fn render(&self, message: &[u8], pieces: &[Piece]) -> String {
        let mut text = Vec::with_capacity(message.len());
        for item in &self.0 {
            let Some(piece) = pieces.get(item.piece as usize) else { continue };
            let gap = &message[piece.gap as usize..piece.start as usize];
            // Marks that do not count in the form, as in `<1`, are not shown either.
            text.extend_from_slice(if piece.separators == 0 && !gap.is_empty() { b" " } else { gap });
            if item.is_variable() {
                text.extend_from_slice(b"<*>");
            } else {
                text.extend_from_slice(&message[piece.start as usize..piece.end as usize]);
            }
        }
        let text = String::from_utf8_lossy(&text);
        let mut clean = String::with_capacity(text.len());
        for word in text.split_whitespace() {
            if !clean.is_empty() {
                clean.push(' ');
            }
            clean.push_str(word);
        }
        clean
    }
}

/// The longest group that is looked for; groups in logs are a key, a value and their marks.
const GROUP: usize = 8;

/// Keeps one of groups that follow themselves, where the group has a variable: lists of records then share a form.
fn fold_repeats(items: Vec<Item>) -> Vec<Item> {
    let same = |a: &Item, b: &Item| a.token == b.token && a.separators == b.separators;
    let mut kept: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        kept.push(item);
        for group in 2..=GROUP.min(kept.len() / 2) {
            let (head, last) = kept.split_at(kept.len() - group);
            let before = &head[head.len() - group..];
            if last.iter().any(Item::is_variable) && last.iter().zip(before).all(|(a, b)| same(a, b)) {
                kept.truncate(kept.len() - group);
                break;
            }
        }
    }
    kept
}
