//! Criteria that look at more than magnitudes: at the graph, and at what the model does on calibration examples.
//!
//! [`score`] works out one criterion for some layers, [`score_plan`] all that a plan needs. Examples are streamed in
//! batches, so that memory is bounded by the weights and one batch, whatever the number of examples; the result has
//! the same bytes on any number of threads. Weights that are zero already have the score zero, whatever the criterion.

mod activations;
mod batch_norm;
mod cholesky;
mod error;
mod found;
mod geometric_median;
mod gradient;
mod hessian;
mod progress;
mod random;
mod reading;
mod sending;
#[cfg(test)]
mod tests_support;
mod unfold;
mod wanda;
mod watch;

pub use error::CalibrateError;
pub(crate) use reading::Reading;
pub(crate) use unfold::Unfolded;
pub(crate) use watch::Watch;

use crate::data::Dataset;
use crate::model::{Layer, Model, ValueId};
use crate::prune::{Calibration, Criterion, Plan, Scores, Subject};
use std::ops::ControlFlow;

/// Hears how much of how much is done, and breaks to cancel.
pub type Observe<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Works out what `criterion` says of `layers`, which are among those of the subject, on `data` where it needs examples.
///
/// Norms need nothing worked out and give no scores. A layer that the criterion does not apply to gets the reason.
///
/// # Errors
/// [`CalibrateError::NeedsExamples`] or [`CalibrateError::NeedsLabels`] without the data that the criterion needs,
/// [`CalibrateError::Cancelled`] if `observe` broke, others if model and data do not fit together or the graph cannot
/// be run.
pub fn score(
    subject: &Subject<'_>,
    criterion: Criterion,
    layers: &[&Layer],
    data: Option<&Dataset>,
    calibration: Calibration,
    observe: Observe<'_>,
) -> Result<Scores, CalibrateError> {
    let mut scores = Scores::default();
    let weight_of = |layer: &Layer| subject.model.tensors.get(&layer.weight).filter(|w| w.shape() == layer.shape);
    let mut asked = Vec::with_capacity(layers.len());
    for &layer in layers {
        match weight_of(layer) {
            Some(_) if layer.prunability.is_prunable() => asked.push(layer),
            Some(_) => scores.insert(&layer.name, criterion, Err(layer.prunability.reason())),
            None => scores.insert(&layer.name, criterion, Err("its weight is missing".to_owned())),
        }
    }
    let layers = &asked[..];
    scores.extend(match criterion {
        Criterion::L1 | Criterion::L2 | Criterion::Linf => return Ok(Scores::default()),
        Criterion::BnScale => batch_norm::score(subject, layers, observe)?,
        Criterion::GeometricMedian => geometric_median::score(subject, layers, observe)?,
        Criterion::Random => random::score(subject, layers, calibration, observe)?,
        Criterion::Gradient
        | Criterion::Taylor
        | Criterion::Snip
        | Criterion::Grasp
        | Criterion::Movement
        | Criterion::Obd => {
            let data = examples(criterion, data)?;
            gradient::score(subject, criterion, layers, data, calibration, observe)?
        }
        Criterion::Apoz | Criterion::MeanActivation | Criterion::Wanda => {
            activations::score(subject, criterion, layers, examples(criterion, data)?, calibration, observe)?
        }
        Criterion::SparseGpt => hessian::score(subject, layers, examples(criterion, data)?, calibration, observe)?,
    });
    Ok(scores)
}

/// The data, where there is some.
fn examples(criterion: Criterion, data: Option<&Dataset>) -> Result<&Dataset, CalibrateError> {
    data.filter(|data| !data.is_empty()).ok_or(CalibrateError::NeedsExamples(criterion))
}

/// Works out all scores that a plan needs and the subject lacks.
///
/// # Errors
/// As [`score`].
pub fn score_plan(
    subject: &Subject<'_>,
    plan: &Plan,
    data: Option<&Dataset>,
    observe: Observe<'_>,
) -> Result<Scores, CalibrateError> {
    /// Parts into which the progress of one criterion is divided.
    const PARTS: u64 = 1000;
    let missing = subject.unscored(plan);
    let total = PARTS * missing.len() as u64;
    let mut scores = Scores::default();
    for (index, (&criterion, layers)) in missing.iter().enumerate() {
        let before = PARTS * index as u64;
        let mut part = |done: u64, of: u64| observe(before + done.min(of) * PARTS / of.max(1), total);
        scores.extend(score(subject, criterion, layers, data, plan.calibration, &mut part)?);
    }
    Ok(scores)
}

/// Hears the numbers of some values, how many examples are done and how many are run, and breaks to cancel.
pub type Each<'a> = &'a mut dyn FnMut(&[&[f32]], usize, usize) -> ControlFlow<()>;

/// Runs calibration examples and hands the numbers of some values of the graph over, batch by batch.
///
/// `each` gets them in the order of `values`. Memory is bounded by one batch, which is smaller where values are large. Returns the number of examples.
///
/// # Errors
/// [`CalibrateError::Cancelled`] if `each` broke, others if the graph cannot be run on the data.
pub fn watch(
    model: &Model,
    data: &Dataset,
    calibration: Calibration,
    values: &[ValueId],
    each: Each<'_>,
) -> Result<usize, CalibrateError> {
    let watch = Watch::new(model, data, calibration);
    let total = watch.examples();
    watch.run(values, &mut |seen, done| {
        let numbers: Vec<&[f32]> = seen.iter().map(|seen| seen.values).collect();
        each(&numbers, done, total)
    })?;
    Ok(total)
}
