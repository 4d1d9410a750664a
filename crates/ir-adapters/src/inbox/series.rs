//! The series that a receiver knows: each made once, with what is remembered of it. Their number and bytes are bounded, because
//! whoever sends chooses the labels.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ir_core::{Series, Timestamp};

/// A full table is searched for silent series at most this often: the search looks at all of them.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Series, and a `T` for each.
#[derive(Debug)]
pub(crate) struct SeriesTable<T> {
    known: HashMap<Arc<Series>, Known<T>>,
    n_bytes: usize,
    max_series: usize,
    max_bytes: usize,
    /// What a `T` takes, its own lists included.
    state_bytes: usize,
    /// A series that was silent for so long makes room when there is none.
    forget: Duration,
    swept: Option<Timestamp>,
}

#[derive(Debug)]
struct Known<T> {
    seen: Timestamp,
    n_bytes: usize,
    state: T,
}

impl<T: Default> SeriesTable<T> {
    pub(crate) fn new(max_series: usize, max_bytes: usize, state_bytes: usize, forget: Duration) -> Self {
        Self { known: HashMap::new(), n_bytes: 0, max_series, max_bytes, state_bytes, forget, swept: None }
    }

    /// The series, known from now on; nothing when there is no room for it.
    pub(crate) fn find(&mut self, series: Series, now: Timestamp) -> Option<(Arc<Series>, &mut T)> {
        let series = match self.known.get_key_value(&series) {
            Some((known, _)) => known.clone(),
            None => {
                let n_bytes = n_bytes(&series) + self.state_bytes;
                if !self.has_room(n_bytes) {
                    self.sweep(now);
                    if !self.has_room(n_bytes) {
                        return None;
                    }
                }
                self.n_bytes += n_bytes;
                let series = Arc::new(series);
                self.known.insert(series.clone(), Known { seen: now, n_bytes, state: T::default() });
                series
            }
        };
        let known = self.known.get_mut(&series)?;
        known.seen = now;
        Some((series, &mut known.state))
    }

    fn has_room(&self, n_bytes: usize) -> bool {
        self.known.len() < self.max_series && self.n_bytes + n_bytes <= self.max_bytes
    }

    fn sweep(&mut self, now: Timestamp) {
        if self.swept.is_some_and(|swept| now.since(swept) < SWEEP_EVERY && now >= swept) {
            return;
        }
        self.swept = Some(now);
        let mut left = 0;
        self.known.retain(|_, known| {
            let keep = now.since(known.seen) < self.forget;
            left += if keep { known.n_bytes } else { 0 };
            keep
        });
        self.n_bytes = left;
    }
}

/// About how much memory a series takes, its place in the table included.
fn n_bytes(series: &Series) -> usize {
    let labels: usize = series.labels.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
    size_of::<Series>() + 96 + series.metric.len() + series.unit.len() + labels
}

#[cfg(test)]
mod tests {
    use ir_core::{EntityId, Labels, MetricKind};

    use super::*;

    fn series(n: usize) -> Series {
        Series {
            entity: EntityId::literal("web"),
            metric: "m".to_owned(),
            kind: MetricKind::Gauge,
            unit: String::new(),
            labels: Labels::from_iter([("n", n.to_string())]),
        }
    }

    #[test]
    fn a_series_is_made_once_and_remembered() {
        let mut table = SeriesTable::<u32>::new(10, 1 << 20, 4, Duration::from_secs(60));
        let now = Timestamp::from_millis(0);
        let (first, state) = table.find(series(1), now).unwrap();
        *state = 7;
        let (again, state) = table.find(series(1), now).unwrap();
        assert!(Arc::ptr_eq(&first, &again) && *state == 7);
    }

    #[test]
    fn a_full_table_takes_nothing_new_until_others_have_been_silent() {
        let mut table = SeriesTable::<u32>::new(3, 1 << 20, 4, Duration::from_secs(60));
        let at = |secs: i64| Timestamp::from_millis(secs * 1000);
        for n in 0..3 {
            assert!(table.find(series(n), at(0)).is_some());
        }
        assert!(table.find(series(3), at(1)).is_none());
        assert!(table.find(series(0), at(50)).is_some(), "a known one is never refused");
        assert!(table.find(series(3), at(61)).is_some(), "two were silent for a minute");
        assert!(table.find(series(4), at(61)).is_some());
        assert!(table.find(series(5), at(61)).is_none());
        assert_eq!(table.known.len(), 3);
    }

    #[test]
    fn bytes_are_bounded_as_well() {
        let mut table = SeriesTable::<u32>::new(1_000_000, 100_000, 4, Duration::from_secs(60));
        let n = (0..10_000).filter(|n| table.find(series(*n), Timestamp::from_millis(0)).is_some()).count();
        assert!((100..1_000).contains(&n), "{n}");
        // What is swept gives its bytes back.
        assert!(table.find(series(20_000), Timestamp::from_millis(100_000)).is_some());
        assert!(table.n_bytes < 1_000, "{}", table.n_bytes);
    }
}
