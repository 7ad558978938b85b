use super::{Criterion, Cut, Granularity, LayerMask, LayerPlan, Mask, Plan, PruneError, Selection};
use crate::model::{Layer, Model, Tensor};
use crate::stats::{ChannelScores, LayerStatistics, Statistics, split_at_rank};
use rayon::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;

/// Carries out `plan` on the weights of `model`: reads each layer that has a cut, and decides.
///
/// # Errors
/// [`PruneError`] if the plan does not fit the model, or asks for something that cannot be.
pub fn resolve(model: &Model, layers: &[Layer], plan: &Plan) -> Result<Mask, PruneError> {
    resolve_with(model, layers, plan, &Statistics::default())
}

/// As [`resolve`], with statistics of layers that have already been read; others are read now.
///
/// With statistics at hand, thresholds on a [bucket edge](crate::stats::Distribution::snap) and cuts of
/// whole channels resolve in microseconds without a look at the weights.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with(model: &Model, layers: &[Layer], plan: &Plan, statistics: &Statistics) -> Result<Mask, PruneError> {
    let names: HashSet<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    if let Some(layer) = plan.layers.keys().find(|name| !names.contains(name.as_str())) {
        return Err(PruneError::UnknownLayer { layer: layer.clone() });
    }
    let wanted: Vec<(&Layer, LayerPlan)> = layers
        .iter()
        .map(|layer| (layer, plan.layer(&layer.name)))
        .filter(|(_, decision)| decision.cut != Cut::None)
        .collect();
    let masks: Vec<Result<LayerMask, PruneError>> = wanted
        .par_iter()
        .map(|(layer, decision)| {
            let weight = weight_of(model, layer)?;
            let known = statistics_of(layer, weight, statistics)?;
            match decision.granularity {
                Granularity::Element => resolve_elements(layer, weight, decision.cut, &known),
                Granularity::Channel => resolve_channels(layer, decision, &known),
            }
        })
        .collect();
    // Collected first, so that the error reported is that of the first layer, not of the fastest thread.
    let layers = masks.into_iter().map(|mask| mask.map(|mask| (mask.layer.clone(), mask)));
    Ok(Mask { layers: layers.collect::<Result<_, _>>()? })
}

/// The weight of a layer that can be pruned.
pub(super) fn weight_of<'a>(model: &'a Model, layer: &Layer) -> Result<&'a Tensor, PruneError> {
    if !layer.prunability.is_prunable() {
        return Err(PruneError::NotPrunable { layer: layer.name.clone(), reason: layer.prunability.reason() });
    }
    model
        .tensors
        .get(&layer.weight)
        .ok_or_else(|| PruneError::MissingWeight { layer: layer.name.clone(), weight: layer.weight.clone() })
}

/// Statistics of a layer without NaN, from `known` or read now.
pub(super) fn statistics_of(
    layer: &Layer,
    weight: &Tensor,
    known: &Statistics,
) -> Result<Arc<LayerStatistics>, PruneError> {
    let statistics =
        known.get(&layer.name).cloned().unwrap_or_else(|| Arc::new(LayerStatistics::of_layer(layer, weight)));
    match statistics.distribution.nans() {
        0 => Ok(statistics),
        count => Err(PruneError::NotANumber { layer: layer.name.clone(), count }),
    }
}

/// What a cut comes to once it is known how many pieces there are and how far their scores spread.
pub(super) enum Removal {
    /// Scores strictly below.
    Below(f64),
    /// This many of the lowest scores.
    Lowest(usize),
}

/// Checks a cut and reduces it to one of two kinds.
pub(super) fn removal(cut: Cut, pieces: usize, std: impl FnOnce() -> f64, scope: &str) -> Result<Removal, PruneError> {
    let scope = || scope.to_owned();
    match cut {
        Cut::None => Ok(Removal::Lowest(0)),
        Cut::Threshold(value) if value >= 0.0 => Ok(Removal::Below(value)),
        Cut::Sigma(value) if value >= 0.0 => Ok(Removal::Below(value * std())),
        Cut::Threshold(value) | Cut::Sigma(value) => Err(PruneError::Threshold { scope: scope(), value }),
        Cut::Sparsity(value) if (0.0..=1.0).contains(&value) => {
            Ok(Removal::Lowest((value * pieces as f64).round_ties_even() as usize))
        }
        Cut::Sparsity(value) => Err(PruneError::Sparsity { scope: scope(), value }),
        Cut::Keep(keep) if keep <= pieces => Ok(Removal::Lowest(pieces - keep)),
        Cut::Keep(keep) => Err(PruneError::Keep { scope: scope(), keep, pieces }),
    }
}

fn layer_scope(layer: &Layer) -> String {
    format!("layer `{}`", layer.name)
}

fn resolve_elements(
    layer: &Layer,
    weight: &Tensor,
    cut: Cut,
    statistics: &LayerStatistics,
) -> Result<LayerMask, PruneError> {
    let distribution = &statistics.distribution;
    let pieces = distribution.numbers();
    let (removed, threshold, ties) = match removal(cut, pieces, || distribution.std(), &layer_scope(layer))? {
        Removal::Below(threshold) => (distribution.count_below_exact(weight, threshold), threshold, 0),
        Removal::Lowest(removed) => match split_at_rank(&[(weight, distribution)], removed) {
            Some(split) => (removed, split.magnitude, removed - split.below[0]),
            None => (removed, f64::INFINITY, distribution.infinities()),
        },
    };
    let selection = if removed == 0 { Selection::All } else { Selection::Magnitude { threshold, ties } };
    Ok(LayerMask {
        layer: layer.name.clone(),
        weights: weight.len(),
        pieces,
        kept: pieces - removed,
        zeros: distribution.zeros().max(removed),
        threshold,
        selection,
    })
}

fn resolve_channels(
    layer: &Layer,
    decision: &LayerPlan,
    statistics: &LayerStatistics,
) -> Result<LayerMask, PruneError> {
    let channels = &statistics.channels;
    let scores = channel_scores(channels, decision.criterion);
    let kind = removal(decision.cut, scores.len(), || population_std(scores), &layer_scope(layer))?;
    let (kept, threshold) = match kind {
        Removal::Below(threshold) => (scores.iter().map(|&score| score >= threshold).collect(), threshold),
        Removal::Lowest(removed) => {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            let mut kept = vec![true; scores.len()];
            order[..removed].iter().for_each(|&channel| kept[channel] = false);
            (kept, order.get(removed).map_or(f64::INFINITY, |&lowest| scores[lowest]))
        }
    };
    let kept: Vec<bool> = kept;
    let count = kept.iter().filter(|&&kept| kept).count();
    let zeros = kept.iter().zip(&channels.zeros).map(|(&kept, &zeros)| if kept { zeros } else { channels.channel_len });
    Ok(LayerMask {
        layer: layer.name.clone(),
        weights: channels.channel_len * channels.len(),
        pieces: kept.len(),
        kept: count,
        zeros: zeros.sum(),
        threshold,
        selection: if count == kept.len() { Selection::All } else { Selection::Channels { kept } },
    })
}

/// The scores that a criterion gives to channels.
pub(super) fn channel_scores(channels: &ChannelScores, criterion: Criterion) -> &[f64] {
    match criterion {
        Criterion::L1 => &channels.l1,
        Criterion::L2 => &channels.l2,
        Criterion::Linf => &channels.linf,
    }
}

/// Population standard deviation; 0 without scores.
pub(super) fn population_std(scores: &[f64]) -> f64 {
    let count = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / count;
    (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt()
}
