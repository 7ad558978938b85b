use super::example::{OneExample, product};
use crate::model::{Graph, Layer, LayerKind, Model, Node};
use std::collections::BTreeMap;

/// Multiply-accumulates of one node for one example, if its shapes are known.
///
/// Counts what the dense operator executes: convolutions, matrix products also of two computed operands,
/// `Einsum`, attention and recurrent cells. Other nodes cost 0. A loop, whose rounds nobody knows beforehand, has
/// no figure if its body costs anything.
pub fn node_macs(graph: &Graph, node: &Node) -> Option<u64> {
    macs_of(&OneExample::of(graph), node)
}

fn macs_of(example: &OneExample<'_>, node: &Node) -> Option<u64> {
    let shape = |index: usize| example.shape(node.input(index));
    let output = || example.elements(node.output());
    let macs = match node.op.as_str() {
        "Conv" | "ConvInteger" | "DeformConv" | "FusedConv" => product(shape(1)?.get(1..)?).saturating_mul(output()?),
        "QLinearConv" => product(shape(3)?.get(1..)?).saturating_mul(output()?),
        "ConvTranspose" => product(shape(1)?.get(1..)?).saturating_mul(product(&shape(0)?)),
        "Gemm" | "FusedGemm" => {
            let weight = shape(1)?;
            weight.get(usize::from(node.int("transB", 0) != 0))?.saturating_mul(output()?)
        }
        "FusedMatMul" if node.int("transA", 0) != 0 => shape(0)?.iter().nth_back(1)?.saturating_mul(output()?),
        "MatMul" | "MatMulInteger" | "FusedMatMul" | "QLinearMatMul" => shape(0)?.last()?.saturating_mul(output()?),
        "Einsum" => einsum_macs(example, node)?,
        "Attention" if matches!(node.domain.as_str(), "" | "ai.onnx") => attention_macs(example, node)?,
        "LSTM" | "GRU" | "RNN" => {
            let weights = product(&shape(1)?).saturating_add(product(&shape(2)?));
            weights.saturating_mul(steps(example, node)?)
        }
        _ if node.subgraphs().any(costs) => return None,
        _ => 0,
    };
    Some(macs / example.rows)
}

/// Whether anything in a body costs something.
fn costs(body: &Graph) -> bool {
    let example = OneExample::of(body);
    body.nodes.iter().any(|node| macs_of(&example, node) != Some(0))
}

/// Products of queries and keys, and of scores and values. What a mask hides is computed as well.
fn attention_macs(example: &OneExample<'_>, node: &Node) -> Option<u64> {
    let key = example.shape(node.input(1))?;
    let past = node.input(4).map_or(Some(0), |past| example.shape(Some(past))?.get(2).copied())?;
    let keys = key.get(key.len().checked_sub(2)?)?.saturating_add(past);
    let (query, output) = (example.elements(node.input(0))?, example.elements(node.output())?);
    Some(keys.saturating_mul(query.saturating_add(output)))
}

/// One for every combination of all letters, where there is more than one operand.
fn einsum_macs(example: &OneExample<'_>, node: &Node) -> Option<u64> {
    let equation = node.string("equation")?;
    let terms = equation.split("->").next()?.split(',');
    let mut extents: BTreeMap<(char, usize), u64> = BTreeMap::new();
    for (index, term) in terms.enumerate() {
        let letters: Vec<char> = term.replace("...", ".").chars().filter(|c| !c.is_whitespace()).collect();
        let shape = example.shape(node.input(index))?;
        let hidden = (shape.len() + letters.iter().filter(|&&c| c == '.').count()).checked_sub(letters.len())?;
        let axes = letters.iter().flat_map(|&c| {
            // Axes of an ellipsis are counted from the last, so that they meet where they broadcast.
            let count = if c == '.' { hidden } else { 1 };
            (0..count).rev().map(move |i| (c, i))
        });
        for (axis, extent) in axes.zip(shape) {
            let known = extents.entry(axis).or_insert(1);
            *known = extent.max(*known);
        }
    }
    Some(if node.inputs.len() > 1 { extents.values().fold(1, |n, &d| n.saturating_mul(d)) } else { 0 })
}

/// Steps of a recurrent node, over all examples.
fn steps(example: &OneExample<'_>, node: &Node) -> Option<u64> {
    example.shape(node.input(0)).and_then(|input| Some(product(input.get(..2)?)))
}

/// Dense multiply-accumulates of a layer for one example, over every node that uses its weight.
pub fn layer_macs(model: &Model, layer: &Layer) -> Option<u64> {
    let graph = model.graph.as_ref()?;
    let example = OneExample::of(graph);
    layer.nodes.iter().try_fold(0u64, |sum, &id| {
        let node = graph.node(id);
        let macs = if layer.kind == LayerKind::Recurrent {
            // Input and recurrence weights are layers of their own, each used once a step.
            steps(&example, node)?.saturating_mul(layer.weight_count() as u64) / example.rows
        } else {
            macs_of(&example, node)?
        };
        Some(sum.saturating_add(macs))
    })
}

/// Dense multiply-accumulates of a whole model for one example, those of products of two computed operands included,
/// such as queries and keys; none where shapes are open ([`Sizes::fix`](crate::model::Sizes::fix) fixes them).
pub fn model_macs(model: &Model) -> Option<u64> {
    let graph = model.graph.as_ref()?;
    let example = OneExample::of(graph);
    graph.nodes.iter().try_fold(0u64, |sum, node| Some(sum.saturating_add(macs_of(&example, node)?)))
}

