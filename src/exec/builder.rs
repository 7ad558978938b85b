//! From the nodes of a graph to calls: operators built, constants found, types derived.

use super::body::captures_of;
use super::error::{ExecError, UnsupportedNode};
use super::ops::{self, NodeContext};
use super::program::{Call, Constant, Source};
use crate::model::{Attribute, DType, Graph, Model, Node, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which calls are computed once, when weights are bound, instead of in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folding {
    /// Every call on constants alone.
    All,
    /// Those through which no gradient can reach a parameter.
    WithoutParameters,
}

/// The calls of a graph and what they refer to.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub calls: Vec<Call>,
    pub constants: Vec<Constant>,
    /// Where each value of the graph comes from.
    pub sources: Vec<Source>,
    /// Element type of each value of the graph.
    pub types: Vec<Option<DType>>,
    /// Whether each constant depends on a float initializer.
    from_weights: Vec<bool>,
}

/// Builds the calls of `graph`.
///
/// # Errors
/// [`ExecError::Unsupported`] with every node that cannot run.
pub(super) fn build_calls(model: &Model, graph: &Graph, folding: Folding) -> Result<Parts, ExecError> {
    let mut parts = Parts {
        sources: (0..graph.values.len()).map(Source::Slot).collect(),
        types: vec![None; graph.values.len()],
        ..Parts::default()
    };
    for (index, value) in graph.values.iter().enumerate() {
        if let Some(tensor) = model.tensors.get(&value.name) {
            let constant = Constant::Named(value.name.clone(), tensor.shape().to_vec());
            parts.add_constant(index, constant, tensor.dtype(), tensor.dtype().is_float());
        }
    }
    for input in &graph.inputs {
        let index = input.0 as usize;
        parts.types[index] = parts.types[index].or_else(|| graph.value(*input).fact.dtype);
    }
    let used = used_values(graph);
    let mut unsupported = Vec::new();
    for node in &graph.nodes {
        if let Err(reason) = parts.add_node(model, graph, node, &used, folding) {
            unsupported.push(UnsupportedNode { op: node.op.clone(), node: node.label().to_owned(), reason });
        }
    }
    if !unsupported.is_empty() {
        return Err(ExecError::Unsupported(unsupported));
    }
    // Shape arithmetic whose result is known leaves calls behind that nobody reads.
    let live = live_slots(graph, &parts.sources);
    parts.calls.retain(|call| call.outputs.iter().flatten().any(|&value| live[value]));
    Ok(parts)
}

/// Which values have to be computed, or given, for the graph's outputs.
pub(super) fn live_slots(graph: &Graph, sources: &[Source]) -> Vec<bool> {
    let mut live = vec![false; graph.values.len()];
    let mark = |live: &mut Vec<bool>, value: usize| live[value] |= matches!(sources[value], Source::Slot(_));
    for output in &graph.outputs {
        mark(&mut live, output.0 as usize);
    }
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().flatten().any(|id| live[id.0 as usize]) {
            let captured = captures_of(node).into_iter().filter_map(|name| graph.find(&name));
            for id in node.inputs.iter().flatten().copied().chain(captured) {
                mark(&mut live, id.0 as usize);
            }
        }
    }
    live
}

/// Which values a node reads or the graph returns.
fn used_values(graph: &Graph) -> Vec<bool> {
    let mut used = vec![false; graph.values.len()];
    let reads = graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten());
    for id in reads.chain(&graph.outputs) {
        used[id.0 as usize] = true;
    }
    for name in graph.nodes.iter().flat_map(captures_of) {
        if let Some(id) = graph.find(&name) {
            used[id.0 as usize] = true;
        }
    }
    used
}

impl Parts {
    fn add_constant(&mut self, value: usize, constant: Constant, dtype: DType, from_weights: bool) {
        self.sources[value] = Source::Constant(self.constants.len());
        self.types[value] = Some(dtype);
        self.constants.push(constant);
        self.from_weights.push(from_weights);
    }

    fn add_inline(&mut self, value: usize, tensor: &Tensor) {
        self.add_constant(value, Constant::Inline(tensor.clone()), tensor.dtype(), false);
    }

