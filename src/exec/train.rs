use super::builder::Folding;
use super::convert;
use super::error::ExecError;
use super::fuse::fuse_relu;
use super::kernels::channels_last::{Order, add_alike, as_planes};
use super::ops::{BatchNormMode, Inputs, Pass, Record};
use super::program::{Call, Constant, Held as Value, Program, Source};
use crate::model::Model;
use candle_core::{Tensor, TensorId, Var};
use std::collections::HashMap;
use std::sync::Arc;

/// A tensor that training moves.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name of the tensor in the model.
    pub name: String,
    /// Its present value, f32.
    pub var: Var,
}

/// Gradients of one loss.
#[derive(Debug, Default)]
pub struct Gradients {
    parameters: HashMap<TensorId, Tensor>,
    inputs: Vec<Option<Tensor>>,
}

impl Gradients {
    /// The gradient with respect to a parameter, or `None` if the loss does not depend on it.
    pub fn get(&self, parameter: &Parameter) -> Option<&Tensor> {
        self.parameters.get(&parameter.var.as_tensor().id())
    }

    /// The gradient with respect to a graph input that was given as a variable.
    pub fn input(&self, index: usize) -> Option<&Tensor> {
        self.inputs.get(index).and_then(Option::as_ref)
    }
}

/// One call of a forward run.
#[derive(Debug)]
struct Recorded {
    operands: Vec<Option<Tensor>>,
    outputs: Vec<Tensor>,
    saved: Vec<Vec<f32>>,
}

/// What a forward run leaves for the backward run.
#[derive(Debug)]
struct Tape {
    /// Every call, in order.
    calls: Vec<Recorded>,
    /// The outputs as the caller got them.
    roots: Vec<Var>,
    /// Slots whose gradients lead to a parameter or a variable input.
    wanted: Vec<bool>,
    batch_norm: BatchNormMode,
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
    /// The calls as compiled, and with what follows batch-norms as part of them, which holds in batch mode only.
    plain: Arc<Vec<Call>>,
    fused: Arc<Vec<Call>>,
    /// Whether activations have their channels side by side.
    channels_last: bool,
    /// Whether there is a batch normalisation.
    normalises: bool,
    tape: Option<Tape>,
}

