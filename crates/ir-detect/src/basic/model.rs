//! One series in 248 bytes: takes a value, says how surprising it is, learns it.

use serde::{Deserialize, Serialize};

use super::BasicConfig;
use super::knee::Knee;
use super::season::{Season, hour};
use crate::stats::RunningMedian;

/// How fast the short mean follows: about eight values.
const SHORT_RATE: f32 = 0.22;
/// The rate of values for which the limit is stated, in seconds.
const STATED_SECS: f32 = 300.0;
/// How fast the interval between values is followed.
const INTERVAL_RATE: f32 = 0.05;
/// However many alerts came, the limit is raised by no more than this.
const MOST_NATS: f32 = 40.0;
/// A limit that is raised by less is not raised.
const FORGOTTEN_NATS: f32 = 0.01;
/// So many times the surprise of the last alert is worth another one at once.
const CLEARLY_WORSE: f32 = 1.2;
/// This share of the limit is hot: of a hot run each value counts less than the one before, until it is the rule.
const HOT_SHARE: f32 = 0.7;
const LEAST_SHARE: f32 = 0.2;
const ACCEPTED: f32 = 100.0;
/// Distances count up to this many spreads, and values up to this size: beyond it single precision and squares end.
const FARTHEST: f32 = 1e12;
const LARGEST: f64 = 1e150;
/// Level and spread are not worth measuring with before so many values.
const SETTLED: u32 = 16;
/// A spread below this share of the level is rounding.
const ROUNDING: f64 = 1e-9;

/// What a model says of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// The summed surprise in nats with the alert budget taken off; comparable with [`limit_nats`](BasicConfig::limit_nats). At
    /// least 0; 0 while the model is warming up.
    pub nats: f32,
    /// Whether this value begins an episode that people should hear of, or makes one clearly worse.
    pub alert: bool,
    /// Whether it is unusual enough for an episode to go on.
    pub hot: bool,
    /// What was expected, in the unit of the values.
    pub expected: f64,
}

/// The model of one series. See the [module](super).
///
/// # Examples
///
/// ```
/// # use ir_detect::basic::{BasicConfig, BasicModel};
/// let config = BasicConfig::default();
/// let mut model = BasicModel::default();
/// for minute in 0..600 {
///     let value = 50.0 + f64::from(minute * 7 % 5);
///     assert!(!model.push(f64::from(minute) * 60.0, value, &config).alert);
/// }
/// assert!(model.push(36_000.0, 400.0, &config).alert);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct BasicModel {
    level: RunningMedian,
    last: f64,
    last_secs: f64,
    /// The mean absolute step.
    step: f64,
    interval_secs: f32,
    seen: u32,
    /// The mean of the last eight distances from what was expected, in spreads.
    short: f32,
    /// Above and below: of the distance, of the short mean; and of the step, which falls as it rises.
    knees: [Knee; 5],
    hot: f32,
    raised: f32,
    last_alert: f32,
    since_alert: u16,
    season: Season,
}

