//! How often which symbol followed which others: counts of all runs of up to some length, in a table of bounded size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The longest context that may be configured.
pub(crate) const MAX_ORDER: usize = 16;
/// The key of the empty run.
const ROOT: u64 = 0x9e37_79b9_7f4a_7c15;
const EMPTY: u64 = 0;
/// Slots of a table that has just begun.
const FIRST: usize = 64;

/// One run of symbols. The counts of a run's continuations never sum to more than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Gram {
    key: u64,
    /// The run without its last symbol.
    parent: u64,
    count: u32,
    /// How many symbols were seen behind it.
    types: u32,
}

const VACANT: Gram = Gram { key: EMPTY, parent: EMPTY, count: 0, types: 0 };

/// Counts and followers of a run.
#[derive(Debug, Clone, Copy)]
struct Seen {
    count: f64,
    types: f64,
}

/// Counts of runs. When there are too many, all are halved and those that come to 0 are forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Gram>", into = "Vec<Gram>")]
pub(crate) struct Grams {
    slots: Vec<Gram>,
    len: usize,
}

impl From<Vec<Gram>> for Grams {
    fn from(list: Vec<Gram>) -> Self {
        let mut grams = Self::default();
        for gram in list.into_iter().filter(|gram| gram.key != EMPTY) {
            *grams.slot(gram.key) = gram;
        }
        grams
    }
}

impl From<Grams> for Vec<Gram> {
    fn from(grams: Grams) -> Self {
        let mut list: Self = grams.slots.into_iter().filter(|gram| gram.key != EMPTY).collect();
        // The order of slots tells in which order they came, which is nobody's business.
        list.sort_by_key(|gram| gram.key);
        list
    }
}

