//! Delays between tries: exponential back-off with jitter that a replay comes to again.
//!
//! The jitter spreads what failed together (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). It is drawn from
//! a hash of what is tried and how often, because the machine has no randomness of its own.

use ir_core::Digest;

use super::config::EngineSettings;

/// Milliseconds to wait before try `failures + 1` of what `seed` names: `retry_first_ms`, doubled with every failure up to
/// `retry_most_ms`, less up to a quarter.
pub(crate) fn delay_ms(settings: &EngineSettings, seed: &str, failures: u32) -> u64 {
    let doubled = settings.retry_first_ms.saturating_mul(1_u64 << failures.saturating_sub(1).min(32));
    let full = doubled.min(settings.retry_most_ms).max(1);
    let digest = Digest::of_parts([seed.as_bytes(), failures.to_be_bytes().as_slice()]);
    let drawn = digest.as_bytes().iter().take(4).fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
    full - drawn % (full / 4 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_are_the_same_each_time() {
        let settings = EngineSettings { retry_first_ms: 1_000, retry_most_ms: 60_000, ..EngineSettings::default() };
        let bounds = [(1, 1_000), (2, 2_000), (3, 4_000), (6, 32_000), (7, 60_000), (200, 60_000)];
        for (failures, full) in bounds {
            let delay = delay_ms(&settings, "a step", failures);
            assert!((full * 3 / 4..=full).contains(&delay), "{delay} after {failures} failures");
            assert_eq!(delay, delay_ms(&settings, "a step", failures));
        }
        let spread: std::collections::BTreeSet<u64> =
            (0..100).map(|n| delay_ms(&settings, &format!("step {n}"), 7)).collect();
        assert!(spread.len() > 90, "steps that failed together are not tried together");
    }
}
