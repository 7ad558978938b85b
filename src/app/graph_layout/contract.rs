//! From nodes to boxes.

use super::GraphBox;
use super::words;
use crate::model::{Graph, Layer, Model, NodeId, ValueId};
use std::collections::{BTreeSet, HashMap};

/// Operators that are no place of their own in a network: they change numbers or order in passing.
const PASSING: [&str; 62] = [
    "Abs",
    "Add",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gelu",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LpNormalization",
    "MeanVarianceNormalization",
    "Mish",
    "Mul",
    "Neg",
    "Not",
    "PRelu",
    "Pad",
    "Pow",
    "QuantizeLinear",
    "RMSNormalization",
    "Reciprocal",
    "Relu",
    "Reshape",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "SimplifiedLayerNormalization",
    "Silu",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
    "Transpose",
    "Unsqueeze",
    "Where",
    "Sum",
];

/// More that may lie between a fork and its join without breaking a function apart.
const INSIDE: [&str; 12] = [
    "Concat",
    "Equal",
    "Greater",
    "Less",
    "Max",
    "Min",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Slice",
    "Split",
];

/// Nodes that one function may be taken apart into.
const LARGEST_REGION: usize = 16;

/// A node, or several that compute one function.
pub(super) struct Unit {
    pub nodes: Vec<NodeId>,
    pub layers: Vec<usize>,
    /// Values that it reads from others, each once.
    pub reads: Vec<ValueId>,
    /// Values that others read, or that leave the graph.
    pub gives: Vec<ValueId>,
    passing: bool,
    pub token: String,
}

pub(super) struct Contraction<'a> {
    pub graph: &'a Graph,
    layers_of: Vec<Vec<usize>>,
    /// By node: computes data that matters.
    shown: Vec<bool>,
    /// Data that each node reads.
    reads: Vec<Vec<ValueId>>,
    /// Nodes shown that read each value.
    readers: Vec<Vec<NodeId>>,
    pub producers: Vec<Option<NodeId>>,
    leaves: Vec<bool>,
}

/// Units that make up a box, in graph order, and which of them names it.
pub(super) struct Draft {
    pub units: Vec<usize>,
    pub primary: Option<usize>,
    pub input: Option<ValueId>,
}

/// The boxes of a graph, without places, and which gives data to which.
pub fn contract(model: &Model, graph: &Graph, layers: &[Layer]) -> (Vec<GraphBox>, Vec<(usize, usize)>) {
    let contraction = Contraction::of(model, graph, layers);
    let (units, unit_of) = contraction.units();
    let drafts = contraction.fuse(&units, &unit_of);
    contraction.boxes(layers, &units, &unit_of, &drafts)
}

impl<'a> Contraction<'a> {
    fn of(model: &Model, graph: &'a Graph, layers: &[Layer]) -> Self {
        let (values, nodes) = (graph.values.len(), graph.nodes.len());
        let mut layers_of = vec![Vec::new(); nodes];
        for (index, layer) in layers.iter().enumerate() {
            layer.nodes.iter().for_each(|node| layers_of[node.0 as usize].push(index));
        }
        let mut data = vec![false; values];
        for &input in &graph.inputs {
            data[input.0 as usize] = !model.tensors.contains_key(&graph.value(input).name);
        }
        let names: HashMap<&str, ValueId> =
            if graph.nodes.iter().any(|n| n.subgraphs().next().is_some()) { graph.names() } else { HashMap::new() };
        let mut reads = Vec::with_capacity(nodes);
        for (id, node) in graph.iter_nodes() {
            let captured = node.subgraphs().flat_map(Graph::captures).filter_map(|name| names.get(name).copied());
            let mut read: Vec<ValueId> = node.inputs.iter().flatten().copied().chain(captured).collect();
            read.retain(|value| data[value.0 as usize]);
            read.sort_unstable();
            read.dedup();
            let computes = !matches!(node.op.as_str(), "Shape" | "Size") && !read.is_empty();
            if computes || !layers_of[id.0 as usize].is_empty() {
                node.outputs.iter().flatten().for_each(|output| data[output.0 as usize] = true);
            } else {
                read.clear();
            }
            reads.push(read);
        }
        let mut leaves = vec![false; values];
        graph.outputs.iter().for_each(|output| leaves[output.0 as usize] = true);
        let mut needed = if graph.outputs.is_empty() { vec![true; values] } else { leaves.clone() };
        let mut shown = vec![false; nodes];
        for (id, node) in graph.iter_nodes().collect::<Vec<_>>().into_iter().rev() {
            let at = id.0 as usize;
            let mut outputs = node.outputs.iter().flatten();
            let computes = !reads[at].is_empty() && outputs.any(|output| needed[output.0 as usize]);
            shown[at] = computes || !layers_of[at].is_empty();
            if shown[at] {
                reads[at].iter().for_each(|value| needed[value.0 as usize] = true);
            }
        }
        let mut readers = vec![Vec::new(); values];
        for (id, _) in graph.iter_nodes().filter(|(id, _)| shown[id.0 as usize]) {
            reads[id.0 as usize].iter().for_each(|value| readers[value.0 as usize].push(id));
        }
        Self { graph, layers_of, shown, reads, readers, producers: graph.producers(), leaves }
    }

