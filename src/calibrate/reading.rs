//! What a layer's weight is multiplied with.

use crate::exec::WindowNd;
use crate::model::{Graph, Layer, Model, Node, NodeId, ValueId};

/// Operators between a stored weight and its use beyond which it is a computed tensor.
const MOST_STEPS: usize = 8;

/// One use of a layer's weight: a value, and which vectors of it the weight is multiplied with.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// What the node reads.
    pub value: ValueId,
    /// The vectors.
    pub vectors: Vectors,
}

/// Which vectors of a value a weight is multiplied with.
#[derive(Clone, Debug)]
pub(crate) enum Vectors {
    /// Those along an axis, counted from the last, which is 1.
    Along(usize),
    /// The windows of a convolution on [batch, channels, spatial...].
    Windows(Windows),
}

/// Windows of a convolution.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    pub spec: WindowNd,
    pub kernel: Vec<usize>,
    pub groups: usize,
    /// Of a transposed convolution, how much its result is longer on each axis.
    pub transposed: Option<Vec<usize>>,
}

/// The use of a weight operand: which of its axes count outputs and inputs.
struct Use {
    axes: [usize; 2],
    reading: Reading,
}

impl Reading {
    /// All uses of a layer's weight, or in a few words why they cannot be told.
    pub fn all(model: &Model, graph: &Graph, layer: &Layer) -> Result<Vec<Self>, String> {
        if layer.nodes.is_empty() {
            return Err("nothing is known of its use".to_owned());
        }
        let producers = graph.producers();
        layer.nodes.iter().map(|&id| Self::of_node(model, graph, &producers, id, layer)).collect()
    }

    fn of_node(
        model: &Model,
        graph: &Graph,
        producers: &[Option<NodeId>],
        id: NodeId,
        layer: &Layer,
    ) -> Result<Self, String> {
        let node = graph.node(id);
        let (index, axes) = operand(model, graph, producers, node, layer)?;
        let used = used(node, index, &axes, layer)?;
        let stored = used.axes.map(|axis| axes.get(axis).copied());
        if stored[0] != Some(layer.output_axis) {
            return Err("it is used in two directions".to_owned());
        }
        // The places of a kernel are counted in the order in which the file stores them.
        let places: Vec<usize> =
            (0..axes.len()).filter(|axis| !used.axes.contains(axis)).map(|axis| axes[axis]).collect();
        if layer.input_axis.is_none() || stored[1] != layer.input_axis || !places.is_sorted() {
            return Err("its inputs are stored in another order than it reads them".to_owned());
        }
        Ok(used.reading)
    }
}

/// Which operand of a node comes from the layer's weight, and the stored axis behind each of its axes.
fn operand(
    model: &Model,
    graph: &Graph,
    producers: &[Option<NodeId>],
    node: &Node,
    layer: &Layer,
) -> Result<(usize, Vec<usize>), String> {
    let mut reshaped = false;
    for index in 0..node.inputs.len() {
        let Some(mut value) = node.input(index) else { continue };
        // Axes of the operand, by what they are further back.
        let mut axes: Vec<usize> = (0..layer.shape.len()).collect();
        let mut same_shape = true;
        for _ in 0..MOST_STEPS {
            if graph.value(value).name == layer.weight && model.initializer(value).is_some() {
                if same_shape {
                    return Ok((index, axes));
                }
                reshaped = true;
                break;
            }
            let Some(before) = producers[value.0 as usize].map(|id| graph.node(id)) else { break };
            match before.op.as_str() {
                "Identity" | "Cast" | "DequantizeLinear" => {}
                "Transpose" => {
                    let reversed = || (0..axes.len() as i64).rev().collect();
                    let order = before.ints("perm").map_or_else(reversed, <[i64]>::to_vec);
                    let moved = axes.iter().map(|&axis| order.get(axis).and_then(|&a| usize::try_from(a).ok()));
                    let moved: Option<Vec<usize>> = moved.collect();
                    same_shape &= moved.as_ref().is_some_and(|moved| moved.iter().all(|&a| a < axes.len()));
                    axes = moved.unwrap_or(axes);
                }
                "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => same_shape = false,
                _ => break,
            }
            let Some(next) = before.input(0) else { break };
            value = next;
        }
    }
    Err(if reshaped { "its weight takes another shape before it is used" } else { "its use is not known" }.to_owned())
}

