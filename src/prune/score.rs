use super::{Criterion, Granularity};
use crate::stats::{ChannelScores, LayerStatistics};

/// The scores that a criterion gives to the channels of a layer, by channel.
pub fn channel_scores(channels: &ChannelScores, criterion: Criterion) -> &[f64] {
    match criterion {
        Criterion::L1 => &channels.l1,
        Criterion::L2 => &channels.l2,
        Criterion::Linf => &channels.linf,
    }
}

/// The standard deviation that [`Cut::Sigma`](super::Cut::Sigma) counts in: of the weights for single
/// weights, of the channel scores for channels.
pub fn deviation(statistics: &LayerStatistics, granularity: Granularity, criterion: Criterion) -> f64 {
    if granularity.by_weight() {
        statistics.distribution.std()
    } else {
        population_std(channel_scores(&statistics.channels, criterion))
    }
}

/// Population standard deviation; 0 without scores.
pub(super) fn population_std(scores: &[f64]) -> f64 {
    let count = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / count;
    (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt()
}
