//! A sorted map of which copies cost nothing: what they have in common is shared.

use std::borrow::Borrow;
use std::fmt;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

/// A sorted map that is copied in constant time, so that a state of thousands of entries can be kept as it was before an event, given
/// to another task, or published. A change of one entry costs O(log n), whatever else the map holds.
///
/// # Examples
///
/// ```
/// # use ir_core::persistent::PersistentMap;
/// let mut map: PersistentMap<u32, String> = (1..=3).map(|n| (n, n.to_string())).collect();
/// let before = map.clone();
/// map.get_mut(&2).unwrap().push('!');
/// map.remove(&3);
/// assert_eq!(map.values().collect::<Vec<_>>(), ["1", "2!"]);
/// assert_eq!(before.values().collect::<Vec<_>>(), ["1", "2", "3"]);
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(
    transparent,
    bound(
        serialize = "K: Ord + Serialize, V: Serialize",
        deserialize = "K: Ord + Deserialize<'de>, V: Deserialize<'de>"
    )
)]
pub struct PersistentMap<K: Ord, V>(RedBlackTreeMapSync<K, V>);

impl<K: Ord, V> Default for PersistentMap<K, V> {
    fn default() -> Self {
        Self(RedBlackTreeMapSync::new_sync())
    }
}

impl<K: Ord, V: PartialEq> PartialEq for PersistentMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Ord, V: Eq> Eq for PersistentMap<K, V> {}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for PersistentMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V> PersistentMap<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// All entries, in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.0.iter()
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.0.keys()
    }

    /// All values, in the order of the keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.values()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord + Clone, V: Clone> PersistentMap<K, V> {
    /// The value of a key, to be changed: in this copy alone.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.0.get_mut(key)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        self.0.insert_mut(key, value);
    }

    /// Takes an entry out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let value = self.0.get(key).cloned()?;
        self.0.remove_mut(key);
        Some(value)
    }

    /// Takes the first entry out.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let (key, value) = self.0.first().map(|(key, value)| (key.clone(), value.clone()))?;
        self.0.remove_mut(&key);
        Some((key, value))
    }

    /// The value of a key, which is made when it is missing.
    ///
    /// # Panics
    ///
    /// Never: the entry was just made.
    #[expect(clippy::expect_used, reason = "the entry was just made")]
    pub fn get_or_insert_with(&mut self, key: &K, value: impl FnOnce() -> V) -> &mut V {
        if !self.0.contains_key(key) {
            self.0.insert_mut(key.clone(), value());
        }
        self.0.get_mut(key).expect("an entry that was just made")
    }

    /// Keeps only the entries for which `wanted` says so. Looks at all of them.
    pub fn retain(&mut self, mut wanted: impl FnMut(&K, &V) -> bool) {
        let unwanted: Vec<K> =
            self.iter().filter(|(key, value)| !wanted(key, value)).map(|(key, _)| key.clone()).collect();
        for key in unwanted {
            self.0.remove_mut(&key);
        }
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for PersistentMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for PersistentMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        map.extend(entries);
        map
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_map_and_copies_stay_as_they_were(
            changes in proptest::collection::vec((0_u8..5, 0_u8..40, any::<u16>()), 0..200),
        ) {
            let (mut map, mut plain) = (PersistentMap::<u8, u16>::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for (what, key, value) in changes {
                match what {
                    0 | 1 => {
                        map.insert(key, value);
                        plain.insert(key, value);
                    }
                    2 => prop_assert_eq!(map.remove(&key), plain.remove(&key)),
                    3 => {
                        *map.get_or_insert_with(&key, || 0) ^= value;
                        *plain.entry(key).or_insert(0) ^= value;
                    }
                    _ => {
                        copies.push((map.clone(), plain.clone()));
                        map.retain(|k, _| k % 7 != key % 7);
                        plain.retain(|k, _| k % 7 != key % 7);
                        prop_assert_eq!(map.pop_first(), plain.pop_first());
                    }
                }
                prop_assert!(map.iter().eq(plain.iter()));
                prop_assert_eq!((map.len(), map.get(&key)), (plain.len(), plain.get(&key)));
            }
            for (map, plain) in copies {
                prop_assert!(map.iter().eq(plain.iter()));
            }
            let text = serde_json::to_string(&map).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&plain).unwrap());
            prop_assert!(serde_json::from_str::<PersistentMap<u8, u16>>(&text).unwrap() == map);
        }
    }
}
