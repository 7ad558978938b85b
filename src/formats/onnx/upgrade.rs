//! Nodes of older operator sets, rewritten as operator set 21 has them.
//!
//! | operator | before | rewritten to |
//! |---|---|---|
//! | `Squeeze`, `Unsqueeze`, `ReduceSum` | 13 | attribute `axes` becomes input 1 |
//! | the other `Reduce...` | 18 | attribute `axes` becomes input 1 |
//! | `Split` | 13 | attribute `split` becomes input 1 |
//! | `Split` | 18 | an equal split says `num_outputs` |
//! | `Clip` | 11 | attributes `min`, `max` become inputs 1 and 2 |
//! | `Pad` | 11 | attributes `pads`, `value` become inputs 1 and 2 |
//! | `Slice` | 10 | attributes `starts`, `ends`, `axes` become inputs 1 to 3 |
//! | `TopK` | 10 | attribute `k` becomes input 1 |
//! | `Dropout` | 12 | attribute `ratio` becomes input 1 |
//! | `BatchNormalization` | 14 | `spatial` = 1 goes; with more than one result it says `training_mode` = 1 |
//! | `Upsample` | 9, 10 | `Resize`, asymmetric and rounding down, scales as input 2 |
//! | `Resize` | 11 | asymmetric and rounding down, scales move to input 2; says `secateur.ceil_to_shrink` = 1 |
//! | `Scatter` | 11 | `ScatterElements` |
//! | `RoiAlign` | 16 | says `coordinate_transformation_mode` = `output_half_pixel` |
//! | `GridSample` | 20 | modes `bilinear`, `bicubic` are `linear`, `cubic` |
//! | `DFT` | 20 | attribute `axis` becomes input 2 |
//! | `Softmax`, `LogSoftmax`, `Hardmax` | 13 | says its `axis`; where that is not the last one, flattened around it ([`flatten_softmax`]) |
//! | `Scan` | 9 | says `secateur.batched` = 1 |
//!
//! Left as they are: `BatchNormalization` with `spatial` = 0, `GroupNormalization` before 21 (scale and
//! bias of one element a group), and broadcasting along a named `axis` before 7.

use crate::model::{Attribute, Fact, Graph, Model, Node, Tensor, ValueId};

/// The operator set whose forms the nodes have afterwards.
pub const OPSET: i64 = 21;

/// Adds a constant before the node; the text becomes part of its name.
pub type NewConstant<'a> = dyn FnMut(&str, Tensor) -> ValueId + 'a;

/// Rewrites one node that was written for `opset`.
pub fn node(node: &mut Node, opset: i64, constant: &mut NewConstant<'_>) {
    if !node.domain.is_empty() {
        return;
    }
    match node.op.as_str() {
        "Squeeze" | "Unsqueeze" | "ReduceSum" if opset < 13 => ints_to_input(node, "axes", 1, constant),
        op if op.starts_with("Reduce") && opset < 18 => ints_to_input(node, "axes", 1, constant),
        "Split" if opset < 18 => {
            ints_to_input(node, "split", 1, constant);
            if node.input(1).is_none() {
                node.attributes.entry("num_outputs".to_owned()).or_insert(Attribute::Int(node.outputs.len() as i64));
            }
        }
        "Clip" if opset < 11 => {
            float_to_input(node, "min", 1, constant);
            float_to_input(node, "max", 2, constant);
        }
        "Pad" if opset < 11 => {
            if let Some(old) = node.attributes.remove("paddings") {
                node.attributes.entry("pads".to_owned()).or_insert(old);
            }
            ints_to_input(node, "pads", 1, constant);
            float_to_input(node, "value", 2, constant);
        }
        "Slice" if opset < 10 => {
            for (index, name) in ["starts", "ends", "axes"].into_iter().enumerate() {
                ints_to_input(node, name, index + 1, constant);
            }
        }
        "TopK" if opset < 10 => {
            if let Some(Attribute::Int(k)) = node.attributes.remove("k") {
                ints_input(node, "k", &[k], 1, constant);
            }
        }
        "Dropout" if opset < 12 => float_to_input(node, "ratio", 1, constant),
        "BatchNormalization" if opset < 14 => {
            if node.int("spatial", 1) == 1 {
                node.attributes.remove("spatial");
            }
            if node.outputs.iter().skip(1).flatten().next().is_some() {
                node.attributes.insert("training_mode".to_owned(), Attribute::Int(1));
            }
        }
        "Upsample" => {
            "Resize".clone_into(&mut node.op);
            old_resize(node, constant);
        }
        "Resize" if opset < 11 => {
            old_resize(node, constant);
            node.attributes.insert(CEIL_TO_SHRINK.to_owned(), Attribute::Int(1));
        }
        "Scan" if opset < 9 => {
            node.attributes.insert(BATCHED_SCAN.to_owned(), Attribute::Int(1));
        }
        "Scatter" => "ScatterElements".clone_into(&mut node.op),
        "RoiAlign" if opset < 16 => default_string(node, "coordinate_transformation_mode", "output_half_pixel"),
        "GridSample" if opset < 20 => {
            if let Some(mode) = node.string("mode").and_then(|mode| mode.strip_prefix("bi")) {
                let mode = mode.as_bytes().to_vec();
                node.attributes.insert("mode".to_owned(), Attribute::String(mode));
            }
        }
        "DFT" if opset < 20 => {
            let axis = node.int("axis", 1);
            node.attributes.remove("axis");
            let axis = Tensor::from_i64(Vec::new(), &[axis]);
            set_input(node, 2, axis.ok().map(|tensor| constant("axis", tensor)));
        }
        "Softmax" | "LogSoftmax" | "Hardmax" if opset < 13 => {
            let axis = node.int("axis", 1);
            node.attributes.insert("axis".to_owned(), Attribute::Int(axis));
            if axis != -1 {
                node.attributes.insert(FLATTEN.to_owned(), Attribute::Int(1));
            }
        }
        _ => {}
    }
}

