use super::batching::examples_together;
use super::builder::{Folding, build_calls};
use super::error::{ExecError, without_backtrace};

use super::fuse::{Step, fuse};
use super::idioms::recognize_activations;
use super::kernels::parallel;
use super::ops::{BatchNormMode, Inputs, Operator, Pass};
use super::padding::absorb_padding;
use super::{Bound, convert};
use crate::model::{DType, Model, Tensor, Value, ValueId};
use std::sync::Arc;

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
    /// A number that the graph itself carries.
    Inline(Tensor),
    /// The result of a call on earlier constants, with its shape where that is known.
    Computed { call: Arc<Call>, output: usize, shape: Option<Vec<usize>> },
}

impl Constant {
    /// Its shape, if that is known before anything runs.
    pub fn shape(&self) -> Option<&[usize]> {
        match self {
            Self::Named(_, shape) => Some(shape),
            Self::Inline(tensor) => Some(tensor.shape()),
            Self::Computed { shape, .. } => shape.as_deref(),
        }
    }
}

/// A node with its operator built.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub label: String,
    pub op: String,
    pub operator: Arc<dyn Operator>,
    pub inputs: Vec<Source>,
    /// Slots of the outputs, those that somebody reads.
    pub outputs: Vec<Option<usize>>,
}

impl Call {
    /// Names the node in an error of Candle or a kernel.
    pub fn failed(&self, source: candle_core::Error) -> ExecError {
        ExecError::Node { node: self.label.clone(), op: self.op.clone(), source: Box::new(without_backtrace(source)) }
    }
}

#[derive(Debug)]
pub(super) struct Compiled {
    pub inputs: Vec<Value>,
    pub input_slots: Vec<usize>,
    pub outputs: Vec<Value>,
    pub output_sources: Vec<Source>,
    /// Element type of each output.
    pub output_types: Vec<DType>,
    pub constants: Vec<Constant>,
    pub calls: Vec<Call>,
    pub steps: Vec<Step>,
    pub slots: usize,
    /// Examples to run together; `None` if a batch must not be divided.
    pub together: Option<usize>,
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
        Self::compile_with(model, Folding::All)
    }

    /// As [`Program::compile`], with a choice of what is computed once.
    pub(super) fn compile_with(model: &Model, folding: Folding) -> Result<Self, ExecError> {
        let graph = model.graph.as_ref().ok_or(ExecError::NoGraph)?;
        parallel::keep_large_buffers();
        let mut parts = build_calls(model, graph, folding)?;
        absorb_padding(model, graph, &mut parts);
        recognize_activations(model, graph, &mut parts);
        let port = |id: &ValueId| graph.value(*id).clone();
        let output_sources: Vec<Source> = graph.outputs.iter().map(|id| parts.sources[id.0 as usize]).collect();
        let type_of = |id: &ValueId| parts.types[id.0 as usize].unwrap_or(DType::F32);
        let steps = fuse(graph, &parts.constants, &parts.calls, &output_sources);
        let together = examples_together(model, graph, &parts);
        Ok(Self(Arc::new(Compiled {
            inputs: graph.inputs.iter().map(port).collect(),
            input_slots: graph.inputs.iter().map(|id| id.0 as usize).collect(),
            outputs: graph.outputs.iter().map(port).collect(),
            output_types: graph.outputs.iter().map(type_of).collect(),
            output_sources,
            constants: parts.constants,
            calls: parts.calls,
            steps,
            slots: graph.values.len(),
            together,
        })))
    }

    /// The graph's inputs, in order.
    pub fn inputs(&self) -> &[Value] {
        &self.0.inputs
    }

    /// The graph's outputs, in order.
    pub fn outputs(&self) -> &[Value] {
        &self.0.outputs
    }

    /// How many examples of a batch are run together, so that what they need stays in a core's cache; `None` if
    /// the graph does not keep examples apart, and a batch is run as a whole.
    pub fn examples_together(&self) -> Option<usize> {
        self.0.together
    }

    /// Prepares the weights of `model` for evaluation.
    ///
    /// # Errors
    /// [`ExecError::MissingTensor`] or [`ExecError::ParameterShape`] if `model` is not of the compiled
    /// structure, [`ExecError::Node`] if the weights of a node do not fit together.
    pub fn bind(&self, model: &Model) -> Result<Bound, ExecError> {
        Bound::new(self, model)
    }

    /// The constants in `model`, in the order of [`Compiled::constants`].
    ///
    /// Computed ones whose operands are those of `earlier` are taken from there.
    pub(super) fn resolve(&self, model: &Model, earlier: Option<&[Held]>) -> Result<Vec<Held>, ExecError> {
        resolve_constants(&self.0.constants, model, earlier)
    }

    /// Refuses inputs that do not fit the graph.
    pub(super) fn check(&self, inputs: &[candle_core::Tensor]) -> Result<(), ExecError> {
        let expected = self.0.inputs.len();
        if inputs.len() != expected {
            return Err(ExecError::InputCount { expected, actual: inputs.len() });
        }
        inputs.iter().zip(&self.0.inputs).try_for_each(|(tensor, port)| check_shape(port, tensor.dims()))
    }

    /// Fills a slot table with checked inputs.
    pub(super) fn slots_with(
        &self,
        inputs: &[candle_core::Tensor],
    ) -> Result<Vec<Option<candle_core::Tensor>>, ExecError> {
        self.check(inputs)?;
        let mut slots = vec![None; self.0.slots];
        for (tensor, &slot) in inputs.iter().zip(&self.0.input_slots) {
            slots[slot] = Some(tensor.clone());
        }
        Ok(slots)
    }

    /// Inputs as [`TrainProgram::forward`](super::TrainProgram::forward) takes them.
    ///
    /// # Errors
    /// [`ExecError::InputType`] if one is of another element type than the graph declares.
    pub fn convert(&self, inputs: &[Tensor]) -> Result<Vec<candle_core::Tensor>, ExecError> {
        for (tensor, port) in inputs.iter().zip(&self.0.inputs) {
            check_type(port, tensor)?;
        }
        Ok(inputs.iter().map(convert::to_candle).collect::<Result<_, _>>()?)
    }
}

