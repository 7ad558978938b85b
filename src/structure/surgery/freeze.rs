//! Numbers that the graph computes from shapes, such as the square root of a head's size, stay what they were.

use super::edit::Edit;
use crate::model::{Graph, Node, NodeId, ValueId};
use std::collections::HashSet;

/// Values that follow from an extent that the removal changes.
///
/// They are followed through integer arithmetic only; whatever reads one for another purpose is to get the
/// old number, or has it rewritten for what it means there.
pub fn changed_by_shapes(graph: &Graph, shrinks: impl Fn(ValueId) -> bool) -> HashSet<ValueId> {
    let mut changed = HashSet::new();
    for node in &graph.nodes {
        let begins = matches!(node.op.as_str(), "Shape" | "Size") && node.input(0).is_some_and(&shrinks);
        let goes_on = is_arithmetic(graph, node) && node.inputs.iter().flatten().any(|input| changed.contains(input));
        if begins || goes_on {
            changed.extend(node.outputs.iter().flatten().copied());
        }
    }
    changed
}

/// Whether a node turns extents into extents.
fn is_arithmetic(graph: &Graph, node: &Node) -> bool {
    let integer = |value: ValueId| graph.value(value).fact.dtype.is_some_and(|dtype| !dtype.is_float());
    let known = matches!(
        node.op.as_str(),
        "Add"
            | "Cast"
            | "Concat"
            | "Div"
            | "Equal"
            | "Gather"
            | "Identity"
            | "Max"
            | "Min"
            | "Mod"
            | "Mul"
            | "Neg"
            | "ReduceProd"
            | "ReduceSum"
            | "Reshape"
            | "Slice"
            | "Split"
            | "Squeeze"
            | "Sub"
            | "Unsqueeze"
            | "Where"
    );
    known
        && node.outputs.iter().flatten().all(|&output| integer(output))
        && node.inputs.iter().flatten().all(|&input| integer(input))
}

impl Edit<'_> {
    /// Gives a node that is no shape arithmetic the numbers it had.
    pub fn freeze(&mut self, id: NodeId, node: &mut Node) {
        if is_arithmetic(self.view.graph, self.view.graph.node(id)) || matches!(node.op.as_str(), "Shape" | "Size") {
            return;
        }
        for input in 0..node.inputs.len() {
            let Some(value) = node.input(input).filter(|value| self.changed.contains(value)) else { continue };
            if let Some(was) = self.view.graph.value(value).fact.constant.clone() {
                let name = format!("{}_as_it_was", self.view.graph.value(value).name);
                node.inputs[input] = Some(self.constant(&name, was));
            }
        }
    }
}
