//! What a removed place still is once its weights are zero.
//!
//! Without the weights that compute it, a channel is constant: its bias, shifted by a normalisation, passed
//! through activations. That constant is what has to be made up for where the channel was read. A place
//! whose value cannot be told, or cannot be made up for, has its biases and shifts taken away as well;
//! where even that does not help, it stays.

mod function;
mod layout;
mod normal;
mod product;

use super::analysis::{Analysis, Places};
use super::atoms::SetId;
use super::labels::for_each_index;
use super::rule::{Reduction, Rule, View};
use crate::model::{Dim, Layer, Node, NodeId, Tensor, ValueId};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Elements of the largest table of constants that is worked out.
const MOST_ELEMENTS: usize = 1 << 20;

/// Constants of a value for every index along some of its axes; NaN where there is none.
#[derive(Clone, Debug)]
pub struct Remainder {
    /// Axes in ascending order, with their extents.
    pub axes: Vec<(usize, usize)>,
    /// Row-major over the axes.
    pub values: Arc<[f64]>,
    /// Whether the value is this even where nothing is removed.
    pub exact: bool,
}

impl Remainder {
    /// The constant at an index.
    pub fn at(&self, index: impl Fn(usize) -> usize) -> f64 {
        let flat = self.axes.iter().fold(0, |flat, &(axis, count)| flat * count + index(axis).min(count - 1));
        self.values[flat]
    }

    /// Whether every constant is zero.
    pub fn is_zero(&self) -> bool {
        self.values.iter().all(|&v| v == 0.0)
    }
}

/// Which weights are zeroed along which axis, by the nodes that read them.
#[derive(Clone, Debug)]
pub struct Producers {
    /// Nodes whose weight is one of a prunable layer, with that weight.
    pub nodes: HashMap<NodeId, String>,
    /// Weights and their axis of outputs.
    pub weights: HashMap<String, usize>,
}

impl Producers {
    pub fn of(layers: &[Layer]) -> Self {
        let prunable = || layers.iter().filter(|layer| layer.prunability.is_prunable());
        Self {
            nodes: prunable()
                .rev()
                .flat_map(|layer| layer.nodes.iter().map(|&node| (node, layer.weight.clone())))
                .collect(),
            weights: prunable().map(|layer| (layer.weight.clone(), layer.output_axis)).collect(),
        }
    }
}

/// Constants of all values, and where they are of no use.
#[derive(Clone, Debug)]
pub struct Remainders {
    /// By value.
    pub values: Vec<Option<Remainder>>,
    /// Places whose constant cannot be made up for.
    pub failures: Vec<Failure>,
}

/// A place whose constant is of no use to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What removes the place along the axis in question.
    pub set: SetId,
    /// What removes it along each of the value's axes.
    pub all: Vec<SetId>,
    /// The node.
    pub node: NodeId,
    /// The weight that reads the place, if zeros there would do.
    pub weight: Option<ValueId>,
}

/// Parameters that may be zeroed with the weights.
#[derive(Clone, Debug, Default)]
pub struct Clearing {
    /// Values of one-dimensional and broadcast parameters.
    pub parameters: HashSet<ValueId>,
    /// Places that lose them.
    pub places: HashSet<SetId>,
    /// Weights whose columns for some places are zeroed instead.
    pub columns: HashMap<ValueId, HashSet<SetId>>,
}

/// Works out what remains of every removable place.
pub fn remainders(view: View<'_>, analysis: &Analysis, producers: &Producers, clearing: &Clearing) -> Remainders {
    let mut pass =
        Pass { view, analysis, producers, clearing, found: vec![None; view.graph.values.len()], failures: Vec::new() };
    for (index, value) in view.graph.values.iter().enumerate() {
        if let Some(tensor) = view.model.tensors.get(&value.name)
            && !producers.weights.contains_key(&value.name)
        {
            pass.found[index] = pass.of_data(ValueId(index as u32), tensor);
        }
    }
    for (id, node) in view.graph.iter_nodes() {
        let results = pass.node(id, node);
        for (output, result) in node.outputs.iter().zip(results) {
            if let Some(output) = output {
                pass.found[output.0 as usize] = result;
            }
        }
    }
    Remainders { values: pass.found, failures: pass.failures }
}

