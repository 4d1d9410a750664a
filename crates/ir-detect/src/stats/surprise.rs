//! One scale for all detectors: surprise in nats, `-ln` of how likely chance does as much, and the score made from it.

use ir_core::Score;

/// Nats that make a score of 1 - 1/e. With it 10 nats (once in 22,000 looks by chance) score 0.28, 18 nats (six sigma) 0.45,
/// 60 nats 0.86: distinctions that matter lie in the middle of the scale.
const NATS_OF_SCORE: f64 = 30.0;

/// `-ln P` bound for at least `hits` of `n` when each has probability `p`: `n * KL(hits/n || p)`, 0 when not more than
/// expected. W. Hoeffding (1963): "Probability inequalities for sums of bounded random variables", theorem 1,
/// doi:10.1080/01621459.1963.10500830. A bound, so the true surprise is larger: never more alarms than promised. 0 for
/// arguments that make no sense.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::binomial_surprise;
/// assert_eq!(binomial_surprise(1.0, 100.0, 0.01), 0.0);
/// assert!((binomial_surprise(20.0, 50.0, 0.01) - 58.754).abs() < 1e-3);
/// ```
#[must_use]
pub fn binomial_surprise(hits: f64, n: f64, p: f64) -> f64 {
    let share = hits / n;
    if !(n.is_finite() && share > p && share <= 1.0 && p > 0.0) {
        return 0.0;
    }
    let misses = 1.0 - share;
    let tail = if misses > 0.0 { misses * (misses / (1.0 - p)).ln() } else { 0.0 };
    n * (share * (share / p).ln() + tail)
}

/// `-ln P` bound for a normal value at least `z` sigmas out: `z²/2` (Chernoff). 0 for NaN.
#[must_use]
pub fn gaussian_surprise(z: f64) -> f64 {
    if z.is_nan() { 0.0 } else { z * z / 2.0 }
}

/// The score of a surprise: `1 - exp(-nats / 30)`, monotone; NaN and what is below 0 is 0.
#[must_use]
pub fn score_of(nats: f64) -> Score {
    Score::saturating(1.0 - (-nats.max(0.0) / NATS_OF_SCORE).exp())
}
