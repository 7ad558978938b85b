//! Which tensors of a graph are weights, and what uses them.

use super::layer::{layer_name, prunability};
use super::{Attribute, Graph, Layer, LayerKind, Model, Node, NodeId, Prunability, ValueId};
use indexmap::IndexMap;
use std::collections::HashSet;

/// Operators between a stored weight and its use beyond which it is a computed tensor.
const MOST_STEPS: usize = 8;

/// A weight operand of a node.
struct WeightUse {
    kind: LayerKind,
    /// The operand.
    input: usize,
    /// The operand that is the bias.
    bias: Option<usize>,
    /// Axis of output channels in the operand.
    output_axis: usize,
    /// Axis of input channels in the operand.
    input_axis: usize,
    groups: usize,
}

/// Layers in the order of the nodes that use them first.
pub(super) fn graph_layers(model: &Model, graph: &Graph) -> Vec<Layer> {
    let search = Search { model, graph, producers: graph.producers() };
    let mut layers: IndexMap<String, Layer> = IndexMap::new();
    let mut names = HashSet::new();
    for (id, node) in graph.iter_nodes() {
        for usage in search.uses(node) {
            let along = |axis| node.input(usage.input).and_then(|value| search.stored(value, axis));
            let Some(stored) = along(usage.output_axis) else { continue };
            let input_axis = along(usage.input_axis).and_then(|stored| stored.axis);
            let weight = graph.value(stored.value).name.as_str();
            if let Some(shared) = layers.get_mut(weight) {
                if !shared.nodes.contains(&id) {
                    shared.nodes.push(id);
                }
                continue;
            }
            if let Some(mut layer) = search.layer(id, node, &usage, &stored) {
                layer.input_axis = input_axis.filter(|&axis| axis != layer.output_axis);
                layer.name = unique(&mut names, layer.name);
                layers.insert(weight.to_owned(), layer);
            }
        }
    }
    layers.into_values().collect()
}

fn unique(taken: &mut HashSet<String>, name: String) -> String {
    let free = (2..).map(|n| format!("{name}#{n}"));
    let found = std::iter::once(name.clone()).chain(free).find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(found.clone());
    found
}

/// The constant that a weight operand comes from.
struct Stored {
    value: ValueId,
    /// The axis that was asked for; none if it is spread over several.
    axis: Option<usize>,
}

struct Search<'a> {
    model: &'a Model,
    graph: &'a Graph,
    producers: Vec<Option<NodeId>>,
}