/// Says that a nearest `Resize` rounds up on axes that shrink, as the runtimes of operator set 10 do and newer sets
/// cannot express for each axis.
const CEIL_TO_SHRINK: &str = "secateur.ceil_to_shrink";

/// Says that a `Scan` has its operands as operator set 8 had them: lengths of the sequences first, and a batch axis
/// before the one that is scanned. Newer sets cannot express it.
const BATCHED_SCAN: &str = "secateur.batched";

/// Marks nodes for [`flatten_softmax`]; not left behind.
const FLATTEN: &str = "secateur.flatten";

/// `Resize` and `Upsample` up to operator set 10: scales behind the input, no choice of coordinates.
fn old_resize(node: &mut Node, constant: &mut NewConstant<'_>) {
    let scales = match node.attributes.remove("scales") {
        Some(Attribute::Floats(scales)) => {
            let tensor = Tensor::from_f32(vec![scales.len()], scales);
            tensor.ok().map(|tensor| constant("scales", tensor))
        }
        _ => node.input(1),
    };
    node.inputs.truncate(1);
    set_input(node, 2, scales);
    if node.string("mode") == Some("bilinear") {
        node.attributes.insert("mode".to_owned(), Attribute::String(b"linear".to_vec()));
    }
    default_string(node, "coordinate_transformation_mode", "asymmetric");
    default_string(node, "nearest_mode", "floor");
}

fn default_string(node: &mut Node, name: &str, value: &str) {
    node.attributes.entry(name.to_owned()).or_insert_with(|| Attribute::String(value.as_bytes().to_vec()));
}

fn ints_to_input(node: &mut Node, name: &str, index: usize, constant: &mut NewConstant<'_>) {
    if node.input(index).is_some() {
        return;
    }
    if let Some(Attribute::Ints(values)) = node.attributes.remove(name) {
        ints_input(node, name, &values, index, constant);
    }
}

fn ints_input(node: &mut Node, name: &str, values: &[i64], index: usize, constant: &mut NewConstant<'_>) {
    let tensor = Tensor::from_i64(vec![values.len()], values);
    set_input(node, index, tensor.ok().map(|tensor| constant(name, tensor)));
}

fn float_to_input(node: &mut Node, name: &str, index: usize, constant: &mut NewConstant<'_>) {
    if node.input(index).is_some() {
        return;
    }
    if let Some(Attribute::Float(value)) = node.attributes.remove(name) {
        let tensor = Tensor::from_f32(Vec::new(), vec![value]);
        set_input(node, index, tensor.ok().map(|tensor| constant(name, tensor)));
    }
}

fn set_input(node: &mut Node, index: usize, value: Option<ValueId>) {
    if value.is_some() {
        node.inputs.resize(node.inputs.len().max(index + 1), None);
        node.inputs[index] = value;
    }
}

/// Rewrites what can be told only once ranks are known; returns whether anything changed that facts
/// depend on.
///
/// Up to operator set 12 `Softmax` normalises over all axes from `axis` on. Over the last axis that is
/// what it does today; otherwise it becomes `Shape`, `Flatten`, `Softmax`, `Reshape`.
pub fn flatten_softmax(model: &mut Model) -> bool {
    let Some(graph) = model.graph.as_mut() else { return false };
    if !graph.nodes.iter().any(|node| node.attributes.contains_key(FLATTEN)) {
        return false;
    }
    for node in std::mem::take(&mut graph.nodes) {
        flatten_node(graph, node);
    }
    true
}

