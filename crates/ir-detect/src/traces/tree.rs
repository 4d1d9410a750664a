//! One whole trace: who called whom, how long each worked itself, and who failed first.
//!
//! - **Entry**: a span whose parent is of another entity, or that has none (or one that never came). It is one request of its entity.
//! - **Client span**: a span inside a request whose only child is an entry of another entity: the call as the caller saw it. Its time
//!   beyond the callee's is what network and queues took. Durations are compared, not times, so clocks may differ.
//! - **Exclusive time** of a request: its length without the union of the intervals of the calls it made. A call whose interval does
//!   not lie within its parent's was stamped by another clock and is taken to lie in the middle, as Jaeger's clock skew adjuster does.
//! - **Blame**: a request that failed, failed by itself unless a call it made failed as well.

use std::collections::BTreeMap;

use ir_core::EntityId;

use super::join::Held;

/// One request of an entity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit<'a> {
    pub(super) entity: &'a EntityId,
    pub(super) operation: &'a str,
    pub(super) secs: f64,
    pub(super) exclusive_secs: f64,
    pub(super) failure: Failure,
}

/// One call from an entity to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) from: &'a EntityId,
    pub(super) to: &'a EntityId,
    /// As the caller saw it, where it has a span for it; else as the callee did.
    pub(super) secs: f64,
    /// How much longer the caller waited than the callee worked, where that is known.
    pub(super) gap_secs: Option<f64>,
    pub(super) failure: Failure,
}

/// Who failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Nobody,
    /// The entity that answered.
    Own,
    /// Somebody behind it.
    Relayed,
    /// The caller says that it failed, the callee does not: the answer did not arrive, or not in time.
    Unreachable,
}

/// Deeper chains of spans of one entity are cut: nobody writes them, but a loop of parents would.
const MAX_DEPTH: usize = 256;

/// Tells the requests and calls of a trace, sorted and without repetitions. Gives how many spans named a parent that is not there.
pub(super) fn walk(spans: &[Held], visit: &mut impl FnMut(Visit<'_>), call: &mut impl FnMut(Call<'_>)) -> u64 {
    let mut by_id: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, span) in spans.iter().enumerate() {
        by_id.entry(span.id).or_default().push(at);
    }
    // Some systems give both ends of a call one id: then the parent of the callee's is the caller's of the same id.
    let parent_of = |at: usize| -> Option<usize> {
        let span = spans.get(at)?;
        let shared = by_id
            .get(&span.id)
            .and_then(|same| same.iter().copied().find(|other| *other != at && is_outer(&spans[*other], span)));
        let named = span.parent.and_then(|parent| {
            let candidates = by_id.get(&parent)?;
            // Of two with one id the callee's end is the nearer one.
            candidates.iter().copied().filter(|other| *other != at).min_by_key(|other| spans[*other].duration_ns)
        });
        shared.or(named)
    };
    let parents: Vec<Option<usize>> = (0..spans.len()).map(parent_of).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut orphaned = 0;
    for (at, parent) in parents.iter().enumerate() {
        match parent {
            Some(parent) => children[*parent].push(at),
            None => orphaned += u64::from(spans[at].parent.is_some()),
        }
    }
    let tree = Tree { spans, parents: &parents, children: &children };
    for (at, parent) in parents.iter().enumerate() {
        let span = &spans[at];
        let caller =
            parent.map(|parent| (&spans[parent], tree.is_client(parent))).filter(|(of, _)| of.entity != span.entity);
        if parent.is_some() && caller.is_none() {
            continue;
        }
        let (mut calls, mut failed_behind) = (Vec::new(), false);
        tree.calls(at, 0, &mut calls, &mut failed_behind);
        let secs = span.duration_ns as f64 / 1e9;
        let exclusive_secs = (secs - union(calls, span) / 1e9).max(0.0);
        let failure = match (span.error, failed_behind) {
            (false, _) => Failure::Nobody,
            (true, false) => Failure::Own,
            (true, true) => Failure::Relayed,
        };
        visit(Visit { entity: &span.entity, operation: &span.operation, secs, exclusive_secs, failure });
        if let Some((by, is_client)) = caller {
            let seen_by_caller = by.duration_ns as f64 / 1e9;
            let failure = if is_client && by.error && !span.error { Failure::Unreachable } else { failure };
            call(Call {
                from: &by.entity,
                to: &span.entity,
                secs: if is_client { seen_by_caller } else { secs },
                gap_secs: is_client.then(|| (seen_by_caller - secs).max(0.0)),
                failure,
            });
        }
    }
    orphaned
}

/// Whether `outer` is the caller's end of the call that has `inner` as the callee's, both with one id.
fn is_outer(outer: &Held, inner: &Held) -> bool {
    outer.entity != inner.entity
        && (outer.duration_ns, std::cmp::Reverse(&outer.entity)) > (inner.duration_ns, std::cmp::Reverse(&inner.entity))
}

struct Tree<'a> {
    spans: &'a [Held],
    parents: &'a [Option<usize>],
    children: &'a [Vec<usize>],
}

impl Tree<'_> {
    fn is_client(&self, at: usize) -> bool {
        let inside = self.parents[at].is_some_and(|parent| self.spans[parent].entity == self.spans[at].entity);
        inside && matches!(self.children[at][..], [only] if self.spans[only].entity != self.spans[at].entity)
    }

    /// The intervals of the calls below a span of an entity, in nanoseconds, and whether one of them failed.
    fn calls(&self, at: usize, depth: usize, out: &mut Vec<(i128, i128)>, failed: &mut bool) {
        if depth >= MAX_DEPTH {
            return;
        }
        let span = &self.spans[at];
        for child in &self.children[at] {
            let below = &self.spans[*child];
            if below.entity != span.entity {
                *failed |= below.error;
                out.push(placed(below, span));
            } else if self.is_client(*child) {
                *failed |= below.error;
                out.push(interval(below));
            } else {
                self.calls(*child, depth + 1, out, failed);
            }
        }
    }
}

fn interval(span: &Held) -> (i128, i128) {
    let start = i128::from(span.start.as_nanos());
    (start, start + i128::from(span.duration_ns))
}

/// The interval of a callee by the clock of its caller.
fn placed(child: &Held, parent: &Held) -> (i128, i128) {
    let ((from, to), (begin, end)) = (interval(child), interval(parent));
    if from >= begin && to <= end || to - from > end - begin {
        return (from, to);
    }
    let start = begin + (end - begin - (to - from)) / 2;
    (start, start + (to - from))
}

/// Nanoseconds of `span` that lie in at least one of the intervals.
fn union(mut intervals: Vec<(i128, i128)>, span: &Held) -> f64 {
    let (begin, end) = interval(span);
    intervals.sort_unstable();
    let (mut covered, mut reached) = (0, begin);
    for (from, to) in intervals {
        let (from, to) = (from.max(reached), to.min(end));
        if to > from {
            covered += to - from;
            reached = to;
        }
    }
    covered as f64
}