impl Search<'_> {
    /// The weight operands of a node.
    fn uses(&self, node: &Node) -> Vec<WeightUse> {
        let fixed = |kind, input, bias, [output_axis, input_axis]: [usize; 2]| WeightUse {
            kind,
            input,
            bias,
            output_axis,
            input_axis,
            groups: 1,
        };
        let groups = node.int("group", 1).max(1) as usize;
        let transposed = |name| usize::from(node.int(name, 0) != 0);
        let fused = node.domain == "com.microsoft";
        if !matches!(node.domain.as_str(), "" | "ai.onnx") && !fused {
            return Vec::new();
        }
        match node.op.strip_prefix("Fused").filter(|_| fused).unwrap_or(&node.op) {
            "Conv" => vec![WeightUse { groups, ..fixed(LayerKind::Conv, 1, Some(2), [0, 1]) }],
            "ConvInteger" => vec![WeightUse { groups, ..fixed(LayerKind::Conv, 1, None, [0, 1]) }],
            "QLinearConv" => vec![WeightUse { groups, ..fixed(LayerKind::Conv, 3, Some(8), [0, 1]) }],
            "ConvTranspose" => vec![WeightUse { groups, ..fixed(LayerKind::ConvTranspose, 1, Some(2), [1, 0]) }],
            "Gemm" if self.is_stored(node, 1) => {
                let inputs = transposed("transB");
                vec![fixed(LayerKind::Linear, 1, Some(2), [1 - inputs, inputs])]
            }
            "Gemm" => {
                let outputs = transposed("transA");
                vec![fixed(LayerKind::Linear, 0, Some(2), [outputs, 1 - outputs])]
            }
            "MatMul" | "MatMulInteger" => self.product(node, 1),
            "QLinearMatMul" => self.product(node, 3),
            // A look-up along another axis picks features, not rows of a table.
            "Gather" if node.int("axis", 0) == 0 && self.rank(node, 0) == Some(2) => {
                vec![fixed(LayerKind::Embedding, 0, None, [1, 0])]
            }
            "LSTM" | "GRU" | "RNN" => {
                vec![fixed(LayerKind::Recurrent, 1, Some(3), [1, 2]), fixed(LayerKind::Recurrent, 2, None, [1, 2])]
            }
            _ => Vec::new(),
        }
    }

    /// A matrix product has its weight on the right or, failing that, on the left.
    fn product(&self, node: &Node, right: usize) -> Vec<WeightUse> {
        let matrix = |input, back: usize| {
            let rank = self.rank(node, input).filter(|&rank| rank >= 2 && self.is_stored(node, input))?;
            let (output_axis, input_axis) = (rank - back, rank + back - 3);
            Some(WeightUse { kind: LayerKind::MatMul, input, bias: None, output_axis, input_axis, groups: 1 })
        };
        matrix(right, 1).or_else(|| matrix(0, 2)).into_iter().collect()
    }

    fn rank(&self, node: &Node, input: usize) -> Option<usize> {
        self.graph.value(node.input(input)?).fact.shape.as_ref().map(Vec::len)
    }

    fn is_stored(&self, node: &Node, input: usize) -> bool {
        node.input(input).and_then(|value| self.stored(value, 0)).is_some()
    }

    fn producer(&self, value: ValueId) -> Option<&Node> {
        self.producers[value.0 as usize].map(|id| self.graph.node(id))
    }

    /// Follows a value back to the constant behind it, and one of its axes with it.
    fn stored(&self, mut value: ValueId, axis: usize) -> Option<Stored> {
        let mut axis = Some(axis);
        for _ in 0..MOST_STEPS {
            if self.model.initializer(value).is_some() {
                return Some(Stored { value, axis });
            }
            let node = self.producer(value)?;
            match node.op.as_str() {
                "Constant" => return Some(Stored { value, axis }),
                "Identity" | "Cast" | "DequantizeLinear" => {}
                "Transpose" => {
                    axis = axis.and_then(|axis| before_transpose(node, axis, self.rank(node, 0)?));
                }
                "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => {
                    let extents = |value: ValueId| self.graph.value(value).fact.extents();
                    axis = axis.and_then(|axis| before_reshape(&extents(node.input(0)?)?, &extents(value)?, axis));
                }
                _ => return None,
            }
            value = node.input(0)?;
        }
        None
    }

    fn layer(&self, id: NodeId, node: &Node, usage: &WeightUse, stored: &Stored) -> Option<Layer> {
        let weight = self.graph.value(stored.value).name.as_str();
        let (shape, prunability) = match self.model.tensors.get(weight) {
            Some(tensor) => {
                let rearranged = stored.axis.is_none().then_some(Prunability::Rearranged);
                (tensor.shape().to_vec(), rearranged.unwrap_or_else(|| prunability(tensor)))
            }
            None => match self.producer(stored.value)?.attributes.get("value")? {
                Attribute::Tensor(tensor) => (tensor.shape().to_vec(), Prunability::InsideFunction),
                _ => return None,
            },
        };
        // Tables of integers are look-ups of indices, not of features.
        if usage.kind == LayerKind::Embedding && matches!(prunability, Prunability::NotFloat(_)) {
            return None;
        }
        let bias = usage.bias.and_then(|i| node.input(i)).filter(|&b| self.model.initializer(b).is_some());
        Some(Layer {
            name: name_of(weight, node),
            nodes: vec![id],
            kind: usage.kind,
            weight: weight.to_owned(),
            bias: bias.map(|b| self.graph.value(b).name.clone()),
            shape,
            output_axis: stored.axis.unwrap_or(0),
            input_axis: None,
            groups: usage.groups,
            prunability,
        })
    }
}

/// The axis of the operand of a `Transpose` that becomes `axis`.
fn before_transpose(node: &Node, axis: usize, rank: usize) -> Option<usize> {
    match node.ints("perm") {
        Some(perm) => perm.get(axis).and_then(|&axis| usize::try_from(axis).ok()),
        None => rank.checked_sub(axis + 1),
    }
}

/// The axis of `before` that is `axis` of `after`: of the same extent, with as many elements outside it.
fn before_reshape(before: &[usize], after: &[usize], axis: usize) -> Option<usize> {
    let outer: usize = after.get(..axis)?.iter().product();
    (0..before.len()).find(|&i| before[i] == after[axis] && before[..i].iter().product::<usize>() == outer)
}

