//! What clients see right now, second by second, while their records are still being written.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use crate::judge::{Bin, LEARN_BINS, Range, cut, index_of};
use crate::load::PATIENCE;
use crate::records::{ClientRecord, Tail};

/// A second of which requests are missing is closed so long after the last of them must have given up.
const LATE: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(crate) struct Watch {
    tail: Tail,
    per_second: usize,
    pub(crate) records: Vec<ClientRecord>,
    origin: Option<Timestamp>,
    range: Option<Range>,
    /// Records by second from the origin on.
    open: BTreeMap<i64, Vec<ClientRecord>>,
    /// The seconds from the origin on that are complete, and whether each is inside the range.
    pub(crate) bins: Vec<Bin>,
    pub(crate) inside: Vec<bool>,
}

impl Watch {
    pub(crate) fn new(tail: Tail, per_second: u32) -> Self {
        Self {
            tail,
            per_second: per_second as usize,
            records: Vec::new(),
            origin: None,
            range: None,
            open: BTreeMap::new(),
            bins: Vec::new(),
            inside: Vec::new(),
        }
    }

    /// Counts seconds from `origin`, which is the fault if a range can be learned from the time before it.
    pub(crate) fn count_from(&mut self, origin: Timestamp) {
        self.origin = Some(origin);
        self.range = Range::learn(&cut(&self.records, origin, -(LEARN_BINS as i64)..0)).ok();
        self.open.clear();
        self.bins.clear();
        self.inside.clear();
        for record in &self.records {
            self.open.entry(index_of(record.at, origin)).or_default().push(record.clone());
        }
    }

    /// When the first request that was answered was due.
    pub(crate) fn first_answer(&self) -> Option<Timestamp> {
        self.records.iter().filter(|record| !record.is_error()).map(|record| record.at).min()
    }

    /// Takes in what is new.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Result<()> {
        for record in self.tail.poll::<ClientRecord>()? {
            if let Some(origin) = self.origin {
                self.open.entry(index_of(record.at, origin)).or_default().push(record.clone());
            }
            self.records.push(record);
        }
        let Some(origin) = self.origin else { return Ok(()) };
        loop {
            let index = self.bins.len() as i64;
            let end = origin.checked_add(SignedDuration::from_secs(index + 1))?;
            let records = self.open.get(&index).map_or(&[][..], Vec::as_slice);
            let closed_at = end.checked_add(SignedDuration::try_from(PATIENCE + LATE)?)?;
            if now < end || (records.len() < self.per_second && now < closed_at) {
                return Ok(());
            }
            let bin = Bin::of(records);
            self.inside.push(self.range.is_some_and(|range| range.holds(&bin)));
            self.bins.push(bin);
            self.open.remove(&index);
        }
    }

    /// The last complete second in words.
    pub(crate) fn words(&self) -> String {
        match self.bins.last() {
            Some(bin) => format!("p95 {:.0} ms, errors {:.0} %", bin.p95_ms, bin.error_ratio() * 100.0),
            None => "no answers yet".to_owned(),
        }
    }
}