impl TrainProgram {
    /// Compiles a model for training, with its present weights.
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn new(model: &Model) -> Result<Self, ExecError> {
        let program = Program::compile_with(model, Folding::WithoutParameters)?;
        let tensors = program.resolve(model, None)?;
        let roles = roles(&program, &tensors);
        let mut parameters = Vec::new();
        let mut held = Vec::with_capacity(tensors.len());
        for (index, (tensor, role)) in tensors.iter().zip(&roles).enumerate() {
            let value = tensor.to_candle()?;
            held.push(match (role, &program.0.constants[index]) {
                (Role::Parameter, Constant::Named(name, _)) => {
                    parameters.push(Parameter { name: name.clone(), var: Var::from_tensor(&value)? });
                    Held::Parameter(parameters.len() - 1)
                }
                (Role::Running, _) => Held::Running(value),
                _ => Held::Fixed(value),
            });
        }
        let plain = Arc::new(program.0.calls.clone());
        let fused = Arc::new(match &model.graph {
            Some(graph) => fuse_relu(graph, &plain, &program.0.output_sources),
            None => Vec::clone(&plain),
        });
        // Going from one order to the other and back would cost more than either order gains.
        let mut orders = plain.iter().filter_map(|call| call.operator.trained_order()).peekable();
        let channels_last = orders.peek().is_some() && orders.all(|order| order == Order::ChannelsLast);
        let normalises = plain.iter().any(|call| call.operator.with_relu(false).is_some());
        Ok(Self { program, held, parameters, plain, fused, channels_last, normalises, tape: None })
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
    /// attribute, with the unbiased variance, as in PyTorch. The outputs are Candle variables, from which
    /// the caller computes a loss.
    ///
    /// # Errors
    /// [`ExecError::InputCount`] or [`ExecError::InputShape`] if the inputs do not fit the graph,
    /// [`ExecError::Node`] if a node fails on them.
    pub fn forward(&mut self, inputs: &[Tensor], batch_norm: BatchNormMode) -> Result<Vec<Tensor>, ExecError> {
        self.tape = None;
        let detached: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
        let mut slots = self.program.slots_with(&detached)?;
        let compiled = Arc::clone(&self.program.0);
        let mut wanted = vec![false; compiled.slots];
        for (tensor, &slot) in inputs.iter().zip(&compiled.input_slots) {
            wanted[slot] = tensor.is_variable();
        }
        let mut calls = Vec::with_capacity(compiled.calls.len());
        let training = self.calls(batch_norm);
        // By the running statistics it is plain arithmetic of Candle, which is slow on permuted axes.
        let channels_last = self.channels_last && (batch_norm == BatchNormMode::Batch || !self.normalises);
        for call in training.iter() {
            let mut operands: Vec<Option<Tensor>> = call.inputs.iter().map(|s| self.read(*s, &slots)).collect();
            if channels_last && !call.operator.trains_in_any_order() {
                let lies_last = |t: &&mut Tensor| Order::of(t.layout()) == Some(Order::ChannelsLast);
                for operand in operands.iter_mut().flatten().filter(lies_last) {
                    *operand = as_planes(operand).map_err(|e| call.failed(e))?;
                }
            }
            let mut pass = Pass { batch_norm, channels_last, ..Pass::default() };
            let outputs = call.operator.forward(&Inputs(&operands), &mut pass).map_err(|e| call.failed(e))?;
            if outputs.len() < call.outputs.len() {
                return Err(ExecError::MissingTensor(call.label.clone()));
            }
            let reached = call.inputs.iter().any(|s| self.wants(*s, &wanted));
            for (slot, output) in call.outputs.iter().zip(&outputs) {
                if let Some(slot) = slot {
                    slots[*slot] = Some(output.clone());
                    wanted[*slot] = reached && output.dtype().is_float();
                }
            }
            for (position, value) in pass.updates {
                if let Some(Source::Constant(index)) = call.inputs.get(position) {
                    self.held[*index] = Held::Running(value);
                }
            }
            calls.push(Recorded { operands, outputs, saved: pass.saved });
        }
        let mut roots = Vec::with_capacity(compiled.outputs.len());
        for (source, port) in compiled.output_sources.iter().zip(&compiled.outputs) {
            let value = self.read(*source, &slots).ok_or_else(|| ExecError::MissingTensor(port.name.clone()))?;
            roots.push(Var::from_tensor(&as_planes(&value)?)?);
        }
        let outputs = roots.iter().map(|root| root.as_tensor().clone()).collect();
        self.tape = Some(Tape { calls, roots, wanted, batch_norm });
        Ok(outputs)
    }

    /// Gradients of a scalar `loss` that was computed from the outputs of the last
    /// [`TrainProgram::forward`], whose record this uses up.
    ///
    /// Gradients that meet are added in graph order, so the result does not depend on the threads.
    ///
    /// # Errors
    /// [`ExecError::NothingRecorded`] without a forward run before it, [`ExecError::Node`] if an operator
    /// has no gradient.
    pub fn backward(&mut self, loss: &Tensor) -> Result<Gradients, ExecError> {
        let tape = self.tape.take().ok_or(ExecError::NothingRecorded)?;
        let seeds = loss.backward()?;
        let seeds = tape.roots.iter().map(|root| seeds.get(root).map(Tensor::detach)).collect();
        self.backward_through(tape, seeds)
    }

    /// As [`TrainProgram::backward`], given the gradients of the loss with respect to the outputs instead of
    /// the loss: f32, in the order and shapes of the outputs. Outputs beyond `seeds` have none.
    ///
    /// # Errors
    /// As [`TrainProgram::backward`], and [`ExecError::Candle`] if a gradient has another shape than its output.
    pub fn backward_from(&mut self, seeds: &[Tensor]) -> Result<Gradients, ExecError> {
        let tape = self.tape.take().ok_or(ExecError::NothingRecorded)?;
        for (root, seed) in tape.roots.iter().zip(seeds) {
            if root.shape() != seed.shape() {
                let (found, expected) = (seed.dims(), root.dims());
                let reason = format!("a gradient of shape {found:?} does not fit an output of shape {expected:?}");
                return Err(candle_core::Error::Msg(reason).into());
            }
        }
        self.backward_through(tape, seeds.iter().map(|seed| Some(seed.detach())).collect())
    }

    fn backward_through(&self, tape: Tape, seeds: Vec<Option<Tensor>>) -> Result<Gradients, ExecError> {
        let Tape { mut calls, roots: _, wanted, batch_norm } = tape;
        let compiled = Arc::clone(&self.program.0);
        let mut flowing: Vec<Option<Tensor>> = vec![None; compiled.slots];
        let mut found = Gradients::default();
        for (seed, source) in seeds.into_iter().zip(&compiled.output_sources) {
            if let (Some(seed), Source::Slot(slot)) = (seed, source) {
                add_to(&mut flowing[*slot], seed)?;
            }
        }
        for call in self.calls(batch_norm).iter().rev() {
            let Some(Recorded { operands, outputs, saved }) = calls.pop() else { break };
            let grads: Vec<Option<Tensor>> =
                call.outputs.iter().map(|slot| slot.and_then(|slot| flowing[slot].take())).collect();
            let [output, ..] = &outputs[..] else { continue };
            if grads.iter().all(Option::is_none) {
                continue;
            }
            let asked: Vec<bool> = call.inputs.iter().map(|s| self.wants(*s, &wanted)).collect();
            if !asked.contains(&true) {
                continue;
            }
            let present = match call.inputs.first() {
                Some(Source::Slot(slot)) if asked[0] && call.operator.adds_to_present() => flowing[*slot].take(),
                _ => None,
            };
            let record = Record {
                present: present.as_ref(),
                inputs: Inputs(&operands),
                output,
                outputs: &outputs,
                wanted: &asked,
                saved: &saved,
                batch_norm,
            };
            if !call.operator.is_differentiable() {
                return Err(call.failed(candle_core::Error::Msg("it has no gradient".to_owned())));
            }
            let grads = if call.operator.trains_in_any_order() {
                grads
            } else {
                let planes = |grad: Option<Tensor>| grad.as_ref().map(as_planes).transpose();
                grads.into_iter().map(planes).collect::<candle_core::Result<_>>()?
            };
            let gradients = call.operator.backward_all(&record, &grads).map_err(|e| call.failed(e))?;
            for ((source, gradient), _) in call.inputs.iter().zip(gradients).zip(&asked).filter(|(_, asked)| **asked) {
                let Some(gradient) = gradient else { continue };
                match source {
                    Source::Slot(slot) => add_to(&mut flowing[*slot], gradient)?,
                    Source::Constant(index) => {
                        if let Held::Parameter(parameter) = self.held[*index] {
                            let id = self.parameters[parameter].var.as_tensor().id();
                            let mut sum = found.parameters.remove(&id);
                            add_to(&mut sum, gradient)?;
                            found.parameters.extend(sum.map(|sum| (id, sum)));
                        }
                    }
                    Source::Absent => {}
                }
            }
        }
        found.inputs = compiled
            .input_slots
            .iter()
            .map(|&slot| flowing[slot].take().filter(|_| wanted[slot]).map(|g| as_planes(&g)).transpose())
            .collect::<candle_core::Result<_>>()?;
        Ok(found)
    }

    /// The calls of a differentiable run.
    fn calls(&self, batch_norm: BatchNormMode) -> Arc<Vec<Call>> {
        match batch_norm {
            BatchNormMode::Batch => Arc::clone(&self.fused),
            BatchNormMode::Running => Arc::clone(&self.plain),
        }
    }

    /// Whether the gradient with respect to an operand leads anywhere.
    fn wants(&self, source: Source, slots: &[bool]) -> bool {
        match source {
            Source::Slot(slot) => slots[slot],
            Source::Constant(index) => matches!(self.held[index], Held::Parameter(_)),
            Source::Absent => false,
        }
    }

    /// Names and values of everything that training changes, f32: parameters, then running statistics.
    ///
    /// # Errors
    /// If Candle cannot read a tensor.
    pub fn state(&self) -> Result<Vec<(String, Vec<f32>)>, ExecError> {
        let named = self.held.iter().zip(&self.program.0.constants);
        let value = |(held, constant): (&Held, &Constant)| {
            let Constant::Named(name, _) = constant else { return None };
            let value = match held {
                Held::Parameter(index) => self.parameters[*index].var.as_tensor(),
                Held::Running(value) => value,
                Held::Fixed(_) => return None,
            };
            Some(value.flatten_all().and_then(|flat| flat.to_vec1()).map(|values| (name.clone(), values)))
        };
        Ok(named.filter_map(value).collect::<candle_core::Result<_>>()?)
    }

    /// Takes back what [`TrainProgram::state`] gave out. Names that are unknown are passed over.
    ///
    /// # Errors
    /// [`ExecError::ParameterShape`] if one has another number of values.
    pub fn set_state(&mut self, state: &[(String, Vec<f32>)]) -> Result<(), ExecError> {
        for (held, constant) in self.held.iter_mut().zip(&self.program.0.constants) {
            let Constant::Named(name, _) = constant else { continue };
            let Some((_, values)) = state.iter().find(|(other, _)| other == name) else { continue };
            let new = |old: &Tensor| Tensor::from_slice(values, old.shape(), old.device());
            match held {
                Held::Parameter(index) => {
                    let var = &self.parameters[*index].var;
                    var.set(&new(var.as_tensor())?)?;
                }
                Held::Running(value) => *value = new(value)?,
                Held::Fixed(_) => {}
            }
        }
        Ok(())
    }

    /// `model` with the present parameters and running statistics, each in the dtype that it has there.
    ///
    /// # Errors
    /// [`ExecError::MissingTensor`] or [`ExecError::ParameterShape`] if `model` has another structure.
    pub fn write_back(&self, model: &Model) -> Result<Model, ExecError> {
        self.program.resolve(model, None)?;
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
        let tensors = self.program.resolve(model, None)?;
        for (held, tensor) in self.held.iter_mut().zip(&tensors) {
            match held {
                Held::Parameter(index) => self.parameters[*index].var.set(&tensor.to_candle()?)?,
                Held::Running(value) => *value = tensor.to_candle()?,
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
                Held::Parameter(index) => self.parameters[*index].var.as_detached_tensor(),
            }),
            Source::Absent => None,
        }
    }
}

