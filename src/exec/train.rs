use super::convert;
use super::error::ExecError;
use super::ops::{BatchNormMode, Inputs, Pass};
use super::program::{Constant, Program, Source};
use crate::model::Model;
use candle_core::{Tensor, Var, backprop::GradStore};

/// A tensor that training moves.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name of the tensor in the model.
    pub name: String,
    /// Its present value, f32.
    pub var: Var,
}

/// Gradients of one loss, by parameter.
#[derive(Debug)]
pub struct Gradients(GradStore);

impl Gradients {
    /// The gradient with respect to a parameter, or `None` if the loss does not depend on it.
    pub fn get(&self, parameter: &Parameter) -> Option<&Tensor> {
        self.0.get(parameter.var.as_tensor())
    }
}

#[derive(Clone, Debug)]
enum Held {
    Fixed(Tensor),
    Parameter(usize),
    /// A running statistic, replaced after each batch.
    Running(Tensor),
}

/// A model's graph run differentiably, with its float initializers as Candle variables.
///
/// Dropout passes its input through, as exported graphs describe inference.
#[derive(Debug)]
pub struct TrainProgram {
    program: Program,
    held: Vec<Held>,
    parameters: Vec<Parameter>,
}

impl TrainProgram {
    /// Compiles a model for training, with its present weights.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn new(model: &Model) -> Result<Self, ExecError> {
        let program = Program::compile(model)?;
        let tensors = program.resolve(model)?;
        let mut roles = vec![Role::Fixed; tensors.len()];
        for call in &program.0.calls {
            for (position, input) in call.inputs.iter().enumerate() {
                let Source::Constant(index) = *input else { continue };
                let tensor = &tensors[index];
                if !tensor.dtype().is_float() || matches!(program.0.constants[index], Constant::Inline(_)) {
                    continue;
                }
                if call.operator.trains(position, tensor.shape()) {
                    roles[index] = Role::Parameter;
                } else if call.operator.is_running(position) {
                    roles[index] = Role::Running;
                }
            }
        }
        let mut parameters = Vec::new();
        let mut held = Vec::with_capacity(tensors.len());
        for (index, (tensor, role)) in tensors.iter().zip(&roles).enumerate() {
            let value = convert::to_candle(tensor)?;
            held.push(match (role, &program.0.constants[index]) {
                (Role::Parameter, Constant::Named(name, _)) => {
                    parameters.push(Parameter { name: name.clone(), var: Var::from_tensor(&value)? });
                    Held::Parameter(parameters.len() - 1)
                }
                (Role::Running, _) => Held::Running(value),
                _ => Held::Fixed(value),
            });
        }
        Ok(Self { program, held, parameters })
    }

    /// The compiled graph.
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// Everything that trains, in graph order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The parameter of a tensor's name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }

    /// Runs the graph on a batch, recording what [`TrainProgram::backward`] needs.
    ///
    /// In [`BatchNormMode::Batch`] the running statistics move towards those of the batch by the momentum
    /// attribute, with the unbiased variance, as in PyTorch.
    ///
    /// # Errors
    /// [`ExecError::InputCount`] or [`ExecError::InputShape`] if the inputs do not fit the graph,
    /// [`ExecError::Node`] if a node fails on them.
    pub fn forward(&mut self, inputs: &[Tensor], batch_norm: BatchNormMode) -> Result<Vec<Tensor>, ExecError> {
        let mut slots = self.program.slots_with(inputs)?;
        let compiled = std::sync::Arc::clone(&self.program.0);
        for call in &compiled.calls {
            let operands: Vec<Option<Tensor>> = call.inputs.iter().map(|s| self.read(*s, &slots)).collect();
            let mut pass = Pass { batch_norm, ..Pass::default() };
            let outputs = call.operator.forward(&Inputs(&operands), &mut pass).map_err(|e| call.failed(e))?;
            slots[call.output] = outputs.into_iter().next();
            for (position, value) in pass.updates {
                if let Some(Source::Constant(index)) = call.inputs.get(position) {
                    self.held[*index] = Held::Running(value);
                }
            }
        }
        compiled
            .output_sources
            .iter()
            .zip(&compiled.outputs)
            .map(|(source, port)| self.read(*source, &slots).ok_or_else(|| ExecError::MissingTensor(port.name.clone())))
            .collect()
    }

    /// Gradients of a scalar `loss` computed from the outputs of [`TrainProgram::forward`].
    ///
    /// # Errors
    /// [`ExecError::Candle`] if an operator has no gradient.
    pub fn backward(&self, loss: &Tensor) -> Result<Gradients, ExecError> {
        Ok(Gradients(loss.backward()?))
    }

    /// `model` with the present parameters and running statistics, each in the dtype that it has there.
    ///
    /// # Errors
    /// [`ExecError::MissingTensor`] or [`ExecError::ParameterShape`] if `model` has another structure.
    pub fn write_back(&self, model: &Model) -> Result<Model, ExecError> {
        self.program.resolve(model)?;
        let mut result = model.clone();
        for (held, constant) in self.held.iter().zip(&self.program.0.constants) {
            let Constant::Named(name, _) = constant else { continue };
            let value = match held {
                Held::Parameter(index) => self.parameters[*index].var.as_tensor(),
                Held::Running(value) => value,
                Held::Fixed(_) => continue,
            };
            if let Some(slot) = result.tensors.get_mut(name) {
                let values = value.flatten_all()?.to_vec1::<f32>()?;
                *slot = convert::in_dtype(slot.dtype(), slot.shape().to_vec(), values)?;
            }
        }
        Ok(result)
    }

    /// Takes parameters and running statistics from `model`, such as the best of earlier epochs.
    ///
    /// # Errors
    /// [`ExecError::MissingTensor`] or [`ExecError::ParameterShape`] if `model` has another structure.
    pub fn load(&mut self, model: &Model) -> Result<(), ExecError> {
        let tensors = self.program.resolve(model)?;
        for (held, tensor) in self.held.iter_mut().zip(&tensors) {
            match held {
                Held::Parameter(index) => self.parameters[*index].var.set(&convert::to_candle(tensor)?)?,
                Held::Running(value) => *value = convert::to_candle(tensor)?,
                Held::Fixed(_) => {}
            }
        }
        Ok(())
    }

    fn read(&self, source: Source, slots: &[Option<Tensor>]) -> Option<Tensor> {
        match source {
            Source::Slot(slot) => slots[slot].clone(),
            Source::Constant(index) => Some(match &self.held[index] {
                Held::Fixed(value) | Held::Running(value) => value.clone(),
                Held::Parameter(index) => self.parameters[*index].var.as_tensor().clone(),
            }),
            Source::Absent => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Fixed,
    Parameter,
    Running,
}
