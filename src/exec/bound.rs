use super::batching::PARTS;
use super::error::ExecError;
use super::fuse::Step;
use super::kernels::channels_last::{Order, as_channels_last, as_planes};
use super::ops::{Fusion, Inputs, Kernel, Pass, Stage};
use super::program::{Held, Program, Source};
use super::{BatchNormMode, convert};
use crate::model::{Model, Tensor};
use candle_core::{DType, Tensor as CandleTensor};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// A program with weights, ready to evaluate.
///
/// Immutable; several threads may run it at once.
#[derive(Clone)]
pub struct Bound {
    program: Program,
    constants: Vec<Held>,
    ready: Vec<Arc<Ready>>,
}

/// Values by slot, those that have been computed and are still needed.
pub(super) type Slots = Vec<Option<CandleTensor>>;

/// A step with its constants.
enum Ready {
    Prepared(Arc<dyn Kernel>),
    /// The differentiable form, with the constants at their positions.
    Plain(Vec<Option<CandleTensor>>),
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bound({} steps)", self.ready.len())
    }
}

impl Bound {
    pub(super) fn new(program: &Program, model: &Model) -> Result<Self, ExecError> {
        let constants = program.resolve(model, None)?;
        let ready = program
            .0
            .steps
            .iter()
            .map(|step| prepare(program, step, &constants).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self { program: program.clone(), constants, ready })
    }

