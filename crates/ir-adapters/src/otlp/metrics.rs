//! Metrics of OTLP as the series that a scrape of the same process would give.
//!
//! Cumulative monotonic sums are counters, other cumulative sums are gauges. Delta sums and histograms are added up here, from
//! the first one that is heard: a counter that starts again at 0 with this process. A histogram is `_bucket`, `_sum` and `_count`;
//! of an exponential one, whose buckets change their bounds as they fill, only `_sum` and `_count`. A point without a recorded
//! value says that its series ended, and gives nothing.

use ir_core::{EntityId, Labels, MetricKind, MetricSample, Series, Timestamp};

use super::budget::List;
use super::model::{Data, HistogramPoint, KeyValue, Metric, NumberPoint, SummaryPoint};
use super::names::{self, Form};
use super::take::{MAX_ATTRIBUTES, MAX_TEXT_BYTES, Taker, text};
use crate::inbox::{SeriesTable, told};
use crate::shared::sources::Sources;

/// The most buckets of one histogram.
const MAX_BUCKETS: usize = 512;
/// The most quantiles of one summary.
const MAX_QUANTILES: usize = 64;
/// What a sample takes while it waits, its series aside.
const SAMPLE_BYTES: usize = size_of::<MetricSample>();

const DELTA: i64 = 1;
const CUMULATIVE: i64 = 2;
const NO_RECORDED_VALUE: u64 = 1;

/// What is remembered of a series whose values come as differences.
#[derive(Debug, Default)]
pub(super) struct Total {
    sum: f64,
    /// The end of the last difference, in nanoseconds.
    until: u64,
    /// The processes that a cumulative series comes from, by when their values began.
    sources: Sources,
}

/// The time of a point, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// When its value began to be counted; 0 where that is not known.
    start: u64,
    end: u64,
    /// Whether its value is what came in between.
    delta: bool,
}

/// Where the points of one metric belong.
struct Place<'p> {
    entity: &'p EntityId,
    name: String,
    unit: String,
    /// Labels that the resource brings.
    labels: &'p Labels,
}

/// One sample on its way: the ending of its metric's name, how it behaves, a label more, and the value.
type Part = (&'static str, MetricKind, Option<(&'static str, String)>, f64);

