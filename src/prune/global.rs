use super::resolve::{Removal, removal};
use super::score::deviation_of;
use super::{Criterion, Cut, Granularity, PruneError, Ranking, Subject};
use crate::model::Layer;
use crate::stats::{Distribution, split_at_rank};
use rayon::prelude::*;

/// How errors call all the selected layers.
const SCOPE: &str = "the selected layers";

/// Ranks the pieces of all `selected` layers together and says what is left to do in each.
///
/// A sparsity or a number to keep becomes one exact [`Cut::Keep`] per layer; together they keep what was
/// asked for. Of equal scores the earlier layer's go first, and within a layer those of lower index. A
/// threshold is the same in every layer, and a sigma becomes a threshold of that many standard deviations
/// of all weights, or all scores of pieces, together. Scores are compared as they are, so layers with more
/// weights per piece tend to keep more. A pattern needs no cut, and gets none.
///
/// # Errors
/// [`PruneError`] if a layer cannot be pruned or ranked, or the cut cannot be.
pub fn global(
    subject: &Subject<'_>,
    selected: &[&Layer],
    granularity: Granularity,
    criterion: Criterion,
    cut: Cut,
) -> Result<Vec<(String, Cut)>, PruneError> {
    let rank = |layer: &&Layer| Ranking::of(subject, layer, criterion);
    let rankings: Vec<Ranking> = selected.iter().map(rank).collect::<Result<_, _>>()?;
    let pieces: Vec<usize>;
    let removed: Result<Vec<usize>, f64> = match granularity {
        Granularity::Element => {
            let parts: Vec<_> = rankings.iter().map(Ranking::weights).collect::<Result<_, _>>()?;
            pieces = parts.iter().map(|(_, distribution)| distribution.numbers()).collect();
            let std = || Distribution::merge(parts.iter().map(|(_, distribution)| *distribution)).std();
            match removal(cut, pieces.iter().sum(), std, SCOPE)? {
                Removal::Below(threshold) => Err(threshold),
                Removal::Lowest(count) => Ok(lowest_elements(&parts, count).unwrap_or_else(|| pieces.clone())),
            }
        }
        // The pattern alone says what goes.
        Granularity::Pattern { .. } => {
            return Ok(selected.iter().map(|layer| (layer.name.clone(), Cut::None)).collect());
        }
        _ => {
            let of_pieces: Vec<Vec<f64>>;
            let scores: Vec<&[f64]> = if granularity.by_output() {
                rankings.iter().map(Ranking::channels).collect::<Result<_, _>>()?
            } else {
                let parts = selected.par_iter().zip(&rankings);
                of_pieces = parts.map(|(layer, r)| r.pieces(layer, granularity)).collect::<Result<_, _>>()?;
                of_pieces.iter().map(Vec::as_slice).collect()
            };
            pieces = scores.iter().map(|scores| scores.len()).collect();
            match removal(cut, pieces.iter().sum(), || deviation_of(&scores.concat()), SCOPE)? {
                Removal::Below(threshold) => Err(threshold),
                Removal::Lowest(count) => Ok(lowest_pieces(&scores, count)),
            }
        }
    };
    Ok(selected
        .iter()
        .enumerate()
        .map(|(i, layer)| {
            let cut = match &removed {
                Ok(removed) => Cut::Keep(pieces[i] - removed[i]),
                Err(threshold) => Cut::Threshold(*threshold),
            };
            (layer.name.clone(), cut)
        })
        .collect())
}

/// How many of the `count` lowest magnitudes lie in each part; `None` if that is all of them.
fn lowest_elements(parts: &[(&crate::model::Tensor, &Distribution)], count: usize) -> Option<Vec<usize>> {
    let split = split_at_rank(parts, count)?;
    let mut ties = count - split.below.iter().sum::<usize>();
    let removed = split.below.iter().zip(&split.equal).map(|(&below, &equal)| {
        let taken = ties.min(equal);
        ties -= taken;
        below + taken
    });
    Some(removed.collect())
}

