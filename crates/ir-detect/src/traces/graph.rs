//! The graph of services of the last looks: counts and times of requests and calls, and a view for other parts.

use std::collections::BTreeMap;

use ir_core::{Dependency, EntityId, Probability};
use serde::{Deserialize, Serialize};

use super::tree::{Call, Failure, Visit};
use crate::runtime::per_entity::PerEntity;
use crate::stats::DdSketch;

/// What is counted of one operation or one call in one look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) own: u64,
    pub(super) relayed: u64,
    pub(super) unreachable: u64,
    pub(super) exclusive_secs: f64,
    pub(super) gap_secs: f64,
    pub(super) gaps: u64,
    pub(super) secs: f64,
    pub(super) times: DdSketch,
}

impl Counts {
    fn add(&mut self, secs: f64, failure: Failure) {
        match failure {
            Failure::Nobody => {}
            Failure::Own => self.own += 1,
            Failure::Relayed => self.relayed += 1,
            Failure::Unreachable => self.unreachable += 1,
        }
        self.secs += secs;
        self.times.push(secs);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.own += other.own;
        self.relayed += other.relayed;
        self.unreachable += other.unreachable;
        self.exclusive_secs += other.exclusive_secs;
        self.gap_secs += other.gap_secs;
        self.gaps += other.gaps;
        self.secs += other.secs;
        self.times.merge(&other.times);
    }

    pub(super) fn total(&self) -> f64 {
        self.times.count() as f64
    }

    pub(super) fn failed(&self) -> f64 {
        (self.own + self.relayed + self.unreachable) as f64
    }
}

/// Requests of one entity: all together and by operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Requests {
    pub(super) all: Counts,
    pub(super) by_operation: BTreeMap<String, Counts>,
}

/// One look: what ended between two looks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Look {
    pub(super) requests: BTreeMap<EntityId, Requests>,
    #[serde(with = "crate::pairs")]
    pub(super) calls: BTreeMap<(EntityId, EntityId), Counts>,
}

/// Operations beyond the bound share this name.
const OTHERS: &str = "(others)";

impl PerEntity for Look {
    fn drop_entity(&mut self, entity: &EntityId) {
        self.requests.remove(entity);
        self.calls.retain(|(from, _), _| from != entity);
    }
}

impl Look {
    pub(super) fn visit(&mut self, visit: Visit<'_>, max_entities: usize, max_operations: usize) {
        if !self.requests.contains_key(visit.entity) && self.requests.len() >= max_entities {
            return;
        }
        let requests = self.requests.entry(visit.entity.clone()).or_default();
        requests.all.add(visit.secs, visit.failure);
        requests.all.exclusive_secs += visit.exclusive_secs;
        let known = requests.by_operation.contains_key(visit.operation);
        let operation = if known || requests.by_operation.len() < max_operations { visit.operation } else { OTHERS };
        let counts = match requests.by_operation.get_mut(operation) {
            Some(counts) => counts,
            None => requests.by_operation.entry(operation.to_owned()).or_default(),
        };
        counts.add(visit.secs, visit.failure);
        counts.exclusive_secs += visit.exclusive_secs;
    }

    pub(super) fn call(&mut self, call: Call<'_>, max_calls: usize) {
        let key = (call.from.clone(), call.to.clone());
        if !self.calls.contains_key(&key) && self.calls.len() >= max_calls {
            return;
        }
        let counts = self.calls.entry(key).or_default();
        counts.add(call.secs, call.failure);
        if let Some(gap) = call.gap_secs {
            counts.gap_secs += gap;
            counts.gaps += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (entity, requests) in &other.requests {
            let mine = self.requests.entry(entity.clone()).or_default();
            mine.all.merge(&requests.all);
            for (operation, counts) in &requests.by_operation {
                mine.by_operation.entry(operation.clone()).or_default().merge(counts);
            }
        }
        for (key, counts) in &other.calls {
            self.calls.entry(key.clone()).or_default().merge(counts);
        }
    }
}

/// Calls from one entity to another, in the time of the graph. Times in seconds, as the caller saw them where it told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceEdge {
    /// Who calls.
    pub from: EntityId,
    /// Who is called.
    pub to: EntityId,
    /// How many calls there were.
    pub calls: u64,
    /// And a second.
    pub calls_per_sec: f64,
    /// The share that failed, whoever was to blame: 0 to 1.
    pub error_ratio: f64,
    /// The median.
    pub p50_secs: f64,
    /// The 95th percentile.
    pub p95_secs: f64,
    /// The 99th percentile.
    pub p99_secs: f64,
}

/// Who called whom lately.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceGraph {
    /// The time it covers, in seconds.
    pub span_secs: f64,
    /// By caller, then by callee.
    pub edges: Vec<ServiceEdge>,
}

impl ServiceGraph {
    pub(super) fn of(look: &Look, span_secs: f64) -> Self {
        let edge = |((from, to), counts): (&(EntityId, EntityId), &Counts)| {
            let quantile = |q| counts.times.quantile(q).unwrap_or(0.0);
            ServiceEdge {
                from: from.clone(),
                to: to.clone(),
                calls: counts.times.count(),
                calls_per_sec: if span_secs > 0.0 { counts.total() / span_secs } else { 0.0 },
                error_ratio: counts.failed() / counts.total().max(1.0),
                p50_secs: quantile(0.5),
                p95_secs: quantile(0.95),
                p99_secs: quantile(0.99),
            }
        };
        Self { span_secs, edges: look.calls.iter().map(edge).collect() }
    }

    /// The edges as a topology has them: the caller depends on the callee, as learned from `traces`. Their entities must be added to
    /// the document beside them where they are not.
    pub fn dependencies(&self) -> impl Iterator<Item = Dependency> {
        self.edges.iter().map(|edge| Dependency {
            from: edge.from.clone(),
            to: edge.to.clone(),
            kind: "calls".to_owned(),
            strength: Probability::ONE,
            source: "traces".to_owned(),
        })
    }
}