impl Taker<'_> {
    pub(super) fn take_metric(&mut self, metric: &Metric<'_>, series: &mut SeriesTable<Total>) {
        let n = n_points(metric);
        let Some(entity) = self.about(n) else { return };
        let labels = self.labels.clone();
        if let Err(problem) = self.metric(&entity, &labels, metric, series) {
            self.taken.drop_some(n, || format!("metric `{}` {problem}", told(&metric.name.0)));
        }
    }

    fn metric(
        &mut self,
        entity: &EntityId,
        labels: &Labels,
        metric: &Metric<'_>,
        series: &mut SeriesTable<Total>,
    ) -> Result<(), &'static str> {
        if metric.name.0.is_empty() || metric.name.0.len() > MAX_TEXT_BYTES {
            return Err("has a name that is none");
        }
        let place = |form| {
            let (name, unit) = names::metric(&metric.name.0, &metric.unit.0, form);
            Place { entity, name, unit, labels }
        };
        if let Some(data) = &metric.gauge {
            self.numbers(&place(Form::Gauge), data, MetricKind::Gauge, false, series);
        }
        if let Some(data) = &metric.sum {
            match (data.aggregation_temporality.0, data.is_monotonic.0) {
                (CUMULATIVE, true) => self.numbers(&place(Form::Counter), data, MetricKind::Counter, false, series),
                (CUMULATIVE, false) => self.numbers(&place(Form::Gauge), data, MetricKind::Gauge, false, series),
                (DELTA, true) => self.numbers(&place(Form::Counter), data, MetricKind::Counter, true, series),
                (DELTA, false) => return Err("goes up and down by differences: where it stands nobody can say"),
                _ => return Err("does not say whether it is cumulative"),
            }
        }
        for (data, has_buckets) in [(&metric.histogram, true), (&metric.exponential_histogram, false)] {
            if let Some(data) = data {
                let delta = match data.aggregation_temporality.0 {
                    DELTA => true,
                    CUMULATIVE => false,
                    _ => return Err("does not say whether it is cumulative"),
                };
                self.histograms(&place(Form::Family), data, delta, has_buckets, series);
            }
        }
        if let Some(data) = &metric.summary {
            self.summaries(&place(Form::Family), data, series);
        }
        Ok(())
    }

    fn numbers(
        &mut self,
        place: &Place<'_>,
        data: &Data<NumberPoint<'_>>,
        kind: MetricKind,
        delta: bool,
        series: &mut SeriesTable<Total>,
    ) {
        self.points_beyond(place, &data.points);
        for point in &*data.points {
            if point.flags.0 & NO_RECORDED_VALUE != 0 {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "all values are floating point here, as in Prometheus")]
            let value = match (point.as_double, point.as_int) {
                (Some(value), _) => Ok(value.0),
                (None, Some(value)) => Ok(value.0 as f64),
                (None, None) => Err("has no value"),
            };
            let parts = value.map(|value| vec![("", kind, None, value)]);
            self.point(
                place,
                &point.attributes,
                Span { start: point.start.0, end: point.time.0, delta },
                parts,
                series,
            );
        }
    }

    fn histograms(
        &mut self,
        place: &Place<'_>,
        data: &Data<HistogramPoint<'_>>,
        delta: bool,
        has_buckets: bool,
        series: &mut SeriesTable<Total>,
    ) {
        self.points_beyond(place, &data.points);
        for point in &*data.points {
            if point.flags.0 & NO_RECORDED_VALUE == 0 {
                let parts = histogram(point, has_buckets);
                self.point(
                    place,
                    &point.attributes,
                    Span { start: point.start.0, end: point.time.0, delta },
                    parts,
                    series,
                );
            }
        }
    }

    fn summaries(&mut self, place: &Place<'_>, data: &Data<SummaryPoint<'_>>, series: &mut SeriesTable<Total>) {
        self.points_beyond(place, &data.points);
        for point in &*data.points {
            if point.flags.0 & NO_RECORDED_VALUE == 0 {
                let span = Span { start: 0, end: point.time.0, delta: false };
                self.point(place, &point.attributes, span, summary(point), series);
            }
        }
    }

    fn points_beyond<T>(&mut self, place: &Place<'_>, points: &List<T>) {
        self.taken.drop_some(points.beyond, || format!("metric `{}` has points beyond the allowed memory", place.name));
        self.taken.drop_some(points.wrong, || {
            format!("metric `{}` has {} points that cannot be read", told(&place.name), points.wrong)
        });
    }

    /// Takes all parts of a point, or none of them.
    fn point(
        &mut self,
        place: &Place<'_>,
        attributes: &List<KeyValue<'_>>,
        span: Span,
        parts: Result<Vec<Part>, &'static str>,
        series: &mut SeriesTable<Total>,
    ) {
        let taken = parts.and_then(|parts| self.samples(place, attributes, span, parts, series));
        match taken {
            Ok(samples) => {
                self.taken.n_bytes += samples.len() * SAMPLE_BYTES;
                self.taken.batch.metrics.extend(samples);
            }
            Err(problem) => self.taken.drop_some(1, || format!("a point of `{}` {problem}", told(&place.name))),
        }
    }

    fn samples(
        &mut self,
        place: &Place<'_>,
        attributes: &List<KeyValue<'_>>,
        Span { start, end: time, delta }: Span,
        parts: Vec<Part>,
        series: &mut SeriesTable<Total>,
    ) -> Result<Vec<MetricSample>, &'static str> {
        let at = self.time(time)?;
        let labels = self.labels_of(attributes, place.labels)?;
        if !self.fits(parts.len(), parts.len() * SAMPLE_BYTES) {
            return Err("is beyond the allowed number of a request");
        }
        if delta && parts.iter().any(|(_, _, _, value)| !value.is_finite() || *value < 0.0) {
            return Err("has a difference that no count can have");
        }
        let mut samples = Vec::with_capacity(parts.len());
        for (ending, kind, label, value) in parts {
            let (series, total) = series
                .find(place.series(ending, kind, &labels, label), self.now)
                .ok_or("is of a series beyond the allowed number")?;
            // All parts of a point end at the same time, so the first one already tells.
            if delta && time <= total.until {
                return Err("ends before the one that came before it");
            }
            if !delta && kind != MetricKind::Gauge && total.sources.are_several(start) {
                self.taken.tell([format!(
                    "series `{}` of `{}` comes from several processes in turn, and is given as one: name what tells them apart in \
                     `label_attributes`",
                    told(&series.metric),
                    series.entity
                )]);
            }
            samples.push(MetricSample { series, at, value });
        }
        if delta {
            add_up(&mut samples, time, self.now, series);
        }
        Ok(samples)
    }

    fn labels_of(&self, attributes: &List<KeyValue<'_>>, of_resource: &Labels) -> Result<Labels, &'static str> {
        if attributes.beyond > 0 || attributes.len() > MAX_ATTRIBUTES {
            return Err("has too many attributes");
        }
        let mut labels = of_resource.clone();
        // Names that become one are joined in the order of the original ones, in whatever order a sender writes them.
        let mut sorted: Vec<&KeyValue<'_>> = attributes.iter().collect();
        sorted.sort_by(|one, two| one.key.0.cmp(&two.key.0));
        for KeyValue { key, value } in sorted {
            let name = names::label(&key.0);
            // One byte more than allowed tells that it was too long: what is cut would mix series that are different.
            let value = text(value, MAX_TEXT_BYTES + 1);
            if name.is_empty() || name.len() > MAX_TEXT_BYTES || value.len() > MAX_TEXT_BYTES {
                return Err("has an attribute that is too long, or has no name");
            }
            // As in Prometheus, a label without content is none.
            if value.is_empty() {
                continue;
            }
            // Different names may become one.
            match labels.get(&name).map(|other| format!("{other};{value}")) {
                Some(both) => labels.insert(&*name, both),
                None => labels.insert(&*name, &*value),
            }
        }
        for name in &self.config.drop_labels {
            labels.remove(name);
        }
        Ok(labels)
    }
}

