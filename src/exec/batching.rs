//! Whether a graph treats every example of a batch for itself, and how many examples are best run together.

use super::builder::{Parts, live_slots};
use super::program::{Constant, Source};
use crate::model::{Dim, Graph, Model, Node, Tensor, ValueId, node_macs};

/// Bytes that the largest step of a run should read and write, so that they stay in a core's cache.
const CACHE_BYTES: usize = 1 << 20;
/// Multiplications for each weight in a part, so that reading the weights of all layers anew takes about a
/// tenth of its time: a core does some 12 in the time in which one weight comes from memory.
const MACS_PER_WEIGHT: u64 = 120;
/// Parts come in multiples of this, so that cores finish together.
pub(super) const PARTS: usize = 4;

/// Examples that are run together, or `None` if the whole batch has to be.
///
/// Every value that depends on the inputs must have the examples on its first axis, and every node keep them
/// apart. Then a run may be divided: intermediate results stay in the cache, and cores need not wait for each
/// other. A weight is read once in each part, so parts are not made smaller than their weights are worth.
pub(super) fn examples_together(model: &Model, graph: &Graph, parts: &Parts) -> Option<usize> {
    let batch = batch_of(graph)?;
    let is_slot = live_slots(graph, &parts.sources);
    let on_first_axis = |id: &ValueId| graph.value(*id).fact.shape.as_ref().is_some_and(|s| s.first() == Some(&batch));
    if !graph.outputs.iter().all(|id| on_first_axis(id) && is_slot[id.0 as usize]) {
        return None;
    }
    let mut is_size = vec![false; graph.values.len()];
    for node in &graph.nodes {
        let mut outputs = node.outputs.iter().flatten().filter(|id| is_slot[id.0 as usize]).peekable();
        if outputs.peek().is_none() {
            continue;
        }
        let keeps = Keeps { model, graph, node, is_slot: &is_slot, is_size: &is_size };
        if keeps.computes_sizes() {
            outputs.for_each(|id| is_size[id.0 as usize] = true);
            continue;
        }
        if !outputs.all(on_first_axis) || !keeps.examples_apart() {
            return None;
        }
    }
    let elements =
        |id: usize| -> Option<usize> { graph.values[id].fact.shape.as_ref()?.iter().skip(1).map(Dim::known).product() };
    let mut most = 0;
    for call in &parts.calls {
        let outputs: usize = call.outputs.iter().flatten().map(|&id| elements(id)).sum::<Option<_>>()?;
        let slots = call.inputs.iter().filter_map(|s| if let Source::Slot(id) = s { Some(*id) } else { None });
        most = most.max(outputs + slots.map(elements).sum::<Option<usize>>()?);
    }
    let in_cache = CACHE_BYTES / (most * size_of::<f32>()).max(1);
    let weights: usize = parts.constants.iter().filter_map(Constant::shape).map(|s| s.iter().product::<usize>()).sum();
    let macs = graph.nodes.iter().filter_map(|node| node_macs(graph, node)).fold(0, u64::saturating_add);
    let worth_reading = (weights as u64).saturating_mul(MACS_PER_WEIGHT) / macs.max(1);
    Some(in_cache.max(usize::try_from(worth_reading).unwrap_or(usize::MAX)).max(1))
}

/// The named extent that is the first axis of every input.
fn batch_of(graph: &Graph) -> Option<Dim> {
    let first = |id: &ValueId| graph.value(*id).fact.shape.as_ref()?.first().cloned();
    let batch = first(graph.inputs.first()?)?;
    let same = graph.inputs.iter().all(|id| first(id).as_ref() == Some(&batch));
    (same && matches!(batch, Dim::Symbol(_))).then_some(batch)
}