    /// The same program with the weights of `model`; steps whose tensors share their bytes with the
    /// present ones are kept as they are.
    ///
    /// # Errors
    /// As [`Program::bind`].
    pub fn rebind(&self, model: &Model) -> Result<Self, ExecError> {
        let constants = self.program.resolve(model, Some(&self.constants))?;
        let unchanged: Vec<bool> = constants.iter().zip(&self.constants).map(|(a, b)| a.is_same(b)).collect();
        let ready = self
            .program
            .0
            .steps
            .iter()
            .zip(&self.ready)
            .map(|(step, ready)| {
                if constants_of(&self.program, step).all(|c| unchanged[c]) {
                    Ok(Arc::clone(ready))
                } else {
                    prepare(&self.program, step, &constants).map(Arc::new)
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { program: self.program.clone(), constants, ready })
    }

    /// The program that was bound.
    pub const fn program(&self) -> &Program {
        &self.program
    }

    pub(super) fn constant(&self, index: usize) -> &Held {
        &self.constants[index]
    }

    /// Steps of a run.
    pub fn steps(&self) -> usize {
        self.ready.len()
    }

    /// The first step that `other`, a [rebind](Self::rebind) of this one, does not share; the number of steps if it
    /// shares all.
    pub fn first_change(&self, other: &Self) -> usize {
        let shared = self.ready.iter().zip(&other.ready).position(|(a, b)| !Arc::ptr_eq(a, b));
        shared.unwrap_or(self.ready.len())
    }

    /// Steps that `other` shares with this one: what a rebind left alone, of how many.
    pub fn shared_steps(&self, other: &Self) -> (usize, usize) {
        let shared = self.ready.iter().zip(&other.ready).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        (shared, self.ready.len())
    }

    /// Evaluates the graph; results have the element types that the graph declares.
    ///
    /// # Errors
    /// [`ExecError::InputCount`], [`ExecError::InputShape`] or [`ExecError::InputType`] if the inputs do
    /// not fit the graph; [`ExecError::Node`] if a node fails on them.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExecError> {
        self.in_graph_types(&self.run_candle(&self.program.convert(inputs)?)?)
    }

    /// Results in the element types that the graph declares.
    pub(super) fn in_graph_types(&self, outputs: &[CandleTensor]) -> Result<Vec<Tensor>, ExecError> {
        outputs.iter().zip(&self.program.0.output_types).map(|(t, dtype)| convert::from_candle(t, *dtype)).collect()
    }

    /// As [`Bound::run`], on Candle tensors: f32 for floats, i64 for integers, u8 for booleans.
    ///
    /// # Errors
    /// As [`Bound::run`].
    pub fn run_candle(&self, inputs: &[CandleTensor]) -> Result<Vec<CandleTensor>, ExecError> {
        // Once for all steps: each would otherwise wait for the pool to take it over.
        if rayon::current_thread_index().is_none() {
            return rayon::scope(|_| self.run_candle(inputs));
        }
        self.program.check(inputs)?;
        let parts = self.parts(inputs);
        if let [_] = &parts[..] {
            return self.run_from(0, self.program.slots_with(inputs)?);
        }
        let run = |part: &Range<usize>| self.run_from(0, self.program.slots_with(&narrowed(inputs, part)?)?);
        let results = parts.par_iter().map(run).collect::<Result<_, _>>()?;
        self.joined(results)
    }

    /// Puts the results of the parts of a batch together again.
    pub(super) fn joined(&self, mut results: Vec<Vec<CandleTensor>>) -> Result<Vec<CandleTensor>, ExecError> {
        if results.len() == 1 {
            return Ok(results.remove(0));
        }
        let joined = |output: usize| CandleTensor::cat(&results.iter().map(|r| &r[output]).collect::<Vec<_>>(), 0);
        Ok((0..self.program.outputs().len()).map(joined).collect::<candle_core::Result<_>>()?)
    }

    /// The parts of the batch that are run on their own.
    pub(super) fn parts(&self, inputs: &[CandleTensor]) -> Vec<Range<usize>> {
        let batch = inputs.first().and_then(|x| x.dims().first()).copied().unwrap_or(1);
        let same = inputs.iter().all(|x| x.dims().first() == Some(&batch));
        match self.program.0.together {
            Some(together) if same && batch > together => {
                let parts = batch.div_ceil(together).next_multiple_of(PARTS).min(batch);
                (0..parts).map(|i| i * batch / parts..(i + 1) * batch / parts).collect()
            }
            _ => std::iter::once(0..batch).collect(),
        }
    }

    /// Runs the steps from the one at `step` on, all examples together.
    pub(super) fn run_from(&self, step: usize, mut slots: Slots) -> Result<Vec<CandleTensor>, ExecError> {
        for index in step..self.ready.len() {
            self.advance(index, &mut slots)?;
        }
        self.program
            .0
            .output_sources
            .iter()
            .zip(&self.program.0.outputs)
            .map(|(source, port)| match source {
                Source::Slot(slot) => match &slots[*slot] {
                    Some(tensor) => Ok(as_planes(tensor)?),
                    None => Err(ExecError::MissingTensor(port.name.clone())),
                },
                Source::Constant(index) => Ok(self.constants[*index].to_candle()?),
                Source::Absent => Err(ExecError::MissingTensor(port.name.clone())),
            })
            .collect()
    }

    /// Runs the step at `index` on the slots.
    pub(super) fn advance(&self, index: usize, slots: &mut [Option<CandleTensor>]) -> Result<(), ExecError> {
        let (step, ready) = (&self.program.0.steps[index], &self.ready[index]);
        if !self.reads_any_order(step, ready) {
            self.put_in_planes(step, slots)?;
        }
        let results = self.run_step(step, ready, slots)?;
        for (slot, result) in step.outputs.iter().zip(results) {
            if let Some(slot) = slot {
                slots[*slot] = Some(result);
            }
        }
        for &slot in &step.frees {
            slots[slot] = None;
        }
        Ok(())
    }

    fn reads_any_order(&self, step: &Step, ready: &Ready) -> bool {
        match ready {
            Ready::Prepared(kernel) => kernel.reads_any_order(),
            Ready::Plain(_) => {
                let operator = &self.program.0.calls[step.call].operator;
                operator.reads_any_order() || operator.is_elementwise()
            }
        }
    }

    /// Reorders what a step reads; whoever reads it later finds it in that order too.
    fn put_in_planes(&self, step: &Step, slots: &mut [Option<CandleTensor>]) -> Result<(), ExecError> {
        let call = &self.program.0.calls[step.call];
        for source in call.inputs.iter().chain(&step.residual) {
            if let Source::Slot(slot) = source
                && let Some(tensor) = &mut slots[*slot]
                && tensor.rank() >= 4
                && Order::of(tensor.layout()) == Some(Order::ChannelsLast)
            {
                *tensor = as_planes(tensor).map_err(|e| call.failed(e))?;
            }
        }
        Ok(())
    }

    fn run_step(
        &self,
        step: &Step,
        ready: &Ready,
        slots: &[Option<CandleTensor>],
    ) -> Result<Vec<CandleTensor>, ExecError> {
        let call = &self.program.0.calls[step.call];
        let read = |source: &Source| match source {
            Source::Slot(slot) => slots[*slot].clone(),
            _ => None,
        };
        let mut inputs: Vec<Option<CandleTensor>> = call.inputs.iter().chain(&step.residual).map(read).collect();
        let outputs = match ready {
            Ready::Prepared(kernel) => kernel.run(&Inputs(&inputs)),
            Ready::Plain(constants) => {
                for (input, constant) in inputs.iter_mut().zip(constants) {
                    if constant.is_some() {
                        input.clone_from(constant);
                    }
                }
                let last = call.operator.is_elementwise() && lies_channels_last(&inputs);
                if last {
                    inputs = inputs
                        .iter()
                        .map(side_by_side(&inputs))
                        .collect::<Result<_, _>>()
                        .map_err(|e| call.failed(e))?;
                }
                let mut pass = Pass { batch_norm: BatchNormMode::Running, ..Pass::default() };
                let results = call.operator.forward(&Inputs(&inputs), &mut pass);
                if last { results.and_then(|r| r.iter().map(Order::view).collect()) } else { results }
            }
        };
        outputs
            .and_then(|outputs| {
                if outputs.len() < step.outputs.len() {
                    candle_core::bail!("it computed {} results, not {}", outputs.len(), step.outputs.len());
                }
                Ok(outputs)
            })
            .map_err(|e| call.failed(e))
    }
}

/// The examples of a part of a batch.
pub(super) fn narrowed(inputs: &[CandleTensor], part: &Range<usize>) -> candle_core::Result<Vec<CandleTensor>> {
    inputs.iter().map(|x| x.narrow(0, part.start, part.len())).collect()
}

/// Whether an operand of the largest rank has its channels side by side, and all are of one kind.
fn lies_channels_last(inputs: &[Option<CandleTensor>]) -> bool {
    let rank = inputs.iter().flatten().map(CandleTensor::rank).max().unwrap_or(0);
    let last = |x: &CandleTensor| x.rank() == rank && Order::of(x.layout()) == Some(Order::ChannelsLast);
    rank >= 4 && inputs.iter().flatten().any(last) && inputs.iter().flatten().all(|x| x.dtype() == DType::F32)
}

/// Makes of an operand one with the axes in the order in which [batch, spatial..., channels] lie in memory.
fn side_by_side(
    inputs: &[Option<CandleTensor>],
) -> impl Fn(&Option<CandleTensor>) -> candle_core::Result<Option<CandleTensor>> + use<> {
    let rank = inputs.iter().flatten().map(CandleTensor::rank).max().unwrap_or(0);
    move |input| {
        let Some(x) = input else { return Ok(None) };
        let mut dims = vec![1; rank - x.rank()];
        dims.extend(x.dims());
        let x = if x.rank() == rank { as_channels_last(x)? } else { as_channels_last(&x.reshape(dims)?)? };
        let axes: Vec<usize> = std::iter::once(0).chain(2..rank).chain([1]).collect();
        Ok(Some(x.permute(axes)?))
    }
}

/// Indices of the constants that a step and its fused calls read.
pub(super) fn constants_of<'a>(program: &'a Program, step: &'a Step) -> impl Iterator<Item = usize> + 'a {
    let calls = std::iter::once(step.call).chain(step.fused.iter().map(|(_, call)| *call));
    calls.flat_map(|call| &program.0.calls[call].inputs).filter_map(|input| match input {
        Source::Constant(index) => Some(*index),
        _ => None,
    })
}

/// Scale and shift of two normalisations one after the other; one number stands for all channels.
fn composed((s1, t1): &(Vec<f32>, Vec<f32>), (s2, t2): &(Vec<f32>, Vec<f32>)) -> (Vec<f32>, Vec<f32>) {
    let channels = s1.len().max(s2.len());
    let at = |values: &[f32], i: usize| if values.len() == 1 { values[0] } else { values[i] };
    let scale = (0..channels).map(|i| at(s1, i) * at(s2, i)).collect();
    let shift = (0..channels).map(|i| at(t1, i) * at(s2, i) + at(t2, i)).collect();
    (scale, shift)
}

fn prepare(program: &Program, step: &Step, constants: &[Held]) -> Result<Ready, ExecError> {
    let held = |call: usize| -> Result<Vec<Option<CandleTensor>>, ExecError> {
        let convert = |input: &Source| match input {
            Source::Constant(index) => constants[*index].to_candle().map(Some),
            _ => Ok(None),
        };
        let call = &program.0.calls[call];
        call.inputs.iter().map(convert).collect::<Result<_, _>>().map_err(|e| call.failed(e))
    };
    let mut fusion = Fusion { residual: step.residual.is_some(), ..Fusion::default() };
    for &(stage, index) in &step.fused {
        let call = &program.0.calls[index];
        let held = held(index)?;
        match stage {
            Stage::Norm => {
                let next = call.operator.affine(&Inputs(&held)).map_err(|e| call.failed(e))?;
                fusion.norm = Some(match fusion.norm.take() {
                    Some(first) => composed(&first, &next),
                    None => next,
                });
            }
            Stage::Activation => {
                fusion.activation = call.operator.activation(&Inputs(&held)).map_err(|e| call.failed(e))?;
            }
            Stage::MaxPool => fusion.max_pool = call.operator.pool_window(),
            Stage::Residual => {}
        }
    }
    let call = &program.0.calls[step.call];
    let held = held(step.call)?;
    let only_constants = call.inputs.iter().skip(1).all(|input| !matches!(input, Source::Slot(_)));
    let kernel =
        if only_constants { call.operator.prepare(&Inputs(&held), &fusion).map_err(|e| call.failed(e))? } else { None };
    Ok(kernel.map_or_else(|| Ready::Plain(held), Ready::Prepared))
}