/// Makes differences into running totals.
fn add_up(samples: &mut [MetricSample], time: u64, now: Timestamp, series: &mut SeriesTable<Total>) {
    for sample in samples {
        // It was found a moment ago and is not forgotten since.
        if let Some((_, total)) = series.find(Series::clone(&sample.series), now) {
            total.sum += sample.value;
            total.until = time;
            sample.value = total.sum;
        }
    }
}

impl Place<'_> {
    fn series(&self, ending: &str, kind: MetricKind, labels: &Labels, label: Option<(&'static str, String)>) -> Series {
        let mut labels = labels.clone();
        if let Some((name, value)) = label {
            labels.insert(name, value);
        }
        let unit = if matches!(ending, "_bucket" | "_count") { String::new() } else { self.unit.clone() };
        Series { entity: self.entity.clone(), metric: format!("{}{ending}", self.name), kind, unit, labels }
    }
}

#[expect(clippy::cast_precision_loss, reason = "all values are floating point here, as in Prometheus")]
fn histogram(point: &HistogramPoint<'_>, has_buckets: bool) -> Result<Vec<Part>, &'static str> {
    let (counts, bounds) = (&point.bucket_counts, &point.explicit_bounds);
    if counts.beyond > 0 || bounds.beyond > 0 || counts.len() > MAX_BUCKETS {
        return Err("has too many buckets");
    }
    // Some write the infinite bound, which is the one that the last bucket has without being written, with or without a bucket
    // behind it.
    let finite = match bounds.split_last() {
        Some((last, finite)) if last.0 == f64::INFINITY => finite,
        _ => bounds,
    };
    let is_written = finite.len() < bounds.len();
    let behind = counts.get(finite.len() + 1).map_or(0, |count| count.0);
    if !counts.is_empty() && counts.len() != bounds.len() + 1 && !(is_written && counts.len() == bounds.len()) {
        return Err("has not one bucket more than bounds");
    }
    if bounds.iter().any(|bound| bound.0.is_nan()) {
        return Err("has a bound that is no number");
    }
    if !finite.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return Err("has bounds that do not ascend");
    }
    if finite.iter().any(|bound| bound.0.is_infinite()) || (is_written && behind > 0) {
        return Err("has a bucket that no value can be in");
    }
    let bounds = finite;
    let mut parts: Vec<Part> = Vec::with_capacity(counts.len() + 3);
    let count = point.count.0 as f64;
    if has_buckets {
        let mut so_far: u64 = 0;
        for (count, bound) in counts.iter().zip(bounds.iter()) {
            so_far = so_far.saturating_add(count.0);
            parts.push(("_bucket", MetricKind::Bucket, Some(("le", bound.0.to_string())), so_far as f64));
        }
        let all = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(count.0));
        if !counts.is_empty() && all != point.count.0 {
            return Err("has buckets that do not add up to its count");
        }
        parts.push(("_bucket", MetricKind::Bucket, Some(("le", "+Inf".to_owned())), count));
    }
    if let Some(sum) = point.sum {
        parts.push(("_sum", MetricKind::Counter, None, sum.0));
    }
    parts.push(("_count", MetricKind::Counter, None, count));
    Ok(parts)
}

#[expect(clippy::cast_precision_loss, reason = "all values are floating point here, as in Prometheus")]
fn summary(point: &SummaryPoint<'_>) -> Result<Vec<Part>, &'static str> {
    if point.quantile_values.beyond > 0 || point.quantile_values.len() > MAX_QUANTILES {
        return Err("has too many quantiles");
    }
    let quantile = |of: &super::model::Quantile| {
        let name = of.quantile.0.to_string();
        ("", MetricKind::Gauge, Some(("quantile", name)), of.value.0)
    };
    let mut parts: Vec<Part> = point.quantile_values.iter().map(quantile).collect();
    parts.push(("_sum", MetricKind::Counter, None, point.sum.0));
    parts.push(("_count", MetricKind::Counter, None, point.count.0 as f64));
    Ok(parts)
}

/// How many points a metric has: so many are lost with it.
fn n_points(metric: &Metric<'_>) -> u64 {
    fn n<T>(data: Option<&Data<T>>) -> u64 {
        data.map_or(0, |data| data.points.len() as u64 + data.points.beyond + data.points.wrong)
    }
    n(metric.gauge.as_ref())
        + n(metric.sum.as_ref())
        + n(metric.histogram.as_ref())
        + n(metric.exponential_histogram.as_ref())
        + n(metric.summary.as_ref())
}
