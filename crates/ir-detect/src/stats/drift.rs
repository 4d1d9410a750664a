//! Whether a level that wanders also drifts, and where it goes from here.

use super::random::Random;

/// How the level moves about its line, as (share kept a step, variance of a step as a multiple of that of the noise on top): not
/// at all, as a random walk that never comes back, and as what comes back after some steps or some dozens.
const CASES: [Case; 12] = [
    Case(1.0, 0.0),
    Case(1.0, 0.004),
    Case(1.0, 0.03),
    Case(1.0, 0.25),
    Case(1.0, 2.0),
    Case(1.0, 32.0),
    Case(0.8, 0.1),
    Case(0.8, 1.0),
    Case(0.8, 10.0),
    Case(0.95, 0.03),
    Case(0.95, 0.3),
    Case(0.95, 3.0),
];
/// Fewer values say nothing of level, drift and variance together.
const MIN_VALUES: usize = 6;
/// The noise is at least this share of the values' size, for values that are exact.
const LEAST_NOISE: f64 = 1e-6;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Case(f64, f64);

/// What values at even steps say of the drift of their level.
///
/// A value is a line, a level that moves about it, and noise: a structural model with a constant drift (A. C. Harvey 1989:
/// "Forecasting, Structural Time Series Models and the Kalman Filter", doi:10.1017/CBO9781107049994). The line is unknown
/// beforehand and is estimated with the augmented filter of P. de Jong (1991): "The Diffuse Kalman Filter",
/// doi:10.1214/aos/1176348139. How the level moves is not estimated: twelve cases from a fixed level to a random walk are each
/// filtered and weighed by their likelihood, so what few values cannot tell stays open, and a level that wanders is not taken
/// for one that drifts.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::Drift;
/// let noise = |n: u32| f64::from(n * 7919 % 31) / 31.0;
/// let steady = Drift::of((0..60).map(|n| Some(noise(n)))).unwrap();
/// let rising = Drift::of((0..60).map(|n| Some(noise(n) + 0.1 * f64::from(n)))).unwrap();
/// assert!(steady.rising_nats() < 3.0);
/// assert!(rising.rising_nats() > 15.0);
/// assert!((rising.per_step() - 0.1).abs() < 0.01);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    fits: Vec<Fit>,
    /// Degrees of freedom of the variances.
    freedom: f64,
}

/// One case of how the level moves.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fit {
    case: Case,
    /// How likely the case is, of all together 1.
    weight: f64,
    /// The line at the last value, and its rise a step.
    line: f64,
    drift: f64,
    /// Deviations of these estimates: of the drift, what the line's goes with it, and what is left of the line's.
    drift_sd: f64,
    line_by_drift: f64,
    line_sd: f64,
    /// How far the level lies off the line at the last value: of the values alone, less what line and drift take of it.
    off: f64,
    off_by_line: f64,
    off_by_drift: f64,
    off_sd: f64,
    noise_sd: f64,
}

/// One way in which things may go on, drawn from what is believed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Course {
    /// The line at the last value, and its rise a step.
    pub line: f64,
    /// See `line`.
    pub drift: f64,
    /// How far the level lies off the line at the last value.
    pub off: f64,
    /// The share of that which is kept a step: 1 for a random walk.
    pub keep: f64,
    /// The standard deviation of the level's random step.
    pub wander: f64,
    /// The standard deviation of the noise on top.
    pub noise: f64,
}

