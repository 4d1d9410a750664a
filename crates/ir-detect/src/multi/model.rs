//! The model of several metrics: takes a row, says how surprising it is and whom to blame, learns it.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::MultiConfig;
use crate::stats::{Tail, TwoTails, eigen};

/// The components are made after so many rows, again whenever rows have doubled, and then after so many rows each.
const FIRST: usize = 64;
const RENEW: usize = 500;
/// Standardised values are clipped here, and nearer for the correlations: outliers must not make components.
const CLIP: f64 = 20.0;
const CLIP_CORRELATED: f64 = 5.0;
/// A mean or variance is moved by no more than so many deviations at once, after this many rows.
const CLIP_MOVED: f64 = 6.0;
const YOUNG: f64 = 200.0;
/// A deviation below this share of the range is not believed.
const FLOOR_OF_RANGE: f64 = 0.01;
/// How much a row counts that looks wrong.
const HOT_SHARE: f64 = 0.05;
/// A surprise that chance brings costs nothing.
const USUAL_NATS: f64 = 1.0;
/// So many metrics are named.
const NAMED: usize = 4;
const LARGEST: f64 = 1e100;

/// A metric and what it added.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blame {
    /// The place of the metric in the row.
    pub metric: usize,
    /// What it added to the sum of this row, in nats.
    pub nats: f64,
}

/// What a model says of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiJudged {
    /// The summed surprise of all metrics, smoothed, in nats. Not a log-probability: metrics depend on each other.
    pub sum: f64,
    /// How rare that sum is by its own history, in nats; 0 while the model is warming up.
    pub nats: f64,
    /// Whether `nats` has reached the limit.
    pub alert: bool,
    /// The metrics that added most to this row, most first; at most four.
    pub blame: SmallVec<[Blame; NAMED]>,
}

/// The model of a row of metrics. See the [module](super).
///
/// A row costs O(n² + n · components), and O(n³) every 500 rows. Memory: about 2 KB and 8 n bytes a metric.
///
/// # Examples
///
/// ```
/// # use ir_detect::multi::{MultiConfig, MultiModel};
/// let (config, mut model) = (MultiConfig::default(), MultiModel::new(3));
/// for step in 0..2000 {
///     let load = f64::from(step * 37 % 100);
///     model.push(&[load, 2.0 * load, 50.0 - load], &config);
/// }
/// // Each value alone is usual; together they are not.
/// let judged = model.push(&[90.0, 20.0, -40.0], &config);
/// assert_eq!(judged.blame[0].metric, 1);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MultiModel {
    metrics: Vec<Metric>,
    /// The lower triangle of the correlations, by rows.
    correlations: Vec<Vec<f64>>,
    components: Vec<Vec<f64>>,
    seen: usize,
    learned: f64,
    smoothed: f64,
    sums: Tail,
}

/// One metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Metric {
    mean: f64,
    variance: f64,
    /// Lowest and highest value seen; `None` before the first.
    range: Option<[f64; 2]>,
    residuals: TwoTails,
}

impl MultiModel {
    /// For rows of `metrics` values.
    #[must_use]
    pub fn new(metrics: usize) -> Self {
        Self {
            metrics: vec![Metric::default(); metrics],
            correlations: (0..metrics).map(|row| vec![0.0; row + 1]).collect(),
            components: Vec::new(),
            seen: 0,
            learned: 0.0,
            smoothed: 0.0,
            sums: Tail::default(),
        }
    }

    /// Takes the next row. Values that are missing or not finite are taken to be as usual; values beyond the model's width are
    /// left out.
    pub fn push(&mut self, row: &[f64], config: &MultiConfig) -> MultiJudged {
        self.seen = self.seen.saturating_add(1);
        let standard: Vec<f64> =
            self.metrics.iter().enumerate().map(|(at, metric)| metric.standard(row.get(at))).collect();
        let residuals = self.residuals(&standard);
        let surprise = |at: usize| {
            let nats = self.metrics[at].residuals.surprise(residuals[at]);
            Blame { metric: at, nats: (nats - USUAL_NATS).clamp(0.0, config.cap_nats) }
        };
        let mut blame: Vec<Blame> = (0..self.metrics.len()).map(surprise).collect();
        let sum: f64 = blame.iter().map(|blame| blame.nats).sum();
        blame.retain(|blame| blame.nats > 0.0);
        // One metric that is off takes along those that hang together with it, all up to the cap; it has the largest residual.
        let order = |a: &Blame, b: &Blame| {
            let size = |blame: &Blame| residuals[blame.metric].abs();
            b.nats.total_cmp(&a.nats).then(size(b).total_cmp(&size(a)))
        };
        blame.sort_by(order);
        let blame = blame.into_iter().take(NAMED).collect();
        self.smoothed += (sum - self.smoothed) / config.smooth_rows.max(1.0);
        let nats = if self.seen > config.warm_rows { self.sums.surprise(self.smoothed) } else { 0.0 };
        self.learn(row, &standard, &residuals, if nats > config.hot_nats { HOT_SHARE } else { 1.0 }, config);
        MultiJudged { sum: self.smoothed, nats, alert: nats >= config.limit_nats, blame }
    }

