use super::{Dim, Graph, Layer, LayerKind, Model, Node};

/// Multiply-accumulates of one node for one example (batch axis counted as 1), if its shapes are known.
///
/// Counts what the dense operator executes: Conv, ConvTranspose, Gemm and MatMul; other nodes cost 0.
pub fn node_macs(graph: &Graph, node: &Node) -> Option<u64> {
    let shape_of = |i: usize| node.input(i).and_then(|id| graph.value(id).fact.shape.as_deref());
    let output = || node.output().and_then(|id| graph.value(id).fact.shape.as_deref());
    match node.op.as_str() {
        "Conv" => {
            let per_output = elements(shape_of(1)?.get(1..)?)?;
            Some(per_output.saturating_mul(elements(output()?.get(1..)?)?))
        }
        "ConvTranspose" => {
            let per_input = elements(shape_of(1)?.get(1..)?)?;
            Some(per_input.saturating_mul(elements(shape_of(0)?.get(1..)?)?))
        }
        "Gemm" => elements(shape_of(1)?),
        "MatMul" => {
            let inner = shape_of(0)?.last()?.known()? as u64;
            Some(inner.saturating_mul(elements(output()?.get(1..)?)?))
        }
        _ => Some(0),
    }
}

fn elements(shape: &[Dim]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, d| Some(n.saturating_mul(d.known()? as u64)))
}

/// Dense multiply-accumulates of a layer for one example, over every node that uses its weight.
pub fn layer_macs(model: &Model, layer: &Layer) -> Option<u64> {
    let graph = model.graph.as_ref()?;
    if layer.kind == LayerKind::Recurrent {
        // Input and recurrence weights are layers of their own, each used once a step.
        return layer.nodes.iter().try_fold(0u64, |sum, &n| {
            let node = graph.node(n);
            let input = graph.value(node.input(0)?).fact.shape.as_ref()?;
            let steps = input.get(usize::from(node.int("layout", 0) != 0))?.known()? as u64;
            Some(sum.saturating_add(steps.saturating_mul(layer.weight_count() as u64)))
        });
    }
    layer.nodes.iter().try_fold(0u64, |sum, &n| Some(sum.saturating_add(node_macs(graph, graph.node(n))?)))
}

#[cfg(test)]
mod tests {
    use crate::model::{Dim, GraphBuilder, Tensor, layer_macs, layers_of};

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()]).unwrap()
    }

    #[test]
    fn macs_of_convolution_and_gemm_follow_the_textbook() {
        let mut b = GraphBuilder::new("net");
        let x = b.input("x", vec![Dim::symbol("batch"), 3.into(), 8.into(), 8.into()]);
        let w = b.tensor("conv.weight", zeros(&[4, 3, 3, 3]));
        let h = b.conv("conv", x, w, None, (2, 1, 1));
        let flat = b.node("flat", "Flatten", &[h], &[]);
        let v = b.tensor("fc.weight", zeros(&[10, 4 * 4 * 4]));
        let y = b.gemm("fc", flat, v, None);
        b.output(y);
        let model = b.finish().unwrap();
        let macs: Vec<_> = layers_of(&model).iter().map(|l| layer_macs(&model, l)).collect();
        assert_eq!(macs, vec![Some(4 * 4 * 4 * 3 * 9), Some(640)]);
    }
}
