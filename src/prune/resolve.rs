use super::pattern::resolve_pattern;
use super::pieces::resolve_pieces;
use super::score::cut_scores;
use super::sparse_gpt::{Goal, sweep};
use super::{Cut, Granularity, LayerMask, LayerPlan, Mask, Plan, PruneError, Ranking, Selection, Subject};
use crate::model::{Layer, Model, Tensor};
use crate::stats::{LayerStatistics, Statistics, split_at_rank};
use rayon::prelude::*;
use std::collections::HashSet;
use std::sync::Arc;

/// Carries out `plan` on the weights of `model`: reads each layer that has a cut, and decides.
///
/// # Errors
/// [`PruneError`] if the plan does not fit the model, or asks for something that cannot be.
pub fn resolve(model: &Model, layers: &[Layer], plan: &Plan) -> Result<Mask, PruneError> {
    resolve_with(&Subject::new(model, layers), plan)
}

/// As [`resolve`], with statistics of layers that have already been read, and with scores; statistics of other
/// layers are read now.
///
/// With statistics at hand, thresholds on a [bucket edge](crate::stats::Distribution::snap) and cuts of
/// whole channels resolve in microseconds without a look at the weights.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with(subject: &Subject<'_>, plan: &Plan) -> Result<Mask, PruneError> {
    resolve_layers(subject, plan, true)
}

/// As [`resolve_with`], without updating weights for criteria that do: as many go, but which ones is said by their
/// scores alone. For previews, since updates take seconds where layers are large.
///
/// # Errors
/// As [`resolve`].
pub fn sketch(subject: &Subject<'_>, plan: &Plan) -> Result<Mask, PruneError> {
    resolve_layers(subject, plan, false)
}

fn resolve_layers(subject: &Subject<'_>, plan: &Plan, update: bool) -> Result<Mask, PruneError> {
    let layers = subject.layers;
    let names: HashSet<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    if let Some(layer) = plan.layers.keys().find(|name| !names.contains(name.as_str())) {
        return Err(PruneError::UnknownLayer { layer: layer.clone() });
    }
    let wanted: Vec<(&Layer, LayerPlan)> = layers
        .iter()
        .map(|layer| (layer, plan.layer(&layer.name)))
        .filter(|(_, decision)| !decision.is_dense())
        .collect();
    let masks: Vec<Result<LayerMask, PruneError>> = wanted
        .par_iter()
        .map(|(layer, decision)| {
            let weight = weight_of(subject.model, layer)?;
            let ranking = Ranking::of(subject, layer, decision.criterion)?;
            let mask = match decision.granularity {
                Granularity::Element => {
                    let known = statistics_of(layer, weight, subject.statistics)?;
                    resolve_elements(layer, weight, decision.cut, (&ranking, known.distribution.zeros()))
                }
                Granularity::Channel | Granularity::Row => {
                    let known = statistics_of(layer, weight, subject.statistics)?;
                    resolve_channels(layer, decision, &known, &ranking)
                }
                Granularity::Pattern { kept, of } => {
                    let mut mask = resolve_pattern(layer, ranking.weights()?.0, (kept, of));
                    if ranking.scored().is_some() {
                        mask.zeros = mask.count_zeros(layer, weight);
                    }
                    Ok(mask)
                }
                other => resolve_pieces(layer, weight, decision, other, &ranking),
            }?;
            if update && decision.criterion.updates_weights() {
                updated(mask, layer, weight, decision.granularity, &ranking)
            } else {
                Ok(mask)
            }
        })
        .collect();
    // Collected first, so that the error reported is that of the first layer, not of the fastest thread.
    let layers = masks.into_iter().map(|mask| mask.map(|mask| (mask.layer.clone(), mask)));
    Ok(Mask { layers: layers.collect::<Result<_, _>>()?, ..Mask::default() })
}

