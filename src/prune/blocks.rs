use super::resolve::{Removal, removal};
use super::score::deviation_of;
use super::{Criterion, Cut, PruneError, Ranking, Subject};
use crate::structure::Block;
use std::collections::BTreeSet;

/// Scores of residual blocks: the mean norm of the channels that their last layers add to the sum. What a block
/// adds little to is missed least.
///
/// # Errors
/// [`PruneError`] for weights that have no magnitude, and of [`Ranking::of`].
pub fn block_scores(subject: &Subject<'_>, blocks: &[Block], criterion: Criterion) -> Result<Vec<f64>, PruneError> {
    let structure = subject.known_structure()?;
    let score = |block: &Block| {
        let mut norms = Vec::new();
        for &index in &block.last {
            let layer = &structure.layers()[index];
            norms.extend_from_slice(Ranking::of(subject, layer, criterion)?.channels()?);
        }
        Ok(norms.iter().sum::<f64>() / norms.len().max(1) as f64)
    };
    blocks.iter().map(score).collect()
}

/// Names of the blocks that a cut removes of those that can be left out; the lowest scores first, and of equal
/// ones the earlier.
///
/// # Errors
/// [`PruneError`] for a cut that cannot be.
pub fn cut_blocks(blocks: &[Block], scores: &[f64], cut: Cut) -> Result<BTreeSet<String>, PruneError> {
    let mut ranked: Vec<(f64, &Block)> =
        scores.iter().copied().zip(blocks).filter(|(_, block)| block.reason.is_empty()).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let std = || deviation_of(&ranked.iter().map(|(score, _)| *score).collect::<Vec<_>>());
    let count = match removal(cut, ranked.len(), std, "the residual blocks")? {
        Removal::Below(line) => ranked.iter().filter(|(score, _)| *score < line).count(),
        Removal::Lowest(count) => count,
    };
    Ok(ranked[..count].iter().map(|(_, block)| block.name.clone()).collect())
}
