//! Whether a level that wanders also drifts, and where it goes from here.

use super::random::Random;

/// How much a level wanders a step, as a multiple of the variance of the noise on top of it: from a fixed level to a random walk.
const WANDERS: [f64; 9] = [0.0, 0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0, 32.0];
/// Fewer values say nothing of level, drift and variance together.
const MIN_VALUES: usize = 6;
/// The noise is at least this share of the values' size, for values that are exact.
const LEAST_NOISE: f64 = 1e-6;

/// What values at even steps say of the drift of their level.
///
/// The local level model with a constant drift: a value is a level plus noise, the level of the next step is this one plus the
/// drift plus a random step (A. C. Harvey 1989: "Forecasting, Structural Time Series Models and the Kalman Filter",
/// doi:10.1017/CBO9781107049994). Level and drift are unknown beforehand and are estimated by the augmented filter of P. de Jong
/// (1991): "The Diffuse Kalman Filter", doi:10.1214/aos/1176348139. How much the level wanders is not estimated: nine cases from
/// none to a random walk are each filtered and weighed by their likelihood, so what few values cannot tell stays open, and a
/// level that wanders is not taken for one that drifts.
///
/// # Examples
///
/// ```
/// # use ir_detect::stats::Drift;
/// let noise = |n: u32| f64::from(n * 7919 % 31) / 31.0;
/// let steady = Drift::of((0..60).map(|n| Some(noise(n)))).unwrap();
/// let rising = Drift::of((0..60).map(|n| Some(noise(n) + 0.1 * f64::from(n)))).unwrap();
/// assert!(steady.rising_nats() < 3.0);
/// assert!(rising.rising_nats() > 20.0);
/// assert!((rising.per_step() - 0.1).abs() < 0.01);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    fits: Vec<Fit>,
    /// Degrees of freedom of the variances.
    freedom: f64,
}

/// One case of how much the level wanders.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fit {
    /// How likely the case is, of all together 1.
    weight: f64,
    drift: f64,
    /// Of the estimate of the drift.
    drift_var: f64,
    /// The level at the last value without a drift, and by how much each unit of drift lowers it.
    level: f64,
    level_by_drift: f64,
    /// Of the estimate of the level, given the drift.
    level_var: f64,
    /// Of the noise.
    noise_var: f64,
    /// Of the level's random step.
    wander_var: f64,
}

/// One way in which things may go on, drawn from what is believed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Course {
    /// The level at the last value.
    pub level: f64,
    /// Its change a step.
    pub drift: f64,
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
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        let n = values.clone().filter(|value| finite(*value).is_some()).count();
        if n < MIN_VALUES {
            return None;
        }
        let freedom = n as f64 - 2.0;
        let size = values.clone().filter_map(finite).fold(0.0_f64, |size, value| size.max(value.abs()));
        let floor = (size * LEAST_NOISE).powi(2).max(f64::MIN_POSITIVE);
        let last = values.len() as f64 - 1.0;
        let mut fits: Vec<(f64, Fit)> = Vec::with_capacity(WANDERS.len());
        for wander in WANDERS {
            let points = values.clone().enumerate().filter_map(|(at, value)| Some((at as f64 - last, finite(value)?)));
            fits.extend(fit(points, wander, freedom, floor));
        }
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
        self.mean(|fit| fit.drift_var + (fit.drift - mean).powi(2)).sqrt()
    }

    /// The expected level at the last value.
    #[must_use]
    pub fn level(&self) -> f64 {
        self.mean(|fit| fit.level - fit.drift * fit.level_by_drift)
    }

    /// The standard deviation of the noise on top of the level.
    #[must_use]
    pub fn noise(&self) -> f64 {
        self.mean(|fit| fit.noise_var).sqrt()
    }

    /// `-ln` of the probability that the level does not rise, in nats.
    #[must_use]
    pub fn rising_nats(&self) -> f64 {
        let t = |fit: &Fit| fit.drift / fit.drift_var.sqrt();
        let parts = self.fits.iter().filter(|fit| fit.weight > 0.0);
        // Summed by the largest term, since the terms may be too small for numbers.
        let logs: Vec<f64> = parts.map(|fit| fit.weight.ln() + ln_t_tail(t(fit), self.freedom)).collect();
        let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - top).exp()).sum();
        (-(top + sum.ln())).max(0.0)
    }

    /// Draws how things may go on.
    pub fn draw(&self, random: &mut Random) -> Course {
        let mut rest = random.unit();
        let mut chosen = self.fits.first();
        for fit in &self.fits {
            chosen = Some(fit);
            rest -= fit.weight;
            if rest <= 0.0 {
                break;
            }
        }
        let Some(fit) = chosen else { return Course { level: 0.0, drift: 0.0, wander: 0.0, noise: 0.0 } };
        // Variances are a scaled inverse chi-squared; E. B. Wilson and M. M. Hilferty (1931), doi:10.1073/pnas.17.12.684.
        let ninth = 2.0 / (9.0 * self.freedom);
        let chi = (1.0 - ninth + random.normal() * ninth.sqrt()).max(0.1).powi(3);
        let scale = 1.0 / chi;
        let drift = fit.drift + random.normal() * (fit.drift_var * scale).sqrt();
        let level = fit.level - drift * fit.level_by_drift + random.normal() * (fit.level_var * scale).sqrt();
        let (wander, noise) = ((fit.wander_var * scale).sqrt(), (fit.noise_var * scale).sqrt());
        Course { level, drift, wander, noise }
    }

    fn mean(&self, of: impl Fn(&Fit) -> f64) -> f64 {
        self.fits.iter().map(|fit| fit.weight * of(fit)).sum()
    }
}

