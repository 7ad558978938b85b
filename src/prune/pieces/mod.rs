//! Pieces of several weights other than outputs: columns, kernels and blocks.

mod matrix;
mod score;
mod tiles;

pub use matrix::Matrix;
pub use score::PieceScores;

use super::resolve::layer_scope;
use super::score::cut_scores;
use super::{BitMask, Granularity, LayerMask, LayerPlan, PruneError, Ranking, Selection};
use crate::model::{Layer, Tensor};
use tiles::Tiles;

/// How many pieces a layer has; as many as weights where each stands for itself.
pub(super) fn piece_count(layer: &Layer, granularity: Granularity) -> usize {
    match granularity {
        _ if granularity.by_weight() => layer.weight_count(),
        _ if granularity.by_output() => layer.channel_count(),
        _ => Tiles::of(&Matrix::of(layer, &layer.shape), granularity).map_or(0, |tiles| tiles.len()),
    }
}

/// Carries out a plan for pieces of several weights on a layer without NaN.
pub(super) fn resolve_pieces(
    layer: &Layer,
    weight: &Tensor,
    decision: &LayerPlan,
    granularity: Granularity,
    ranking: &Ranking,
) -> Result<LayerMask, PruneError> {
    let matrix = Matrix::of(layer, weight.shape());
    let Some(tiles) = Tiles::of(&matrix, granularity) else {
        let reason = format!("a {} is not made of several weights", granularity.piece());
        return Err(PruneError::NotPrunable { layer: layer.name.clone(), reason });
    };
    let scored = PieceScores::of_tiles(&matrix, &tiles, weight, ranking.norm());
    let scores = if ranking.scored().is_some() { &ranking.pieces(layer, granularity)? } else { &scored.scores };
    let (kept, threshold) = cut_scores(scores, decision.cut, &layer_scope(layer))?;
    let zeros = kept.iter().zip(&scored.zeros).enumerate();
    let zeros = zeros.map(|(piece, (&kept, &zeros))| if kept { zeros } else { tiles.size(piece) }).sum();
    let count = kept.iter().filter(|&&kept| kept).count();
    let selection = if count == kept.len() {
        Selection::All
    } else {
        Selection::Elements(bits(&matrix, &tiles, &kept, weight.len()))
    };
    Ok(LayerMask {
        layer: layer.name.clone(),
        weights: weight.len(),
        pieces: kept.len(),
        kept: count,
        zeros,
        threshold,
        selection,
    })
}

fn bits(matrix: &Matrix, tiles: &Tiles, kept: &[bool], len: usize) -> BitMask {
    let mut bits = BitMask::full(len);
    let across = tiles.across().max(1);
    for piece in (0..kept.len()).filter(|&piece| !kept[piece]) {
        for row in &matrix.rows[tiles.rows(piece / across)] {
            matrix.columns[tiles.columns(piece % across)].iter().for_each(|column| bits.remove(row + column));
        }
    }
    bits
}

#[cfg(test)]
mod tests;
