use super::resolve::{statistics_of, weight_of};
use super::score::{channel_scores, deviation_of};
use super::{Criterion, Granularity, LayerScores, PieceScores, PruneError, Subject};
use crate::model::{Layer, Tensor};
use crate::stats::{Distribution, LayerStatistics};
use std::sync::Arc;

/// What the pieces of one layer are ranked by: magnitudes of its weights, or the scores of a criterion.
#[derive(Clone, Debug)]
pub struct Ranking {
    layer: String,
    criterion: Criterion,
    /// Where the scores of weights come from: the weight itself, or scores shaped like it.
    source: Option<(Tensor, Arc<LayerStatistics>)>,
    scored: Option<Arc<LayerScores>>,
}

impl Ranking {
    /// What `criterion` ranks the pieces of a layer by.
    ///
    /// # Errors
    /// [`PruneError::NotScored`] if the criterion looks at more than weights and was not asked yet,
    /// [`PruneError::CannotRank`] if it has nothing to say of the layer; those of a layer that cannot be pruned.
    pub fn of(subject: &Subject<'_>, layer: &Layer, criterion: Criterion) -> Result<Self, PruneError> {
        let weight = weight_of(subject.model, layer)?;
        let statistics = statistics_of(layer, weight, subject.statistics)?;
        let name = layer.name.clone();
        if criterion.is_norm() {
            return Ok(Self { layer: name, criterion, source: Some((weight.clone(), statistics)), scored: None });
        }
        match subject.scores.get(&layer.name, criterion) {
            None => Err(PruneError::NotScored { layer: name, criterion }),
            Some(Err(reason)) => {
                Err(PruneError::CannotRank { scope: format!("layer `{name}`"), criterion, reason: reason.to_owned() })
            }
            Some(Ok(scored)) => {
                let source = scored.weights.clone().zip(scored.statistics.clone());
                Ok(Self { layer: name, criterion, source, scored: Some(Arc::clone(scored)) })
            }
        }
    }

    /// Scores of output channels, by channel.
    ///
    /// # Errors
    /// [`PruneError::CannotRank`] for a criterion of single weights alone.
    pub fn channels(&self) -> Result<&[f64], PruneError> {
        if let Some(channels) = self.scored.as_ref().and_then(|scored| scored.channels.as_deref()) {
            return Ok(channels);
        }
        match &self.source {
            Some((_, statistics)) if self.criterion.ranks_channels() => {
                Ok(channel_scores(&statistics.channels, self.criterion))
            }
            _ => Err(self.cannot("it ranks single weights; choose single weights or an N:M pattern")),
        }
    }

    /// Scores of single weights, as magnitudes of a tensor, and what is known of them.
    ///
    /// # Errors
    /// [`PruneError::CannotRank`] for a criterion of whole channels.
    pub fn weights(&self) -> Result<(&Tensor, &Distribution), PruneError> {
        let source = self.source.as_ref().map(|(tensor, statistics)| (tensor, &statistics.distribution));
        source.ok_or_else(|| self.cannot("it ranks whole channels; choose channels, or another criterion"))
    }

    /// Scores of pieces of several weights other than channels.
    ///
    /// # Errors
    /// As [`Ranking::weights`].
    pub fn pieces(&self, layer: &Layer, granularity: Granularity) -> Result<Vec<f64>, PruneError> {
        if self.criterion.updates_weights() {
            return Err(self.cannot("it ranks single weights; choose single weights or an N:M pattern"));
        }
        let (tensor, _) = self.weights()?;
        Ok(PieceScores::of(layer, tensor, granularity, self.norm()).scores)
    }

    /// The standard deviation that [`Cut::Sigma`](super::Cut::Sigma) counts in: of the weights for single weights
    /// by magnitude, of the scores for all else.
    ///
    /// # Errors
    /// As the scores that it is of.
    pub fn deviation(&self, layer: &Layer, granularity: Granularity) -> Result<f64, PruneError> {
        Ok(match granularity {
            _ if granularity.by_weight() => self.weights()?.1.std(),
            _ if granularity.by_output() => deviation_of(self.channels()?),
            _ => deviation_of(&self.pieces(layer, granularity)?),
        })
    }

    /// What the criterion said beside magnitudes.
    pub const fn scored(&self) -> Option<&Arc<LayerScores>> {
        self.scored.as_ref()
    }

    /// The norm that combines the scores of weights to that of a piece.
    pub(super) const fn norm(&self) -> Criterion {
        if self.criterion.is_norm() { self.criterion } else { Criterion::L1 }
    }

    pub(super) fn cannot(&self, reason: &str) -> PruneError {
        let scope = format!("layer `{}`", self.layer);
        PruneError::CannotRank { scope, criterion: self.criterion, reason: reason.to_owned() }
    }
}