/// The log-likelihood of a case, and its estimates. `points` are steps from the last one (0 and below) and values.
fn fit(points: impl Iterator<Item = (f64, f64)>, wander: f64, freedom: f64, floor: f64) -> Option<(f64, Fit)> {
    // The filter is run on the values and on the regressor of the drift at once; what it cannot foretell of one is regressed
    // on what it cannot foretell of the other.
    let (mut at, mut level, mut slope, mut var) = (None::<f64>, 0.0, 0.0, 1.0);
    let (mut xx, mut xy, mut yy, mut logs) = (0.0, 0.0, 0.0, 0.0);
    for (step, value) in points {
        let Some(before) = at.replace(step) else {
            (level, slope) = (value, step);
            continue;
        };
        var += wander * (step - before);
        let all = var + 1.0;
        let (missed, shift) = (value - level, step - slope);
        xx += shift * shift / all;
        xy += shift * missed / all;
        yy += missed * missed / all;
        logs += all.ln();
        let gain = var / all;
        level += gain * missed;
        slope += gain * shift;
        var *= 1.0 - gain;
    }
    let drift = xy / xx;
    let noise_var = ((yy - xy * drift) / freedom).max(floor);
    let likelihood = -0.5 * (logs + xx.ln() + freedom * noise_var.ln());
    let fit = Fit {
        weight: 0.0,
        drift,
        drift_var: noise_var / xx,
        level,
        level_by_drift: slope,
        level_var: noise_var * var,
        noise_var,
        wander_var: noise_var * wander,
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
    fn a_chance_of_one_in_a_hundred_comes_about_so_often_or_less_often_where_the_level_is_fixed() {
        for (wander, noise, at_least) in [(0.0, 1.0, 0.0), (0.3, 1.0, 0.002), (1.0, 0.0, 0.002)] {
            let beyond = (0..4000_u64).filter(|seed| {
                let drift = Drift::of(values(*seed, 0.0, wander, noise).into_iter()).unwrap();
                drift.rising_nats() > 100.0_f64.ln()
            });
            let share = beyond.count() as f64 / 4000.0;
            assert!((at_least..0.03).contains(&share), "{share} with {wander}");
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
                let course = drift.draw(random);
                let walk = 15.0_f64.sqrt() * course.wander * random.normal();
                course.level + 15.0 * course.drift + walk + course.noise * random.normal()
            };
            let mut ends: Vec<f64> = (0..400).map(|_| end(&mut random)).collect();
            ends.sort_by(f64::total_cmp);
            inside += u32::from((ends[20]..ends[380]).contains(&after));
        }
        assert!((255..=285).contains(&inside), "{inside} of 300 in an interval of 90 %");
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