fn add_to(sum: &mut Option<Tensor>, gradient: Tensor) -> candle_core::Result<()> {
    *sum = Some(match sum.take() {
        None => gradient,
        Some(present) => add_alike(&present, &gradient)?,
    });
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Fixed,
    Parameter,
    Running,
}

/// What training does with each constant.
///
/// A tensor that reaches a trained operand through calls that only move it, such as a transposition, is a
/// parameter too.
fn roles(program: &Program, constants: &[Value]) -> Vec<Role> {
    let compiled = &program.0;
    let mut roles = vec![Role::Fixed; constants.len()];
    let mut moved_on = vec![false; compiled.slots];
    for call in compiled.calls.iter().rev() {
        let passes = call.operator.passes_parameters() && call.outputs.iter().flatten().any(|&slot| moved_on[slot]);
        for (position, input) in call.inputs.iter().enumerate() {
            match *input {
                Source::Constant(index) => {
                    let (Value::Given(tensor), Constant::Named(..)) = (&constants[index], &compiled.constants[index])
                    else {
                        continue;
                    };
                    if !tensor.dtype().is_float() {
                        continue;
                    }
                    if call.operator.trains(position, tensor.shape()) || (passes && position == 0) {
                        roles[index] = Role::Parameter;
                    } else if call.operator.is_running(position) {
                        roles[index] = Role::Running;
                    }
                }
                Source::Slot(slot) => {
                    moved_on[slot] |= call.operator.trains(position, &[2]) || (passes && position == 0);
                }
                Source::Absent => {}
            }
        }
    }
    roles
}