/// The mask of as many weights, chosen while those that stay are updated.
fn updated(
    mask: LayerMask,
    layer: &Layer,
    weight: &Tensor,
    granularity: Granularity,
    ranking: &Ranking,
) -> Result<LayerMask, PruneError> {
    let goal = match granularity {
        _ if mask.removed() == 0 => return Ok(mask),
        Granularity::Pattern { kept, of } => Goal::Pattern { kept: kept.into(), of: of.into() },
        _ => Goal::Count(mask.removed()),
    };
    let inverse = ranking.scored().and_then(|scored| scored.inverse_hessian.as_deref());
    let inverse = inverse.ok_or_else(|| ranking.cannot("its inverse Hessian was not worked out"))?;
    let selection = sweep(layer, weight, inverse, goal);
    let selection = selection.ok_or_else(|| {
        let dtype = weight.dtype();
        ranking.cannot(&format!("the weights that make up for others do not fit {dtype} or its inverse Hessian"))
    })?;
    let zeros = match &selection {
        Selection::Rewritten { weight, .. } => weight.to_f32().iter().filter(|&&value| value == 0.0).count(),
        _ => mask.zeros,
    };
    Ok(LayerMask { zeros, selection, ..mask })
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

pub(super) fn layer_scope(layer: &Layer) -> String {
    format!("layer `{}`", layer.name)
}

fn resolve_elements(
    layer: &Layer,
    weight: &Tensor,
    cut: Cut,
    (ranking, zeros): (&Ranking, usize),
) -> Result<LayerMask, PruneError> {
    let (source, distribution) = ranking.weights()?;
    let pieces = distribution.numbers();
    let (removed, threshold, ties) = match removal(cut, pieces, || distribution.std(), &layer_scope(layer))? {
        Removal::Below(threshold) => (distribution.count_below_exact(source, threshold), threshold, 0),
        Removal::Lowest(removed) => match split_at_rank(&[(source, distribution)], removed) {
            Some(split) => (removed, split.magnitude, removed - split.below[0]),
            None => (removed, f64::INFINITY, distribution.infinities()),
        },
    };
    let selection = match ranking.scored() {
        _ if removed == 0 => Selection::All,
        None => Selection::Magnitude { threshold, ties },
        Some(_) => Selection::Scores { scores: source.clone(), threshold, ties },
    };
    let mut mask = LayerMask {
        layer: layer.name.clone(),
        weights: weight.len(),
        pieces,
        kept: pieces - removed,
        zeros: zeros.max(removed),
        threshold,
        selection,
    };
    if ranking.scored().is_some() && zeros > 0 {
        mask.zeros = mask.count_zeros(layer, weight);
    }
    Ok(mask)
}

fn resolve_channels(
    layer: &Layer,
    decision: &LayerPlan,
    statistics: &LayerStatistics,
    ranking: &Ranking,
) -> Result<LayerMask, PruneError> {
    let channels = &statistics.channels;
    let (kept, threshold) = cut_scores(ranking.channels()?, decision.cut, &layer_scope(layer))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers_of;
    use crate::prune::{Criterion, apply};
    use proptest::prelude::*;

    fn model_of(shape: &[usize], values: &[f32]) -> (Model, Vec<Layer>) {
        let mut model = Model::default();
        model.tensors.insert("fc.weight".into(), Tensor::from_f32(shape.to_vec(), values.to_vec()).unwrap());
        let layers = layers_of(&model);
        (model, layers)
    }

    fn plan_of(granularity: Granularity, cut: Cut) -> Plan {
        let mut plan = Plan::dense();
        plan.set("fc", LayerPlan { granularity, criterion: Criterion::L1, cut, locked: false });
        plan
    }

    fn resolve_one(values: &[f32], cut: Cut) -> Result<LayerMask, PruneError> {
        let (model, layers) = model_of(&[1, values.len()], values);
        resolve(&model, &layers, &plan_of(Granularity::Element, cut)).map(|mask| mask.layers[0].clone())
    }

    fn kept_bits(shape: &[usize], values: &[f32], granularity: Granularity, cut: Cut) -> Vec<bool> {
        let (model, layers) = model_of(shape, values);
        let mask = resolve(&model, &layers, &plan_of(granularity, cut)).unwrap();
        mask.layers[0].bits(&layers[0], &model.tensors[0]).iter().collect()
    }

    #[test]
    fn of_equal_scores_the_lowest_index_goes_first() {
        let kept = kept_bits(&[1, 6], &[0.5, -0.5, 0.5, 2.0, 0.5, 0.0], Granularity::Element, Cut::Keep(3));
        assert_eq!(kept, [false, false, true, true, true, false]);
        let kept = kept_bits(&[4, 1], &[1.0, -1.0, 1.0, 1.0], Granularity::Channel, Cut::Keep(2));
        assert_eq!(kept, [false, false, true, true]);
    }

    #[test]
    fn a_threshold_keeps_the_scores_that_equal_it() {
        let mask = resolve_one(&[0.25, -0.5, 0.75, -0.0], Cut::Threshold(0.5)).unwrap();
        assert_eq!((mask.kept, mask.zeros, mask.threshold), (2, 2, 0.5));
        assert_eq!(resolve_one(&[0.0, 1.0], Cut::Threshold(0.0)).unwrap().selection, Selection::All);
    }

    #[test]
    fn fractions_of_pieces_round_half_to_even() {
        let values: Vec<f32> = (1u8..=10).map(f32::from).collect();
        for (sparsity, kept) in [(0.25, 8), (0.35, 6), (0.05, 10), (0.15, 8), (1.0, 0), (0.0, 10)] {
            assert_eq!(resolve_one(&values, Cut::Sparsity(sparsity)).unwrap().kept, kept, "{sparsity}");
        }
    }

    #[test]
    fn the_threshold_of_a_count_is_the_lowest_kept_score() {
        assert_eq!(resolve_one(&[0.1, 0.2, 0.3], Cut::Keep(2)).unwrap().threshold, f64::from(0.2f32));
        assert_eq!(resolve_one(&[0.1, 0.2, 0.3], Cut::Keep(0)).unwrap().threshold, f64::INFINITY);
    }

    #[test]
    fn sigma_counts_deviations_of_weights_or_of_channel_scores() {
        let values = [1.0, -1.0, 3.0, -3.0];
        let mask = resolve_one(&values, Cut::Sigma(1.0)).unwrap();
        assert!((mask.threshold - 5f64.sqrt()).abs() < 1e-12);
        assert_eq!(mask.kept, 2);
        let (model, layers) = model_of(&[2, 2], &values);
        let mask = resolve(&model, &layers, &plan_of(Granularity::Channel, Cut::Sigma(1.5))).unwrap();
        assert_eq!((mask.layers[0].threshold, mask.layers[0].kept), (3.0, 1));
    }

    #[test]
    fn existing_zeros_stay_counted_when_fewer_are_removed() {
        let mask = resolve_one(&[0.0, 0.0, 0.0, 1.0], Cut::Keep(3)).unwrap();
        assert_eq!((mask.kept, mask.zeros), (3, 3));
    }

    #[test]
    fn infinite_weights_go_last() {
        let values = [f32::INFINITY, 1.0, f32::NEG_INFINITY];
        assert_eq!(kept_bits(&[1, 3], &values, Granularity::Element, Cut::Keep(1)), [false, false, true]);
        assert_eq!(kept_bits(&[1, 3], &values, Granularity::Element, Cut::Keep(0)), [false; 3]);
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_layer_named() {
        let values = [1.0, f32::NAN];
        assert_eq!(resolve_one(&values, Cut::Keep(1)), Err(PruneError::NotANumber { layer: "fc".into(), count: 1 }));
        for cut in
            [Cut::Sparsity(1.5), Cut::Sparsity(f64::NAN), Cut::Threshold(-0.1), Cut::Sigma(f64::NAN), Cut::Keep(3)]
        {
            let error = resolve_one(&[1.0, 2.0], cut).unwrap_err();
            assert!(error.to_string().contains("layer `fc`"), "{error}");
        }
        let (model, mut layers) = model_of(&[1, 2], &[1.0, 2.0]);
        let mut plan = plan_of(Granularity::Element, Cut::Keep(1));
        layers[0].prunability = crate::model::Prunability::Empty;
        assert!(matches!(resolve(&model, &layers, &plan), Err(PruneError::NotPrunable { .. })));
        plan.set("fc9", LayerPlan { cut: Cut::Keep(1), ..LayerPlan::default() });
        assert_eq!(resolve(&model, &layers, &plan), Err(PruneError::UnknownLayer { layer: "fc9".into() }));
    }

    fn tied_values() -> impl Strategy<Value = Vec<f32>> {
        let value = prop_oneof![
            2 => (-6i32..6).prop_map(|i| i as f32 * 0.5),
            2 => -1.0f32..1.0,
            1 => Just(-0.0f32),
        ];
        prop::collection::vec(value, 2..200)
    }

    proptest! {
        #[test]
        fn counts_are_exact_and_masks_are_a_stable_sort(values in tied_values(), share in 0.0f64..=1.0) {
            let keep = (share * values.len() as f64) as usize;
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs()));
            let mut expected = vec![true; values.len()];
            order[..values.len() - keep].iter().for_each(|&i| expected[i] = false);
            let shape = [1, values.len()];
            prop_assert_eq!(kept_bits(&shape, &values, Granularity::Element, Cut::Keep(keep)), expected);

            let (model, layers) = model_of(&shape, &values);
            let mask = resolve(&model, &layers, &plan_of(Granularity::Element, Cut::Keep(keep))).unwrap();
            let masked = apply(&model, &layers, &mask);
            let zeros = masked.tensors[0].to_f32().iter().filter(|&&v| v == 0.0).count();
            prop_assert_eq!(mask.layers[0].zeros, zeros);
        }

        #[test]
        fn a_higher_cut_never_gives_a_weight_back(values in tied_values(), a in 0.0f64..=1.0, b in 0.0f64..=1.0) {
            let shape = [1, values.len()];
            for granularity in [Granularity::Element, Granularity::Channel] {
                let (few, many) = (Cut::Sparsity(a.min(b)), Cut::Sparsity(a.max(b)));
                let (few, many) = (kept_bits(&shape, &values, granularity, few), kept_bits(&shape, &values, granularity, many));
                prop_assert!(few.iter().zip(&many).all(|(few, many)| *few || !many));
            }
        }

        #[test]
        fn pruning_again_changes_nothing(values in tied_values(), sparsity in 0.0f64..=1.0, channels in any::<bool>()) {
            let granularity = if channels { Granularity::Channel } else { Granularity::Element };
            let (model, layers) = model_of(&[values.len() / 2, 2], &values[..values.len() / 2 * 2]);
            let plan = plan_of(granularity, Cut::Sparsity(sparsity));
            let once = apply(&model, &layers, &resolve(&model, &layers, &plan).unwrap());
            let twice = apply(&once, &layers, &resolve(&once, &layers, &plan).unwrap());
            prop_assert_eq!(&once.tensors[0].to_f32(), &twice.tensors[0].to_f32());
        }

        #[test]
        fn statistics_at_hand_give_the_same_mask(values in tied_values(), threshold in 0.0f64..1.5) {
            let (model, layers) = model_of(&[1, values.len()], &values);
            let statistics = Statistics::of_model(&model, &layers);
            let plan = plan_of(Granularity::Element, Cut::Threshold(threshold));
            let subject = Subject { statistics: &statistics, ..Subject::new(&model, &layers) };
            prop_assert_eq!(resolve(&model, &layers, &plan), resolve_with(&subject, &plan));
        }
    }
}
