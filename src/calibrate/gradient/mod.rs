//! Criteria that follow the gradient of the loss on labelled calibration examples.
//!
//! Batch-norms use their running statistics, as in evaluation. Of a batch only its sums over the examples are ever
//! held, apart from what the backward run itself needs.

mod curvature;
mod descent;
mod first_order;
mod movement;

use super::found::of_weights;
use super::progress::Progress;
use super::{CalibrateError, Observe};
use crate::data::Dataset;
use crate::model::Layer;
use crate::prune::{Calibration, Criterion, LayerScores, Scores, Subject};
use descent::{Descent, Tracked};

/// Works out a criterion of [`Needs::Labels`](crate::prune::Needs::Labels).
pub(super) fn score(
    subject: &Subject<'_>,
    criterion: Criterion,
    layers: &[&Layer],
    data: &Dataset,
    calibration: Calibration,
    observe: Observe<'_>,
) -> Result<Scores, CalibrateError> {
    let mut descent = Descent::new(subject.model, criterion, data, calibration)?;
    let mut scores = Scores::default();
    if layers.is_empty() {
        return Ok(scores);
    }
    // What is compared with the whole model is worked out for the whole model, whatever layers are asked for.
    let whole: Vec<&Layer> = subject.layers.iter().filter(|layer| layer.prunability.is_prunable()).collect();
    let of_model = matches!(criterion, Criterion::Snip | Criterion::Grasp | Criterion::Movement);
    let tracked = descent.track(if of_model { &whole } else { layers })?;
    let mut progress = Progress::new(descent.steps(criterion), observe);
    let found = match criterion {
        Criterion::Gradient => first_order::gradient(&mut descent, &tracked, &mut progress)?,
        Criterion::Taylor => first_order::taylor(&mut descent, &tracked, &mut progress)?,
        Criterion::Snip => first_order::snip(&mut descent, &tracked, &mut progress)?,
        Criterion::Obd => curvature::obd(&mut descent, &tracked, &mut progress)?,
        Criterion::Grasp => curvature::grasp(&mut descent, &tracked, &mut progress)?,
        Criterion::Movement => movement::movement(&mut descent, &tracked, &mut progress)?,
        _ => Vec::new(),
    };
    for (tracked, found) in tracked.iter().zip(found) {
        scores.insert(&tracked.layer.name, criterion, found);
    }
    for layer in layers {
        if scores.get(&layer.name, criterion).is_none() {
            scores.insert(&layer.name, criterion, Err(NO_GRADIENT.to_owned()));
        }
    }
    Ok(scores)
}

/// Why a layer has no scores, whose weight the loss does not depend on or not through a differentiable path.
const NO_GRADIENT: &str = "no gradient reaches it";

/// What a criterion says of each tracked layer, in order.
type Found = Vec<Result<LayerScores, String>>;

/// Sums of what stands at each weight of a layer; none where no gradient arrived.
type Sum = Option<Vec<f64>>;

/// By tracked layer, in order.
type Sums = Vec<Sum>;

/// Scores of the weights of each tracked layer; `score` makes them of a sum and the weight.
fn weigh(tracked: &[Tracked<'_>], sums: &Sums, score: impl Fn(f64, f64) -> f64) -> Found {
    let each = |(tracked, sums): (&Tracked<'_>, &Sum)| {
        let sums = sums.as_ref().ok_or(NO_GRADIENT)?;
        let scores = sums.iter().zip(&tracked.weight).map(|(&sum, &w)| score(sum, f64::from(w)) as f32).collect();
        of_weights(tracked.layer, &tracked.weight, scores, None)
    };
    tracked.iter().zip(sums).map(each).collect()
}

/// Scores that may be negative, of weights and as sums of channels, above the lowest of all tracked layers, so that
/// none is and their order over the model stays.
fn above_the_lowest(tracked: &[Tracked<'_>], raw: &Sums) -> Found {
    let sums = |(tracked, raw): (&Tracked<'_>, &Sum)| {
        raw.as_ref().map(|raw| super::found::sums(tracked.layer, raw.iter().copied()))
    };
    let channels: Sums = tracked.iter().zip(raw).map(sums).collect();
    let lowest = |all: &Sums| all.iter().flatten().flatten().copied().fold(f64::INFINITY, f64::min);
    let (weight, channel) = (lowest(raw), lowest(&channels));
    let each = |((tracked, raw), channels): ((&Tracked<'_>, &Sum), Sum)| {
        let (raw, channels) = raw.as_ref().zip(channels).ok_or(NO_GRADIENT)?;
        let scores = raw.iter().map(|score| (score - weight) as f32).collect();
        let channels = channels.into_iter().map(|score| score - channel).collect();
        of_weights(tracked.layer, &tracked.weight, scores, Some(channels))
    };
    tracked.iter().zip(raw).zip(channels).map(each).collect()
}

#[cfg(test)]
mod tests;
