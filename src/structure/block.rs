use super::remainder::{Clearing, Remainder, remainders};
use super::rule::{Rule, View};
use super::structure::Structure;
use crate::model::{Graph, Model, Node, NodeId, ValueId};

/// A branch between a split and the addition that ends it, which can be left out as a whole: depth pruning
/// (Huang et al. 2016 drop such branches in training).
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Name of the sum.
    pub name: String,
    /// Layers that go, as indices in [`Structure::layers`].
    pub layers: Vec<usize>,
    /// Those of them whose zeroed weights make the branch constant: what is zero in the masked model.
    pub last: Vec<usize>,
    /// Why the branch cannot be left out; empty if it can.
    pub reason: String,
    pub(super) sum: NodeId,
    pub(super) nodes: Vec<NodeId>,
    /// The operand of the sum that goes, and the one that stays.
    pub(super) branch: ValueId,
    pub(super) rest: ValueId,
    /// What the branch still adds without its last weights.
    pub(super) constant: Option<Remainder>,
}

impl PartialEq for Remainder {
    fn eq(&self, other: &Self) -> bool {
        self.axes == other.axes && self.values == other.values
    }
}

impl Structure {
    /// The residual branches of a model, in graph order: of each sum the operand with more layers, if
    /// nothing else needs what leads to it.
    pub fn blocks(&self, model: &Model) -> Vec<Block> {
        let Some(graph) = &model.graph else { return Vec::new() };
        if graph.nodes.len() != self.analysis.rules.len() {
            return Vec::new();
        }
        let search = Search { structure: self, graph, producers: graph.producers(), readers: graph.consumers() };
        let view = View { model, graph };
        let constants = remainders(view, &self.analysis, &self.producers, &Clearing::default()).values;
        graph
            .iter_nodes()
            .filter(|(_, node)| node.op == "Add" && node.inputs.len() == 2)
            .filter_map(|(id, node)| search.block(id, node, &constants))
            .collect()
    }
}

struct Search<'a> {
    structure: &'a Structure,
    graph: &'a Graph,
    producers: Vec<Option<NodeId>>,
    readers: Vec<Vec<NodeId>>,
}

