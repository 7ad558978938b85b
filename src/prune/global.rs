use super::resolve::{Removal, channel_scores, population_std, removal, statistics_of, weight_of};
use super::{Criterion, Cut, Granularity, PruneError};
use crate::model::{Layer, Model};
use crate::stats::{Distribution, Statistics, split_at_rank};

/// How errors call all the selected layers.
const SCOPE: &str = "the selected layers";

/// Ranks the pieces of all `selected` layers together and says what is left to do in each.
///
/// A sparsity or a number to keep becomes one exact [`Cut::Keep`] per layer; together they keep what was
/// asked for. Of equal scores the earlier layer's go first, and within a layer those of lower index. A
/// threshold is the same in every layer, and a sigma becomes a threshold of that many standard deviations
/// of all weights, or all channel scores, together. Channel scores are compared as they are, so layers
/// with more weights per channel tend to keep more.
///
/// # Errors
/// [`PruneError`] if a layer cannot be pruned or the cut cannot be.
pub fn global(
    model: &Model,
    selected: &[&Layer],
    statistics: &Statistics,
    granularity: Granularity,
    criterion: Criterion,
    cut: Cut,
) -> Result<Vec<(String, Cut)>, PruneError> {
    let mut weights = Vec::with_capacity(selected.len());
    let mut known = Vec::with_capacity(selected.len());
    for layer in selected {
        let weight = weight_of(model, layer)?;
        known.push(statistics_of(layer, weight, statistics)?);
        weights.push(weight);
    }
    let pieces: Vec<usize>;
    let removed: Result<Vec<usize>, f64> = match granularity {
        Granularity::Element => {
            pieces = known.iter().map(|k| k.distribution.numbers()).collect();
            let std = || Distribution::merge(known.iter().map(|k| &k.distribution)).std();
            match removal(cut, pieces.iter().sum(), std, SCOPE)? {
                Removal::Below(threshold) => Err(threshold),
                Removal::Lowest(count) => {
                    let parts: Vec<_> = weights.into_iter().zip(known.iter().map(|k| &k.distribution)).collect();
                    Ok(lowest_elements(&parts, count).unwrap_or_else(|| pieces.clone()))
                }
            }
        }
        Granularity::Channel => {
            let scores: Vec<&[f64]> = known.iter().map(|k| channel_scores(&k.channels, criterion)).collect();
            pieces = scores.iter().map(|scores| scores.len()).collect();
            match removal(cut, pieces.iter().sum(), || population_std(&scores.concat()), SCOPE)? {
                Removal::Below(threshold) => Err(threshold),
                Removal::Lowest(count) => Ok(lowest_channels(&scores, count)),
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
fn lowest_channels(scores: &[&[f64]], count: usize) -> Vec<usize> {
    let mut all: Vec<(f64, usize)> =
        scores.iter().enumerate().flat_map(|(part, scores)| scores.iter().map(move |&score| (score, part))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut removed = vec![0; scores.len()];
    all[..count].iter().for_each(|&(_, part)| removed[part] += 1);
    removed
}
