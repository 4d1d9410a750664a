//! Spans that wait for the rest of their trace. Bounded in spans and traces; the order in which spans come does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ir_core::signal::Span;
use ir_core::{EntityId, Timestamp};
use serde::{Deserialize, Serialize};

use super::tree::{Call, Visit, walk};

/// Spans of one trace at most; further ones are counted as shed.
const MAX_SPANS_A_TRACE: usize = 4096;

/// A span that waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) id: u64,
    pub(super) entity: EntityId,
    pub(super) parent: Option<u64>,
    pub(super) start: Timestamp,
    pub(super) duration_ns: u64,
    pub(super) operation: String,
    pub(super) error: bool,
}

/// A trace that is open.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Trace {
    /// The earliest start: traces are taken up in its order.
    first: Timestamp,
    spans: Vec<Held>,
}

/// How many spans went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanCounts {
    /// Taken.
    pub spans: u64,
    /// Came twice and were left out.
    pub repeated: u64,
    /// Named a parent that never came: they count as requests from outside.
    pub orphaned: u64,
    /// Belonged to a trace that had to be closed early because too many were open.
    pub shed: u64,
}

/// All open traces.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Table {
    #[serde(with = "crate::pairs")]
    traces: BTreeMap<(u64, u64), Trace>,
    /// Open traces by their earliest start.
    order: BTreeSet<(Timestamp, (u64, u64))>,
    spans: usize,
    pub(super) counts: SpanCounts,
}

impl Table {
    /// Takes a span; what must be closed to make room goes to the visitors.
    pub(super) fn push(
        &mut self,
        span: &Span,
        max_spans: usize,
        visit: impl FnMut(Visit<'_>),
        call: impl FnMut(Call<'_>),
    ) {
        let key = trace_key(&span.trace_id);
        let trace = self.traces.entry(key).or_insert_with(|| Trace { first: span.at, spans: Vec::new() });
        if trace.spans.is_empty() || span.at < trace.first {
            self.order.remove(&(trace.first, key));
            trace.first = trace.first.min(span.at);
            self.order.insert((trace.first, key));
        }
        if trace.spans.len() >= MAX_SPANS_A_TRACE {
            self.counts.shed += 1;
            return;
        }
        trace.spans.push(Held {
            id: span_key(&span.span_id),
            entity: span.entity.clone(),
            parent: span.parent_id.as_deref().filter(|id| id.bytes().any(|byte| byte != b'0')).map(span_key),
            start: span.at,
            duration_ns: span.duration_ns,
            operation: span.operation.clone(),
            error: span.error,
        });
        self.spans += 1;
        self.counts.spans += 1;
        if self.spans > max_spans {
            let oldest = self.order.first().copied();
            self.close(oldest.into_iter().collect(), true, visit, call);
        }
    }

    /// Closes every trace that began before `limit`, in an order that does not depend on how spans came.
    pub(super) fn close_before(&mut self, limit: Timestamp, visit: impl FnMut(Visit<'_>), call: impl FnMut(Call<'_>)) {
        let due = self.order.iter().take_while(|(first, _)| *first < limit).copied().collect();
        self.close(due, false, visit, call);
    }

    fn close(
        &mut self,
        due: Vec<(Timestamp, (u64, u64))>,
        early: bool,
        mut visit: impl FnMut(Visit<'_>),
        mut call: impl FnMut(Call<'_>),
    ) {
        for entry in due {
            self.order.remove(&entry);
            let Some(mut trace) = self.traces.remove(&entry.1) else { continue };
            let n = trace.spans.len();
            self.spans -= n.min(self.spans);
            trace.spans.sort_unstable();
            trace.spans.dedup_by(|a, b| a.id == b.id && a.entity == b.entity);
            self.counts.repeated += (n - trace.spans.len()) as u64;
            if early {
                self.counts.shed += trace.spans.len() as u64;
            }
            self.counts.orphaned += walk(&trace.spans, &mut visit, &mut call);
        }
    }

    /// Spans that wait.
    pub(super) fn len(&self) -> usize {
        self.spans
    }

    /// Forgets all that waits: the clock was set.
    pub(super) fn clear(&mut self) {
        self.traces.clear();
        self.order.clear();
        self.counts.shed += self.spans as u64;
        self.spans = 0;
    }
}

/// How far the end of a span lies: later than its start, never beyond the end of time.
pub(super) fn end(start: Timestamp, duration_ns: u64) -> Timestamp {
    start.plus(Duration::from_nanos(duration_ns))
}

/// An id as numbers: as it is written when it is hexadecimal, else its hash (Fowler, Noll, Vo 1991, FNV-1a).
fn trace_key(id: &str) -> (u64, u64) {
    match u128::from_str_radix(id, 16) {
        Ok(id) => ((id >> 64) as u64, id as u64),
        Err(_) => (hash(id, 0), hash(id, 1)),
    }
}

fn span_key(id: &str) -> u64 {
    u64::from_str_radix(id, 16).unwrap_or_else(|_| hash(id, 0))
}

fn hash(id: &str, seed: u64) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
