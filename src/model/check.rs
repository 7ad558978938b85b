use super::{Graph, Model, ValueId, infer_facts};
use std::collections::HashSet;

/// A broken invariant of a model, found by [`check_consistency`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistency {
    /// An edge points outside the value table.
    #[error("node `{node}` refers to value {index}, but there are only {count}")]
    DanglingValue {
        /// Label of the node.
        node: String,
        /// The index used.
        index: u32,
        /// Number of values.
        count: usize,
    },
    /// Two values, or two nodes' outputs, share a name.
    #[error("the value name `{0}` is defined twice")]
    DuplicateName(String),
    /// A node reads a value that nothing before it defines.
    #[error("node `{node}` reads `{value}` before anything defines it")]
    UndefinedInput {
        /// Label of the node.
        node: String,
        /// Name of the value.
        value: String,
    },
    /// A graph output that nothing defines.
    #[error("the graph output `{0}` is never computed")]
    UndefinedOutput(String),
    /// A node without outputs.
    #[error("node `{0}` has no output")]
    NoOutput(String),
    /// A stored fact differs from the one derived afresh.
    #[error("the stored fact of `{0}` differs from the derived one")]
    StaleFact(String),
    /// Shapes do not fit together.
    #[error("{0}")]
    Shapes(String),
}

/// Checks ids, single definition, topological order and, by deriving them again, every stored fact.
///
/// # Errors
/// The first [`Inconsistency`] found.
pub fn check_consistency(model: &Model) -> Result<(), Inconsistency> {
    let Some(graph) = &model.graph else { return Ok(()) };
    check_structure(model)?;
    let mut derived = model.clone();
    infer_facts(&mut derived).map_err(|e| Inconsistency::Shapes(e.to_string()))?;
    let derived = derived.graph.as_ref().unwrap_or(graph);
    for (stored, fresh) in graph.values.iter().zip(&derived.values) {
        if stored.fact != fresh.fact {
            return Err(Inconsistency::StaleFact(stored.name.clone()));
        }
    }
    Ok(())
}

/// Checks ids, single definition and topological order, but no facts.
///
/// # Errors
/// The first [`Inconsistency`] found.
pub fn check_structure(model: &Model) -> Result<(), Inconsistency> {
    let Some(graph) = &model.graph else { return Ok(()) };
    check_ids(graph)?;
    check_order(model, graph)
}

fn check_ids(graph: &Graph) -> Result<(), Inconsistency> {
    let count = graph.values.len();
    let mut names = HashSet::new();
    for value in &graph.values {
        if !names.insert(value.name.as_str()) {
            return Err(Inconsistency::DuplicateName(value.name.clone()));
        }
    }
    let in_range = |node: &str, id: ValueId| {
        if (id.0 as usize) < count {
            Ok(())
        } else {
            Err(Inconsistency::DanglingValue { node: node.to_owned(), index: id.0, count })
        }
    };
    for node in &graph.nodes {
        for id in node.inputs.iter().chain(&node.outputs).flatten() {
            in_range(node.label(), *id)?;
        }
        if node.outputs.iter().flatten().next().is_none() {
            return Err(Inconsistency::NoOutput(node.label().to_owned()));
        }
    }
    graph.inputs.iter().chain(&graph.outputs).try_for_each(|id| in_range("graph", *id))
}

fn check_order(model: &Model, graph: &Graph) -> Result<(), Inconsistency> {
    let mut defined: Vec<bool> = graph.values.iter().map(|v| model.tensors.contains_key(&v.name)).collect();
    for input in &graph.inputs {
        defined[input.0 as usize] = true;
    }
    for node in &graph.nodes {
        for input in node.inputs.iter().flatten() {
            if !defined[input.0 as usize] {
                return Err(Inconsistency::UndefinedInput {
                    node: node.label().to_owned(),
                    value: graph.value(*input).name.clone(),
                });
            }
        }
        for output in node.outputs.iter().flatten() {
            if std::mem::replace(&mut defined[output.0 as usize], true) {
                return Err(Inconsistency::DuplicateName(graph.value(*output).name.clone()));
            }
        }
    }
    match graph.outputs.iter().find(|o| !defined[o.0 as usize]) {
        Some(output) => Err(Inconsistency::UndefinedOutput(graph.value(*output).name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DType, Dim, Fact, GraphBuilder, Node, Tensor, known_shape};

    fn tiny() -> Model {
        let mut b = GraphBuilder::new("tiny");
        let x = b.input("x", vec![Dim::symbol("batch"), Dim::Known(2)]);
        let w = b.tensor("w", Tensor::from_f32(vec![3, 2], vec![1.0; 6]).unwrap());
        let h = b.gemm("fc", x, w, None);
        let y = b.node("act", "Relu", &[h], &[]);
        b.output(y);
        b.finish().unwrap()
    }

    #[test]
    fn a_built_model_is_consistent() {
        assert_eq!(check_consistency(&tiny()), Ok(()));
    }

    #[test]
    fn reading_a_value_before_it_is_computed_is_found() {
        let mut model = tiny();
        model.graph.as_mut().unwrap().nodes.swap(0, 1);
        assert!(matches!(check_consistency(&model), Err(Inconsistency::UndefinedInput { .. })));
    }

    #[test]
    fn a_stale_shape_is_found() {
        let mut model = tiny();
        let graph = model.graph.as_mut().unwrap();
        let output = graph.outputs[0];
        graph.value_mut(output).fact = Fact::new(DType::F32, known_shape(&[9, 9]));
        assert_eq!(check_consistency(&model), Err(Inconsistency::StaleFact("act_out".into())));
    }

    #[test]
    fn an_edge_outside_the_value_table_is_found() {
        let mut model = tiny();
        model.graph.as_mut().unwrap().nodes.push(Node {
            op: "Relu".into(),
            inputs: vec![Some(ValueId(99))],
            outputs: vec![Some(ValueId(0))],
            ..Node::default()
        });
        assert!(matches!(check_consistency(&model), Err(Inconsistency::DanglingValue { index: 99, .. })));
    }
}
