//! What makes series look like those of machines and people.

use incident_response::detect::stats::Random;

/// A minute.
pub const MINUTE: f64 = 60.0;
/// An hour.
pub const HOUR: f64 = 3600.0;
/// A day.
pub const DAY: f64 = 86_400.0;

/// Between two values, each as likely.
pub fn between(random: &mut Random, low: f64, high: f64) -> f64 {
    low + (high - low) * random.unit()
}

/// Between two values above 0, each order of size as likely.
pub fn order_between(random: &mut Random, low: f64, high: f64) -> f64 {
    between(random, low.ln(), high.ln()).exp()
}

/// Whether something happens that does with probability `p`.
pub fn chance(random: &mut Random, p: f64) -> bool {
    random.unit() < p
}

/// How busy people are: 1 on average over a working day.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// 0 is even, 1 has silent nights.
    swing: f64,
    /// What is left of it on Saturday and Sunday.
    weekend: f64,
    /// The hour of the day that is busiest.
    peak_hour: f64,
    /// The second hump of the day.
    second: f64,
}

impl Traffic {
    /// Draws one.
    pub fn draw(random: &mut Random) -> Self {
        Self {
            swing: between(random, 0.0, 0.9),
            weekend: between(random, 0.4, 1.0),
            peak_hour: between(random, 0.0, 24.0),
            second: between(random, 0.0, 0.3),
        }
    }

    /// At a time in seconds since the epoch, from 0.02 on.
    pub fn at(&self, secs: f64) -> f64 {
        let turn = (secs / DAY - self.peak_hour / 24.0) * std::f64::consts::TAU;
        let day = 1.0 + self.swing * turn.cos() + self.swing * self.second * (2.0 * turn).cos();
        // The epoch was a Thursday.
        let weekday = ((secs / DAY).floor() + 4.0).rem_euclid(7.0);
        let week = if weekday == 0.0 || weekday == 6.0 { self.weekend } else { 1.0 };
        (day * week).max(0.02)
    }
}

/// Noise that remembers: a first-order autoregression with standard deviation 1.
#[derive(Debug, Clone, Copy)]
pub struct Remembering {
    value: f64,
    keep: f64,
}

impl Remembering {
    /// It forgets by `e` in `tau_secs`; a step is `interval_secs`.
    pub fn new(random: &mut Random, tau_secs: f64, interval_secs: f64) -> Self {
        Self { value: random.normal(), keep: (-interval_secs / tau_secs).exp() }
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The next value.
    pub fn next(&mut self, random: &mut Random) -> f64 {
        self.value = self.keep * self.value + (1.0 - self.keep * self.keep).sqrt() * random.normal();
        self.value
    }
}
