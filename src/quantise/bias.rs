//! Biases in the units of integer products.

use super::activation::Operand;
use super::range::Affine;
use super::rewrite::Rewrite;
use super::weight::Codes;
use crate::model::{DType, Layer, Node};

/// Codes beyond this leave no room for the sum that the bias is added to.
const LARGEST_CODE: f64 = (1 << 30) as f64;

/// A bias as int32 codes, each with the scale of its channel's products.
///
/// A runtime that multiplies codes adds the bias to their sum, so ONNX Runtime makes integer products only of layers
/// whose bias has exactly these scales. None where it would lose something: the scale of a channel of zeros says
/// nothing of the bias, and a bias that is large beside its products does not fit.
pub(super) fn codes(
    rewrite: &Rewrite,
    layer: &Layer,
    operand: Operand,
    input: Affine,
    weight: &Codes,
) -> Option<(Vec<i32>, Vec<f32>)> {
    let graph = rewrite.graph();
    let (node, name) = (graph.node(operand.node), layer.bias.as_ref()?);
    let id = node.input(2).filter(|&id| graph.value(id).name == *name)?;
    let alone = graph.nodes.iter().flat_map(|n| n.inputs.iter().flatten()).filter(|&&read| read == id).count() == 1;
    let bias = rewrite.tensors().get(name).filter(|b| b.dtype() == DType::F32 && b.shape() == [weight.scales.len()])?;
    if !adds_to_products(node) || !alone || graph.outputs.contains(&id) || operand.index != 0 {
        return None;
    }
    let scales: Vec<f32> = weight.scales.iter().map(|scale| scale * input.scale).collect();
    let mut codes = Vec::with_capacity(scales.len());
    for ((&value, &scale), empty) in bias.to_f32().iter().zip(&scales).zip(&weight.empty) {
        let code = (f64::from(value) / f64::from(scale)).round_ties_even();
        let fits = code.abs() <= LARGEST_CODE && scale >= f32::MIN_POSITIVE;
        if !fits || (*empty && value != 0.0) {
            return None;
        }
        codes.push(code as i32);
    }
    Some((codes, scales))
}

/// Whether a node adds its bias to the plain sum of products.
fn adds_to_products(node: &Node) -> bool {
    match node.op.as_str() {
        "Conv" => true,
        "Gemm" => node.float("alpha", 1.0) == 1.0 && node.float("beta", 1.0) == 1.0,
        _ => false,
    }
}
