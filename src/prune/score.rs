use super::resolve::{Removal, removal};
use super::{Criterion, Cut, Granularity, PruneError};
use crate::stats::{ChannelScores, LayerStatistics};
use rayon::slice::ParallelSliceMut;

/// The scores that a criterion gives to the channels of a layer, by channel.
pub fn channel_scores(channels: &ChannelScores, criterion: Criterion) -> &[f64] {
    match criterion {
        Criterion::L1 => &channels.l1,
        Criterion::L2 => &channels.l2,
        Criterion::Linf => &channels.linf,
    }
}

/// The standard deviation that [`Cut::Sigma`] counts in: of the weights for single
/// weights, of the channel scores for channels. Other pieces have theirs in
/// [`piece_deviation`](super::piece_deviation).
pub fn deviation(statistics: &LayerStatistics, granularity: Granularity, criterion: Criterion) -> f64 {
    if granularity.by_weight() {
        statistics.distribution.std()
    } else {
        deviation_of(channel_scores(&statistics.channels, criterion))
    }
}

/// Population standard deviation of scores, which [`Cut::Sigma`] counts in; 0 without scores.
pub fn deviation_of(scores: &[f64]) -> f64 {
    let count = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / count;
    (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt()
}

/// Which of some scores stay, and where the line between them lies, as [`LayerMask::threshold`](super::LayerMask::threshold)
/// says it. Of equal scores the lowest index goes first.
pub(super) fn cut_scores(scores: &[f64], cut: Cut, scope: &str) -> Result<(Vec<bool>, f64), PruneError> {
    Ok(match removal(cut, scores.len(), || deviation_of(scores), scope)? {
        Removal::Below(threshold) => (scores.iter().map(|&score| score >= threshold).collect(), threshold),
        Removal::Lowest(removed) => {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.par_sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            let mut kept = vec![true; scores.len()];
            order[..removed].iter().for_each(|&piece| kept[piece] = false);
            (kept, order.get(removed).map_or(f64::INFINITY, |&lowest| scores[lowest]))
        }
    })
}
