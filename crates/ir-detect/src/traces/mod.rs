//! Traces: spans joined online into requests and calls, what is usual of them, and the graph of services that they draw.
//!
//! 1. Spans wait in a bounded table until their trace has had time to arrive ([`TraceConfig::hold_secs`]), in any order, from clocks
//!    that differ, some twice and some never. Then the trace is walked once: every request of an entity, every call between two.
//! 2. For every operation (and for all of an entity together) and every pair of caller and callee, each look counts how many there
//!    were, how many failed and who was to blame, and sketches how long they took ([`DdSketch`](crate::stats::DdSketch)).
//! 3. A look is compared with what was learned, by the same tests as of metrics: shares of failures by Hoeffding's bound on the
//!    binomial tail, times by median and scaled median absolute deviation with a least effect.
//!
//! | subject | of | label |
//! |---|---|---|
//! | `error_ratio:own`, `error_ratio` | an entity, each of its operations | `operation` |
//! | `latency:exclusive`, `latency:p95` | an entity, each of its operations | `operation` |
//! | `downstream_failures:own`, `:relayed`, `:unreachable` | a call, with its peer | |
//! | `downstream_latency`, `downstream_gap` | a call, with its peer | |
//!
//! What a span does not tell: whether it is the client's or the server's end (told by the shape of the trace instead), and whom a
//! call was meant for that nobody answered (it counts as a failure of the caller).

mod detector;
mod graph;
mod join;
mod tree;
mod usual;

pub use detector::{TraceConfig, TraceDetector};
pub use graph::{ServiceEdge, ServiceGraph};
pub use join::SpanCounts;
