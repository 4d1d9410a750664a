//! Maps keyed by hashes as sorted lists, keys as two 64-bit halves: most formats have no 128-bit numbers, and order makes equal
//! states equal bytes.

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use super::hash::HashedMap;

/// A key that is one or two 64-bit hashes.
pub(super) trait Key: Copy + Ord + std::hash::Hash {
    /// High and low half.
    fn split(self) -> (u64, u64);
    /// The key of two halves.
    fn join(high: u64, low: u64) -> Self;
}

impl Key for u64 {
    fn split(self) -> (u64, u64) {
        (0, self)
    }

    fn join(_: u64, low: u64) -> Self {
        low
    }
}

impl Key for u128 {
    fn split(self) -> (u64, u64) {
        ((self >> 64) as u64, self as u64)
    }

    fn join(high: u64, low: u64) -> Self {
        (Self::from(high) << 64) | Self::from(low)
    }
}

pub(super) fn serialize<K: Key, V: Serialize, S: Serializer>(
    map: &HashedMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut rows: Vec<(K, &V)> = map.iter().map(|(key, value)| (*key, value)).collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    serializer.collect_seq(rows.into_iter().map(|(key, value)| {
        let (high, low) = key.split();
        (high, low, value)
    }))
}

pub(super) fn deserialize<'de, K: Key, V: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<HashedMap<K, V>, D::Error> {
    let rows = Vec::<(u64, u64, V)>::deserialize(deserializer)?;
    Ok(rows.into_iter().map(|(high, low, value)| (K::join(high, low), value)).collect())
}