fn used(node: &Node, index: usize, axes: &[usize], layer: &Layer) -> Result<Use, String> {
    let rank = axes.len();
    let input = |operand: usize| node.input(operand).ok_or_else(|| "it reads nothing".to_owned());
    let turned = |name| node.int(name, 0) != 0;
    let along = |axes, operand, from_end| {
        Ok(Use { axes, reading: Reading { value: input(operand)?, vectors: Vectors::Along(from_end) } })
    };
    match (node.op.as_str(), index) {
        ("Conv" | "ConvTranspose", 1) if rank > 2 => {
            let kernel = axes[2..].iter().map(|&axis| layer.shape[axis]).collect();
            let transposed = (node.op == "ConvTranspose").then(|| grown(node, rank - 2)).transpose()?;
            let axes = if transposed.is_some() { [1, 0] } else { [0, 1] };
            let spec = WindowNd::of_node(node)?;
            if transposed.is_some() && spec.same().is_some() {
                return Err("its padding follows from the shape of its result".to_owned());
            }
            let windows = Windows { spec, kernel, groups: layer.groups.max(1), transposed };
            Ok(Use { axes, reading: Reading { value: input(0)?, vectors: Vectors::Windows(windows) } })
        }
        ("Gemm", 1) => {
            let axes = if turned("transB") { [0, 1] } else { [1, 0] };
            along(axes, 0, if turned("transA") { 2 } else { 1 })
        }
        ("Gemm", 0) => {
            let axes = if turned("transA") { [1, 0] } else { [0, 1] };
            along(axes, 1, if turned("transB") { 1 } else { 2 })
        }
        ("MatMul", _) if rank > 2 => Err("its weight is a stack of matrices".to_owned()),
        ("MatMul", 1) => along([1, 0], 0, 1),
        ("MatMul", 0) => along([0, 1], 1, 2),
        ("LSTM" | "GRU" | "RNN", 1) if node.input(4).is_some() => {
            Err("it stops reading each sequence at a length of its own".to_owned())
        }
        ("LSTM" | "GRU" | "RNN", 1) => along([1, 2], 0, 1),
        ("LSTM" | "GRU" | "RNN", _) => Err("it reads its own state from step to step".to_owned()),
        ("Gather", _) => Err("its rows are looked up, not multiplied".to_owned()),
        (op, _) => Err(format!("what {op} multiplies it with is not known")),
    }
}

/// How much longer the result of a transposed convolution is on each axis than its windows are.
fn grown(node: &Node, axes: usize) -> Result<Vec<usize>, String> {
    if node.ints("output_shape").is_some() {
        return Err("its padding follows from the shape of its result".to_owned());
    }
    let extra = node.ints("output_padding").map_or_else(|| vec![0; axes], <[i64]>::to_vec);
    if extra.len() != axes {
        return Err("its output_padding does not fit".to_owned());
    }
    Ok(extra.into_iter().map(|v| usize::try_from(v).unwrap_or(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, Dim, GraphBuilder, Tensor, layers_of};

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()]).unwrap()
    }

    /// What the first layer of a graph with an input [n, 6] reads.
    fn readings(build: impl Fn(&mut GraphBuilder, ValueId) -> ValueId) -> Result<Vec<Reading>, String> {
        let mut b = GraphBuilder::new("g");
        let x = b.input("x", vec![Dim::symbol("n"), 6.into()]);
        let y = build(&mut b, x);
        b.output(y);
        let model = b.finish().unwrap();
        let layer = layers_of(&model)[0].clone();
        Reading::all(&model, model.graph.as_ref().unwrap(), &layer)
    }

    fn along(readings: &[Reading]) -> Vec<(u32, usize)> {
        let axis = |r: &Reading| if let Vectors::Along(axis) = r.vectors { axis } else { 0 };
        readings.iter().map(|r| (r.value.0, axis(r))).collect()
    }

    #[test]
    fn products_read_along_the_axis_that_they_sum_over() {
        let right = readings(|b, x| {
            let w = b.tensor("w", zeros(&[4, 6]));
            let turned = b.node("t", "Transpose", &[w], &[("perm", Attribute::Ints(vec![1, 0]))]);
            b.node("m", "MatMul", &[x, turned], &[])
        });
        assert_eq!(along(&right.unwrap()), [(0, 1)]);
        let left = readings(|b, x| {
            let w = b.tensor("w", zeros(&[5, 7]));
            let columns = b.node("t", "Reshape", &[x], &[]);
            b.node("m", "MatMul", &[w, columns], &[])
        });
        assert_eq!(along(&left.unwrap()), [(2, 2)]);
        let gemm = readings(|b, x| {
            let w = b.tensor("w", zeros(&[6, 6]));
            let x = b.node("turned", "Transpose", &[x], &[]);
            b.node("g", "Gemm", &[x, w], &[("transA", Attribute::Int(1))])
        });
        assert_eq!(along(&gemm.unwrap()), [(2, 2)]);
    }

    #[test]
    fn what_cannot_be_followed_has_a_reason() {
        let reshaped = readings(|b, x| {
            let w = b.tensor("w", zeros(&[3, 2, 4]));
            let target = b.tensor("shape", Tensor::from_i64(vec![2], &[6, 4]).unwrap());
            let flat = b.node("flat", "Reshape", &[w, target], &[]);
            b.node("m", "MatMul", &[x, flat], &[])
        });
        assert_eq!(reshaped.unwrap_err(), "its weight takes another shape before it is used");
        let both = readings(|b, x| {
            let w = b.tensor("w", zeros(&[6, 6]));
            let h = b.gemm("a", x, w, None);
            b.node("m", "MatMul", &[h, w], &[])
        });
        assert_eq!(both.unwrap_err(), "it is used in two directions");
        let stack = readings(|b, x| {
            let w = b.tensor("w", zeros(&[2, 6, 4]));
            b.node("m", "MatMul", &[x, w], &[])
        });
        assert_eq!(stack.unwrap_err(), "its weight is a stack of matrices");
    }
}
