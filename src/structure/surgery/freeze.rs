//! Numbers that the graph computes from shapes, such as the square root of a head's size, stay what they were.

use super::super::error::StructureError;
use crate::model::{Attribute, Fact, Node};
use crate::model::{DType, InferError, Model, Tensor, ValueId, infer_facts};

/// Replaces integers that are about to become floating-point numbers where the removal changed them.
pub fn freeze(before: &Model, after: &mut Model) -> Result<(), StructureError> {
    let (Some(old), Some(new)) = (&before.graph, &mut after.graph) else { return Ok(()) };
    let mut frozen: Vec<(usize, Tensor)> = Vec::new();
    for (index, node) in new.nodes.iter().enumerate() {
        let to_float = node.op == "Cast" && DType::from_onnx(node.int("to", 0)).is_some_and(DType::is_float);
        let Some(input) = node.input(0).filter(|input| to_float && (input.0 as usize) < old.values.len()) else {
            continue;
        };
        let was = old.value(input).fact.constant.as_ref();
        if let Some(was) = was.filter(|was| new.value(input).fact.constant.as_ref() != Some(was)) {
            frozen.push((index, was.clone()));
        }
    }
    if frozen.is_empty() {
        return Ok(());
    }
    let names: std::collections::HashSet<String> = new.values.iter().map(|v| v.name.clone()).collect();
    for (index, tensor) in frozen.into_iter().rev() {
        let stem = format!("{}_as_it_was", new.nodes[index].label());
        let free = (2..).map(|n| format!("{stem}_{n}"));
        let name = std::iter::once(stem.clone()).chain(free).find(|name| !names.contains(name)).unwrap_or(stem);
        let value: ValueId = new.add_value(name.clone(), Fact::default());
        new.nodes[index].inputs[0] = Some(value);
        new.nodes.insert(
            index,
            Node {
                name,
                op: "Constant".to_owned(),
                outputs: vec![Some(value)],
                attributes: [("value".to_owned(), Attribute::Tensor(tensor))].into(),
                ..Node::default()
            },
        );
    }
    infer_facts(after).map_err(|error: InferError| StructureError::Infer(error))
}
