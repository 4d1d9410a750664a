//! Sequences kept as examples: which symbols each had, and how often. How far is another from the nearest of them?

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Of one example so many symbols are kept, the first by number: who uses more is told apart by the rest.
const MAX_SYMBOLS: usize = 1024;

/// What a sequence is made of, without its order: sorted symbols and their counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Bag {
    pub(crate) counts: Vec<(u32, u32)>,
}

impl Bag {
    pub(crate) fn of(sequence: &[u32]) -> Self {
        let mut sorted = sequence.to_vec();
        sorted.sort_unstable();
        let mut counts: Vec<(u32, u32)> = Vec::new();
        for symbol in sorted {
            match counts.last_mut() {
                Some((last, count)) if *last == symbol => *count = count.saturating_add(1),
                _ => counts.push((symbol, 1)),
            }
        }
        Self { counts }
    }

    /// Shannon's entropy of its symbols, in nats.
    pub(crate) fn entropy(&self) -> f64 {
        let n: f64 = self.counts.iter().map(|(_, count)| f64::from(*count)).sum();
        self.counts.iter().map(|(_, count)| f64::from(*count)).map(|count| -count / n * (count / n).ln()).sum()
    }
}

/// How far a sequence is from the nearest example, each 0 (the same) to 1 (nothing in common).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Distance {
    /// By which symbols it has: 1 minus the share of common ones among all (P. Jaccard 1912, doi:10.1111/j.1469-8137.1912.tb05611.x).
    pub(crate) set: f64,
    /// By how often it has each: the squared distance of E. Hellinger (1909), doi:10.1515/crll.1909.136.210.
    pub(crate) frequency: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Exemplar {
    /// Sorted.
    counts: Vec<(u32, u32)>,
    /// How often the same came.
    weight: u32,
    /// When it came last, in sequences.
    last: u64,
}

/// Examples, each different from the others.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(crate) struct Exemplars {
    kept: Vec<Exemplar>,
    learned: u64,
    /// Where each symbol occurs: the example, and the root of the symbol's share of it.
    places: HashMap<u32, Vec<(u32, f32)>>,
    known: HashMap<Vec<(u32, u32)>, u32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    kept: Vec<Exemplar>,
    learned: u64,
}

impl From<Stored> for Exemplars {
    fn from(stored: Stored) -> Self {
        let mut exemplars = Self { learned: stored.learned, ..Self::default() };
        for exemplar in stored.kept {
            exemplars.insert(exemplar);
        }
        exemplars
    }
}

impl From<Exemplars> for Stored {
    fn from(exemplars: Exemplars) -> Self {
        Self { kept: exemplars.kept, learned: exemplars.learned }
    }
}

impl Exemplars {
    /// How many sequences were learned.
    pub(crate) fn learned(&self) -> u64 {
        self.learned
    }

    /// Keeps a sequence as an example, unless the same is there. When there are `max`, the one that came least often goes, the
    /// longest ago among equals.
    pub(crate) fn learn(&mut self, bag: &Bag, max: usize) {
        self.learned += 1;
        let counts = &bag.counts[..bag.counts.len().min(MAX_SYMBOLS)];
        if let Some(&slot) = self.known.get(counts) {
            let exemplar = &mut self.kept[slot as usize];
            exemplar.weight = exemplar.weight.saturating_add(1);
            exemplar.last = self.learned;
            return;
        }
        if self.kept.len() >= max.max(1) {
            let weakest = self.kept.iter().enumerate().min_by_key(|(_, exemplar)| (exemplar.weight, exemplar.last));
            if let Some(slot) = weakest.map(|(slot, _)| slot) {
                self.remove(slot);
            }
            // Otherwise what came often once would never make room.
            for exemplar in &mut self.kept {
                if self.learned.saturating_sub(exemplar.last) > 4 * max as u64 {
                    exemplar.weight = 1;
                }
            }
        }
        self.insert(Exemplar { counts: counts.to_vec(), weight: 1, last: self.learned });
    }

    /// The distance to the nearest example; with `without`, as if `bag` had been learned once less. `None` without examples.
    pub(crate) fn nearest(&self, bag: &Bag, without: bool) -> Option<Distance> {
        let own = self.known.get(&bag.counts).copied();
        let left_out = match own {
            Some(slot) if without && self.kept[slot as usize].weight == 1 => Some(slot as usize),
            Some(_) => return Some(Distance { set: 0.0, frequency: 0.0 }),
            None => None,
        };
        if self.kept.len() <= usize::from(left_out.is_some()) {
            return None;
        }
        let n: f64 = bag.counts.iter().map(|(_, count)| f64::from(*count)).sum();
        let mut common = vec![(0_u32, 0.0_f32); self.kept.len()];
        for (symbol, count) in &bag.counts {
            let Some(places) = self.places.get(symbol) else { continue };
            let root = (f64::from(*count) / n).sqrt() as f32;
            for (slot, other) in places {
                let (symbols, overlap) = &mut common[*slot as usize];
                *symbols += 1;
                *overlap += root * other;
            }
        }
        let mut nearest = Distance { set: 1.0, frequency: 1.0 };
        for (slot, (exemplar, (symbols, overlap))) in self.kept.iter().zip(common).enumerate() {
            if Some(slot) == left_out || symbols == 0 {
                continue;
            }
            let all = bag.counts.len() + exemplar.counts.len() - symbols as usize;
            nearest.set = nearest.set.min(1.0 - f64::from(symbols) / all as f64);
            nearest.frequency = nearest.frequency.min(1.0 - f64::from(overlap).min(1.0));
        }
        Some(nearest)
    }

