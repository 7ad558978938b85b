use super::error::{ExecError, UnsupportedNode};
use super::fuse::{Step, fuse};
use super::kernels::parallel;
use super::ops::{self, NodeContext, Operator};
use super::{Bound, convert};
use crate::model::{Attribute, Fact, Graph, Model, Tensor, ValueId};
use std::sync::Arc;

/// A named input or output of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name in the graph.
    pub name: String,
    /// What is known of it.
    pub fact: Fact,
}

/// Where an operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The value slot that an input or an earlier node filled.
    Slot(usize),
    /// An entry of [`Compiled::constants`].
    Constant(usize),
    /// An omitted optional operand.
    Absent,
}

/// Data that does not depend on the inputs.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    /// An initializer, by name, with its shape.
    Named(String, Vec<usize>),
    /// The value of a `Constant` node.
    Inline(Tensor),
}

/// A node with its operator built.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub label: String,
    pub op: String,
    pub operator: Arc<dyn Operator>,
    pub inputs: Vec<Source>,
    /// Slot of the first output.
    pub output: usize,
}

impl Call {
    /// Names the node in an error of Candle or a kernel.
    pub fn failed(&self, source: candle_core::Error) -> ExecError {
        ExecError::Node { node: self.label.clone(), op: self.op.clone(), source: Box::new(source) }
    }
}

#[derive(Debug)]
pub(super) struct Compiled {
    pub inputs: Vec<Port>,
    pub input_slots: Vec<usize>,
    pub outputs: Vec<Port>,
    pub output_sources: Vec<Source>,
    pub constants: Vec<Constant>,
    pub calls: Vec<Call>,
    pub steps: Vec<Step>,
    pub slots: usize,
}

/// A compiled graph, without weights. Cheap to clone and shared freely between threads.
#[derive(Clone, Debug)]
pub struct Program(pub(super) Arc<Compiled>);

impl Program {
    /// Compiles the graph of a model.
    ///
    /// # Errors
    /// [`ExecError::NoGraph`], or [`ExecError::Unsupported`] with every node that cannot run.
    pub fn compile(model: &Model) -> Result<Self, ExecError> {
        let graph = model.graph.as_ref().ok_or(ExecError::NoGraph)?;
        parallel::keep_large_buffers();
        let mut sources: Vec<Source> = (0..graph.values.len()).map(Source::Slot).collect();
        let mut constants = Vec::new();
        for (index, value) in graph.values.iter().enumerate() {
            if let Some(tensor) = model.tensors.get(&value.name) {
                sources[index] = Source::Constant(constants.len());
                constants.push(Constant::Named(value.name.clone(), tensor.shape().to_vec()));
            }
        }
        let calls = build_calls(model, graph, &mut sources, &mut constants)?;
        let port = |id: &ValueId| {
            let value = graph.value(*id);
            Port { name: value.name.clone(), fact: value.fact.clone() }
        };
        let output_sources: Vec<Source> = graph.outputs.iter().map(|id| sources[id.0 as usize]).collect();
        let steps = fuse(graph, &calls, &output_sources);
        Ok(Self(Arc::new(Compiled {
            inputs: graph.inputs.iter().map(port).collect(),
            input_slots: graph.inputs.iter().map(|id| id.0 as usize).collect(),
            outputs: graph.outputs.iter().map(port).collect(),
            output_sources,
            constants,
            calls,
            steps,
            slots: graph.values.len(),
        })))
    }