    fn add_node(
        &mut self,
        model: &Model,
        graph: &Graph,
        node: &Node,
        used: &[bool],
        folding: Folding,
    ) -> Result<(), String> {
        let wanted: Vec<Option<usize>> =
            node.outputs.iter().map(|o| o.map(|id| id.0 as usize).filter(|&v| used[v])).collect();
        let open: Vec<usize> =
            wanted.iter().flatten().copied().filter(|&v| matches!(self.sources[v], Source::Slot(_))).collect();
        if node.op == "Constant" && node.domain.is_empty() {
            let value = constant_value(&node.attributes).ok_or("its value is not a tensor or numbers")?;
            for &v in &open {
                self.add_inline(v, &value);
            }
            return Ok(());
        }
        let folded: Option<Vec<&Tensor>> = open.iter().map(|&v| folded_value(graph, v)).collect();
        if let Some(folded) = folded {
            for (&v, tensor) in open.iter().zip(folded) {
                self.add_inline(v, tensor);
            }
            return Ok(());
        }
        let operator = ops::build(&NodeContext { node, graph, model, types: &self.types })?;
        let inputs: Vec<Source> =
            node.inputs.iter().map(|input| input.map_or(Source::Absent, |id| self.sources[id.0 as usize])).collect();
        let inputs = inputs.into_iter().chain(self.captured(graph, node)?).collect();
        let operand_types: Vec<DType> = node
            .inputs
            .iter()
            .map(|input| input.and_then(|id| self.types[id.0 as usize]).unwrap_or(DType::F32))
            .collect();
        let last = wanted.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        let outputs = wanted[..last].to_vec();
        let types: Vec<DType> = (0..last).map(|i| operator.result_type(i, &operand_types)).collect();
        let call =
            Call { label: node.label().to_owned(), op: node.op.clone(), operator, inputs, outputs: outputs.clone() };
        if self.folds(&call, folding) {
            let from_weights = call.inputs.iter().any(|s| matches!(s, Source::Constant(i) if self.from_weights[*i]));
            let call = Arc::new(call);
            for (output, value) in outputs.into_iter().enumerate() {
                let Some(value) = value else { continue };
                let shape = graph.values[value].fact.extents();
                let constant = Constant::Computed { call: Arc::clone(&call), output, shape };
                self.add_constant(value, constant, types[output], from_weights);
            }
            return Ok(());
        }
        for (value, dtype) in outputs.iter().zip(&types) {
            if let Some(value) = value {
                self.types[*value] = Some(*dtype);
            }
        }
        self.calls.push(call);
        Ok(())
    }

    /// Where the values come from that a node's bodies read.
    fn captured(&self, graph: &Graph, node: &Node) -> Result<Vec<Source>, String> {
        let source = |name: String| match graph.find(&name) {
            Some(id) => Ok(self.sources[id.0 as usize]),
            None => Err(format!("its body reads `{name}`, which nothing defines")),
        };
        captures_of(node).into_iter().map(source).collect()
    }

    fn folds(&self, call: &Call, folding: Folding) -> bool {
        !call.operator.is_random()
            && call.inputs.iter().all(|source| match source {
                Source::Constant(index) => folding == Folding::All || !self.from_weights[*index],
                Source::Absent => true,
                Source::Slot(_) => false,
            })
    }
}

/// The value that inference found, if it cannot depend on weights that are edited.
fn folded_value(graph: &Graph, value: usize) -> Option<&Tensor> {
    graph.values[value].fact.constant.as_ref().filter(|tensor| !tensor.dtype().is_float())
}

fn constant_value(attributes: &BTreeMap<String, Attribute>) -> Option<Tensor> {
    match attributes.iter().find(|(name, _)| name.starts_with("value"))? {
        (_, Attribute::Tensor(tensor)) => Some(tensor.clone()),
        (_, Attribute::Int(value)) => Tensor::from_i64(Vec::new(), &[*value]).ok(),
        (_, Attribute::Float(value)) => Tensor::from_f32(Vec::new(), vec![*value]).ok(),
        (_, Attribute::Ints(values)) => Tensor::from_i64(vec![values.len()], values).ok(),
        (_, Attribute::Floats(values)) => Tensor::from_f32(vec![values.len()], values.clone()).ok(),
        _ => None,
    }
}
