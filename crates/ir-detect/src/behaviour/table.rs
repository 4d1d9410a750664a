//! A map of bounded size that forgets what was not met for longest.

use std::collections::BTreeMap;

use ir_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pairs;

/// Values by key, with the time each was last met.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize, V: Serialize",
    deserialize = "K: Deserialize<'de> + Ord, V: Deserialize<'de>"
))]
pub(crate) struct Table<K: Ord, V>(#[serde(with = "pairs")] BTreeMap<K, (Timestamp, V)>);

impl<K: Ord, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone, V> Table<K, V> {
    /// The value of `key`, made by `new` if there was none; and when it was met before. A table that is full first forgets the
    /// eighth of its keys that was not met for longest, so that making room costs little per key.
    pub(crate) fn meet(
        &mut self,
        key: &K,
        at: Timestamp,
        max: usize,
        new: impl FnOnce() -> V,
    ) -> (&mut V, Option<Timestamp>) {
        if !self.0.contains_key(key) && self.0.len() >= max.max(1) {
            let mut times: Vec<Timestamp> = self.0.values().map(|(last, _)| *last).collect();
            let (gone, nth) = ((times.len() / 8).max(1), times.len() / 8);
            let (_, oldest, _) = times.select_nth_unstable(nth);
            let oldest = *oldest;
            // Many may have the same time: no more go than must.
            let mut left = gone;
            self.0.retain(|_, (last, _)| {
                let goes = left > 0 && *last <= oldest;
                left -= usize::from(goes);
                !goes
            });
        }
        let known = self.0.get(key).map(|(last, _)| *last);
        let (last, value) = self.0.entry(key.clone()).or_insert_with(|| (at, new()));
        *last = at.max(*last);
        (value, known)
    }

    pub(crate) fn retain(&mut self, keeps: impl Fn(&K, &V) -> bool) {
        self.0.retain(|key, (_, value)| keeps(key, value));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, (_, value))| (key, value))
    }
}

/// A name as a number: FNV-1a over its parts (G. Fowler, L. C. Noll, K.-P. Vo 1991), with a bound between them and a last mix.
pub(crate) fn hash(parts: &[&str]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    sum ^ (sum >> 31)
}

/// How a name may stand in a sentence or a label: short, without control characters. It is untrusted text.
pub(crate) fn quote(name: &str) -> String {
    const CHARS: usize = 120;
    name.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).take(CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_not_met_for_longest_goes_first() {
        let mut table: Table<u32, ()> = Table::default();
        for n in 0..16 {
            table.meet(&n, Timestamp::from_nanos(i64::from(n)), 16, || ());
        }
        table.meet(&0, Timestamp::from_nanos(100), 16, || ());
        let (_, before) = table.meet(&50, Timestamp::from_nanos(101), 16, || ());
        assert!(before.is_none() && table.0.contains_key(&0) && !table.0.contains_key(&1) && !table.0.contains_key(&2));
        assert_eq!(table.0.len(), 15);
    }

    proptest! {
        #[test]
        fn never_more_than_allowed(keys in proptest::collection::vec((any::<u8>(), any::<i64>()), 0..300), max in 1..40usize) {
            let mut table: Table<u8, ()> = Table::default();
            for (key, at) in keys {
                table.meet(&key, Timestamp::from_nanos(at), max, || ());
                prop_assert!(table.0.len() <= max && table.0.contains_key(&key));
            }
        }
    }
}