    /// The graph's inputs, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.0.inputs
    }

    /// The graph's outputs, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.0.outputs
    }

    /// Prepares the weights of `model` for evaluation.
    ///
    /// # Errors
    /// [`ExecError::MissingTensor`] or [`ExecError::ParameterShape`] if `model` is not of the compiled
    /// structure, [`ExecError::Node`] if the weights of a node do not fit together.
    pub fn bind(&self, model: &Model) -> Result<Bound, ExecError> {
        Bound::new(self, model)
    }

    /// The constants' tensors in `model`, in the order of [`Compiled::constants`].
    pub(super) fn resolve(&self, model: &Model) -> Result<Vec<Tensor>, ExecError> {
        let resolve = |constant: &Constant| match constant {
            Constant::Inline(tensor) => Ok(tensor.clone()),
            Constant::Named(name, shape) => {
                let tensor = model.tensors.get(name).ok_or_else(|| ExecError::MissingTensor(name.clone()))?;
                if tensor.shape() == shape {
                    Ok(tensor.clone())
                } else {
                    Err(ExecError::ParameterShape {
                        name: name.clone(),
                        expected: shape.clone(),
                        actual: tensor.shape().to_vec(),
                    })
                }
            }
        };
        self.0.constants.iter().map(resolve).collect()
    }

    /// Fills a slot table with checked inputs.
    pub(super) fn slots_with(
        &self,
        inputs: &[candle_core::Tensor],
    ) -> Result<Vec<Option<candle_core::Tensor>>, ExecError> {
        let expected = self.0.inputs.len();
        if inputs.len() != expected {
            return Err(ExecError::InputCount { expected, actual: inputs.len() });
        }
        let mut slots = vec![None; self.0.slots];
        for ((tensor, port), &slot) in inputs.iter().zip(&self.0.inputs).zip(&self.0.input_slots) {
            port.check_shape(tensor.dims())?;
            slots[slot] = Some(tensor.clone());
        }
        Ok(slots)
    }

    /// Checks and converts inputs.
    pub(super) fn convert(&self, inputs: &[Tensor]) -> Result<Vec<candle_core::Tensor>, ExecError> {
        for (tensor, port) in inputs.iter().zip(&self.0.inputs) {
            port.check_type(tensor)?;
        }
        Ok(inputs.iter().map(convert::to_candle).collect::<Result<_, _>>()?)
    }
}

impl Port {
    fn check_type(&self, tensor: &Tensor) -> Result<(), ExecError> {
        match self.fact.dtype {
            Some(expected) if expected != tensor.dtype() => {
                Err(ExecError::InputType { name: self.name.clone(), expected, actual: tensor.dtype() })
            }
            _ => Ok(()),
        }
    }

    fn check_shape(&self, actual: &[usize]) -> Result<(), ExecError> {
        let Some(shape) = &self.fact.shape else { return Ok(()) };
        let fits =
            shape.len() == actual.len() && shape.iter().zip(actual).all(|(d, a)| d.known().is_none_or(|d| d == *a));
        if fits {
            return Ok(());
        }
        let expected = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
        Err(ExecError::InputShape {
            name: self.name.clone(),
            expected: format!("[{expected}]"),
            actual: actual.to_vec(),
        })
    }
}

fn build_calls(
    model: &Model,
    graph: &Graph,
    sources: &mut [Source],
    constants: &mut Vec<Constant>,
) -> Result<Vec<Call>, ExecError> {
    let mut calls = Vec::with_capacity(graph.nodes.len());
    let mut unsupported = Vec::new();
    for node in &graph.nodes {
        let mut refuse = |reason: String| {
            unsupported.push(UnsupportedNode { op: node.op.clone(), node: node.label().to_owned(), reason });
        };
        let Some(output) = node.output() else {
            refuse("it has no output".to_owned());
            continue;
        };
        if node.op == "Constant" {
            match constant_value(&node.attributes) {
                Some(tensor) => {
                    sources[output.0 as usize] = Source::Constant(constants.len());
                    constants.push(Constant::Inline(tensor));
                }
                None => refuse("its value is not a tensor or numbers".to_owned()),
            }
            continue;
        }
        match ops::build(&NodeContext { node, graph, model }) {
            Ok(operator) => calls.push(Call {
                label: node.label().to_owned(),
                op: node.op.clone(),
                operator,
                inputs: node
                    .inputs
                    .iter()
                    .map(|input| input.map_or(Source::Absent, |id| sources[id.0 as usize]))
                    .collect(),
                output: output.0 as usize,
            }),
            Err(reason) => refuse(reason),
        }
    }
    if unsupported.is_empty() { Ok(calls) } else { Err(ExecError::Unsupported(unsupported)) }
}

fn constant_value(attributes: &std::collections::BTreeMap<String, Attribute>) -> Option<Tensor> {
    match attributes.iter().next()? {
        (_, Attribute::Tensor(tensor)) => Some(tensor.clone()),
        (_, Attribute::Int(value)) => Tensor::from_i64(Vec::new(), &[*value]).ok(),
        (_, Attribute::Float(value)) => Tensor::from_f32(Vec::new(), vec![*value]).ok(),
        (_, Attribute::Ints(values)) => Tensor::from_i64(vec![values.len()], values).ok(),
        (_, Attribute::Floats(values)) => Tensor::from_f32(vec![values.len()], values.clone()).ok(),
        _ => None,
    }
}
