//! Nodes that run graphs of their own.

use super::types::Values;
use super::{Build, Built, Inputs, NodeContext, Operator, Pass, axis_of};
use crate::exec::body::Body;
use crate::model::{Attribute, DType, Fact, Graph};
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

pub(super) const OPERATORS: &[(&str, Build)] = &[("If", |c| If::build(c)), ("Loop", |c| Loop::build(c))];

pub(super) fn body_of(
    context: &NodeContext<'_>,
    name: &str,
    inputs: impl Fn(usize) -> Option<Fact>,
) -> std::result::Result<Body, String> {
    let Some(Attribute::Graph(graph)) = context.node.attributes.get(name) else {
        return Err(format!("its body `{name}` is missing"));
    };
    let graph: &Graph = graph;
    let facts: Vec<Option<Fact>> = (0..graph.inputs.len()).map(inputs).collect();
    Body::compile(graph, &facts, &context.captured())
}

/// The type of an input, in a fact without shape: shapes may change from run to run of a body.
pub(super) fn typed(context: &NodeContext<'_>, index: usize) -> Option<Fact> {
    context.node.input(index).map(|_| Fact { dtype: Some(context.dtype(index)), ..Fact::default() })
}

/// The operands of the node itself and those that its bodies capture.
pub(super) fn divided<'a>(inputs: &Inputs<'a>, own: usize) -> (&'a [Option<Tensor>], &'a [Option<Tensor>]) {
    inputs.0.split_at(own.min(inputs.len()))
}

fn truth(tensor: &Tensor) -> Result<bool> {
    match super::operands::integers(tensor)?[..] {
        [value] => Ok(value != 0),
        _ => bail!("its condition has shape {:?}", tensor.dims()),
    }
}

/// One of two bodies.
#[derive(Debug)]
struct If {
    yes: Body,
    no: Body,
}

impl If {
    fn build(context: &NodeContext<'_>) -> Built {
        let body = |name: &str| body_of(context, name, |_| None);
        Ok(Arc::new(Self { yes: body("then_branch")?, no: body("else_branch")? }))
    }
}

impl Operator for If {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (_, captured) = divided(inputs, 1);
        let body = if truth(inputs.required(0)?)? { &self.yes } else { &self.no };
        body.run(&[], captured)
    }

    fn result_type(&self, output: usize, _: &[DType]) -> DType {
        self.yes.types.get(output).copied().unwrap_or(DType::F32)
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}

/// Most runs of a body, so that a file cannot keep a machine busy for ever.
const MOST_RUNS: usize = 1 << 24;

/// A body run again and again on its own results.
#[derive(Debug)]
struct Loop {
    body: Body,
    /// Operands of the node.
    own: usize,
}

impl Loop {
    fn build(context: &NodeContext<'_>) -> Built {
        let own = context.node.inputs.len();
        let of = |dtype: DType| Some(Fact { dtype: Some(dtype), ..Fact::default() });
        let body = body_of(context, "body", |i| match i {
            0 => of(DType::I64),
            1 => of(DType::Bool),
            _ => typed(context, i),
        })?;
        Ok(Arc::new(Self { body, own }))
    }
}

/// Slices put together along a new axis; none give an empty tensor of the type.
pub(super) fn stacked(slices: &[Tensor], axis: i64, dtype: DType) -> Result<Tensor> {
    match slices.first() {
        Some(first) => {
            let rank = first.rank() + 1;
            Tensor::stack(slices, axis_of(axis, rank)?)
        }
        None => super::types::full(super::types::carrier(dtype), 0.0, &[0]),
    }
}

impl Operator for Loop {
    fn forward(&self, inputs: &Inputs<'_>, _: &mut Pass) -> Result<Vec<Tensor>> {
        let (_, captured) = divided(inputs, self.own);
        let limit = match inputs.non_empty(0) {
            Some(_) => usize::try_from(inputs.integer(0)?.unwrap_or(0)).unwrap_or(0),
            None => usize::MAX,
        };
        let mut condition = inputs.non_empty(1).map_or(Ok(true), truth)?;
        let mut carried = (2..self.own).map(|i| inputs.required(i).cloned()).collect::<Result<Vec<_>>>()?;
        let kept = self.body.types.len().saturating_sub(1 + carried.len());
        let mut scanned: Vec<Vec<Tensor>> = vec![Vec::new(); kept];
        let mut run = 0;
        while condition && run < limit {
            if run >= MOST_RUNS {
                bail!("it did not end within {MOST_RUNS} runs");
            }
            let number = Values::I64(vec![run as i64]).tensor(&[])?;
            let asked = Values::U8(vec![1]).tensor(&[])?;
            let operands: Vec<Tensor> = [number, asked].into_iter().chain(carried.iter().cloned()).collect();
            let mut results = self.body.run(&operands, captured)?.into_iter();
            let Some(next) = results.next() else { bail!("its body gives no condition") };
            condition = truth(&next)?;
            for value in &mut carried {
                match results.next() {
                    Some(result) => *value = result,
                    None => bail!("its body gives too few values"),
                }
            }
            scanned.iter_mut().zip(results).for_each(|(slices, slice)| slices.push(slice));
            run += 1;
        }
        let types = self.body.types.iter().skip(1 + carried.len());
        let scanned = scanned.iter().zip(types).map(|(slices, dtype)| stacked(slices, 0, *dtype));
        carried.into_iter().map(Ok).chain(scanned).collect()
    }

    fn result_type(&self, output: usize, _: &[DType]) -> DType {
        self.body.types.get(output + 1).copied().unwrap_or(DType::F32)
    }

    fn is_differentiable(&self) -> bool {
        false
    }
}
