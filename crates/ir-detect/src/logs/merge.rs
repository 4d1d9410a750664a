//! Finds columns of constants that vary: forms that are the same but for one column become one template.

use serde::{Deserialize, Serialize};

use super::form::Form;
use super::hash::HashedMap;
use super::pairs;
use super::stream::Template;

/// Different constants a column must have had before it is a variable.
const VALUES: usize = 4;
/// The same for the first column: what a line begins with names what happened more often than it varies.
const FIRST_VALUES: usize = 12;
/// Lines a constant must have had to count as one of an enumeration.
const FREQUENT: u64 = 8;
/// Values from which on a column is no enumeration, however frequent each is.
const ENUMERATION: usize = 10;
/// Columns of one form that are looked at, from the left. More are only in lines that are texts.
const COLUMNS: usize = 48;
/// Columns up to which two at a time are looked at.
const PAIR_COLUMNS: usize = 20;

/// A form with one column left out, and who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pattern {
    /// What stood in the column, and the template that has this form but for it.
    members: Vec<(u64, u32)>,
    /// Where lines with this form go, once the column is a variable.
    general: Option<u32>,
    /// A count that grows with use, to forget the oldest first.
    last: u64,
}

/// A column that turned out to vary.
#[derive(Debug)]
pub(super) struct Found {
    /// Which item of the form.
    pub(super) erased: usize,
    /// Templates that differ only there.
    pub(super) members: Vec<u32>,
}

/// All forms with one column left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Patterns {
    #[serde(with = "pairs")]
    by_hash: HashedMap<u128, Pattern>,
    /// Whether any template was made by more than one merge: only then two columns at a time are worth a look.
    deep: bool,
    used: u64,
    /// How many members there are in all patterns, or were.
    members: usize,
}

impl Patterns {
    /// The template whose form is `form` with one or two columns varying.
    pub(super) fn general(&mut self, form: &Form) -> Option<u32> {
        let columns: Vec<usize> = columns(form).collect();
        self.used += 1;
        let (used, by_hash) = (self.used, &mut self.by_hash);
        let mut general = |erased: &[usize]| {
            let pattern = by_hash.get_mut(&form.hash_without(erased))?;
            let general = pattern.general?;
            pattern.last = used;
            Some(general)
        };
        let one = columns.iter().find_map(|column| general(&[*column]));
        if one.is_some() || !self.deep {
            return one;
        }
        let columns = &columns[..columns.len().min(PAIR_COLUMNS)];
        columns.iter().enumerate().find_map(|(i, a)| columns[i + 1..].iter().find_map(|b| general(&[*a, *b])))
    }

    /// How many patterns there are.
    pub(super) fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let slots = self.by_hash.len() * (size_of::<(u128, Pattern)>() + 1) * 16 / 7;
        // A list that has one member has room for four.
        slots + (self.by_hash.len() * 4 + 2 * self.members) * size_of::<(u64, u32)>()
    }

    /// Keeps the `keep` patterns used last, renames their templates, and drops those whose templates are gone.
    pub(super) fn shrink(&mut self, keep: usize, rename: impl Fn(u32) -> Option<u32>) {
        let mut ages: Vec<u64> = self.by_hash.values().map(|pattern| pattern.last).collect();
        let drop = ages.len().saturating_sub(keep);
        let oldest = if drop == 0 { 0 } else { *ages.select_nth_unstable(drop - 1).1 + 1 };
        self.by_hash.retain(|_, pattern| {
            pattern.members =
                pattern.members.iter().filter_map(|(value, member)| Some((*value, rename(*member)?))).collect();
            let had = pattern.general.is_some();
            pattern.general = pattern.general.and_then(&rename);
            pattern.last >= oldest && (pattern.general.is_some() || (!had && !pattern.members.is_empty()))
        });
        self.by_hash.shrink_to_fit();
        self.members = self.by_hash.values().map(|pattern| pattern.members.len()).sum();
    }

    /// Notes `form` under each of its columns left out; tells when one of them has become a variable.
    pub(super) fn add(&mut self, form: &Form, template: u32, templates: &[Template]) -> Option<Found> {
        self.used += 1;
        let mut best: Option<(usize, usize, u128)> = None;
        let first = form.items().iter().position(|item| item.is_word());
        for column in columns(form).collect::<Vec<_>>() {
            let hash = form.hash_without(&[column]);
            let pattern =
                self.by_hash.entry(hash).or_insert_with(|| Pattern { members: Vec::new(), general: None, last: 0 });
            pattern.last = self.used;
            if let Some(general) = pattern.general {
                return Some(Found { erased: column, members: vec![template, general] });
            }
            // A form with two columns left out is reached from either: what stood where tells the values apart.
            let value = form.items()[column].token().rotate_left(column as u32);
            if !pattern.members.iter().any(|(held, _)| *held == value) {
                pattern.members.push((value, template));
                self.members += 1;
            }
            let wanted = if Some(column) == first && column == 0 { FIRST_VALUES } else { VALUES };
            let values = pattern.members.len();
            if values >= wanted
                && !enumeration(&pattern.members, templates)
                && best.is_none_or(|(held, _, _)| values > held)
            {
                best = Some((values, column, hash));
            }
        }
        let (_, erased, hash) = best?;
        let pattern = self.by_hash.get_mut(&hash)?;
        let members: Vec<u32> = std::mem::take(&mut pattern.members).into_iter().map(|(_, member)| member).collect();
        self.members -= members.len().min(self.members);
        pattern.general = members.first().copied();
        self.deep |= members
            .iter()
            .any(|m| templates.get(*m as usize).is_some_and(|t| t.parent != *m || t.text.contains("<*>")));
        Some(Found { erased, members })
    }
}

/// Whether few values are each frequent: names of states and actions, not data.
fn enumeration(members: &[(u64, u32)], templates: &[Template]) -> bool {
    let frequent =
        members.iter().filter(|(_, m)| templates.get(*m as usize).is_some_and(|t| t.lines >= FREQUENT)).count();
    members.len() < ENUMERATION && frequent * 2 > members.len()
}

/// Columns that may be left out: words, as long as another word stays.
fn columns(form: &Form) -> impl Iterator<Item = usize> + '_ {
    let enough = form.words() >= 2;
    form.items().iter().enumerate().filter(move |(_, item)| enough && item.is_word()).map(|(at, _)| at).take(COLUMNS)
}
