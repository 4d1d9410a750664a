//! Samples of many series, put in the order of time without comparing each with each.
//!
//! All series of a target are scraped at once, and all series of an expression have the same steps. So most of them come at the
//! very same times, and what would be a sort of all samples is a walk through a few groups.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use ir_core::{MetricSample, Series};

use super::answer::Sample;

/// The samples of one series.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) series: Arc<Series>,
    pub(super) samples: Cow<'a, [Sample]>,
}

impl Run<'_> {
    fn is_beside(&self, other: &Self) -> bool {
        self.samples.len() == other.samples.len()
            && self.samples.iter().zip(other.samples.iter()).all(|(one, two)| one.millis == two.millis)
    }
}

/// Appends all samples, those of series with equal times in the order of time. Whoever sorts them finds as many ascending runs as
/// there are such groups, if the times of each series ascend.
pub(super) fn append(runs: Vec<Run<'_>>, metrics: &mut Vec<MetricSample>) {
    metrics.reserve(runs.iter().map(|run| run.samples.len()).sum());
    let mut groups: Vec<Vec<Run<'_>>> = Vec::new();
    // Times that begin and end together are nearly always the same; where they are not, the series has a group of its own.
    let mut by_ends = HashMap::new();
    for run in runs {
        let (Some(first), Some(last)) = (run.samples.first(), run.samples.last()) else { continue };
        let group = *by_ends.entry((first.millis, last.millis, run.samples.len())).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) if group[0].is_beside(&run) => group.push(run),
            _ => groups.push(vec![run]),
        }
    }
    for group in groups {
        for at in 0..group[0].samples.len() {
            metrics.extend(group.iter().map(|run| {
                let sample = run.samples[at];
                MetricSample { series: run.series.clone(), at: sample.at(), value: sample.value }
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir_core::{EntityId, Labels, MetricKind};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorted_afterwards_it_is_what_a_sort_gives(
            lists in prop::collection::vec(prop_oneof![
                Just(vec![1, 2, 3]),
                Just(vec![1, 3, 3]),
                Just(vec![3, 1, 3]),
                prop::collection::vec(0_i64..5, 0..5),
            ], 0..12),
        ) {
            let runs = || lists.iter().enumerate().map(|(n, times)| {
                let series = Series {
                    entity: EntityId::literal("web"),
                    metric: format!("m{n:02}"),
                    kind: MetricKind::Gauge,
                    unit: String::new(),
                    labels: Labels::new(),
                };
                let sample = |(at, millis): (usize, &i64)| Sample { millis: *millis, value: at as f64 };
                Run { series: Arc::new(series), samples: times.iter().enumerate().map(sample).collect() }
            }).collect::<Vec<_>>();
            let mut got = Vec::new();
            append(runs(), &mut got);
            let mut plain: Vec<MetricSample> = runs().iter().flat_map(|run| {
                run.samples.iter().map(|s| MetricSample { series: run.series.clone(), at: s.at(), value: s.value }).collect::<Vec<_>>()
            }).collect();
            // Of one series the order stays, of one time that of the series does not matter.
            got.sort_by_key(|sample| (sample.at, sample.series.clone()));
            plain.sort_by_key(|sample| (sample.at, sample.series.clone()));
            prop_assert_eq!(got, plain);
        }
    }
}