/// Multiply-accumulates of one example in which no operand is a weight of zero: of every layer the share of its weights
/// that are not zero, rounded, and all of those that are no layer's.
///
/// `nonzeros` counts the weights of each layer that are not zero.
pub fn effective_macs(model: &Model, layers: &[Layer], nonzeros: &[usize]) -> Option<u64> {
    let dense: Vec<u64> = layers.iter().map(|layer| layer_macs(model, layer)).collect::<Option<_>>()?;
    let idle = dense.iter().zip(layers).zip(nonzeros).map(|((&macs, layer), &nonzeros)| {
        let weights = layer.weight_count().max(1) as f64;
        macs as f64 * (1.0 - (nonzeros as f64 / weights).min(1.0))
    });
    Some(model_macs(model)?.saturating_sub(idle.sum::<f64>().round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, Dim, GraphBuilder, Sizes, Tensor, layers_of};

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()]).unwrap()
    }

    fn dims(names: &[&str]) -> Vec<Dim> {
        names.iter().map(|n| n.parse().map_or_else(|_| Dim::symbol(n), Dim::Known)).collect()
    }

    #[test]
    fn macs_of_convolution_and_gemm_follow_the_textbook() {
        let mut b = GraphBuilder::new("net");
        let x = b.input("x", dims(&["batch", "3", "8", "8"]));
        let w = b.tensor("conv.weight", zeros(&[4, 3, 3, 3]));
        let h = b.conv("conv", x, w, None, (2, 1, 1));
        let flat = b.node("flat", "Flatten", &[h], &[]);
        let v = b.tensor("fc.weight", zeros(&[10, 4 * 4 * 4]));
        let y = b.gemm("fc", flat, v, None);
        b.output(y);
        let model = b.finish().unwrap();
        let layers = layers_of(&model);
        let macs: Vec<_> = layers.iter().map(|l| layer_macs(&model, l)).collect();
        assert_eq!(macs, [Some(4 * 4 * 4 * 3 * 9), Some(640)]);
        assert_eq!(model_macs(&model), Some(1728 + 640));
        assert_eq!(effective_macs(&model, &layers, &[27, 640]), Some(1728 / 4 + 640));
    }

    #[test]
    fn every_row_of_a_sequence_counts_wherever_its_axis_is() {
        // Tokens on the first axis, beside the batch, and flattened with it.
        for (shape, target) in [
            (["7", "batch", "5"], None),
            (["batch", "7", "5"], None),
            (["batch", "7", "5"], Some([-1, 5])),
            (["2", "7", "5"], Some([-1, 5])),
        ] {
            let mut b = GraphBuilder::new("net");
            let x = b.input("x", dims(&shape));
            let w = b.tensor("w", zeros(&[5, 3]));
            let h = match target {
                Some(target) => {
                    let target = b.tensor("shape", Tensor::from_i64(vec![2], &target).unwrap());
                    b.node("rows", "Reshape", &[x, target], &[])
                }
                None => x,
            };
            let op = if target.is_some() { "Gemm" } else { "MatMul" };
            let y = b.node("y", op, &[h, w], &[]);
            b.output(y);
            assert_eq!(model_macs(&b.finish().unwrap()), Some(7 * 5 * 3), "{shape:?} {target:?}");
        }
    }

    #[test]
    fn products_of_computed_operands_and_attention_count_the_same() {
        let mut b = GraphBuilder::new("net");
        let [q, k, v] = ["q", "k", "v"].map(|name| b.input(name, dims(&["batch", "2", "s", "4"])));
        let t = b.node("t", "Transpose", &[k], &[("perm", Attribute::Ints(vec![0, 1, 3, 2]))]);
        let scores = b.node("scores", "MatMul", &[q, t], &[]);
        let mixed = b.node("mixed", "MatMul", &[scores, v], &[]);
        let fused = b.node("fused", "Attention", &[q, k, v], &[]);
        let letters = Attribute::String(b"bhqd, bhkd -> bhqk".to_vec());
        let summed = b.node("summed", "Einsum", &[q, k], &[("equation", letters)]);
        for value in [mixed, fused, summed] {
            b.output(value);
        }
        let model = b.finish().unwrap();
        assert_eq!(model_macs(&model), None, "the sequence is open");
        let mut sizes = Sizes::default();
        sizes.set("s", 6);
        let model = sizes.fix(&model).unwrap();
        let graph = model.graph.as_ref().unwrap();
        let macs: Vec<_> = graph.nodes.iter().map(|n| node_macs(graph, n).unwrap()).collect();
        let product = 2 * 6 * 6 * 4;
        assert_eq!(macs, [0, product, product, 2 * product, product]);
    }

    #[test]
    fn recurrent_cells_cost_all_gates_at_every_step() {
        let mut b = GraphBuilder::new("net");
        let x = b.input("x", dims(&["7", "batch", "3"]));
        let (w, r) = (b.tensor("w", zeros(&[1, 20, 3])), b.tensor("r", zeros(&[1, 20, 5])));
        let y = b.node("rnn", "LSTM", &[x, w, r], &[("hidden_size", Attribute::Int(5))]);
        b.output(y);
        let model = b.finish().unwrap();
        assert_eq!(model_macs(&model), Some(7 * 4 * 5 * (3 + 5)));
        let layers: u64 = layers_of(&model).iter().map(|l| layer_macs(&model, l).unwrap()).sum();
        assert_eq!(Some(layers), model_macs(&model));
    }
}