impl Drift {
    /// From values at even steps, oldest first; `None` where one is missing, and what is not finite counts as missing. `None`
    /// with fewer than six values.
    #[must_use]
    pub fn of(values: impl DoubleEndedIterator<Item = Option<f64>> + ExactSizeIterator + Clone) -> Option<Self> {
        let last = values.len() as f64 - 1.0;
        let finite =
            |(at, value): (usize, Option<f64>)| Some((at as f64 - last, value.filter(|value| value.is_finite())?));
        let points: Vec<(f64, f64)> = values.enumerate().filter_map(finite).collect();
        if points.len() < MIN_VALUES {
            return None;
        }
        let freedom = points.len() as f64 - 2.0;
        let size = points.iter().fold(0.0_f64, |size, (_, value)| size.max(value.abs()));
        let floor = (size * LEAST_NOISE).powi(2).max(f64::MIN_POSITIVE);
        let fits: Vec<(f64, Fit)> = CASES.iter().filter_map(|case| fit(&points, *case, freedom, floor)).collect();
        let best = fits.iter().map(|(likelihood, _)| *likelihood).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = fits.iter().map(|(likelihood, _)| (likelihood - best).exp()).sum();
        if !(total.is_finite() && total > 0.0) {
            return None;
        }
        let weighed = |(likelihood, fit): (f64, Fit)| Fit { weight: (likelihood - best).exp() / total, ..fit };
        Some(Self { fits: fits.into_iter().map(weighed).collect(), freedom })
    }

    /// The expected change of the level a step.
    #[must_use]
    pub fn per_step(&self) -> f64 {
        self.mean(|fit| fit.drift)
    }

    /// How unsure [`Drift::per_step`] is: a standard deviation.
    #[must_use]
    pub fn per_step_sd(&self) -> f64 {
        let mean = self.per_step();
        self.mean(|fit| fit.drift_sd.powi(2) + (fit.drift - mean).powi(2)).sqrt()
    }

    /// The expected level at the last value.
    #[must_use]
    pub fn level(&self) -> f64 {
        self.mean(|fit| fit.line + fit.off - fit.line * fit.off_by_line - fit.drift * fit.off_by_drift)
    }

    /// `-ln` of the probability that the level does not rise, in nats.
    #[must_use]
    pub fn rising_nats(&self) -> f64 {
        let t = |fit: &Fit| fit.drift / fit.drift_sd;
        let parts = self.fits.iter().filter(|fit| fit.weight > 0.0);
        // Summed by the largest term, since the terms may be too small for numbers.
        let logs: Vec<f64> = parts.map(|fit| fit.weight.ln() + ln_t_tail(t(fit), self.freedom)).collect();
        let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - top).exp()).sum();
        (-(top + sum.ln())).max(0.0)
    }

    /// Draws how things may go on; `None` when nothing could be told at all.
    pub fn draw(&self, random: &mut Random) -> Option<Course> {
        let mut rest = random.unit();
        let found = self.fits.iter().find(|fit| {
            rest -= fit.weight;
            rest <= 0.0
        });
        let fit = found.or(self.fits.last())?;
        // Variances are a scaled inverse chi-squared; E. B. Wilson and M. M. Hilferty (1931), doi:10.1073/pnas.17.12.684.
        let ninth = 2.0 / (9.0 * self.freedom);
        let chi = (1.0 - ninth + random.normal() * ninth.sqrt()).max(0.1).powi(3);
        let scale = chi.sqrt().recip();
        let rise = fit.drift_sd * scale * random.normal();
        let drift = fit.drift + rise;
        let line = fit.line + fit.line_by_drift * rise + fit.line_sd * scale * random.normal();
        let off = fit.off - line * fit.off_by_line - drift * fit.off_by_drift + fit.off_sd * scale * random.normal();
        let noise = fit.noise_sd * scale;
        Some(Course { line, drift, off, keep: fit.case.0, wander: noise * fit.case.1.sqrt(), noise })
    }

    fn mean(&self, of: impl Fn(&Fit) -> f64) -> f64 {
        self.fits.iter().map(|fit| fit.weight * of(fit)).sum()
    }
}

/// What the filter makes of a value, of the line's height and of its rise: all three are filtered alike, and what it cannot
/// foretell of the first is regressed on what it cannot foretell of the others.
type Triple = [f64; 3];