fn flatten_node(graph: &mut Graph, mut node: Node) {
    let marked = node.attributes.remove(FLATTEN).is_some();
    let (Some(input), Some(output), true) = (node.input(0), node.output(), marked) else {
        graph.nodes.push(node);
        return;
    };
    let axis = node.int("axis", 1);
    let rank = graph.value(input).fact.shape.as_ref().map(|shape| shape.len() as i64);
    if rank.is_some_and(|rank| axis == rank - 1) {
        node.attributes.insert("axis".to_owned(), Attribute::Int(-1));
        graph.nodes.push(node);
        return;
    }
    let label = node.label().to_owned();
    let base = graph.value(output).name.clone();
    let mut value = |part: &str| graph.add_value(format!("{base}/{part}"), Fact::default());
    let (shape, flat, normal) = (value("shape"), value("flat"), value("normal"));
    let mut push = |op: &str, inputs: Vec<ValueId>, output: ValueId, attributes: &[(&str, i64)]| {
        graph.nodes.push(Node {
            name: format!("{label}/{op}"),
            op: op.to_owned(),
            inputs: inputs.into_iter().map(Some).collect(),
            outputs: vec![Some(output)],
            attributes: attributes.iter().map(|&(k, v)| (k.to_owned(), Attribute::Int(v))).collect(),
            ..Node::default()
        });
    };
    push("Shape", vec![input], shape, &[]);
    push("Flatten", vec![input], flat, &[("axis", axis)]);
    push(&node.op, vec![flat], normal, &[("axis", -1)]);
    push("Reshape", vec![normal, shape], output, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dim, GraphBuilder, infer_facts};

    /// Upgrades a node with one input and returns it with the constants that were added.
    fn upgraded(op: &str, attributes: &[(&str, Attribute)], opset: i64) -> (Node, Vec<Tensor>) {
        let mut it = Node {
            op: op.to_owned(),
            inputs: vec![Some(ValueId(0))],
            outputs: vec![Some(ValueId(1))],
            attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
            ..Node::default()
        };
        let mut added = Vec::new();
        node(&mut it, opset, &mut |_, tensor| {
            added.push(tensor);
            ValueId(100 + added.len() as u32)
        });
        (it, added)
    }

    #[test]
    fn attributes_that_became_inputs_move_and_stay_in_newer_files() {
        let axes = [("axes", Attribute::Ints(vec![2, 3]))];
        let (node, added) = upgraded("ReduceMean", &axes, 17);
        assert_eq!((node.inputs.len(), added[0].to_i64()), (2, vec![2, 3]));
        assert!(node.attributes.is_empty());
        assert_eq!(upgraded("ReduceMean", &axes, 18).0.inputs.len(), 1);
        let (clip, added) = upgraded("Clip", &[("max", Attribute::Float(6.0))], 6);
        assert_eq!(clip.inputs, [Some(ValueId(0)), None, Some(ValueId(101))]);
        assert_eq!(added[0].to_f32().as_ref(), [6.0]);
        let (slice, added) =
            upgraded("Slice", &[("starts", Attribute::Ints(vec![0])), ("ends", Attribute::Ints(vec![9]))], 7);
        assert_eq!((slice.inputs.len(), added.len()), (3, 2));
    }

    #[test]
    fn upsampling_becomes_an_asymmetric_resize() {
        let (node, added) = upgraded("Upsample", &[("scales", Attribute::Floats(vec![1.0, 1.0, 2.0, 2.0]))], 7);
        assert_eq!(node.op, "Resize");
        assert_eq!(node.inputs, [Some(ValueId(0)), None, Some(ValueId(101))]);
        assert_eq!(added[0].len(), 4);
        assert_eq!(node.string("coordinate_transformation_mode"), Some("asymmetric"));
    }

    #[test]
    fn old_softmax_is_flattened_unless_it_is_over_the_last_axis() {
        for (rank, ops) in [(2, vec!["Softmax"]), (3, vec!["Shape", "Flatten", "Softmax", "Reshape"])] {
            let mut b = GraphBuilder::new("old");
            let x = b.input("x", vec![Dim::Known(3); rank]);
            let y = b.node("s", "Softmax", &[x], &[]);
            b.output(y);
            let mut model = b.finish().unwrap();
            let graph = model.graph.as_mut().unwrap();
            node(&mut graph.nodes[0], 11, &mut |_, _| ValueId(0));
            assert!(flatten_softmax(&mut model));
            infer_facts(&mut model).unwrap();
            let graph = model.graph.unwrap();
            assert_eq!(graph.nodes.iter().map(|n| n.op.as_str()).collect::<Vec<_>>(), ops);
            let softmax = graph.nodes.iter().find(|n| n.op == "Softmax").unwrap();
            assert_eq!((softmax.int("axis", 9), softmax.attributes.len()), (-1, 1));
        }
    }
}
