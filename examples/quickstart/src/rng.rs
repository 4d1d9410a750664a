//! A small random number generator, so that a seed always draws the same run.

/// SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators",
/// <https://doi.org/10.1145/2660193.2660195>): enough for drawing delays and coin flips, useless for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator whose draws belong to `name`: two names with the same seed draw independently.
    pub(crate) fn named(seed: u64, name: &str) -> Self {
        Self(seed ^ fnv(name.as_bytes()))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`: the 53 upper bits are what a double can hold exactly.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// One of `choices`, or nothing when there is none.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let index = (self.unit() * choices.len() as f64) as usize;
        choices.get(index)
    }
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_name_draws_otherwise() {
        let draw = |mut rng: Rng| (0..4).map(|_| rng.next()).collect::<Vec<_>>();
        assert_eq!(draw(Rng::named(7, "target")), draw(Rng::named(7, "target")));
        assert_ne!(draw(Rng::named(7, "target")), draw(Rng::named(7, "delay")));
    }

    #[test]
    fn draws_stay_in_their_range_and_fill_it() {
        let mut rng = Rng::new(1);
        let draws: Vec<f64> = (0..1000).map(|_| rng.between(4.0, 12.0)).collect();
        assert!(draws.iter().all(|draw| (4.0..12.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 1000.0;
        assert!((mean - 8.0).abs() < 0.3, "mean {mean}");
        assert_eq!(rng.pick::<u8>(&[]), None);
    }
}
