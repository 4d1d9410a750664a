//! Native histograms as the parts of a classic one, which is what detectors understand.
//!
//! Their buckets come and go with what was observed, and get coarser when there are too many. A bucket that is new would look
//! like a burst, so what is given are the counts up to bounds that never change. A bound within a bucket takes its share of it as
//! if values were spread evenly. Powers of two are limits of the buckets of every schema from 0 up (bases of 2 and below), so for
//! these, and the default bounds, nothing is guessed.
//!
//! Source: Prometheus documentation, "HTTP API", section "Native histograms".

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ir_core::{MetricKind, MetricSample, Series, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};

use super::Samples;
use crate::json::{Text, number};

/// One histogram: what was counted since the process began.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Histogram {
    #[serde(deserialize_with = "text_number")]
    pub(super) count: f64,
    #[serde(deserialize_with = "text_number")]
    pub(super) sum: f64,
    #[serde(default)]
    buckets: Vec<Bucket>,
}

/// How many values lie between two limits.
#[derive(Debug, PartialEq)]
struct Bucket {
    left: f64,
    right: f64,
    count: f64,
}

impl Histogram {
    /// How many values are at most `bound`.
    pub(super) fn up_to(&self, bound: f64) -> f64 {
        let share = |bucket: &Bucket| {
            let (left, right) = (bucket.left, bucket.right);
            if right <= bound {
                bucket.count
            } else if left >= bound || !(right - left).is_finite() {
                0.0
            } else {
                bucket.count * ((bound - left) / (right - left)).clamp(0.0, 1.0)
            }
        };
        // Rounding must not make the parts more than the whole.
        self.buckets.iter().map(share).sum::<f64>().min(self.count)
    }
}

/// A histogram at a time, which is in milliseconds.
#[derive(Debug, PartialEq)]
pub(super) struct Observed {
    pub(super) millis: i64,
    pub(super) histogram: Histogram,
}

impl<'de> Deserialize<'de> for Observed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Observed;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time and a histogram")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Observed, A::Error> {
                let missing = |what| A::Error::custom(format_args!("a histogram has no {what}"));
                let secs: f64 = seq.next_element()?.ok_or_else(|| missing("time"))?;
                let histogram = seq.next_element()?.ok_or_else(|| missing("content"))?;
                let millis = super::answer::millis(secs).ok_or_else(|| A::Error::custom("a time is out of range"))?;
                Ok(Observed { millis, histogram })
            }
        }
        deserializer.deserialize_seq(Pair)
    }
}

impl<'de> Deserialize<'de> for Bucket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Limits;
        impl<'de> Visitor<'de> for Limits {
            type Value = Bucket;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule, two limits and a count")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bucket, A::Error> {
                let wrong = || A::Error::custom("a bucket is a rule, two limits and a count");
                // Which of the limits is within makes no difference that could be measured.
                let IgnoredAny = seq.next_element()?.ok_or_else(wrong)?;
                let mut next = || -> Result<f64, A::Error> {
                    let Text(text) = seq.next_element()?.ok_or_else(wrong)?;
                    number(&text).filter(|value| !value.is_nan()).ok_or_else(wrong)
                };
                let (left, right, count) = (next()?, next()?, next()?);
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                if left > right || !(count >= 0.0 && count.is_finite()) {
                    return Err(wrong());
                }
                Ok(Bucket { left, right, count })
            }
        }
        deserializer.deserialize_seq(Limits)
    }
}

fn text_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text: Cow<'de, str> = Text::deserialize(deserializer)?.0;
    number(&text).ok_or_else(|| D::Error::custom("a number of a histogram is none"))
}

/// The series that a native histogram becomes.
#[derive(Debug)]
pub(super) struct Parts {
    count: Arc<Series>,
    sum: Arc<Series>,
    /// Upper bounds, the infinite one last.
    buckets: Vec<(f64, Arc<Series>)>,
}