/// The log-likelihood of a case, and its estimates. `points` are steps from the last one (0 and below) and values.
fn fit(points: &[(f64, f64)], case: Case, freedom: f64, floor: f64) -> Option<(f64, Fit)> {
    let Case(keep, wander) = case;
    let comes_back = keep < 1.0;
    let (first, rest) = points.split_first()?;
    // A random walk may begin anywhere: its height takes the place of the line's, and the first value only sets it.
    let (mut mean, mut var): (Triple, f64) =
        if comes_back { ([0.0; 3], wander / (1.0 - keep * keep)) } else { ([first.1, 0.0, first.0], 1.0) };
    let (mut at, mut logs, mut squares) = (first.0, 0.0, [[0.0; 3]; 3]);
    for (step, value) in if comes_back { points } else { rest } {
        let steps = step - at;
        at = *step;
        if comes_back {
            let kept = keep.powf(steps);
            mean.iter_mut().for_each(|mean| *mean *= kept);
            var = kept * kept * var + wander * (1.0 - kept * kept) / (1.0 - keep * keep);
        } else {
            var += wander * steps;
        }
        let all = var + 1.0;
        let height = if comes_back { 1.0 } else { 0.0 };
        let missed = [value - mean[0], height - mean[1], step - mean[2]];
        for (row, a) in squares.iter_mut().zip(missed) {
            row.iter_mut().zip(missed).for_each(|(square, b)| *square += a * b / all);
        }
        logs += all.ln();
        let gain = var / all;
        mean.iter_mut().zip(missed).for_each(|(mean, missed)| *mean += gain * missed);
        var *= 1.0 - gain;
    }
    let [[yy, y1, yx], [_, one, one_x], [_, _, xx]] = squares;
    // The rise, after what the height explains of it.
    let line_by_drift = if comes_back { -one_x / one } else { 0.0 };
    let xx = xx + one_x * line_by_drift;
    let drift = (yx + y1 * line_by_drift) / xx;
    let line = if comes_back { y1 / one + line_by_drift * drift } else { 0.0 };
    let left = yy - drift * yx - line * y1;
    let noise_var = (left / freedom).max(floor);
    let heights = if comes_back { one.ln() } else { 0.0 };
    let likelihood = -0.5 * (logs + xx.ln() + heights + freedom * noise_var.ln());
    let sd = |of: f64| (noise_var * of).sqrt();
    let fit = Fit {
        case,
        weight: 0.0,
        line,
        drift,
        drift_sd: sd(xx.recip()),
        line_by_drift,
        line_sd: if comes_back { sd(one.recip()) } else { 0.0 },
        off: mean[0],
        off_by_line: mean[1],
        off_by_drift: mean[2],
        off_sd: sd(var),
        noise_sd: noise_var.sqrt(),
    };
    likelihood.is_finite().then_some((likelihood, fit))
}

/// `ln P(T <= -t)` of Student's distribution. D. L. Wallace (1959): "Bounds on Normal Approximations to Student's and the
/// Chi-Square Distributions", doi:10.1214/aoms/1177706093: within some hundredths of a nat from 4 degrees of freedom on.
fn ln_t_tail(t: f64, freedom: f64) -> f64 {
    let z = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0) * (freedom * (t * t / freedom).ln_1p()).sqrt();
    if t >= 0.0 { ln_normal_tail(z) } else { (-ln_normal_tail(z).exp()).ln_1p() }
}

