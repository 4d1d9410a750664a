//! The model of one series: takes a value, says how surprising it is, learns it.

use serde::{Deserialize, Serialize};

use super::SeriesConfig;
use super::budget::{Budget, Seen};
use super::drift::{Drift, Drifts};
use super::evidence::{Distances, Evidence, Stream};
use super::expected::Expected;
use super::linear::Linear;
use super::novelty::{Novelty, SHAPE};
use super::shift::{Shift, Shifts};
use super::window::{Window, deviation, mean};
use crate::stats::RunningMedian;

/// How many values the medians follow; they must be quicker than the tails forget.
const MEDIAN_VALUES: f64 = 1000.0;
/// Values that the deviation looks at.
const LIVELY: usize = 12;
/// Deviations below this share of the usual distance are a flat line and not told apart.
const FLAT: f64 = 1e-3;
/// Keeps the logarithm of no deviation at all within 28 of that of 1.
const NOTHING: f64 = 1e-12;
/// Above this sum a value is hot: of a hot run, each value counts less for the history than the one before, so that an episode
/// does not become the rule; after so many of them it is the rule.
const HOT_NATS: f64 = 20.0;
const LEAST_SHARE: f64 = 0.2;
const ACCEPTED: f64 = 100.0;
/// Errors of the foretold beyond so many deviations count as that: outliers must not bend the model.
const CLIP_ERROR: f64 = 5.0;
/// How fast the interval between values is followed.
const INTERVAL_RATE: f64 = 0.05;
/// Larger numbers have squares that are not finite; what is beyond counts as this.
const LARGEST: f64 = 1e150;

/// What a model says of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// The summed surprise in nats, with the alert budget taken off; comparable with
    /// [`limit_nats`](SeriesConfig::limit_nats). At least 0; 0 while the model is warming up.
    pub nats: f64,
    /// Whether this value begins an episode that people should hear of, or makes one clearly worse.
    pub alert: bool,
    /// Whether it is unusual enough for an episode to go on.
    pub hot: bool,
    /// What was expected, in the unit of the values.
    pub expected: f64,
    /// What brought most of the surprise.
    pub most: Stream,
    /// The level has changed and stays so; told once, some ten values after it began, unless an alert has told it. It is no part
    /// of `nats`, and has a history and a budget of its own.
    pub shift: Option<Shift>,
    /// For hours the values have been off what was promised; told at most once a day, unless an alert has just told it.
    pub drift: Option<Drift>,
}

impl Judged {
    /// Whether people should hear of this value, for whatever reason.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.alert || self.shift.is_some() || self.drift.is_some()
    }
}

/// The model of one series. See the [module](super).
///
/// # Examples
///
/// ```
/// # use ir_detect::series::{SeriesConfig, SeriesModel};
/// let config = SeriesConfig::default();
/// let mut model = SeriesModel::default();
/// for minute in 0..600 {
///     let value = 50.0 + f64::from(minute * 7 % 5);
///     assert!(!model.push(f64::from(minute) * 60.0, value, &config).alert);
/// }
/// assert!(model.push(36_000.0, 400.0, &config).alert);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeriesModel {
    seen: usize,
    last_secs: Option<f64>,
    interval_secs: f64,
    values: Window,
    residuals: Window,
    expected: Expected,
    level_of_means: RunningMedian,
    usual_liveliness: RunningMedian,
    linear: Linear,
    novelty: Novelty,
    evidence: Evidence,
    hot: f64,
    budget: Budget,
    shifts: Shifts,
    drifts: Drifts,
}

impl SeriesModel {
    /// Takes the next value, at `secs` since the epoch. Times may repeat, stand still or run back: they say how often values
    /// come and which hour it is, nothing else. Values that are not finite change nothing and are no surprise.
    pub fn push(&mut self, secs: f64, value: f64, config: &SeriesConfig) -> Judged {
        let promise = self.expected.at(secs, value);
        if !value.is_finite() || !secs.is_finite() {
            return Judged {
                nats: 0.0,
                alert: false,
                hot: false,
                expected: promise.value,
                most: Stream::Value,
                shift: None,
                drift: None,
            };
        }
        let value = value.clamp(-LARGEST, LARGEST);
        self.measure_interval(secs);
        self.seen = self.seen.saturating_add(1);
        self.values.push(value);
        self.residuals.push(value - promise.value);
        let lively = self.values.last::<LIVELY>();
        let shape = self.values.last::<SHAPE>();
        let mean_now = mean(&shape);
        let flat = FLAT * promise.scale + NOTHING;
        let liveliness = (deviation(&lively) + flat).ln();
        let lag = |back: usize| lively[LIVELY - 1 - back] - promise.level;
        let inputs = [lag(1), lag(2), lag(3), lag(4), lag(5), promise.value - promise.level, promise.scale];
        let foretold = promise.level + self.linear.predict(&inputs);
        let distances: Distances = [
            value - promise.value,
            mean(&self.residuals.last::<SHAPE>()),
            mean_now - self.level_of_means.get().unwrap_or(mean_now),
            value - lively[LIVELY - 2],
            liveliness - self.usual_liveliness.get().unwrap_or(liveliness),
            self.novelty.distance(&shape),
            value - foretold,
        ];
        let weighed = self.evidence.weigh(&distances, config.cap_nats);

        let share = self.share(weighed.nats, config);
        self.evidence.learn(&weighed, share, config.half_life_values);
        self.linear.learn(&inputs, value - promise.level, promise.scale, CLIP_ERROR * promise.scale);
        let rate = 2.0 / config.half_life_values.min(MEDIAN_VALUES);
        self.level_of_means.push(mean_now, rate);
        if self.seen >= LIVELY {
            self.usual_liveliness.push(liveliness, rate);
        }
        self.novelty.learn(&shape);
        self.expected.learn(value, &promise, rate);

        let (nats, alert) = match self.seen >= config.warm_values {
            true => {
                let seen =
                    Seen { nats: weighed.nats, secs, off: value - promise.value, interval_secs: self.interval_secs };
                self.budget.judge(seen, config)
            }
            false => (0.0, false),
        };
        let shift = self.shifts.push(secs, value, promise.foreseen, self.interval_secs, config);
        let drift = self.drifts.push(secs, value - promise.value, self.interval_secs, config);
        let told = self.budget.told_within(config);
        Judged {
            nats,
            alert,
            hot: alert || weighed.nats >= HOT_NATS,
            expected: promise.value,
            most: weighed.most,
            shift: shift.filter(|_| !told),
            drift: drift.filter(|_| !told),
        }
    }

    /// How many values were seen.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// How many bytes the model holds, its own size included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // All of it lies in place; nothing is on the heap.
        size_of::<Self>()
    }

    fn measure_interval(&mut self, secs: f64) {
        if let Some(last) = self.last_secs {
            let step = secs - last;
            if step > 0.0 {
                let known = self.interval_secs > 0.0;
                // A gap is no longer interval.
                let by = INTERVAL_RATE * (step.min(3.0 * self.interval_secs) - self.interval_secs);
                self.interval_secs = if known { self.interval_secs + by } else { step };
            }
        }
        self.last_secs = Some(secs);
    }

    /// How much a value counts for the history.
    fn share(&mut self, nats: f64, config: &SeriesConfig) -> f64 {
        let hot = nats >= HOT_NATS && self.seen > config.warm_values;
        self.hot = if hot { self.hot + 1.0 } else { (self.hot - 0.5).max(0.0) };
        if hot && self.hot < ACCEPTED { (1.0 / self.hot).max(LEAST_SHARE) } else { 1.0 }
    }
}