impl Parts {
    pub(super) fn new(of: &Series, samples: Samples, bounds: &[f64], shared: impl Fn(Series) -> Arc<Series>) -> Self {
        let counts = samples == Samples::Raw;
        let kind = if counts { MetricKind::Counter } else { MetricKind::Gauge };
        let part = |name: &str, kind: MetricKind, unit: &str| Series {
            metric: format!("{}_{name}", of.metric),
            kind,
            unit: unit.to_owned(),
            ..of.clone()
        };
        let bucket = |bound: f64| {
            let mut series = part("bucket", MetricKind::Bucket, "");
            series.labels.insert("le", if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() });
            (bound, shared(series))
        };
        let buckets =
            if counts { bounds.iter().copied().chain([f64::INFINITY]).map(bucket).collect() } else { Vec::new() };
        Self { count: shared(part("count", kind, "")), sum: shared(part("sum", kind, &of.unit)), buckets }
    }

    pub(super) fn samples(&self, observed: &Observed) -> impl Iterator<Item = MetricSample> {
        let (at, of) = (Timestamp::from_millis(observed.millis), &observed.histogram);
        let sample = move |series: &Arc<Series>, value: f64| MetricSample { series: series.clone(), at, value };
        let whole = [sample(&self.count, of.count), sample(&self.sum, of.sum)];
        let up_to = |bound: f64| if bound.is_finite() { of.up_to(bound) } else { of.count };
        whole.into_iter().chain(self.buckets.iter().map(move |(bound, series)| sample(series, up_to(*bound))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of the documentation, with a bucket on either side.
    const TEXT: &str = r#"[1795211200.459, {"count": "10", "sum": "-3.5", "buckets":
        [[1, "-4", "-2", "1"], [3, "-0.001", "0.001", "2"], [0, "0.5", "1", "3"], [0, "1", "2", "4"]]}]"#;

    #[test]
    fn counts_up_to_a_bound_are_exact_at_limits_and_shared_within() {
        let observed: Observed = serde_json::from_str(TEXT).unwrap();
        assert_eq!(
            (observed.millis, observed.histogram.count, observed.histogram.sum),
            (1_795_211_200_459, 10.0, -3.5)
        );
        let rows =
            [(-5.0, 0.0), (-3.0, 0.5), (-2.0, 1.0), (0.0, 2.0), (0.5, 3.0), (0.75, 4.5), (1.0, 6.0), (9.0, 10.0)];
        for (bound, count) in rows {
            assert_eq!(observed.histogram.up_to(bound), count, "{bound}");
        }
    }

    #[test]
    fn what_is_none_is_an_error() {
        for text in [
            "[1]",
            "[1, {}]",
            r#"[1e300, {"count": "1", "sum": "1"}]"#,
            r#"[1, {"count": "x", "sum": "1"}]"#,
            r#"[1, {"count": "1", "sum": "1", "buckets": [[0, "2", "1", "1"]]}]"#,
            r#"[1, {"count": "1", "sum": "1", "buckets": [[0, "1", "2", "-1"]]}]"#,
            r#"[1, {"count": "1", "sum": "1", "buckets": [[0, "NaN", "2", "1"]]}]"#,
            r#"[1, {"count": "1", "sum": "1", "buckets": [[0, "1"]]}]"#,
        ] {
            assert!(serde_json::from_str::<Observed>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn counts_never_fall_with_the_bound(
            counts in prop::collection::vec(0_u32..1000, 1..12),
            bounds in prop::collection::vec(-1.0..5000.0_f64, 2..9),
        ) {
            let buckets = counts.iter().enumerate().map(|(n, count)| {
                let right = 2.0_f64.powi(i32::try_from(n).unwrap());
                Bucket { left: right / 2.0, right, count: f64::from(*count) }
            });
            let histogram = Histogram { count: counts.iter().map(|n| f64::from(*n)).sum(), sum: 0.0, buckets: buckets.collect() };
            let mut bounds = bounds;
            bounds.sort_by(f64::total_cmp);
            let up_to: Vec<f64> = bounds.iter().map(|bound| histogram.up_to(*bound)).collect();
            prop_assert!(up_to.is_sorted() && up_to.iter().all(|n| (0.0..=histogram.count).contains(n)));
            prop_assert_eq!(histogram.up_to(f64::INFINITY), histogram.count);
        }
    }
}
