//! Programs that give out values inside a graph.

use super::body::captures_of;
use super::{ExecError, Program};
use crate::model::{Graph, Model, ValueId};

impl Program {
    /// Compiles the part of a model's graph that computes `values`, which a run returns in place of the graph's
    /// outputs, unchanged by what is fused around them.
    ///
    /// The inputs stay those of the graph. Nodes on which no value depends need not be supported.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_values(model: &Model, values: &[ValueId]) -> Result<Self, ExecError> {
        let graph = model.graph.as_ref().ok_or(ExecError::NoGraph)?;
        let mut graph = Graph { outputs: values.to_vec(), ..graph.clone() };
        let needed = needed_nodes(&graph);
        let mut needed = needed.iter();
        graph.nodes.retain(|_| needed.next().is_some_and(|&needed| needed));
        let part = Model { tensors: model.tensors.clone(), graph: Some(graph), ..Model::default() };
        Self::compile(&part)
    }
}

/// Which nodes the outputs depend on, those included that only the bodies of others read.
fn needed_nodes(graph: &Graph) -> Vec<bool> {
    let names = graph.names();
    let mut read = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|id| read[id.0 as usize] = true);
    let mut needed = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        if !node.outputs.iter().flatten().any(|id| read[id.0 as usize]) {
            continue;
        }
        needed[index] = true;
        let captured = captures_of(node).into_iter().filter_map(|name| names.get(name.as_str()).copied());
        node.inputs.iter().flatten().copied().chain(captured).for_each(|id| read[id.0 as usize] = true);
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, Dim, GraphBuilder, Tensor};

    /// Pad, convolution, batch normalisation and Relu, all of which run as one step, then an operator that nobody
    /// knows. Returns the values in order.
    fn net() -> (Model, Vec<ValueId>) {
        let mut b = GraphBuilder::new("net");
        let x = b.input("x", vec![Dim::symbol("batch"), 1.into(), 1.into(), 2.into()]);
        let pads = b.tensor("pads", Tensor::from_i64(vec![8], &[0, 0, 0, 1, 0, 0, 0, 1]).unwrap());
        let padded = b.node("pad", "Pad", &[x, pads], &[]);
        let w = b.tensor("w", Tensor::from_f32(vec![1, 1, 1, 2], vec![1.0, -1.0]).unwrap());
        let conv = b.conv("conv", padded, w, None, (1, 0, 1));
        let one =
            |b: &mut GraphBuilder, name: &str, v: f32| b.tensor(name, Tensor::from_f32(vec![1], vec![v]).unwrap());
        let parameters = [("scale", 2.0), ("shift", 1.0), ("mean", 0.0), ("var", 1.0)].map(|(n, v)| one(&mut b, n, v));
        let epsilon = ("epsilon", Attribute::Float(0.0));
        let norm = b.node("norm", "BatchNormalization", &[&[conv][..], &parameters].concat(), &[epsilon]);
        let relu = b.node("relu", "Relu", &[norm], &[]);
        let unknown = b.node("unknown", "Unheard", &[relu], &[]);
        b.output(unknown);
        (b.finish().unwrap(), vec![x, padded, conv, norm, relu, w])
    }

    #[test]
    fn every_value_of_what_runs_as_one_step_is_given_out_as_the_graph_says() {
        let (model, values) = net();
        assert!(matches!(Program::compile(&model), Err(ExecError::Unsupported(_))));
        let expected: [&[f32]; 6] = [
            &[3.0, 5.0],
            &[0.0, 3.0, 5.0, 0.0],
            &[-3.0, -2.0, 5.0],
            &[-5.0, -3.0, 11.0],
            &[0.0, 0.0, 11.0],
            &[1.0, -1.0],
        ];
        let x = [Tensor::from_f32(vec![1, 1, 1, 2], vec![3.0, 5.0]).unwrap()];
        let run = |values: &[ValueId]| Program::compile_values(&model, values)?.bind(&model)?.run(&x);
        let together = run(&values).unwrap();
        for (i, expected) in expected.iter().enumerate() {
            assert_eq!(together[i].to_f32().as_ref(), *expected);
            assert_eq!(run(&values[i..=i]).unwrap()[0], together[i], "value {i} alone");
        }
    }
}
