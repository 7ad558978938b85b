use super::super::CalibrateError;
use super::super::progress::Progress;
use super::{Sum, Sums, curvature, movement};
use crate::data::{Dataset, Feed};
use crate::eval::{EvalOptions, OutputKind};
use crate::exec::{BatchNormMode, ExecError, Gradients, Parameter, TrainProgram};
use crate::model::{Layer, Model};
use crate::prune::{Calibration, Criterion};
use crate::train::cross_entropy;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// Most examples of a batch; fewer of a model that takes long.
const LARGEST_BATCH: usize = 32;
/// Weights of one task of a sum.
const CHUNK: usize = 1 << 14;

/// A layer whose weight the model can be differentiated by.
pub(super) struct Tracked<'a> {
    pub layer: &'a Layer,
    pub parameter: Parameter,
    /// As the model has it, in stored order.
    pub weight: Vec<f32>,
}

impl Tracked<'_> {
    /// The gradient by each weight, if one arrived.
    pub fn gradient(&self, gradients: &Gradients) -> Result<Option<Vec<f32>>, CalibrateError> {
        let gradient = gradients.get(&self.parameter);
        Ok(gradient.map(|gradient| gradient.flatten_all()?.to_vec1::<f32>()).transpose()?)
    }
}

/// A model with the examples that its loss is the mean cross-entropy of.
pub(super) struct Descent<'a> {
    program: TrainProgram,
    feed: Feed<'a>,
    labels: &'a [u32],
    output: OutputKind,
    criterion: Criterion,
    /// The examples of each batch: nearly as many in all, the classes in nearly equal shares.
    batches: Vec<Vec<usize>>,
}

impl<'a> Descent<'a> {
    /// Takes as many examples as `calibration` says, the classes in the shares that they have in `data`.
    ///
    /// # Errors
    /// [`CalibrateError::NeedsLabels`], [`CalibrateError::Signature`] for several outputs, those of a graph that
    /// cannot be run or not be fed with `data`.
    pub fn new(
        model: &Model,
        criterion: Criterion,
        data: &'a Dataset,
        calibration: Calibration,
    ) -> Result<Self, CalibrateError> {
        let labels = data.labels().ok_or(CalibrateError::NeedsLabels(criterion))?;
        let program = TrainProgram::new(model)?;
        if let outputs @ (0 | 2..) = program.program().outputs().len() {
            return Err(CalibrateError::Signature { criterion, found: format!("{outputs} outputs") });
        }
        let feed = Feed::new(data, program.program().inputs())?;
        let mut order = data.stratified_order(calibration.seed);
        order.truncate(calibration.examples.max(1));
        let options = EvalOptions::for_data(model, data);
        let most = feed.rows(options.batch.min(LARGEST_BATCH));
        let size = order.len().div_ceil(order.len().div_ceil(most));
        let batches = order.chunks(size).map(<[usize]>::to_vec).collect();
        Ok(Self { program, feed, labels, output: options.output, criterion, batches })
    }

    /// Number of batches in one pass over the examples.
    pub fn batch_count(&self) -> usize {
        self.batches.len()
    }

    /// Number of examples in one pass.
    pub fn example_count(&self) -> usize {
        self.batches.iter().map(Vec::len).sum()
    }

    /// Examples of a batch.
    pub fn batch(&self, index: usize) -> Vec<usize> {
        self.batches[index].clone()
    }

    /// Backward runs that a criterion takes.
    pub fn steps(&self, criterion: Criterion) -> u64 {
        let pass = self.batch_count() as u64;
        match criterion {
            Criterion::Obd => self.example_count() as u64,
            Criterion::Grasp => pass * curvature::GRASP_PASSES,
            Criterion::Movement => pass * movement::PASSES,
            _ => pass,
        }
    }

    /// Everything that trains.
    pub fn parameters(&self) -> &[Parameter] {
        self.program.parameters()
    }