fn extend(run: u64, symbol: u32) -> u64 {
    let mixed = (run ^ (u64::from(symbol) + 1).wrapping_mul(0xff51_afd7_ed55_8ccd)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (mixed ^ (mixed >> 29)) | 1
}

impl Grams {
    /// Counts all runs of up to `order + 1` symbols of `sequence`, in at most `max` runs.
    pub(crate) fn learn(&mut self, sequence: &[u32], order: usize, max: usize) {
        let mut runs = [EMPTY; MAX_ORDER + 2];
        runs[0] = ROOT;
        // How many symbols may be looked back upon.
        let mut depth = 0;
        for &symbol in sequence {
            if self.len + order + 2 > max {
                self.age(max);
                depth = 0;
            }
            let root = self.slot(ROOT);
            root.count = root.count.saturating_add(1);
            for back in (0..=depth).rev() {
                let (parent, key) = (runs[back], extend(runs[back], symbol));
                let gram = self.slot(key);
                gram.count = gram.count.saturating_add(1);
                if gram.parent == EMPTY {
                    gram.parent = parent;
                    self.slot(parent).types += 1;
                }
                runs[back + 1] = key;
            }
            depth = (depth + 1).min(order);
        }
    }

    /// Calls `each` with the place of every symbol and its surprise after those before it, in nats.
    ///
    /// Contexts are blended from short to long after I. H. Witten and T. C. Bell (1991): "The zero-frequency problem",
    /// doi:10.1109/18.87000, method C: a context with `n` counts and `t` followers gives `t / (n + t)` to the shorter one.
    /// Below all, symbols are taken to be as likely as one nobody knows.
    pub(crate) fn surprise(&self, sequence: &[u32], order: usize, each: impl FnMut(usize, f64)) {
        walk(sequence, order, |key| self.find(key).map(|gram| seen(gram.count, gram.types)), each);
    }

    /// The same as if `sequence` had not been learned.
    pub(crate) fn surprise_without(&self, sequence: &[u32], order: usize, each: impl FnMut(usize, f64)) {
        let mut own = Self::default();
        own.learn(sequence, order, usize::MAX);
        // From here on `types` of the own runs says how many followers nobody else brought.
        let alone = |gram: &&Gram| gram.key != ROOT && self.find(gram.key).is_none_or(|all| all.count <= gram.count);
        let mut brought: BTreeMap<u64, u32> = BTreeMap::new();
        for gram in own.slots.iter().filter(|gram| gram.key != EMPTY).filter(alone) {
            *brought.entry(gram.parent).or_default() += 1;
        }
        let rest = |key| {
            let all = self.find(key)?;
            let mine = own.find(key).map_or(0, |gram| gram.count);
            let alone = brought.get(&key).copied().unwrap_or(0);
            (all.count > mine).then(|| seen(all.count - mine, all.types.saturating_sub(alone)))
        };
        walk(sequence, order, rest, each);
    }

    /// Bytes on the heap.
    pub(crate) fn held(&self) -> usize {
        self.slots.capacity() * size_of::<Gram>()
    }

    fn find(&self, key: u64) -> Option<&Gram> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = key.rotate_left(32) as usize & mask;
        loop {
            let gram = &self.slots[at];
            if gram.key == key {
                return Some(gram);
            }
            if gram.key == EMPTY {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// The run's slot, made if there was none.
    fn slot(&mut self, key: u64) -> &mut Gram {
        if (self.len + 1) * 2 > self.slots.len() {
            let wider = vec![VACANT; (self.slots.len() * 2).max(FIRST)];
            for gram in std::mem::replace(&mut self.slots, wider).into_iter().filter(|gram| gram.key != EMPTY) {
                let at = self.place(gram.key);
                self.slots[at] = gram;
            }
        }
        let at = self.place(key);
        if self.slots[at].key == EMPTY {
            self.slots[at].key = key;
            self.len += 1;
        }
        &mut self.slots[at]
    }

    fn place(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = key.rotate_left(32) as usize & mask;
        while self.slots[at].key != key && self.slots[at].key != EMPTY {
            at = (at + 1) & mask;
        }
        at
    }

    /// Halves until a quarter of the room is free.
    fn age(&mut self, max: usize) {
        let mut kept: Vec<Gram> = self.slots.iter().copied().filter(|gram| gram.key != EMPTY).collect();
        while kept.len() > max / 4 * 3 {
            for gram in &mut kept {
                gram.count /= 2;
                gram.types = 0;
            }
            kept.retain(|gram| gram.count > 0);
        }
        *self = Self::from(kept.clone());
        for gram in kept.iter().filter(|gram| gram.key != ROOT) {
            let at = self.place(gram.parent);
            self.slots[at].types += 1;
        }
    }
}

fn seen(count: u32, types: u32) -> Seen {
    Seen { count: f64::from(count), types: f64::from(types.max(1)) }
}

fn walk(sequence: &[u32], order: usize, look: impl Fn(u64) -> Option<Seen>, mut each: impl FnMut(usize, f64)) {
    let Some(root) = look(ROOT) else {
        (0..sequence.len()).for_each(|at| each(at, 0.0));
        return;
    };
    let unknown = (root.types + 1.0).recip();
    let mut runs = [(ROOT, None); MAX_ORDER + 2];
    let mut next = runs;
    runs[0].1 = Some(root);
    next[0].1 = Some(root);
    let mut depth = 0;
    for (at, &symbol) in sequence.iter().enumerate() {
        let (mut probability, mut known) = (unknown, true);
        for back in 0..=depth {
            let (key, context): (u64, Option<Seen>) = runs[back];
            let run = extend(key, symbol);
            // What is not known after a short context is not known after a longer one.
            let found = if known { look(run) } else { None };
            known = found.is_some();
            if let Some(context) = context {
                let count = found.map_or(0.0, |found| found.count.min(context.count));
                probability = (count + context.types * probability) / (context.count + context.types);
            }
            next[back + 1] = (run, found);
        }
        each(at, -probability.ln());
        std::mem::swap(&mut runs, &mut next);
        depth = (depth + 1).min(order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(grams: &Grams, sequence: &[u32], without: bool) -> Vec<f64> {
        let mut found = Vec::new();
        match without {
            true => grams.surprise_without(sequence, 3, |_, nats| found.push(nats)),
            false => grams.surprise(sequence, 3, |_, nats| found.push(nats)),
        }
        found
    }

    #[test]
    fn probabilities_are_those_of_the_method_by_hand() {
        let mut grams = Grams::default();
        grams.learn(&[1, 2, 1, 2, 1, 3], 1, 1000);
        // Empty context: 6 counts, 3 followers, and 1/4 for each symbol below.
        let two = (2.0 + 3.0 * 0.25) / 9.0;
        // After 1: 3 counts, followers 2 and 3; 2 came twice.
        let after_one = (2.0 + 2.0 * two) / 5.0;
        let mut found = Vec::new();
        grams.surprise(&[2], 1, |_, nats| found.push(nats));
        grams.surprise(&[1, 2], 1, |_, nats| found.push(nats));
        assert!((found[0] + f64::ln(two)).abs() < 1e-12 && (found[2] + f64::ln(after_one)).abs() < 1e-12, "{found:?}");
    }

    proptest! {
        #[test]
        fn leaving_out_is_as_if_it_had_not_been_learned(
            rest in proptest::collection::vec(proptest::collection::vec(0..6u32, 0..30), 1..6),
            own in proptest::collection::vec(0..6u32, 0..30),
        ) {
            let (mut without, mut with) = (Grams::default(), Grams::default());
            for sequence in &rest {
                without.learn(sequence, 3, usize::MAX);
                with.learn(sequence, 3, usize::MAX);
            }
            with.learn(&own, 3, usize::MAX);
            prop_assume!(rest.iter().any(|sequence| !sequence.is_empty()));
            let (a, b) = (all(&without, &own, false), all(&with, &own, true));
            prop_assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-9), "{:?} {:?}", a, b);
        }

        #[test]
        fn never_more_runs_than_allowed_and_never_an_impossible_symbol(
            sequences in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 0..60), 1..20),
            max in 64..200usize,
        ) {
            let mut grams = Grams::default();
            for sequence in &sequences {
                grams.learn(sequence, 3, max);
                prop_assert!(grams.len <= max);
                prop_assert!(all(&grams, sequence, false).iter().all(|nats| nats.is_finite() && *nats >= -1e-12));
            }
            let text = serde_json::to_string(&grams).unwrap();
            let back: Grams = serde_json::from_str(&text).unwrap();
            for sequence in &sequences {
                prop_assert_eq!(all(&grams, sequence, false), all(&back, sequence, false));
            }
        }

        #[test]
        fn after_any_context_all_symbols_together_have_probability_1_at_most(
            sequence in proptest::collection::vec(0..4u32, 1..60), context in proptest::collection::vec(0..4u32, 0..4),
        ) {
            let mut grams = Grams::default();
            grams.learn(&sequence, 3, 1000);
            // All that are known, and one that is not.
            let known: std::collections::BTreeSet<u32> = sequence.iter().copied().collect();
            let sum: f64 = known.into_iter().chain([99]).map(|symbol| {
                let probe: Vec<u32> = context.iter().copied().chain([symbol]).collect();
                all(&grams, &probe, false).last().map_or(0.0, |nats| (-nats).exp())
            }).sum();
            prop_assert!(sum <= 1.0 + 1e-9, "{}", sum);
        }
    }
}
