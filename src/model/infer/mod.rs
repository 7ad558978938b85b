//! Dtype, shape and, where it folds, the value of everything that a graph computes.
//!
//! Two things run side by side, node by node. Rules, one per operator, derive facts from facts. And small
//! tensors are evaluated element by element over expressions of the named extents ([`partial`]), so that
//! the shape arithmetic of exporters comes out as the shape that it stands for, whether the batch and the
//! spatial extents are numbers or names.

mod axes;
mod context;
mod elementwise;
mod evaluate;
mod layout;
mod matrix;
mod partial;
mod reduce;
mod reshape;
mod select;
mod spatial;

use super::{Attribute, Fact, Model};
use context::{Context, Facts, Rule};
use partial::Partial;

/// Shapes that do not fit together at one node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node `{node}` ({op}): {problem}")]
pub struct InferError {
    /// Label of the node.
    pub node: String,
    /// Operator type.
    pub op: String,
    /// What does not fit.
    pub problem: String,
}

/// Elements of the largest tensor that is evaluated at load time.
const MOST_ELEMENTS: usize = 1024;

/// Derives dtype, shape and folded value of every computed value from inputs and initializers.
///
/// Operators that are not known here leave their outputs without a fact; that is not an error. Integers
/// and booleans that do not depend on the run become [`Fact::constant`], named extents that cancel out
/// included; floating-point initializers never do, since editing replaces them.
///
/// # Errors
/// [`InferError`] if known shapes contradict each other; the first one, after all nodes have been looked at.
pub fn infer_facts(model: &mut Model) -> Result<(), InferError> {
    let Some(graph) = model.graph.as_mut() else { return Ok(()) };
    let mut partials: Vec<Option<Partial>> = vec![None; graph.values.len()];
    for (value, partial) in graph.values.iter_mut().zip(&mut partials) {
        if let Some(tensor) = model.tensors.get(&value.name) {
            value.fact = Fact::of_tensor(tensor);
            if !tensor.dtype().is_float() && tensor.len() <= MOST_ELEMENTS {
                value.fact.constant = Some(tensor.clone());
                *partial = Partial::of_tensor(tensor);
            } else if tensor.len() == 1 {
                *partial = Partial::of_tensor(tensor);
            }
        }
    }
    let mut first_problem = None;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let context = Context { node, graph, tensors: &model.tensors, partials: &partials };
        let (facts, values) = match derive(&context) {
            Ok(derived) => derived,
            Err(problem) => {
                let error = InferError { node: node.label().to_owned(), op: node.op.clone(), problem };
                first_problem.get_or_insert(error);
                Default::default()
            }
        };
        let outputs = node.outputs.clone();
        let (mut facts, mut values) = (facts.into_iter(), values.into_iter());
        for output in outputs {
            let (fact, partial) = (facts.next().unwrap_or_default(), values.next().flatten());
            let Some(output) = output else { continue };
            graph.value_mut(output).fact = with_value(fact, partial.as_ref());
            partials[output.0 as usize] = partial;
        }
    }
    first_problem.map_or(Ok(()), Err)
}

/// The fact of an output whose elements are known in part or in full.
fn with_value(mut fact: Fact, partial: Option<&Partial>) -> Fact {
    let Some(partial) = partial else { return fact };
    fact.dtype = Some(partial.dtype);
    fact.shape = Some(super::known_shape(&partial.shape));
    if fact.constant.is_none() && !partial.dtype.is_float() {
        fact.constant = partial.to_tensor();
    }
    fact
}

type Derived = (Vec<Fact>, Vec<Option<Partial>>);

fn derive(context: &Context<'_>) -> Result<Derived, String> {
    let node = context.node;
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return Ok(Derived::default());
    }
    if node.op == "Constant" {
        let Some(Attribute::Tensor(tensor)) = node.attributes.get("value") else { return Ok(Derived::default()) };
        let constant = (tensor.len() <= MOST_ELEMENTS).then(|| tensor.clone());
        let partial = constant.as_ref().and_then(Partial::of_tensor);
        return Ok((vec![Fact { constant, ..Fact::of_tensor(tensor) }], vec![partial]));
    }
    let facts = match rule(&node.op) {
        Some(rule) => rule(context)?,
        None => Facts::new(),
    };
    Ok((facts, evaluate::evaluate(context)))
}

fn rule(op: &str) -> Option<Rule> {
    elementwise::rule(op)
        .or_else(|| layout::rule(op))
        .or_else(|| reduce::rule(op))
        .or_else(|| select::rule(op))
        .or_else(|| spatial::rule(op))
        .or_else(|| matrix::rule(op))
}

#[cfg(test)]
mod tests;