    /// Those of `layers` whose weights are parameters.
    pub fn track<'l>(&self, layers: &[&'l Layer]) -> Result<Vec<Tracked<'l>>, CalibrateError> {
        let mut tracked = Vec::new();
        for &layer in layers {
            if let Some(parameter) = self.program.parameter(&layer.weight).cloned() {
                let weight = parameter.var.flatten_all()?.to_vec1::<f32>()?;
                tracked.push(Tracked { layer, parameter, weight });
            }
        }
        Ok(tracked)
    }

    /// Gradients of the mean loss of the examples at `indices`, at most a batch.
    pub fn gradients(&mut self, indices: &[usize]) -> Result<Gradients, CalibrateError> {
        let batch = self.feed.batch(indices)?;
        let inputs = self.program.program().convert(&batch.inputs)?;
        let outputs = self.program.forward(&inputs, BatchNormMode::Running)?;
        let scores = outputs.first().ok_or(ExecError::NothingRecorded)?;
        let seed = self.loss_gradient(scores, batch.rows, indices)?;
        Ok(self.program.backward_from(&[seed])?)
    }

    /// The derivative of the mean loss by each score; nothing for rows that only fill up a fixed batch.
    fn loss_gradient(&self, scores: &Tensor, rows: usize, indices: &[usize]) -> Result<Tensor, CalibrateError> {
        let criterion = self.criterion;
        let classes = match scores.dims() {
            &[n, classes, ref rest @ ..] if n == rows && classes > 0 && rest.iter().all(|&extent| extent == 1) => {
                classes
            }
            shape => {
                return Err(CalibrateError::Signature { criterion, found: format!("an output of shape {shape:?}") });
            }
        };
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            let label = self.labels[index];
            if label as usize >= classes {
                return Err(CalibrateError::LabelOutOfRange { index, label, classes });
            }
            labels.push(label);
        }
        let values = scores.flatten_all()?.to_vec1::<f32>()?;
        let mut gradient = Vec::with_capacity(values.len());
        let loss = seeds(self.output, &values[..indices.len() * classes], &labels, classes, &mut gradient);
        if !loss.is_finite() {
            return Err(CalibrateError::Loss { criterion, loss });
        }
        gradient.resize(values.len(), 0.0);
        Ok(Tensor::from_vec(gradient, scores.shape(), &Device::Cpu)?)
    }

    /// Gradients of the mean loss of all examples.
    pub fn mean_gradients(
        &mut self,
        tracked: &[Tracked<'_>],
        progress: &mut Progress<'_>,
    ) -> Result<Sums, CalibrateError> {
        let mut sums: Sums = vec![None; tracked.len()];
        let all = self.example_count() as f64;
        for index in 0..self.batch_count() {
            let examples = self.batch(index);
            let share = examples.len() as f64 / all;
            let gradients = self.gradients(&examples)?;
            add(&mut sums, tracked, &gradients, |gradient, _| share * gradient)?;
            progress.advance(1)?;
        }
        Ok(sums)
    }
}

/// Adds to the sum at each weight what `term` makes of its gradient and of the weight as the model has it.
pub(super) fn add(
    sums: &mut Sums,
    tracked: &[Tracked<'_>],
    gradients: &Gradients,
    term: impl Fn(f64, f64) -> f64 + Sync,
) -> Result<(), CalibrateError> {
    for (sums, tracked) in sums.iter_mut().zip(tracked) {
        if let Some(gradient) = tracked.gradient(gradients)? {
            add_terms(sums, &gradient, &tracked.weight, &term);
        }
    }
    Ok(())
}

/// As [`add`], for one layer.
pub(super) fn add_terms(sums: &mut Sum, gradient: &[f32], weight: &[f32], term: impl Fn(f64, f64) -> f64 + Sync) {
    let sums = sums.get_or_insert_with(|| vec![0.0; gradient.len()]);
    let chunks = sums.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
    chunks.zip(weight.par_chunks(CHUNK)).for_each(|((sums, gradient), weight)| {
        for ((sum, &g), &w) in sums.iter_mut().zip(gradient).zip(weight) {
            *sum += term(f64::from(g), f64::from(w));
        }
    });
}

/// The mean cross-entropy of some rows, and its derivative by each of their scores.
fn seeds(output: OutputKind, scores: &[f32], labels: &[u32], classes: usize, gradient: &mut Vec<f32>) -> f64 {
    let count = labels.len();
    if output == OutputKind::Logits {
        return cross_entropy(scores, labels, classes, 0.0, gradient).loss / count as f64;
    }
    gradient.resize(scores.len(), 0.0);
    let mut loss = 0.0;
    for (row, &label) in labels.iter().enumerate() {
        let at = row * classes + label as usize;
        let (cost, slope) = match output {
            OutputKind::Probabilities => {
                let probability = scores[at].max(f32::MIN_POSITIVE);
                (-f64::from(probability).ln(), -1.0 / probability)
            }
            _ => (-f64::from(scores[at]), -1.0),
        };
        loss += cost;
        gradient[at] = slope / count as f32;
    }
    loss / count as f64
}