    fn op(&self, node: NodeId) -> &str {
        &self.graph.node(node).op
    }

    fn used(&self, value: ValueId) -> bool {
        self.leaves[value.0 as usize] || !self.readers[value.0 as usize].is_empty()
    }

    fn fits(&self, node: NodeId, taken: &[Option<usize>]) -> bool {
        let op = self.op(node);
        let alone = self.layers_of[node.0 as usize].is_empty() && taken[node.0 as usize].is_none();
        alone && (PASSING.contains(&op) || INSIDE.contains(&op))
    }

    /// A node that reads the forked value and what was computed of nothing else, with the nodes in between: one
    /// function, whatever else reads the value.
    fn function(&self, fork: ValueId, exit: NodeId, taken: &[Option<usize>]) -> Option<Vec<NodeId>> {
        let mut region = BTreeSet::from([exit]);
        let mut waiting = vec![exit];
        while let Some(node) = waiting.pop() {
            if !self.fits(node, taken) || region.len() > LARGEST_REGION {
                return None;
            }
            for &value in self.reads[node.0 as usize].iter().filter(|&&value| value != fork) {
                let producer = self.producers[value.0 as usize].filter(|_| !self.leaves[value.0 as usize])?;
                if region.insert(producer) {
                    waiting.push(producer);
                }
            }
        }
        let inside = |node: &NodeId| {
            let outputs = self.graph.node(*node).outputs.iter().flatten();
            outputs.flat_map(|value| &self.readers[value.0 as usize]).all(|reader| region.contains(reader))
        };
        let closed = region.iter().filter(|&&node| node != exit).all(inside);
        (closed && region.len() > 1).then(|| region.into_iter().collect())
    }

    /// Nodes between a fork and the node where all that comes of it joins again, if they compute one function of
    /// what was forked.
    fn region(&self, fork: ValueId, taken: &[Option<usize>]) -> Option<Vec<NodeId>> {
        let mut waiting: BTreeSet<NodeId> = self.readers[fork.0 as usize].iter().copied().collect();
        if waiting.len() < 2 {
            return None;
        }
        let found = waiting.iter().find_map(|&exit| self.function(fork, exit, taken));
        if found.is_some() {
            return found;
        }
        let mut known = BTreeSet::from([fork]);
        let mut region = Vec::new();
        while let Some(node) = waiting.pop_first() {
            let at = node.0 as usize;
            let inside = self.reads[at].iter().all(|value| known.contains(value));
            if !inside || !self.fits(node, taken) {
                return None;
            }
            region.push(node);
            if waiting.is_empty() {
                return (region.len() > 1).then_some(region);
            }
            for output in self.graph.node(node).outputs.iter().flatten() {
                if self.leaves[output.0 as usize] {
                    return None;
                }
                known.insert(*output);
                waiting.extend(&self.readers[output.0 as usize]);
            }
            if region.len() >= LARGEST_REGION {
                return None;
            }
        }
        None
    }