/// How many of the `count` lowest scores lie in each part.
fn lowest_pieces(scores: &[&[f64]], count: usize) -> Vec<usize> {
    let mut all: Vec<(f64, usize)> =
        scores.iter().enumerate().flat_map(|(part, scores)| scores.iter().map(move |&score| (score, part))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut removed = vec![0; scores.len()];
    all[..count].iter().for_each(|&(_, part)| removed[part] += 1);
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, Tensor, layers_of};
    use proptest::prelude::*;

    fn model_of(rows: &[Vec<f32>]) -> Model {
        let mut model = Model::default();
        for (i, row) in rows.iter().enumerate() {
            let tensor = Tensor::from_f32(vec![row.len(), 1], row.clone()).unwrap();
            model.tensors.insert(format!("{i}.weight"), tensor);
        }
        model
    }

    fn cuts(rows: &[Vec<f32>], granularity: Granularity, cut: Cut) -> Result<Vec<Cut>, PruneError> {
        let model = model_of(rows);
        let layers = layers_of(&model);
        let selected: Vec<&Layer> = layers.iter().collect();
        let cuts = global(&Subject::new(&model, &layers), &selected, granularity, Criterion::L1, cut)?;
        Ok(cuts.into_iter().map(|(_, cut)| cut).collect())
    }

    #[test]
    fn equal_scores_go_from_the_earlier_layer_first() {
        for granularity in [Granularity::Element, Granularity::Channel] {
            let cuts = cuts(&[vec![1.0, 2.0, 1.0], vec![1.0, 1.0, 3.0]], granularity, Cut::Keep(3)).unwrap();
            assert_eq!(cuts, [Cut::Keep(1), Cut::Keep(2)]);
        }
    }

    #[test]
    fn a_sigma_is_one_threshold_for_all() {
        let cuts = cuts(&[vec![1.0, -1.0], vec![3.0, -3.0]], Granularity::Element, Cut::Sigma(2.0)).unwrap();
        assert!(cuts.iter().all(|cut| matches!(cut, Cut::Threshold(t) if (t - 20f64.sqrt()).abs() < 1e-12)));
    }

    #[test]
    fn all_or_nothing_can_be_kept_but_no_more() {
        let rows = [vec![1.0], vec![2.0, 3.0]];
        for granularity in [Granularity::Element, Granularity::Channel] {
            assert_eq!(cuts(&rows, granularity, Cut::Keep(0)).unwrap(), [Cut::Keep(0), Cut::Keep(0)]);
            assert_eq!(cuts(&rows, granularity, Cut::Keep(3)).unwrap(), [Cut::Keep(1), Cut::Keep(2)]);
            assert!(matches!(cuts(&rows, granularity, Cut::Keep(4)), Err(PruneError::Keep { pieces: 3, .. })));
        }
    }

    proptest! {
        #[test]
        fn the_layers_together_keep_what_was_asked(
            rows in prop::collection::vec(prop::collection::vec((-9i32..9).prop_map(|i| i as f32 * 0.25), 1..40), 1..6),
            share in 0.0f64..=1.0,
            channels in any::<bool>(),
        ) {
            let granularity = if channels { Granularity::Channel } else { Granularity::Element };
            let total: usize = rows.iter().map(Vec::len).sum();
            let keep = (share * total as f64) as usize;
            let mut order: Vec<(f32, usize)> =
                rows.iter().enumerate().flat_map(|(layer, row)| row.iter().map(move |v| (v.abs(), layer))).collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut expected: Vec<usize> = rows.iter().map(Vec::len).collect();
            order[..total - keep].iter().for_each(|&(_, layer)| expected[layer] -= 1);
            let expected: Vec<Cut> = expected.into_iter().map(Cut::Keep).collect();
            prop_assert_eq!(cuts(&rows, granularity, Cut::Keep(keep)).unwrap(), expected);
        }
    }
}
