use super::resolve::{Removal, removal};
use super::{Criterion, Cut, PruneError};
use crate::stats::ChannelScores;
use rayon::slice::ParallelSliceMut;

/// The norms of the channels of a layer, by channel: L1 for criteria that are no norm, whose scores add up.
pub fn channel_scores(channels: &ChannelScores, criterion: Criterion) -> &[f64] {
    match criterion {
        Criterion::L2 => &channels.l2,
        Criterion::Linf => &channels.linf,
        _ => &channels.l1,
    }
}

/// Population standard deviation of scores, which [`Cut::Sigma`] counts in for pieces; 0 without scores.
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