struct Pass<'a> {
    view: View<'a>,
    analysis: &'a Analysis,
    producers: &'a Producers,
    clearing: &'a Clearing,
    found: Vec<Option<Remainder>>,
    failures: Vec<Failure>,
}

impl Pass<'_> {
    /// Data of the model as it is, without what is cleared.
    fn of_data(&self, value: ValueId, tensor: &Tensor) -> Option<Remainder> {
        if tensor.len() > MOST_ELEMENTS {
            return None;
        }
        let axes = tensor.shape().iter().copied().enumerate().filter(|&(_, n)| n > 1).collect::<Vec<_>>();
        let mut values: Vec<f64> = tensor.to_f32().iter().copied().map(f64::from).collect();
        if self.clearing.parameters.contains(&value) && !self.clearing.places.is_empty() {
            let places = &self.analysis.values[value.0 as usize];
            let mut flat = 0;
            for_each_index(&axes, |at| {
                let index = |axis: usize| axes.iter().position(|&(a, _)| a == axis).map_or(0, |i| at[i]);
                let cleared = places.iter().enumerate().filter_map(|(axis, places)| {
                    let places = places.as_ref()?;
                    Some(places.sets[places.row(index) * places.extent + index(axis)])
                });
                if cleared.into_iter().any(|set| self.clearing.places.contains(&set)) {
                    values[flat] = 0.0;
                }
                flat += 1;
            });
        }
        Some(Remainder { axes, values: values.into(), exact: true })
    }

    fn operand(&self, node: &Node, input: usize) -> Option<&Remainder> {
        self.found[node.input(input)?.0 as usize].as_ref()
    }

    /// A number that the graph carries.
    fn number(&self, node: &Node, input: usize) -> Option<f64> {
        self.operand(node, input).filter(|r| r.exact && r.axes.is_empty()).map(|r| r.values[0])
    }

    fn rank(&self, node: &Node, input: usize) -> usize {
        self.view.shape_of(node, input).map_or(0, Vec::len)
    }

    /// Axes of a value that can lose something.
    fn shrinking(&self, value: ValueId) -> Vec<usize> {
        let places = self.analysis.values[value.0 as usize].iter().enumerate();
        places.filter(|(_, p)| p.as_ref().is_some_and(|p| self.analysis.can_shrink(p))).map(|(axis, _)| axis).collect()
    }

    /// The table of a result, over all of its axes that have atoms.
    fn table(
        &self,
        output: Option<ValueId>,
        exact: bool,
        mut f: impl FnMut(&dyn Fn(usize) -> usize) -> f64,
    ) -> Option<Remainder> {
        let places = &self.analysis.values[output?.0 as usize];
        let axes: Vec<(usize, usize)> =
            places.iter().enumerate().filter_map(|(axis, p)| Some((axis, p.as_ref()?.extent))).collect();
        let count = axes.iter().try_fold(1usize, |n, &(_, extent)| n.checked_mul(extent))?;
        if count > MOST_ELEMENTS || (axes.is_empty() && !exact) {
            return None;
        }
        let mut values = Vec::with_capacity(count);
        for_each_index(&axes, |at| {
            let index = |axis: usize| axes.iter().position(|&(a, _)| a == axis).map_or(0, |i| at[i]);
            let value = f(&index);
            values.push(if value.is_finite() { value } else { f64::NAN });
        });
        Some(Remainder { axes, values: values.into(), exact })
    }

    /// Whether an operand whose axes start at `offset` of the result is constant wherever the result is
    /// removed, and not only in some of the ways.
    fn covers(&self, node: &Node, input: usize, offset: usize) -> bool {
        let (Some(output), Some(shape)) = (node.output(), self.view.shape_of(node, input)) else { return false };
        self.operand(node, input).is_some_and(|r| r.exact)
            || self
                .shrinking(output)
                .into_iter()
                .all(|axis| axis.checked_sub(offset).is_some_and(|a| shape[a] != Dim::Known(1)))
    }

    fn node(&mut self, id: NodeId, node: &Node) -> Vec<Option<Remainder>> {
        let output = node.output();
        let only = |result: Option<Remainder>| vec![result];
        let analysis = self.analysis;
        match &analysis.rules[id.0 as usize] {
            Rule::Constant => {
                let tensor = output.and_then(|value| constant_of(node).map(|tensor| self.of_data(value, tensor)));
                only(tensor.flatten())
            }
            Rule::Filled => {
                let value = match node.attributes.get("value") {
                    Some(crate::model::Attribute::Tensor(tensor)) => function::scalar(tensor).unwrap_or(f64::NAN),
                    _ => 0.0,
                };
                only(self.table(output, true, |_| value))
            }
            Rule::Same => {
                let Some(x) = self.operand(node, 0) else { return Vec::new() };
                let exact = x.exact;
                only(self.table(output, exact, |at| function::unary(node, x.at(at), |i| self.number(node, i))))
            }
            Rule::Broadcast => only(self.broadcast(node)),
            Rule::Mixed(axes) => only(self.mixed(node, axes)),
            Rule::Normalize(norm, axes) => only(self.normalize(id, node, *norm, axes)),
            Rule::Channelwise(over_space) => only(self.channelwise(node, *over_space)),
            Rule::Grouped(groups) => only(self.grouped(node, *groups)),
            Rule::Conv { .. } => {
                // A channel that has its output to itself goes with it.
                let channels = self.view.shape_of(node, 0).and_then(|s| s.get(1)?.known());
                if channels != usize::try_from(node.int("group", 1)).ok().filter(|&groups| groups > 1) {
                    self.folds(id, node, 0, 1);
                }
                only(self.weighted(id, node, 1))
            }
            Rule::Gemm { turned } => only(self.gemm(id, node, *turned)),
            Rule::MatMul => only(self.mat_mul(id, node)),
            Rule::Einsum { terms, result } => {
                for (input, term) in terms.iter().enumerate() {
                    for (axis, letter) in term.iter().enumerate() {
                        if !result.contains(letter) {
                            self.vanishes(id, node, input, axis);
                        }
                    }
                }
                Vec::new()
            }
            Rule::Regroup(segments) => only(self.regrouped(node, segments)),
            Rule::Permute(order) => {
                let Some(x) = self.operand(node, 0) else { return Vec::new() };
                let before = |axis: usize| order.iter().position(|&o| o == axis).unwrap_or(axis);
                only(self.table(output, x.exact, |at| x.at(|axis| at(before(axis)))))
            }
            Rule::Pick { outputs, cut, dropped } => self.picked(id, node, (outputs, cut, *dropped)),
            Rule::Expand => {
                let Some(x) = self.operand(node, 0) else { return Vec::new() };
                let after = output.and_then(|o| self.view.shape(o)).map_or(0, Vec::len);
                let offset = after.saturating_sub(self.rank(node, 0));
                let covered = self.covers(node, 0, offset);
                only(self.table(output, x.exact, |at| if covered { x.at(|a| at(a + offset)) } else { f64::NAN }))
            }
            Rule::DepthToSpace { block, columns_first } => only(self.depth_to_space(node, *block, *columns_first)),
            Rule::Reduce { axes, keep, kind } => {
                for &axis in axes {
                    match kind {
                        Reduction::Sum | Reduction::Mean => self.folds(id, node, 0, axis),
                        Reduction::Magnitude | Reduction::Other => self.vanishes(id, node, 0, axis),
                    }
                }
                only(self.reduced(node, axes, *keep))
            }
            Rule::Lookup(axis) => only(self.looked_up(id, node, *axis)),
            Rule::Recurrent { .. } => self.recurrent(id, node),
            Rule::Attention { .. } => only(self.attention(id, node)),
            Rule::Extents | Rule::Opaque(_) => Vec::new(),
        }
    }

    fn broadcast(&self, node: &Node) -> Option<Remainder> {
        let output = node.output();
        let rank = self.view.shape(output?)?.len();
        let operands: Vec<(usize, Option<&Remainder>)> = (0..node.inputs.len())
            .map(|input| {
                let offset = rank.saturating_sub(self.rank(node, input));
                (offset, self.operand(node, input).filter(|_| self.covers(node, input, offset)))
            })
            .collect();
        let exact = operands.iter().all(|(_, r)| r.is_some_and(|r| r.exact));
        let mut x = vec![0.0; operands.len()];
        self.table(output, exact, |at| {
            for (slot, (offset, operand)) in x.iter_mut().zip(&operands) {
                *slot = operand.map_or(f64::NAN, |r| r.at(|axis| at(axis + offset)));
            }
            function::several(&node.op, &x)
        })
    }

    /// Notes the removable places of an operand's axis whose constant `is_usable` refuses.
    fn check(
        &mut self,
        id: NodeId,
        node: &Node,
        (input, axis): (usize, usize),
        weight: Option<ValueId>,
        is_usable: impl Fn(&dyn Fn(usize) -> usize, f64) -> bool,
    ) {
        let Some(value) = node.input(input) else { return };
        let axes = &self.analysis.values[value.0 as usize];
        let Some(places) = axes.get(axis).and_then(Option::as_ref) else { return };
        if !self.analysis.can_shrink(places) {
            return;
        }
        let remainder = self.found[value.0 as usize].as_ref();
        let all: Vec<(usize, usize)> = match remainder {
            Some(r) => r.axes.clone(),
            None => places.over.iter().copied().chain([(axis, places.extent)]).collect(),
        };
        let zeroed = weight.and_then(|weight| self.clearing.columns.get(&weight));
        let mut failed: Vec<Failure> = Vec::new();
        for_each_index(&all, |at| {
            let index = |axis: usize| all.iter().position(|&(a, _)| a == axis).map_or(0, |i| at[i]);
            let set = places.sets[places.row(index) * places.extent + index(axis)];
            let value = remainder.map_or(f64::NAN, |r| r.at(index));
            let matters = self.analysis.can_go(set) && !zeroed.is_some_and(|zeroed| zeroed.contains(&set));
            if matters && !is_usable(&index, value) {
                let of_axis = |(axis, places): (usize, &Option<Places>)| {
                    let places = places.as_ref()?;
                    let known = all.iter().any(|&(a, _)| a == axis);
                    known.then(|| places.sets[places.row(index) * places.extent + index(axis)])
                };
                let every = axes.iter().enumerate().filter_map(of_axis).collect();
                let failure = Failure { set, all: every, node: id, weight };
                if failed.last() != Some(&failure) {
                    failed.push(failure);
                }
            }
        });
        self.failures.append(&mut failed);
    }

    /// The removed places of an axis are added up and can be replaced by a bias: one constant each, or,
    /// where other axes shrink too, nothing at all.
    fn folds(&mut self, id: NodeId, node: &Node, input: usize, axis: usize) {
        let Some(value) = node.input(input) else { return };
        let alone = self.found[value.0 as usize].as_ref().is_none_or(|r| r.axes.iter().all(|&(a, _)| a == axis));
        let weight = self.weight_of(id, node);
        self.check(id, node, (input, axis), weight, |_, v| if alone { !v.is_nan() } else { v == 0.0 });
    }

    /// The removed places of an axis must be zero.
    fn vanishes(&mut self, id: NodeId, node: &Node, input: usize, axis: usize) {
        self.check(id, node, (input, axis), None, |_, v| v == 0.0);
    }

    /// The weight whose columns can be zeroed place by place.
    fn weight_of(&self, id: NodeId, node: &Node) -> Option<ValueId> {
        let fits =
            matches!(node.op.as_str(), "Conv" | "ConvTranspose" | "Gemm" | "MatMul") && node.int("group", 1) == 1;
        let name = self.producers.nodes.get(&id).filter(|_| fits)?;
        self.view.graph.find(name)
    }
}

/// The tensor of a `Constant` node.
pub fn constant_of(node: &Node) -> Option<&Tensor> {
    match node.attributes.get("value") {
        Some(crate::model::Attribute::Tensor(tensor)) => Some(tensor),
        _ => None,
    }
}