impl BasicModel {
    /// Takes the next value, at `secs` since the epoch. Times may repeat, stand still or run back: they say how often values
    /// come and which hour it is, nothing else. Values that are not finite change nothing and are no surprise.
    pub fn push(&mut self, secs: f64, value: f64, config: &BasicConfig) -> Judged {
        if !value.is_finite() || !secs.is_finite() {
            return Judged { nats: 0.0, alert: false, hot: false, expected: self.level.get().unwrap_or(value) };
        }
        let value = value.clamp(-LARGEST, LARGEST);
        if self.seen == 0 {
            (self.seen, self.last, self.last_secs) = (1, value, secs);
            self.level.push(value, 1.0);
            return Judged { nats: 0.0, alert: false, hot: false, expected: value };
        }
        self.measure_interval(secs);
        self.seen = self.seen.saturating_add(1);
        let rate = (2.0 / config.half_life_values).max(1.0 / self.seen as f32);

        let level = self.level.get().unwrap_or(value);
        let spread = self.level.deviation().max(ROUNDING * level.abs()).max(f64::MIN_POSITIVE);
        let hour = hour(secs);
        let off = in_spreads(value - level, spread);
        let promised = self.season.promise(hour);
        let residual = off - promised;
        let short = self.short + SHORT_RATE * (residual - self.short);
        let step = in_spreads((value - self.last).abs(), self.step.max(ROUNDING * level.abs()).max(f64::MIN_POSITIVE));

        let distances = [residual, -residual, short, -short, step].map(|distance| distance.clamp(0.0, FARTHEST));
        let nats: f32 = self.knees.iter().zip(distances).map(|(knee, at)| knee.surprise(at).min(config.cap_nats)).sum();

        // Most values are within every knee, and then there is nothing to weigh.
        let warm = nats > 0.0 && self.seen > config.warm_values;
        let limit = if warm { self.limit(config) } else { config.limit_nats };
        let hot = warm && nats > HOT_SHARE * limit;
        let share = self.share(hot);
        if let Some(settled) = self.seen.checked_sub(SETTLED) {
            let rate = (2.0 / config.half_life_values).max(1.0 / (settled + 2) as f32);
            for (knee, distance) in self.knees.iter_mut().zip(distances) {
                knee.learn(distance, rate, share);
            }
            self.short = short.clamp(-FARTHEST, FARTHEST);
            self.season.learn(hour, off, 1.0);
        }
        self.step += f64::from(rate) * ((value - self.last).abs().min(8.0 * self.step_or(value)) - self.step);
        self.level.push(value, f64::from(rate));
        self.last = value;

        self.rest(config);
        let (left, alert) = if warm { self.judge(nats, limit, config) } else { (0.0, false) };
        let hot = hot || alert;
        Judged { nats: left, alert, hot, expected: level + f64::from(promised) * spread }
    }

    /// How many values were seen.
    #[must_use]
    pub fn seen(&self) -> u32 {
        self.seen
    }

    /// The usual step, or this one as long as there was none.
    fn step_or(&self, value: f64) -> f64 {
        if self.step > 0.0 { self.step } else { (value - self.last).abs() }
    }

    fn measure_interval(&mut self, secs: f64) {
        let step = (secs - self.last_secs) as f32;
        self.last_secs = secs;
        if step > 0.0 && step.is_finite() {
            // A gap is no longer interval.
            let by = INTERVAL_RATE * (step.min(3.0 * self.interval_secs) - self.interval_secs);
            self.interval_secs = if self.interval_secs > 0.0 { self.interval_secs + by } else { step };
        }
    }

    /// The limit at the rate at which values come, without what alerts have raised it by.
    fn limit(&self, config: &BasicConfig) -> f32 {
        config.limit_nats + config.limit_rises_nats * (STATED_SECS / self.interval_secs.max(1.0)).ln()
    }

    /// How much a value counts for the history.
    fn share(&mut self, hot: bool) -> f32 {
        self.hot = if hot { self.hot + 1.0 } else { (self.hot - 0.5).max(0.0) };
        if hot && self.hot < ACCEPTED { (1.0 / self.hot).max(LEAST_SHARE) } else { 1.0 }
    }

    /// One more value since the last alert.
    fn rest(&mut self, config: &BasicConfig) {
        self.since_alert = self.since_alert.saturating_add(1);
        if self.raised > 0.0 {
            let raised = self.raised - self.raised * std::f32::consts::LN_2 / config.rest_values;
            self.raised = if raised > FORGOTTEN_NATS { raised } else { 0.0 };
        }
    }

    fn judge(&mut self, nats: f32, limit: f32, config: &BasicConfig) -> (f32, bool) {
        let left = nats - self.raised;
        let again = self.since_alert > config.quiet_values || nats > CLEARLY_WORSE * self.last_alert;
        let alert = left >= limit && (again || self.last_alert == 0.0);
        if alert {
            self.raised = (self.raised + config.rest_nats).min(MOST_NATS);
            (self.since_alert, self.last_alert) = (0, nats);
        }
        ((left + config.limit_nats - limit).max(0.0), alert)
    }
}

/// A distance in spreads; both may be as small and as large as numbers go.
fn in_spreads(distance: f64, spread: f64) -> f32 {
    let far = f64::from(FARTHEST);
    (distance / spread).clamp(-far, far) as f32
}
