//! Who depends on whom, as a graph that answers quickly. The one file here that knows petgraph.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ir_core::{EntityId, Topology};
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

/// Edges point from the dependent to what it depends on. Nodes and edges are added in the order of their names, so that all
/// answers are the same for the same topology.
#[derive(Debug)]
pub(crate) struct Graph {
    graph: DiGraph<EntityId, ()>,
    nodes: BTreeMap<EntityId, NodeIndex>,
}

impl Graph {
    /// Of the topology whatever may have to do with one of `named`: all ways between them lie within it.
    pub(crate) fn around<'a>(topology: &'a Topology, named: impl Iterator<Item = &'a EntityId>) -> Self {
        let named: BTreeSet<&EntityId> = named.filter(|entity| topology.entity(entity).is_some()).collect();
        let within: BTreeSet<&EntityId> = named.into_iter().flat_map(|entity| topology.concerned_by(entity)).collect();
        let mut graph = DiGraph::new();
        let nodes: BTreeMap<EntityId, NodeIndex> =
            within.iter().map(|entity| ((*entity).clone(), graph.add_node((*entity).clone()))).collect();
        for dependency in within.iter().flat_map(|entity| topology.dependencies_of(entity)) {
            if let (Some(from), Some(to)) = (nodes.get(&dependency.from), nodes.get(&dependency.to)) {
                graph.update_edge(*from, *to, ());
            }
        }
        Self { graph, nodes }
    }

    pub(crate) fn contains(&self, entity: &EntityId) -> bool {
        self.nodes.contains_key(entity)
    }

    /// Everything that `entity` depends on, directly or not, without itself.
    pub(crate) fn below(&self, entity: &EntityId) -> BTreeSet<EntityId> {
        self.reach(entity, Direction::Outgoing)
    }

    /// Everything that depends on `entity`, directly or not, without itself.
    pub(crate) fn above(&self, entity: &EntityId) -> BTreeSet<EntityId> {
        self.reach(entity, Direction::Incoming)
    }

    /// Direct dependents of `entity`.
    pub(crate) fn callers(&self, entity: &EntityId) -> BTreeSet<EntityId> {
        self.neighbours(entity, Direction::Incoming)
    }

    fn neighbours(&self, entity: &EntityId, direction: Direction) -> BTreeSet<EntityId> {
        let Some(node) = self.nodes.get(entity) else { return BTreeSet::new() };
        self.graph.neighbors_directed(*node, direction).map(|node| self.graph[node].clone()).collect()
    }

    fn reach(&self, entity: &EntityId, direction: Direction) -> BTreeSet<EntityId> {
        let mut seen = BTreeSet::new();
        let mut open = vec![entity.clone()];
        while let Some(next) = open.pop() {
            for neighbour in self.neighbours(&next, direction) {
                if seen.insert(neighbour.clone()) {
                    open.push(neighbour);
                }
            }
        }
        // On a cycle everybody depends on oneself, which explains nothing.
        seen.remove(entity);
        seen
    }

    /// The shortest way from `cause` along dependents to the farthest of `symptomatic`, the one nearest to users; the first by
    /// name among equals. Both ends are in it; `[cause]` when nothing symptomatic depends on it.
    pub(crate) fn path(&self, cause: &EntityId, symptomatic: &BTreeSet<EntityId>) -> Vec<EntityId> {
        let mut from: BTreeMap<EntityId, EntityId> = BTreeMap::new();
        let mut order = vec![(0_usize, cause.clone())];
        let mut open = VecDeque::from([(0_usize, cause.clone())]);
        while let Some((distance, next)) = open.pop_front() {
            for caller in self.callers(&next) {
                if caller != *cause && !from.contains_key(&caller) {
                    from.insert(caller.clone(), next.clone());
                    order.push((distance + 1, caller.clone()));
                    open.push_back((distance + 1, caller));
                }
            }
        }
        let top = order
            .into_iter()
            .filter(|(_, entity)| symptomatic.contains(entity))
            .min_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let mut path = vec![top.map_or_else(|| cause.clone(), |(_, entity)| entity)];
        while let Some(next) = path.last().and_then(|last| from.get(last)) {
            path.push(next.clone());
        }
        path.reverse();
        path
    }
}