    fn units(&self) -> (Vec<Unit>, Vec<Option<usize>>) {
        let mut region_of: Vec<Option<usize>> = vec![None; self.graph.nodes.len()];
        let mut regions: Vec<Vec<NodeId>> = Vec::new();
        let outputs = self.graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten().copied());
        for value in self.graph.inputs.iter().copied().chain(outputs) {
            if let Some(region) = self.region(value, &region_of) {
                for node in &region {
                    region_of[node.0 as usize] = Some(regions.len());
                }
                regions.push(region);
            }
        }
        let mut unit_of = vec![None; self.graph.nodes.len()];
        let mut units: Vec<Unit> = Vec::new();
        for (id, _) in self.graph.iter_nodes().filter(|(id, _)| self.shown[id.0 as usize]) {
            let nodes = match region_of[id.0 as usize] {
                // A region stands where its last node does.
                Some(region) if regions[region].last() == Some(&id) => regions[region].clone(),
                Some(_) => continue,
                None => vec![id],
            };
            for node in &nodes {
                unit_of[node.0 as usize] = Some(units.len());
            }
            units.push(self.unit(nodes));
        }
        (units, unit_of)
    }

    fn unit(&self, nodes: Vec<NodeId>) -> Unit {
        let own: BTreeSet<ValueId> =
            nodes.iter().flat_map(|&n| self.graph.node(n).outputs.iter().flatten().copied()).collect();
        let mut reads: Vec<ValueId> = nodes.iter().flat_map(|n| self.reads[n.0 as usize].iter().copied()).collect();
        reads.retain(|value| !own.contains(value));
        reads.sort_unstable();
        reads.dedup();
        let last = nodes[nodes.len() - 1];
        let gives = self.graph.node(last).outputs.iter().flatten().copied().filter(|&v| self.used(v)).collect();
        let mut layers: Vec<usize> = nodes.iter().flat_map(|n| self.layers_of[n.0 as usize].clone()).collect();
        layers.dedup();
        let passing = layers.is_empty() && (nodes.len() > 1 || PASSING.contains(&self.op(last)));
        let token = if nodes.len() > 1 {
            words::region(&nodes.iter().map(|&n| self.graph.node(n)).collect::<Vec<_>>())
        } else {
            words::token(self.graph.node(last))
        };
        Unit { nodes, layers, reads, gives, passing, token }
    }

    /// Joins what is computed in passing to what it belongs to: backwards to its only source where nothing else
    /// reads that, else forwards to its only reader.
    fn fuse(&self, units: &[Unit], unit_of: &[Option<usize>]) -> Vec<Draft> {
        let mut drafts: Vec<Draft> = Vec::new();
        let mut draft_of: Vec<usize> = Vec::with_capacity(units.len());
        let mut input_of: HashMap<ValueId, usize> = HashMap::new();
        for &input in self.graph.inputs.iter().filter(|&&input| !self.readers[input.0 as usize].is_empty()) {
            input_of.insert(input, drafts.len());
            drafts.push(Draft { units: Vec::new(), primary: None, input: Some(input) });
        }
        let unit_at = |node: NodeId| unit_of[node.0 as usize];
        for (index, unit) in units.iter().enumerate() {
            let source = match unit.reads.as_slice() {
                &[value] if unit.passing && !self.leaves[value.0 as usize] => {
                    let alone = self.readers[value.0 as usize].iter().all(|&reader| unit_at(reader) == Some(index));
                    match self.producers[value.0 as usize].and_then(unit_at) {
                        _ if !alone => None,
                        Some(before) => (units[before].gives.len() == 1).then(|| draft_of[before]),
                        None => input_of.get(&value).copied(),
                    }
                }
                _ => None,
            };
            let draft = source.unwrap_or(drafts.len());
            if source.is_none() {
                drafts.push(Draft { units: Vec::new(), primary: Some(index), input: None });
            }
            drafts[draft].units.push(index);
            draft_of.push(draft);
        }
        for draft in (0..drafts.len()).rev() {
            let Some(primary) = drafts[draft].primary.filter(|&unit| units[unit].passing) else { continue };
            let last = drafts[draft].units[drafts[draft].units.len() - 1];
            let &[value] = units[last].gives.as_slice() else { continue };
            let readers = &self.readers[value.0 as usize];
            let mut targets = readers.iter().filter_map(|&reader| unit_at(reader)).map(|unit| draft_of[unit]);
            let Some(target) = targets.next().filter(|&first| targets.all(|other| other == first)) else { continue };
            if self.leaves[value.0 as usize] || units[primary].reads.len() != 1 {
                continue;
            }
            let moved = std::mem::take(&mut drafts[draft].units);
            for &unit in &moved {
                draft_of[unit] = target;
            }
            drafts[target].units.extend(moved);
            drafts[target].units.sort_unstable();
        }
        drafts.retain(|draft| draft.input.is_some() || !draft.units.is_empty());
        drafts
    }
}