/// `ln P(Z >= z)` for `z >= 0` by the upper bound `2 / (z + sqrt(z² + 8/π))` of Mills' ratio, which is exact at 0 (H. O. Pollak
/// 1956: "A Remark on Elementary Inequalities for Mills' Ratio", doi:10.1002/sapm195635199) and nowhere off by .06 nats.
fn ln_normal_tail(z: f64) -> f64 {
    let width = z + (z * z + 8.0 / std::f64::consts::PI).sqrt();
    -0.5 * z * z + (2.0 / width).ln() - 0.5 * std::f64::consts::TAU.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of a level that starts at 100, drifts, wanders and is seen through noise.
    fn values(seed: u64, drift: f64, wander: f64, noise: f64) -> Vec<Option<f64>> {
        let mut random = Random::new(seed);
        let mut level = 100.0;
        let mut next = || {
            level += drift + wander * random.normal();
            Some(level + noise * random.normal())
        };
        (0..64).map(|_| next()).collect()
    }

    #[test]
    fn a_chance_of_one_in_a_hundred_is_about_one_whatever_the_level_does() {
        // Less often for a level that is fixed, more often for one that wanders so slowly that it might as well come back.
        for (wander, noise, at_least) in [(0.0, 1.0, 0.0), (0.3, 1.0, 0.002), (1.0, 0.0, 0.002)] {
            let beyond = (0..4000_u64).filter(|seed| {
                let drift = Drift::of(values(*seed, 0.0, wander, noise).into_iter()).unwrap();
                drift.rising_nats() > 100.0_f64.ln()
            });
            let share = beyond.count() as f64 / 4000.0;
            assert!((at_least..0.04).contains(&share), "{share} with {wander}");
        }
    }

    #[test]
    fn what_is_drawn_goes_where_it_went() {
        let mut inside = 0;
        for seed in 0..300_u64 {
            let mut all = values(seed, 0.5, 0.5, 1.0);
            let after = all[63].unwrap();
            all.truncate(48);
            let drift = Drift::of(all.into_iter()).unwrap();
            let mut random = Random::new(seed);
            let end = |random: &mut Random| {
                let course = drift.draw(random).unwrap();
                let step = |off: f64, random: &mut Random| course.keep * off + course.wander * random.normal();
                let off = (0..15).fold(course.off, |off, _| step(off, random));
                course.line + 15.0 * course.drift + off + course.noise * random.normal()
            };
            let mut ends: Vec<f64> = (0..400).map(|_| end(&mut random)).collect();
            ends.sort_by(f64::total_cmp);
            inside += u32::from((ends[20]..ends[380]).contains(&after));
        }
        assert!((240..=285).contains(&inside), "{inside} of 300 in an interval of 90 %");
    }

    #[test]
    fn gaps_constants_and_nonsense_do_no_harm() {
        assert_eq!(Drift::of([Some(1.0); 5].into_iter()), None);
        assert_eq!(Drift::of([Some(f64::NAN), None, Some(f64::INFINITY)].into_iter()), None);
        let flat = Drift::of([Some(3.0); 20].into_iter()).unwrap();
        assert!(flat.rising_nats() < 1.0 && flat.per_step().abs() < 1e-9);
        let gaps = (0..40).map(|n| (n % 3 != 0).then_some(f64::from(n)));
        let gaps = Drift::of(gaps).unwrap();
        assert!((gaps.per_step() - 1.0).abs() < 1e-6 && (gaps.level() - 39.0).abs() < 1e-3);
        let huge = Drift::of((0..20).map(|n| Some(f64::from(n) * 1e300)));
        assert!(huge.is_none_or(|drift| !drift.rising_nats().is_nan()));
    }

    #[test]
    fn the_tail_is_that_of_the_tables() {
        // Two-sided tables of Student's distribution: 2.228 at 10 degrees has 2.5 % above, 4.587 has .05 %.
        for (t, freedom, above) in
            [(2.228, 10.0, 0.025), (4.587, 10.0, 0.0005), (3.460, 60.0, 0.0005), (0.0, 10.0, 0.5)]
        {
            let found = ln_t_tail(t, freedom);
            assert!((found - f64::ln(above)).abs() < 0.15, "{t} {freedom}: {} not {above}", found.exp());
        }
        assert!((ln_t_tail(-2.228, 10.0).exp() - 0.975).abs() < 0.01);
    }
}