fn check_type(port: &Value, tensor: &Tensor) -> Result<(), ExecError> {
    match port.fact.dtype {
        Some(expected) if expected != tensor.dtype() => {
            Err(ExecError::InputType { name: port.name.clone(), expected, actual: tensor.dtype() })
        }
        _ => Ok(()),
    }
}

fn check_shape(port: &Value, actual: &[usize]) -> Result<(), ExecError> {
    let Some(shape) = &port.fact.shape else { return Ok(()) };
    let fits = shape.len() == actual.len() && shape.iter().zip(actual).all(|(d, a)| d.known().is_none_or(|d| d == *a));
    if fits {
        return Ok(());
    }
    let expected = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
    Err(ExecError::InputShape { name: port.name.clone(), expected: format!("[{expected}]"), actual: actual.to_vec() })
}

/// The value of a constant.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// As the model or the graph carries it.
    Given(Tensor),
    /// As a call computed it.
    Computed(candle_core::Tensor),
}

impl Held {
    pub fn to_candle(&self) -> candle_core::Result<candle_core::Tensor> {
        match self {
            Self::Given(tensor) => convert::to_candle(tensor),
            Self::Computed(tensor) => Ok(tensor.clone()),
        }
    }

    /// Whether both share their data.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Given(a), Self::Given(b)) => {
                a.dtype() == b.dtype() && a.shape() == b.shape() && a.data_address() == b.data_address()
            }
            (Self::Computed(a), Self::Computed(b)) => a.id() == b.id(),
            _ => false,
        }
    }
}

/// The values of `constants` in `model`; computed ones whose operands are those of `earlier` are taken from there.
pub(super) fn resolve_constants(
    constants: &[Constant],
    model: &Model,
    earlier: Option<&[Held]>,
) -> Result<Vec<Held>, ExecError> {
    let mut resolved: Vec<Held> = Vec::with_capacity(constants.len());
    for (index, constant) in constants.iter().enumerate() {
        let held = match constant {
            Constant::Inline(tensor) => Held::Given(tensor.clone()),
            Constant::Named(name, shape) => {
                let tensor = model.tensors.get(name).ok_or_else(|| ExecError::MissingTensor(name.clone()))?;
                if tensor.shape() != shape {
                    return Err(ExecError::ParameterShape {
                        name: name.clone(),
                        expected: shape.clone(),
                        actual: tensor.shape().to_vec(),
                    });
                }
                Held::Given(tensor.clone())
            }
            Constant::Computed { call, output, .. } => {
                let reads = || {
                    call.inputs.iter().filter_map(|source| match source {
                        Source::Constant(index) => Some(*index),
                        _ => None,
                    })
                };
                match earlier.filter(|earlier| reads().all(|i| earlier[i].is_same(&resolved[i]))) {
                    Some(earlier) => earlier[index].clone(),
                    None => Held::Computed(compute(call, *output, &resolved)?),
                }
            }
        };
        resolved.push(held);
    }
    Ok(resolved)
}

fn compute(call: &Call, output: usize, constants: &[Held]) -> Result<candle_core::Tensor, ExecError> {
    let operand = |source: &Source| match source {
        Source::Constant(index) => constants[*index].to_candle().map(Some),
        _ => Ok(None),
    };
    let run = || {
        let operands = call.inputs.iter().map(operand).collect::<candle_core::Result<Vec<_>>>()?;
        let mut pass = Pass { batch_norm: BatchNormMode::Running, ..Pass::default() };
        match call.operator.forward(&Inputs(&operands), &mut pass)?.into_iter().nth(output) {
            Some(result) => result.contiguous(),
            None => candle_core::bail!("it has no result {output}"),
        }
    };
    run().map_err(|e| call.failed(e))
}