    /// How many rows were seen.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// How many bytes the model holds, its own size included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let metrics: usize = self.metrics.iter().map(|metric| size_of::<Metric>() + metric.residuals.held()).sum();
        let cells = self.correlations.iter().chain(&self.components).map(Vec::len).sum::<usize>();
        size_of::<Self>() + metrics + self.sums.held() + cells * size_of::<f64>()
    }

    /// What the components leave over.
    fn residuals(&self, standard: &[f64]) -> Vec<f64> {
        let mut left = standard.to_vec();
        for component in &self.components {
            let along: f64 = component.iter().zip(standard).map(|(a, b)| a * b).sum();
            left.iter_mut().zip(component).for_each(|(value, weight)| *value -= along * weight);
        }
        left
    }

    fn learn(&mut self, row: &[f64], standard: &[f64], residuals: &[f64], share: f64, config: &MultiConfig) {
        self.learned += 1.0;
        let rate = share * (1.0 / self.learned).max(1.0 / config.half_life_rows);
        let young = self.learned <= YOUNG;
        // Before there are components, what is left over is everything, and no measure for later.
        let measured = self.seen > FIRST;
        for (at, metric) in self.metrics.iter_mut().enumerate() {
            metric.learn(row.get(at).copied(), rate, young);
            if measured {
                metric.residuals.push(residuals[at], share, config.half_life_rows);
            }
        }
        let near: Vec<f64> = standard.iter().map(|value| value.clamp(-CLIP_CORRELATED, CLIP_CORRELATED)).collect();
        for (row, line) in self.correlations.iter_mut().enumerate() {
            for (cell, other) in line.iter_mut().zip(&near) {
                *cell += rate * (near[row] * other - *cell);
            }
        }
        if measured {
            self.sums.push(self.smoothed, share, config.half_life_rows);
        }
        let doubled = self.seen < RENEW && self.seen >= FIRST && self.seen.is_power_of_two();
        if doubled || self.seen.is_multiple_of(RENEW) {
            self.renew(config.explained);
        }
    }

    fn renew(&mut self, explained: f64) {
        let n = self.metrics.len();
        let cell = |row: usize, column: usize| self.correlations[row.max(column)][row.min(column)];
        let whole: Vec<Vec<f64>> = (0..n).map(|row| (0..n).map(|column| cell(row, column)).collect()).collect();
        let found = eigen(&whole);
        let total: f64 = found.iter().map(|(value, _)| value.max(0.0)).sum();
        let mut sum = 0.0;
        self.components.clear();
        for (value, vector) in found {
            if sum >= explained * total {
                break;
            }
            sum += value;
            self.components.push(vector);
        }
    }
}

impl Metric {
    /// How many deviations a value lies off; 0 for what is missing.
    fn standard(&self, value: Option<&f64>) -> f64 {
        let Some(value) = value.filter(|value| value.is_finite()) else { return 0.0 };
        let range = self.range.map_or(0.0, |[low, high]| high - low);
        let deviation = self.variance.max(0.0).sqrt().max(FLOOR_OF_RANGE * range).max(f64::MIN_POSITIVE);
        let distance = value.clamp(-LARGEST, LARGEST) - self.mean;
        if distance == 0.0 { 0.0 } else { (distance / deviation).clamp(-CLIP, CLIP) }
    }

    fn learn(&mut self, value: Option<f64>, rate: f64, young: bool) {
        let Some(value) = value.filter(|value| value.is_finite()) else { return };
        let value = value.clamp(-LARGEST, LARGEST);
        let [low, high] = self.range.unwrap_or([value; 2]);
        self.range = Some([low.min(value), high.max(value)]);
        let most = CLIP_MOVED * self.variance.max(0.0).sqrt() + f64::MIN_POSITIVE;
        let distance = value - self.mean;
        let distance = if young { distance } else { crate::stats::within(distance, most) };
        self.mean += rate * distance;
        self.variance = (1.0 - rate) * (self.variance + rate * distance * distance);
    }
}