/// One node of the graph, asked whether each example of its results follows from the same example alone.
///
/// That its results have the examples on their first axis is known.
struct Keeps<'a> {
    model: &'a Model,
    graph: &'a Graph,
    node: &'a Node,
    is_slot: &'a [bool],
    /// Values that follow from extents alone, the number of examples among them: in each part of a batch they
    /// are those of the part.
    is_size: &'a [bool],
}

impl Keeps<'_> {
    fn examples_apart(&self) -> bool {
        if !self.node.domain.is_empty() {
            return false;
        }
        match self.node.op.as_str() {
            "BatchNormalization" => self.only_first() && self.node.int("training_mode", 0) == 0,
            "Dropout" => self.only_first() && self.node.input(2).is_none(),
            "Conv"
            | "ConvTranspose"
            | "AveragePool"
            | "MaxPool"
            | "LpPool"
            | "GlobalAveragePool"
            | "GlobalMaxPool"
            | "GlobalLpPool"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "LRN"
            | "Identity"
            | "Cast"
            | "Relu"
            | "LeakyRelu"
            | "Clip"
            | "Sigmoid"
            | "Tanh"
            | "Elu"
            | "Selu"
            | "Celu"
            | "HardSigmoid"
            | "HardSwish"
            | "Gelu"
            | "Mish"
            | "Swish"
            | "Softplus"
            | "Softsign"
            | "Erf"
            | "Exp"
            | "Log"
            | "Sqrt"
            | "Reciprocal"
            | "Neg"
            | "Abs"
            | "Floor"
            | "Ceil"
            | "Round"
            | "Not"
            | "DepthToSpace"
            | "SpaceToDepth"
            | "Resize"
            | "Upsample"
            | "Flatten" => self.only_first(),
            // One scale for all, or one for each place on an axis that is not that of the examples.
            "QuantizeLinear" | "DequantizeLinear" => {
                let for_all = self.node.input(1).and_then(|id| self.graph.value(id).fact.extents());
                self.only_first()
                    && self.node.int("block_size", 0) == 0
                    && (for_all.is_some_and(|extents| extents.iter().product::<usize>() == 1)
                        || self.is_inner(self.node.int("axis", 1), 0))
            }
            // The shape that inference found holds for any number of examples, so for that of a part.
            "Reshape" => self.depends(0) && !self.depends(1),
            "Expand" => !self.depends(1) && self.aligned_at(0),
            "ConstantOfShape" => !self.depends(0),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max" | "Sum" | "Mean" | "PRelu" | "Where" | "Equal"
            | "Less" | "Greater" | "And" | "Or" => self.aligned(),
            "Gemm" => self.only_first() && self.node.int("transA", 0) == 0 && self.aligned_at(2),
            "MatMul" => match (self.rank(0), self.rank(1)) {
                (Some(rows), Some(2)) if rows >= 2 => self.only_first(),
                (Some(a), Some(b)) => a == b && a >= 3 && self.depends(0) && self.depends(1),
                _ => false,
            },
            "Softmax" | "LogSoftmax" | "Hardmax" | "ArgMax" | "ArgMin" | "LpNormalization" => {
                let default = if self.graph.opset < 13 && self.node.op.ends_with("ax") { 1 } else { -1 };
                self.only_first() && self.is_inner(self.node.int("axis", default), 0)
            }
            "LayerNormalization" | "RMSNormalization" => {
                self.only_first() && self.is_inner(self.node.int("axis", -1), 0)
            }
            "Concat" => {
                let all = (0..self.node.inputs.len()).all(|i| self.depends(i));
                all && self.node.attributes.contains_key("axis") && self.is_inner(self.node.int("axis", 0), 0)
            }
            "Split" => self.only_first() && self.is_inner(self.node.int("axis", 0), 0),
            "Transpose" => self.only_first() && self.node.ints("perm").is_some_and(|perm| perm.first() == Some(&0)),
            "Gather" if self.depends(0) => self.only_first() && self.is_inner(self.node.int("axis", 0), 0),
            "Gather" => self.node.int("axis", 0) == 0,
            "Squeeze" | "Unsqueeze" | "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL2"
            | "ReduceSumSquare" | "ReduceProd" => {
                self.only_first() && self.integers("axes", 1).is_some_and(|axes| self.are_inner(&axes))
            }
            "Slice" => self.only_first() && self.integers("axes", 3).is_some_and(|axes| self.are_inner(&axes)),
            "Pad" => {
                let pads = self.integers("pads", 1);
                let none_on_first = pads.is_some_and(|p| p.first() == Some(&0) && p.get(p.len() / 2) == Some(&0));
                self.only_first() && none_on_first && self.node.input(3).is_none()
            }
            _ => false,
        }
    }

    /// Whether an operand has a value for each example.
    fn depends(&self, index: usize) -> bool {
        self.node.input(index).is_some_and(|id| self.is_slot[id.0 as usize] && !self.is_size[id.0 as usize])
    }

    fn reads_size(&self, index: usize) -> bool {
        self.node.input(index).is_some_and(|id| self.is_size[id.0 as usize])
    }

    /// Whether the node's results are sizes.
    fn computes_sizes(&self) -> bool {
        let operands = 0..self.node.inputs.len();
        match self.node.op.as_str() {
            "Shape" | "Size" => self.node.domain.is_empty(),
            "Gather" | "Slice" | "Concat" | "Unsqueeze" | "Squeeze" | "Cast" | "Identity" | "Add" | "Sub" | "Mul"
            | "Div" | "ReduceProd" | "Reshape" => {
                let mut operands = operands.filter(|&i| self.depends(i) || self.reads_size(i)).peekable();
                operands.peek().is_some() && operands.all(|i| self.reads_size(i))
            }
            _ => false,
        }
    }

    /// Whether the first operand alone depends on the inputs.
    fn only_first(&self) -> bool {
        (0..self.node.inputs.len()).all(|i| self.depends(i) == (i == 0) && !self.reads_size(i))
    }

    fn rank(&self, index: usize) -> Option<usize> {
        Some(self.graph.value(self.node.input(index)?).fact.shape.as_ref()?.len())
    }

    /// Whether all operands are broadcast without moving the examples off the first axis.
    fn aligned(&self) -> bool {
        (0..self.node.inputs.len()).all(|index| self.aligned_at(index))
    }

    fn aligned_at(&self, index: usize) -> bool {
        let Some(id) = self.node.input(index) else { return true };
        if self.reads_size(index) {
            return false;
        }
        let output = self.node.output().and_then(|id| self.graph.value(id).fact.shape.as_ref()).map(Vec::len);
        let (Some(output), Some(rank)) = (output, self.rank(index)) else { return false };
        let first = self.graph.value(id).fact.shape.as_ref().and_then(|shape| shape.first());
        // What depends on the inputs has the examples on its first axis.
        if self.depends(index) { rank == output } else { rank < output || first == Some(&Dim::Known(1)) }
    }

    /// Whether an axis of the operand at `index` is known not to be the first.
    fn is_inner(&self, axis: i64, index: usize) -> bool {
        self.rank(index).is_some_and(|rank| axis > 0 || (axis < 0 && axis > -(rank as i64)))
    }

    /// The same for several, of which the operand and the result may both be meant.
    fn are_inner(&self, axes: &[i64]) -> bool {
        !axes.is_empty() && axes.iter().all(|&axis| self.is_inner(axis, 0))
    }

    /// Integers of an attribute or of the operand at `index`.
    fn integers(&self, attribute: &str, index: usize) -> Option<Vec<i64>> {
        if let Some(listed) = self.node.ints(attribute) {
            return Some(listed.to_vec());
        }
        let id = self.node.input(index)?;
        let tensor: &Tensor = self.model.initializer(id).or_else(|| self.graph.value(id).fact.constant.as_ref())?;
        Some(tensor.to_i64())
    }
}