impl Search<'_> {
    fn block(&self, id: NodeId, node: &Node, constants: &[Option<Remainder>]) -> Option<Block> {
        let (a, b) = (node.input(0)?, node.input(1)?);
        let same_shape = self.graph.value(a).fact.shape == self.graph.value(b).fact.shape;
        let stored = |value: ValueId| self.structure.analysis.stored[value.0 as usize];
        if a == b || !same_shape || stored(a) || stored(b) || self.graph.value(a).fact.shape.is_none() {
            return None;
        }
        let sides = [(a, b), (b, a)].into_iter().filter_map(|(branch, rest)| {
            let leads = self.leads_to(rest);
            let nodes = self.exclusive(branch, id, &leads);
            let layers = self.layers_in(&nodes);
            let joins = !layers.is_empty() && self.rejoins(&nodes, &leads);
            joins.then_some((layers, nodes, branch, rest))
        });
        // Of two branches with layers the shorter one is the shortcut.
        let (layers, nodes, branch, rest) = sides.max_by_key(|(layers, ..)| layers.len())?;
        let (last, passes) = self.last_layers(&nodes, branch);
        let constant = constants[branch.0 as usize].clone();
        let outside = |&layer: &usize| self.structure.layers()[layer].nodes.iter().any(|n| !nodes.contains(n));
        let unprunable = |&&layer: &&usize| !self.structure.layers()[layer].prunability.is_prunable();
        let reason = if let Some(&layer) = last.iter().find(|layer| outside(layer)) {
            format!("`{}` is used elsewhere as well", self.structure.layers()[layer].name)
        } else if let Some(&layer) = last.iter().find(unprunable) {
            let layer = &self.structure.layers()[layer];
            format!("`{}`: {}", layer.name, layer.prunability.reason())
        } else if passes {
            "without its last weights the branch still passes on what it reads".to_owned()
        } else if constant.as_ref().is_none_or(|c| c.values.iter().any(|v| v.is_nan())) {
            "without its last weights the branch is still not constant".to_owned()
        } else {
            String::new()
        };
        let name = node.output().map(|o| self.graph.value(o).name.clone())?;
        Some(Block { name, layers, last, reason, sum: id, nodes, branch, rest, constant })
    }

    /// Nodes that only serve one operand of a sum.
    fn exclusive(&self, branch: ValueId, sum: NodeId, other: &[bool]) -> Vec<NodeId> {
        let mut inside = vec![false; self.graph.nodes.len()];
        let mut wanted = vec![false; self.graph.nodes.len()];
        if let Some(first) = self.producers[branch.0 as usize] {
            wanted[first.0 as usize] = true;
        }
        for index in (0..sum.0).rev() {
            if !wanted[index as usize] {
                continue;
            }
            let node = self.graph.node(NodeId(index));
            let serves = |output: &ValueId| {
                !self.graph.outputs.contains(output)
                    && !other[output.0 as usize]
                    && self.readers[output.0 as usize].iter().all(|&r| r == sum || inside[r.0 as usize])
            };
            if node.outputs.iter().flatten().all(serves) && node.subgraphs().next().is_none() {
                inside[index as usize] = true;
                for before in node.inputs.iter().flatten().filter_map(|v| self.producers[v.0 as usize]) {
                    wanted[before.0 as usize] = true;
                }
            }
        }
        (0..sum.0).map(NodeId).filter(|id| inside[id.0 as usize]).collect()
    }

    fn layers_in(&self, nodes: &[NodeId]) -> Vec<usize> {
        let layers = self.structure.layers().iter().enumerate();
        layers.filter(|(_, layer)| layer.nodes.iter().any(|n| nodes.contains(n))).map(|(index, _)| index).collect()
    }

    /// Values from which data flows to one, itself included.
    fn leads_to(&self, value: ValueId) -> Vec<bool> {
        let mut leads = vec![false; self.graph.values.len()];
        leads[value.0 as usize] = true;
        for (node, rule) in self.graph.nodes.iter().zip(&self.structure.analysis.rules).rev() {
            let reads_data = !matches!(rule, Rule::Extents);
            if reads_data && node.outputs.iter().flatten().any(|o| leads[o.0 as usize]) {
                for input in node.inputs.iter().flatten() {
                    leads[input.0 as usize] = true;
                }
            }
        }
        leads
    }

    /// Whether something that a branch reads leads to the other operand too; masks and positions need not.
    fn rejoins(&self, nodes: &[NodeId], leads: &[bool]) -> bool {
        let inside = |value: ValueId| self.producers[value.0 as usize].is_some_and(|p| nodes.contains(&p));
        let mut reads = nodes.iter().flat_map(|&n| self.graph.node(n).inputs.iter().flatten().copied());
        reads.any(|v| !inside(v) && !self.structure.analysis.stored[v.0 as usize] && leads[v.0 as usize])
    }

    /// Layers of the branch behind which there is no other, and whether something reaches its end around them, as
    /// what a gate multiplies does.
    fn last_layers(&self, nodes: &[NodeId], branch: ValueId) -> (Vec<usize>, bool) {
        let mut reached = vec![false; self.graph.values.len()];
        reached[branch.0 as usize] = true;
        let mut last = Vec::new();
        let inside = |value: ValueId| self.producers[value.0 as usize].is_some_and(|p| nodes.contains(&p));
        let mut passes = false;
        for &id in nodes.iter().rev() {
            let node = self.graph.node(id);
            if !node.outputs.iter().flatten().any(|o| reached[o.0 as usize]) {
                continue;
            }
            let layers = self.structure.layers().iter().enumerate();
            let own: Vec<usize> = layers.filter(|(_, layer)| layer.nodes.contains(&id)).map(|(i, _)| i).collect();
            if own.is_empty() && !matches!(self.structure.analysis.rules[id.0 as usize], Rule::Extents) {
                for &input in node.inputs.iter().flatten() {
                    reached[input.0 as usize] = true;
                    passes |= !inside(input) && !self.structure.analysis.stored[input.0 as usize];
                }
            }
            last.extend(own);
        }
        last.sort_unstable();
        last.dedup();
        (last, passes)
    }
}