    /// Bytes on the heap, about.
    pub(crate) fn held(&self) -> usize {
        let symbols: usize = self.kept.iter().map(|exemplar| exemplar.counts.len()).sum();
        // Twice the counts, once the places, and the slots of both maps.
        self.kept.len() * (size_of::<Exemplar>() + 48) + symbols * (8 + 8 + 8) + self.places.len() * 40
    }

    fn insert(&mut self, exemplar: Exemplar) {
        let slot = self.kept.len() as u32;
        let n: f64 = exemplar.counts.iter().map(|(_, count)| f64::from(*count)).sum();
        for (symbol, count) in &exemplar.counts {
            let root = (f64::from(*count) / n).sqrt() as f32;
            self.places.entry(*symbol).or_default().push((slot, root));
        }
        self.known.insert(exemplar.counts.clone(), slot);
        self.kept.push(exemplar);
    }

    /// Takes one out; the last takes its slot.
    fn remove(&mut self, slot: usize) {
        let gone = self.kept.swap_remove(slot);
        self.known.remove(&gone.counts);
        for (symbol, _) in &gone.counts {
            if let Some(places) = self.places.get_mut(symbol) {
                places.retain(|(at, _)| *at as usize != slot);
                if places.is_empty() {
                    self.places.remove(symbol);
                }
            }
        }
        let Some(moved) = self.kept.get(slot) else { return };
        let from = self.kept.len() as u32;
        for (symbol, _) in &moved.counts {
            for (at, _) in self.places.get_mut(symbol).into_iter().flatten() {
                if *at == from {
                    *at = slot as u32;
                }
            }
        }
        if let Some(at) = self.known.get_mut(&moved.counts) {
            *at = slot as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bag(sequence: &[u32]) -> Bag {
        Bag::of(sequence)
    }

    #[test]
    fn distances_are_those_of_the_definitions() {
        let mut exemplars = Exemplars::default();
        assert_eq!(exemplars.nearest(&bag(&[1]), false), None);
        exemplars.learn(&bag(&[1, 1, 2, 3]), 10);
        let near = exemplars.nearest(&bag(&[1, 2, 2, 4]), false).unwrap();
        // Common 1 and 2 of 1, 2, 3, 4; overlap of the roots: sqrt(1/4 * 1/2) + sqrt(1/2 * 1/4).
        assert!(
            (near.set - 0.5).abs() < 1e-6 && (near.frequency - (1.0 - 2.0 * 0.125_f64.sqrt())).abs() < 1e-6,
            "{near:?}"
        );
        assert_eq!(exemplars.nearest(&bag(&[3, 1, 2, 1]), false), Some(Distance { set: 0.0, frequency: 0.0 }));
        assert_eq!(exemplars.nearest(&bag(&[3, 1, 2, 1]), true), None);
    }

    proptest! {
        #[test]
        fn the_index_says_what_a_search_through_all_would_say(
            sequences in proptest::collection::vec(proptest::collection::vec(0..12u32, 1..12), 1..40),
            probe in proptest::collection::vec(0..14u32, 1..12), max in 1..20usize, without in any::<bool>(),
        ) {
            let mut exemplars = Exemplars::default();
            for sequence in &sequences {
                exemplars.learn(&bag(sequence), max);
                prop_assert!(exemplars.kept.len() <= max);
            }
            let probe = if without { sequences.last().cloned().unwrap_or_default() } else { probe };
            let probe = bag(&probe);
            let others = exemplars.kept.iter().filter(|e| !(without && e.counts == probe.counts && e.weight == 1));
            let n: f64 = probe.counts.iter().map(|(_, c)| f64::from(*c)).sum();
            let wanted = others.map(|e| {
                let m: f64 = e.counts.iter().map(|(_, c)| f64::from(*c)).sum();
                let both: Vec<(f64, f64)> = probe.counts.iter().filter_map(|(s, c)| {
                    let other = e.counts.iter().find(|(t, _)| t == s)?;
                    Some((f64::from(*c) / n, f64::from(other.1) / m))
                }).collect();
                let union = probe.counts.len() + e.counts.len() - both.len();
                (1.0 - both.len() as f64 / union as f64, 1.0 - both.iter().map(|(a, b)| (a * b).sqrt()).sum::<f64>())
            }).reduce(|a, b| (a.0.min(b.0), a.1.min(b.1)));
            let found = exemplars.nearest(&probe, without);
            prop_assert_eq!(found.is_none(), wanted.is_none());
            if let (Some(found), Some(wanted)) = (found, wanted) {
                prop_assert!((found.set - wanted.0).abs() < 1e-6 && (found.frequency - wanted.1).abs() < 1e-6);
            }
            let back: Exemplars = serde_json::from_str(&serde_json::to_string(&exemplars).unwrap()).unwrap();
            prop_assert_eq!(back.nearest(&probe, without), exemplars.nearest(&probe, without));
        }
    }
}