/// The weight's name without `.weight`, or the node's where an exporter made up the weight's.
fn name_of(weight: &str, node: &Node) -> String {
    let last = weight.rsplit('/').next().unwrap_or(weight);
    let made_up = weight.starts_with("onnx::")
        || weight.bytes().all(|b| b.is_ascii_digit())
        || last.starts_with("Constant")
        || (last.starts_with("val_") && last[4..].bytes().all(|b| b.is_ascii_digit()));
    let own = node.name.strip_prefix('/').unwrap_or(&node.name);
    // Exporters of PyTorch name a node by its module and the operator.
    let own = own.strip_suffix(node.op.as_str()).and_then(|module| module.strip_suffix('/')).unwrap_or(own);
    if made_up && !own.is_empty() { own.to_owned() } else { layer_name(weight) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, Dim, GraphBuilder, Tensor, layers_of};

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()]).unwrap()
    }

    /// The layers of a graph with an input [n, 6].
    fn layers(build: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> Vec<Layer> {
        let mut b = GraphBuilder::new("g");
        let x = b.input("x", vec![Dim::symbol("n"), 6.into()]);
        let y = build(&mut b, x);
        b.output(y);
        layers_of(&b.finish().unwrap())
    }

    #[test]
    fn a_weight_behind_a_transpose_keeps_its_axis_of_outputs() {
        let found = layers(|b, x| {
            let w = b.tensor("fc.weight", zeros(&[4, 6]));
            let turned = b.node("t", "Transpose", &[w], &[("perm", Attribute::Ints(vec![1, 0]))]);
            b.node("/fc/MatMul", "MatMul", &[x, turned], &[])
        });
        assert_eq!((found[0].name.as_str(), found[0].kind, found[0].output_axis), ("fc", LayerKind::MatMul, 0));
        assert_eq!((found[0].input_axis, found[0].shape.as_slice()), (Some(1), &[4, 6][..]));
    }

    #[test]
    fn a_weight_on_the_left_counts_its_rows() {
        let found = layers(|b, x| {
            let w = b.tensor("left", zeros(&[5, 7]));
            let turned = b.node("t", "Reshape", &[x], &[]);
            b.node("m", "MatMul", &[w, turned], &[])
        });
        assert_eq!((found[0].weight.as_str(), found[0].output_axis, found[0].input_axis), ("left", 0, Some(1)));
    }

    #[test]
    fn a_reshape_that_mixes_axes_is_given_as_the_reason() {
        let with = |shape: [usize; 3]| {
            layers(move |b, x| {
                let w = b.tensor("w", zeros(&shape));
                let target = b.tensor("shape", Tensor::from_i64(vec![2], &[6, 4]).unwrap());
                let flat = b.node("flat", "Reshape", &[w, target], &[]);
                b.node("m", "MatMul", &[x, flat], &[])
            })
        };
        assert_eq!(with([3, 4, 2])[0].prunability, Prunability::Rearranged);
        let merged = &with([3, 2, 4])[0];
        assert_eq!((merged.prunability.is_prunable(), merged.output_axis, merged.input_axis), (true, 2, None));
    }

    #[test]
    fn a_table_that_is_also_the_last_layer_is_one_layer() {
        let found = layers(|b, x| {
            let table = b.tensor("wte.weight", zeros(&[10, 6]));
            let ids = b.tensor("ids", Tensor::from_i64(vec![1], &[3]).unwrap());
            let row = b.node("embed", "Gather", &[table, ids], &[]);
            let sum = b.node("sum", "Add", &[x, row], &[]);
            let turned = b.node("t", "Transpose", &[table], &[]);
            b.node("head", "MatMul", &[sum, turned], &[])
        });
        assert_eq!((found.len(), found[0].kind, found[0].nodes.len()), (1, LayerKind::Embedding, 2));
    }

    #[test]
    fn quantised_weights_are_listed_with_the_reason() {
        let found = layers(|b, x| {
            let codes = Tensor::new(DType::I8, vec![6, 4], vec![1; 24].into()).unwrap();
            let codes = b.tensor("q", codes);
            let scale = b.tensor("scale", Tensor::from_f32(vec![], vec![0.1]).unwrap());
            let weight = b.node("dq", "DequantizeLinear", &[codes, scale], &[]);
            b.node("m", "MatMul", &[x, weight], &[])
        });
        assert_eq!(found[0].prunability, Prunability::NotFloat(DType::I8));
    }

    #[test]
    fn recurrent_cells_have_two_layers_and_made_up_names_give_way_to_the_node() {
        let found = layers(|b, x| {
            let target = b.tensor("shape", Tensor::from_i64(vec![3], &[1, -1, 6]).unwrap());
            let x = b.node("r", "Reshape", &[x, target], &[]);
            let w = b.tensor("onnx::LSTM_12", zeros(&[1, 20, 6]));
            let r = b.tensor("onnx::LSTM_13", zeros(&[1, 20, 5]));
            b.node("/rnn/LSTM", "LSTM", &[x, w, r], &[("hidden_size", Attribute::Int(5))])
        });
        assert_eq!(found.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["rnn", "rnn#2"]);
        assert_eq!(found[1].weight, "onnx::LSTM_13");
    }
}
