//! What is remembered of templates that had to be forgotten: that they were there once.

use serde::{Deserialize, Serialize};

/// Two generations of a Bloom filter (Bloom 1970, doi:10.1145/362686.362692) over template ids.
///
/// When the younger is as full as its error allows, the older is dropped and the younger becomes it; the next has room for twice
/// as many, up to `most`, so that a stream that hardly forgets hardly pays. The last half of all ids added is always known, or
/// the last `most`, whichever is less. Wrongly known are about 2 % of ids (eight bits an id, four probes, two generations
/// looked at): a new template is then reported as one that returned, never the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    young: Vec<u64>,
    old: Vec<u64>,
    added: u32,
    capacity: u32,
    most: u32,
}

/// Ids the first generation has room for.
const FIRST: u32 = 512;

impl Seen {
    /// A filter for up to `most` ids. Takes at most two bytes an id, and nothing before something is added.
    pub(super) fn new(most: u32) -> Self {
        Self { young: Vec::new(), old: Vec::new(), added: 0, capacity: FIRST, most: most.max(FIRST) }
    }

    /// Adds an id.
    pub(super) fn add(&mut self, id: u64) {
        if self.young.is_empty() {
            self.young = vec![0; (self.capacity as usize).div_ceil(8)];
        }
        let bits = self.young.len() as u64 * 64;
        for bit in probes(id, bits) {
            self.young[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        self.added += 1;
        if self.added >= self.capacity {
            self.old = std::mem::take(&mut self.young);
            self.added = 0;
            self.capacity = (self.capacity * 2).min(self.most);
        }
    }

    /// Whether an id was added, or looks as if it was.
    pub(super) fn knows(&self, id: u64) -> bool {
        [&self.young, &self.old].into_iter().any(|bits| {
            !bits.is_empty()
                && probes(id, bits.len() as u64 * 64).all(|bit| bits[(bit / 64) as usize] >> (bit % 64) & 1 == 1)
        })
    }

    /// Bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        (self.young.len() + self.old.len()) * 8
    }
}

/// Four places by double hashing; ids are hashes already.
fn probes(id: u64, bits: u64) -> impl Iterator<Item = u64> {
    let (first, step) = (id, id.rotate_left(32) | 1);
    (0..4u64).map(move |i| first.wrapping_add(step.wrapping_mul(i)) % bits.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_known_and_little_else() {
        let mut seen = Seen::new(1000);
        let id = |i: u64| super::super::hash::id(i, 7);
        for i in 0..3000 {
            seen.add(id(i));
        }
        assert!((2000..3000).all(|i| seen.knows(id(i))), "the last thousand are known");
        let wrong = (10_000..20_000).filter(|i| seen.knows(id(*i))).count();
        assert!(wrong < 500, "{wrong} of 10000 wrongly known");
        assert!(seen.bytes() <= 2 * 1024);
    }
}
