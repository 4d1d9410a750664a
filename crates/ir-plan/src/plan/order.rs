//! The order of steps: the one file here that knows petgraph.

use std::collections::BTreeMap;

use ir_core::StepId;
use petgraph::graph::DiGraph;

/// The steps in an order in which each comes after those it waits for; the same steps in the same order give the same.
///
/// # Errors
///
/// A step that waits for itself, directly or not. Names of no step are passed over.
pub(crate) fn topological<'a>(
    steps: impl Iterator<Item = (&'a StepId, &'a [StepId])>,
) -> Result<Vec<&'a StepId>, &'a StepId> {
    let steps: Vec<_> = steps.collect();
    let mut graph: DiGraph<&StepId, ()> = DiGraph::new();
    let mut nodes = BTreeMap::new();
    for (id, _) in &steps {
        nodes.entry(*id).or_insert_with(|| graph.add_node(id));
    }
    for (id, after) in &steps {
        for before in *after {
            if let (Some(from), Some(to)) = (nodes.get(before), nodes.get(id)) {
                graph.update_edge(*from, *to, ());
            }
        }
    }
    match petgraph::algo::toposort(&graph, None) {
        Ok(order) => Ok(order.into_iter().map(|node| graph[node]).collect()),
        Err(cycle) => Err(graph[cycle.node_id()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_after_those_they_wait_for() {
        let [a, b, c] = ["a", "b", "c"].map(|n| StepId::new(n).unwrap());
        let (after_b, after_a, none) = (vec![b.clone()], vec![a.clone()], vec![]);
        let order =
            topological([(&c, after_b.as_slice()), (&b, after_a.as_slice()), (&a, none.as_slice())].into_iter());
        assert_eq!(order.unwrap(), [&a, &b, &c]);
        let cycle = topological([(&a, after_b.as_slice()), (&b, after_a.as_slice())].into_iter());
        assert!(cycle.is_err());
    }
}
